"""What changed between two manifests: by image and class name, whatever the order of lines and integers."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from gtlabel.errors import ManifestError
from gtlabel.manifests.metadata import LabelMetadata
from gtlabel.manifests.records import ManifestRecord
from gtlabel.uris import S3Uri


class ChangeKind(StrEnum):
    """What happened to an image."""

    ADDED = "added"
    REMOVED = "removed"
    RELABELED = "relabeled"
    LABELED = "labeled"
    UNLABELED = "unlabeled"
    CONFIDENCE = "confidence"


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one image.

    Attributes:
        kind: what.
        image: its address.
        before: its class then; None where it had none.
        after: its class now; None where it has none.
        confidence_before: what the job said then, 0 to 1.
        confidence_after: what the job says now, 0 to 1.
    """

    kind: ChangeKind
    image: S3Uri
    before: str | None = None
    after: str | None = None
    confidence_before: float | None = None
    confidence_after: float | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """All that changed.

    Attributes:
        changes: image by image, in the order of their addresses.
        counts: how many images there are of each kind of change.
        moves: how many images went from which class to which; None is without a class.
        unchanged: how many images stayed what they were.
        columns_added: the keys that only lines of the second have, with how many lines have them.
        columns_removed: the keys that only lines of the first have, with how many lines had them.
        classes_before: how many images each class had.
        classes_after: how many images each class has.
    """

    changes: tuple[Change, ...] = ()
    counts: Mapping[ChangeKind, int] = field(default_factory=dict)
    moves: Mapping[tuple[str | None, str | None], int] = field(default_factory=dict)
    unchanged: int = 0
    columns_added: Mapping[str, int] = field(default_factory=dict)
    columns_removed: Mapping[str, int] = field(default_factory=dict)
    classes_before: Mapping[str, int] = field(default_factory=Counter)
    classes_after: Mapping[str, int] = field(default_factory=Counter)

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(self.changes or self.columns_added or self.columns_removed)


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two.

    Attributes:
        records: its records, read once.
        attribute: the attribute whose labels are compared; by default the only one, or the last one, that
            jobs wrote.
        classes: the class list, for lines that hold a bare integer.
    """

    records: Iterable[ManifestRecord]
    attribute: str | None = None
    classes: Sequence[str] = ()


def diff(before: Side, after: Side, *, confidence: float = 0.05) -> Difference:
    """Compare two manifests by address and class name.

    What each image was and is is held in memory, at some 300 bytes an image and side. Where an image comes
    twice, its last record holds. Classes of a multi-label job count together, as one set.

    Args:
        before: the first.
        after: the second.
        confidence: by how much it must move to be a change, 0 to 1.

    Raises:
        ManifestError: at a label that cannot be read, or a bare integer without a class list.
    """
    then = _Held(before)
    now = _Tally()
    seen: dict[str, Change | None] = {}
    for record in now.counted(after):
        image = record.address
        name, sure = _said(record, after)
        seen[image] = then.compare(record.source_ref, name, sure, confidence)
        now.classes[image] = name
    changes = [change for change in seen.values() if change is not None]
    changes += [
        Change(ChangeKind.REMOVED, S3Uri(image), *then.said(image))
        for image in then.rows
        if image not in seen
    ]
    changes.sort(key=lambda change: change.image)
    return Difference(
        changes=tuple(changes),
        counts=Counter(change.kind for change in changes),
        moves=Counter((change.before, change.after) for change in changes if change.kind in _MOVES),
        unchanged=sum(change is None for change in seen.values()),
        columns_added=_only_in(now.columns, then.tally.columns),
        columns_removed=_only_in(then.tally.columns, now.columns),
        classes_before=then.tally.of_each_class(),
        classes_after=now.of_each_class(),
    )


_MOVES = (ChangeKind.RELABELED, ChangeKind.LABELED, ChangeKind.UNLABELED)


class _Tally:
    """What is counted on one side."""

    def __init__(self) -> None:
        self.columns: Counter[str] = Counter()
        self.classes: dict[str, str | None] = {}

    def counted(self, side: Side) -> Iterator[ManifestRecord]:
        for record in side.records:
            self.columns.update(record.keys())
            yield record

    def of_each_class(self) -> Counter[str]:
        return Counter(name for name in self.classes.values() if name is not None)


class _Held:
    """The first side: what each image was, and how sure its job."""

    def __init__(self, side: Side) -> None:
        self.tally = _Tally()
        self.rows: dict[str, float | None] = {}
        for record in self.tally.counted(side):
            name, sure = _said(record, side)
            image = record.address
            self.rows[image] = sure
            # Names are few: one text for all images of a class.
            self.tally.classes[image] = sys.intern(name) if name is not None else None

    def said(self, image: str) -> tuple[str | None, None, float | None]:
        return self.tally.classes[image], None, self.rows[image]

    def compare(self, image: S3Uri, name: str | None, sure: float | None, least: float) -> Change | None:
        """What happened to an image; None if nothing did."""
        if image not in self.rows:
            return Change(ChangeKind.ADDED, image, None, name, None, sure)
        was, before = self.tally.classes[image], self.rows[image]
        if was == name:
            # Both are decimal fractions, and their difference is off by a little.
            if before is None or sure is None or abs(before - sure) < least - 1e-9:
                return None
            kind = ChangeKind.CONFIDENCE
        elif was is None:
            kind = ChangeKind.LABELED
        else:
            kind = ChangeKind.UNLABELED if name is None else ChangeKind.RELABELED
        return Change(kind, image, was, name, before, sure)


def _said(record: ManifestRecord, side: Side) -> tuple[str | None, float | None]:
    """The class of an image, by name, and how sure the job is."""
    attribute = side.attribute or next(reversed(list(record.attributes)), None)
    if attribute is None or record.state(attribute) != "labeled":
        return None, None
    metadata = LabelMetadata() if f"{attribute}-metadata" not in record else record.label(attribute)
    chosen = record.get(attribute)
    if metadata.class_map is not None and isinstance(chosen, list):
        of = metadata.class_map
        names = [of.get(str(index), f"class {index}") for index in chosen]
        sure = min((metadata.confidence_map or {}).values(), default=None)
        return ", ".join(sorted(names)), sure
    if metadata.class_name is not None:
        return metadata.class_name, metadata.confidence
    index = record.class_index(attribute)
    if index >= len(side.classes):
        raise ManifestError(
            f"{record.source_ref} is of class {index}, and neither its line nor a class list says what that "
            "means; give the job's class list too"
        )
    return side.classes[index], metadata.confidence


def _only_in(these: Mapping[str, int], those: Mapping[str, int]) -> dict[str, int]:
    return {key: count for key, count in sorted(these.items()) if key not in those}
