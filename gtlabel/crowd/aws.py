"""Amazon's way: the modified Dawid-Skene of SageMaker Ground Truth, batch by batch.

The model is the one that AWS publishes for Ground Truth, as contract/ground-truth.md 5.4 and 6.1 reconstruct
it: workers have a confusion matrix each, smoothed by their own and by the crowd's accuracy, and the
estimation ends after two rounds. It looks at no more than fifty objects at once, and carries nothing over
from one batch to the next. On the recorded objects of a real job it finds every class.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gtlabel.crowd.sums import Sums, sums_of
from gtlabel.crowd.votes import Consensus, Votes
from gtlabel.errors import ConsensusError

# The diagonal a worker's confusion matrix starts with.
_FIRST_ACCURACY = 0.7
_ROUNDS = 2
# What AWS was seen to consolidate at once, at most.
_BATCH = 50


def aws(votes: Votes | Sums, objects: int, classes: int, *, batch: int = _BATCH) -> Consensus:
    """What Ground Truth would have made of these answers.

    The confidence that AWS writes is 0.95 times the posterior of this; see `engine.consensus.single`.

    Args:
        votes: the answers, or `Sums` of them.
        objects: how many objects there are, also those without answers, which get the class prior of their
            batch.
        classes: how many classes there are, also those that nobody chose.
        batch: so many objects are looked at together, in their order.

    Raises:
        ConsensusError: the answers name an object or class that is not there, or the batch is empty.
    """
    if batch < 1:
        raise ConsensusError(f"batch={batch} objects cannot be looked at together; give 1 or more")
    plain = sums_of(votes, objects, classes).votes
    order = np.argsort(plain.objects, kind="stable")
    sorted_objects = plain.objects[order]
    posterior = np.full((objects, classes), 1 / classes)
    for first in range(0, objects, batch):
        size = min(batch, objects - first)
        begin, end = np.searchsorted(sorted_objects, [first, first + size])
        part = order[begin:end]
        _, workers = np.unique(plain.workers[part], return_inverse=True)
        some = Votes(plain.objects[part] - first, workers, plain.classes[part])
        posterior[first : first + size] = posteriors(some, size, classes)
    return Consensus(posterior, None, None, "aws", _ROUNDS, None)


def posteriors(votes: Votes, objects: int, classes: int) -> NDArray[np.float64]:
    """The probability of each class for each object of one batch, `[objects, classes]`.

    The confusion matrices are never written out: only their columns for answers that were given, and their
    row sums, are needed. Time and memory grow with answers times classes, not with classes squared.
    """
    answers, others = len(votes.objects), classes - 1
    if not answers or not others:
        return np.full((objects, classes), 1 / classes)
    workers = int(votes.workers.max()) + 1
    likelihood = np.full((answers, classes), (1 - _FIRST_ACCURACY) / others)
    likelihood[np.arange(answers), votes.classes] = _FIRST_ACCURACY
    posterior = _expect(votes, np.log(likelihood), np.full(classes, 1 / classes), objects)
    for _ in range(_ROUNDS - 1):
        likelihood = _maximize(votes, posterior, workers)
        posterior = _expect(votes, np.log(likelihood), posterior.mean(axis=0), objects)
    return posterior


def _expect(
    votes: Votes, log_likelihood: NDArray[np.float64], prior: NDArray[np.float64], objects: int
) -> NDArray[np.float64]:
    # A class that no object can be of has a prior of zero, whose logarithm is a fair minus infinity.
    with np.errstate(divide="ignore"):
        log_posterior = np.tile(np.log(prior), (objects, 1))
    np.add.at(log_posterior, votes.objects, log_likelihood)
    log_posterior -= log_posterior.max(axis=1, keepdims=True)
    posterior = np.exp(log_posterior)
    normal: NDArray[np.float64] = posterior / posterior.sum(axis=1, keepdims=True)
    return normal


def _maximize(votes: Votes, posterior: NDArray[np.float64], workers: int) -> NDArray[np.float64]:
    """What each answer says about each true class, given what we now believe: `[answers, classes]`."""
    answers, classes = len(votes.objects), posterior.shape[1]
    believed = posterior[votes.objects]
    pairs, pair_of = np.unique(votes.workers * classes + votes.classes, return_inverse=True)
    counts = np.zeros((len(pairs), classes))
    np.add.at(counts, pair_of, believed)
    rows = np.zeros((workers, classes))
    np.add.at(rows, votes.workers, believed)

    given = np.bincount(votes.workers, minlength=workers).astype(np.float64)
    right = np.bincount(votes.workers, weights=believed[np.arange(answers), votes.classes], minlength=workers)
    own = right / given
    average = float(right.sum() / given.sum())

    # Two pseudo-matrices, one of the worker's own accuracy and one, half as heavy, of everybody's.
    diagonal = given * own + given / 2 * average
    elsewhere = (given * (1 - own) + given / 2 * (1 - average)) / (classes - 1)
    numerator = counts[pair_of] + elsewhere[votes.workers][:, None]
    numerator[np.arange(answers), votes.classes] += (diagonal - elsewhere)[votes.workers]
    likelihood: NDArray[np.float64] = numerator / (rows + 1.5 * given[:, None])[votes.workers]
    # A crowd that never disagrees leaves no room for error; keep the logarithm finite.
    return np.maximum(likelihood, np.finfo(np.float64).tiny)
