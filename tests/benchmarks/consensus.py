"""How often labels are right, method by method, and whether the probabilities of `auto` mean what they say.

Run: GTLABEL_CROWDKIT_PYTHON=/opt/ck/bin/python python tests/benchmarks/consensus.py [--seeds 3]
         [--crowds /work/shared/data/crowd] [--objects 1000] [--slow]

Example: python tests/benchmarks/consensus.py --seeds 1 --kinds 2

Public crowds (folders with labels.csv.gz and gold.csv.gz) and simulated ones (gtlabel.crowd.simulated, every
kind with several seeds) are labeled by all our methods, and by crowd-kit's where GTLABEL_CROWDKIT_PYTHON
names a Python that has it. To make one: `python -m venv ck; ck/bin/pip install crowd-kit==1.4.2
scikit-learn==1.5.2`. Gold is seen by the figures only. Accuracies stand with two standard errors; the mean of
`auto` less that of another method has an interval by drawing crowds again (1,000 times, 95 %).

A tie counts by its share. Calibration is the expected calibration error over ten bins of equal width, of
`auto` and of the share of answers.

Ends with 1 where a bar is missed: `auto` on average at least one point above the best single crowd-kit
method, on no crowd more than two points or two standard errors below the best crowd-kit method for that crowd
(one in twenty simulated ones may be: two standard errors are no more than that), and a calibration error at
most half of that of the share of answers.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gtlabel.crowd.methods import METHODS
from gtlabel.crowd.simulated import KINDS, simulated
from gtlabel.crowd.sums import Sums
from gtlabel.crowd.votes import Votes

Floats = NDArray[np.float64]

LEAD, BEHIND, CALIBRATION = 0.01, 0.02, 0.5
OURS = ("majority", "wawa", "one_coin", "dawid_skene", "glad", "mace", "bayes", "auto")
_BINS = 10


@dataclass(frozen=True)
class Told:
    """A crowd with the truth, as far as it is known."""

    name: str
    votes: Votes
    objects: int
    classes: int
    truth: NDArray[np.intp]

    @property
    def public(self) -> bool:
        """Whether people really gave these answers."""
        return "/" not in self.name


def _public(folder: Path) -> Told:
    """A folder with labels.csv.gz and gold.csv.gz; a worker's last answer about an object counts."""
    with gzip.open(folder / "labels.csv.gz", "rt", encoding="utf-8") as file:
        said = {(row["task"], row["worker"]): row["label"] for row in csv.DictReader(file)}
    with gzip.open(folder / "gold.csv.gz", "rt", encoding="utf-8") as file:
        gold = {row["task"]: row["label"] for row in csv.DictReader(file)}
    tasks = {name: number for number, name in enumerate(dict.fromkeys(task for task, _ in said))}
    workers = {name: number for number, name in enumerate(dict.fromkeys(worker for _, worker in said))}
    classes = {name: number for number, name in enumerate(sorted({*said.values(), *gold.values()}))}
    truth = np.full(len(tasks), -1, dtype=np.intp)
    for task, label in gold.items():
        if task in tasks:
            truth[tasks[task]] = classes[label]
    votes = Votes(
        np.array([tasks[task] for task, _ in said], dtype=np.intp),
        np.array([workers[worker] for _, worker in said], dtype=np.intp),
        np.array([classes[label] for label in said.values()], dtype=np.intp),
    )
    return Told(folder.name, votes, len(tasks), len(classes), truth)


def crowds(options: argparse.Namespace) -> Iterator[Told]:
    """The public crowds, then the simulated ones."""
    if options.crowds.is_dir():
        yield from (_public(folder) for folder in sorted(options.crowds.iterdir()) if folder.is_dir())
    for name, kind in list(KINDS.items())[: options.kinds]:
        for seed in range(options.seeds):
            crowd = simulated(replace(kind, objects=min(kind.objects, options.objects)), seed)
            yield Told(f"{name}/{seed}", crowd.votes, crowd.objects, crowd.classes, crowd.truth)


def peers(told: list[Told], python: str, slow: bool) -> list[dict[str, Floats]]:
    """What crowd-kit's methods make of the crowds, in its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        for number, crowd in enumerate(told):
            path, votes = Path(folder) / f"{number}.npz", crowd.votes
            columns = {"objects": votes.objects, "workers": votes.workers, "classes": votes.classes}
            np.savez(path, allow_pickle=False, count=np.array(crowd.objects), **columns)
        program = Path(__file__).with_name("consensus_peer.py")
        subprocess.run([python, str(program), folder, *["--slow"] * slow], check=True)
        found = []
        for number, crowd in enumerate(told):
            given = np.load(Path(folder) / f"{number}.peer.npz")
            labels = zip(given["methods"], given["labels"], strict=True)
            found.append({f"ck {name}": _right(np.eye(crowd.classes)[each], crowd) for name, each in labels})
        return found


def _right(posterior: Floats, crowd: Told) -> Floats:
    """How right each label is whose truth is known; a tie is right by its share."""
    known = crowd.truth >= 0
    rounded = np.round(posterior[known], 9)
    leading = rounded >= rounded.max(axis=1, keepdims=True)
    right: Floats = leading[np.arange(len(rounded)), crowd.truth[known]] / leading.sum(axis=1)
    return right


def calibration_error(posterior: Floats, crowd: Told) -> float:
    """The mean distance between confidence and accuracy, over bins of confidence."""
    known = crowd.truth >= 0
    confidence = posterior[known].max(axis=1)
    right = _right(posterior, crowd)
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    apart = np.bincount(bins, weights=confidence - right, minlength=_BINS)
    return float(np.abs(apart).sum() / max(len(right), 1))


def ours(crowd: Told) -> tuple[dict[str, Floats], float, float]:
    """What our methods make of a crowd, and the calibration errors of `auto` and of the share of answers."""
    sums = Sums(crowd.votes, crowd.objects, crowd.classes)
    posteriors = {
        name: METHODS[name](sums, crowd.objects, crowd.classes).posterior for name in OURS if name in METHODS
    }
    errors = [calibration_error(posteriors[name], crowd) for name in ("auto", "majority")]
    return {name: _right(value, crowd) for name, value in posteriors.items()}, errors[0], errors[1]


def _lead(auto: Floats, other: Floats) -> str:
    """Mean difference over crowds in points, with its interval."""
    apart = 100 * (auto - other)
    draws = np.random.default_rng(0).choice(apart, size=(1000, len(apart))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{apart.mean():+.2f} [{low:+.2f}, {high:+.2f}]"


def main() -> int:
    """Print the table; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="simulated crowds of each kind")
    parser.add_argument("--kinds", type=int, default=len(KINDS), help="so many kinds, from the first on")
    parser.add_argument("--objects", type=int, default=1000, help="at most so many objects each")
    parser.add_argument("--crowds", type=Path, default=Path("/work/shared/data/crowd"), help="public crowds")
    parser.add_argument("--slow", action="store_true", help="crowd-kit's GLAD and MACE too, which take long")
    options = parser.parse_args()
    told = list(crowds(options))
    python = os.environ.get("GTLABEL_CROWDKIT_PYTHON")
    others = peers(told, python, options.slow) if python else [{} for _ in told]
    rows, auto_errors, share_errors = [], [], []
    for crowd, other in zip(told, others, strict=True):
        found, auto_error, share_error = ours(crowd)
        rows.append({**other, **found})
        auto_errors.append(auto_error)
        share_errors.append(share_error)
    return _report(told, rows, np.array(auto_errors), np.array(share_errors))


def _report(told: list[Told], rows: list[dict[str, Floats]], auto: Floats, share: Floats) -> int:
    methods = list(rows[0])
    accuracy = {method: np.array([row[method].mean() for row in rows]) for method in methods}
    spread = np.array([row["auto"].std() / np.sqrt(len(row["auto"])) for row in rows])
    peer = [method for method in methods if method.startswith("ck ")] or [m for m in OURS[:4] if m in methods]
    best = np.max([accuracy[method] for method in peer], axis=0)
    print(f"{'crowd':28s} {'auto':>6s} {'2 se':>5s} {'best':>6s} {'gap':>6s}  ECE auto, share")
    for number, crowd in enumerate(told):
        print(
            f"{crowd.name:28s} {100 * accuracy['auto'][number]:6.2f} {200 * spread[number]:5.1f} "
            f"{100 * best[number]:6.2f} {100 * (accuracy['auto'][number] - best[number]):+6.2f}  "
            f"{auto[number]:.3f} {share[number]:.3f}"
        )
    print(f"\n{'method':20s} {'mean':>6s}  {'auto is ahead by':>22s}  worst behind the best of {peer[0][:2]}")
    for method in methods:
        ahead = _lead(accuracy["auto"], accuracy[method])
        worst = 100 * (best - accuracy[method]).max()
        print(f"{method:20s} {100 * accuracy[method].mean():6.2f}  {ahead:>22s}  {worst:.2f}")
    if not peer[0].startswith("ck "):
        print("crowd-kit is left out, and ours stand for it: set GTLABEL_CROWDKIT_PYTHON as --help says")
    single = max(peer, key=lambda method: float(accuracy[method].mean()))
    lead = float((accuracy["auto"] - accuracy[single]).mean())
    behind = best - accuracy["auto"] > np.maximum(BEHIND, 2 * spread)
    public = np.array([crowd.public for crowd in told])
    of_public, of_others = int((behind & public).sum()), int((behind & ~public).sum())
    ratio = float(auto.mean() / share.mean())
    bars = {
        f"{100 * lead:+.2f} points ahead of {single}, the best single one (at least +1)": lead >= LEAD,
        f"too far behind on {of_public} of {public.sum()} public crowds (none)": of_public == 0,
        f"too far behind on {of_others} of {(~public).sum()} simulated crowds (one in twenty)": (
            of_others <= (~public).sum() / 20
        ),
        f"calibration error {auto.mean():.3f}, the share's {share.mean():.3f}: {ratio:.2f} (at most 0.5)": (
            ratio <= CALIBRATION
        ),
    }
    print()
    for bar, met in bars.items():
        print(f"{'met   ' if met else 'MISSED'} {bar}")
    return 0 if all(bars.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
