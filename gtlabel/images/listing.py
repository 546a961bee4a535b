"""The pictures under a prefix or on a list, and which of them can be used."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gtlabel.errors import (
    ManifestLineError,
    NoImagesError,
    ObjectArchivedError,
    ObjectNotFoundError,
    UriError,
)
from gtlabel.images.checks import EXTENSIONS, PEOPLE, Facts, Limits, UnsoundPictureError, examine
from gtlabel.images.parallel import in_parallel
from gtlabel.manifests.records import ManifestRecord
from gtlabel.storage import StoredObject, list_objects, read_file_lines, read_lines, read_range, stat
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# As many as the clients of `gtlabel.Aws` hold connections for, and few enough for a small machine.
WORKERS = 16


@dataclass(frozen=True, slots=True)
class Refusal:
    """A picture that was left out, and why: `{uri} {reason}` is a sentence."""

    uri: S3Uri
    reason: str


@dataclass(frozen=True, slots=True)
class Usable:
    """What a look at pictures found, images and refusals in key order.

    Attributes:
        images: those that can be labeled.
        refused: those that were left out, each with its reason.
        turned: those among `images` whose Exif orientation is not upright: browsers turn them for the
            workers, and a trainer that reads the bare pixels does not.
        known: how many were passed over because an earlier job has them.
        notes: what else a person should know, in sentences.
    """

    images: tuple[StoredObject, ...]
    refused: tuple[Refusal, ...]
    turned: tuple[S3Uri, ...] = ()
    known: int = 0
    notes: tuple[str, ...] = ()


def list_images(s3: S3Client, prefix: S3Uri, *, since: datetime | None = None) -> Iterator[StoredObject]:
    """Yield the objects under a prefix that are named like pictures (`.jpg`, `.jpeg`, `.png`).

    Args:
        s3: the client.
        prefix: where the pictures lie.
        since: pass over what was written before. S3 notes when an object was written last, so a picture
            that was replaced counts as new here.

    Raises:
        BucketNotFoundError: if the bucket does not exist.
        NoImagesError: if nothing there is named like a picture, or all of it was written before `since`.
    """
    others = earlier = 0
    found = False
    for stored in list_objects(s3, prefix):
        if not stored.uri.key.lower().endswith(EXTENSIONS):
            others += 1
        elif since is not None and stored.modified is not None and stored.modified < since:
            earlier += 1
        else:
            found = True
            yield stored
    if earlier and not found:
        raise NoImagesError(f"none of the {earlier} pictures under {prefix} was written since {since}")
    if not found:
        beside = f", only {others} other objects" if others else ""
        raise NoImagesError(
            f"there are no {', '.join(EXTENSIONS)} pictures under {prefix}{beside}; check the prefix"
        )


def read_list(s3: S3Client, source: S3Uri | Path) -> Iterator[S3Uri]:
    """Yield the addresses that a list file names, in its order and as often as it does.

    Each line is an S3 address, the same as a JSON string, or a record of a manifest; empty lines are
    passed over. The lines are read one at a time.

    Raises:
        ManifestLineError: at the first line that names no picture.
        ObjectNotFoundError: if the list is not there.
    """
    if isinstance(source, S3Uri):
        yield from _addresses(read_lines(s3, source), str(source))
    else:
        yield from _addresses(read_file_lines(source), str(source))


def find_images(s3: S3Client, addresses: Iterable[S3Uri]) -> tuple[list[StoredObject], list[Refusal]]:
    """Look up the pictures of a list, each once, and set aside those that are not there.

    It costs one HEAD request for each; a prefix is listed a thousand at a time, so prefer one where the
    pictures lie together.
    """
    there: list[StoredObject] = []
    missing: list[Refusal] = []
    pictures: list[S3Uri] = []
    for uri in sorted(set(addresses)):
        if uri.key.lower().endswith(EXTENSIONS):
            pictures.append(uri)
        else:
            missing.append(Refusal(uri, f"is not named like a picture ({', '.join(EXTENSIONS)})"))

    def look_up(uri: S3Uri) -> StoredObject | None:
        try:
            return stat(s3, uri)
        except ObjectNotFoundError:
            return None

    for uri, stored in in_parallel(look_up, pictures, WORKERS):
        if stored is None:
            missing.append(Refusal(uri, "does not exist"))
        else:
            there.append(stored)
    return there, missing


def known_images(s3: S3Client, manifests: Iterable[S3Uri]) -> set[S3Uri]:
    """The images that manifests name: what earlier jobs were given, or gave back.

    They are known by address. A picture that was replaced under its old address counts as known too: its
    label is in a manifest already, and two labels for one address could not be told apart.

    Raises:
        ObjectNotFoundError: if a manifest is not there.
        ManifestLineError: at a line that is not a record.
    """
    known: set[S3Uri] = set()
    for manifest in manifests:
        known.update(read_list(s3, manifest))
    return known


def look_into(s3: S3Client, image: StoredObject, limits: Limits = PEOPLE) -> Facts | str:
    """What a picture's header says, or the reason why it cannot be used.

    About one kilobyte of it is fetched, in two or three requests; all of it only when that leaves a doubt.
    """
    try:
        return examine(image.size, lambda start, length: read_range(s3, image.uri, start, length), limits)
    except UnsoundPictureError as problem:
        return str(problem)
    except ObjectNotFoundError:
        return "was deleted since it was listed"
    except ObjectArchivedError:
        return "is archived; restore it to S3 Standard first"


def none_usable(refused: Iterable[Refusal]) -> NoImagesError:
    """The error for pictures of which not one can be used."""
    refusals = list(refused)
    first = f"; the first one, {refusals[0].uri}, {refusals[0].reason}" if refusals else ""
    return NoImagesError(f"none of the {len(refusals)} pictures can be used{first}")


def _addresses(lines: Iterable[bytes], source: str) -> Iterator[S3Uri]:
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise ManifestLineError(source, number, f"not UTF-8: byte {error.start + 1}") from error
        if text.startswith("{"):
            try:
                yield ManifestRecord.from_line(text).source_ref
            except ValueError as error:
                raise ManifestLineError(source, number, str(error)) from error
        elif text:
            yield _address(text, source, number)


def _address(text: str, source: str, number: int) -> S3Uri:
    try:
        named = json.loads(text) if text.startswith('"') else text
        uri = S3Uri(named)
    except UriError as error:
        raise ManifestLineError(source, number, str(error)) from error
    except ValueError as error:
        raise ManifestLineError(source, number, f"not JSON: {error}") from error
    if not uri.key:
        raise ManifestLineError(source, number, f"{uri} names a bucket and no image in it")
    return uri
