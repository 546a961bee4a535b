"""The trainer that needs no GPU: `python -m gtlabel.training.embedded train`.

It stands in for the built-in image classification: it finds its input where SageMaker puts it
(contract/training.md §4), takes the same hyperparameters, prints the same lines, fails with the same
sentences and leaves the same three files. `SAGEMAKER_BASE_DIR` takes the place of `/opt/ml`.

What it learns is not a ResNet, which a few hundred pictures are too few for, but a forest on color and
contrast histograms (`features`, `forest`), written as a network of the same operators.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from gtlabel.errors import GtlabelError, RecordIOError, TrainingError
from gtlabel.networks.artifact import PREFIX, Artifact, write_artifact
from gtlabel.networks.preprocess import UnreadablePictureError, load_image
from gtlabel.recordio import read_records
from gtlabel.training.features import FeatureNetwork
from gtlabel.training.forest import add_forest, choose_growth
from gtlabel.training.hyperparameters import Hyperparameters

_HONORED = ("num_classes", "image_shape", "mini_batch_size", "num_training_samples")
_DEFAULT_SHAPE = (3, 224, 224)
_DEFAULT_BATCH = 32
# Below this there is no middle and no border to tell apart.
_SMALLEST_SIDE = 8
_PICTURES_AT_ONCE = 8
_PATIENCE = 120.0  # seconds until a channel that is not there counts as missing
_LONGEST_FAILURE = 1024
_STOPPED = 128 + signal.SIGTERM

_log = logging.getLogger(__name__)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class _Channel:
    """What one epoch of a channel held."""

    features: Floats
    labels: NDArray[np.int64]


def main(arguments: list[str]) -> int:
    """Train once, as a container would; return its exit code."""
    if arguments != ["train"]:
        sys.stderr.write("usage: python -m gtlabel.training.embedded train\n")
        return 2
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


def train(base: Path, seed: int = 0) -> None:
    """Read one epoch of both channels, learn, and leave a model.

    Args:
        base: what SageMaker calls `/opt/ml`.
        seed: of everything that is random.

    Raises:
        GtlabelError: at input that the built-in would refuse, too.
    """
    hyperparameters = _hyperparameters(base / "input" / "config" / "hyperparameters.json")
    _, height, width = shape = hyperparameters.image_shape or _DEFAULT_SHAPE
    if shape[0] != 3 or min(height, width) < _SMALLEST_SIDE:
        raise TrainingError(f"image_shape {shape} is not 3 colors of at least {_SMALLEST_SIDE} pixels a side")
    network = FeatureNetwork(height, width)
    size = (height, width)
    training = _read(base, "train", network, size, hyperparameters)
    validation = _read(base, "validation", network, size, hyperparameters)
    expected = hyperparameters.num_training_samples
    if len(training.labels) != expected:
        _log.warning(
            "Expected number of samples: %d, did not match the number of samples processed: %d",
            expected,
            len(training.labels),
        )
    started = time.monotonic()
    classes = hyperparameters.num_classes
    growth = choose_growth(training.features, training.labels, classes, seed)
    if growth.accuracy is not None:
        _log.info("Cross-validation: accuracy=%.6f with %d leaves a tree", growth.accuracy, growth.leaves)
    head = add_forest(network, training.features, training.labels, classes, growth, seed)
    _log.info("Epoch[0] Train-accuracy=%.6f", _accuracy(network, head, training))
    _log.info("Epoch[0] Time cost=%.3f", time.monotonic() - started)
    accuracy = _accuracy(network, head, validation)
    _log.info("Epoch[0] Validation-accuracy=%.6f", accuracy)
    _log.info("Storing the best model with validation accuracy: %.6f", accuracy)
    batch = hyperparameters.mini_batch_size or _DEFAULT_BATCH
    artifact = Artifact(network.writer.finish(head), network.params, (batch, 3, height, width), epoch=1)
    write_artifact(base / "model", artifact)
    _log.info('Saved checkpoint to "%s"', base / "model" / f"{PREFIX}-0001.params")


def _hyperparameters(file: Path) -> Hyperparameters:
    try:
        values = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise TrainingError(f"the hyperparameters in {file} cannot be read: {error}") from error
    try:
        hyperparameters = Hyperparameters.model_validate(values)
    except ValidationError as error:
        raise TrainingError("; ".join(_hyperparameter_problem(values, e) for e in error.errors())) from None
    if hyperparameters.multi_label:
        raise TrainingError("this trainer gives a picture one class; multi_label needs the one in the cloud")
    given = hyperparameters.to_boto()
    _log.info("Honored hyperparameters: %s", {name: given[name] for name in _HONORED if name in given})
    ignored = {name: value for name, value in given.items() if name not in _HONORED}
    if ignored:
        _log.info("Ignored hyperparameters, which only matter to the trainer in the cloud: %s", ignored)
    return hyperparameters


def _hyperparameter_problem(values: Mapping[str, Any], problem: Any) -> str:
    if not problem["loc"]:
        return str(problem["msg"]).removeprefix("Value error, ")
    name = str(problem["loc"][0])
    if problem["type"] == "missing":
        return f"No value(s) were specified for {name!r} which are required hyperparameter(s)"
    if problem["type"] == "extra_forbidden":
        return f"{name!r} is not a hyperparameter of image classification"
    return f"The value {values[name]!r} is not valid for the {name!r} hyperparameter: {problem['msg']}"


def _read(
    base: Path, channel: str, network: FeatureNetwork, size: tuple[int, int], expected: Hyperparameters
) -> _Channel:
    features: list[Floats] = []
    labels: list[int] = []
    waiting: list[Floats] = []
    for picture, label in _pictures(base / "input" / "data" / f"{channel}_0", channel, size, expected):
        waiting.append(picture)
        labels.append(label)
        if len(waiting) == _PICTURES_AT_ONCE:
            features.append(network.features(np.stack(waiting)))
            waiting.clear()
    if waiting:
        features.append(network.features(np.stack(waiting)))
    if not labels:
        raise TrainingError(
            f"Got empty batch from pipe. Please check if the manifest file of the {channel} channel contains "
            "valid batches and the value of AttributeNames matches its attributes."
        )
    batch = expected.mini_batch_size or _DEFAULT_BATCH
    if len(labels) < batch:
        raise TrainingError(
            "The number of input images must be bigger or equal to the mini_batch_size. "
            f"The {channel} channel has {len(labels)}, mini_batch_size is {batch}."
        )
    _log.info("Read %d images of the %s channel", len(labels), channel)
    return _Channel(np.concatenate(features), np.array(labels, dtype=np.int64))


def _pictures(
    path: Path, channel: str, size: tuple[int, int], expected: Hyperparameters
) -> Iterator[tuple[Floats, int]]:
    """The pictures and labels of a channel, which alternate in its records."""
    _wait_for(path, channel)
    picture: Floats | None = None
    number = -1
    with path.open("rb") as stream:
        try:
            for payload in read_records(stream):
                number += 1
                if picture is None:
                    picture = load_image(payload, *size)
                else:
                    yield picture, _label(payload, expected.num_classes)
                    picture = None
        except RecordIOError as error:
            raise TrainingError(f"Unable to parse record of the {channel} channel: {error}") from error
        except (UnreadablePictureError, _LabelError) as error:
            raise TrainingError(f"record {number} of the {channel} channel: {error}") from error
    if picture is not None:
        raise TrainingError(f"the last picture of the {channel} channel has no label after it")


class _LabelError(Exception):
    """A record that is not a class's number."""


def _label(payload: bytes, classes: int) -> int:
    text = payload.decode("utf-8", "replace").strip().strip('"')
    if not text.isascii() or not text.isdigit() or int(text) >= classes:
        raise _LabelError(f"the label {text[:40]!r} is not a whole number from 0 to {classes - 1}")
    return int(text)


def _wait_for(path: Path, channel: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not path.exists():
        if time.monotonic() > deadline:
            raise TrainingError(f"there is no {channel} channel: nothing appeared at {path}")
        time.sleep(0.1)
    if stat.S_ISDIR(path.stat().st_mode):
        raise TrainingError(f"the {channel} channel at {path} is a folder; use Pipe mode")


def _accuracy(network: FeatureNetwork, head: int, channel: _Channel) -> float:
    answers = network.answers(head, channel.features).argmax(axis=1)
    return float((answers == channel.labels).mean())


def _failed(base: Path, reason: str) -> int:
    _log.error("%s", reason)
    output = base / "output"
    output.mkdir(parents=True, exist_ok=True)
    (output / "failure").write_text(reason[:_LONGEST_FAILURE], encoding="utf-8")
    return 1


def _stop(_number: int, _frame: object) -> NoReturn:
    # Leaves through the same doors as any error, so that no half-written file stays.
    raise SystemExit(_STOPPED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
