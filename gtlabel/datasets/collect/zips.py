"""Zip archives, read by their directory; only what is wanted is unpacked.

Format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
"""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

from gtlabel.datasets.collect.archives import DAMAGE, LIMITS, Found, Limits, Paths, Wanted, link_problem
from gtlabel.datasets.collect.files import ArchiveFile
from gtlabel.errors import ArchiveError

_LONGEST_LINK = 4096
# 4.3.7: what stands before a member, without its name.
_HEADER = 30
_UTF8_NAME = 0x800
_ENCRYPTED = 0x41
_UNIX, _MACINTOSH = 3, 19


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
            except DAMAGE as error:
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
        paths = Paths(self.name, self.limits)
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
            end = info.header_offset + _HEADER + info.compress_size

    def _link(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: str) -> str | None:
        if not stat.S_ISLNK(_kind_in_zip(info)):
            return None
        if info.file_size > _LONGEST_LINK:
            raise ArchiveError(self.name, f"is a link with a target of {info.file_size:,} bytes", path)
        found = self._read(archive, info, path)
        if found.body is None:
            return found.problem
        return link_problem(self.name, path, found.body.decode("utf-8", "replace"), path.rpartition("/")[0])

    def _read(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: str) -> Found:
        try:
            with archive.open(info) as member:
                body = member.read(info.file_size + 1)
        except DAMAGE as error:
            return Found(path, info.file_size, problem=f"is damaged in the archive: {error}")
        if len(body) != info.file_size:
            return Found(path, info.file_size, problem="is damaged in the archive: it breaks off")
        return Found(path, len(body), body)


def _kind_in_zip(info: zipfile.ZipInfo) -> int:
    """The Unix kind of file, 0 where the archive was made elsewhere."""
    return stat.S_IFMT(info.external_attr >> 16) if info.create_system in (_UNIX, _MACINTOSH) else 0
