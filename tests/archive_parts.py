"""Archives as tests need them: honest, odd and hostile ones."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

JPEG = (Path(__file__).parent.parent / "samples/trash/images/photo-001.jpg").read_bytes()
PACK: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "tar.gz": lambda body: gzip.compress(body, mtime=0),
    "tar.bz2": bz2.compress,
    "tar.xz": lambda body: lzma.compress(body, preset=0),
}


@cache
def picture(number: int) -> bytes:
    """A sound little picture, another one for each number."""
    header = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + struct.pack(">II", number, row)[:6] for row in range(2)))
    text = str(number).encode()
    chunks = [(b"IHDR", header), (b"tEXt", b"number\0" + text), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def folders(*classes: str, each: int = 3, above: str = "", first: int = 0) -> dict[str, bytes]:
    """Class folders with pictures, by their paths."""
    names = [f"{above}{name}/{number}.png" for name in classes for number in range(each)]
    return {path: picture(first + number) for number, path in enumerate(names)}


MIT = {"LICENSE": b"MIT License"}
HONEST = {**MIT, **folders("cat", "dog")}


def zipped(
    members: Mapping[str, bytes] | list[tuple[Any, bytes]],
    method: int = zipfile.ZIP_DEFLATED,
) -> bytes:
    """A zip archive of members by their names, or of pairs of a name or its facts and a content."""
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", method) as archive, warnings.catch_warnings():
        # Of names that come twice, which is the point.
        warnings.simplefilter("ignore")
        for name, content in members.items() if isinstance(members, Mapping) else members:
            # By a name alone the time of day would be a part of the archive.
            archive.writestr(zipfile.ZipInfo(name) if isinstance(name, str) else name, content, method)
    return body.getvalue()


def zip_member(name: str, mode: int) -> zipfile.ZipInfo:
    """The facts of a member that is of another kind than a file."""
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def tarred(
    members: Mapping[str, bytes] | list[tuple[Any, bytes]], pack: str = "tar", **options: Any
) -> bytes:
    """A tar archive of members by their names, or of pairs of a name or its facts and a content."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w", **options) as archive:
        for name, content in members.items() if isinstance(members, Mapping) else members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if info.isreg():
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return PACK[pack](body.getvalue())


def tar_member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """The facts of a member that is of another kind than a file."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info


def with_zip(name: Any, content: bytes = JPEG) -> bytes:
    """An honest zip with one more member."""
    return zipped([*HONEST.items(), (name, content)])


def with_tar(name: Any, content: bytes = JPEG, pack: str = "tar.gz") -> bytes:
    """An honest tar with one more member."""
    return tarred([*HONEST.items(), (name, content)], pack)


def encrypted() -> bytes:
    """A zip whose last member says that it wants a password."""
    body = bytearray(with_zip("cat/secret.png"))
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        body[body.rindex(magic) + offset] |= 1
    return bytes(body)


def overlapping() -> bytes:
    """A zip whose directory names one member's bytes under two names."""
    body = bytearray(with_zip("dog/2.pnG", picture(5)))
    first, last = body.index(b"PK\x01\x02"), body.rindex(b"PK\x01\x02")
    before = body.rindex(b"PK\x01\x02", first, last)
    body[last + 42 : last + 46] = body[before + 42 : before + 46]
    return bytes(body)


def zip_bomb(megabytes: int = 4) -> bytes:
    """A zip of some kilobytes that unpacks to so many megabytes."""
    return zipped([*HONEST.items(), ("cat/bomb.png", bytes(megabytes << 20))])


def tar_bomb(pack: str, megabytes: int = 4) -> bytes:
    """The same as a tar."""
    return tarred([*HONEST.items(), ("cat/bomb.png", bytes(megabytes << 20))], pack)


def long_name_bomb(megabytes: int = 4) -> bytes:
    """A tar whose next member has a name of so many megabytes, which a careless reader keeps in memory."""
    info = tarfile.TarInfo("././@LongLink")
    info.type = tarfile.GNUTYPE_LONGNAME
    info.size = megabytes << 20
    return gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(info.size) + bytes(1024), mtime=0)


def negative_size() -> bytes:
    """A tar whose last member is shorter than nothing, so that a careless reader turns in a circle."""
    body = bytearray(with_tar("cat/negative.png", pack="tar"))
    start = body.index(b"cat/negative.png")
    body[start + 124 : start + 136] = b"\xff" * 11 + b"\x00"
    header = bytearray(body[start : start + 512])
    header[148:156] = b" " * 8
    body[start + 148 : start + 156] = b"%06o\0 " % sum(header)
    return bytes(body)


def sparse() -> bytes:
    """A tar with a file that says it is large and has no bytes (GNU's old way)."""
    info = tarfile.TarInfo("cat/sparse.png")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:398] = b"%011o\0" % 0
    header[398:410] = b"%011o\0" % 0
    header[483:495] = b"%011o\0" % (1 << 32)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    whole = tarred(HONEST)
    return (
        whole.rstrip(b"\0").ljust((len(whole.rstrip(b"\0")) + 511) // 512 * 512, b"\0") + header + bytes(1024)
    )


def put_folder(folder: Path, members: dict[str, bytes]) -> Path:
    """A folder with these files."""
    for name, body in members.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return folder


def put_zip(tmp_path: Path, members: dict[str, bytes], name: str = "flowers.zip") -> Path:
    """A zip archive with these files."""
    path = tmp_path / name
    path.write_bytes(zipped(members))
    return path


DEVICE = stat.S_IFCHR | 0o644
PIPE = stat.S_IFIFO | 0o644
LINK = stat.S_IFLNK | 0o777
