"""Who may come in with a token, and how long whoever fails has to wait.

Nobody is ever locked out: a failure makes the same address wait longer before it may try the same token
again, and nobody else, so that no one can keep a worker out by failing in their name.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from gtlabel.engine.crew import Crew
from gtlabel.engine.roster import Worker
from gtlabel.errors import NotSignedInError, TooManyTriesError, WorkerDeactivatedError

_log = logging.getLogger(__name__)

# Some failures are honest ones: a token that was revoked, a line that was copied in half.
_FREE = 3
_LONGEST_SECONDS = 60.0
_FORGOTTEN_SECONDS = 900.0
_MOST_REMEMBERED = 10_000


class Patience:
    """How long somebody has to wait who failed: 1, 2, 4, ... seconds, a minute at most.

    Args:
        ticks: seconds that only go forward.
    """

    def __init__(self, ticks: Callable[[], float] = time.monotonic) -> None:
        self._ticks = ticks
        self._lock = threading.Lock()
        # Of each address and account, how often it failed and when it did last; the latest at the end.
        self._failures: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def wait(self, address: str, account: str) -> float:
        """Seconds before the next try; 0 if it may come now."""
        with self._lock:
            count, last = self._failures.get((address, account), (0, -math.inf))
        if count <= _FREE:
            return 0.0
        pause = min(_LONGEST_SECONDS, 2.0 ** min(count - _FREE - 1, 16))
        return max(0.0, last + pause - self._ticks())

    def failed(self, address: str, account: str) -> int:
        """Count a failure, and say the how many-eth it is."""
        now = self._ticks()
        with self._lock:
            while self._failures:
                _, oldest = next(iter(self._failures.values()))
                if now - oldest < _FORGOTTEN_SECONDS and len(self._failures) < _MOST_REMEMBERED:
                    break
                self._failures.popitem(last=False)
            count = self._failures.pop((address, account), (0, 0.0))[0] + 1
            self._failures[address, account] = count, now
        return count

    def succeeded(self, address: str, account: str) -> None:
        """Forget the failures."""
        with self._lock:
            self._failures.pop((address, account), None)


class Doorkeeper:
    """Asks for a token at the door. Once a second it looks into the database.

    Args:
        crew: who may come in.
        patience: how those who guess are slowed down.
    """

    def __init__(self, crew: Crew, patience: Patience | None = None) -> None:
        self._crew = crew
        self._patience = patience or Patience()

    def worker(self, token: str, address: str) -> Worker:
        """Whose token it is.

        Args:
            token: what was shown; empty if nothing was.
            address: where it came from.

        Raises:
            NotSignedInError: if it is nobody's.
            WorkerDeactivatedError: if it is of somebody who may not come in.
            TooManyTriesError: if the address has to wait first, whatever it shows.
        """
        if not token:
            raise NotSignedInError("a token is needed; send it as `Authorization: Bearer TOKEN`")
        account = self._crew.account(token)
        pause = self._patience.wait(address, account)
        if pause > 0:
            raise TooManyTriesError(pause)
        worker = self._crew.holder(token)
        if worker is None:
            count = self._patience.failed(address, account)
            _log.warning("a token that is none, from %s (number %d)", address, count)
            raise NotSignedInError("the token is not known, or was revoked; ask the owner for a new one")
        self._patience.succeeded(address, account)
        if not worker.active:
            raise WorkerDeactivatedError(worker.name)
        return worker
