"""Whether a picture can be shown to a worker and learned from, told from a few of its bytes.

Pillow's `verify()` notices none of 100 JPEG files that were cut off, a walk along the markers notices all
of them (measured), so the walk is done here, without decoding and without a dependency. It jumps from
segment to segment: of a photograph in S3 it needs the start, what follows the thumbnail and the profile,
and the end; about one kilobyte of it.

Formats: ITU-T T.81 annex B (JPEG), https://www.w3.org/TR/png-3/ (PNG), CIPA DC-008 (Exif).
Limits: https://docs.aws.amazon.com/sagemaker/latest/dg/input-data-limits.html (contract/ground-truth.md §4.1)
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

MAX_BYTES = 40 * 1024 * 1024
MAX_PIXELS = 100_000_000
EXTENSIONS = (".jpg", ".jpeg", ".png")

# Up to this size a picture is fetched whole: one request is cheaper than two.
WHOLE_BYTES = 4 * 1024
# The tables of an ordinary JPEG end before.
HEAD_BYTES = 768
TAIL_BYTES = 128
# Where some cameras put notes of their own, after the end marker.
LONG_TAIL_BYTES = 16 * 1024
# A header in more pieces than this is fetched with all the rest.
_MAX_FETCHES = 8

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
# What phones and the web also call a picture, often under the name of a JPEG; the place and the bytes.
_OTHERS = {
    "GIF": (0, b"GIF8"),
    "BMP": (0, b"BM"),
    "TIFF": (0, b"II*\0"),
    "big-endian TIFF": (0, b"MM\0*"),
    "WebP": (8, b"WEBP"),
    "HEIC": (4, b"ftyphei"),
    "HEIF": (4, b"ftypmif1"),
    "AVIF": (4, b"ftypavif"),
}
_JPEG_START = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
# SOF0..SOF15 hold the size; C4, C8 and CC are other tables in the same range.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Baseline, extended and progressive, Huffman coded: the ones that browsers show.
_SHOWN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_SCAN = 0xDA
_END = 0xD9
_APP1 = 0xE1
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_ORIENTATION_TAG = 0x0112
_UPRIGHT = 1

Fetch = Callable[[int, int], bytes]
"""Reads a picture: `fetch(start, length)` gives the bytes from `start` on, fewer at the end."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the bytes of a sound picture say.

    Attributes:
        format: `JPEG` or `PNG`.
        width: pixels in a row, as they are stored.
        height: rows of pixels, as they are stored.
        orientation: Exif's number; at anything but 1 browsers turn the picture before they show it.
    """

    format: str
    width: int
    height: int
    orientation: int = _UPRIGHT

    @property
    def is_turned(self) -> bool:
        """Whether people see the picture otherwise than its pixels are stored."""
        return self.orientation != _UPRIGHT


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a picture may be.

    Attributes:
        max_bytes: the longest file.
        max_pixels: the most pixels in all.
        max_sides: the longer and the shorter side, whichever way the picture is held; None for any.
    """

    max_bytes: int = MAX_BYTES
    max_pixels: int = MAX_PIXELS
    max_sides: tuple[int, int] | None = None


PEOPLE = Limits()
AUTOMATED = Limits(max_sides=(3840, 2160))


class UnsoundPictureError(ValueError):
    """A picture that cannot be used; the message ends the sentence "this picture ..."."""


def find_problem(data: bytes, limits: Limits = PEOPLE) -> str | None:
    """What is wrong with a picture, as the end of the sentence "this picture ...", or None."""
    try:
        examine(len(data), lambda start, length: data[start : start + length], limits)
    except UnsoundPictureError as problem:
        return str(problem)
    return None


def examine(size: int, fetch: Fetch, limits: Limits = PEOPLE) -> Facts:
    """Look into a picture without reading all of it.

    What is found: another format, a file that was cut off anywhere, a coding that browsers do not show,
    and sizes beyond the limits. Damage amid the pixels is not; only a decoder meets that.

    Args:
        size: its length in bytes.
        fetch: reads parts of it; called two or three times for most, once for small ones.
        limits: how large it may be.

    Raises:
        UnsoundPictureError: if it cannot be used.
    """
    if size == 0:
        raise UnsoundPictureError("is empty")
    if size > limits.max_bytes:
        raise UnsoundPictureError(
            f"is {size / 1024 / 1024:.1f} MB long; the limit is {limits.max_bytes / 1024 / 1024:.0f} MB"
        )
    window = _Window(size, fetch)
    start = window.read(0, 12)
    if start.startswith(_JPEG_START):
        facts = _jpeg(window)
    elif start.startswith(_PNG_SIGNATURE):
        facts = _png(window)
    else:
        raise UnsoundPictureError(_name_of(start))
    _check_pixels(facts, limits)
    return facts


def _name_of(start: bytes) -> str:
    for name, (place, magic) in _OTHERS.items():
        if start.startswith(magic, place):
            return f"is a {name} picture; save it as JPEG or PNG"
    return f"is neither JPEG nor PNG, it begins with {start!r}"


def _check_pixels(facts: Facts, limits: Limits) -> None:
    shape = f"has {facts.width}x{facts.height} pixels"
    if facts.width * facts.height > limits.max_pixels:
        raise UnsoundPictureError(f"{shape}; the limit is {limits.max_pixels:,} in all")
    if limits.max_sides is not None:
        longer, shorter = limits.max_sides
        if max(facts.width, facts.height) > longer or min(facts.width, facts.height) > shorter:
            raise UnsoundPictureError(f"{shape}; automated labeling takes at most {longer}x{shorter}")


class _Window:
    """The part of a picture that was fetched last; all of it when it is small or torn to pieces."""

    def __init__(self, size: int, fetch: Fetch) -> None:
        self.size = size
        self._fetch = fetch
        self._start = 0
        self._fetches = 0
        self._held = b""

    def read(self, start: int, length: int) -> bytes:
        """`length` bytes from `start` on, fewer at the end of the picture."""
        if length <= 0 or start >= self.size:
            return b""
        offset = start - self._start
        if offset >= 0 and (offset + length <= len(self._held) or self._holds_the_end):
            return self._held[offset : offset + length]
        if self.size <= WHOLE_BYTES or self._fetches >= _MAX_FETCHES:
            return self.whole()[start : start + length]
        self._fetches += 1
        self._start, self._held = start, self._fetch(start, max(length, HEAD_BYTES))
        return self._held[:length]

    def whole(self) -> bytes:
        """All of the picture."""
        if not self.is_whole:
            self._start, self._held = 0, self._fetch(0, self.size)
        return self._held

    @property
    def is_whole(self) -> bool:
        """Whether all of it is here already."""
        return self._start == 0 and len(self._held) >= self.size

    @property
    def _holds_the_end(self) -> bool:
        return bool(self._held) and self._start + len(self._held) >= self.size


def _jpeg(window: _Window) -> Facts:
    facts, scan = _jpeg_header(window)
    if not window.is_whole:
        # 0xFF 0xD9 cannot stand in scan data, whose 0xFF are followed by zero or a restart marker.
        for length in (TAIL_BYTES, LONG_TAIL_BYTES):
            start = max(scan, window.size - length)
            if _JPEG_END in window.read(start, window.size - start):
                return facts
    _walk_to_the_end(window.whole(), scan)
    return facts


def _jpeg_header(window: _Window) -> tuple[Facts, int]:
    """The size and orientation, and where the first scan begins."""
    size: tuple[int, int] | None = None
    orientation = _UPRIGHT
    position = 2
    while True:
        position, marker = _next_marker(window, position)
        if marker == _END:
            raise UnsoundPictureError(f"is a JPEG without {'a frame' if size is None else 'pixels'}")
        if marker == 0x00 or marker in _WITHOUT_LENGTH:
            continue
        segment = window.read(position, 8)
        if len(segment) < 8:
            raise UnsoundPictureError("is a JPEG that is cut off")
        (length,) = struct.unpack_from(">H", segment)
        if length < 2:
            raise UnsoundPictureError(f"is a damaged JPEG, segment {marker:#04x} has no length")
        if marker in _FRAMES:
            size = _frame_size(marker, segment)
        elif marker == _APP1 and segment[2:8] == b"Exif\0\0":
            orientation = _orientation(window, position + 8, length - 8)
        elif marker == _SCAN:
            if size is None:
                raise UnsoundPictureError("is a damaged JPEG, its pixels come before their frame")
            return Facts("JPEG", *size, orientation), position + length
        position += length


def _next_marker(window: _Window, position: int) -> tuple[int, int]:
    """The marker at `position`, behind any fill bytes, and where its segment begins."""
    while position + 1 < window.size:
        here = window.read(position, 2)
        if len(here) < 2:
            break
        if here[0] != 0xFF:
            # Bytes that belong to no segment; every decoder passes over them.
            position = window.whole().find(b"\xff", position)
            if position < 0:
                break
            continue
        position += 1
        if here[1] != 0xFF:
            return position + 1, here[1]
    raise UnsoundPictureError("is a JPEG that is cut off")


def _frame_size(marker: int, segment: bytes) -> tuple[int, int]:
    precision, height, width = struct.unpack_from(">BHH", segment, 2)
    if marker not in _SHOWN_FRAMES or precision != 8:
        raise UnsoundPictureError(
            f"is a JPEG that browsers do not show (frame {marker:#04x}, {precision} bits a color); "
            "save it as a plain one"
        )
    if not (width and height):
        raise UnsoundPictureError(f"is a damaged JPEG of {width}x{height} pixels")
    return width, height


def _walk_to_the_end(data: bytes, position: int) -> None:
    """Go through the scans, from one 0xFF that is not data to the next, up to the end marker."""
    while True:
        position = data.find(b"\xff", position)
        while 0 <= position < len(data) - 1 and data[position + 1] == 0xFF:
            position += 1
        if not 0 <= position < len(data) - 1:
            raise UnsoundPictureError("is a JPEG that is cut off")
        marker = data[position + 1]
        position += 2
        if marker == _END:
            return
        if marker == 0x00 or marker in _WITHOUT_LENGTH:
            continue
        if position + 2 > len(data):
            raise UnsoundPictureError("is a JPEG that is cut off")
        (length,) = struct.unpack_from(">H", data, position)
        if length < 2:
            raise UnsoundPictureError(f"is a damaged JPEG, segment {marker:#04x} has no length")
        position += length


def _png(window: _Window) -> Facts:
    header = window.read(0, 33)
    if len(header) < 33 or header[12:16] != b"IHDR":
        raise UnsoundPictureError("is a PNG that is cut off or lacks its header")
    width, height = struct.unpack_from(">II", header, 16)
    if not (width and height):
        raise UnsoundPictureError(f"is a damaged PNG of {width}x{height} pixels")
    facts = Facts("PNG", width, height, _png_orientation(window))
    if not window.is_whole:
        for length in (TAIL_BYTES, LONG_TAIL_BYTES):
            start = max(33, window.size - length)
            if _PNG_END in window.read(start, window.size - start):
                return facts
    _walk_chunks(window.whole())
    return facts


def _png_orientation(window: _Window) -> int:
    """Go from chunk to chunk up to the pixels."""
    position = 33
    while len(chunk := window.read(position, 8)) == 8:
        (length,) = struct.unpack_from(">I", chunk)
        if chunk[4:] == b"eXIf":
            return _orientation(window, position + 8, length)
        if chunk[4:] in (b"IDAT", b"IEND"):
            return _UPRIGHT
        position += 12 + length
    raise UnsoundPictureError("is a PNG that is cut off")


def _walk_chunks(data: bytes) -> None:
    position = len(_PNG_SIGNATURE)
    pixels = False
    while True:
        if position + 12 > len(data):
            raise UnsoundPictureError("is a PNG that is cut off")
        (length,) = struct.unpack_from(">I", data, position)
        name = data[position + 4 : position + 8]
        end = position + 8 + length
        if end + 4 > len(data):
            raise UnsoundPictureError("is a PNG that is cut off")
        # A capital letter means that the picture cannot be shown without the chunk.
        checksum = int.from_bytes(data[end : end + 4])
        if name[:1].isupper() and zlib.crc32(data[position + 4 : end]) != checksum:
            raise UnsoundPictureError(f"is a damaged PNG, a checksum is wrong at byte {position:,}")
        if name == b"IEND":
            if not pixels:
                raise UnsoundPictureError("is a PNG without pixels")
            return
        pixels = pixels or name == b"IDAT"
        position = end + 4


def _orientation(window: _Window, start: int, length: int) -> int:
    """Exif's orientation, from the TIFF structure at `start`; upright when it does not say.

    Broken Exif is no reason to refuse a picture: browsers pass over it too.
    """
    tiff = window.read(start, min(length, 8))
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return _UPRIGHT
    (offset,) = struct.unpack_from(f"{order}I", tiff, 4)
    if offset + 2 > length:
        return _UPRIGHT
    (entries,) = struct.unpack(f"{order}H", window.read(start + offset, 2).ljust(2, b"\0"))
    directory = window.read(start + offset + 2, min(12 * entries, length - offset - 2))
    for entry in range(0, len(directory) - 11, 12):
        tag, kind, _count, value = struct.unpack_from(f"{order}HHIH", directory, entry)
        if tag == _ORIENTATION_TAG:
            return value if kind == 3 and 1 <= value <= 8 else _UPRIGHT
    return _UPRIGHT
