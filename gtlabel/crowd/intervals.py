"""How sure a measured share is: intervals of beta distributions, without a library of special functions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gtlabel.crowd.gamma import log_gamma

# The steps of the continued fraction; it needs about the square root of the larger parameter.
_MOST_STEPS = 2000
_HALVINGS = 34
_TINY = 1e-300


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number that was estimated, and between what it lies.

    Attributes:
        value: the estimate itself.
        low: the lower end of its interval.
        high: the upper end.
    """

    value: float
    low: float
    high: float


def share(right: float, given: float, level: float = 0.95) -> Estimate:
    """The share `right / given` with Jeffreys' interval.

    The interval is the middle of the beta distribution with parameters right + 1/2 and given - right + 1/2,
    and reaches 0 or 1 where nothing or everything was right (Brown, Cai & DasGupta 2001,
    https://doi.org/10.1214/ss/1009213286). Of nothing, everything is possible: 0.5 between 0 and 1.

    Args:
        right: how many were right; sums of probabilities do as well.
        given: how many there are.
        level: how often such intervals hold the truth.
    """
    return shares(np.array([right]), np.array([given]), level)[0]


def shares(right: ArrayLike, given: ArrayLike, level: float = 0.95) -> list[Estimate]:
    """`share` of many at once, which takes hardly longer than one."""
    good, all_given = np.asarray(right, np.float64), np.asarray(given, np.float64)
    tail = (1 - level) / 2
    ends = beta_quantile(np.array([[tail], [1 - tail]]), good + 0.5, np.maximum(all_given - good, 0) + 0.5)
    value = np.where(all_given > 0, np.clip(good / np.where(all_given > 0, all_given, 1), 0, 1), 0.5)
    low = np.where(good <= 0, 0.0, np.minimum(ends[0], value))
    high = np.where(good >= all_given, 1.0, np.maximum(ends[1], value))
    return [Estimate(*row) for row in np.stack([value, low, high], axis=1).tolist()]


def beta_quantile(probability: ArrayLike, a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Where the beta distribution function of `a` and `b` reaches `probability`; all three broadcast.

    Where one of them is 0, as with a crowd that has one class only, all of it lies at that end.
    """
    wanted, first, second = np.broadcast_arrays(
        np.asarray(probability, np.float64),
        np.maximum(np.asarray(a, np.float64), _TINY),
        np.maximum(np.asarray(b, np.float64), _TINY),
    )
    low, high = np.zeros(wanted.shape), np.ones(wanted.shape)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        below = beta_share(middle, first, second) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    found: NDArray[np.float64] = (low + high) / 2
    return found


def beta_share(x: ArrayLike, a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """The regularized incomplete beta function: how much of the distribution lies below `x`.

    By the continued fraction of https://dlmf.nist.gov/8.17#v, with Lentz's method
    (https://doi.org/10.1364/AO.15.000668).
    """
    at, first, second = np.broadcast_arrays(
        np.asarray(x, np.float64), np.asarray(a, np.float64), np.asarray(b, np.float64)
    )
    # The fraction converges fast below the mean; above it the other tail is asked.
    turned = at > (first + 1) / (first + second + 2)
    near = np.clip(np.where(turned, 1 - at, at), _TINY, 1.0)
    p, q = np.where(turned, second, first), np.where(turned, first, second)
    front = (
        log_gamma(p + q)
        - log_gamma(p)
        - log_gamma(q)
        + p * np.log(near)
        + q * np.log1p(-np.minimum(near, 1 - 1e-16))
    )
    tail = np.exp(front) * _fraction(near, p, q) / p
    below: NDArray[np.float64] = np.clip(np.where(turned, 1 - tail, tail), 0.0, 1.0)
    return below


def _fraction(x: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    c = np.ones_like(x)
    d = 1 / _away(1 - (a + b) * x / (a + 1))
    value = d.copy()
    for m in range(1, _MOST_STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _away(1 + term * d)
            c = _away(1 + term / c)
            value = value * (d * c)
        if np.all(np.abs(d * c - 1) < 1e-12):
            break
    return value


def _away(value: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(value) < _TINY, _TINY, value)
