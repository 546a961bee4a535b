"""What AWS's published service models demand of a request, checked before or after it travels.

boto3 itself checks little more than required members and types; patterns, enumerations and maxima are
left to the service. The models are the ones that botocore carries.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.loaders import Loader
    from botocore.model import OperationModel, ServiceModel

# botocore's shapes are one class to a type checker and several at run time.
_Shape = Any
# What AWS shows of a value in an error is not cut; a manifest pasted into a title would fill the screen.
_SHOWN = 1024


@lru_cache
def loader() -> Loader:
    """Botocore's reader of model files, which remembers them; a session may use it in place of its own."""
    from botocore.loaders import Loader

    return Loader()


@lru_cache
def service_model(service: str) -> ServiceModel:
    """The model of a service, by the name that boto3 gives its client."""
    from botocore.model import ServiceModel

    return ServiceModel(loader().load_service_model(service, "service-2"), service)


def operation_model(service: str, operation: str) -> OperationModel:
    """The model of one operation, by the name it has on the wire (`CreateLabelingJob`)."""
    return service_model(service).operation_model(operation)


def check_request(service: str, operation: str, params: Mapping[str, Any]) -> list[str]:
    """Everything in a request that its service would refuse, each in AWS's words.

    Args:
        service: the name of the boto3 client, such as `sagemaker`.
        operation: the operation's name on the wire, such as `CreateLabelingJob`.
        params: the request as boto3 would be given it.
    """
    shape = operation_model(service, operation).input_shape
    if shape is None:
        return [f"Unknown parameter {name!r}: {operation} takes none" for name in params]
    return list(_problems(shape, params, ""))


def check_result(service: str, operation: str, result: Mapping[str, Any]) -> list[str]:
    """Members and types of a result that its model does not know; limits of values are not looked at."""
    shape = operation_model(service, operation).output_shape
    if shape is None:
        return [f"Unknown member {name!r}: {operation} returns none" for name in result]
    return list(_misfits(shape, result, ""))


def refusal(problems: list[str]) -> str:
    """The problems of a request as AWS counts and joins them in one message."""
    plural = "s" if len(problems) > 1 else ""
    return f"{len(problems)} validation error{plural} detected: {'; '.join(problems)}"


def _problems(shape: _Shape, value: Any, path: str) -> Iterator[str]:
    mismatch = _mismatch(shape, value)
    if mismatch:
        yield _failed(value, path, mismatch, shape)
    elif shape.type_name == "structure":
        yield from _structure_problems(shape, value, path)
    elif shape.type_name == "list":
        yield from _list_problems(shape, value, path)
    elif shape.type_name == "map":
        yield from _map_problems(shape, value, path)
    else:
        for broken in _broken(shape, value):
            yield _failed(value, path, broken, shape)


def _structure_problems(shape: _Shape, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for name in shape.required_members:
        if value.get(name) is None:
            where = _below(path, name)
            yield f"Value null at '{where}' failed to satisfy constraint: Member must not be null"
    given = [name for name in value if value[name] is not None]
    for name in given:
        if name not in shape.members:
            yield f"Unknown member {name!r} at '{path or shape.name}'; it knows {', '.join(shape.members)}"
    if shape.metadata.get("union") and len(given) != 1:
        yield _failed(value, path, "Exactly one member of the union must be set", shape)
    for name, member in shape.members.items():
        if value.get(name) is not None:
            yield from _problems(member, value[name], _below(path, name))


def _list_problems(shape: _Shape, value: list[Any], path: str) -> Iterator[str]:
    for broken in _broken(shape, value):
        yield _failed(value, path, broken, shape)
    member = shape.member
    if member.type_name in ("structure", "list", "map"):
        for number, item in enumerate(value, start=1):
            yield from _problems(member, item, f"{path}.{number}.member")
    elif any(_mismatch(member, item) or any(_broken(member, item)) for item in value):
        yield _failed(value, path, f"Member must satisfy constraint: [{_demands(member)}]", shape)


def _map_problems(shape: _Shape, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for broken in _broken(shape, value):
        yield _failed(value, path, broken, shape)
    if any(_mismatch(shape.key, key) or any(_broken(shape.key, key)) for key in value):
        yield _failed(value, path, f"Map keys must satisfy constraint: [{_demands(shape.key)}]", shape)
    if shape.value.type_name in ("structure", "list", "map"):
        for key, item in value.items():
            yield from _problems(shape.value, item, f"{path}.{key}.member")
    elif any(_mismatch(shape.value, item) or any(_broken(shape.value, item)) for item in value.values()):
        yield _failed(value, path, f"Map value must satisfy constraint: [{_demands(shape.value)}]", shape)


def _broken(shape: _Shape, value: Any) -> Iterator[str]:
    """The constraints of a shape's own metadata that a value of the right type does not meet."""
    metadata = shape.metadata
    choices = metadata.get("enum")
    if choices and value not in choices:
        yield f"Member must satisfy enum value set: [{', '.join(choices)}]"
    counted, size = _size(value)
    if metadata.get("max") is not None and size is not None and size > metadata["max"]:
        yield f"Member must have {counted} less than or equal to {metadata['max']}"
    if metadata.get("min") is not None and size is not None and size < metadata["min"]:
        yield f"Member must have {counted} greater than or equal to {metadata['min']}"
    if metadata.get("pattern") and isinstance(value, str) and not _matches(metadata["pattern"], value):
        yield f"Member must satisfy regular expression pattern: {metadata['pattern']}"


def _size(value: Any) -> tuple[str, float | None]:
    """What `min` and `max` speak of: the value of a number, the length of everything else."""
    if isinstance(value, (int, float)):
        return "value", value
    # An open file may be given for a blob; its length is not known before it is sent.
    return "length", len(value) if hasattr(value, "__len__") else None


def _demands(shape: _Shape) -> str:
    """All constraints of a scalar: AWS lists them together when a member of a list or map breaks one."""
    metadata = shape.metadata
    counted = "value" if shape.type_name in ("integer", "long", "float", "double") else "length"
    demands = []
    if metadata.get("enum"):
        demands.append(f"Member must satisfy enum value set: [{', '.join(metadata['enum'])}]")
    if metadata.get("max") is not None:
        demands.append(f"Member must have {counted} less than or equal to {metadata['max']}")
    if metadata.get("min") is not None:
        demands.append(f"Member must have {counted} greater than or equal to {metadata['min']}")
    if metadata.get("pattern"):
        demands.append(f"Member must satisfy regular expression pattern: {metadata['pattern']}")
    return ", ".join(demands) or f"Member must be of type {shape.type_name}"


def _misfits(shape: _Shape, value: Any, path: str) -> Iterator[str]:
    if value is None:
        return
    mismatch = _mismatch(shape, value)
    if mismatch:
        yield f"{path or shape.name}: {mismatch}, not {type(value).__name__}"
    elif shape.type_name == "timestamp" and value.tzinfo is None:
        yield f"{path or shape.name}: the time has no time zone"
    elif shape.type_name == "structure":
        for name, item in value.items():
            if name in shape.members:
                yield from _misfits(shape.members[name], item, f"{path}.{name}")
            else:
                yield f"{path or shape.name} has no member {name!r}"
    elif shape.type_name == "list":
        for number, item in enumerate(value):
            yield from _misfits(shape.member, item, f"{path}[{number}]")
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from _misfits(shape.value, item, f"{path}[{key!r}]")


_TYPES: dict[str, tuple[type, ...]] = {
    "structure": (Mapping,),
    "map": (Mapping,),
    "list": (list, tuple),
    "string": (str,),
    "character": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "timestamp": (datetime,),
}


def _mismatch(shape: _Shape, value: Any) -> str | None:
    kind = shape.type_name
    if getattr(shape, "is_document_type", False):
        return None
    if kind == "blob":
        fits = isinstance(value, (bytes, bytearray)) or hasattr(value, "read")
    elif isinstance(value, bool):
        fits = kind == "boolean"
    else:
        fits = isinstance(value, _TYPES.get(kind, (object,)))
    return None if fits else f"Member must be of type {kind}"


def _failed(value: Any, path: str, constraint: str, shape: _Shape) -> str:
    shown = "***sensitiveInformation***" if shape.metadata.get("sensitive") else _show(value)
    if len(shown) > _SHOWN:
        shown = shown[:_SHOWN] + "..."
    return f"Value '{shown}' at '{path}' failed to satisfy constraint: {constraint}"


def _show(value: Any) -> str:
    """A value as the service's Java would print it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}={_show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_show(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _below(path: str, member: str) -> str:
    name = member[:1].lower() + member[1:]
    return f"{path}.{name}" if path else name


def _matches(pattern: str, value: str) -> bool:
    compiled = _compiled(pattern, 127 if value.isascii() else sys.maxunicode)
    return compiled is None or compiled.fullmatch(value) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str, highest: int) -> re.Pattern[str] | None:
    r"""A pattern of the models, which are written for Java, in Python's words.

    Python lacks `\p{...}`, so its characters are spelled out up to `highest`. A few patterns of services
    that gtlabel does not call make no sense to Python; None lets every value pass.
    """
    python = re.sub(r"\\p\{(\w+)\}", lambda found: _characters(found[1], highest), pattern)
    # Java reads two escaped surrogates as the one character they make.
    python = python.replace(r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF")
    # Java lets an anchor be repeated, as SageMaker's CustomerMetadataKey does; once says the same.
    python = re.sub(r"\$\{\d+,\d+\}", "$", python)
    try:
        return re.compile(python, re.ASCII)
    except re.error:
        return None


_POSIX = {
    "Alnum": "a-zA-Z0-9",
    "Alpha": "a-zA-Z",
    "ASCII": r"\x00-\x7f",
    "Cntrl": r"\x00-\x1f\x7f",
    "Digit": "0-9",
    "Graph": r"\x21-\x7e",
    "Lower": "a-z",
    "Print": r"\x20-\x7e",
    "Upper": "A-Z",
}


@lru_cache
def _characters(name: str, highest: int) -> str:
    """The characters of a Unicode category or POSIX class, as they stand inside brackets."""
    if name in _POSIX:
        return _POSIX[name]
    spans: list[list[int]] = []
    for code in range(highest + 1):
        if unicodedata.category(chr(code)).startswith(name):
            if spans and spans[-1][1] == code - 1:
                spans[-1][1] = code
            else:
                spans.append([code, code])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in spans)
