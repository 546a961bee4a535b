"""How good a classifier is that may give a picture several classes, or none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gtlabel.errors import EvaluationError
from gtlabel.networks import measures
from gtlabel.networks.evaluation import ClassScore, calibration_json
from gtlabel.networks.measures import Bin, Interval
from gtlabel.networks.scores import ScoreTable

THRESHOLD = 0.5
_MISTAKES_TOLD = 24


@dataclass(frozen=True, slots=True)
class ScoredLabels:
    """A picture: what all can be seen in it and what the classifier makes of it.

    Attributes:
        name: the file name, or the address.
        truth: its classes; none, if none can be seen.
        probabilities: one for each class, each between 0 and 1 for itself.
        data: the picture's file; None where it is not to be shown.
    """

    name: str
    truth: tuple[str, ...]
    probabilities: Sequence[float]
    data: bytes | None = None


class ManyScores(ScoreTable[ScoredLabels]):
    """Pictures of several classes, by the million; one more byte a class tells which each has.

    Args:
        classes: in the order of the probabilities.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__(classes)
        self._truths = bytearray()

    def add(self, name: str, truth: Iterable[str], probabilities: Iterable[float]) -> None:
        """Take note of what a classifier makes of a picture.

        Raises:
            EvaluationError: if it has a class that is none, or the probabilities are not one for each.
        """
        flags = bytearray(len(self._classes))
        for each in truth:
            flags[self._class(name, each)] = 1
        self._append(name, probabilities)
        self._truths += flags

    @property
    def truths(self) -> measures.Bools:
        """Which class each picture has, one row for each picture."""
        return np.array(self._truths, dtype=bool).reshape(len(self), len(self._classes))

    def _image(self, place: int, probabilities: tuple[float, ...]) -> ScoredLabels:
        many = len(self._classes)
        flags = self._truths[place * many : (place + 1) * many]
        truth = tuple(name for name, flag in zip(self._classes, flags, strict=True) if flag)
        return ScoredLabels(self._names[place], truth, probabilities)


@dataclass(frozen=True)
class MultiLabelEvaluation:
    """The answers of a classifier that may give several classes; all follows from the probabilities.

    A class is answered where its probability is at least `threshold`.

    Attributes:
        classes: in the order of the probabilities.
        images: one entry for each picture.
        threshold: from which probability on a class is answered.
        bins: how many bins the calibration has at most; by default ten, or as many as get ten answers each.

    Raises:
        EvaluationError: if there is no picture, or one that does not fit the classes.
    """

    classes: Sequence[str]
    images: ManyScores
    threshold: float = THRESHOLD
    bins: int | None = None

    def __post_init__(self) -> None:
        if not self.images:
            raise EvaluationError("there is no picture to evaluate with")

    @cached_property
    def _matrix(self) -> measures.Floats:
        return self.images.matrix

    @cached_property
    def _truth(self) -> measures.Bools:
        return self.images.truths

    @cached_property
    def _said(self) -> measures.Bools:
        return np.asarray(self._matrix >= self.threshold)

    def predicted(self, image: ScoredLabels) -> tuple[str, ...]:
        """The classes that are answered."""
        return tuple(
            name
            for name, probability in zip(self.classes, image.probabilities, strict=True)
            if probability >= self.threshold
        )

    @property
    def correct(self) -> int:
        """How many pictures were given exactly their classes."""
        return int((self._said == self._truth).all(axis=1).sum())

    @property
    def exact_match(self) -> float:
        """The share of pictures that were given exactly their classes."""
        return self.correct / len(self.images)

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval of the exact matches."""
        return measures.wilson(self.correct, len(self.images)) or (0.0, 1.0)

    @property
    def majority(self) -> tuple[tuple[str, ...], float]:
        """The classes that most pictures have exactly, and how often always answering them would be right."""
        rows, counts = np.unique(self._truth, axis=0, return_counts=True)
        best = int(counts.argmax())
        names = tuple(name for name, flag in zip(self.classes, rows[best], strict=True) if flag)
        return names, int(counts[best]) / len(self.images)

    @cached_property
    def per_class(self) -> list[ClassScore]:
        """How each class fared, for itself."""
        right = (self._said & self._truth).sum(axis=0)
        said, images = self._said.sum(axis=0), self._truth.sum(axis=0)
        return [
            ClassScore(name, int(images[i]), int(said[i]), int(right[i]))
            for i, name in enumerate(self.classes)
        ]

    @cached_property
    def average_precisions(self) -> list[float | None]:
        """The average precision of each class, which no threshold has a part in."""
        return [
            measures.average_precision(self._matrix[:, i], self._truth[:, i])
            for i in range(len(self.classes))
        ]

    @property
    def mean_average_precision(self) -> float | None:
        """The mean of the classes that occur; None if none does."""
        known = [each for each in self.average_precisions if each is not None]
        return sum(known) / len(known) if known else None

    @property
    def micro_f1(self) -> float | None:
        """F1 of all answers together: frequent classes count more."""
        right, said = sum(each.right for each in self.per_class), sum(each.said for each in self.per_class)
        return measures.f1(right, said - right, sum(each.images for each in self.per_class) - right)

    @property
    def micro_f1_interval(self) -> Interval | None:
        """Of the micro F1, as if the classes of a picture had nothing to do with each other."""
        right, said = sum(each.right for each in self.per_class), sum(each.said for each in self.per_class)
        missed = sum(each.images for each in self.per_class) - right
        return measures.f1_interval(right, said - right, missed)

    @property
    def macro_f1(self) -> float | None:
        """The mean F1 of the classes that occur or were answered: every class counts the same."""
        known = [each.f1 for each in self.per_class if each.f1 is not None]
        return sum(known) / len(known) if known else None

    @property
    def log_loss(self) -> float:
        """The mean of minus the natural logarithm of the probability of what is true, over all classes."""
        given = np.where(self._truth, self._matrix, 1 - self._matrix)
        return float(-np.log(np.clip(given, measures.SMALLEST, 1.0)).mean())

    @property
    def brier(self) -> float:
        """The mean squared error over all classes: 0 is best, 1 is worst."""
        return float(((self._matrix - self._truth) ** 2).mean())

    @cached_property
    def equal_mass(self) -> list[Bin]:
        """How often classes of each probability are there, in bins of about the same number of answers."""
        return self._calibration(equal_mass=True)

    @cached_property
    def equal_width(self) -> list[Bin]:
        """How often classes of each probability are there, in bins of the same width."""
        return self._calibration(equal_mass=False)

    @property
    def calibration_errors(self) -> tuple[float, float]:
        """The expected calibration error: of bins of equal mass, and of equal width."""
        return measures.calibration_error(self.equal_mass), measures.calibration_error(self.equal_width)

    def _calibration(self, *, equal_mass: bool) -> list[Bin]:
        bins = self.bins or measures.usual_bins(self._matrix.size)
        return measures.calibration(self._matrix.ravel(), self._truth.ravel(), bins, equal_mass=equal_mass)

    @cached_property
    def mistakes(self) -> list[ScoredLabels]:
        """The pictures that were not given exactly their classes, the surest error first."""
        error = np.abs(self._matrix - self._truth).max(axis=1)
        wrong = np.flatnonzero((self._said != self._truth).any(axis=1))
        order = sorted(wrong.tolist(), key=lambda index: (-error[index], self.images[index].name))
        return [self.images[index] for index in order]

    def to_json(self, *, images: bool = True) -> dict[str, Any]:
        """Everything as plain JSON values; `images` as `Evaluation.to_json` has it."""
        told: dict[str, Any] = {
            "kind": "multi-label",
            "classes": list(self.classes),
            "threshold": self.threshold,
            "total": len(self.images),
            "correct": self.correct,
            "exact_match": self.exact_match,
            "interval": list(self.interval),
            "baseline": self.majority[1],
            "majority": list(self.majority[0]),
            "mean_average_precision": self.mean_average_precision,
            "micro_f1": self.micro_f1,
            "micro_f1_interval": self.micro_f1_interval,
            "macro_f1": self.macro_f1,
            "log_loss": self.log_loss,
            "brier": self.brier,
            "calibration": calibration_json(self.equal_mass, self.equal_width),
            "per_class": [
                {**each.to_json(), "average_precision": area}
                for each, area in zip(self.per_class, self.average_precisions, strict=True)
            ],
        }
        if images:
            told["images"] = [self._told(image) for image in self.images]
        else:
            told["mistakes"] = [self._told(image) for image in self.mistakes[:_MISTAKES_TOLD]]
        return told

    def _told(self, image: ScoredLabels) -> dict[str, Any]:
        return {
            "name": image.name,
            "truth": list(image.truth),
            "predicted": list(self.predicted(image)),
            "probabilities": [float(probability) for probability in image.probabilities],
        }
