"""Which objects people are asked about next, and which ones a machine may label instead.

`Automation` is the policy that gtlabel uses: it is told labels as they arrive, and says what a machine may
label so that a stated share of it is right, except with a stated risk. How:

- All objects lie in a random order, the *lane*; those at its beginning that all have a label are a uniform
  sample of everything, whatever else people were asked about. The rest of the questions go where the machine
  is least sure (the smallest margin: Scheffer et al., IDA 2001), and never to what it may label already.
- What the machine thinks of an object comes from labels in other folds (`classifier`), of sampled objects and
  of all others alike. So in the region above a threshold the sample tells how often it is wrong, exactly
  (`threshold`); wrong ones that people happened to find outside of the sample are taken off.
- When to look into the sample, and at which threshold, follows from the machine's confidence alone: where
  fewer wrong ones are to be expected than would be tolerated, and more sampling promises no more. What the
  sample shows is thus used for one test, not for choosing the best of many.
- A look that fails costs a share of the risk, which is gone; a look that succeeds costs nothing, and later
  ones may extend what was found. All looks together have the risk that was stated (weights that pass on when
  a hypothesis is rejected: Bretz et al., Statistics in Medicine 28, 2009).

What is exact and what is not: for one fold the sample and the rest are exchangeable, given the other folds'
labels; that the folds' errors add up as if they were independent is the usual view of cross-validation.
tests/benchmarks/autolabel.py counts how often the promise holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gtlabel.errors import LearningError
from gtlabel.learning.classifier import Learner, answered
from gtlabel.learning.decisions import Audit, Decision, Promise, nothing
from gtlabel.learning.threshold import Region, chance_of_at_most, chance_of_few, most_wrong

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_FOLDS = 5
# Fewer labels than this make no model that could tell where to ask.
_LEAST = 50
# How much of a batch goes on along the lane while the sample is too small.
_LANE_SHARE = 0.9
# How much of the risk that is left one look may cost.
_LOOK = 0.7
# A look is worth its risk where it is likely to succeed; once something may be labeled, likelier still.
_LIKELY, _LIKELIER = 0.8, 0.9
# What must be gained before people are asked at random again, or before another look.
_WORTH_ASKING, _WORTH_LOOKING = 1.03, 1.02
# Sample sizes to think ahead of, as multiples of the present one.
_AHEAD = (1.1, 1.25, 1.5, 2.0, 3.0)
_STEP, _SMALLEST = 1.1, 20


class Scores(Protocol):
    """Whoever knows how likely each class is for every object, by the labels in the other folds."""

    def out_of_fold(self, objects: Indices, labels: Indices, folds: Indices) -> Floats:
        """See `Learner.out_of_fold`."""
        ...


@dataclass(frozen=True, slots=True)
class _Ranked:
    """The objects in the order of confidence; counts are of the first 0, 1, 2, … of them."""

    order: Indices
    labels: Indices
    confidence: Floats
    sampled: Indices
    wrong: Indices
    found: Indices
    open: Indices
    expected: Floats


class Automation:
    """Asks people about few objects and has a machine label others, at a precision that is promised.

    The same arguments and labels give the same answers, so a program that starts again learns the labels it
    kept and goes on; it hands in `spent` and, if there is one, the last decision.

    Args:
        features: of all objects, shape (n, d).
        classes: how many there are.
        views: how many columns describe the same thing, from the left; by default all.
        target: the share of the machine's labels that must be right.
        alpha: the risk that it is not.
        seed: of every choice made at random.
        at_random: whether people are only asked about objects at random, as a baseline.
        learner: who scores the objects instead of our classifier.
        spent: the risk that looks in the past have cost.
        standing: what was decided in the past.

    Raises:
        LearningError: at features that are no table of finite numbers, or a target or risk that is no share.
    """

    def __init__(
        self,
        features: NDArray[np.floating],
        classes: int,
        *,
        views: Sequence[int] | None = None,
        target: float = 0.95,
        alpha: float = 0.05,
        seed: int = 0,
        at_random: bool = False,
        learner: Scores | None = None,
        spent: float = 0.0,
        standing: Decision | None = None,
    ) -> None:
        if not (0 < target < 1 and 0 < alpha < 1):
            raise LearningError(
                f"target={target} and alpha={alpha} must both lie between 0 and 1, as 0.95 and 0.05 do"
            )
        count = len(features)
        self._classes = classes
        self._learner = learner or Learner(features, classes, views=views)
        self._target = target
        self._alpha = alpha
        self._at_random = at_random
        self.spent = spent
        self._standing = standing or nothing(f"not enough: nobody labeled any of {count} objects yet")
        random = np.random.default_rng(seed)
        self._lane = random.permutation(count)
        self._audit_order = random.permutation(count)
        # Any beginning of the lane lies in all folds alike.
        self._folds = np.empty(count, dtype=np.intp)
        self._folds[self._lane] = np.arange(count) % _FOLDS
        self._known = np.full(count, -1, dtype=np.intp)
        self._scored: Floats | None = None
        self._decided = False
        self._sample_more = True

    def ask(self, n: int) -> Indices:
        """The objects that people should label next; none when the machine may label all that are left.

        The first 50 are chosen at random. Later ones depend on what the machine may label, so this decides
        first. Asking again without having learned gives the same objects.

        Args:
            n: how many at most; fewer where fewer are left.
        """
        known = self._known >= 0
        waiting = self._lane[~known[self._lane]]
        if known.sum() < _LEAST:
            return waiting[:n]
        self.decide()
        left = ~known
        left[self._standing.objects] = False
        if not left.any():
            return np.empty(0, dtype=np.intp)
        n = min(n, int(left.sum()))
        random = waiting[: math.ceil(_LANE_SHARE * n) if self._sample_more else 0]
        left[random] = False
        if self._at_random:
            rest = waiting[left[waiting]]
        else:
            rest = np.flatnonzero(left)
            ordered = np.sort(self._scores()[rest], axis=1)
            second = ordered[:, -2] if ordered.shape[1] > 1 else 0.0
            rest = rest[np.argsort(ordered[:, -1] - second, kind="stable")]
        return np.concatenate([random, rest[: n - len(random)]])

    def learn(self, objects: Indices, labels: Indices) -> None:
        """Take the labels that people gave; those of an object known before are replaced.

        Raises:
            LearningError: at a label that is none of the classes, or not one for each object that is there.
        """
        objects, labels = answered(objects, labels, len(self._known), self._classes)
        self._known[objects] = labels
        self._scored = None
        self._decided = False
        standing = self._standing
        still = self._known[standing.objects] < 0
        self._standing = replace(
            standing,
            objects=standing.objects[still],
            labels=standing.labels[still],
            confidence=standing.confidence[still],
        )

    def decide(self) -> Decision:
        """What a machine may label now: what was decided before, or more.

        May cost risk (`spent`), once for the labels learned so far.
        """
        known = self._known >= 0
        if self._decided:
            return self._standing
        self._decided = True
        if known.all():
            self._refuse(f"people labeled all {len(known)} objects before anything could be promised")
            return self._standing
        drawn = self._drawn()
        if drawn < _LEAST:
            self._refuse(f"{drawn} objects chosen at random have a label, {_LEAST} are needed")
            return self._standing
        ranked = self._ranked(drawn)
        level = _LOOK * (self._alpha - self.spent)
        end, chance, now, later = self._outlook(ranked, level)
        standing = len(self._standing.objects)
        self._sample_more = later > max(now, standing) * _WORTH_ASKING
        likely = not self._sample_more or (standing > 0 and chance >= _LIKELIER)
        if end is None or not likely or now <= standing * _WORTH_LOOKING:
            self._refuse(
                f"{drawn} objects chosen at random have a label, and only more of them could promise that "
                f"{self._target:.1%} of a machine's labels are right"
            )
            return self._standing
        self._look(ranked, end, level)
        return self._standing

    def audit(self, decision: Decision, n: int) -> Indices:
        """The machine-labeled objects that people should look at to check the promise, chosen at random.

        More of them begin with the same ones.

        Args:
            decision: what was labeled.
            n: how many at most.
        """
        return self._audit_order[np.isin(self._audit_order, decision.objects)][:n]

    def audited(self, decision: Decision, objects: Indices, labels: Indices) -> Audit:
        """What the answers about audited objects say of the promise.

        Args:
            decision: what was labeled.
            objects: those of `audit` that people have labeled.
            labels: what people said.

        Raises:
            LearningError: at objects that the machine did not label.
        """
        objects = np.asarray(objects, dtype=np.intp)
        strange = objects[~np.isin(objects, decision.objects)]
        if len(strange):
            raise LearningError(f"object {strange[0]} was not labeled by the machine; audit those that were")
        machine = decision.labels[np.searchsorted(decision.objects, objects)]
        sample, total = len(objects), len(decision.objects)
        wrong = int((machine != np.asarray(labels)).sum())
        at_least = 1 - (wrong + most_wrong(sample, wrong, total - sample, self._alpha)) / max(total, 1)
        allowed = math.floor((1 - self._target) * total + 1e-9)
        as_many = 1.0 if not wrong else 1 - chance_of_few(sample, wrong - 1, total, allowed)
        holds = as_many > self._alpha
        verdict = "the promise stands" if holds else "the promise is refuted, have people label the rest"
        return Audit(
            sample,
            wrong,
            1 - wrong / sample if sample else math.nan,
            at_least,
            holds,
            f"of {sample} machine labels that people looked at {wrong} were wrong, so at least "
            f"{at_least:.1%} of all {total} are right; {verdict}",
        )

    def _scores(self) -> Floats:
        if self._scored is None:
            objects = np.flatnonzero(self._known >= 0)
            self._scored = self._learner.out_of_fold(objects, self._known[objects], self._folds)
        return self._scored

    def _drawn(self) -> int:
        """How many objects from the beginning of the lane have a label without a gap."""
        gaps = np.flatnonzero(self._known[self._lane] < 0)
        return int(gaps[0]) if len(gaps) else len(self._lane)

    def _refuse(self, why: str) -> None:
        if not len(self._standing.objects):
            self._standing = nothing(f"not enough: {why}")

    def _ranked(self, drawn: int) -> _Ranked:
        scores = self._scores()
        labels = scores.argmax(axis=1)
        confidence = scores.max(axis=1)
        order = np.argsort(-confidence, kind="stable")
        known = self._known >= 0
        sampled = np.zeros(len(known), dtype=bool)
        sampled[self._lane[:drawn]] = True
        wrong = known & (labels != self._known)
        return _Ranked(
            order,
            labels,
            confidence,
            _counts(sampled[order]),
            _counts((wrong & sampled)[order]),
            _counts((wrong & ~sampled)[order]),
            _counts(~known[order]),
            np.concatenate([[0.0], np.cumsum(np.where(sampled, 1 - confidence, 0)[order])]),
        )

    def _outlook(self, ranked: _Ranked, level: float) -> tuple[int | None, float, float, float]:
        """Where a look is best, its chance, what it promises, and what more sampling promises.

        What a look promises is how many objects the machine could label if it succeeds, times the chance
        that it does. What the sample shows is left out of it.
        """
        best: tuple[int | None, float, float] = (None, 0.0, 0.0)
        later = 0.0
        for end in _ends(len(ranked.order)):
            sample, found = int(ranked.sampled[end]), int(ranked.found[end])
            for times in (1.0, *_AHEAD):
                size = int(sample * times)
                left = int(ranked.open[end]) - (size - sample)
                if left < 1 or left <= best[2]:
                    break
                most = Region(size, end - size, found, left).tolerable(self._target, level)
                chance = chance_of_at_most(most, float(ranked.expected[end]) * times)
                if times > 1:
                    later = max(later, left * chance)
                elif chance >= _LIKELY:
                    best = (end, chance, left * chance)
        return (*best, later)

    def _look(self, ranked: _Ranked, end: int, level: float) -> None:
        sample, wrong = int(ranked.sampled[end]), int(ranked.wrong[end])
        region = Region(sample, end - sample, int(ranked.found[end]), int(ranked.open[end]))
        most = region.tolerable(self._target, level)
        if wrong > most:
            self.spent += level
            self._refuse(
                f"of {sample} objects chosen at random that the machine was surest about it had {wrong} "
                f"wrong, and {most} would have done"
            )
            return
        inside = ranked.order[:end]
        chosen = np.sort(inside[self._known[inside] < 0])
        confidence = ranked.confidence[chosen]
        self._standing = Decision(
            chosen,
            ranked.labels[chosen],
            confidence,
            float(confidence.min()),
            Promise(self._target, self._alpha, sample, wrong),
            f"of {sample} objects chosen at random that the machine was as sure about it had {wrong} wrong, "
            f"so at least {self._target:.1%} of its labels are right, with a risk of {self._alpha:.1%}",
        )


def _counts(mask: NDArray[np.bool_]) -> Indices:
    return np.concatenate([[0], np.cumsum(mask)])


def _ends(count: int) -> list[int]:
    """How many objects lie above each threshold that is considered, the most first."""
    steps = max(0, math.floor(math.log(count / _SMALLEST) / math.log(_STEP))) if count else 0
    return [int(count / _STEP**step) for step in range(steps + 1)]
