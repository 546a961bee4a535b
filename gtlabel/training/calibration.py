"""From scores to probabilities that hold what they say.

One class for each picture: scores times a common factor, the inverse temperature, go through a softmax (Guo
et al. 2017, https://arxiv.org/abs/1706.04599). Several: each class has a factor and an offset of its own
before a sigmoid (Platt 1999), fitted to his smoothed targets. Both are fitted to scores of pictures that
had been left out, so that they know how much the scores are worth for new ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gtlabel.networks.measures import calibration, calibration_error, usual_bins

Floats64 = NDArray[np.float64]

_FACTORS = np.geomspace(1, 80, 40)
_STEPS = 30
_LEAST_LIKELY = 1e-12
# A class whose score says nothing, or that only a few pictures have, gets no steeper than this.
_STEEPEST = 40.0


@dataclass(frozen=True)
class Calibration:
    """What scores are multiplied by and what is added, for each class, and how well that does.

    Attributes:
        gain: shape (classes,).
        bias: shape (classes,).
        likelihoods: the logarithm of what each picture's truth is given, shape (n,).
    """

    gain: Floats64
    bias: Floats64
    likelihoods: Floats64

    @property
    def likelihood(self) -> float:
        """The mean of all pictures."""
        return float(self.likelihoods.mean())


class Calibrator(Protocol):
    """How scores become probabilities."""

    def fit(self, scores: Floats64, truth: Floats64) -> Calibration:
        """The best calibration for scores (n, classes) of pictures that were left out."""

    def probabilities(self, scores: Floats64, calibration: Calibration) -> Floats64:
        """The probabilities, shape (n, classes)."""

    def plain(self, scores: Floats64) -> Floats64:
        """What the scores would be taken for without calibration, shape (n, classes)."""

    def error(self, probabilities: Floats64, truth: Floats64) -> float:
        """The expected calibration error."""


class OneClass:
    """A picture has one class: softmax."""

    def fit(self, scores: Floats64, truth: Floats64) -> Calibration:
        """The factor with the best likelihood."""
        own = (scores * truth).sum(axis=1)
        largest = scores.max(axis=1)

        fits = []
        classes = scores.shape[1]
        for factor in _FACTORS:
            powers = np.exp(factor * (scores - largest[:, None])).sum(axis=1)
            likelihoods = factor * (own - largest) - np.log(powers)
            fits.append(Calibration(np.full(classes, factor), np.zeros(classes), likelihoods))
        return max(fits, key=lambda fit: fit.likelihood)

    def probabilities(self, scores: Floats64, calibration: Calibration) -> Floats64:
        """The softmax."""
        powers = scores * calibration.gain + calibration.bias
        powers = np.exp(powers - powers.max(axis=1, keepdims=True))
        shares: Floats64 = powers / powers.sum(axis=1, keepdims=True)
        return shares

    def plain(self, scores: Floats64) -> Floats64:
        """Shares: the scores are estimates of them, though not always between 0 and 1."""
        positive = np.clip(scores, _LEAST_LIKELY, 1)
        shares: Floats64 = positive / positive.sum(axis=1, keepdims=True)
        return shares

    def error(self, probabilities: Floats64, truth: Floats64) -> float:
        """Of the answers, one for each picture."""
        right = probabilities.argmax(axis=1) == truth.argmax(axis=1)
        return _error(probabilities.max(axis=1), right)


class ManyClasses:
    """A picture has any number of classes: a sigmoid for each.

    Args:
        weighted: whether a class counts as much as its absence, however rare it is.
    """

    def __init__(self, *, weighted: bool = False) -> None:
        self._weighted = weighted

    def fit(self, scores: Floats64, truth: Floats64) -> Calibration:
        """A factor and an offset for each class."""
        fits = [self._one(scores[:, k], truth[:, k]) for k in range(scores.shape[1])]
        gain, bias, likelihoods = (np.array(values) for values in zip(*fits, strict=True))
        return Calibration(gain, bias, likelihoods.mean(axis=0))

    def probabilities(self, scores: Floats64, calibration: Calibration) -> Floats64:
        """The sigmoids."""
        likely: Floats64 = 0.5 + 0.5 * np.tanh(0.5 * (scores * calibration.gain + calibration.bias))
        return likely

    def plain(self, scores: Floats64) -> Floats64:
        """The scores themselves, which estimate shares."""
        return np.clip(scores, 0, 1)

    def error(self, probabilities: Floats64, truth: Floats64) -> float:
        """Of all decisions, one for each class and picture."""
        yes = probabilities >= 0.5
        confidence = np.where(yes, probabilities, 1 - probabilities)
        return _error(confidence.ravel(), (yes == (truth > 0)).ravel())

    def _one(self, scores: Floats64, truth: Floats64) -> tuple[float, float, Floats64]:
        positives = float(truth.sum())
        negatives = len(truth) - positives
        target = np.where(truth > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2))
        weights = np.ones_like(scores)
        if self._weighted:
            weights[truth > 0] = max(negatives, 1.0) / max(positives, 1.0)
        columns = np.stack([scores, np.ones_like(scores)], axis=1)
        found = np.array([0.0, np.log((positives + 1) / (negatives + 1))])
        for _ in range(_STEPS):
            likely = 0.5 + 0.5 * np.tanh(0.5 * columns @ found)
            slope = columns.T @ (weights * (likely - target)) + np.array([1e-3, 0]) * found
            curve = (columns * (weights * likely * (1 - likely))[:, None]).T @ columns
            found = found - np.linalg.solve(curve + np.diag([1e-3, 1e-6]), slope)
            # A higher score never makes a class less likely.
            found[0] = np.clip(found[0], 0, _STEEPEST)
        likely = np.clip(0.5 + 0.5 * np.tanh(0.5 * columns @ found), _LEAST_LIKELY, 1 - _LEAST_LIKELY)
        logarithms = np.where(truth > 0, np.log(likely), np.log(1 - likely))
        return float(found[0]), float(found[1]), weights * logarithms / weights.mean()


def errors(calibrator: Calibrator, scores: Floats64, truth: Floats64) -> tuple[float, float]:
    """The expected calibration error of scores that were left out, without and with calibration.

    Each half of the pictures is judged by what was fitted to the other.
    """
    # Shuffled: channels may alternate between classes.
    halves = np.random.default_rng(0).permutation(len(scores)) % 2
    judged = np.empty_like(scores)
    for half in (0, 1):
        mine, other = halves == half, halves != half
        # One picture alone has no other half.
        by = other if other.any() else mine
        fitted = calibrator.fit(scores[by], truth[by])
        judged[mine] = calibrator.probabilities(scores[mine], fitted)
    return calibrator.error(calibrator.plain(scores), truth), calibrator.error(judged, truth)


def _error(confidence: Floats64, right: NDArray[np.bool_]) -> float:
    bins = usual_bins(len(confidence))
    return calibration_error(calibration(confidence, right, bins, equal_mass=False))
