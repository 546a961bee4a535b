"""What changed between two manifests: by image and class name, whatever the order of lines and integers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

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

    Args:
        before: the first.
        after: the second.
        confidence: by how much it must move to be a change, 0 to 1.
    """
    then = {record.source_ref: record for record in before.records}
    changes = list(_changes(then, after.records))
    counts = Counter(change.kind for change in changes)
    return Difference(tuple(sorted(changes, key=lambda change: change.image)), counts)


def _changes(then: dict[S3Uri, ManifestRecord], after: Iterable[ManifestRecord]) -> Iterator[Change]:
    for record in after:
        if then.pop(record.source_ref, None) is None:
            yield Change(ChangeKind.ADDED, record.source_ref)
    for image in then:
        yield Change(ChangeKind.REMOVED, image)
