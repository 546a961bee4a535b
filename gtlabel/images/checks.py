"""Whether a picture can be shown to a worker and learned from, told from its bytes alone.

Pillow's `verify()` notices none of 100 JPEG files that were cut off, a walk along the markers notices all
of them (measured), so the walk is done here, without decoding and without a dependency.

Formats: ITU-T T.81 annex B (JPEG), https://www.w3.org/TR/png/ (PNG).
Limits: https://docs.aws.amazon.com/sagemaker/latest/dg/input-data-limits.html
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAX_BYTES = 40 * 1024 * 1024
MAX_PIXELS = 100_000_000
EXTENSIONS = (".jpg", ".jpeg", ".png")

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_JPEG_START = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
# SOF0..SOF15 hold the size; C4, C8 and CC are other tables in the same range.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA
_END = 0xD9
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


@dataclass(frozen=True, slots=True)
class Facts:
    """What the bytes of a sound picture say: its format and its size in pixels."""

    format: str
    width: int
    height: int


class _UnsoundError(ValueError):
    """The sentence says what is wrong with the picture."""


def find_problem(size: int, head: bytes, tail: bytes) -> str | None:
    """What is wrong with a picture, as the end of the sentence "this picture ...", or None.

    Args:
        size: the object's length in bytes.
        head: its first bytes; all of them when there are no more.
        tail: its last bytes. When `head` is not everything, only the end marker is looked for in it.
    """
    try:
        facts = read_facts(size, head, tail)
    except _UnsoundError as problem:
        return str(problem)
    if facts.width * facts.height > MAX_PIXELS:
        return f"has {facts.width}x{facts.height} pixels; the limit is {MAX_PIXELS:,} in all"
    return None


def read_facts(size: int, head: bytes, tail: bytes) -> Facts:
    """Format and size of a picture; arguments as in `find_problem`.

    Raises:
        ValueError: if it is empty, too long, cut off, or neither JPEG nor PNG.
    """
    if size == 0:
        raise _UnsoundError("is empty")
    if size > MAX_BYTES:
        raise _UnsoundError(f"is {size / 1024 / 1024:.1f} MB long; the limit is 40 MB")
    if head.startswith(_JPEG_START):
        return _jpeg(head, tail, whole=len(head) == size)
    if head.startswith(_PNG_SIGNATURE):
        return _png(head, tail, whole=len(head) == size)
    raise _UnsoundError(f"is neither JPEG nor PNG, it begins with {head[:12]!r}")


def _jpeg(data: bytes, tail: bytes, *, whole: bool) -> Facts:
    """Walk from marker to marker; in the scans, from one 0xFF that is not data to the next."""
    facts: Facts | None = None
    position = 2
    while True:
        position = data.find(b"\xff", position)
        while 0 <= position < len(data) - 1 and data[position + 1] == 0xFF:  # fill bytes
            position += 1
        if not 0 <= position < len(data) - 1:
            break
        marker = data[position + 1]
        position += 2
        if marker == _END:
            if facts is None:
                raise _UnsoundError("is a JPEG without a frame")
            return facts
        if marker == 0x00 or marker in _WITHOUT_LENGTH:
            continue
        if position + 2 > len(data):
            break
        (length,) = struct.unpack_from(">H", data, position)
        if length < 2:
            raise _UnsoundError(f"is a damaged JPEG, segment {marker:#04x} has no length")
        if marker in _FRAMES and position + 7 <= len(data):
            height, width = struct.unpack_from(">HH", data, position + 3)
            if not (width and height):
                raise _UnsoundError(f"is a damaged JPEG of {width}x{height} pixels")
            facts = Facts("JPEG", width, height)
        position += length
        if marker == _SCAN and not whole and facts is not None:
            break  # the scan data of a long picture was not fetched; its end is in the tail
    if whole or facts is None or _JPEG_END not in tail:
        raise _UnsoundError("is a JPEG that is cut off")
    return facts


def _png(data: bytes, tail: bytes, *, whole: bool) -> Facts:
    if data[12:16] != b"IHDR" or len(data) < 24:
        raise _UnsoundError("is a PNG that is cut off or lacks its header")
    width, height = struct.unpack_from(">II", data, 16)
    if not (width and height):
        raise _UnsoundError(f"is a damaged PNG of {width}x{height} pixels")
    position = len(_PNG_SIGNATURE)
    while whole:
        if position + 12 > len(data):
            raise _UnsoundError("is a PNG that is cut off")
        (length,) = struct.unpack_from(">I", data, position)
        if data[position + 4 : position + 8] == b"IEND":
            break
        position += 12 + length
    if not whole and _PNG_END not in tail:
        raise _UnsoundError("is a PNG that is cut off")
    return Facts("PNG", width, height)
