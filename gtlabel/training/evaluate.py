"""How good a classifier is, on pictures that it has not learned from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gtlabel.errors import TrainingError
from gtlabel.networks.preprocess import UnreadablePictureError, load_image

if TYPE_CHECKING:
    from gtlabel.networks.runtime import Network

# Two-sided 95 % of the normal distribution.
_Z = 1.959963984540054


@dataclass(frozen=True)
class ScoredImage:
    """One picture, what it is and what the classifier makes of it."""

    image: str
    label: str
    predicted: str
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class ClassScore:
    """How one class fared. What cannot be computed, for want of pictures, is None."""

    name: str
    images: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class Evaluation:
    """The classifier's answers to pictures whose label is known, and what follows from them.

    Attributes:
        classes: in the order of the probabilities.
        images: one entry for each picture, in the order they were given.
    """

    classes: tuple[str, ...]
    images: tuple[ScoredImage, ...]

    @property
    def correct(self) -> int:
        """How many pictures were given their own label."""
        return sum(image.predicted == image.label for image in self.images)

    @property
    def accuracy(self) -> float:
        """The share of pictures that were given their own label."""
        return self.correct / len(self.images)

    @property
    def interval(self) -> tuple[float, float]:
        """Between which accuracies the true one lies, with 95 % confidence (Wilson 1927)."""
        n, p = len(self.images), self.accuracy
        center = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
        # Rounding must not put the accuracy itself outside.
        return min(p, max(0.0, center - half)), max(p, min(1.0, center + half))

    @property
    def baseline(self) -> float:
        """The accuracy of always answering with the class that most of these pictures have."""
        return max(row.images for row in self.per_class) / len(self.images)

    @property
    def confusion(self) -> tuple[tuple[int, ...], ...]:
        """How many pictures of each class (rows) were taken for each class (columns)."""
        pairs = [(image.label, image.predicted) for image in self.images]
        return tuple(tuple(pairs.count((row, column)) for column in self.classes) for row in self.classes)

    @property
    def per_class(self) -> tuple[ClassScore, ...]:
        """Precision and recall of each class."""
        scores = []
        for name in self.classes:
            hits = sum(image.label == image.predicted == name for image in self.images)
            actual = sum(image.label == name for image in self.images)
            taken = sum(image.predicted == name for image in self.images)
            scores.append(
                ClassScore(name, actual, hits / taken if taken else None, hits / actual if actual else None)
            )
        return tuple(scores)

    def to_json(self) -> str:
        """Everything as JSON, the pictures included, so that the figures can be recomputed."""
        value = {
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "baseline": self.baseline,
            "correct": self.correct,
            "total": len(self.images),
            "classes": list(self.classes),
            "per_class": [vars(score) for score in self.per_class],
            "confusion": [list(row) for row in self.confusion],
            "images": [vars(image) | {"probabilities": list(image.probabilities)} for image in self.images],
        }
        return json.dumps(value, indent=2, ensure_ascii=False)


def evaluate(
    network: Network, images: Mapping[str, bytes], labels: Mapping[str, str], classes: Sequence[str]
) -> Evaluation:
    """Let a network classify pictures and compare.

    Args:
        network: the classifier.
        images: the picture files by name.
        labels: the class of each picture, by the same names.
        classes: their names in the order of the network's outputs.

    Raises:
        TrainingError: if a picture cannot be read or has no label.
    """
    batch = np.empty((len(images), 3, network.height, network.width), dtype=np.float32)
    for index, (name, data) in enumerate(images.items()):
        try:
            batch[index] = load_image(data, network.height, network.width)
        except UnreadablePictureError as error:
            raise TrainingError(f"{name} cannot be used for evaluation: {error}") from error
    return score(list(images), labels, network.probabilities(batch), classes)


def score(
    images: Sequence[str],
    labels: Mapping[str, str],
    probabilities: NDArray[np.floating],
    classes: Sequence[str],
) -> Evaluation:
    """Compare answers that a classifier gave elsewhere, for example on a device.

    Raises:
        TrainingError: if there is no picture, or one without a label that is among the classes.
    """
    if not images:
        raise TrainingError("there is no picture to evaluate with")
    if probabilities.shape != (len(images), len(classes)):
        raise TrainingError(
            f"{len(images)} pictures and {len(classes)} classes do not go with probabilities "
            f"of shape {probabilities.shape}"
        )
    scored = []
    for name, row in zip(images, probabilities, strict=True):
        label = labels.get(name)
        if label is None or label not in classes:
            raise TrainingError(f"{name} has the label {label!r}, which is not among {', '.join(classes)}")
        predicted = classes[int(np.argmax(row))]
        scored.append(ScoredImage(name, label, predicted, tuple(float(share) for share in row)))
    return Evaluation(tuple(classes), tuple(scored))
