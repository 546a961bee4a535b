"""What a machine thinks of each object, from the labels of some, never from an object's own.

A Gaussian kernel on standardized features and ridge regression on one column for each class (Saunders,
Gammerman and Vovk, ICML 1998), which needs numpy alone. The scores become probabilities by a softmax whose
temperature makes the labels of left-out objects likeliest (Guo et al., ICML 2017); the scores of left-out
objects follow from the one solution (Cook and Weisberg, Residuals and Influence in Regression, 1982, §2.2).

*Cross-fitting*: objects lie in folds, and whoever wants to know what the machine thinks of an object asks a
model that was fitted to the labels of the other folds. So the answer for a labeled object is as honest as
that for an unlabeled one of its fold, which `threshold` builds on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_WIDTH = 0.7
_PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_TEMPERATURES = np.geomspace(0.02, 2.0, 25)


def cross_fitted(
    features: NDArray[np.floating], labels: Indices, classes: int, folds: int = 5, seed: int = 0
) -> Floats:
    """How likely each class is for each labeled object, by a model that never saw its label.

    Args:
        features: shape (n, d).
        labels: shape (n,), from zero.
        classes: how many there are.
        folds: in how many parts the objects are divided, at random.
        seed: of the division.

    Returns:
        Probabilities of shape (n, classes); rows sum to 1.
    """
    count = len(labels)
    parts = np.empty(count, dtype=np.intp)
    parts[np.random.default_rng(seed).permutation(count)] = np.arange(count) % folds
    return out_of_fold(features, np.arange(count), labels, classes, parts)


def out_of_fold(
    features: NDArray[np.floating], objects: Indices, labels: Indices, classes: int, folds: Indices
) -> Floats:
    """How likely each class is for every object, by a model of the labels in the other folds.

    Args:
        features: of all objects, shape (n, d).
        objects: those with a label, each once.
        labels: theirs, from zero.
        classes: how many there are.
        folds: of every object, shape (n,).

    Returns:
        Probabilities of shape (n, classes); rows sum to 1. Where the other folds have no labels, all
        classes are alike.
    """
    points = _standardized(features)
    found = np.full((len(points), classes), 1 / classes)
    for fold in np.unique(folds):
        known = folds[objects] != fold
        if known.any():
            mine = np.flatnonzero(folds == fold)
            found[mine] = _fit_and_ask(points, objects[known], labels[known], classes, mine)
    return found


def _standardized(features: NDArray[np.floating]) -> Floats:
    points = np.asarray(features, dtype=np.float64)
    points = points - points.mean(axis=0)
    spread = points.std(axis=0)
    scaled: Floats = points / np.sqrt(spread**2 + (0.25 * spread.mean() + 1e-9) ** 2)
    return scaled


def _fit_and_ask(points: Floats, known: Indices, labels: Indices, classes: int, asked: Indices) -> Floats:
    width = _WIDTH / points.shape[1]
    learned = points[known]
    truth = np.eye(classes)[labels]
    prior = truth.mean(axis=0)
    sizes, directions = np.linalg.eigh(_likeness(learned, learned, width))
    turned = directions.T @ (truth - prior)
    best = (np.inf, 1.0, np.zeros_like(truth))
    for penalty in _PENALTIES:
        shrunk = 1 / (np.maximum(sizes, 0) + penalty)
        weights = directions @ (shrunk[:, None] * turned)
        diagonal = np.einsum("ij,j,ij->i", directions, shrunk, directions)
        left_out = truth - weights / diagonal[:, None]
        for temperature in _TEMPERATURES:
            loss = -np.log(_softmax(left_out / temperature)[np.arange(len(labels)), labels] + 1e-12).mean()
            if loss < best[0]:
                best = (loss, temperature, weights)
    _, temperature, weights = best
    return _softmax((prior + _likeness(points[asked], learned, width) @ weights) / temperature)


def _likeness(left: Floats, right: Floats, width: float) -> Floats:
    squares = (left**2).sum(axis=1)[:, None] - 2 * left @ right.T + (right**2).sum(axis=1)
    found: Floats = np.exp(-width * np.maximum(squares, 0))
    return found


def _softmax(scores: Floats) -> Floats:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    found: Floats = raised / raised.sum(axis=1, keepdims=True)
    return found
