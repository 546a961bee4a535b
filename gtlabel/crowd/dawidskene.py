"""Dawid and Skene's model: workers err independently, each by a confusion matrix or by one number.

A. P. Dawid, A. M. Skene, "Maximum likelihood estimation of observer error-rates using the EM algorithm",
Applied Statistics 28 (1979), https://doi.org/10.2307/2346806. Estimated here at the largest posterior
density, in logarithms: each row of a matrix has a Dirichlet prior, and so have the classes.

The rounds end when all that could still come would change little (`rounds.End`). What is maximized, the
likelihood of the answers times the priors, never falls. crowd-kit 1.4.2 adds the class prior to its bound
once per answer where it belongs once per object (`_evidence_lower_bound`), so that its bound can fall, and
its loop ends after two rounds on many sets. It smooths nothing: what a worker says of a class of which he saw
no object is even over the classes that he ever named, here over all. With next to no smoothing and as many
rounds both are the same (tests/benchmarks/consensus_same.py).
"""

from __future__ import annotations

import numpy as np

from gtlabel.crowd.rounds import End, Rounds, Spoken
from gtlabel.crowd.sums import Floats, Indices, Sums, check_known, positive, shares, sums_of
from gtlabel.crowd.votes import Consensus, Votes


def dawid_skene(
    votes: Votes | Sums,
    objects: int,
    classes: int,
    *,
    smoothing: float = 0.01,
    rounds: int = 500,
    tolerance: float = 1e-5,
    known: Indices | None = None,
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
        known: the true class of each object, -1 where it is not known, `(objects,)`; None if none is.
    """
    sums = sums_of(votes, objects, classes)
    check_known(known, objects, classes)
    positive("smoothing", smoothing)
    named = np.bincount(sums.pair_worker, minlength=sums.workers)

    def speak(counts: Floats, mass: Floats) -> Spoken:
        rows = sums.to_workers(counts) + smoothing * classes
        table = np.log((counts + smoothing) / rows[:, sums.pair_worker])
        prior = np.log((mass + smoothing) / (mass.sum() + smoothing * classes))
        # Classes that a worker never named stand in no pair, and in every row of his matrix.
        silent = ((classes - named) * np.log(smoothing / rows)).sum()
        return Spoken(table, prior, smoothing * float(table.sum() + silent + prior.sum()))

    fit = Rounds(sums, shares(sums), speak, known)
    end = End(tolerance * max(len(sums.votes.objects), 1))
    done, bound = fit.run(lambda value: end.reached(value, fit.resumed), rounds)
    rows = sums.to_workers(fit.counts) + smoothing * classes
    right = sums.to_workers(sums.own(fit.counts))
    return Consensus(
        fit.posterior,
        sums.confusion(np.exp(fit.spoken.table), (smoothing / rows).T),
        (right + smoothing) / (sums.given + smoothing * classes),
        "dawid_skene",
        done,
        bound,
    )


def one_coin(
    votes: Votes | Sums,
    objects: int,
    classes: int,
    *,
    smoothing: float = 1.0,
    rounds: int = 500,
    tolerance: float = 1e-5,
    known: Indices | None = None,
) -> Consensus:
    """One number for each worker, the probability of a right answer; a wrong one is any other class alike.

    Args:
        votes: the answers, or `Sums` of them.
        objects: how many objects there are, also those without answers.
        classes: how many classes there are, also those that nobody chose.
        smoothing: right and wrong answers added to each worker's, and objects to each class.
        rounds: at most so many.
        tolerance: as in `dawid_skene`.
        known: as in `dawid_skene`.
    """
    sums = sums_of(votes, objects, classes)
    check_known(known, objects, classes)
    positive("smoothing", smoothing)
    pairs = np.arange(len(sums.pair_class))

    def skill_of(counts: Floats) -> Floats:
        right: Floats = sums.to_workers(sums.own(counts)) + smoothing
        return right / (sums.given + 2 * smoothing)

    def speak(counts: Floats, mass: Floats) -> Spoken:
        skill = skill_of(counts)
        right, wrong = np.log(skill), np.log((1 - skill) / max(classes - 1, 1))
        table = np.tile(wrong[sums.pair_worker], (classes, 1))
        table[sums.pair_class, pairs] = right[sums.pair_worker]
        prior = np.log((mass + smoothing) / (mass.sum() + smoothing * classes))
        return Spoken(table, prior, smoothing * float((right + wrong).sum() + prior.sum()))

    fit = Rounds(sums, shares(sums), speak, known)
    end = End(tolerance * max(len(sums.votes.objects), 1))
    done, bound = fit.run(lambda value: end.reached(value, fit.resumed), rounds)
    return Consensus(fit.posterior, None, skill_of(fit.counts), "one_coin", done, bound)
