"""What a long training keeps on the way: the model of the epochs that count, and enough to go on from.

The model folder is the built-in's: the best epoch alone, or every so many with `checkpoint_frequency`. The
checkpoint folder is what SageMaker mirrors to S3 while a job runs and gives back when a spot instance was
taken away (contract/training.md §4.2); it holds one file of our own beside copies of the model's.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtlabel.errors import ArtifactError, TrainingError
from gtlabel.networks.artifact import PREFIX, Artifact, decode_params, encode_params, write_artifact

_PROGRESS = "gtlabel-progress.params"
_FACTS = "facts"
_MEMORY = "memory:"

_log = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]


class ModelFolder:
    """The folder that becomes `model.tar.gz`.

    Args:
        directory: its path.
        every: how many epochs lie between two that are kept; None keeps the best one only.
    """

    def __init__(self, directory: Path, every: int | None = None) -> None:
        self.directory = directory
        self._every = every

    def wants(self, epoch: int, *, best: bool, last: bool) -> bool:
        """Whether the weights after an epoch, counted from 1, are to be kept."""
        return best if self._every is None else last or epoch % self._every == 0

    def keep(self, artifact: Artifact) -> None:
        """Write a model; without `every`, what was kept before goes once the new one is complete."""
        write_artifact(self.directory, artifact)
        name = f"{PREFIX}-{artifact.epoch:04d}.params"
        if self._every is None:
            for older in self.weights():
                if older.name != name:
                    older.unlink()
        _log.info('Saved checkpoint to "%s"', self.directory / name)

    def weights(self) -> list[Path]:
        """The weight files of all epochs that were kept."""
        return sorted(self.directory.glob(f"{PREFIX}-*.params"))


@dataclass(frozen=True)
class Progress:
    """How far a training has come.

    Attributes:
        epoch: how many epochs are done.
        best: the best validation accuracy so far; None before the first.
        waited: the epochs since then.
        about: the hyperparameters that a continuation must share.
        params: the weights and moving averages.
        memory: what the optimizer remembers.
    """

    epoch: int
    best: float | None
    waited: int
    about: Mapping[str, Any]
    params: Arrays = field(repr=False)
    memory: Arrays = field(repr=False)


class Checkpoints:
    """The folder of checkpoints, if the job has one: SageMaker makes it where `CheckpointConfig` is given.

    Args:
        directory: its path.
        model: the folder whose files are copied along.
    """

    def __init__(self, directory: Path, model: ModelFolder) -> None:
        self._directory = directory
        self._model = model

    def save(self, progress: Progress) -> None:
        """Write down how far the training is, replacing what was written before."""
        if not self._directory.is_dir():
            return
        facts = {
            "epoch": progress.epoch,
            "best": progress.best,
            "waited": progress.waited,
            "about": progress.about,
        }
        text = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
        memory = {f"{_MEMORY}{name}": array for name, array in progress.memory.items()}
        self._mirror(self._model.directory, self._directory)
        partial = self._directory / f".{_PROGRESS}.partial"
        try:
            partial.write_bytes(encode_params({_FACTS: text, **progress.params, **memory}))
            partial.replace(self._directory / _PROGRESS)
        finally:
            partial.unlink(missing_ok=True)

    def load(self, about: Mapping[str, Any]) -> Progress | None:
        """What an interrupted training of the same job had reached; its models are put back as well.

        Raises:
            TrainingError: if the checkpoints cannot be read, or belong to a training of other settings.
        """
        file = self._directory / _PROGRESS
        if not file.is_file():
            return None
        try:
            arrays = decode_params(file.read_bytes(), str(file))
            facts = json.loads(arrays.pop(_FACTS).tobytes())
            progress = Progress(
                epoch=facts["epoch"],
                best=facts["best"],
                waited=facts["waited"],
                about=facts["about"],
                params={name: array for name, array in arrays.items() if not name.startswith(_MEMORY)},
                memory={
                    name.removeprefix(_MEMORY): array
                    for name, array in arrays.items()
                    if name.startswith(_MEMORY)
                },
            )
        except (OSError, ArtifactError, ValueError, KeyError) as error:
            raise TrainingError(
                f"the checkpoint {file} cannot be read: {error}; empty the job's checkpoint address"
            ) from error
        different = sorted(name for name in about if about[name] != progress.about.get(name))
        if different:
            raise TrainingError(
                f"the checkpoints are of a training with another {' and '.join(different)}; give the job a "
                "checkpoint address of its own"
            )
        self._mirror(self._directory, self._model.directory)
        return progress

    def _mirror(self, source: Path, target: Path) -> None:
        """Bring one folder's model files to the other; weights that the source no longer has go."""
        names = {path.name for path in source.glob(f"{PREFIX}-*.params")}
        target.mkdir(parents=True, exist_ok=True)
        for path in (*source.glob(f"{PREFIX}-*"), source / "model-shapes.json"):
            copy = target / path.name
            if path.is_file() and not _alike(path, copy):
                partial = target / f".{path.name}.partial"
                shutil.copyfile(path, partial)
                partial.replace(copy)
        for path in target.glob(f"{PREFIX}-*.params"):
            if path.name not in names:
                path.unlink()


def _alike(one: Path, other: Path) -> bool:
    """Whether a copy is newer than, and as long as, what it was made of."""
    try:
        copied = other.stat()
    except FileNotFoundError:
        return False
    original = one.stat()
    return copied.st_size == original.st_size and copied.st_mtime_ns >= original.st_mtime_ns
