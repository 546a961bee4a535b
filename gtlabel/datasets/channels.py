"""A dataset in S3: its channels as augmented manifests, and the file that says it is whole.

INTO/classes/<class>/<file name>   the copies
INTO/train.manifest                one line per image: copy, label, where it came from
INTO/validation.manifest
INTO/classes.json                  class names; the position of a name is its label
INTO/dataset.json                  written last: nothing is a dataset without it
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gtlabel.errors import DatasetError, ObjectNotFoundError
from gtlabel.manifests.classes import ClassList
from gtlabel.manifests.lines import read_records, write_record
from gtlabel.manifests.merge import Label
from gtlabel.manifests.records import LabelMetadata, ManifestRecord, first_problem
from gtlabel.manifests.split import Channel
from gtlabel.storage import read, read_lines, write, write_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

LABEL_ATTRIBUTE = "label"
ORIGINAL_REF = "original-ref"

_FORMAT: Final = "gtlabel-dataset/1"
_TYPE = "groundtruth/image-classification"


class _FromFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class ChannelFile(_FromFile):
    """One channel: its manifest, how many images it names, and the digest of its bytes."""

    manifest: S3Uri
    images: int
    sha256: str


class ClassFolder(_FromFile):
    """One class: its name, its folder of copies, and how many images each channel has of it."""

    name: str
    folder: S3Uri
    train: int
    validation: int


class Source(_FromFile):
    """What one job's manifest gave.

    Attributes:
        manifest: its address.
        attribute: the label attribute that was read.
        labeled: lines with a label.
        failed: lines that say why there is none.
        unlabeled: lines that nobody got to.
        reasons: how often each failure reason was given.
    """

    manifest: S3Uri
    attribute: str
    labeled: int
    failed: int
    unlabeled: int
    reasons: Mapping[str, int] = Field(default_factory=dict)


class Disagreement(_FromFile):
    """An image to which jobs gave different classes, and the one that holds."""

    image: S3Uri
    kept: str
    dropped: tuple[str, ...]


class Dataset(_FromFile):
    """A consolidated dataset, as `dataset.json` has it.

    Attributes:
        uri: where it is.
        attribute: the one label attribute of its channels; the labels are indices of `classes`.
        classes: in the order of their indices.
        channels: `train` and `validation`.
        sources: the manifests it was made of.
        validation: the share that was asked for validation.
        repeated: labels that only repeated what another job had said of the image.
        disagreements: images on which jobs disagreed; the newest label holds.
        missing: labeled images that were not in S3 any more and are left out.
    """

    format: Literal["gtlabel-dataset/1"] = _FORMAT
    complete: Literal[True] = True
    uri: S3Uri
    attribute: str
    classes: tuple[ClassFolder, ...]
    channels: Mapping[Channel, ChannelFile]
    sources: tuple[Source, ...]
    validation: float
    repeated: int = 0
    disagreements: tuple[Disagreement, ...] = ()
    missing: tuple[S3Uri, ...] = ()

    @property
    def names(self) -> ClassList:
        """The class names in the order of their indices."""
        return ClassList(tuple(item.name for item in self.classes))

    @property
    def images(self) -> int:
        """How many images the channels have together."""
        return sum(channel.images for channel in self.channels.values())


@dataclass(frozen=True, slots=True)
class Example:
    """One line of a channel: the copy, its class, and what the job said about the label."""

    image: S3Uri
    original: S3Uri
    channel: Channel
    class_name: str
    label: LabelMetadata


def read_dataset(s3: S3Client, uri: S3Uri) -> Dataset:
    """The dataset at an address.

    Raises:
        DatasetError: if there is none, or its consolidation did not come to an end.
    """
    where = uri / "dataset.json"
    try:
        document = read(s3, where)
    except ObjectNotFoundError:
        raise DatasetError(_not_finished(uri)) from None
    if document == _unfinished():
        raise DatasetError(_not_finished(uri))
    try:
        return Dataset.model_validate_json(document)
    except ValidationError as error:
        raise DatasetError(f"{where} cannot be used: {first_problem(error)}; consolidate again") from error


def read_channel(s3: S3Client, dataset: Dataset, channel: Channel) -> Iterator[Example]:
    """Yield the examples of a channel, holding one line at a time; none of a channel it does not have.

    Raises:
        ManifestLineError: at a line that is not a record.
    """
    if channel not in dataset.channels:
        return
    manifest = dataset.channels[channel].manifest
    names = dataset.names
    for record in read_records(read_lines(s3, manifest), manifest):
        original = (record.model_extra or {}).get(ORIGINAL_REF, record.source_ref)
        yield Example(
            record.source_ref,
            S3Uri(original),
            channel,
            names[record.class_index(dataset.attribute)],
            record.label(dataset.attribute),
        )


def channel_lines(
    labels: Iterable[Label], copies: Mapping[S3Uri, S3Uri], classes: ClassList
) -> Iterator[bytes]:
    """The lines of a channel, as Ground Truth would have written them for one job over the copies."""
    index = {name: position for position, name in enumerate(classes)}
    for label in labels:
        metadata = LabelMetadata(
            confidence=label.confidence,
            job_name=f"labeling-job/{label.job}" if label.job else None,
            class_name=label.class_name,
            human_annotated="yes" if label.by_human else "no",
            creation_date=label.created,
            type=_TYPE,
        )
        line: dict[str, Any] = {
            "source-ref": copies[label.image],
            LABEL_ATTRIBUTE: index[label.class_name],
            f"{LABEL_ATTRIBUTE}-metadata": metadata.to_json(),
            ORIGINAL_REF: label.image,
        }
        yield write_record(ManifestRecord.model_validate(line))


def describe_channel(manifest: S3Uri, lines: Iterable[bytes]) -> ChannelFile:
    """Count and digest the lines of a channel without keeping them."""
    digest = sha256()
    images = 0
    for line in lines:
        digest.update(line + b"\n")
        images += 1
    return ChannelFile(manifest=manifest, images=images, sha256=digest.hexdigest())


def withdraw(s3: S3Client, dataset: Dataset) -> None:
    """Say that what is at the dataset's address is not whole, unless it is this very dataset.

    Without this, an interrupted run over an older dataset would leave the old `dataset.json` beside
    new channels.
    """
    where = dataset.uri / "dataset.json"
    try:
        present = read(s3, where)
    except ObjectNotFoundError:
        return
    if present != _document(dataset):
        write(s3, where, _unfinished(), "application/json")


def publish(s3: S3Client, dataset: Dataset, lines: Mapping[Channel, Iterable[bytes]]) -> None:
    """Write the channels, the classes, and last the file that makes it a dataset."""
    for channel, file in dataset.channels.items():
        write_lines(s3, file.manifest, lines[channel])
    write(s3, dataset.uri / "classes.json", _json(list(dataset.names)), "application/json")
    write(s3, dataset.uri / "dataset.json", _document(dataset), "application/json")


def _document(dataset: Dataset) -> bytes:
    return _json(dataset.model_dump(mode="json"))


def _unfinished() -> bytes:
    return _json({"format": _FORMAT, "complete": False})


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n"


def _not_finished(uri: S3Uri) -> str:
    return f"there is no finished dataset at {uri}; run gtlabel consolidate JOB --into {uri} (again)"
