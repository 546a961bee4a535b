"""Bringing a folder of pictures to S3."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import md5, sha256
from pathlib import Path
from typing import TYPE_CHECKING

from gtlabel.errors import NoImagesError
from gtlabel.images.checks import EXTENSIONS
from gtlabel.images.parallel import in_parallel
from gtlabel.storage import StoredObject, list_objects, sha256_of, write_checked
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_CONTENT_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}


def upload_folder(
    s3: S3Client,
    folder: Path,
    into: S3Uri,
    *,
    workers: int = 8,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[S3Uri]:
    """Upload the pictures of a folder and its subfolders, and return their addresses in key order.

    What is there already with the same content is not sent again, so an upload that broke off is simply
    started once more; at Ctrl-C those under way are finished and no others begun. S3 compares each
    picture with its SHA-256 before it shows it, so none is ever there in part or damaged on the way.
    Hidden files are passed over: some systems leave `._photo.jpg` beside `photo.jpg`.

    Args:
        s3: the client.
        folder: where the pictures are.
        into: the prefix they go to, under their path inside the folder.
        workers: how many are sent at once.
        on_progress: called with the number done and the number in all.

    Raises:
        NoImagesError: if the folder holds no pictures.
        BucketNotFoundError: if the bucket does not exist.
    """
    files = pictures_in(folder)
    there = {stored.uri: stored for stored in list_objects(s3, into)}

    def send(path: Path) -> S3Uri:
        uri = into / path.relative_to(folder).as_posix()
        body = path.read_bytes()
        if not _is_there(s3, there.get(uri), body):
            write_checked(s3, uri, body, content_type_of(path.name))
        return uri

    uris: list[S3Uri] = []
    for _, uri in in_parallel(send, files, workers):
        uris.append(uri)
        if on_progress is not None:
            on_progress(len(uris), len(files))
    return sorted(uris)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder and its subfolders that an upload would send, in the order of their paths.

    Raises:
        NoImagesError: if there are none.
    """
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in EXTENSIONS
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )
    if not files:
        raise NoImagesError(f"there are no {', '.join(EXTENSIONS)} pictures in {folder}")
    return files


def content_type_of(name: str) -> str:
    """The content type of a picture of this name."""
    return _CONTENT_TYPES[name[name.rindex(".") :].lower()]


def holds(s3: S3Client, stored: StoredObject, *, size: int, md5: str, sha256: str) -> bool:
    """Whether an object has this content.

    Args:
        s3: the client.
        stored: the object, as it was listed.
        size: in bytes.
        md5: in hexadecimal; the ETag of an object that was sent in one piece.
        sha256: in hexadecimal. The ETag of another upload in parts, or under a KMS key, is not the MD5 of
            the content; then the digest that an upload of ours left with the object can tell.
    """
    return stored.size == size and (stored.etag == md5 or sha256_of(s3, stored.uri) == sha256)


def _is_there(s3: S3Client, stored: StoredObject | None, body: bytes) -> bool:
    return stored is not None and holds(
        s3,
        stored,
        size=len(body),
        md5=md5(body, usedforsecurity=False).hexdigest(),
        sha256=sha256(body).hexdigest(),
    )
