"""The one way a picture becomes a network's input: in training, evaluation, prediction and on the device.

It is what AWS's own predictor for this algorithm does (contract/training.md §3.3): RGB, or gray where the
network takes one channel, the whole picture squeezed to the network's size without keeping its proportions,
raw values 0 to 255, channels first. No mean and no deviation: the network's first layer takes care of that.
AWS does not say which filter its hosted container uses; here it is Pillow's bilinear one.

This file is copied into the device's bundle as it is. It needs numpy and Pillow and nothing else.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps


class UnreadablePictureError(ValueError):
    """Bytes that are not a whole picture."""


def load_image(data: bytes, height: int, width: int, channels: int = 3) -> NDArray[np.float32]:
    """The network's input for one picture file, as an array of shape (channels, height, width).

    The EXIF orientation is applied, so that a picture counts as people see it.

    Args:
        data: the file, of any format that Pillow reads; of several pictures in it, the first.
        height: in pixels.
        width: in pixels.
        channels: 3 for RGB, 1 for gray (ITU-R 601 luma).

    Raises:
        UnreadablePictureError: if the bytes are not a picture, or not all of it.
    """
    picture = open_picture(data)
    if channels == 1:
        picture = picture.convert("L")
    squeezed = picture.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(squeezed).reshape(height, width, channels)
    return pixels.transpose(2, 0, 1).astype(np.float32, order="C")


def open_picture(data: bytes) -> Image.Image:
    """The picture in a file in its own size: upright, as people see it, and in RGB.

    Raises:
        UnreadablePictureError: if the bytes are not a picture, or not all of it.
    """
    try:
        with Image.open(io.BytesIO(data)) as opened:
            return _in_rgb(_upright(opened))
    # Pillow's decoders raise all of these for damaged files, SyntaxError for a broken PNG among them.
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        # Pillow names the file, which is none and lies elsewhere every time.
        reason = str(error).partition(" <_io.BytesIO")[0]
        raise UnreadablePictureError(
            f"these {len(data)} bytes are not a readable picture: {reason}"
        ) from error


def _upright(picture: Image.Image) -> Image.Image:
    # Pillow would copy those that are upright, too: a tenth of the time that a camera's frame takes.
    if picture.getexif().get(ExifTags.Base.Orientation, 1) == 1:
        return picture
    return ImageOps.exif_transpose(picture)


def _in_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB":
        picture.load()
        return picture
    # Pillow would cut 16-bit gray off at 255 instead of scaling it.
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    return picture.convert("RGB")
