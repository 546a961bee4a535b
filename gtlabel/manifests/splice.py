"""Changing some keys of a JSON object and not one character of the others.

A number that went through a program comes back spelled otherwise: 1.00 as 1.0, 1e5 as 100000.0. So an
object is taken apart into its members as they are written, and put together again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

_SPACE = re.compile(r"[ \t\r\n]*")
# The first key of an object, and a space behind its colon.
_SPACED = re.compile(r'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:[ \t]')
_end_of_value = json.JSONDecoder().raw_decode


class Member(NamedTuple):
    """A key, and it with its value as they are written."""

    key: str
    text: str


def take_apart(text: str) -> list[Member]:
    """The members of the JSON object that `text` is, in their order; a key that is repeated comes twice."""
    members = []
    place = _after(text, text.index("{") + 1)
    while text[place] != "}":
        key, end = _end_of_value(text, place)
        # Behind the key stand a colon and perhaps spaces.
        _, end = _end_of_value(text, _after(text, _after(text, end) + 1))
        members.append(Member(key, text[place:end]))
        place = _after(text, end)
        if text[place] == ",":
            place = _after(text, place + 1)
    return members


def put_together(members: Iterable[Member], like: str) -> str:
    """The object of these members, with spaces between them where `like` has them."""
    return "{" + _separators(like)[0].join(member.text for member in members) + "}"


def member(key: str, value: object, like: str = "") -> Member:
    """A member with a new value, spaced as `like` is; compact by default.

    Raises:
        ValueError: if JSON cannot spell the value.
    """
    separators = _separators(like)
    spelled = json.dumps(value, ensure_ascii=False, separators=separators, allow_nan=False)
    return Member(key, json.dumps(key, ensure_ascii=False) + separators[1] + spelled)


def _separators(like: str) -> tuple[str, str]:
    return (", ", ": ") if _SPACED.match(like) else (",", ":")


def _after(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place
