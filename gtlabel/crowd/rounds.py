"""Back and forth between beliefs about objects and what workers' answers say: the rounds of any such model.

A model says how likely each answer is given each true class, from what is believed; beliefs follow from that
by Bayes's rule. Dawid and Skene's is one, the hierarchy of `crowd.bayes` another: they differ in `speak`
alone.

In a large crowd most beliefs soon rest. They are left out of the next rounds, and taken in again before the
end. What the rounds maximize is then the bound of Neal and Hinton ("A view of the EM algorithm that justifies
incremental, sparse, and other variants", 1998, https://doi.org/10.1007/978-94-011-5014-9_12) with the beliefs
of the rest held. It falls no more than the likelihood does, and is the likelihood again once nothing is left
out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gtlabel.crowd.sums import Floats, Indices, Sums, normalized
from gtlabel.errors import ConsensusError

# From so many numbers on beliefs stand in single precision, and those that rest are left out.
_LARGE = 1 << 17
# A belief that moves by less than this in a round rests.
_RESTS = 1e-3


class Spoken(NamedTuple):
    """What a model says.

    Attributes:
        table: the logarithm of the probability of each pair's class given each true class, `[classes,
            pairs]`.
        prior: the logarithm of the probability of each class, `[classes]`.
        density: the logarithm of the prior density of all that, up to a constant.
    """

    table: Floats
    prior: Floats
    density: float


class End:
    """When to stop: not when the last round added little, but when all that follow would.

    Near its end each round of such an estimation adds a nearly constant share of what the one before added,
    so that the rest is a geometric series (Aitken's acceleration; Boehning et al. 1994,
    https://doi.org/10.1007/BF01720593). A slow estimation is one whose rounds add little, and yet has far to
    go.

    Args:
        tolerance: what may still be missing.

    Raises:
        ConsensusError: less than nothing may.
    """

    def __init__(self, tolerance: float) -> None:
        if not tolerance >= 0:
            raise ConsensusError(
                "the tolerance is below 0, or no number; give 0 to go on while anything is gained"
            )
        self._tolerance = tolerance
        self._value, self._gain, self._ratio = -np.inf, np.inf, np.inf

    def reached(self, value: float, resumed: bool = False) -> bool:
        """Whether no more than the tolerance can follow after a round that ended at this value.

        Args:
            value: what the round reached.
            resumed: whether it was the first after others that had left something out. What it gained is then
                no term of their series, and goes on as they did.
        """
        gain, before = value - self._value, self._gain
        self._value, self._gain = value, gain
        if gain <= self._tolerance * 1e-6:
            return True
        if not np.isfinite(before):
            return False
        if not resumed:
            self._ratio = gain / before
        return self._ratio < 1 and gain * self._ratio / (1 - self._ratio) <= self._tolerance


class Rounds:
    """The state between two rounds.

    Args:
        sums: the answers.
        start: what is believed at first, `[classes, objects]`.
        speak: the model: from the number of objects of each true class that each pair stands for,
            `[classes, pairs]`, and the number of all objects of each class, `[classes]`.
        known: the class of each object whose class is known, -1 for all others, `[objects]`; None if none is.

    Attributes:
        moved: by how much each belief moved in the last round, at most, in the order of the objects that took
            part.
        spoken: what the model said last.
        counts: what it said that of, `[classes, pairs]`.
        resumed: whether the last round was the first to take in again what had been left out.
    """

    def __init__(
        self,
        sums: Sums,
        start: Floats,
        speak: Callable[[Floats, Floats], Spoken],
        known: Indices | None = None,
    ) -> None:
        self._sums, self._speak = sums, speak
        self._large = sums.objects * sums.classes >= _LARGE
        self._believed: Floats = start.astype(np.float32 if self._large else np.float64)
        self._known = known if known is not None and np.any(known >= 0) else None
        if self._known is not None:
            clamped(self._believed, self._known)
        self._recent, self._sweep = self._believed, sums.whole
        self._held_counts: Floats | float = 0.0
        self._held_mass: Floats | float = 0.0
        self._held_entropy = 0.0
        self._added = False
        self.resumed = False

    @property
    def complete(self) -> bool:
        """Whether the last round left nothing out."""
        return self._sweep is self._sums.whole

    @property
    def posterior(self) -> Floats:
        """What is believed after a complete round, `[objects, classes]`."""
        posterior = np.ascontiguousarray(self._recent.T, dtype=np.float64)
        posterior /= posterior.sum(axis=1, keepdims=True)
        return posterior

    def run(self, end: Callable[[float], bool], most: int) -> tuple[int, float]:
        """Go on until the end, and have nothing left out then.

        Args:
            end: whether a round that ended at this bound is the last.
            most: after so many rounds they end in any case.

        Returns:
            How many rounds it took, and the bound: the logarithm of the likelihood times the priors.

        Raises:
            ConsensusError: there may be none.
        """
        if most < 1:
            raise ConsensusError(f"rounds={most} would leave nothing learned; give 1 or more")
        done, bound = 0, -np.inf
        while done < most:
            done += 1
            bound = self.step()
            ended, self.resumed = end(bound), False
            if not ended:
                self.leave_out_what_rests()
            elif self.complete:
                return done, bound
            else:
                self.take_all()
                self.resumed = True
        if not self.complete:
            self.take_all()
            bound = self.step()
        return done, bound

    def step(self) -> float:
        """Hear what the model says of what is believed, then believe that; the bound after it."""
        if not self._added:
            self._add_up()
        self.spoken = self._speak(self.counts, self._mass)
        table, prior, density = self.spoken
        scores = self._sweep.to_objects(table.astype(self._recent.dtype))
        scores += prior.astype(scores.dtype)[:, None]
        fixed = None if self._known is None else self._known[self._sweep.places]
        said = None if fixed is None else scores[fixed, np.arange(len(fixed))]
        believed, self._evidence = normalized(scores)
        if fixed is not None and said is not None:
            clamped(believed, fixed)
            self._evidence = np.where(fixed >= 0, said, self._evidence)
        self.moved: Floats = np.abs(believed - self._recent).max(axis=0)
        self._recent, self._added = believed, False
        held = (self._held_counts * table).sum() + (self._held_mass * prior).sum()
        return float(self._evidence.sum(dtype=np.float64) + held + self._held_entropy) + density

    def leave_out_what_rests(self) -> None:
        """Go on with the objects that moved, where that is less work."""
        moves = self.moved > _RESTS
        if not self._large or 2 * np.count_nonzero(moves) > len(moves):
            return
        self._add_up()
        self._store()
        column_of = np.empty(self._sums.objects, dtype=np.intp)
        column_of[self._sweep.places] = np.arange(len(moves))
        self._sweep = self._sweep.part(moves)
        # Objects with unequal numbers of answers stand in another order in a part.
        self._recent = self._recent[:, column_of[self._sweep.places]]
        # Differences of sums in single precision may fall below nothing.
        counts = np.maximum(self.counts - self._sweep.to_pairs(self._recent), 0)
        mass = np.maximum(self._mass - self._recent.sum(axis=1, dtype=np.float64), 0)
        # The bound holds with equality for what was just believed, which tells the entropy of the rest.
        said = ((counts - self._held_counts) * self.spoken.table).sum()
        said += ((mass - self._held_mass) * self.spoken.prior).sum()
        self._held_entropy += float(self._evidence[~moves].sum(dtype=np.float64) - said)
        self._held_counts, self._held_mass = counts, mass

    def take_all(self) -> None:
        """Leave nothing out any more."""
        self._add_up()
        self._store()
        self._sweep, self._recent = self._sums.whole, self._believed
        self._held_counts, self._held_mass, self._held_entropy = 0.0, 0.0, 0.0

    def _store(self) -> None:
        if self.complete:
            self._believed = self._recent
        else:
            self._believed[:, self._sweep.places] = self._recent

    def _add_up(self) -> None:
        self.counts: Floats = self._held_counts + self._sweep.to_pairs(self._recent).astype(np.float64)
        self._mass: Floats = self._held_mass + self._recent.sum(axis=1, dtype=np.float64)
        self._added = True


def clamped(believed: Floats, known: NDArray[np.intp]) -> None:
    """Believe nothing but what is known, in place, `[classes, objects]`; -1 is not known."""
    sure = np.flatnonzero(known >= 0)
    believed[:, sure] = 0
    believed[known[sure], sure] = 1
