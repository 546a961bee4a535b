"""Archives as other people make them: zip and tar, read member by member and never written to disk.

What could only be meant to do harm refuses the whole archive, before a picture of it went anywhere: names
that lead outside, links that point outside, devices, two members of one name, members that overlap, and
more bytes than the archive can honestly hold. What is merely odd (a link inside, a damaged member) sets
that member aside. Here is what all kinds of archives have in common.
"""

from __future__ import annotations

import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from gtlabel.errors import ArchiveError

GIGABYTE = 1_000_000_000
# The names of archives inside archives; what is in them stays there.
NESTED = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")

MEGABYTE = 1 << 20
_OUTSIDE = re.compile(r"[\\/]|[A-Za-z]:")
# What the libraries raise for bytes that are not what they claim to be.
DAMAGE = (
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
    free_bytes: int = 64 * MEGABYTE
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


class Paths:
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


def link_problem(archive: str, path: str, target: str, folder: str) -> str:
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
