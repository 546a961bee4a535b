"""What our trainer learns with: ridge regression on likeness to training pictures.

A picture is as like a training picture as `exp(-w * |z - z_i|²)` says, where `z` are the square roots of its
features, each shifted and scaled to mean 0 and deviation 1 (the root makes shares of an area comparable:
Perronnin et al., ECCV 2010). Each class has a score, a weighted sum of these likenesses; the weights make the
squared error on the training pictures plus a penalty smallest, which is a system of linear equations
(Saunders, Gammerman and Vovk, ICML 1998).

For such a regression the scores of a picture under all pictures but it follow from one solution (Cook and
Weisberg, Residuals and Influence in Regression, 1982, §2.2), so every width and penalty is judged by
leaving out each picture once. What varies a picture (`copies`) is left out together with it.

With many pictures, likeness is computed to a random part of them only: a Nyström approximation (Williams and
Seeger, NIPS 2000).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gtlabel.training.features import FeatureNetwork

Floats = NDArray[np.float32]
Floats64 = NDArray[np.float64]

_MOST_LANDMARKS = 1000
_WIDTHS = (0.35, 0.7, 1.4)
_PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
# What keeps equal pictures from making the equations unsolvable.
_JITTER = 1e-6
# Features that hardly vary among the training pictures must not drown the others in a new one.
_LEAST_DEVIATION = 0.25


@dataclass(frozen=True)
class Scale:
    """How features become coordinates of which all count alike.

    Attributes:
        center: shape (features,).
        deviation: shape (features,).
    """

    center: Floats64
    deviation: Floats64

    @classmethod
    def of(cls, features: Floats) -> Scale:
        """The scale of training pictures' features (n, features)."""
        roots = _roots(features)
        spread = roots.std(axis=0)
        least = _LEAST_DEVIATION * spread.mean() + _JITTER
        return cls(roots.mean(axis=0), np.sqrt(spread**2 + least**2))

    def __call__(self, features: Floats) -> Floats64:
        """The coordinates of pictures, shape (n, features)."""
        coordinates: Floats64 = (_roots(features) - self.center) / self.deviation
        return coordinates


@dataclass(frozen=True)
class Solution:
    """One way to score pictures.

    Attributes:
        width: how fast likeness falls with the squared distance, for each feature.
        penalty: of large weights.
        weights: of the likeness to each landmark in each class's score, shape (landmarks, classes).
        fitted: the scores of the training pictures, shape (n, classes).
        left_out: their scores if each had not been learned from, shape (n, classes).
    """

    width: float
    penalty: float
    weights: Floats64
    fitted: Floats64
    left_out: Floats64


class Regression:
    """Training pictures of which scores are to be learned.

    Args:
        features: shape (n * (1 + copies), features); a picture's own row, then its varied copies.
        truth: what the score of each picture in each class should be, shape (n, classes).
        weights: how much each picture counts, shape (n,); 1 on the mean.
        copies: how many rows follow each picture's own.
        seed: chooses the landmarks where there are many rows.

    Attributes:
        prior: the weighted mean of the truth, which a picture like none gets.
    """

    def __init__(
        self, features: Floats, truth: Floats64, weights: Floats64, *, copies: int = 0, seed: int = 0
    ) -> None:
        self._rows = 1 + copies
        self.scale = Scale.of(features)
        self._points = self.scale(features)
        self.prior: Floats64 = weights @ truth / weights.sum()
        self._truth = np.repeat(truth - self.prior, self._rows, axis=0)
        # A picture and its copies count as one.
        self._roots = np.sqrt(np.repeat(weights, self._rows) / self._rows)[:, None]
        count = len(features)
        random = np.random.default_rng(seed)
        chosen = np.arange(count)
        if count > _MOST_LANDMARKS:
            chosen = np.sort(random.choice(count, _MOST_LANDMARKS, replace=False))
        self.landmarks = self._points[chosen]
        self._chosen = chosen
        self._distances = _squared_distances(self._points, self.landmarks)

    def solutions(self) -> Iterator[Solution]:
        """One for each width and penalty that is worth a try."""
        for times in _WIDTHS:
            width = times / self._points.shape[1]
            likeness = np.exp(-width * self._distances)
            among = likeness[self._chosen] + _JITTER * np.eye(len(self._chosen))
            lower = np.linalg.cholesky(among)
            # Coordinates in which the penalty is that of plain ridge regression.
            basis = np.linalg.solve(lower, likeness.T).T
            weighted = self._roots * basis
            sizes, directions = np.linalg.eigh(weighted.T @ weighted)
            turned = weighted @ directions
            answers = turned.T @ (self._roots * self._truth)
            plain = basis @ directions
            for penalty in _PENALTIES:
                shrunk = 1 / (np.maximum(sizes, 0) + penalty)
                found = shrunk[:, None] * answers
                fitted = plain @ found
                left_out = self._left_out(turned, shrunk, fitted)
                yield Solution(
                    width,
                    penalty,
                    np.linalg.solve(lower.T, directions @ found),
                    self.prior + fitted[:: self._rows],
                    self.prior + left_out,
                )

    def _left_out(self, turned: Floats64, shrunk: Floats64, fitted: Floats64) -> Floats64:
        """The scores of the pictures themselves, each learned without it and its copies."""
        rows = self._rows
        missing = (self._roots * (self._truth - fitted)).reshape(-1, rows, self._truth.shape[1])
        blocks = turned.reshape(-1, rows, turned.shape[1])
        influence = np.eye(rows) - (blocks * shrunk) @ blocks.transpose(0, 2, 1)
        errors = np.linalg.solve(influence, missing)[:, 0] / self._roots[::rows]
        left_out: Floats64 = self._truth[::rows] - errors
        return left_out


def add_scores(
    network: FeatureNetwork, regression: Regression, solution: Solution, gain: Floats64, bias: Floats64
) -> int:
    """Write a solution as layers behind the features.

    Args:
        network: the layers and weights are added to it.
        regression: what the solution is of.
        solution: it.
        gain: what each class's score is multiplied by, shape (classes,).
        bias: what is added afterwards, shape (classes,).

    Returns:
        the node of the classes' scores.
    """
    scale, landmarks = regression.scale, regression.landmarks
    count = len(landmarks)
    terms: list[int] = []
    start = 0
    # The names say how many features there are, so that several classifiers fit behind one network.
    name = f"pictures{sum(network.channels)}"
    for number, (head, channels) in enumerate(zip(network.heads, network.channels, strict=True)):
        mine = slice(start, start + channels)
        start += channels
        # Rounding may leave a share of nothing a little below 0.
        area = network.rectifier(f"{name}_area{number}", head)
        root = network.writer.operator("sqrt", f"{name}_root{number}", [area])
        deviation = scale.deviation[mine]
        scaled = network.convolution(
            f"{name}_scaled{number}",
            root,
            (1 / deviation)[:, None, None, None],
            -scale.center[mine] / deviation,
            groups=channels,
        )
        squares = network.writer.operator("square", f"{name}_square{number}", [scaled])
        near = landmarks[:, mine]
        bias_near = -solution.width * (near**2).sum(axis=1)
        length = network.convolution(
            f"{name}_length{number}", squares, np.full((1, channels, 1, 1), -solution.width)
        )
        terms += [
            network.convolution(
                f"{name}_near{number}", scaled, 2 * solution.width * near[:, :, None, None], bias_near
            ),
            network.convolution(f"{name}_far{number}", length, np.ones((count, 1, 1, 1))),
        ]
    likeness = network.writer.operator("exp", f"{name}_likeness", [network.sum_of(f"{name}_sum", terms)])
    flat = network.writer.operator("Flatten", "flatten0", [likeness])
    network.params["arg:fc_weight"] = (solution.weights * gain).T.astype(np.float32)
    network.params["arg:fc_bias"] = (regression.prior * gain + bias).astype(np.float32)
    return network.writer.operator("FullyConnected", "fc", [flat], ["weight", "bias"], num_hidden=len(gain))


def _roots(features: Floats) -> Floats64:
    roots: Floats64 = np.sqrt(np.maximum(features, 0)).astype(np.float64)
    return roots


def _squared_distances(rows: Floats64, centers: Floats64) -> Floats64:
    distances: Floats64 = (rows**2).sum(axis=1)[:, None] - 2 * rows @ centers.T + (centers**2).sum(axis=1)
    return np.maximum(distances, 0)
