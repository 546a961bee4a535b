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
from gtlabel.images.duplicates import close_pairs
from gtlabel.images.duplicates import is_same_picture as same_picture
from gtlabel.images.listing import WORKERS, Refusal
from gtlabel.images.parallel import in_parallel
from gtlabel.storage import read
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from gtlabel.images.fingerprints import Fingerprint

__all__ = ["Bridge", "Grouping", "find_groups", "fingerprints_of", "groups", "same_picture", "united"]


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
        on_progress: called with the number of pictures read so far.

    Raises:
        MissingExtraError: if Pillow and numpy are not installed.
    """
    seen: list[tuple[S3Uri, Fingerprint]] = []
    unread: list[Refusal] = []
    for done, (image, found) in enumerate(fingerprints_of(s3, sorted(set(images)), workers), start=1):
        if isinstance(found, str):
            unread.append(Refusal(image, found))
        else:
            seen.append((image, found))
        if on_progress is not None:
            on_progress(done)
    made = united(seen, earlier or {})
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

    Args:
        pictures: each address once, in any order.
        earlier: the groups of an earlier run. A picture keeps its group; newcomers join the group of
            those they are like, the first by name when there are several.
    """
    import numpy as np

    kept = earlier or {}
    sorted_pictures = sorted(pictures, key=lambda picture: picture[0])
    addresses = [address for address, _ in sorted_pictures]
    codes = np.array([print_.code for _, print_ in sorted_pictures], np.uint64)
    unique, code_of = np.unique(codes, return_inverse=True)
    root = list(range(len(unique)))
    for one, other in close_pairs(unique).tolist():
        _join(root, one, other)
    members: dict[int, list[S3Uri]] = {}
    for address, code in zip(addresses, code_of.tolist(), strict=True):
        members.setdefault(_root(root, code), []).append(address)
    named: dict[S3Uri, str] = {}
    bridges: list[Bridge] = []
    for alike in members.values():
        old = sorted({kept[address] for address in alike if address in kept})
        name = old[0] if old else str(alike[0])
        named.update((address, kept.get(address, name)) for address in alike)
        if len(old) > 1:
            bridges.append(Bridge(name, tuple(old[1:])))
    return Grouping(named, tuple(bridges))


def _join(root: list[int], one: int, other: int) -> None:
    """Make one tree of two; the smaller position stays its root."""
    first, second = sorted((_root(root, one), _root(root, other)))
    root[second] = first


def _root(root: list[int], position: int) -> int:
    while root[position] != position:
        root[position] = root[root[position]]
        position = root[position]
    return position
