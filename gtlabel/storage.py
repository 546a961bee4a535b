"""The few things we do to S3."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from gtlabel.errors import (
    BucketNotFoundError,
    ObjectArchivedError,
    ObjectChangedError,
    ObjectNotFoundError,
    StorageDeniedError,
    StorageError,
)
from gtlabel.manifests.chunks import CHUNK_BYTES, read_chunks
from gtlabel.policies import denial_in
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from _typeshed import WriteableBuffer
    from types_boto3_s3 import S3Client


_SHA256 = "sha256"

# Lines are handed on by the hundred: one by one, the handing on would cost more than making them.
_LINES_AT_ONCE = 512
# An answer to HEAD has no words, and S3 tells who lacks the second that a missing object is forbidden.
_HEAD = "s3:GetObject, or s3:ListBucket,"


# A tuple, because listings make a million of them.
class StoredObject(NamedTuple):
    """One object of a listing: its address, size in bytes, ETag without quotes, and when it was written."""

    uri: S3Uri
    size: int
    etag: str
    modified: datetime | None = None


def list_objects(s3: S3Client, prefix: S3Uri) -> Iterator[StoredObject]:
    """Yield the objects under a prefix in key order, one page in memory at a time.

    Raises:
        BucketNotFoundError: if the bucket does not exist.
        StorageDeniedError: if the credentials may not list it.
    """
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=prefix.bucket, Prefix=prefix.key)
    with explained("s3:ListBucket", prefix):
        for page in pages:
            for item in page.get("Contents", ()):
                yield StoredObject(
                    prefix.at(item["Key"]), item["Size"], item["ETag"].strip('"'), item["LastModified"]
                )


def stat(s3: S3Client, uri: S3Uri) -> StoredObject:
    """What a listing would say about one object.

    Raises:
        ObjectNotFoundError: if there is none.
    """
    with explained(_HEAD, uri):
        found = s3.head_object(Bucket=uri.bucket, Key=uri.key)
    return StoredObject(uri, found["ContentLength"], found["ETag"].strip('"'), found["LastModified"])


def read(s3: S3Client, uri: S3Uri) -> bytes:
    """The whole object.

    Raises:
        ObjectNotFoundError: if there is none.
    """
    with explained("s3:GetObject", uri):
        return s3.get_object(Bucket=uri.bucket, Key=uri.key)["Body"].read()


def read_range(s3: S3Client, uri: S3Uri, start: int, length: int) -> bytes:
    """`length` bytes from `start` on; fewer, or none, when the object ends before."""
    from botocore.exceptions import ClientError

    span = f"bytes={start}-{start + length - 1}"
    with explained("s3:GetObject", uri):
        try:
            return s3.get_object(Bucket=uri.bucket, Key=uri.key, Range=span)["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("InvalidRange", "416"):
                raise
            return b""


def read_lines(s3: S3Client, uri: S3Uri, *, cut: bool = False) -> Iterator[bytes]:
    """Yield the lines of an object, packed with gzip or not, without their ends, one chunk in memory.

    Args:
        s3: the client.
        uri: the object.
        cut: hand on the beginning of a line that is too long, in place of the error; see `read_chunks`.

    Raises:
        ObjectNotFoundError: if there is none.
        ManifestLineError: at a line that is far longer than a record can be.
        ManifestError: if the object is packed and damaged.
    """
    with explained("s3:GetObject", uri):
        body = s3.get_object(Bucket=uri.bucket, Key=uri.key)["Body"]
        yield from read_chunks(body.iter_chunks(CHUNK_BYTES), uri, cut=cut)


def read_file_lines(path: Path, *, cut: bool = False) -> Iterator[bytes]:
    """Yield the lines of a file on this machine as `read_lines` does those of an object.

    Raises:
        OSError: if it cannot be read.
        ManifestLineError: at a line that is far longer than a record can be.
        ManifestError: if it is packed and damaged.
    """
    with path.open("rb") as file:
        yield from read_chunks(iter(partial(file.read, CHUNK_BYTES), b""), str(path), cut=cut)


def write(s3: S3Client, uri: S3Uri, body: bytes, content_type: str = "application/octet-stream") -> None:
    """Write an object. S3 shows it whole or not at all."""
    with explained("s3:PutObject", uri):
        s3.put_object(Bucket=uri.bucket, Key=uri.key, Body=body, ContentType=content_type)


def write_checked(s3: S3Client, uri: S3Uri, body: bytes, content_type: str) -> None:
    """Write an object that S3 takes only if it came through undamaged, and that says what it holds.

    Its SHA-256 is kept as metadata, where `sha256_of` finds it.
    """
    with explained("s3:PutObject", uri):
        s3.put_object(
            Bucket=uri.bucket,
            Key=uri.key,
            Body=body,
            ContentType=content_type,
            ChecksumAlgorithm="SHA256",
            Metadata={_SHA256: sha256(body).hexdigest()},
        )


def sha256_of(s3: S3Client, uri: S3Uri) -> str | None:
    """The digest that `write_checked` left with an object, in hexadecimal; None for any other object."""
    with explained("s3:GetObject", uri):
        return s3.head_object(Bucket=uri.bucket, Key=uri.key)["Metadata"].get(_SHA256)


def write_new(s3: S3Client, uri: S3Uri, body: bytes, content_type: str = "application/octet-stream") -> bool:
    """Write an object unless there is one; say whether it was written.

    Of several who try at once, one is told yes, wherever they are
    (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).
    """
    from botocore.exceptions import ClientError

    with explained("s3:PutObject", uri):
        while True:
            try:
                s3.put_object(
                    Bucket=uri.bucket, Key=uri.key, Body=body, ContentType=content_type, IfNoneMatch="*"
                )
                return True
            except ClientError as error:
                if error.response["Error"]["Code"] == "PreconditionFailed":
                    return False
                # Two wrote at the same moment, and S3 asks this one to try again.
                if error.response["Error"]["Code"] != "ConditionalRequestConflict":
                    raise


def write_over(
    s3: S3Client, before: StoredObject, body: bytes, content_type: str = "application/octet-stream"
) -> bool:
    """Write an object in place of exactly the one that was read; say whether it was written.

    Of several who read it and write it anew, one is told yes; the others read it again
    (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).
    """
    from botocore.exceptions import ClientError

    uri = before.uri
    with explained("s3:PutObject", uri):
        try:
            s3.put_object(
                Bucket=uri.bucket,
                Key=uri.key,
                Body=body,
                ContentType=content_type,
                IfMatch=f'"{before.etag}"',
            )
        except ClientError as error:
            # The last is the answer where it was deleted in the meantime.
            if error.response["Error"]["Code"] in (
                "PreconditionFailed",
                "ConditionalRequestConflict",
                "NoSuchKey",
            ):
                return False
            raise
    return True


def write_lines(s3: S3Client, uri: S3Uri, lines: Iterable[bytes]) -> int:
    """Write lines, each ended by a newline, as one object; return how many there were. See `write_chunks`."""
    count = 0

    def chunks() -> Iterator[bytes]:
        nonlocal count
        rest = iter(lines)
        while some := list(islice(rest, _LINES_AT_ONCE)):
            count += len(some)
            yield b"\n".join(some) + b"\n"

    write_chunks(s3, uri, chunks(), "application/jsonlines")
    return count


def write_chunks(
    s3: S3Client, uri: S3Uri, chunks: Iterable[bytes], content_type: str, *, kms_key: str | None = None
) -> None:
    """Write bytes as one object while they are still being made.

    More than 8 MB are sent in parts, one after the other, so memory stays flat. When making them raises,
    nothing appears at `uri`.

    Args:
        s3: the client.
        uri: the object.
        chunks: its bytes.
        content_type: what it is.
        kms_key: the key of KMS that it is encrypted with, if not as the bucket does by itself.
    """
    from boto3.s3.transfer import TransferConfig

    encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}
    with explained("s3:PutObject", uri):
        s3.upload_fileobj(
            io.BufferedReader(_ChunkStream(chunks), 1 << 20),
            uri.bucket,
            uri.key,
            ExtraArgs={"ContentType": content_type, **encryption},
            # Threads would hold up to ten parts in memory.
            Config=TransferConfig(use_threads=False),
        )


def copy(s3: S3Client, source: S3Uri, target: S3Uri) -> None:
    """Copy an object of at most 5 GB inside S3; the bytes do not pass through this machine."""
    with explained(f"s3:PutObject on {target}, or s3:GetObject", source):
        s3.copy_object(
            CopySource={"Bucket": source.bucket, "Key": source.key}, Bucket=target.bucket, Key=target.key
        )


def exists(s3: S3Client, uri: S3Uri) -> bool:
    """Whether there is an object at exactly this address."""
    try:
        with explained(_HEAD, uri):
            s3.head_object(Bucket=uri.bucket, Key=uri.key)
    except ObjectNotFoundError:
        return False
    return True


class _ChunkStream(io.RawIOBase):
    """Bytes that are still being made as a file that can be read once."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        room = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(room):
            if not self._rest:
                chunk = next(self._chunks, None)
                if chunk is None:
                    break
                self._rest = memoryview(chunk)
            taken = self._rest[: len(room) - filled]
            room[filled : filled + len(taken)] = taken
            self._rest = self._rest[len(taken) :]
            filled += len(taken)
        return filled


@contextmanager
def explained(action: str, uri: S3Uri) -> Iterator[None]:
    """Turn S3's answers that mean something into our errors.

    Args:
        action: what is lacking when S3 denies and does not say what.
        uri: what was asked for.
    """
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "NoSuchBucket":
            raise BucketNotFoundError(uri.bucket) from error
        if code in ("NoSuchKey", "404", "NotFound"):
            raise ObjectNotFoundError(uri) from error
        if code in ("PreconditionFailed", "412"):
            raise ObjectChangedError(uri) from error
        if code == "InvalidObjectState":
            raise ObjectArchivedError(uri) from error
        if code in ("AccessDenied", "403", "Forbidden"):
            denial = denial_in(error.response["Error"].get("Message", ""))
            if denial is None:
                raise StorageDeniedError(action, uri) from error
            raise StorageDeniedError(denial.action, f"s3://{denial.resource.partition(':::')[2]}") from error
        raise StorageError(f"{uri}: {error.response['Error'].get('Message', code)} ({code})") from error
