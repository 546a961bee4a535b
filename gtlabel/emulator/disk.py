"""A device's disk: what lies where, what survives a power cut, and what is swept away.

The tree is a nucleus's own: `packages/artifacts[-unarchived]/NAME/VERSION/` and `work/NAME/`. Which
components are installed stands in `device.json`, which changes as a whole and last: a device that is cut
off in the middle of a deployment comes back as it was before, and is asked again.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from gtlabel.emulator.lastwill import GRACE, lives
from gtlabel.emulator.packages import HALF
from gtlabel.errors import EdgeError

_STATE = "device.json"
LOCK = "device.lock"
# The programs of a device that was killed are given their time, and then ended.
_WAIT = GRACE + 10
_FORMAT = 1


class Disk:
    """The folder that one device has to itself while this is entered.

    Args:
        root: the folder; it is made.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.packages = self.root / "packages"
        self.lock: IO[bytes] | None = None

    def __enter__(self) -> Disk:
        """Take the disk; after a device that was killed, as soon as its programs are gone.

        Raises:
            EdgeError: if another device has it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        lock = (self.root / LOCK).open("ab+", buffering=0)
        deadline = time.monotonic() + _WAIT
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().decode().strip()
                if (holder.isdecimal() and lives(int(holder))) or time.monotonic() >= deadline:
                    lock.close()
                    raise EdgeError(
                        f"another device (process {holder or 'unknown'}) runs on {self.root}; "
                        "give this one another --root, or end that one"
                    ) from None
                time.sleep(0.05)
        lock.truncate(0)
        # On a full disk nobody learns who has it; it must run all the same.
        with suppress(OSError):
            lock.write(str(os.getpid()).encode())
        self.lock = lock
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the disk back."""
        if self.lock:
            self.lock.truncate(0)
            self.lock.close()
            self.lock = None

    def check(self) -> None:
        """Nobody runs a device whose disk was pulled out, or thrown away with a temporary folder.

        Raises:
            EdgeError: if the disk is gone.
        """
        if not (self.root / LOCK).exists():
            raise EdgeError(f"the disk of the device, {self.root}, is gone, and the device ends")

    def work(self, component: str) -> Path:
        """The folder a component's scripts run in."""
        return self.root / "work" / component

    def load(self) -> list[dict[str, Any]]:
        """The components that are installed.

        Raises:
            EdgeError: if that was written by somebody else.
        """
        try:
            saved = json.loads((self.root / _STATE).read_bytes())
            rows: list[dict[str, Any]] = saved["components"]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError) as error:
            raise EdgeError(
                f"{self.root / _STATE} is not what a device wrote ({error}); "
                f"remove {self.root} to start with an empty device"
            ) from None
        return rows

    def save(self, rows: list[dict[str, Any]]) -> None:
        """Note which components are installed, so that a power cut leaves the old list or the new one."""
        temporary = self.root / f"{_STATE}.new"
        try:
            with temporary.open("w", encoding="utf-8") as file:
                json.dump({"format": _FORMAT, "components": rows}, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.root / _STATE)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise

    def sweep(self, kept: Collection[tuple[str, str]]) -> None:
        """Remove all packages but those of these components and versions, and what was half written.

        What is half written has a folder of its own: an artifact may be called what it likes.
        """
        shutil.rmtree(self.packages / HALF, ignore_errors=True)
        for kind in ("artifacts", "artifacts-unarchived"):
            for folder in (self.packages / kind).glob("*/*"):
                if (folder.parent.name, folder.name) not in kept:
                    shutil.rmtree(folder, ignore_errors=True)
                    # Other versions of it may be there.
                    with suppress(OSError):
                        folder.parent.rmdir()


def in_words(error: Exception) -> str:
    """An error of a deployment as a sentence; a full disk is what people must hear about first."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = f" to write {error.filename}" if error.filename else ""
        return f"the disk of the device is full: there is no room{what}; make room and deploy again"
    return str(error)
