"""What reading a manifest costs, beside jsonlines, msgspec and pydantic, all in one run.

    python tests/benchmarks/reading.py [--lines 1000000] [--runs 5]

Example: python tests/benchmarks/reading.py --lines 200000 --runs 3

Makes a manifest of realistic lines (about 328 bytes each, contract/measurements.md §2) and reads it from the
page cache, one program after the other, `--runs` times. Figures are medians of lines per second of CPU.
Every program but the bare reader checks the address, reads the label's metadata with their types, and counts
the classes by name. Memory is the peak of a process of its own for each number of lines; four times as many
lines are the same file four times.

Ends with 1 if a bar is missed: 1.6 times the bare reader, 0.4 times msgspec's structure, 80 MB. Fewer than
200,000 lines are no measurement, and are held against no bar.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, BinaryIO

import jsonlines
import msgspec
from pydantic import BaseModel, ConfigDict, Field

from gtlabel.manifests.lines import read_records, write_record
from gtlabel.storage import read_file_lines

ATTRIBUTE = "sorting"
CLASSES = ("Compost", "Landfill", "Recycle", "Glass", "Paper", "Metal", "Electronics", "Textile")
FEWEST_TO_JUDGE = 200_000
AGAINST_BARE, AGAINST_STRUCT, MOST_MEGABYTES = 1.6, 0.4, 80


def make(path: Path, lines: int, seed: int = 7) -> None:
    """Write a manifest as one job leaves it."""
    chance = random.Random(seed)
    with path.open("wb") as file:
        for number in range(lines):
            index = chance.randrange(len(CLASSES))
            moment = datetime(2026, 11, 22) + timedelta(microseconds=chance.randrange(1, 86_400_000_000))
            record = {
                "source-ref": f"s3://trash-photos-eu-west-1/site-{number % 23:02}/camera-{number % 7}/"
                f"session-{number // 5_000:04}/{chance.getrandbits(64):016x}.jpg",
                ATTRIBUTE: index,
                f"{ATTRIBUTE}-metadata": {
                    "confidence": round(chance.random(), 2),
                    "job-name": "labeling-job/sorting-batch-7",
                    "class-name": CLASSES[index],
                    "human-annotated": "no" if chance.random() < 0.3 else "yes",
                    "creation-date": moment.isoformat(timespec="microseconds"),
                    "type": "groundtruth/image-classification",
                },
            }
            file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")


class Metadata(msgspec.Struct, rename="kebab"):
    confidence: Annotated[float, msgspec.Meta(ge=0, le=1)]
    job_name: str
    class_name: str
    human_annotated: str
    creation_date: datetime
    type: str


class Line(msgspec.Struct):
    source_ref: str = msgspec.field(name="source-ref")
    index: int = msgspec.field(name=ATTRIBUTE)
    metadata: Metadata = msgspec.field(name=f"{ATTRIBUTE}-metadata")


class NaiveMetadata(BaseModel):
    model_config = ConfigDict(alias_generator=lambda name: name.replace("_", "-"))

    confidence: Annotated[float, Field(ge=0, le=1)]
    job_name: str
    class_name: str
    human_annotated: str
    creation_date: datetime
    type: str


class NaiveLine(BaseModel):
    source_ref: str = Field(alias="source-ref", pattern=r"^s3://[a-z0-9][a-z0-9.-]+/.+")
    index: int = Field(alias=ATTRIBUTE)
    metadata: NaiveMetadata = Field(alias=f"{ATTRIBUTE}-metadata")


def bare(file: BinaryIO) -> Counter[str]:
    for _ in jsonlines.Reader(file):
        pass
    return Counter()


def structure(file: BinaryIO) -> Counter[str]:
    decode = msgspec.json.Decoder(Line).decode
    counts: Counter[str] = Counter()
    for line in file:
        record = decode(line)
        if not record.source_ref.startswith("s3://"):
            raise ValueError(record.source_ref)
        counts[record.metadata.class_name] += 1
    return counts


def ours(file: BinaryIO) -> Counter[str]:
    counts: Counter[str] = Counter()
    for record in read_records(file, "bench", attribute=ATTRIBUTE):
        counts[record.label(ATTRIBUTE).class_name or ""] += 1
    return counts


def ours_asked_later(file: BinaryIO) -> Counter[str]:
    counts: Counter[str] = Counter()
    for record in read_records(file, "bench"):
        counts[record.label(ATTRIBUTE).class_name or ""] += 1
    return counts


def naive(file: BinaryIO) -> Counter[str]:
    counts: Counter[str] = Counter()
    for line in file:
        counts[NaiveLine.model_validate_json(line).metadata.class_name] += 1
    return counts


PROGRAMS: dict[str, Callable[[BinaryIO], Counter[str]]] = {
    "jsonlines.Reader, bare": bare,
    "msgspec, typed structure": structure,
    "gtlabel, label read along": ours,
    "gtlabel, label asked for later": ours_asked_later,
    "pydantic, naive": naive,
}


def measure(path: Path, lines: int, runs: int) -> dict[str, float]:
    """Lines per second of CPU, medians."""
    taken: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    counted: list[Counter[str]] = []
    for _ in range(runs):
        for name, program in PROGRAMS.items():
            start = time.process_time()
            with path.open("rb") as file:
                counts = program(file)
            taken[name].append(lines / (time.process_time() - start))
            counted += [counts] if counts else []
    if any(counts != counted[0] for counts in counted):
        raise SystemExit("the programs do not count the same")
    return {name: statistics.median(speeds) for name, speeds in taken.items()}


def repeated(path: Path, times: int) -> Iterator[bytes]:
    for _ in range(times):
        yield from read_file_lines(path)


def filtered(path: Path, times: int) -> None:
    with Path("/dev/null").open("wb") as out:
        for record in read_records(repeated(path, times), "bench", attribute=ATTRIBUTE):
            label = record.label(ATTRIBUTE)
            if label.by_human and (label.confidence or 0) > 0.2:
                out.write(write_record(record) + b"\n")


def peak(path: Path, times: int) -> float:
    """The peak memory of a process that reads and filters, in megabytes."""
    program = [sys.executable, __file__, "--filter", str(path), "--times", str(times)]
    return float(subprocess.run(program, check=True, capture_output=True, text=True).stdout)


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--lines", type=int, default=1_000_000)
    options.add_argument("--runs", type=int, default=5)
    for hidden, kind in (("--filter", Path), ("--times", int)):
        options.add_argument(hidden, type=kind, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.filter:
        filtered(given.filter, given.times)
        # Kilobytes on Linux.
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.manifest"
        make(path, given.lines)
        size = path.stat().st_size
        print(f"{given.lines:,} lines, {size / 1e6:.1f} MB, {size / given.lines:.0f} bytes a line\n")
        speeds = measure(path, given.lines, given.runs)
        base, typed = speeds["jsonlines.Reader, bare"], speeds["msgspec, typed structure"]
        print(
            "| program | lines per CPU second | of the bare reader | of the structure |\n|---|---:|---:|---:|"
        )
        for name, speed in speeds.items():
            print(f"| {name} | {speed:,.0f} | {speed / base:.2f} | {speed / typed:.2f} |")
        once, four = peak(path, 1), peak(path, 4)
        print(f"\npeak memory of reading and filtering: {once:.1f} MB, four times the lines {four:.1f} MB")
    if given.lines < FEWEST_TO_JUDGE:
        return 0
    speed = speeds["gtlabel, label read along"]
    missed = [
        sentence
        for met, sentence in (
            (speed >= AGAINST_BARE * base, f"less than {AGAINST_BARE} times the bare reader"),
            (speed >= AGAINST_STRUCT * typed, f"less than {AGAINST_STRUCT} times the structure"),
            (max(once, four) <= MOST_MEGABYTES, f"more than {MOST_MEGABYTES} MB"),
        )
        if not met
    ]
    print("\n" + ("; ".join(missed) or "every bar is met"))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
