"""Small copies of pictures, for pages."""

from __future__ import annotations

import io

from gtlabel.errors import MissingExtraError

# Up to here there are many on a page, and their bytes count.
_SMALL = 128


def thumbnail(data: bytes, side: int) -> bytes | None:
    """A small WebP of a picture, upright, at most `side` pixels long; None if nothing can decode it.

    Raises:
        MissingExtraError: if Pillow is not installed.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise MissingExtraError("thumbnails", "train") from error
    small = io.BytesIO()
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.draft("RGB", (2 * side, 2 * side))
            upright = ImageOps.exif_transpose(image).convert("RGB")
            upright.thumbnail((side, side))
            # Measured on photographs of 256 x 192: 0.9 KB at 128 pixels, where a JPEG that looks alike has
            # 1.8 KB, a third of it tables. A slower method saves 5 percent and takes half as long again.
            upright.save(small, "WEBP", quality=70 if side > _SMALL else 50, method=2)
    # What Pillow raises for broken files of one kind or another; the page then says so.
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError):
        return None
    return small.getvalue()
