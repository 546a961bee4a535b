"""Whether a plan made from half a crowd's answers tells how right labels of the other half will be.

Run: python tests/benchmarks/planning.py [--seeds 10] [--runs 20] [--crowds /work/shared/data/crowd]
         [--objects 600] [--kinds 22] [--share 0.8]

Example: python tests/benchmarks/planning.py --seeds 1 --runs 3 --kinds 1 --objects 80 --crowds /nowhere

Public crowds (folders with labels.csv.gz and gold.csv.gz; objects with known truth and five answers or more,
at most --objects of them) and simulated ones (gtlabel.crowd.simulated) are cut into halves by objects, once
for each seed. Objects without known truth are left out, since those with it may have been chosen: in adult2,
two answers agree about 68 % of them and 75 % of the others. From the answers about the first half the people
are told (gtlabel.crowd.population.fitted, as `gtlabel plan --from` does it), and ways are tried out on people
like them; gold is seen by the figures alone. What came of the other half is told by its own answers: so many
of each object, chosen by the seed.

`planned` is the mean of the plan, `found` what came of the other half, both over the seeds, in per cent;
`within` the share of the seeds whose finding lies within the planned interval. That interval holds nine of
ten draws of as many objects; where fewer have known truth, the finding's own spread of sampling is added
(1.64 binomial standard errors, in quadrature).

The peer is a plan of one line: everybody is right as often as answers agree with the majority's label, and
independently of each other (Condorcet, 1785), for the majority of so many answers.

Ends with 1 where less than --share of the findings are within, or plans are further off on average than the
peer is: over the public crowds, and over the simulated ones.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import comb
from pathlib import Path

import numpy as np
from crowd_files import Recorded, read
from numpy.typing import NDArray

from gtlabel.crowd.methods import METHODS
from gtlabel.crowd.population import fitted
from gtlabel.crowd.replay import fixed, subset
from gtlabel.crowd.simulated import KINDS, simulated
from gtlabel.crowd.votes import Votes
from gtlabel.labeling.planning import Span, Tries, Way, try_out

WAYS = (Way(1, "majority"), Way(3, "majority"), Way(3, "auto"), Way(5, "majority"), Way(5, "auto"))
ENOUGH = 5


@dataclass(frozen=True)
class Finding:
    """What was planned and what was found."""

    planned: float
    found: float
    within: bool
    peer: float | None


def public(folder: Path, most: int) -> Recorded:
    """A crowd that was recorded: its objects with five answers or more, whose truth is known."""
    said, gold = read(folder)
    counts = Counter(task for task, _ in said)
    able = sorted(task for task in gold if counts[task] >= ENOUGH)
    tasks = {task: number for number, task in enumerate(able[:most])}
    classes = {name: number for number, name in enumerate(sorted({*said.values(), *gold.values()}))}
    kept = [(task, worker, label) for (task, worker), label in said.items() if task in tasks]
    votes = Votes.of([(tasks[task], worker, classes[label]) for task, worker, label in kept])
    truth = np.array([classes[gold[task]] for task in tasks], dtype=np.intp)
    return Recorded(votes, len(tasks), len(classes), truth)


def crowds(options: argparse.Namespace) -> Iterator[tuple[str, bool, list[Recorded]]]:
    """Each crowd by its name, whether it is public, and its answers for each seed."""
    if options.crowds.is_dir():
        for folder in sorted(path for path in options.crowds.iterdir() if path.is_dir()):
            yield folder.name, True, [public(folder, options.objects)] * options.seeds
    for name, kind in list(KINDS.items())[: options.kinds]:
        objects = min(kind.objects, options.objects)
        answers = max(kind.answers, float(ENOUGH))
        people = max(int(answers) + 2, round(kind.workers * objects * answers / kind.objects / kind.answers))
        drawn = [
            simulated(replace(kind, objects=objects, answers=answers, workers=people), seed)
            for seed in range(options.seeds)
        ]
        yield name, False, [Recorded(each.votes, each.objects, each.classes, each.truth) for each in drawn]


def halves(crowd: Recorded, seed: int) -> tuple[Recorded, Recorded]:
    """Some objects with their answers, and the others."""
    order = np.random.default_rng([seed, 1]).permutation(crowd.objects)
    return part(crowd, order[: crowd.objects // 2]), part(crowd, order[crowd.objects // 2 :])


def part(crowd: Recorded, chosen: NDArray[np.intp]) -> Recorded:
    """Some objects, numbered anew, and their answers."""
    place = np.full(crowd.objects, -1)
    place[chosen] = np.arange(len(chosen))
    votes = subset(crowd.votes, place[crowd.votes.objects] >= 0)
    return Recorded(
        Votes(place[votes.objects], votes.workers, votes.classes),
        len(chosen),
        crowd.classes,
        crowd.truth[chosen],
    )


def compare(crowd: Recorded, seed: int, runs: int) -> list[Finding]:
    """What is planned from one half, and what comes of the other one, way by way."""
    known, rest = halves(crowd, seed)
    posterior = METHODS["auto"](known.votes, known.objects, known.classes).posterior
    told = fitted(known.votes, posterior, source="one half", seed=seed)
    trials = try_out(told, rest.objects, WAYS, Tries(runs=runs, seed=seed))
    agreed = METHODS["majority"](known.votes, known.objects, known.classes).labels
    right = float((known.votes.classes == agreed[known.votes.objects]).mean())
    return [
        Finding(
            trial.accuracy.mean,
            found := outcome(rest, trial.way, seed),
            is_within(trial.accuracy, found, int((rest.truth >= 0).sum())),
            independent(right, trial.way.votes) if trial.way.method == "majority" else None,
        )
        for trial in trials
    ]


def outcome(crowd: Recorded, way: Way, seed: int) -> float:
    """The share of right labels that recorded answers make; a tie is right by its share."""
    votes = subset(crowd.votes, fixed(crowd.votes, crowd.objects, way.votes, seed))
    posterior = METHODS[way.method](votes, crowd.objects, crowd.classes).posterior
    rounded = np.round(posterior[crowd.truth >= 0], 9)
    leading = rounded >= rounded.max(axis=1, keepdims=True)
    truth = crowd.truth[crowd.truth >= 0]
    return float((leading[np.arange(len(rounded)), truth] / leading.sum(axis=1)).mean())


def is_within(planned: Span, found: float, objects: int) -> bool:
    """Whether a finding about so many objects lies within what was planned."""
    sampling = 1.64**2 * planned.mean * (1 - planned.mean) / max(objects, 1)
    low = planned.mean - np.sqrt((planned.mean - planned.low) ** 2 + sampling)
    high = planned.mean + np.sqrt((planned.high - planned.mean) ** 2 + sampling)
    return bool(low <= found <= high)


def independent(right: float, votes: int) -> float:
    """How often the majority of an odd number of independent answers is right."""
    return sum(
        comb(votes, many) * right**many * (1 - right) ** (votes - many)
        for many in range(votes // 2 + 1, votes + 1)
    )


def main() -> int:
    """Print the table, and say whether a bar is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--crowds", type=Path, default=Path("/work/shared/data/crowd"))
    parser.add_argument("--objects", type=int, default=600)
    parser.add_argument("--kinds", type=int, default=len(KINDS))
    parser.add_argument("--share", type=float, default=0.8)
    options = parser.parse_args()
    print(f"{'crowd':<24}{'way':<22}{'planned':>9}{'found':>8}{'off':>8}{'within':>8}{'peer off':>10}")
    rows: list[tuple[bool, list[Finding]]] = []
    for name, is_public, recorded in crowds(options):
        by_seed = [compare(crowd, seed, options.runs) for seed, crowd in enumerate(recorded)]
        for way, findings in zip(WAYS, zip(*by_seed, strict=True), strict=True):
            rows.append((is_public, list(findings)))
            print(f"{name:<24}{way!s:<22}{told(findings)}", flush=True)
    verdicts = [
        judged(
            label, [each for chosen, findings in rows if chosen is is_public for each in findings], options
        )
        for label, is_public in (("public", True), ("simulated", False))
    ]
    return 0 if all(verdicts) else 1


def judged(label: str, findings: list[Finding], options: argparse.Namespace) -> bool:
    """Whether the bars are met over some crowds; true where there are none."""
    if not findings:
        return True
    within = float(np.mean([each.within for each in findings]))
    plain = [each for each in findings if each.peer is not None]
    off = float(np.mean([abs(each.planned - each.found) for each in plain]))
    peer = float(np.mean([abs(each.peer - each.found) for each in plain if each.peer is not None]))
    met = within >= options.share and off <= peer
    print(
        f"{label}: {within:.0%} of {len(findings)} findings within (bar {options.share:.0%}); majority votes "
        f"off by {100 * off:.1f} points on average (peer {100 * peer:.1f}): {'met' if met else 'MISSED'}"
    )
    return met


def told(findings: tuple[Finding, ...]) -> str:
    """One row of the table."""
    planned, found = (
        100 * float(np.mean([getattr(each, name) for each in findings])) for name in ("planned", "found")
    )
    within = float(np.mean([each.within for each in findings]))
    peers = [each.peer for each in findings if each.peer is not None]
    peer = f"{100 * float(np.mean(peers)) - found:+10.1f}" if peers else f"{'':>10}"
    return f"{planned:9.1f}{found:8.1f}{planned - found:+8.1f}{within:8.0%}{peer}"


if __name__ == "__main__":
    sys.exit(main())
