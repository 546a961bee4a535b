"""Whether somebody's answers got better or worse in time.

The test follows the sum of how much better each answer was than expected (CUSUM). Without a change it wanders
back to zero as a Brownian bridge does, whose largest distance has Kolmogorov's distribution
(https://doi.org/10.2307/2287750 on such tests for one change). Answers that are either right or wrong wander
less far than it allows, so that false alarms are rarer than stated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A change is looked for where so many answers lie on either side.
_FEWEST = 10
_TERMS = 50


@dataclass(frozen=True, slots=True)
class Change:
    """Where answers changed most.

    Attributes:
        at: the position of the first answer after the change, in time.
        moment: when that was given.
        before: the share of right answers until then.
        after: the share from then on.
        chance: how probable so large a change is where nothing changes.
    """

    at: int
    moment: float
    before: float
    after: float
    chance: float


def change(
    moments: NDArray[np.float64], right: NDArray[np.float64], expected: NDArray[np.float64] | None = None
) -> Change | None:
    """The one change that explains a worker's answers best; None where they are too few or all alike.

    Args:
        moments: when each answer was given, in any order.
        right: the probability that each is right.
        expected: what it would be for the worker on average, which takes out that hard objects may have come
            together; the mean of `right` without it.
    """
    answers = len(right)
    if answers < 2 * _FEWEST:
        return None
    order = np.argsort(moments, kind="stable")
    better = (right - (right.mean() if expected is None else expected))[order]
    better = better - better.mean()
    spread = float(np.sqrt((better**2).mean()))
    if spread < 1e-9:
        return None
    path = np.abs(np.cumsum(better)[:-1])
    at = _FEWEST + int(path[_FEWEST - 1 : answers - _FEWEST].argmax())
    far = float(path.max()) / (spread * math.sqrt(answers))
    ordered = right[order]
    return Change(
        at,
        float(np.sort(moments)[at]),
        float(ordered[:at].mean()),
        float(ordered[at:].mean()),
        _kolmogorov(far),
    )


def _kolmogorov(distance: float) -> float:
    """The probability that a Brownian bridge gets farther than this from zero."""
    if distance < 0.2:
        return 1.0
    tail = 2.0 * sum((-1.0) ** (j - 1) * math.exp(-2 * (j * distance) ** 2) for j in range(1, _TERMS))
    return min(1.0, max(0.0, tail))
