"""Which labels go into a dataset: filters over labels, and a cap that keeps classes in balance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from gtlabel.errors import DatasetError
from gtlabel.manifests.merge import Label


@dataclass(frozen=True, slots=True)
class Choice:
    """What a label must be to be taken; everything left at its default is no condition.

    Attributes:
        min_confidence: the least confidence, 0 to 1. A label that states none, or the 0.0 that Ground
            Truth writes where one worker answered (contract/ground-truth.md §5.4), is not held
            against it: it says nothing of doubt.
        human_only: only labels that people gave.
        jobs: only labels of these jobs, by their bare names in any letter case.
        classes: only labels of these classes, by the names they have in the dataset.
        after: only labels made at this moment or later; a label without a date is left out.
        before: only labels made before this moment; a label without a date is left out.
        cap_per_class: at most so many pictures of each class; see `capped`.

    Raises:
        DatasetError: for a condition that no label can meet.
    """

    min_confidence: float | None = None
    human_only: bool = False
    jobs: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()
    after: datetime | None = None
    before: datetime | None = None
    cap_per_class: int | None = None

    def __post_init__(self) -> None:
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise DatasetError(
                f"the least confidence lies between 0 and 1, and {self.min_confidence} does not"
            )
        if self.cap_per_class is not None and self.cap_per_class < 1:
            raise DatasetError(f"a cap of {self.cap_per_class} pictures a class leaves none; give 1 or more")
        if self.after and self.before and _plain(self.after) >= _plain(self.before):
            raise DatasetError(f"no label is made after {self.after} and before {self.before}; swap them")
        object.__setattr__(self, "jobs", frozenset(job.lower() for job in self.jobs))
        object.__setattr__(self, "after", _plain(self.after) if self.after else None)
        object.__setattr__(self, "before", _plain(self.before) if self.before else None)

    @property
    def filters(self) -> bool:
        """Whether any label could be refused."""
        return self != Choice(cap_per_class=self.cap_per_class)

    def admits(self, label: Label) -> bool:
        """Whether a label meets every condition; the cap is not one of a single label."""
        if self.human_only and not label.by_human:
            return False
        if self.min_confidence is not None and label.confidence and label.confidence < self.min_confidence:
            return False
        if self.jobs and (label.job or "").lower() not in self.jobs:
            return False
        if self.classes and label.class_name not in self.classes:
            return False
        if self.after is not None and (label.created is None or label.created < self.after):
            return False
        return self.before is None or (label.created is not None and label.created < self.before)


def capped(pictures: Iterable[tuple[str, str]], cap: int) -> Iterator[str]:
    """Yield the pictures that a cap leaves, at most `cap` of each class, in no particular order.

    Those are kept whose hash is lowest, so that neither the order of the pictures nor their names
    decide, and a larger cap keeps what a smaller one kept. The hash is not that of the split: the cap
    takes from every channel alike.

    Args:
        pictures: addresses with the name of their class, each address once.
        cap: how many of each class.
    """
    from heapq import heappush, heappushpop

    heaps: dict[str, list[tuple[int, str]]] = {}
    for image, class_name in pictures:
        heap = heaps.setdefault(class_name, [])
        # A heap has its smallest on top; negated, that is the one to give up first.
        entry = (-int.from_bytes(sha256(b"cap " + image.encode()).digest()[:8]), image)
        if len(heap) < cap:
            heappush(heap, entry)
        else:
            heappushpop(heap, entry)
    for heap in heaps.values():
        for _, image in heap:
            yield image


def _plain(moment: datetime) -> datetime:
    """The moment as Ground Truth writes them: UTC without a zone."""
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
