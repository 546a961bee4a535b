"""The built-in algorithm's networks, from the depth to the last attribute, without MXNet.

They are the pre-activation ResNets of MXNet's examples (https://arxiv.org/abs/1603.05027; the public
definition is apache/mxnet, example/image-classification/symbols/resnet.py), as they were found in real
artifacts: contract/training.md §3.2. Pictures up to 28 pixels high get three stages, those up to 32 a stem
that keeps their size, all others the stem of ImageNet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtlabel.errors import ArtifactError

Shape = tuple[int, ...]

# What the built-in's artifacts since 2019 state.
_MXNET_VERSION = 10300
_SMALL_HEIGHT = 28
_MIDDLE_HEIGHT = 32
_UNITS: Mapping[int, Sequence[int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
_SMALL_UNITS: Mapping[int, Sequence[int]] = {
    layers: ((layers - 2) // 6,) * 3 for layers in (20, 32, 44, 56, 110)
}
_FIRST_WITH_BOTTLENECKS = 50
_EPS = 2e-5
_MOMENTUM = 0.9
# Outputs that an operator has beside the one that is used: the mean and the deviation of a batch.
_OUTPUTS = {"BatchNorm": 3}


@dataclass(frozen=True)
class Design:
    """A network that was not trained yet.

    Attributes:
        symbol: the graph, as MXNet's JSON has it.
        shapes: those of its weights by their full names, such as `arg:conv0_weight`.
        half: whether MXNet computes, and stores, convolutions in 16 bits.
    """

    symbol: dict[str, Any]
    shapes: Mapping[str, Shape]
    half: bool = False


def resnet(
    layers: int,
    classes: int,
    image_shape: tuple[int, int, int],
    *,
    multi_label: bool = False,
    half: bool = False,
) -> Design:
    """The built-in's network of a depth.

    Args:
        layers: its depth, `num_layers`.
        classes: how many outputs it has.
        image_shape: channels, height and width of a picture.
        multi_label: whether each class is decided on its own (a sigmoid) or one is chosen (a softmax).
        half: whether MXNet is to compute in 16 bits, as with `precision_dtype` float16.

    Raises:
        ArtifactError: if there is no network of that depth for pictures of that height.
    """
    channels, height, _ = image_shape
    small = height <= _SMALL_HEIGHT
    known = _SMALL_UNITS if small else _UNITS
    if layers not in known:
        raise ArtifactError(
            f"there is no ResNet of {layers} layers for pictures {height} pixels high; "
            f"take one of {', '.join(map(str, known))}"
        )
    bottlenecks = layers >= _FIRST_WITH_BOTTLENECKS and not small
    widths: Sequence[int] = (16, 16, 32, 64)
    if not small:
        widths = (64, 256, 512, 1024, 2048) if bottlenecks else (64, 64, 128, 256, 512)
    graph = _Graph()
    body = graph.variable("data")
    first: dict[str, Any] = {"op": "Cast", "name": "cast0", "dtype": "float16"}
    body = graph.add(inputs=[body], **(first if half else {"op": "_copy", "name": "id"}))
    body = graph.batch_norm(body, "bn_data", channels, fix_gamma=True)
    if height <= _MIDDLE_HEIGHT:
        body = graph.convolution(body, "conv0", channels, widths[0], 3)
    else:
        body = graph.convolution(body, "conv0", channels, widths[0], 7, stride=2)
        body = graph.norm_relu(body, "bn0", "relu0", widths[0])
        body = graph.add(
            "Pooling", "pooling0", [body], kernel=(3, 3), pad=(1, 1), pool_type="max", stride=(2, 2)
        )
    depth = widths[0]
    for stage, (units, width) in enumerate(zip(known[layers], widths[1:], strict=True), 1):
        for unit in range(1, units + 1):
            stride = 2 if stage > 1 and unit == 1 else 1
            body = graph.unit(body, f"stage{stage}_unit{unit}", depth, width, stride, unit == 1, bottlenecks)
            depth = width
    body = graph.norm_relu(body, "bn1", "relu1", depth)
    body = graph.add("Pooling", "pool1", [body], global_pool=True, kernel=(7, 7), pool_type="avg")
    body = graph.add("Flatten", "flatten0", [body])
    body = graph.fully_connected(body, "fc", depth, classes)
    if half:
        body = graph.add("Cast", "cast1", [body], dtype="float32")
    label = graph.variable("softmax_label")
    # The output keeps its name, which is what every reader of artifacts asks for.
    head = graph.add("LogisticRegressionOutput" if multi_label else "SoftmaxOutput", "softmax", [body, label])
    return Design(graph.finish(head), graph.shapes, half)


def initial_weights(shapes: Mapping[str, Shape], seed: int) -> dict[str, NDArray[np.float32]]:
    """Weights to begin with: normally distributed, the wider the fewer inputs, as MXNet's examples have it.

    The same names, shapes and seed give the same weights, whatever other weights there are.

    Args:
        shapes: of the weights by their full names.
        seed: of the random numbers.
    """
    weights: dict[str, NDArray[np.float32]] = {}
    for name, shape in shapes.items():
        if name.endswith("_weight"):
            random = np.random.default_rng([seed, *name.encode()])
            inputs = int(np.prod(shape[1:]))
            # Xavier(rnd_type="gaussian", factor_type="in", magnitude=2) in MXNet's words.
            weights[name] = random.normal(0, np.sqrt(2 / inputs), shape).astype(np.float32)
        else:
            start = 1.0 if name.endswith(("_gamma", "_moving_var")) else 0.0
            weights[name] = np.full(shape, start, dtype=np.float32)
    return weights


@dataclass
class _Graph:
    """A graph in the making, in the order and with the attributes that MXNet gives it."""

    nodes: list[dict[str, Any]] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    sums: int = 0

    def variable(self, name: str, **attributes: str) -> int:
        return self._append("null", name, attributes, [])

    def add(self, op: str, name: str, inputs: Sequence[int], **attributes: object) -> int:
        """An operator without weights."""
        return self._append(op, name, _spelled(attributes), [[source, 0, 0] for source in inputs])

    def convolution(
        self, source: int, name: str, inputs: int, outputs: int, size: int, stride: int = 1
    ) -> int:
        attributes = {
            "kernel": (size, size),
            "no_bias": True,
            "num_filter": outputs,
            "pad": (size // 2, size // 2),
            "stride": (stride, stride),
            "workspace": 256,
        }
        return self._weighted(
            "Convolution", name, source, {"weight": (outputs, inputs, size, size)}, attributes
        )

    def fully_connected(self, source: int, name: str, inputs: int, outputs: int) -> int:
        weights = {"weight": (outputs, inputs), "bias": (outputs,)}
        return self._weighted("FullyConnected", name, source, weights, {"num_hidden": outputs})

    def batch_norm(self, source: int, name: str, channels: int, *, fix_gamma: bool = False) -> int:
        attributes = {"eps": _EPS, "fix_gamma": fix_gamma, "momentum": _MOMENTUM}
        weights = dict.fromkeys(("gamma", "beta", "moving_mean", "moving_var"), (channels,))
        return self._weighted("BatchNorm", name, source, weights, attributes)

    def norm_relu(self, source: int, norm: str, relu: str, channels: int) -> int:
        return self.add("Activation", relu, [self.batch_norm(source, norm, channels)], act_type="relu")

    def unit(
        self, source: int, name: str, inputs: int, outputs: int, stride: int, first: bool, bottleneck: bool
    ) -> int:
        """A residual unit; the first of a stage has a convolution on the way around, too."""
        # Filters, kernel and stride of each convolution.
        steps = [(outputs, 3, stride), (outputs, 3, 1)]
        if bottleneck:
            steps = [(outputs // 4, 1, 1), (outputs // 4, 3, stride), (outputs, 1, 1)]
        body, depth, activated = source, inputs, source
        for number, (filters, size, step) in enumerate(steps, 1):
            body = self.norm_relu(body, f"{name}_bn{number}", f"{name}_relu{number}", depth)
            if number == 1:
                activated = body
            body = self.convolution(body, f"{name}_conv{number}", depth, filters, size, step)
            depth = filters
        around = source
        if first:
            around = self.convolution(activated, f"{name}_sc", inputs, outputs, 1, stride)
        self.sums += 1
        return self.add("elemwise_add", f"_plus{self.sums - 1}", [body, around])

    def finish(self, head: int) -> dict[str, Any]:
        rows = [0]
        for node in self.nodes:
            rows.append(rows[-1] + _OUTPUTS.get(node["op"], 1))
        return {
            "nodes": self.nodes,
            "arg_nodes": [index for index, node in enumerate(self.nodes) if node["op"] == "null"],
            "node_row_ptr": rows,
            "heads": [[head, 0, 0]],
            "attrs": {"mxnet_version": ["int", _MXNET_VERSION]},
        }

    def _weighted(
        self, op: str, name: str, source: int, weights: Mapping[str, Shape], attributes: Mapping[str, object]
    ) -> int:
        spelled = _spelled(attributes)
        inputs = [[source, 0, 0]]
        for weight, shape in weights.items():
            moving = weight.startswith("moving")
            self.shapes[f"{'aux' if moving else 'arg'}:{name}_{weight}"] = shape
            extra = {}
            if moving:
                extra = {"__init__": '["one", {}]' if weight == "moving_var" else '["zero", {}]'}
            # The third number counts the times that running the network has changed the input.
            inputs.append([self.variable(f"{name}_{weight}", **extra, **spelled), 0, int(moving)])
        return self._append(op, name, spelled, inputs)

    def _append(self, op: str, name: str, attributes: Mapping[str, str], inputs: list[list[int]]) -> int:
        node: dict[str, Any] = {"op": op, "name": name}
        if attributes:
            node["attrs"] = dict(attributes)
        node["inputs"] = inputs
        self.nodes.append(node)
        return len(self.nodes) - 1


def _spelled(attributes: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in attributes.items()}
