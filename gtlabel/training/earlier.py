"""An earlier model to go on from, and whether the new job fits it.

Training goes on only in a network of the same depth, picture shape and number of classes
(contract/training.md §1.4). That the classes are also the same ones, in the same order, nobody checks but we:
the network would take up another class's place without a word.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any, cast

from gtlabel.errors import ArtifactError, TrainingError
from gtlabel.networks.symbol import read_nodes
from gtlabel.storage import exists, explained
from gtlabel.training.findings import Finding
from gtlabel.training.hyperparameters import (
    DEFAULT_LAYERS,
    DEFAULT_SHAPE,
    LARGE_LAYERS,
    SMALL_LAYERS,
    Hyperparameters,
)
from gtlabel.training.jobs import TrainingJob, describe_training_job, read_tags
from gtlabel.training.lineage import CLASSES_DIGEST, trained_classes
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from gtlabel.aws import Aws

_SYMBOL = "image-classification-symbol.json"
_SHAPES = "model-shapes.json"
# The graph of a ResNet-200 has half a megabyte.
_LARGEST_DOCUMENT = 16 << 20
_OTHERWISE = "consolidate with the classes in the earlier order, or train without model (--from)"


@dataclass(frozen=True, slots=True)
class EarlierModel:
    """An artifact, and what its network is.

    Attributes:
        artifact: the `model.tar.gz`.
        layers: how many layers it has.
        shape: color channels, height and width in pixels that it takes.
        classes: how many classes it tells apart.
        resize: what the shorter side of its pictures was brought to; None where it is not known.
        names: the classes in their order; empty where only the artifact is known.
    """

    artifact: S3Uri
    layers: int
    shape: tuple[int, int, int]
    classes: int
    resize: int | None = None
    names: tuple[str, ...] = ()


def earlier_model(aws: Aws, model: str, names: Sequence[str] = ()) -> EarlierModel:
    """The model of a training job, by its name, or the one at an address.

    Args:
        aws: the clients.
        model: the name or the address.
        names: the classes of what is to be trained; those of an earlier job may be known by their digest
            alone.

    Raises:
        TrainingJobNotFoundError: if there is no such job.
        TrainingError: if it left no model, or not one of the built-in algorithm.
        ArtifactError: if what lies at the address is no model of the built-in algorithm, or the job's
            classes were other ones.
    """
    return _at(aws, S3Uri(model)) if model.startswith("s3://") else _of_job(aws, model, names)


def earlier_artifact(aws: Aws, job: TrainingJob) -> S3Uri:
    """Where the model of a training job lies.

    A job that was stopped before its first epoch has an address for it, and nothing lies there.

    Raises:
        TrainingError: if the job left no model.
    """
    if job.artifact is None or not exists(aws.s3, job.artifact):
        raise TrainingError(
            f"the training job {job.name!r} is {job.status} and left no model to go on from; name another one"
        )
    return job.artifact


def check_earlier(earlier: EarlierModel, told: Hyperparameters, names: tuple[str, ...]) -> Iterator[Finding]:
    """Whether a job with these hyperparameters and classes can go on from an earlier model."""
    for name, value, before in (
        ("num_layers", told.layers, earlier.layers),
        ("image_shape", _spelled(told.shape), _spelled(earlier.shape)),
        ("num_classes", told.num_classes, earlier.classes),
    ):
        if value != before:
            yield Finding(
                "model",
                "error",
                f"{name} is {value} and was {before} for {earlier.artifact}; training goes on only in an "
                "equal network",
                f"set {name}={before}"
                if name != "num_classes"
                else "train from the beginning, without model (--from)",
            )
    if earlier.names and len(earlier.names) == len(names) and earlier.names != names:
        label = next(
            place for place, pair in enumerate(zip(earlier.names, names, strict=True)) if pair[0] != pair[1]
        )
        yield Finding(
            "model",
            "error",
            f"the label {label} is {names[label]!r} and was {earlier.names[label]!r} for {earlier.artifact}, "
            "so the network would have learned another class for it",
            _OTHERWISE,
        )


def _of_job(aws: Aws, name: str, names: Sequence[str]) -> EarlierModel:
    job = describe_training_job(aws.sagemaker, name)
    artifact = earlier_artifact(aws, job)
    told = job.hyperparameters
    shape = told.get("image_shape")
    try:
        earlier = EarlierModel(
            artifact,
            int(told.get("num_layers", DEFAULT_LAYERS)),
            _shape(shape.split(",")) if shape else DEFAULT_SHAPE,
            int(told["num_classes"]),
            int(told["resize"]) if "resize" in told else None,
        )
    except (KeyError, ValueError) as error:
        raise TrainingError(
            f"the hyperparameters of the training job {name!r} are not those of the built-in image "
            "classification, which goes on from its own networks only; name another job, or train without "
            "model (--from)"
        ) from error
    return replace(earlier, names=_names(aws, job, names))


def _names(aws: Aws, job: TrainingJob, names: Sequence[str]) -> tuple[str, ...]:
    """The classes that a job was trained with; none where nothing says."""
    tags = read_tags(aws.sagemaker, job.arn)
    found = trained_classes(aws.s3, job, tags, likely=names, instead=_OTHERWISE)
    if not found and CLASSES_DIGEST in tags:
        raise ArtifactError(
            f"the training job {job.name!r} was trained with other classes, as the digest in its tags tells; "
            + _OTHERWISE
        )
    return found


def _at(aws: Aws, artifact: S3Uri) -> EarlierModel:
    symbol, shapes = _documents(aws, artifact)
    nodes, _ = read_nodes(symbol)
    convolutions = [node for node in nodes if node.op == "Convolution"]
    dense = [node for node in nodes if node.op == "FullyConnected"]
    taken = _taken(shapes)
    # Shortcuts are not counted as layers; the last layer is the one that is not a convolution.
    layers = sum(not node.name.endswith("_sc") for node in convolutions) + 1
    if layers not in (*SMALL_LAYERS, *LARGE_LAYERS) or not dense or taken is None:
        raise ArtifactError(f"{artifact} holds no ResNet of the built-in image classification to go on from")
    return EarlierModel(artifact, layers, taken, dense[-1].number("num_hidden", 0))


def _documents(aws: Aws, artifact: S3Uri) -> tuple[Any, Any]:
    """The network and the shapes that it takes; the weights are passed over, and not kept."""
    found: dict[str, Any] = {}
    try:
        with explained("s3:GetObject", artifact):
            body = aws.s3.get_object(Bucket=artifact.bucket, Key=artifact.key)["Body"]
        with tarfile.open(fileobj=cast("IO[bytes]", body), mode="r|gz") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                # What a link leads to is behind us in a stream.
                file = archive.extractfile(member) if name in (_SYMBOL, _SHAPES) and member.isreg() else None
                if file is not None:
                    if member.size > _LARGEST_DOCUMENT:
                        raise ArtifactError(
                            f"{artifact} holds {name!r} of {member.size} bytes; that is no model"
                        )
                    found[name] = json.load(file)
                if len(found) == 2:
                    break
    except ArtifactError:
        raise
    except (tarfile.TarError, ValueError, EOFError, RecursionError) as error:
        raise ArtifactError(f"{artifact} is no model.tar.gz: {error}; name another one") from error
    missing = [name for name in (_SYMBOL, _SHAPES) if name not in found]
    if missing:
        raise ArtifactError(
            f"{artifact} lacks {missing[0]}, so it is no model of the built-in image classification"
        )
    return found[_SYMBOL], found[_SHAPES]


def _taken(shapes: Any) -> tuple[int, int, int] | None:
    """Color channels, height and width of the input; None where the document does not tell them."""
    for item in shapes if isinstance(shapes, list) else ():
        match item:
            case {"name": "data", "shape": [_, int(channels), int(height), int(width)]}:
                return channels, height, width
    return None


def _shape(parts: Any) -> tuple[int, int, int]:
    channels, height, width = (int(part) for part in parts)
    return channels, height, width


def _spelled(shape: tuple[int, ...]) -> str:
    return ",".join(str(part) for part in shape)
