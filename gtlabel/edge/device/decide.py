"""What a camera says of a picture: labels that are sure enough, and that have been there for long enough."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class Debounce(Generic[Value]):
    """Settles on a value when N of the last M were that; until another one settles it stays.

    Where N is half of M or less, several values may be frequent enough; then the newest counts. With N = 1
    every value settles at once.

    Attributes:
        settled: the value at the moment.
    """

    def __init__(self, needed: int, of: int, settled: Value) -> None:
        self._needed = needed
        self._recent: deque[Value] = deque(maxlen=of)
        self.settled = settled

    def see(self, value: Value) -> Value:
        """Take the next value in; return the settled one."""
        self._recent.append(value)
        if self._recent.count(value) >= self._needed:
            self.settled = value
        return self.settled


@dataclass(frozen=True, slots=True)
class Decision:
    """What is said of a picture.

    Attributes:
        said: `label`, `confidence` and `top`, and `labels` where there may be several.
        changed: whether it has other labels than the picture before.
    """

    said: dict[str, Any]
    changed: bool


class Decider:
    """Turns the numbers of one picture after another into what is said of them.

    `label` is the settled one, or None where the model was not sure enough for long enough; `confidence` is
    this picture's number for it, or that of the best label where none is settled. `top` is about this picture
    alone. Where a picture may have several labels, each settles for itself; `labels` has them, best first.

    Args:
        labels: the classes in the order of the numbers.
        threshold: the number under which a label does not count.
        top: how many labels to list.
        debounce: N and M.
        several: whether a picture may have several labels.
    """

    def __init__(
        self,
        labels: Sequence[str],
        *,
        threshold: float,
        top: int = 3,
        debounce: tuple[int, int] = (1, 1),
        several: bool = False,
    ) -> None:
        self._labels = list(labels)
        self._threshold = threshold
        self._top = top
        self._several = several
        self._one: Debounce[int | None] = Debounce(*debounce, None)
        self._each: list[Debounce[bool]] = [Debounce(*debounce, False) for _ in labels]
        self._before: frozenset[int] = frozenset()

    def decide(self, values: Sequence[float]) -> Decision:
        """What is said of the next picture, of whose labels the model gave these numbers."""
        # Ties go to the class that comes first, as in training and in evaluation.
        ranked = sorted(range(len(self._labels)), key=lambda index: -values[index])
        settled = self._settle(values, ranked)
        best = settled[0] if settled else ranked[0]
        said: dict[str, Any] = {
            "label": self._labels[best] if settled else None,
            "confidence": round(values[best], 6),
        }
        if self._several:
            said["labels"] = [self._labels[index] for index in settled]
        said["top"] = [
            {"label": self._labels[index], "confidence": round(values[index], 6)}
            for index in ranked[: self._top]
        ]
        now = frozenset(settled)
        changed = now != self._before
        self._before = now
        return Decision(said, changed)

    def _settle(self, values: Sequence[float], ranked: Sequence[int]) -> list[int]:
        """The settled labels by their index, best first."""
        if self._several:
            for index, one in enumerate(self._each):
                one.see(values[index] >= self._threshold)
            return [index for index in ranked if self._each[index].settled]
        label = self._one.see(ranked[0] if values[ranked[0]] >= self._threshold else None)
        return [] if label is None else [label]
