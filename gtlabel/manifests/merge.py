"""Many words about one image become one: which label holds when jobs disagree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from gtlabel.uris import S3Uri

# How to settle on one label where jobs disagree.
Policy = Literal["newest", "human", "confidence", "adjustment", "votes", "refuse"]
POLICIES: tuple[Policy, ...] = get_args(Policy)


@dataclass(frozen=True, slots=True)
class Label:
    """The class that one job gave one image.

    Attributes:
        image: the address of the image that people looked at.
        class_name: the class.
        job: the job's bare name; None where the line does not say.
        confidence: what the job says; comparable within the job only, 0.0 where one worker answered.
        by_human: whether people gave it.
        created: when; None where the line does not say.
    """

    image: S3Uri
    class_name: str
    job: str | None = None
    confidence: float | None = None
    by_human: bool = True
    created: datetime | None = None


@dataclass(frozen=True, slots=True)
class Conflict:
    """An image to which jobs gave different classes.

    Attributes:
        kept: the label that holds.
        dropped: the labels with another class, newest first.
    """

    kept: Label
    dropped: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class Merged:
    """One label per image, in the order of their addresses.

    Attributes:
        labels: what holds.
        conflicts: where jobs disagreed.
        repeated: how many further labels said the same as the one that holds.
    """

    labels: tuple[Label, ...]
    conflicts: tuple[Conflict, ...]
    repeated: int


def merge(labels: Iterable[Label]) -> Merged:
    """Settle on one label per image: the newest holds.

    A label without a date is older than any with one. Among equally new ones people win over machines,
    then the higher confidence, then the name of the class, and of the job, that comes later in the
    alphabet, so that the order in which labels arrive never matters.
    """
    newest: dict[S3Uri, Label] = {}
    others: dict[S3Uri, list[Label]] = {}
    for label in labels:
        known = newest.setdefault(label.image, label)
        if known is label:
            continue
        if _rank(label) > _rank(known):
            newest[label.image], label = label, known
        others.setdefault(label.image, []).append(label)
    conflicts = []
    repeated = 0
    for image in sorted(others):
        kept = newest[image]
        dropped = [label for label in others[image] if label.class_name != kept.class_name]
        repeated += len(others[image]) - len(dropped)
        if dropped:
            conflicts.append(Conflict(kept, tuple(sorted(dropped, key=_rank, reverse=True))))
    return Merged(tuple(newest[image] for image in sorted(newest)), tuple(conflicts), repeated)


def _rank(label: Label) -> tuple[datetime, bool, float, str, str]:
    confidence = -1.0 if label.confidence is None else label.confidence
    return label.created or datetime.min, label.by_human, confidence, label.class_name, label.job or ""
