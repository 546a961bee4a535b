"""Versions of components, and which of them meets a requirement, as npm writes one.

https://semver.org and https://github.com/npm/node-semver#ranges, which Greengrass refers to:
https://docs.aws.amazon.com/greengrass/v2/developerguide/component-recipe-reference.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import total_ordering

from gtlabel.errors import RecipeError

_PART = r"(?:0|[1-9]\d*|[xX*])"
_PARTIAL = rf"[v=\s]*({_PART})(?:\.({_PART})(?:\.({_PART})(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?)?)?"
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
_SPAN = re.compile(rf"{_PARTIAL}\s+-\s+{_PARTIAL}")
_SIMPLE = re.compile(rf"(\^|~>?|>=|<=|>|<|=)?\s*{_PARTIAL}")
_JOINED = re.compile(r"(\^|~>?|>=|<=|>|<|=)\s+")

# Tells of a version whether it is within one bound.
Bound = Callable[["Version"], bool]


@total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    """A version, ordered by precedence; what follows a plus does not count.

    Attributes:
        numbers: major, minor, patch.
        before: the identifiers of a pre-release, which comes before its release.
    """

    numbers: tuple[int, int, int]
    before: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> Version:
        """A version that is written as `1.2.3` or `1.2.3-rc.1`.

        Raises:
            RecipeError: if it is none.
        """
        found = _VERSION.fullmatch(text)
        if found is None:
            raise RecipeError(f"{text!r} is no version; write it like 1.0.0")
        before = tuple(found[4].split(".")) if found[4] else ()
        return cls((int(found[1]), int(found[2]), int(found[3])), before)

    def __lt__(self, other: Version) -> bool:
        return self._rank() < other._rank()

    def _rank(self) -> tuple[tuple[int, int, int], bool, tuple[tuple[bool, int, str], ...]]:
        parts = ((not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in self.before)
        return self.numbers, not self.before, tuple(parts)


def satisfies(version: str, requirement: str) -> bool:
    """Whether a version meets a requirement such as `^1.2.0`, `>=1.0.0 <2.0.0` or `1.x || 3.0.0`.

    A pre-release meets only a requirement that names a pre-release of the same numbers.

    Raises:
        RecipeError: if the requirement cannot be read.
    """
    wanted = Version.of(version)
    # All of them are read, so that a mistake in one does not depend on the version.
    met = [_meets(wanted, part.strip()) for part in requirement.split("||")]
    return any(met)


def _meets(version: Version, conjunction: str) -> bool:
    bounds, named = [], []
    for bound, numbers in _bounds(conjunction):
        bounds.append(bound(version))
        named += numbers
    return all(bounds) and (not version.before or version.numbers in named)


def _bounds(conjunction: str) -> Iterator[tuple[Bound, list[tuple[int, int, int]]]]:
    """The bounds that must all hold, each with the numbers of a pre-release that it names."""
    if span := _SPAN.fullmatch(conjunction):
        yield from _simple(">=", span.group(1, 2, 3, 4))
        yield from _simple("<=", span.group(5, 6, 7, 8))
        return
    for word in _JOINED.sub(r"\1", conjunction).split() or ["*"]:
        found = _SIMPLE.fullmatch(word)
        if found is None:
            raise RecipeError(f"{word!r} is no requirement on a version; write it like ^1.0.0 or >=1.0.0")
        yield from _simple(found[1] or "", found.group(2, 3, 4, 5))


def _simple(
    operator: str, parts: tuple[str | None, ...]
) -> Iterator[tuple[Bound, list[tuple[int, int, int]]]]:
    given = _given(parts[:3])
    low = Version(_filled(given), tuple(parts[3].split(".")) if parts[3] and len(given) == 3 else ())
    named = [low.numbers] if low.before else []
    match operator:
        case ">" if len(given) < 3:
            # Greater than all that the part stands for; than everything there is, nothing is.
            yield (lambda version: bool(given) and version >= _after(given)), []
        case ">":
            yield (lambda version: version > low), named
        case ">=":
            yield (lambda version: version >= low), named
        case "<":
            yield (lambda version: bool(given) and version < low), named
        case "<=" if len(given) < 3:
            yield (lambda version: not given or version < _after(given)), []
        case "<=":
            yield (lambda version: version <= low), named
        case "^":
            yield (lambda version: low <= version and (not given or version < _after(_caret(given)))), named
        case "~" | "~>":
            yield (lambda version: low <= version and (not given or version < _after(given[:2]))), named
        case _ if len(given) < 3:
            yield (lambda version: low <= version and (not given or version < _after(given))), []
        case _:
            yield (lambda version: not version < low and not low < version), named


def _given(parts: tuple[str | None, ...]) -> tuple[int, ...]:
    """The numbers before the first that may be any."""
    numbers: list[int] = []
    for part in parts:
        if part is None or part in "xX*":
            break
        numbers.append(int(part))
    if any(part is not None and part not in "xX*" for part in parts[len(numbers) :]):
        raise RecipeError(f"{'.'.join(filter(None, parts))!r} names a number after one that may be any")
    return tuple(numbers)


def _filled(given: tuple[int, ...]) -> tuple[int, int, int]:
    major, minor, patch = (*given, 0, 0, 0)[:3]
    return major, minor, patch


def _after(given: tuple[int, ...]) -> Version:
    """What comes after all versions that begin so, their pre-releases' successors too."""
    return Version(_filled((*given[:-1], given[-1] + 1)), ("0",))


def _caret(given: tuple[int, ...]) -> tuple[int, ...]:
    """The numbers that a caret keeps: up to the first that is not zero."""
    for index, number in enumerate(given):
        if number:
            return given[: index + 1]
    return given
