"""The folder that an emulator's state lies in, who has it, and where running emulators can be found."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import IO
from urllib.parse import urlsplit

from gtlabel.errors import EmulatorError, StateInUseError

_FOLDER_MARK = "gtlabel-state"


@dataclass(frozen=True, slots=True)
class Running:
    """An emulator that runs.

    Attributes:
        state: its state folder; empty when it has none.
    """

    url: str
    pid: int
    state: str


class StateFolder:
    """A folder that one emulator has to itself while this is entered.

    Args:
        path: the folder; without one, a temporary one that goes at the end.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="gtlabel-") if path is None else None
        self.path = Path(self._temporary.name) if self._temporary else Path(path or "").absolute()
        self._lock: IO[str] | None = None
        self._announced: Path | None = None

    def __enter__(self) -> StateFolder:
        """Take the folder.

        Raises:
            StateInUseError: if another emulator has it.
            EmulatorError: if it holds something else.
        """
        prepare(self.path)
        lock = (self.path / "lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "another emulator"
            lock.close()
            raise StateInUseError(str(self.path), holder) from None
        self._lock = lock
        self._write_lock(f"process {os.getpid()}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the folder back."""
        if self._announced:
            self._announced.unlink(missing_ok=True)
        if self._lock:
            self._write_lock("")
            self._lock.close()
        if self._temporary:
            self._temporary.cleanup()

    def announce(self, url: str) -> None:
        """Let `find` find this process."""
        self._write_lock(f"the emulator at {url} (process {os.getpid()})")
        state = "" if self._temporary else str(self.path)
        self._announced = registry() / f"{os.getpid()}.json"
        fresh = self._announced.with_suffix(".new")
        fresh.write_text(json.dumps({"url": url, "pid": os.getpid(), "state": state}), encoding="utf-8")
        fresh.replace(self._announced)

    def _write_lock(self, holder: str) -> None:
        if self._lock:
            self._lock.seek(0)
            self._lock.truncate()
            self._lock.write(holder)
            self._lock.flush()


def prepare(folder: Path) -> None:
    """Make a folder fit to hold an emulator's state, which only its owner can read.

    Raises:
        EmulatorError: if it holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise EmulatorError(f"{folder} is no folder; give another with --state")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark = folder / _FOLDER_MARK
    if not mark.exists() and any(folder.iterdir()):
        raise EmulatorError(
            f"the folder {folder} holds something else than an emulator's state; "
            "give an empty or a new one with --state"
        )
    folder.chmod(0o700)
    mark.write_text("1\n", encoding="utf-8")


def registry() -> Path:
    """The folder in which running emulators of this user say where they are.

    Raises:
        EmulatorError: if somebody else made a folder of that name.
    """
    folder = Path(tempfile.gettempdir()) / f"gtlabel-emulators-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise EmulatorError(
            f"{folder} belongs to somebody else; remove it or set TMPDIR to a folder of yours"
        )
    return folder


def running_emulators() -> list[Running]:
    """The emulators of this user that answer, in the order they were started."""
    found: list[tuple[float, Running]] = []
    for file in registry().glob("*.json"):
        try:
            started, fields = file.stat().st_mtime, json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue  # it ended while we looked
        emulator = Running(fields["url"], fields["pid"], fields["state"])
        if _answers(emulator):
            found.append((started, emulator))
        elif not _lives(emulator.pid):
            file.unlink(missing_ok=True)
    return [emulator for _, emulator in sorted(found, key=lambda pair: pair[0])]


def find(*, port: int | None = None, state: Path | None = None) -> Running:
    """The one running emulator that is meant; of several, the one that `AWS_ENDPOINT_URL` points to.

    Raises:
        EmulatorError: if none runs, or several do and nothing tells which.
    """
    found = running_emulators()
    if state is not None:
        found = [one for one in found if one.state == str(state.absolute())]
    if port is not None:
        found = [one for one in found if urlsplit(one.url).port == port]
    if not found:
        raise EmulatorError("no emulator is running here; start one with: gtlabel local up --detach")
    pointed_to = [one for one in found if one.url == os.environ.get("AWS_ENDPOINT_URL")]
    if len(found) > 1 and pointed_to:
        return pointed_to[0]
    if len(found) > 1:
        urls = ", ".join(one.url for one in found)
        raise EmulatorError(f"several emulators are running ({urls}); say which one with --port or --state")
    return found[0]


def _answers(emulator: Running) -> bool:
    """Whether the process that was announced is the one that answers there."""
    address = urlsplit(emulator.url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=5)
    try:
        connection.request("GET", "/gtlabel/health")
        return bool(json.loads(connection.getresponse().read()).get("pid") == emulator.pid)
    except (OSError, HTTPException, ValueError):
        return False
    finally:
        connection.close()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
