"""Pictures seen through windows that leave out a margin, so that a trimmed picture is found by its whole.

The code of a picture that lost a twentieth of each side differs from that of the whole one in 5 to 18 of
64 bits, as much as two different photographs on one table may. Seen through eleven windows, one of the
whole picture's codes comes within 3 bits in half of the cases and within 7 in all but 1 of 300.

Everything is counted in whole numbers until the last comparison, so that every machine gives the same.
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

_COLUMNS, _ROWS = 9, 8
_SIDE = 16
# The weights of the pixels below one cell add up to this. Twice it, and 8 bits of brightness, are 20 bits:
# 32-bit floating point holds every sum exactly, in whatever order a machine adds.
_UNIT = 64

# Tuned on every other one of 879 photographs of rubbish and six kinds of copies of 148 of them: copies
# differ by less than 0.24 (one by 0.36) and their colors by less than 8; of 96,000 pairs of photographs five
# differ as little, two shot twice and three of a pale glass on a pale table.
_MAX_DIFFERENCE = 0.25
_MAX_CELL = 1.25
_MAX_BRIGHTNESS = 64
_MAX_COLOR = 12
# A picture flatter than this has nothing but noise to compare.
_FLAT = 4.0


def view_codes(grey: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The difference hash of every picture through each window, one row for each window.

    Args:
        grey: thumbnails of `GREY` x `GREY` pixels, one for each picture.
    """
    codes = np.empty((len(WINDOWS), len(grey)), np.uint64)
    pixels = grey.astype(np.float32)
    for position in range(len(WINDOWS)):
        # Whole levels of brightness: less than one is noise, which sets bits at random on an even ground.
        cells = np.rint(_seen(pixels, position, _COLUMNS, _ROWS) / _UNIT**2)
        bits = np.packbits((cells[:, :, 1:] > cells[:, :, :-1]).reshape(len(grey), -1), axis=1)
        codes[position] = bits.view(">u8").ravel()
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
        cell's may be large, nor that of the colors.
        """
        color = np.abs(self._colors[left].astype(np.int16) - self._colors[right]).mean(axis=1)
        result: NDArray[np.bool_] = color <= _MAX_COLOR
        one, one_mean = self._evened(left[result], window)
        other, other_mean = self._evened(right[result], 0)
        difference = np.abs(one - other)
        squares = (difference**2).mean(axis=(1, 2))
        result[result] = (
            (squares <= _MAX_DIFFERENCE**2)
            & (difference.max(axis=(1, 2), initial=0) <= _MAX_CELL)
            & (np.abs(one_mean - other_mean) <= _MAX_BRIGHTNESS)
        )
        return result

    def _evened(
        self, pictures: NDArray[np.int64], window: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        which, place = np.unique(pictures, return_inverse=True)
        cells = _seen(self._grey[which].astype(np.float32), window, _SIDE, _SIDE).astype(np.float64)
        cells /= _UNIT**2
        mean = cells.mean(axis=(1, 2))
        deviation = np.maximum(cells.std(axis=(1, 2)), _FLAT)
        evened: NDArray[np.float64] = (cells - mean[:, None, None]) / deviation[:, None, None]
        return evened[place], mean[place]


def _seen(pixels: NDArray[np.float32], window: int, columns: int, rows: int) -> NDArray[np.float32]:
    """The brightness of a grid of cells over a window, times `_UNIT` squared."""
    left, top, right, bottom = WINDOWS[window]
    across, down = _weights(left, right, columns), _weights(top, bottom, rows)
    seen: NDArray[np.float32] = down @ (pixels @ across.T)
    return seen


@cache
def _weights(start: float, end: float, cells: int) -> NDArray[np.float32]:
    """How much each of `GREY` pixels counts in each cell between two places; whole numbers.

    What rounding leaves over goes to the pixels that lost the most by it.
    """
    edges = np.linspace(start * GREY, end * GREY, cells + 1)
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
