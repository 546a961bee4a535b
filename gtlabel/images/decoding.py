"""Decoding pictures to find the damage that their headers do not show.

Of JPEG files with 16 damaged bytes, libjpeg-turbo's own warnings, which simplejpeg turns into errors, give
away most; Pillow passes over those warnings and notices 3 of 100 (contract/measurements.md §5). So
simplejpeg is used where it is installed. Decoding to an eighth of the size reads every bit all the same.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from gtlabel.errors import MissingExtraError

# What the names of files that Pillow decodes end in; Ground Truth takes fewer.
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")

_EIGHTH = 8
_IN_MEMORY = re.compile(r" <_io\.BytesIO object at 0x[0-9a-f]+>")


@dataclass(frozen=True, slots=True)
class Decoder:
    """A way to decode a whole picture.

    Attributes:
        find_damage: takes a picture; the end of the sentence "this picture ...", or None.
        note: what a person should know about its limits; None when there is nothing to say.
    """

    find_damage: Callable[[bytes], str | None]
    note: str | None


def strict_decoder() -> Decoder:
    """The strictest decoder that is installed.

    Raises:
        MissingExtraError: if there is none.
    """
    try:
        import_module("PIL.Image")
    except ImportError as error:
        raise MissingExtraError("decoding pictures (--strict)", "train") from error
    try:
        strict: Any = import_module("simplejpeg")
    except ImportError:
        note = (
            "the pictures were decoded with Pillow, which notices few damaged JPEGs; "
            "`pip install gtlabel[strict]` to find most"
        )
        return Decoder(_damage_by_pillow, note)
    return Decoder(partial(_damage, strict.decode_jpeg), None)


def _damage(decode_jpeg: Callable[..., Any], data: bytes) -> str | None:
    if not data.startswith(b"\xff\xd8"):
        return _damage_by_pillow(data)
    try:
        decode_jpeg(data, "GRAY", min_height=1, min_width=1, min_factor=_EIGHTH)
    except ValueError as error:
        return undecodable(error)
    return None


def undecodable(error: Exception) -> str:
    """The end of the sentence "this picture ...", the same for the same picture.

    Pillow names the object in memory that it read from, which has another address each time.
    """
    return f"cannot be decoded: {_IN_MEMORY.sub('', str(error))}"


def _damage_by_pillow(data: bytes) -> str | None:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
    # Pillow's decoders raise all of these for damaged files, SyntaxError for a broken PNG among them.
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        return undecodable(error)
    return None
