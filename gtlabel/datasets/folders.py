"""Class folders: every labeled image copied to `classes/<class>/<file name>` inside S3."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from gtlabel.errors import DatasetError
from gtlabel.storage import StoredObject, copy, list_objects
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

Progress = Callable[[int, int], None]

# S3 allows 1,024 bytes a key, common file systems 255 a name.
_MAX_KEY_BYTES = 1024
_MAX_NAME_BYTES = 255
_MAX_FOLDER_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an image comes from and where its copy goes."""

    source: StoredObject
    target: S3Uri


def folder_of(class_name: str) -> str:
    """The folder of a class: its name, everything but ASCII letters, digits, `-`, `_` and `.` as `%XX`.

    A name that gets too long for a folder ends in `~` and a digest instead, and cannot be read back.
    """
    folder = quote(class_name, safe="").replace("~", "%7E")
    if folder.startswith("."):
        folder = "%2E" + folder[1:]
    if len(folder) <= _MAX_FOLDER_CHARACTERS:
        return folder
    kept = folder[: _MAX_FOLDER_CHARACTERS - 17]
    # An escape cut in two would decode to something else.
    kept = kept[: kept.rfind("%")] if "%" in kept[-2:] else kept
    return f"{kept}~{_digest(class_name)}"


def class_of(folder: str) -> str | None:
    """The class that `folder_of` made this folder for; None where the name was too long to keep."""
    return None if "~" in folder else unquote(folder, errors="strict")


def place(images: Iterable[tuple[StoredObject, str]], into: S3Uri) -> dict[S3Uri, Placement]:
    """Decide where the copy of each image goes, keyed by the image's address.

    Of several images that would share a name, the one whose address comes first keeps it; the others
    get a digest of their address, and so does a name that is too long or none at all. Names that differ
    only in letter case count as shared, because a Mac or a Windows machine could not hold both.

    Args:
        images: each image with its class, in any order.
        into: the dataset.
    """
    taken: set[str] = set()
    placements: dict[S3Uri, Placement] = {}
    for image, class_name in sorted(images, key=lambda pair: pair[0].uri):
        folder = into / "classes" / folder_of(class_name)
        for name in _names(image.uri):
            target = S3Uri(f"{folder}/{name}")
            if target.casefold() not in taken and _can_be_named(target):
                break
        taken.add(target.casefold())
        placements[image.uri] = Placement(image, target)
    return placements


def find(s3: S3Client, images: Iterable[S3Uri]) -> dict[S3Uri, StoredObject]:
    """Those of the images that exist, with size and ETag.

    It lists the folders they lie in, a thousand objects a request, and not the images one by one.
    """
    wanted = set(images)
    found: dict[S3Uri, StoredObject] = {}
    listed: S3Uri | None = None
    for folder in sorted({image.folder for image in wanted}):
        if listed is not None and folder.startswith(listed):
            continue
        listed = folder
        found.update((item.uri, item) for item in list_objects(s3, folder) if item.uri in wanted)
    return found


def present_copies(s3: S3Client, into: S3Uri, expected: Iterable[Placement]) -> Mapping[S3Uri, StoredObject]:
    """The copies that an earlier run left.

    Raises:
        DatasetError: if there are objects among them that are not of this dataset: whoever trains on
            the folders would train on them.
    """
    targets = {placement.target for placement in expected}
    folders = into / "classes/"
    present: dict[S3Uri, StoredObject] = {}
    for item in list_objects(s3, folders):
        if item.uri not in targets:
            raise DatasetError(
                f"{item.uri} is not of this dataset, perhaps because its label has changed since an earlier "
                f"run; consolidate into an empty place, or empty {folders} first"
            )
        present[item.uri] = item
    return present


def copy_missing(
    s3: S3Client,
    placements: Sequence[Placement],
    present: Mapping[S3Uri, StoredObject],
    workers: int = 16,
    on_progress: Progress | None = None,
) -> int:
    """Copy, inside S3, what is not there yet with the same size and ETag; return how many that were.

    S3 shows a copy whole or not at all, so an interrupted run is continued by running it again. An
    object that was uploaded in parts has an ETag its copy cannot have; it is copied every time.

    Args:
        s3: the client; it is used from all threads.
        placements: what goes where.
        present: what is there.
        workers: how many copies run at once.
        on_progress: called with done and total after each image, by one thread at a time.
    """
    missing = [item for item in placements if not _is_copy(present.get(item.target), item.source)]
    todo = deque(missing)
    done = len(placements) - len(missing)
    lock = threading.Lock()
    if on_progress:
        on_progress(done, len(placements))

    def work() -> None:
        nonlocal done
        try:
            for item in _taken_from(todo):
                copy(s3, item.source.uri, item.target)
                with lock:
                    done += 1
                    if on_progress:
                        on_progress(done, len(placements))
        finally:
            # After the first failure nobody begins another copy.
            todo.clear()

    with ThreadPoolExecutor(workers, thread_name_prefix="copy") as pool:
        try:
            for worker in [pool.submit(work) for _ in range(workers)]:
                worker.result()
        finally:
            todo.clear()
    return len(missing)


def _taken_from(todo: deque[Placement]) -> Iterator[Placement]:
    while True:
        try:
            yield todo.popleft()
        except IndexError:
            return


def _is_copy(there: StoredObject | None, source: StoredObject) -> bool:
    return there is not None and (there.size, there.etag) == (source.size, source.etag)


def _can_be_named(target: S3Uri) -> bool:
    if target.name in ("", ".", ".."):
        return False
    return len(target.name.encode()) <= _MAX_NAME_BYTES and len(target.key.encode()) <= _MAX_KEY_BYTES


def _names(image: S3Uri) -> Iterator[str]:
    """Its own name, then names that nobody else can have meant, without end."""
    yield image.name
    stem, dot, suffix = image.name.rpartition(".")
    if not stem or len(suffix) > 5:
        stem, dot, suffix = image.name, "", ""
    short = "".join(_within(stem, 100))
    for attempt in count():
        yield f"{short}~{_digest(image + '~' * attempt)}{dot}{suffix}"


def _within(text: str, limit: int) -> Iterator[str]:
    for character in text:
        limit -= len(character.encode())
        if limit < 0:
            return
        yield character


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]
