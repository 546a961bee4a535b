"""From many answers to one label: what the engine asks for, and the address of everything in `gtlabel.crowd`.

`single` and `multi` label one batch as AWS does (`crowd.aws`): the confidence is 0.95 times the posterior, in
two decimals. Every other method is a function of `Votes`, found by its name in `METHODS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gtlabel.crowd.auto import auto
from gtlabel.crowd.aws import aws, posteriors
from gtlabel.crowd.bayes import bayes
from gtlabel.crowd.dawidskene import dawid_skene, one_coin
from gtlabel.crowd.glad import glad
from gtlabel.crowd.mace import mace
from gtlabel.crowd.majority import wawa
from gtlabel.crowd.methods import METHODS, aggregate
from gtlabel.crowd.votes import Consensus, Votes

__all__ = [
    "METHODS",
    "Consensus",
    "Label",
    "Votes",
    "aggregate",
    "auto",
    "aws",
    "bayes",
    "dawid_skene",
    "glad",
    "mace",
    "majority",
    "multi",
    "one_coin",
    "posteriors",
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


def majority(votes: Votes, objects: int, classes: int) -> list[Label]:
    """The class most answers name, lowest index first in a tie, with its share of the answers."""
    counts = np.zeros((objects, classes))
    np.add.at(counts, (votes.objects, votes.classes), 1)
    chosen = counts.argmax(axis=1)
    shares = counts[np.arange(objects), chosen] / counts.sum(axis=1)
    return [Label(int(index), float(share)) for index, share in zip(chosen, shares, strict=True)]


def _confidence(probability: float) -> float:
    return round(_CEILING * float(probability), 2)
