"""Whether our methods and crowd-kit's of the same name say the same, and where they do not, why.

Run: GTLABEL_CROWDKIT_PYTHON=/opt/ck/bin/python python tests/benchmarks/consensus_same.py
         [--crowds /work/shared/data/crowd] [--most 400] [--slow]

Example: GTLABEL_CROWDKIT_PYTHON=/opt/ck/bin/python python tests/benchmarks/consensus_same.py --most 100

Public crowds (folders with labels.csv.gz; the first `--most` objects of each) and a drawn one (400 objects of
four classes with four answers each) are labeled by both: `as it comes`, and `alike`, with the settings of
both put as near to each other as they go. To make the other Python: `python -m venv ck; ck/bin/pip install
crowd-kit==1.4.2 scikit-learn==1.5.2`. Its GLAD and MACE take a minute for each crowd: --slow.

Columns: `same`, the share of objects with one likeliest class by ours that have the same by theirs; `tied`,
the objects without one, where crowd-kit names one of the classes all the same; `apart`, the mean and the
largest distance between two probabilities of a class.

What differs:

* Majority: nothing but ties.
* Wawa: ties again, for its weights depend on them. Who named one of several leading classes agrees in part by
  ours, and with crowd-kit wholly or not at all, by which class stands first. Somebody who gave the same
  answer about an object twice counts twice by ours. Alike: objects with a tie for the lead are left out.
* Dawid-Skene, one-coin: crowd-kit smooths nothing, and ends where its bound, which has the class prior once
  for each answer, rises by less than 0.00001 per answer. What a worker says of a class of which he saw no
  object is even over the classes that he ever named, and over all classes by ours. Alike: 30 rounds and next
  to no smoothing by both.
* GLAD: crowd-kit takes up to 25 steps along conjugate gradients in each round, as near as 0.01, where ours
  takes Newton's. Alike: its tolerances are 0.0000001. An object with few answers may be torn all the same.
* MACE: crowd-kit has ten answers by habit for each class and worker beforehand and variational estimates,
  ours a tenth of an answer and the largest density. Its ten starts are one and the same, since each draws
  anew from one number (`random_state`); ours is the share of each class among an object's answers. There is
  no alike.

Ends with 1 where alike is not the same: a label that differs, or a mean distance of 0.001, with majority,
Wawa, Dawid-Skene or one-coin; with GLAD more than one label of a hundred.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]

ROUNDS, APART, DIFFERENT = 30, 1e-3, 0.01
FAST = ("majority", "wawa", "dawid_skene", "one_coin")
SLOW = ("glad", "mace")
WAYS = ("as it comes", "alike")


def crowds(folder: Path, most: int) -> Iterator[tuple[str, Arrays]]:
    """Answers as columns, each crowd by its name."""
    for path in sorted(folder.glob("*/labels.csv.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            said = [(row["task"], row["worker"], row["label"]) for row in csv.DictReader(file)]
        first = dict.fromkeys(task for task, _, _ in said)
        kept = set(list(first)[:most])
        columns = zip(*(row for row in said if row[0] in kept), strict=True)
        names = ("objects", "workers", "classes")
        yield (
            path.parent.name,
            {
                name: np.unique(column, return_inverse=True)[1]
                for name, column in zip(names, columns, strict=True)
            },
        )
    random = np.random.default_rng(0)
    truth, about = random.integers(4, size=400), np.repeat(np.arange(400), 4)
    who = np.concatenate([random.permutation(30)[:4] for _ in truth])
    right = random.random(1600) < random.beta(5, 2, 30)[who]
    named = np.where(right, truth[about], (truth[about] + random.integers(1, 4, 1600)) % 4)
    yield "drawn", {"objects": about, "workers": who, "classes": named}


def without_ties(answers: Arrays) -> Arrays:
    """The answers about objects that one class leads, numbered anew."""
    counts = np.zeros((answers["objects"].max() + 1, answers["classes"].max() + 1))
    np.add.at(counts, (answers["objects"], answers["classes"]), 1)
    clear = (counts == counts.max(axis=1, keepdims=True)).sum(axis=1) == 1
    kept = clear[answers["objects"]]
    return {name: np.unique(column[kept], return_inverse=True)[1] for name, column in answers.items()}


def ours(answers: Arrays, method: str, way: str) -> Floats:
    """The probabilities of our method, `[objects, classes]`."""
    from gtlabel.engine.consensus import Votes, aggregate

    options: dict[str, Any] = {}
    if way == "alike" and method in ("dawid_skene", "one_coin"):
        options = {"smoothing": 1e-10, "rounds": ROUNDS, "tolerance": 1e-30}
    elif way == "alike" and method == "glad":
        options = {"tolerance": 1e-10, "rounds": 1000}
    votes = Votes(answers["objects"], answers["workers"], answers["classes"])
    return aggregate(votes, method=method, **options).posterior


def theirs(answers: Arrays, method: str, way: str) -> Floats:
    """The probabilities of crowd-kit's, in its own Python."""
    # Only the other environment has these two.
    pandas, crowdkit = import_module("pandas"), import_module("crowdkit.aggregation")
    alike = way == "alike"
    endless = {"n_iter": ROUNDS, "tol": -np.inf} if alike else {}
    exact = {"tol": 1e-7, "m_step_max_iter": 1000, "m_step_tol": 1e-7, "n_iter": 1000} if alike else {}
    made: dict[str, Callable[[], Any]] = {
        "majority": lambda: crowdkit.MajorityVote(),
        "wawa": lambda: crowdkit.Wawa(),
        "dawid_skene": lambda: crowdkit.DawidSkene(**endless),
        "one_coin": lambda: crowdkit.OneCoinDawidSkene(**endless),
        "glad": lambda: crowdkit.GLAD(**exact),
        # Ten starts that are the same take ten times as long.
        "mace": lambda: crowdkit.MACE(n_restarts=1),
    }
    table = pandas.DataFrame(
        {"task": answers["objects"], "worker": answers["workers"], "label": answers["classes"]}
    )
    found = made[method]().fit_predict_proba(table)
    probabilities: Floats = found.sort_index().sort_index(axis=1).fillna(0).to_numpy(dtype=np.float64)
    return probabilities


def compared(mine: Floats, other: Floats) -> tuple[float, float, float, float]:
    """The share of same labels where ours has one, the share tied, and the mean and largest distance."""
    rounded = np.round(mine, 9)
    clear = (rounded == rounded.max(axis=1, keepdims=True)).sum(axis=1) == 1
    same = rounded.argmax(axis=1) == other.argmax(axis=1)
    apart = np.abs(mine - other)
    return float(same[clear].mean()), float(1 - clear.mean()), float(apart.mean()), float(apart.max())


def main() -> int:
    """Print the table; 1 where alike is not the same."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--crowds", type=Path, default=Path("/work/shared/data/crowd"))
    parser.add_argument("--most", type=int, default=400, help="so many objects of each crowd")
    parser.add_argument("--slow", action="store_true", help="GLAD and MACE too")
    options = parser.parse_args()
    python = os.environ.get("GTLABEL_CROWDKIT_PYTHON")
    if python is None:
        print("there is nothing to compare with: set GTLABEL_CROWDKIT_PYTHON as --help says")
        return 1
    missed = []
    print(f"{'crowd':<14}{'method':<13}{'way':<13}{'same':>8}{'tied':>8}{'apart':>10}{'at most':>10}")
    for name, answers in crowds(options.crowds, options.most):
        for method in (*FAST, *(SLOW if options.slow else ())):
            for way in WAYS[: 1 if method == "mace" else 2]:
                given = without_ties(answers) if (method, way) == ("wawa", "alike") else answers
                same, tied, mean, most = compared(
                    ours(given, method, way), _asked(python, given, method, way)
                )
                print(
                    f"{name:<14}{method:<13}{way:<13}{same:8.2%}{tied:8.2%}{mean:10.6f}{most:10.6f}",
                    flush=True,
                )
                strays = same < 1 or mean > APART if method in FAST else same < 1 - DIFFERENT
                if way == "alike" and strays:
                    missed.append(
                        f"{name}: {method} is apart by {mean:.4f}, with {same:.2%} of the labels the same"
                    )
    for sentence in missed:
        print(f"missed: {sentence}")
    return 1 if missed else 0


def _asked(python: str, answers: Arrays, method: str, way: str) -> Floats:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.npz"
        np.savez(path, allow_pickle=False, **answers)
        subprocess.run([python, __file__, path, method, way], check=True)
        found: Floats = np.load(Path(folder) / "found.npy")
        return found


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[3] in WAYS:
        with np.load(sys.argv[1]) as file:
            np.save(Path(sys.argv[1]).with_name("found.npy"), theirs(dict(file), *sys.argv[2:]))
    else:
        raise SystemExit(main())
