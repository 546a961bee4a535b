"""Crowds with known truth, in the ways in which real crowds differ: what methods are chosen on.

Each kind has the shape of a sort of job that people are really given (how many objects, workers, classes and
answers; who answers how much; the sizes follow those of published crowds) and one or more of the troubles in
which methods disagree: skewed classes, workers who do not look, mistakes that all share, graded classes,
objects that look like another class to everybody, truth known only where people disagreed. Skills and
troubles are guesses, and were not fitted to any crowd.

A simulator is kind to whoever was chosen on it. `OTHER_KINDS` have troubles that `KINDS` do not: objects of
every difficulty, schools of workers who err alike, people who copy, a rare class that is harder than the
other, and many-answer kinds of which few answers are left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from gtlabel.crowd.votes import Votes

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Kind:
    """How a sort of crowd is drawn.

    Attributes:
        objects: how many objects.
        answers: answers for each object.
        workers: how many workers; those who never get an object are left out.
        classes: how many classes.
        skew: how unequal classes are: 0 all alike, 1 each class half as frequent as the one before.
        skill: how often workers are right, as the two figures of a beta distribution between a guess and 1.
        guessers: the share of workers who say anything.
        stubborn: the share of workers who nearly always say the same class.
        mistakes: where mistakes go: `even`, `shared` (one distribution for each class), `graded` (to
            neighbors), `own` (each worker has their own), or `schools` (each of four schools has its own, and
            its own skill).
        lopsided: how much harder some classes are than others for all, in units of probability.
        hard: the share of objects that look like another class.
        lure: how strong that look is: the share of answers given as if the object were of that class.
        tail: how unequal workers' numbers of answers are; 0 all alike, large: a few do nearly everything.
        told: `all` when the truth of all objects is known, `doubtful` when disputed objects are five times
            as likely to be among those with known truth.
        harder: how much harder the rarest class is for all, in units of probability.
        ease: how much objects differ in how easy they are: the spread of the logarithm of a factor on
            everybody's logarithms of probabilities (as a question's discrimination in item response theory).
        copyists: the share of workers who say what one of them says.
    """

    objects: int
    answers: float
    workers: int
    classes: int
    skew: float = 0.0
    skill: tuple[float, float] = (4.0, 2.0)
    guessers: float = 0.03
    stubborn: float = 0.02
    mistakes: str = "shared"
    lopsided: float = 0.1
    hard: float = 0.1
    lure: float = 0.6
    tail: float = 1.0
    told: str = "all"
    harder: float = 0.0
    ease: float = 0.0
    copyists: float = 0.0


@dataclass(frozen=True, slots=True)
class Crowd:
    """Answers and the truth behind them.

    Attributes:
        votes: the answers.
        objects: how many objects.
        workers: how many workers.
        classes: how many classes.
        truth: the class of each object, `(objects,)`; -1 where it is not told.
    """

    votes: Votes
    objects: int
    workers: int
    classes: int
    truth: NDArray[np.intp]


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "photos": Kind(600, 3, 25, 3, 0.5, (8, 2), hard=0.06, tail=1.0),
        "photos of ten classes": Kind(1500, 5, 60, 10, 0.2, (7, 2), hard=0.08),
        "few people, all pictures": Kind(
            110, 36, 38, 2, 0.1, (2, 1.6), mistakes="own", lopsided=0.3, tail=0.0
        ),
        "weather tweets": Kind(300, 20, 110, 5, 0.2, (6, 3), hard=0.2, lure=0.5, tail=1.3),
        "graded pages": Kind(
            4000, 8, 400, 4, 0.9, (4, 2.5), 0.1, 0.05, "graded", 0.2, 0.2, 0.6, 1.5, "doubtful"
        ),
        "graded search": Kind(2600, 6, 180, 5, 0.3, (3, 2.5), 0.2, 0.08, "graded", 0.2, 0.15, 0.5, 1.3),
        "rare yes": Kind(5000, 3, 170, 2, 1.9, (6, 2), 0.08, 0.04, "shared", 0.25, 0.08, 0.5, 1.3),
        "yes or no": Kind(800, 10, 160, 2, 0.0, (5, 2), 0.15, 0.05, "shared", 0.1, 0.05, 0.5, 1.2),
        "one answer each": Kind(500, 5, 1500, 3, 0.5, (5, 2), 0.05, 0.03, "shared", 0.1, 0.1, 0.5, 0.5),
        "few answers each": Kind(300, 6, 450, 5, 0.6, (7, 2), 0.05, 0.02, "shared", 0.15, 0.15, 0.5, 0.4),
        "music of ten kinds": Kind(700, 4, 44, 10, 0.1, (4, 2), 0.05, 0.02, "shared", 0.2, 0.1, 0.6, 1.3),
        "opinions": Kind(3000, 5.5, 200, 2, 0.05, (6, 2), 0.04, 0.02, "shared", 0.1, 0.1, 0.6, 1.3),
        "opinions, many answers": Kind(
            500, 20, 140, 2, 0.05, (7, 2), 0.04, 0.02, "own", 0.05, 0.08, 0.6, 1.2
        ),
        "matching names": Kind(2000, 6, 60, 2, 0.9, (3, 2), 0.05, 0.1, "shared", 0.3, 0.15, 0.7, 1.4),
        "documents": Kind(6000, 4.6, 500, 3, 0.3, (2.5, 2.5), 0.2, 0.05, "graded", 0.2, 0.15, 0.5, 1.5),
        "facts": Kind(8000, 5, 57, 3, 1.8, (5, 1.5), 0.02, 0.03, "shared", 0.3, 0.08, 0.6, 1.2, "doubtful"),
        "look-alikes": Kind(800, 10, 110, 4, 0.1, (5, 2), 0.04, 0.02, "shared", 0.2, 0.25, 0.5, 1.2),
        "faces": Kind(580, 9, 27, 4, 0.3, (5, 3), 0.03, 0.02, "shared", 0.25, 0.35, 0.6, 1.0),
        "spam": Kind(400, 7, 80, 3, 0.3, (6, 2), 0.4, 0.15, "even", 0.05, 0.03, 0.5, 1.0),
        "own ways": Kind(700, 7, 40, 4, 0.4, (4, 2), 0.05, 0.03, "own", 0.3, 0.05, 0.5, 1.0),
        "two hard classes": Kind(1000, 5, 60, 6, 0.3, (7, 2), 0.03, 0.02, "shared", 0.35, 0.05, 0.5, 1.0),
        "shapes": Kind(1000, 5, 80, 2, 0.6, (4, 2), 0.1, 0.05, "own", 0.15, 0.2, 0.7, 1.2),
    }
)

# What methods were not chosen on.
OTHER_KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "pairs of products": Kind(
            4000, 3, 170, 2, 2.6, (7, 2), 0.06, 0.04, "shared", 0.05, 0.06, 0.5, 1.3, harder=0.2
        ),
        "easy and difficult": Kind(
            500, 7, 50, 3, 0.1, (4, 2), 0.02, 0.02, "even", 0.05, 0, 0.5, 1.0, ease=0.9
        ),
        "yes or no, every difficulty": Kind(
            800, 3, 80, 2, 0.3, (4, 2), 0.05, 0.05, "own", 0.1, 0, 0.5, 1.0, ease=0.7
        ),
        "degrees": Kind(1000, 6, 100, 5, 0.4, (4, 2.5), 0.08, 0.03, "graded", 0.1, 1.0, 0.2, 1.0),
        "schools": Kind(700, 5, 60, 5, 0.3, (5, 2), 0.08, 0.02, "schools", 0.05, 0.02, 0.5, 1.0),
        "copyists": Kind(500, 6, 50, 3, 0.4, (6, 2.5), 0, 0, "even", 0, 0.05, 0.5, 1.0, copyists=0.15),
        "plain questions": Kind(800, 3, 30, 10, 0.1, (25, 2), 0, 0, "even", 0.02, 0.01, 0.5, 1.0),
        "few people, five answers": Kind(
            110, 5, 38, 2, 0.1, (2, 1.6), mistakes="own", lopsided=0.3, tail=0.0
        ),
        "weather tweets, four answers": Kind(300, 4, 110, 5, 0.2, (6, 3), hard=0.2, lure=0.5, tail=1.3),
    }
)


def simulated(kind: Kind, seed: int) -> Crowd:
    """Draw a crowd; the same one for the same seed."""
    random = np.random.default_rng(seed)
    prior = 0.5 ** (kind.skew * random.permutation(kind.classes))
    prior = prior * random.dirichlet(np.full(kind.classes, 30.0))
    truth = random.choice(kind.classes, size=kind.objects, p=prior / prior.sum())
    matrices = _matrices(kind, prior, random)
    objects, workers = _asked(kind, random)
    seen = np.where(
        random.random(len(objects)) < _lures(kind, random)[objects],
        _looks(kind, truth, random)[objects],
        truth[objects],
    )
    chances = matrices[workers, seen]
    if kind.ease:
        chances **= np.exp(kind.ease * random.standard_normal(kind.objects))[objects, None]
        chances /= chances.sum(axis=1, keepdims=True)
    said = _drawn(chances, random)
    if kind.copyists:
        leader = _drawn(matrices[0][truth], random)
        copies = random.random(kind.workers) < kind.copyists
        said = np.where(copies[workers], leader[objects], said)
    _, renamed = np.unique(workers, return_inverse=True)
    told = truth.copy()
    if kind.told == "doubtful":
        told[random.random(kind.objects) > np.where(_disputed(objects, said, kind), 1.0, 0.2)] = -1
    order = random.permutation(len(objects))
    votes = Votes(objects[order], renamed[order].astype(np.intp), said[order].astype(np.intp))
    return Crowd(votes, kind.objects, int(renamed.max()) + 1, kind.classes, told)


def _asked(kind: Kind, random: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Who is asked about what: nobody twice about one object."""
    whole = int(kind.answers)
    wanted = np.minimum(whole + (random.random(kind.objects) < kind.answers - whole), kind.workers)
    activity = np.exp(kind.tail * random.standard_normal(kind.workers))
    objects, workers = [], []
    # The largest of log activity + Gumbel noise are a weighted draw without repetition.
    for start in range(0, kind.objects, 500):
        block = wanted[start : start + 500]
        keys = np.log(activity) + random.gumbel(size=(len(block), kind.workers))
        most = np.argsort(-keys, axis=1)[:, : int(block.max())]
        taken = np.arange(most.shape[1]) < block[:, None]
        workers.append(most[taken])
        objects.append(np.repeat(np.arange(start, start + len(block)), block))
    return np.concatenate(objects), np.concatenate(workers)


def _drawn(chances: Floats, random: np.random.Generator) -> NDArray[np.intp]:
    """One class for each row of chances."""
    above = random.random(len(chances))[:, None] > chances.cumsum(axis=1)
    return np.asarray(above.sum(axis=1).clip(max=chances.shape[1] - 1), dtype=np.intp)


def _matrices(kind: Kind, prior: Floats, random: np.random.Generator) -> Floats:
    """What each worker says of each class, `[workers, true classes, said classes]`."""
    classes, eye = kind.classes, np.eye(kind.classes)
    ease = kind.lopsided * random.uniform(-1, 1, size=classes)
    ease[prior.argmin()] -= kind.harder
    school = random.integers(4, size=kind.workers) if kind.mistakes == "schools" else np.arange(kind.workers)
    skill = (1 / classes + (1 - 1 / classes) * random.beta(*kind.skill, size=kind.workers))[school]
    spread = 0.2 if kind.mistakes == "own" else 0.05
    right = skill[:, None] + ease + spread * random.standard_normal((kind.workers, classes))
    right = right.clip(0.5 / classes, 0.99)
    if kind.mistakes == "own":
        away = random.dirichlet(np.full(classes, 0.7), size=(kind.workers, classes))
    elif kind.mistakes == "shared":
        away = random.dirichlet(np.full(classes, 0.7), size=classes)[None]
    elif kind.mistakes == "schools":
        away = random.dirichlet(np.full(classes, 0.7), size=(4, classes))[school]
    elif kind.mistakes == "graded":
        steps = abs(np.arange(classes)[:, None] - np.arange(classes))
        lean = (
            random.normal(0, 0.5, size=(kind.workers, 1, 1))
            * (np.arange(classes) - classes / 2)
            / classes
            * 2
        )
        away = np.exp(-1.2 * steps + lean)
    else:
        away = np.ones((1, classes, classes))
    away = (away + 1e-3) * (1 - eye)
    away = away / away.sum(axis=2, keepdims=True)
    matrices: Floats = right[:, :, None] * eye + (1 - right)[:, :, None] * away
    draw = random.random(kind.workers)
    guessing = draw < kind.guessers
    matrices[guessing] = random.dirichlet(np.full(classes, 5.0), size=int(guessing.sum()))[:, None]
    stubborn = (draw >= kind.guessers) & (draw < kind.guessers + kind.stubborn)
    always = eye[random.integers(classes, size=int(stubborn.sum()))]
    matrices[stubborn] = (0.9 * always + 0.1 / classes)[:, None]
    return matrices


def _lures(kind: Kind, random: np.random.Generator) -> Floats:
    hard = random.random(kind.objects) < kind.hard
    strength = random.beta(4 * kind.lure, 4 * (1 - kind.lure), size=kind.objects)
    result: Floats = np.where(hard, strength, 0.0)
    return result


def _looks(kind: Kind, truth: NDArray[np.intp], random: np.random.Generator) -> NDArray[np.intp]:
    """What each object looks like where it does not look like itself."""
    if kind.mistakes == "graded":
        step = random.choice([-1, 1], size=kind.objects)
        turned = np.abs(kind.classes - 1 - np.abs(truth + step))
        return np.asarray(np.abs(kind.classes - 1 - turned), dtype=np.intp)
    away = random.dirichlet(np.full(kind.classes, 0.7), size=kind.classes) * (1 - np.eye(kind.classes)) + 1e-9
    return _drawn((away / away.sum(axis=1, keepdims=True))[truth], random)


def _disputed(objects: NDArray[np.intp], said: NDArray[np.intp], kind: Kind) -> NDArray[np.bool_]:
    counts = np.zeros((kind.objects, kind.classes))
    np.add.at(counts, (objects, said), 1)
    result: NDArray[np.bool_] = counts.max(axis=1) < counts.sum(axis=1)
    return result
