"""What a machine thinks of each object, from the labels of some, never from an object's own.

Ridge regression on likeness to labeled objects, one column for each class (Saunders, Gammerman and Vovk,
ICML 1998), where likeness is a Gaussian kernel on the features. The scores become probabilities by a softmax
whose temperature makes the labels of left-out objects likeliest (Guo et al., ICML 2017). Features that
describe different things (*views*: colors, edges, textures) are learned from one by one; the logarithms of
what they say are added, and weighted as left-out objects want it (Genest and Zidek, Statistical Science 1,
1986: logarithmic pools). All of it is plain array code, and with a few hundred labels it is ahead of
scikit-learn's logistic regression: tests/benchmarks/autolabel.py.

*Cross-fitting*: objects lie in folds, and whoever wants to know what the machine thinks of an object asks a
model of the labels in the other folds. So the answer for a labeled object is as honest as that for an
unlabeled one of its fold, which `policies` builds on. All models follow from one matrix: with `C` the
inverse of kernel plus penalty, leaving out the objects `B` leaves `C_AA - C_AB C_BB^-1 C_BA` as the inverse
of the others `A` (for one object: Cook and Weisberg, Residuals and Influence in Regression, 1982, §2.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gtlabel.errors import LearningError

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

# How fast likeness falls with the squared distance, which is 2 on the mean.
_WIDTH = 0.7
_PENALTIES = (0.01, 0.05, 0.25)
_TEMPERATURES = np.geomspace(0.03, 2.0, 14)
_GAINS = np.geomspace(0.1, 1.5, 20)
# Five views of 1,500 labels take 8 CPU seconds, which grow with the cube of the labels; more of them make a
# model little better.
_MOST_LEARNED = 1500
_ROWS_AT_ONCE = 4096
_LEAST = 1e-9


def cross_fitted(
    features: NDArray[np.floating],
    labels: Indices,
    classes: int,
    folds: int = 5,
    seed: int = 0,
    *,
    views: Sequence[int] | None = None,
) -> Floats:
    """How likely each class is for each labeled object, by a model that never saw its label.

    Args:
        features: shape (n, d).
        labels: shape (n,), from zero.
        classes: how many there are.
        folds: in how many parts the objects are divided, at random.
        seed: of the division.
        views: how many columns each view has, from the left; by default they are all one.

    Returns:
        Probabilities of shape (n, classes); rows sum to 1.

    Raises:
        LearningError: at arrays that do not go together, or folds of which none would be left to learn from.
    """
    labels, count = np.asarray(labels), len(labels)
    if count != len(features):
        raise LearningError(f"{len(features)} rows of features have {count} labels; give one for each")
    if folds < 2:
        raise LearningError(f"folds={folds} leaves nothing to learn from; give 2 or more")
    parts = np.empty(count, dtype=np.intp)
    parts[np.random.default_rng(seed).permutation(count)] = np.arange(count) % folds
    return Learner(features, classes, views=views).out_of_fold(np.arange(count), labels, parts)


@dataclass
class _Model:
    """One view's likeliest model of the labels outside of one fold.

    Attributes:
        loss: the mean negative log-likelihood of the labels it learned from, each left out once.
        weights: of the likeness to each labeled object, shape (labeled, classes); 0 inside the fold.
        temperature: what scores are divided by.
        left_out: the log-probabilities that belong to the loss, shape (labeled outside, classes).
    """

    loss: float
    weights: Floats
    temperature: float
    left_out: Floats


class Learner:
    """Objects of which labels are to be learned.

    Args:
        features: of all objects, shape (n, d).
        classes: how many there are.
        views: how many columns each view has, from the left; by default they are all one.

    Raises:
        LearningError: at features that are no table of finite numbers, or views that are not its columns.
    """

    def __init__(
        self, features: NDArray[np.floating], classes: int, *, views: Sequence[int] | None = None
    ) -> None:
        features = np.asarray(features)
        numbers = features.dtype.kind in "biuf"
        if features.ndim != 2 or not numbers or not np.isfinite(features).all():
            raise LearningError(
                f"features of shape {features.shape} are not a row of finite numbers for each object; "
                "leave out, or replace, what is missing or endless"
            )
        widths = list(views or [features.shape[1]])
        ends = np.cumsum([0, *widths])
        if ends[-1] != features.shape[1] or min(widths) < 1:
            raise LearningError(
                f"views of {widths} columns do not make up {features.shape[1]} features; give what each has"
            )
        self._views = [_scaled(features[:, start:end]) for start, end in pairwise(ends)]
        self._count = len(features)
        self._classes = classes

    def out_of_fold(self, objects: Indices, labels: Indices, folds: Indices) -> Floats:
        """How likely each class is for every object, by a model of the labels in the other folds.

        Args:
            objects: those with a label, each once. Of more than 1,500 so many, chosen at random, are used.
            labels: theirs, from zero.
            folds: of every object, shape (n,).

        Returns:
            Probabilities of shape (n, classes); rows sum to 1. Where the other folds have no labels, all
            classes are alike.

        Raises:
            LearningError: at a label that is none of the classes.
        """
        check_labels(labels, self._classes)
        if len(objects) > _MOST_LEARNED:
            some = np.random.default_rng(0).permutation(len(objects))[:_MOST_LEARNED]
            objects, labels = objects[some], labels[some]
        numbers = np.unique(folds)
        outside = {int(fold): np.flatnonzero(folds[objects] != fold) for fold in numbers}
        outside = {fold: rows for fold, rows in outside.items() if len(rows)}
        logs = np.zeros((self._count, self._classes))
        left_out = {fold: np.zeros((len(rows), self._classes)) for fold, rows in outside.items()}
        for points in self._views:
            learned = points[objects]
            models = _models(_likeness(learned, learned), labels, self._classes, outside)
            for fold, model in models.items():
                left_out[fold] += model.left_out
            for start in range(0, self._count, _ROWS_AT_ONCE):
                rows = np.arange(start, min(start + _ROWS_AT_ONCE, self._count))
                likeness = _likeness(points[rows], learned)
                for fold, model in models.items():
                    mine = folds[rows] == fold
                    logs[rows[mine]] += _log_softmax(likeness[mine] @ model.weights / model.temperature)
        for fold, rows in outside.items():
            logs[folds == fold] *= _gain(left_out[fold], labels[rows], len(self._views))
        return np.exp(_log_softmax(logs))


def check_labels(labels: Indices, classes: int) -> None:
    """Refuse labels that are none of the classes.

    Raises:
        LearningError: naming the first of them, or that they are no whole numbers.
    """
    if len(labels) and labels.dtype.kind not in "iu":
        raise LearningError(f"labels such as {labels[0]!r} are no whole numbers; number the classes from 0")
    strange = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(strange):
        raise LearningError(
            f"label {labels[strange[0]]} at place {strange[0]} is none of {classes} classes, counted from 0"
        )


def answered(objects: ArrayLike, labels: ArrayLike, count: int, classes: int) -> tuple[Indices, Indices]:
    """Which objects people labeled, and how.

    Raises:
        LearningError: at a label that is none of the classes, or not one for each object that is there.
    """
    found, told = np.asarray(objects, dtype=np.intp), np.asarray(labels, dtype=np.intp)
    if found.shape != told.shape:
        raise LearningError(f"{len(found)} objects have {len(told)} labels; give one for each")
    check_labels(told, classes)
    strange = found[(found < 0) | (found >= count)]
    if len(strange):
        raise LearningError(f"there is no object {strange[0]}; there are {count}, counted from 0")
    return found, told


def _scaled(features: NDArray[np.floating]) -> Floats:
    """Columns that count about alike, with a mean square of 1 for a whole row."""
    points = np.asarray(features, dtype=np.float64)
    if not len(points):
        return points
    points = points - points.mean(axis=0)
    squares = (points**2).mean(axis=0)
    # A column that hardly varies must not drown the others.
    points = points / np.sqrt(squares + squares.mean() + _LEAST)
    found: Floats = points / np.sqrt((points**2).sum(axis=1).mean() + _LEAST)
    return found


def _models(kernel: Floats, labels: Indices, classes: int, outside: dict[int, Indices]) -> dict[int, _Model]:
    """For each fold the model of the labels outside of it that predicts each best from the others."""
    truth = np.eye(classes)[labels] - 1 / classes
    best: dict[int, _Model] = {}
    for penalty in _PENALTIES:
        inverse = np.linalg.inv(kernel + penalty * np.eye(len(kernel)))
        weights = inverse @ truth
        for fold, others in outside.items():
            inside = np.setdiff1d(np.arange(len(labels)), others)
            across = inverse[np.ix_(inside, others)]
            without = np.linalg.solve(inverse[np.ix_(inside, inside)], across)
            mine = weights[others] - without.T @ weights[inside]
            diagonal = np.diag(inverse)[others] - (across * without).sum(axis=0)
            scores = truth[others] - mine / diagonal[:, None]
            for temperature in _TEMPERATURES:
                logs = _log_softmax(scores / temperature)
                loss = _loss(logs, labels[others])
                if fold not in best or loss < best[fold].loss:
                    full = np.zeros_like(weights)
                    full[others] = mine
                    best[fold] = _Model(loss, full, float(temperature), logs)
    return best


def _gain(logs: Floats, labels: Indices, views: int) -> float:
    """What the sum over all views is multiplied by, so that left-out labels are likeliest."""
    if views == 1:
        return 1.0
    return float(min(_GAINS, key=lambda gain: _loss(_log_softmax(gain * logs), labels)))


def _loss(logs: Floats, labels: Indices) -> float:
    return -float(logs[np.arange(len(labels)), labels].mean())


def _likeness(left: Floats, right: Floats) -> Floats:
    squares = (left**2).sum(axis=1)[:, None] - 2 * left @ right.T + (right**2).sum(axis=1)
    found: Floats = np.exp(-_WIDTH * np.maximum(squares, 0))
    return found


def _log_softmax(scores: Floats) -> Floats:
    lowered = scores - scores.max(axis=1, keepdims=True)
    found: Floats = lowered - np.log(np.exp(lowered).sum(axis=1, keepdims=True))
    return found
