"""Let a network classify pictures whose class is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gtlabel.errors import EvaluationError
from gtlabel.networks.evaluation import Evaluation, ScoredImage
from gtlabel.networks.preprocess import UnreadablePictureError, load_image

if TYPE_CHECKING:
    from gtlabel.networks.runtime import Network


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
        EvaluationError: if a picture cannot be read or has no label among the classes.
    """
    batch = np.empty((len(images), 3, network.height, network.width), dtype=np.float32)
    for index, (name, data) in enumerate(images.items()):
        try:
            batch[index] = load_image(data, network.height, network.width)
        except UnreadablePictureError as error:
            raise EvaluationError(f"{name} cannot be used for evaluation: {error}") from error
        if name not in labels:
            raise EvaluationError(f"{name} has no label to compare with")
    rows = network.probabilities(batch)
    return Evaluation(
        classes,
        [
            ScoredImage(name, labels[name], [float(share) for share in row], data)
            for (name, data), row in zip(images.items(), rows, strict=True)
        ],
    )
