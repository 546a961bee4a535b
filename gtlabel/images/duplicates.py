"""Pictures that are there more than once, found before people are paid to look at them again.

Exact copies are told by what a listing says of them. Near copies (saved again, scaled, brightened, a
shot repeated from the tripod) are found in two steps: codes that differ in at most six bits make
candidates, and a comparison of the pixels decides. The code alone is not enough: it takes a bottle cap
and a can top on the same background for one picture (contract/measurements.md §4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from gtlabel.storage import StoredObject
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gtlabel.images.fingerprints import Fingerprint

MAX_BITS = 6

# Measured on 910 photographs and eight kinds of copies of 120 of them: copies that were saved again or
# scaled are recognized 98 times in 100, brightened or trimmed ones 9 in 10; a strange object of an eighth
# of the picture's width goes unnoticed 2 times in 100, one of a fifth of the width hardly ever.
_MAX_CELL = 0.5
_MAX_COLOR = 16
_MAX_BRIGHTNESS = 32
# A picture flatter than this has nothing but noise to compare.
_FLAT = 4.0

_CELL = 2
_COARSE = 8
_WORDS = 4
_WORD_BITS = 16


@dataclass(frozen=True, slots=True)
class Copy:
    """A picture that shows what another one shows.

    Attributes:
        image: the picture that is left out.
        of: the one that is kept.
        exact: whether the files are the same byte for byte.
    """

    image: StoredObject
    of: S3Uri
    exact: bool

    @property
    def reason(self) -> str:
        """Why it is left out, as the end of the sentence "this picture ..."."""
        return f"is {'a copy of' if self.exact else 'nearly the same picture as'} {self.of}"


def exact_copies(
    images: Iterable[StoredObject],
    *,
    earlier: Iterable[StoredObject] = (),
    read: Callable[[S3Uri], bytes] | None = None,
) -> tuple[list[StoredObject], list[Copy]]:
    """Take the images apart into those to keep, the first of each content, and copies of those.

    Two objects of one size and one ETag hold the same bytes. The reverse holds only where the ETag is the
    MD5 of the content: an upload in parts, or encryption with a KMS key, gives the same bytes another
    one. Objects uploaded in parts show it in their ETag, and are read and compared by SHA-256 where
    another object has just their size.

    Args:
        images: in any order; the first of each content is kept.
        earlier: images that were labeled before, and are kept in any case.
        read: reads an object; without it ETags alone decide.
    """
    kept_as: dict[tuple[int, str], S3Uri] = {}
    for image in earlier:
        kept_as.setdefault((image.size, image.etag), image.uri)
    kept: list[StoredObject] = []
    copies: list[Copy] = []
    for image in images:
        first = kept_as.setdefault((image.size, image.etag), image.uri)
        if first == image.uri:
            kept.append(image)
        else:
            copies.append(Copy(image, first, exact=True))
    if read is None:
        return kept, copies
    return _by_digest(kept, copies, kept_as, read)


def _by_digest(
    kept: list[StoredObject],
    copies: list[Copy],
    kept_as: Mapping[tuple[int, str], S3Uri],
    read: Callable[[S3Uri], bytes],
) -> tuple[list[StoredObject], list[Copy]]:
    """Compare what is left by content, wherever the ETags of one size cannot be compared."""
    rivals: dict[int, list[tuple[str, S3Uri]]] = {}
    for (size, etag), uri in kept_as.items():
        rivals.setdefault(size, []).append((etag, uri))
    first_of: dict[bytes, S3Uri] = {}
    replaced: dict[S3Uri, S3Uri] = {}
    for of_one_size in rivals.values():
        if len(of_one_size) > 1 and any("-" in etag for etag, _ in of_one_size):
            for _, uri in of_one_size:
                digest = sha256(read(uri)).digest()
                first = first_of.setdefault(digest, uri)
                if first != uri:
                    replaced[uri] = first
    moved = [Copy(copy.image, replaced.get(copy.of, copy.of), exact=True) for copy in copies]
    moved += [Copy(image, replaced[image.uri], exact=True) for image in kept if image.uri in replaced]
    return [image for image in kept if image.uri not in replaced], moved


def close_pairs(codes: NDArray[np.uint64], max_bits: int = MAX_BITS) -> NDArray[np.int64]:
    """The pairs of codes that differ in at most `max_bits` (up to 7) bits, as rows of two positions.

    Equal codes are found too.
    """
    import numpy as np

    found = [np.empty(0, np.int64)]
    for left, right in close_matches(codes, codes, max_bits):
        ordered = left < right
        found.append(left[ordered] * len(codes) + right[ordered])
    # A pair is one number until here: sorting rows would take several times as long.
    pairs = np.unique(np.concatenate(found))
    return np.stack(np.divmod(pairs, max(1, len(codes))), axis=1)


def close_matches(
    wanted: NDArray[np.uint64], codes: NDArray[np.uint64], max_bits: int = MAX_BITS
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield positions in `wanted` and in `codes` of codes that differ in at most `max_bits` bits (up to 7).

    Each code is cut into four words. Two codes that differ in at most seven bits differ in at most one
    bit in one of the words, so only codes that agree that far are compared. What agrees so in several
    words comes several times. A few million candidates are in memory at a time.
    """
    import numpy as np

    if not 0 <= max_bits < 2 * _WORDS:
        raise ValueError(f"max_bits is {max_bits}; four words find up to {2 * _WORDS - 1}")
    flips = [0] if max_bits < _WORDS else [0, *(1 << bit for bit in range(_WORD_BITS))]
    for word in range(_WORDS):
        shift = np.uint64(word * _WORD_BITS)
        part = (codes >> shift).astype(np.uint16)
        sought = (wanted >> shift).astype(np.uint16)
        order = np.argsort(part, kind="stable")
        # Where the codes with each word begin, and at last where they end.
        edges = np.concatenate(([0], np.cumsum(np.bincount(part, minlength=1 << _WORD_BITS))))
        for flip in flips:
            at = (sought ^ np.uint16(flip)).astype(np.int64)
            yield from _compared(wanted, codes, order, edges[at], edges[at + 1] - edges[at], max_bits)


def _compared(
    wanted: NDArray[np.uint64],
    codes: NDArray[np.uint64],
    order: NDArray[np.int64],
    start: NDArray[np.int64],
    count: NDArray[np.int64],
    max_bits: int,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The close ones among the candidates `order[start:start + count]` of each wanted code."""
    import numpy as np

    edges = np.concatenate(([0], np.cumsum(count)))
    first = 0
    while first < len(wanted):
        last = max(first + 1, int(np.searchsorted(edges, edges[first] + (1 << 22), "right")) - 1)
        counts = count[first:last]
        left = np.repeat(np.arange(first, last), counts)
        within = np.arange(len(left)) - np.repeat(edges[first:last] - edges[first], counts)
        right = order[np.repeat(start[first:last], counts) + within]
        close = _bits(wanted[left] ^ codes[right]) <= max_bits
        yield left[close], right[close]
        first = last


def _bits(codes: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """How many bits are set in each code."""
    import numpy as np

    # numpy 2 counts in one instruction; numpy 1.26 has to lay the bits out.
    bits: NDArray[np.uint8] = (
        np.bitwise_count(codes)
        if hasattr(np, "bitwise_count")
        else np.unpackbits(codes.view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1, dtype=np.uint8)
    )
    return bits


def is_same_picture(one: Fingerprint, other: Fingerprint) -> bool:
    """Whether two fingerprints show one picture: the second test, on pixels.

    Brightness and contrast are evened out first, within bounds. Then no cell of a sixteenth by a
    sixteenth may differ by more than half of how much the picture varies at all, and no color by more
    than a shade: one strange object in a corner is another picture.
    """
    return _Gallery([one, other]).first_same(1, [0]) is not None


class _Gallery:
    """Fingerprints in arrays, to compare one with many at a time."""

    def __init__(self, prints: Sequence[Fingerprint]) -> None:
        import numpy as np

        self._grey = np.stack([print_.grey for print_ in prints])
        self._colors = np.stack([print_.colors for print_ in prints]).astype(np.int16)
        flat = self._grey.reshape(len(prints), -1)
        self._mean = flat.mean(axis=1, dtype=np.float32)
        self._deviation = np.maximum(flat.std(axis=1, dtype=np.float32), _FLAT)
        side = self._grey.shape[1] // _COARSE
        coarse = self._grey.reshape(-1, _COARSE, side, _COARSE, side).mean(axis=(2, 4), dtype=np.float32)
        evened = (coarse - self._mean[:, None, None]) / self._deviation[:, None, None]
        self._coarse = evened.reshape(len(prints), -1)

    def first_same(self, position: int, rivals: Sequence[int]) -> int | None:
        """The first of the rivals that shows the same picture as the one at `position`."""
        import numpy as np

        others = np.asarray(rivals)
        alike = np.abs(self._mean[others] - self._mean[position]) <= _MAX_BRIGHTNESS
        others = others[alike]
        # No mean over more pixels differs by more than the mean of their differences: from a camera that
        # never moves, where thousands have close codes, this lets a handful through.
        alike = np.abs(self._coarse[others] - self._coarse[position]).max(axis=1) <= _MAX_CELL
        others = others[alike]
        alike = np.abs(self._colors[others] - self._colors[position]).max(axis=(1, 2, 3)) <= _MAX_COLOR
        others = others[alike]
        difference = np.abs(self._even(others) - self._even(np.array([position])))
        side = difference.shape[1] // _CELL
        cells = difference.reshape(len(others), side, _CELL, side, _CELL).mean(axis=(2, 4))
        same = others[cells.max(axis=(1, 2), initial=0) <= _MAX_CELL]
        return int(same[0]) if len(same) else None

    def _even(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Pictures with their brightness and contrast evened out."""
        mean = self._mean[positions][:, None, None]
        even: NDArray[np.float32] = (self._grey[positions] - mean) / self._deviation[positions][:, None, None]
        return even


def near_copies(
    pictures: Sequence[tuple[StoredObject, Fingerprint]],
    *,
    earlier: Sequence[tuple[StoredObject, Fingerprint]] = (),
) -> tuple[list[StoredObject], list[Copy]]:
    """Take pictures apart into those to keep, in the order of their addresses, and near copies of those.

    The picture with the most pixels is kept, then the longest file, then the first by address. Every
    copy was compared with the very picture that is named in its place: likeness is not handed on from
    picture to picture.

    Args:
        pictures: with their fingerprints, in any order.
        earlier: pictures that are kept in any case.
    """
    import numpy as np

    if not pictures:
        return [], []
    best_first = sorted(pictures, key=lambda p: (-p[1].pixels, -p[0].size, p[0].uri))
    everything = [*earlier, *best_first]
    gallery = _Gallery([print_ for _, print_ in everything])
    # Thousands of night shots may share one code; pairs are made of codes, not of pictures.
    codes, code_of = np.unique(
        np.array([print_.code for _, print_ in everything], np.uint64), return_inverse=True
    )
    neighbors: list[list[int]] = [[code] for code in range(len(codes))]
    for one, other in close_pairs(codes).tolist():
        neighbors[one].append(other)
        neighbors[other].append(one)
    kept_with: list[list[int]] = [[] for _ in codes]
    kept: list[StoredObject] = []
    copies: list[Copy] = []
    for position, ((image, _), code) in enumerate(zip(everything, code_of.tolist(), strict=True)):
        rivals = [rival for neighbor in neighbors[code] for rival in kept_with[neighbor]]
        is_earlier = position < len(earlier)
        same = gallery.first_same(position, rivals) if rivals and not is_earlier else None
        if same is not None:
            copies.append(Copy(image, everything[same][0].uri, exact=False))
            continue
        kept_with[code].append(position)
        if not is_earlier:
            kept.append(image)
    return sorted(kept, key=lambda image: image.uri), copies
