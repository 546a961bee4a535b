"""What the foreman's book tells: values without a database behind them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Tally:
    """How many of a job's images are in which state, and since when the oldest waits for consolidation."""

    waiting: int
    chosen: int
    open: int
    answered: int
    labeled: int
    failed: int
    passed: int
    oldest: datetime | None
    machine: int = 0

    @property
    def total(self) -> int:
        """All lines of the manifest."""
        out = self.waiting + self.chosen + self.open
        return out + self.answered + self.labeled + self.failed + self.passed + self.machine


@dataclass(frozen=True, slots=True)
class Pulse:
    """What tells whether a job wants anything; unlike a tally, it costs the same however long the job is.

    Attributes:
        waiting: whether images wait to be sent out.
        chosen: whether some were chosen and are not out yet.
        open: how many are out.
        answered: how many wait to be put into a batch.
        oldest: since when the first of those waits.
    """

    waiting: bool
    chosen: bool
    open: int
    answered: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class Chosen:
    """An image that is about to be sent out; `input` is what the job's function made of it, if it did."""

    object: int
    line: str
    input: str | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """What becomes of an image before it is sent out: it gets an input, or fails, or is let pass."""

    object: int
    input: str | None = None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Images that are consolidated together.

    Attributes:
        stamp: the whole second its files are named by, which no other batch of the iteration has.
    """

    number: int
    iteration: int
    created: datetime
    stamp: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """What one worker said."""

    worker: str
    content: str
    accepted: datetime
    submitted: datetime
    active_seconds: float


@dataclass(frozen=True, slots=True)
class Answered:
    """An image and everything workers said about it, in the order they said it."""

    object: int
    line: str
    source_ref: str
    answered: datetime
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Recorded:
    """The label that an image has; `label` and `metadata` are JSON texts."""

    object: int
    label: str
    metadata: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the manifest and what became of it; `label` and `metadata` are JSON texts.

    An image that failed for a reason of its own has metadata and an empty label.
    """

    object: int
    line: str
    state: str
    label: str | None
    metadata: str | None
