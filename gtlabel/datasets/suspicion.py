"""Which labels to look at first, and why.

A reason is a sentence about one image. Their order says how often such a label turns out wrong: one
picture under two classes has one wrong label for certain, an odd size mostly none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

from gtlabel.datasets.statistics import LabelStatistics
from gtlabel.datasets.thumbnails import Sight
from gtlabel.uris import S3Uri

Kind = Literal["twin", "disputed", "unreadable", "leak", "unsure", "odd"]

# How much each kind of reason weighs; those of one image are added up.
WEIGHTS: Final[Mapping[Kind, float]] = {
    "twin": 100,
    "disputed": 80,
    "unreadable": 70,
    "leak": 60,
    "unsure": 40,
    "odd": 10,
}
# The least sure twentieth of a job; a confidence ranks within one job and is no probability
# (contract/ground-truth.md §5.4).
_UNSURE_SHARE = 0.05
# Fewer pictures than this have no usual size.
_USUAL_FROM = 20
# Where this many times the usual distance from the middle is left behind, a size is odd.
_FAR = 6.0
# The least that counts as a distance, as a ratio: among pictures of one camera none is odd for a few pixels.
_LEAST = math.log(1.25)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a label is suspicious.

    Attributes:
        kind: what was found.
        sentence: for people; it ends the sentence "this image ...".
        weight: how much it says, with other reasons of its kind.
        other: the image that it is compared with; None where it is not.
    """

    kind: Kind
    sentence: str
    weight: float
    other: S3Uri | None = None


@dataclass(frozen=True, slots=True)
class Doubt:
    """How sure a job is of its labels.

    Attributes:
        low: the confidence that one label in twenty does not exceed.
        middle: the confidence that half of them do not exceed.
    """

    low: float
    middle: float


def disputed(class_name: str, others: Sequence[str]) -> Reason | None:
    """Whether jobs gave it different classes."""
    if not others:
        return None
    told = " and ".join(repr(name) for name in others)
    return Reason(
        "disputed", f"was called {told} too, before {class_name!r} was settled on", WEIGHTS["disputed"]
    )


def doubts(statistics: LabelStatistics) -> dict[str, Doubt]:
    """What counts as doubt in each job."""
    return {
        job: Doubt(of_job.quantile(_UNSURE_SHARE) or 0.0, of_job.quantile(0.5) or 0.0)
        for job, of_job in statistics.of_job.items()
    }


def unsure(confidence: float | None, of_job: Doubt) -> Reason | None:
    """Whether its job was less sure of it than of nearly all others, and of half of them by something."""
    if not confidence or confidence > of_job.low or confidence >= of_job.middle:
        return None
    usual = f"half have {of_job.middle:.2f} or more"
    sentence = f"is among the least certain of its job: {confidence:.2f}; {usual}"
    return Reason("unsure", sentence, WEIGHTS["unsure"] * (1 - confidence) + 1)


class Usual:
    """The sizes that pictures of a dataset usually have."""

    def __init__(self, sights: Sequence[Sight]) -> None:
        sound = [sight for sight in sights if sight.width and sight.height]
        self._areas = _Middle([_area(sight) for sight in sound])
        self._shapes = _Middle([_shape(sight) for sight in sound])

    def odd(self, sight: Sight) -> Reason | None:
        """Whether a picture is far larger or smaller, or of quite another shape, than usual."""
        if not (sight.width and sight.height):
            return None
        for middle, value, what in (
            (self._areas, _area(sight), "size"),
            (self._shapes, _shape(sight), "shape"),
        ):
            if middle.is_far(value):
                sentence = f"has an odd {what}: {sight.width} x {sight.height} pixels"
                return Reason("odd", sentence, WEIGHTS["odd"])
        return None


class _Middle:
    """The middle of many values, and how far from it they usually are."""

    def __init__(self, values: Sequence[float]) -> None:
        self._knows = len(values) >= _USUAL_FROM
        if self._knows:
            self._median = median(values)
            self._spread = max(median(abs(value - self._median) for value in values), _LEAST / 2)

    def is_far(self, value: float) -> bool:
        return self._knows and abs(value - self._median) > _FAR * self._spread


def _area(sight: Sight) -> float:
    return math.log(sight.width * sight.height) / 2


def _shape(sight: Sight) -> float:
    # Upright or lying is a matter of how the camera was held.
    return abs(math.log(sight.width / sight.height))
