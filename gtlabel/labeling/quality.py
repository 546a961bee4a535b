"""How good the labels of jobs are, by the answers that the jobs left and by gold where there is some."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gtlabel.crowd.agreement import agreement
from gtlabel.crowd.intervals import Estimate
from gtlabel.crowd.report import ClassRow, CrowdReport, report_on
from gtlabel.crowd.votes import Votes
from gtlabel.labeling.answered import Answered
from gtlabel.labeling.reconsolidation import Reconsolidation, reconsolidate, settle

# What the two classes of a question about one class are called.
NO_YES = ("no", "yes")


@dataclass(frozen=True, slots=True)
class Quality:
    """How good the labels of jobs are.

    Attributes:
        answered: the answers.
        made: the labels that the report's method makes of them.
        report: what there is to say. Where a picture may have several classes, each class of each picture
            is an object of its own in it, in the order of the pictures, and its classes are `NO_YES`.
        classes: the classes of the job.
    """

    answered: Answered
    made: Reconsolidation
    report: CrowdReport
    classes: tuple[ClassRow, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What the classes of the report are called."""
        return NO_YES if self.answered.several else self.answered.classes

    def to_json(self) -> dict[str, Any]:
        """All figures as plain JSON values; numbers that do not exist are null."""
        answered, report = self.answered, self.report
        agreed = report.agreement
        return {
            "jobs": [folder.name for folder in answered.folders],
            "images": len(answered.sources),
            "answers": len(answered.objects),
            "workers": len(answered.workers),
            "method": report.method,
            "expected_wrong": _plain(report.expected_wrong),
            "changed": len(self.made.differences),
            "gold": report.gold,
            "accuracy": _spread(report.accuracy),
            "agreement": {
                "observed": _spread(agreed.observed),
                "alpha": _spread(agreed.alpha),
                "kappa": _spread(agreed.kappa),
                "single_answers": agreed.single,
            },
            "classes": [
                {
                    "class": row.name,
                    "answers": row.answers,
                    "before": row.before,
                    "now": row.now,
                    "alpha": _spread(row.alpha),
                }
                for row in self.classes
            ],
            "confusion": [[_plain(value) for value in line] for line in report.confusion.tolist()],
            "methods": [
                {
                    "method": row.name,
                    "changes": row.changes,
                    "apart": row.apart,
                    "tied": row.tied,
                    "expected_wrong": _plain(row.expected_wrong),
                    "accuracy": _spread(row.accuracy),
                    "calibration_error": _plain(row.calibration_error),
                }
                for row in report.methods
            ],
            "people": [
                {
                    "worker": answered.workers[each.worker],
                    "answers": each.answers,
                    "right": _spread(each.accuracy) if each.backed else None,
                    "on_gold": _spread(each.gold),
                    "gold_answers": each.gold_answers,
                    "spammer_score": _plain(each.spammer_score),
                    "median_seconds": each.seconds,
                    "flags": [{"kind": flag.kind, "why": flag.why} for flag in each.flags],
                    "mixups": [
                        {
                            "class": self.names[mixup.truth],
                            "said": self.names[mixup.said],
                            "answers": _plain(mixup.count),
                            "share": _spread(mixup.share),
                        }
                        for mixup in report.mixups[each.worker]
                    ],
                }
                for each in report.workers
            ],
            "calibration": _calibration(report),
            "notes": list(answered.notes),
        }


def judge(
    answered: Answered,
    *,
    method: str = "auto",
    others: Sequence[str] | None = None,
    gold: Mapping[str, Sequence[str]] | None = None,
) -> Quality:
    """Look at the answers of jobs from every side.

    Args:
        answered: the answers.
        method: which method settles on the labels.
        others: which methods stand beside it; None for all there are.
        gold: the true classes of pictures, by their addresses.

    Raises:
        ConsensusError: if there is no method of a name.
    """
    made = reconsolidate(answered, method)
    flat = _Flat.of(answered)
    report = report_on(
        flat.votes,
        flat.objects,
        flat.classes,
        method=made.method,
        others=others,
        labels=flat.labels,
        confidence=flat.confidence,
        gold=None if gold is None else _gold(answered, gold),
        seconds=flat.seconds,
        moments=flat.moments,
        settle=None if answered.several else partial(settle, answered, flat.votes, flat.classes),
    )
    return Quality(answered, made, report, tuple(_rows(answered, made, report)))


@dataclass(frozen=True, slots=True)
class _Flat:
    """The answers as one question for each object."""

    votes: Votes
    objects: int
    classes: int
    labels: NDArray[np.intp] | None
    confidence: NDArray[np.float64] | None
    seconds: NDArray[np.float64]
    moments: NDArray[np.float64]

    @classmethod
    def of(cls, answered: Answered) -> _Flat:
        pictures, classes = len(answered.sources), len(answered.classes)
        known = bool(answered.given.any())
        if not answered.several:
            return cls(
                answered.votes,
                pictures,
                classes,
                answered.labels if known else None,
                answered.confidence if known else None,
                answered.seconds,
                answered.moments,
            )
        objects = (answered.objects[:, None] * classes + np.arange(classes)).ravel()
        votes = Votes(objects, np.repeat(answered.by, classes), answered.chosen.ravel().astype(np.intp))
        return cls(
            votes,
            pictures * classes,
            len(NO_YES),
            answered.given.ravel().astype(np.intp) if known else None,
            None,
            np.repeat(answered.seconds, classes),
            np.repeat(answered.moments, classes),
        )


def _gold(answered: Answered, gold: Mapping[str, Sequence[str]]) -> NDArray[np.intp]:
    """The true class of each object of the report, -1 where nobody knows it.

    One that nobody named is a number above those of the classes: no label can be that, and none is right.
    """
    column = {name: index for index, name in enumerate(answered.classes)}
    if not answered.several:
        single = [
            column.get(names[0], len(column)) if len(names := gold.get(source, ())) == 1 else -1
            for source in answered.sources
        ]
        return np.array(single, dtype=np.intp)
    found = np.full((len(answered.sources), len(answered.classes)), -1, dtype=np.intp)
    for number, source in enumerate(answered.sources):
        if source in gold:
            found[number] = [int(name in gold[source]) for name in answered.classes]
    return found.ravel()


def _rows(answered: Answered, made: Reconsolidation, report: CrowdReport) -> Iterable[ClassRow]:
    pictures = len(answered.sources)
    for index, name in enumerate(answered.classes):
        alpha = (
            agreement(answered.question(index), pictures, len(NO_YES)).alpha
            if answered.several
            else report.agreement.classes[index].alpha
        )
        yield ClassRow(
            name,
            int(answered.chosen[:, index].sum()),
            int(answered.given[:, index].sum()),
            int(made.chosen[:, index].sum()),
            alpha,
        )


def _calibration(report: CrowdReport) -> dict[str, Any] | None:
    found: dict[str, Any] = {}
    for name, each in (("labels", report.reliability), ("as_written", report.written)):
        if each is not None:
            found[name] = {
                "error": _spread(each.error),
                "error_by_chance": _plain(each.noise),
                "bins": [
                    {
                        "from": _plain(part.low),
                        "to": _plain(part.high),
                        "labels": part.count,
                        "confidence": _plain(part.confidence),
                        "right": _spread(part.accuracy),
                    }
                    for part in each.bins
                ],
            }
    return found or None


def _spread(value: Estimate | None) -> dict[str, float | None] | None:
    if value is None or np.isnan(value.value):
        return None
    return {"value": _plain(value.value), "low": _plain(value.low), "high": _plain(value.high)}


def _plain(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else round(float(value), 6)
