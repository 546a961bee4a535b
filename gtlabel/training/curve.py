r"""What a training program's lines say about how well it learns: points, one for each epoch, and their curve.

The lines are those of AWS's built-in image classification (contract/training.md §1.7), which all trainers
of gtlabel print as well:

    Epoch[2] Batch [20]\tSpeed: 155.4 samples/sec\taccuracy=0.087
    Epoch[2] Train-accuracy=0.104427
    Epoch[2] Time cost=97.0
    Epoch[2] Validation-accuracy=0.164062
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

TRAIN, VALIDATION, SECONDS, SPEED = "train:accuracy", "validation:accuracy", "seconds", "speed"

_NUMBER = r"(?P<value>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf)"
_EPOCH = r"Epoch\[(?P<epoch>\d+)\] "
_MEASURED = re.compile(rf"{_EPOCH}(?P<channel>Train|Validation)-(?P<name>[\w-]+)={_NUMBER}(?![\w.])")
_TIME = re.compile(rf"{_EPOCH}Time cost={_NUMBER}(?![\w.])")
_BATCH = re.compile(rf"{_EPOCH}Batch \[(?P<batch>\d+)\].*?Speed: {_NUMBER} samples/sec")


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that a training program printed.

    Attributes:
        name: such as `train:accuracy`, as the service names its metrics; `seconds` for how long an epoch
            took, and `speed` for pictures in a second.
        value: always finite.
        epoch: counted from 0, as the program does.
        batch: within the epoch, for what is measured in the middle of one.
    """

    name: str
    value: float
    epoch: int
    batch: int | None = None


def read_metric(line: str) -> Metric | None:
    """The number that a line tells; None for any other line."""
    if "Epoch[" not in line:
        return None
    for pattern in (_MEASURED, _TIME, _BATCH):
        found = pattern.search(line)
        if found is None:
            continue
        value = float(found["value"])
        if not math.isfinite(value):
            return None
        epoch = int(found["epoch"])
        if pattern is _TIME:
            return Metric(SECONDS, value, epoch)
        if pattern is _BATCH:
            return Metric(SPEED, value, epoch, int(found["batch"]))
        return Metric(f"{found['channel'].lower()}:{found['name']}", value, epoch)
    return None


@dataclass(frozen=True, slots=True)
class Point:
    """One epoch.

    Attributes:
        epoch: counted from 0.
        train: the share of training pictures that were right, 0 to 1.
        validation: the same of the validation channel.
        seconds: how long it took.
    """

    epoch: int
    train: float | None = None
    validation: float | None = None
    seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {
            "epoch": self.epoch,
            "train": self.train,
            "validation": self.validation,
            "seconds": self.seconds,
        }


class Curve:
    """The epochs of a job, as its lines tell them.

    A job that goes on from a checkpoint prints an epoch again: what came last holds.
    """

    def __init__(self) -> None:
        self.speed: float | None = None
        self._points: dict[int, Point] = {}

    def add(self, metric: Metric) -> None:
        """Take in what a line said."""
        if metric.name == SPEED:
            self.speed = metric.value
        point = self._points.get(metric.epoch) or Point(metric.epoch)
        if metric.name == TRAIN:
            self._points[metric.epoch] = replace(point, train=metric.value)
        elif metric.name == VALIDATION:
            self._points[metric.epoch] = replace(point, validation=metric.value)
        elif metric.name == SECONDS:
            self._points[metric.epoch] = replace(point, seconds=metric.value)

    @property
    def points(self) -> tuple[Point, ...]:
        """The epochs in their order."""
        return tuple(self._points[epoch] for epoch in sorted(self._points))

    @property
    def best(self) -> Point | None:
        """The first epoch of those with the best validation accuracy."""
        judged = [point for point in self.points if point.validation is not None]
        return max(judged, key=lambda point: point.validation or 0.0, default=None)


def read_curve(lines: Iterable[str]) -> Curve:
    """The curve that a log holds."""
    curve = Curve()
    for line in lines:
        metric = read_metric(line)
        if metric is not None:
            curve.add(metric)
    return curve


@dataclass(frozen=True, slots=True)
class _Pens:
    train: str
    validation: str
    both: str
    axis: str
    corner: str
    floor: str


_FINE = _Pens("·", "●", "●", "┤", "└", "─")
_PLAIN = _Pens(".", "*", "*", "|", "+", "-")
_LABEL = 5  # the width of a share on the left, and the blank behind it
_NARROWEST = 24


def draw(points: Sequence[Point], *, width: int, height: int = 8, fine: bool = True) -> list[str]:
    """The accuracies of a job as lines of text, the newest epoch at the right.

    Args:
        points: what to draw; nothing is drawn of none.
        width: columns that may be used; with more epochs than columns, each column is the mean of several.
        height: rows of the drawing itself; an axis and a legend come below.
        fine: whether the terminal knows more than ASCII.
    """
    measured = [point for point in points if point.train is not None or point.validation is not None]
    if not measured:
        return []
    pens = _FINE if fine else _PLAIN
    columns = max(_NARROWEST, width) - _LABEL - 1
    train = _fitted([point.train for point in measured], columns)
    validation = _fitted([point.validation for point in measured], columns)
    low, high = _span([value for value in (*train, *validation) if value is not None])
    across = max(1, min(columns, 2 * len(measured)) // max(1, len(train)))
    rows = [[" "] * (across * len(train)) for _ in range(height)]
    for values, pen in ((train, pens.train), (validation, pens.validation)):
        for place, value in enumerate(values):
            if value is not None:
                below = round((value - low) / (high - low) * (height - 1))
                rows[height - 1 - below][place * across + across - 1] = pen
    lines = []
    for number, row in enumerate(rows):
        share = high - (high - low) * number / max(1, height - 1)
        label = f"{share:4.0%}" if number in (0, height - 1) or number == height // 2 else ""
        lines.append(f"{label:>{_LABEL - 1}} {pens.axis}{''.join(row).rstrip()}")
    lines.append(f"{'':{_LABEL}}{pens.corner}{pens.floor * (across * len(train))}")
    lines.append(f"{'':{_LABEL + 1}}{_legend(measured, pens, columns)}")
    return lines


def _fitted(values: Sequence[float | None], columns: int) -> list[float | None]:
    """At most so many values: the means of equal shares of them."""
    count = min(len(values), columns)
    shares = (
        values[place * len(values) // count : (place + 1) * len(values) // count] for place in range(count)
    )
    return [_mean(value for value in share if value is not None) for share in shares]


def _mean(values: Iterator[float]) -> float | None:
    listed = list(values)
    return sum(listed) / len(listed) if listed else None


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Tenths around all values, at least two of them apart, within 0 and 1 where the values are."""
    low, high = math.floor(min(values) * 10) / 10, math.ceil(max(values) * 10) / 10
    if high - low < 0.2:
        low, high = (low - 0.2, high) if high >= 0.2 else (low, low + 0.2)
    return low, high


def _legend(points: Sequence[Point], pens: _Pens, columns: int) -> str:
    """What the marks mean and where they end, as far as there is room for it."""
    last = points[-1]
    text = f"epochs {points[0].epoch} to {last.epoch}" if len(points) > 1 else f"epoch {last.epoch}"
    for pen, name, value in (
        (pens.train, "train", last.train),
        (pens.validation, "validation", last.validation),
    ):
        more = "" if value is None else f"   {pen} {name} {value:.1%}"
        text += more if len(text) + len(more) <= columns else ""
    return text
