"""A record: one image, and everything that has been said about it so far."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_serializer,
)
from pydantic_core import from_json

from gtlabel.errors import ManifestError, MissingLabelError
from gtlabel.uris import S3Uri

State = Literal["labeled", "failed", "unlabeled"]

_JOB_PREFIX = "labeling-job/"
_METADATA = "-metadata"


def _names_an_object(uri: S3Uri) -> S3Uri:
    if not uri.key:
        raise ValueError("names a bucket and no image in it")
    return uri


def _without_zone(moment: datetime) -> datetime:
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def _spelled(name: str) -> Any:
    """A field that AWS writes with hyphens and custom jobs sometimes with underscores."""
    choices = AliasChoices(name, name.replace("-", "_"))
    return Field(default=None, validation_alias=choices, serialization_alias=name)


class LabelMetadata(BaseModel):
    """What a job says about one label, `<attribute>-metadata` (contract/ground-truth.md §5.2).

    Single-label jobs give `class_name` and `confidence`, multi-label jobs `class_map` and
    `confidence_map`; a failed object has neither, but a `failure_reason`.
    """

    model_config = ConfigDict(frozen=True, extra="allow", validate_by_name=True)

    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    job_name: str | None = _spelled("job-name")
    class_name: str | None = _spelled("class-name")
    class_map: Mapping[str, str] | None = _spelled("class-map")
    human_annotated: str | bool | None = _spelled("human-annotated")
    creation_date: Annotated[datetime, AfterValidator(_without_zone)] | None = _spelled("creation-date")
    confidence_map: Mapping[str, float] | None = _spelled("confidence-map")
    type: str | None = None
    failure_reason: str | None = _spelled("failure-reason")

    @property
    def job(self) -> str | None:
        """The job's name alone; AWS writes `labeling-job/<name in lower case>`, its manual the bare name."""
        return self.job_name.removeprefix(_JOB_PREFIX) if self.job_name else None

    @property
    def by_human(self) -> bool:
        """Whether people gave the label. Only `yes` says so: failed objects carry `true`."""
        return self.human_annotated == "yes"

    @field_serializer("creation_date")
    def _as_aws_writes_it(self, moment: datetime | None) -> str | None:
        return None if moment is None else moment.isoformat(timespec="microseconds")

    def to_json(self) -> dict[str, Any]:
        """The keys that are set, spelled and ordered as AWS does."""
        return self.model_dump(by_alias=True, exclude_none=True)


class ManifestRecord(BaseModel):
    """One line of a manifest: an image, the labels that jobs gave it, and keys of anybody else.

    Keys that are not ours to know are carried along unchanged, because the next job in the chain may
    need them. A record is made from AWS's spelling (`from_line`) or from Python's (`source_ref=`).
    """

    model_config = ConfigDict(frozen=True, extra="allow", validate_by_name=True)

    source_ref: Annotated[S3Uri, AfterValidator(_names_an_object)] = Field(alias="source-ref")

    @classmethod
    def from_line(cls, line: str) -> ManifestRecord:
        """The record that one line of JSON holds.

        Raises:
            ValueError: if it holds none; the message is one sentence without the line's place.
        """
        try:
            if line.startswith('{"source-ref"'):
                record = ManifestRecord.model_validate_json(line, by_alias=True, by_name=False)
            else:
                record = _LateRecord.model_validate_json(line, by_alias=True, by_name=False)
        except ValidationError as error:
            raise ValueError(_why_no_record(error, line)) from error
        if "NaN" in line or "Infinity" in line:
            json.loads(line, parse_constant=_refuse_constant)
        return record

    def to_json(self) -> dict[str, Any]:
        """The record as AWS spells it, its keys in the order they were read."""
        return {"source-ref": str(self.source_ref), **(self.model_extra or {})}

    def without(self, *keys: str) -> Self:
        """The same record, but for some keys; one that is not there does not matter."""
        copied = self.model_copy()
        for key in keys:
            (copied.model_extra or {}).pop(key, None)
        return copied

    @property
    def attributes(self) -> Iterator[str]:
        """The attributes that jobs wrote, or tried to: every `x` that has an `x-metadata`."""
        for key in self.model_extra or {}:
            if key.endswith(_METADATA) and key != _METADATA:
                yield key.removesuffix(_METADATA)

    def state(self, attribute: str) -> State:
        """What became of this image in the job that writes `attribute`.

        A failed object has metadata and no label; an object not labeled yet, or not reached before the
        job was stopped, has neither.
        """
        extra = self.model_extra or {}
        if extra.get(attribute) is not None:
            return "labeled"
        return "failed" if f"{attribute}{_METADATA}" in extra else "unlabeled"

    def label(self, attribute: str) -> LabelMetadata:
        """What the job writing `attribute` says about its label, or about why there is none.

        Raises:
            MissingLabelError: if no job wrote that attribute.
            ManifestError: if what it wrote cannot be read.
        """
        key = f"{attribute}{_METADATA}"
        try:
            metadata = (self.model_extra or {})[key]
        except KeyError:
            raise MissingLabelError(f"{self.source_ref} has no {attribute!r} label") from None
        try:
            return LabelMetadata.model_validate(metadata)
        except ValidationError as error:
            raise ManifestError(f"{self.source_ref}: in {key!r}, {first_problem(error)}") from error

    def class_index(self, attribute: str) -> int:
        """The class as the integer that a single-label job wrote: its position in that job's list.

        The same integer means another class in another job; only the name can be compared.

        Raises:
            MissingLabelError: if no job wrote that attribute.
            ManifestError: if it is not an index. AWS writes a number, its manual also shows a string.
        """
        value = (self.model_extra or {}).get(attribute)
        if value is None:
            raise MissingLabelError(f"{self.source_ref} has no {attribute!r} label")
        if isinstance(value, str) and value.isascii() and value.isdecimal():
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        hint = "; it comes from a multi-label job" if isinstance(value, list) else ""
        raise ManifestError(
            f"{self.source_ref}: {attribute!r} is {_short(value)}, not the index of one class{hint}"
        )


class _LateRecord(ManifestRecord):
    """A record whose line begins with another key; most do not, and need not pay for remembering."""

    _before: tuple[str, ...] = PrivateAttr(default=())

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> _LateRecord:
        record = super().model_validate_json(json_data, **options)
        keys = list(from_json(json_data))
        record._before = tuple(keys[: keys.index("source-ref")])
        return record

    def to_json(self) -> dict[str, Any]:
        rest = dict(self.model_extra or {})
        before = {key: rest.pop(key) for key in self._before if key in rest}
        return {**before, "source-ref": str(self.source_ref), **rest}


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong, as the end of a sentence: the field and the reason."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ").removeprefix("Invalid JSON: ")
    reason = reason.replace(" at line 1 column ", " at character ")
    if reason[1:2].islower():
        reason = reason[0].lower() + reason[1:]
    return f"{field!r}: {reason}" if field else reason


def _why_no_record(error: ValidationError, line: str) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return f"not JSON: {first_problem(error)}"
    if first["type"] == "missing":
        if "source" in from_json(line):
            return "it holds text ('source'); only images ('source-ref') can be classified here"
        return "it lacks 'source-ref', the address of an image"
    if first["type"] == "model_type":
        return 'it is not a JSON object; every line is one, such as {"source-ref":"s3://bucket/image.jpg"}'
    return first_problem(error)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"not JSON: {name} is not a number that JSON knows")


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."
