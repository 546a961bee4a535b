"""How many wrong labels may hide among objects nobody looked at, given a random sample of them that was.

Everything here is exact for finite populations drawn without replacement: no normal approximation, no
independence beyond the random draw.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def chance_of_few(sample: int, wrong: int, population: int, bad: int) -> float:
    """The probability that a random sample of a population shows so few bad ones, or fewer.

    The hypergeometric distribution function.

    Args:
        sample: how many are drawn without replacement.
        wrong: how many bad ones are seen.
        population: how many there are, drawn or not.
        bad: how many of them are bad.
    """
    counts = np.arange(max(0, sample - (population - bad)), min(wrong, sample, bad) + 1)
    if not len(counts):
        return 0.0
    logs = _choices(bad, counts) + _choices(population - bad, sample - counts) - _choices(population, sample)
    return float(min(1.0, np.exp(logs).sum()))


def most_wrong(sample: int, wrong: int, rest: int, alpha: float) -> int:
    """A bound on how many bad ones are among those not drawn, which fails with probability alpha at most.

    Clopper and Pearson's bound (Biometrika 26, 1934) for finite populations: the largest number that a
    one-sided test does not reject.

    Args:
        sample: how many were drawn at random.
        wrong: how many bad ones were among them.
        rest: how many were not drawn.
        alpha: the risk, between 0 and 1.
    """
    low, high = 0, rest
    while low < high:
        middle = (low + high + 1) // 2
        if chance_of_few(sample, wrong, sample + rest, wrong + middle) > alpha:
            low = middle
        else:
            high = middle - 1
    return low


def _choices(of: int, some: NDArray[np.intp] | int) -> NDArray[np.float64]:
    values = np.atleast_1d(some)
    return np.array(
        [math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1) for k in values.tolist()]
    )
