"""Bringing a folder of pictures to S3."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5
from pathlib import Path
from typing import TYPE_CHECKING

from gtlabel.errors import NoImagesError
from gtlabel.images.checks import EXTENSIONS
from gtlabel.storage import list_objects, write
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

    What is there already with the same content is not sent again, so a broken-off upload is simply
    started once more.

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
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS and path.is_file())
    if not files:
        raise NoImagesError(f"there are no {', '.join(EXTENSIONS)} pictures in {folder}")
    there = {stored.uri: stored.etag for stored in list_objects(s3, into)}

    def send(path: Path) -> S3Uri:
        uri = into / path.relative_to(folder).as_posix()
        body = path.read_bytes()
        if there.get(uri) != md5(body, usedforsecurity=False).hexdigest():
            write(s3, uri, body, _CONTENT_TYPES[path.suffix.lower()])
        return uri

    uris: list[S3Uri] = []
    with ThreadPoolExecutor(workers) as pool:
        for uri in pool.map(send, files):
            uris.append(uri)
            if on_progress is not None:
                on_progress(len(uris), len(files))
    return sorted(uris)
