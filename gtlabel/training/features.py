"""What our trainer looks at in a picture: how much of which color, and how rough the surface is.

A histogram is something that a network can compute: a rectifier `max(0, x - t)` for each threshold `t`,
averaged over the picture, gives the area above the threshold, and differences of neighbors give the
share of pixels in each (overlapping, triangular) bin. There is one such histogram for each of seven
color axes and, for each of three axes, of the contrast: how far a pixel is from the average
around it, averaged over a small neighborhood. Each is taken over the whole picture and over its border,
that is, without the middle, where the object usually lies.

Measured against other features in samples/README.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtlabel.networks import interpreter
from gtlabel.networks.symbol import SymbolWriter

Floats = NDArray[np.float32]

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


class FeatureNetwork:
    """The fixed first half of our networks, as a graph in the making and the weights it needs.

    Attributes:
        writer: the graph so far.
        params: its weights.
        heads: the outputs that make up the features, each of shape (n, channels, 1, 1).
        channels: how many features each head has.
    """

    def __init__(self, height: int, width: int) -> None:
        """Lay out the graph for pictures of one size."""
        self.writer = SymbolWriter()
        self.params: dict[str, Floats] = {}
        self.heads: list[int] = []
        self.channels: list[int] = []
        self._data = data = self.writer.variable("data")
        factor = max(1, min(height, width) // _WORKING_SIZE)
        if factor > 1:
            data = self.average("shrink", data, (factor, factor), (factor, factor))
        self._rows, self._columns = height // factor, width // factor
        self._colors(data)
        if min(self._rows, self._columns) >= 4 * _NEIGHBORHOOD:
            self._contrast(data)

    def features(self, batch: Floats) -> Floats:
        """The features of a batch of pictures, one row for each."""
        nodes = self.writer.nodes()
        outputs = interpreter.evaluate(nodes, self.params, {self._data: batch}, self.heads)
        return np.hstack([values[:, :, 0, 0] for values in outputs])

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

    def split_convolution(self, name: str, weight: NDArray[Any], bias: NDArray[Any]) -> int:
        """Add a convolution over all features: one for each head, and their sum."""
        total: int | None = None
        start = 0
        for index, (head, channels) in enumerate(zip(self.heads, self.channels, strict=True)):
            part = weight[:, start : start + channels, None, None]
            added = self.convolution(f"{name}{index}", head, part, bias if total is None else None)
            if total is not None:
                added = self.writer.operator("elemwise_add", f"{name}_sum{index}", [total, added])
            total = added
            start += channels
        if total is None:
            raise ValueError("a network without features has nothing to ask about")
        return total

    def classifier(self, source: int, weight: NDArray[Any]) -> int:
        """Add a fully connected layer and the probabilities."""
        self.params["arg:fc_weight"] = weight.astype(np.float32)
        self.params["arg:fc_bias"] = np.zeros(len(weight), dtype=np.float32)
        flat = self.writer.operator("Flatten", "flatten0", [source])
        scores = self.writer.operator(
            "FullyConnected", "fc", [flat], ["weight", "bias"], num_hidden=len(weight)
        )
        return self.writer.operator("SoftmaxOutput", "softmax", [scores], ["label"])

    def rectifier(self, name: str, source: int) -> int:
        """Add `max(0, x)`."""
        return self.writer.operator("Activation", name, [source], act_type="relu")

    def average(self, name: str, source: int, kernel: tuple[int, int], stride: tuple[int, int]) -> int:
        """Add averages over windows."""
        return self.writer.operator(
            "Pooling", name, [source],
            pool_type="avg", kernel=kernel, stride=stride, pooling_convention="valid",
        )  # fmt: skip

    def _colors(self, data: int) -> None:
        bins = [_BRIGHTNESS_BINS] * 4 + [_CHROMA_BINS] * 3
        self._histograms("color", data, _COLOR_AXES / 255, bins, (self._rows, self._columns))

    def _contrast(self, data: int) -> None:
        side = _NEIGHBORHOOD
        kernel = np.full((side, side), -1 / side**2)
        kernel[side // 2, side // 2] += 1
        difference = np.einsum("ac,hw->achw", _CONTRAST_AXES / 255, kernel)
        signed = self.convolution("contrast", data, np.concatenate([difference, -difference]))
        rectified = self.rectifier("contrast_rectified", signed)
        stride = side // 2
        nearby = self.average("contrast_nearby", rectified, (side, side), (stride, stride))
        rows, columns = (((size - side + 1) - side) // stride + 1 for size in (self._rows, self._columns))
        axes = np.hstack([np.eye(len(_CONTRAST_AXES))] * 2)
        self._histograms("contrast", nearby, axes, [_CONTRAST_BINS] * len(_CONTRAST_AXES), (rows, columns))

    def _histograms(
        self, name: str, source: int, axes: NDArray[Any], bins: list[NDArray[Any]], size: tuple[int, int]
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
        whole = self.writer.operator(
            "Pooling", f"{name}_whole", [shares], pool_type="avg", global_pool=True, kernel=(1, 1)
        )
        # Windows of half a side, a quarter apart: three by three, the fifth of them is the middle.
        quarter = (size[0] // 4, size[1] // 4)
        half = (size[0] - 2 * quarter[0], size[1] - 2 * quarter[1])
        cells = self.average(f"{name}_cells", shares, half, quarter)
        middle = np.zeros((count, 1, 3, 3))
        middle[:, :, 1, 1] = -(half[0] * half[1]) / (size[0] * size[1])
        without = self.convolution(f"{name}_without_middle", cells, middle, groups=count)
        self.heads += [whole, self.writer.operator("elemwise_add", f"{name}_border", [whole, without])]
        self.channels += [count] * 2
