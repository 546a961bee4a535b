"""What every trainer is as a program: where its files are, what it was told, how it fails and stops.

SageMaker's side of this is contract/training.md §4.2: `PROGRAM train`, `/opt/ml` (another directory in
`SAGEMAKER_BASE_DIR`), a failure file whose first 1,024 characters become the job's reason, SIGTERM before
the end.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

# Loaded before SIGTERM means anything to us: numpy would load this part at its first use, and while its
# compiled modules load, what a signal raises is lost.
import numpy.random  # noqa: F401
from pydantic import ValidationError

from gtlabel.errors import GtlabelError, TrainingError
from gtlabel.training.failurefile import write_failure
from gtlabel.training.hyperparameters import Hyperparameters

_log = logging.getLogger(__name__)


class StopRequestedError(SystemExit):
    """SIGTERM: the platform wants the program to end; what has been learned may still be saved."""


def run_program(train: Callable[[Path], None]) -> int:
    """Train once, as a container would; return the program's exit code.

    Lines go to stdout in the built-in's shape, and the reason of a failure to `output/failure`.

    Args:
        train: is given what SageMaker calls `/opt/ml`. A `StopRequestedError` passes through it when
            SIGTERM comes.
    """
    base = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
    logging.basicConfig(
        stream=sys.stdout,
        level=logging.INFO,
        format="[%(asctime)s %(levelname)s %(process)d] %(message)s",
        datefmt="%m/%d/%Y %H:%M:%S",
    )
    signal.signal(signal.SIGTERM, _stop)
    try:
        train(base)
    except GtlabelError as error:
        return _failed(base, f"ClientError: {error}")
    except Exception as error:  # noqa: BLE001 - whatever else goes wrong must become the job's reason
        _log.critical("the trainer broke", exc_info=True)
        return _failed(base, f"AlgorithmError: {type(error).__name__}: {error}")
    return 0


def read_hyperparameters(base: Path) -> Hyperparameters:
    """What the trainer was told.

    Raises:
        TrainingError: in the built-in's words, if it would refuse them.
    """
    file = base / "input" / "config" / "hyperparameters.json"
    values = _json(file, "the hyperparameters")
    try:
        return Hyperparameters.model_validate(values)
    except ValidationError as error:
        raise TrainingError("; ".join(_problem(values, entry) for entry in error.errors())) from None


def log_hyperparameters(hyperparameters: Hyperparameters, honored: Collection[str]) -> None:
    """Say which of them the trainer follows, and which only matter to the one in the cloud."""
    given = hyperparameters.to_boto()
    _log.info("Honored hyperparameters: %s", {name: given[name] for name in given if name in honored})
    ignored = {name: value for name, value in given.items() if name not in honored}
    if ignored:
        _log.info("Ignored hyperparameters, which only matter to the trainer in the cloud: %s", ignored)


def read_channels(base: Path) -> Mapping[str, Mapping[str, str]] | None:
    """The settings of each channel, `ContentType` among them; None where the platform wrote none.

    Raises:
        TrainingError: if the file is damaged.
    """
    file = base / "input" / "config" / "inputdataconfig.json"
    if not file.is_file():
        return None
    channels = _json(file, "the channels")
    if not isinstance(channels, dict) or not all(isinstance(entry, dict) for entry in channels.values()):
        raise TrainingError(f"the channels in {file} are not an object of objects")
    return channels


def _json(file: Path, what: str) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise TrainingError(f"{what} in {file} cannot be read: {error}") from error


def _problem(values: Mapping[str, Any], problem: Any) -> str:
    if not problem["loc"]:
        return str(problem["msg"]).removeprefix("Value error, ")
    name = str(problem["loc"][0])
    if problem["type"] == "missing":
        return f"No value(s) were specified for {name!r} which are required hyperparameter(s)"
    if problem["type"] == "extra_forbidden":
        return f"{name!r} is not a hyperparameter of image classification"
    return f"The value {values[name]!r} is not valid for the {name!r} hyperparameter: {problem['msg']}"


def _failed(base: Path, reason: str) -> int:
    _log.error("%s", reason)
    write_failure(base, reason)
    return 1


def _stop(number: int, _frame: object) -> None:
    # Leaves through the same doors as any error, so that no half-written file stays; a second signal must
    # not interrupt what is saved on the way.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise StopRequestedError(128 + number)
