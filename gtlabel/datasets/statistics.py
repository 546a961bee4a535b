"""What can be counted in a dataset, one image at a time and in little memory.

Histograms have fixed bins, so that two datasets, or two days, can be compared bar by bar.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_SIDES = (128, 256, 512, 1024, 2048, 4096)
_SIDE_NAMES = ("under 128", "from 128", "from 256", "from 512", "from 1024", "from 2048", "from 4096")
_KIB = 1024
_WEIGHTS = (16 * _KIB, 64 * _KIB, 256 * _KIB, _KIB**2, 4 * _KIB**2)
_WEIGHT_NAMES = ("under 16 KiB", "from 16 KiB", "from 64 KiB", "from 256 KiB", "from 1 MiB", "from 4 MiB")
# Halfway, by ratio, between the shapes that cameras and screens have.
_SHAPES = (0.5, 0.612, 0.707, 0.866, 1.155, 1.414, 1.633, 2.0)
_SHAPE_NAMES = ("taller", "9:16", "2:3", "3:4", "1:1", "4:3", "3:2", "16:9", "wider")
_HUNDREDTHS = 100


@dataclass(slots=True)
class Histogram:
    """How many fell into which bin.

    Attributes:
        names: what the bins are called, in order.
        edges: where each bin but the first begins.
        counts: how many are in each bin.
    """

    names: tuple[str, ...]
    edges: tuple[float, ...]
    counts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * len(self.names)

    def add(self, value: float) -> None:
        """Count one."""
        self.counts[bisect_right(self.edges, value)] += 1

    @property
    def total(self) -> int:
        """How many were counted."""
        return sum(self.counts)

    @property
    def bars(self) -> list[tuple[str, int]]:
        """The bins from the first to the last that is not empty."""
        filled = [position for position, count in enumerate(self.counts) if count]
        if not filled:
            return []
        return list(zip(self.names, self.counts, strict=True))[filled[0] : filled[-1] + 1]

    def to_json(self) -> list[dict[str, Any]]:
        """Every bin, empty ones too."""
        return [{"bin": name, "images": count} for name, count in zip(self.names, self.counts, strict=True)]


def sides() -> Histogram:
    """An empty histogram of the longer side in pixels."""
    return Histogram(_SIDE_NAMES, _SIDES)


def weights() -> Histogram:
    """An empty histogram of file sizes in bytes."""
    return Histogram(_WEIGHT_NAMES, _WEIGHTS)


def shapes() -> Histogram:
    """An empty histogram of width over height, as people see the picture."""
    return Histogram(_SHAPE_NAMES, _SHAPES)


class Confidences:
    """Confidences of labels, as Ground Truth writes them: with two decimals.

    0.0 says that one worker answered and nothing of doubt (contract/ground-truth.md §5.4); it is counted
    apart, and so is a label that has none.
    """

    def __init__(self) -> None:
        self._hundredths = [0] * (_HUNDREDTHS + 1)
        self.one_answer = 0
        self.unknown = 0

    def add(self, confidence: float | None) -> None:
        """Count one label."""
        if confidence is None:
            self.unknown += 1
        elif confidence == 0:
            self.one_answer += 1
        else:
            self._hundredths[round(confidence * _HUNDREDTHS)] += 1

    @property
    def total(self) -> int:
        """How many labels have a confidence that says something."""
        return sum(self._hundredths)

    def quantile(self, share: float) -> float | None:
        """The confidence that this share of the labels does not exceed; None where there is none."""
        wanted = share * self.total
        seen = 0
        for hundredth, count in enumerate(self._hundredths):
            seen += count
            if count and seen >= wanted:
                return hundredth / _HUNDREDTHS
        return None

    @property
    def histogram(self) -> Histogram:
        """In ten bins; the last one holds 1.0 too."""
        edges = tuple(tenth / 10 for tenth in range(1, 10))
        names = tuple(f"from {tenth / 10:.1f}" for tenth in range(10))
        histogram = Histogram(names, edges)
        for hundredth, count in enumerate(self._hundredths):
            histogram.counts[min(hundredth // 10, 9)] += count
        return histogram

    def to_json(self) -> dict[str, Any]:
        """The histogram, the median, and what is counted apart."""
        return {
            "histogram": self.histogram.to_json(),
            "median": self.quantile(0.5),
            "one_answer": self.one_answer,
            "unknown": self.unknown,
        }


@dataclass(slots=True)
class LabelStatistics:
    """What the lines of a dataset say.

    Attributes:
        classes: every class, those without an image too.
        channels: in the order they are shown.
        counts: images by class and channel.
        confidence: of all labels; each class has its own in `of_class`, each job in `of_job`.
        by_human: labels that people gave.
        jobs: labels by the job that gave the one that holds.
        disputed: images on which jobs disagreed, by the class that holds and one that was dropped.
        disputed_images: how many images that are.
        repeated_images: images that several jobs labeled, whatever they said.
    """

    classes: Sequence[str]
    channels: Sequence[str]
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    confidence: Confidences = field(default_factory=Confidences)
    of_class: defaultdict[str, Confidences] = field(default_factory=lambda: defaultdict(Confidences))
    of_job: defaultdict[str, Confidences] = field(default_factory=lambda: defaultdict(Confidences))
    by_human: int = 0
    jobs: Counter[str] = field(default_factory=Counter)
    disputed: Counter[tuple[str, str]] = field(default_factory=Counter)
    disputed_images: int = 0
    repeated_images: int = 0

    def add(
        self,
        class_name: str,
        channel: str,
        *,
        confidence: float | None,
        by_human: bool,
        job: str,
        others: Sequence[str] = (),
        labels: int = 1,
    ) -> None:
        """Count one image.

        Args:
            class_name: the label that holds.
            channel: where the image is.
            confidence: of the label.
            by_human: whether people gave it.
            job: which job gave it; empty where the line does not say.
            others: the classes that were dropped.
            labels: how many labels there were, of as many jobs.
        """
        self.counts[class_name, channel] += 1
        self.confidence.add(confidence)
        self.of_class[class_name].add(confidence)
        self.of_job[job].add(confidence)
        self.by_human += by_human
        self.jobs[job] += 1
        if others:
            self.disputed_images += 1
            self.disputed.update((class_name, other) for other in others)
        self.repeated_images += labels > 1 or bool(others)

    @property
    def images(self) -> int:
        """How many images there are."""
        return self.counts.total()

    @property
    def agreement(self) -> float | None:
        """Of the images that several jobs labeled, the share on which they agree; None without any."""
        return 1 - self.disputed_images / self.repeated_images if self.repeated_images else None

    @property
    def rows(self) -> Iterator[tuple[str, list[int], int]]:
        """Each class with its images by channel, and in all."""
        for name in self.classes:
            counts = [self.counts[name, channel] for channel in self.channels]
            yield name, counts, sum(counts)

    @property
    def balance(self) -> float | None:
        """The largest class over the smallest; None if one is empty."""
        sizes = [size for _, _, size in self.rows]
        return max(sizes) / min(sizes) if all(sizes) else None

    def of_channel(self, channel: str) -> int:
        """How many images a channel has."""
        return sum(count for (_, place), count in self.counts.items() if place == channel)

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "images": self.images,
            "channels": {channel: self.of_channel(channel) for channel in self.channels},
            "classes": [
                {
                    "name": name,
                    "images": size,
                    "channels": dict(zip(self.channels, counts, strict=True)),
                    "median_confidence": self.of_class[name].quantile(0.5),
                }
                for name, counts, size in self.rows
            ],
            "confidence": self.confidence.to_json(),
            "human": self.by_human,
            "machine": self.images - self.by_human,
            "jobs": dict(self.jobs.most_common()),
            "labeled_by_several_jobs": self.repeated_images,
            "agreement": self.agreement,
            "disputed": [
                {"kept": kept, "dropped": dropped, "images": count}
                for (kept, dropped), count in self.disputed.most_common()
            ],
        }


@dataclass(slots=True)
class PictureStatistics:
    """What the files of a dataset say.

    Attributes:
        looked_at: how many were fetched.
        unreadable: how many are no sound picture, or not there.
        sides: the longer side in pixels.
        shapes: width over height.
        weights: bytes.
        formats: JPEG, PNG.
        duplicates: pictures that show what another one shows.
        twins: those of them whose twin has another class.
        leaks: those of them whose twin is in another channel.
    """

    looked_at: int = 0
    unreadable: int = 0
    sides: Histogram = field(default_factory=sides)
    shapes: Histogram = field(default_factory=shapes)
    weights: Histogram = field(default_factory=weights)
    formats: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    twins: int = 0
    leaks: int = 0

    def add(self, width: int, height: int, size: int, kind: str) -> None:
        """Count one sound picture.

        Args:
            width: pixels in a row, as people see it.
            height: rows of pixels.
            size: bytes of the file.
            kind: its format.
        """
        self.sides.add(max(width, height))
        self.shapes.add(width / height)
        self.weights.add(size)
        self.formats[kind] += 1

    @property
    def histograms(self) -> Mapping[str, Histogram]:
        """The histograms by what they count."""
        return {"longer side in pixels": self.sides, "shape": self.shapes, "file size": self.weights}

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "looked_at": self.looked_at,
            "unreadable": self.unreadable,
            "formats": dict(self.formats.most_common()),
            "duplicates": self.duplicates,
            "twins_of_another_class": self.twins,
            "leaks": self.leaks,
            "sides": self.sides.to_json(),
            "shapes": self.shapes.to_json(),
            "bytes": self.weights.to_json(),
        }
