"""How much of each epoch a training program really read, and who waited for whom."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

_FRAME = 8  # bytes before each payload of RecordIO
_MANY = 4096  # images whose fate is open; asking the pipe each time would take longer than writing to it


@dataclass(slots=True)
class Epoch:
    """One epoch of one channel, as far as its reader went. Times are seconds of the monotonic clock.

    Attributes:
        number: which one, from 0.
        images: how many the reader took whole; known once it has turned to the next epoch, or ended.
        bytes: how many it took of the stream, what stands around the values included; known then, too.
        complete: whether everything was written.
        early: whether the reader closed before the end.
        opened: when the reader came.
        first: when the first bytes were there for it.
        ended: when everything was written, or the reader had closed.
        waited: how long the reader made us wait, because the pipe was full.
    """

    number: int
    images: int = 0
    bytes: int = 0
    complete: bool = False
    early: bool = False
    opened: float = field(default_factory=monotonic)
    first: float | None = None
    ended: float | None = None
    waited: float = 0.0


class Tally:
    """Counts what a reader takes out of a pipe.

    What was written is not yet read: up to a megabyte lies in the pipe, and a small dataset has no more.

    Args:
        pipe: the end that is written to.
        number: the epoch's.
        values: how many values an image has.
    """

    def __init__(self, pipe: int, number: int, values: int) -> None:
        self.epoch = Epoch(number)
        self._pipe = pipe
        self._watching = False
        self._values = values
        self._pending = 0
        self._end = 0
        # Where images end in the stream, those that may still lie in the pipe.
        self._ends: deque[int] = deque()
        self._count = 0

    def add(self, values: Iterable[Sized], *, framed: bool) -> None:
        """Note what is about to be written."""
        for value in values:
            size = len(value)
            self._end += size + -size % 4 + _FRAME if framed else size
            self._pending += 1
            if self._pending == self._values:
                self._pending = 0
                self._ends.append(self._end)

    def written(self, count: int) -> None:
        """Note what the pipe took."""
        epoch = self.epoch
        if epoch.first is None:
            epoch.first = monotonic()
        epoch.bytes += count
        if len(self._ends) > _MANY:
            self._settle(epoch.bytes - self._unread())

    def wait(self, until: Callable[[], object]) -> None:
        """Wait for the reader."""
        before = monotonic()
        until()
        self.epoch.waited += monotonic() - before

    def watch(self, fifo: Path) -> None:
        """Go on looking into the pipe after the end that is written to is closed."""
        try:
            # Nothing is read from it, and without a writer nobody minds another reader.
            self._pipe = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            self.close()
            return
        self._watching = True

    def close(self) -> None:
        """Settle what was read."""
        unread = self._unread()
        self.epoch.bytes -= unread
        self._settle(self.epoch.bytes)
        self.epoch.early = unread > 0 or not self.epoch.complete
        if self._watching:
            os.close(self._pipe)

    def _settle(self, taken: int) -> None:
        ends = self._ends
        while ends and ends[0] <= taken:
            ends.popleft()
            self.epoch.images += 1

    def _unread(self) -> int:
        import fcntl
        import termios

        return int.from_bytes(fcntl.ioctl(self._pipe, termios.FIONREAD, bytes(4)), "little")
