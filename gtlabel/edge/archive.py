"""ZIP files: written so that the same contents give the same bytes, and read without trusting them."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from gtlabel.errors import BundleError

# A bundle is two networks of some 50 MB, a few pictures, and wheels for a few platforms.
_MAX_UNPACKED = 2 << 30

Contents = Mapping[str, bytes | Path]


def write_archive(path: Path, contents: Contents) -> None:
    """Write files, given as bytes or by where they lie, into a ZIP; it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            # Stored, not deflated: compressors differ between machines, and weights hardly shrink.
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for name in sorted(contents):
                    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                    entry.create_system = 3
                    entry.external_attr = (stat.S_IFREG | 0o644) << 16
                    _add(archive, entry, contents[name])
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def extract(path: Path, folder: Path, *, max_bytes: int = _MAX_UNPACKED) -> None:
    """Unpack a ZIP into a folder that is not there yet; it appears whole or not at all.

    Raises:
        BundleError: if it is no ZIP, a name in it leads outside the folder, or it unpacks to more than
            `max_bytes`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        opened(path) as archive,
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary,
    ):
        inside = Path(temporary) / "unpacked"
        inside.mkdir()
        left = max_bytes
        for entry in entries(archive, path):
            target = inside / entry.filename
            if entry.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as source, target.open("wb") as sink:
                # The size that the archive states is a claim; what comes out is counted.
                while block := source.read(1 << 20):
                    left -= len(block)
                    if left < 0:
                        raise BundleError(f"{path} unpacks to more than {max_bytes} bytes")
                    sink.write(block)
            if entry.external_attr >> 16 & stat.S_IXUSR:
                target.chmod(0o755)
        inside.replace(folder)


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """A ZIP to read from.

    Raises:
        BundleError: if it is not there, or not a whole one; also when that shows only later.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileNotFoundError:
        raise BundleError(f"there is no file {path}") from None
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError) as error:
        raise BundleError(f"{path} is not a whole ZIP file: {error}") from error


def entries(archive: zipfile.ZipFile, path: Path) -> Iterator[zipfile.ZipInfo]:
    """The entries, each with a name that stays inside the folder it is unpacked to."""
    for entry in archive.infolist():
        name = PurePosixPath(entry.filename)
        windows = "\\" in entry.filename or ":" in entry.filename
        if name.is_absolute() or ".." in name.parts or windows or not name.parts:
            raise BundleError(f"{path} holds {entry.filename!r}, which would be written outside its folder")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise BundleError(f"{path} holds the link {entry.filename!r}; an archive may hold only files")
        yield entry


def _add(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, content: bytes | Path) -> None:
    if isinstance(content, bytes):
        archive.writestr(entry, content)
        return
    entry.file_size = content.stat().st_size
    with content.open("rb") as source, archive.open(entry, "w") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
