"""What a person names as a source: a folder, an archive, told by its first bytes and not by its name."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gtlabel.datasets.collect.archives import LIMITS, Found, Limits, Source, Wanted, shown
from gtlabel.datasets.collect.files import ArchiveFile
from gtlabel.datasets.collect.tars import PACKED, TarSource
from gtlabel.datasets.collect.zips import ZipSource
from gtlabel.errors import ArchiveError

# Kinds of archives that the standard library does not read, by their first bytes, and what unpacks them.
_OTHERS = {
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "7z x"),
    b"Rar!\x1a\x07": ("a RAR archive", "unrar x"),
    b"\x28\xb5\x2f\xfd": ("packed by zstd", "tar --zstd -xf"),
    b"\x1f\x9d": ("packed by compress", "tar -xzf"),
    b"\x04\x22\x4d\x18": ("packed by lz4", "tar -I lz4 -xf"),
}
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A folder with all that is below it. Hidden files are passed over, links are not followed.

    Attributes:
        path: the folder.
        follow_links: take what links point to; for folders of one's own, such as datasets made of links.
    """

    path: Path
    follow_links: bool = False

    @property
    def name(self) -> str:
        """What to call it."""
        return self.path.resolve().name or "folder"

    def scan(self, wanted: Wanted) -> Iterator[Found]:
        """Yield the files in the order of their paths."""
        for folder, folders, files in os.walk(self.path, followlinks=False):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(name for name in files if not name.startswith(".")):
                found = self._file(Path(folder) / name, wanted)
                if found is not None:
                    yield found

    def _file(self, file: Path, wanted: Wanted) -> Found | None:
        name = file.relative_to(self.path).as_posix()
        path = shown(name)
        if path != name:
            return Found(path, 0, problem="has a name that is no UTF-8; rename it")
        try:
            if file.is_symlink() and not self.follow_links:
                return Found(path, 0, problem="is a link; --follow-links takes what it points to")
            facts = file.stat()
            if not stat.S_ISREG(facts.st_mode):
                return None
            if not wanted(path, facts.st_size):
                return Found(path, facts.st_size)
            body = file.read_bytes()
        except OSError as error:
            return Found(path, 0, problem=f"cannot be read: {error.strerror}")
        return Found(path, len(body), body)


def open_archive(file: ArchiveFile, *, limits: Limits = LIMITS, encoding: str | None = None) -> Source:
    """The source that an archive is, told by its first bytes.

    Args:
        file: its bytes.
        limits: what it may hold.
        encoding: how it writes its names, where it does not say.

    Raises:
        ArchiveError: if it is a file of another kind.
    """
    with file.open() as opened:
        start = opened.read(512)
    if start.startswith(_ZIP):
        return ZipSource(file, limits, encoding)
    for magic, (kind, command) in _OTHERS.items():
        if start.startswith(magic):
            raise ArchiveError(
                file.name, f"is {kind}, which is not read; unpack it ({command}) and collect the folder"
            )
    if start.startswith(PACKED) or _is_tar(start):
        return TarSource(file, limits, encoding)
    raise ArchiveError(
        file.name, f"is no zip and no tar, it begins with {start[:8]!r}; give the folder or archive itself"
    )


def _is_tar(start: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
