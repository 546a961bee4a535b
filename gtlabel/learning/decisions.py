"""What is decided about labels of a machine, what is promised of them, and what an audit finds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Promise:
    """What is stated about the objects that a machine labels.

    Attributes:
        precision: at least this share of them has the label that people would give it.
        risk: the probability that this is wrong, at most.
        sample: how many randomly chosen objects of that kind people had labeled.
        wrong: how many of those the machine had wrong.
    """

    precision: float
    risk: float
    sample: int
    wrong: int


@dataclass(frozen=True, slots=True)
class Decision:
    """Which objects a machine may label.

    Attributes:
        objects: they, in ascending order; empty where nothing can be promised.
        labels: the class of each.
        confidence: how likely each label is right, as the machine sees it.
        threshold: the least confidence among them; None where there are none.
        promise: what holds for them; None where there are none.
        why: one sentence for people.
    """

    objects: Indices
    labels: Indices
    confidence: Floats
    threshold: float | None
    promise: Promise | None
    why: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What people found when they looked at machine labels at random.

    Attributes:
        sample: how many they looked at.
        wrong: how many of those were wrong.
        precision: the share that was right; nan where none was looked at.
        at_least: the precision of all machine labels, except with the risk of the promise.
        holds: False where the promise is refuted, which happens to a promise kept with its risk at most.
        why: one sentence for people.
    """

    sample: int
    wrong: int
    precision: float
    at_least: float
    holds: bool
    why: str


def nothing(why: str) -> Decision:
    """No object at all, and why."""
    empty = np.empty(0, dtype=np.intp)
    return Decision(empty, empty, np.empty(0), None, None, why)
