"""Who moves when the data grows: our split, beside what scripts do, from small to ten times as much.

Run: python tests/benchmarks/splitting.py [--images 5000] [--cameras 120]

Example: python tests/benchmarks/splitting.py --images 500 --cameras 40

Pictures come from cameras that take bursts, in classes of very different size. The data grows in four steps
to ten times its size. For every way of splitting: how many of the first pictures change their channel,
how many land in validation that were trained on before (a leak into every comparison with an older model),
how many bursts lie in two channels at the end, and how far the share of the worst class of a hundred
pictures or more is from what was asked.

Ends with 1 if a picture of ours moves, or a group of ours is torn apart.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gtlabel.datasets.plan import make_plan
from gtlabel.manifests.merge import Label
from gtlabel.manifests.split import Channel, KeyPattern, Shares
from gtlabel.manifests.table import LabelTable

SHARES = Shares(validation=0.2)
BURST = r"(cam\d+)/(burst\d+)/"
GROWTH = (1, 2, 5, 10)
_CLASSES = {"Recycle": 60, "Landfill": 30, "Compost": 8, "Batteries": 2}

Split = dict[str, Channel]
Splitter = Callable[[Sequence[tuple[str, str]]], Split]


@dataclass(frozen=True)
class Row:
    """What became of one way of splitting."""

    name: str
    moved: int
    leaked: int
    torn: int
    worst: float


def pictures(count: int, cameras: int) -> list[tuple[str, str]]:
    """Pictures with their classes in the order they were taken."""
    chance = random.Random(7)
    names, weights = list(_CLASSES), list(_CLASSES.values())
    made: list[tuple[str, str]] = []
    burst = 0
    while len(made) < count:
        camera, burst, of = chance.randrange(cameras), burst + 1, chance.choices(names, weights)[0]
        folder = f"s3://trash-photos/cam{camera:03d}/burst{burst:06d}"
        made.extend((f"{folder}/{number}.jpg", of) for number in range(chance.randrange(1, 6)))
    return made[:count]


def ours(pattern: str | None) -> Splitter:
    """Our plan, which remembers nothing but what it lent."""
    lent: Mapping[str, Channel] = {}

    def split(taken: Sequence[tuple[str, str]]) -> Split:
        nonlocal lent
        table = LabelTable()
        for image, class_name in taken:
            table.add_label(Label(image, class_name))
        table.settle()
        plan = make_plan(table, table.images(), KeyPattern(pattern) if pattern else str, SHARES, lent)
        lent = plan.lent
        return {image: channel for channel in SHARES.channels for image in plan.members(channel)}

    return split


def shuffled(taken: Sequence[tuple[str, str]]) -> Split:
    """Shuffle with a fixed seed and cut, as tutorials do."""
    images = sorted(image for image, _ in taken)
    random.Random(42).shuffle(images)
    cut = round(len(images) * SHARES.validation)
    return {image: "validation" if place < cut else "train" for place, image in enumerate(images)}


def stratified(taken: Sequence[tuple[str, str]]) -> Split:
    """Shuffle and cut class by class, as scikit-learn's `train_test_split(stratify=...)` does."""
    found: Split = {}
    for name in _CLASSES:
        found.update(shuffled([item for item in taken if item[1] == name]))
    return found


def follow(name: str, split: Splitter, everything: Sequence[tuple[str, str]], first: int) -> Row:
    """Let the data grow, and look at who moves."""
    group = KeyPattern(BURST)
    trained: set[str] = set()
    moved: set[str] = set()
    leaked: set[str] = set()
    before: Split = {}
    now: Split = {}
    for factor in GROWTH:
        now = split(everything[: first * factor])
        moved |= {image for image, channel in before.items() if now[image] != channel}
        leaked |= {image for image in trained if now[image] == "validation"}
        trained |= {image for image, channel in now.items() if channel == "train"}
        before = now
    held = {(group(image), channel) for image, channel in now.items()}
    torn = sum(count > 1 for count in Counter(of for of, _ in held).values())
    sizes = Counter(of for _, of in everything)
    kept = Counter(of for image, of in everything if now[image] == "validation")
    shares = [abs(kept[of] / sizes[of] - SHARES.validation) for of in sizes if sizes[of] >= 100]
    return Row(name, len(moved), len(leaked), torn, max(shares, default=0.0))


def main() -> int:
    """Print the table; 1 if ours moves or tears."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=5_000, help="at the beginning")
    parser.add_argument("--cameras", type=int, default=120)
    arguments = parser.parse_args()
    everything = pictures(arguments.images * GROWTH[-1], arguments.cameras)
    rows = [
        follow("gtlabel", ours(None), everything, arguments.images),
        follow("gtlabel --group-by burst", ours(BURST), everything, arguments.images),
        follow("shuffle and cut", shuffled, everything, arguments.images),
        follow("stratified shuffle and cut", stratified, everything, arguments.images),
    ]
    print(f"from {arguments.images:,} pictures to {len(everything):,} by {GROWTH}, 20 % for validation\n")
    print(f"{'':28}{'moved':>9}{'leaked':>9}{'bursts torn':>13}{'worst class':>13}")
    for row in rows:
        print(f"{row.name:28}{row.moved:9,}{row.leaked:9,}{row.torn:13,}{row.worst:12.1%}")
    missed = any(row.moved for row in rows[:2]) or rows[1].torn > 0
    print("\nMISSED: one of ours moved" if missed else "\nnone of ours moved, and no group was torn")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
