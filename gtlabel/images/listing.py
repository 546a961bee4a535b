"""The pictures under a prefix, and which of them can be used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from gtlabel.errors import NoImagesError
from gtlabel.images.checks import EXTENSIONS, MAX_BYTES, find_problem
from gtlabel.storage import StoredObject, list_objects, read, read_range
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# Headers with large embedded profiles end before this; smaller pictures are seen whole.
HEAD_BYTES = 64 * 1024
TAIL_BYTES = 4 * 1024


@dataclass(frozen=True, slots=True)
class Refusal:
    """A picture that was left out, and why: `{uri} {reason}` is a sentence."""

    uri: S3Uri
    reason: str


@dataclass(frozen=True, slots=True)
class Usable:
    """What a look at a list of pictures found, both in key order."""

    images: tuple[StoredObject, ...]
    refused: tuple[Refusal, ...]


def list_images(s3: S3Client, prefix: S3Uri) -> Iterator[StoredObject]:
    """Yield the objects under a prefix that are named like pictures (`.jpg`, `.jpeg`, `.png`).

    Raises:
        BucketNotFoundError: if the bucket does not exist.
        NoImagesError: if nothing there is named like a picture.
    """
    others = 0
    found = False
    for stored in list_objects(s3, prefix):
        if stored.uri.key.lower().endswith(EXTENSIONS):
            found = True
            yield stored
        else:
            others += 1
    if not found:
        beside = f", only {others} other objects" if others else ""
        raise NoImagesError(
            f"there are no {', '.join(EXTENSIONS)} pictures under {prefix}{beside}; check the prefix"
        )


def check_images(
    s3: S3Client,
    images: Iterable[StoredObject],
    *,
    workers: int = 16,
    on_progress: Callable[[int], None] | None = None,
) -> Usable:
    """Look into each picture and set aside those that a worker or a trainer could not read.

    Only the first 64 kB of a picture are fetched, and its last 4 kB when it is longer; all of it only
    when these leave a doubt.

    Args:
        s3: the client.
        images: what `list_images` yields.
        workers: how many pictures are looked into at once.
        on_progress: called with the number of pictures seen so far.

    Raises:
        NoImagesError: if not one of them can be used.
    """
    usable: list[StoredObject] = []
    refused: list[Refusal] = []
    pending = iter(images)
    with ThreadPoolExecutor(workers) as pool:
        # In batches, so that a listing of any length is neither held nor queued as a whole.
        while batch := list(islice(pending, 1_000)):
            for stored, reason in zip(batch, pool.map(lambda image: _problem(s3, image), batch), strict=True):
                if reason is None:
                    usable.append(stored)
                else:
                    refused.append(Refusal(stored.uri, reason))
                if on_progress is not None:
                    on_progress(len(usable) + len(refused))
    if not usable:
        first = f"; the first one, {refused[0].uri}, {refused[0].reason}" if refused else ""
        raise NoImagesError(f"none of the {len(refused)} pictures can be used{first}")
    return Usable(tuple(usable), tuple(refused))


def _problem(s3: S3Client, image: StoredObject) -> str | None:
    if not 0 < image.size <= MAX_BYTES:
        return find_problem(image.size, b"", b"")
    head = read_range(s3, image.uri, 0, HEAD_BYTES)
    tail = head
    if image.size > len(head):
        start = max(len(head), image.size - TAIL_BYTES)
        tail = read_range(s3, image.uri, start, TAIL_BYTES)
    problem = find_problem(image.size, head, tail)
    if problem is None or image.size == len(head):
        return problem
    # Headers longer than the part fetched, or data after the end marker: only the whole picture can tell.
    data = read(s3, image.uri)
    return find_problem(len(data), data, data)
