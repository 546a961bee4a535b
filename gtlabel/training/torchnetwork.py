"""Runs and trains an artifact's graph with torch, node by node.

The network has no definition of its own: the symbol says what is computed, and the weights keep the names
that MXNet gave them. So every artifact of the built-in algorithm can be the start, whatever its year, and
what is written back is of the same form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtlabel.errors import ArtifactError
from gtlabel.networks.symbol import Node, read_nodes

Tensor = Any

_INPUT = "data"
_ADDITIONS = ("elemwise_add", "_Plus", "_plus", "broadcast_add")
_NOTHING = ("_copy", "identity", "Cast", "cast", "BlockGrad")
_SOFTMAX = ("SoftmaxOutput", "Softmax", "softmax")
_SIGMOID = ("LogisticRegressionOutput",)
_ACTIVATIONS = {
    "relu": "relu", "sigmoid": "sigmoid", "tanh": "tanh", "softrelu": "softplus", "softsign": "softsign",
}  # fmt: skip


@dataclass(frozen=True)
class _Step:
    """One operator of the graph: what it reads, and whose values nobody reads after it."""

    index: int
    run: Callable[[Sequence[Tensor], float | None], Tensor]
    sources: Sequence[int]
    released: Sequence[int]


class TorchNetwork:
    """A network that can be trained.

    Args:
        torch: the module.
        symbol: the graph, as MXNet's JSON has it.
        params: its weights by their full names.

    Attributes:
        multi_label: whether each class is decided on its own.
        weights: what is learned, by name (`arg:…`).
        fixed: the names of those weights that take no part: gammas that count as one.
        moving: the averages that batch normalization keeps (`aux:…`).

    Raises:
        ArtifactError: if weights are missing, or the graph has an operator that no ResNet has.
    """

    def __init__(self, torch: Any, symbol: Mapping[str, Any], params: Mapping[str, NDArray[Any]]) -> None:
        self._torch = torch
        self._functions = torch.nn.functional
        self._nodes, head = read_nodes(symbol)
        self._output = self._nodes[head]
        if self._output.op not in (*_SOFTMAX, *_SIGMOID):
            raise ArtifactError(f"the network ends in {self._output.op}, which cannot be trained further")
        self.multi_label = self._output.op in _SIGMOID
        self.weights: dict[str, Tensor] = {}
        self.fixed: set[str] = set()
        self.moving: dict[str, Tensor] = {}
        self._params = params
        self._scores = self._output.inputs[0]
        self._steps = self._compile()

    def scores(self, batch: Tensor, momentum: float | None = None) -> Tensor:
        """What the last layer says before softmax or sigmoid, a row for each picture.

        Args:
            batch: pictures (n, 3, height, width), raw values 0 to 255.
            momentum: how much of its moving averages batch normalization replaces by the batch's own
                figures, which it then computes with; None to compute with the averages and leave them.
        """
        values: dict[int, Tensor] = {-1: batch}
        for step in self._steps:
            values[step.index] = step.run([values[source] for source in step.sources], momentum)
            for source in step.released:
                del values[source]
        return values[self._scores]

    def probabilities(self, batch: Tensor) -> Tensor:
        """The network's answers, computed without a trace of how to improve them."""
        with self._torch.inference_mode():
            scores = self.scores(batch)
            return scores.sigmoid() if self.multi_label else scores.softmax(dim=1)

    def loss(self, scores: Tensor, truth: Tensor, positives: Tensor | None = None) -> Tensor:
        """What training makes smaller: the mean over the batch, as MXNet rescales it.

        Args:
            scores: of a batch.
            truth: one row for each picture with a one for each class it has.
            positives: with several labels, how much more than its absence each class's presence weighs.
        """
        if self.multi_label:
            return self._functions.binary_cross_entropy_with_logits(scores, truth, pos_weight=positives)
        return self._functions.cross_entropy(scores, truth.argmax(dim=1))

    def params(self) -> dict[str, NDArray[np.float32]]:
        """Copies of the weights and moving averages, by their full names."""
        return {
            name: np.array(tensor.detach().numpy(), dtype=np.float32)
            for name, tensor in {**self.weights, **self.moving}.items()
        }

    def load(self, params: Mapping[str, NDArray[Any]]) -> None:
        """Replace the weights and moving averages.

        Raises:
            ArtifactError: if one is missing or of another shape.
        """
        with self._torch.no_grad():
            for name, tensor in {**self.weights, **self.moving}.items():
                tensor.copy_(self._fitting(params, name, tuple(tensor.shape)))

    def _compile(self) -> list[_Step]:
        needed = {self._scores}
        for index in range(self._scores, -1, -1):
            if index in needed:
                needed.update(self._nodes[index].inputs)
        order = [index for index in sorted(needed) if self._nodes[index].op != "null"]
        sources = {index: self._sources(self._nodes[index]) for index in order}
        last_use = {source: index for index in order for source in sources[index]}
        return [
            _Step(
                index,
                self._operator(self._nodes[index]),
                sources[index],
                [source for source in set(sources[index]) if last_use[source] == index],
            )
            for index in order
        ]

    def _sources(self, node: Node) -> list[int]:
        """The nodes that give an operator its data; -1 is the picture."""
        found = []
        for index in node.inputs:
            source = self._nodes[index]
            if source.op != "null":
                found.append(index)
            elif source.name == _INPUT:
                found.append(-1)
        return found

    def _operator(self, node: Node) -> Callable[[Sequence[Tensor], float | None], Tensor]:
        functions = self._functions
        match node.op:
            case "Convolution":
                return self._convolution(node)
            case "BatchNorm":
                return self._batch_norm(node)
            case "Activation" if node.attributes.get("act_type") in _ACTIVATIONS:
                function = getattr(functions, _ACTIVATIONS[node.attributes["act_type"]])
                return lambda inputs, _: function(inputs[0])
            case "Pooling":
                return self._pooling(node)
            case "Flatten":
                return lambda inputs, _: inputs[0].flatten(1)
            case "FullyConnected":
                weight, bias = self._weight(node, 1), self._bias(node)
                return lambda inputs, _: functions.linear(inputs[0].flatten(1), weight, bias)
            case "Dropout":
                share = node.real("p", 0.5)
                return lambda inputs, momentum: functions.dropout(inputs[0], share, momentum is not None)
            case op if op in _ADDITIONS:
                return lambda inputs, _: inputs[0] + inputs[1]
            # What was computed in 16 bits is computed in 32 here, so a cast changes nothing.
            case op if op in _NOTHING:
                return lambda inputs, _: inputs[0]
        raise ArtifactError(f"the operator {node.op} (node {node.name!r}) is not one of a ResNet's")

    def _convolution(self, node: Node) -> Callable[[Sequence[Tensor], float | None], Tensor]:
        weight, bias = self._weight(node, 1), self._bias(node)
        stride, pad = node.pair("stride", (1, 1)), node.pair("pad", (0, 0))
        dilate, groups = node.pair("dilate", (1, 1)), node.number("num_group", 1)
        convolve = self._functions.conv2d
        return lambda inputs, _: convolve(inputs[0], weight, bias, stride, pad, dilate, groups)

    def _batch_norm(self, node: Node) -> Callable[[Sequence[Tensor], float | None], Tensor]:
        mean, variance = self._average(node, 3), self._average(node, 4)
        gamma, beta = self._weight(node, 1), self._weight(node, 2)
        eps, fixed = node.real("eps", 1e-3), node.flag("fix_gamma", True)
        normalize = self._functions.batch_norm
        if fixed:
            self.fixed.add(f"arg:{self._name(node, 1)}")

        def run(inputs: Sequence[Tensor], momentum: float | None) -> Tensor:
            # MXNet computes with a gamma of one where it is fixed, whatever the file says.
            scale = None if fixed else gamma
            training = momentum is not None
            return normalize(inputs[0], mean, variance, scale, beta, training, momentum or 0.0, eps)

        return run

    def _pooling(self, node: Node) -> Callable[[Sequence[Tensor], float | None], Tensor]:
        kind = node.attributes.get("pool_type", "max")
        if kind not in ("max", "avg"):
            raise ArtifactError(f"the Pooling {node.name!r} is of the unknown kind {kind!r}")
        if node.flag("global_pool", False):
            largest = self._functions.adaptive_max_pool2d
            if kind == "max":
                return lambda inputs, _: largest(inputs[0], 1)
            return lambda inputs, _: inputs[0].mean(dim=(2, 3), keepdim=True)
        kernel, stride, pad = node.pair("kernel"), node.pair("stride", (1, 1)), node.pair("pad", (0, 0))
        full = node.attributes.get("pooling_convention", "valid") == "full"
        if kind == "max":
            pool = self._functions.max_pool2d
            return lambda inputs, _: pool(inputs[0], kernel, stride, pad, ceil_mode=full)
        pool, counted = self._functions.avg_pool2d, node.flag("count_include_pad", True)
        return lambda inputs, _: pool(inputs[0], kernel, stride, pad, full, counted)

    def _bias(self, node: Node) -> Tensor | None:
        return None if node.flag("no_bias", False) else self._weight(node, 2)

    def _weight(self, node: Node, place: int) -> Tensor:
        name = f"arg:{self._name(node, place)}"
        if name not in self.weights:
            self.weights[name] = self._fitting(self._params, name).requires_grad_()
        return self.weights[name]

    def _average(self, node: Node, place: int) -> Tensor:
        name = f"aux:{self._name(node, place)}"
        if name not in self.moving:
            self.moving[name] = self._fitting(self._params, name)
        return self.moving[name]

    def _name(self, node: Node, place: int) -> str:
        if place >= len(node.inputs):
            raise ArtifactError(f"the {node.op} {node.name!r} has no weights at place {place}")
        return self._nodes[node.inputs[place]].name

    def _fitting(
        self, params: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...] | None = None
    ) -> Tensor:
        if name not in params:
            raise ArtifactError(f"the network needs {name}, which is not among the weights")
        array = np.array(params[name], dtype=np.float32)
        if shape is not None and array.shape != shape:
            raise ArtifactError(f"{name} has the shape {array.shape} where the network has {shape}")
        return self._torch.from_numpy(array)
