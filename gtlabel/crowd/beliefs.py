"""What everybody else says: for each answer, the classes of its object as the other answers have it.

Whoever judges a worker by a label that he took part in finds him better than he is, the more so the fewer
answers an object has. Here each answer has a belief of its own, from all other answers about its object and
from gold where there is some.

The crowd's model is small on purpose: a worker knows the class with a probability (`informed`), and else
answers from a hat of his own (`habit`), as in MACE (Hovy et al. 2013, https://aclanthology.org/N13-1132). It
is fitted by expectation maximization on the beliefs themselves, so that nobody vouches for himself in it
either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gtlabel.crowd.votes import Votes
from gtlabel.errors import ConsensusError

Floats = NDArray[np.float64]

_ROUNDS = 20
_SETTLED = 1e-4
# What a worker is taken for before he answers: so many answers like the crowd's.
_WEIGHT = 4.0
_FIRST_INFORMED = 0.6
# Even gold was written by somebody; and no hat is without a class.
_GOLD = 0.999
_LEAST = 1e-6
# So many grid points find where a likelihood lies, and so many more look at it there.
_COARSE = 17
_FINE = 33
_DROP = 14.0


@dataclass(frozen=True, slots=True)
class Beliefs:
    """What everybody else says about the object of each answer, and what that says about workers.

    Attributes:
        votes: the answers.
        objects, classes, workers: how many there are; workers up to the highest number that answered.
        others: the probability of each class of an answer's object without that answer, `[answers, classes]`.
        backed: how many other answers, or gold, stand behind that, `[answers]`; gold counts as one.
        prior: how frequent each class is, `[classes]`.
        informed: how often each worker knows the class, `[workers]`.
        habit: what each worker answers when he does not, `[workers, classes]`.
        golden: which answers are about an object whose class is known, `[answers]`.
    """

    votes: Votes
    objects: int
    classes: int
    workers: int
    others: Floats
    backed: NDArray[np.intp]
    prior: Floats
    informed: Floats
    habit: Floats
    golden: NDArray[np.bool_]

    @property
    def right(self) -> Floats:
        """The probability that each answer is right, as everybody else has it, `[answers]`."""
        chosen: Floats = np.take_along_axis(self.others, self.votes.classes[:, None], axis=1)[:, 0]
        return chosen

    @property
    def given(self) -> NDArray[np.intp]:
        """How many answers each worker gave, `[workers]`."""
        return np.bincount(self.votes.workers, minlength=self.workers)


def believe(votes: Votes, objects: int, classes: int, gold: NDArray[np.intp] | None = None) -> Beliefs:
    """Ask everybody else, about each answer.

    Args:
        votes: the answers.
        objects: how many objects there are.
        classes: how many classes there are.
        gold: the class of each object, -1 where it is not known, `[objects]`; None without any.

    Raises:
        ConsensusError: if there is not one class, or -1, for each object in `gold`.
    """
    if gold is not None and (gold.shape != (objects,) or (objects and gold.max() >= classes)):
        raise ConsensusError(
            f"gold wants one class below {classes} for each of {objects} objects, or -1 where it is not "
            f"known; got {gold.shape[0]} values" + (f" up to {gold.max()}" if len(gold) else "")
        )
    answers = len(votes.objects)
    workers = int(votes.workers.max()) + 1 if answers else 0
    known = np.full(objects, -1, dtype=np.intp) if gold is None else gold
    golden = known[votes.objects] >= 0
    said = np.bincount(votes.classes, minlength=classes) + 1.0
    asked = said / said.sum()
    informed = np.full(workers, _FIRST_INFORMED)
    habit = np.tile(asked, (workers, 1))
    prior, others = asked, np.zeros((answers, classes))
    before = np.zeros(answers)
    for _ in range(_ROUNDS):
        others, prior = _others(votes, objects, classes, known, informed, habit, prior)
        right = np.take_along_axis(others, votes.classes[:, None], axis=1)[:, 0]
        informed, habit = _fit(votes, classes, right, informed, habit, asked)
        if answers == 0 or float(np.abs(right - before).max()) < _SETTLED:
            break
        before = right
    backed = np.bincount(votes.objects, minlength=objects)[votes.objects] - 1 + golden
    return Beliefs(votes, objects, classes, workers, others, backed, prior, informed, habit, golden)


def spread_of_informed(beliefs: Beliefs) -> tuple[Floats, Floats]:
    """How probable each degree of being informed is, for each worker, all degrees alike beforehand.

    The hat is fitted anew for each degree, so that who clicks the same class always may be anything where
    that class is right anyway.

    Returns:
        Degrees, `[points, workers]`, rising; and the probability of being below each, from 0 to 1.
    """
    low, high = np.zeros(beliefs.workers), np.ones(beliefs.workers)
    for points in (_COARSE, _FINE):
        degrees = low + (high - low) * np.linspace(0, 1, points)[:, None]
        likelihood = np.stack([_profile(beliefs, degree) for degree in degrees])
        near = likelihood > likelihood.max(axis=0) - _DROP
        step = (high - low) / (points - 1)
        first, last = near.argmax(axis=0), points - 1 - near[::-1].argmax(axis=0)
        low, high = (
            np.maximum(low + step * (first - 1), 0.0),
            np.minimum(low + step * (last + 1), 1.0),
        )
    weight = np.exp(likelihood - likelihood.max(axis=0))
    pieces = (weight[1:] + weight[:-1]) / 2 * np.diff(degrees, axis=0)
    below = np.vstack([np.zeros(beliefs.workers), np.cumsum(pieces, axis=0)])
    return degrees, below / below[-1]


def _others(
    votes: Votes,
    objects: int,
    classes: int,
    known: NDArray[np.intp],
    informed: Floats,
    habit: Floats,
    prior: Floats,
) -> tuple[Floats, Floats]:
    """What all other answers say about each answer's object, and how frequent classes are by it."""
    guessed = (1 - informed[votes.workers]) * habit[votes.workers, votes.classes]
    # An answer speaks for its own class alone: for all others it says the same.
    speaks = np.log((informed[votes.workers] + guessed) / np.maximum(guessed, _LEAST))
    cell = votes.objects * classes + votes.classes
    table = _summed(cell, speaks, objects * classes).reshape(objects, classes)
    table += np.log(prior)
    scores = table[votes.objects]
    np.subtract.at(scores, (np.arange(len(speaks)), votes.classes), speaks)
    others = _normal(scores)
    sure = known[votes.objects]
    golden = sure >= 0
    if golden.any():
        others[golden] = (1 - _GOLD) / max(classes - 1, 1)
        others[golden, sure[golden]] = _GOLD
    asked = np.bincount(votes.objects, minlength=objects) > 0
    mass = _normal(table[asked]).sum(axis=0) + 1.0
    return others, mass / mass.sum()


def _fit(
    votes: Votes, classes: int, right: Floats, informed: Floats, habit: Floats, asked: Floats
) -> tuple[Floats, Floats]:
    workers = len(informed)
    knew = informed[votes.workers] * right
    guessed = (1 - informed[votes.workers]) * habit[votes.workers, votes.classes]
    share = knew / np.maximum(knew + guessed, _LEAST)
    given = np.bincount(votes.workers, minlength=workers)
    known = np.bincount(votes.workers, weights=share, minlength=workers)
    typical = float(share.mean()) if len(share) else _FIRST_INFORMED
    cell = votes.workers * classes + votes.classes
    hat = _summed(cell, 1 - share, workers * classes).reshape(workers, classes)
    hat += _WEIGHT * asked
    degree = (known + _WEIGHT * typical) / (given + _WEIGHT)
    # Somebody who always knew would be believed against any number of others.
    return np.clip(degree, 0.0, 0.995), hat / hat.sum(axis=1, keepdims=True)


def _profile(beliefs: Beliefs, degree: Floats) -> Floats:
    """The log likelihood of each worker's answers if he is so well informed, under the hat that fits best."""
    votes, classes, workers = beliefs.votes, beliefs.classes, beliefs.workers
    right, mine = beliefs.right, degree[votes.workers]
    cell = votes.workers * classes + votes.classes
    habit = beliefs.habit
    for _ in range(4):
        guessed = (1 - mine) * habit.reshape(-1)[cell]
        share = guessed / np.maximum(mine * right + guessed, _LEAST)
        hat = _summed(cell, share, workers * classes).reshape(workers, classes)
        hat += beliefs.prior * 0.5
        habit = hat / hat.sum(axis=1, keepdims=True)
    likely = mine * right + (1 - mine) * habit.reshape(-1)[cell]
    return _summed(votes.workers, np.log(np.maximum(likely, _LEAST)), workers)


def _summed(where: NDArray[np.intp], values: Floats, size: int) -> Floats:
    summed: Floats = np.bincount(where, weights=values, minlength=size).astype(np.float64)
    return summed


def _normal(scores: Floats) -> Floats:
    scores = scores - scores.max(axis=1, keepdims=True, initial=-np.inf)
    shares = np.exp(scores)
    normal: Floats = shares / shares.sum(axis=1, keepdims=True)
    return normal
