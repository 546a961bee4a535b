"""The bytes of a camera: from a file, a FIFO, stdin, or a program.

A stream raises OSError where the camera is not there or went away; its `strerror` is for people.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from gtlabel.edge.device.arguments import without_logins
from gtlabel.edge.device.ending import Stop

_CHUNK = 1 << 16
_END_SECONDS = 2.0


class Stream(Protocol):
    """Bytes that come one after another.

    Attributes:
        live: whether what is not taken in time is missed; a recording waits.
        again: whether it may come back after its end.
    """

    live: bool
    again: bool

    def read(self) -> bytes:
        """The next bytes; empty at the end and after an interruption.

        Raises:
            OSError: if nothing comes for too long, or the camera went away.
        """

    def interrupt(self) -> None:
        """Have another thread's `read` return."""

    def close(self) -> None:
        """Let go of everything."""


class FileStream:
    """A file, a FIFO or a device that can be read as it is.

    Args:
        path: where it is; `-` is stdin.
        stop: ends the waiting for bytes.
        silence: seconds without a byte after which it counts as gone.
    """

    def __init__(self, path: str, stop: Stop, silence: float) -> None:
        self._stop = stop
        self._silence = silence
        # Opening a FIFO would wait for somebody who writes to it, and nothing could interrupt that.
        self._file = os.dup(0) if path == "-" else os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        mode = os.fstat(self._file).st_mode
        if stat.S_ISDIR(mode):
            os.close(self._file)
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        self.live = not stat.S_ISREG(mode)
        self.again = self.live and path != "-"

    def read(self) -> bytes:
        """The next bytes."""
        if not self._stop.ready((self._file,), self._silence):
            if self._stop.asked:
                return b""
            raise silent(self._silence)
        return os.read(self._file, _CHUNK)

    def interrupt(self) -> None:
        """Nothing is to be done: reading ends with the wish to stop."""

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class ProgramStream:
    """A program that writes to its stdout.

    Args:
        command: the program and its arguments.
        stop: ends the waiting for bytes.
        silence: seconds without a byte after which it counts as gone.
    """

    live = True
    again = True

    def __init__(self, command: Sequence[str], stop: Stop, silence: float) -> None:
        self._stop = stop
        self._silence = silence
        if shutil.which(command[0]) is None:
            raise FileNotFoundError(errno.ENOENT, f"there is no program {command[0]} on this device")
        # A group of its own: Ctrl-C is for us, and a shell's children are ended with it.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._output, self._errors = self._process.stdout.fileno(), self._process.stderr.fileno()
        self._said = b""
        self._watched = [self._output, self._errors]

    def read(self) -> bytes:
        """The next bytes.

        Raises:
            OSError: at the end of the program, too, with what it said last.
        """
        while ready := self._stop.ready(self._watched, self._silence):
            if self._errors in ready:
                self._listen()
            if self._output in ready:
                data = os.read(self._output, _CHUNK)
                if data:
                    return data
                raise self._ended()
        if self._stop.asked:
            return b""
        raise silent(self._silence)

    def interrupt(self) -> None:
        """Nothing is to be done: reading ends with the wish to stop."""

    def close(self) -> None:
        """End the program and what it started."""
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._signal(signal.SIGKILL)
            self._process.wait()
            for file in (self._process.stdout, self._process.stderr):
                assert file is not None
                file.close()

    def _listen(self) -> None:
        # A program that talks much would stop in front of a full pipe; of what it says the end counts.
        data = os.read(self._errors, _CHUNK)
        self._said = (self._said + data)[-2000:]
        if not data:
            self._watched.remove(self._errors)

    def _ended(self) -> OSError:
        while self._errors in self._watched and self._stop.ready((self._errors,), 0.1):
            self._listen()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        # Programs repeat the address that they were given, with the password in it.
        said = without_logins(self._said.decode("utf-8", "replace"))
        lines = said.strip().splitlines()
        last = f": {lines[-1][:300]}" if lines else ""
        return OSError(errno.EIO, f"it ended with code {self._process.returncode}{last}")

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def silent(seconds: float) -> OSError:
    """What is raised when nothing came for too long."""
    return TimeoutError(errno.ETIMEDOUT, f"nothing came for {seconds:g} s")
