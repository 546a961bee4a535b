"""Counting hands: majority vote, and hands weighed by how often they were with the majority."""

from __future__ import annotations

import numpy as np

from gtlabel.crowd.sums import Floats, Sums, shares, sums_of
from gtlabel.crowd.votes import Consensus, Votes


def majority(votes: Votes | Sums, objects: int, classes: int) -> Consensus:
    """The share of an object's answers that name each class.

    An object without answers has the share of each class among all answers.
    """
    share = shares(sums_of(votes, objects, classes))
    return Consensus(np.ascontiguousarray(share.T), None, None, "majority", 1, None)


def wawa(votes: Votes | Sums, objects: int, classes: int) -> Consensus:
    """Worker agreement with aggregate: each answer weighs as much as its worker agrees with the majority.

    Where a majority is shared by several classes, naming one of them is a part of an agreement, so that the
    result does not depend on the order of the classes (crowd-kit takes whichever stands first). Every answer
    counts, also one that a worker gave twice (in crowd-kit's weights it counts once).

    Source: Appen's "Calculating worker agreement with aggregate",
    https://success.appen.com/hc/en-us/articles/202703205
    """
    sums = sums_of(votes, objects, classes)
    counted = sums.named()
    leading = (counted == counted.max(axis=0)).astype(np.float64)
    leading /= leading.sum(axis=0)
    agreed = sums.to_workers(sums.own(sums.to_pairs(leading)))
    skill = agreed / np.maximum(sums.given, 1)
    posterior = _weighed(sums, skill)
    return Consensus(np.ascontiguousarray(posterior.T), None, skill, "wawa", 2, None)


def _weighed(sums: Sums, weight: Floats) -> Floats:
    total = sums.named(weight)
    # Nobody whom the crowd agrees with has looked at these: all that is left is the count of hands.
    lost = total.sum(axis=0) <= 0
    if lost.any():
        total[:, lost] = shares(sums)[:, lost]
    total /= total.sum(axis=0)
    return total
