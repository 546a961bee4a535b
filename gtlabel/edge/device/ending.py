"""How the program ends: its exit codes, the ends that were foreseen, and the wish to stop."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Sequence
from types import FrameType

UNREADABLE, WRONG_ARGUMENTS, DAMAGED, SELF_TEST, MISSING_PACKAGE, UNDELIVERED = 1, 2, 3, 4, 5, 6


class RunError(Exception):
    """An end that was foreseen: one sentence and an exit code."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


class Stop:
    """The wish to end, which a signal handler may utter at any moment.

    It is a pipe and not a `threading.Event`: setting one takes a lock that the interrupted code may hold.
    Whoever waits for bytes waits for this as well, so that nothing has to be asked again and again.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._asked = False

    def ask(self) -> None:
        """Wish for the end; more than once does no harm."""
        if not self._asked:
            self._asked = True
            os.write(self._writer, b".")

    @property
    def asked(self) -> bool:
        """Whether the end was wished for."""
        return self._asked

    def wait(self, seconds: float) -> bool:
        """Wait for the wish so long; say whether it was asked for."""
        self.ready((), seconds)
        return self._asked

    def ready(
        self, readable: Sequence[int], seconds: float | None = None, *, writable: Sequence[int] = ()
    ) -> set[int]:
        """Those of some files that have bytes or an end, or take bytes; empty at the wish or after `seconds`.

        Args:
            readable: descriptors that are read.
            seconds: how long to wait; None waits until something happens.
            writable: descriptors that are written.
        """
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        for descriptor in readable:
            poll.register(descriptor, select.POLLIN)
        for descriptor in writable:
            poll.register(descriptor, select.POLLOUT)
        deadline = None if seconds is None else time.monotonic() + seconds
        while not self._asked:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            found = {descriptor for descriptor, _ in poll.poll(None if left is None else left * 1000)}
            if self._reader in found:
                # Other threads may see a signal's byte before its handler has run.
                self._asked = True
                return set()
            if found or (left is not None and left <= 0):
                return found
        return set()

    def at_signals(self) -> None:
        """Let Ctrl-C and SIGTERM utter it."""

        def utter(_signal: int, _frame: FrameType | None) -> None:
            self.ask()

        # Python calls the handler between two instructions; a signal that comes right before a wait begins
        # would be heard only after it. This byte is written at once.
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, utter)
        signal.signal(signal.SIGINT, utter)
