"""How many wrong labels are found, by how many labels people look at again.

Run: python tests/benchmarks/suspects.py [--images /work/shared/data/trash-images] [--seeds 20]
         [--shares 0.05,0.1] [--most 0]

Example: python tests/benchmarks/suspects.py --seeds 1 --shares 0.1 --most 60

The pictures of class folders get the label of their folder, of which a share is changed to another class at
random (a seed decides which). Ways to choose what to look at first: at random; where the classifier is the
least sure of its own answer, which is what a model's confidence is usually taken for; the margin that
confident learning prunes by (Northcutt 2021), those it counts as wrong first; and ours, the ratio of the
likeliest other class to the label. All see the same out-of-sample probabilities.

Found: of the changed labels, the share among the first so many (once and twice as many as were changed).
Precision: the average over the changed labels of the share of changed ones down to each (average precision).
Told: how many labels are said to be wrong, by those changed. Means over seeds with 95 % intervals. Labels
that were wrong from the start count against every way alike.

Ends with 1 where ours is not better than random and than confidence by three times in average precision, or
not at least as good as the pruning margin, or tells less than half or more than twice the number of wrong
labels.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gtlabel.images.features import VIEWS, Directions, picture_features
from gtlabel.learning.classifier import cross_fitted
from gtlabel.learning.suspects import find_suspects

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

WAYS = ("random", "confidence", "pruning", "ours")
TIMES = 3.0


def labeled(folder: Path, most: int) -> tuple[NDArray[np.float32], Indices, tuple[int, ...]]:
    """What the pictures of class folders look like, in how many numbers for each view, and their classes."""
    files = [
        (file, number)
        for number, each in enumerate(sorted(path for path in folder.iterdir() if path.is_dir()))
        for file in sorted(each.iterdir())
    ]
    if most:
        files = [files[number] for number in np.random.default_rng(0).permutation(len(files))[:most]]
    rows = picture_features(file.read_bytes() for file, _ in files)
    directions = Directions.of(rows, VIEWS)
    return directions.apply(rows), np.array([number for _, number in files]), directions.views


def orders(probabilities: Floats, labels: Indices, seed: int) -> dict[str, Indices]:
    """The objects in the order in which each way would have them looked at."""
    count, classes = probabilities.shape
    rows = np.arange(count)
    own = probabilities[rows, labels]
    others = probabilities.copy()
    others[rows, labels] = -1.0
    usual = np.array([own[labels == number].mean() for number in range(classes)])
    sure = probabilities >= usual
    counted = np.where(sure, probabilities, -1.0).argmax(axis=1)
    off = sure.any(axis=1) & (counted != labels)
    return {
        "random": np.random.default_rng(seed).permutation(count),
        "confidence": np.argsort(probabilities.max(axis=1), kind="stable"),
        "pruning": np.lexsort((own - others.max(axis=1), ~off)),
        "ours": find_suspects(probabilities, labels).ranked,
    }


def judged(order: Indices, changed: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Average precision, and the share found among once and twice as many as were changed."""
    hit = changed[order]
    total = int(changed.sum())
    precision = (np.cumsum(hit) / np.arange(1, len(hit) + 1))[hit].mean()
    return float(precision), float(hit[:total].sum() / total), float(hit[: 2 * total].sum() / total)


def shown(values: list[float]) -> str:
    """The mean in percent with two standard errors."""
    error = 200 * float(np.std(values, ddof=1)) / len(values) ** 0.5 if len(values) > 1 else float("inf")
    return f"{100 * float(np.mean(values)):5.1f} ± {error:4.1f}"


def main() -> int:
    """Print the table and say whether the bars hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, default=Path("/work/shared/data/trash-images"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--shares", default="0.05,0.1")
    parser.add_argument("--most", type=int, default=0, help="No more pictures than this; 0 for all.")
    options = parser.parse_args()
    features, truth, views = labeled(options.images, options.most)
    classes = int(truth.max()) + 1
    missed = []
    for share in (float(part) for part in options.shares.split(",")):
        found: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
        told = []
        for seed in range(options.seeds):
            random = np.random.default_rng(seed)
            changed = np.zeros(len(truth), dtype=np.bool_)
            changed[random.choice(len(truth), round(share * len(truth)), replace=False)] = True
            labels = np.where(changed, (truth + random.integers(1, classes, len(truth))) % classes, truth)
            probabilities = cross_fitted(features, labels, classes, seed=seed, views=views)
            for way, order in orders(probabilities, labels, seed).items():
                found[way].append(judged(order, changed))
            told.append(find_suspects(probabilities, labels).wrong / int(changed.sum()))
        print(f"{len(truth)} pictures, {classes} classes, {share:.0%} of the labels changed, in %")
        print(f"{'':<12}{'precision':>14}{'found in 1x':>15}{'in 2x':>15}")
        for way in WAYS:
            columns = "".join(f"{shown([each[place] for each in found[way]]):>15}" for place in range(3))
            print(f"{way:<11}{columns}")
        print(f"told: {shown(told)} % of those changed\n", flush=True)
        mean = {way: float(np.mean([each[0] for each in found[way]])) for way in WAYS}
        if mean["ours"] < TIMES * max(mean["random"], mean["confidence"]) or mean["ours"] < mean["pruning"]:
            missed.append(f"{share:.0%} changed: ours has {mean['ours']:.1%}, {mean}")
        if not 0.5 <= float(np.mean(told)) <= 2:
            missed.append(f"{share:.0%} changed: {np.mean(told):.0%} of them are told")
    for each in missed:
        print(f"missed: {each}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
