"""Which labels are likely wrong, by what a classifier says that never saw them.

How many are wrong is told by confident learning (Northcutt, Jiang and Chuang, Confident Learning: Estimating
Uncertainty in Dataset Labels, JAIR 70, 2021, https://doi.org/10.1613/jair.1.12125): an object is counted
under the likeliest of the classes to which the classifier gives at least the probability that it gives them
on average where they are the label, so that a class of which it is seldom sure needs less. Those counted
under another class than their label are about as many as the wrong ones. Which ones they are is told better
by how many times likelier another class is than the label: `tests/benchmarks/suspects.py` shows both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gtlabel.errors import LearningError
from gtlabel.learning.classifier import check_labels

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

# No class is less likely than this, so that ratios stay finite.
_LEAST = 1e-9


@dataclass(frozen=True, slots=True)
class Suspects:
    """Labels in the order in which to doubt them.

    Attributes:
        ranked: (n,) all objects, the most doubtful label first.
        doubt: (n,) of each object: the natural logarithm of how many times likelier the likeliest other class
            is than its label; above 0 the other one is likelier.
        better: (n,) the likeliest other class of each object.
        wrong: how many labels are expected to be wrong: the first so many of `ranked` are the suspects.
        agreeing: the share of the labels that the classifier would have given; 0 without any. What it gets
            wrong itself it counts as well, so that below about 0.75 `wrong` is a multiple of the truth.
    """

    ranked: Indices
    doubt: Floats
    better: Indices
    wrong: int
    agreeing: float


def find_suspects(probabilities: Floats, labels: Indices) -> Suspects:
    """Rank labels by how likely they are wrong, and say how many are.

    Args:
        probabilities: (n, classes), two classes or more; of each object, by a model that never saw its label,
            such as `gtlabel.learning.classifier.cross_fitted` makes them.
        labels: (n,) from zero.

    Raises:
        LearningError: at arrays that do not go together, fewer than two classes, or labels that are none.
    """
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    if probabilities.ndim != 2 or probabilities.shape[1] < 2 or len(labels) != len(probabilities):
        raise LearningError(
            f"{len(labels)} labels and probabilities of shape {probabilities.shape} do not go together; give "
            "each object a row of two classes or more, and a label"
        )
    if not np.isfinite(probabilities).all():
        raise LearningError("some probabilities are no numbers; leave out the objects that have none")
    count, classes = probabilities.shape
    check_labels(labels, classes)
    rows = np.arange(count)
    own = probabilities[rows, labels]
    others = probabilities.copy()
    others[rows, labels] = -1.0
    better = others.argmax(axis=1)
    doubt = np.log(np.maximum(others[rows, better], _LEAST)) - np.log(np.maximum(own, _LEAST))

    sizes = np.bincount(labels, minlength=classes)
    # What is usual for a class that no object has is not known, so none is counted under it.
    usual = np.full(classes, np.inf)
    np.divide(np.bincount(labels, weights=own, minlength=classes), sizes, out=usual, where=sizes > 0)
    sure = probabilities >= usual
    counted = np.where(sure, probabilities, -1.0).argmax(axis=1)
    wrong = int((sure.any(axis=1) & (counted != labels)).sum())
    agreeing = float((doubt < 0).mean()) if count else 0.0
    return Suspects(np.argsort(-doubt, kind="stable"), doubt, better.astype(np.intp), wrong, agreeing)
