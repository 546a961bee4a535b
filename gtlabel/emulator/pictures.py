"""Where manifests and the pictures that they name are: in S3, or in a folder of this machine.

Many pictures are begun before the first is asked for. In S3 that takes a thread for each; on a disk it takes
telling the kernel, which reads on while other pictures are on their way to the program.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from gtlabel import storage
from gtlabel.datasets.flow import connections
from gtlabel.errors import ObjectNotFoundError, StorageError
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# At 30 ms a picture these are two thousand a second, more than botocore gets out of one core.
_REQUESTS = 64
_FILES = 16
_CHUNK = 1 << 20
_ADVISES = hasattr(os, "posix_fadvise")
# Linux moves pages from a file to a pipe (https://man7.org/linux/man-pages/man2/splice.2.html). Each takes up
# one of the pipe's places, however little is in it, so small files are better read.
_POURS = hasattr(os, "splice")
_LARGE = 1 << 14
_NOT_WAITING = 2  # SPLICE_F_NONBLOCK


class Pending(Protocol):
    """A picture on its way."""

    def result(self) -> bytes:
        """Wait for it.

        Raises:
            StorageError: if it cannot be had.
        """

    def done(self) -> bool:
        """Whether nobody has to wait for it."""

    def cancel(self) -> object:
        """Say that nobody asks for it any more."""


class Pictures(Protocol):
    """Finds manifests and pictures.

    Attributes:
        widest: how many pictures may be under way at once.
    """

    widest: int

    def lines(self, manifest: str) -> Iterator[bytes]:
        """The lines of a manifest, without their ends.

        Raises:
            StorageError: if it cannot be read.
        """

    def begin(self, reference: str) -> Pending:
        """Begin to fetch a picture by what its line calls it.

        Raises:
            UriError: if that is no address.
            StorageError: if it can be told at once that the picture cannot be had.
        """

    def close(self) -> None:
        """Let go of everything."""


class Bucket:
    """S3, whichever buckets a manifest names.

    Args:
        s3: the client; it is used from several threads.
        name: of the channel, for the names of the threads.
    """

    def __init__(self, s3: S3Client, name: str) -> None:
        requests = min(_REQUESTS, connections(s3))
        # Twice as many: a slow picture must not keep those behind it from being asked for.
        self.widest = 2 * requests
        self._s3 = s3
        self._pool = ThreadPoolExecutor(requests, thread_name_prefix=f"fetch {name}")

    def lines(self, manifest: str) -> Iterator[bytes]:
        """The lines of an object."""
        return storage.read_lines(self._s3, S3Uri(manifest))

    def begin(self, reference: str) -> Pending:
        """Begin to fetch an object."""
        return self._pool.submit(self._read, S3Uri(reference))

    def _read(self, uri: S3Uri) -> bytes:
        from botocore.exceptions import BotoCoreError

        try:
            return storage.read(self._s3, uri)
        except BotoCoreError as error:
            raise StorageError(f"{uri} cannot be read: {error}") from error

    def close(self) -> None:
        """End the threads; what is under way is waited for."""
        self._pool.shutdown(cancel_futures=True)


class Folder:
    """Files of this machine, for manifests that name objects of S3, files, or paths beside the manifest.

    Args:
        folder: where relative paths start.
        copies: finds the files for objects of S3.
    """

    def __init__(self, folder: Path, copies: Copies) -> None:
        self.widest = _FILES
        self._folder = folder
        self._copies = copies

    def lines(self, manifest: str) -> Iterator[bytes]:
        """The lines of a file."""
        try:
            yield from storage.read_file_lines(Path(manifest))
        except OSError as error:
            raise StorageError(f"{manifest} cannot be read: {error.strerror}") from error

    def begin(self, reference: str) -> Pending:
        """Open a file, and have it read ahead."""
        likely = self._copies.likely(reference) if reference.startswith("s3://") else None
        if likely is not None:
            # Asking whether it is there takes longer than finding out.
            try:
                return OpenFile(likely)
            except ObjectNotFoundError:
                likely = None
        return OpenFile(str(self.path(reference)))

    def path(self, reference: str) -> Path:
        """The file that a line means, whether it is there or not.

        Raises:
            UriError: if it looks like an address in S3 and is none.
            StorageError: if an object has no copy here.
        """
        if reference.startswith("s3://"):
            return self._copies.find(S3Uri(reference))
        if reference.startswith("file://"):
            return Path(unquote(urlsplit(reference).path))
        return self._folder / reference

    def close(self) -> None:
        """Nothing is open but what was begun."""


class Copies:
    """Finds the copies of objects below a folder: by the end of their keys.

    The copy of `s3://bucket/dataset/classes/Glass/1.jpg` may lie below it at `dataset/classes/Glass/1.jpg`,
    at `classes/Glass/1.jpg`, and so on, down to `1.jpg`. The longest that is there counts; what fits one
    picture is tried first for the next.

    Args:
        folder: where they are.
        root: the address that the folder is a copy of, where that is known; below it nothing is guessed.
    """

    def __init__(self, folder: Path, root: str = "") -> None:
        self._folder = folder
        self._root = root
        self._whole = folder.resolve()
        self._cut = 0

    def likely(self, reference: str) -> str | None:
        """The path that an address probably has, going by the one before it; None where it cannot be told."""
        if ".." in reference:
            return None
        if self._root:
            return (
                f"{self._folder}/{reference[len(self._root) :]}" if reference.startswith(self._root) else None
            )
        return f"{self._folder}/{reference.split('/', 3 + self._cut)[-1]}"

    def find(self, uri: S3Uri) -> Path:
        """The file of an object.

        Raises:
            StorageError: if there is none.
        """
        parts = uri.key.split("/")
        # What was cut off for the last picture mostly fits this one.
        cuts: tuple[int, ...] = (self._cut, *range(len(parts)))
        if self._root and uri.startswith(self._root):
            cuts = (self._root.count("/") - 3,)
        for cut in cuts:
            path = self._at("/".join(parts[cut:]))
            if path is not None:
                self._cut = cut
                return path
        raise StorageError(f"{uri} has no copy below {self._folder}")

    def _at(self, name: str) -> Path | None:
        path = self._folder / name
        # A key may hold "..", which is a name in S3 and a way out of a folder.
        if ".." in name and not path.resolve().is_relative_to(self._whole):
            return None
        return path if path.is_file() else None


class OpenFile:
    """An open file: read when it is asked for, or poured into a pipe without being read at all.

    Its length is what is left of it.
    """

    __slots__ = ("_descriptor", "_left", "_path")

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            raise ObjectNotFoundError(path) from None
        except OSError as error:
            raise self._unreadable(error) from error
        self._left = os.fstat(self._descriptor).st_size
        if _ADVISES:
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_WILLNEED)

    def __len__(self) -> int:
        return self._left

    @property
    def pours(self) -> bool:
        """Whether pouring it takes less time than reading it."""
        return _POURS and self._left >= _LARGE

    def pour(self, pipe: int) -> int:
        """Move as much into a pipe as it takes now; return how much that was.

        The pages go as they lie in memory: what is written to the file before they are read, is read.

        Raises:
            BlockingIOError: if the pipe is full.
            StorageError: if the file became shorter.
        """
        moved = os.splice(self._descriptor, pipe, self._left, flags=_NOT_WAITING)
        if not moved:
            raise self._shorter()
        self._left -= moved
        return moved

    def remainder(self) -> bytes:
        """Read exactly what is left of it.

        Raises:
            StorageError: if it cannot be read, or became shorter.
        """
        content = self.result()[: self._left]
        if len(content) < self._left:
            raise self._shorter()
        return content

    def result(self) -> bytes:
        """Read what is left of it."""
        descriptor = self._descriptor
        try:
            content = os.read(descriptor, self._left + 1)
            if len(content) != self._left:
                # It grew, or the system hands out less at once.
                content += b"".join(iter(lambda: os.read(descriptor, _CHUNK), b""))
        except OSError as error:
            raise self._unreadable(error) from error
        finally:
            self.cancel()
        return content

    def done(self) -> bool:
        """Always: no server has to answer first."""
        return True

    def cancel(self) -> None:
        """Close it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _shorter(self) -> StorageError:
        return StorageError(f"{self._path} became shorter while it was read")

    def _unreadable(self, error: OSError) -> StorageError:
        return StorageError(f"{self._path} cannot be read: {error.strerror}")
