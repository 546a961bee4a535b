"""Dawid-Skene for small crowds: what is not known of one worker is taken from all of them.

Dawid & Skene (1979, https://doi.org/10.2307/2346806) give each worker a confusion matrix of their own, which
few answers cannot fill. Here a matrix is drawn around a shared expectation, and each level is learned from
the answers (empirical Bayes):

* a worker's skill: a beta distribution around the crowd's, its strength by the beta-binomial likelihood;
* where mistakes go: one distribution for each true class, of all workers together;
* how far workers' matrices stray from that expectation: the strength of a Dirichlet distribution, chosen on a
  grid by the Dirichlet-multinomial likelihood. At its strong end this is one-coin Dawid-Skene with shared
  mistakes, at its weak end it is Dawid-Skene as published;
* how frequent each class is: the posterior's mean, drawn as far as `share` says to the share of the answers.

The posterior over matrices is variational (BCC: Kim & Ghahramani 2012,
https://proceedings.mlr.press/v22/kim12.html): a matrix counts by the expectation of its logarithm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gtlabel.crowd.gamma import digamma, log_gamma
from gtlabel.crowd.majority import wawa
from gtlabel.crowd.sums import Floats, Sums, normalized, prior_of, sums_of
from gtlabel.crowd.votes import Consensus, Votes

# Pseudo-answers that a worker's matrix, and a worker's skill, may start from.
_STRENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 1e3, 1e4)
_SKILL_STRENGTHS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 512.0)
# No answer is impossible: a crowd's answers are too few to know anything rarer.
_LEAST = 1e-4


def bayes(
    votes: Votes | Sums,
    objects: int,
    classes: int,
    *,
    share: float = 0.0,
    start: Floats | None = None,
    rounds: int = 60,
    tolerance: float = 1e-4,
) -> Consensus:
    """The classes of objects by a hierarchy of confusion matrices.

    Args:
        votes: the answers, or `Sums` of them.
        objects: how many objects there are, also those without answers.
        classes: how many classes there are, also those that nobody chose.
        share: how much the frequencies of classes are drawn to their share of the answers, in pseudo-objects
            for each object: 0 believes the posterior, 1 both alike.
        start: the posterior to start with, `[objects, classes]`; Wawa's when it is None.
        rounds: at most so many.
        tolerance: the rounds end when no probability moves by more than this.
    """
    sums = sums_of(votes, objects, classes)
    first = wawa(sums, objects, classes).posterior if start is None else start
    posterior = np.ascontiguousarray(first.T, dtype=np.float32)
    asked = prior_of(sums)
    done = 0
    crowd = _Crowd.of(sums, sums.to_pairs(posterior).astype(np.float64))
    for done in range(1, rounds + 1):
        mass = posterior.sum(axis=1, dtype=np.float64) + share * objects * asked + 1
        scores = sums.to_objects(crowd.expected().astype(np.float32))
        scores += np.log(mass / mass.sum()).astype(np.float32)[:, None]
        moved, _ = normalized(scores)
        step = float(np.abs(moved - posterior).max(initial=0))
        posterior = moved
        crowd = _Crowd.of(sums, sums.to_pairs(posterior).astype(np.float64))
        if step <= tolerance:
            break
    found = posterior.T.astype(np.float64)
    found /= found.sum(axis=1, keepdims=True)
    return Consensus(found, crowd.confusion(), crowd.skill, "bayes", done, None)


@dataclass(frozen=True, slots=True)
class _Crowd:
    """What a posterior says of the workers.

    Attributes:
        counts: how many objects of each true class each pair stands for, `[classes, pairs]`.
        rows: how many objects of each true class each worker has answered, `[classes, workers]`.
        skill: how often each worker is right, `[workers]`.
        mistakes: where mistakes go, `[true class, named class]`, nothing on the diagonal.
        strength: how many answers the shared expectation of a row weighs.
    """

    sums: Sums
    counts: Floats
    rows: Floats
    skill: Floats
    mistakes: Floats
    base: Floats
    strength: float

    @classmethod
    def of(cls, sums: Sums, counts: Floats) -> _Crowd:
        """Learn each level from the one below."""
        rows = sums.to_workers(counts)
        right, total = sums.to_workers(sums.own(counts)), rows.sum(axis=0)
        mean = float(np.clip(right.sum() / max(float(total.sum()), 1e-9), 0.02, 0.98))

        def of_skill(weight: float) -> float:
            hits, misses = weight * mean, weight * (1 - mean)
            return _rising(hits, right) + _rising(misses, total - right) - _rising(weight, total)

        weight = _likeliest(_SKILL_STRENGTHS, of_skill)
        skill = (right + weight * mean) / (total + weight)
        mistakes = np.stack([np.bincount(sums.pair_class, row, sums.classes) for row in counts]) + 1
        np.fill_diagonal(mistakes, 0)
        mistakes /= np.maximum(mistakes.sum(axis=1, keepdims=True), 1e-12)
        own = skill[sums.pair_worker]
        base = (1 - own) * mistakes[:, sums.pair_class]
        base[sums.pair_class, np.arange(len(own))] = own
        base = np.maximum(base, _LEAST)
        strength = _likeliest(_STRENGTHS, lambda s: _rising(s * base, counts) - _rising(s, rows))
        return cls(sums, counts, rows, skill, mistakes, base, strength)

    def expected(self) -> Floats:
        """The expected logarithm of the probability of each pair's answer, `[classes, pairs]`."""
        whole = digamma(self.strength + self.rows)[:, self.sums.pair_worker]
        value: Floats = digamma(self.strength * self.base + self.counts) - whole
        return value

    def confusion(self) -> Floats | None:
        """Each worker's matrix, `[workers, true class, named class]`."""
        named = (self.strength * self.base + self.counts) / (self.strength + self.rows)[
            :, self.sums.pair_worker
        ]
        left = np.maximum(1 - self.sums.to_workers(named), 0)
        spare = np.full((self.sums.workers, self.sums.classes), float(self.sums.classes))
        spare -= np.bincount(self.sums.pair_worker, minlength=self.sums.workers)[:, None]
        full = self.sums.confusion(named, left.T / np.maximum(spare, 1))
        return None if full is None else full / full.sum(axis=2, keepdims=True)


def _rising(start: Floats | float, steps: Floats) -> float:
    """The sum of log Γ(start + steps) - log Γ(start)."""
    begin = np.asarray(start, dtype=np.float64)
    each = log_gamma(begin + steps) - log_gamma(begin)
    return float(each.sum())


def _likeliest(grid: Sequence[float], likelihood: Callable[[float], float]) -> float:
    return max(grid, key=likelihood)
