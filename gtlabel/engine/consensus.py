"""From many answers to one label: pure arithmetic on arrays.

The model is the modified Dawid-Skene that AWS publishes for Ground Truth, as contract/ground-truth.md 5.4 and
6.1 reconstruct it: workers have a confusion matrix each, smoothed by their own and by the crowd's accuracy,
and the estimation ends after two rounds. On the twelve recorded objects of a real job it finds every class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The diagonal a worker's confusion matrix starts with.
_FIRST_ACCURACY = 0.7
# No label is surer than this (fitted to the recorded job).
_CEILING = 0.95
_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Votes:
    """Answers as three parallel arrays: on which object, by which worker, which class; all from zero."""

    objects: NDArray[np.intp]
    workers: NDArray[np.intp]
    classes: NDArray[np.intp]

    @classmethod
    def of(cls, answers: Sequence[tuple[int, str, int]]) -> Votes:
        """Number the workers by their names."""
        names = {name: index for index, name in enumerate(sorted({worker for _, worker, _ in answers}))}
        return cls(
            np.array([o for o, _, _ in answers], dtype=np.intp),
            np.array([names[w] for _, w, _ in answers], dtype=np.intp),
            np.array([c for _, _, c in answers], dtype=np.intp),
        )


@dataclass(frozen=True, slots=True)
class Label:
    """The class one object was given, and how sure that is within its job."""

    index: int
    confidence: float


def single(votes: Votes, objects: int, classes: int) -> list[Label]:
    """One label for each object of a batch; ties go to the lowest class index.

    Args:
        votes: the answers of the batch; each object needs at least one.
        objects: how many objects the batch has.
        classes: how many classes the job has, also those that nobody chose.
    """
    posterior = posteriors(votes, objects, classes)
    # Sums in another order differ in their last digits; that must not break a tie.
    chosen = np.round(posterior, 9).argmax(axis=1)
    surest = posterior[np.arange(objects), chosen]
    return [Label(int(index), _confidence(value)) for index, value in zip(chosen, surest, strict=True)]


def multi(chosen: Sequence[Sequence[tuple[str, frozenset[int]]]]) -> list[list[Label]]:
    """Every class that at least one worker chose, for each object of a batch, with its confidence.

    Each class is a yes-or-no question of its own, answered by the same model; AWS does not publish its own
    (contract 6.1). Classes stand in the order in which the answers name them, lower indices first within
    one answer; nothing is left out for being unsure.

    Args:
        chosen: per object, per answer, who answered and which classes they chose.
    """
    labels: list[list[Label]] = [[] for _ in chosen]
    named = [list(dict.fromkeys(c for _, picked in answers for c in sorted(picked))) for answers in chosen]
    confidences: dict[tuple[int, int], float] = {}
    for index in sorted({c for order in named for c in order}):
        votes = Votes.of(
            [
                (number, worker, int(index in picked))
                for number, answers in enumerate(chosen)
                for worker, picked in answers
            ]
        )
        yes = posteriors(votes, len(chosen), 2)[:, 1]
        confidences.update({(number, index): _confidence(value) for number, value in enumerate(yes)})
    for number, order in enumerate(named):
        labels[number] = [Label(c, confidences[number, c]) for c in order]
    return labels


def posteriors(votes: Votes, objects: int, classes: int) -> NDArray[np.float64]:
    """The probability of each class for each object, `[objects, classes]`.

    The confusion matrices are never written out: only their columns for answers that were given, and their
    row sums, are needed. Time and memory grow with answers times classes, not with classes squared.
    """
    answers, workers = len(votes.objects), int(votes.workers.max()) + 1
    others = classes - 1
    likelihood = np.full((answers, classes), (1 - _FIRST_ACCURACY) / others)
    likelihood[np.arange(answers), votes.classes] = _FIRST_ACCURACY
    posterior = _expect(votes, np.log(likelihood), np.full(classes, 1 / classes), objects)
    for _ in range(_ROUNDS - 1):
        likelihood = _maximize(votes, posterior, workers)
        posterior = _expect(votes, np.log(likelihood), posterior.mean(axis=0), objects)
    return posterior


def majority(votes: Votes, objects: int, classes: int) -> list[Label]:
    """The class most answers name, lowest index first in a tie, with its share of the answers."""
    counts = np.zeros((objects, classes))
    np.add.at(counts, (votes.objects, votes.classes), 1)
    chosen = counts.argmax(axis=1)
    shares = counts[np.arange(objects), chosen] / counts.sum(axis=1)
    return [Label(int(index), float(share)) for index, share in zip(chosen, shares, strict=True)]


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


def _confidence(probability: float) -> float:
    return round(_CEILING * float(probability), 2)
