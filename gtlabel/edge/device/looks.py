"""What a picture looks like, in eighty bytes: enough to see that a camera still looks at the same thing.

Runs on the device: standard library, numpy and Pillow.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 8
# Measured on the pictures of samples/trash: noise of a camera and a change of light turn at most six bits
# and half a deviation; a strange object of a fifth of the picture's width shows in the cells.
_MOST_BITS = 6
_MOST_CELL = 0.5
# A picture flatter than this has nothing but noise to compare.
_FLAT = 4.0


@dataclass(frozen=True, slots=True)
class Look:
    """A difference hash of 64 bits, and the brightness of 8 by 8 cells.

    The hash alone takes two things on one background for the same picture; the cells tell them apart.
    """

    code: int
    cells: bytes

    @classmethod
    def of(cls, picture: bytes) -> Look | None:
        """The look of a picture file; None if it is none."""
        try:
            with Image.open(io.BytesIO(picture)) as opened:
                # JPEG files are decoded at an eighth of their size where that is enough.
                opened.draft("L", (8 * _SIDE, 8 * _SIDE))
                grey = opened.convert("L")
        # Pillow's decoders raise all of these for damaged files, SyntaxError for a broken PNG among them.
        except (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError):
            return None
        steps = np.asarray(grey.resize((_SIDE + 1, _SIDE), Image.Resampling.BOX), np.int16)
        bits = np.packbits((steps[:, 1:] > steps[:, :-1]).ravel())
        cells = grey.resize((_SIDE, _SIDE), Image.Resampling.BOX)
        return cls(int.from_bytes(bits.tobytes(), "big"), cells.tobytes())

    @classmethod
    def read(cls, text: str) -> Look:
        """The look that `str` wrote.

        Raises:
            ValueError: if it is something else.
        """
        code, cells = text[:16], bytes.fromhex(text[16:])
        if len(cells) != _SIDE * _SIDE:
            raise ValueError(f"not a look: {text!r}")
        return cls(int(code, 16), cells)

    def __str__(self) -> str:
        return f"{self.code:016x}{self.cells.hex()}"

    def resembles(self, other: Look) -> bool:
        """Whether the two show one picture, brighter or darker."""
        if (self.code ^ other.code).bit_count() > _MOST_BITS:
            return False
        return float(np.abs(self._evened() - other._evened()).max()) <= _MOST_CELL

    def _evened(self) -> NDArray[np.float32]:
        grey = np.frombuffer(self.cells, np.uint8).astype(np.float32)
        evened: NDArray[np.float32] = (grey - grey.mean()) / max(float(grey.std()), _FLAT)
        return evened
