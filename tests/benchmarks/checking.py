"""What the checks before a training job cost, beside the json module and gtlabel's own reader, in one run.

    python tests/benchmarks/checking.py [--lines 1000000] [--runs 5]

Example: python tests/benchmarks/checking.py --lines 200000 --runs 3

Makes a training manifest of realistic lines (those of reading.py) and checks it from the page cache, as it
would come from S3, one program after the other, `--runs` times: each line is JSON, names a picture and has a
label from 0 to one less than the classes. gtlabel also digests the bytes. Figures are medians of lines per
second of CPU. Memory is the peak of a process of its own for each number of lines; four times as many are the
same file four times.

Ends with 1 if a bar is missed: 2.5 times the json module, 8 MB more for four times the lines. Fewer than
200,000 lines are no measurement, and are held against no bar.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from reading import ATTRIBUTE, CLASSES, FEWEST_TO_JUDGE, make

from gtlabel.manifests.lines import read_records
from gtlabel.storage import read_file_lines
from gtlabel.training.checks import check_channels
from gtlabel.training.data import ChannelData, TrainingData
from gtlabel.uris import S3Uri

AGAINST_JSON, MOST_MEGABYTES_MORE = 2.5, 8
HERE = S3Uri("s3://bench/dataset/")


class Body:
    """A file as the body of an S3 object, so many times."""

    def __init__(self, path: Path, times: int) -> None:
        self._path, self._times = path, times

    def iter_chunks(self, size: int) -> Iterator[bytes]:
        for _ in range(self._times):
            with self._path.open("rb") as file:
                while chunk := file.read(size):
                    yield chunk


class Bucket:
    """As much of an S3 client as reading a manifest takes: `train` is the file, `validation` one line."""

    def __init__(self, path: Path, times: int = 1) -> None:
        self._path, self._times = path, times
        self._line = path.with_suffix(".line")
        with path.open("rb") as file:
            self._line.write_bytes(file.readline())

    def get_object(self, Key: str, **_: str) -> dict[str, Any]:  # noqa: N803
        train = Key.endswith("/train.manifest")
        return {"Body": Body(self._path, self._times) if train else Body(self._line, 1)}


def ours(path: Path, lines: int, times: int = 1) -> int:
    channels = {
        "train": ChannelData(HERE / "train.manifest", lines * times),
        "validation": ChannelData(HERE / "validation.manifest", 1),
    }
    data = TrainingData(HERE, ATTRIBUTE, CLASSES, channels)
    findings = check_channels(Bucket(path, times), data, looked_at=0)  # type: ignore[arg-type]
    if any(finding.level == "error" for finding in findings):
        raise SystemExit(str(findings))
    return lines


def with_json(path: Path, _: int) -> int:
    counts = [0] * len(CLASSES)
    for line in read_file_lines(path):
        record = json.loads(line)
        label = record[ATTRIBUTE]
        if not record["source-ref"].startswith("s3://") or type(label) is not int or label < 0:
            raise SystemExit("a label is wrong")
        counts[label] += 1
    return sum(counts)


def with_records(path: Path, _: int) -> int:
    counts = [0] * len(CLASSES)
    for record in read_records(read_file_lines(path), "bench", attribute=ATTRIBUTE):
        counts[record.class_index(ATTRIBUTE)] += 1
    return sum(counts)


PROGRAMS: dict[str, Callable[[Path, int], int]] = {
    "json.loads": with_json,
    "gtlabel's records": with_records,
    "gtlabel's checks": ours,
}


def measure(path: Path, lines: int, runs: int) -> dict[str, float]:
    """Lines per second of CPU, medians."""
    taken: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(runs):
        for name, program in PROGRAMS.items():
            start = time.process_time()
            if program(path, lines) != lines:
                raise SystemExit("the programs do not count the same")
            taken[name].append(lines / (time.process_time() - start))
    return {name: statistics.median(speeds) for name, speeds in taken.items()}


def peak(path: Path, lines: int, times: int) -> float:
    """The peak memory of a process that checks, in megabytes."""
    program = [sys.executable, __file__, "--lines", str(lines), "--check", str(path), "--times", str(times)]
    return float(subprocess.run(program, check=True, capture_output=True, text=True).stdout)


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--lines", type=int, default=1_000_000)
    options.add_argument("--runs", type=int, default=5)
    for hidden, kind in (("--check", Path), ("--times", int)):
        options.add_argument(hidden, type=kind, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.check:
        ours(given.check, given.lines, given.times)
        # Kilobytes on Linux.
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.manifest"
        make(path, given.lines)
        speeds = measure(path, given.lines, given.runs)
        base = speeds["json.loads"]
        print("| program | lines per CPU second | of json |\n|---|---:|---:|")
        for name, speed in speeds.items():
            print(f"| {name} | {speed:,.0f} | {speed / base:.2f} |")
        once, four = peak(path, given.lines, 1), peak(path, given.lines, 4)
        print(f"\npeak memory of the checks: {once:.1f} MB, four times the lines {four:.1f} MB")
    if given.lines < FEWEST_TO_JUDGE:
        return 0
    missed = [
        sentence
        for met, sentence in (
            (speeds["gtlabel's checks"] >= AGAINST_JSON * base, f"less than {AGAINST_JSON} times json"),
            (four - once <= MOST_MEGABYTES_MORE, f"more than {MOST_MEGABYTES_MORE} MB more"),
        )
        if not met
    ]
    print("\n" + ("; ".join(missed) or "every bar is met"))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
