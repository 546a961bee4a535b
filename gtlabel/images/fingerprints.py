"""What a picture looks like, in a few hundred numbers: enough to find it again, or another like it.

One reduced decode makes all of it: JPEG files are decoded at an eighth of their size where that leaves
64 pixels a side, so a photograph costs about half a millisecond of CPU. Reduced and full decoding give
codes that differ by a bit or two (contract/measurements.md §4); here it is always the reduced one.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from gtlabel.images.decoding import undecodable

# The side of the grey thumbnail, and of the colors in it.
GREY = 32
COLORS = 8

_DECODED = 64
_CODE_SHAPE = (9, 8)
_CELLS = 4
_DIRECTIONS = 8


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What one picture looks like, held the way people see it.

    Attributes:
        pixels: width times height of the whole picture.
        code: a difference hash: 64 bits, one for each step along eight rows, set where it gets brighter.
        grey: the brightness, 32 x 32 bytes.
        colors: the two color components, 8 x 8 x 2 bytes.
    """

    pixels: int
    code: int
    grey: NDArray[np.uint8]
    colors: NDArray[np.uint8]


def fingerprint(data: bytes) -> Fingerprint | str:
    """The fingerprint of a picture, or the reason why there is none."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            pixels = picture.width * picture.height
            # JPEG files hold these very components, and need not be turned into RGB and back.
            picture.draft("YCbCr", (_DECODED, _DECODED))
            picture.load()
            ImageOps.exif_transpose(picture, in_place=True)
            upright = picture if picture.mode == "YCbCr" else picture.convert("RGB").convert("YCbCr")
    # Pillow's decoders raise all of these for damaged files, SyntaxError for a broken PNG among them.
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        return undecodable(error)
    grey = upright.getchannel("Y")
    steps = np.asarray(grey.resize(_CODE_SHAPE, Image.Resampling.BOX), np.int16)
    bits = np.packbits((steps[:, 1:] > steps[:, :-1]).ravel())
    colors = np.asarray(upright.resize((COLORS, COLORS), Image.Resampling.BOX), np.uint8)[..., 1:]
    return Fingerprint(
        pixels=pixels,
        code=int.from_bytes(bits.tobytes()),
        grey=np.asarray(grey.resize((GREY, GREY), Image.Resampling.BOX), np.uint8).copy(),
        colors=colors.copy(),
    )


def features(prints: list[Fingerprint]) -> NDArray[np.float32]:
    """One row of numbers for each picture: alike pictures lie close together.

    Three parts with an equal say: a coarse picture of brightness, one of color, and which way the edges
    run in each of 16 cells. Each column is centered and each part scaled to a mean squared length of 1.
    """
    grey = np.stack([p.grey for p in prints]).astype(np.float32)
    colors = np.stack([p.colors for p in prints]).astype(np.float32).reshape(len(prints), -1)
    coarse = grey.reshape(len(prints), COLORS, GREY // COLORS, COLORS, GREY // COLORS).mean(axis=(2, 4))
    parts = (coarse.reshape(len(prints), -1), colors, _edges(grey))
    return np.concatenate([_scaled(part) for part in parts], axis=1)


def _edges(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    down, across = np.gradient(grey, axis=(1, 2))
    strength = np.hypot(down, across)
    direction = ((np.arctan2(down, across) + np.pi) / (2 * np.pi) * _DIRECTIONS).astype(int) % _DIRECTIONS
    side = GREY // _CELLS
    histogram = np.empty((len(grey), _CELLS, _CELLS, _DIRECTIONS), np.float32)
    for index in range(_DIRECTIONS):
        part = np.where(direction == index, strength, 0)
        histogram[..., index] = part.reshape(-1, _CELLS, side, _CELLS, side).sum(axis=(2, 4))
    return np.sqrt(histogram.reshape(len(grey), -1))


def _scaled(part: NDArray[np.float32]) -> NDArray[np.float32]:
    centered: NDArray[np.float32] = part - part.mean(axis=0)
    length = float(np.sqrt((centered**2).sum(axis=1).mean()))
    return centered / length if length > 0 else centered
