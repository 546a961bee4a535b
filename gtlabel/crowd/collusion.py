"""Pairs of workers who answer alike where nobody else would have thought of it.

For each answer, its probability is predicted from all other answers about the object, the partner's included
as one more opinion: from what the object seems to be, from what people said about it (hard pictures mislead
many alike), and from the worker's own habits (who always clicks the same agrees with whoever does that too).
Against that stands copying: with some probability the worker says what the partner said, else what was
predicted.

The likelihood ratio of the two, averaged over degrees of copying, is an e-value: if the prediction is right,
its mean is 1, and it exceeds 1/a with probability a at most (Vovk & Wang 2021,
https://doi.org/10.1214/20-AOS2020). The average of both directions is one too. With as many tests as pairs,
the bar is pairs/a.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gtlabel.crowd.beliefs import Beliefs
from gtlabel.crowd.votes import Votes

Floats = NDArray[np.float64]

# Copying less than this is not worth an accusation.
_DEGREES = (0.3, 0.5, 0.7, 0.9)
_FEWEST_SHARED = 10
_STRENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
# So many pairs of answers are looked at, of objects drawn by chance where there are more.
_MOST_PAIRS = 3_000_000
_CHUNK = 100_000
_ROUNDS = 12
# What a worker's mixture is before he answers: so many answers like the crowd's.
_WEIGHT = 8.0
_LEAST = 1e-6


@dataclass(frozen=True, slots=True)
class Pair:
    """Two workers who answer more alike than their objects explain.

    Attributes:
        first, second: the workers, the lower number first.
        shared: how many objects both answered.
        same: how many of them both gave the same class.
        expected: how many that would be without copying.
        evidence: the e-value; by how much copying explains their answers better.
    """

    first: int
    second: int
    shared: int
    same: int
    expected: float
    evidence: float


def colluders(beliefs: Beliefs, alarm: float = 0.05) -> list[Pair]:
    """Pairs whose likeness no independent work explains, the plainest first.

    Args:
        beliefs: what everybody else says.
        alarm: the probability of naming any pair in a crowd where nobody copies.
    """
    votes = beliefs.votes
    one, partner = _together(votes, beliefs.objects)
    if not len(one):
        return []
    same = votes.classes[one] == votes.classes[partner]
    chance = Prediction(beliefs).of(one, votes.classes[partner])
    keys, where = np.unique(
        votes.workers[one] * beliefs.workers + votes.workers[partner], return_inverse=True
    )
    size = len(keys)
    shared = np.bincount(where, minlength=size)
    alike = np.bincount(where, weights=same, minlength=size)
    expected = np.bincount(where, weights=chance, minlength=size)
    ratios = np.stack(
        [
            np.bincount(
                where, weights=np.log(1 - copied + np.where(same, copied / chance, 0.0)), minlength=size
            )
            for copied in _DEGREES
        ]
    )
    peak = ratios.max(axis=0)
    evidence = peak + np.log(np.exp(ratios - peak).mean(axis=0))
    first, second = np.divmod(keys, beliefs.workers)
    enough = shared >= _FEWEST_SHARED
    tests = int((enough & (first < second)).sum())
    back = np.searchsorted(keys, second * beliefs.workers + first)
    both = np.logaddexp(evidence, evidence[back]) - math.log(2)
    found = np.flatnonzero((first < second) & enough & (both > math.log(max(tests, 1) / alarm)))
    pairs = [
        Pair(
            int(first[i]),
            int(second[i]),
            int(shared[i]),
            int(alike[i]),
            float((expected[i] + expected[back[i]]) / 2),
            float(np.exp(min(both[i], 600.0))),
        )
        for i in found
    ]
    return sorted(pairs, key=lambda pair: (-pair.evidence, pair.first, pair.second))


class Prediction:
    """How probable it is that somebody gives an answer, by all other answers and by what he says at large.

    A mixture of three, whose weights are each worker's own, drawn to the crowd's: what the object seems to
    be, what others said about it, and how often he gives each class.
    """

    def __init__(self, beliefs: Beliefs) -> None:
        votes, classes = beliefs.votes, beliefs.classes
        self._beliefs = beliefs
        self._objects = np.bincount(votes.objects, minlength=beliefs.objects)
        cells = beliefs.objects * classes
        self._named = np.bincount(votes.objects * classes + votes.classes, minlength=cells)
        self._habits = np.bincount(
            votes.workers * classes + votes.classes, minlength=beliefs.workers * classes
        )
        self._given = beliefs.given
        said = np.bincount(votes.classes, minlength=classes) + 1.0
        self._asked = said / said.sum()
        confusion = np.zeros((classes, classes))
        np.add.at(confusion.T, votes.classes, beliefs.others)
        confusion += self._asked
        self._confusion = confusion / confusion.sum(axis=1, keepdims=True)
        every = np.arange(len(votes.objects))
        seems, named, others, habit = self._parts(every, votes.classes)
        expected = self._expected(every, votes.classes)
        heard = others > 0
        self._strength = max(
            _STRENGTHS,
            key=lambda s: float(np.log(np.maximum(_blend(named, others, expected, s)[heard], _LEAST)).sum()),
        )
        parts = np.stack([seems, _blend(named, others, expected, self._strength), habit])
        self._weights = _mixture(parts, votes.workers, beliefs.workers)

    def of(self, answers: NDArray[np.intp], classes: NDArray[np.intp]) -> Floats:
        """The probability that whoever gave each of these answers gives that class, `[answers]`."""
        seems, named, others, habit = self._parts(answers, classes)
        blend = _blend(named, others, self._expected(answers, classes), self._strength)
        weights = self._weights[:, self._beliefs.votes.workers[answers]]
        chance: Floats = np.clip(weights[0] * seems + weights[1] * blend + weights[2] * habit, _LEAST, 1.0)
        return chance

    def _parts(
        self, answers: NDArray[np.intp], classes: NDArray[np.intp]
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """What the object seems to be, how many others named the class, of how many, and his own habit."""
        votes, known = self._beliefs.votes, self._beliefs.classes
        objects, workers = votes.objects[answers], votes.workers[answers]
        own = votes.classes[answers] == classes
        named = self._named[objects * known + classes] - own
        habit = self._habits[workers * known + classes] - own + _WEIGHT * self._asked[classes]
        return (
            self._beliefs.others[answers, classes],
            named.astype(np.float64),
            (self._objects[objects] - 1).astype(np.float64),
            habit / (self._given[workers] - 1 + _WEIGHT),
        )

    def _expected(self, answers: NDArray[np.intp], classes: NDArray[np.intp]) -> Floats:
        """How often anybody gives the class to objects that seem to be what this one does."""
        found = np.empty(len(answers))
        for start in range(0, len(answers), _CHUNK):
            part = slice(start, start + _CHUNK)
            columns = self._confusion.T[classes[part]]
            found[part] = np.einsum("ij,ij->i", self._beliefs.others[answers[part]], columns)
        return found


def _blend(named: Floats, others: Floats, expected: Floats, strength: float) -> Floats:
    blend: Floats = (named + strength * expected) / (others + strength)
    return blend


def _mixture(parts: Floats, of: NDArray[np.intp], workers: int) -> Floats:
    """The weights of three predictions for each worker, `[3, workers]`, by expectation maximization."""
    weights = np.full((len(parts), workers), 1 / len(parts))
    for _ in range(_ROUNDS):
        shares = weights[:, of] * parts
        shares /= np.maximum(shares.sum(axis=0), _LEAST)
        crowd = shares.mean(axis=1) if len(of) else weights.mean(axis=1)
        weights = np.stack([np.bincount(of, weights=share, minlength=workers) for share in shares])
        weights += _WEIGHT * crowd[:, None]
        weights /= weights.sum(axis=0)
    return weights


def _together(votes: Votes, objects: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """All ordered pairs of answers that two workers gave about one object."""
    given = np.bincount(votes.objects, minlength=objects)
    pairs = given * (given - 1)
    drawn = np.random.default_rng(objects).permutation(objects)
    # What nearly everybody has answered, as a test for all, would leave no room for anything else.
    drawn = drawn[pairs[drawn] <= _MOST_PAIRS // 2]
    kept = np.zeros(objects, dtype=bool)
    kept[drawn[np.cumsum(pairs[drawn]) <= _MOST_PAIRS]] = True
    order = np.flatnonzero(kept[votes.objects])
    order = order[np.argsort(votes.objects[order], kind="stable")]
    sorted_objects = votes.objects[order]
    ones, partners = [], []
    for apart in range(1, int(given[kept].max(initial=0))):
        left = np.flatnonzero(sorted_objects[apart:] == sorted_objects[:-apart])
        one, partner = order[left], order[left + apart]
        different = votes.workers[one] != votes.workers[partner]
        ones.append(one[different])
        partners.append(partner[different])
    if not ones:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    one, partner = np.concatenate(ones), np.concatenate(partners)
    return np.concatenate([one, partner]), np.concatenate([partner, one])
