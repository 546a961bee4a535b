"""What our trainer looks at in a picture: how much of which color, and how rough which color is.

Two kinds of features, both averages over a picture of something that a network can compute at each place:

- *histograms*: a rectifier `max(0, x - t)` for each threshold `t` and differences of neighbors give the
  share of pixels in each (overlapping, triangular) bin, for seven color axes and, on three axes, for the
  contrast: how far a pixel is from the average around it, averaged over a small neighborhood;
- *words*: how much of the picture is about like each of many typical places, `exp(-s * |place - word|²)`,
  where a place is described by its color or by color and contrast together. The words are learned.

Each is taken over the whole picture and over its border, that is, without the middle, where the object
usually lies. Measured against other features in samples/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtlabel.networks import interpreter
from gtlabel.networks.symbol import SymbolWriter

Floats = NDArray[np.float32]
Size = tuple[int, int]

# Pictures are shrunk by a whole factor to about this size first: color and roughness need no more.
_WORKING_SIZE = 64
_COLOR_AXES = np.array(
    [
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
        [1 / 3, 1 / 3, 1 / 3],
        [1, -1, 0],
        [1, 0, -1],
        [0, 1, -1],
    ]
)
_CONTRAST_AXES = _COLOR_AXES[3:6]
_BRIGHTNESS_BINS = np.linspace(0, 1, 12)
_CHROMA_BINS = np.linspace(-0.4, 0.4, 12)
_CONTRAST_BINS = np.linspace(0, 0.1, 8)
_NEIGHBORHOOD = 5
# What a difference in hue and in contrast counts, compared with one in brightness, between two places.
_PLACE_AXES = _CONTRAST_AXES * np.array([[1], [2], [2]]) / 255
_CONTRAST_COUNTS = 6.0


class FeatureNetwork:
    """The first half of our networks, as a graph in the making and the weights it needs.

    Attributes:
        writer: the graph so far.
        params: its weights.
        heads: the outputs that make up the features, each of shape (n, channels, 1, 1).
        channels: how many features each head has.
        places: what a place is described by, as nodes of the same rows and columns, for each kind of words.
    """

    def __init__(self, height: int, width: int) -> None:
        """Lay out the histograms for pictures of one size in pixels."""
        self.writer = SymbolWriter()
        self.params: dict[str, Floats] = {}
        self.heads: list[int] = []
        self.channels: list[int] = []
        self.places: dict[str, list[int]] = {}
        self._sizes: dict[str, Size] = {}
        self._data = data = self.writer.variable("data")
        factor = max(1, min(height, width) // _WORKING_SIZE)
        if factor > 1:
            data = self.average("shrink", data, (factor, factor), (factor, factor))
        self._small = data
        self._size = (height // factor, width // factor)
        self._color_histograms()
        self._color_places()
        if min(self._size) >= 4 * _NEIGHBORHOOD:
            self._contrast_histograms_and_places()

    def shrink(self, batch: Floats) -> Floats:
        """A batch of pictures (n, 3, height, width) as small as the features need them."""
        if self._small == self._data:
            return batch
        return interpreter.evaluate(self.writer.nodes(), self.params, {self._data: batch}, [self._small])[0]

    def features(self, small: Floats, first: int = 0) -> Floats:
        """The features of shrunk pictures, one row for each, from one of the heads on."""
        outputs = self._evaluate(small, self.heads[first:])
        return np.hstack([values[:, :, 0, 0] for values in outputs])

    def places_of(self, kind: str, small: Floats) -> Floats:
        """All places of shrunk pictures as words of a kind see them, shape (n, places, values)."""
        values = np.concatenate(self._evaluate(small, self.places[kind]), axis=1)
        return values.reshape(*values.shape[:2], -1).transpose(0, 2, 1)

    def add_words(self, kind: str, words: NDArray[Any], sharpness: float) -> None:
        """Add features that say how much of a picture is like each word.

        Args:
            kind: one of `places`.
            words: shape (words, values).
            sharpness: how fast likeness falls with the squared distance.
        """
        terms: list[int] = []
        start = 0
        for number, place in enumerate(self.places[kind]):
            values = len(self.params[f"arg:{kind}_place{number}_weight"])
            mine = words[:, start : start + values, None, None]
            bias = -sharpness * (mine**2).sum(axis=(1, 2, 3))
            squares = self.writer.operator("square", f"{kind}_square{number}", [place])
            terms += [
                self.convolution(f"{kind}_near{number}", place, 2 * sharpness * mine, bias),
                self.convolution(f"{kind}_far{number}", squares, np.full_like(mine, -sharpness)),
            ]
            start += values
        total = self.sum_of(f"{kind}_distance", terms)
        likeness = self.writer.operator("exp", f"{kind}_words", [total])
        self._pooled(kind, likeness, len(words), self._sizes[kind])

    def answers(self, head: int, features: Floats) -> Floats:
        """What a node behind the features says, given these."""
        ends = np.cumsum(self.channels)[:-1]
        parts = [part[:, :, None, None] for part in np.split(features, ends, axis=1)]
        known = dict(zip(self.heads, parts, strict=True))
        return interpreter.evaluate(self.writer.nodes(), self.params, known, [head])[0]

    def convolution(
        self,
        name: str,
        source: int,
        weight: NDArray[Any],
        bias: NDArray[Any] | None = None,
        *,
        groups: int = 1,
    ) -> int:
        """Add a convolution with given weights."""
        self.params[f"arg:{name}_weight"] = weight.astype(np.float32)
        self.params[f"arg:{name}_bias"] = (np.zeros(len(weight)) if bias is None else bias).astype(np.float32)
        return self.writer.operator(
            "Convolution", name, [source], ["weight", "bias"],
            kernel=weight.shape[2:], num_filter=len(weight), num_group=groups, no_bias=False,
        )  # fmt: skip

    def sum_of(self, name: str, terms: Sequence[int]) -> int:
        """Add the sum of outputs of one shape."""
        total, *rest = terms
        for number, term in enumerate(rest):
            total = self.writer.operator("elemwise_add", f"{name}{number}", [total, term])
        return total

    def rectifier(self, name: str, source: int) -> int:
        """Add `max(0, x)`."""
        return self.writer.operator("Activation", name, [source], act_type="relu")

    def average(self, name: str, source: int, kernel: Size, stride: Size) -> int:
        """Add averages over windows."""
        return self.writer.operator(
            "Pooling", name, [source],
            pool_type="avg", kernel=kernel, stride=stride, pooling_convention="valid",
        )  # fmt: skip

    def _evaluate(self, small: Floats, wanted: Sequence[int]) -> list[Floats]:
        return interpreter.evaluate(self.writer.nodes(), self.params, {self._small: small}, wanted)

    def _color_histograms(self) -> None:
        bins = [_BRIGHTNESS_BINS] * 4 + [_CHROMA_BINS] * 3
        self._histograms("color", self._small, _COLOR_AXES / 255, bins, self._size)

    def _color_places(self) -> None:
        # Two by two pixels are a place, where there are enough of them.
        step = 2 if min(self._size) >= _WORKING_SIZE // 2 else 1
        source = self._small
        if step > 1:
            source = self.average("color_places", source, (step, step), (step, step))
        self.places["color"] = [self.convolution("color_place0", source, _PLACE_AXES[:, :, None, None])]
        self._sizes["color"] = (self._size[0] // step, self._size[1] // step)

    def _contrast_histograms_and_places(self) -> None:
        side = _NEIGHBORHOOD
        kernel = np.full((side, side), -1 / side**2)
        kernel[side // 2, side // 2] += 1
        difference = np.einsum("ac,hw->achw", _CONTRAST_AXES / 255, kernel)
        signed = self.convolution("contrast", self._small, np.concatenate([difference, -difference]))
        rectified = self.rectifier("contrast_rectified", signed)
        stride = side // 2
        nearby = self.average("contrast_nearby", rectified, (side, side), (stride, stride))
        # All that the contrast of a place depends on.
        reach = 2 * side - 1
        rows, columns = ((length - reach) // stride + 1 for length in self._size)
        axes = np.hstack([np.eye(len(_CONTRAST_AXES))] * 2)
        self._histograms("contrast", nearby, axes, [_CONTRAST_BINS] * len(_CONTRAST_AXES), (rows, columns))
        around = self.average("texture_around", self._small, (reach, reach), (stride, stride))
        self.places["texture"] = [
            self.convolution("texture_place0", around, _PLACE_AXES[:, :, None, None]),
            self.convolution("texture_place1", nearby, _CONTRAST_COUNTS * axes[:, :, None, None]),
        ]
        self._sizes["texture"] = (rows, columns)

    def _histograms(
        self, name: str, source: int, axes: NDArray[Any], bins: list[NDArray[Any]], size: Size
    ) -> None:
        """Histograms along axes of the source's channels, over all of it and over its border."""
        # The share of a bin falls from 1 at its center to 0 at its neighbors' centers:
        # max(0, 1 - |x - center| / step), where |u| is max(0, u) + max(0, -u).
        slopes, offsets = [], []
        for axis, centers in zip(axes, bins, strict=True):
            step = centers[1] - centers[0]
            for center in centers:
                slopes += [axis / step, -axis / step]
                offsets += [-center / step, center / step]
        count = len(slopes) // 2
        distances = self.rectifier(
            f"{name}_sides_rectified",
            self.convolution(f"{name}_sides", source, np.array(slopes)[:, :, None, None], np.array(offsets)),
        )
        shares = self.rectifier(
            f"{name}_shares",
            self.convolution(
                f"{name}_nearness", distances, np.full((count, 2, 1, 1), -1.0), np.ones(count), groups=count
            ),
        )
        self._pooled(f"{name}_histogram", shares, count, size)

    def _pooled(self, name: str, source: int, count: int, size: Size) -> None:
        """Averages over all places and over those of the border, as features."""
        whole = self.writer.operator(
            "Pooling", f"{name}_whole", [source], pool_type="avg", global_pool=True, kernel=(1, 1)
        )
        # Windows of half a side, a quarter apart: three by three, the fifth of them is the middle.
        quarter = (size[0] // 4, size[1] // 4)
        half = (size[0] - 2 * quarter[0], size[1] - 2 * quarter[1])
        cells = self.average(f"{name}_cells", source, half, quarter)
        middle = np.zeros((count, 1, 3, 3))
        middle[:, :, 1, 1] = -(half[0] * half[1]) / (size[0] * size[1])
        without = self.convolution(f"{name}_without_middle", cells, middle, groups=count)
        self.heads += [whole, self.writer.operator("elemwise_add", f"{name}_border", [whole, without])]
        self.channels += [count] * 2
