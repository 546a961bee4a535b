"""Where results go: stdout, and whoever an outbox is for."""

from __future__ import annotations

import errno
import json
import os
import select
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from gtlabel.edge.device.arguments import IPC_SOCKET, Options
from gtlabel.edge.device.ending import UNDELIVERED, RunError, Stop
from gtlabel.edge.device.logins import broker
from gtlabel.edge.device.outbox import Outbox

# How long the end may take: as long as Greengrass and systemd wait at least before they kill.
_FLUSH_SECONDS = 5.0


class Stdout:
    """Lines on stdout, written at once and past Python's buffers, whose leftovers would fail at the exit.

    Where results go elsewhere as well, nobody waits for its reader: what cannot be written is dropped.

    Attributes:
        dropped: how many lines were.

    Args:
        alone: whether results go nowhere else; then stdout is worth ending for.
        stop: ends the waiting for a reader that does not read.
        tell: takes sentences for people.
    """

    def __init__(self, *, alone: bool, stop: Stop, tell: Callable[[str], None]) -> None:
        self._file = sys.__stdout__.fileno() if sys.__stdout__ else os.open(os.devnull, os.O_WRONLY)
        self._alone = alone
        self._stop = stop
        self._tell = tell
        self._torn = False
        self.dropped = 0

    def send(self, line: bytes) -> None:
        """Write a line.

        Raises:
            BrokenPipeError: if nobody reads any more, and results go nowhere else.
            RunError: if it cannot be written, and results go nowhere else.
        """
        try:
            self._write(line + b"\n")
        except OSError as error:
            if self._alone:
                if isinstance(error, BrokenPipeError):
                    raise
                raise RunError(f"stdout cannot be written: {error.strerror}", UNDELIVERED) from error
            # Told once: who reads too slowly would be told of after every other line.
            if not self.dropped:
                self._tell(f"stdout cannot be written: {error.strerror}; results go on to the others")
            self.dropped += 1

    def _write(self, line: bytes) -> None:
        # After a disk was full in the middle of a line the next one begins anew.
        left = b"\n" + line if self._torn else line
        while left:
            ready = self._alone and self._stop.ready((), writable=(self._file,))
            if not ready and not takes_bytes(self._file):
                raise BlockingIOError(errno.EAGAIN, "nobody reads it")
            # What was found ready takes so many bytes without making anybody wait.
            written = os.write(self._file, left[: select.PIPE_BUF])
            left = left[written:]
            self._torn = bool(left)


def takes_bytes(file: int, seconds: float = 0.0) -> bool:
    """Whether a file takes bytes right now, or so soon."""
    poll = select.poll()
    poll.register(file, select.POLLOUT)
    return bool(poll.poll(seconds * 1000))


class Sinks:
    """All places that results go to.

    Args:
        options: which ones.
        stop: the wish to end.
        tell: takes sentences for people.

    Raises:
        RunError: if one of them lacks what it needs.
    """

    def __init__(self, options: Options, stop: Stop, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._outboxes: list[Outbox] = []
        to = broker(options)
        if to:
            from gtlabel.edge.device.mqtt import MqttCarrier

            # Rights at AWS IoT are often tied to the thing's name as the client's. On a core the nucleus has
            # it, and two of one name would throw each other out for ever.
            suffix = "-gtlabel" if os.environ.get(IPC_SOCKET) else ""
            carrier = MqttCarrier(
                to,
                options.topic,
                client_id=f"{options.thing}{suffix}" if options.thing else "",
                ca=options.ca,
                cert=options.cert,
                key=options.key,
                tell=tell,
            )
            self._outboxes.append(Outbox(f"the broker {to}", carrier, options.keep, tell))
        if options.ipc == "on" or (options.ipc == "auto" and os.environ.get(IPC_SOCKET)):
            self._add_nucleus(options)
        self._stdout = Stdout(alone=not self._outboxes, stop=stop, tell=tell)

    def send(self, result: Mapping[str, Any]) -> None:
        """Tell everybody a result.

        Raises:
            BrokenPipeError: if stdout was the only place, and nobody reads it any more.
            RunError: if stdout was the only place, and cannot be written.
        """
        line = json.dumps(result).encode()
        # The network first: its threads work while stdout is written.
        for outbox in self._outboxes:
            outbox.send(line)
        self._stdout.send(line)

    def close(self) -> int:
        """Deliver what waits, for some seconds; return how many results did not get where they had to.

        That is everybody but stdout beside others, of which it is only told how much it missed.
        """
        missing = 0
        deadline = time.monotonic() + _FLUSH_SECONDS
        for outbox in self._outboxes:
            undelivered = outbox.close(max(0.0, deadline - time.monotonic()))
            if undelivered:
                self._tell(f"{undelivered} results did not reach {outbox.name}")
            missing += undelivered
        if self._stdout.dropped:
            self._tell(f"{self._stdout.dropped} results were not written to stdout")
        return missing

    def _add_nucleus(self, options: Options) -> None:
        from gtlabel.edge.device.ipcsink import IpcCarrier

        try:
            carrier = IpcCarrier(options.topic, self._tell)
        except RunError as error:
            if options.ipc == "on":
                raise
            self._tell(f"results do not go through Greengrass: {error}")
        else:
            self._outboxes.append(Outbox("the nucleus", carrier, options.keep, self._tell))
