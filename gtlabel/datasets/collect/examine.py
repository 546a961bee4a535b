"""A first look at every picture of a source, before anything is sent: is it sound, and what is its digest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import md5, sha256
from typing import TYPE_CHECKING

from gtlabel.datasets.collect.archives import NESTED, Found, Source
from gtlabel.datasets.collect.licence import MAX_LICENCE_BYTES, may_tell
from gtlabel.errors import ObjectArchivedError, ObjectNotFoundError
from gtlabel.images.checks import EXTENSIONS, MAX_BYTES, find_problem
from gtlabel.images.listing import WORKERS, look_into
from gtlabel.images.parallel import in_parallel
from gtlabel.storage import StoredObject, list_objects, read
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

Decode = Callable[[bytes], str | None]

# Pictures that browsers, or the built-in algorithm, do not take; they are named, not passed over.
_OTHER_PICTURES = (
    ".gif",
    ".bmp",
    ".tif",
    ".tiff",
    ".webp",
    ".heic",
    ".heif",
    ".avif",
    ".jfif",
    ".jp2",
    ".ppm",
)
# Our own lists of classes, which tell the names of folders that were too long to keep them.
_CLASS_LISTS = ("classes.json", "dataset.json")
_MAX_LIST_BYTES = 1 << 20
# What may wait in memory between reading and sending.
ROOM_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a source.

    Attributes:
        path: where it lies in the source.
        size: in bytes.
        digest: the MD5 of its content in hexadecimal, which S3 calls its ETag; of an object that was
            uploaded in parts, the ETag it has.
        sha256: the SHA-256 of its content, where all of it was read.
        problem: why it cannot be used, as the end of the sentence "this picture ...".
        stored: the object, when the source is S3.
    """

    path: str
    size: int
    digest: str = ""
    sha256: str | None = None
    problem: str | None = None
    stored: StoredObject | None = None


@dataclass(slots=True)
class Contents:
    """What a source holds.

    Attributes:
        pictures: all of them, in the order of their paths.
        licences: files that may tell the licence, with their content.
        class_lists: class lists of ours, with their content.
        others: how many files of each kind are neither.
    """

    pictures: list[Picture] = field(default_factory=list)
    licences: list[tuple[str, bytes]] = field(default_factory=list)
    class_lists: list[tuple[str, bytes]] = field(default_factory=list)
    others: dict[str, int] = field(default_factory=dict)


def examine(
    source: Source,
    within: str = "",
    decode: Decode | None = None,
    workers: int = WORKERS,
    on_progress: Callable[[int], None] | None = None,
) -> Contents:
    """Read all of a folder or an archive once.

    Args:
        source: what to read.
        within: only pictures below this folder count.
        decode: finds the damage that headers do not show.
        workers: how many pictures are looked at at once.
        on_progress: called with the number of pictures looked at.

    Raises:
        ArchiveError: if the archive is hostile or damaged; nothing was sent anywhere.
    """
    contents = Contents()

    def wanted(path: str, size: int) -> bool:
        kind = kind_of(path, size, within)
        return kind in ("licence", "class list") or (
            kind == "picture" and _problem_of_name(path, size) is None
        )

    for picture in _pictures(source.scan(wanted), contents, within, decode, workers):
        contents.pictures.append(picture)
        if on_progress is not None:
            on_progress(len(contents.pictures))
    contents.pictures.sort(key=lambda picture: picture.path)
    return contents


def _pictures(
    found: Iterable[Found], contents: Contents, within: str, decode: Decode | None, workers: int
) -> Iterator[Picture]:
    def look(held: Held) -> Picture:
        with held as body:
            return _look_at(held, body, decode)

    room = Room(ROOM_BYTES)
    items = (Held(item, room) for item in _sorted_out(found, contents, within))
    for _, picture in in_parallel(look, items, workers):
        yield picture


def _sorted_out(found: Iterable[Found], contents: Contents, within: str) -> Iterator[Found]:
    """The pictures; whatever else there is goes where it belongs."""
    for item in found:
        kind = kind_of(item.path, item.size, within)
        if kind == "picture":
            yield item
        elif kind == "licence" and item.body is not None:
            contents.licences.append((item.path, item.body))
        elif kind == "class list" and item.body is not None:
            contents.class_lists.append((item.path, item.body))
        elif kind:
            suffix = _suffix(item.path)
            contents.others[suffix] = contents.others.get(suffix, 0) + 1


def kind_of(path: str, size: int, within: str = "") -> str:
    """What a file is, told by its path: `picture`, `licence`, `class list`, `other`; nothing when hidden."""
    parts = path.split("/")
    if any(part.startswith(".") or part == "__MACOSX" for part in parts):
        return ""
    suffix = _suffix(path)
    if suffix in EXTENSIONS or suffix in _OTHER_PICTURES:
        return "picture" if not within or path.startswith(f"{within}/") else ""
    if size <= MAX_LICENCE_BYTES and may_tell(path):
        return "licence"
    if size <= _MAX_LIST_BYTES and parts[-1] in _CLASS_LISTS and len(parts) <= 2:
        return "class list"
    return "other"


def _suffix(path: str) -> str:
    name = path.rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    return f".{suffix.lower()}" if dot and stem else ""


def nested_archives(others: dict[str, int]) -> int:
    """How many of the other files are archives."""
    return sum(count for suffix, count in others.items() if suffix in NESTED)


def _look_at(held: Held, body: bytes, decode: Decode | None) -> Picture:
    """What is to be said about one picture that was read."""
    problem = held.problem or _problem_of_name(held.path, held.size)
    if problem is not None:
        return Picture(held.path, held.size, problem=problem)
    digest = md5(body, usedforsecurity=False).hexdigest()
    problem = find_problem(body) or (decode(body) if decode is not None else None)
    return Picture(held.path, len(body), digest, sha256(body).hexdigest(), problem)


def _problem_of_name(path: str, size: int) -> str | None:
    suffix = _suffix(path)
    if suffix in _OTHER_PICTURES:
        return f"is named {suffix}; save it as JPEG or PNG"
    if size > MAX_BYTES:
        return f"is {size / 1024 / 1024:.1f} MB long; the limit is {MAX_BYTES / 1024 / 1024:.0f} MB"
    return None


def examine_objects(
    s3: S3Client,
    prefix: S3Uri,
    within: str = "",
    decode: Decode | None = None,
    workers: int = WORKERS,
    on_progress: Callable[[int], None] | None = None,
) -> Contents:
    """Look at the pictures under a prefix; about a kilobyte of each is fetched, all of it to decode it.

    Raises:
        BucketNotFoundError: if the bucket does not exist.
        StorageDeniedError: if the credentials may not list or read it.
    """
    contents = Contents()

    def look(item: tuple[str, StoredObject]) -> Picture:
        path, stored = item
        problem = _problem_of_name(path, stored.size) or _problem_in_s3(s3, stored, decode)
        return Picture(path, stored.size, stored.etag, problem=problem, stored=stored)

    def pictures() -> Iterator[tuple[str, StoredObject]]:
        for stored in list_objects(s3, prefix):
            path = stored.uri.key[len(prefix.key) :].lstrip("/")
            kind = kind_of(path, stored.size, within)
            if not path or path.endswith("/"):
                continue
            if kind == "picture":
                yield path, stored
            elif kind == "licence":
                contents.licences.append((path, read(s3, stored.uri)))
            elif kind == "class list":
                contents.class_lists.append((path, read(s3, stored.uri)))
            elif kind:
                contents.others[_suffix(path)] = contents.others.get(_suffix(path), 0) + 1

    for _, picture in in_parallel(look, pictures(), workers):
        contents.pictures.append(picture)
        if on_progress is not None:
            on_progress(len(contents.pictures))
    contents.pictures.sort(key=lambda picture: picture.path)
    return contents


def _problem_in_s3(s3: S3Client, stored: StoredObject, decode: Decode | None) -> str | None:
    if decode is None:
        facts = look_into(s3, stored)
        return facts if isinstance(facts, str) else None
    try:
        body = read(s3, stored.uri)
    except ObjectNotFoundError:
        return "was deleted since it was listed"
    except ObjectArchivedError:
        return "is archived; restore it to S3 Standard first"
    return find_problem(body) or decode(body)


class Room:
    """A number of bytes that may be in memory at once; who wants more waits until others are done."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._changed = threading.Condition()

    def take(self, size: int) -> int:
        """Wait for so much room, and say how much was taken: what is larger than all of it gets all of it."""
        size = min(size, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size
        return size

    def give(self, size: int) -> None:
        """Give it back."""
        with self._changed:
            self._free += size
            self._changed.notify_all()


class Held:
    """What was read, on its way to the thread that looks at it: `with held as body`, once."""

    def __init__(self, found: Found, room: Room) -> None:
        self.path = found.path
        self.size = found.size
        self.problem = found.problem
        self._body = found.body
        self._room = room
        self._taken = room.take(len(found.body or b""))

    def __enter__(self) -> bytes:
        # The queue of what is done keeps this object for a while, and must not keep the content.
        body, self._body = self._body, None
        return body or b""

    def __exit__(self, *_: object) -> None:
        self._room.give(self._taken)
