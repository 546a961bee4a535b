"""What people say about objects of each class, and which two classes they mix up most.

Rows are the classes that objects are taken for: by all other answers or gold (`gtlabel.crowd.beliefs`), where
who answers has no say, and by those together with his own answer (`with_own`). Where objects have few
answers others are in doubt, which the first takes for his mistakes; the second believes him where people err
alike. What is shown is halfway between the two, and its interval reaches as far as both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gtlabel.crowd.beliefs import Beliefs
from gtlabel.crowd.intervals import Estimate, beta_quantile

# Less than this many answers is what others' doubt leaves in every cell, and no mistake of anybody.
_LEAST_MISTAKES = 0.5
# So that nothing is divided by nothing.
_TINY = 1e-300


@dataclass(frozen=True, slots=True)
class Confusion:
    """What a worker, or everybody, says about objects of each class.

    Attributes:
        counts: how many answers, by what the object is taken for, `[true class, class said]`.
        share: the share of each row, drawn a little to the crowd's.
        low, high: between what the share lies: the margins of a Dirichlet distribution, which are beta.
    """

    counts: NDArray[np.float64]
    share: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Mixup:
    """Two classes that a worker, or everybody, mixes up.

    Attributes:
        truth: the class that the objects are taken for.
        said: the class that is said instead.
        count: how many answers say so; others' doubt makes parts of answers of it.
        share: of the answers about objects of that class.
    """

    truth: int
    said: int
    count: float
    share: Estimate


class Confusions:
    """Counts what is said of what; a crowd is counted once, however many workers are asked about.

    Args:
        beliefs: what everybody else says.
        level: how often intervals hold the truth.

    Attributes:
        everybody: how many answers, by what the object is taken for, `[true class, class said]`.
    """

    def __init__(self, beliefs: Beliefs, level: float = 0.95) -> None:
        self._beliefs = beliefs
        self._tail = (1 - level) / 2
        # Answers that nobody else backs say nothing: what the object is would be their own class's frequency.
        self._backed = np.flatnonzero(beliefs.backed > 0)
        self._order = self._backed[np.argsort(beliefs.votes.workers[self._backed], kind="stable")]
        self._ends = np.searchsorted(beliefs.votes.workers[self._order], np.arange(beliefs.workers + 1))
        self._taken_for = (beliefs.others, with_own(beliefs))
        self._all = self._added(self._backed)
        self.everybody: NDArray[np.float64] = self._all.mean(axis=0)

    def of(self, workers: Sequence[int | None]) -> list[Confusion]:
        """What workers say about objects of each class, all at once; None for everybody.

        Each row is drawn to the crowd's by the weight of one answer, so that a class that they never met
        shows what people say, and an interval that tells that nothing is known.
        """
        if not workers:
            return []
        counts = np.stack([self._counts(worker) for worker in workers])
        drawn = counts + self._typical()
        rows = drawn.sum(axis=3, keepdims=True)
        low, high = self._ends_of(drawn, rows)
        each = (counts.mean(axis=1), (drawn / rows).mean(axis=1), low.min(axis=1), high.max(axis=1))
        return [Confusion(*worker) for worker in zip(*each, strict=True)]

    def mixups(self, workers: Sequence[int | None], most: int = 8) -> list[list[Mixup]]:
        """Which classes workers mix up in the most answers, at most so many each; None for everybody."""
        cells = [(place, *cell) for place, worker in enumerate(workers) for cell in self._worst(worker, most)]
        found: list[list[Mixup]] = [[] for _ in workers]
        if not cells:
            return found
        typical = self._typical()
        counts = np.stack([count for *_, count, _ in cells])
        given = np.stack([given for *_, given in cells])
        # Each row weighs one answer more.
        drawn = counts + np.stack([typical[:, truth, said] for _, truth, said, *_ in cells])
        low, high = self._ends_of(drawn, given + 1)
        spreads = zip((drawn / (given + 1)).mean(axis=1), low.min(axis=1), high.max(axis=1), strict=True)
        for (place, truth, said, count, _), spread in zip(cells, spreads, strict=True):
            found[place].append(Mixup(truth, said, float(count.mean()), Estimate(*map(float, spread))))
        return found

    def _worst(
        self, worker: int | None, most: int
    ) -> Iterator[tuple[int, int, NDArray[np.float64], NDArray[np.float64]]]:
        """The worst mistakes: a class, what was said of it, in how many answers, of how many about it."""
        both = self._counts(worker)
        counts = both.mean(axis=0)
        mistakes = counts.copy()
        np.fill_diagonal(mistakes, 0.0)
        for cell in np.argsort(-mistakes, axis=None, kind="stable")[:most].tolist():
            truth, said = divmod(cell, len(counts))
            if mistakes[truth, said] >= _LEAST_MISTAKES:
                yield truth, said, both[:, truth, said], both[:, truth].sum(axis=1)

    def _ends_of(self, drawn: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
        tails = np.array([self._tail, 1 - self._tail]).reshape(2, *(1 for _ in drawn.shape))
        return beta_quantile(tails, drawn, rows - drawn)

    def _counts(self, worker: int | None) -> NDArray[np.float64]:
        if worker is None:
            return self._all
        return self._added(self._order[self._ends[worker] : self._ends[worker + 1]])

    def _typical(self) -> NDArray[np.float64]:
        crowd = self._all + 1 / self._beliefs.classes
        typical: NDArray[np.float64] = crowd / crowd.sum(axis=2, keepdims=True)
        return typical

    def _added(self, answers: NDArray[np.intp]) -> NDArray[np.float64]:
        """Answers counted by what their objects are taken for in either way, `[2, classes, classes]`."""
        counts = np.zeros((2, self._beliefs.classes, self._beliefs.classes))
        said = self._beliefs.votes.classes[answers]
        for way, taken_for in zip(counts, self._taken_for, strict=True):
            objects = taken_for[answers]
            for each in np.unique(said).tolist():
                way[:, each] = objects[said == each].sum(axis=0)
        return counts


def with_own(beliefs: Beliefs) -> NDArray[np.float64]:
    """What each answer's object is by all answers, its own included, or by gold: `[answers, classes]`."""
    votes = beliefs.votes
    knows = beliefs.informed[votes.workers]
    guessed = (1 - knows) * beliefs.habit[votes.workers, votes.classes]
    found = beliefs.others * guessed[:, None]
    every = np.arange(len(knows))
    found[every, votes.classes] += beliefs.right * knows
    found /= np.maximum(found.sum(axis=1, keepdims=True), _TINY)
    return np.where(beliefs.golden[:, None], beliefs.others, found)
