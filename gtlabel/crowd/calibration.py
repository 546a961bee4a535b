"""Whether a probability means what it says: of all labels with 0.8, four in five should be right.

Whoever has the truth of some objects asks here how far stated and real accuracy lie apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gtlabel.crowd.intervals import Estimate, share
from gtlabel.errors import EvaluationError

# Sums in another order differ in their last digits.
_DIGITS = 9
# More labels than this are resampled in so many random groups, so that the work does not grow with them.
_GROUPS = 2000


@dataclass(frozen=True, slots=True)
class Bin:
    """Labels that state about the same probability.

    Attributes:
        low: from where it reaches, this value included except for the lowest bin's 0.
        high: up to where, this value included.
        count: how many labels.
        confidence: what they state, on average.
        accuracy: how many of them are right.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class Group:
    """Labels of objects that have something in common.

    Attributes:
        count: how many labels.
        confidence: what they state, on average; nan without any.
        accuracy: how many of them are right.
    """

    count: int
    confidence: float
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class Reliability:
    """Stated against real accuracy.

    Attributes:
        bins: those that hold labels, the least sure first.
        all: every label.
        error: the expected calibration error; its interval resamples labels. Both are above zero for perfect
            probabilities too, the more so the fewer labels there are: see `noise`.
        noise: about the expected calibration error that perfect probabilities would show on as many labels,
            by chance alone.
        tied: labels whose object has another class with as high a probability; None where that is not known.
        single: labels of objects with one answer; None where that is not known.
    """

    bins: tuple[Bin, ...]
    all: Group
    error: Estimate
    noise: float
    tied: Group | None
    single: Group | None


def expected_calibration_error(
    confidence: ArrayLike,
    right: ArrayLike,
    bins: int = 10,
    kind: Literal["width", "count"] = "width",
) -> float:
    """The mean distance between stated and real accuracy over bins, each weighted by its labels.

    Naeini, Cooper & Hauskrecht (2015, https://doi.org/10.1609/aaai.v29i1.9602); `n` labels in `(a, b]`.

    Args:
        confidence: the probability each label states, from 0 to 1.
        right: whether each label is right.
        bins: into how many bins the labels go.
        kind: bins of equal `width`, as is usual, or of equal `count`.

    Returns:
        From 0 to 1; nan without labels.

    Raises:
        EvaluationError: if there is not one probability from 0 to 1 and one truth for each label, or no bin.
    """
    stated, correct = _checked(confidence, right, bins, kind)
    if not len(stated):
        return math.nan
    where, number = _places(stated, bins, kind)
    return float(_error(where, number, stated, correct))


def reliability(
    confidence: ArrayLike,
    right: ArrayLike,
    bins: int = 10,
    *,
    kind: Literal["width", "count"] = "width",
    tied: ArrayLike | None = None,
    answers: ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = 500,
    seed: int = 0,
) -> Reliability:
    """Stated against real accuracy in bins, with intervals; ties and objects with one answer apart.

    Args:
        confidence: the probability each label states, from 0 to 1.
        right: whether each label is right.
        bins: into how many bins the labels go.
        kind: bins of equal `width` or of equal `count`.
        tied: whether each label was as probable as another class (`Consensus.tied`).
        answers: how many answers each object has.
        level: how often intervals hold the truth.
        resamples: how many times labels are drawn anew.
        seed: of the drawing.

    Raises:
        EvaluationError: if there is not one probability from 0 to 1 and one truth for each label, or no bin.
    """
    stated, correct = _checked(confidence, right, bins, kind)
    for name, given in (("tied", tied), ("answers", answers)):
        if given is not None and np.shape(given) != stated.shape:
            raise EvaluationError(
                f"{name} wants one value for each of {len(stated)} labels; got {np.shape(given)}"
            )
    where, number = _places(stated, bins, kind) if len(stated) else (np.zeros(0, np.intp), 0)
    found = []
    for index in range(number):
        here = where == index
        if count := int(here.sum()):
            inside = stated[here]
            low, high = (
                (index / bins, (index + 1) / bins) if kind == "width" else (inside.min(), inside.max())
            )
            found.append(
                Bin(
                    float(low),
                    float(high),
                    count,
                    float(inside.mean()),
                    share(float(correct[here].sum()), count, level),
                )
            )
    every = np.ones(len(stated), dtype=bool)
    return Reliability(
        bins=tuple(found),
        all=_group(stated, correct, every, level),
        error=_error_drawn(stated, correct, where, number, level, resamples, seed),
        noise=_noise(where, number, stated),
        tied=None if tied is None else _group(stated, correct, np.asarray(tied, bool), level),
        single=None if answers is None else _group(stated, correct, np.asarray(answers) == 1, level),
    )


def _checked(
    confidence: ArrayLike, right: ArrayLike, bins: int, kind: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    stated, correct = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    if stated.shape != correct.shape or stated.ndim != 1:
        raise EvaluationError(
            f"calibration wants one probability and one truth for each label; got arrays of the shapes "
            f"{stated.shape} and {correct.shape}"
        )
    if np.isnan(stated).any() or np.isnan(correct).any():
        raise EvaluationError("calibration wants numbers; leave out labels without a probability or truth")
    if len(stated) and not (stated.min() >= 0 and stated.max() <= 1):
        raise EvaluationError("calibration wants probabilities from 0 to 1; divide percentages by 100")
    if bins < 1 or kind not in ("width", "count"):
        raise EvaluationError(
            f"there are no {bins} bins of equal {kind}; give 1 or more, of equal width or count"
        )
    return stated, correct


def _places(
    stated: NDArray[np.float64], bins: int, kind: Literal["width", "count"]
) -> tuple[NDArray[np.intp], int]:
    """The bin of each label, and how many bins there are."""
    if kind == "width":
        # Rounded, since 0.7 * 10 is a little more than 7.
        where = np.ceil(np.round(stated * bins, _DIGITS)).astype(np.intp) - 1
        return np.clip(where, 0, bins - 1), bins
    # Labels that state the same stay together, whatever their order.
    _, inverse, counts = np.unique(stated, return_inverse=True, return_counts=True)
    before = np.cumsum(counts) - counts
    middle = before + counts / 2
    of_value = np.minimum((middle * bins / len(stated)).astype(np.intp), bins - 1)
    return of_value[inverse.reshape(-1)], bins


def _error(
    where: NDArray[np.intp], number: int, stated: NDArray[np.float64], correct: NDArray[np.float64]
) -> float:
    apart = np.bincount(where, weights=stated - correct, minlength=number)
    return float(np.abs(apart).sum() / len(stated))


def _error_drawn(
    stated: NDArray[np.float64],
    correct: NDArray[np.float64],
    where: NDArray[np.intp],
    number: int,
    level: float,
    resamples: int,
    seed: int,
) -> Estimate:
    labels = len(stated)
    if not labels:
        return Estimate(math.nan, math.nan, math.nan)
    random = np.random.default_rng(seed)
    groups = min(labels, _GROUPS)
    cell = (random.permutation(labels) % groups) * number + where
    apart = np.bincount(cell, weights=stated - correct, minlength=groups * number).reshape(groups, number)
    drawn = random.multinomial(groups, np.full(groups, 1 / groups), size=resamples) @ apart
    value = _error(where, number, stated, correct)
    tail = (1 - level) / 2
    low, high = np.quantile(np.abs(drawn).sum(axis=1) / labels, [tail, 1 - tail])
    return Estimate(value, min(float(low), value), max(float(high), value))


def _noise(where: NDArray[np.intp], number: int, stated: NDArray[np.float64]) -> float:
    """What chance does to each bin: the mean size of a normal deviation, summed."""
    if not len(stated):
        return math.nan
    spread = np.sqrt(np.bincount(where, weights=stated * (1 - stated), minlength=number))
    return float(spread.sum() * math.sqrt(2 / math.pi) / len(stated))


def _group(
    stated: NDArray[np.float64], correct: NDArray[np.float64], chosen: NDArray[np.bool_], level: float
) -> Group:
    count = int(chosen.sum())
    mean = float(stated[chosen].mean()) if count else math.nan
    return Group(count, mean, share(float(correct[chosen].sum()), count, level))
