"""Which pictures of a source become labeled ones: pure, from what a first look found."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gtlabel.datasets.collect.examine import Contents, Picture, nested_archives
from gtlabel.datasets.collect.layout import Folders, Layout, Place, Split, class_in, find_layout
from gtlabel.datasets.folders import folder_of
from gtlabel.errors import ClassListError, DatasetError
from gtlabel.manifests.classes import ClassList, check_classes, name_problem
from gtlabel.manifests.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Labeled:
    """A picture with its class, and what its data set means it for."""

    picture: Picture
    class_name: str
    split: Split | None = None


@dataclass(frozen=True, slots=True)
class Aside:
    """A picture that is not collected."""

    path: str
    reason: str

    def __str__(self) -> str:
        """One sentence. Names are other people's: what could move a terminal's cursor is spelled out."""
        sentence = f"{self.path} {self.reason}"
        if sentence.isprintable():
            return sentence
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in sentence)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is collected, and what is not.

    Attributes:
        labeled: the pictures, in the order of their paths.
        classes: all classes; the position of a name is its label.
        aside: pictures that were set aside, in the order of their paths.
        left_out: how many sound pictures each class has that was not asked for.
        repeated: how many of those set aside were there once more under the same class.
        layout: the folders that were taken for classes and splits.
        notes: what a person should know besides, in sentences.
    """

    labeled: tuple[Labeled, ...]
    classes: ClassList
    aside: tuple[Aside, ...]
    left_out: Mapping[str, int]
    repeated: int
    layout: Layout
    notes: tuple[str, ...] = ()


def choose(
    contents: Contents,
    where: str,
    *,
    depth: int | None = None,
    classes: Sequence[str] | None = None,
    vocabulary: Vocabulary | None = None,
) -> Chosen:
    """Decide about each picture.

    Pictures with the same bytes are taken once, the first by its path; under two classes, none of them is
    taken, because nobody can say which is right.

    Args:
        contents: what a first look found.
        where: what to call the source in an error.
        depth: which folder is the class, see `find_layout`.
        classes: the classes wanted, in the order of their labels; by default all, in alphabetical order.
        vocabulary: what classes are called.

    Raises:
        DatasetError: if nothing is left.
        ClassListError: if the classes cannot be told apart, or one that is wanted is not there.
    """
    if not contents.pictures:
        raise DatasetError(_no_pictures(contents, where))
    layout = find_layout({_folders(picture) for picture in contents.pictures}, depth)
    names = _Names(contents.class_lists, vocabulary or Vocabulary())
    aside: list[Aside] = []
    sound: list[Labeled] = []
    left_out: Counter[str] = Counter()
    for picture in contents.pictures:
        place = layout.place(_folders(picture))
        reason = picture.problem or (place if isinstance(place, str) else None)
        if reason is not None or isinstance(place, str):
            aside.append(Aside(picture.path, str(reason)))
            continue
        name = names.of(place)
        if name is None or (classes is not None and name not in classes):
            left_out[name or class_in(place.folder)] += 1
        else:
            sound.append(Labeled(picture, name, place.split))
    labeled, repeated, leaked = _once(sound, aside)
    if not labeled:
        raise DatasetError(_nothing_left(contents, aside, left_out, where))
    listed = _class_list(labeled, classes, left_out, where)
    aside.sort(key=lambda item: item.path)
    notes = (*names.notes(), *_notes(contents, aside, leaked))
    return Chosen(tuple(labeled), listed, tuple(aside), dict(left_out), repeated, layout, notes)


def _folders(picture: Picture) -> Folders:
    return tuple(picture.path.split("/")[:-1])


class _Names:
    """What the folders of a source mean."""

    def __init__(self, class_lists: Iterable[tuple[str, bytes]], vocabulary: Vocabulary) -> None:
        self._known = {folder_of(name): name for _, body in class_lists for name in _listed(body)}
        self._vocabulary = vocabulary
        self._met: dict[str, str] = {}

    def of(self, place: Place) -> str | None:
        name = self._met.get(place.folder)
        if name is None:
            name = self._met[place.folder] = class_in(place.folder, self._known)
        return self._vocabulary.name(name)

    def notes(self) -> Iterator[str]:
        read_back = sorted((folder, name) for folder, name in self._met.items() if folder != name)
        if read_back:
            folder, name = read_back[0]
            more = f" and {len(read_back) - 1} others" if len(read_back) > 1 else ""
            yield f"the folder {folder!r} was read as the class {name!r}{more}"
        if unused := self._vocabulary.unused(self._met.values()):
            yield f"the vocabulary speaks of classes that are not there: {', '.join(map(repr, unused))}"


def _listed(body: bytes) -> list[str]:
    """The class names in a `classes.json` or `dataset.json` of ours; none in anybody else's."""
    try:
        document: Any = json.loads(body)
    except ValueError:
        return []
    listed = document.get("classes") if isinstance(document, dict) else document
    if not isinstance(listed, list):
        return []
    names = [item.get("name") if isinstance(item, dict) else item for item in listed]
    return [name for name in names if isinstance(name, str)]


def _once(sound: Sequence[Labeled], aside: list[Aside]) -> tuple[list[Labeled], int, int]:
    """The pictures without their repetitions, which go aside.

    Returns:
        the pictures, how many repetitions there are, and how many of those lie in another split.
    """
    first: dict[tuple[int, str], Labeled] = {}
    torn: dict[tuple[int, str], Labeled] = {}
    for item in sound:
        key = (item.picture.size, item.picture.digest)
        known = first.setdefault(key, item)
        if known.class_name != item.class_name:
            torn.setdefault(key, item)
    labeled: list[Labeled] = []
    repeated = leaked = 0
    for item in sound:
        key = (item.picture.size, item.picture.digest)
        known = first[key]
        if key in torn:
            other = known if known.class_name != item.class_name else torn[key]
            reason = f"is the same picture as {other.picture.path}, which is of class {other.class_name!r}"
            aside.append(Aside(item.picture.path, reason))
        elif known is item:
            labeled.append(item)
        else:
            repeated += 1
            leaked += item.split != known.split
            aside.append(Aside(item.picture.path, f"is the same picture as {known.picture.path}"))
    return labeled, repeated, leaked


def _class_list(
    labeled: Sequence[Labeled], classes: Sequence[str] | None, left_out: Mapping[str, int], where: str
) -> ClassList:
    found = {item.class_name for item in labeled}
    if classes is None:
        return _checked(sorted(found), f"the list of classes of {where}")
    for name in classes:
        if name not in found:
            near = difflib.get_close_matches(name, left_out, n=1)
            hint = (
                f"did you mean {near[0]!r}" if near else f"it has {', '.join(sorted(left_out)) or 'no other'}"
            )
            raise ClassListError(f"no picture of {where} is of class {name!r}; {hint}")
    return _checked(classes, f"the list of classes of {where}")


def _checked(names: Sequence[str], where: str) -> ClassList:
    """One class alone is enough here: it may be what a dataset of one's own is short of."""
    if len(names) != 1:
        return check_classes(names, where)
    if problem := name_problem(names[0]):
        raise ClassListError(f"{where} cannot be used: {problem}")
    return ClassList(tuple(names))


def _no_pictures(contents: Contents, where: str) -> str:
    if nested := nested_archives(contents.others):
        return (
            f"{where} holds {nested} archives and no pictures; take them out and collect one after the other"
        )
    others = ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in contents.others.items())
    return f"there are no pictures in {where}" + (f", only other files: {others}" if others else "")


def _nothing_left(contents: Contents, aside: Sequence[Aside], left_out: Mapping[str, int], where: str) -> str:
    total = len(contents.pictures)
    if left_out:
        others = ", ".join(sorted(left_out))
        return (
            f"none of the {total} pictures of {where} is of a class that is wanted; its classes are {others}"
        )
    return f"none of the {total} pictures of {where} can be used: {aside[0]}"


def _notes(contents: Contents, aside: Sequence[Aside], leaked: int) -> Iterator[str]:
    if nested := nested_archives(contents.others):
        yield (
            f"{nested} archives inside were left closed; if they hold pictures, take them out and collect "
            "one after the other"
        )
    torn = sum("which is of class" in item.reason for item in aside)
    if torn:
        yield f"{torn} pictures lie under two classes, and nobody can say which is right; they were set aside"
    if leaked:
        yield f"{leaked} pictures lie in more than one of the folders for training, validation and test"
