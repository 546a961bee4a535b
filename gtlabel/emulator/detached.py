"""Devices that run by themselves: found, waited for, and ended.

The lock on its disk tells whether a device runs, and it is held until the last of its programs is gone. Where
the disks are stands beside where the emulators are announced, so that who ends an emulator ends its devices.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gtlabel.emulator.disk import LOCK
from gtlabel.emulator.lastwill import LONGEST_END, lives
from gtlabel.emulator.state import registry
from gtlabel.errors import EdgeError

_POLL = 0.05


def wait_until_gone(root: Path, timeout: float) -> None:
    """Wait until no device runs on this disk any more.

    Raises:
        EdgeError: if none ever did, or it has not ended in time.
    """
    deadline = time.monotonic() + timeout
    while runs(root):
        if time.monotonic() >= deadline:
            raise EdgeError(
                f"the device of {root} (process {_holder(root)}) was not done after {timeout:g} s"
            )
        time.sleep(_POLL)


def stop(root: Path) -> None:
    """End the device on this disk and wait until it has gone: first kindly, then for certain.

    Raises:
        EdgeError: if none runs there, or it cannot be ended.
    """
    if not runs(root):
        raise EdgeError(f"no device runs on {root}")
    pid = _holder(root)
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(pid, kind)
        with suppress(EdgeError):
            wait_until_gone(root, LONGEST_END)
            # It gives its disk back last of all.
            while lives(pid):
                time.sleep(_POLL)
            return
    raise EdgeError(f"the device of {root} (process {pid}) does not end")


def runs(root: Path) -> bool:
    """Whether a device, or a program of one that was killed, runs on this disk.

    Raises:
        EdgeError: if no device ever had this disk.
    """
    try:
        lock = (root / LOCK).open("rb")
    except FileNotFoundError:
        raise EdgeError(f"{root} is not the disk of a device; give the --root it was started with") from None
    with lock:
        try:
            # Shared, so that a device which starts just now finds nobody who has it to himself.
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def announced(url: str, root: Path | None) -> Iterator[None]:
    """Let `stop_devices` find this process while this is entered.

    Args:
        url: the emulator it belongs to.
        root: its disk; without one nothing is announced.
    """
    if root is None:
        yield
        return
    file = registry() / f"{os.getpid()}.device"
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps({"url": url, "root": str(root.absolute())}), encoding="utf-8")
    fresh.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def stop_devices(url: str) -> list[Path]:
    """End the devices of an emulator that run by themselves, and return where their disks are.

    Raises:
        EdgeError: if one cannot be ended.
    """
    ended = []
    for file in sorted(registry().glob("*.device")):
        # It may end while we look, and its disk may be gone.
        with suppress(FileNotFoundError):
            fields = json.loads(file.read_text(encoding="utf-8"))
            root = Path(fields["root"])
            if fields["url"] != url:
                continue
            if (root / LOCK).exists() and runs(root):
                stop(root)
                ended.append(root)
            file.unlink(missing_ok=True)
    return ended


def _holder(root: Path) -> int:
    """The process that last took this disk."""
    text = (root / LOCK).read_text(encoding="utf-8").strip()
    if not text.isdecimal():
        raise EdgeError(f"the device of {root} is just starting or ending; try again")
    return int(text)
