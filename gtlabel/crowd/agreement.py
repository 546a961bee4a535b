"""How far people say the same about the same object, beyond what chance would give.

Objects with one answer say nothing about agreement and count nowhere here. Both measures are 1 where all
agree and 0 where people agree as often as if they drew their answers from a hat. They differ in the hat:
Fleiss's holds what people said, Krippendorff's is drawn from without putting back, which matters for few
answers, and counts objects by their answers.

Intervals resample objects, since answers about one object hang together (Zapf et al. 2016,
https://doi.org/10.1186/s12874-016-0200-9).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gtlabel.crowd.intervals import Estimate
from gtlabel.crowd.sums import check_votes
from gtlabel.crowd.votes import Votes

# More objects than this are resampled in so many random groups: their sums are as good as independent, and
# the work no longer grows with the job.
_GROUPS = 2000
_NOTHING = Estimate(math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class ClassAgreement:
    """How far people agree about one class against all others.

    Attributes:
        index: the class.
        answers: how many answers name it, on objects with two or more.
        alpha: Krippendorff's, of the question "is it this class?".
        kappa: Fleiss's, of the same question.
    """

    index: int
    answers: int
    alpha: Estimate
    kappa: Estimate


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far people agree. Not a number (nan) stands where nobody could disagree.

    Attributes:
        objects: how many objects have two answers or more.
        answers: how many answers these have.
        single: how many objects have one answer, which are left out.
        observed: how often two answers about one object say the same, the mean over objects.
        alpha: Krippendorff's alpha for names without order.
        kappa: Fleiss's kappa for any number of answers.
        classes: the same for each class against the others.
    """

    objects: int
    answers: int
    single: int
    observed: Estimate
    alpha: Estimate
    kappa: Estimate
    classes: tuple[ClassAgreement, ...]


def krippendorff_alpha(votes: Votes, objects: int, classes: int) -> float:
    """Krippendorff's alpha for names without order; nan where all answers name one class, or none pair up.

    Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability",
    https://repository.upenn.edu/asc_papers/43: answers are missing where they are missing.
    """
    return float(_alpha(_Sums.of(votes, objects, classes).total())[0])


def fleiss_kappa(votes: Votes, objects: int, classes: int) -> float:
    """Fleiss's kappa; nan where all answers name one class, or no object has two.

    Fleiss (1971, https://doi.org/10.1037/h0031619) asks for as many answers on each object. With other
    numbers each object counts alike, as in Gwet (2014, Handbook of Inter-Rater Reliability, chapter 2).
    """
    return float(_kappa(_Sums.of(votes, objects, classes).total())[0])


def agreement(
    votes: Votes, objects: int, classes: int, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Agreement:
    """How far people agree, over all and for each class, with bootstrap intervals.

    Args:
        votes: the answers; objects may have any number of them.
        objects: how many objects there are.
        classes: how many classes there are.
        level: how often such intervals hold the truth.
        resamples: how many times objects are drawn anew.
        seed: of the drawing.
    """
    sums = _Sums.of(votes, objects, classes)
    total = sums.total()
    drawn = sums.drawn(resamples, np.random.default_rng(seed))
    observed, alpha, kappa = _observed(total), _alpha(total), _kappa(total)
    observed_drawn, alpha_drawn, kappa_drawn = _observed(drawn), _alpha(drawn), _kappa(drawn)
    each = zip(_alpha_of_classes(total)[0], _alpha_of_classes(drawn).T, strict=True)
    kappas = zip(_kappa_of_classes(total)[0], _kappa_of_classes(drawn).T, strict=True)
    return Agreement(
        objects=int(total.units[0]),
        answers=int(total.counts.sum()),
        single=sums.single,
        observed=_estimate(observed[0], observed_drawn, level),
        alpha=_estimate(alpha[0], alpha_drawn, level),
        kappa=_estimate(kappa[0], kappa_drawn, level),
        classes=tuple(
            ClassAgreement(index, int(total.counts[0, index]), _estimate(*a, level), _estimate(*k, level))
            for index, (a, k) in enumerate(zip(each, kappas, strict=True))
        ),
    )


@dataclass(frozen=True, slots=True)
class _Sums:
    """What both measures need, summed over groups of objects; only objects with two answers or more count.

    With m answers on an object, n of them of a class:

    Attributes:
        units: how many objects, `[groups]`.
        counts: n, `[groups, classes]`.
        shares: n / m.
        apart: n (m - n) / (m - 1), how often the class stands against another.
        even: how often two answers agree whether it is this class.
        same: how often two answers agree, `[groups]`.
        single: how many objects have one answer.
    """

    units: NDArray[np.float64]
    counts: NDArray[np.float64]
    shares: NDArray[np.float64]
    apart: NDArray[np.float64]
    even: NDArray[np.float64]
    same: NDArray[np.float64]
    single: int

    @classmethod
    def of(cls, votes: Votes, objects: int, classes: int) -> _Sums:
        check_votes(votes, objects, classes)
        given = np.bincount(votes.objects, minlength=objects)
        paired = np.flatnonzero(given > 1)
        groups = max(1, min(len(paired), _GROUPS))
        group_of = np.zeros(max(objects, 1), dtype=np.intp)
        # Which objects stand together must not depend on anything they have in common, such as their order.
        group_of[paired] = np.random.default_rng(len(paired)).permutation(len(paired)) % groups
        cells, named = np.unique(votes.objects * classes + votes.classes, return_counts=True)
        of_paired = given[cells // classes] > 1
        cells, n = cells[of_paired], named[of_paired].astype(np.float64)
        owner, cell = cells // classes, group_of[cells // classes] * classes + cells % classes
        m = given[owner].astype(np.float64)

        def table(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return (
                np.bincount(cell, weights=values, minlength=groups * classes)
                .astype(np.float64)
                .reshape(groups, classes)
            )

        def column(of: NDArray[np.intp], values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.bincount(of, weights=values, minlength=groups).astype(np.float64)

        units = column(group_of[paired], np.ones(len(paired)))
        apart = table(n * (m - n) / (m - 1))
        return cls(
            units=units,
            counts=table(n),
            shares=table(n / m),
            apart=apart,
            # An object that nobody calls by a class agrees fully that it is none.
            even=units[:, None] - table(2 * n * (m - n) / (m * (m - 1))),
            same=column(group_of[owner], n * (n - 1) / (m * (m - 1))),
            single=int((given == 1).sum()),
        )

    def total(self) -> _Sums:
        """All groups as one."""
        return self._weighed(np.ones((1, len(self.units))))

    def drawn(self, resamples: int, random: np.random.Generator) -> _Sums:
        """As many groups drawn with putting back as there are, once for each resample."""
        groups = len(self.units)
        return self._weighed(
            random.multinomial(groups, np.full(groups, 1 / groups), size=resamples).astype(np.float64)
        )

    def _weighed(self, weights: NDArray[np.float64]) -> _Sums:
        return _Sums(
            weights @ self.units,
            weights @ self.counts,
            weights @ self.shares,
            weights @ self.apart,
            weights @ self.even,
            weights @ self.same,
            self.single,
        )


def _observed(sums: _Sums) -> NDArray[np.float64]:
    return _ratio(sums.same, sums.units)


def _alpha(sums: _Sums) -> NDArray[np.float64]:
    answers = sums.counts.sum(axis=1)
    chance = answers**2 - (sums.counts**2).sum(axis=1)
    return 1 - _ratio((answers - 1) * sums.apart.sum(axis=1), chance)


def _alpha_of_classes(sums: _Sums) -> NDArray[np.float64]:
    answers = sums.counts.sum(axis=1, keepdims=True)
    return 1 - _ratio((answers - 1) * 2 * sums.apart, 2 * sums.counts * (answers - sums.counts))


def _kappa(sums: _Sums) -> NDArray[np.float64]:
    frequency = _ratio(sums.shares, sums.units[:, None])
    return 1 - _ratio(1 - _observed(sums), 1 - (frequency**2).sum(axis=1))


def _kappa_of_classes(sums: _Sums) -> NDArray[np.float64]:
    frequency = _ratio(sums.shares, sums.units[:, None])
    apart = 1 - _ratio(sums.even, sums.units[:, None])
    return 1 - _ratio(apart, 2 * frequency * (1 - frequency))


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divided, and nan where there is nothing to divide by, or only what rounding left."""
    fine = np.abs(below) > 1e-12
    found: NDArray[np.float64] = np.where(fine, above / np.where(fine, below, 1.0), np.nan)
    return found


def _estimate(value: float, drawn: NDArray[np.float64], level: float) -> Estimate:
    known = drawn[~np.isnan(drawn)]
    if math.isnan(value) or not len(known):
        return _NOTHING
    tail = (1 - level) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return Estimate(float(value), min(float(low), float(value)), max(float(high), float(value)))
