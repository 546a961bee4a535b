"""What `augmentation_type` does to a picture before each look at it.

The three kinds, each with all that the one before does, and their ranges are the built-in's
(https://docs.aws.amazon.com/sagemaker/latest/dg/IC-Hyperparameter.html): `crop` takes a random window and
mirrors every other picture; `crop_color` moves hue, lightness and saturation; `crop_color_transform` turns,
shears and stretches.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Kind = Literal["crop", "crop_color", "crop_color_transform"]

# The largest changes of hue (of 180), lightness and saturation (of 255).
_HUE, _LIGHTNESS, _SATURATION = 36, 50, 50
_TURN = 10.0  # degrees
_SHEAR = 0.1
_STRETCH = 0.25
# What lies outside of a turned picture: the middle gray of MXNet's examples.
_OUTSIDE = 127


def center(picture: Pixels, height: int, width: int) -> Pixels:
    """The middle of a picture (rows, columns, channels)."""
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return picture[top : top + height, left : left + width]


def augment(
    picture: Pixels, height: int, width: int, kind: Kind | None, random: np.random.Generator
) -> Pixels:
    """A new look at a picture (rows, columns, channels) of at least this height and width.

    Args:
        picture: as large as it is after `resize`.
        height: of the window that is taken from it.
        width: of the window.
        kind: None takes the middle, always the same.
        random: where every choice comes from.
    """
    if kind is None:
        return center(picture, height, width)
    if kind == "crop_color_transform":
        window = _transformed(picture, height, width, random)
    else:
        top = random.integers(picture.shape[0] - height + 1)
        left = random.integers(picture.shape[1] - width + 1)
        window = picture[top : top + height, left : left + width]
        if random.random() < 0.5:
            window = window[:, ::-1]
    # Gray has no color to move.
    if kind == "crop" or window.shape[2] == 1:
        return window
    return shift_color(
        window,
        hue=random.uniform(-_HUE, _HUE),
        lightness=random.uniform(-_LIGHTNESS, _LIGHTNESS),
        saturation=random.uniform(-_SATURATION, _SATURATION),
    )


def shift_color(picture: Pixels, hue: float, lightness: float, saturation: float) -> Pixels:
    """Move a picture (rows, columns, RGB) in the space of hue, lightness and saturation.

    Args:
        picture: the pixels.
        hue: what to add, a full turn being 180; it goes round.
        lightness: what to add, white being 255; cut off at black and white.
        saturation: what to add, 255 being pure; cut off at gray and pure.
    """
    pixels = picture.astype(np.float32) / 255
    largest, smallest = pixels.max(axis=2), pixels.min(axis=2)
    spread = largest - smallest
    light = (largest + smallest) / 2
    room = 1 - np.abs(2 * light - 1)
    pure = np.divide(spread, room, out=np.zeros_like(spread), where=room > 0)
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    safe = np.where(spread > 0, spread, 1)
    # In sixths of a turn, from red over green to blue.
    turn = np.where(
        largest == red,
        (green - blue) / safe,
        np.where(largest == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    turn = turn * 2 + hue / 180 * 12
    light = np.clip(light + lightness / 255, 0, 1)
    # Gray has no hue of its own; made purer, all of it would turn red.
    pure = np.where(spread > 0, np.clip(pure + saturation / 255, 0, 1), 0)
    reach = pure * np.minimum(light, 1 - light)
    channels = []
    for offset in (0, 8, 4):
        place = (offset + turn) % 12
        channels.append(light - reach * np.clip(np.minimum(place - 3, 9 - place), -1, 1))
    shifted: Pixels = np.rint(np.stack(channels, axis=2) * 255).clip(0, 255).astype(np.uint8)
    return shifted


def _transformed(picture: Pixels, height: int, width: int, random: np.random.Generator) -> Pixels:
    """A random window of a picture that was mirrored, turned, sheared and stretched, all in one sampling."""

    def between(most: float) -> float:
        return random.uniform(-most, most)

    angle, shear = np.deg2rad(between(_TURN)), between(_SHEAR)
    stretch = np.sqrt(1 + between(_STRETCH))
    mirror = -1.0 if random.random() < 0.5 else 1.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    # From the window's coordinates, x before y and counted from its middle, to the picture's.
    matrix = turn @ np.array([[1, shear], [0, 1]]) @ np.diag([mirror * stretch, 1 / stretch])
    rows, columns, channels = picture.shape
    middle = np.array([columns / 2 + between((columns - width) / 2), rows / 2 + between((rows - height) / 2)])
    start = middle - matrix @ np.array([width / 2, height / 2])
    image = Image.fromarray(picture[..., 0] if channels == 1 else picture)
    window = image.transform(
        (width, height),
        Image.Transform.AFFINE,
        (*matrix[0], start[0], *matrix[1], start[1]),
        Image.Resampling.BILINEAR,
        fillcolor=(_OUTSIDE,) * channels if channels > 1 else _OUTSIDE,
    )
    pixels: Pixels = np.asarray(window, dtype=np.uint8).reshape(height, width, channels)
    return pixels
