"""What a classifier learns from: pictures as numbers, without a network that was downloaded.

Five views of a picture that miss different things (contract/measurements.md §3): which colors it has, where
they are, which way its edges run, what its surface is like, and how much of it is how bright, colorful and
rough, at the border and as a whole (as our trainer sees it: samples/README.md). Each row depends on its own
picture alone, so rows can be kept and pictures can join later. Whoever has a network of their own reads its
outputs instead.

Sources: histograms of oriented gradients after Dalal and Triggs, "Histograms of Oriented Gradients for Human
Detection", CVPR 2005; uniform patterns of neighbors after Ojala, Pietikäinen and Mäenpää, "Multiresolution
Gray-Scale and Rotation Invariant Texture Classification", TPAMI 24, 2002, without the word that would mean
something else in this package; the square roots of histograms after Arandjelović and Zisserman, "Three things
everyone should know to improve object retrieval", CVPR 2012; CIE L*a*b* of sRGB after IEC 61966-2-1 with the
white of D65.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from gtlabel.images.decoding import undecodable
from gtlabel.networks.preprocess import UnreadablePictureError

if TYPE_CHECKING:
    from gtlabel.networks.runtime import Network

# Most photographs are wider than high; a fixed shape gives every picture the same cells.
_HEIGHT, _WIDTH = 96, 128
_COLOR_STEPS = 4
_HUE_STEPS = 16
_THUMBNAIL = (8, 6)
_CELL = 16
_DIRECTIONS = 9
# Dalal and Triggs cut normalized gradients off here, so that no single edge speaks for a block.
_LONGEST = 0.2
_PATTERN_DISTANCES = (1, 3)
_AT_ONCE = 32
# What is less wide than this share of the widest is rounding.
_NOISE = 1e-9
_LEAST_SIZE = 1e-12
# They bring photographs of the five views about equally far apart from each other.
_WEIGHTS = (1.8, 2.2, 1.9, 2.4, 2.3)
# From linear sRGB to CIE XYZ over the white of D65, rows X, Y, Z.
_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ],
    np.float32,
) / np.array([[0.95047], [1.0], [1.08883]], np.float32)
_SRGB_KNEE = 0.04045
_LAB_KNEE = 6 / 29
# About how far the L*, a* and b* of photographs lie from their middle.
_SPREAD = 25.0
# Red, green, blue, their mean, and the differences between them.
_TONE_AXES = np.array(
    [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1 / 3, 1 / 3, 1 / 3], [1, -1, 0], [1, 0, -1], [0, 1, -1]], np.float32
).T
_TONES, _CONTRASTS = 12, 8
# Hardly a pixel's colors differ by more, nor does a pixel from those around it.
_MOST_COLORFUL, _MOST_CONTRAST = 0.4, 0.1
_NEIGHBORHOOD = 5
_AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))


def _uniform() -> NDArray[np.intp]:
    """The number of each of 256 patterns: 0 for those that change more than twice on the way around."""
    codes = np.arange(256)
    changes = sum(((codes >> bit) ^ (codes >> (bit + 1) % 8)) & 1 for bit in range(8))
    return np.where(changes <= 2, np.cumsum(changes <= 2), 0)


_UNIFORM = _uniform()
_PATTERNS = int(_UNIFORM.max()) + 1
#: How many numbers each view of a picture has: colors, their places, edges, surfaces, and amounts.
VIEWS = (
    _COLOR_STEPS**3 + 3 * _HUE_STEPS,
    3 * _THUMBNAIL[0] * _THUMBNAIL[1],
    4 * _DIRECTIONS * (_HEIGHT // _CELL - 1) * (_WIDTH // _CELL - 1),
    5 * _PATTERNS * len(_PATTERN_DISTANCES),
    2 * (4 * _TONES + 3 * _TONES + 3 * _CONTRASTS),
)


def picture_features(pictures: Iterable[bytes], network: Network | None = None) -> NDArray[np.float32]:
    """One row of numbers for each picture; alike pictures lie close together.

    Pictures are taken one by one, so any iterable serves. Without a network it takes about 6 ms of CPU for a
    photograph of 512 x 384. `VIEWS` says which numbers describe the same thing; `Directions` makes fewer of
    them where there are many pictures.

    Args:
        pictures: files of any format that Pillow reads; the first picture of each.
        network: what to look with instead, such as the body of a classifier, whose first output is the row.

    Returns:
        An array of shape (pictures, numbers).

    Raises:
        UnreadablePictureError: at the first that is not a whole picture.
    """
    if network is not None:
        return _by_network(pictures, network)
    rows = [one_picture(picture) for picture in pictures]
    return np.stack(rows) if rows else np.empty((0, 0), np.float32)


def one_picture(picture: bytes) -> NDArray[np.float32]:
    """The row of one picture, of shape (numbers,).

    Raises:
        UnreadablePictureError: if the bytes are not a whole picture.
    """
    small = _opened(picture)
    pixels = np.asarray(small, np.uint8)
    gray = np.asarray(small.convert("L"), np.float32)
    views = (_colors(small, pixels), _places(small), _edges(gray), _surfaces(gray), _amounts(pixels))
    weighted = [weight * view for weight, view in zip(_WEIGHTS, views, strict=True)]
    return np.concatenate(weighted).astype(np.float32, copy=False)


@dataclass(frozen=True, slots=True)
class Directions:
    """The directions in which pictures differ most in each view: fewer numbers that tell about as much.

    Attributes:
        middle: the mean row, of shape (numbers,).
        axes: for each view, of shape (its numbers, directions), each of length 1, the widest first.
    """

    middle: NDArray[np.float64]
    axes: tuple[NDArray[np.float64], ...]

    @classmethod
    def of(cls, rows: NDArray[np.floating], views: Sequence[int] = VIEWS, most: int = 48) -> Directions:
        """The principal directions of some rows; a few thousand tell those of all.

        Args:
            rows: of shape (pictures, numbers).
            views: how many numbers each view has, from the left.
            most: how many directions each view keeps, at most.
        """
        middle = rows.mean(axis=0, dtype=np.float64) if len(rows) else np.zeros(rows.shape[1])
        around = rows - middle
        ends = np.cumsum([0, *views])
        return cls(middle, tuple(_axes(around[:, start:end], most) for start, end in pairwise(ends)))

    @property
    def views(self) -> tuple[int, ...]:
        """How many directions each view has, from the left."""
        return tuple(axes.shape[1] for axes in self.axes)

    def apply(self, rows: NDArray[np.floating]) -> NDArray[np.float32]:
        """Where rows lie along the directions: an array of shape (pictures, directions of all views)."""
        around = rows - self.middle
        ends = np.cumsum([0, *(len(axes) for axes in self.axes)])
        parts = [
            around[:, start:end] @ axes for (start, end), axes in zip(pairwise(ends), self.axes, strict=True)
        ]
        return np.concatenate(parts, axis=1).astype(np.float32)


def _axes(around: NDArray[np.floating], most: int) -> NDArray[np.float64]:
    # The smaller of the two squares of a matrix tells the same directions.
    if len(around) < around.shape[1]:
        sizes, turned = np.linalg.eigh(around @ around.T)
        axes = around.T @ turned / np.sqrt(np.maximum(sizes, _LEAST_SIZE))
    else:
        sizes, axes = np.linalg.eigh(around.T @ around)
    real = int((sizes > _NOISE * max(sizes.max(initial=0.0), _LEAST_SIZE)).sum())
    axes = axes[:, ::-1][:, : max(1, min(most, real))]
    # Either sign would do; with the largest part of each positive, the same rows always give the same.
    largest = np.abs(axes).argmax(axis=0)
    signed: NDArray[np.float64] = axes * np.where(axes[largest, np.arange(axes.shape[1])] < 0, -1.0, 1.0)
    return signed


def _by_network(pictures: Iterable[bytes], network: Network) -> NDArray[np.float32]:
    rows: list[NDArray[np.float32]] = []
    batch: list[NDArray[np.float32]] = []
    for picture in pictures:
        batch.append(network.load(picture))
        if len(batch) == _AT_ONCE:
            rows.append(network.probabilities(np.stack(batch)).reshape(len(batch), -1))
            batch = []
    if batch:
        rows.append(network.probabilities(np.stack(batch)).reshape(len(batch), -1))
    return np.concatenate(rows) if rows else np.empty((0, network.outputs), np.float32)


def _opened(picture: bytes) -> Image.Image:
    """A picture upright, in RGB, in the one shape; a large JPEG is decoded at a part of its size."""
    try:
        with Image.open(io.BytesIO(picture)) as opened:
            opened.draft("RGB", (2 * _WIDTH, 2 * _HEIGHT))
            opened.load()
            upright = ImageOps.exif_transpose(opened)
            return upright.convert("RGB").resize((_WIDTH, _HEIGHT), Image.Resampling.BILINEAR)
    # Pillow's decoders raise all of these for damaged files, SyntaxError for a broken PNG among them.
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        raise UnreadablePictureError(f"this picture {undecodable(error)}") from error


def _colors(small: Image.Image, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How often each color occurs: RGB together in 4 x 4 x 4 steps, and hue, saturation and value apart."""
    steps = pixels.reshape(-1, 3).astype(np.intp) * _COLOR_STEPS // 256
    together = np.bincount(steps @ (_COLOR_STEPS**2, _COLOR_STEPS, 1), minlength=_COLOR_STEPS**3)
    parts = np.asarray(small.convert("HSV"), np.intp).reshape(-1, 3) * _HUE_STEPS // 256
    apart = [np.bincount(parts[:, channel], minlength=_HUE_STEPS) for channel in range(3)]
    return _joined([_rooted(together), *(_rooted(each) for each in apart)])


def _places(small: Image.Image) -> NDArray[np.float64]:
    """A thumbnail in CIE L*a*b*, where equal distances look about equally different."""
    tiny = np.asarray(small.resize(_THUMBNAIL, Image.Resampling.BOX), np.float64) / 255
    linear = np.where(tiny <= _SRGB_KNEE, tiny / 12.92, ((tiny + 0.055) / 1.055) ** 2.4)
    xyz = np.matmul(linear, _XYZ.T)
    curved = np.where(xyz > _LAB_KNEE**3, np.cbrt(xyz), xyz / (3 * _LAB_KNEE**2) + 4 / 29)
    x, y, z = np.moveaxis(curved, -1, 0)
    lab = np.stack([(116 * y - 16) - 50, 500 * (x - y), 200 * (y - z)])
    spread: NDArray[np.float64] = lab.ravel() / (_SPREAD * np.sqrt(lab.size))
    return spread


def _edges(gray: NDArray[np.float32]) -> NDArray[np.float64]:
    """How strongly edges run in each of nine directions, by cell; blocks of 2 x 2 cells are normalized."""
    down, across = np.gradient(gray)
    strength = np.hypot(down, across)
    position = (np.arctan2(down, across) % np.pi) / np.pi * _DIRECTIONS - 0.5
    before = np.floor(position).astype(np.intp)
    share = position - before
    rows, columns = _HEIGHT // _CELL, _WIDTH // _CELL
    cell = np.arange(_HEIGHT)[:, None] // _CELL * columns + np.arange(_WIDTH) // _CELL
    # Each pixel votes for the two directions next to its own, so that a small turn changes little.
    votes = np.bincount(
        np.concatenate(
            [
                (cell * _DIRECTIONS + before % _DIRECTIONS).ravel(),
                (cell * _DIRECTIONS + (before + 1) % _DIRECTIONS).ravel(),
            ]
        ),
        np.concatenate([(strength * (1 - share)).ravel(), (strength * share).ravel()]),
        rows * columns * _DIRECTIONS,
    ).reshape(rows, columns, _DIRECTIONS)
    blocks = np.concatenate(
        [
            votes[top : rows - 1 + top, left : columns - 1 + left]
            for top, left in ((0, 0), (0, 1), (1, 0), (1, 1))
        ],
        axis=-1,
    )
    for _ in range(2):
        length = np.sqrt((blocks**2).sum(axis=-1, keepdims=True)) + 1e-6
        blocks = np.minimum(blocks / length, _LONGEST)
    whole: NDArray[np.float64] = blocks.ravel() / np.sqrt((blocks**2).sum() + 1e-12)
    return whole


def _surfaces(gray: NDArray[np.float32]) -> NDArray[np.float64]:
    """How often each pattern of brighter and darker neighbors occurs, in the whole and in each quarter."""
    found = []
    for distance in _PATTERN_DISTANCES:
        middle = gray[distance:-distance, distance:-distance]
        code = np.zeros(middle.shape, np.intp)
        for bit, (down, across) in enumerate(_AROUND):
            top, left = distance * (1 + down), distance * (1 + across)
            code |= (gray[top : top + len(middle), left : left + middle.shape[1]] >= middle) << bit
        pattern = _UNIFORM[code]
        half, side = len(middle) // 2, middle.shape[1] // 2
        quarters = [row[:, columns] for row in (pattern[:half], pattern[half:]) for columns in _sides(side)]
        found += [_rooted(np.bincount(each.ravel(), minlength=_PATTERNS)) for each in (pattern, *quarters)]
    return _joined(found)


def _amounts(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How much of a picture, and of its border, is how bright, how colorful, and how rough."""
    tones = np.matmul(pixels.astype(np.float32) / 255, _TONE_AXES).astype(np.float32)
    contrasts = tones[..., 3:6]
    edge = _NEIGHBORHOOD // 2
    apart = np.abs(contrasts[edge:-edge, edge:-edge] - _averages(contrasts))
    rough = _averages(apart)[::edge, ::edge]
    return _joined(
        [
            *_shares(tones[..., :4], 0, 1, _TONES),
            *_shares(tones[..., 4:], -_MOST_COLORFUL, _MOST_COLORFUL, _TONES),
            *_shares(rough, 0, _MOST_CONTRAST, _CONTRASTS),
        ]
    )


def _shares(
    values: NDArray[np.float32], low: float, high: float, steps: int
) -> Iterable[NDArray[np.float64]]:
    """Histograms of the last axis' channels, over the whole and over all but the middle.

    A value counts for the two steps next to it, so that a small change of light changes little.
    """
    rows, columns, channels = values.shape
    middle = np.zeros((rows, columns), dtype=bool)
    middle[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4] = True
    position = np.clip((values - low) / (high - low) * (steps - 1), 0, steps - 1)
    before = np.minimum(position.astype(np.intp), steps - 2)
    share = position - before
    place = before + np.arange(channels) * steps
    for part in (np.full_like(middle, True), ~middle):
        counts = np.bincount(place[part].ravel(), 1 - share[part].ravel(), channels * steps)
        counts += np.bincount(place[part].ravel() + 1, share[part].ravel(), channels * steps)
        yield _rooted(counts)


def _averages(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of each neighborhood that lies inside the picture."""
    for axis in (0, 1):
        sums = np.cumsum(np.insert(values, 0, 0, axis=axis), axis=axis, dtype=np.float64)
        ahead = np.take(sums, np.arange(_NEIGHBORHOOD, sums.shape[axis]), axis=axis)
        behind = np.take(sums, np.arange(sums.shape[axis] - _NEIGHBORHOOD), axis=axis)
        values = ((ahead - behind) / _NEIGHBORHOOD).astype(np.float32)
    return values


def _sides(middle: int) -> tuple[slice, slice]:
    return slice(None, middle), slice(middle, None)


def _rooted(counts: NDArray[np.integer] | NDArray[np.floating]) -> NDArray[np.float64]:
    """A histogram whose Euclidean length is 1, whatever it counted."""
    rooted: NDArray[np.float64] = np.sqrt(counts / counts.sum())
    return rooted


def _joined(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    joined: NDArray[np.float64] = np.concatenate(parts) / np.sqrt(len(parts))
    return joined
