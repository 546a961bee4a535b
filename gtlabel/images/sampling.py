"""Which pictures to begin with, when not all of them are to be labeled at once.

Pictures are drawn by a hash of their address and a seed, as if each held a lottery ticket for life: the
same seed draws the same pictures, a larger sample contains the smaller one, and pictures that are added
later take the place of few.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal

from gtlabel.errors import SettingsError
from gtlabel.storage import StoredObject
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Shares = Literal["proportional", "equal"]

FOLDER = "folder"


def drawn(images: Iterable[StoredObject], seed: int = 0) -> list[StoredObject]:
    """The images in the order in which they are drawn: the first n are a random sample of n."""
    key = seed.to_bytes(8, "big", signed=True)

    def ticket(image: StoredObject) -> tuple[bytes, str]:
        return blake2b(image.uri.encode(), digest_size=8, key=key).digest(), image.uri

    return sorted(images, key=ticket)


def stratum_of(pattern: str = FOLDER) -> Callable[[S3Uri], str]:
    """The function that tells to which stratum an image belongs, by its address.

    Args:
        pattern: `folder` for the folder it lies in, or a regular expression that is searched in the key,
            such as `cam-[0-9]+` or `cameras/([^/]+)/`; its first group, or all it matched, names the
            stratum. Images that it does not match make a stratum of their own, named "".

    Raises:
        SettingsError: if it is no regular expression.
    """
    if pattern == FOLDER:
        return lambda uri: uri.key.rpartition("/")[0]
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise SettingsError(f"{pattern!r} is no regular expression to stratify by: {error}") from error

    def stratum(uri: S3Uri) -> str:
        match = compiled.search(uri.key)
        if match is None:
            return ""
        return next((group for group in match.groups() if group is not None), match[0])

    return stratum


def allocate(sizes: Mapping[str, int], n: int, shares: Shares = "proportional") -> dict[str, int]:
    """How many images to take of each stratum; n in all, or everything when there are not as many.

    `proportional` keeps the mixture: every stratum gets n times its part of all images, rounded up or
    down (the largest remainders up, ties by name). `equal` gives each the same number, and what small
    strata cannot fill to the others; it finds more of what is rare.
    """
    total = sum(sizes.values())
    if n >= total:
        return dict(sizes)
    if shares == "equal":
        return _leveled(sizes, n)
    taken = {name: n * size // total for name, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda name: (-(n * sizes[name] % total), name))
    for name in by_remainder[: n - sum(taken.values())]:
        taken[name] += 1
    return taken


def _leveled(sizes: Mapping[str, int], n: int) -> dict[str, int]:
    """As much of each as of any other, as when water rises in vessels of different heights."""
    taken = {}
    left = n
    ascending = sorted(sizes, key=lambda name: (sizes[name], name))
    for position, name in enumerate(ascending):
        taken[name] = min(sizes[name], left // (len(ascending) - position))
        left -= taken[name]
    return {name: taken[name] for name in sizes}


def most_diverse(points: NDArray[np.float32], n: int, start: int = 0) -> list[int]:
    """The positions of n points that leave no other point far from all of them (greedy k-center).

    Beginning with `start`, each next point is the one farthest from those chosen, so every point ends at
    most twice as far from a chosen one as with the best choice there is (Gonzalez 1985,
    https://doi.org/10.1016/0304-3975(85)90224-5). It costs n passes over the points.

    Args:
        points: one row for each picture.
        n: how many to choose; all of them when there are fewer.
        start: the position of the first one.
    """
    import numpy as np

    count = len(points)
    if count == 0 or n <= 0:
        return []
    chosen = [start]
    squares = np.einsum("ij,ij->i", points, points)
    nearest = np.full(count, np.inf, np.float32)
    while len(chosen) < min(n, count):
        last = chosen[-1]
        distance = squares + squares[last] - 2 * (points @ points[last])
        np.minimum(nearest, distance, out=nearest)
        nearest[last] = -np.inf
        chosen.append(int(nearest.argmax()))
    return chosen


def group(images: Sequence[StoredObject], stratum: Callable[[S3Uri], str]) -> dict[str, list[StoredObject]]:
    """The images of each stratum, in the order in which they came."""
    groups: dict[str, list[StoredObject]] = {}
    for image in images:
        groups.setdefault(stratum(image.uri), []).append(image)
    return groups
