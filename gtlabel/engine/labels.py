"""From what people said about images to labels: by a batch alone, or by all that a job has heard so far.

The way of AWS decides each batch by itself (contract/ground-truth.md 5.4), so that a worker's record is
forgotten after 50 images. Every other method looks at the answers of the whole job: while it runs, at the
latest ones, which is cheap; and at its end at all of them, which is what counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from gtlabel.engine.jobs import Job, Kind
from gtlabel.engine.leasing import check_answer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gtlabel.crowd.votes import Consensus, Votes
    from gtlabel.engine.consensus import Label
    from gtlabel.engine.entries import Answer, Answered

#: The name of the way AWS consolidates, which is no method over a whole job.
AWS = "aws"

_NONE: Mapping[int, frozenset[int]] = MappingProxyType({})

# Who said what about one image; the classes by their indices.
Said = tuple[tuple[str, frozenset[int]], ...]
# What tells the meaning of answers to a question: it gets a number for the question, the answers as image,
# worker and class, how many classes they choose from, and the class of each image, -1 if it is not known.
Weigh = Callable[[int, Sequence[tuple[int, str, int]], int, Sequence[int]], "Consensus"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all answers together say.

    Attributes:
        labels: of each image, by its number.
        votes: the answers, on images by their places in `labels`. Where several classes may be chosen,
            class 0 is to have chosen just those of the label, and class 1 is anything else.
        posterior: the probability of each of the votes' classes, `(images, classes)`. Where several may be
            chosen, class 1 is only as likely as the likeliest of all other choices is beside the label.
        error: how likely the label of each image is to be wrong, `(images,)`. Where several classes may be
            chosen, that is anything about it, and the classes are taken for independent: small doubts about
            many of them add up, so that it is rather too much than too little.
    """

    labels: Mapping[int, list[Label]]
    votes: Votes
    posterior: NDArray[np.float64]
    error: NDArray[np.float64]


def said(job: Job, answers: Iterable[Answer]) -> Said:
    """Who said what about one image."""
    return tuple((answer.worker, chosen(job, answer.content)) for answer in answers)


def chosen(job: Job, content: str) -> frozenset[int]:
    """The classes that an answer, as JSON, names."""
    return check_answer(job, json.loads(content))


def of_batch(job: Job, images: Sequence[Answered]) -> list[list[Label]]:
    """The labels of a batch as AWS makes them, which know nothing of other batches."""
    # Nobody waits in a streaming job for others to make a batch with, so nobody's label depends on others.
    together = [[image] for image in images] if job.spec.streaming else [images]
    return [label for group in together for label in _alone(job, group)]


def verdict(job: Job, heard: Mapping[int, Said], gold: Mapping[int, frozenset[int]] = _NONE) -> Verdict:
    """The labels of all images by the method of their job.

    Args:
        job: the job.
        heard: who said what about each image; each has at least one answer.
        gold: the classes of images that are known, by their numbers.
    """
    return weighed(job, heard, gold, lambda _, *said: fitted(job.spec.consensus, *said))


def weighed(job: Job, heard: Mapping[int, Said], gold: Mapping[int, frozenset[int]], weigh: Weigh) -> Verdict:
    """The labels of images, with what their answers mean told by `weigh`."""
    known = [gold.get(number) for number in heard]
    several = job.spec.kind is Kind.MULTI
    made = _several(heard, known, weigh) if several else _one(heard, known, weigh, len(job.classes))
    if job.spec.workers_per_object > 1:
        return made
    return replace(
        made, labels={number: _unsure(heard[number], each) for number, each in made.labels.items()}
    )


def _alone(job: Job, images: Sequence[Answered]) -> list[list[Label]]:
    # numpy takes a sixth of the start of a server, which has no answers yet.
    from gtlabel.engine import consensus

    heard = [said(job, image.answers) for image in images]
    if job.spec.kind is Kind.MULTI:
        made = consensus.multi(heard)
    else:
        votes = consensus.Votes.of(
            [(place, who, index) for place, each in enumerate(heard) for who, what in each for index in what]
        )
        made = [[label] for label in consensus.single(votes, len(images), len(job.classes))]
    if job.spec.workers_per_object > 1:
        return made
    return [_unsure(each, labels) for each, labels in zip(heard, made, strict=True)]


def _unsure(heard: Said, labels: list[Label]) -> list[Label]:
    # Where one worker is asked, AWS states 0.0, which means "one worker" and not "unsure" (contract 5.4).
    return [replace(label, confidence=0.0) for label in labels] if len(heard) == 1 else labels


def _one(
    heard: Mapping[int, Said], known: Sequence[frozenset[int] | None], weigh: Weigh, classes: int
) -> Verdict:
    from gtlabel.engine.consensus import Label, Votes

    answers = [
        (place, who, index)
        for place, each in enumerate(heard.values())
        for who, what in each
        for index in what
    ]
    truth = [-1 if each is None else min(each) for each in known]
    found = weigh(0, answers, classes, truth)
    labels = {
        number: [Label(int(index), round(float(sure), 2))]
        for number, index, sure in zip(heard, found.labels, found.confidence, strict=True)
    }
    return Verdict(labels, Votes.of(answers), found.posterior, 1 - found.posterior.max(axis=1))


def _several(heard: Mapping[int, Said], known: Sequence[frozenset[int] | None], weigh: Weigh) -> Verdict:
    """Each class that anybody chose, or that is known, is a question of its own, answered with yes or no."""
    import numpy as np

    from gtlabel.engine.consensus import Label, Votes

    everybody = list(heard.values())
    picks = [
        (*(what for _, what in each), truth or frozenset())
        for each, truth in zip(everybody, known, strict=True)
    ]
    named = [list(dict.fromkeys(c for picked in each for c in sorted(picked))) for each in picks]
    yes: dict[int, NDArray[np.float64]] = {}
    for index in sorted({c for order in named for c in order}):
        polled = [
            (place, who, int(index in what)) for place, each in enumerate(everybody) for who, what in each
        ]
        truth = [-1 if each is None else int(index in each) for each in known]
        yes[index] = weigh(index, polled, 2, truth).posterior[:, 1]
    labels = {
        number: [Label(c, round(float(yes[c][place]), 2)) for c in order]
        for place, (number, order) in enumerate(zip(heard, named, strict=True))
    }
    likely = [frozenset(c for c in yes if yes[c][place] > 0.5) for place in range(len(heard))]
    right, doubt = np.ones(len(heard)), np.zeros(len(heard))
    for each in yes.values():
        right *= np.maximum(each, 1 - each)
        doubt = np.maximum(doubt, np.minimum(each, 1 - each))
    votes = Votes.of(
        [
            (place, who, int(what != likely[place]))
            for place, each in enumerate(everybody)
            for who, what in each
        ]
    )
    return Verdict(labels, votes, np.column_stack([1 - doubt, doubt]), 1 - right)


def fitted(
    method: str, answers: Sequence[tuple[int, str, int]], classes: int, truth: Sequence[int]
) -> Consensus:
    """What a method makes of answers, each image, worker and class, by themselves."""
    from gtlabel.crowd.votes import Votes

    return fit(method, Votes.of(answers), classes, truth)


def fit(method: str, votes: Votes, classes: int, truth: Sequence[int]) -> Consensus:
    """What a method makes of votes on objects some of whose classes are known; -1 for all others."""
    import inspect

    import numpy as np

    from gtlabel.crowd.methods import METHODS, aggregate

    known = np.array(truth, dtype=np.intp)
    if not np.any(known >= 0):
        return aggregate(votes, len(truth), classes, method)
    make = METHODS[method.replace("-", "_")]
    if "known" in inspect.signature(make).parameters:
        return make(votes, len(truth), classes, known=known)
    # One that cannot learn from what is known is at least not contradicted by it.
    found = make(votes, len(truth), classes)
    return replace(found, posterior=clamped(found.posterior, known))


def clamped(posterior: NDArray[np.float64], known: NDArray[np.intp]) -> NDArray[np.float64]:
    """A posterior with certainty about what is known."""
    import numpy as np

    places = np.flatnonzero(known >= 0)
    sure = posterior.copy()
    sure[places] = 0
    sure[places, known[places]] = 1
    return sure
