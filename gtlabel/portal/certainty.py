"""How sure the labels of a job are, and how far that can be believed, as its owner's page gets it.

The labels are made here of the answers alone, by the job's own method, which is not told what is known of any
picture: only so the known pictures can say whether its probabilities tell the truth. In the output, their
labels are what is known, unless the job labels as AWS does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gtlabel.crowd.calibration import Group, Reliability, reliability
from gtlabel.crowd.intervals import Estimate
from gtlabel.crowd.methods import aggregate
from gtlabel.crowd.redundancy import error_range

if TYPE_CHECKING:
    from gtlabel.engine.jobs import Job
    from gtlabel.engine.voices import Voices

# So many pictures that labels have wrong are worth looking at: some of them are wrong in what is "known".
MOST_WRONG = 12


@dataclass(frozen=True, slots=True)
class _Made:
    """The labels of all that was asked: of each picture, or of each class of each picture."""

    labels: NDArray[np.intp]
    confidence: NDArray[np.float64]
    tied: NDArray[np.bool_]
    answers: NDArray[np.intp]


def told_of_certainty(
    job: Job, heard: Voices, show: Callable[[Sequence[int]], Mapping[int, str | None]]
) -> dict[str, Any]:
    """How sure the labels are and, where some pictures are known, how many of them are right.

    Args:
        job: the job.
        heard: its answers, one at least.
        show: gives the addresses of pictures by their numbers.
    """
    several = len(job.classes) if heard.several else 0
    made = _made(heard, several, job.spec.consensus)
    right = float(made.confidence.mean())
    # Of other methods, of single answers and of yes and no about each class it was not measured.
    measured = job.spec.consensus == "auto" and not heard.several and bool((made.answers > 1).all())
    return {
        "method": job.spec.consensus,
        "one_asked": job.spec.workers_per_object == 1,
        "labels": len(made.labels),
        "expected_right": round(right, 4),
        "wrong_range": [round(each, 4) for each in error_range(1 - right)] if measured else None,
        "tied": int(made.tied.sum()),
        "single": int((made.answers == 1).sum()),
        "known": _known(job, heard, made, several, show),
    }


def _made(heard: Voices, several: int, method: str) -> _Made:
    """Of several classes, each is a question of its own, as when the job makes its labels."""
    asked, step = heard.objects, several or 1
    labels, confidence = np.zeros(asked, np.intp), np.zeros(asked)
    tied = np.zeros(asked, np.bool_)
    for first, votes in enumerate(heard.questions()):
        found = aggregate(votes, asked // step, len(heard.classes), method)
        labels[first::step], confidence[first::step] = found.labels, found.confidence
        tied[first::step] = found.tied
    answers = np.bincount(heard.votes.objects, minlength=asked).astype(np.intp)
    return _Made(labels, np.minimum(confidence, 1.0), tied, answers)


def _known(
    job: Job,
    heard: Voices,
    made: _Made,
    several: int,
    show: Callable[[Sequence[int]], Mapping[int, str | None]],
) -> dict[str, Any] | None:
    if heard.gold is None or not (heard.gold >= 0).any():
        return None
    known = np.flatnonzero(heard.gold >= 0)
    right = made.labels[known] == heard.gold[known]
    found = reliability(
        made.confidence[known], right, tied=made.tied[known], answers=made.answers[known], resamples=400
    )
    wrong = known[~right]
    # The surest first: there, what is known may be wrong.
    shown = wrong[np.argsort(-made.confidence[wrong], kind="stable")][:MOST_WRONG]
    numbers = heard.pictures[shown // (several or 1)].tolist()
    addresses = show(numbers)
    said = _counted(heard, shown)
    return {
        **_reliability(found),
        "pictures": len(np.unique(known // (several or 1))),
        "wrong": len(wrong),
        "shown": [
            {
                "object": number,
                "picture": addresses.get(number),
                "question": job.classes[index % several] if several else None,
                "known": heard.classes[heard.gold[index]],
                "label": heard.classes[made.labels[index]],
                "confidence": round(float(made.confidence[index]), 4),
                "votes": votes,
            }
            for index, number, votes in zip(shown.tolist(), numbers, said, strict=True)
        ],
    }


def _counted(heard: Voices, objects: NDArray[np.intp]) -> list[dict[str, int]]:
    """How many said what about each of these, the most frequent first."""
    found = []
    for index in objects.tolist():
        classes = heard.votes.classes[heard.votes.objects == index]
        counts = np.bincount(classes, minlength=len(heard.classes))
        order = np.argsort(-counts, kind="stable")
        found.append({heard.classes[each]: int(counts[each]) for each in order.tolist() if counts[each]})
    return found


def _reliability(found: Reliability) -> dict[str, Any]:
    return {
        "labels": found.all.count,
        "right": told(found.all.accuracy),
        "confidence": round(found.all.confidence, 4),
        "error": told(found.error),
        "noise": round(found.noise, 4),
        "bins": [
            {
                "low": round(each.low, 4),
                "high": round(each.high, 4),
                "labels": each.count,
                "confidence": round(each.confidence, 4),
                "right": told(each.accuracy),
            }
            for each in found.bins
        ],
        "tied": _group(found.tied),
        "single": _group(found.single),
    }


def _group(found: Group | None) -> dict[str, Any] | None:
    if found is None or not found.count:
        return None
    return {
        "labels": found.count,
        "confidence": round(found.confidence, 4),
        "right": told(found.accuracy),
    }


def told(estimate: Estimate) -> dict[str, float] | None:
    """An estimate as plain values; None where there is nothing to estimate."""
    if math.isnan(estimate.value):
        return None
    return {
        "value": round(estimate.value, 4),
        "low": round(estimate.low, 4),
        "high": round(estimate.high, 4),
    }
