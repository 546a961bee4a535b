"""An archive as bytes, on this machine or in S3, where it is read in pieces and never fetched to disk."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from gtlabel.storage import StoredObject, explained, stat
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from types_boto3_s3 import S3Client

_CHUNK = 1 << 20
# One request each; a slow network still brings one within a minute.
_PIECE = 8 << 20


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """The bytes of an archive.

    Attributes:
        name: what to call it.
        size: in bytes.
        open: opens it for reading anywhere in it, as often as wanted.
    """

    name: str
    size: int
    open: Callable[[], BinaryIO]

    @classmethod
    def on_disk(cls, path: Path) -> ArchiveFile:
        """A file."""
        return cls(path.name, path.stat().st_size, lambda: path.open("rb"))

    @classmethod
    def in_s3(cls, s3: S3Client, uri: S3Uri) -> ArchiveFile:
        """An object; reading raises an `ObjectChangedError` once it is another than now.

        Raises:
            ObjectNotFoundError: if there is none.
        """
        stored = stat(s3, uri)
        return cls(str(uri), stored.size, lambda: io.BufferedReader(_Object(s3, stored), _PIECE))

    def sha256(self) -> str:
        """The digest of all of it, in hexadecimal."""
        digest = sha256()
        with self.open() as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()


class _Object(io.RawIOBase):
    """An object in S3 as a file."""

    def __init__(self, s3: S3Client, stored: StoredObject) -> None:
        self._s3 = s3
        self._stored = stored
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._stored.size}[whence]
        self._position = start + offset
        if self._position < 0:
            raise OSError("a place before the start")
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        room = memoryview(buffer).cast("B")
        end = min(self._position + len(room), self._stored.size)
        if end <= self._position:
            return 0
        uri = self._stored.uri
        with explained("s3:GetObject", uri):
            answer = self._s3.get_object(
                Bucket=uri.bucket,
                Key=uri.key,
                Range=f"bytes={self._position}-{end - 1}",
                IfMatch=f'"{self._stored.etag}"',
            )
            body = answer["Body"].read()
        room[: len(body)] = body
        self._position += len(body)
        return len(body)
