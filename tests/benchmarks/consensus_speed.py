"""How fast a crowd's answers become labels, beside crowd-kit, and how much memory that takes.

Run: GTLABEL_CROWDKIT_PYTHON=/opt/ck/bin/python python tests/benchmarks/consensus_speed.py
         [--objects 200000] [--answers 5] [--classes 10] [--workers 500] [--runs 5] [--seed 0]

Example: python tests/benchmarks/consensus_speed.py --objects 2000 --runs 1

The crowd is simulated: each worker has a confusion matrix of his own, more often right for some classes than
for others. Each figure is the median of some runs, each in a process of its own: seconds of CPU from arrays
to labels (ours sorts the answers anew in each), the accuracy of the labels, and the highest memory of the
whole process, with Python and the answers in it. Every library has one thread.

crowd-kit is measured where GTLABEL_CROWDKIT_PYTHON names a Python that has it. To make one: `python -m venv
ck; ck/bin/pip install crowd-kit==1.4.2 scikit-learn==1.5.2`. Its Dawid-Skene stops where its bound grows by
less than 0.00001 per answer, and the bound counts the class prior once for each answer where it belongs once
for each object (`DawidSkene._evidence_lower_bound`): where classes are skewed it can fall, and the loop ends
after two rounds. On this crowd classes are alike, and it converges; the rounds are printed. Ours ends where
all rounds to come would add less than 0.00001 per answer.

Ends with 1 where a bar is missed: our Dawid-Skene at least 20 times as fast as crowd-kit's, its labels as
accurate (0.1 points), `auto` within six times of it, and each below 400 MB. Crowds of fewer than 100,000
objects are measured, and judged by accuracy and memory alone: starting takes longer than they do.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FASTER, WITHIN, MEGABYTES, ACCURACY = 20, 6, 400, 0.001
OURS = ("majority", "wawa", "one_coin", "mace", "glad", "dawid_skene", "auto")
THEIRS = ("MajorityVote", "Wawa", "OneCoinDawidSkene", "DawidSkene")
_LARGE = 100_000


@dataclass(frozen=True)
class Run:
    """One method over the crowd: seconds of CPU, the highest memory in MB, rounds if known, accuracy."""

    seconds: float
    megabytes: float
    rounds: int | None
    accuracy: float


def drawn(objects: int, answers: int, classes: int, workers: int, seed: int) -> dict[str, np.ndarray]:
    """A crowd: the arrays of votes, and the truth of each object."""
    random = np.random.default_rng(seed)
    truth = random.integers(classes, size=objects)
    every = np.arange(classes)
    matrices = random.dirichlet(np.full(classes, 0.3), size=(workers, classes))
    matrices[:, every, every] = 0
    matrices /= matrices.sum(axis=2, keepdims=True)
    right = random.beta(1.6, 0.95, size=(workers, classes))
    matrices *= (1 - right)[:, :, None]
    matrices[:, every, every] = right
    about = np.repeat(np.arange(objects), answers)
    columns = [random.permutation(np.arange(objects) % workers) for _ in range(answers)]
    who = np.stack(columns, axis=1).reshape(-1)
    limits = matrices.cumsum(axis=2)[who, truth[about]]
    said = (limits < random.random(len(about))[:, None]).sum(axis=1).clip(0, classes - 1)
    return {"objects": about, "workers": who, "classes": said, "truth": truth, "count": np.array(classes)}


def main() -> int:
    """Draw the crowd, run every method, print the table and judge it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sizes = {"objects": 200_000, "answers": 5, "classes": 10, "workers": 500, "runs": 5}
    for name, value in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    peer = os.environ.get("GTLABEL_CROWDKIT_PYTHON")
    with tempfile.TemporaryDirectory() as folder:
        crowd = Path(folder) / "crowd.npz"
        arrays = drawn(asked.objects, asked.answers, asked.classes, asked.workers, asked.seed)
        np.savez(crowd, allow_pickle=False, **arrays)
        # In turns, so that whatever else the machine does meets all alike.
        who = [("gtlabel", name, sys.executable) for name in OURS]
        who += [("crowd-kit", name, peer) for name in THEIRS] if peer else []
        runs: dict[str, list[Run]] = {}
        for _ in range(asked.runs):
            for side, name, python in who:
                runs.setdefault(f"{side} {name}", []).append(_measured(python, side, name, crowd))
    found = {name: _median(several) for name, several in runs.items()}
    print(
        f"{asked.objects:,} objects with {asked.answers} answers, seed {asked.seed}, medians of {asked.runs}"
    )
    print(f"{'':28}{'CPU s':>9}{'rounds':>8}{'accuracy':>10}{'MB':>7}")
    for name, run in found.items():
        rounds = "" if run.rounds is None else str(run.rounds)
        print(f"{name:28}{run.seconds:9.3f}{rounds:>8}{run.accuracy:10.4f}{run.megabytes:7.0f}")
    return _judged(found, asked.objects >= _LARGE)


def _judged(found: dict[str, Run], large: bool) -> int:
    ours, auto = found["gtlabel dawid_skene"], found["gtlabel auto"]
    theirs = found.get("crowd-kit DawidSkene")
    bars = [(f"both below {MEGABYTES} MB", max(ours.megabytes, auto.megabytes) < MEGABYTES)]
    if large:
        ratio = auto.seconds / ours.seconds
        bars.append((f"auto takes {ratio:.1f} times our Dawid-Skene (at most {WITHIN})", ratio <= WITHIN))
    if theirs is None:
        print("crowd-kit was not measured; set GTLABEL_CROWDKIT_PYTHON to a Python that has it")
    else:
        lost = theirs.accuracy - ours.accuracy
        bars.append((f"as accurate as crowd-kit's Dawid-Skene ({-lost:+.4f})", lost <= ACCURACY))
        if large:
            times = theirs.seconds / ours.seconds
            bars.append((f"{times:.1f} times as fast as crowd-kit's (at least {FASTER})", times >= FASTER))
    for text, held in bars:
        print(f"{'held' if held else 'MISSED'}: {text}")
    return 0 if all(held for _, held in bars) else 1


def _median(runs: list[Run]) -> Run:
    return Run(
        statistics.median(run.seconds for run in runs),
        statistics.median(run.megabytes for run in runs),
        runs[0].rounds,
        runs[0].accuracy,
    )


def _measured(python: str, side: str, name: str, crowd: Path) -> Run:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    told = subprocess.run(
        [python, __file__, side, name, crowd],
        capture_output=True,
        text=True,
        env=os.environ | threads,
        check=False,
    )
    if told.returncode:
        raise SystemExit(f"{side} {name} failed: {told.stderr.strip()[-500:]}")
    return Run(**json.loads(told.stdout.splitlines()[-1]))


def _one(side: str, name: str, path: str) -> None:
    """Run one method in this process, and print what it took."""
    with np.load(path) as file:
        crowd = dict(file)
    begun, labels, rounds = 0.0, crowd["truth"], None
    if side == "gtlabel":
        from gtlabel.crowd.methods import METHODS
        from gtlabel.crowd.votes import Votes

        votes = Votes(crowd["objects"], crowd["workers"], crowd["classes"])
        begun = time.process_time()
        found = METHODS[name](votes, len(crowd["truth"]), int(crowd["count"]))
        labels, rounds = found.labels, found.rounds
    else:
        from importlib import import_module

        # Only the other environment has these two.
        pandas, crowdkit = import_module("pandas"), import_module("crowdkit.aggregation")
        answers = pandas.DataFrame(
            {"task": crowd["objects"], "worker": crowd["workers"], "label": crowd["classes"]}
        )
        method = getattr(crowdkit, name)()
        begun = time.process_time()
        labels = method.fit_predict(answers).sort_index().to_numpy()
        history = getattr(method, "loss_history_", None)
        rounds = None if history is None else len(history)
    seconds = time.process_time() - begun
    print(
        json.dumps(
            {
                "seconds": seconds,
                "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "rounds": rounds,
                "accuracy": float(np.mean(labels == crowd["truth"])),
            }
        )
    )


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] in ("gtlabel", "crowd-kit"):
        _one(*sys.argv[1:])
    else:
        raise SystemExit(main())
