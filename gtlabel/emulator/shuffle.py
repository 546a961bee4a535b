"""In which order an epoch has its lines or objects."""

from __future__ import annotations

import random
from collections.abc import Sequence


def order(count: int, seed: int | None, epoch: int) -> Sequence[int]:
    """The places of `count` things in an epoch: as they are without a seed, else shuffled anew each time.

    Args:
        count: how many there are.
        seed: the `ShuffleConfig.Seed` of the channel.
        epoch: which epoch, from 0.
    """
    if seed is None:
        return range(count)
    places = list(range(count))
    random.Random(f"{seed}:{epoch}").shuffle(places)  # noqa: S311 - an order, not a secret
    return places
