"""MACE: a worker either knows, or names a class by habit.

D. Hovy, T. Berg-Kirkpatrick, A. Vaswani, E. Hovy, "Learning whom to trust with MACE", NAACL 2013,
https://aclanthology.org/N13-1132/. Each answer is the true class with its worker's competence, and otherwise
drawn from a distribution that is his alone, whatever the picture shows. All classes are alike beforehand.

The paper starts at random many times and keeps the best. crowd-kit 1.4.2 means to, but each of its ten starts
draws anew from one number, so that all are the same. Here the start is the share of each class among an
object's answers: the result is the same every time, and does not depend on the order of anything. Where
crowd-kit thinks ten answers by habit to each class beforehand, and estimates by variation, here it is a tenth
of an answer and the largest density (tests/benchmarks/consensus_same.py shows what that changes).
"""

from __future__ import annotations

import numpy as np

from gtlabel.crowd.rounds import End, Rounds, Spoken
from gtlabel.crowd.sums import (
    WIDEST_CONFUSION,
    Floats,
    Indices,
    Sums,
    check_known,
    positive,
    shares,
    sums_of,
)
from gtlabel.crowd.votes import Consensus, Votes
from gtlabel.errors import ConsensusError

# So often knowledge and habit are told apart between two looks at the objects.
_INNER = 3


def mace(
    votes: Votes | Sums,
    objects: int,
    classes: int,
    *,
    competence: float = 0.5,
    habit: float = 0.1,
    rounds: int = 500,
    tolerance: float = 1e-5,
    known: Indices | None = None,
    frequency: Floats | None = None,
) -> Consensus:
    """A competence and a habit for each worker, fitted together with the labels.

    Args:
        votes: the answers, or `Sums` of them.
        objects: how many objects there are, also those without answers.
        classes: how many classes there are, also those that nobody chose.
        competence: so many answers each worker is thought to have known beforehand, and so many not.
        habit: so many answers by habit each worker is thought to have given to each class beforehand.
        rounds: at most so many.
        tolerance: as in `dawid_skene`.
        known: as in `dawid_skene`.
        frequency: how frequent each class is taken to be, `[classes]`, in any unit; all alike if None.

    Raises:
        ConsensusError: the answers, or what is known, name an object or class that is not there; or an
            option is none that makes sense.
    """
    sums = sums_of(votes, objects, classes)
    check_known(known, objects, classes)
    positive("competence", competence)
    positive("habit", habit)
    frequency = np.ones(classes) if frequency is None else np.asarray(frequency, np.float64)
    if frequency.shape != (classes,) or not (frequency > 0).all():
        raise ConsensusError(
            f"class frequencies are {frequency.tolist()}; give a number above 0 for each of {classes}"
        )
    workers = _Workers(sums, competence, habit, frequency)
    fit = Rounds(sums, shares(sums), workers.speak, known)
    end = End(tolerance * max(len(sums.votes.objects), 1))
    done, bound = fit.run(lambda value: end.reached(value, fit.resumed), rounds)
    posterior, habits = fit.posterior, workers.habits()
    frequency = posterior.mean(axis=0) if objects else np.full(classes, 1 / classes)
    # Habit is right, too, where the class that it names happens to be the true one.
    skill = workers.competence + (1 - workers.competence) * (habits @ frequency)
    confusion = None
    if sums.workers * classes**2 <= WIDEST_CONFUSION:
        confusion = np.repeat(((1 - workers.competence)[:, None] * habits)[:, None, :], classes, axis=1)
        every = np.arange(classes)
        confusion[:, every, every] += workers.competence[:, None]
    return Consensus(posterior, confusion, skill, "mace", done, bound)


class _Workers:
    """How competent each worker is, and what his habit is.

    Attributes:
        competence: how often each worker knows, `[workers]`.
        habit: how often each pair's class is named by habit, `[pairs]`.
        unnamed: the same of a class that a worker never named, `[workers]`.
    """

    def __init__(self, sums: Sums, competence: float, habit: float, frequency: Floats) -> None:
        self._sums, self._competence, self._habit = sums, competence, habit
        self._prior = np.log(frequency / frequency.sum())
        self._size = np.bincount(sums.pair_of, minlength=len(sums.pair_class)).astype(np.float64)
        self.competence: Floats = np.full(sums.workers, 0.5)
        self.habit: Floats = np.full(len(sums.pair_class), 1 / sums.classes)
        self.unnamed: Floats = np.full(sums.workers, 1 / sums.classes)

    def speak(self, counts: Floats, _: Floats) -> Spoken:
        """What answers say, after learning from what is believed of their objects."""
        sums, classes = self._sums, self._sums.classes
        right = sums.own(counts)
        for _round in range(_INNER):
            knows = self.competence[sums.pair_worker]
            guessed = (1 - knows) * self.habit
            knew = right * knows / (knows + guessed)
            known = sums.to_workers(knew)
            self.competence = (known + self._competence) / (sums.given + 2 * self._competence)
            total = sums.given - known + self._habit * classes
            self.habit = (self._size - knew + self._habit) / total[sums.pair_worker]
            self.unnamed = self._habit / total
        by_habit = (1 - self.competence)[sums.pair_worker] * self.habit
        table = np.tile(np.log(by_habit), (classes, 1))
        pairs = np.arange(len(sums.pair_class))
        table[sums.pair_class, pairs] = np.log(self.competence[sums.pair_worker] + by_habit)
        named = np.bincount(sums.pair_worker, minlength=sums.workers)
        density = self._competence * (np.log(self.competence) + np.log1p(-self.competence)).sum()
        density += self._habit * (np.log(self.habit).sum() + ((classes - named) * np.log(self.unnamed)).sum())
        return Spoken(table, self._prior, float(density))

    def habits(self) -> Floats:
        """How often each worker names each class by habit, `[workers, classes]`."""
        full = np.repeat(self.unnamed[:, None], self._sums.classes, axis=1)
        full[self._sums.pair_worker, self._sums.pair_class] = self.habit
        return full
