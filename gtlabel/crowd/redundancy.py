"""Which objects need another answer, and when there are enough.

Every answer costs the same, but it is worth something only where it can still change a label for the better:
on a picture that two people call a bottle a third one's answer buys little, on one about which they disagree
it buys a lot. `Redundancy` asks there, many objects at once, until the expected share of wrong labels of the
whole set is small enough, or the answers that may be paid for are spent.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Literal

import numpy as np

from gtlabel.errors import RedundancyError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gtlabel.crowd.votes import Votes

#: How far `auto` was from the truth when it said how many of its labels were wrong: the fewest and most that
#: were wrong for each that it expected, over public and simulated crowds with known truth, after two to five
#: answers for each object and after asking where it matters (tests/benchmarks/redundancy.py, last tables).
OFF_BY = (0.4, 3.5)

Why = Literal["going on", "error", "budget", "most"]

# Second rounds begin when this share of the objects has had its first one: earlier, workers are judged on too
# little; later, one picture that somebody left lying would hold up everybody.
_ENOUGH_TO_JUDGE = 0.9
# No round commits more than this share of the budget that is left: the answers it brings choose the next.
_SHARE_OF_BUDGET = 0.5
# Nor does a round ask where an answer is worth less than this share of what it is where it is worth most,
# while there are others; but it asks for so much of the budget in any case, lest there be rounds without end.
_SHARE_OF_WORTH = 0.5
_LEAST_SHARE_OF_BUDGET = 0.2
# Rounding is not worth an answer. Nor is what makes a label less likely to be wrong by less than this share
# of the error that is wanted: all answers that are looked ahead together would win less than that error.
_NOTHING, _SHARE_OF_ERROR = 1e-9, 0.1
# For the worth of another answer people are taken to be right in at least this share of the cases in which a
# guess is wrong, and never more often than this: else none would ever be asked again.
_WORST, _BEST = 0.2, 0.98
# What people mix up counts against the average mistake like so many answers for each class; and no answer is
# taken to be rarer than this.
_USUAL_ANSWERS, _RAREST = 2.0, 1e-3
# No further ahead than this, which is the most that Ground Truth asks for about one object.
_FAR = 9


def error_range(expected: float) -> tuple[float, float]:
    """Between which shares the wrong labels were, wherever truth was known, when `auto` expected this share.

    Mistakes that all workers share leave no trace in their answers, so no model can tell of them: the range
    is what was seen with crowds whose truth is known, and no promise about another one.
    """
    least, most = OFF_BY
    return least * expected, min(most * expected, 1.0)


@dataclass(frozen=True, slots=True)
class Ask:
    """Where to ask for another answer now, and how things stand.

    Attributes:
        more: (objects,) how many further answers to ask for, beyond those that are open already.
        expected_error: the share of the labels that are expected to be wrong as they are now.
        given: how many answers there are.
        why: `going on` while answers are asked for or open; else why nothing more is: the `error` is small
            enough, the `budget` is spent, or up to the `most` answers would do too little good anywhere.
    """

    more: NDArray[np.intp]
    expected_error: float
    given: int
    why: Why

    @property
    def done(self) -> bool:
        """Whether the labels can be settled: nothing is asked for, and nothing open."""
        return self.why != "going on"


@dataclass(frozen=True, slots=True)
class Redundancy:
    """How many answers an object gets.

    Attributes:
        first: as many answers each object gets in any case.
        most: no object gets more than this.
        error: the share of wrong labels in the whole set to come down to; 0 never stops for it.
        budget: the answers that may be asked for in all; None for as many as it takes.

    Raises:
        RedundancyError: if they contradict each other.
    """

    first: int = 2
    most: int = 5
    error: float = 0.02
    budget: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.most:
            raise RedundancyError(
                f"first={self.first} answers cannot be had of at most {self.most}; give 1 to {self.most}"
            )
        if not 0 <= self.error < 1:
            raise RedundancyError(
                f"error={self.error} is no share of wrong labels; give one from 0 to below 1"
            )
        if self.budget is not None and self.budget < 1:
            raise RedundancyError(f"budget={self.budget} buys no answer; give the number of answers in all")

    @classmethod
    def parse(cls, text: str, most: int) -> Redundancy:
        """What a job's tag says, like `first=2 error=0.02 budget=4000`; what it leaves out is as usual.

        Args:
            text: pairs of a name and a number, with spaces between; empty for the usual.
            most: what the job says of the number of workers for an object.

        Raises:
            RedundancyError: if a part of it is not understood.
        """
        fields: dict[str, float] = {}
        for part in text.split():
            name, _, number = part.partition("=")
            if name not in ("first", "error", "budget") or name in fields:
                raise RedundancyError(
                    f"{part!r} in redundancy {text!r} is not understood; write it like 'first=2 error=0.02'"
                )
            try:
                fields[name] = float(number) if name == "error" else int(number)
            except ValueError:
                raise RedundancyError(
                    f"{part!r} in redundancy {text!r} lacks its number; write it like {name}=2"
                ) from None
        budget = fields.get("budget")
        return cls(
            first=int(fields.get("first", min(2, most))),
            most=most,
            error=fields.get("error", 0.02),
            budget=None if budget is None else int(budget),
        )

    def __str__(self) -> str:
        budget = "" if self.budget is None else f" budget={self.budget}"
        return f"first={self.first} error={self.error:g}{budget}"

    def ask(
        self,
        votes: Votes,
        posterior: NDArray[np.float64],
        *,
        error: NDArray[np.float64] | None = None,
        pending: NDArray[np.intp] | None = None,
        limit: NDArray[np.intp] | None = None,
    ) -> Ask:
        """Which objects need another answer now.

        The same answers and posterior always give the same. Ask again whenever answers have come; what was
        asked for and is not there yet stands in `pending`, and is not asked for twice.

        Args:
            votes: the answers so far.
            posterior: (objects, classes) what they say about each object, by any method. A majority's shares
                are no probabilities: by them two answers that agree leave no doubt, and nobody is asked more.
            error: (objects,) how likely each label is to be wrong; None for what the posterior says of it.
            pending: (objects,) answers that were asked for and have not come; None for none.
            limit: (objects,) how many answers each object can have at all, where that is fewer than `most`.
        """
        objects = len(posterior)
        given = np.bincount(votes.objects, minlength=objects).astype(np.intp)
        coming = np.zeros(objects, dtype=np.intp) if pending is None else pending
        most = np.full(objects, self.most, dtype=np.intp) if limit is None else np.minimum(limit, self.most)
        wrong = 1.0 - posterior.max(axis=1) if error is None else error
        expected = float(wrong.mean()) if objects else 0.0
        left = np.inf if self.budget is None else self.budget - int(given.sum() + coming.sum())

        more = np.clip(np.minimum(self.first, most) - given - coming, 0, None)
        if more.any():
            more = _within(more, left)
        elif (given >= np.minimum(self.first, most)).sum() >= ceil(_ENOUGH_TO_JUDGE * objects):
            more = self._further(votes, posterior, wrong, given, coming, most, left)
        why: Why = "going on"
        if not more.any() and not coming.any():
            why = self._why(expected, left)
        return Ask(more, expected, int(given.sum()), why)

    def at_once(
        self,
        votes: Votes,
        posterior: NDArray[np.float64],
        answers: int,
        *,
        limit: NDArray[np.intp] | None = None,
    ) -> Ask:
        """Which objects should get so many further answers each, if they cannot be asked for one by one.

        As few as are expected to bring the error down to what is wanted: for labeling jobs in a row, where
        each object of a job gets as many answers as the others. Objects that are sure enough for no answers
        to change their label are never among them.

        Args:
            votes: the answers so far.
            posterior: (objects, classes) what they say about each object.
            answers: how many each of the objects gets that get any.
            limit: (objects,) how many answers each object can have at all, where that is fewer than `most`.

        Raises:
            RedundancyError: if that is none.
        """
        if answers < 1:
            raise RedundancyError(f"{answers} further answers each are none; give 1 or more")
        objects = len(posterior)
        given = np.bincount(votes.objects, minlength=objects).astype(np.intp)
        most = np.full(objects, self.most, dtype=np.intp) if limit is None else np.minimum(limit, self.most)
        expected = float((1.0 - posterior.max(axis=1)).mean()) if objects else 0.0
        left = np.inf if self.budget is None else self.budget - int(given.sum())
        more = np.zeros(objects, dtype=np.intp)
        won = _won(posterior, confusion_of(votes, posterior), answers)[answers - 1]
        won[given + answers > most] = 0.0
        ranked = np.argsort(-won, kind="stable")[: int((won > answers * self._too_little).sum())]
        excess = (expected - self.error) * objects
        if excess > 0 and len(ranked):
            needed = int(np.searchsorted(np.cumsum(won[ranked]), excess)) + 1
            more[ranked[: int(min(needed, max(left, 0) // answers))]] = answers
        why: Why = "going on" if more.any() else self._why(expected, left - answers + 1)
        return Ask(more, expected, int(given.sum()), why)

    def _further(
        self,
        votes: Votes,
        posterior: NDArray[np.float64],
        error: NDArray[np.float64],
        given: NDArray[np.intp],
        coming: NDArray[np.intp],
        most: NDArray[np.intp],
        left: float,
    ) -> NDArray[np.intp]:
        more = np.zeros(len(posterior), dtype=np.intp)
        # If even the answers that are coming settled their objects for good, this much would be left.
        excess = float(error[coming == 0].sum()) - self.error * len(posterior)
        candidates = np.flatnonzero((coming == 0) & (given < most) & (error > 0))
        if excess <= 0 or left < 1 or not len(candidates):
            return more
        worth = worth_of_another(
            posterior[candidates],
            confusion_of(votes, posterior),
            (most - given)[candidates],
        )
        # Where answers within reach would hardly ever change the label they would be paid for nothing, be the
        # label sure or hopeless.
        ranked = candidates[np.argsort(-worth, kind="stable")[: int((worth > self._too_little).sum())]]
        if not len(ranked):
            return more
        # As few as could be enough: those that turn out not to be settled are asked about again.
        needed = int(np.searchsorted(np.cumsum(error[ranked]), excess)) + 1
        if self.budget is not None:
            good = int((worth >= _SHARE_OF_WORTH * worth.max()).sum())
            needed = min(
                needed, max(good, ceil(left * _LEAST_SHARE_OF_BUDGET)), ceil(left * _SHARE_OF_BUDGET)
            )
        more[ranked[:needed]] = 1
        return more

    @property
    def _too_little(self) -> float:
        return max(_NOTHING, _SHARE_OF_ERROR * self.error)

    def _why(self, expected: float, left: float) -> Why:
        if expected <= self.error:
            return "error"
        return "budget" if left < 1 else "most"


def worth_of_another(
    posterior: NDArray[np.float64], confusion: NDArray[np.float64], ahead: NDArray[np.intp]
) -> NDArray[np.float64]:
    """How much less wrong each object's label is expected to be for each further answer, `(objects,)`.

    One answer alone seldom changes a label, two or three may; so this is the best ratio of what is won to
    what it costs over 1, 2, ... `ahead` further answers (as the KG(*) policy of Frazier and Powell, Paradoxes
    in learning and the marginal value of information, Decision Analysis 7, 2010; for crowds see Chen, Lin and
    Zhou, Statistical decision making for optimal budget allocation in crowd labeling, JMLR 16, 2015).
    Only the two likeliest classes are looked at, and at most nine answers ahead. Between two classes that
    people mix up an answer says little, and is worth little.

    Args:
        posterior: (objects, classes).
        confusion: (classes, classes) what a typical answer says, true classes in rows.
        ahead: (objects,) how many further answers to look ahead.
    """
    best = np.zeros(len(posterior))
    far = min(int(ahead.max(initial=0)), _FAR)
    for answers, won in enumerate(_won(posterior, confusion, far), start=1):
        best = np.maximum(best, np.where(answers <= ahead, won / answers, 0.0))
    return best


def confusion_of(votes: Votes, posterior: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a typical answer says of an object of each class, as far as is believed: `(classes, classes)`.

    Rows are true classes. A class of which little is known is taken to be like the others. Each answer has
    had its say in what is believed of its own object, which flatters people a little; leaving it out made no
    difference to what replays of recorded crowds came to.
    """
    classes = posterior.shape[1]
    if classes < 2:
        return np.ones((classes, classes))
    counts = np.zeros((classes, classes))
    for true, row in enumerate(counts):
        row += np.bincount(votes.classes, posterior[votes.objects, true], classes)
    right = float(np.trace(counts) / max(counts.sum(), 1.0))
    right = min(max(right, (1 + _WORST * (classes - 1)) / classes), _BEST)
    counts += _USUAL_ANSWERS * (1 - right) / (classes - 1)
    counts[np.diag_indices(classes)] += _USUAL_ANSWERS * (right - (1 - right) / (classes - 1))
    counts = np.maximum(counts / counts.sum(axis=1, keepdims=True), _RAREST)
    typical: NDArray[np.float64] = counts / counts.sum(axis=1, keepdims=True)
    return typical


def _won(
    posterior: NDArray[np.float64], confusion: NDArray[np.float64], ahead: int
) -> list[NDArray[np.float64]]:
    """How much less wrong each object's label is expected to be after 1, 2, ... `ahead` further answers."""
    if posterior.shape[1] < 2:
        return [np.zeros(len(posterior))] * ahead
    order = np.argsort(posterior, axis=1, kind="stable")
    lead, second = order[:, -1], order[:, -2]
    # If either is the true class: how likely an answer for the leading, for the second, for any other one is.
    of_lead, of_second = (
        np.stack([confusion[true, lead], confusion[true, second], np.zeros(len(true))])
        for true in (lead, second)
    )
    for likely in (of_lead, of_second):
        likely[2] = np.maximum(1 - likely.sum(axis=0), 0)
    rows = np.arange(len(posterior))
    # How likely so many answers for the leading and for the second class are, and that either is true.
    ways = {(0, 0): (posterior[rows, lead], posterior[rows, second])}
    found = []
    for _ in range(ahead):
        further: dict[tuple[int, int], tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        for (one, two), (if_lead, if_second) in ways.items():
            for said, place in enumerate(((one + 1, two), (one, two + 1), (one, two))):
                before = further.get(place, (0.0, 0.0))
                further[place] = (
                    before[0] + if_lead * of_lead[said],
                    before[1] + if_second * of_second[said],
                )
        ways = further
        # The second class is taken instead wherever it is likelier by then.
        won = np.zeros(len(posterior))
        for if_lead, if_second in ways.values():
            won += np.maximum(if_second - if_lead, 0)
        found.append(won)
    return found


def _within(more: NDArray[np.intp], left: float) -> NDArray[np.intp]:
    """As much of it as may still be paid for, the earlier objects first."""
    if more.sum() <= left:
        return more
    before = np.cumsum(more) - more
    return np.clip(more, 0, np.maximum(int(max(left, 0)) - before, 0)).astype(np.intp)
