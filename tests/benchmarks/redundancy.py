"""What answers asked for only where they matter are worth, against five for everything.

Run: python tests/benchmarks/redundancy.py [--seeds 20] [--crowds /work/shared/data/crowd] [--objects 200]
         [--kinds 22] [--methods auto,majority] [--share 0.6] [--error 0.05]

Example: python tests/benchmarks/redundancy.py --seeds 2 --kinds 1 --objects 60 --crowds /nowhere

Recorded answers are replayed (gtlabel.crowd.replay): public crowds (folders with labels.csv.gz and
gold.csv.gz; objects with five answers or more, of a large crowd four times --objects of them), the same with
no more than five answers on record (`of five`: what is saved on one object may be spent on another, but never
beyond five), and simulated ones (gtlabel.crowd.simulated, each kind with ten answers or more for each
object). A seed decides in which order the answers of each object come, and draws the simulated crowd.

Fixed: the first five answers of each object. Adaptive: `Redundancy(first=2, most=9)` with a budget of 60 %
of those answers; it is asked with the posterior of the same method that makes the labels. Gold is seen by the
figures alone. A tie counts by its share. All differences are paired by seed, in points, with 95 % intervals
(t distribution); on public crowds they are about the order of answers, and not about other objects.

* `to votes`: less the majority of five fixed answers, which is what five votes are without gtlabel.
* `to same`: less the same method on five fixed answers, which learns of workers from all of them.
* `known`: `to same` if workers need not be learned: each is believed as the gold says he deserves.
* `least`: no test whatever can do with less than this share of five answers, and be wrong no more often than
  their majority, if workers and objects are all alike, with the crowd's mean of right answers, and of those
  for the most frequent wrong class (Wald and Wolfowitz, Optimum character of the sequential probability ratio
  test, 1948). Where it is above 60 %, only what workers and objects differ in can help.

A bar is missed where `to votes` or `to same` of `auto` is below -0.5 points (the mean, so that few seeds make
it no easier), or where more than 60 % of the answers were asked for; the program then ends with 1. A second
table lets the policy stop by itself at --error: what it expected, and what was wrong. A third compares the
two for the first two, three and five answers of each object. Both must be inside of what
`gtlabel.crowd.redundancy.OFF_BY` tells users.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import log
from pathlib import Path

import numpy as np
from crowd_files import Recorded, read
from numpy.typing import NDArray

from gtlabel.crowd.methods import METHODS
from gtlabel.crowd.redundancy import OFF_BY, Redundancy
from gtlabel.crowd.replay import fixed, replay, subset
from gtlabel.crowd.simulated import KINDS, simulated
from gtlabel.crowd.votes import Votes

Floats = NDArray[np.float64]

FIVE, FIRST, MOST, RECORDED = 5, 2, 9, 10
# After so many answers each the expected error is compared with what is wrong.
EARLY = (2, 3, 5)
# A loss of so little, in points, is no loss.
MARGIN = 0.5
# Two-sided 95 % points of Student's t by degrees of freedom, up to 19; beyond that nearly the normal's.
_STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13, 2.12)


@dataclass(frozen=True)
class Run:
    """What came of one seed and method."""

    five: float
    adaptive: float
    majority: float
    share: float
    rounds: int
    expected: float


def public(folder: Path, most: int, seed: int) -> Recorded:
    """A crowd that was recorded: its objects with five answers or more, those with known truth first."""
    said, gold = read(folder)
    counts = Counter(task for task, _ in said)
    able = sorted(task for task, count in counts.items() if count >= FIVE)
    drawn = np.random.default_rng(seed).permutation(len(able))
    chosen = sorted((able[number] for number in drawn), key=lambda task: task not in gold)[:most]
    tasks = {task: number for number, task in enumerate(chosen)}
    classes = {name: number for number, name in enumerate(sorted({*said.values(), *gold.values()}))}
    kept = [(task, worker, label) for (task, worker), label in said.items() if task in tasks]
    votes = Votes.of([(tasks[task], worker, classes[label]) for task, worker, label in kept])
    truth = np.array([classes[gold[task]] if task in gold else -1 for task in chosen], dtype=np.intp)
    return Recorded(votes, len(chosen), len(classes), truth)


def cut(crowd: Recorded, seed: int) -> Recorded:
    """As if only the first five answers of each object had been recorded."""
    kept = fixed(crowd.votes, crowd.objects, FIVE, seed)
    return replace(crowd, votes=subset(crowd.votes, kept))


def crowds(options: argparse.Namespace) -> Iterator[tuple[str, list[Recorded]]]:
    """Each crowd by its name, once for each seed."""
    if options.crowds.is_dir():
        for folder in sorted(options.crowds.iterdir()):
            if folder.is_dir():
                whole = [public(folder, 4 * options.objects, seed) for seed in range(options.seeds)]
                yield folder.name, whole
                yield f"{folder.name}, of five", [cut(each, seed) for seed, each in enumerate(whole)]
    for name, kind in list(KINDS.items())[: options.kinds]:
        objects = min(kind.objects, options.objects)
        # As many answers by each worker as in the kind, or there would be another trouble than the kind's.
        answers = max(kind.answers, RECORDED)
        people = max(int(answers) + 2, round(kind.workers * objects * answers / kind.objects / kind.answers))
        drawn = (
            simulated(replace(kind, objects=objects, answers=answers, workers=people), seed)
            for seed in range(options.seeds)
        )
        yield name, [Recorded(each.votes, each.objects, each.classes, each.truth) for each in drawn]


def right(posterior: Floats, truth: NDArray[np.intp]) -> float:
    """The share of right labels; a tie is right by its share."""
    known = truth >= 0
    rounded = np.round(posterior[known], 9)
    leading = rounded >= rounded.max(axis=1, keepdims=True)
    return float((leading[np.arange(len(rounded)), truth[known]] / leading.sum(axis=1)).mean())


def run(crowd: Recorded, method: str, seed: int, policy: Redundancy) -> Run:
    """One seed of one crowd."""
    label = METHODS[method]
    usual = subset(crowd.votes, fixed(crowd.votes, crowd.objects, FIVE, seed))
    played = replay(crowd.votes, crowd.objects, crowd.classes, policy, label, seed)
    return Run(
        right(label(usual, crowd.objects, crowd.classes).posterior, crowd.truth),
        right(played.consensus.posterior, crowd.truth),
        right(METHODS["majority"](usual, crowd.objects, crowd.classes).posterior, crowd.truth),
        float(played.used.sum() / len(usual.objects)),
        played.rounds,
        float(1 - played.consensus.posterior.max(axis=1)[crowd.truth >= 0].mean()),
    )


def known(crowd: Recorded, seed: int, share: float) -> float:
    """What a method that knows the workers loses to the same on five fixed answers."""
    votes, truth, classes = crowd.votes, crowd.truth, crowd.classes
    told = truth[votes.objects] >= 0
    true, said = truth[votes.objects[told]], votes.classes[told]
    usual = np.full((classes, classes), 0.1)
    np.add.at(usual, (true, said), 1)
    matrices = np.tile(4 * usual / usual.sum(axis=1, keepdims=True), (int(votes.workers.max()) + 1, 1, 1))
    np.add.at(matrices, (votes.workers[told], true, said), 1)
    says = np.log(matrices / matrices.sum(axis=2, keepdims=True))[votes.workers, :, votes.classes]
    frequency = np.log(np.bincount(truth[truth >= 0], minlength=classes) + 1.0)

    def believed(used: NDArray[np.bool_]) -> Floats:
        scores = np.tile(frequency, (crowd.objects, 1))
        np.add.at(scores, votes.objects[used], says[used])
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        posterior: Floats = chances / chances.sum(axis=1, keepdims=True)
        return posterior

    policy = Redundancy(FIRST, MOST, 0.0, budget_of(crowd, share))
    recorded = np.bincount(votes.objects, minlength=crowd.objects).astype(np.intp)
    wanted = np.zeros(crowd.objects, dtype=np.intp)
    while True:
        used = fixed(votes, crowd.objects, wanted, seed)
        posterior = believed(used)
        ask = policy.ask(subset(votes, used), posterior, limit=recorded)
        if ask.done:
            return right(posterior, truth) - right(believed(fixed(votes, crowd.objects, FIVE, seed)), truth)
        wanted += ask.more


def least(crowd: Recorded) -> float:
    """The share of five answers that any test of two classes needs among equals; see above."""
    told = crowd.truth[crowd.votes.objects] >= 0
    true, said = crowd.truth[crowd.votes.objects[told]], crowd.votes.classes[told]
    wrong = np.zeros((crowd.classes, crowd.classes))
    np.add.at(wrong, (true[true != said], said[true != said]), 1)
    good = float((true == said).mean())
    bad = max(float(wrong.max(axis=1).sum() / len(true)), 1e-6)
    if good <= bad:
        return float("inf")
    # Leads of the true class over the other after five answers, from -5 to 5.
    lead = np.ones(1)
    for _ in range(FIVE):
        lead = np.convolve(lead, [bad, 1 - good - bad, good])
    error = float(lead[:FIVE].sum() + lead[FIVE] / 2)
    return float((1 - 2 * error) * log((1 - error) / error) / ((good - bad) * log(good / bad)) / FIVE)


def interval(values: list[float]) -> tuple[float, float]:
    """The mean in points, and half of its 95 % interval."""
    freedom = len(values) - 1
    if freedom < 1:
        return 100 * values[0], float("inf")
    factor = _STUDENT[freedom - 1] if freedom <= len(_STUDENT) else 2.1
    return 100 * float(np.mean(values)), 100 * factor * float(np.std(values, ddof=1)) / len(values) ** 0.5


def budget_of(crowd: Recorded, share: float) -> int:
    """So much of what five answers for each object would be."""
    counts = np.bincount(crowd.votes.objects, minlength=crowd.objects)
    return int(share * np.minimum(counts, FIVE).sum())


def honesty(recorded: list[Recorded], method: str) -> list[tuple[float, float]]:
    """What a method expects to be wrong, and what is, after the first two, three and five answers."""
    found = []
    for answers in EARLY:
        pairs = []
        for seed, crowd in enumerate(recorded):
            said = subset(crowd.votes, fixed(crowd.votes, crowd.objects, answers, seed))
            posterior = METHODS[method](said, crowd.objects, crowd.classes).posterior
            # Of the same objects: truth may be known of the difficult ones alone.
            expected = 1 - posterior.max(axis=1)[crowd.truth >= 0].mean()
            pairs.append((expected, 1 - right(posterior, crowd.truth)))
        found.append((float(np.mean([one for one, _ in pairs])), float(np.mean([two for _, two in pairs]))))
    return found


def shown(values: list[float]) -> str:
    mean, half = interval(values)
    return f"{mean:+6.2f} ± {half:5.2f}"


def main() -> int:
    """Print the tables and say whether the bars hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--crowds", type=Path, default=Path("/work/shared/data/crowd"))
    parser.add_argument("--objects", type=int, default=200)
    parser.add_argument("--kinds", type=int, default=len(KINDS))
    parser.add_argument("--methods", default="auto,majority")
    parser.add_argument("--share", type=float, default=0.6)
    parser.add_argument("--error", type=float, default=0.05)
    options = parser.parse_args()
    methods = options.methods.split(",")

    missed: list[str] = []
    stopping: list[str] = []
    honest: list[str] = []
    means: dict[str, list[tuple[float, float, float]]] = {method: [] for method in methods}
    print(
        f"{'crowd':<26}{'method':<10}{'five':>7}{'adaptive':>10}{'to votes':>12}{'to same':>16}"
        f"{'share':>9}{'rounds':>7}{'known':>8}{'least':>7}"
    )
    for name, recorded in crowds(options):
        apart = 100 * np.mean([known(each, seed, options.share) for seed, each in enumerate(recorded)])
        possible = f"{apart:+8.2f}{np.mean([least(each) for each in recorded]):7.0%}"
        for method in methods:
            runs = [
                run(crowd, method, seed, Redundancy(FIRST, MOST, 0.0, budget_of(crowd, options.share)))
                for seed, crowd in enumerate(recorded)
            ]
            to_votes = [each.adaptive - each.majority for each in runs]
            to_same = [each.adaptive - each.five for each in runs]
            share = max(each.share for each in runs)
            five = 100 * float(np.mean([each.five for each in runs]))
            adaptive = 100 * float(np.mean([each.adaptive for each in runs]))
            print(
                f"{name[:25]:<26}{method:<10}{five:7.2f}{adaptive:10.2f}  {shown(to_votes)}  {shown(to_same)}"
                f"  {share:5.1%} {np.mean([each.rounds for each in runs]):5.1f} {possible}",
                flush=True,
            )
            means[method].append((adaptive, float(np.mean(to_votes)), float(np.mean(to_same))))
            if method == "auto":
                for to, values in (("five votes", to_votes), ("auto on five", to_same)):
                    if 100 * np.mean(values) < -MARGIN:
                        missed.append(f"{name}, to {to}: {shown(values).strip()} points")
                if share > options.share:
                    missed.append(f"{name}: {share:.1%} of the answers")
        stopped = [
            run(crowd, methods[0], seed, Redundancy(FIRST, MOST, options.error))
            for seed, crowd in enumerate(recorded)
        ]
        expected, wrong = (
            float(np.mean([each.expected for each in stopped])),
            float(np.mean([1 - each.adaptive for each in stopped])),
        )
        stopping.append(
            f"{name[:25]:<26}{np.mean([each.share for each in stopped]):9.1%}{expected:10.1%}{wrong:8.1%}"
            f"{wrong / expected:7.2f}{np.mean([1 - each.five for each in stopped]):12.1%}"
        )
        pairs = honesty(recorded, methods[0])
        honest.append(
            f"{name[:25]:<26}" + "".join(f"{one:8.1%}{two:7.1%}{two / one:6.2f}" for one, two in pairs)
        )
        for one, two in [*pairs, (expected, wrong)]:
            if methods[0] == "auto" and not OFF_BY[0] <= two / one <= OFF_BY[1]:
                missed.append(f"{name}: expected {one:.1%}, wrong {two:.1%}")
    for method in methods:
        found = np.array(means[method])
        print(
            f"{'mean over crowds':<26}{method:<10}{'':7}{found[:, 0].mean():10.2f}"
            f"  {100 * found[:, 1].mean():+6.2f} {'':8} {100 * found[:, 2].mean():+6.2f}"
        )
    print(
        f"\n{methods[0]}, stopped at an expected error of {options.error:.0%} (at most {MOST} answers each)"
    )
    print(f"{'crowd':<26}{'of five':>9}{'expected':>10}{'wrong':>8}{'ratio':>7}{'wrong at 5':>12}")
    print("\n".join(stopping))
    print(f"\n{methods[0]}, after so many answers each: expected, wrong, and their ratio")
    print(f"{'crowd':<26}" + "".join(f"{answers:>21}" for answers in EARLY))
    print("\n".join(honest))
    for each in missed:
        print(f"missed: {each}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
