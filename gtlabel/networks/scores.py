"""What a classifier made of pictures, by the million: a table of probabilities with a name for each row."""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Collection, Iterable, Sequence
from typing import Generic, TypeVar, overload

import numpy as np

from gtlabel.errors import EvaluationError
from gtlabel.networks.measures import Floats

Image = TypeVar("Image")


class ScoreTable(Sequence[Image], Generic[Image]):
    """Scored images, each kept as its name and four bytes a class; what is true of them is kept by heirs.

    Args:
        classes: in the order of the probabilities.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)
        self._index = {name: place for place, name in enumerate(self._classes)}
        self._names: list[str] = []
        self._values = array("f")

    @property
    def matrix(self) -> Floats:
        """The probabilities, one row for each picture."""
        return np.array(self._values, dtype=np.float64).reshape(len(self), len(self._classes))

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> list[Image]: ...
    def __getitem__(self, index: int | slice) -> Image | list[Image]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        many = len(self._classes)
        return self._image(place, tuple(self._values[place * many : (place + 1) * many]))

    @abstractmethod
    def _image(self, place: int, probabilities: tuple[float, ...]) -> Image:
        """The picture of a row."""

    def _class(self, name: str, truth: str) -> int:
        """The number of a class that a picture has.

        Raises:
            EvaluationError: if there is no such class.
        """
        check_class(name, truth, self._index)
        return self._index[truth]

    def _append(self, name: str, probabilities: Iterable[float]) -> None:
        """Add a row.

        Raises:
            EvaluationError: if the probabilities are not one for each class.
        """
        row = array("f", probabilities)
        check_row(name, row, self._classes)
        self._values += row
        self._names.append(name)


def check_class(name: str, truth: str, classes: Collection[str]) -> None:
    """See that a picture's class is one.

    Raises:
        EvaluationError: if it is not.
    """
    if truth not in classes:
        raise EvaluationError(f"{name} is of the class {truth!r}, which is not among {', '.join(classes)}")


def check_row(name: str, probabilities: Sequence[float], classes: Sequence[str]) -> None:
    """See that a picture has a probability for each class.

    Raises:
        EvaluationError: if it has more or fewer.
    """
    if len(probabilities) != len(classes):
        raise EvaluationError(f"{name} has {len(probabilities)} probabilities for {len(classes)} classes")
