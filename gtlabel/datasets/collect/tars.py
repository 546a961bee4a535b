"""Tar archives, as they are or packed, read once from start to end.

Format: https://www.gnu.org/software/tar/manual/html_node/Standard.html
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Protocol, cast

from gtlabel.datasets.collect.archives import (
    DAMAGE,
    LIMITS,
    MEGABYTE,
    Found,
    Limits,
    Paths,
    Wanted,
    link_problem,
)
from gtlabel.datasets.collect.files import ArchiveFile
from gtlabel.errors import ArchiveError

# tarfile moves what is left of a block after each member, so a longer one costs more than it saves.
_BLOCK = 1 << 16


class _Bytes(Protocol):
    """Something to read bytes from."""

    def read(self, length: int, /) -> bytes:
        """At most so many bytes; none at the end."""


_DECOMPRESSORS: dict[bytes, Callable[[IO[bytes]], _Bytes]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
PACKED = tuple(_DECOMPRESSORS)
"""How packed tars begin."""


@dataclass(frozen=True, slots=True)
class TarSource:
    """A tar archive, as it is or packed by gzip, bzip2 or xz.

    Attributes:
        file: its bytes.
        limits: what it may hold.
        encoding: how names are written; by default UTF-8.
    """

    file: ArchiveFile
    limits: Limits = LIMITS
    encoding: str | None = None

    @property
    def name(self) -> str:
        """What to call it."""
        return self.file.name

    def scan(self, wanted: Wanted) -> Iterator[Found]:
        """Yield the members in the order of the archive, unpacking it once from start to end.

        Raises:
            ArchiveError: if the archive is hostile or damaged.
        """
        with self.file.open() as file:
            start = file.read(8)
            file.seek(0)
            unpack = next((use for magic, use in _DECOMPRESSORS.items() if start.startswith(magic)), None)
            stream = _Counted(self, unpack(file) if unpack else file)
            try:
                yield from self._members(stream, wanted)
            except DAMAGE as error:
                raise ArchiveError(
                    self.name, f"is damaged or breaks off ({error}); download it again"
                ) from error

    def _members(self, stream: _Counted, wanted: Wanted) -> Iterator[Found]:
        paths = Paths(self.name, self.limits)
        with tarfile.open(
            fileobj=cast("IO[bytes]", stream),  # it asks for nothing but `read`
            mode="r|",
            bufsize=_BLOCK,
            tarinfo=_Header,
            encoding=self.encoding or "utf-8",
            errors="surrogateescape",
        ) as archive:
            while (info := archive.next()) is not None:
                # It would keep all that it has passed, which nobody asks for again.
                vars(archive)["members"].clear()
                path = paths.take(info.name, info.isdir(), "/")
                if not info.isdir():
                    yield self._found(archive, info, path, wanted)
            # To the end, where the checksums stand; a second archive there would be lost in silence.
            while rest := archive.fileobj.read(MEGABYTE):
                if rest.strip(b"\0"):
                    raise ArchiveError(
                        self.name, "goes on after its end, as joined archives do; unpack it and see"
                    )

    def _found(self, archive: tarfile.TarFile, info: tarfile.TarInfo, path: str, wanted: Wanted) -> Found:
        if info.issym() or info.islnk():
            folder = path.rpartition("/")[0] if info.issym() else ""
            return Found(path, 0, problem=link_problem(self.name, path, info.linkname, folder))
        if not info.isreg():
            raise ArchiveError(self.name, "is a device and no file", path)
        if info.issparse():
            return Found(path, info.size, problem="is a sparse file, which no picture is")
        if not wanted(path, info.size):
            return Found(path, info.size)
        member = archive.extractfile(info)
        body = member.read(info.size) if member is not None else b""
        if len(body) != info.size:
            raise EOFError(f"{path} breaks off")
        return Found(path, info.size, body)


class _Header(tarfile.TarInfo):
    """A header that says when it is damaged: tarfile takes that for the end, and the rest would be lost."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if type(error).__name__ == "EOFHeaderError":
                raise
            raise ValueError(f"{error}, where a member or the end must stand") from error


class _Counted:
    """What was unpacked so far, counted."""

    def __init__(self, source: TarSource, file: _Bytes) -> None:
        self._source = source
        self._file = file
        self._packed = source.file.size
        self._count = 0

    def read(self, length: int) -> bytes:
        data = self._file.read(length)
        self._count += len(data)
        self._source.limits.check(self._source.name, self._packed, self._count)
        return data
