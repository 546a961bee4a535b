"""The bytes of S3's objects: the small ones in the index, each of the others a file."""

from __future__ import annotations

import hashlib
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gtlabel.emulator.index import Entries, Index

# An answer that is still being read when its object goes must find the bytes; none takes a minute to begin.
_GRACE_SECONDS = 60.0
# Up to about here a database is faster than a file (https://www.sqlite.org/intern-v-extern-blob.html), and
# several objects share one flush of the disk.
_SMALL_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of one object: their name, size and MD5, and whether they are in the index and no file."""

    name: str
    size: int
    md5: str
    small: bool = False


class Bodies:
    """All bodies, each written once and never changed.

    Args:
        root: the folder of those that are files.
        index: where the small ones go; without one, for bodies that need not outlive this process, all are
            files.
    """

    def __init__(self, root: Path, index: Index | None) -> None:
        self.root = root
        self._index = index
        # Small ones that are not in the index yet.
        self._fresh: dict[str, bytes] = {}
        self._retired: deque[tuple[float, Body]] = deque()
        self._lock = threading.Lock()
        root.mkdir(parents=True, exist_ok=True)

    def write(self, data: bytes) -> Body:
        """Keep some bytes; small ones are on disk only after `enter` and its transaction."""
        small = self._index is not None and len(data) <= _SMALL_BYTES
        body = Body(uuid.uuid4().hex, len(data), hashlib.md5(data, usedforsecurity=False).hexdigest(), small)
        if small:
            self._fresh[body.name] = data
        else:
            self._write_file(self.root / body.name, data)
        return body

    def read(self, body: Body) -> bytes:
        """The bytes of a body."""
        if not body.small or self._index is None:
            return (self.root / body.name).read_bytes()
        fresh = self._fresh.get(body.name)
        return self._index.body(body.name) if fresh is None else fresh

    def enter(self, bodies: Iterable[Body], entries: Entries) -> list[Body]:
        """Put those that are not in the index yet there; return them, for `entered`."""
        entered = []
        for body in bodies:
            data = self._fresh.get(body.name)
            if data is not None:
                entries.keep(body.name, data)
                entered.append(body)
        return entered

    def entered(self, bodies: Iterable[Body]) -> None:
        """The transaction in which these were put into the index is on disk."""
        for body in bodies:
            self._fresh.pop(body.name, None)

    def retire(self, body: Body) -> None:
        """Let go of a body; whoever is about to read it still can for a while."""
        self._retired.append((time.monotonic() + _GRACE_SECONDS, body))

    def sweep(self, *, now: float | None = None) -> None:
        """Remove what was retired long enough ago."""
        now = time.monotonic() if now is None else now
        names = []
        with self._lock:
            while self._retired and self._retired[0][0] <= now:
                body = self._retired.popleft()[1]
                if body.small:
                    self._fresh.pop(body.name, None)
                    names.append(body.name)
                else:
                    (self.root / body.name).unlink(missing_ok=True)
        if names and self._index is not None:
            self._index.write(lambda entries: entries.drop(names))

    def keep_only(self, names: set[str]) -> None:
        """Remove every body that is not among the named: those that a crash left without an owner."""
        for path in self.root.iterdir():
            if path.name not in names:
                path.unlink()
        if self._index is not None:
            lost = self._index.bodies() - names
            if lost:
                self._index.write(lambda entries: entries.drop(lost))

    def _write_file(self, path: Path, data: bytes) -> None:
        with path.open("xb") as file:
            file.write(data)
            if self._index is not None:
                file.flush()
                os.fsync(file.fileno())
        if self._index is not None:
            _flush_folder(self.root)


def _flush_folder(folder: Path) -> None:
    """Have a new file's name on disk, which is a matter of its folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
