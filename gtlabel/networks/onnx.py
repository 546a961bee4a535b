"""From MXNet's graph to ONNX, without MXNet.

The operators are those that the built-in algorithm and our own trainer use (contract/training.md §3.2
and §7.2); anything else is refused by name. Weights and activations are 32 bit throughout, whatever the
training used, because that is what every device runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtlabel.errors import ConversionError, MissingExtraError
from gtlabel.networks.artifact import Artifact
from gtlabel.networks.symbol import Node, read_nodes

OPSET = 17
INPUT = "data"
OUTPUT = "softmax_output"
PREPROCESSING = {
    "color": "RGB",
    "layout": "NCHW",
    "range": [0, 255],
    "resize": "whole picture, bilinear, proportions not kept",
}

GRAY_PREPROCESSING = {**PREPROCESSING, "color": "gray, ITU-R 601 luma"}

# IR version 8 goes with opset 17; the library's newest would lock out older runtimes on devices.
_IR_VERSION = 8
_ACTIVATIONS = {
    "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softrelu": "Softplus", "softsign": "Softsign",
}  # fmt: skip
_FLOATS = ("float16", "float32", "float64", "bfloat16")


def to_onnx(artifact: Artifact, classes: Sequence[str], metadata: Mapping[str, str] | None = None) -> bytes:
    """Convert a network to an ONNX file; the same artifact always gives the same bytes.

    The file takes `data`, a batch of any number of pictures, and gives `softmax_output`, a row of
    probabilities for each. Its properties say what it is:

    - `classes` and `preprocessing`, in JSON; `multi-label` is `true` where that is so;
    - `epoch`, `symbol-sha256` and `params-sha256`: what it was made from; `warnings`, in JSON, what was odd
      about that;
    - `gtlabel`: the version that converted it;
    - what else it is given.

    Args:
        artifact: the network.
        classes: the names of its outputs, in order; they are written into the file.
        metadata: more to write into it, such as the training job it comes from.

    Raises:
        ArtifactError: at a graph that is damaged; as a ConversionError at an operator that we do not
            convert, or at weights that do not fit the graph.
        MissingExtraError: if onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("converting a network", "edge") from error
    converter = _Converter(artifact)
    outputs = converter.convert()
    if outputs != len(classes):
        raise ConversionError(
            f"the network tells {outputs} classes apart, but {len(classes)} names were given: "
            + ", ".join(classes)
            + "; the classes.json of the dataset it was trained on has the right ones"
        )
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        converter.nodes,
        "image-classification",
        [helper.make_tensor_value_info(INPUT, float32, ["batch", *artifact.shape[1:]])],
        [helper.make_tensor_value_info(OUTPUT, float32, ["batch", outputs])],
        [onnx.numpy_helper.from_array(array, name) for name, array in converter.weights.items()],
    )
    model = helper.make_model(
        graph,
        producer_name="gtlabel",
        producer_version=version("gtlabel"),
        ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    facts = {
        **(metadata or {}),
        "classes": json.dumps(list(classes), ensure_ascii=False),
        "preprocessing": json.dumps(PREPROCESSING if artifact.shape[1] == 3 else GRAY_PREPROCESSING),
        "epoch": str(artifact.epoch),
        "gtlabel": version("gtlabel"),
        **artifact.digests,
    }
    if artifact.warnings:
        facts["warnings"] = json.dumps(artifact.warnings, ensure_ascii=False)
    if converter.multi_label:
        facts["multi-label"] = "true"
    helper.set_model_props(model, dict(sorted(facts.items())))
    data: bytes = model.SerializeToString(deterministic=True)
    # Each of them holds all weights.
    del graph, model, converter
    try:
        onnx.checker.check_model(data, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionError(f"the weights do not fit the graph: {' '.join(str(error).split())}") from error
    return data


def with_properties(model: bytes, properties: Mapping[str, str]) -> bytes:
    """An ONNX file that tells more about itself; what it told already stays, unless it is told anew."""
    import onnx

    parsed = onnx.load_from_string(model)
    facts = {each.key: each.value for each in parsed.metadata_props} | dict(properties)
    onnx.helper.set_model_props(parsed, dict(sorted(facts.items())))
    data: bytes = parsed.SerializeToString(deterministic=True)
    return data


class _Converter:
    """Walks through the graph once; afterwards `nodes` and `weights` are the ONNX graph's."""

    def __init__(self, artifact: Artifact) -> None:
        self._params = {
            name.partition(":")[2]: array
            for name, array in artifact.params.items()
            if name.startswith(("arg:", "aux:"))
        }
        self._graph, self._head = read_nodes(artifact.symbol)
        # What each node is called in ONNX; a node that does nothing is called like its input.
        self._names: list[str] = []
        self._classes = 0
        # Whether each output is a probability for itself.
        self.multi_label = False
        self.nodes: list[Any] = []
        self.weights: dict[str, NDArray[np.float32]] = {}

    def convert(self) -> int:
        """Fill `nodes` and `weights`; return the number of the network's outputs."""
        for node in self._graph:
            self._names.append(self._convert(node))
        if self._graph[self._head].op == "null":
            raise ConversionError("the network's output is one of its inputs")
        self._emit("Identity", [self._names[self._head]], OUTPUT)
        return self._classes

    def _convert(self, node: Node) -> str:
        if node.op == "null":
            return INPUT if node.name == INPUT else node.name
        try:
            operator = _OPERATORS[node.op]
        except KeyError:
            raise ConversionError(
                f"the operator {node.op} (node {node.name!r}) is not one we convert; "
                f"known are {', '.join(sorted(_OPERATORS))}"
            ) from None
        return operator(self, node)

    def _convolution(self, node: Node) -> str:
        kernel = node.pair("kernel")
        weights = [self._weight(node, 1)]
        if not node.flag("no_bias", False):
            weights.append(self._weight(node, 2))
        pad = node.pair("pad", (0, 0))
        return self._emit(
            "Conv",
            [self._input(node), *weights],
            node.name,
            kernel_shape=kernel,
            strides=node.pair("stride", (1, 1)),
            dilations=node.pair("dilate", (1, 1)),
            pads=pad * 2,
            group=node.number("num_group", 1),
        )

    def _batch_norm(self, node: Node) -> str:
        if node.number("axis", 1) != 1:
            raise ConversionError(f"the BatchNorm {node.name!r} is not over the channels")
        weights = [self._weight(node, index) for index in range(2, 5)]
        # MXNet keeps whatever value the file has and computes with one; the attribute's default is True.
        if node.flag("fix_gamma", True):
            gamma = f"{node.name}_gamma_fixed"
            self.weights[gamma] = np.ones_like(self.weights[weights[0]])
        else:
            gamma = self._weight(node, 1)
        return self._emit(
            "BatchNormalization",
            [self._input(node), gamma, *weights],
            node.name,
            epsilon=node.real("eps", 1e-3),
        )

    def _activation(self, node: Node) -> str:
        kind = node.attributes.get("act_type", "")
        if kind not in _ACTIVATIONS:
            raise ConversionError(f"the Activation {node.name!r} is of the unknown kind {kind!r}")
        return self._emit(_ACTIVATIONS[kind], [self._input(node)], node.name)

    def _pooling(self, node: Node) -> str:
        kind = node.attributes.get("pool_type", "max")
        if kind not in ("max", "avg"):
            raise ConversionError(f"the Pooling {node.name!r} is of the unknown kind {kind!r}")
        if node.flag("global_pool", False):
            name = "GlobalMaxPool" if kind == "max" else "GlobalAveragePool"
            return self._emit(name, [self._input(node)], node.name)
        convention = node.attributes.get("pooling_convention", "valid")
        # Runtimes disagree with MXNet on what an average over a window that juts out divides by.
        if convention not in ("valid", "full") or (convention, kind) == ("full", "avg"):
            raise ConversionError(f"the Pooling {node.name!r} ({kind}) has the convention {convention!r}")
        attributes: dict[str, Any] = {"ceil_mode": int(convention == "full")}
        if kind == "avg":
            attributes = {"count_include_pad": int(node.flag("count_include_pad", True))}
        return self._emit(
            "MaxPool" if kind == "max" else "AveragePool",
            [self._input(node)],
            node.name,
            kernel_shape=node.pair("kernel"),
            strides=node.pair("stride", (1, 1)),
            pads=node.pair("pad", (0, 0)) * 2,
            **attributes,
        )

    def _flatten(self, node: Node) -> str:
        return self._emit("Flatten", [self._input(node)], node.name, axis=1)

    def _fully_connected(self, node: Node) -> str:
        if not node.flag("flatten", True):
            raise ConversionError(f"the FullyConnected {node.name!r} does not flatten its input")
        weights = [self._weight(node, 1)]
        if not node.flag("no_bias", False):
            weights.append(self._weight(node, 2))
        self._classes = len(self.weights[weights[0]])
        flat = self._emit("Flatten", [self._input(node)], f"{node.name}_flat", axis=1)
        return self._emit("Gemm", [flat, *weights], node.name, transB=1)

    def _add(self, node: Node) -> str:
        return self._emit("Add", [self._input(node, 0), self._input(node, 1)], node.name)

    def _softmax(self, node: Node) -> str:
        return self._emit("Softmax", [self._input(node)], node.name, axis=1)

    def _sigmoid(self, node: Node) -> str:
        self.multi_label = True
        return self._emit("Sigmoid", [self._input(node)], node.name)

    def _square_root(self, node: Node) -> str:
        return self._emit("Sqrt", [self._input(node)], node.name)

    def _square(self, node: Node) -> str:
        return self._emit("Mul", [self._input(node), self._input(node)], node.name)

    def _exponential(self, node: Node) -> str:
        return self._emit("Exp", [self._input(node)], node.name)

    def _cast(self, node: Node) -> str:
        kind = node.attributes.get("dtype", "")
        if kind not in _FLOATS:
            raise ConversionError(f"the Cast {node.name!r} is to {kind!r}, which is not a float")
        return self._nothing(node)

    def _nothing(self, node: Node) -> str:
        return self._input(node)

    def _emit(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        import onnx

        self.nodes.append(onnx.helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def _input(self, node: Node, index: int = 0) -> str:
        if index >= len(node.inputs):
            raise ConversionError(f"the {node.op} {node.name!r} has only {len(node.inputs)} inputs")
        source = self._graph[node.inputs[index]]
        if source.op == "null" and source.name != INPUT:
            return self._weight(node, index)
        return self._names[node.inputs[index]]

    def _weight(self, node: Node, index: int) -> str:
        if index >= len(node.inputs):
            raise ConversionError(f"the {node.op} {node.name!r} has no weights at place {index}")
        name = self._graph[node.inputs[index]].name
        if name not in self._params:
            raise ConversionError(f"the {node.op} {node.name!r} needs {name}, which is not among the weights")
        self.weights[name] = np.ascontiguousarray(self._params[name], dtype=np.float32)
        return name


_OPERATORS: dict[str, Callable[[_Converter, Node], str]] = {
    "Convolution": _Converter._convolution,
    "BatchNorm": _Converter._batch_norm,
    "Activation": _Converter._activation,
    "Pooling": _Converter._pooling,
    "Flatten": _Converter._flatten,
    "FullyConnected": _Converter._fully_connected,
    "elemwise_add": _Converter._add,
    "_Plus": _Converter._add,
    "_plus": _Converter._add,
    "sqrt": _Converter._square_root,
    "square": _Converter._square,
    "exp": _Converter._exponential,
    "SoftmaxOutput": _Converter._softmax,
    "Softmax": _Converter._softmax,
    "softmax": _Converter._softmax,
    "LogisticRegressionOutput": _Converter._sigmoid,
    "Cast": _Converter._cast,
    "cast": _Converter._cast,
    "_copy": _Converter._nothing,
    "identity": _Converter._nothing,
    "Dropout": _Converter._nothing,
}
