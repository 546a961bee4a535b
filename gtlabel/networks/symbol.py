"""Network graphs in MXNet's symbol JSON: written for our own networks, read whatever year they are of."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gtlabel.errors import ArtifactError

# MXNet reads a symbol by the rules of the version that wrote it; 1.3.0 is what the built-in states.
_MXNET_VERSION = 10300
_PYTHON_2_LONG = re.compile(r"(?<=\d)L\b")


@dataclass(frozen=True)
class Node:
    """One operator, or one named input when `op` is "null"."""

    op: str
    name: str
    attributes: Mapping[str, str]
    inputs: tuple[int, ...]

    def number(self, key: str, default: int) -> int:
        """An attribute that is a whole number."""
        value = self._literal(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(key)
        return value

    def real(self, key: str, default: float) -> float:
        """An attribute that is a number."""
        value = self._literal(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._wrong(key)
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """An attribute that is true or false; old files write 1 and 0."""
        value = self._literal(key, default)
        if value not in (True, False):
            raise self._wrong(key)
        return bool(value)

    def pair(self, key: str, default: tuple[int, int] | None = None) -> tuple[int, int]:
        """An attribute that is a height and a width."""
        match self._literal(key, default):
            case (int(height), int(width)):
                return height, width
            case () if default is not None:
                return default
        raise self._wrong(key)

    def _literal(self, key: str, default: object) -> Any:
        text = self.attributes.get(key)
        if text is None:
            return default
        if text in ("true", "false"):
            return text == "true"
        try:
            # Python 2, which the built-in ran on until 2020, spelled some numbers 3L.
            return ast.literal_eval(_PYTHON_2_LONG.sub("", text))
        except (ValueError, SyntaxError):
            raise self._wrong(key) from None

    def _wrong(self, key: str) -> ArtifactError:
        found = self.attributes.get(key)
        return ArtifactError(f"the {self.op} {self.name!r} has an unusable {key}: {found!r}")


def read_nodes(symbol: Mapping[str, Any]) -> tuple[list[Node], int]:
    """The nodes of a graph in the order they run, and the index of the one that is its output.

    Raises:
        ArtifactError: if this is not such a graph, or one with several outputs.
    """
    try:
        nodes = [_node(node) for node in symbol["nodes"]]
        heads = [int(head[0]) for head in symbol["heads"]]
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        raise ArtifactError(f"the symbol is not an MXNet graph: {error!r}") from error
    if len(heads) != 1:
        raise ArtifactError(f"the symbol has {len(heads)} outputs; a classifier has one")
    if not 0 <= heads[0] < len(nodes):
        raise ArtifactError(f"the symbol's output is node {heads[0]} of {len(nodes)}")
    for index, node in enumerate(nodes):
        if not all(0 <= source < index for source in node.inputs):
            raise ArtifactError(f"the node {node.name!r} takes its input from a node after it")
    return nodes, heads[0]


def _node(node: Mapping[str, Any]) -> Node:
    return Node(
        op=str(node["op"]),
        name=str(node["name"]),
        attributes={
            str(key): str(value)
            for place in ("param", "attr", "attrs")
            for key, value in node.get(place, {}).items()
        },
        inputs=tuple(int(source[0]) for source in node["inputs"]),
    )


class SymbolWriter:
    """A graph in the making. Each method adds an operator and returns the handle of its output."""

    def __init__(self) -> None:
        self._nodes: list[dict[str, Any]] = []

    def variable(self, name: str) -> int:
        """A named input: the picture, the label or a weight."""
        return self._add({"op": "null", "name": name, "inputs": []})

    def operator(
        self,
        op: str,
        name: str,
        inputs: Sequence[int],
        weights: Sequence[str] = (),
        **attributes: object,
    ) -> int:
        """An operator; its weights, such as "bias", become variables named after it."""
        variables = [self.variable(f"{name}_{weight}") for weight in weights]
        node: dict[str, Any] = {"op": op, "name": name}
        if attributes:
            node["attrs"] = {key: str(value) for key, value in attributes.items()}
        node["inputs"] = [[source, 0, 0] for source in (*inputs, *variables)]
        return self._add(node)

    def nodes(self) -> list[Node]:
        """The graph so far, as it can be run."""
        return [_node(node) for node in self._nodes]

    def finish(self, head: int) -> dict[str, Any]:
        """The graph whose output is `head`, ready for JSON; what the head does not depend on is left out."""
        needed = {head}
        for index in range(head, -1, -1):
            if index in needed:
                needed.update(source for source, _, _ in self._nodes[index]["inputs"])
        places = {index: place for place, index in enumerate(sorted(needed))}
        nodes = [
            {**self._nodes[index], "inputs": [[places[s], 0, 0] for s, _, _ in self._nodes[index]["inputs"]]}
            for index in places
        ]
        return {
            "nodes": nodes,
            "arg_nodes": [index for index, node in enumerate(nodes) if node["op"] == "null"],
            "node_row_ptr": list(range(len(nodes) + 1)),
            "heads": [[places[head], 0, 0]],
            "attrs": {"mxnet_version": ["int", _MXNET_VERSION]},
        }

    def _add(self, node: dict[str, Any]) -> int:
        self._nodes.append(node)
        return len(self._nodes) - 1
