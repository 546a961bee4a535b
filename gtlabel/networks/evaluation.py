"""How good a classifier is: its answers to pictures whose class is known, and what follows from them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gtlabel.errors import EvaluationError

# Two-sided 95 % of the normal distribution.
_Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class ScoredImage:
    """A picture: what it is and what the classifier makes of it.

    Attributes:
        name: the file name.
        truth: its class.
        probabilities: one for each class, in the order of the classes.
        data: the picture's file; None where it is not to be shown.
    """

    name: str
    truth: str
    probabilities: Sequence[float]
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class ClassScore:
    """How one class fared. What cannot be computed, for want of pictures, is None."""

    name: str
    images: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A classifier's answers; every figure follows from the pictures' probabilities.

    Attributes:
        classes: in the order of the probabilities.
        images: one entry for each picture.

    Raises:
        EvaluationError: if there is no picture, or one that does not fit the classes.
    """

    classes: Sequence[str]
    images: Sequence[ScoredImage]

    def __post_init__(self) -> None:
        if not self.images:
            raise EvaluationError("there is no picture to evaluate with")
        for image in self.images:
            if image.truth not in self.classes:
                known = ", ".join(self.classes)
                raise EvaluationError(
                    f"{image.name} is of the class {image.truth!r}, which is not among {known}"
                )
            given, wanted = len(image.probabilities), len(self.classes)
            if given != wanted:
                raise EvaluationError(f"{image.name} has {given} probabilities for {wanted} classes")

    def predicted(self, image: ScoredImage) -> str:
        """The most probable class; the first of equals."""
        best = max(range(len(self.classes)), key=lambda index: image.probabilities[index])
        return self.classes[best]

    @property
    def correct(self) -> int:
        """How many pictures were given their own class."""
        return sum(self.predicted(image) == image.truth for image in self.images)

    @property
    def accuracy(self) -> float:
        """The share of pictures that were given their own class."""
        return self.correct / len(self.images)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy (Wilson 1927, J. Am. Stat. Assoc. 22:209)."""
        n, p = len(self.images), self.accuracy
        center = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
        # Rounding must not put the accuracy itself outside.
        return min(p, max(0.0, center - half)), max(p, min(1.0, center + half))

    @property
    def majority(self) -> tuple[str, float]:
        """The class most pictures have, and how often always answering it would be right."""
        name, count = Counter(image.truth for image in self.images).most_common(1)[0]
        return name, count / len(self.images)

    @property
    def confusion(self) -> list[list[int]]:
        """How many pictures of each class (rows) were taken for each class (columns)."""
        pairs = Counter((image.truth, self.predicted(image)) for image in self.images)
        return [[pairs[truth, said] for said in self.classes] for truth in self.classes]

    @property
    def per_class(self) -> list[ClassScore]:
        """Precision and recall of each class."""
        matrix = self.confusion
        scores = []
        for index, name in enumerate(self.classes):
            right, images, said = matrix[index][index], sum(matrix[index]), sum(row[index] for row in matrix)
            scores.append(
                ClassScore(name, images, right / said if said else None, right / images if images else None)
            )
        return scores

    @property
    def mistakes(self) -> list[ScoredImage]:
        """The pictures that were taken for something else, the surest first."""
        wrong = [image for image in self.images if self.predicted(image) != image.truth]
        return sorted(wrong, key=lambda image: (-max(image.probabilities), image.name))

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values, with what is needed to compute the figures again."""
        return {
            "classes": list(self.classes),
            "total": len(self.images),
            "correct": self.correct,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "baseline": self.majority[1],
            "confusion": self.confusion,
            "per_class": [
                {"name": each.name, "images": each.images, "precision": each.precision, "recall": each.recall}
                for each in self.per_class
            ],
            "images": [
                {
                    "name": image.name,
                    "truth": image.truth,
                    "predicted": self.predicted(image),
                    "probabilities": [float(probability) for probability in image.probabilities],
                }
                for image in self.images
            ],
        }
