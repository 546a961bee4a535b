"""Crowds that could be asked: what people would answer, told from an old job or from stated assumptions.

A population is drawn from, again and again: each draw takes other people of its kind, other pictures, and
other answers, so that figures over several draws spread as far as what is not known makes them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# Numpy would load this part at its first use, under way, and its compiled modules swallow a Ctrl-C meanwhile.
from numpy.random import default_rng
from numpy.typing import NDArray

from gtlabel.crowd.votes import Votes
from gtlabel.errors import ConsensusError

Floats = NDArray[np.float64]
Answers = NDArray[np.intp]

# How many answers of somebody weigh as much as what all the others say of a class.
_OTHERS_WEIGH = 5.0
# In an assumed crowd, how far a hard picture is from its own class: least and most, drawn evenly.
_HARDNESS = (0.3, 1.0)
_MEAN_HARDNESS = sum(_HARDNESS) / 2
# What is tried on an old job. By how much people are wrong more often than the labels say (labels and people
# are told from the same answers), how much of that is the pictures' fault, and how alike hard pictures are:
# the precision of a beta distribution, which below 1 has pictures that are hard for nobody and for everybody.
_MORE_WRONG = (0.6, 0.75, 0.87, 1.0, 1.15, 1.33, 1.55, 1.8)
_BY_PICTURES = (0.0, 0.25, 0.5, 0.7, 0.85)
_ALIKE = (0.5, 1.5, 4.0)
# How far the first of them may be from 1, as the standard deviation of its logarithm: in the simulated crowds
# of tests/benchmarks/planning.py it is 0.15, and real ones are no simpler.
_DOUBT = 0.2
_TRIED_OBJECTS = 2000
# As many answers of a picture are compared, some of them at random where there are more, so often.
_COMPARED, _REPEATS = 7, 4
# Nobody is taken to be surer than that of a class, however few answers say otherwise; nor surely wrong.
_SUREST, _WORST = 0.995, 0.95


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
class Crew:
    """People who were drawn, and how hard pictures are for all of them.

    Attributes:
        confusions: what each says of easy pictures, `(people, classes, classes)`, true classes in rows.
        looks: what hard pictures of a class are taken for, `(classes, classes)`, true classes in rows.
        hardness: how much of each picture looks like that: from its true class, `(objects,)`.
        blur: how much of what is said of a hard picture is anything at all.
    """

    confusions: Floats
    looks: Floats
    hardness: Callable[[NDArray[np.intp], np.random.Generator], Floats]
    blur: float = 0.0

    def says(self, truth: NDArray[np.intp], workers: NDArray[np.intp], rng: np.random.Generator) -> Answers:
        """What some workers say of pictures, `(objects, answers)` as `workers` is."""
        classes = len(self.looks)
        turned = rng.random((len(truth), 1))
        other = np.minimum((np.cumsum(self.looks[truth], axis=1) < turned).sum(axis=1), classes - 1)
        off = self.hardness(truth, rng)[:, None, None]
        resembling = (1 - self.blur) * self.confusions[workers, other[:, None]] + self.blur / classes
        said = (1 - off) * self.confusions[workers, truth[:, None]] + off * resembling
        thresholds = rng.random((*workers.shape, 1))
        chosen: Answers = np.minimum((np.cumsum(said, axis=2) < thresholds).sum(axis=2), classes - 1)
        return chosen


@dataclass(frozen=True, slots=True)
class Population:
    """People of whom some will be asked.

    Attributes:
        prior: how often each class is the true one, `(classes,)`, adding up to 1.
        activity: what share of the answers each person gives, `(people,)`, adding up to 1.
        crew: draws people, another time others, or the same as far as one knows them.
        source: where all that is from, as the end of a sentence.
    """

    prior: Floats
    activity: Floats
    crew: Callable[[np.random.Generator], Crew]
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
        crew = self.crew(rng)
        truth = rng.choice(len(self.prior), size=objects, p=self.prior)
        # The largest of noisy scores are a draw without replacement, weighed by activity (Gumbel-top-k).
        with np.errstate(divide="ignore"):
            scores = np.log(self.activity) + rng.gumbel(size=(objects, self.people))
        workers = np.argsort(-scores, axis=1)[:, :answers]
        return Drawn(truth, workers, crew.says(truth, workers, rng))


def assumed(
    classes: int,
    *,
    accuracy: float = 0.8,
    spread: float = 0.1,
    people: int = 10,
    hard: float | None = None,
) -> Population:
    """A crowd nobody has watched yet.

    Args:
        classes: how many classes there are, all as frequent.
        accuracy: the share of answers that are right, over all pictures.
        spread: the standard deviation of people's own accuracy.
        people: how many there are, all as busy.
        hard: the share of pictures that look like another class to everybody; None for as many as make half
            of all mistakes: more answers help real crowds less than if mistakes were people's alone.

    Raises:
        ValueError: if no crowd is like that.
    """
    if classes < 2 or people < 1 or not spread >= 0:
        raise ValueError(
            f"{people} people and {classes} classes, with a spread of {spread}, are no crowd that could "
            "disagree; give 1 or more people, 2 or more classes and a spread from 0"
        )
    chance = 1 / classes
    if not chance < accuracy < 1:
        raise ValueError(
            f"answers that are right in {100 * accuracy:.4g}% of all cases are no better than chance, or are "
            f"never wrong; among {classes} classes, an accuracy lies between {chance:.2f} and 1"
        )
    if hard is None:
        others = (1 + accuracy) / 2
        hard = min(1.0, (1 - accuracy) / 2 / (others - _right_on_hard(others, classes)))
    easy = _easy_accuracy(accuracy, hard, classes)
    if easy > _SUREST:
        raise ValueError(
            f"where {100 * hard:.3g}% of the pictures are hard, answers cannot be right in "
            f"{100 * accuracy:.4g}% of all cases"
        )
    # Of a beta distribution no more can be asked than that.
    most = 0.95 * np.sqrt(easy * (1 - easy))
    strength = easy * (1 - easy) / max(min(spread, most), 1e-3) ** 2 - 1

    looks = (1 - np.eye(classes)) / (classes - 1)

    def hardness(truth: NDArray[np.intp], rng: np.random.Generator) -> Floats:
        is_hard = rng.random(len(truth)) < hard
        return np.where(is_hard, rng.uniform(*_HARDNESS, size=len(truth)), 0.0)

    def crew(rng: np.random.Generator) -> Crew:
        skill = rng.beta(easy * strength, (1 - easy) * strength, size=people).clip(0.0, _SUREST)
        confusions = np.repeat(((1 - skill) / (classes - 1))[:, None], classes * classes, axis=1)
        confusions = confusions.reshape(people, classes, classes)
        confusions[:, np.arange(classes), np.arange(classes)] = skill[:, None]
        return Crew(confusions, looks, hardness, blur=0.5)

    source = (
        f"{people}, right {accuracy:.0%} of the time give or take {spread:.0%}, with {hard:.0%} of the "
        f"pictures hard and {classes} classes as frequent as each other"
    )
    return Population(np.full(classes, chance), np.full(people, 1 / people), crew, source)


def fitted(
    votes: Votes, posterior: Floats, *, source: str, people: int | None = None, seed: int = 0
) -> Population:
    """The crowd that gave some answers.

    How often people are wrong, and how much of that is the pictures' fault, is told from how often people
    agree: of what is tried, the likelier the more often its draws have as clear majorities as the answers.
    Which of them it is stays open where the answers leave it open: each draw takes one by its likelihood.

    Args:
        votes: the answers.
        posterior: what the pictures are, `(objects, classes)`, by whatever method.
        source: where the answers are from, as the end of a sentence.
        people: how many people like them will be asked, all as busy; the busier somebody was, the more of
            them are like that. None for those very people.
        seed: of the draws that are compared with the answers.

    Raises:
        ConsensusError: if there are no answers, or no two classes, to tell people from.
    """
    if not len(votes.workers) or posterior.shape[1] < 2:
        raise ConsensusError(
            f"{len(votes.workers)} answers between {posterior.shape[1]} classes do not tell what people are "
            "like; take answers that choose between 2 or more"
        )
    classes, known = posterior.shape[1], int(votes.workers.max()) + 1
    counts = np.zeros((known, classes, classes))
    np.add.at(counts.transpose(0, 2, 1), (votes.workers, votes.classes), posterior[votes.objects])
    prior = (posterior.sum(axis=0) + 1) / (len(posterior) + classes)
    activity = np.bincount(votes.workers, minlength=known) / len(votes.workers)
    pooled = counts.sum(axis=0) + 1 / classes + np.eye(classes)
    pooled /= pooled.sum(axis=1, keepdims=True)
    strength = counts + _OTHERS_WEIGH * pooled
    natures = _natures(pooled)
    asked = np.bincount(votes.objects, minlength=len(posterior))
    usual = min(int(np.median(asked[asked > 0])), _COMPARED)
    # One answer each agrees with itself.
    comparable = 2 <= usual <= known
    likely = np.array([float(each.by_pictures == 0 and each.more_wrong == 1) for each in natures])
    if comparable:
        likely = _likelihoods(votes, len(posterior), usual, natures, strength, prior, activity, seed)

    def crew(rng: np.random.Generator) -> Crew:
        chosen = slice(None) if people is None else rng.choice(known, size=people, p=activity)
        drawn = rng.standard_gamma(strength[chosen])
        drawn /= drawn.sum(axis=2, keepdims=True)
        return natures[rng.choice(len(natures), p=likely / likely.sum())].crew(drawn)

    busy = activity if people is None else np.full(people, 1 / people)
    return Population(prior, busy, crew, source)


@dataclass(frozen=True, slots=True)
class _Nature:
    """One of the things that may be true of a crowd and its pictures.

    Attributes:
        more_wrong: by how much people are wrong more often than labels say.
        by_pictures: how much of that is the pictures' fault.
        alike: how alike hard pictures are.
        pooled: what all of them say of a class, by the labels, `(classes, classes)`.
    """

    more_wrong: float
    by_pictures: float
    alike: float
    pooled: Floats

    def crew(self, confusions: Floats) -> Crew:
        """People who answer as in these confusion matrices, apart from what is the pictures' fault."""
        classes = len(self.pooled)
        diagonal = np.eye(classes, dtype=np.bool_)
        factor = self.more_wrong * (1 - self.by_pictures)
        wrong = np.where(diagonal, 0.0, confusions) * factor
        total = wrong.sum(axis=2, keepdims=True)
        wrong *= np.minimum(1.0, _WORST / np.maximum(total, 1e-12))
        easy = np.where(diagonal, 1 - wrong.sum(axis=2, keepdims=True), wrong)
        others = np.where(diagonal, 0.0, self.pooled)
        error = others.sum(axis=1)
        # What is wrong of all answers is the pictures' or, where it is not, the people's.
        by_people = np.minimum(error * factor, _WORST)
        mean = (np.minimum(error * self.more_wrong, _WORST) - by_people) / (1 - by_people)
        alike = self.alike

        def hardness(truth: NDArray[np.intp], rng: np.random.Generator) -> Floats:
            of = np.clip(mean[truth], 1e-6, 1 - 1e-6)
            drawn: Floats = rng.beta(of * alike, (1 - of) * alike)
            return drawn

        return Crew(easy, others / error[:, None], hardness)


def _natures(pooled: Floats) -> list[_Nature]:
    found = [_Nature(more, 0.0, _ALIKE[0], pooled) for more in _MORE_WRONG]
    found += [
        _Nature(more, share, alike, pooled)
        for more in _MORE_WRONG
        for share in _BY_PICTURES
        if share
        for alike in _ALIKE
    ]
    return found


def _likelihoods(
    votes: Votes,
    objects: int,
    usual: int,
    natures: list[_Nature],
    strength: Floats,
    prior: Floats,
    activity: Floats,
    seed: int,
) -> Floats:
    """How likely majorities are as clear as in the answers, `(natures,)`, the likeliest 1."""
    classes = len(prior)
    rng = default_rng(seed)
    observed, compared = _observed(votes, objects, classes, usual, rng)
    drawn = rng.standard_gamma(strength)
    drawn /= drawn.sum(axis=2, keepdims=True)
    truth = rng.choice(classes, size=_TRIED_OBJECTS, p=prior)
    with np.errstate(divide="ignore"):
        scores = np.log(activity) + rng.gumbel(size=(_TRIED_OBJECTS, len(activity)))
    workers = np.argsort(-scores, axis=1)[:, :usual]
    found = []
    for nature in natures:
        # All by the same chances, so that what differs is the nature.
        said = nature.crew(drawn).says(truth, workers, default_rng([seed, 1]))
        expected = (_clarity(said, classes) + 0.5 / usual) / (_TRIED_OBJECTS + 0.5 * (usual + 1))
        found.append(float((observed * np.log(expected)).sum()))
    # What is expected is known from so many draws only.
    weight = compared / (1 + compared / _TRIED_OBJECTS)
    logs: Floats = weight * np.array(found)
    factors = np.array([nature.more_wrong for nature in natures])
    for factor in _MORE_WRONG:
        of = factors == factor
        doubt = math.log(factor) / _DOUBT
        logs[of] -= np.logaddexp.reduce(logs[of]) + doubt**2 / 2
    likely: Floats = np.exp(logs - logs.max())
    return likely


def _observed(
    votes: Votes, objects: int, classes: int, usual: int, rng: np.random.Generator
) -> tuple[Floats, int]:
    """The share of pictures with each clarity, and of how many pictures that is told."""
    asked = np.bincount(votes.objects, minlength=objects)
    enough = asked[votes.objects] >= usual
    found = np.zeros((usual + 1) ** 2)
    for _ in range(_REPEATS):
        order = np.lexsort((rng.random(len(votes.objects)), votes.objects))
        order = order[enough[order]]
        first = np.flatnonzero(np.diff(votes.objects[order], prepend=-1))
        found += _clarity(votes.classes[order[first[:, None] + np.arange(usual)]], classes)
    return found / found.sum(), len(first)


def _clarity(said: Answers, classes: int) -> Floats:
    """How many pictures there are of each number of the most and of the second most frequent answer."""
    answers = said.shape[1]
    table = np.zeros((len(said), classes), dtype=np.intp)
    np.add.at(table, (np.arange(len(said))[:, None], said), 1)
    table.sort(axis=1)
    both = table[:, -1] * (answers + 1) + (table[:, -2] if classes > 1 else 0)
    found: Floats = np.bincount(both, minlength=(answers + 1) ** 2).astype(np.float64)
    return found


def _right_on_hard(easy: float, classes: int) -> float:
    """How often people are right on hard pictures, of all degrees, who are as often right on easy ones."""
    resembling = 0.5 * (1 - easy) / (classes - 1) + 0.5 / classes
    return (1 - _MEAN_HARDNESS) * easy + _MEAN_HARDNESS * resembling


def _easy_accuracy(accuracy: float, hard: float, classes: int) -> float:
    """How often people are right on easy pictures, so that they are as often right as stated over all."""
    # What people are right in over all is linear in what they are right in on easy pictures.
    least, most = ((1 - hard) * easy + hard * _right_on_hard(easy, classes) for easy in (0.0, 1.0))
    return max((accuracy - least) / (most - least), 1 / classes)
