"""Measures of a classifier as functions of arrays: intervals, calibration, losses, what a threshold costs.

Every share comes with Wilson's 95 % interval (Wilson 1927, J. Am. Stat. Assoc. 22:209), which holds for few
pictures and for shares near 0 and 1, where the usual plus-or-minus does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Two-sided 95 % of the normal distribution.
_Z = 1.959963984540054
# Networks compute in 32 bits: what is nearer to 0 than this was rounded to it, and must not cost infinitely.
SMALLEST = float(np.finfo(np.float32).eps)

Interval = tuple[float, float]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def wilson(count: int, total: int) -> Interval | None:
    """The 95 % interval of the share `count / total`; None of nothing."""
    if not total:
        return None
    share = count / total
    center = (share + _Z**2 / (2 * total)) / (1 + _Z**2 / total)
    half = _Z / (1 + _Z**2 / total) * math.sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2))
    # Rounding must not put the share itself outside.
    return min(share, max(0.0, center - half)), max(share, min(1.0, center + half))


def mean_interval(shares: Sequence[float], intervals: Sequence[Interval]) -> Interval:
    """The 95 % interval of the mean of independent shares, from the interval of each.

    The distances of the shares from their ends are added as variances are (MOVER: Zou and Donner 2008,
    Statistics in Medicine 27:1693).
    """
    mean = sum(shares) / len(shares)
    below = math.hypot(*(share - low for share, (low, _) in zip(shares, intervals, strict=True)))
    above = math.hypot(*(high - share for share, (_, high) in zip(shares, intervals, strict=True)))
    return max(0.0, mean - below / len(shares)), min(1.0, mean + above / len(shares))


def f1(right: int, wrongly: int, missed: int) -> float | None:
    """The harmonic mean of precision and recall; None where a class neither occurred nor was answered."""
    total = 2 * right + wrongly + missed
    return 2 * right / total if total else None


def f1_interval(right: int, wrongly: int, missed: int) -> Interval | None:
    """The 95 % interval of F1.

    F1 rises with the share of hits among all pictures that are of the class or were taken for it, and that
    is a plain share (F*: Hand, Christen and Kirielle 2021, Machine Learning 110:451).
    """
    ends = wilson(right, right + wrongly + missed)
    return None if ends is None else (2 * ends[0] / (1 + ends[0]), 2 * ends[1] / (1 + ends[1]))


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of about the same confidence.

    Attributes:
        low: where the bin begins, itself not in it, except for the first bin.
        high: where it ends, itself in it.
        images: how many answers there are.
        confidence: their mean confidence.
        accuracy: the share of them that is right.
        interval: of that share.
    """

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float
    interval: Interval


def calibration(confidence: Floats, right: Bools, bins: int, *, equal_mass: bool) -> list[Bin]:
    """How often answers of each confidence are right; bins that are empty are left out.

    Args:
        confidence: of each answer, 0 to 1; shape (n,), n at least 1.
        right: whether it is right; shape (n,).
        bins: how many at most.
        equal_mass: bins of the same number of answers, as near as equal confidences allow; otherwise bins of
            the same width.
    """
    ends = np.linspace(0, 1, bins + 1)
    if equal_mass:
        rising, count = np.sort(confidence), len(confidence)
        # Confidences that occur, by whole numbers: between two of them, an edge would lie by rounding.
        ends = rising[[0, *(-(-count * place // bins) - 1 for place in range(1, bins + 1))]]
    place = np.searchsorted(ends[1:-1], confidence)
    found = []
    for index in np.unique(place):
        inside = place == index
        total, hits = int(inside.sum()), int(right[inside].sum())
        interval = wilson(hits, total) or (0.0, 1.0)
        mean = float(confidence[inside].mean())
        found.append(Bin(float(ends[index]), float(ends[index + 1]), total, mean, hits / total, interval))
    return found


def usual_bins(answers: int) -> int:
    """How many bins so many answers fill: ten, or as many as get ten answers each, but two."""
    return max(2, min(10, answers // 10))


def calibration_error(bins: Sequence[Bin]) -> float:
    """The expected calibration error: how far confidence and accuracy are apart, on the mean of all answers.

    Guo et al. 2017, On Calibration of Modern Neural Networks, https://arxiv.org/abs/1706.04599.
    """
    total = sum(each.images for each in bins)
    return sum(each.images * abs(each.accuracy - each.confidence) for each in bins) / total


@dataclass(frozen=True, slots=True)
class Threshold:
    """What becomes of the answers if those below a confidence are not given.

    Attributes:
        threshold: the confidence; answers of exactly that are given.
        answered: how many answers are given.
        right: how many of them are right.
        images: of how many pictures.
    """

    threshold: float
    answered: int
    right: int
    images: int

    @property
    def coverage(self) -> float:
        """The share of pictures that get an answer."""
        return self.answered / self.images

    @property
    def accuracy(self) -> float | None:
        """The share of the given answers that is right; None if none is given."""
        return self.right / self.answered if self.answered else None

    @property
    def interval(self) -> Interval | None:
        """Of the accuracy."""
        return wilson(self.right, self.answered)


def at_threshold(confidence: Floats, right: Bools, threshold: float) -> Threshold:
    """What one threshold does."""
    given = confidence >= threshold
    return Threshold(threshold, int(given.sum()), int(right[given].sum()), len(confidence))


def trade(confidence: Floats, right: Bools) -> list[Threshold]:
    """What every threshold does at which anything changes, the highest first."""
    order = np.argsort(-confidence, kind="stable")
    falling, hits = confidence[order], np.cumsum(right[order])
    # Equal confidences are given, or not given, together.
    last = np.flatnonzero(np.diff(falling, append=-1.0))
    return [Threshold(float(falling[i]), int(i) + 1, int(hits[i]), len(falling)) for i in last]


def threshold_for(steps: Sequence[Threshold], accuracy: float, least: int = 10) -> Threshold | None:
    """The threshold with the most answers whose accuracy is at least that; None if there is none.

    Args:
        steps: what `trade` returns.
        accuracy: what is wanted.
        least: of fewer answers nothing can be said: the surest few are right by chance often enough.
    """
    good = [step for step in steps if step.answered >= least and (step.accuracy or 0.0) >= accuracy]
    return max(good, key=lambda step: step.answered, default=None)


def log_loss(probabilities: Floats, truth: NDArray[np.int64]) -> float:
    """The mean of minus the natural logarithm of the probability that the true class was given."""
    given = probabilities[np.arange(len(truth)), truth]
    return float(-np.log(np.clip(given, SMALLEST, 1.0)).mean())


def brier(probabilities: Floats, truth: NDArray[np.int64]) -> float:
    """Brier's score as he defined it, the squared errors of all classes together: 0 is best, 2 is worst.

    Brier 1950, Monthly Weather Review 78:1.
    """
    errors = probabilities.copy()
    errors[np.arange(len(truth)), truth] -= 1
    return float((errors**2).sum(axis=1).mean())


def within(probabilities: Floats, truth: NDArray[np.int64], most: int) -> int:
    """How many pictures have their class among the `most` probable ones; of equals, the first count."""
    given = probabilities[np.arange(len(truth)), truth][:, None]
    places = np.arange(probabilities.shape[1])[None, :]
    ahead = (probabilities > given) | ((probabilities == given) & (places < truth[:, None]))
    return int((ahead.sum(axis=1) < most).sum())


def average_precision(scores: Floats, positive: Bools) -> float | None:
    """The area under the steps of precision over recall; None if no picture is of the class.

    Manning, Raghavan and Schütze 2008, Introduction to Information Retrieval, chapter 8.4. Equal scores
    count as one step.
    """
    total = int(positive.sum())
    if not total:
        return None
    order = np.argsort(-scores, kind="stable")
    falling, hits = scores[order], np.cumsum(positive[order])
    last = np.flatnonzero(np.diff(falling, append=-np.inf))
    precision, recall = hits[last] / (last + 1), hits[last] / total
    return float((np.diff(recall, prepend=0.0) * precision).sum())
