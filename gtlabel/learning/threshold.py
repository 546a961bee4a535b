"""Whether a machine's labels above a threshold can be trusted, given a random sample that people labeled.

Objects are ranked by the machine's confidence, and a *region* is what lies above some threshold. People
labeled a random sample of it. How many of the machine's labels are wrong in the rest is bounded as for any
finite population of which some are drawn without replacement: by the hypergeometric distribution, for which
Clopper and Pearson (Biometrika 26, 1934) is the limit of endless populations. There is no normal
approximation in it, and no assumption about how right a machine is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Region:
    """The objects above a threshold, counted.

    Attributes:
        sample: how many of them belong to the random sample.
        rest: how many do not.
        found: how many of the rest people labeled all the same, and otherwise than the machine.
        open: how many of the rest nobody labeled; the machine would.
    """

    sample: int
    rest: int
    found: int
    open: int

    def tolerable(self, target: float, alpha: float) -> int:
        """How many wrong labels the sample may show for the region to be trusted; -1 if none would do.

        If the machine is wrong about more than a share `1 - target` of the open objects, the sample shows
        so few wrong ones with probability alpha at most.

        Args:
            target: the share of the open objects that must be right.
            alpha: the risk that it is not.
        """
        # 5 % of 20 is 1, whatever binary fractions make of it.
        allowed = self.found + math.floor((1 - target) * self.open + 1e-9)
        if allowed >= self.rest:
            return self.sample
        low, high = -1, self.sample
        while low < high:
            middle = (low + high + 1) // 2
            if chance_of_few(self.sample, middle, self.sample + self.rest, middle + allowed + 1) <= alpha:
                low = middle
            else:
                high = middle - 1
        return low


def chance_of_few(sample: int, wrong: int, population: int, bad: int) -> float:
    """The probability that a random sample of a population shows so few bad ones, or fewer.

    The hypergeometric distribution function.

    Args:
        sample: how many are drawn without replacement.
        wrong: how many bad ones are seen.
        population: how many there are, drawn or not.
        bad: how many of them are bad.
    """
    least, most = max(0, sample - (population - bad)), min(wrong, sample, bad)
    if wrong >= min(sample, bad):
        return 1.0
    if most < least:
        return 0.0
    counts = np.arange(least, most + 1)
    good = population - bad
    logs = _ways(bad, counts) + _ways(good, sample - counts) - _ways(population, np.array([sample]))
    return float(min(1.0, np.exp(logs).sum()))


def most_wrong(sample: int, wrong: int, rest: int, alpha: float) -> int:
    """A bound on how many bad ones are among those not drawn, which fails with probability alpha at most.

    The largest number that a one-sided test does not reject.

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


def chance_of_at_most(count: int, expected: float) -> float:
    """The probability of so many rare events or fewer: the Poisson distribution function.

    Args:
        count: how many; below 0 it is impossible.
        expected: how many there are on the mean.
    """
    if count < 0:
        return 0.0
    if expected <= 0:
        return 1.0
    # In logarithms: nothing is as small as the chance of none at all where hundreds are expected.
    counts = np.arange(count + 1)
    logs = counts * math.log(expected) - expected - _log_factorials(_size(count))[counts]
    return float(min(1.0, np.exp(logs).sum()))


def _ways(of: int, some: NDArray[np.intp]) -> Floats:
    """The logarithm of how many ways there are to choose some."""
    table = _log_factorials(_size(of))
    found: Floats = table[of] - table[some] - table[of - some]
    return found


def _size(of: int) -> int:
    return 1 << max(10, of.bit_length())


@lru_cache(maxsize=16)
def _log_factorials(up_to: int) -> Floats:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, up_to + 1)))])
