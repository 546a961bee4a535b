"""How often workers are flagged for nothing, and how often those are found who deserve it.

Run: python tests/benchmarks/workers.py [--seeds 20] [--kinds 0]

Example: python tests/benchmarks/workers.py --seeds 2 --kinds 2

Crowds of many kinds are simulated (gtlabel.crowd.simulated): skewed classes, pictures that mislead everybody
alike, workers with ways of their own. Each is judged twice. Once as it is, without anybody who guesses,
copies or changes: every flag is a false alarm, and the table counts the crowds that have one. A worker who
carries less than half of what the typical one does, by the truth, is no false alarm as a spammer. And once
with four workers spoiled, of those with thirty answers or more: one guesses, one copies four in five answers
from somebody he shares most objects with, one guesses every second answer from his middle on, one takes a
sixth of the time.

The promise of `gtlabel.crowd.workers.profiles` is that at most one honest crowd in twenty has a flag of a
kind. Ends with 1 if one has more, by more than two standard errors over all crowds.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gtlabel.crowd.simulated import KINDS, Crowd, simulated
from gtlabel.crowd.votes import Votes
from gtlabel.crowd.workers import profiles

FLAGS = ("spammer", "contrary", "copies", "drift", "fast")
ALARM = 0.05
_FEWEST = 30
_COPIED = 0.8
_SPOILED = 4


@dataclass(frozen=True)
class Told:
    """What a crowd is judged by: its answers, when they were given and how long they took."""

    votes: Votes
    moments: NDArray[np.float64]
    seconds: NDArray[np.float64]
    # Who was spoiled in which way; copying has two names, of whom either will do.
    spoiled: dict[str, int]


def honest(crowd: Crowd, random: np.random.Generator) -> Told:
    """A crowd as it is: in any order, everybody with a pace of his own."""
    answers = len(crowd.votes.objects)
    pace = np.exp(1.5 + 0.4 * random.standard_normal(crowd.workers))
    seconds = pace[crowd.votes.workers] * np.exp(0.6 * random.standard_normal(answers))
    return Told(crowd.votes, random.permutation(answers).astype(float), seconds, {})


def spoiled(crowd: Crowd, told: Told, random: np.random.Generator) -> Told:
    """The same crowd with four workers spoiled, or fewer where not as many answered enough."""
    votes, said, seconds = told.votes, told.votes.classes.copy(), told.seconds.copy()
    given = np.bincount(votes.workers, minlength=crowd.workers)
    busy = random.permutation(np.flatnonzero(given >= _FEWEST))[:_SPOILED]
    names = dict(zip(("spammer", "copies", "drift", "fast"), (int(worker) for worker in busy), strict=False))
    for name, worker in names.items():
        mine = np.flatnonzero(votes.workers == worker)
        if name == "spammer":
            said[mine] = random.integers(0, crowd.classes, len(mine))
        elif name == "copies":
            beside = [w for w in range(crowd.workers) if w not in names.values()]
            shared = np.bincount(
                votes.workers[np.isin(votes.objects, votes.objects[mine])], minlength=crowd.workers
            )
            model = max(beside, key=lambda w: int(shared[w]))
            answer = dict(
                zip(votes.objects[votes.workers == model], said[votes.workers == model], strict=True)
            )
            for at in mine:
                if votes.objects[at] in answer and random.random() < _COPIED:
                    said[at] = answer[votes.objects[at]]
        elif name == "drift":
            late = mine[np.argsort(told.moments[mine])][len(mine) // 2 :]
            late = late[random.random(len(late)) < 0.5]
            said[late] = random.integers(0, crowd.classes, len(late))
        else:
            seconds[mine] /= 6
    return Told(Votes(votes.objects, votes.workers, said), told.moments, seconds, names)


def flagged(crowd: Crowd, told: Told) -> dict[str, set[int]]:
    """Who has which flag."""
    found: dict[str, set[int]] = {name: set() for name in FLAGS}
    for profile in profiles(
        told.votes, crowd.objects, crowd.classes, seconds=told.seconds, moments=told.moments, alarm=ALARM
    ):
        for flag in profile.flags:
            found[flag.kind].add(profile.worker)
    return found


def weak(crowd: Crowd, truth: NDArray[np.intp]) -> set[int]:
    """Workers who carry less than half of what the typical one does, by the truth."""
    votes, classes = crowd.votes, crowd.classes
    carried = np.full(crowd.workers, np.nan)
    for worker in range(crowd.workers):
        mine = (votes.workers == worker) & (truth[votes.objects] >= 0)
        if mine.sum() < _FEWEST:
            continue
        said, true = votes.classes[mine], truth[votes.objects[mine]]
        habit = np.bincount(said, minlength=classes) / len(said)
        real = np.bincount(true, minlength=classes) / len(true)
        if (room := 1 - float(real @ real)) > 0:
            carried[worker] = (float((said == true).mean()) - float(habit @ real)) / room
    return set(np.flatnonzero(carried < np.nanmedian(carried) / 2)) if not np.isnan(carried).all() else set()


def interval(share: float, of: int) -> str:
    """Wilson's 95 % interval in per cent."""
    if not of:
        return "-"
    z = 1.96
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return f"{max(0, middle - half):.1%}-{min(1, middle + half):.1%}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--kinds", type=int, default=0, help="only so many kinds of crowds; 0 for all")
    parser.add_argument("--answers", type=int, default=50_000, help="no crowds with more answers")
    options = parser.parse_args(arguments)
    kinds = {
        name: replace(kind, guessers=0.0, stubborn=0.0, told="all")
        for name, kind in KINDS.items()
        if kind.objects * kind.answers <= options.answers
    }
    if options.kinds:
        kinds = dict(list(kinds.items())[: options.kinds])
    print(f"{'crowd':28}" + "".join(f"{name:>19}" for name in FLAGS) + "   (crowds with false alarms; found)")
    false, planted, found, crowds = Counter[str](), Counter[str](), Counter[str](), 0
    began = time.process_time()
    for name, kind in kinds.items():
        here, sown, caught = Counter[str](), Counter[str](), Counter[str]()
        for seed in range(options.seeds):
            crowd, random = simulated(kind, seed), np.random.default_rng(seed)
            told = honest(crowd, random)
            pardoned = weak(crowd, crowd.truth)
            for flag, workers in flagged(crowd, told).items():
                here[flag] += bool(workers - pardoned if flag in ("spammer", "contrary") else workers)
            bad = spoiled(crowd, told, random)
            caught_now = flagged(crowd, bad)
            for flag, worker in bad.spoiled.items():
                sown[flag] += 1
                caught[flag] += worker in caught_now[flag]
        crowds += options.seeds
        cells = (
            f"{here[flag]:>4}/{options.seeds}"
            + (f"{caught[flag]:>6}/{sown[flag]}" if sown[flag] else " " * 8)
            for flag in FLAGS
        )
        print(f"{name:28}" + "".join(f"{cell:>19}" for cell in cells), flush=True)
        false, planted, found = false + here, planted + sown, found + caught
    print(f"\n{crowds} honest crowds, as many spoiled ones, {time.process_time() - began:.0f} s of CPU")
    broken = False
    for flag in FLAGS:
        rate = false[flag] / crowds
        kept = rate <= ALARM + 2 * math.sqrt(ALARM * (1 - ALARM) / crowds)
        broken |= not kept
        power = f"{found[flag]} of {planted[flag]} found" if planted[flag] else "none planted"
        print(
            f"{flag:10} false alarms in {rate:6.1%} of crowds ({interval(rate, crowds)}), "
            f"promised {ALARM:.0%}: "
            f"{'kept' if kept else 'BROKEN'}; {power}"
        )
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
