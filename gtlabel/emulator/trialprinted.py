"""What a program on trial prints: handed on as it comes, and read for metrics on the way."""

from __future__ import annotations

import logging
import math
import os
import select
import threading
from collections.abc import Callable
from typing import IO

from gtlabel.emulator.joblog import Patterns

_log = logging.getLogger(__name__)

_LONGEST_LINE = 250_000
_READ = 1 << 16
_POLL = 50  # milliseconds


def _nobody(_: bytes) -> None:
    """Where output goes that nobody reads."""


class Printed:
    """Follows the output of a program until it ends.

    Args:
        patterns: finds the metrics in a line.
        on_output: is given the bytes.

    Attributes:
        metrics: the last value of each metric.
        last_line: the last line that is not empty.
    """

    def __init__(self, patterns: Patterns, on_output: Callable[[bytes], object]) -> None:
        self.metrics: dict[str, float] = {}
        self.last_line = ""
        self._patterns = patterns
        self._on_output = on_output
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def follow(self, stream: IO[bytes]) -> None:
        """Begin to read."""
        self._thread = threading.Thread(target=self._run, args=(stream,), name="trial output", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Read what is left, and end."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, stream: IO[bytes]) -> None:
        ready = select.poll()
        ready.register(stream, select.POLLIN)
        rest = b""
        with stream:
            while True:
                if not ready.poll(_POLL):
                    # Something that fled from the program may hold the stream open; nobody waits for that.
                    if self._ended.is_set():
                        break
                    continue
                piece = os.read(stream.fileno(), _READ)
                if not piece:
                    break
                self._hand_on(piece)
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    self._take(line)
                rest = rest[-_LONGEST_LINE:]
        self._take(rest)

    def _hand_on(self, piece: bytes) -> None:
        try:
            self._on_output(piece)
        except OSError as error:
            # Whoever looked on has turned away; the program must not be held up by that.
            _log.debug("nobody reads what the program prints: %s", error)
            self._on_output = _nobody

    def _take(self, raw: bytes) -> None:
        line = raw.decode(errors="replace").strip()
        if line:
            self.last_line = line
        for name, text in self._patterns(line):
            try:
                value = float(text)
            except ValueError:
                continue
            if math.isfinite(value):
                self.metrics[name] = value
