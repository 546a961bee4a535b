"""What the trainers read from a channel: pictures and their classes, one epoch after the other.

The records of an epoch alternate, a picture and its label (contract/training.md §4.3). What does not fit
is refused with the channel, the record and, where the built-in has a sentence for it, its words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from gtlabel.errors import RecordIOError, TrainingError
from gtlabel.recordio import read_records
from gtlabel.training.channelpipe import PATIENCE, open_pipe
from gtlabel.training.hyperparameters import Hyperparameters
from gtlabel.training.labels import LONGEST_SHOWN
from gtlabel.training.program import read_channels


@dataclass(frozen=True, slots=True)
class Example:
    """One picture of a channel.

    Attributes:
        picture: its file, as it lies in S3.
        classes: the class it has; with `multi_label` all of them, rising, perhaps none.
        record: the number of the picture's record, from 0.
        epoch: the number of the epoch that it came in, from 0; each may have another order.
    """

    picture: bytes
    classes: tuple[int, ...]
    record: int
    epoch: int


class ChannelReader:
    """One channel of a training program.

    Args:
        base: what SageMaker calls `/opt/ml`.
        channel: train or validation.
        hyperparameters: tell the classes, and whether a picture has one or many.
        patience: how many seconds to wait for each epoch, and for each piece of it.
    """

    def __init__(
        self, base: Path, channel: str, hyperparameters: Hyperparameters, patience: float = PATIENCE
    ) -> None:
        channels = read_channels(base)
        self.channel = channel
        self._patience = patience
        self._folder = base / "input" / "data"
        self._classes = hyperparameters.num_classes
        self._many = bool(hyperparameters.multi_label)
        self._batch = hyperparameters.batch
        # Without a label-format the built-in takes a row of zeros and ones for each picture.
        self._by_id = "class-id" in (channels or {}).get(channel, {}).get("ContentType", "")
        self._missing = channels is not None and channel not in channels

    def epoch(self, number: int) -> Iterator[Example]:
        """The examples of one epoch, in the order in which they come; each epoch can be read once.

        Raises:
            TrainingError: at the first record that cannot be used, if there is none, or if there are fewer
                pictures than one mini batch has.
        """
        count = 0
        for example in self._examples(number):
            count += 1
            yield example
        if not count:
            raise TrainingError(
                f"Got empty batch from pipe. Please check if the manifest file of the {self.channel} channel "
                "contains valid batches and the value of AttributeNames matches its attributes."
            )
        if count < self._batch:
            raise TrainingError(
                "The number of input images must be bigger or equal to the mini_batch_size. "
                f"The {self.channel} channel has {count}, mini_batch_size is {self._batch}."
            )

    def broken(self, example: Example, reason: object) -> TrainingError:
        """The error to raise about a picture that turned out to be unusable."""
        return self._wrong(example.epoch, example.record, reason)

    def _examples(self, epoch: int) -> Iterator[Example]:
        picture: bytes | None = None
        number = -1
        with self._open(epoch) as stream:
            try:
                for number, payload in enumerate(read_records(stream)):
                    if picture is None:
                        picture = payload
                        continue
                    yield Example(picture, self._label(payload, epoch, number), number - 1, epoch)
                    picture = None
            except RecordIOError as error:
                raise TrainingError(
                    f"Unable to parse record of the {self.channel} channel: {error}"
                ) from error
        if picture is not None:
            raise TrainingError(f"the last picture of the {self.channel} channel has no label after it")

    def _label(self, payload: bytes, epoch: int, record: int) -> tuple[int, ...]:
        text = payload.decode("utf-8", "replace").strip()
        try:
            value = json.loads(text)
            # AWS's pages show labels as numbers and lists, and both as text in quotes.
            if isinstance(value, str):
                value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
        classes = self._several(value) if self._many else self._one(value)
        if classes is None:
            wanted = f"a whole number from 0 to {self._classes - 1}"
            if self._many:
                wanted = f"a list of {'numbers' if self._by_id else 'zeros and ones'}: " + (
                    f"each {wanted}" if self._by_id else f"one for each of the {self._classes} classes"
                )
            raise self._wrong(epoch, record, f"the label {text[:LONGEST_SHOWN]!r} is not {wanted}")
        return classes

    def _wrong(self, epoch: int, record: int, reason: object) -> TrainingError:
        # In these words the emulator finds the line of the manifest.
        return TrainingError(f"record {record} of epoch {epoch} of the {self.channel} channel: {reason}")

    def _one(self, value: object) -> tuple[int, ...] | None:
        return (value,) if type(value) is int and 0 <= value < self._classes else None

    def _several(self, value: object) -> tuple[int, ...] | None:
        if not isinstance(value, list):
            return None
        if self._by_id:
            found = [self._one(entry) for entry in value]
            return None if None in found else tuple(sorted({entry[0] for entry in found if entry}))
        if len(value) != self._classes or any(
            type(entry) is not int or entry not in (0, 1) for entry in value
        ):
            return None
        return tuple(number for number, entry in enumerate(value) if entry)

    def _open(self, number: int) -> BinaryIO:
        path = self._folder / f"{self.channel}_{number}"
        if path.is_file():
            # Whoever tries a trainer without a platform writes an epoch down.
            return path.open("rb")
        there = path.exists()
        folder = path if there else self._folder / self.channel
        if folder.is_dir():
            raise TrainingError(f"the {self.channel} channel at {folder} is a folder of files; use Pipe mode")
        if self._missing and not there:
            raise TrainingError(
                f"there is no {self.channel} channel among those of the job; it needs train and validation"
            )
        return open_pipe(self._folder, self.channel, number, self._patience)
