"""All there is to say about a crowd's answers, in one value.

How far people agree, who they are, what each method makes of their answers, and where doubt is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gtlabel.crowd.agreement import Agreement, agreement
from gtlabel.crowd.beliefs import believe
from gtlabel.crowd.calibration import Reliability, expected_calibration_error, reliability
from gtlabel.crowd.confusions import Confusions, Mixup
from gtlabel.crowd.intervals import Estimate, share
from gtlabel.crowd.methods import METHODS, aggregate
from gtlabel.crowd.votes import Consensus, Votes
from gtlabel.crowd.workers import Profile, profiles

# What the labels are called that a job wrote itself.
AS_WRITTEN = "as written"
_WORST = 3


@dataclass(frozen=True, slots=True)
class MethodRow:
    """What one method makes of the answers.

    Attributes:
        name: of the method, or `AS_WRITTEN` of the labels that the job wrote.
        changes: objects whose label is another than what the job wrote; None where it wrote none.
        apart: objects whose label is another than the report's own method gives.
        tied: objects of which two classes are equally likely; the lower index won.
        expected_wrong: the share of its labels that the method itself takes for wrong, the mean over objects
            of what is missing to certainty; None where nothing is stated.
        accuracy: how many labels are right, of the objects whose class is known; None without any.
        calibration_error: how far stated and real accuracy lie apart there, in ten bins of equal width.
    """

    name: str
    changes: int | None
    apart: int
    tied: int
    expected_wrong: float | None
    accuracy: Estimate | None
    calibration_error: float | None


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class.

    Attributes:
        name: what it is called.
        answers: how many answers name it.
        before: how many pictures the job gave it.
        now: how many pictures the report's method gives it.
        alpha: how far people agree whether a picture is of it, by Krippendorff; nan where nobody could
            disagree.
    """

    name: str
    answers: int
    before: int
    now: int
    alpha: Estimate


@dataclass(frozen=True, slots=True)
class CrowdReport:
    """What there is to say about the answers of a crowd.

    Attributes:
        method: which method settled on the labels.
        consensus: what it found.
        objects: how many objects were answered at all.
        answers: how many answers each object has, `[objects]`.
        counts: how many answers name each class of each object, `[objects, classes]`.
        agreement: how far people agree.
        workers: every worker.
        mixups: which classes each worker mixes up in the most answers, three at most.
        confusion: how many answers name the second class of an object that is taken for the first,
            `[classes, classes]`, see `confusions`; without answers that nobody else backs.
        methods: the methods side by side, the report's own first.
        gold: how many objects have a class that is known.
        reliability: how far the method's confidence can be believed; None without gold.
        written: the same of the confidence that the job wrote; None without gold or without a job's labels.
    """

    method: str
    consensus: Consensus
    objects: int
    answers: NDArray[np.intp]
    counts: NDArray[np.intp]
    agreement: Agreement
    workers: tuple[Profile, ...]
    mixups: tuple[tuple[Mixup, ...], ...]
    confusion: NDArray[np.float64]
    methods: tuple[MethodRow, ...]
    gold: int
    reliability: Reliability | None
    written: Reliability | None

    @property
    def accuracy(self) -> Estimate | None:
        """How many labels of the report's own method are right; None without gold."""
        return self.methods[0].accuracy

    @property
    def expected_wrong(self) -> float:
        """The share of the labels that are expected to be wrong."""
        return self.methods[0].expected_wrong or 0.0

    @property
    def doubtful(self) -> NDArray[np.intp]:
        """The objects that were answered, the least sure first, `[objects]`."""
        answered = np.flatnonzero(self.answers)
        return answered[np.argsort(self.consensus.confidence[answered], kind="stable")]


def report_on(
    votes: Votes,
    objects: int,
    classes: int,
    *,
    method: str = "auto",
    others: Sequence[str] | None = None,
    labels: NDArray[np.intp] | None = None,
    confidence: NDArray[np.float64] | None = None,
    gold: NDArray[np.intp] | None = None,
    seconds: NDArray[np.float64] | None = None,
    moments: NDArray[np.float64] | None = None,
    settle: Callable[[str], Consensus] | None = None,
) -> CrowdReport:
    """Look at the answers of a crowd from every side.

    Args:
        votes: the answers.
        objects: how many objects there are.
        classes: how many classes there are.
        method: which method settles on the labels.
        others: which methods stand beside it; None for all there are.
        labels: what the job itself wrote, -1 for nothing, `[objects]`; None where nobody knows.
        confidence: how sure it said it is, nan where it did not, `[objects]`.
        gold: the class of each object, -1 where it is not known, `[objects]`; no label of an object is right
            whose class is none of the classes, which is `classes` or more.
        seconds: how long each answer took, nan where that is not known, `[answers]`.
        moments: when each answer was given, in seconds, nan where that is not known, `[answers]`.
        settle: makes labels by a method's name, in place of `aggregate`.

    Raises:
        ConsensusError: if there is no method of a name.
    """
    settled = settle or (lambda name: aggregate(votes, objects, classes, name))
    answers = np.bincount(votes.objects, minlength=objects).astype(np.intp)
    counts = np.zeros((objects, classes), dtype=np.intp)
    np.add.at(counts, (votes.objects, votes.classes), 1)
    truth = None if gold is None else np.where(answers > 0, gold, -1)
    if truth is not None and (truth < 0).all():
        truth = None
    own = settled(method)
    among = None if truth is None else np.where(truth < classes, truth, -1)
    beliefs = believe(votes, objects, classes, among)
    people = Confusions(beliefs)

    def row(name: str) -> MethodRow:
        found = own if name == method else settled(name)
        sure = np.where(answers > 0, found.confidence, np.nan)
        return _row(name, found.labels, sure, found.tied, own, answers, labels, truth)

    beside = [name for name in (METHODS if others is None else others) if name != method.replace("-", "_")]
    methods = [row(name) for name in (method, *beside)]
    written = None
    if labels is not None and (labels >= 0).any():
        stated = np.full(objects, np.nan) if confidence is None else confidence
        none = np.zeros(objects, dtype=np.bool_)
        methods.insert(1, _row(AS_WRITTEN, labels, stated, none, own, answers, labels, truth))
        if truth is not None:
            written = _reliability(labels, stated, truth, none, answers)
    return CrowdReport(
        method=method,
        consensus=own,
        objects=int((answers > 0).sum()),
        answers=answers,
        counts=counts,
        agreement=agreement(votes, objects, classes),
        workers=tuple(
            profiles(votes, objects, classes, gold=among, seconds=seconds, moments=moments, beliefs=beliefs)
        ),
        mixups=tuple(map(tuple, people.mixups(range(beliefs.workers), most=_WORST))),
        confusion=people.everybody,
        methods=tuple(methods),
        gold=0 if truth is None else int((truth >= 0).sum()),
        reliability=None
        if truth is None
        else _reliability(own.labels, own.confidence, truth, own.tied, answers),
        written=written,
    )


def _row(
    name: str,
    labels: NDArray[np.intp],
    sure: NDArray[np.float64],
    tied: NDArray[np.bool_],
    own: Consensus,
    answers: NDArray[np.intp],
    before: NDArray[np.intp] | None,
    truth: NDArray[np.intp] | None,
) -> MethodRow:
    has = (answers > 0) & (labels >= 0)
    stated = has & ~np.isnan(sure)
    accuracy, error = None, None
    if truth is not None:
        known = has & (truth >= 0)
        right = labels == truth
        accuracy = share(float(right[known].sum()), int(known.sum()))
        both = known & stated
        if both.any():
            error = expected_calibration_error(sure[both], right[both])
    return MethodRow(
        name=name,
        changes=None if before is None else int((has & (before >= 0) & (labels != before)).sum()),
        apart=int((has & (labels != own.labels)).sum()),
        tied=int((has & tied).sum()),
        expected_wrong=float((1 - sure[stated]).mean()) if stated.any() else None,
        accuracy=accuracy,
        calibration_error=error,
    )


def _reliability(
    labels: NDArray[np.intp],
    sure: NDArray[np.float64],
    truth: NDArray[np.intp],
    tied: NDArray[np.bool_],
    answers: NDArray[np.intp],
) -> Reliability | None:
    known = (labels >= 0) & (truth >= 0) & (answers > 0) & ~np.isnan(sure)
    if not known.any():
        return None
    return reliability(sure[known], (labels == truth)[known], tied=tied[known], answers=answers[known])
