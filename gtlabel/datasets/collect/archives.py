"""Archives as other people make them: zip and tar, read member by member and never written to disk.

What could only be meant to do harm refuses the whole archive, before a picture of it went anywhere: names
that lead outside, links that point outside, devices, two members of one name, members that overlap, and
more bytes than the archive can honestly hold. What is merely odd (a link inside, a damaged member) sets
that member aside.

Formats: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT (zip),
https://www.gnu.org/software/tar/manual/html_node/Standard.html (tar)
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Protocol, cast

from gtlabel.datasets.collect.files import ArchiveFile
from gtlabel.errors import ArchiveError

GIGABYTE = 1_000_000_000
# The names of archives inside archives; what is in them stays there.
NESTED = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")

_MEGABYTE = 1 << 20
# tarfile moves what is left of a block after each member, so a longer one costs more than it saves.
_BLOCK = 1 << 16
_LONGEST_LINK = 4096
# https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, 4.3.7: what stands before a member's name.
_ZIP_HEADER = 30
_UTF8_NAME = 0x800
_ENCRYPTED = 0x41
_UNIX, _MACINTOSH = 3, 19
_OUTSIDE = re.compile(r"[\\/]|[A-Za-z]:")


class _Bytes(Protocol):
    """Something to read bytes from."""

    def read(self, length: int, /) -> bytes:
        """At most so many bytes; none at the end."""


# What the libraries raise for bytes that are not what they claim to be.
_DAMAGE = (
    EOFError,
    OSError,
    ValueError,
    IndexError,
    NotImplementedError,
    RuntimeError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
)
_DECOMPRESSORS: dict[bytes, Callable[[IO[bytes]], _Bytes]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an archive may claim to hold.

    Attributes:
        max_bytes: of all members together, unpacked.
        ratio: unpacked bytes for each byte of the archive. Pictures are packed already and stay near 1.
        free_bytes: so many are nobody's harm, whatever the ratio.
        max_members: how many members there may be.
    """

    max_bytes: int = 500 * GIGABYTE
    ratio: int = 100
    free_bytes: int = 64 * _MEGABYTE
    max_members: int = 20_000_000

    def check(self, archive: str, packed: int, unpacked: int) -> None:
        """Refuse what unpacks to more than it may.

        Raises:
            ArchiveError: naming the limit.
        """
        if unpacked > self.max_bytes:
            raise ArchiveError(
                archive,
                f"holds more than the {self.max_bytes / GIGABYTE:,.0f} GB that an archive may; "
                "if that is right, allow more with --max-gigabytes",
            )
        if unpacked > self.free_bytes + self.ratio * packed:
            raise ArchiveError(
                archive,
                f"unpacks to more than {self.ratio} times its {packed:,} bytes, which pictures never do; "
                "it is made to fill disks, so do not unpack it",
            )


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Found:
    """One member, or one file of a folder.

    Attributes:
        path: where it lies, with slashes; what is no UTF-8 in it stands as `%XX`.
        size: in bytes, as it says itself.
        body: its content, where it was wanted.
        problem: why it cannot be used, as the end of the sentence "this picture ...".
    """

    path: str
    size: int
    body: bytes | None = None
    problem: str | None = None


Wanted = Callable[[str, int], bool]
"""Says of a path and a size whether the content is wanted."""


class Source(Protocol):
    """What pictures come from when they do not come from S3."""

    @property
    def name(self) -> str:
        """What to call it."""

    def scan(self, wanted: Wanted) -> Iterator[Found]:
        """Yield everything in it, always in the same order, with the content of what is wanted."""


@dataclass(frozen=True, slots=True)
class ZipSource:
    """A zip archive.

    Attributes:
        file: its bytes.
        limits: what it may hold.
        encoding: how names without a mark are written; by default UTF-8 where they are that, as Macs write
            them, else code page 437, as the format has it.
    """

    file: ArchiveFile
    limits: Limits = LIMITS
    encoding: str | None = None

    @property
    def name(self) -> str:
        """What to call it."""
        return self.file.name

    def scan(self, wanted: Wanted) -> Iterator[Found]:
        """Yield the members in the order of the directory; only what is wanted is unpacked.

        Raises:
            ArchiveError: if the archive is hostile, encrypted or damaged.
        """
        with self.file.open() as file:
            try:
                archive = zipfile.ZipFile(file)
            except _DAMAGE as error:
                raise ArchiveError(self.name, f"cannot be read ({error}); download it again") from error
            for info, path in self._checked(archive):
                if info.is_dir():
                    continue
                if problem := self._link(archive, info, path):
                    yield Found(path, 0, problem=problem)
                elif wanted(path, info.file_size):
                    yield self._read(archive, info, path)
                else:
                    yield Found(path, info.file_size)

    def _checked(self, archive: zipfile.ZipFile) -> list[tuple[zipfile.ZipInfo, str]]:
        """The members with their paths, when the directory is one that an honest program writes."""
        infos = archive.infolist()
        paths = _Paths(self.name, self.limits)
        checked = [(info, paths.take(self._name_of(info), info.is_dir(), "\\/")) for info in infos]
        for info, path in checked:
            if info.flag_bits & _ENCRYPTED:
                raise ArchiveError(
                    self.name, "is encrypted; unpack it with its password and collect the folder", path
                )
            kind = _kind_in_zip(info)
            if kind and not (stat.S_ISREG(kind) or stat.S_ISDIR(kind) or stat.S_ISLNK(kind)):
                raise ArchiveError(self.name, "is a device and no file", path)
        self._refuse_overlaps(infos)
        self.limits.check(self.name, self.file.size, sum(info.file_size for info in infos))
        return checked

    def _name_of(self, info: zipfile.ZipInfo) -> str:
        name = info.orig_filename
        if info.flag_bits & _UTF8_NAME or name.isascii():
            return name
        try:
            raw = name.encode("cp437")
        except UnicodeEncodeError:
            # It was told in Unicode beside the name already.
            return name
        for encoding in (self.encoding, "utf-8"):
            try:
                return raw.decode(encoding or "utf-8")
            except (UnicodeDecodeError, LookupError):
                continue
        return name

    def _refuse_overlaps(self, infos: list[zipfile.ZipInfo]) -> None:
        end = 0
        for info in sorted(infos, key=lambda info: info.header_offset):
            if info.header_offset < end:
                raise ArchiveError(self.name, "overlaps another member, as only bombs do", info.filename)
            end = info.header_offset + _ZIP_HEADER + info.compress_size

    def _link(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: str) -> str | None:
        if not stat.S_ISLNK(_kind_in_zip(info)):
            return None
        if info.file_size > _LONGEST_LINK:
            raise ArchiveError(self.name, f"is a link with a target of {info.file_size:,} bytes", path)
        found = self._read(archive, info, path)
        if found.body is None:
            return found.problem
        return _link_problem(self.name, path, found.body.decode("utf-8", "replace"), path.rpartition("/")[0])

    def _read(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: str) -> Found:
        try:
            with archive.open(info) as member:
                body = member.read(info.file_size + 1)
        except _DAMAGE as error:
            return Found(path, info.file_size, problem=f"is damaged in the archive: {error}")
        if len(body) != info.file_size:
            return Found(path, info.file_size, problem="is damaged in the archive: it breaks off")
        return Found(path, len(body), body)


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
            except _DAMAGE as error:
                raise ArchiveError(
                    self.name, f"is damaged or breaks off ({error}); download it again"
                ) from error

    def _members(self, stream: _Counted, wanted: Wanted) -> Iterator[Found]:
        paths = _Paths(self.name, self.limits)
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
            while rest := archive.fileobj.read(_MEGABYTE):
                if rest.strip(b"\0"):
                    raise ArchiveError(
                        self.name, "goes on after its end, as joined archives do; unpack it and see"
                    )

    def _found(self, archive: tarfile.TarFile, info: tarfile.TarInfo, path: str, wanted: Wanted) -> Found:
        if info.issym() or info.islnk():
            folder = path.rpartition("/")[0] if info.issym() else ""
            return Found(path, 0, problem=_link_problem(self.name, path, info.linkname, folder))
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


class _Paths:
    """The paths of an archive so far, none of which may lead outside or come twice."""

    def __init__(self, archive: str, limits: Limits) -> None:
        self._archive = archive
        self._limits = limits
        self._taken: set[str] = set()
        self._count = 0

    def take(self, name: str, is_folder: bool, separators: str) -> str:
        """The path that a name means.

        Args:
            name: as the archive has it.
            is_folder: folders may be named twice.
            separators: what parts the folders; some programs on Windows write backslashes into a zip.
        """
        self._count += 1
        if self._count > self._limits.max_members:
            raise ArchiveError(self._archive, f"has more than {self._limits.max_members:,} members")
        if "\0" in name:
            raise ArchiveError(self._archive, "has a name with a zero byte in it", shown(name))
        if _OUTSIDE.match(name):
            raise ArchiveError(self._archive, "has an absolute name, which leads outside", shown(name))
        if ".." in re.split(r"[\\/]", name):
            raise ArchiveError(self._archive, "has a name that leads outside", shown(name))
        parts = re.split(f"[{re.escape(separators)}]", name)
        path = shown("/".join(part for part in parts if part not in ("", ".")))
        if not is_folder:
            if path in self._taken:
                raise ArchiveError(
                    self._archive,
                    "is in it twice, and nobody can say which is meant; unpack it and see",
                    path,
                )
            self._taken.add(path)
        return path


def shown(name: str) -> str:
    """A name of any bytes as a text that can be printed, sent and stored; what is no UTF-8 becomes `%XX`."""
    raw = name.encode("utf-8", "surrogateescape")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "".join(
            f"%{ord(letter) - 0xDC00:02X}" if 0xDC80 <= ord(letter) <= 0xDCFF else letter for letter in name
        )


def _link_problem(archive: str, path: str, target: str, folder: str) -> str:
    """What to say of a link that stays inside.

    Raises:
        ArchiveError: if it does not.
    """
    depth = len([part for part in folder.split("/") if part])
    if _OUTSIDE.match(target):
        depth = -1
    for part in re.split(r"[\\/]", target):
        if depth >= 0 and part not in ("", "."):
            depth += -1 if part == ".." else 1
    if depth < 0:
        raise ArchiveError(archive, f"is a link that leads outside, to {shown(target)!r}", path)
    return f"is a link to {shown(target)!r}; only files are collected"


def _kind_in_zip(info: zipfile.ZipInfo) -> int:
    """The Unix kind of file, 0 where the archive was made elsewhere."""
    return stat.S_IFMT(info.external_attr >> 16) if info.create_system in (_UNIX, _MACINTOSH) else 0
