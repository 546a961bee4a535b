"""The classes of a job or a dataset. Identity is the name; an index means something in one list only."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

from gtlabel.errors import ClassListError

# https://docs.aws.amazon.com/sagemaker/latest/dg/sms-label-cat-config-attributes.html;
# contract/ground-truth.md §2.3
DOCUMENT_VERSION = "2018-11-28"
MAX_NAME_CHARACTERS = 256


@dataclass(frozen=True, slots=True)
class ClassList(Sequence[str]):
    """Class names in order; the position of a name is its index.

    Make one with `check_classes` or `ClassList.from_json`, which refuse what cannot be labeled with.
    """

    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        return self.names[index]

    def to_json(self) -> bytes:
        """The label category file that a labeling job reads."""
        labels = [{"label": name} for name in self.names]
        document = {"document-version": DOCUMENT_VERSION, "labels": labels}
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, document: bytes, where: str) -> ClassList:
        """Read a label category file, whatever its version and whatever else is in it.

        Args:
            document: the file.
            where: what to call it in an error.

        Raises:
            ClassListError: if it is none, or its classes cannot be labeled with.
        """
        try:
            parsed: Any = json.loads(document)
        except ValueError as error:
            raise ClassListError(f"{where} is not JSON: {error}") from error
        labels = parsed.get("labels") if isinstance(parsed, dict) else None
        if not isinstance(labels, list):
            raise ClassListError(
                f'{where} is not a class list; write {{"labels":[{{"label":"cat"}},{{"label":"dog"}}]}}'
            )
        names = [item.get("label") if isinstance(item, dict) else None for item in labels]
        for position, name in enumerate(names):
            if not isinstance(name, str):
                raise ClassListError(f"{where}: labels[{position}] has no 'label' that is a text")
        return check_classes([name for name in names if isinstance(name, str)], where)


def class_names(document: bytes, where: str) -> tuple[str, ...]:
    """The names of a `classes.json`: a list of them, or a label category file.

    Raises:
        ClassListError: if it is neither.
    """
    try:
        said: Any = json.loads(document)
    except ValueError as error:
        raise ClassListError(f"{where} is not JSON: {error}") from error
    if isinstance(said, dict):
        said = [item.get("label") if isinstance(item, dict) else None for item in said.get("labels", [None])]
    if not isinstance(said, list) or not all(isinstance(name, str) for name in said):
        raise ClassListError(f'{where} is no list of classes; write ["Compost", "Landfill"]')
    return tuple(said)


def check_classes(names: Iterable[str], where: str = "the class list") -> ClassList:
    """The classes as a list that Ground Truth and a person can both work with.

    Names that differ only in letter case, in spaces or in how an accent is encoded are refused: AWS
    would take them for two classes, and workers could not tell them apart.

    Args:
        names: the classes in order.
        where: what to call the list in an error.

    Raises:
        ClassListError: with everything that is wrong, in one sentence.
    """
    listed = list(names)
    problems = [problem for name in listed if (problem := name_problem(name))]
    problems.extend(_repetitions(listed))
    if len(listed) < 2:
        problems.append(f"it has {_count(len(listed))}, and there is nothing to decide with fewer than two")
    if problems:
        raise ClassListError(f"{where} cannot be used: " + "; ".join(problems))
    return ClassList(tuple(listed))


def reconcile(lists: Iterable[Sequence[str]], found: Iterable[str] = ()) -> ClassList:
    """One list for several jobs: the names of the first list, then what the others add, in their order.

    A class that no image got keeps its place, so the indices of a dataset do not depend on luck.

    Args:
        lists: the class lists of the jobs, in the order the jobs were given.
        found: further names, from jobs whose list is not known; they follow in alphabetical order.

    Raises:
        ClassListError: if two names differ only in spelling, or fewer than two are left.
    """
    names = dict.fromkeys(name for names in lists for name in names)
    names.update(dict.fromkeys(sorted(set(found) - names.keys())))
    return check_classes(names, "the list of classes of these jobs together")


class ClassIds:
    """Which integer each job uses for which class, and that no job contradicts itself.

    A line of the wrong list trains a wrong model without a word, so the first contradiction is an error.
    """

    def __init__(self) -> None:
        self._name_of: dict[tuple[str, int], str] = {}
        self._index_of: dict[tuple[str, str], int] = {}

    def declare(self, job: str, names: Sequence[str]) -> None:
        """Take the job's own class list as true.

        Raises:
            ClassListError: if lines seen before say otherwise.
        """
        for index, name in enumerate(names):
            self.meet(job, index, name)

    def meet(self, job: str, index: int, name: str) -> None:
        """Take note of a label.

        Raises:
            ClassListError: if the job used that name with another integer, or the integer with another name.
        """
        known_name = self._name_of.setdefault((job, index), name)
        known_index = self._index_of.setdefault((job, name), index)
        if known_name != name:
            raise ClassListError(
                f"job {job}: {index} means {known_name!r} in one place and {name!r} in another; "
                "check that its manifest and its class list belong together"
            )
        if known_index != index:
            raise ClassListError(
                f"job {job}: {name!r} is {known_index} in one place and {index} in another; "
                "check that its manifest and its class list belong together"
            )

    def name(self, job: str, index: int) -> str | None:
        """The class that the job means by `index`, as far as is known."""
        return self._name_of.get((job, index))


def name_problem(name: str) -> str | None:
    """What is wrong with the name of a class, as a part of a sentence; None if nothing is."""
    if not name.strip():
        return "one name is empty"
    if len(name) > MAX_NAME_CHARACTERS:
        return f"the name {name[:30]!r}... has {len(name)} characters, more than {MAX_NAME_CHARACTERS}"
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        return f"the name {name!r} holds a character that cannot be shown"
    if name != name.strip():
        return f"the name {name!r} begins or ends with a space"
    return None


def _repetitions(names: Sequence[str]) -> Iterator[str]:
    spellings: dict[str, dict[str, int]] = {}
    for name in names:
        counts = spellings.setdefault(folded_name(name), {})
        counts[name] = counts.get(name, 0) + 1
    for counts in spellings.values():
        for name, count in counts.items():
            if count > 1 and name.strip():
                yield f"{name!r} stands in it {count} times"
        if len(counts) > 1:
            variants = " and ".join(repr(name) for name in counts)
            yield f"{variants} differ only in spelling; settle on one"


def folded_name(name: str) -> str:
    """The name without what nobody can tell apart: letter case, spaces, how an accent is encoded."""
    return unicodedata.normalize("NFC", " ".join(name.split()).casefold())


def _count(classes: int) -> str:
    return "one class" if classes == 1 else "no classes"
