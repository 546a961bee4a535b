"""Dawid and Skene's model: workers err independently, each by a confusion matrix or by one number.

A. P. Dawid, A. M. Skene, "Maximum likelihood estimation of observer error-rates using the EM algorithm",
Applied Statistics 28 (1979), https://doi.org/10.2307/2346806. Estimated here at the largest posterior
density, in logarithms: each row of a matrix has a Dirichlet prior, and so have the classes.

The rounds end when no belief moves any more. What is maximized (the likelihood of the answers times the
priors) never falls; crowd-kit 1.4.2 adds the class prior to its bound once per answer where it belongs once
per object, so that its bound can fall, and its loop ends after two rounds on many sets.
"""

from __future__ import annotations

import numpy as np

from gtlabel.crowd.majority import majority
from gtlabel.crowd.sums import Floats, Sums, normalized, shares, sums_of
from gtlabel.crowd.votes import Consensus, Votes

# From so many numbers on beliefs stand in single precision until the last round, and those that rest are left
# out.
_LARGE = 1 << 17
# A belief that moves by less than this in a round rests.
_RESTS = 1e-3


def dawid_skene(
    votes: Votes | Sums,
    objects: int,
    classes: int,
    *,
    smoothing: float = 0.01,
    rounds: int = 500,
    tolerance: float = 2e-6,
) -> Consensus:
    """A confusion matrix for each worker, fitted together with the labels.

    Args:
        votes: the answers, or `Sums` of them.
        objects: how many objects there are, also those without answers.
        classes: how many classes there are, also those that nobody chose.
        smoothing: answers added to each cell of each matrix, and objects to each class, before they are
            divided.
        rounds: at most so many.
        tolerance: the rounds end when all that could still come would add no more than this to the logarithm
            of the likelihood, per answer.
    """
    sums = sums_of(votes, objects, classes)
    fit = _Fit(sums, smoothing)
    end = End(tolerance * max(len(sums.votes.objects), 1))
    done = 0
    while done < rounds:
        done += 1
        if not end.reached(fit.round()):
            fit.leave_out_what_rests()
        elif fit.complete:
            break
        else:
            fit.take_all()
    if not fit.complete:
        fit.take_all()
        fit.round()
    return fit.consensus(done)


class End:
    """When to stop: not when the last round added little, but when all that follow would.

    Near its end each round of such an estimation adds a nearly constant share of what the one before added,
    so that the rest is a geometric series (Aitken's acceleration; Boehning et al. 1994,
    https://doi.org/10.1007/BF01720593). A slow estimation is one whose rounds add little, and yet has far to
    go.
    """

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._value, self._gain = -np.inf, np.inf

    def reached(self, value: float) -> bool:
        """Whether no more than the tolerance can follow after a round that ended at this value."""
        gain, before = value - self._value, self._gain
        self._value, self._gain = value, gain
        if gain <= self._tolerance * 1e-6:
            return True
        if not np.isfinite(before):
            return False
        ratio = gain / before
        return ratio < 1 and gain * ratio / (1 - ratio) <= self._tolerance


class _Fit:
    """The state between two rounds.

    A round may leave out objects whose beliefs rest. What is maximized then is the bound of Neal and Hinton
    ("A view of the EM algorithm that justifies incremental, sparse, and other variants", 1998,
    https://doi.org/10.1007/978-94-011-5014-9_12), with the left-out beliefs held: it never falls either, and
    is the likelihood again once nothing is left out.
    """

    def __init__(self, sums: Sums, smoothing: float) -> None:
        self._sums, self._smoothing = sums, smoothing
        self._large = sums.objects * sums.classes >= _LARGE
        self._believed: Floats = shares(sums)
        if self._large:
            self._believed = self._believed.astype(np.float32)
        self._recent, self._sweep = self._believed, sums.whole
        self._held_counts: Floats | float = 0.0
        self._held_mass: Floats | float = 0.0
        self._held_entropy = 0.0
        self._added = False

    @property
    def complete(self) -> bool:
        """Whether the last round left nothing out."""
        return self._sweep is self._sums.whole

    def round(self) -> float:
        """Make matrices of what is believed, then believe what they say; the bound after that."""
        if not self._added:
            self._add_up()
        self._maximize()
        scores = self._sweep.to_objects(self._table.astype(self._recent.dtype))
        scores += self._prior.astype(scores.dtype)[:, None]
        believed, self._evidence = normalized(scores)
        self._moved = np.abs(believed - self._recent).max(axis=0)
        self._recent, self._added = believed, False
        held = (self._held_counts * self._table).sum() + (self._held_mass * self._prior).sum()
        return float(self._evidence.sum(dtype=np.float64) + held + self._held_entropy) + self._density()

    def leave_out_what_rests(self) -> None:
        """Go on with the objects that moved, where that is less work."""
        moves = self._moved > _RESTS
        if not self._large or 2 * np.count_nonzero(moves) > len(moves):
            return
        self._add_up()
        self._store()
        self._sweep, self._recent = self._sweep.part(moves), self._recent[:, moves]
        # Differences of sums in single precision may fall below nothing.
        counts = np.maximum(self._counts - self._sweep.to_pairs(self._recent), 0)
        mass = np.maximum(self._mass - self._recent.sum(axis=1, dtype=np.float64), 0)
        # The bound holds with equality for what was just believed, which tells the entropy of the rest.
        spoken = ((counts - self._held_counts) * self._table).sum()
        spoken += ((mass - self._held_mass) * self._prior).sum()
        self._held_entropy += float(self._evidence[~moves].sum(dtype=np.float64) - spoken)
        self._held_counts, self._held_mass = counts, mass

    def take_all(self) -> None:
        """Leave nothing out any more."""
        self._add_up()
        self._store()
        self._sweep, self._recent = self._sums.whole, self._believed
        self._held_counts, self._held_mass, self._held_entropy = 0.0, 0.0, 0.0

    def consensus(self, rounds: int) -> Consensus:
        """What was found; nothing must be left out."""
        sums, smoothing = self._sums, self._smoothing
        posterior = np.ascontiguousarray(self._recent.T, dtype=np.float64)
        posterior /= posterior.sum(axis=1, keepdims=True)
        right = sums.to_workers(sums.own(self._counts))
        return Consensus(
            posterior,
            sums.confusion(np.exp(self._table), (smoothing / self._rows).T),
            (right + smoothing) / (sums.given + smoothing * sums.classes),
            "dawid_skene",
            rounds,
            float(self._evidence.sum(dtype=np.float64)) + self._density(),
        )

    def _store(self) -> None:
        if not self.complete:
            self._believed[:, self._sweep.places] = self._recent
        else:
            self._believed = self._recent

    def _add_up(self) -> None:
        self._counts: Floats = self._held_counts + self._sweep.to_pairs(self._recent).astype(np.float64)
        self._mass: Floats = self._held_mass + self._recent.sum(axis=1, dtype=np.float64)
        self._added = True

    def _maximize(self) -> None:
        sums = self._sums
        self._rows: Floats = sums.to_workers(self._counts) + self._smoothing * sums.classes
        self._table: Floats = np.log((self._counts + self._smoothing) / self._rows[:, sums.pair_worker])
        mass = self._mass + self._smoothing
        self._prior: Floats = np.log(mass / mass.sum())

    def _density(self) -> float:
        """The logarithm of the priors at these matrices, up to a constant."""
        sums = self._sums
        silent = sums.classes - np.bincount(sums.pair_worker, minlength=sums.workers)
        unnamed = (silent * np.log(self._smoothing / self._rows)).sum()
        return self._smoothing * float(self._table.sum() + unnamed + self._prior.sum())


def one_coin(
    votes: Votes | Sums,
    objects: int,
    classes: int,
    *,
    smoothing: float = 1.0,
    rounds: int = 200,
    tolerance: float = 1e-4,
) -> Consensus:
    """One number for each worker, the probability of a right answer; a wrong one is any other class alike.

    Args:
        votes: the answers, or `Sums` of them.
        objects: how many objects there are, also those without answers.
        classes: how many classes there are, also those that nobody chose.
        smoothing: right and wrong answers added to each worker's, and objects to each class.
        rounds: at most so many.
        tolerance: the rounds end when no probability moves by more than this.
    """
    sums = sums_of(votes, objects, classes)
    posterior = np.ascontiguousarray(majority(sums, objects, classes).posterior.T)
    others = max(classes - 1, 1)
    skill = np.zeros(sums.workers)
    log_likelihood, done = 0.0, 0
    cells = sums.votes.classes * objects + sums.votes.objects
    while done < rounds:
        done += 1
        right = np.bincount(sums.votes.workers, weights=posterior.reshape(-1)[cells], minlength=sums.workers)
        skill = (right + smoothing) / (sums.given + 2 * smoothing)
        prior = posterior.sum(axis=1) + smoothing
        log_wrong = np.log((1 - skill) / others)
        scores = sums.named(np.log(skill) - log_wrong)
        scores += np.log(prior / prior.sum())[:, None]
        moved, evidence = normalized(scores)
        step = float(np.abs(moved - posterior).max(initial=0))
        posterior = moved
        log_likelihood = float(evidence.sum() + log_wrong[sums.votes.workers].sum())
        if step <= tolerance:
            break
    return Consensus(np.ascontiguousarray(posterior.T), None, skill, "one_coin", done, log_likelihood)
