"""Which images hold the same bytes: by what S3 tells of them, and where that says nothing, by reading them.

The ETag of an object that was sent in one piece and is not encrypted with a key of KMS, or of the
customer's, is the MD5 of its bytes; any other ETag is not
(https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import md5
from typing import TYPE_CHECKING

from gtlabel.datasets.channels import ORIGINAL_REF
from gtlabel.datasets.copying import as_listed
from gtlabel.datasets.flow import Flow, at_once, connections
from gtlabel.errors import ObjectNotFoundError
from gtlabel.manifests.lines import read_records
from gtlabel.manifests.split import CHANNELS
from gtlabel.storage import StoredObject, explained, read_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_PLAIN = re.compile("[0-9a-f]{32}")
_PIECE = 1 << 20


def same_images(
    s3: S3Client, into: S3Uri, images: Mapping[S3Uri, StoredObject], workers: int
) -> dict[str, str]:
    """The images that hold the same bytes as another one, and which one stands for them.

    That is the one with the smallest address; where an earlier run had one of them in the dataset, it
    stays that one, so that what is added later moves nothing.

    Args:
        s3: the client; it is used from several threads.
        into: the dataset, in which an earlier run may have left channels.
        images: what was listed of each image, or of a copy of it.
        workers: how many images are looked at once.

    Raises:
        PictureChangedError: if an image was changed or deleted after it was listed.
    """
    alike = same_bytes(s3, images, workers)
    if not alike:
        return {}
    earlier = _earlier_images(s3, into)
    same: dict[str, str] = {}
    for members in alike:
        stands = next((image for image in members if image in earlier), members[0])
        same.update((str(image), str(stands)) for image in members if image != stands)
    return same


def same_bytes(s3: S3Client, images: Mapping[S3Uri, StoredObject], workers: int) -> list[list[S3Uri]]:
    """The images that hold the same bytes as another one, sorted, and together with it.

    Two of one size and one plain ETag are the same, and one that has its size to itself is like no other.
    Of the rest each takes a request, which tells how it is encrypted, and is read only where its ETag is
    not the digest of its bytes.
    """
    sizes: dict[int, list[S3Uri]] = {}
    for image, item in images.items():
        sizes.setdefault(item.size, []).append(image)
    alike: dict[tuple[int, str], list[S3Uri]] = {}
    unsure: list[tuple[int, str]] = []
    for size, members in sizes.items():
        if len(members) < 2:
            continue
        keys = set()
        for image in members:
            item = images[image]
            # What a store of another maker calls an ETag of many parts may not depend on the bytes at all.
            key = size, item.etag if _PLAIN.fullmatch(item.etag) else item.uri
            alike.setdefault(key, []).append(image)
            keys.add(key)
        if len(keys) > 1:
            unsure.extend(keys)
    for key, digest in _digests(s3, {key: images[alike[key][0]] for key in unsure}, workers).items():
        if digest != key[1]:
            alike.setdefault((key[0], digest), []).extend(alike.pop(key))
    return sorted(sorted(members) for members in alike.values() if len(members) > 1)


def _digests(
    s3: S3Client, items: Mapping[tuple[int, str], StoredObject], workers: int
) -> dict[tuple[int, str], str]:
    """The MD5 of the bytes of each object."""
    workers = min(workers, connections(s3))
    flow = Flow(workers)

    def look(pair: tuple[tuple[int, str], StoredObject]) -> tuple[tuple[int, str], str]:
        key, item = pair
        with as_listed(item.uri), explained("s3:GetObject", item.uri):
            return key, flow.run(lambda: _digest(s3, item))

    with flow:
        return dict(at_once(look, list(items.items()), workers))


def _digest(s3: S3Client, item: StoredObject) -> str:
    bucket, key, unchanged = item.uri.bucket, item.uri.key, f'"{item.etag}"'
    if _PLAIN.fullmatch(item.etag):
        found = s3.head_object(Bucket=bucket, Key=key, IfMatch=unchanged)
        if found.get("ServerSideEncryption", "AES256") == "AES256":
            return item.etag
    digest = md5(usedforsecurity=False)
    for piece in s3.get_object(Bucket=bucket, Key=key, IfMatch=unchanged)["Body"].iter_chunks(_PIECE):
        digest.update(piece)
    return digest.hexdigest()


def _earlier_images(s3: S3Client, into: S3Uri) -> set[str]:
    """The images of an earlier run, finished or not, by the addresses that people looked at."""
    earlier: set[str] = set()
    for channel in CHANNELS:
        manifest = into / f"{channel}.manifest"
        try:
            for record in read_records(read_lines(s3, manifest), manifest):
                earlier.add(str(record.get(ORIGINAL_REF, record.address)))
        except ObjectNotFoundError:
            continue
    return earlier
