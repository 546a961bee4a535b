"""Answers as three parallel arrays, and what a method makes of them.

Everything counts from zero: objects (pictures), workers, classes. A worker may have answered one object more
than once; every answer counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Sums in another order differ in their last digits; that must not break a tie.
_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Votes:
    """Answers as three parallel arrays: on which object, by which worker, which class; all from zero."""

    objects: NDArray[np.intp]
    workers: NDArray[np.intp]
    classes: NDArray[np.intp]

    @classmethod
    def of(cls, answers: Sequence[tuple[int, str, int]]) -> Votes:
        """Number the workers by their names."""
        names = {name: index for index, name in enumerate(sorted({worker for _, worker, _ in answers}))}
        return cls(
            np.array([o for o, _, _ in answers], dtype=np.intp),
            np.array([names[w] for _, w, _ in answers], dtype=np.intp),
            np.array([c for _, _, c in answers], dtype=np.intp),
        )


@dataclass(frozen=True, slots=True)
class Consensus:
    """What a method found.

    Attributes:
        posterior: the probability of each class for each object, `[objects, classes]`; rows sum to 1. An
            object without answers has the class prior.
        confusion: for each worker how often he says the second class of an object of the first, `[workers,
            classes, classes]`; rows sum to 1. None where the method knows no such thing, or where it would
            have more than `sums.WIDEST_CONFUSION` entries.
        skill: the probability of a right answer by each worker, as the method sees it, `[workers]`; None
            where the method does not tell workers apart.
        method: the name under which `crowd.methods` knows the method.
        rounds: how often it went over all answers.
        log_likelihood: the natural logarithm of what the method maximizes, at its end; None where it
            maximizes nothing.
    """

    posterior: NDArray[np.float64]
    confusion: NDArray[np.float64] | None
    skill: NDArray[np.float64] | None
    method: str
    rounds: int
    log_likelihood: float | None

    @property
    def labels(self) -> NDArray[np.intp]:
        """The likeliest class of each object, `[objects]`; ties go to the lowest index."""
        return np.asarray(np.round(self.posterior, _DIGITS).argmax(axis=1), dtype=np.intp)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of each object's label, `[objects]`."""
        chosen: NDArray[np.float64] = np.take_along_axis(self.posterior, self.labels[:, None], axis=1)[:, 0]
        return chosen

    @property
    def tied(self) -> NDArray[np.bool_]:
        """Which objects have another class as likely as their label, `[objects]`."""
        rounded = np.round(self.posterior, _DIGITS)
        top: NDArray[np.bool_] = rounded == rounded.max(axis=1, keepdims=True)
        return np.asarray(top.sum(axis=1) > 1, dtype=np.bool_)
