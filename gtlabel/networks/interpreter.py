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

# Enough pictures for the matrix products to pay, few enough for what lies between to stay in the caches.
_MOST_AT_ONCE = 4


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
    data = inputs[0]
    match node.op:
        case "Convolution":
            return _convolution(node, *inputs)
        case "Activation" if node.attributes.get("act_type") == "relu":
            return np.maximum(data, 0)
        case "Pooling" if node.attributes.get("pool_type") == "avg":
            return _average(node, data)
        case "Flatten":
            return data.reshape(len(data), -1)
        case "FullyConnected":
            scores: Floats = data.reshape(len(data), -1) @ inputs[1].T + inputs[2]
            return scores
        case "elemwise_add":
            return data + inputs[1]
        case "sqrt":
            return np.sqrt(data)
        case "square":
            return np.square(data)
        case "exp":
            return np.exp(data)
        case "SoftmaxOutput":
            powers = np.exp(data - data.max(axis=1, keepdims=True))
            shares: Floats = powers / powers.sum(axis=1, keepdims=True)
            return shares
        case "LogisticRegressionOutput":
            # The same as 1 / (1 + exp(-x)), which overflows.
            likely: Floats = 0.5 + 0.5 * np.tanh(0.5 * data)
            return likely
    raise ArtifactError(f"the operator {node.op} (node {node.name!r}) is not one of our own networks'")


def _convolution(node: Node, data: Floats, weight: Floats, bias: Floats) -> Floats:
    filters, depth, *kernel = weight.shape
    groups = node.number("num_group", 1)
    count, channels = data.shape[:2]
    if channels != depth * groups:
        raise ArtifactError(f"the Convolution {node.name!r} takes {depth * groups} channels, not {channels}")
    stride = node.pair("stride", (1, 1))
    windows = _windows(data, (kernel[0], kernel[1]), stride)
    rows, columns = windows.shape[2:4]
    if depth == 1 and filters == groups:
        # A channel for each filter: a sum of shifted pictures costs less than thousands of tiny products.
        result = np.zeros((count, filters, rows, columns), dtype=np.float32)
        for row, column in np.ndindex(kernel[0], kernel[1]):
            result += windows[:, :, :, :, row, column] * weight[:, 0, row, column, None, None]
        return result + bias[:, None, None]
    shape = (count, groups, depth, rows, columns, *kernel)
    patches = windows.reshape(shape).transpose(0, 1, 2, 5, 6, 3, 4)
    columns_of = patches.reshape(count, groups, depth * kernel[0] * kernel[1], rows * columns)
    products = weight.reshape(groups, filters // groups, -1) @ columns_of
    maps: Floats = products.reshape(count, filters, rows, columns) + bias[:, None, None]
    return maps


def _average(node: Node, data: Floats) -> Floats:
    if node.flag("global_pool", False):
        overall: Floats = data.mean(axis=(2, 3), keepdims=True)
        return overall
    kernel = node.pair("kernel")
    windows = _windows(data, kernel, node.pair("stride", (1, 1)))
    rows, columns = windows.shape[2:4]
    if rows * columns < kernel[0] * kernel[1]:
        few: Floats = np.empty(windows.shape[:4], dtype=np.float32)
        for row, column in np.ndindex(rows, columns):
            few[:, :, row, column] = windows[:, :, row, column].mean(axis=(2, 3))
        return few
    total: Floats = np.zeros(windows.shape[:4], dtype=np.float32)
    for row, column in np.ndindex(*kernel):
        total += windows[:, :, :, :, row, column]
    return total / np.float32(kernel[0] * kernel[1])


def _windows(data: Floats, kernel: tuple[int, int], stride: tuple[int, int]) -> Floats:
    windows = sliding_window_view(data, kernel, axis=(2, 3))
    return windows[:, :, :: stride[0], :: stride[1]]
