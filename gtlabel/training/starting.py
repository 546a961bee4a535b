"""Where a ResNet's training begins: at nothing, or at what an earlier training left.

Earlier artifacts come in the channel `model`, for incremental training, or from a path that the trainer's
owner gives it, for `use_pretrained_model`: the weights of ImageNet, which the built-in brings along, are
nowhere on this machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gtlabel.errors import TrainingError
from gtlabel.networks.artifact import Artifact, read_artifact
from gtlabel.networks.resnet import Design, Shape, initial_weights, resnet
from gtlabel.networks.symbol import read_nodes
from gtlabel.training.hyperparameters import Hyperparameters

_CLASSIFIER = "FullyConnected"


def start(
    base: Path, told: Hyperparameters, seed: int, pretrained: Path | None = None
) -> tuple[Artifact, str]:
    """The network to begin with, and a sentence about where it comes from.

    Args:
        base: what SageMaker calls `/opt/ml`.
        told: the shape and the depth of the network.
        seed: of the weights that are drawn.
        pretrained: a `model.tar.gz`, or a folder with what is in one, for `use_pretrained_model`.

    Raises:
        TrainingError: if an earlier network is of another shape than was told, or none was given where
            `use_pretrained_model` asks for it.
        ArtifactError: if it cannot be read.
    """
    design = resnet(
        told.layers,
        told.num_classes,
        told.shape,
        multi_label=bool(told.multi_label),
        half=told.precision_dtype == "float16",
    )
    batch = (told.batch, *told.shape)
    channel = base / "input" / "data" / "model"
    if channel.is_dir():
        earlier = read_artifact(_inside(channel))
        _check_continued(earlier, design, told, "the model channel")
        return replace(earlier, shape=batch, epoch=0, warnings=()), "the artifact in the model channel"
    if told.use_pretrained_model and pretrained is None:
        raise TrainingError(
            "use_pretrained_model=1 asks for weights that learned ImageNet, and this trainer has none: train "
            "in the cloud, set use_pretrained_model=0 with num_layers=20 and image_shape=3,28,28, for which "
            "a few hundred pictures are enough, or give an earlier artifact in a channel named model or with "
            "the trainer's option --pretrained"
        )
    if not told.use_pretrained_model or pretrained is None:
        return Artifact(design.symbol, dict(initial_weights(design.shapes, seed)), batch, 0), "random weights"
    earlier = read_artifact(pretrained)
    body = _body(earlier.symbol, _shapes(earlier))
    if body != _body(design.symbol, design.shapes):
        raise TrainingError(
            f"the network in {pretrained} is not a ResNet of {told.layers} layers for pictures of "
            f"{_listed(told.shape)}; give one that is, or set num_layers and image_shape to its own"
        )
    params = {**initial_weights(design.shapes, seed), **{name: earlier.params[name] for name in body}}
    return Artifact(design.symbol, params, batch, 0), f"the layers of {pretrained}"


def stored(artifact: Artifact) -> Artifact:
    """The artifact with its weights in the precision that MXNet keeps them in for such a graph."""
    nodes, _ = read_nodes(artifact.symbol)
    if not any(node.op == "Cast" and node.attributes.get("dtype") == "float16" for node in nodes):
        return artifact
    layers = tuple(f"arg:{node.name}_" for node in nodes if node.op in ("Convolution", _CLASSIFIER))
    params = {
        name: array.astype(np.float16) if name.startswith(layers) else array
        for name, array in artifact.params.items()
    }
    return replace(artifact, params=params)


def _check_continued(earlier: Artifact, design: Design, told: Hyperparameters, source: str) -> None:
    """Refuse an earlier network of other classes, another shape or another depth than was told."""
    if earlier.shape[1:] != told.shape:
        raise TrainingError(
            f"the network in {source} takes pictures of {_listed(earlier.shape[1:])}; "
            f"set image_shape to that instead of {_listed(told.shape)}"
        )
    shapes = _shapes(earlier)
    classes = _classes(earlier, source)
    if classes != told.num_classes:
        raise TrainingError(
            f"the network in {source} tells {classes} classes apart and num_classes is {told.num_classes}; "
            "continue with the same classes, or start anew"
        )
    ends = _end(earlier.symbol), _end(design.symbol)
    if ends[0] != ends[1]:
        raise TrainingError(
            f"the network in {source} ends in {ends[0]}, where multi_label={int(bool(told.multi_label))} "
            f"needs {ends[1]}; set multi_label as it was"
        )
    if _body(earlier.symbol, shapes) != _body(design.symbol, design.shapes):
        raise TrainingError(
            f"the network in {source} is not a ResNet of {told.layers} layers; set num_layers as it was"
        )


def _body(symbol: Mapping[str, Any], shapes: Mapping[str, Shape]) -> Mapping[str, Shape]:
    """The shapes of all weights below the classifier, whose name has changed over the years."""
    nodes, _ = read_nodes(symbol)
    classifiers = tuple(f"arg:{node.name}_" for node in nodes if node.op == _CLASSIFIER)
    return {name: shape for name, shape in shapes.items() if not name.startswith(classifiers)}


def _classes(artifact: Artifact, source: str) -> int:
    nodes, _ = read_nodes(artifact.symbol)
    for node in reversed(nodes):
        weight = artifact.params.get(f"arg:{node.name}_weight")
        if node.op == _CLASSIFIER and weight is not None:
            return len(weight)
    raise TrainingError(f"the network in {source} has no classifier; give one that this algorithm trained")


def _end(symbol: Mapping[str, Any]) -> str:
    nodes, head = read_nodes(symbol)
    return nodes[head].op


def _shapes(artifact: Artifact) -> Mapping[str, Shape]:
    return {name: array.shape for name, array in artifact.params.items()}


def _inside(channel: Path) -> Path:
    """The archive in a channel, or the channel itself where it holds what was in one."""
    archives = sorted(channel.glob("*.tar.gz"))
    return archives[0] if archives else channel


def _listed(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))
