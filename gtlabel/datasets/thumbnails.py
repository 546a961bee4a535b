"""A picture looked at once: what its bytes say, its fingerprint, and a small copy of it for a page."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from gtlabel.errors import MissingExtraError
from gtlabel.images.checks import Limits, UnsoundPictureError, examine
from gtlabel.images.thumbnails import thumbnail

if TYPE_CHECKING:
    from gtlabel.images.fingerprints import Fingerprint

# A page of a few pictures shows them larger; one of 20,000 is to open fast and be mailed.
_FEW = 2_000
_LARGE, _SMALL = 192, 128
# A dataset may hold what Ground Truth would not take; looking at it is not the place to say so.
_ANY = Limits(max_bytes=1 << 31, max_pixels=1 << 31)
# From 5 on, Exif's orientation says that the picture lies on its side.
_LYING = 5


@dataclass(frozen=True, slots=True)
class Sight:
    """What the bytes of one picture say.

    Attributes:
        size: bytes; 0 if it is not there.
        digest: SHA-256 of the bytes in hexadecimal; empty if it is not there.
        width: pixels in a row, as people see it; 0 if it is no sound picture.
        height: rows of pixels.
        kind: `JPEG` or `PNG`; empty if it is no sound picture.
        problem: why it is none, as the end of the sentence "this picture ..."; None if it is sound.
        print_: what it looks like; None if nothing can decode it.
        thumbnail: a small WebP; None if it was not asked for, or nothing can decode it.
    """

    size: int
    digest: str = ""
    width: int = 0
    height: int = 0
    kind: str = ""
    problem: str | None = None
    print_: Fingerprint | None = None
    thumbnail: bytes | None = None


def side_for(images: int) -> int:
    """The longer side of thumbnails, in pixels, for a page of so many images."""
    return _LARGE if images <= _FEW else _SMALL


def look(data: bytes | None, side: int | None = None) -> Sight:
    """Look at a picture.

    Args:
        data: the file; None if it is not there.
        side: the longer side of its thumbnail in pixels; None for no thumbnail.

    Raises:
        MissingExtraError: if Pillow and numpy are not installed.
    """
    try:
        from gtlabel.images.fingerprints import fingerprint
    except ImportError as error:
        raise MissingExtraError("looking at pictures", "train") from error
    if data is None:
        return Sight(0, problem="is not there any more")
    digest = sha256(data).hexdigest()
    try:
        facts = examine(len(data), lambda start, length: data[start : start + length], _ANY)
    except UnsoundPictureError as error:
        # What breaks off or is no JPEG or PNG may still be shown as far as it goes.
        return Sight(len(data), digest, problem=str(error), thumbnail=thumbnail(data, side) if side else None)
    width, height = facts.width, facts.height
    if facts.orientation >= _LYING:
        width, height = height, width
    found = fingerprint(data)
    return Sight(
        len(data),
        digest,
        width,
        height,
        facts.format,
        problem=found if isinstance(found, str) else None,
        print_=None if isinstance(found, str) else found,
        thumbnail=thumbnail(data, side) if side else None,
    )
