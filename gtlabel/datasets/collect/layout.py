"""Which of the folders above a picture is its class, and which says train, validation or test.

Public data sets come as `train/cat/1.jpg`, `flowers-main/data/cat/1.jpg`, `seg_train/seg_train/cat/1.jpg`,
`cat/test/1.jpg` and with pictures beside. The first level of folders that neither wraps everything nor says
what a picture is for holds the classes; a person can say otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from gtlabel.datasets.folders import class_of, folder_of
from gtlabel.errors import DatasetError

Split = Literal["train", "validation", "test"]
Folders = tuple[str, ...]

_SPLITS: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "trn": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "validate": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "tst": "test",
    "holdout": "test",
}
# What may stand beside such a word: `seg_train`, `test-images`, `Training Set`.
_FILLERS = {
    "",
    "set",
    "data",
    "dataset",
    "seg",
    "image",
    "images",
    "img",
    "imgs",
    "pictures",
    "photos",
    "split",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a picture stands: the folder of its class, and what the data set means it for."""

    folder: str
    split: Split | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """Which level of folders means what, counted from 0.

    Attributes:
        class_level: the folders of the classes.
        split_level: the folders `train`, `test` and so on, above or right below them.
    """

    class_level: int
    split_level: int | None = None

    def place(self, folders: Folders) -> Place | str:
        """Where a picture in these folders stands, or why nobody can tell.

        The reason ends the sentence "this picture ...".
        """
        split = None
        if self.split_level is not None and len(folders) > self.split_level:
            split = split_of(folders[self.split_level])
            if split is None and self.split_level < self.class_level:
                return "lies beside the folders of training and test pictures"
        if len(folders) <= self.class_level:
            return "lies in no class folder"
        return Place(folders[self.class_level], split)


def split_of(folder: str) -> Split | None:
    """What a folder of this name holds pictures for; None for every other name."""
    words = re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", folder).lower())
    splits = [_SPLITS[word] for word in words if word in _SPLITS]
    others = [word for word in words if word not in _SPLITS and word not in _FILLERS]
    return splits[0] if len(splits) == 1 and not others else None


def find_layout(folders: Iterable[Folders], depth: int | None = None) -> Layout:
    """The layout of a data set.

    Args:
        folders: the folders above each picture, once each.
        depth: which folder is the class, counted from the source: 1 is the first; by default it is found.

    Raises:
        DatasetError: if no picture lies so deep.
    """
    known = {path for path in folders if path}
    if depth is None:
        return _found(known)
    level = depth - 1
    if not any(len(path) > level for path in known):
        deepest = max((len(path) for path in known), default=0)
        raise DatasetError(f"no picture lies in {depth} folders; the deepest lies in {deepest}, see --depth")
    return Layout(level, next((above for above in range(level) if len(_splits(known, above)) > 0), None))


def _found(folders: Collection[Folders]) -> Layout:
    level = 0
    split_level: int | None = None
    while True:
        here = {path[level] for path in folders if len(path) > level}
        deeper = {path for path in folders if len(path) > level + 1}
        splits = _splits(folders, level)
        if deeper and split_level is None and len(set(splits.values())) > 1:
            # Pictures beside these folders are examples of nothing.
            folders = {path for path in deeper if path[level] in splits}
            if folders:
                split_level = level
                level += 1
                continue
            return Layout(level)
        if split_level is not None and deeper and len(splits) == len(here):
            folders = deeper
            level += 1
            continue
        wraps = len(here) == 1 and (
            len(deeper) == len(folders) or len({path[level + 1] for path in deeper}) > 1
        )
        if not wraps:
            break
        if splits and split_level is None:
            split_level = level
        folders = deeper
        level += 1
    below = {path for path in folders if len(path) > level + 1}
    if split_level is None and below and len(set(_splits(below, level + 1).values())) > 1:
        return Layout(level, level + 1)
    return Layout(level, split_level)


def _splits(folders: Iterable[Folders], level: int) -> dict[str, Split]:
    """The names on a level that say what pictures are for."""
    names = {path[level] for path in folders if len(path) > level}
    return {name: split for name in names if (split := split_of(name)) is not None}


def class_in(folder: str, known: Mapping[str, str] | None = None) -> str:
    """The class that a folder means: the name itself, or the one that `folder_of` escaped into it.

    Args:
        folder: the name of the folder.
        known: classes by their folders, for names that were too long to be kept.
    """
    if known and folder in known:
        return known[folder]
    if "%" in folder:
        try:
            name = class_of(folder)
        except UnicodeDecodeError:
            name = None
        if name is not None and folder_of(name) == folder:
            return name
    return folder
