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
from numpy.typing import NDArray

from gtlabel.errors import TrainingError
from gtlabel.networks.artifact import Artifact, read_artifact
from gtlabel.networks.resnet import initial_weights, resnet
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
    fresh = Artifact(
        design.symbol, dict(initial_weights(design.shapes, seed)), (told.batch, *told.shape), epoch=0
    )
    channel = base / "input" / "data" / "model"
    if channel.is_dir():
        earlier = read_artifact(_inside(channel))
        return _continued(fresh, earlier, told, "the model channel"), "the artifact in the model channel"
    if not told.use_pretrained_model:
        return fresh, "random weights"
    if pretrained is None:
        raise TrainingError(
            "use_pretrained_model=1 asks for weights that learned ImageNet, and this trainer has none: train "
            "in the cloud, set use_pretrained_model=0 with a small image_shape such as 3,64,64, or give an "
            "earlier artifact in a channel named model or with the trainer's option --pretrained"
        )
    earlier = read_artifact(pretrained)
    return _transferred(fresh, earlier, told, str(pretrained)), f"the layers of {pretrained}"


def _continued(fresh: Artifact, earlier: Artifact, told: Hyperparameters, source: str) -> Artifact:
    """The earlier network as it is; its classes, shape and depth must be the ones that were told."""
    if earlier.shape[1:] != told.shape:
        raise TrainingError(
            f"the network in {source} takes pictures of {_listed(earlier.shape[1:])}; "
            f"set image_shape to that instead of {_listed(told.shape)}"
        )
    classes = _classes(earlier, source)
    if classes != told.num_classes:
        raise TrainingError(
            f"the network in {source} tells {classes} classes apart and num_classes is {told.num_classes}; "
            "continue with the same classes, or start anew"
        )
    ends = _output(earlier), _output(fresh)
    if ends[0] != ends[1]:
        raise TrainingError(
            f"the network in {source} ends in {ends[0]}, where multi_label={int(bool(told.multi_label))} "
            f"needs {ends[1]}; set multi_label as it was"
        )
    if _body(earlier) != _body(fresh):
        raise TrainingError(
            f"the network in {source} is not a ResNet of {told.layers} layers; set num_layers as it was"
        )
    return replace(earlier, shape=fresh.shape, epoch=0, warnings=())


def _transferred(fresh: Artifact, earlier: Artifact, told: Hyperparameters, source: str) -> Artifact:
    """The earlier network's layers under a new classifier."""
    body = _body(earlier)
    if body != _body(fresh):
        raise TrainingError(
            f"the network in {source} is not a ResNet of {told.layers} layers for pictures of "
            f"{_listed(told.shape)}; give one that is, or set num_layers and image_shape to its own"
        )
    return replace(fresh, params={**fresh.params, **{name: earlier.params[name] for name in body}})


def _body(artifact: Artifact) -> Mapping[str, tuple[int, ...]]:
    """The shapes of all weights below the classifier, whose name has changed over the years."""
    classifiers = {f"arg:{node['name']}_" for node in artifact.symbol["nodes"] if node["op"] == _CLASSIFIER}
    return {
        name: array.shape
        for name, array in artifact.params.items()
        if not any(name.startswith(classifier) for classifier in classifiers)
    }


def _classes(artifact: Artifact, source: str) -> int:
    for node in reversed(artifact.symbol["nodes"]):
        weight: NDArray[Any] | None = artifact.params.get(f"arg:{node['name']}_weight")
        if node["op"] == _CLASSIFIER and weight is not None:
            return len(weight)
    raise TrainingError(f"the network in {source} has no classifier")


def _output(artifact: Artifact) -> str:
    return str(artifact.symbol["nodes"][artifact.symbol["heads"][0][0]]["op"])


def _inside(channel: Path) -> Path:
    """The archive in a channel, or the channel itself where it holds what was in one."""
    archives = sorted(channel.glob("*.tar.gz"))
    return archives[0] if archives else channel


def _listed(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))


def stored(artifact: Artifact) -> Artifact:
    """The artifact with its weights in the precision that MXNet keeps them in for such a graph."""
    nodes = artifact.symbol["nodes"]
    if not any(node["op"] == "Cast" and _attributes(node).get("dtype") == "float16" for node in nodes):
        return artifact
    layers = tuple(f"arg:{node['name']}_" for node in nodes if node["op"] in ("Convolution", _CLASSIFIER))
    return replace(
        artifact,
        params={
            name: array.astype(np.float16) if name.startswith(layers) else array
            for name, array in artifact.params.items()
        },
    )


def _attributes(node: Mapping[str, Any]) -> Mapping[str, str]:
    # Older files call them differently.
    attributes: Mapping[str, str] = node.get("attrs") or node.get("attr") or node.get("param") or {}
    return attributes
