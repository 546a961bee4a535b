"""What the programs of a device print: kept in two files per stream, so that a camera may print for ever."""

from __future__ import annotations

import errno
import json
import logging
import os
import selectors
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

_log = logging.getLogger(__name__)

STDOUT, STDERR = "stdout.log", "stderr.log"
# Some 5000 answers of a camera; the file before is kept beside the one that is written.
LIMIT = 1 << 20
_BLOCK = 1 << 16
# What the system says of a link, and of a FIFO that nobody reads.
_NO_LOG = (errno.ELOOP, errno.ENXIO)


class Log:
    """A file that is set aside when it is full, in place of the one set aside before.

    It is cut between lines, unless a line is as long as the file may become. On a full disk lines are lost
    rather than the program held up.
    """

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self._path = path
        self._limit = limit
        self._file: IO[bytes] | None = None
        self._size = 0
        self._losing = False
        # It is there when the program starts, whether it ever says anything or not.
        self._put(b"")

    def write(self, block: bytes) -> None:
        """Add to the log."""
        if self._size + len(block) > self._limit:
            cut = block.find(b"\n") + 1
            if cut or self._size > self._limit:
                self._put(block[:cut])
                self._set_aside()
                block = block[cut:]
        self._put(block)

    def close(self) -> None:
        """Write no more."""
        if self._file:
            self._file.close()
            self._file = None

    def _put(self, block: bytes) -> None:
        try:
            if self._file is None:
                # Unbuffered: what a program said before it crashed is what matters most.
                self._file = _opened(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                self._size = self._file.tell()
            self._size += self._file.write(block)
            self._losing = False
        except OSError as error:
            if not self._losing:
                _log.warning("%s loses lines: %s", self._path, error.strerror or error)
            self._losing = True

    def _set_aside(self) -> None:
        self.close()
        # Where it cannot be moved it grows on; the next block tries again.
        with suppress(OSError):
            self._path.replace(before(self._path))


def before(path: Path) -> Path:
    """Where the log lies that was full."""
    return path.with_name(f"{path.name}.1")


def keep(process: subprocess.Popen[bytes], folder: Path) -> threading.Thread:
    """Write what a process prints into its folder; the thread ends when nobody can print any more."""
    logs = {process.stdout: Log(folder / STDOUT), process.stderr: Log(folder / STDERR)}

    def read() -> None:
        with selectors.DefaultSelector() as selector:
            for pipe, log in logs.items():
                if pipe:
                    selector.register(pipe, selectors.EVENT_READ, log)
            while selector.get_map():
                for key, _ in selector.select():
                    block = os.read(key.fd, _BLOCK)
                    if block:
                        key.data.write(block)
                    else:
                        selector.unregister(key.fileobj)
                        key.data.close()
        for pipe in logs:
            if pipe:
                pipe.close()

    thread = threading.Thread(target=read, name=f"printed-{process.pid}", daemon=True)
    thread.start()
    return thread


def _opened(path: Path, flags: int) -> IO[bytes]:
    """A log, unbuffered.

    Its folder is the component's, which may run as somebody else than the device: what lies there under the
    log's name must not lead the device to a file that the component could not touch itself.

    Raises:
        OSError: one of `_NO_LOG` if it is a link, a FIFO or whatever else no device made.
    """
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(handle)
        raise OSError(errno.ELOOP, "it is no log of the device", str(path))
    return os.fdopen(handle, "ab" if flags & os.O_APPEND else "rb", buffering=0)


def begin(folder: Path) -> None:
    """Set the logs of a folder aside; they were another version's, or another deployment's."""
    for name in (STDOUT, STDERR):
        path = folder / name
        before(path).unlink(missing_ok=True)
        if path.exists():
            path.replace(set_aside(path))


def set_aside(path: Path) -> Path:
    """Where a log lies of what ran before the last deployment."""
    return path.with_name(f"{path.name}.earlier")


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a log that are still there, the oldest first."""
    for part in (before(path), path):
        try:
            with _opened(part, os.O_RDONLY) as file:
                text = file.read().decode("utf-8", "replace")
        except OSError as error:
            # The first may not be there yet, and the second may be set aside while we look.
            if error.errno not in (errno.ENOENT, *_NO_LOG):
                raise
        else:
            yield from text.splitlines()


def read_results(root: Path, component: str) -> list[dict[str, Any]]:
    """What a component on the device printed as lines of JSON since it was deployed.

    Of a program that prints for long only the last thousands are there; see `LIMIT`.
    """
    results = []
    for line in read_lines(root / "work" / component / STDOUT):
        # The program prints what it likes, and its last line may not be complete yet.
        with suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                results.append(value)
    return results


def read_logs(
    root: Path, component: str | None = None, *, earlier: bool = False
) -> Iterator[tuple[str, str, Iterator[str]]]:
    """What the components of a device printed: name, `stdout` or `stderr`, and the lines.

    Args:
        root: the device's disk.
        component: one of them; by default all.
        earlier: whether that of what ran before the last deployment is meant.
    """
    for folder in sorted((root / "work").glob("*")):
        if component not in (None, folder.name):
            continue
        for name in (STDOUT, STDERR):
            path = set_aside(folder / name) if earlier else folder / name
            if path.exists():
                yield folder.name, name.removesuffix(".log"), read_lines(path)


def last_words(folder: Path) -> str:
    """The last line a script in that folder wrote to stderr."""
    said = [line.strip() for line in read_lines(folder / STDERR) if line.strip()]
    return said[-1][:500] if said else "it said nothing"
