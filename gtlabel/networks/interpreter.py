"""Runs an artifact's graph with numpy alone, operator by operator.

The trainer computes its features with it, so that what it learns from is what the finished network
will see, and tests hold the converted network against it. It knows the operators that our own networks
consist of; the built-in algorithm's networks are run after conversion to ONNX.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from gtlabel.errors import ArtifactError
from gtlabel.networks.symbol import Node, read_nodes

Floats = NDArray[np.float32]

# Enough pictures for the matrix products to pay, few enough to fit into a small machine's memory.
_MOST_AT_ONCE = 8


def run(symbol: Mapping[str, Any], params: Mapping[str, NDArray[Any]], batch: Floats) -> Floats:
    """What a graph makes of a batch (n, 3, height, width).

    Raises:
        ArtifactError: at an operator that is not one of ours.
    """
    nodes, head = read_nodes(symbol)
    data = next((index for index, node in enumerate(nodes) if node.name == "data"), 0)
    return evaluate(nodes, params, {data: batch}, [head])[0]


def evaluate(
    nodes: Sequence[Node],
    params: Mapping[str, NDArray[Any]],
    known: Mapping[int, Floats],
    wanted: Sequence[int],
) -> list[Floats]:
    """The outputs of some nodes, given those of others; only what lies between them is computed.

    Args:
        nodes: the graph.
        params: its weights.
        known: outputs by the node's index, a row for each picture.
        wanted: the nodes whose outputs to return.
    """
    needed = set(wanted)
    for index in range(max(wanted), -1, -1):
        if index in needed and index not in known:
            needed.update(nodes[index].inputs)
    order = [index for index in sorted(needed) if index not in known and nodes[index].op != "null"]
    count = len(next(iter(known.values())))
    parts = []
    for start in range(0, count, _MOST_AT_ONCE):
        values = {index: output[start : start + _MOST_AT_ONCE] for index, output in known.items()}
        parts.append(_part(nodes, order, params, values, wanted))
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


def _part(
    nodes: Sequence[Node],
    order: Sequence[int],
    params: Mapping[str, NDArray[Any]],
    values: dict[int, Floats],
    wanted: Sequence[int],
) -> list[Floats]:
    last_use = {source: index for index in order for source in nodes[index].inputs}
    for index in order:
        node = nodes[index]
        inputs = [_input(nodes[source], params, values.get(source)) for source in node.inputs]
        values[index] = _operate(node, [value for value in inputs if value is not None])
        for source in node.inputs:
            if last_use[source] == index and source not in wanted:
                values.pop(source, None)
    return [values[index] for index in wanted]


def _input(node: Node, params: Mapping[str, NDArray[Any]], value: Floats | None) -> Floats | None:
    # The label is an input of the loss without a value.
    return params.get(f"arg:{node.name}") if value is None else value


def _operate(node: Node, inputs: list[Floats]) -> Floats:
    match node.op:
        case "Convolution":
            return _convolution(node, *inputs)
        case "Activation" if node.attributes.get("act_type") == "relu":
            return np.maximum(inputs[0], 0)
        case "Pooling" if node.attributes.get("pool_type") == "avg":
            return _average(node, inputs[0])
        case "Flatten":
            return inputs[0].reshape(len(inputs[0]), -1)
        case "FullyConnected":
            scores: Floats = inputs[0].reshape(len(inputs[0]), -1) @ inputs[1].T + inputs[2]
            return scores
        case "elemwise_add":
            return inputs[0] + inputs[1]
        case "SoftmaxOutput":
            powers = np.exp(inputs[0] - inputs[0].max(axis=1, keepdims=True))
            shares: Floats = powers / powers.sum(axis=1, keepdims=True)
            return shares
    raise ArtifactError(f"the operator {node.op} (node {node.name!r}) is not one of our own networks'")


def _convolution(node: Node, data: Floats, weight: Floats, bias: Floats) -> Floats:
    filters, depth, *kernel = weight.shape
    groups = node.number("num_group", 1)
    windows = _windows(data, (kernel[0], kernel[1]), node.pair("stride", (1, 1)))
    count, channels, rows, columns = windows.shape[:4]
    if channels != depth * groups:
        raise ArtifactError(f"the Convolution {node.name!r} takes {depth * groups} channels, not {channels}")
    grouped = windows.reshape(count, groups, depth, rows, columns, *kernel)
    patches = grouped.transpose(1, 0, 3, 4, 2, 5, 6).reshape(groups, count * rows * columns, -1)
    products = patches @ weight.reshape(groups, filters // groups, -1).transpose(0, 2, 1)
    maps = products.reshape(groups, count, rows, columns, -1).transpose(1, 0, 4, 2, 3)
    result: Floats = maps.reshape(count, filters, rows, columns) + bias[:, None, None]
    return result


def _average(node: Node, data: Floats) -> Floats:
    if node.flag("global_pool", False):
        overall: Floats = data.mean(axis=(2, 3), keepdims=True)
        return overall
    windows = _windows(data, node.pair("kernel"), node.pair("stride", (1, 1)))
    average: Floats = windows.mean(axis=(4, 5))
    return average


def _windows(data: Floats, kernel: tuple[int, int], stride: tuple[int, int]) -> Floats:
    windows = sliding_window_view(data, kernel, axis=(2, 3))
    return windows[:, :, :: stride[0], :: stride[1]]
