"""Automated labeling as Ground Truth documents it, to compare with; its 95 % is a threshold and no promise.

From contract/ground-truth.md §7: a random sample goes to people and is divided into validation (20 % of all
objects, 10 % from 5,000 on) and training; a model of the training part judges the validation part; the lowest
threshold above which 95 % of its labels there are right is applied to all objects without a label; what lies
above it keeps its machine label for good, and people get the least confident of the rest; and so on.

That a threshold chosen on the very sample that judges it comes out too low, and that later rounds judge
harder objects by the old sample, is Ground Truth's; the model is ours, so that only the rules differ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gtlabel.learning.classifier import Learner, answered
from gtlabel.learning.decisions import Decision
from gtlabel.learning.policies import Scores

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_TARGET = 0.95
_MANY = 5000


class Faithful:
    """Ground Truth's rules behind the methods of `Automation`; it audits nothing.

    Args:
        features: of all objects, shape (n, d).
        classes: how many there are.
        views: how many columns describe the same thing, from the left; by default all.
        seed: of the random sample.
        learner: who scores the objects instead of our classifier.
    """

    def __init__(
        self,
        features: NDArray[np.floating],
        classes: int,
        *,
        views: Sequence[int] | None = None,
        seed: int = 0,
        learner: Scores | None = None,
    ) -> None:
        count = len(features)
        self._learner = learner or Learner(features, classes, views=views)
        self._order = np.random.default_rng(seed).permutation(count)
        self._validation = self._order[: round(count * (0.1 if count >= _MANY else 0.2))]
        self._known = np.full(count, -1, dtype=np.intp)
        self._machine = np.full(count, -1, dtype=np.intp)
        self._confidence = np.zeros(count)
        self._classes = classes
        self._threshold: float | None = None

    def ask(self, n: int) -> Indices:
        """The objects that people should label next; at first the whole random sample, in parts."""
        waiting = self._order[(self._known[self._order] < 0) & (self._machine[self._order] < 0)]
        if not len(self._training()):
            missing = int((self._known[self._validation] < 0).sum())
            # The validation part comes first, and a training part as large as a batch after it.
            return waiting[: min(n, missing) if missing else n]
        ordered = np.argsort(self._scores()[waiting].max(axis=1), kind="stable")
        return waiting[ordered][:n]

    def learn(self, objects: Indices, labels: Indices) -> None:
        """Take the labels that people gave.

        Raises:
            LearningError: at a label that is none of the classes, or not one for each object that is there.
        """
        objects, labels = answered(objects, labels, len(self._known), self._classes)
        self._known[objects] = labels

    def decide(self) -> Decision:
        """Everything that the machine labeled so far, after another round of it."""
        if len(self._training()):
            scores = self._scores()
            self._threshold = self._lowest_threshold(scores)
            if self._threshold is not None:
                confidence = scores.max(axis=1)
                above = (confidence >= self._threshold) & (self._known < 0) & (self._machine < 0)
                self._machine[above] = scores.argmax(axis=1)[above]
                self._confidence[above] = confidence[above]
        chosen = np.flatnonzero(self._machine >= 0)
        return Decision(
            chosen,
            self._machine[chosen],
            self._confidence[chosen],
            self._threshold if len(chosen) else None,
            None,
            f"{len(chosen)} objects lay above a threshold that {_TARGET:.0%} of the validation sample passed",
        )

    def _training(self) -> Indices:
        inside = self._known >= 0
        inside[self._validation] = False
        return np.flatnonzero(inside)

    def _scores(self) -> Floats:
        training = self._training()
        folds = np.zeros(len(self._known), dtype=np.intp)
        folds[training] = 1
        return self._learner.out_of_fold(training, self._known[training], folds)

    def _lowest_threshold(self, scores: Floats) -> float | None:
        confidence = scores[self._validation].max(axis=1)
        right = scores[self._validation].argmax(axis=1) == self._known[self._validation]
        order = np.argsort(-confidence, kind="stable")
        shares = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
        enough = np.flatnonzero(shares >= _TARGET)
        return float(confidence[order][enough[-1]]) if len(enough) else None
