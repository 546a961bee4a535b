"""The vocabulary of a dataset: which classes of the jobs become which classes, as a person decided.

What a person decided stands in a file, in TOML, which lies best beside `gtlabel.toml`:

    [rename]
    "Tin can" = "Recycle"
    "recycle" = "Recycle"

    [remove]
    classes = ["Not sure"]

Several old names with one new name merge those classes; a removed class takes its images out of the dataset.
Spelling variants are found and suggested, in this very form, and never applied silently: two classes that
look alike to a program can differ to the people who made them.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from gtlabel.errors import VocabularyError
from gtlabel.manifests.classes import folded_name, name_problem

_TABLES = {"rename", "remove"}
# In a shorter name one letter makes another word: cat and car.
_LETTERS_FOR_A_SLIP = 5
# Every pair is compared; a list of classes is short, and one that is not would take minutes.
_NAMES_COMPARED = 2_000
_NUMBERING = re.compile(r"\d|\b\w\b")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Names that may mean one class.

    Attributes:
        keep: the spelling most images have; among equals the one that was met first.
        variants: the other spellings.
        reason: how they differ, as the end of a sentence.
    """

    keep: str
    variants: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        """One sentence, with the lines that would settle it."""
        names = " and ".join(repr(name) for name in (self.keep, *self.variants))
        return f"{names} {self.reason}; if they mean one class, write under [rename]: {self.to_toml()}"

    def to_toml(self) -> str:
        """The lines for the file, one for each variant."""
        return "\n".join(f"{_quoted(name)} = {_quoted(self.keep)}" for name in self.variants)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Which classes are renamed, merged and removed.

    Attributes:
        renames: the new name of every class that gets one; several with one new name are merged.
        removed: the classes whose images are left out.
    """

    renames: Mapping[str, str] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        problems = list(_contradictions(self.renames, self.removed))
        if problems:
            raise VocabularyError("the vocabulary cannot be used: " + "; ".join(problems))

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """The vocabulary in a file.

        Raises:
            VocabularyError: if it cannot be read, is no TOML, or contradicts itself; everything that is
                wrong, in one sentence.
        """
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise VocabularyError(f"{path} cannot be read: {error}") from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, where: str) -> Vocabulary:
        """The vocabulary that a text holds.

        Args:
            text: the file, in TOML.
            where: what to call it in an error.

        Raises:
            VocabularyError: if it holds none; everything that is wrong, in one sentence.
        """
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            message = str(error)
            raise VocabularyError(f"{where} is not TOML: {message[0].lower()}{message[1:]}") from error
        renames, removed = document.get("rename", {}), document.get("remove", {})
        problems = list(_misspelled(document))
        if not problems:
            removed = frozenset(removed.get("classes", ()))
            problems = list(_contradictions(renames, removed))
        if problems:
            raise VocabularyError(f"{where} cannot be used: " + "; ".join(problems))
        return cls(renames, removed)

    def name(self, class_name: str) -> str | None:
        """What a class is called in the dataset; None if it is left out."""
        if class_name in self.removed:
            return None
        return self.renames.get(class_name, class_name)

    def names(self, class_names: Iterable[str]) -> list[str]:
        """What is left of a list of classes, in its order, each once."""
        named = (self.name(name) for name in class_names)
        return list(dict.fromkeys(name for name in named if name is not None))

    def unused(self, met: Iterable[str]) -> list[str]:
        """The classes that the vocabulary speaks about and no job has: mostly a slip of the pen."""
        known = set(met)
        return [name for name in (*self.renames, *sorted(self.removed)) if name not in known]


def suggestions(names: Mapping[str, int] | Iterable[str]) -> list[Suggestion]:
    """Find names that may be spellings of one class; nothing is done about them.

    Names are compared without regard to letter case, spaces and how an accent is encoded; then without
    punctuation; then without a plural's ending; and last within one slip: a letter that is missing, wrong,
    or has changed places with its neighbor, in names of five letters and more.

    Args:
        names: the names, or how many images each has.
    """
    counts = names if isinstance(names, Mapping) else Counter(names)
    left = list(counts)
    found: list[Suggestion] = []
    for reason, folded in _FOLDS:
        groups: dict[str, list[str]] = {}
        for name in left:
            groups.setdefault(folded(name) or name, []).append(name)
        found += [_suggestion(group, counts, reason) for group in groups.values() if len(group) > 1]
        left = [max(group, key=lambda name: counts[name]) for group in groups.values()]
    if len(left) <= _NAMES_COMPARED:
        found += [
            _suggestion([one, other], counts, "differ by one slip of the keys")
            for one, other in combinations(left, 2)
            if _one_slip_apart(folded_name(one), folded_name(other))
        ]
    return found


def _suggestion(group: list[str], counts: Mapping[str, int], reason: str) -> Suggestion:
    keep = max(group, key=lambda name: counts[name])
    return Suggestion(keep, tuple(name for name in group if name != keep), reason)


def _without_punctuation(name: str) -> str:
    plain = unicodedata.normalize("NFKD", folded_name(name))
    return "".join(character for character in plain if character.isalnum())


def _without_plural(name: str) -> str:
    plain = _without_punctuation(name)
    if plain.endswith("ies") and len(plain) > 4:
        return f"{plain[:-3]}y"
    if plain.endswith(("ches", "shes", "sses", "xes")):
        return plain[:-2]
    return plain[:-1] if plain.endswith("s") and not plain.endswith("ss") and len(plain) > 3 else plain


_FOLDS = (
    ("differ only in letter case, spaces or accents' encoding", folded_name),
    ("differ only in punctuation or accents", _without_punctuation),
    ("differ only in a plural's ending", _without_plural),
)


def _one_slip_apart(one: str, other: str) -> bool:
    if min(len(one), len(other)) < _LETTERS_FOR_A_SLIP or abs(len(one) - len(other)) > 1:
        return False
    # Paper 1 and Paper 2 are meant to differ, and so are grade A and grade B.
    if _NUMBERING.findall(one) != _NUMBERING.findall(other):
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    if len(one) != len(other):
        longer, shorter = (one, other) if len(one) > len(other) else (other, one)
        return longer[start + 1 :] == shorter[start:]
    if one[start + 1 :] == other[start + 1 :]:
        return True
    return one[start : start + 2] == other[start : start + 2][::-1] and one[start + 2 :] == other[start + 2 :]


def _contradictions(renames: Mapping[str, str], removed: frozenset[str]) -> Iterator[str]:
    for old, new in renames.items():
        if old == new:
            yield f"{old!r} is renamed to itself"
        elif old in removed:
            yield f"{old!r} is both renamed and removed"
        elif new in removed:
            yield f"{old!r} is renamed to {new!r}, which is removed; remove {old!r} too"
        elif new in renames:
            yield (
                f"{old!r} is renamed to {new!r}, which is itself renamed to {renames[new]!r}; "
                f"write {_quoted(old)} = {_quoted(renames[new])}"
            )
        if problem := name_problem(new):
            yield problem


def _misspelled(document: Mapping[str, Any]) -> Iterator[str]:
    for key in document:
        if key not in _TABLES:
            yield f"{key!r} is none of its tables, [rename] and [remove]"
    renames = document.get("rename", {})
    if not isinstance(renames, dict):
        yield '\'rename\' is no table; write [rename] and below it "old" = "new"'
    else:
        for old, new in renames.items():
            if not isinstance(new, str):
                yield f"in [rename], {old!r} has no text for its new name; a name with dots wants quotes"
    remove = document.get("remove", {})
    if not isinstance(remove, dict):
        yield "'remove' is no table; write [remove] and below it classes = [\"name\"]"
        return
    for key in remove:
        if key != "classes":
            yield f"in [remove], {key!r} is not known; it has 'classes' alone"
    classes = remove.get("classes", [])
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        yield "in [remove], 'classes' is no list of names"


def _quoted(name: str) -> str:
    """A name as a TOML basic string (https://toml.io/en/v1.0.0#string)."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() or c == " " else f"\\U{ord(c):08x}" for c in escaped) + '"'
