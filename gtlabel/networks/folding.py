"""A network without its batch normalizations, as 8 bits want it: each becomes part of a convolution, or one.

At inference a batch normalization is a factor and a summand for each channel. Behind a convolution they go
into its weights; behind anything else, as in the built-in's networks behind each sum, they become a
convolution of one pixel and one channel. onnxruntime's own preparation (`quant_pre_process`) folds only the
former, and stamps the file with operator sets that onnxruntime 1.16, which old cameras need, refuses to load.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_EPSILON = 1e-5


def folded(model: Any) -> Any:
    """A network that computes the same, with convolutions in place of batch normalizations.

    One on the network's very input stays: there it costs next to nothing, and the picture stays exact.

    Args:
        model: an `onnx.ModelProto`; it is not changed.
    """
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model)
    # Where pictures are: number, channels, height, width.
    pictures = {
        value.name for value in inferred.graph.value_info if len(value.type.tensor_type.shape.dim) == 4
    }
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(output.name for output in graph.output)
    makers: dict[str, Any] = {}
    renamed: dict[str, str] = {}
    nodes = []
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = renamed.get(name, name)
        if node.input[0] in pictures and _is(node, "BatchNormalization", weights):
            maker = makers.get(node.input[0])
            if maker is not None and _is(maker, "Conv", weights) and uses[node.input[0]] == 1:
                _into(maker, node, weights)
                renamed[node.output[0]] = maker.output[0]
                uses[maker.output[0]] = uses[node.output[0]]
                continue
            node = _alone(node, weights)
        nodes.append(node)
        makers.update((output, node) for output in node.output)
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in sorted(weights.items()) if name in used
    )
    return result


def _is(node: Any, operator: str, weights: Mapping[str, NDArray[Any]]) -> bool:
    """Whether a node is such an operator, with one output and nothing but numbers beside its first input."""
    numbers = all(name in weights for name in node.input[1:])
    return bool(node.op_type == operator) and len(node.output) == 1 and numbers


def _into(convolution: Any, norm: Any, weights: dict[str, NDArray[Any]]) -> None:
    """Put a batch normalization into the convolution before it."""
    factor, summand = _line(norm, weights)
    weight = weights[convolution.input[1]]
    bias = weights[convolution.input[2]] if len(convolution.input) > 2 else np.zeros_like(factor)
    _store(convolution, norm, weights, weight * factor[:, None, None, None], bias * factor + summand)


def _alone(norm: Any, weights: dict[str, NDArray[Any]]) -> Any:
    """A batch normalization as a convolution of one pixel in each channel."""
    import onnx

    factor, summand = _line(norm, weights)
    node = onnx.helper.make_node(
        "Conv", [norm.input[0]], list(norm.output), name=norm.name, group=len(factor), kernel_shape=(1, 1)
    )
    _store(node, norm, weights, factor[:, None, None, None], summand)
    return node


def _store(
    node: Any, norm: Any, weights: dict[str, NDArray[Any]], weight: NDArray[Any], bias: NDArray[Any]
) -> None:
    names = [f"{norm.output[0]}_folded_weight", f"{norm.output[0]}_folded_bias"]
    weights.update(zip(names, (weight.astype(np.float32), bias.astype(np.float32)), strict=True))
    del node.input[1:]
    node.input.extend(names)


def _line(norm: Any, weights: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The factor and the summand of each channel, in double precision."""
    gamma, beta, mean, variance = (weights[name].astype(np.float64) for name in norm.input[1:])
    epsilon = next((each.f for each in norm.attribute if each.name == "epsilon"), _EPSILON)
    factor = gamma / np.sqrt(variance + epsilon)
    return factor, beta - mean * factor
