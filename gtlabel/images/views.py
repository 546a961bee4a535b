"""Pictures seen through windows that leave out a margin, so that a trimmed picture is found by its whole.

A code is the signs of 63 slow waves in a picture (a perceptual hash), after everything brighter than three
fifths of it was made as bright as that: a bright background, which exposure turns white first, then says
nothing. Compared with the difference hash of `fingerprints`, on 440 photographs of rubbish on one table,
8 pairs of different ones instead of 411 are as close as copies are, and copies brightened by three tenths
are found 99 times in 100 instead of 86.

Codes are counted in whole numbers, so that every machine gives the same.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from gtlabel.images.fingerprints import GREY

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TRIMMED = 0.95
_MARGIN = 0.05

# Left, top, right and bottom as parts of the picture: all of it, nineteen twentieths at nine places, and
# what remains when every side loses a twentieth.
WINDOWS: tuple[tuple[float, float, float, float], ...] = (
    (0.0, 0.0, 1.0, 1.0),
    *(
        (left, top, left + _TRIMMED, top + _TRIMMED)
        for left in (0.0, _MARGIN / 2, _MARGIN)
        for top in (0.0, _MARGIN / 2, _MARGIN)
    ),
    (_MARGIN, _MARGIN, 1 - _MARGIN, 1 - _MARGIN),
)

_SIDE = 16
_WAVES = 8
# The weights of the pixels below one cell add up to this. Twice it, and 8 bits of brightness, are 20 bits:
# 32-bit floating point holds every sum exactly, in whatever order a machine adds.
_UNIT = 64
# Waves are rounded to this part of 1; sums of them stay below 2 ** 53.
_WAVE = 1024
# Three fifths of the cells are no brighter than the one of this rank.
_CLIPPED = _SIDE * _SIDE * 3 // 5

# Tuned on every other one of 879 photographs of rubbish and nine kinds of copies of them: copies differ by
# less than 0.24 (one by 0.36), and their colors by less than 8.
_MAX_DIFFERENCE = 0.25
_MAX_CELL = 1.25
_MAX_BRIGHTNESS = 64
_MAX_COLOR = 12
# A picture flatter than this has nothing but noise to compare.
_FLAT = 4.0


def view_codes(grey: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The code of every picture through each window, one row for each window.

    Args:
        grey: thumbnails of `GREY` x `GREY` pixels, one for each picture.
    """
    codes = np.empty((len(WINDOWS), len(grey)), np.uint64)
    waves = _waves()
    for window in range(len(WINDOWS)):
        cells = _clipped(np.rint(_seen(grey, window)))
        strengths = (waves @ cells @ waves.T).reshape(len(grey), -1)
        # The first is the mean brightness, and no wave.
        median = np.partition(strengths[:, 1:], _WAVES**2 // 2 - 1, axis=1)[:, _WAVES**2 // 2 - 1]
        strengths[:, 0] = median
        bits = np.packbits(strengths > median[:, None], axis=1)
        codes[window] = bits.view(">u8").ravel()
    return codes


class Album:
    """Thumbnails of many pictures in arrays, to compare pairs of them by the thousand.

    Args:
        grey: `GREY` x `GREY` bytes of brightness for each picture.
        colors: the two color components in 8 x 8 cells for each picture.
    """

    def __init__(self, grey: NDArray[np.uint8], colors: NDArray[np.uint8]) -> None:
        self._grey = grey
        self._colors = colors.reshape(len(colors), -1)

    def alike(self, window: int, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each left picture, through a window, looks like the right one as a whole.

        Brightness and contrast are evened out, within bounds; then neither the mean difference nor any
        cell's may be large, nor that of the colors. What is bright may be left out.
        """
        color = np.abs(self._colors[left].astype(np.int16) - self._colors[right]).mean(axis=1)
        result: NDArray[np.bool_] = color <= _MAX_COLOR
        which, place = np.unique(left[result], return_inverse=True)
        one = _seen(self._grey[which], window)[place]
        which, place = np.unique(right[result], return_inverse=True)
        other = _seen(self._grey[which], 0)[place]
        result[result] = _close(one, other) | _close(_clipped(one), _clipped(other))
        return result


def _close(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether grids of cells are alike when brightness and contrast are evened out, pair by pair."""
    evened, means = [], []
    for cells in (one, other):
        mean = cells.mean(axis=(1, 2), keepdims=True)
        deviation = np.maximum(cells.std(axis=(1, 2), keepdims=True), _FLAT)
        evened.append((cells - mean) / deviation)
        means.append(mean.ravel())
    difference = np.abs(evened[0] - evened[1])
    close: NDArray[np.bool_] = (
        ((difference**2).mean(axis=(1, 2)) <= _MAX_DIFFERENCE**2)
        & (difference.max(axis=(1, 2), initial=0) <= _MAX_CELL)
        & (np.abs(means[0] - means[1]) <= _MAX_BRIGHTNESS)
    )
    return close


def _clipped(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same cells, the brightest two fifths of each grid as bright as the next."""
    bright = np.partition(cells.reshape(-1, _SIDE**2), _CLIPPED, axis=1)[:, _CLIPPED]
    clipped: NDArray[np.float64] = np.minimum(cells, bright[:, None, None])
    return clipped


def _seen(grey: NDArray[np.uint8], window: int) -> NDArray[np.float64]:
    """The brightness of a grid of cells over a window."""
    left, top, right, bottom = WINDOWS[window]
    sums = _weights(top, bottom) @ (grey.astype(np.float32) @ _weights(left, right).T)
    seen: NDArray[np.float64] = sums.astype(np.float64) / _UNIT**2
    return seen


@cache
def _weights(start: float, end: float) -> NDArray[np.float32]:
    """How much each of `GREY` pixels counts in each cell between two places; whole numbers.

    What rounding leaves over goes to the pixels that lost the most by it.
    """
    edges = np.linspace(start * GREY, end * GREY, _SIDE + 1)
    pixels = np.arange(GREY)
    upper, lower = np.minimum(edges[1:, None], pixels + 1), np.maximum(edges[:-1, None], pixels)
    exact: NDArray[np.float64] = np.maximum(upper - lower, 0)
    # Ten digits: what machines disagree on lies behind them.
    exact = np.round(exact / exact.sum(axis=1, keepdims=True) * _UNIT, 10)
    whole = np.floor(exact)
    for row, fractions in zip(whole, exact - whole, strict=True):
        row[np.argsort(-fractions, kind="stable")[: _UNIT - int(row.sum())]] += 1
    weights: NDArray[np.float32] = whole.astype(np.float32)
    return weights


@cache
def _waves() -> NDArray[np.float64]:
    """The slowest waves of the discrete cosine transform over a side, in whole numbers."""
    places = (np.arange(_SIDE) + 0.5) * np.pi / _SIDE
    waves: NDArray[np.float64] = np.round(np.cos(np.arange(_WAVES)[:, None] * places) * _WAVE, 6)
    return np.rint(waves)
