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

    def _sum(self, what: str) -> int:
        return sum(getattr(worker, what) for worker in self.workers)

    @property
    def answers(self) -> int:
        """Answers that were taken."""
        return self._sum("answers")

    @property
    def right(self) -> int:
        """Answers that are as the truth."""
        return self._sum("right")

    @property
    def accuracy(self) -> float | None:
        """The share of right answers; None without any."""
        return self.right / self.answers if self.answers else None

    @property
    def declined(self) -> int:
        """Tasks given back for good."""
        return self._sum("declined")

    @property
    def released(self) -> int:
        """Tasks given back for now."""
        return self._sum("released")

    @property
    def forgotten(self) -> int:
        """Tasks left lying until their time was up."""
        return self._sum("forgotten")

    @property
    def late(self) -> int:
        """Tasks that were gone when the worker came back with them."""
        return self._sum("late")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: the sums, and each worker."""
        names = ("answers", "right", "accuracy", "declined", "released", "forgotten", "late")
        each = [asdict(worker) | {"accuracy": worker.accuracy} for worker in self.workers]
        return {name: getattr(self, name) for name in names} | {"workers": each}
