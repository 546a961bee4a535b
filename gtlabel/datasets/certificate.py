"""The certificate of a dataset: digests of everything in it, so that anybody can check it again.

INTO/certificate.json    how the split was made, and the digest of every file
INTO/certificate.jsonl   one line for each line of the channels, in their order: its digest, and size and
                         ETag of the copy

`dataset.json` holds the digest of the first, the first that of the second, and the second tells which line
or object it is that differs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from gtlabel.datasets.channels import GROUP, ORIGINAL_REF, Dataset, classes_json, read_dataset
from gtlabel.errors import DatasetError, ManifestError, ObjectNotFoundError
from gtlabel.manifests.lines import read_records
from gtlabel.manifests.records import ManifestRecord, first_problem
from gtlabel.manifests.split import Channel, KeyPattern, Shares, channel_of
from gtlabel.storage import StoredObject, list_objects, read, read_lines, read_range, write, write_chunks
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

NEAR_DUPLICATES = "near-duplicates"

_FORMAT: Final = "gtlabel-certificate/1"
_LINE_BYTES = 8
_PIECE = 8 << 20
_BATCH = 4096
# Images, their groups, and their lines.
Batch = tuple[Sequence[str], Sequence[str], Sequence[bytes]]
Kind = Literal["digest", "line", "moved", "leak", "object", "missing", "stranger", "class"]


class Certificate(BaseModel):
    """What a dataset was when it was made, as `certificate.json` has it.

    Attributes:
        train: the share of the channel; so `validation` and `test`.
        groups: what kept images together: `near-duplicates`, a regular expression, or nothing.
        lent: the groups that are not where their hash puts them, with the channel they stand in.
        split: the digest of `channel, group, image` of all lines, whatever their labels and copies are.
        files: the digest of every other file, by its name below the dataset.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    format: Literal["gtlabel-certificate/1"] = _FORMAT
    train: float
    validation: float
    test: float
    groups: str | None
    lent: Mapping[str, Channel]
    split: str
    files: Mapping[str, str]

    @property
    def shares(self) -> Shares:
        """The shares of the channels."""
        return Shares(self.train, self.validation, self.test)

    def to_json(self) -> bytes:
        """The file."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=2).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a dataset that is not as its certificate says.

    Attributes:
        kind: what it is: a file whose digest differs, a line that was changed, a picture in a channel it
            does not belong to, a group in two channels, an object that changed, is gone or is not of the
            dataset, a label that its class list does not know.
        where: the file, line or object.
        sentence: all of it for people.
    """

    kind: Kind
    where: str
    sentence: str


class Witness:
    """Digests the lines of the channels while they are written.

    It keeps eight bytes of every line.

    Attributes:
        sha256: the digest of each channel.
    """

    def __init__(self) -> None:
        self.sha256: dict[Channel, str] = {}
        self._lines: dict[Channel, bytearray] = {}
        self._split = sha256()

    def bodies(self, channel: Channel, batches: Iterable[Batch]) -> Iterator[bytes]:
        """Hand on the lines of a channel, each with its end, many at a time."""
        whole, short, split = sha256(), bytearray(), self._split
        self._lines[channel] = short
        for images, groups, lines in batches:
            body = b"\n".join(lines) + b"\n"
            whole.update(body)
            # Those of `line_digest`, without a million calls of it.
            short += b"".join([blake2b(line, digest_size=_LINE_BYTES).digest() for line in lines])
            told = [f"{channel}\t{group}\t{image}\n" for image, group in zip(images, groups, strict=True)]
            split.update("".join(told).encode())
            yield body
        self.sha256[channel] = whole.hexdigest()

    @property
    def split(self) -> str:
        """The digest of who is where."""
        return self._split.hexdigest()

    def records(self, objects: Mapping[Channel, Iterable[StoredObject] | None]) -> Iterator[bytes]:
        """The lines of `certificate.jsonl`, each with its end, many at a time.

        Args:
            objects: what lies at the address of each line, in the order of the lines; None where nobody
                looked.
        """
        for channel, short in self._lines.items():
            listed = objects[channel]
            there = None if listed is None else iter(listed)
            for start in range(0, len(short), _BATCH * _LINE_BYTES):
                digests = short[start : start + _BATCH * _LINE_BYTES].hex(",", _LINE_BYTES).split(",")
                facts = [f'{{"channel":"{channel}","line":"{digest}"' for digest in digests]
                if there is not None:
                    seen = islice(there, len(facts))
                    facts = [
                        f'{fact},"size":{item.size},"etag":{json.dumps(item.etag)}'
                        for fact, item in zip(facts, seen, strict=True)
                    ]
                yield ("}\n".join(facts) + "}\n").encode()


def line_digest(line: bytes) -> bytes:
    """Eight bytes that tell a line from any other."""
    return blake2b(line, digest_size=_LINE_BYTES).digest()


def write_certificate(
    s3: S3Client,
    into: S3Uri,
    witness: Witness,
    objects: Mapping[Channel, Iterable[StoredObject] | None],
    *,
    shares: Shares,
    groups: str | None,
    lent: Mapping[str, Channel],
    names: Iterable[str],
    files: Mapping[str, str],
) -> str:
    """Write both files, and return the digest of the first for `dataset.json`."""
    digest = sha256()

    def told() -> Iterator[bytes]:
        for body in witness.records(objects):
            digest.update(body)
            yield body

    write_chunks(s3, into / "certificate.jsonl", told(), "application/jsonlines")
    certificate = Certificate(
        train=shares.train,
        validation=shares.validation,
        test=shares.test,
        groups=groups,
        lent=dict(sorted(lent.items())),
        split=witness.split,
        files={
            "certificate.jsonl": digest.hexdigest(),
            "classes.json": sha256(classes_json(names)).hexdigest(),
            **{f"{channel}.manifest": value for channel, value in witness.sha256.items()},
            **dict(sorted(files.items())),
        },
    )
    write(s3, into / "certificate.json", certificate.to_json(), "application/json")
    return sha256(certificate.to_json()).hexdigest()


def read_certificate(s3: S3Client, uri: S3Uri) -> Certificate | None:
    """The certificate of whatever dataset is or was being made at an address; None if there is none.

    Raises:
        DatasetError: if it cannot be read.
    """
    where = uri / "certificate.json"
    try:
        return Certificate.model_validate_json(read(s3, where))
    except ObjectNotFoundError:
        return None
    except ValidationError as error:
        raise DatasetError(f"{where} cannot be used: {first_problem(error)}; consolidate again") from error


def verify(s3: S3Client, uri: S3Uri) -> list[Finding]:
    """Check a dataset against its certificate; nothing is changed.

    Every digest is computed again, every line is read, every group is looked up, and the class folders
    are listed. It holds what the certificate says about every line, and the objects of the folders.

    Raises:
        DatasetError: if there is no finished dataset, or it has no certificate.
    """
    dataset = read_dataset(s3, uri)
    certificate = read_certificate(s3, dataset.uri)
    if certificate is None:
        raise DatasetError(f"the dataset at {uri} has no certificate to check it against; consolidate again")
    return list(_Inspection(s3, dataset, certificate).findings())


class _Inspection:
    """One look at a whole dataset."""

    def __init__(self, s3: S3Client, dataset: Dataset, certificate: Certificate) -> None:
        self._s3 = s3
        self._dataset = dataset
        self._certificate = certificate
        self._names = dataset.names
        self._shares = certificate.shares
        groups = certificate.groups
        self._pattern = KeyPattern(groups) if groups not in (None, NEAR_DUPLICATES) and groups else None
        self._split = sha256()
        self._strays: dict[str, tuple[str, str]] = {}
        self._objects: dict[str, StoredObject] = {}

    def findings(self) -> Iterator[Finding]:
        if self._dataset.mode != "none":
            listed = list_objects(self._s3, self._dataset.uri / "classes/")
            self._objects = {str(item.uri): item for item in listed}
        yield from self._files()
        certified = self._certified()
        for channel in self._dataset.channels:
            yield from self._channel(channel, certified.get(channel, {}))
        if self._split.hexdigest() != self._certificate.split:
            yield Finding(
                "moved",
                str(self._dataset.uri),
                "the split is not the certified one: images were added, taken out, or changed their channel",
            )
        yield from self._leaks()
        for address in self._objects:
            yield Finding("stranger", address, f"{address} is not of this dataset")

    def _files(self) -> Iterator[Finding]:
        dataset, told = self._dataset, dict(self._certificate.files)
        if sha256(read(self._s3, dataset.uri / "certificate.json")).hexdigest() != dataset.certificate:
            yield self._differs(dataset.uri / "certificate.json", "dataset.json")
        for name, digest in told.items():
            where = dataset.uri / name
            if where in {channel.manifest for channel in dataset.channels.values()}:
                continue
            try:
                found = self._digest(where)
            except ObjectNotFoundError:
                yield Finding("missing", where, f"{where} is gone; consolidate again")
                continue
            if found != digest:
                yield self._differs(where, "the certificate")
        for channel, file in dataset.channels.items():
            if file.sha256 != told.get(f"{channel}.manifest"):
                yield self._differs(dataset.uri / "dataset.json", "the certificate")
        if sha256(classes_json(self._names)).hexdigest() != told.get("classes.json"):
            yield self._differs(dataset.uri / "dataset.json", "the certificate")

    def _channel(self, channel: Channel, certified: dict[str, Mapping[str, Any]]) -> Iterator[Finding]:
        """Compare a channel with the certificate line by line."""
        manifest = self._dataset.channels[channel].manifest
        whole = sha256()
        try:
            for number, line in enumerate(read_lines(self._s3, manifest), start=1):
                whole.update(line + b"\n")
                known = certified.pop(line_digest(line).hex(), None)
                if known is None:
                    yield Finding(
                        "line",
                        f"{manifest}, line {number}",
                        f"{manifest}, line {number} is not a certified one: {_shortened(line)}",
                    )
                yield from self._line(channel, manifest, number, line, known or {})
        except ObjectNotFoundError:
            yield Finding("missing", manifest, f"{manifest} is gone; consolidate again")
            return
        if certified:
            yield Finding(
                "digest", manifest, f"{len(certified)} certified lines are not in {manifest} any more"
            )
        elif whole.hexdigest() != self._certificate.files.get(f"{channel}.manifest"):
            yield self._differs(manifest, "the certificate")

    def _line(
        self, channel: Channel, manifest: str, number: int, line: bytes, known: Mapping[str, Any]
    ) -> Iterator[Finding]:
        """What a line says about itself: its class, its channel, its object."""
        where = f"{manifest}, line {number}"
        attribute = self._dataset.attribute
        try:
            record = next(read_records([line], manifest))
            index, name = record.class_index(attribute), record.label(attribute).class_name
        except (ManifestError, StopIteration) as error:
            yield Finding("line", where, f"{where} cannot be read: {error}")
            return
        if not (index < len(self._names) and self._names[index] == name):
            meant = repr(self._names[index]) if index < len(self._names) else "no class"
            yield Finding("class", where, f"{where} says {name!r} with label {index}, which means {meant}")
        image, group = self._group(record)
        self._split.update(f"{channel}\t{group}\t{image}\n".encode())
        home = self._certificate.lent.get(group) or channel_of(group, self._shares)
        if home != channel:
            self._strays[group] = (where, home)
            yield Finding("moved", where, f"{where}: {image} is in {channel} and belongs to {home}")
        yield from self._object(record, known)

    def _group(self, record: ManifestRecord) -> tuple[str, str]:
        """The image that people looked at, and its group."""
        image = str(record.get(ORIGINAL_REF, record.address))
        return image, self._pattern(image) if self._pattern else str(record.get(GROUP, image))

    def _object(self, record: ManifestRecord, known: Mapping[str, Any]) -> Iterator[Finding]:
        if self._dataset.mode == "none":
            return
        address = str(record.source_ref)
        there = self._objects.pop(address, None)
        if there is None:
            yield Finding("missing", address, f"{address} is gone, or stands in two lines; consolidate again")
        elif "etag" in known and (there.size, there.etag) != (known["size"], known["etag"]):
            yield Finding(
                "object",
                address,
                f"{address} has changed since: {there.size} bytes with ETag {there.etag}, "
                f"certified with {known['size']} and {known['etag']}",
            )

    def _leaks(self) -> Iterator[Finding]:
        """Name the groups that a picture in the wrong channel tears apart."""
        if not self._strays:
            return
        for channel, file in self._dataset.channels.items():
            for line in read_lines(self._s3, file.manifest):
                try:
                    record = next(read_records([line], file.manifest))
                except (ManifestError, StopIteration):
                    continue
                image, group = self._group(record)
                where, home = self._strays.get(group, ("", ""))
                if home == channel:
                    del self._strays[group]
                    yield Finding(
                        "leak",
                        where,
                        f"the group {group} is in several channels: {image} is in {channel}, and {where} "
                        "is of it too; a model that saw one is not tested by the other",
                    )

    def _certified(self) -> dict[str, dict[str, Mapping[str, Any]]]:
        """What is known about the lines of each channel, by their digests."""
        where = self._dataset.uri / "certificate.jsonl"
        certified: dict[str, dict[str, Mapping[str, Any]]] = {}
        try:
            for line in read_lines(self._s3, where):
                known = json.loads(line)
                certified.setdefault(known["channel"], {})[known["line"]] = known
        # Its digest tells that it is gone or was changed; what can be checked without it is.
        except (ObjectNotFoundError, ValueError, LookupError, TypeError):
            return certified
        return certified

    def _digest(self, where: S3Uri) -> str:
        digest, start = sha256(), 0
        while piece := read_range(self._s3, where, start, _PIECE):
            digest.update(piece)
            start += len(piece)
        return digest.hexdigest()

    @staticmethod
    def _differs(where: str, what: str) -> Finding:
        return Finding("digest", where, f"{where} is not the file that {what} speaks of; consolidate again")


def _shortened(line: bytes) -> str:
    text = line.decode(errors="replace")
    return text if len(text) <= 200 else f"{text[:197]}..."
