"""What a trial showed: how the program ended, what it read, and what would go wrong in a real job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gtlabel.emulator.epochs import Epoch
from gtlabel.emulator.trialdata import TRAIN

_FINE = ("completed", "enough")


@dataclass(frozen=True, slots=True)
class ChannelReport:
    """How a channel was read. Rates are in MB (10^6 bytes) per second, times in seconds.

    Attributes:
        images: how many it has.
        epochs: each that the program opened.
    """

    name: str
    images: int
    epochs: tuple[Epoch, ...] = ()

    @property
    def read(self) -> int:
        """How many images were read, over all epochs."""
        return sum(epoch.images for epoch in self.epochs)

    @property
    def bytes(self) -> int:
        """How many bytes were read, over all epochs."""
        return sum(epoch.bytes for epoch in self.epochs)

    @property
    def whole(self) -> int:
        """How many epochs were read to their end."""
        return sum(not epoch.early for epoch in self.epochs)

    @property
    def rate(self) -> float:
        """How fast it was read, from the first picture of each epoch to its last."""
        seconds = sum(
            epoch.ended - epoch.opened
            for epoch in self.epochs
            if epoch.ended is not None and epoch.first is not None
        )
        return self.bytes / seconds / 1e6 if seconds else 0.0

    @property
    def waited(self) -> float:
        """How long the program waited for the first picture of an epoch, at most."""
        waits = [epoch.first - epoch.opened for epoch in self.epochs if epoch.first is not None]
        return max(waits, default=0.0)

    @property
    def full(self) -> float:
        """How long the pipe was full: pictures were there, and the program was busy with others."""
        return sum(epoch.waited for epoch in self.epochs)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "channel": self.name,
            "images": self.images,
            "epochs": self.whole,
            "opened": len(self.epochs),
            "read": self.read,
            "bytes": self.bytes,
            "megabytes_per_second": round(self.rate, 1),
            "first_picture_after": round(self.waited, 3),
            "pipe_full": round(self.full, 3),
        }


@dataclass(frozen=True, slots=True)
class TrialReport:
    """How a trial went.

    Attributes:
        piped: whether its channels were in Pipe mode; how files are read nobody sees.
        ended: `completed`, `failed`, `stopped`, `out of time` or `enough` (epochs), and why, if not by
            itself.
        code: the program's exit code.
        seconds: how long it ran.
        failure: what it wrote down about its failure.
        last_line: the last line it printed.
        channels: how it read each.
        metrics: the last value of each.
        unmatched: metrics that were asked for and never printed.
        hyperparameters: what it was told.
        classes: how many the data have.
        files: how many files it left as its model.
        bytes: how many bytes they have.
        model: where the model is.
    """

    piped: bool
    ended: tuple[str, str]
    code: int
    seconds: float
    failure: str
    last_line: str
    channels: tuple[ChannelReport, ...]
    metrics: Mapping[str, float]
    unmatched: tuple[str, ...]
    hyperparameters: Mapping[str, str]
    classes: int
    files: int
    bytes: int
    model: Path | None = None

    def with_model(self, model: Path) -> TrialReport:
        """The same, with the place of the model."""
        return replace(self, model=model)

    @property
    def status(self) -> str:
        """As a job's status: `Completed`, `Failed` or `Stopped`."""
        ended = self.ended[0]
        if ended in _FINE:
            return "Completed"
        return "Failed" if ended == "failed" else "Stopped"

    @property
    def reason(self) -> str:
        """Why it did not complete, as a job's FailureReason would say it; empty if it did."""
        if self.ended[1]:
            return self.ended[1] if self.ended[0] not in _FINE else ""
        if self.status == "Completed":
            return ""
        said = self.failure or self.last_line or "it gave no reason"
        return f"{said}, exit code: {self.code}"

    def warnings(self) -> list[str]:
        """What a real job would stumble over, or silently do worse with, in sentences."""
        return list(self._warnings())

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "status": self.status,
            "ended": self.ended[0],
            "reason": self.reason,
            "exit_code": self.code,
            "seconds": round(self.seconds, 3),
            "channels": [channel.to_json() for channel in self.channels],
            "metrics": dict(self.metrics),
            "model": str(self.model) if self.model else None,
            "model_files": self.files,
            "model_bytes": self.bytes,
            "warnings": self.warnings(),
        }

    def _warnings(self) -> Iterator[str]:
        by_itself = self.ended[0] == "completed"
        for channel in self.channels if self.piped and self.ended[0] != "failed" else ():
            yield from self._about(channel, by_itself=by_itself)
        samples = self.hyperparameters.get("num_training_samples")
        train = next(channel.images for channel in self.channels if channel.name == TRAIN)
        if samples is not None and samples != str(train):
            yield f"num_training_samples is {samples}, and train has {train} images"
        told = self.hyperparameters.get("num_classes", "")
        if told.isdigit() and int(told) < self.classes:
            yield (
                f"num_classes is {told}, and there are {self.classes} classes: labels beyond it fail in no "
                "trainer of AWS, and teach it nonsense"
            )
        wanted = {"num_classes": self.classes, "num_training_samples": train}
        lacking = [
            name
            for name, value in wanted.items()
            if value and name not in self.hyperparameters and name in self.reason
        ]
        if self.ended == ("failed", "") and lacking:
            options = " ".join(f"--set {name}={wanted[name]}" for name in lacking)
            yield f"it asks for what is known of its data; try again with {options}"
        for name in self.unmatched:
            yield f"no line that was printed holds the metric {name}; check its regular expression"
        if self.failure and self.code == 0:
            yield f"it wrote a failure file and ended with 0, which SageMaker calls Completed: {self.failure}"
        if by_itself and not self.files:
            yield "it left no model; what is to be uploaded belongs into model/ below SAGEMAKER_BASE_DIR"
        if self.status == "Failed" and self.files:
            yield f"SageMaker keeps no model of a job that failed, so these {self.files} files are not kept"
        if self.ended == ("failed", "") and not self.failure:
            yield (
                "it left no failure file; what stands in output/failure below SAGEMAKER_BASE_DIR is what "
                "SageMaker shows (gtlabel.training.reader.report_failure writes it)"
            )

    def _about(self, channel: ChannelReport, *, by_itself: bool) -> Iterator[str]:
        if not channel.epochs:
            yield f"it never opened {channel.name}"
            return
        early = [epoch for epoch in channel.epochs if epoch.early]
        if early and by_itself:
            first = early[0]
            yield (
                f"it closed {channel.name} before the end in {len(early)} of {len(channel.epochs)} epochs: "
                f"epoch {first.number} after {first.images} of {channel.images} images"
            )
        wanted = self.hyperparameters.get("epochs", "")
        if by_itself and channel.name == TRAIN and wanted.isdigit() and int(wanted) != len(channel.epochs):
            yield f"epochs is {wanted}, and it read {channel.name} {len(channel.epochs)} times"
