"""From many answers to one label: the public address of consensus, and what the engine asks for.

Every method is a function of the answers and of how many objects and classes there are, and gives a
`Consensus`; options have names and defaults. `aggregate` calls one by its name, `Online` takes answers as
they arrive:

    named = Named.of([("1.jpg", "ann", "cat"), ("1.jpg", "bob", "dog"), ("1.jpg", "joe", "cat")])
    found = aggregate(named.votes)
    [named.classes[label] for label in found.labels], found.confidence

`expected_calibration_error` and `reliability` tell whether its probabilities mean what they say, where truth
is known.

`single` and `multi` label one batch as AWS does (`crowd.aws`): the confidence is 0.95 times the posterior, in
two decimals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gtlabel.crowd.auto import auto
from gtlabel.crowd.aws import aws, posteriors
from gtlabel.crowd.bayes import bayes
from gtlabel.crowd.calibration import expected_calibration_error, reliability
from gtlabel.crowd.dawidskene import dawid_skene, one_coin
from gtlabel.crowd.glad import glad
from gtlabel.crowd.mace import mace
from gtlabel.crowd.majority import majority, wawa
from gtlabel.crowd.methods import METHODS, aggregate
from gtlabel.crowd.online import Online
from gtlabel.crowd.votes import Consensus, Named, Votes

__all__ = [
    "METHODS",
    "Consensus",
    "Label",
    "Named",
    "Online",
    "Votes",
    "aggregate",
    "auto",
    "aws",
    "bayes",
    "dawid_skene",
    "expected_calibration_error",
    "glad",
    "mace",
    "majority",
    "multi",
    "one_coin",
    "posteriors",
    "reliability",
    "single",
    "wawa",
]

# No label is surer than this (fitted to the recorded job).
_CEILING = 0.95


@dataclass(frozen=True, slots=True)
class Label:
    """The class one object was given, and how sure that is within its job."""

    index: int
    confidence: float


def single(votes: Votes, objects: int, classes: int) -> list[Label]:
    """One label for each object of a batch; ties go to the lowest class index.

    Args:
        votes: the answers of the batch; each object needs at least one.
        objects: how many objects the batch has.
        classes: how many classes the job has, also those that nobody chose.
    """
    posterior = posteriors(votes, objects, classes)
    # Sums in another order differ in their last digits; that must not break a tie.
    chosen = np.round(posterior, 9).argmax(axis=1)
    surest = posterior[np.arange(objects), chosen]
    return [Label(int(index), _confidence(value)) for index, value in zip(chosen, surest, strict=True)]


def multi(chosen: Sequence[Sequence[tuple[str, frozenset[int]]]]) -> list[list[Label]]:
    """Every class that at least one worker chose, for each object of a batch, with its confidence.

    Each class is a yes-or-no question of its own, answered by the same model; AWS does not publish its own
    (contract 6.1). Classes stand in the order in which the answers name them, lower indices first within
    one answer; nothing is left out for being unsure.

    Args:
        chosen: per object, per answer, who answered and which classes they chose.
    """
    labels: list[list[Label]] = [[] for _ in chosen]
    named = [list(dict.fromkeys(c for _, picked in answers for c in sorted(picked))) for answers in chosen]
    confidences: dict[tuple[int, int], float] = {}
    for index in sorted({c for order in named for c in order}):
        votes = Votes.of(
            [
                (number, worker, int(index in picked))
                for number, answers in enumerate(chosen)
                for worker, picked in answers
            ]
        )
        yes = posteriors(votes, len(chosen), 2)[:, 1]
        confidences.update({(number, index): _confidence(value) for number, value in enumerate(yes)})
    for number, order in enumerate(named):
        labels[number] = [Label(c, confidences[number, c]) for c in order]
    return labels


def _confidence(probability: float) -> float:
    return round(_CEILING * float(probability), 2)
