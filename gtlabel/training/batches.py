"""A channel as a trainer wants it: batches of decoded pictures, epoch after epoch.

Pictures are kept decoded in memory if they fit, read once and shuffled here for every epoch. If not, every
epoch is read from its own FIFO, in the order in which the platform sends it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gtlabel.networks.preprocess import UnreadablePictureError, load_image, open_picture
from gtlabel.training.augmentation import Kind, Pixels, augment, center
from gtlabel.training.channelreading import ChannelReader, Example

# Of a picture, before a window is taken from it: what 256 is to the 224 of ImageNet.
_MARGIN = 8 / 7
# The share of the free memory that pictures may take.
_SHARE = 0.25
_USUAL_MEMORY = 1 << 30  # bytes, where the system does not say


@dataclass(frozen=True, slots=True)
class _Known:
    """A decoded picture (rows, columns, channels) and its classes."""

    pixels: Pixels
    classes: tuple[int, ...]


@dataclass(frozen=True)
class Look:
    """How pictures are looked at.

    Without `resize` the whole picture is squeezed to the network's size, as evaluation and the device do;
    with it, its shorter side gets that many pixels and a window is taken, as the built-in does.

    Attributes:
        shape: channels, height and width of the network's input.
        resize: pixels of the shorter side.
        kind: how pictures are changed; None for not at all.
    """

    shape: tuple[int, int, int]
    resize: int | None = None
    kind: Kind | None = None

    def decode(self, picture: bytes) -> Pixels:
        """A picture file as (rows, columns, channels), with room for a window where one is taken.

        Raises:
            UnreadablePictureError: if the bytes are not a picture.
        """
        channels, height, width = self.shape
        if self.resize is None:
            if self.kind is not None:
                height, width = round(height * _MARGIN), round(width * _MARGIN)
            return load_image(picture, height, width, channels).astype(np.uint8).transpose(1, 2, 0)
        whole = open_picture(picture).convert("RGB" if channels == 3 else "L")
        scale = self.resize / min(whole.size)
        size = (max(round(whole.width * scale), width), max(round(whole.height * scale), height))
        pixels = np.asarray(whole.resize(size, Image.Resampling.BILINEAR))
        return pixels.reshape(*pixels.shape[:2], channels)

    def show(self, picture: Pixels, random: np.random.Generator) -> Pixels:
        """The network's input (height, width, channels) for a decoded picture, this time."""
        return augment(picture, self.shape[1], self.shape[2], self.kind, random)

    def bytes_each(self) -> float:
        """About how much memory a decoded picture takes; photographs are 4 to 3."""
        channels, height, width = self.shape
        area = height * width * _MARGIN**2 if self.resize is None else self.resize**2 * 4 / 3
        return area * channels


@dataclass(frozen=True)
class Batch:
    """Some pictures, raw values (n, channels, height, width), and a one for each class each of them has."""

    pictures: NDArray[np.float32]
    truth: NDArray[np.float32]


class Pictures:
    """One channel of a trainer.

    Args:
        reader: where its examples come from.
        look: how they are looked at.
        classes: how many there are.
        keep: whether all pictures stay in memory.
        sample: of how many pictures to keep a copy for `sampled`.
        expected: how many pictures an epoch should have, to take that sample from everywhere.

    Attributes:
        count: how many pictures the last epoch had.
    """

    def __init__(
        self, reader: ChannelReader, look: Look, classes: int, *, keep: bool, sample: int, expected: int
    ) -> None:
        self.count = 0
        self._reader = reader
        self._look = look
        self._classes = classes
        self._keep = keep
        self._every = max(expected // sample, 1)
        self._most = sample
        self._kept: list[_Known] = []
        self._sample: list[_Known] = []
        self._next = 0

    def positives(self) -> NDArray[np.int64]:
        """How many pictures have each class; where pictures are not kept, this takes an epoch of its own.

        Raises:
            TrainingError: at a record that cannot be used.
        """
        counts = np.zeros(self._classes, dtype=np.int64)
        for classes in self._labels():
            counts[list(classes)] += 1
        return counts

    def batches(self, size: int, random: np.random.Generator) -> Iterator[Batch]:
        """One epoch to learn from; its last batch is filled up from its first, as MXNet does.

        Args:
            size: pictures in a batch.
            random: decides how pictures are changed and, where they are kept, in which order they come.

        Raises:
            TrainingError: at a record or a picture that cannot be used.
        """
        waiting: list[_Known] = []
        first: list[_Known] = []
        for known in self._epoch(random):
            waiting.append(_Known(self._look.show(known.pixels, random), known.classes))
            if len(waiting) == size:
                yield self._batch(waiting)
                first = first or waiting
                waiting = []
        if waiting:
            yield self._batch((waiting + first)[:size])

    def plain(self, size: int) -> Iterator[Batch]:
        """One epoch to judge by: every picture once and unchanged; the last batch may be smaller.

        Raises:
            TrainingError: at a record or a picture that cannot be used.
        """
        yield from self._plain(self._epoch(None), size)

    def sampled(self, size: int) -> Iterator[Batch]:
        """Some of the pictures of the first epoch looked at, unchanged and mixed, in batches of one size."""
        known = (self._kept[:: self._every] if self._keep else self._sample)[: self._most]
        # A channel may be sorted by class, and a batch of one class is like no other.
        mixed = np.random.default_rng(0).permutation(len(known))
        yield from self._plain((known[index] for index in mixed[: len(known) // size * size or None]), size)

    def _plain(self, known: Iterator[_Known], size: int) -> Iterator[Batch]:
        _, height, width = self._look.shape
        while pictures := list(islice(known, size)):
            yield self._batch([_Known(center(one.pixels, height, width), one.classes) for one in pictures])

    def _epoch(self, random: np.random.Generator | None) -> Iterator[_Known]:
        if not self._keep:
            yield from self._stream()
            return
        self._fill()
        order = random.permutation(len(self._kept)) if random else range(len(self._kept))
        for index in order:
            yield self._kept[index]

    def _labels(self) -> Iterator[tuple[int, ...]]:
        if self._keep:
            self._fill()
            yield from (known.classes for known in self._kept)
        else:
            yield from (example.classes for example in self._examples())

    def _fill(self) -> None:
        if not self._kept:
            self._kept = list(self._stream())

    def _stream(self) -> Iterator[_Known]:
        first = not self._sample
        for number, example in enumerate(self._examples()):
            try:
                known = _Known(self._look.decode(example.picture), example.classes)
            except UnreadablePictureError as error:
                raise self._reader.broken(example, error) from error
            if first and not self._keep and number % self._every == 0:
                self._sample.append(known)
            yield known

    def _examples(self) -> Iterator[Example]:
        count = 0
        for example in self._reader.epoch(self._next):
            count += 1
            yield example
        self._next += 1
        self.count = count

    def _batch(self, known: Sequence[_Known]) -> Batch:
        pictures = np.stack([one.pixels for one in known]).astype(np.float32).transpose(0, 3, 1, 2)
        truth = np.zeros((len(known), self._classes), dtype=np.float32)
        for row, one in zip(truth, known, strict=True):
            row[list(one.classes)] = 1
        return Batch(np.ascontiguousarray(pictures), truth)


def fit_in_memory(pictures: int, look: Look, memory: int | None = None) -> bool:
    """Whether that many decoded pictures may be kept.

    Args:
        pictures: how many there will be.
        look: tells how large they are.
        memory: bytes they may take; by default a quarter of what the machine has free.
    """
    return pictures * look.bytes_each() <= (_free_memory() * _SHARE if memory is None else memory)


def _free_memory() -> int:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return _USUAL_MEMORY
