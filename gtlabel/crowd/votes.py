"""Answers as three parallel arrays, and what a method makes of them.

Everything counts from zero: objects (pictures), workers, classes. A worker may have answered one object more
than once; every answer counts. Answers that come with names instead of numbers get them from `Named`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gtlabel.errors import ConsensusError

# Sums in another order differ in their last digits; that must not break a tie.
_DIGITS = 9
# Larger numbers than this are no numbers of anything.
_LARGEST = 2.0**53


Name = TypeVar("Name", str, int)


@dataclass(frozen=True, slots=True)
class Votes:
    """Answers as three parallel arrays: on which object, by which worker, which class; all from zero.

    Lists of whole numbers are welcome, and stand in arrays from then on.

    Raises:
        ConsensusError: they are not equally long, or have something else in them than whole numbers.
    """

    objects: NDArray[np.intp]
    workers: NDArray[np.intp]
    classes: NDArray[np.intp]

    def __post_init__(self) -> None:
        for name in ("objects", "workers", "classes"):
            object.__setattr__(self, name, _whole(name, getattr(self, name)))
        if not len(self.objects) == len(self.workers) == len(self.classes):
            raise ConsensusError(
                f"the answers name {len(self.objects)} objects, {len(self.workers)} workers and "
                f"{len(self.classes)} classes; give one of each for every answer"
            )

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
class Named:
    """Answers that came with names, and which name each number stands for.

    Attributes:
        votes: the answers by numbers.
        objects, workers, classes: the names; a name's place is its number.
    """

    votes: Votes
    objects: tuple[str | int, ...]
    workers: tuple[str | int, ...]
    classes: tuple[str | int, ...]

    @classmethod
    def of(
        cls, answers: Iterable[tuple[Name, Name, Name]], *, classes: Sequence[Name] | None = None
    ) -> Named:
        """Number what answers name, such as the rows of a table with task, worker and label.

        Args:
            answers: object, worker and class of each.
            classes: all classes, in their order, also those that nobody chose; None for those that occur.
                Like objects and workers they are then sorted, so that the order of answers does not matter.

        Raises:
            ConsensusError: an answer lacks a name, or names a class that is none of them.
        """
        rows = list(answers)
        for place, row in enumerate(rows):
            # Tables spell what is missing as nan, which is not equal to itself.
            if len(row) != 3 or any(name is None or name != name or name == "" for name in row):
                raise ConsensusError(
                    f"answer {place} is {row!r}; give the object, the worker and the class of each, "
                    "and leave out answers that lack one"
                )
        objects, workers, named = (_sorted({row[place] for row in rows}) for place in range(3))
        known = named if classes is None else tuple(dict.fromkeys(classes))
        numbers = [{name: number for number, name in enumerate(names)} for names in (objects, workers, known)]
        for place, row in enumerate(rows):
            if row[2] not in numbers[2]:
                raise ConsensusError(
                    f"answer {place} names the class {row[2]!r}, which is none of {len(known)}; "
                    "add it to the classes, or leave the answer out"
                )
        columns = [
            np.fromiter((number[row[place]] for row in rows), np.intp, len(rows))
            for place, number in enumerate(numbers)
        ]
        return cls(Votes(*columns), objects, workers, known)


@dataclass(frozen=True, slots=True)
class Consensus:
    """What a method found.

    Attributes:
        posterior: the probability of each class for each object, `[objects, classes]`; rows sum to 1. An
            object without answers has the class prior.
        confusion: for each worker how often he says the second class of an object of the first, `[workers,
            classes, classes]`; rows sum to 1. None where the method knows no such thing, or where it would
            have more than `sums.WIDEST_CONFUSION` entries.
        skill: the probability of a right answer by each worker, as the method sees it, `[workers]`; None
            where the method does not tell workers apart.
        method: the name under which `crowd.methods` knows the method.
        rounds: how often it went over all answers.
        log_likelihood: the natural logarithm of what the method maximizes, at its end; None where it
            maximizes nothing.
    """

    posterior: NDArray[np.float64]
    confusion: NDArray[np.float64] | None
    skill: NDArray[np.float64] | None
    method: str
    rounds: int
    log_likelihood: float | None

    @property
    def labels(self) -> NDArray[np.intp]:
        """The likeliest class of each object, `[objects]`; ties go to the lowest index."""
        return np.asarray(np.round(self.posterior, _DIGITS).argmax(axis=1), dtype=np.intp)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of each object's label, `[objects]`."""
        chosen: NDArray[np.float64] = np.take_along_axis(self.posterior, self.labels[:, None], axis=1)[:, 0]
        return chosen

    @property
    def tied(self) -> NDArray[np.bool_]:
        """Which objects have another class as likely as their label, `[objects]`."""
        rounded = np.round(self.posterior, _DIGITS)
        top: NDArray[np.bool_] = rounded == rounded.max(axis=1, keepdims=True)
        return np.asarray(top.sum(axis=1) > 1, dtype=np.bool_)


def _whole(what: str, given: ArrayLike) -> NDArray[np.intp]:
    """One row of whole numbers; what already is one stays the same array."""
    values = np.asarray(given)
    if values.ndim != 1:
        raise ConsensusError(
            f"the {what} of answers have the shape {values.shape}; give one number for each answer, in a row"
        )
    if values.dtype == np.intp or not len(values):
        return values.astype(np.intp, copy=False)
    if values.dtype.kind not in "biuf":
        listed = values.tolist()
        strange = next((value for value in listed if not isinstance(value, int | float)), listed[0])
        raise ConsensusError(
            f"the {what} of answers are no numbers, such as {strange!r}; number them from 0, "
            "or have Named.of do it"
        )
    # Tables with gaps have whole numbers as 1.0 and 2.0.
    broken = np.flatnonzero(values != np.rint(values)) if values.dtype.kind == "f" else np.empty(0)
    endless = np.flatnonzero(np.abs(values.astype(np.float64)) > _LARGEST)
    for place in (*broken[:1], *endless[:1]):
        raise ConsensusError(
            f"the {what} of answers have {values[int(place)]} at place {int(place)}, counted from 0; "
            "give whole numbers, and leave out answers without one"
        )
    return values.astype(np.intp)


def _sorted(names: set[Name]) -> tuple[Name, ...]:
    try:
        return tuple(sorted(names))
    except TypeError:
        return tuple(sorted(names, key=str))
