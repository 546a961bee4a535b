"""How good a classifier is: its answers to pictures whose class is known, and what follows from them."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtlabel.errors import EvaluationError
from gtlabel.networks import measures
from gtlabel.networks.measures import Bin, Interval, Threshold
from gtlabel.networks.scores import ScoreTable, check_class, check_row

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
TARGETS = (0.9, 0.95, 0.99)
_MOST_TOP = 5
_MISTAKES_TOLD = 24


@dataclass(frozen=True, slots=True)
class ScoredImage:
    """A picture: what it is and what the classifier makes of it.

    Attributes:
        name: the file name, or the address.
        truth: its class.
        probabilities: one for each class, in the order of the classes.
        data: the picture's file; None where it is not to be shown.
    """

    name: str
    truth: str
    probabilities: Sequence[float]
    data: bytes | None = None


class Scores(ScoreTable[ScoredImage]):
    """Pictures of one class each, by the million.

    Args:
        classes: in the order of the probabilities.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__(classes)
        self._truths = array("l")

    def add(self, name: str, truth: str, probabilities: Iterable[float]) -> None:
        """Take note of what a classifier makes of a picture.

        Raises:
            EvaluationError: if it is of no class, or the probabilities are not one for each.
        """
        number = self._class(name, truth)
        self._append(name, probabilities)
        self._truths.append(number)

    def _image(self, place: int, probabilities: tuple[float, ...]) -> ScoredImage:
        return ScoredImage(self._names[place], self._classes[self._truths[place]], probabilities)


@dataclass(frozen=True, slots=True)
class ClassScore:
    """How one class fared. What cannot be computed, for want of pictures, is None.

    Attributes:
        name: the class.
        images: how many pictures are of it.
        said: how many were taken for it.
        right: how many of those are of it.
    """

    name: str
    images: int
    said: int
    right: int

    @property
    def precision(self) -> float | None:
        """How often the answer is right."""
        return self.right / self.said if self.said else None

    @property
    def recall(self) -> float | None:
        """How many of its pictures are found."""
        return self.right / self.images if self.images else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of both."""
        return measures.f1(self.right, self.said - self.right, self.images - self.right)

    @property
    def precision_interval(self) -> Interval | None:
        """Wilson's, of the precision."""
        return measures.wilson(self.right, self.said)

    @property
    def recall_interval(self) -> Interval | None:
        """Wilson's, of the recall."""
        return measures.wilson(self.right, self.images)

    @property
    def f1_interval(self) -> Interval | None:
        """Of F1."""
        return measures.f1_interval(self.right, self.said - self.right, self.images - self.right)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            "name": self.name,
            "images": self.images,
            "said": self.said,
            "right": self.right,
            "precision": self.precision,
            "precision_interval": self.precision_interval,
            "recall": self.recall,
            "recall_interval": self.recall_interval,
            "f1": self.f1,
            "f1_interval": self.f1_interval,
        }


@dataclass(frozen=True)
class Evaluation:
    """A classifier's answers; every figure follows from the pictures' probabilities.

    Attributes:
        classes: in the order of the probabilities.
        images: one entry for each picture.
        bins: how many bins the calibration has at most; by default ten, or as many as get ten answers each.

    Raises:
        EvaluationError: if there is no picture, or one that does not fit the classes.
    """

    classes: Sequence[str]
    images: Sequence[ScoredImage]
    bins: int | None = None

    def __post_init__(self) -> None:
        if not self.images:
            raise EvaluationError("there is no picture to evaluate with")
        known = dict.fromkeys(self.classes)
        for image in () if isinstance(self.images, Scores) else self.images:
            check_class(image.name, image.truth, known)
            check_row(image.name, image.probabilities, self.classes)

    @cached_property
    def _matrix(self) -> measures.Floats:
        if isinstance(self.images, Scores):
            return self.images.matrix
        return np.array([image.probabilities for image in self.images], dtype=np.float64)

    @cached_property
    def _truth(self) -> NDArray[np.int64]:
        index = {name: place for place, name in enumerate(self.classes)}
        return np.array([index[image.truth] for image in self.images], dtype=np.int64)

    @cached_property
    def _said(self) -> NDArray[np.int64]:
        return np.asarray(self._matrix.argmax(axis=1), dtype=np.int64)

    @cached_property
    def _right(self) -> measures.Bools:
        return np.asarray(self._said == self._truth)

    @cached_property
    def _confidence(self) -> measures.Floats:
        return np.asarray(self._matrix.max(axis=1))

    def predicted(self, image: ScoredImage) -> str:
        """The most probable class; the first of equals."""
        best = max(range(len(self.classes)), key=lambda index: image.probabilities[index])
        return self.classes[best]

    @property
    def correct(self) -> int:
        """How many pictures were given their own class."""
        return int(self._right.sum())

    @property
    def accuracy(self) -> float:
        """The share of pictures that were given their own class."""
        return self.correct / len(self.images)

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval of the accuracy."""
        return measures.wilson(self.correct, len(self.images)) or (0.0, 1.0)

    @property
    def balanced_accuracy(self) -> float:
        """The mean recall of the classes that occur: every class counts the same."""
        recalls = [each.recall for each in self.per_class if each.recall is not None]
        return sum(recalls) / len(recalls)

    @property
    def balanced_interval(self) -> Interval:
        """The 95 % interval of the balanced accuracy."""
        recalls, ends = [], []
        for each in self.per_class:
            if each.recall is not None and each.recall_interval is not None:
                recalls.append(each.recall)
                ends.append(each.recall_interval)
        return measures.mean_interval(recalls, ends)

    @property
    def majority(self) -> tuple[str, float]:
        """The class most pictures have, and how often always answering it would be right."""
        name, count = Counter(self.classes[index] for index in self._truth).most_common(1)[0]
        return name, count / len(self.images)

    @cached_property
    def confusion(self) -> list[list[int]]:
        """How many pictures of each class (rows) were taken for each class (columns)."""
        many = len(self.classes)
        counts = np.bincount(self._truth * many + self._said, minlength=many * many)
        rows: list[list[int]] = counts.reshape(many, many).tolist()
        return rows

    @cached_property
    def per_class(self) -> list[ClassScore]:
        """How each class fared."""
        matrix = self.confusion
        return [
            ClassScore(name, sum(matrix[index]), sum(row[index] for row in matrix), matrix[index][index])
            for index, name in enumerate(self.classes)
        ]

    @property
    def confused(self) -> list[tuple[str, str, int]]:
        """What was taken for what and how often, the most frequent first."""
        pairs = [
            (truth, said, self.confusion[i][j])
            for i, truth in enumerate(self.classes)
            for j, said in enumerate(self.classes)
            if i != j and self.confusion[i][j]
        ]
        return sorted(pairs, key=lambda pair: -pair[2])

    @property
    def top_k(self) -> dict[int, float]:
        """The share of pictures whose class is among the 2, 3, ... most probable ones."""
        most = min(_MOST_TOP, len(self.classes) - 1)
        return {
            k: measures.within(self._matrix, self._truth, k) / len(self.images) for k in range(2, most + 1)
        }

    @property
    def log_loss(self) -> float:
        """See `measures.log_loss`."""
        return measures.log_loss(self._matrix, self._truth)

    @property
    def brier(self) -> float:
        """See `measures.brier`: from 0 to 2."""
        return measures.brier(self._matrix, self._truth)

    @cached_property
    def equal_mass(self) -> list[Bin]:
        """The calibration of the most probable class, in bins of about the same number of pictures."""
        return self._calibration(equal_mass=True)

    @cached_property
    def equal_width(self) -> list[Bin]:
        """The calibration of the most probable class, in bins of the same width."""
        return self._calibration(equal_mass=False)

    def _calibration(self, *, equal_mass: bool) -> list[Bin]:
        bins = self.bins or measures.usual_bins(len(self.images))
        return measures.calibration(self._confidence, self._right, bins, equal_mass=equal_mass)

    @property
    def calibration_errors(self) -> tuple[float, float]:
        """The expected calibration error: of bins of equal mass, and of equal width."""
        return measures.calibration_error(self.equal_mass), measures.calibration_error(self.equal_width)

    @property
    def thresholds(self) -> list[Threshold]:
        """What becomes of the answers if those below a confidence are not given."""
        return [measures.at_threshold(self._confidence, self._right, each) for each in (0.0, *THRESHOLDS)]

    @cached_property
    def trade(self) -> list[Threshold]:
        """The same at every confidence that occurs, the highest first."""
        return measures.trade(self._confidence, self._right)

    @property
    def targets(self) -> dict[float, Threshold | None]:
        """For each accuracy that may be wanted, the threshold that gives the most answers."""
        return {target: measures.threshold_for(self.trade, target) for target in TARGETS}

    @cached_property
    def mistakes(self) -> list[ScoredImage]:
        """The pictures that were taken for something else, the surest first."""
        wrong = [self.images[int(index)] for index in np.flatnonzero(~self._right)]
        return sorted(wrong, key=lambda image: (-max(image.probabilities), image.name))

    def to_json(self, *, images: bool = True) -> dict[str, Any]:
        """Everything as plain JSON values.

        Args:
            images: whether to tell of every picture, so that the figures can be computed again; otherwise
                only of the surest mistakes.
        """
        told: dict[str, Any] = {
            "kind": "single-label",
            "classes": list(self.classes),
            "total": len(self.images),
            "correct": self.correct,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "balanced_accuracy": self.balanced_accuracy,
            "balanced_interval": list(self.balanced_interval),
            "baseline": self.majority[1],
            "majority": self.majority[0],
            "top_k": {str(k): share for k, share in self.top_k.items()},
            "log_loss": self.log_loss,
            "brier": self.brier,
            "calibration": calibration_json(self.equal_mass, self.equal_width),
            "confusion": self.confusion,
            "per_class": [each.to_json() for each in self.per_class],
            "thresholds": [threshold_json(each) for each in self.thresholds],
            "targets": [
                {"accuracy": target, "found": threshold_json(found) if found else None}
                for target, found in self.targets.items()
            ],
        }
        if images:
            told["images"] = [self._told(image) for image in self.images]
        else:
            told["mistakes"] = [self._told(image) for image in self.mistakes[:_MISTAKES_TOLD]]
        return told

    def _told(self, image: ScoredImage) -> dict[str, Any]:
        return {
            "name": image.name,
            "truth": image.truth,
            "predicted": self.predicted(image),
            "probabilities": [float(probability) for probability in image.probabilities],
        }


def calibration_json(equal_mass: Sequence[Bin], equal_width: Sequence[Bin]) -> dict[str, Any]:
    """Both ways to bin, with the error that follows from each."""
    return {
        name: {"error": measures.calibration_error(bins), "bins": [asdict(each) for each in bins]}
        for name, bins in (("equal_mass", equal_mass), ("equal_width", equal_width))
    }


def threshold_json(step: Threshold) -> dict[str, Any]:
    """What a threshold does, as plain JSON values."""
    return {
        "threshold": step.threshold,
        "answered": step.answered,
        "right": step.right,
        "coverage": step.coverage,
        "accuracy": step.accuracy,
        "interval": step.interval,
    }
