"""Labels while answers arrive: what was fitted last, and what each answer since then adds.

An answer is weighed by what its worker was like at the last fit, in time that does not depend on how many
there are. Once the answers have grown by a half, all of them are fitted anew, so that the fits together cost
no more than three times the last one. `settle` fits at once, and is then the same as the method over all
answers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np
from numpy.typing import NDArray

from gtlabel.crowd.auto import auto
from gtlabel.crowd.votes import Consensus, Votes
from gtlabel.errors import ConsensusError

# So many answers come before the first fit: fewer cannot tell workers apart.
_FIRST = 20
# A worker about whom a method says nothing, and a crowd before its first fit, are right this often.
_RIGHT = 0.7
# Nobody is always right or always wrong, whatever a fit says of few answers.
_LEAST = 1e-3


class Online:
    """Answers that keep coming, and a posterior at any time.

    Args:
        classes: how many classes there are.
        objects: how many objects there are so far; answers about further ones are welcome.
        method: what fits, a function of votes, objects and classes such as those in `methods.METHODS`.
        growth: answers are fitted anew when their number has grown by this share.
    """

    def __init__(
        self,
        classes: int,
        objects: int = 0,
        *,
        method: Callable[[Votes, int, int], Consensus] = auto,
        growth: float = 0.5,
    ) -> None:
        if classes < 1:
            raise ConsensusError("answers need at least one class to choose from; say how many the job has")
        if not growth > 0:
            raise ConsensusError(f"growth is {growth}; give a number above 0, such as 0.5 for a half")
        self._classes, self._method, self._growth = classes, method, growth
        self._numbers: dict[Hashable, int] = {}
        self._answers: list[tuple[int, int, int]] = []
        self._scores: list[NDArray[np.float64]] = []
        self._prior = np.full(classes, -np.log(classes))
        self._said: list[NDArray[np.float64]] = []
        self._anyone = _coin(_RIGHT, classes)
        self._fitted = 0
        self._reach(objects)

    @property
    def objects(self) -> int:
        """How many objects there are so far."""
        return len(self._scores)

    @property
    def workers(self) -> list[Hashable]:
        """Everybody who has answered, in the order of their first answers."""
        return list(self._numbers)

    @property
    def votes(self) -> Votes:
        """All answers so far, in the order in which they came; workers by their places in `workers`."""
        columns = np.array(self._answers, dtype=np.intp).reshape(-1, 3)
        return Votes(*(np.ascontiguousarray(column) for column in columns.T))

    def add(self, object_: int, worker: Hashable, class_: int) -> None:
        """Take an answer; fit anew if there are enough new ones.

        Raises:
            ConsensusError: there is no such class, or the object is below 0.
        """
        if not 0 <= class_ < self._classes:
            raise ConsensusError(
                f"an answer names class {class_}, and there are {self._classes}, counted from 0; "
                "number them again"
            )
        if object_ < 0:
            raise ConsensusError(f"an answer names object {object_}; number the objects from 0")
        self._reach(object_ + 1)
        number = self._numbers.setdefault(worker, len(self._numbers))
        self._answers.append((object_, number, class_))
        said = self._said[number] if number < len(self._said) else self._anyone
        self._scores[object_] = self._scores[object_] + said[:, class_]
        if len(self._answers) >= max(_FIRST, (1 + self._growth) * self._fitted):
            self.settle()

    def posterior(self, object_: int) -> NDArray[np.float64]:
        """The probability of each class for one object, `[classes]`; the class prior where nobody answered.

        Raises:
            ConsensusError: nobody has spoken of that object, or of one after it.
        """
        if not 0 <= object_ < len(self._scores):
            raise ConsensusError(
                f"there is no object {object_}; there are {len(self._scores)} so far, counted from 0"
            )
        scores = self._scores[object_]
        chances: NDArray[np.float64] = np.exp(scores - scores.max())
        chances /= chances.sum()
        return chances

    def settle(self) -> Consensus:
        """Fit all answers at once; what the method makes of them."""
        found = self._method(self.votes, len(self._scores), self._classes)
        # What a fit is entirely sure of may still be told otherwise.
        self._scores = list(np.log(np.maximum(found.posterior, np.finfo(np.float64).tiny)))
        answered = np.zeros(len(self._scores), dtype=np.bool_)
        answered[[object_ for object_, _, _ in self._answers]] = True
        if answered.any():
            self._prior = np.log(np.maximum(found.posterior[answered].mean(axis=0), _LEAST))
        self._said = self._spoken(found)
        self._anyone = np.mean(self._said, axis=0) if self._said else _coin(_RIGHT, self._classes)
        self._fitted = len(self._answers)
        return found

    def _spoken(self, found: Consensus) -> list[NDArray[np.float64]]:
        """Each worker's answers given the true class, in logarithms, `[workers][true class, named class]`."""
        if found.confusion is not None:
            return list(np.log(np.maximum(found.confusion, _LEAST)))
        if found.skill is not None:
            return [_coin(float(skill), self._classes) for skill in found.skill]
        return [_coin(_RIGHT, self._classes)] * len(self._numbers)

    def _reach(self, objects: int) -> None:
        self._scores.extend([self._prior] * (objects - len(self._scores)))


def _coin(right: float, classes: int) -> NDArray[np.float64]:
    """What somebody says who is right so often, and otherwise names any other class, in logarithms."""
    if classes == 1:
        return np.zeros((1, 1))
    right = min(max(right, _LEAST), 1 - _LEAST)
    table = np.full((classes, classes), np.log((1 - right) / (classes - 1)))
    np.fill_diagonal(table, np.log(right))
    return table
