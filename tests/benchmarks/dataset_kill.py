"""`kill -9` of `gtlabel consolidate` at random moments, and what the next run makes of what is left.

Run: python tests/benchmarks/dataset_kill.py [--kills 30] [--images 2000] [--seed 7] [--latency 2]

Example: python tests/benchmarks/dataset_kill.py --kills 2 --images 60 --no-pair

The command runs as a process against an S3 in this one (`distant.py`), which outlives it and counts. First a
run is left alone. Then, from nothing each time, a run is killed when a request that was drawn reaches S3, and
the same command is given once more. Half of them are drawn from all requests, which are copies for the most
part, half from the first and the last, which are not. At last two runs are started over each other.

Ends with 1 if a dataset could be read that was not whole, if the second run did not end in the same bytes as
the undisturbed one, if anything was copied twice, or if two runs wrote at once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from random import Random

from distant import Distant, busy

CLASSES = ("Compost", "Landfill", "Recycle")
_MANIFEST = "photos/jobs/bins/manifests/output/output.manifest"
_INTO = "photos/dataset/"
# Requests before and behind the copies.
_FEW = 16
_COLUMNS = (
    ("kill", 5),
    ("at request", 12),
    ("copied before", 15),
    ("and after", 11),
    ("twice", 7),
    ("taken for whole", 17),
    ("same bytes", 12),
)


@dataclass
class Kill:
    """One kill and what became of it."""

    number: int
    request: int
    before: int
    after: int = 0
    twice: int = 0
    too_early: bool = False
    same: bool = False

    @property
    def row(self) -> tuple[object, ...]:
        """As a row of the table."""
        return (
            self.number,
            self.request,
            self.before,
            self.after,
            self.twice,
            "yes" if self.too_early else "no",
            "yes" if self.same else "no",
        )

    @property
    def faults(self) -> int:
        """How much is not as it should be."""
        return self.twice + self.too_early + (not self.same)


class Bench:
    """A job's pictures and its manifest, and the command that makes a dataset of them."""

    def __init__(self, s3: Distant, images: int) -> None:
        self.s3 = s3
        lines = []
        for number in range(images):
            key = f"images/{number % 7}/photo {number:05d}.jpg"
            s3.put(f"photos/{key}", f"picture {number}".encode())
            lines.append(json.dumps(_line(key, number)))
        s3.put(_MANIFEST, ("\n".join(lines) + "\n").encode())

    def start(self) -> subprocess.Popen[bytes]:
        """Start the command."""
        program = [sys.executable, "-m", "gtlabel", "consolidate", f"s3://{_MANIFEST}"]
        return subprocess.Popen(
            [*program, "--into", f"s3://{_INTO}", "--endpoint-url", self.s3.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={
                **os.environ,
                "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
                "AWS_SECRET_ACCESS_KEY": "none",
                "AWS_REGION": "us-east-1",
            },
        )

    def run(self) -> float:
        """Run it to its end, which must be a good one; return the seconds it took."""
        begun = time.perf_counter()
        process = self.start()
        _, told = process.communicate(timeout=300)
        if process.returncode:
            raise SystemExit(f"the command failed: {told.decode()}")
        return time.perf_counter() - begun

    @property
    def is_whole(self) -> bool:
        """Whether a reader would take what is there for a dataset."""
        there = self.s3.objects.get(f"{_INTO}dataset.json")
        return there is not None and json.loads(there.body).get("complete") is True


def kill_and_run_again(bench: Bench, number: int, request: int, whole: dict[str, bytes]) -> Kill:
    """Kill a run at that request, look at what is there, and run again."""
    bench.s3.drop(_INTO)
    bench.s3.requests.clear()
    process = bench.start()
    while bench.s3.requests.total() < request and process.poll() is None:
        time.sleep(0.0005)
    process.kill()
    process.communicate()
    # What was under way arrives a little later.
    time.sleep(2 * bench.s3.latency)
    copies = bench.s3.copies
    kill = Kill(number, request, copies.total())
    # A run that was killed after its last write was a whole one.
    kill.too_early = bench.is_whole and not _same(bench.s3.tree(_INTO), whole)
    bench.run()
    kill.after = copies.total() - kill.before
    kill.twice = copies.total() - len(copies)
    kill.same = bench.s3.tree(_INTO) == whole
    return kill


def draw(random: Random, requests: int) -> int:
    """The number of a request: any, or one of the first, or one of the last."""
    few = min(_FEW, requests)
    return random.choice(
        [random.randint(1, requests)] * 2 + [random.randint(1, few), requests - random.randrange(few)]
    )


def two_at_once(bench: Bench, whole: dict[str, bytes]) -> tuple[str, int]:
    """Start a second run while the first copies; return what was said and how much was wrong."""
    bench.s3.drop(_INTO)
    # Nothing is copied until the second is gone, that the first is still at it.
    bench.s3.on_copy = lambda *_: busy()
    bench.s3.requests.clear()
    first = bench.start()
    while not bench.s3.requests["copy"] and first.poll() is None:
        time.sleep(0.01)
    second = bench.start()
    _, told = second.communicate(timeout=300)
    bench.s3.on_copy = None
    _, other = first.communicate(timeout=300)
    copies = bench.s3.copies
    wrong = (first.returncode != 0) + (second.returncode == 0) + (b"is being written by" not in told)
    wrong += copies.total() - len(copies) + (bench.s3.tree(_INTO) != whole)
    return (other or told).decode().strip() if first.returncode else told.decode().strip(), wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--latency", type=float, default=2.0, help="milliseconds of every answer")
    parser.add_argument("--pair", action=argparse.BooleanOptionalAction, default=True, help="two at once")
    given = parser.parse_args()
    random = Random(given.seed)
    s3 = Distant(given.latency / 1000)
    bench = Bench(s3, given.images)
    took = bench.run()
    requests = s3.requests.total()
    whole = s3.tree(_INTO)
    copied = s3.copies.total()
    print(f"undisturbed: {took:.2f} s, {copied} copies, {requests} requests, {len(whole)} objects\n")
    print("".join(f"{name:>{width}}" for name, width in _COLUMNS), flush=True)
    faults = (copied != given.images) + (not bench.is_whole)
    for number in range(1, given.kills + 1):
        kill = kill_and_run_again(bench, number, draw(random, requests), whole)
        widths = (width for _, width in _COLUMNS)
        print(
            "".join(f"{value!s:>{width}}" for value, width in zip(kill.row, widths, strict=True)), flush=True
        )
        faults += kill.faults
    if given.pair:
        told, wrong = two_at_once(bench, whole)
        print(f"\ntwo at once: {told}")
        faults += wrong
    print(f"\nfaults: {faults}")
    s3.close()
    sys.exit(1 if faults else 0)


def _line(key: str, number: int) -> dict[str, object]:
    return {
        "source-ref": f"s3://photos/{key}",
        "bin": number % 3,
        "bin-metadata": {
            "confidence": 0.9,
            "job-name": "labeling-job/bins",
            "class-name": CLASSES[number % 3],
            "human-annotated": "yes",
            "creation-date": "2026-11-22T10:11:12.345678",
            "type": "groundtruth/image-classification",
        },
    }


def _same(tree: dict[str, bytes], whole: dict[str, bytes]) -> bool:
    # The lock of the killed run may still lie there; it is no part of the dataset.
    return {name: body for name, body in tree.items() if name != ".gtlabel-lock"} == whole


if __name__ == "__main__":
    main()
