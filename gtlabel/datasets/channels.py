"""A dataset in S3: its channels as augmented manifests, and the file that says it is whole.

INTO/classes/<class>/<file name>   the copies
INTO/train.manifest                one line per image: copy, label, where it came from
INTO/validation.manifest, INTO/test.manifest
INTO/disputed.manifest             the images on which jobs disagreed, for `gtlabel label`
INTO/classes.json                  class names; the position of a name is its label
INTO/certificate.json, .jsonl      digests of all of it; see `gtlabel.datasets.certificate`
INTO/dataset.json                  written last: nothing is a dataset without it
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo

from gtlabel.errors import DatasetError, ObjectNotFoundError
from gtlabel.manifests.channel import manifest_channel
from gtlabel.manifests.classes import ClassList
from gtlabel.manifests.lines import MAX_LINE_CHARACTERS, encode_line, read_records
from gtlabel.manifests.merge import Policy
from gtlabel.manifests.provenance import LICENCE, SOURCE
from gtlabel.manifests.records import LabelMetadata, first_problem
from gtlabel.manifests.split import Channel
from gtlabel.manifests.table import LabelTable
from gtlabel.storage import exists, read, read_lines, write
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema
    from types_boto3_s3 import S3Client

    from gtlabel.sdk import Channel as SdkChannel

LABEL_ATTRIBUTE = "label"
ORIGINAL_REF = "original-ref"

# What became of the images: copied into class folders, moved there, or left where they are.
Mode = Literal["copy", "move", "none"]
# What makes two images one: their address, or that they hold the same bytes.
Identity = Literal["address", "content"]
# The column with the group of an image, where that is not the image alone.
GROUP = "gtlabel-group"
# The column that tells how its label was settled, where there was anything to settle.
LINEAGE = "gtlabel-lineage"

# What the built-in algorithm calls the channels it reads; it has no other.
_TRAINED: Final[tuple[Channel, ...]] = ("train", "validation")
_FORMAT: Final = "gtlabel-dataset/1"
_END = ',"type":"groundtruth/image-classification"}'
# Confidences of any number of digits would make as many beginnings as there are lines.
_COMMON_KEPT = 100_000


class _FromFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class ChannelFile(_FromFile):
    """One channel: its manifest, how many images it names, and the digest of its bytes."""

    manifest: S3Uri
    images: int
    sha256: str


class Channels(dict[Channel, ChannelFile]):
    """The channels of a dataset by name; called, they are what the SageMaker SDK trains on."""

    attribute = LABEL_ATTRIBUTE

    def __call__(self, *names: Channel, shuffle_seed: int | None = 1) -> list[SdkChannel]:
        """The channels as `Channel` objects of the SageMaker SDK, for `ModelTrainer.train`.

        They are those of `gtlabel train`: augmented manifests in Pipe mode, pictures and labels in turn.

        Args:
            names: the channels; by default those the built-in algorithm reads, `train` and `validation`.
            shuffle_seed: shuffles the lines of `train` anew for every epoch; None keeps their order.

        Raises:
            DatasetError: if a channel has no images, or there is no such channel.
            MissingExtraError: if the SDK is not installed.
        """
        from gtlabel import sdk

        for name in names or _TRAINED:
            if name not in self or not self[name].images:
                raise DatasetError(_nothing_to_read(name, self))
        return [
            sdk.channel(
                manifest_channel(
                    name,
                    self[name].manifest,
                    self.attribute,
                    shuffle_seed=shuffle_seed if name == "train" else None,
                )
            )
            for name in names or _TRAINED
        ]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The schema of a plain mapping, in JSON as in Python."""
        from pydantic_core.core_schema import with_info_after_validator_function

        return with_info_after_validator_function(cls._read, handler(Mapping[Channel, ChannelFile]))

    @classmethod
    def _read(cls, value: Mapping[Channel, ChannelFile], info: ValidationInfo) -> Channels:
        channels = cls(value)
        channels.attribute = info.data.get("attribute", LABEL_ATTRIBUTE)
        return channels


class ClassFolder(_FromFile):
    """One class: its name, its folder of copies, and how many images each channel has of it."""

    name: str
    folder: S3Uri
    train: int
    validation: int
    test: int = 0

    @property
    def images(self) -> int:
        """How many images there are of it."""
        return self.train + self.validation + self.test


class Source(_FromFile):
    """What one job's manifest gave.

    Attributes:
        manifest: its address.
        attribute: the label attribute that was read.
        labeled: lines with a label.
        failed: lines that say why there is none.
        unlabeled: lines that nobody got to.
        left_out: labels that did not meet the conditions.
        removed: labels of classes that were removed.
        bad: lines that could not be used and were set aside.
        reasons: how often each failure reason was given.
    """

    manifest: S3Uri
    attribute: str
    labeled: int
    failed: int
    unlabeled: int
    left_out: int = 0
    removed: int = 0
    bad: int = 0
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
        channels: `train`, `validation`, and `test` where one was asked for; `channels()` gives them to the
            SageMaker SDK.
        sources: the manifests it was made of.
        validation: the share that was asked for validation.
        test: the share that was asked for test.
        groups: what kept images in one channel: `near-duplicates`, a regular expression, or nothing.
        policy: how one label was settled on where jobs disagreed.
        mode: whether the images were copied, moved, or left where they are (`none`).
        identity: what made two images one: their address, or the same bytes (`content`).
        united: images that are left out because another one holds the same bytes.
        repeated: labels that only repeated what another job had said of the image.
        disputed: how many images jobs gave different classes; `disputed.manifest` has them all.
        disagreements: the first thousand of those, and what holds.
        capped: images that were left out to keep classes in balance.
        missing: labeled images that were not in S3 any more and are left out.
        warnings: what a person should know before training with it.
        certificate: the digest of the certificate.
        moved: how many images were moved here by an earlier run; not in the file.
        requests: what S3 Batch Operations has to do before consolidation can be finished; not in the file.
    """

    format: Literal["gtlabel-dataset/1"] = _FORMAT
    complete: Literal[True] = True
    uri: S3Uri
    attribute: str
    classes: tuple[ClassFolder, ...]
    channels: Channels
    sources: tuple[Source, ...]
    validation: float
    test: float = 0.0
    groups: str | None = None
    policy: Policy = "newest"
    mode: Mode = "copy"
    identity: Identity = "address"
    united: int = 0
    repeated: int = 0
    disputed: int = 0
    disagreements: tuple[Disagreement, ...] = ()
    capped: int = 0
    missing: tuple[S3Uri, ...] = ()
    warnings: tuple[str, ...] = ()
    certificate: str = ""
    moved: int = Field(default=0, exclude=True)
    requests: tuple[S3Uri, ...] = Field(default=(), exclude=True)

    @property
    def names(self) -> ClassList:
        """The class names in the order of their indices."""
        return ClassList(tuple(item.name for item in self.classes))

    @property
    def images(self) -> int:
        """How many images the channels have together."""
        return sum(channel.images for channel in self.channels.values())

    @property
    def digest(self) -> str:
        """What two datasets that hold the same share: the digest of the certificate, else of the channels."""
        channels = "".join(channel.sha256 for channel in self.channels.values())
        return self.certificate or sha256(channels.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Example:
    """One line of a channel: the copy, its class, and what the job said about the label.

    Where the picture was collected, the line also tells from where and on what terms.
    """

    image: S3Uri
    original: S3Uri
    channel: Channel
    class_name: str
    label: LabelMetadata
    source: Any = None
    licence: Any = None


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
    if document in (_unfinished(), _unfinished(moved=True)):
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
    for record in read_records(read_lines(s3, manifest), manifest, attribute=dataset.attribute):
        original = record.get(ORIGINAL_REF, record.address)
        yield Example(
            record.source_ref,
            S3Uri(original),
            channel,
            names[record.class_index(dataset.attribute)],
            record.label(dataset.attribute),
            record.get(SOURCE),
            record.get(LICENCE),
        )


class LineMaker:
    """Makes the lines of channels, as Ground Truth would have written them for one job over the copies.

    Args:
        table: the labels, settled.
        classes: the class names; the position of a name is its label.
    """

    def __init__(self, table: LabelTable, classes: ClassList) -> None:
        self._table = table
        self._several = table.several
        self._index = {name: position for position, name in enumerate(classes)}
        # What many lines have in common is spelled once: all before the date.
        self._common: dict[int, tuple[str, bool]] = {}

    def lines(
        self, images: Sequence[str], rows: Sequence[int], targets: Sequence[str], groups: Sequence[str]
    ) -> list[bytes]:
        """The lines of some images.

        Args:
            images: the addresses that people looked at.
            rows: where the table has their labels.
            targets: the addresses of their copies; the same where nothing was copied.
            groups: what they share their channel with; their own addresses where they are alone.

        Raises:
            ManifestError: if a line is longer than AWS reads.
        """
        table, common, several = self._table, self._common, self._several
        origins = table.origins
        made = []
        for image, target, group, said, date in zip(
            images, targets, groups, table.sayings_of(rows), table.dates_of(rows), strict=True
        ):
            middle, renamed = common.get(said) or self._spell(said)
            text = f'{{"source-ref":{encode_basestring(target)}{middle}{date}{_END}'
            if target != image:
                text += f',"{ORIGINAL_REF}":{encode_basestring(image)}'
            if group != image:
                text += f',"{GROUP}":{encode_basestring(group)}'
            if renamed or image in several:
                text += f',"{LINEAGE}":{table.lineage(image) or "null"}'
            if origins:
                text += origins.get(image, "")
            made.append(text + "}")
        whole = "\n".join(made)
        if whole.isascii() and len(max(made, key=len)) <= MAX_LINE_CHARACTERS:
            # All at once; none of them holds the end of a line.
            return whole.encode().split(b"\n")
        return [encode_line(text, image) for text, image in zip(made, images, strict=True)]

    def _spell(self, said: int) -> tuple[str, bool]:
        """What lines that say the same have between the address and the date; whether it was renamed."""
        saying = self._table.sayings[said]
        metadata = []
        if saying.confidence is not None:
            metadata.append(f'"confidence":{saying.confidence!r}')
        if saying.job:
            metadata.append(f'"job-name":{encode_basestring(f"labeling-job/{saying.job}")}')
        metadata.append(f'"class-name":{encode_basestring(saying.class_name)}')
        metadata.append(f'"human-annotated":"{"yes" if saying.by_human else "no"}"')
        index = self._index[saying.class_name]
        spelled = f',"{LABEL_ATTRIBUTE}":{index},"{LABEL_ATTRIBUTE}-metadata":{{{",".join(metadata)}'
        if len(self._common) >= _COMMON_KEPT:
            self._common.clear()
        self._common[said] = spelled, saying.named is not None
        return self._common[said]


def withdraw(s3: S3Client, uri: S3Uri) -> None:
    """Say that what is at the dataset's address is not whole, if there is anything.

    Without this, an interrupted run over an older dataset would leave the old `dataset.json` beside
    new channels.
    """
    where = uri / "dataset.json"
    if exists(s3, where):
        write(s3, where, _unfinished(moved=has_moved(s3, uri)), "application/json")


def has_moved(s3: S3Client, uri: S3Uri) -> bool:
    """Whether an earlier run moved images to the dataset's address, and whatever came after it."""
    try:
        document = json.loads(read(s3, uri / "dataset.json"))
    except (ObjectNotFoundError, ValueError):
        return False
    return isinstance(document, dict) and document.get("mode") == "move"


def publish(s3: S3Client, dataset: Dataset) -> None:
    """Write the classes, and last the file that makes it a dataset."""
    write(s3, dataset.uri / "classes.json", classes_json(dataset.names), "application/json")
    write(s3, dataset.uri / "dataset.json", _document(dataset), "application/json")


def classes_json(names: Iterable[str]) -> bytes:
    """The class names as `classes.json` has them."""
    return _json(list(names))


def _document(dataset: Dataset) -> bytes:
    return _json(dataset.model_dump(mode="json"))


def _unfinished(*, moved: bool = False) -> bytes:
    mark = {"mode": "move"} if moved else {}
    return _json({"format": _FORMAT, "complete": False, **mark})


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n"


def _nothing_to_read(name: Channel, channels: Channels) -> str:
    if name not in channels:
        return f"the dataset has no channel {name!r}; it has {', '.join(channels)}"
    return f"{channels[name].manifest} names no image; consolidate again with a larger share for {name}"


def _not_finished(uri: S3Uri) -> str:
    return f"there is no finished dataset at {uri}; run gtlabel consolidate JOB --into {uri} (again)"
