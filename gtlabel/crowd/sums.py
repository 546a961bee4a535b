"""Sums over answers: sorted once, then added up in whichever direction a method needs.

Every model of a crowd goes back and forth between two sums. For each object, add what each of its answers
says about the true class; for each worker and class that he ever named, add what is believed about the
objects he gave that class. Both are here, over tables that stand *class by class* (`[classes, objects]`,
`[classes, pairs]`): a gather from one short row at a time stays in the cache, and is several times faster
than one over `[objects, classes]`.

A *pair* is a worker and a class that he named at least once. Only pairs that occur are kept, so that time and
memory grow with answers times classes, and not with workers times classes squared.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from gtlabel.crowd.votes import Votes
from gtlabel.errors import ConsensusError

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

# More entries than this in [workers, classes, classes], 256 MB, are not written out.
WIDEST_CONFUSION: Final = 1 << 25
# So many answers of an object are added side by side with those of all others; the rest of a longer row by
# itself.
_LAYERS = 32
# Below so many numbers one call for all classes is faster than one for each.
_SMALL = 1 << 18


class Sums:
    """The answers of a crowd, sorted for adding.

    Attributes:
        votes: the answers themselves.
        objects, classes, workers: how many there are. Workers are counted up to the highest number that
            answered.
        pair_worker, pair_class: who and what each pair is, `[pairs]`, ordered by worker and then class.
        pair_of: the pair of each answer, `[answers]`.
        answers: how many answers each object has, `[objects]`.
        given: how many answers each worker gave, `[workers]`.
    """

    def __init__(self, votes: Votes, objects: int, classes: int) -> None:
        _check(votes, objects, classes)
        self.votes, self.objects, self.classes = votes, objects, classes
        self.workers = int(votes.workers.max()) + 1 if len(votes.workers) else 0
        self.answers: Indices = np.bincount(votes.objects, minlength=objects)
        self.given: Indices = np.bincount(votes.workers, minlength=self.workers)
        self._sort_by_pair()
        self._sort_by_object()

    def _sort_by_pair(self) -> None:
        key = self.votes.workers * self.classes + self.votes.classes
        order = np.argsort(key, kind="stable")
        new = np.flatnonzero(np.diff(key[order], prepend=-1))
        self._pair_starts: Indices = new
        self._pair_objects: Indices = self.votes.objects[order]
        self.pair_worker, self.pair_class = np.divmod(key[order][new], self.classes)
        sizes = np.diff(new, append=len(key))
        self.pair_size: Indices = sizes
        self.pair_of: Indices = np.empty(len(key), dtype=np.intp)
        self.pair_of[order] = np.repeat(np.arange(len(new)), sizes)
        self._worker_starts: Indices = np.flatnonzero(np.diff(self.pair_worker, prepend=-1))
        self._present: Indices = self.pair_worker[self._worker_starts]

    def _sort_by_object(self) -> None:
        # Objects with many answers first: those with more than n answers are then always a beginning.
        rank = np.argsort(-self.answers, kind="stable")
        self._rank: Indices | None = None
        if np.any(rank[1:] < rank[:-1]):
            self._rank = np.empty(self.objects, dtype=np.intp)
            self._rank[rank] = np.arange(self.objects)
        place = rank if self._rank is None else self._rank
        pairs = self.pair_of[np.argsort(place[self.votes.objects], kind="stable")]
        counts = self.answers[rank]
        starts = np.cumsum(counts) - counts
        self._layers: list[Indices] = []
        for layer in range(min(int(counts.max(initial=0)), _LAYERS)):
            reach = int(np.searchsorted(-counts, -layer, side="left"))
            self._layers.append(pairs[starts[:reach] + layer])
        long = int(np.searchsorted(-counts, -_LAYERS, side="left"))
        self._tail: Indices = np.concatenate(
            [pairs[starts[i] + _LAYERS : starts[i] + counts[i]] for i in range(long)]
            or [np.empty(0, np.intp)]
        )
        self._tail_starts: Indices = (starts - _LAYERS * np.arange(self.objects))[:long]

    def to_objects(self, table: Floats) -> Floats:
        """Add up, for each object, what its answers say: `[classes, pairs]` to `[classes, objects]`."""
        total = np.zeros((len(table), self.objects), dtype=table.dtype)
        for layer in self._layers:
            total[:, : len(layer)] += table.take(layer, axis=1)
        if len(self._tail):
            total[:, : len(self._tail_starts)] += np.add.reduceat(
                table.take(self._tail, axis=1), self._tail_starts, axis=1
            )
        return total if self._rank is None else total.take(self._rank, axis=1)

    def to_pairs(self, believed: Floats) -> Floats:
        """Add up, for each pair, beliefs about its objects: `[classes, objects]` to `[classes, pairs]`."""
        if not len(self._pair_starts):
            return np.zeros((len(believed), 0), dtype=believed.dtype)
        if len(believed) * len(self._pair_objects) < _SMALL:
            gathered = believed.take(self._pair_objects, axis=1)
            added: Floats = np.add.reduceat(gathered, self._pair_starts, axis=1)
            return added
        total = np.empty((len(believed), len(self._pair_starts)), dtype=believed.dtype)
        answers = np.empty(len(self._pair_objects), dtype=believed.dtype)
        for row, out in zip(believed, total, strict=True):
            # Without a mode that never raises, take copies its result once more.
            np.take(row, self._pair_objects, out=answers, mode="clip")
            np.add.reduceat(answers, self._pair_starts, out=out)
        return total

    def to_workers(self, table: Floats) -> Floats:
        """Add up each worker's pairs: `[..., pairs]` to `[..., workers]`; who gave no answer has zero."""
        total = np.zeros((*table.shape[:-1], self.workers), dtype=table.dtype)
        if self.workers:
            total[..., self._present] = np.add.reduceat(table, self._worker_starts, axis=-1)
        return total

    def named(self, weight: Floats | None = None) -> Floats:
        """How many answers name each class for each object, `[classes, objects]`.

        Args:
            weight: what each worker's answers count, `[workers]`; one each if None.
        """
        total = np.empty((self.classes, self.objects))
        cells = self.votes.classes * self.objects + self.votes.objects
        weights = None if weight is None else weight[self.votes.workers]
        total.reshape(-1)[:] = np.bincount(cells, weights=weights, minlength=total.size)
        return total

    def own(self, table: Floats) -> Floats:
        """The entry of each pair for the class it names: `[classes, pairs]` to `[pairs]`."""
        entries: Floats = table[self.pair_class, np.arange(len(self.pair_class))]
        return entries

    def confusion(self, table: Floats, elsewhere: Floats) -> Floats | None:
        """Write pairs out as matrices, `[workers, true class, named class]`.

        Args:
            table: the probability of each pair's class given each true class, `[classes, pairs]`.
            elsewhere: what a class that a worker never named has, `[workers, classes]` by true class.
        """
        if self.workers * self.classes**2 > WIDEST_CONFUSION:
            return None
        full = np.repeat(elsewhere[:, :, None], self.classes, axis=2).astype(np.float64)
        full[self.pair_worker, :, self.pair_class] = table.T
        return full


def sums_of(votes: Votes | Sums, objects: int, classes: int) -> Sums:
    """The answers sorted, or as they are where somebody did that before."""
    return votes if isinstance(votes, Sums) else Sums(votes, objects, classes)


def normalized(scores: Floats) -> tuple[Floats, Floats]:
    """Turn logarithms into probabilities over the first axis, in place.

    Args:
        scores: `[classes, objects]`, overwritten with the result.

    Returns:
        The probabilities, and the logarithm of what each column added up to, `[objects]`.
    """
    top = scores.max(axis=0)
    # A column without any possibility would be minus infinity minus itself.
    top[~np.isfinite(top)] = 0
    scores -= top
    np.exp(scores, out=scores)
    total = scores.sum(axis=0)
    scores /= total
    return scores, np.log(total) + top


def shares(sums: Sums) -> Floats:
    """The share of each class among an object's answers, or all answers, `[classes, objects]`."""
    counted = sums.named()
    silent = sums.answers == 0
    if silent.any():
        counted[:, silent] = prior_of(sums)[:, None]
    counted /= counted.sum(axis=0)
    return counted


def prior_of(sums: Sums) -> Floats:
    """The share of each class among all answers, `[classes]`; all alike where there are none."""
    named = np.bincount(sums.votes.classes, minlength=sums.classes).astype(np.float64)
    return named / named.sum() if len(sums.votes.classes) else np.full(sums.classes, 1 / sums.classes)


def _check(votes: Votes, objects: int, classes: int) -> None:
    if not len(votes.objects) == len(votes.workers) == len(votes.classes):
        raise ConsensusError(
            f"the answers name {len(votes.objects)} objects, {len(votes.workers)} workers and "
            f"{len(votes.classes)} classes; give one of each for every answer"
        )
    if classes < 1:
        raise ConsensusError("answers need at least one class to choose from; say how many the job has")
    for name, values, end in (("object", votes.objects, objects), ("class", votes.classes, classes)):
        if len(values) and not 0 <= int(values.min()) <= int(values.max()) < end:
            wrong = int(values.max()) if int(values.max()) >= end else int(values.min())
            raise ConsensusError(
                f"an answer names {name} {wrong}, and there are {end}, counted from 0; number them again"
            )
    if len(votes.workers) and int(votes.workers.min()) < 0:
        raise ConsensusError("an answer is by a worker below 0; number the workers from 0")
