"""GLAD: a worker's ability against an object's difficulty.

J. Whitehill, P. Ruvolo, T. Wu, J. Bergsma, J. Movellan, "Whose vote should count more: optimal integration of
labels from labelers of unknown expertise", NIPS 2009, https://papers.nips.cc/paper/3644. An answer is right
with probability 1 / (1 + exp(-ability * ease)), and any other class alike otherwise. Abilities, and the
logarithms of the eases, are drawn from a normal distribution around 1 beforehand, as there.

All classes are alike beforehand, as there. Where the paper climbs along the gradient, abilities and eases
here take one of Newton's steps each in a round, worker by worker and object by object, and none that leads
down: what is maximized never falls. crowd-kit 1.4.2 has the same model and the same prior distributions, and
climbs along conjugate gradients: with tolerances small enough it names the same classes, thousands of times
slower (tests/benchmarks/consensus_same.py).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gtlabel.crowd.rounds import End, clamped
from gtlabel.crowd.sums import Floats, Indices, Sums, check_known, normalized, positive, shares, sums_of
from gtlabel.crowd.votes import Consensus, Votes
from gtlabel.errors import ConsensusError

# The mean of an ability, and of the logarithm of an ease.
_MEAN = 1.0
# A step farther than this leaves the neighborhood that it was computed for.
_STEP = 1.0


def glad(
    votes: Votes | Sums,
    objects: int,
    classes: int,
    *,
    spread: float = 1.0,
    rounds: int = 200,
    tolerance: float = 1e-5,
    known: Indices | None = None,
) -> Consensus:
    """An ability for each worker and an ease for each object, fitted together with the labels.

    Args:
        votes: the answers, or `Sums` of them.
        objects: how many objects there are, also those without answers.
        classes: how many classes there are, also those that nobody chose.
        spread: the standard deviation of abilities, and of the logarithms of eases, beforehand.
        rounds: at most so many.
        tolerance: as in `dawid_skene`.
        known: as in `dawid_skene`.

    Raises:
        ConsensusError: the answers, or what is known, name an object or class that is not there; or an
            option is none that makes sense.
    """
    sums = sums_of(votes, objects, classes)
    check_known(known, objects, classes)
    positive("spread", spread)
    if rounds < 1:
        raise ConsensusError(f"rounds={rounds} would leave nothing learned; give 1 or more")
    fit = _Fit(sums, spread, known)
    end = End(tolerance * max(len(sums.votes.objects), 1))
    done, bound = 0, -np.inf
    while done < rounds:
        done += 1
        bound = fit.step()
        if end.reached(bound):
            break
    right = np.bincount(sums.votes.workers, weights=_logistic(fit.strength()), minlength=sums.workers)
    posterior = np.ascontiguousarray(fit.believed.T)
    return Consensus(posterior, None, right / np.maximum(sums.given, 1), "glad", done, bound)


class _Fit:
    def __init__(self, sums: Sums, spread: float, known: Indices | None) -> None:
        self._sums, self._weight = sums, 1 / spread**2
        self._known = known if known is not None and np.any(known >= 0) else None
        self._others = np.log(max(sums.classes - 1, 1))
        self._cells = sums.votes.classes * sums.objects + sums.votes.objects
        self.believed: Floats = shares(sums)
        if self._known is not None:
            clamped(self.believed, self._known)
        self._ability: Floats = np.full(sums.workers, _MEAN)
        self._ease: Floats = np.full(sums.objects, _MEAN)

    def strength(self) -> Floats:
        """Ability times ease of each answer, `[answers]`."""
        votes = self._sums.votes
        product: Floats = self._ability[votes.workers] * np.exp(self._ease)[votes.objects]
        return product

    def step(self) -> float:
        """Learn from what is believed, then believe what that says; what is maximized, after it."""
        right = self.believed.reshape(-1)[self._cells]
        self._sharpen_workers(right)
        self._sharpen_objects(right)
        return self._believe()

    def _believe(self) -> float:
        sums, strength = self._sums, self.strength()
        # A wrong answer has what a right one leaves, shared among the other classes; the logarithm of their
        # ratio is the strength itself.
        wrong = -np.logaddexp(0, strength) - self._others
        added = np.bincount(self._cells, weights=strength + self._others, minlength=self.believed.size)
        scores = np.asarray(added, dtype=np.float64).reshape(sums.classes, sums.objects)
        scores -= np.log(sums.classes)
        fixed = self._known
        said = None if fixed is None else scores[fixed, np.arange(sums.objects)]
        self.believed, evidence = normalized(scores)
        if fixed is not None and said is not None:
            clamped(self.believed, fixed)
            evidence = np.where(fixed >= 0, said, evidence)
        astray = ((self._ability - _MEAN) ** 2).sum() + ((self._ease - _MEAN) ** 2).sum()
        return float(evidence.sum() + wrong.sum() - self._weight / 2 * astray)

    def _sharpen_workers(self, right: Floats) -> None:
        workers = self._sums.votes.workers
        ease = np.exp(self._ease)[self._sums.votes.objects]
        self._ability = self._climbed(
            self._ability, right, workers, lambda ability: ability[workers] * ease, ease
        )

    def _sharpen_objects(self, right: Floats) -> None:
        objects = self._sums.votes.objects
        ability = self._ability[self._sums.votes.workers]
        self._ease = self._climbed(
            self._ease, right, objects, lambda ease: ability * np.exp(ease)[objects], self.strength()
        )

    def _climbed(
        self, at: Floats, right: Floats, whose: Indices, strength: Callable[[Floats], Floats], slope: Floats
    ) -> Floats:
        """One step up for each worker, or for each object, where it does lead up.

        Args:
            at: where they stand.
            right: how surely each answer is right, `[answers]`.
            whose: whom each answer belongs to, `[answers]`.
            strength: the strength of each answer, from where they stand.
            slope: its derivative there, `[answers]`.
        """
        before = strength(at)
        chance = _logistic(before)
        rise = _added(whose, (right - chance) * slope, len(at)) - self._weight * (at - _MEAN)
        bend = _added(whose, chance * (1 - chance) * slope**2, len(at)) + self._weight
        to = at + np.clip(rise / bend, -_STEP, _STEP)
        after = strength(to)
        # right * log(p) + (1 - right) * log(1 - p), where log(p / (1 - p)) is the strength
        gained = right * (after - before) - np.logaddexp(0, after) + np.logaddexp(0, before)
        gain = _added(whose, gained, len(at))
        gain -= self._weight / 2 * ((to - _MEAN) ** 2 - (at - _MEAN) ** 2)
        return np.where(gain > 0, to, at)


def _added(whose: Indices, values: Floats, count: int) -> Floats:
    # Of no values at all numpy makes integers.
    return np.bincount(whose, values, count).astype(np.float64, copy=False)


def _logistic(strength: Floats) -> Floats:
    return 0.5 + 0.5 * np.tanh(0.5 * strength)
