"""Crowds that could be asked: what people would answer, told from an old job or from stated assumptions.

A population is drawn from, again and again: each draw takes other people of its kind, other pictures, and
other answers, so that figures over several draws spread as far as what is not known makes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gtlabel.crowd.votes import Votes

Floats = NDArray[np.float64]

# How many answers of somebody weigh as much as what all the others say of a class.
_OTHERS_WEIGH = 5.0
# How far a hard picture is from its own class: least and most, drawn evenly.
_HARDNESS = (0.3, 1.0)
_MEAN_HARDNESS = sum(_HARDNESS) / 2
# Shares of hard pictures that are tried on an old job.
_HARD_SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
_TRIED_OBJECTS = 2000
# Nobody is taken to be surer than that of a class, however few answers say otherwise.
_SUREST = 0.995


@dataclass(frozen=True, slots=True)
class Drawn:
    """Pictures that were drawn, and what people said of them, in the order they were asked.

    Attributes:
        truth: the true class of each picture, `(objects,)`.
        workers: who answered first, second and so on, `(objects, answers)`.
        classes: what they said, `(objects, answers)`.
    """

    truth: NDArray[np.intp]
    workers: NDArray[np.intp]
    classes: NDArray[np.intp]

    def votes(self, answers: int) -> Votes:
        """The first so many answers about each picture."""
        objects = np.repeat(np.arange(len(self.truth)), answers)
        return Votes(objects, self.workers[:, :answers].ravel(), self.classes[:, :answers].ravel())


@dataclass(frozen=True, slots=True)
class Population:
    """People of whom some will be asked.

    Attributes:
        prior: how often each class is the true one, `(classes,)`, adding up to 1.
        activity: what share of the answers each person gives, `(people,)`, adding up to 1.
        hard: the share of the pictures that look like another class to everybody.
        crew: draws the confusion matrices of the people on easy pictures, `(people, classes, classes)` with
            the true class in rows; another one each time.
        source: where all that is from, as the end of a sentence.
    """

    prior: Floats
    activity: Floats
    hard: float
    crew: Callable[[np.random.Generator], Floats]
    source: str

    @property
    def people(self) -> int:
        """How many they are."""
        return len(self.activity)

    def draw(self, objects: int, answers: int, rng: np.random.Generator) -> Drawn:
        """So many pictures, each answered by so many different people.

        Args:
            objects: how many pictures.
            answers: how many answers each gets; as many people are needed.
            rng: where chance comes from.
        """
        confusions = self.crew(rng)
        truth = rng.choice(len(self.prior), size=objects, p=self.prior)
        # The largest of noisy scores are a draw without replacement, weighed by activity (Gumbel-top-k).
        with np.errstate(divide="ignore"):
            scores = np.log(self.activity) + rng.gumbel(size=(objects, self.people))
        workers = np.argsort(-scores, axis=1)[:, :answers]
        said = confusions[workers, truth[:, None]]
        looks_like, hardness = self._looks(truth, rng)
        off = hardness[:, None, None]
        said = (1 - off) * said + off * _confused(confusions[workers, looks_like[:, None]])
        thresholds = rng.random((objects, answers, 1))
        classes = (np.cumsum(said, axis=2) < thresholds).sum(axis=2)
        return Drawn(truth, workers, np.minimum(classes, len(self.prior) - 1))

    def _looks(self, truth: NDArray[np.intp], rng: np.random.Generator) -> tuple[NDArray[np.intp], Floats]:
        """Which class each picture resembles, and how much; not at all for an easy one."""
        objects, classes = len(truth), len(self.prior)
        other = (truth + rng.integers(1, classes, size=objects)) % classes
        hard = rng.random(objects) < self.hard
        return other, np.where(hard, rng.uniform(*_HARDNESS, size=objects), 0.0)


def assumed(
    classes: int, *, accuracy: float = 0.8, spread: float = 0.1, people: int = 10, hard: float = 0.1
) -> Population:
    """A crowd nobody has watched yet.

    Args:
        classes: how many classes there are, all as frequent.
        accuracy: the share of answers that are right, over all pictures.
        spread: the standard deviation of people's own accuracy.
        people: how many there are, all as busy.
        hard: the share of pictures that look like another class to everybody.

    Raises:
        ValueError: if no crowd is like that.
    """
    chance = 1 / classes
    if not chance < accuracy < 1:
        raise ValueError(
            f"answers that are right in {accuracy:.0%} of all cases are no better than chance, or are never"
            f" wrong; among {classes} classes, an accuracy lies between {chance:.2f} and 1"
        )
    easy = _easy_accuracy(accuracy, hard, classes)
    # Of a beta distribution no more can be asked than that.
    most = 0.95 * np.sqrt(easy * (1 - easy))
    strength = easy * (1 - easy) / max(min(spread, most), 1e-3) ** 2 - 1

    def crew(rng: np.random.Generator) -> Floats:
        skill = rng.beta(easy * strength, (1 - easy) * strength, size=people).clip(0.0, _SUREST)
        confusions = np.repeat(((1 - skill) / (classes - 1))[:, None], classes * classes, axis=1)
        confusions = confusions.reshape(people, classes, classes)
        confusions[:, np.arange(classes), np.arange(classes)] = skill[:, None]
        return confusions

    source = (
        f"assumed: {people} people, right {accuracy:.0%} of the time give or take {spread:.0%},"
        f" {hard:.0%} of the pictures hard, {classes} classes as frequent as each other"
    )
    return Population(np.full(classes, chance), np.full(people, 1 / people), hard, crew, source)


def fitted(
    votes: Votes, posterior: Floats, *, source: str, people: int | None = None, seed: int = 0
) -> Population:
    """The crowd that gave some answers.

    How many pictures are hard for everybody is told from how often people agree: of the shares that are
    tried, the one under which as many pictures have as clear a majority as in the answers.

    Args:
        votes: the answers.
        posterior: what the pictures are, `(objects, classes)`, by whatever method.
        source: where the answers are from, as the end of a sentence.
        people: how many people like them will be asked, all as busy; the busier somebody was, the more of
            them are like that. None for those very people.
        seed: of the draws that are compared with the answers.
    """
    classes, known = posterior.shape[1], int(votes.workers.max()) + 1
    counts = np.zeros((known, classes, classes))
    np.add.at(counts.transpose(0, 2, 1), (votes.workers, votes.classes), posterior[votes.objects])
    prior = (posterior.sum(axis=0) + 1) / (len(posterior) + classes)
    activity = np.bincount(votes.workers, minlength=known) / len(votes.workers)
    pooled = counts.sum(axis=0) + 1 / classes + np.eye(classes)
    pooled /= pooled.sum(axis=1, keepdims=True)
    strength = counts + _OTHERS_WEIGH * pooled

    def of(hard: float, people: int | None = None) -> Population:
        def crew(rng: np.random.Generator) -> Floats:
            chosen = slice(None) if people is None else rng.choice(known, size=people, p=activity)
            drawn = rng.standard_gamma(strength[chosen])
            drawn /= drawn.sum(axis=2, keepdims=True)
            return _easier(drawn, hard)

        busy = activity if people is None else np.full(people, 1 / people)
        return Population(prior, busy, hard, crew, source)

    asked = np.bincount(votes.objects, minlength=len(posterior))
    usual = int(np.median(asked[asked > 0]))
    if usual < 2 or known < usual:
        # One answer each agrees with itself.
        return of(0.0, people)
    observed = _clarity(votes, len(posterior), classes, usual)
    rng = np.random.default_rng(seed)
    misses = []
    for hard in _HARD_SHARES:
        drawn = of(hard).draw(_TRIED_OBJECTS, usual, rng).votes(usual)
        misses.append(float(np.abs(_clarity(drawn, _TRIED_OBJECTS, classes, usual) - observed).sum()))
    return of(_HARD_SHARES[int(np.argmin(misses))], people)


def _clarity(votes: Votes, objects: int, classes: int, usual: int) -> Floats:
    """The share of pictures whose most frequent answer was given so many times, `(usual + 1,)`."""
    table = np.zeros((objects, classes))
    np.add.at(table, (votes.objects, votes.classes), 1)
    most = table.max(axis=1)[table.sum(axis=1) == usual].astype(np.intp)
    clear: Floats = np.bincount(most, minlength=usual + 1)[: usual + 1] / max(len(most), 1)
    return clear


def _confused(other: Floats) -> Floats:
    """What people say of a picture that is quite hard: half what it resembles, half anything."""
    mixed: Floats = 0.5 * other + 0.5 / other.shape[-1]
    return mixed


def _easy_accuracy(accuracy: float, hard: float, classes: int) -> float:
    """How often people are right on easy pictures, so that they are as often right as stated over all."""
    # On a hard one: (1 - h) a + h (0.5 (1 - a) / (classes - 1) + 0.5 / classes), which is linear in a.
    h = hard * _MEAN_HARDNESS
    slope = 1 - h - 0.5 * h / (classes - 1)
    constant = h * (0.5 / (classes - 1) + 0.5 / classes)
    return float(np.clip((accuracy - constant) / slope, 1 / classes, _SUREST))


def _easier(confusions: Floats, hard: float) -> Floats:
    """The confusion matrices on easy pictures, where these are over all of them."""
    if not hard:
        return confusions
    classes = confusions.shape[1]
    right = np.einsum("jkk->jk", confusions)
    h = hard * _MEAN_HARDNESS
    constant = h * (0.5 / (classes - 1) + 0.5 / classes)
    easy = np.clip((right - constant) / (1 - h - 0.5 * h / (classes - 1)), 1e-3, _SUREST)
    wrong = confusions * (1 - np.eye(classes))
    wrong *= ((1 - easy) / np.maximum(wrong.sum(axis=2), 1e-12))[:, :, None]
    wrong[:, np.arange(classes), np.arange(classes)] = easy
    wrong /= wrong.sum(axis=2, keepdims=True)
    return wrong
