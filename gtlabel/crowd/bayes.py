"""Dawid-Skene for small crowds: what is not known of one worker is taken from all of them.

Dawid & Skene (1979, https://doi.org/10.2307/2346806) give each worker a confusion matrix of their own, which
few answers cannot fill. Here a matrix is drawn around a shared expectation, and each level is learned from
the answers (empirical Bayes):

* a worker's skill: a beta distribution around the crowd's, its strength by the beta-binomial likelihood. The
  crowd's own starts as if it had been right in three answers of four; an answer that stands alone about its
  object says nothing of skill, since it can only agree with itself;
* how much harder each class is than others: one factor for each class, on the odds of everybody's skill;
* where mistakes go: one distribution for each true class, of all workers together;
* how far workers' matrices stray from all that: the strength of a Dirichlet distribution, chosen on a grid by
  the Dirichlet-multinomial likelihood. At its strong end this is one-coin Dawid-Skene with shared mistakes,
  at its weak end it is Dawid-Skene as published;
* how frequent each class is: what is believed, drawn by a fifth to how many objects a weighted vote gives the
  class. Belief alone starves classes: fewer objects make a class less likely, which takes more from it.

The posterior over matrices is variational (BCC: Kim & Ghahramani 2012,
https://proceedings.mlr.press/v22/kim12.html): a matrix counts by the expectation of its logarithm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gtlabel.crowd.gamma import digamma, log_gamma
from gtlabel.crowd.majority import wawa
from gtlabel.crowd.rounds import Rounds, Spoken
from gtlabel.crowd.sums import Floats, Indices, Sums, check_known, normalized, sums_of
from gtlabel.crowd.votes import Consensus, Votes

# How many answers a worker's skill, and a row of a worker's matrix, may start from. Where the answers do not
# tell, the first is taken: everybody is like the others.
_SKILL_STRENGTHS = (512.0, 128.0, 64.0, 32.0, 16.0, 8.0, 4.0, 2.0, 1.0)
_STRENGTHS = (1e4, 1e3, 128.0, 64.0, 32.0, 16.0, 8.0, 4.0, 2.0, 1.0, 0.5)
# What a crowd is taken for before it answers: so many answers, and how many of them right.
_FIRST_ANSWERS, _FIRST_RIGHT = 4.0, 3.0
# So many answers about a class speak as loud as the guess that it is as hard as the others.
_CLASS_STRENGTH = 20.0
# No answer is impossible: a crowd's answers are too few to know anything rarer.
_LEAST = 1e-4
# The grid of strengths is searched whole at first, and near the last choice in every so many rounds after.
_WHOLE_SEARCHES = 2
_SEARCH_EVERY = 3
# So many numbers of a search are looked at together: one by one is slow where they are few, and takes less
# memory where they are many.
_TOGETHER = 1 << 16
_EVEN = 1e-9
# Likelihoods that differ by no more tell nothing apart.
_ALIKE = 1e-6


def bayes(
    votes: Votes | Sums,
    objects: int,
    classes: int,
    *,
    share: float = 0.25,
    rounds: int = 60,
    tolerance: float = 1e-4,
    known: Indices | None = None,
) -> Consensus:
    """The classes of objects by a hierarchy of confusion matrices.

    Args:
        votes: the answers, or `Sums` of them.
        objects: how many objects there are, also those without answers.
        classes: how many classes there are, also those that nobody chose.
        share: how much the frequencies of classes are drawn to those of a weighted vote, in pseudo-objects
            for each object: 0 believes the posterior alone, 1 both alike.
        rounds: at most so many, and at least one.
        tolerance: the rounds end when no probability moves by more than this.
        known: the class of each object whose class is known (gold), -1 for all others; None if none is.
    """
    sums = sums_of(votes, objects, classes)
    check_known(known, objects, classes)
    fit = fitted(
        sums,
        wawa(sums, objects, classes).posterior,
        share=share,
        rounds=rounds,
        tolerance=tolerance,
        known=known,
    )
    return Consensus(fit.posterior, fit.crowd.confusion(sums), fit.crowd.skill, "bayes", fit.rounds, None)


@dataclass(frozen=True, slots=True)
class Crowd:
    """What a posterior says of the workers.

    Attributes:
        counts: how many objects of each true class each pair stands for, `[classes, pairs]`.
        rows: how many objects of each true class each worker has answered, `[classes, workers]`.
        skill: how often each worker is right, `[workers]`.
        base: what all workers together let expect of each pair, `[classes, pairs]`.
        strength: how many answers that expectation weighs.
    """

    counts: Floats
    rows: Floats
    skill: Floats
    base: Floats
    strength: float

    def expected(self, sums: Sums) -> Floats:
        """The expected logarithm of the probability of each pair's answer, `[classes, pairs]`."""
        whole = digamma(self.strength + self.rows)[:, sums.pair_worker]
        value: Floats = digamma(self.strength * self.base + self.counts) - whole
        return value

    def confusion(self, sums: Sums) -> Floats | None:
        """Each worker's matrix, `[workers, true class, named class]`."""
        whole = (self.strength + self.rows)[:, sums.pair_worker]
        named = (self.strength * self.base + self.counts) / whole
        left = np.maximum(1 - sums.to_workers(named), 0)
        never = sums.classes - np.bincount(sums.pair_worker, minlength=sums.workers)
        full = sums.confusion(named, left.T / np.maximum(never, 1)[:, None])
        return None if full is None else full / np.maximum(full.sum(axis=2, keepdims=True), _EVEN)


@dataclass(frozen=True, slots=True)
class Fit:
    """Where the rounds ended.

    Attributes:
        posterior: the probability of each class, `[objects, classes]`.
        crowd: the workers.
        spoken: what an answer of each pair says, and the logarithm of the frequency of each class.
        rounds: how many rounds it took.
    """

    posterior: Floats
    crowd: Crowd
    spoken: Spoken
    rounds: int


def fitted(
    sums: Sums,
    start: Floats,
    *,
    share: float = 0.25,
    even: float = 0.0,
    rounds: int = 60,
    tolerance: float = 1e-4,
    known: Indices | None = None,
) -> Fit:
    """Fit the hierarchy, beginning with a weighted vote.

    Args:
        sums: the answers.
        start: the vote, `[objects, classes]`.
        share: how much the frequencies of classes are drawn to the vote's, as in `bayes`.
        even: how much they are drawn to each other, in pseudo-objects that all classes share.
        rounds: at most so many.
        tolerance: the rounds end when no probability moves by more than this.
        known: as in `bayes`.
    """
    target = share * frequencies(start) + even / sums.classes + 1
    learner = _Learner(sums, known)

    def speak(counts: Floats, mass: Floats) -> Spoken:
        crowd = learner.learn(counts)
        believed = mass + target
        spoken = Spoken(crowd.expected(sums), np.log(believed / believed.sum()), 0.0)
        learner.hear(spoken)
        return spoken

    fit = Rounds(sums, start.T, speak, known)
    done, _ = fit.run(lambda _: float(fit.moved.max(initial=0)) <= tolerance, max(rounds, 1))
    return Fit(fit.posterior, learner.crowd, fit.spoken, done)


class _Learner:
    """Learns each level from the one below, round after round."""

    def __init__(self, sums: Sums, known: Indices | None) -> None:
        self._sums = sums
        alone = sums.answers == 1
        if known is not None:
            alone &= known < 0
        self._alone = np.bincount(sums.pair_of[alone[sums.votes.objects]], minlength=len(sums.pair_class))
        # What is believed of an object about which only this pair's answer speaks.
        self._of_alone: Floats = np.zeros((sums.classes, len(sums.pair_class)))
        self._of_alone[sums.pair_class, np.arange(len(sums.pair_class))] = 1
        self._pairs = np.arange(len(sums.pair_class))
        self.done = 0
        self._near: Sequence[float] = _STRENGTHS
        self.crowd: Crowd

    def learn(self, counts: Floats) -> Crowd:
        """What the workers are like if pairs stand for so many objects of each class."""
        sums = self._sums
        self.done += 1
        search = self.done <= _WHOLE_SEARCHES or self.done % _SEARCH_EVERY == 0
        counts = np.maximum(counts - self._alone * self._of_alone, 0)
        rows = sums.to_workers(counts)
        right, total = sums.to_workers(sums.own(counts)), rows.sum(axis=0)
        mean = float((right.sum() + _FIRST_RIGHT) / (total.sum() + _FIRST_ANSWERS))
        weight = _likeliest(
            _SKILL_STRENGTHS,
            lambda weight: (
                _rising(weight * mean, right)
                + _rising(weight * (1 - mean), total - right)
                - _rising(weight, total)
            ),
            sums.workers,
        )
        skill = (right + weight * mean) / (total + weight)
        confused = np.zeros((sums.classes, sums.classes))
        for row, out in zip(counts, confused, strict=True):
            out += np.bincount(sums.pair_class, row, sums.classes)
        base = self._expectation(rows, skill, confused, mean)
        if search:
            self._strength = self._search(base, counts, rows)
        self.crowd = Crowd(counts, rows, skill, base, self._strength)
        return self.crowd

    def hear(self, spoken: Spoken) -> None:
        """Take note of what answers that stand alone make believe."""
        if self._alone.any():
            self._of_alone = normalized(spoken.table + spoken.prior[:, None])[0]

    def _expectation(self, rows: Floats, skill: Floats, confused: Floats, mean: float) -> Floats:
        """What the shared model lets expect of each pair, `[classes, pairs]`."""
        sums = self._sums
        right, expected, of_class = np.diag(confused), rows @ skill, confused.sum(axis=1)
        hits, misses = _CLASS_STRENGTH * mean, _CLASS_STRENGTH * (1 - mean)
        seen = (right + hits) / (np.maximum(of_class - right, 0) + misses)
        foreseen = (expected + hits) / (np.maximum(of_class - expected, 0) + misses)
        odds = skill / (1 - skill) * (seen / foreseen)[:, None]
        own = (odds / (1 + odds))[:, sums.pair_worker]
        mistakes = confused + 1
        np.fill_diagonal(mistakes, 0)
        mistakes /= np.maximum(mistakes.sum(axis=1, keepdims=True), _EVEN)
        base = (1 - own) * mistakes[:, sums.pair_class]
        base[sums.pair_class, self._pairs] = own[sums.pair_class, self._pairs]
        least: Floats = np.maximum(base, _LEAST)
        return least

    def _search(self, base: Floats, counts: Floats, rows: Floats) -> float:
        found = _likeliest(
            self._near,
            lambda weight: _rising(weight * base, counts) - _rising(weight, rows),
            base.size,
        )
        if self.done >= _WHOLE_SEARCHES:
            place = _STRENGTHS.index(found)
            self._near = _STRENGTHS[max(place - 1, 0) : place + 2]
        return found


def frequencies(weighted: Floats) -> Floats:
    """How many objects a vote gives each class, `[classes]`; those of a tie in equal parts."""
    leading = (weighted >= weighted.max(axis=1, keepdims=True) - _EVEN).astype(np.float64)
    frequency: Floats = (leading / leading.sum(axis=1, keepdims=True)).sum(axis=0)
    return frequency


def _rising(start: Floats, steps: Floats) -> Floats:
    """The sums of log Γ(start + steps) - log Γ(start), one for each place of the first axis of `start`."""
    # Single precision may leave a count a little below nothing.
    each = log_gamma(start + np.maximum(steps, 0)) - log_gamma(start)
    total: Floats = each.reshape(len(start), -1).sum(axis=1)
    return total


def _likeliest(grid: Sequence[float], likelihood: Callable[[Floats], Floats], size: int) -> float:
    """Whichever of the grid has the largest likelihood; the first of several.

    Args:
        grid: what there is to choose from.
        likelihood: from some of the grid, `[places, 1, 1]`, to what each has, `[places]`.
        size: how many numbers each of them looks at.
    """
    several = max(_TOGETHER // max(size, 1), 1)
    places = np.array(grid)[:, None, None]
    parts = [likelihood(places[first : first + several]) for first in range(0, len(grid), several)]
    found = np.concatenate(parts)
    return grid[int((found >= found.max() - _ALIKE).argmax())]
