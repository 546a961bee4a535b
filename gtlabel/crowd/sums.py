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

from typing import Final, NamedTuple

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
# So many workers may be counted without an answer; more are names, which would cost memory for nobody.
_WORKERS = 1 << 20
# Below so many numbers one call for all classes is faster than one for each.
_SMALL = 1 << 18


class Tail(NamedTuple):
    """The answers of long rows beyond the layers: the pair of each, and where each object's begin."""

    pairs: Indices
    starts: Indices


class PairSide(NamedTuple):
    """Answers ordered by pair.

    Attributes:
        objects: the column of each answer's object, `[answers]`.
        starts: where the answers of each pair begin.
        present: which pairs these are; None if all.
        pairs: how many pairs there are in all.
    """

    objects: Indices
    starts: Indices
    present: Indices | None
    pairs: int


class Sweep:
    """Some of the objects of a crowd, with their answers, sorted for adding.

    Attributes:
        places: which objects these are, in the order of the columns below, `[objects of this sweep]`.
    """

    def __init__(
        self, places: Indices, order: Indices | None, layers: list[Indices], tail: Tail, side: PairSide
    ) -> None:
        self.places, self._order, self._layers, self._tail, self._side = places, order, layers, tail, side
        self._rank: Indices | None = None
        if order is not None:
            self._rank = np.empty(len(order), dtype=np.intp)
            self._rank[order] = np.arange(len(order))

    def part(self, chosen: NDArray[np.bool_]) -> Sweep:
        """Only the objects whose columns are chosen, `[objects of this sweep]`; pairs keep their numbers."""
        ranked = chosen if self._order is None else chosen[self._order]
        columns = np.flatnonzero(chosen) if self._order is None else self._order[ranked]
        new = np.empty(len(chosen), dtype=np.intp)
        new[columns] = np.arange(len(columns))
        layers = [layer[ranked[: len(layer)]] for layer in self._layers]
        answers, starts = self._tail
        if len(starts):
            sizes = np.diff(starts, append=len(answers))
            answers = answers[np.repeat(ranked[: len(starts)], sizes)]
            sizes = sizes[ranked[: len(starts)]]
            starts = np.cumsum(sizes) - sizes
        side = self._side
        kept = chosen[side.objects]
        sizes = np.add.reduceat(kept, side.starts, dtype=np.intp) if len(side.starts) else side.starts
        present = np.flatnonzero(sizes)
        named = present if side.present is None else side.present[present]
        begin = (np.cumsum(sizes) - sizes)[present]
        return Sweep(
            self.places[columns],
            None,
            [layer for layer in layers if len(layer)],
            Tail(answers, starts),
            PairSide(new[side.objects[kept]], begin, named, side.pairs),
        )

    def to_objects(self, table: Floats) -> Floats:
        """Add up, for each object, what its answers say: `[classes, pairs]` to `[classes, objects]`."""
        objects = len(self.places)
        if table.shape[0] * objects < _SMALL:
            total = np.zeros((len(table), objects), dtype=table.dtype)
            for layer in self._layers:
                total[:, : len(layer)] += table.take(layer, axis=1)
        else:
            total = self._row_by_row(table)
        answers, starts = self._tail
        if len(starts):
            total[:, : len(starts)] += np.add.reduceat(table.take(answers, axis=1), starts, axis=1)
        return total if self._rank is None else total.take(self._rank, axis=1)

    def _row_by_row(self, table: Floats) -> Floats:
        # Large results fall out of the cache, and fresh memory costs as much as the sum.
        total = np.empty((len(table), len(self.places)), dtype=table.dtype)
        gathered = np.empty(len(self.places), dtype=table.dtype)
        for row, out in zip(table, total, strict=True):
            reach = 0
            for layer in self._layers:
                # Without a mode that never raises, take copies its result once more.
                np.take(row, layer, out=gathered[: len(layer)], mode="clip")
                if reach:
                    out[: len(layer)] += gathered[: len(layer)]
                else:
                    out[: len(layer)] = gathered[: len(layer)]
                    reach = len(layer)
            out[reach:] = 0
        return total

    def to_pairs(self, believed: Floats) -> Floats:
        """Add up, for each pair, beliefs about its objects: `[classes, objects]` to `[classes, pairs]`."""
        objects, starts, present, pairs = self._side
        if not len(starts):
            return np.zeros((len(believed), pairs), dtype=believed.dtype)
        if len(believed) * len(objects) < _SMALL:
            total = np.add.reduceat(believed.take(objects, axis=1), starts, axis=1)
        else:
            total = np.empty((len(believed), len(starts)), dtype=believed.dtype)
            gathered = np.empty(len(objects), dtype=believed.dtype)
            for row, out in zip(believed, total, strict=True):
                np.take(row, objects, out=gathered, mode="clip")
                np.add.reduceat(gathered, starts, out=out)
        if present is None:
            return total
        spread = np.zeros((len(believed), pairs), dtype=believed.dtype)
        spread[:, present] = total
        return spread


class Sums:
    """The answers of a crowd, sorted for adding.

    Attributes:
        votes: the answers themselves.
        objects, classes, workers: how many there are. Workers are counted up to the highest that answered.
        pair_worker, pair_class: who and what each pair is, `[pairs]`, ordered by worker and then class.
        pair_of: the pair of each answer, `[answers]`.
        answers: how many answers each object has, `[objects]`.
        given: how many answers each worker gave, `[workers]`.
        whole: all objects, in their order.
    """

    def __init__(self, votes: Votes, objects: int, classes: int) -> None:
        check_votes(votes, objects, classes)
        self.votes, self.objects, self.classes = votes, objects, classes
        self.workers = int(votes.workers.max()) + 1 if len(votes.workers) else 0
        self.answers: Indices = np.bincount(votes.objects, minlength=objects)
        self.given: Indices = np.bincount(votes.workers, minlength=self.workers)
        side = self._sort_by_pair()
        order, layers, tail = self._sort_by_object()
        self.whole = Sweep(np.arange(objects), order, layers, tail, side)

    def _sort_by_pair(self) -> PairSide:
        key = self.votes.workers * self.classes + self.votes.classes
        order = _order(key)
        if self.workers * self.classes <= 4 * len(key) + _SMALL:
            # A place for every worker and class costs less than a look at every answer in its new order.
            sizes = np.bincount(key, minlength=self.workers * self.classes)
            named = np.flatnonzero(sizes)
            number = np.cumsum(sizes > 0) - 1
            self.pair_of: Indices = number[key]
            sizes = sizes[named]
        else:
            named, self.pair_of, sizes = np.unique(key, return_inverse=True, return_counts=True)
        self.pair_worker, self.pair_class = np.divmod(named, self.classes)
        self._worker_starts: Indices = np.flatnonzero(np.diff(self.pair_worker, prepend=-1))
        self._present: Indices = self.pair_worker[self._worker_starts]
        objects = self.votes.objects if order is None else self.votes.objects[order]
        return PairSide(objects, np.cumsum(sizes) - sizes, None, len(named))

    def _sort_by_object(self) -> tuple[Indices | None, list[Indices], Tail]:
        # Objects with many answers first: those with more than n answers are then always a beginning.
        most = int(self.answers.max(initial=0))
        order = _order(most - self.answers)
        place, counts = self.votes.objects, self.answers
        if order is not None:
            counts = counts[order]
            rank = np.empty(self.objects, dtype=np.intp)
            rank[order] = np.arange(self.objects)
            place = rank[place]
        by_object = _order(place)
        pairs = self.pair_of if by_object is None else self.pair_of[by_object]
        starts = np.cumsum(counts) - counts
        layers = []
        for layer in range(min(most, _LAYERS)):
            reach = int(np.searchsorted(-counts, -layer, side="left"))
            layers.append(pairs[starts[:reach] + layer])
        long = int(np.searchsorted(-counts, -_LAYERS, side="left"))
        rest = [pairs[starts[i] + _LAYERS : starts[i] + counts[i]] for i in range(long)]
        tail = Tail(
            np.concatenate(rest) if rest else np.empty(0, dtype=np.intp),
            starts[:long] - _LAYERS * np.arange(long),
        )
        return order, layers, tail

    def to_objects(self, table: Floats) -> Floats:
        """Add up, for each object, what its answers say: `[classes, pairs]` to `[classes, objects]`."""
        return self.whole.to_objects(table)

    def to_pairs(self, believed: Floats) -> Floats:
        """Add up, for each pair, beliefs about its objects: `[classes, objects]` to `[classes, pairs]`."""
        return self.whole.to_pairs(believed)

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
    """The answers sorted, or as they are where somebody did that before.

    Raises:
        ConsensusError: they do not go with so many objects and classes.
    """
    if not isinstance(votes, Sums):
        return Sums(votes, objects, classes)
    if (votes.objects, votes.classes) != (objects, classes):
        raise ConsensusError(
            f"these sums are of {votes.objects} objects and {votes.classes} classes, and {objects} and "
            f"{classes} are asked for; make them of the answers again"
        )
    return votes


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


def _order(keys: Indices) -> Indices | None:
    """What sorts keys that are not negative, equal ones in their order; None where they are sorted.

    Sixteen bits at a time, since numpy counts such keys where it would compare longer ones: ten times faster
    on a million answers.
    """
    if np.all(keys[1:] >= keys[:-1]):
        return None
    order = np.argsort((keys & 0xFFFF).astype(np.uint16), kind="stable")
    rest = keys >> 16
    while rest.any():
        order = order[np.argsort((rest[order] & 0xFFFF).astype(np.uint16), kind="stable")]
        rest >>= 16
    return order


def check_known(known: Indices | None, objects: int, classes: int) -> None:
    """Refuse classes of objects that cannot be known.

    Raises:
        ConsensusError: they are no array of whole numbers, there is not one for each object, or one names a
            class that is not there.
    """
    if known is None:
        return
    if not isinstance(known, np.ndarray) or known.ndim != 1 or known.dtype.kind not in "iu":
        raise ConsensusError(
            "what is known of objects is no row of whole numbers; give a numpy array with the class of each, "
            "-1 where it is not known"
        )
    if len(known) != objects:
        raise ConsensusError(
            f"{len(known)} objects are said to be known or not, and there are {objects}; "
            "give one class for each, -1 where it is not known"
        )
    if objects and (int(known.max()) >= classes or int(known.min()) < -1):
        wrong = int(known.max()) if int(known.max()) >= classes else int(known.min())
        raise ConsensusError(
            f"an object is said to be of class {wrong}, and there are {classes}, counted from 0; "
            "number them again, with -1 for what is not known"
        )


def positive(name: str, value: float) -> None:
    """Refuse an option that has to be above zero, and a number.

    Raises:
        ConsensusError: it is not.
    """
    if not 0 < value < np.inf:
        raise ConsensusError(f"{name} is {value}; give a number above 0, since nothing is impossible")


def check_votes(votes: Votes, objects: int, classes: int) -> None:
    """Refuse answers that do not go with the objects and classes that there are.

    Raises:
        ConsensusError: there are less than none, or answers name others, or workers without end.
    """
    if objects < 0:
        raise ConsensusError(f"there cannot be {objects} objects; say how many have or want answers")
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
    highest = int(votes.workers.max(initial=-1))
    if highest >= _WORKERS + 16 * len(votes.workers):
        raise ConsensusError(
            f"an answer is by worker {highest}, and there are {len(votes.workers)} answers; "
            "number the workers from 0 without gaps"
        )
