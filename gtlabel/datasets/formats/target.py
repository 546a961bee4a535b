"""Where a format is written: below a prefix of S3, or into a folder."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gtlabel.datasets.channels import Example
from gtlabel.datasets.copying import copy_missing
from gtlabel.datasets.folders import Placement
from gtlabel.errors import DatasetError
from gtlabel.images.parallel import in_parallel
from gtlabel.storage import list_objects, read, write_chunks
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_WORKERS = 16


@dataclass(frozen=True, slots=True)
class Written:
    """A file of a format: its name below the target, its size in bytes and its digest in hexadecimal."""

    name: str
    size: int
    sha256: str


class Target(Protocol):
    """A place that takes files, and knows where the pictures are."""

    @property
    def s3(self) -> S3Client:
        """Reads the pictures."""

    @property
    def pictures(self) -> S3Uri:
        """The folder of the class folders; paths of pictures are told from there."""

    def write(self, name: str, chunks: Iterable[bytes], content_type: str) -> Written:
        """Write a file while its bytes are being made; it is there whole or not at all."""

    def bring(self, folder: str, pictures: Iterable[tuple[S3Uri, str]]) -> None:
        """Put pictures under names in a folder of the target, many at once."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """A prefix of S3."""

    s3: S3Client
    uri: S3Uri
    pictures: S3Uri

    def write(self, name: str, chunks: Iterable[bytes], content_type: str) -> Written:
        """Write an object; more than 8 MB go in parts."""
        tally = _Tally()
        write_chunks(self.s3, self.uri / name, tally.of(chunks), content_type)
        return tally.written(name)

    def bring(self, folder: str, pictures: Iterable[tuple[S3Uri, str]]) -> None:
        """Copy inside S3 what is not there yet."""
        stored = {item.uri: item for item in list_objects(self.s3, self.pictures)}
        placements = [Placement(stored[image], self.uri / folder / name) for image, name in pictures]
        present = {item.uri: item for item in list_objects(self.s3, self.uri / folder)}
        copy_missing(self.s3, placements, present)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder on disk, which is made where it is missing.

    Attributes:
        s3: reads the pictures.
        path: the folder.
        pictures: where the pictures are in S3.
        mirror: a folder that holds the same as `pictures`; what is found there is linked and not fetched.
    """

    s3: S3Client
    path: Path
    pictures: S3Uri
    mirror: Path | None = None

    def write(self, name: str, chunks: Iterable[bytes], content_type: str) -> Written:  # noqa: ARG002
        """Write a file under another name, and give it its own when it is whole."""
        tally = _Tally()
        _write_file(self._at(name), tally.of(chunks))
        return tally.written(name)

    def bring(self, folder: str, pictures: Iterable[tuple[S3Uri, str]]) -> None:
        """Link what the mirror has (or copy it, across disks), and fetch the rest."""

        def one(picture: tuple[S3Uri, str]) -> None:
            image, name = picture
            place = self._at(f"{folder}/{name}")
            if not self._linked(image, place):
                _write_file(place, [read(self.s3, image)])

        for _ in in_parallel(one, pictures, _WORKERS):
            pass

    def _at(self, name: str) -> Path:
        place = self.path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def _linked(self, image: S3Uri, place: Path) -> bool:
        if self.mirror is None:
            return False
        original = self.mirror / path_of(image, self)
        if not original.is_file():
            return False
        if place.exists() and place.samefile(original):
            return True
        handle, name = tempfile.mkstemp(dir=place.parent, prefix=".gtlabel-")
        os.close(handle)
        spare = Path(name)
        try:
            spare.unlink()
            try:
                spare.hardlink_to(original)
            except OSError:
                # Another disk, or one without links.
                _write_file(place, [original.read_bytes()])
            else:
                spare.replace(place)
        finally:
            spare.unlink(missing_ok=True)
        return True


def channels_of(examples: Iterable[Example]) -> Iterator[tuple[str, Iterator[Example]]]:
    """Yield each channel with its examples, which are to be read before the next channel.

    Raises:
        DatasetError: if the examples of one channel do not come together.
    """
    seen: set[str] = set()
    for channel, members in groupby(examples, attrgetter("channel")):
        if channel in seen:
            raise DatasetError(f"examples of {channel!r} come in two parts; give them channel by channel")
        seen.add(channel)
        yield channel, members


def path_of(image: S3Uri, target: Target) -> str:
    """The path of a picture below the folder of the class folders.

    Raises:
        DatasetError: if it is not there: where nothing was copied, there are no class folders to tell of.
    """
    folder = target.pictures.rstrip("/") + "/"
    if not image.startswith(folder):
        raise DatasetError(f"{image} is not below {folder}, and this format tells paths below it; copy first")
    return image[len(folder) :]


def licence_of(example: Example) -> str:
    """The licence of a picture, as its line tells it; nothing where it tells none."""
    return _text(example.licence)


def source_of(example: Example) -> str:
    """Where a picture was collected, as its line tells it; nothing where it was not collected.

    `gtlabel collect` tells it in an object, which is JSON here.
    """
    return _text(example.source)


def _text(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def pictures_of(
    examples: Iterable[Example], target: Target, workers: int = _WORKERS
) -> Iterator[tuple[Example, bytes]]:
    """Yield the examples with the bytes of their pictures, in their order, reading ahead."""
    fetch = partial(_fetch, target.s3)
    yield from in_parallel(fetch, examples, workers)


def _fetch(s3: S3Client, example: Example) -> bytes:
    return read(s3, example.image)


class _Tally:
    """Counts and digests bytes on their way."""

    def __init__(self) -> None:
        self._size = 0
        self._digest = sha256()

    def of(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._size += len(chunk)
            self._digest.update(chunk)
            yield chunk

    def written(self, name: str) -> Written:
        return Written(name, self._size, self._digest.hexdigest())


def _write_file(place: Path, chunks: Iterable[bytes]) -> None:
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=".gtlabel-")
    spare = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        spare.chmod(0o644)
        spare.replace(place)
    finally:
        spare.unlink(missing_ok=True)
