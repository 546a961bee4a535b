"""What was collected, as it lies in S3, and the files that say so.

INTO/images/<path in the source>   the pictures, unless they stayed where they were
INTO/output.manifest               one line per picture: label, source, licence
INTO/classes.json                  the class list, as labeling jobs read it
INTO/set-aside.jsonl               what was not collected, and why
INTO/licence/<file>                the text of the licence, where one came with the data
INTO/collection.json               written last: the rest is whole
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gtlabel.datasets.channels import LABEL_ATTRIBUTE
from gtlabel.datasets.collect.choosing import Aside, Labeled
from gtlabel.errors import DatasetError, ObjectNotFoundError
from gtlabel.manifests.classes import ClassList
from gtlabel.manifests.lines import write_record
from gtlabel.manifests.provenance import LICENCE, SOURCE
from gtlabel.manifests.records import LabelMetadata, ManifestRecord, first_problem
from gtlabel.storage import read, write, write_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

SPLIT = "gtlabel-split"

_FORMAT: Final = "gtlabel-collection/1"
_TYPE = "groundtruth/image-classification"


class Origin(BaseModel):
    """Where pictures come from.

    Attributes:
        address: the address a person gave, or the S3 prefix, or the name of the folder or archive.
        sha256: the digest of the archive; None for folders and prefixes.
    """

    model_config = ConfigDict(frozen=True)

    address: str
    sha256: str | None = None

    def is_same(self, other: Origin) -> bool:
        """Whether it is the same place, or the same archive from wherever."""
        return self.address == other.address or (self.sha256 is not None and self.sha256 == other.sha256)


class Collection(BaseModel):
    """A finished collection, as `collection.json` has it.

    Attributes:
        uri: where it is.
        manifest: the manifest of its pictures; `gtlabel consolidate` takes its address.
        manifest_sha256: the digest of that file.
        job: what stands in its lines for the name of a labeling job.
        created: when its labels were collected first.
        origin: where the pictures come from.
        licence: an SPDX identifier, or what the person said.
        in_place: whether the pictures stayed where they were.
        classes: how many pictures each class has, in the order of the labels.
        splits: how many pictures the data set means for what; those it says nothing of are not counted.
        set_aside: how many pictures were not collected.
        repeated: how many of those were there once more.
        left_out: how many sound pictures each class has that was not wanted.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    format: Literal["gtlabel-collection/1"] = _FORMAT
    uri: S3Uri
    manifest: S3Uri
    manifest_sha256: str
    job: str
    created: datetime
    origin: Origin
    licence: str
    in_place: bool
    classes: Mapping[str, int]
    splits: Mapping[str, int] = Field(default_factory=dict)
    set_aside: int = 0
    repeated: int = 0
    left_out: Mapping[str, int] = Field(default_factory=dict)

    @property
    def images(self) -> int:
        """How many pictures were collected."""
        return sum(self.classes.values())


def read_collection(s3: S3Client, into: S3Uri) -> Collection | None:
    """What was collected there before; None if nothing was.

    Raises:
        DatasetError: if the file there cannot be read.
    """
    where = into / "collection.json"
    try:
        document = read(s3, where)
    except ObjectNotFoundError:
        return None
    try:
        return Collection.model_validate_json(document)
    except ValidationError as error:
        raise DatasetError(
            f"{where} cannot be used: {first_problem(error)}; collect into another place"
        ) from error


def lines_of(
    labeled: Iterable[Labeled],
    addresses: Mapping[str, S3Uri],
    classes: ClassList,
    *,
    origin: Origin,
    licence: str,
    job: str,
    created: datetime,
) -> Iterator[bytes]:
    """The lines of the manifest, as a labeling job with one worker would have written them.

    Args:
        labeled: the pictures.
        addresses: the address of each, by its path in the source.
        classes: the class list.
        origin: where they come from.
        licence: under which terms.
        job: what stands for the name of a labeling job.
        created: when they were collected first.
    """
    index = {name: position for position, name in enumerate(classes)}
    for item in labeled:
        # Somebody put it into that folder, and nobody knows how sure they were: that is what AWS writes
        # where one worker answered (contract/ground-truth.md §5.4).
        metadata = LabelMetadata(
            confidence=0.0,
            job_name=f"labeling-job/{job}",
            class_name=item.class_name,
            human_annotated="yes",
            # AWS writes UTC and no zone.
            creation_date=created.astimezone(UTC).replace(tzinfo=None),
            type=_TYPE,
        )
        source = {"from": origin.address, "member": item.picture.path}
        if origin.sha256 is not None:
            source["archive-sha256"] = origin.sha256
        line: dict[str, Any] = {
            "source-ref": addresses[item.picture.path],
            LABEL_ATTRIBUTE: index[item.class_name],
            f"{LABEL_ATTRIBUTE}-metadata": metadata.to_json(),
            SOURCE: source,
            LICENCE: licence,
        }
        if item.split is not None:
            line[SPLIT] = item.split
        yield write_record(ManifestRecord.from_values(line))


def digest_of_lines(lines: Iterable[bytes]) -> str:
    """The SHA-256 of the file that lines make, in hexadecimal."""
    digest = sha256()
    for line in lines:
        digest.update(line + b"\n")
    return digest.hexdigest()


def publish(
    s3: S3Client,
    collection: Collection,
    lines: Iterable[bytes],
    classes: ClassList,
    aside: Iterable[Aside],
    licence: tuple[str, bytes] | None,
) -> None:
    """Write all but the pictures, and last the file that says the rest is whole.

    Args:
        s3: the client.
        collection: what to say.
        lines: of the manifest.
        classes: the class list.
        aside: what was not collected.
        licence: the name and the text of the licence's file.
    """
    into = collection.uri
    if licence is not None:
        write(s3, into / "licence" / licence[0], licence[1], "text/plain")
    write(s3, into / "classes.json", classes.to_json(), "application/json")
    write_lines(
        s3, into / "set-aside.jsonl", (_json({"member": item.path, "reason": item.reason}) for item in aside)
    )
    write_lines(s3, collection.manifest, lines)
    document = json.dumps(collection.model_dump(mode="json"), ensure_ascii=False, indent=2)
    write(s3, into / "collection.json", document.encode() + b"\n", "application/json")


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
