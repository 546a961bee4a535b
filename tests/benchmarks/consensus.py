"""How often labels are right, method by method, and whether the probabilities of `auto` mean what they say.

Run: GTLABEL_CROWDKIT_PYTHON=/opt/ck/bin/python python tests/benchmarks/consensus.py [--seeds 2]
         [--crowds /work/shared/data/crowd] [--objects 1000] [--slow]

Example: python tests/benchmarks/consensus.py --seeds 1 --kinds 2

Three sorts of crowds, each judged by itself: public ones (folders with labels.csv.gz and gold.csv.gz),
simulated ones of the kinds that methods were chosen on (`KINDS` of gtlabel.crowd.simulated, each with several
seeds), and simulated ones with other troubles (`OTHER_KINDS`). All our methods label them, and crowd-kit's
where GTLABEL_CROWDKIT_PYTHON names a Python that has it. To make one: `python -m venv ck; ck/bin/pip install
crowd-kit==1.4.2 scikit-learn==1.5.2`. Its MACE takes seconds for each crowd and is asked about public ones,
its GLAD takes longer and is not asked, unless with `--slow`; KOS and MMSR are for two classes alone. Gold is
seen by the figures only; all methods alike are told of a class that occurs in gold and in no answer.

A tie of ours counts by its share; crowd-kit breaks ties by order, which is luck where the first class is
frequent. Calibration is the expected calibration error over ten bins of equal width, of `auto` and of the
share of answers; `least` is what `auto` would have if its probabilities were exactly true (the mean of 40
draws): with a hundred objects that is not nothing. `sure` is its mean confidence less its accuracy.

`2 se` are two standard errors of the accuracy of `auto`; `paired`, of its difference to the best method, is
about half of that. The mean of `auto` less that of another method has an interval of 95 %, by drawing kinds
again (seeds of a kind are no independent crowds), and for public crowds objects.

Ends with 1 where a bar is missed: on public crowds `auto` on average at least one point above the best single
crowd-kit method; on none more than two points, or two of its standard errors, below the best crowd-kit method
for that crowd; a calibration error at most half of that of the share of answers. The same holds for simulated
crowds, save that one in twenty may be too far behind, by chance: that is our rule. For other troubles figures
are printed, and nothing is demanded but a lead.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from crowd_files import read
from numpy.typing import NDArray

from gtlabel.crowd.methods import METHODS
from gtlabel.crowd.simulated import KINDS, OTHER_KINDS, simulated
from gtlabel.crowd.sums import Sums
from gtlabel.crowd.votes import Votes

Floats = NDArray[np.float64]

LEAD, BEHIND, CALIBRATION = 0.01, 0.02, 0.5
OURS = ("majority", "wawa", "one_coin", "dawid_skene", "glad", "mace", "bayes", "auto")
PUBLIC, SIMULATED, OTHER = "public crowds", "simulated crowds", "crowds with other troubles"
PEERS, MEDIUM, SLOW = ("MajorityVote", "Wawa", "ZeroBasedSkill", "DawidSkene", "OneCoin"), "MACE", "GLAD"
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
    def kind(self) -> str:
        """What it shares with crowds of other seeds."""
        return self.name.split("/")[0]

    @property
    def sort(self) -> str:
        """Which crowds it is judged with."""
        if "/" not in self.name:
            return PUBLIC
        return SIMULATED if self.kind in KINDS else OTHER


def _public(folder: Path) -> Told:
    """A folder with labels.csv.gz and gold.csv.gz; a worker's last answer about an object counts."""
    said, gold = read(folder)
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
    for name, kind in [*list(KINDS.items())[: options.kinds], *list(OTHER_KINDS.items())[: options.kinds]]:
        for seed in range(options.seeds):
            crowd = simulated(replace(kind, objects=min(kind.objects, options.objects)), seed)
            yield Told(f"{name}/{seed}", crowd.votes, crowd.objects, crowd.classes, crowd.truth)


def peers(told: list[Told], python: str, slow: bool) -> list[dict[str, Floats]]:
    """What crowd-kit's methods make of the crowds, in its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        for number, crowd in enumerate(told):
            path, votes = Path(folder) / f"{number}.npz", crowd.votes
            methods = [*PEERS, *[MEDIUM] * (slow or crowd.sort == PUBLIC), *[SLOW] * slow]
            columns = {"objects": votes.objects, "workers": votes.workers, "classes": votes.classes}
            np.savez(path, allow_pickle=False, count=np.array(crowd.objects), methods=methods, **columns)
        program = Path(__file__).with_name("consensus_peer.py")
        subprocess.run([python, str(program), folder], check=True)
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
    return _apart(posterior[known].max(axis=1), _right(posterior, crowd))


def _apart(confidence: Floats, right: Floats | NDArray[np.bool_]) -> float:
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    apart = np.bincount(bins, weights=confidence - right, minlength=_BINS)
    return float(np.abs(apart).sum() / max(len(right), 1))


@dataclass(frozen=True)
class Judged:
    """What all methods made of a crowd.

    Attributes:
        crowd: the crowd.
        right: how right each label is whose truth is known, method by method.
        error: the calibration error of `auto`.
        of_share: that of the share of answers.
        least: that of `auto` if its probabilities were exactly true.
        sure: the mean confidence of `auto` less its accuracy.
    """

    crowd: Told
    right: dict[str, Floats]
    error: float
    of_share: float
    least: float
    sure: float

    @property
    def spread(self) -> float:
        """The standard error of the accuracy of `auto`."""
        right = self.right["auto"]
        return float(right.std() / np.sqrt(len(right)))


def judged(crowd: Told, others: dict[str, Floats]) -> Judged:
    """Label a crowd by our methods, beside what others made of it."""
    sums = Sums(crowd.votes, crowd.objects, crowd.classes)
    posteriors = {
        name: METHODS[name](sums, crowd.objects, crowd.classes).posterior for name in OURS if name in METHODS
    }
    error, of_share = (calibration_error(posteriors[name], crowd) for name in ("auto", "majority"))
    right = {**others, **{name: _right(value, crowd) for name, value in posteriors.items()}}
    confidence = posteriors["auto"][crowd.truth >= 0].max(axis=1)
    random = np.random.default_rng(0)
    least = np.mean([_apart(confidence, random.random(len(confidence)) < confidence) for _ in range(40)])
    return Judged(crowd, right, error, of_share, float(least), float((confidence - right["auto"]).mean()))


def _lead(several: list[Judged], method: str) -> str:
    """Mean difference over crowds in points, with its interval."""
    apart = [100 * (each.right["auto"] - each.right[method]) for each in several]
    random = np.random.default_rng(0)
    if several[0].crowd.sort == PUBLIC:
        draws = np.mean([random.choice(each, (1000, len(each))).mean(axis=1) for each in apart], axis=0)
    else:
        kinds = {each.crowd.kind for each in several}
        of_kind = [
            np.mean([a.mean() for a, each in zip(apart, several, strict=True) if each.crowd.kind == kind])
            for kind in sorted(kinds)
        ]
        draws = random.choice(of_kind, (1000, len(of_kind))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{np.mean([each.mean() for each in apart]):+.2f} [{low:+.2f}, {high:+.2f}]"


def main() -> int:
    """Print the table; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=2, help="simulated crowds of each kind")
    parser.add_argument(
        "--kinds", type=int, default=len(KINDS), help="so many kinds of each sort, from the first on"
    )
    parser.add_argument("--objects", type=int, default=1000, help="at most so many objects each")
    parser.add_argument("--crowds", type=Path, default=Path("/work/shared/data/crowd"), help="public crowds")
    parser.add_argument(
        "--slow", action="store_true", help="crowd-kit's MACE and GLAD about all, which takes long"
    )
    options = parser.parse_args()
    told = list(crowds(options))
    python = os.environ.get("GTLABEL_CROWDKIT_PYTHON")
    others = peers(told, python, options.slow) if python else [{} for _ in told]
    everything = [judged(*pair) for pair in zip(told, others, strict=True)]
    held = [
        _report(sort, several)
        for sort in (PUBLIC, SIMULATED, OTHER)
        if (several := [each for each in everything if each.crowd.sort == sort])
    ]
    return 0 if all(held) else 1


def _report(sort: str, several: list[Judged]) -> bool:
    methods = list(several[0].right)
    accuracy = {method: np.array([each.right[method].mean() for each in several]) for method in methods}
    peer = [method for method in methods if method.startswith("ck ")] or [m for m in OURS[:4] if m in methods]
    best = np.max([accuracy[method] for method in peer], axis=0)
    print(
        f"{sort:28s} {'auto':>6s} {'2 se':>5s} {'best':>6s} {'gap':>6s} paired  ECE auto, share, least   sure"
    )
    for number, each in enumerate(several):
        of_best = max((each.right[method] for method in peer), key=lambda right: float(right.mean()))
        apart = 100 * (each.right["auto"] - of_best)
        print(
            f"{each.crowd.name:28s} {100 * accuracy['auto'][number]:6.2f} {200 * each.spread:5.1f} "
            f"{100 * best[number]:6.2f} {apart.mean():+6.2f} {2 * apart.std() / np.sqrt(len(apart)):6.1f}"
            f"      {each.error:.3f}  {each.of_share:.3f}  {each.least:.3f}  {each.sure:+.3f}"
        )
    print(f"\n{'method':20s} {'mean':>6s}  {'auto is ahead by':>22s}  worst behind the best of {peer[0][:2]}")
    for method in methods:
        worst = 100 * (best - accuracy[method]).max()
        print(
            f"{method:20s} {100 * accuracy[method].mean():6.2f}  {_lead(several, method):>22s}  {worst:.2f}"
        )
    if not peer[0].startswith("ck "):
        print("crowd-kit is left out, and ours stand for it: set GTLABEL_CROWDKIT_PYTHON as --help says")
    bars = _bars(sort, several, accuracy, peer, best)
    print()
    for bar, met in bars.items():
        print(f"{'met   ' if met else 'MISSED'} {sort}: {bar}")
    print()
    return all(bars.values())


def _bars(
    sort: str, several: list[Judged], accuracy: dict[str, Floats], peer: list[str], best: Floats
) -> dict[str, bool]:
    single = max(peer, key=lambda method: float(accuracy[method].mean()))
    lead = float((accuracy["auto"] - accuracy[single]).mean())
    ahead = f"{100 * lead:+.2f} points ahead of {single}, the best single one of {len(peer)}"
    spread = np.array([each.spread for each in several])
    behind = int((best - accuracy["auto"] > np.maximum(BEHIND, 2 * spread)).sum())
    error, of_share = (np.mean([getattr(each, name) for each in several]) for name in ("error", "of_share"))
    calibrated = f"calibration error {error:.3f}, the share's {of_share:.3f}: {error / of_share:.2f}"
    too_far = f"too far behind on {behind} of {len(several)}"
    if sort == OTHER:
        print(f"\n{too_far}; {calibrated}")
        return {f"{ahead} (at least 0)": lead >= 0}
    few = len(several) / 20 if sort == SIMULATED else 0
    return {
        f"{ahead} (at least +1)": lead >= LEAD,
        f"{too_far} ({'one in twenty by chance' if few else 'none'})": behind <= few,
        f"{calibrated} (at most 0.5)": bool(error / of_share <= CALIBRATION),
    }


if __name__ == "__main__":
    sys.exit(main())
