"""Pictures so alike that a model which saw one in training is not tested by the other.

A group always goes to one channel, so taking two different pictures for alike costs nothing but a little
of the freedom to split, and taking alike ones for different leaks: groups are drawn generously. They
never decide that a picture is superfluous; that is for `same_picture`, which looks at the pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gtlabel.errors import MissingExtraError, ObjectArchivedError, ObjectNotFoundError
from gtlabel.images.duplicates import close_matches
from gtlabel.images.duplicates import is_same_picture as same_picture
from gtlabel.images.listing import WORKERS, Refusal
from gtlabel.images.parallel import in_parallel
from gtlabel.storage import read
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from types_boto3_s3 import S3Client

    from gtlabel.images.fingerprints import Fingerprint

__all__ = [
    "Bridge",
    "Grouping",
    "Looks",
    "find_groups",
    "fingerprints_of",
    "groups",
    "same_picture",
    "united",
]

# What reads pictures: see `fingerprints_of`.
Looks = Callable[[Iterable[S3Uri]], Iterator[tuple[S3Uri, "Fingerprint | str"]]]

# The most that four words of 16 bits find by flipping one.
_MAX_BITS = 7
_AT_ONCE = 4_096


@dataclass(frozen=True, slots=True)
class Bridge:
    """Pictures that belong to several groups which an earlier run kept apart.

    Attributes:
        group: the first of those groups by name; newcomers are in it.
        others: the rest; their pictures stay with them.
    """

    group: str
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grouping:
    """Which group each picture belongs to.

    Attributes:
        groups: the name of its group for every picture, alone in it or not: the address of a picture,
            the first of the group when it was named.
        bridges: earlier groups that are one by now.
        unread: pictures that cannot be looked at; each is a group of its own.
    """

    groups: dict[S3Uri, str]
    bridges: tuple[Bridge, ...] = ()
    unread: tuple[Refusal, ...] = ()


def groups(pictures: Iterable[tuple[S3Uri, Fingerprint]]) -> dict[S3Uri, str]:
    """The group of each picture, named by the address of its first member.

    The order of the pictures does not matter.
    """
    return united(pictures).groups


def find_groups(
    s3: S3Client,
    images: Iterable[S3Uri],
    *,
    earlier: Mapping[S3Uri, str] | None = None,
    workers: int = WORKERS,
    look: Looks | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Grouping:
    """Read pictures and group them.

    Every picture is read whole, once, several at a time; a few hundred are in memory at once, and about
    one and a half kilobytes of each remain.

    Args:
        s3: the client; it is used from all threads.
        images: their addresses, in any order.
        earlier: what an earlier run returned; a picture never changes its group.
        workers: how many pictures are read at once.
        look: what reads the pictures in place of `fingerprints_of`, in their order; a cluster, perhaps.
        on_progress: called with the number of pictures read so far.

    Raises:
        MissingExtraError: if Pillow and numpy are not installed.
    """
    unread: list[Refusal] = []

    def readable() -> Iterator[tuple[S3Uri, Fingerprint]]:
        wanted = sorted(set(images))
        seen = look(wanted) if look else fingerprints_of(s3, wanted, workers)
        for done, (image, found) in enumerate(seen, start=1):
            if isinstance(found, str):
                unread.append(Refusal(image, found))
            else:
                yield image, found
            if on_progress is not None:
                on_progress(done)

    made = united(readable(), earlier)
    alone = {refusal.uri: (earlier or {}).get(refusal.uri, str(refusal.uri)) for refusal in unread}
    return Grouping({**made.groups, **alone}, made.bridges, tuple(unread))


def fingerprints_of(
    s3: S3Client, images: Iterable[S3Uri], workers: int = WORKERS
) -> Iterator[tuple[S3Uri, Fingerprint | str]]:
    """Yield each picture with its fingerprint, or with the end of the sentence "this picture ...".

    They come in the order of the images, which are taken as they are needed.
    """
    try:
        from gtlabel.images.fingerprints import fingerprint
    except ImportError as error:
        raise MissingExtraError("comparing what pictures show", "train") from error

    def look(image: S3Uri) -> Fingerprint | str:
        try:
            return fingerprint(read(s3, image))
        except ObjectNotFoundError:
            return "does not exist"
        except ObjectArchivedError:
            return "is archived; restore it to S3 Standard first"

    return in_parallel(look, images, workers)


def united(
    pictures: Iterable[tuple[S3Uri, Fingerprint]], earlier: Mapping[S3Uri, str] | None = None
) -> Grouping:
    """Group pictures by their fingerprints, without moving any that an earlier run has grouped.

    Likeness is handed on: of a series in which each picture is like the next, all are one group.

    Args:
        pictures: each address once, in any order; they are taken one at a time.
        earlier: the groups of an earlier run. A picture keeps its group; newcomers join the group of
            those they are like, the first by name when there are several.

    Raises:
        MissingExtraError: if numpy is not installed.
    """
    addresses, forest = _alike(pictures)
    members: dict[int, list[S3Uri]] = {}
    for address, root in sorted(zip(addresses, forest, strict=True)):
        members.setdefault(root, []).append(address)
    kept = earlier or {}
    named: dict[S3Uri, str] = {}
    bridges: list[Bridge] = []
    for alike in members.values():
        old = sorted({kept[address] for address in alike if address in kept})
        name = old[0] if old else str(alike[0])
        named.update((address, kept.get(address, name)) for address in alike)
        if len(old) > 1:
            bridges.append(Bridge(name, tuple(old[1:])))
    return Grouping(named, tuple(bridges))


def _alike(pictures: Iterable[tuple[S3Uri, Fingerprint]]) -> tuple[list[S3Uri], list[int]]:
    """The addresses, and for each of them the position of one picture that stands for its group."""
    try:
        import numpy as np

        from gtlabel.images.fingerprints import GREY
        from gtlabel.images.views import WINDOWS, Album, view_codes
    except ImportError as error:
        raise MissingExtraError("comparing what pictures show", "train") from error

    addresses: list[S3Uri] = []
    grey, colors = bytearray(), bytearray()
    for address, print_ in pictures:
        addresses.append(address)
        grey += print_.grey.tobytes()
        colors += print_.colors.tobytes()
    if not addresses:
        return [], []
    thumbnails = np.frombuffer(grey, np.uint8).reshape(len(addresses), GREY, GREY)
    album = Album(thumbnails, np.frombuffer(colors, np.uint8).reshape(len(addresses), -1))
    codes = np.concatenate(
        [view_codes(thumbnails[start : start + _AT_ONCE]) for start in range(0, len(addresses), _AT_ONCE)],
        axis=1,
    )
    forest = Forest(len(addresses))
    for window in range(len(WINDOWS)):
        for left, right in close_matches(codes[window], codes[0], _MAX_BITS):
            for start in range(0, len(left), _AT_ONCE):
                one, other = left[start : start + _AT_ONCE], right[start : start + _AT_ONCE]
                # Whatever is in one group by now need not be compared: a camera that never moves would
                # give millions of pairs.
                apart = forest.apart(one, other)
                one, other = one[apart], other[apart]
                same = album.alike(window, one, other)
                forest.join(one[same].tolist(), other[same].tolist())
    return addresses, forest.roots().tolist()


class Forest:
    """Which of many things belong together, told pair by pair (union and find)."""

    def __init__(self, size: int) -> None:
        import numpy as np

        self._root = np.arange(size)

    def roots(self) -> NDArray[np.int64]:
        """For each thing, the first of those it belongs together with."""
        while True:
            shorter = self._root[self._root]
            if (shorter == self._root).all():
                return self._root
            self._root = shorter

    def apart(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the pairs are not known to belong together."""
        roots = self.roots()
        different: NDArray[np.bool_] = roots[one] != roots[other]
        return different

    def join(self, one: Iterable[int], other: Iterable[int]) -> None:
        """Let the things of each pair belong together."""
        for left, right in zip(one, other, strict=True):
            first, second = sorted((self._find(left), self._find(right)))
            self._root[second] = first

    def _find(self, position: int) -> int:
        while (above := int(self._root[position])) != position:
            position = above
        return position
