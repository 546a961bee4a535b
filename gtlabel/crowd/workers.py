"""Who to believe: how good each worker is, how sure that is, and who needs a talk.

A worker is judged by what others say about the same objects, his own answer left out, and by gold where there
is some: whoever answers alone is never right by having said so himself. Only `accuracy`, since the doubt of
others is no mistake of his, weighs his answers with theirs. The model behind it is that of a
worker who knows the class of an object with a probability of his own and otherwise answers from a hat of his
own (as in MACE: Hovy et al. 2013, https://aclanthology.org/N13-1132). That probability is called `informed`
here: 1 for whoever is always right, 0 for whoever does not look.

Each flag but `fast` is a test with a stated false alarm rate over the whole crowd, not over each worker;
tests/benchmarks/workers.py shows by simulation what the rates of all of them are in truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gtlabel.crowd import collusion, drift
from gtlabel.crowd.beliefs import Beliefs, believe, spread_of_informed
from gtlabel.crowd.confusions import with_own
from gtlabel.crowd.intervals import Estimate, share, shares
from gtlabel.crowd.sums import check_votes
from gtlabel.crowd.votes import Votes
from gtlabel.errors import ConsensusError

# Fewer answers than this say nothing about how fast somebody is.
_FEWEST_TIMES = 10
# Fast is whoever stands so far below the others on a logarithmic scale, in robust standard deviations; people
# differ by at least 0.4 (half of them by more than a factor of 1.3), however few there are to tell it from.
_FAST_DEVIATIONS = 3.5
_LEAST_SPREAD = 0.4
# A spammer is surely less informed than this share of what the typical worker is, and may as well not be
# informed at all: not more than that in the lower end of the interval.
_SPAMMER_SHARE = 0.5
_GUESSING = 0.1
# Somebody changed when his accuracy moved by so much; less is not worth a talk.
_LEAST_CHANGE = 0.1
# Below this nobody can be told from somebody who does not look.
_LEAST_INFORMED = 0.05


@dataclass(frozen=True, slots=True)
class Flag:
    """A reason to look at a worker's answers.

    Attributes:
        kind: `spammer`, `contrary`, `copies`, `drift` or `fast`.
        why: one sentence with the figures behind it.
        others: the workers that it is about as well.
    """

    kind: str
    why: str
    others: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """One worker.

    Attributes:
        worker: who.
        answers: how many answers they gave.
        backed: how many of them are about objects that somebody else answered or whose class is known.
        accuracy: how often they are right, of backed answers: halfway between what everybody else says and
            what that says together with their own answers, and as sure as both. Mistakes that all make
            alike leave no trace in answers, and make it too high.
        gold_answers: how many answers are about objects whose class is known.
        gold: how often those are right; None without any.
        informed: how often they know the class rather than guess.
        spammer_score: 0 for who does not look, 1 for a perfect worker: see `spammer_score`.
        seconds: the median time an answer took; None where that is not known.
        change: where their accuracy changed most; None where that cannot be said.
        flags: reasons to look at their answers.
    """

    worker: int
    answers: int
    backed: int
    accuracy: Estimate
    gold_answers: int
    gold: Estimate | None
    informed: Estimate
    spammer_score: float
    seconds: float | None
    change: drift.Change | None
    flags: tuple[Flag, ...] = ()


def profiles(
    votes: Votes,
    objects: int,
    classes: int,
    *,
    gold: NDArray[np.intp] | None = None,
    seconds: ArrayLike | None = None,
    moments: ArrayLike | None = None,
    level: float = 0.95,
    alarm: float = 0.05,
    beliefs: Beliefs | None = None,
) -> list[Profile]:
    """Every worker with intervals and flags, by number.

    Args:
        votes: the answers.
        objects: how many objects there are.
        classes: how many classes there are.
        gold: the class of each object, -1 where it is not known; None without any.
        seconds: how long each answer took, nan where that is not known; None without any.
        moments: when each answer was given, in seconds of any clock, nan where not known; None without any.
        level: how often intervals hold the truth.
        alarm: the probability that a crowd without anything wrong gets any flag of a kind. Fast workers are
            told by a fixed distance from the others, whatever it is.
        beliefs: what `believe` found, where it was asked before.

    Raises:
        ConsensusError: if an array is not as long as it must be, or answers name what is not there.
    """
    check_votes(votes, objects, classes)
    known = believe(votes, objects, classes, gold) if beliefs is None else beliefs
    took = _times("seconds", seconds, votes)
    when = _times("moments", moments, votes)
    degrees, below = spread_of_informed(known)
    scores = spammer_scores(known)
    medians = _medians(took, votes, known.workers)
    order = np.argsort(votes.workers, kind="stable")
    ends = np.searchsorted(votes.workers[order], np.arange(known.workers + 1))
    backed = _sums(votes, known.backed > 0, known.workers)
    accuracy = _accuracies(known, backed, level)
    golden = _sums(votes, known.golden, known.workers)
    gold_accuracy = shares(_sums(votes, known.golden & (known.right > 0.5), known.workers), golden, level)
    found = []
    for worker in range(known.workers):
        mine = order[ends[worker] : ends[worker + 1]]
        found.append(
            Profile(
                worker=worker,
                answers=len(mine),
                backed=int(backed[worker]),
                accuracy=accuracy[worker],
                gold_answers=int(golden[worker]),
                gold=gold_accuracy[worker] if golden[worker] else None,
                informed=_middle(degrees[:, worker], below[:, worker], level),
                spammer_score=float(scores[worker]),
                seconds=None if math.isnan(medians[worker]) else float(medians[worker]),
                change=_change(known, mine, when),
            )
        )
    flags = _flags(known, found, degrees, below, alarm)
    return [replace(profile, flags=tuple(flags[profile.worker])) for profile in found]


def spammer_scores(beliefs: Beliefs) -> NDArray[np.float64]:
    """`spammer_score` of each worker, by how often each knows the class: the square of that.

    For a worker who knows the class with probability p and else answers from one hat, two rows of the
    confusion matrix differ by p in two places, which makes the score p squared for any number of classes.
    """
    squared: NDArray[np.float64] = beliefs.informed**2
    return squared


def spammer_score(confusion: NDArray[np.float64]) -> float:
    """How far a worker's answers depend on what he sees, from 0 for a spammer to 1 for a perfect worker.

    The mean squared distance between the rows of the confusion matrix: a spammer's are all alike (Raykar &
    Yu 2012, https://jmlr.org/papers/v13/raykar12a.html, section 3). Who swaps two classes always is no
    spammer by this. Matrices counted from few answers have rows apart by chance, and a score too high.

    Args:
        confusion: the share of each class said, for each true class, `[classes, classes]`.
    """
    classes = len(confusion)
    if classes < 2:
        return 0.0
    # The sum of squared distances over all pairs is that to the mean row, times the number of rows.
    apart = ((confusion - confusion.mean(axis=0)) ** 2).sum() * classes
    return float(apart / (classes * (classes - 1)))


def _sums(votes: Votes, values: ArrayLike, workers: int) -> NDArray[np.float64]:
    weights = np.asarray(values, np.float64)
    return np.bincount(votes.workers, weights=weights, minlength=workers).astype(np.float64)


def _accuracies(beliefs: Beliefs, backed: NDArray[np.float64], level: float) -> list[Estimate]:
    """How often each worker is right, between what others say alone and together with his own answers.

    Where objects have few answers others are in doubt, which is no mistake of his: by them alone he is right
    less often than he is. Where people err alike, both are too high.
    """
    votes = beliefs.votes
    together = np.take_along_axis(with_own(beliefs), votes.classes[:, None], axis=1)[:, 0]
    low, high = (
        shares(_sums(votes, np.where(beliefs.backed > 0, right, 0.0), beliefs.workers), backed, level)
        for right in (beliefs.right, together)
    )
    return [
        Estimate((one.value + two.value) / 2, one.low, two.high) for one, two in zip(low, high, strict=True)
    ]


def _middle(degrees: NDArray[np.float64], below: NDArray[np.float64], level: float) -> Estimate:
    tail = (1 - level) / 2
    low, value, high = (float(np.interp(p, below, degrees)) for p in (tail, 0.5, 1 - tail))
    return Estimate(value, low, high)


def _times(name: str, given: ArrayLike | None, votes: Votes) -> NDArray[np.float64] | None:
    if given is None:
        return None
    values = np.asarray(given, np.float64)
    if values.shape != votes.objects.shape:
        raise ConsensusError(
            f"`{name}` wants one number for each of {len(votes.objects)} answers; got {values.shape}"
        )
    return values


def _medians(took: NDArray[np.float64] | None, votes: Votes, workers: int) -> NDArray[np.float64]:
    medians = np.full(workers, np.nan)
    if took is None:
        return medians
    fine = np.flatnonzero(~np.isnan(took))
    order = fine[np.lexsort((took[fine], votes.workers[fine]))]
    counts = np.bincount(votes.workers[order], minlength=workers)
    starts = np.cumsum(counts) - counts
    there = counts > 0
    low = took[order[starts[there] + (counts[there] - 1) // 2]]
    high = took[order[starts[there] + counts[there] // 2]]
    medians[there] = (low + high) / 2
    return medians


def _change(
    beliefs: Beliefs, mine: NDArray[np.intp], when: NDArray[np.float64] | None
) -> drift.Change | None:
    if when is None:
        return None
    timed = mine[(beliefs.backed[mine] > 0) & ~np.isnan(when[mine])]
    if not len(timed):
        return None
    others = beliefs.others[timed]
    worker = int(beliefs.votes.workers[timed[0]])
    degree, habit = beliefs.informed[worker], beliefs.habit[worker]
    expected = degree * (others**2).sum(axis=1) + (1 - degree) * (others @ habit)
    return drift.change(when[timed], beliefs.right[timed], expected)


def _flags(
    beliefs: Beliefs,
    found: Sequence[Profile],
    degrees: NDArray[np.float64],
    below: NDArray[np.float64],
    alarm: float,
) -> list[list[Flag]]:
    flags: list[list[Flag]] = [[] for _ in found]
    _flag_spammers(beliefs, found, degrees, below, alarm, flags)
    for pair in collusion.colluders(beliefs, alarm):
        why = (
            f"gave the same answer on {pair.same} of {pair.shared} shared pictures; "
            f"{pair.expected:.1f} are expected from people who work on their own"
        )
        flags[pair.first].append(Flag("copies", why, (pair.second,)))
        flags[pair.second].append(Flag("copies", why, (pair.first,)))
    changes = [(profile.worker, profile.change) for profile in found if profile.change is not None]
    for worker, change in changes:
        moved = abs(change.after - change.before)
        if change.chance < alarm / len(changes) and moved >= _LEAST_CHANGE:
            way = "worse" if change.after < change.before else "better"
            why = (
                f"got {way} after {change.at} answers: right in {change.before:.0%} of them until then, "
                f"in {change.after:.0%} since"
            )
            flags[worker].append(Flag("drift", why))
    _flag_fast(found, flags)
    return flags


def _flag_spammers(
    beliefs: Beliefs,
    found: Sequence[Profile],
    degrees: NDArray[np.float64],
    below: NDArray[np.float64],
    alarm: float,
    flags: list[list[Flag]],
) -> None:
    judged = [profile.worker for profile in found if profile.backed]
    if not judged:
        return
    typical = float(np.median([found[worker].informed.value for worker in judged]))
    if typical < _LEAST_INFORMED:
        return
    bar = alarm / len(judged)
    right, chance = beliefs.right, beliefs.others @ beliefs.prior
    for worker in judged:
        better = 1 - float(np.interp(_SPAMMER_SHARE * typical, degrees[:, worker], below[:, worker]))
        if better >= bar or found[worker].informed.low > _GUESSING * typical:
            continue
        mine = (beliefs.votes.workers == worker) & (beliefs.backed > 0)
        accuracy = share(float(right[mine].sum()), int(mine.sum()), 1 - 2 * bar)
        guessing = float(chance[mine].mean())
        informed = found[worker].informed
        if accuracy.high < guessing:
            why = (
                f"is right in {accuracy.value:.0%} of {int(mine.sum())} answers, less than by guessing "
                f"({guessing:.0%}); perhaps classes were mixed up"
            )
            flags[worker].append(Flag("contrary", why))
        else:
            why = (
                f"answers hardly depend on what is seen: knows the class in {informed.value:.0%} of cases "
                f"({informed.high:.0%} at most), the typical worker in {typical:.0%}"
            )
            flags[worker].append(Flag("spammer", why))


def _flag_fast(found: Sequence[Profile], flags: list[list[Flag]]) -> None:
    timed = [p for p in found if p.seconds is not None and p.seconds > 0 and p.answers >= _FEWEST_TIMES]
    if len(timed) < 2:
        return
    logs = np.log([profile.seconds for profile in timed if profile.seconds is not None])
    typical = float(np.median(logs))
    # Of a normal distribution, the median distance from the middle is 1 / 1.4826 standard deviations.
    spread = max(_LEAST_SPREAD, 1.4826 * float(np.median(np.abs(logs - typical))))
    for profile, log in zip(timed, logs, strict=True):
        if log < typical - _FAST_DEVIATIONS * spread:
            why = (
                f"takes {math.exp(log):.1f} s for an answer; the typical worker takes "
                f"{math.exp(typical):.1f} s"
            )
            flags[profile.worker].append(Flag("fast", why))
