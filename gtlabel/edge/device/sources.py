"""Where pictures come from: files, folders, and folders that fill while one looks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gtlabel.edge.device.ending import UNREADABLE, RunError, Stop

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


def utc_now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture's file, or why there is none.

    Attributes:
        name: what to call it in a complaint.
        data: the file; empty where it could not be read.
        origin: what its answer says of where it comes from.
        taken: when it was read.
        problem: why it could not be read.
    """

    name: str
    data: bytes
    origin: dict[str, Any]
    taken: datetime = field(default_factory=utc_now)
    problem: str = ""


def read(path: Path) -> Picture:
    """A picture from a file."""
    try:
        return Picture(str(path), path.read_bytes(), {"image": str(path)})
    except OSError as error:
        return Picture(str(path), b"", {"image": str(path)}, problem=error.strerror or str(error))


def within(folder: Path) -> Iterator[Picture]:
    """The pictures of a folder and the folders in it, by name.

    Raises:
        RunError: if there is no such folder.
    """
    if not folder.is_dir():
        raise RunError(f"there is no folder {folder}", UNREADABLE)
    return map(read, _paths(folder))


def watch(folder: Path, poll: float, stop: Stop) -> Iterator[Picture]:
    """Each picture once, when its size and time have stood still between two looks, until the stop.

    A picture that is written again is yielded again.

    Args:
        folder: made if it is not there.
        poll: seconds between two looks.
        stop: ends the watching.

    Raises:
        RunError: if it is not there and cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"the folder {folder} cannot be made: {error.strerror}", UNREADABLE) from error
    seen: dict[Path, tuple[int, int]] = {}
    done: dict[Path, tuple[int, int]] = {}
    while not stop.asked:
        now: dict[Path, tuple[int, int]] = {}
        for path in _paths(folder):
            try:
                status = path.stat()
            except OSError:
                # It was taken away in between, or is not ours to read.
                continue
            now[path] = (status.st_size, status.st_mtime_ns)
            if seen.get(path) == now[path] and done.get(path) != now[path]:
                done[path] = now[path]
                yield read(path)
        # What was taken away is forgotten, or a folder that is filled and emptied for years fills the memory.
        seen, done = now, {path: signature for path, signature in done.items() if path in now}
        stop.wait(poll)


def _paths(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
