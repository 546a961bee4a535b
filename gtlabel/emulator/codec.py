"""Values as AWS's JSON writes them: times, bytes and nested structures, each by its shape in the model.

`times` names the format that counts where the model says nothing: `epoch` in a JSON body, `iso8601` in a
query or path, `rfc822` in a header.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from math import isnan
from typing import Any

from gtlabel.emulator.api import ApiError

# botocore's shapes are one class to a type checker and several at run time.
_Shape = Any


def from_text(shape: _Shape, text: str, times: str, path: str) -> Any:
    """A value that travels as text: in a path, a query or a header."""
    try:
        if shape.type_name in ("integer", "long"):
            return int(text)
        if shape.type_name in ("float", "double"):
            return float(text)
        if shape.type_name == "boolean":
            return {"true": True, "false": False}[text]
        if shape.type_name == "timestamp":
            return _time_of(text, shape.serialization.get("timestampFormat", times))
    except (ValueError, KeyError):
        raise ApiError("SerializationException", f"{text!r} at {path} is no {shape.type_name}") from None
    return text


def parse(shape: _Shape, value: Any, times: str, path: str) -> Any:
    """A JSON value as boto3 would have been given it; nulls are dropped, unknown members too."""
    try:
        return _PARSERS.get(shape.type_name, _plain)(shape, value, times, path)
    except (ValueError, TypeError, AttributeError, OverflowError, binascii.Error):
        raise ApiError(
            "SerializationException", f"the value at {path or '/'} is no {shape.type_name}"
        ) from None


def _parse_structure(shape: _Shape, value: Any, times: str, path: str) -> Any:
    if getattr(shape, "is_document_type", False):
        return value
    wanted = (
        (member.serialization.get("name", name), name, member) for name, member in shape.members.items()
    )
    return {
        name: parse(member, value[wire], times, f"{path}/{name}")
        for wire, name, member in wanted
        if value.get(wire) is not None
    }


def _parse_list(shape: _Shape, value: Any, times: str, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return [parse(shape.member, item, times, f"{path}/{number}") for number, item in enumerate(value)]


def _parse_map(shape: _Shape, value: Any, times: str, path: str) -> dict[str, Any]:
    return {key: parse(shape.value, item, times, f"{path}/{key}") for key, item in value.items()}


def _parse_blob(_shape: _Shape, value: Any, _times: str, _path: str) -> bytes:
    return base64.b64decode(value, validate=True)


def _parse_timestamp(shape: _Shape, value: Any, times: str, _path: str) -> datetime:
    return _time_of(value, shape.serialization.get("timestampFormat", times))


def _parse_float(_shape: _Shape, value: Any, _times: str, _path: str) -> float:
    # JSON has no words for these three, so the protocol spells them as strings.
    if value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    return _plain(_shape, value, _times, _path)  # type: ignore[no-any-return]


_JSON_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "character": str,
    "boolean": bool,
    "integer": int,
    "long": int,
    "float": (int, float),
    "double": (int, float),
}


def _plain(shape: _Shape, value: Any, _times: str, _path: str) -> Any:
    kind = shape.type_name
    if not isinstance(value, _JSON_TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        raise TypeError
    return value


_PARSERS: dict[str, Callable[[_Shape, Any, str, str], Any]] = {
    "structure": _parse_structure,
    "list": _parse_list,
    "map": _parse_map,
    "blob": _parse_blob,
    "timestamp": _parse_timestamp,
    "float": _parse_float,
    "double": _parse_float,
}


def _time_of(value: Any, form: str) -> datetime:
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, (int, float)):
        return datetime.fromtimestamp(value, UTC)
    if form == "rfc822":
        return parsedate_to_datetime(value)
    try:
        return datetime.fromtimestamp(float(value), UTC)
    except ValueError:
        moment = datetime.fromisoformat(value)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def given(shape: _Shape, value: Mapping[str, Any]) -> Iterator[tuple[str, str, _Shape]]:
    """The members of a structure that a value has: our name, the name on the wire, the shape."""
    for name, member in shape.members.items():
        if value.get(name) is not None:
            yield name, member.serialization.get("name", name), member


def render(shape: _Shape, value: Any, times: str) -> Any:
    """A value as JSON writes it."""
    kind = shape.type_name
    if kind == "structure" and not getattr(shape, "is_document_type", False):
        return {wire: render(member, value[name], times) for name, wire, member in given(shape, value)}
    if kind == "list":
        return [render(shape.member, item, times) for item in value]
    if kind == "map":
        return {key: render(shape.value, item, times) for key, item in value.items()}
    if kind == "blob":
        return base64.b64encode(value).decode()
    if kind == "timestamp":
        return _time_text(value, shape.serialization.get("timestampFormat", times))
    if kind in ("float", "double") and value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    if kind in ("float", "double") and isnan(value):
        return "NaN"
    return value


def _time_text(moment: datetime, form: str) -> str | float:
    if form == "iso8601":
        return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if form == "rfc822":
        return format_datetime(moment.astimezone(UTC), usegmt=True)
    return round(moment.timestamp(), 3)
