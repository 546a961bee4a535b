"""Lease ids: whoever holds one can answer under it, so nobody may guess one."""

from __future__ import annotations

import secrets
import threading
import time

_BYTES = 12
# Whoever draws random bytes lets other threads go first, and a worker's step would wait up to 5 ms for them.
_AT_ONCE = 256


class LeaseIds:
    """Makes ids of 96 random bits. Those of one time lie together on disk, in their order."""

    def __init__(self) -> None:
        self._drawn = b""
        self._lock = threading.Lock()

    def __call__(self) -> str:
        """A new one."""
        with self._lock:
            if not self._drawn:
                self._drawn = secrets.token_bytes(_BYTES * _AT_ONCE)
            bits, self._drawn = self._drawn[:_BYTES], self._drawn[_BYTES:]
        return f"{time.time_ns() // 1000:014x}{bits.hex()}"
