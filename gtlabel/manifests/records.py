"""A record: one image, and everything that has been said about it so far."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, KeysView, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from pydantic_core import from_json

from gtlabel.errors import ManifestError, MissingLabelError, UriError
from gtlabel.manifests.metadata import LabelMetadata, read_metadata, short
from gtlabel.manifests.splice import member, put_together, take_apart
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = ["LabelMetadata", "ManifestRecord", "State", "first_problem"]

State = Literal["labeled", "failed", "unlabeled"]

SOURCE_REF = "source-ref"
_METADATA = "-metadata"


class _Read(msgspec.Struct, gc=False):
    """What is taken out of a line while its JSON is checked: the address, and for an attribute its label.

    The structures of attributes are made by `_decoder`; this one, of no attribute, has the address alone.
    """

    source_ref: str = msgspec.field(name=SOURCE_REF)


_UNKNOWN = msgspec.UNSET


class ManifestRecord(msgspec.Struct, gc=False, eq=False):
    """One line of a manifest: an image, the labels that jobs gave it, and keys of anybody else.

    A record keeps its line. What nobody changes is written as it was read, to the character: the next job
    in the chain may need it, and spells its numbers as it likes. A record does not change; `without` and
    `having` make another one.
    """

    # A structure is made in half the time; it is made by `parser` alone, in this order.
    _line: str
    _read: Any
    _attribute: str | None
    _uri: S3Uri | None = None
    _raws: dict[str, msgspec.Raw] | None = None

    @classmethod
    def of(cls, image: S3Uri) -> ManifestRecord:
        """The record of an image that nothing has been said about yet.

        Raises:
            ManifestError: if the address names no object.
        """
        return cls.from_values({SOURCE_REF: image})

    @classmethod
    def from_line(cls, line: str) -> ManifestRecord:
        """The record that one line of JSON holds.

        Raises:
            ValueError: if it holds none; the message is one sentence without the line's place.
        """
        return parser()(line)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> ManifestRecord:
        """The record of these keys, spelled as AWS does, in their order.

        Raises:
            ManifestError: if they make no record, or hold what JSON cannot spell.
        """
        try:
            return cls.from_line(
                json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            )
        except ValueError as error:
            raise ManifestError(
                f"the record of {values.get(SOURCE_REF, 'an image')} cannot be written: {error}"
            ) from error

    @property
    def line(self) -> str:
        """The line it was read from or would be written as, without its end."""
        return self._line.strip(" \t\r\n")

    @property
    def source_ref(self) -> S3Uri:
        """The address of the image."""
        uri = self._uri
        if uri is None:
            uri = self._uri = S3Uri.checked(self._read.source_ref)
        return uri

    @property
    def address(self) -> str:
        """The address of the image as a plain text, for those who hold a million of them."""
        text: str = self._read.source_ref
        return text

    def to_json(self) -> dict[str, Any]:
        """The record as AWS spells it, its keys in the order they were read."""
        values: dict[str, Any] = json.loads(self._line)
        return values

    def get(self, key: str, default: Any = None) -> Any:
        """The value of one key, or `default`."""
        raw = self._members.get(key)
        return default if raw is None else json.loads(bytes(raw))

    def mentions(self, text: str) -> bool:
        """Whether the line holds a text anywhere; much faster than to ask for a key."""
        return text in self._line

    def spelled(self, key: str) -> str | None:
        """The value of one key as it stands in the line, to the character; None if it is not there."""
        raw = self._members.get(key)
        return None if raw is None else bytes(raw).decode()

    def keys(self) -> KeysView[str]:
        """The keys, in the order they were read."""
        return self._members.keys()

    def __contains__(self, key: str) -> bool:
        return key in self._members

    def without(self, *keys: str) -> ManifestRecord:
        """The same record, but for some keys; one that is not there does not matter."""
        if not any(key in self._members for key in keys):
            return self
        members = [each for each in take_apart(self._line) if each.key not in keys]
        return ManifestRecord.from_line(put_together(members, self._line))

    def having(self, values: Mapping[str, Any]) -> ManifestRecord:
        """The same record with some keys changed where they stand, and new ones at the end.

        Raises:
            ManifestError: if JSON cannot spell a value.
        """
        members = {each.key: each for each in take_apart(self._line)}
        try:
            members.update((key, member(key, value, self._line)) for key, value in values.items())
            return ManifestRecord.from_line(put_together(members.values(), self._line))
        except ValueError as error:
            raise ManifestError(f"the record of {self.source_ref} cannot be written: {error}") from error

    @property
    def attributes(self) -> Iterator[str]:
        """The attributes that jobs wrote, or tried to: every `x` that has an `x-metadata`."""
        for key in self._members:
            if key.endswith(_METADATA) and key != _METADATA:
                yield key.removesuffix(_METADATA)

    def state(self, attribute: str) -> State:
        """What became of this image in the job that writes `attribute`.

        A failed object has metadata and no label; an object not labeled yet, or not reached before the
        job was stopped, has neither.
        """
        if self._attribute == attribute:
            read = self._read
            if read.value is not None:
                return "labeled"
            return "unlabeled" if read.metadata is _UNKNOWN else "failed"
        raw = self._members.get(attribute)
        if raw is not None and bytes(raw) != b"null":
            return "labeled"
        return "failed" if f"{attribute}{_METADATA}" in self._members else "unlabeled"

    def label(self, attribute: str) -> LabelMetadata:
        """What the job writing `attribute` says about its label, or about why there is none.

        Raises:
            MissingLabelError: if no job wrote that attribute.
            ManifestError: if what it wrote cannot be read.
        """
        if self._attribute == attribute:
            metadata = self._read.metadata
            if metadata is not _UNKNOWN:
                return metadata  # type: ignore[no-any-return]
        key = f"{attribute}{_METADATA}"
        raw = self._members.get(key)
        if raw is None:
            raise MissingLabelError(f"{self.source_ref} has no {attribute!r} label")
        try:
            return read_metadata(raw)
        except ValueError as error:
            raise ManifestError(f"{self.source_ref}: in {key!r}, {error}") from error

    def single_label(self, attribute: str) -> tuple[int, LabelMetadata] | None:
        """Class index and metadata at once, for those who ask a million times.

        None says nothing but that they have to be asked for one by one.
        """
        if self._attribute == attribute:
            read = self._read
            value, metadata = read.value, read.metadata
            if type(value) is int and value >= 0 and metadata is not _UNKNOWN:
                return value, metadata
        return None

    def class_index(self, attribute: str) -> int:
        """The class as the integer that a single-label job wrote: its position in that job's list.

        The same integer means another class in another job; only the name can be compared.

        Raises:
            MissingLabelError: if no job wrote that attribute.
            ManifestError: if it is not an index. AWS writes a number, its manual also shows a string.
        """
        value = self._read.value if self._attribute == attribute else self.get(attribute)
        if type(value) is int and value >= 0:
            return value
        if value is None:
            raise MissingLabelError(f"{self.source_ref} has no {attribute!r} label")
        if isinstance(value, str) and value.isascii() and value.isdecimal():
            return int(value)
        hint = "; it comes from a multi-label job" if isinstance(value, list) else ""
        raise ManifestError(
            f"{self.source_ref}: {attribute!r} is {short(value)}, not the index of one class{hint}"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ManifestRecord):
            return NotImplemented
        return self._line == other._line or self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self._read.source_ref)

    def __repr__(self) -> str:
        return f"ManifestRecord.from_line({self.line!r})"

    def __reduce__(self) -> tuple[Callable[[str], ManifestRecord], tuple[str]]:
        return ManifestRecord.from_line, (self._line,)

    @property
    def _members(self) -> dict[str, msgspec.Raw]:
        raws = self._raws
        if raws is None:
            raws = self._raws = _members(self._line)
        return raws


def parser(attribute: str | None = None, limit: int | None = None) -> Callable[[str], ManifestRecord]:
    """The function that makes a record of a line, which raises a ValueError if it holds none.

    It is called a million times for a manifest, hence one function and no steps of its own.

    Args:
        attribute: the attribute whose label will be asked for; it is read, and checked, along with the rest
            of the line, which takes half the time of asking later.
        limit: how many characters a line may have, its end not counted.
    """
    decode = _decoder(attribute)
    most = limit or sys.maxsize
    # Of the image before, as `s3://bucket/`: most images lie in the same one, and need no other check.
    # No text starts with one of none.
    bucket: str | tuple[()] = ()

    def parse(line: str) -> ManifestRecord:
        nonlocal bucket
        if len(line) > most:
            _check_length(line, most)
        held = attribute
        try:
            read = decode(line)
        except (ValueError, RecursionError):
            # The label may be at fault and the record be one: it says so when it is asked for its label.
            read, held = _read_carefully(line), None
        if not read.source_ref.startswith(bucket) or len(read.source_ref) == len(bucket):
            bucket = _bucket_of(read.source_ref)
        return ManifestRecord(line, read, held)

    return parse


_members: Callable[[str], dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_address: Callable[[str], _Read] = msgspec.json.Decoder(_Read).decode


@lru_cache(maxsize=64)
def _decoder(attribute: str | None) -> Callable[[str], Any]:
    if attribute is None or attribute in (SOURCE_REF, ""):
        return _read_address
    fields = [
        ("value", Any, msgspec.field(name=attribute, default=None)),
        (
            "metadata",
            LabelMetadata | msgspec.UnsetType,
            msgspec.field(name=f"{attribute}{_METADATA}", default=_UNKNOWN),
        ),
    ]
    # Names are given: the attribute may be any text.
    structure = msgspec.defstruct("_ReadLabel", fields, bases=(_Read,), gc=False)
    return msgspec.json.Decoder(structure).decode


def _check_length(line: str, most: int) -> None:
    characters = len(line.rstrip("\r\n"))
    if characters > most:
        raise ValueError(too_long(characters, most))


def too_long(characters: int, most: int) -> str:
    """Why a line cannot be a record's, as a part of a sentence."""
    return f"it has {characters:,} characters; Ground Truth reads at most {most:,} a line"


def _read_carefully(line: str) -> _Read:
    try:
        return _read_address(line)
    except RecursionError:
        raise ValueError("it holds lists in lists, or objects in objects, too deep to be read") from None
    except ValueError as error:
        raise ValueError(_why_no_record(line, error)) from error


def _bucket_of(text: str) -> str:
    try:
        uri = S3Uri(text)
    except UriError as error:
        raise ValueError(f"{SOURCE_REF!r}: {error}") from error
    if not uri.key:
        raise ValueError(f"{SOURCE_REF!r}: names a bucket and no image in it")
    return f"s3://{uri.bucket}/"


def _why_no_record(line: str, error: ValueError) -> str:
    try:
        value = from_json(line)
    except ValueError as reason:
        return f"not JSON: {_said(str(reason))}"
    if not isinstance(value, dict):
        return 'it is not a JSON object; every line is one, such as {"source-ref":"s3://bucket/image.jpg"}'
    if SOURCE_REF in value and not isinstance(value[SOURCE_REF], str):
        return f"{SOURCE_REF!r}: input should be a valid string, not {short(value[SOURCE_REF])}"
    if not isinstance(error, msgspec.ValidationError):
        # Pydantic reads more than JSON allows.
        try:
            json.loads(line, parse_constant=_refuse_constant)
        except ValueError as reason:
            return f"not JSON: {reason}"
        return f"not JSON: {_said(str(error).removeprefix('JSON is malformed: '))}"
    if "source" in value:
        return "it holds text ('source'); only images ('source-ref') can be classified here"
    return f"it lacks {SOURCE_REF!r}, the address of an image"


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong, as the end of a sentence: the field and the reason."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    reason = _said(first["msg"].removeprefix("Value error, ").removeprefix("Invalid JSON: "))
    return f"{field!r}: {reason}" if field else reason


def _said(reason: str) -> str:
    reason = reason.replace(" at line 1 column ", " at character ")
    reason = reason.replace("expected ident", "expected true, false or null")
    return reason[0].lower() + reason[1:] if reason[1:2].islower() else reason


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number that JSON knows")
