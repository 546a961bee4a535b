"""What a job says about one label: the object under `<attribute>-metadata`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

_JOB_PREFIX = "labeling-job/"

_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
# A moment with a zone is taken apart by the careful way, which knows what to do with it.
_Moment = Annotated[datetime, msgspec.Meta(tz=False)]


def _spelled(field: str) -> str:
    return field.replace("_", "-")


class LabelMetadata(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=_spelled):
    """What a job says about one label (contract/ground-truth.md §5.2).

    Single-label jobs give `class_name` and `confidence`, multi-label jobs `class_map` and
    `confidence_map`; a failed object has neither, but a `failure_reason`. Moments are in UTC and carry no
    zone, as AWS writes them. A key that AWS does not write is in `others`.
    """

    confidence: _Share | None = None
    job_name: str | None = None
    class_name: str | None = None
    class_map: dict[str, str] | None = None
    human_annotated: str | bool | None = None
    creation_date: _Moment | None = None
    confidence_map: dict[str, float] | None = None
    type: str | None = None
    failure_reason: str | None = None
    retry_count: int | None = None
    adjustment_status: str | None = None
    worker_feedback: list[Any] | None = None

    @property
    def job(self) -> str | None:
        """The job's name alone; AWS writes `labeling-job/<name in lower case>`, its manual the bare name."""
        return self.job_name.removeprefix(_JOB_PREFIX) if self.job_name else None

    @property
    def by_human(self) -> bool:
        """Whether people gave the label. Only `yes` says so: failed objects carry `true`."""
        return self.human_annotated == "yes"

    @property
    def others(self) -> Mapping[str, Any]:
        """The keys that are none of AWS's, as they were read."""
        return {}

    def to_json(self) -> dict[str, Any]:
        """The keys that are set, spelled and ordered as AWS does; then those that are not AWS's."""
        values: dict[str, Any] = {}
        for field in LabelMetadata.__struct_fields__:
            value = getattr(self, field)
            if isinstance(value, datetime):
                value = value.isoformat(timespec="microseconds")
            if value is not None:
                values[_spelled(field)] = value
        return {**values, **self.others}

    @classmethod
    def from_json(cls, values: object) -> LabelMetadata:
        """The metadata that a JSON object holds.

        This is the careful way, for what people and custom jobs write too: keys with underscores in place
        of hyphens, numbers and moments as texts, keys that nobody knows.

        Raises:
            ValueError: if it cannot be read; the message is the end of a sentence that names the field.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"it is {short(values)}, not an object")
        known: dict[str, Any] = {}
        others: dict[str, Any] = {}
        for key, value in values.items():
            field = key.replace("-", "_")
            if field not in _FIELDS or key not in (field, _spelled(field)):
                others[key] = value
            elif value is not None and (field not in known or key == _spelled(field)):
                expected, convert = _FIELDS[field]
                try:
                    known[field] = convert(value)
                except (ValueError, OverflowError):
                    spelled = _spelled(field)
                    raise ValueError(f"{spelled!r}: input should be {expected}, not {short(value)}") from None
        return _WithOthers(**known, unknown=others) if others else cls(**known)


class _WithOthers(LabelMetadata, frozen=True, kw_only=True):
    """Metadata with keys of somebody else."""

    unknown: dict[str, Any] = {}

    @property
    def others(self) -> Mapping[str, Any]:
        return self.unknown


_decode = msgspec.json.Decoder(LabelMetadata).decode


def read_metadata(raw: msgspec.Raw | bytes) -> LabelMetadata:
    """The metadata in the bytes of a JSON object.

    Raises:
        ValueError: if it cannot be read; the message is the end of a sentence that names the field.
    """
    try:
        return _decode(raw)
    except ValueError:
        return LabelMetadata.from_json(json.loads(bytes(raw)))


def short(value: object) -> str:
    """A value as a sentence can hold it: at most 40 characters of JSON."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _converter(kind: Any) -> Callable[[Any], Any]:
    return lambda value: msgspec.convert(value, kind, strict=False)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _moment(value: Any) -> datetime:
    try:
        moment = msgspec.convert(value, datetime, strict=False)
    except ValueError:
        moment = datetime.fromisoformat(_text(value))
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


# What each field should be, for people, and how it is made from what stands there.
_FIELDS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "confidence": ("a number from 0 to 1", _converter(_Share)),
    "job_name": ("a text", _text),
    "class_name": ("a text", _text),
    "class_map": ("an object of texts", _converter(dict[str, str])),
    "human_annotated": ('"yes" or "no"', _converter(str | bool)),
    "creation_date": ("a moment such as 2026-11-22T10:11:12.345678", _moment),
    "confidence_map": ("an object of numbers", _converter(dict[str, float])),
    "type": ("a text", _text),
    "failure_reason": ("a text", _text),
    "retry_count": ("a whole number", _converter(int)),
    "adjustment_status": ("a text", _text),
    "worker_feedback": ("a list", _converter(list[Any])),
}
