"""What a policy of redundancy would have made of answers that are there already.

Recorded answers are handed out as the policy asks for them, so that what it saves and what it costs can be
told before a real crowd is paid. Who answers next is not the policy's choice, as in a real job.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gtlabel.crowd.votes import Consensus, Votes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gtlabel.crowd.redundancy import Ask, Redundancy

Label = Callable[[Votes, int, int], Consensus]


@dataclass(frozen=True, slots=True)
class Replay:
    """How a job would have gone.

    Attributes:
        used: (answers,) which of the recorded answers were asked for.
        consensus: what they make of the objects.
        ask: the policy's last word.
        rounds: how often it asked.
    """

    used: NDArray[np.bool_]
    consensus: Consensus
    ask: Ask
    rounds: int


def replay(
    votes: Votes, objects: int, classes: int, policy: Redundancy, label: Label, seed: int | None = None
) -> Replay:
    """Hand out recorded answers as the policy asks for them, until it asks for none.

    Args:
        votes: the recorded answers.
        objects: how many objects there are.
        classes: how many classes there are.
        policy: asks; an object never gets more answers than were recorded for it.
        label: the method that makes labels of the answers so far, for example `crowd.auto.auto`.
        seed: for the order in which the answers of each object come; None for the order recorded.
    """
    rank, recorded = _ranks(votes, objects, seed)
    wanted = np.zeros(objects, dtype=np.intp)
    rounds = 0
    while True:
        used = rank < wanted[votes.objects]
        so_far = subset(votes, used)
        consensus = label(so_far, objects, classes) if used.any() else _nothing_known(objects, classes)
        ask = policy.ask(so_far, consensus.posterior, limit=recorded)
        if ask.done:
            return Replay(used, consensus, ask, rounds)
        wanted += ask.more
        rounds += 1


def fixed(
    votes: Votes, objects: int, answers: int | NDArray[np.intp], seed: int | None = None
) -> NDArray[np.bool_]:
    """Which of the recorded answers are among the first so many of their object, in the order of `replay`.

    Args:
        votes: the recorded answers.
        objects: how many objects there are.
        answers: how many of each object's; one number, or (objects,).
        seed: as in `replay`.
    """
    rank, _ = _ranks(votes, objects, seed)
    return rank < np.broadcast_to(answers, objects)[votes.objects]


def subset(votes: Votes, kept: NDArray[np.bool_]) -> Votes:
    """Some of the answers; workers of whom none is left have no number any more."""
    _, workers = np.unique(votes.workers[kept], return_inverse=True)
    return Votes(votes.objects[kept], workers.astype(np.intp), votes.classes[kept])


def _ranks(votes: Votes, objects: int, seed: int | None) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Each answer's place among those of its object, and how many each object has."""
    answers = len(votes.objects)
    moment = np.arange(answers) if seed is None else np.random.default_rng(seed).permutation(answers)
    order = np.lexsort((moment, votes.objects))
    recorded = np.bincount(votes.objects, minlength=objects).astype(np.intp)
    first = np.cumsum(recorded) - recorded
    rank = np.empty(answers, dtype=np.intp)
    rank[order] = np.arange(answers) - np.repeat(first, recorded)
    return rank, recorded


def _nothing_known(objects: int, classes: int) -> Consensus:
    return Consensus(np.full((objects, classes), 1 / classes), None, None, "none", 0, None)
