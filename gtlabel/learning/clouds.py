"""Pictures that nobody took, as a machine would see them: for trying out what a machine could label.

Each class is a cloud around a point of its own, all as far from each other, and the distance between them
says how often the best machine there can be is right. Whoever knows that can learn such classes from their
means alone, which takes thousandths of a second where our own classifier takes seconds; `Means` does. It is
the best there is for such pictures, so that other classifiers label a few points less of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gtlabel.errors import LearningError

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_DIMENSIONS = 16
_TRIED = 4000
_WIDEST = 20.0
# How many labels of a class are other ones is told in so many steps of expectation and maximization.
_STEPS = 5


def distance(classes: int, accuracy: float, seed: int) -> float:
    """How far from the middle the points of classes lie that the best machine tells apart so often.

    Raises:
        LearningError: if no machine is so bad, or so good.
    """
    if not 1 / classes < accuracy < 1:
        raise LearningError(
            f"a machine that is right in {accuracy:.0%} of all cases is no better than chance, or never "
            f"wrong; among {classes} classes, give an accuracy above {1 / classes:.2f} and below 1"
        )
    noise = np.random.default_rng(seed).standard_normal((_TRIED, classes))
    low, high = 0.0, _WIDEST
    for _ in range(30):
        middle = (low + high) / 2
        right = (noise[:, 0] + middle > noise[:, 1:].max(axis=1)).mean()
        low, high = (middle, high) if right < accuracy else (low, middle)
    return high


def clouds(truth: Indices, classes: int, apart: float, rng: np.random.Generator) -> Floats:
    """Features of pictures of the given classes, shape (n, d).

    Args:
        truth: the class of each picture.
        classes: how many there are.
        apart: how far the points are, as `distance` says.
        rng: where chance comes from.
    """
    points = np.zeros((classes, max(_DIMENSIONS, classes)))
    points[np.arange(classes), np.arange(classes)] = apart
    found: Floats = points[truth] + rng.standard_normal((len(truth), points.shape[1]))
    return found


class Means:
    """Scores clouds by their means, in place of `gtlabel.learning.classifier.Learner`.

    A linear discriminant with one variance for all (Hastie, Tibshirani and Friedman, The Elements of
    Statistical Learning, 4.3). How often people call a picture something else than it is, which no feature
    tells, is learned besides (Natarajan et al., Learning with Noisy Labels, NIPS 2013, has the setting).

    Args:
        features: of all objects, shape (n, d).
        classes: how many classes there are.
    """

    def __init__(self, features: Floats, classes: int) -> None:
        self._features = features
        self._classes = classes

    def out_of_fold(self, objects: Indices, labels: Indices, folds: Indices) -> Floats:
        """How likely people call each object by each class, by the labels in other folds than its own."""
        scores = np.empty((len(self._features), self._classes))
        for fold in range(int(folds.max()) + 1):
            kept = folds[objects] != fold
            scores[folds == fold] = self._scores(objects[kept], labels[kept], folds == fold)
        return scores

    def _scores(self, objects: Indices, labels: Indices, asked: NDArray[np.bool_]) -> Floats:
        known, classes = self._features[objects], self._classes
        counts = np.bincount(labels, minlength=classes)
        said = np.eye(classes)[labels]
        # A class without labels is taken to lie amid all.
        means = (said.T @ known + known.mean(axis=0)) / (counts + 1)[:, None]
        variance = float(((known - means[labels]) ** 2).mean()) + 1e-9
        prior = (counts + 1) / (counts.sum() + classes)
        is_what = _likely(known, means, variance, prior)
        # Begins where nine of ten labels are right, and only what the features contradict leads away from it.
        called = 0.9 * np.eye(classes) + 0.1 / classes
        for _ in range(_STEPS):
            weight = is_what * called[:, labels].T
            weight /= weight.sum(axis=1, keepdims=True)
            called = weight.T @ said + called
            called /= called.sum(axis=1, keepdims=True)
        scores: Floats = _likely(self._features[asked], means, variance, prior) @ called
        return scores


def _likely(features: Floats, means: Floats, variance: float, prior: Floats) -> Floats:
    logs = np.log(prior) + (features @ means.T - (means**2).sum(axis=1) / 2) / variance
    logs -= logs.max(axis=1, keepdims=True)
    likely: Floats = np.exp(logs)
    likely /= likely.sum(axis=1, keepdims=True)
    return likely
