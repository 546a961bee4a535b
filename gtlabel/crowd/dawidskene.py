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
from gtlabel.crowd.sums import Floats, Sums, normalized, sums_of
from gtlabel.crowd.votes import Consensus, Votes


def dawid_skene(
    votes: Votes | Sums,
    objects: int,
    classes: int,
    *,
    smoothing: float = 0.01,
    rounds: int = 200,
    tolerance: float = 1e-4,
) -> Consensus:
    """A confusion matrix for each worker, fitted together with the labels.

    Args:
        votes: the answers, or `Sums` of them.
        objects: how many objects there are, also those without answers.
        classes: how many classes there are, also those that nobody chose.
        smoothing: answers added to each cell of each matrix, and objects to each class, before they are
            divided.
        rounds: at most so many.
        tolerance: the rounds end when no probability moves by more than this.
    """
    sums = sums_of(votes, objects, classes)
    posterior = np.ascontiguousarray(majority(sums, objects, classes).posterior.T)
    table = np.empty((classes, 0))
    log_likelihood, done = 0.0, 0
    while done < rounds:
        done += 1
        table, rows, log_prior = _fitted(sums, posterior, smoothing)
        scores = sums.to_objects(table)
        scores += log_prior[:, None]
        moved, evidence = normalized(scores)
        step = float(np.abs(moved - posterior).max(initial=0))
        posterior = moved
        log_likelihood = float(evidence.sum())
        if step <= tolerance:
            break
    table, rows, _ = _fitted(sums, posterior, smoothing)
    right = sums.to_workers(sums.own(sums.to_pairs(posterior)))
    skill = (right + smoothing) / (sums.given + smoothing * classes)
    elsewhere = (smoothing / rows).T
    return Consensus(
        np.ascontiguousarray(posterior.T),
        sums.confusion(np.exp(table), elsewhere),
        skill,
        "dawid_skene",
        done,
        log_likelihood,
    )


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


def _fitted(sums: Sums, posterior: Floats, smoothing: float) -> tuple[Floats, Floats, Floats]:
    """Logarithms of what pairs say, `[classes, pairs]`, row sizes, `[classes, workers]`, log priors."""
    counts = sums.to_pairs(posterior)
    rows = sums.to_workers(counts) + smoothing * sums.classes
    table = np.log((counts + smoothing) / rows[:, sums.pair_worker])
    prior = posterior.sum(axis=1) + smoothing
    return table, rows, np.log(prior / prior.sum())
