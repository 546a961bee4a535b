"""New labels from the answers that jobs left, by another method than theirs, and what differs and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtlabel.crowd.methods import aggregate
from gtlabel.crowd.votes import Consensus, Votes
from gtlabel.labeling.answered import Answered
from gtlabel.labeling.settled import LIKELY

AWS = "aws"
# No label of Ground Truth is surer than this (contract/ground-truth.md §5.4).
_CEILING = 0.95
# Less than this apart, it is not their skill that sets two workers apart.
_TELLING = 0.05


@dataclass(frozen=True, slots=True)
class Difference:
    """One picture whose label is another than before.

    Attributes:
        picture: its number.
        source: its address.
        before: the classes it had; empty for none.
        after: those it has now; of several, the likely ones.
        said: how many workers named each class, the most frequent first.
        sure_before: the confidence that the job wrote; None where there is none.
        sure: how sure the new label is, of several classes of the least sure; None for no label.
        why: what made the difference, as a part of a sentence.
    """

    picture: int
    source: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    said: tuple[tuple[str, int], ...]
    sure_before: float | None
    sure: float | None
    why: str

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {
            "image": self.source,
            "before": list(self.before),
            "after": list(self.after),
            "answers": dict(self.said),
            "confidence_before": self.sure_before,
            "confidence": None if self.sure is None else round(self.sure, 4),
            "why": self.why,
        }


@dataclass(frozen=True, slots=True)
class Reconsolidation:
    """New labels for pictures that were answered.

    Attributes:
        answered: what they were made of.
        method: the method that made them.
        probabilities: of each picture and class, `(pictures, classes)`; where a picture has one class, rows
            sum to 1, else each is the probability that the picture has the class. `aws` writes 0.95 of it.
        chosen: the classes that each picture has now, `(pictures, classes)`; of several, the likely ones.
        counts: how many workers named each class of each picture, `(pictures, classes)`.
        answers: how many answers each picture has, `(pictures,)`; without one it gets no label.
        skill: of each worker, the probability of a right answer as the method sees it, `(workers,)`; None
            where it does not tell workers apart.
    """

    answered: Answered
    method: str
    probabilities: NDArray[np.float64]
    chosen: NDArray[np.bool_]
    counts: NDArray[np.intp]
    answers: NDArray[np.intp]
    skill: NDArray[np.float64] | None

    def confidence(self, picture: int, index: int) -> float:
        """What is written beside one class of one picture: two decimals, as AWS writes them."""
        if self.method != AWS:
            return round(float(self.probabilities[picture, index]), 2)
        if self.answers.max() == 1:
            # One worker for each picture: AWS says nothing of how sure that is.
            return 0.0
        return round(_CEILING * float(self.probabilities[picture, index]), 2)

    def written(self, picture: int) -> list[int]:
        """The classes that are written for a picture: its own, or of several all that a worker named."""
        row = self.counts[picture] > 0 if self.answered.several else self.chosen[picture]
        return [int(index) for index in np.flatnonzero(row)]

    def said(self, picture: int) -> tuple[tuple[str, int], ...]:
        """How many workers named each class of a picture, the most frequent first."""
        row = self.counts[picture]
        order = sorted(np.flatnonzero(row), key=lambda index: -row[index])
        return tuple((self.answered.classes[index], int(row[index])) for index in order)

    @property
    def sure(self) -> NDArray[np.float64]:
        """How sure each picture's label is, `(pictures,)`; NaN without one.

        Where a picture may have several classes, that of the decision, yes or no, that is the least sure.
        """
        if self.answered.several:
            found = np.maximum(self.probabilities, 1 - self.probabilities).min(axis=1)
        else:
            found = self.probabilities.max(axis=1)
        ceiling = _CEILING if self.method == AWS else 1.0
        return np.where(self.answers > 0, ceiling * found, np.nan)

    def rows(self) -> Iterator[tuple[str, str, float | None]]:
        """Each picture, its classes with a bar between several, and how sure that is; None for no label."""
        sure = self.sure
        for picture, source in enumerate(self.answered.sources):
            label = "|".join(_names(self.answered, self.chosen[picture]))
            known = not np.isnan(sure[picture])
            yield source, label, round(float(sure[picture]), 4) if known else None

    @property
    def differences(self) -> list[Difference]:
        """The pictures whose label is another than before, in their order; none where no label is known."""
        return list(_differences(self))

    def to_json(self) -> dict[str, Any]:
        """What it is made of and what differs, as plain JSON values."""
        answered = self.answered
        return {
            "jobs": [folder.name for folder in answered.folders],
            "method": self.method,
            "images": len(answered.sources),
            "answers": len(answered.objects),
            "workers": len(answered.workers),
            "differences": [each.to_json() for each in self.differences],
            "notes": list(answered.notes),
        }


def reconsolidate(answered: Answered, method: str = "auto") -> Reconsolidation:
    """Settle on labels anew.

    Where a picture may have several classes, each class is a question of its own, answered yes or no.
    `aws` looks at the pictures batch by batch as the job did, where its files tell the batches.

    Raises:
        ConsensusError: if there is no method of that name.
    """
    method = method.lower().replace("-", "_")
    pictures, classes = len(answered.sources), len(answered.classes)
    answers = np.bincount(answered.objects, minlength=pictures)
    counts = np.zeros((pictures, classes), dtype=np.intp)
    np.add.at(counts, answered.objects, answered.chosen.astype(np.intp))
    chosen = np.zeros((pictures, classes), dtype=np.bool_)
    if answered.several:
        questions = [settle(answered, answered.question(index), 2, method) for index in range(classes)]
        probabilities = np.stack([found.posterior[:, 1] for found in questions], axis=1)
        chosen = (probabilities >= LIKELY) & (counts > 0)
        skills = [found.skill for found in questions if found.skill is not None]
        skill = np.mean(skills, axis=0) if skills else None
    else:
        found = settle(answered, answered.votes, classes, method)
        probabilities, skill = found.posterior, found.skill
        chosen[np.arange(pictures), found.labels] = True
        chosen[answers == 0] = False
    return Reconsolidation(answered, method, probabilities, chosen, counts, answers, skill)


def settle(answered: Answered, votes: Votes, classes: int, method: str) -> Consensus:
    """What a method makes of one question about each picture.

    Args:
        answered: the answers, which tell the batches.
        votes: those to this question.
        classes: how many classes the question has.
        method: its name.

    Raises:
        ConsensusError: if there is no method of that name.
    """
    pictures = len(answered.sources)
    if method != AWS or (answered.batches < 0).any():
        return aggregate(votes, pictures, classes, method)
    posterior = np.full((pictures, classes), 1 / classes)
    batch_of = np.unique(answered.batches, return_inverse=True)[1]
    batches = int(batch_of.max()) + 1
    # Of streaming jobs nearly each picture is a batch, so all are told apart in one go.
    pairs = zip(_grouped(batch_of, batches), _grouped(batch_of[votes.objects], batches), strict=True)
    for members, answers in pairs:
        if len(answers):
            place = np.searchsorted(members, votes.objects[answers])
            part = Votes(place, votes.workers[answers], votes.classes[answers])
            posterior[members] = aggregate(part, len(members), classes, method).posterior
    return Consensus(posterior, None, None, AWS, 0, None)


def _grouped(group_of: NDArray[np.intp], groups: int) -> list[NDArray[np.intp]]:
    """The places of each group, in rising order."""
    ends = np.cumsum(np.bincount(group_of, minlength=groups))
    return np.split(np.argsort(group_of, kind="stable"), ends[:-1])


def _differences(made: Reconsolidation) -> Iterator[Difference]:
    answered, chosen, counts, sure = made.answered, made.chosen, made.counts, made.sure
    given = answered.given
    if not any(folder.manifests for folder in answered.folders):
        return
    for picture in np.flatnonzero((chosen != given).any(axis=1)):
        number = int(picture)
        before = float(answered.confidence[number])
        yield Difference(
            number,
            answered.sources[number],
            _names(answered, given[number]),
            _names(answered, chosen[number]),
            made.said(number),
            None if np.isnan(before) else before,
            None if np.isnan(sure[number]) else float(sure[number]),
            _why(made, number, given[number], chosen[number], counts[number]),
        )


def _names(answered: Answered, row: NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(answered.classes[index] for index in np.flatnonzero(row))


def _why(
    made: Reconsolidation,
    picture: int,
    before: NDArray[np.bool_],
    after: NDArray[np.bool_],
    counts: NDArray[np.intp],
) -> str:
    total = int(made.answers[picture])
    if not total:
        return "no answer is left"
    if not before.any():
        return "it had no label"
    if made.answered.several:
        said = [
            f"{'has' if after[index] else 'has not'} {made.answered.classes[index]}, which "
            f"{counts[index]} of {total} said"
            for index in np.flatnonzero(before != after)
        ]
        return "it " + ", and ".join(said)
    old, new = int(before.argmax()), int(after.argmax())
    if counts[new] > counts[old]:
        return f"{counts[new]} of {total} say so, and {counts[old]} said the other"
    opening = "as many say the one as the other" if counts[new] == counts[old] else "fewer say so"
    mine, theirs = _skill(made, picture, new), _skill(made, picture, old)
    if mine is not None and theirs is not None and mine - theirs >= _TELLING:
        return f"{opening}, but they are right {mine:.0%} of the time and the others {theirs:.0%}"
    both = " and ".join(
        f"{made.probabilities[picture, index]:.0%} {made.answered.classes[index]}" for index in (new, old)
    )
    return f"{opening}; weighing who said what, it is {both}"


def _skill(made: Reconsolidation, picture: int, index: int) -> float | None:
    """How often those are right who named a class of a picture; None where that is not known."""
    answered = made.answered
    # Answers stand by picture.
    first, last = np.searchsorted(answered.objects, [picture, picture + 1])
    who = answered.by[first:last][answered.chosen[first:last, index]]
    if made.skill is None or not len(who):
        return None
    return float(made.skill[who].mean())
