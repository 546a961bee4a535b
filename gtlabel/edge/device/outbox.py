"""Results on their way to somebody who may be away for a while."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

# How long what was abandoned may take to notice.
_ABANDON_SECONDS = 1.0


class RefusedError(Exception):
    """The other side will never take this; trying again would change nothing."""


class Carrier(Protocol):
    """A way out, which waits and reconnects by itself."""

    def deliver(self, payload: bytes) -> bool:
        """Bring one message over, however long it takes; False if it was given up by `abandon`.

        Raises:
            RefusedError: if the other side does not want it.
        """

    def abandon(self) -> None:
        """End a delivery under way in another thread, and all later ones at once."""

    def close(self) -> None:
        """Hang up; nothing is delivered after this."""


class Outbox:
    """A queue with a thread of its own, so that nobody waits for a network.

    Messages go out one after another in their order, each after the one before was confirmed. When more than
    `keep` wait, the oldest is dropped: what a camera saw last matters more than what it saw an hour ago.

    Args:
        name: whom the messages are for, for people.
        carrier: brings them there.
        keep: how many may wait.
        tell: takes sentences for people.
    """

    def __init__(self, name: str, carrier: Carrier, keep: int, tell: Callable[[str], None]) -> None:
        self.name = name
        self._carrier = carrier
        self._keep = keep
        self._tell = tell
        self._waiting: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._lost = 0
        self._in_hand = False
        self._full = self._refused = False
        self._thread = threading.Thread(target=self._deliver, name=f"outbox for {name}", daemon=True)
        self._thread.start()

    def send(self, payload: bytes) -> None:
        """Take a message; this never waits."""
        with self._changed:
            if len(self._waiting) >= self._keep:
                self._waiting.popleft()
                self._lost += 1
                if not self._full:
                    self._full = True
                    self._tell(f"more than {self._keep} results wait for {self.name}; the oldest are dropped")
            self._waiting.append(payload)
            self._changed.notify()

    def close(self, seconds: float) -> int:
        """Deliver what waits, for at most so long; return how many messages never arrived."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)
        self._carrier.abandon()
        self._thread.join(_ABANDON_SECONDS)
        self._carrier.close()
        with self._changed:
            return self._lost + len(self._waiting) + self._in_hand

    def _deliver(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                payload = self._waiting.popleft()
                self._in_hand = True
            try:
                if not self._carrier.deliver(payload):
                    return
            except RefusedError as error:
                self._note_refusal(error)
            with self._changed:
                self._in_hand = False

    def _note_refusal(self, error: RefusedError) -> None:
        with self._changed:
            self._lost += 1
        if not self._refused:
            self._refused = True
            self._tell(f"{self.name} refuses results: {error}")
