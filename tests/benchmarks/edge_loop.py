"""Whether a camera's unsure frames, labeled by people, make its next model better: the loop with five seeds.

Run: OMP_NUM_THREADS=1 python tests/benchmarks/edge_loop.py [--seeds 5] [--clear 60] [--most 30]

Example: python tests/benchmarks/edge_loop.py --seeds 3 --most 20

A model learns from clear photographs of samples/trash and is deployed to an emulated camera. Then the
evenings get longer: the camera sees each of the other photographs twice, once clear and once dark, warm and
blurred. It keeps what it is unsure of; the least sure of that come back, people label them, and another model
learns from both. The peer, in the same run, spends as many labels on frames drawn at random. All three are
judged by the held-out photographs, by day and in the evening. The intervals are 95 % by Student's t
over the seeds, which choose the first photographs and the peer's frames.

Exits with 1 if the next model is not better in the evening at 95 %, or worse by day by more than 5 points.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import boto3
from loop_parts import Loop, Scores

from gtlabel.aws import Aws
from gtlabel.emulator.actors import Served, Workers
from gtlabel.emulator.child import running

MOST_LOST = 0.05
# Student's t for 95 %, two-sided, by degrees of freedom.
_T = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}


def one(seed: int, clear: int, most: int, side: int) -> dict[str, Scores]:
    """The three models of one seed."""
    with running() as address, tempfile.TemporaryDirectory() as folder:
        aws = Aws(boto3.Session("gtlabel", "gtlabel", region_name="us-east-1"), address.url)
        loop = Loop(
            aws,
            address,
            Workers(lambda: Served(address.url)),
            Path(folder),
            clear=clear,
            side=side,
            seed=seed,
        )
        loop.label_day()
        first = loop.train("first", "day")
        loop.see(first, "later", unsure="unsure", unsureBelow="1", unsureBudget="1000")
        plan = loop.collect(most)
        loop.label("unsure", loop.unsure)
        second = loop.train("second", "day", "unsure")
        loop.label("random", loop.drawn(len(plan.chosen), seed))
        third = loop.train("third", "day", "random")
        return {
            "the first": loop.scores(first),
            f"and {most} unsure": loop.scores(second),
            f"and {most} at random": loop.scores(third),
        }


def interval(values: list[float]) -> tuple[float, float]:
    """The mean, and half the width of its 95 % interval."""
    if len(values) < 2:
        return statistics.mean(values), math.inf
    half = _T[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.mean(values), half


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--clear", type=int, default=60, help="photographs to begin with")
    parser.add_argument("--most", type=int, default=30, help="frames that are labeled")
    parser.add_argument("--side", type=int, default=64, help="of the network's input, in pixels")
    arguments = parser.parse_args()
    runs = [one(seed, arguments.clear, arguments.most, arguments.side) for seed in range(arguments.seeds)]
    names = list(runs[0])
    print(f"{'learned from':<20}{'held-out by day':>18}{'in the evening':>18}")
    for name in names:
        cells = "".join(
            f"{mean:>10.1%} ± {half:<5.1%}"
            for mean, half in (
                interval([getattr(run[name], light) for run in runs]) for light in ("day", "evening")
            )
        )
        print(f"{name:<20}{cells}")
    before, after = names[:2]
    gain, half = interval([run[after].evening - run[before].evening for run in runs])
    lost = statistics.mean(run[before].day - run[after].day for run in runs)
    print(f"gained in the evening {gain:+.1%} ± {half:.1%}, by day {-lost:+.1%} (at least {-MOST_LOST:+.0%})")
    return 0 if gain - half > 0 and lost <= MOST_LOST else 1


if __name__ == "__main__":
    sys.exit(main())
