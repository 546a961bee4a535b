"""A trained network by whatever it is called: a training job, a `model.tar.gz` or an `.onnx` file."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gtlabel.errors import (
    ArtifactError,
    ClassListError,
    MissingExtraError,
    TrainingError,
)
from gtlabel.manifests.classes import class_names
from gtlabel.storage import read, stat
from gtlabel.training.conversions import converted
from gtlabel.training.jobs import TrainingJob, describe_training_job, read_tags
from gtlabel.training.lineage import CLASS_LIST, CLASSES_DIGEST, class_list, trained_classes
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.networks.runtime import Network

Connect = Callable[[], "Aws"]

_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_NETWORKS = (".onnx",)
# `train` writes artifacts to DATASET/models/JOB/output/model.tar.gz.
_FOLDERS_UP_TO_THE_DATASET = 3


@dataclass(frozen=True, slots=True)
class Model:
    """A network that is ready to answer.

    Attributes:
        name: what it was asked for by.
        address: where it lies.
        network: the network.
        classes: the names of its outputs, in order.
        job: the training job it comes from; None where that is not known.
        onnx: the network as a file.
    """

    name: str
    address: str
    network: Network
    classes: tuple[str, ...]
    job: TrainingJob | None = None
    # The session keeps these bytes anyhow.
    onnx: bytes = field(default=b"", repr=False)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know about the artifact it was converted from, in sentences."""
        return self.network.warnings


def open_model(
    name: str,
    connect: Connect,
    *,
    classes: Sequence[str] | None = None,
    image_shape: tuple[int, int, int] | None = None,
) -> Model:
    """Find a network, convert it if it is an artifact, and make it ready to answer.

    The names of its classes are those in the `.onnx` file, else those of the `classes.json` of the dataset
    that the job read, as far as the job's tags agree, or of the tags, else those given, else of the one
    beside the artifact, or of the dataset that the artifact lies in. Other names than a file holds or a job
    was trained with are refused: each answer would be called by the name of another.

    Args:
        name: a training job, or the s3:// address or path of a `model.tar.gz` or an `.onnx` file.
        connect: gives the clients; it is not asked for where a file is enough.
        classes: the names of its outputs, in order, where nothing else says them.
        image_shape: channels, height and width, for an artifact that does not say them.

    Raises:
        ArtifactError: if there is no network there, nobody says what its classes are called, or others are
            given.
        TrainingJobNotFoundError: if there is no such job.
        TrainingError: if the job has no model, or not yet.
        MissingExtraError: if what runs a network is not installed.
    """
    if name.startswith("s3://"):
        return _opened(name, S3Uri(name), connect, classes, image_shape)
    path = Path(name)
    if path.exists() and (_is_model(name) or os.sep in name or list(path.glob("*-symbol.json"))):
        return _opened(name, path, connect, classes, image_shape)
    if _is_model(name) or os.sep in name:
        raise ArtifactError(f"there is no file {name}")
    job = describe_training_job(connect().sagemaker, name)
    if job.artifact is None:
        raise TrainingError(
            f"the training job {name!r} is {job.status} and has no model"
            + ("" if job.status == "Failed" else f" yet; look at it with: gtlabel train show {name}")
        )
    return _opened(name, job.artifact, connect, classes, image_shape, job)


def read_classes(text: str) -> tuple[str, ...]:
    """The class names that a person gives: separated by commas, or the file that has them.

    A file is a list of names or a label category file in JSON, or has one name a line.

    Raises:
        ClassListError: if it is none of these.
    """
    path = Path(text)
    if not path.is_file():
        return tuple(part.strip() for part in text.split(",") if part.strip())
    content = path.read_bytes()
    if path.suffix == ".json":
        return class_names(content, text)
    try:
        return tuple(line.strip() for line in content.decode().splitlines() if line.strip())
    except UnicodeDecodeError as error:
        raise ClassListError(f"{text} is no list of classes: it is not UTF-8") from error


def _is_model(name: str) -> bool:
    return name.lower().endswith((*_ARCHIVES, *_NETWORKS))


def _opened(
    name: str,
    where: S3Uri | Path,
    connect: Connect,
    given: Sequence[str] | None,
    shape: tuple[int, int, int] | None,
    job: TrainingJob | None = None,
) -> Model:
    try:
        from gtlabel.networks.runtime import Network
        from gtlabel.training.answering import DECODERS
    except ModuleNotFoundError as error:
        raise MissingExtraError("running a network", "edge") from error
    if not isinstance(where, S3Uri) and where.is_dir():
        model = _converted(where, connect, given, shape, job)
    elif where.lower().endswith(_NETWORKS) if isinstance(where, S3Uri) else where.suffix in _NETWORKS:
        model = read(connect().s3, where) if isinstance(where, S3Uri) else where.read_bytes()
    elif str(where).lower().endswith(_ARCHIVES):
        model = _converted(where, connect, given, shape, job)
    else:
        raise ArtifactError(f"{where} is neither a model.tar.gz nor an .onnx file")
    try:
        network = Network(model, threads=DECODERS)
    except ArtifactError as error:
        raise ArtifactError(f"{where}: {error}") from error
    classes = tuple(given or network.classes or _found_classes(where, connect, job))
    if network.outputs and network.outputs != len(classes):
        raise ArtifactError(
            f"{where} tells {network.outputs} classes apart, but {len(classes)} names were given: "
            + ", ".join(classes)
        )
    if network.classes:
        _refuse_others(classes, network.classes, str(where))
    return Model(name, str(where), network, classes, job, model)


def _converted(
    where: S3Uri | Path,
    connect: Connect,
    given: Sequence[str] | None,
    shape: tuple[int, int, int] | None,
    job: TrainingJob | None,
) -> bytes:
    classes = tuple(given or _found_classes(where, connect, job))
    if given and job is not None:
        _check_names(classes, job, connect)
    lineage = {}
    if job is not None:
        lineage = {"training-job": job.name, "artifact": str(where)}
        if "train" in job.channels:
            lineage["dataset"] = job.channels["train"].folder

    def convert(path: Path) -> bytes:
        from gtlabel.networks.artifact import read_artifact
        from gtlabel.networks.onnx import to_onnx

        return to_onnx(read_artifact(path, image_shape=shape), classes, lineage)

    # Names of classes may be anything, so that their number comes first.
    asked = [str(shape), str(lineage), str(len(classes)), *classes]
    if isinstance(where, S3Uri):
        found = stat(connect().s3, where)
        parts = [where, found.etag, str(found.size), str(found.modified), *asked]
        return converted(parts, lambda: _fetched(read(connect().s3, where), where, convert))
    if where.is_dir():
        return convert(where)
    with where.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return converted([digest, *asked], lambda: convert(where))


def _fetched(archive: bytes, where: S3Uri, convert: Callable[[Path], bytes]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="gtlabel-") as folder:
        path = Path(folder) / "model.tar.gz"
        path.write_bytes(archive)
        try:
            return convert(path)
        except ArtifactError as error:
            # The person knows the address and nothing of the file.
            raise type(error)(str(error).replace(str(path), where)) from error


def _check_names(given: tuple[str, ...], job: TrainingJob, connect: Connect) -> None:
    """Make sure that a job was trained with the names given, where its tags tell."""
    aws = connect()
    tags = read_tags(aws.sagemaker, job.arn)
    # Without it nobody knows whether the dataset was made anew since, and the person may.
    if CLASSES_DIGEST not in tags:
        return
    known = trained_classes(
        aws.s3, job, tags, likely=given, instead="the names given are not those of then, either"
    )
    if not known:
        raise ArtifactError(
            f"{job.name!r} was not trained with the classes {', '.join(given)}, as a digest in its tags tells"
        )
    _refuse_others(given, known, repr(job.name))


def _refuse_others(given: tuple[str, ...], known: tuple[str, ...], whose: str) -> None:
    if given != known:
        other = "in another order" if sorted(given) == sorted(known) else "not those"
        raise ArtifactError(
            f"the classes of {whose} are {', '.join(known)}, in this order, and the names given are {other}: "
            f"{', '.join(given)}; leave --classes out"
        )


def _found_classes(where: S3Uri | Path, connect: Connect, job: TrainingJob | None) -> tuple[str, ...]:
    """The class names that lie beside what the network was trained on, or beside the network."""
    if job is not None:
        aws = connect()
        if named := trained_classes(aws.s3, job, read_tags(aws.sagemaker, job.arn)):
            return named
    folders: list[S3Uri | Path] = []
    if isinstance(where, S3Uri):
        above = where.folder
        folders.append(above)
        for _ in range(_FOLDERS_UP_TO_THE_DATASET):
            above = above.at(above.key.rstrip("/").rpartition("/")[0] + "/")
        folders.append(above)
    else:
        folders.append(where if where.is_dir() else where.parent)
    for folder in folders:
        if names := _listed(folder, connect):
            return names
    raise ArtifactError(
        f"nothing says what the classes of {where} are called; give --classes NAME,NAME,... "
        f"or the {CLASS_LIST} of the dataset it was trained on"
    )


def _listed(folder: S3Uri | Path, connect: Connect) -> tuple[str, ...]:
    """The names in the `classes.json` of a folder; none if there is no such file."""
    if isinstance(folder, S3Uri):
        return class_list(connect().s3, folder)
    file = folder / CLASS_LIST
    try:
        return class_names(file.read_bytes(), str(file))
    except FileNotFoundError:
        return ()
