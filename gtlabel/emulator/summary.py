"""What simulated people did."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from gtlabel.emulator.opinions import Character


@dataclass(slots=True)
class WorkerSummary:
    """What one worker did.

    Attributes:
        worker: their name.
        character: whether they look at the images.
        answers: answers that were taken.
        right: those of them that are as the truth.
        declined: tasks given back for good.
        released: tasks given back for now.
        forgotten: tasks left lying until their time was up.
        late: tasks that were gone when the worker came back with them.
    """

    worker: str
    character: str = Character.HONEST.value
    answers: int = 0
    right: int = 0
    declined: int = 0
    released: int = 0
    forgotten: int = 0
    late: int = 0

    @property
    def accuracy(self) -> float | None:
        """The share of right answers; None without any."""
        return self.right / self.answers if self.answers else None


@dataclass(frozen=True, slots=True)
class Summary:
    """What all of them did."""

    workers: tuple[WorkerSummary, ...]

    @property
    def total(self) -> WorkerSummary:
        """The sums, as if one worker had done it all."""
        total = WorkerSummary("all", "")
        for each in self.workers:
            for count in _COUNTS:
                setattr(total, count, getattr(total, count) + getattr(each, count))
        return total

    @property
    def answers(self) -> int:
        """Answers that were taken."""
        return self.total.answers

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: the sums, and each worker."""
        whole, *each = (
            {**asdict(worker), "accuracy": worker.accuracy} for worker in (self.total, *self.workers)
        )
        return {name: whole[name] for name in (*_COUNTS, "accuracy")} | {"workers": each}


_COUNTS = ("answers", "right", "declined", "released", "forgotten", "late")
