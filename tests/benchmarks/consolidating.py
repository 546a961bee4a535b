"""What consolidation costs beside bare reading: CPU seconds, and memory for each picture, all in one run.

Run: python tests/benchmarks/consolidating.py [--lines 1000000] [--runs 5] [--flat 4000000]

Example: python tests/benchmarks/consolidating.py --lines 20000 --runs 1 --flat 40000 --no-bars

Manifests are made up: about 328 bytes a line, two jobs with other class orders and a tenth of their pictures
in common, one picture in forty without a label. Every step runs in a process of its own, so that peaks
of memory are its own too.

- *bare* reads the lines of both with `jsonlines.Reader`, untyped and unchecked, from disk;
- *script* is what contract/measurements.md section 2 measured as `jsonlines`: it reads so, checks every line,
  counts classes, and writes two channels by a hash of the address, with the bytes that were read;
- *consolidate* is all of it without copies: read and check, merge by picture, split, write two channels and
  the certificate to an S3 on this machine (the emulator, whose CPU is not counted);
- *stream* reads, filters and splits from disk to disk without groups, one line in memory.

The bar is judged by *bare*, the stricter of both; the ratio to *script* is printed beside it. Ends with 1 if
consolidation takes 4 times the CPU of bare reading, if a picture takes more than 350 bytes, or if streaming
takes more than 80 MB or more for many lines than for few.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from zlib import crc32

BARS = {"cpu": 4.0, "bytes": 350, "flat": 80.0, "growth": 4.0}
BUCKET = "many-labels"
CLASSES = ("Cardboard", "Compost", "Glass", "Landfill", "Metal", "Paper", "Plastic", "Recycle")
_JOBS = ("trash-sorter-spring", "trash-sorter-autumn")
_FEW = 2_000


def lines(job: int, first: int, count: int) -> Iterator[bytes]:
    """The lines that a job leaves about pictures from `first` on."""
    name, classes = _JOBS[job], CLASSES[:: 1 - 2 * job]
    chance = random.Random(job * 1_000_003 + first)
    moment = datetime(2026, 3 + 6 * job, 1)
    for number in range(first, first + count):
        day = f"2026-03-{number % 28 + 1:02d}"
        image = f"s3://{BUCKET}/trash-sorter/cameras/kitchen-{number % 97:02d}/{day}/{number:09d}.jpg"
        if chance.random() < 0.025:
            yield f'{{"source-ref":"{image}"}}\n'.encode()
            continue
        index, confidence = chance.randrange(len(classes)), chance.randrange(50, 96) / 100
        moment += timedelta(seconds=1, microseconds=chance.randrange(10**6))
        yield (
            f'{{"source-ref":"{image}","bin":{index},"bin-metadata":{{"confidence":{confidence},'
            f'"job-name":"labeling-job/{name}","class-name":"{classes[index]}","human-annotated":"yes",'
            f'"creation-date":"{moment.isoformat(timespec="microseconds")}",'
            '"type":"groundtruth/image-classification"}}\n'
        ).encode()


def make(folder: Path, count: int) -> list[Path]:
    """Two manifests of `count` lines together, a tenth of each about pictures of the other."""
    half, common = count // 2, count // 20
    paths = [folder / f"{count}-{job}.manifest" for job in range(2)]
    for job, path in enumerate(paths):
        with path.open("wb") as file:
            file.writelines(lines(job, job * (half - common), half))
    return paths


def bare(paths: list[str]) -> int:
    """Read with jsonlines alone."""
    import jsonlines

    read = 0
    for path in paths:
        with Path(path).open("rb") as file:
            for _ in jsonlines.Reader(file):
                read += 1
    return read


def scripted(paths: list[str]) -> int:
    """Do what people write a script for: read, check, count, and write two channels."""
    import jsonlines

    counts: Counter[str] = Counter()
    with (
        tempfile.TemporaryDirectory() as folder,
        (Path(folder) / "train.manifest").open("wb") as train,
        (Path(folder) / "validation.manifest").open("wb") as validation,
    ):
        for path in paths:
            with Path(path).open("rb") as file:
                lines: list[bytes] = []
                # The reader hands on what it made of a line and not its bytes.
                for record in jsonlines.Reader(_noted(file, lines)):
                    image, metadata = record["source-ref"], record.get("bin-metadata")
                    if not image.startswith("s3://"):
                        raise ValueError(image)
                    if metadata is None:
                        continue
                    index, name = record["bin"], metadata["class-name"]
                    if type(index) is not int or index < 0 or not 0 <= metadata["confidence"] <= 1:
                        raise ValueError(image)
                    if metadata["human-annotated"] not in ("yes", "no") or not metadata["job-name"]:
                        raise ValueError(image)
                    datetime.fromisoformat(metadata["creation-date"])
                    counts[name] += 1
                    channel = validation if crc32(image.encode()) % 100 < 20 else train
                    channel.write(lines[0])
    return counts.total()


def _noted(lines: Iterable[bytes], last: list[bytes]) -> Iterator[bytes]:
    for line in lines:
        last[:] = (line,)
        yield line


def consolidated(manifests: list[str]) -> int:
    """Consolidate without copies; return how many pictures came of it."""
    from gtlabel.aws import Aws
    from gtlabel.datasets.consolidate import JobOutput, consolidate
    from gtlabel.uris import S3Uri

    s3 = Aws(region="us-east-1").s3
    outputs = [JobOutput(S3Uri(uri), "bin") for uri in manifests]
    into = S3Uri(manifests[0].rpartition("/")[0]) / "dataset/"
    return consolidate(s3, outputs, into, mode="none").images


def streamed(paths: list[str]) -> int:
    """Read, filter and split from disk to disk."""
    from gtlabel.manifests.choose import Choice
    from gtlabel.manifests.lines import read_records, write_record
    from gtlabel.manifests.merge import Label
    from gtlabel.manifests.split import Shares, channel_of
    from gtlabel.storage import read_file_lines

    choice, shares = Choice(min_confidence=0.6, human_only=True), Shares(validation=0.2)
    kept = 0
    with tempfile.TemporaryDirectory() as folder:
        files = {channel: (Path(folder) / channel).open("wb") for channel in shares.channels}
        for path in paths:
            for record in read_records(read_file_lines(Path(path)), path, attribute="bin"):
                if record.state("bin") != "labeled":
                    continue
                said = record.label("bin")
                label = Label(
                    record.address,
                    said.class_name or "",
                    said.job,
                    said.confidence,
                    said.by_human,
                    said.creation_date,
                )
                if choice.admits(label):
                    files[channel_of(record.address, shares)].write(write_record(record) + b"\n")
                    kept += 1
        for file in files.values():
            file.close()
    return kept


STEPS = {"bare": bare, "script": scripted, "consolidate": consolidated, "stream": streamed}


def step(name: str, paths: list[str]) -> dict[str, Any]:
    """Do a step in a process of its own; say how long it took there and how much memory at most."""
    command = [sys.executable, __file__, "--step", name, *paths]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def do(name: str, paths: list[str]) -> None:
    """Be the process of a step."""
    begun = time.process_time()
    result = STEPS[name](paths)
    cpu = time.process_time() - begun
    # `ru_maxrss` would count what the parent had when it made this process.
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    print(json.dumps({"result": result, "cpu": cpu, "peak": peak}))


def upload(paths: list[Path]) -> list[str]:
    """Put manifests where the emulator has them."""
    from gtlabel.aws import Aws

    s3 = Aws(region="us-east-1").s3
    s3.create_bucket(Bucket=BUCKET)
    uris = []
    for path in paths:
        key = f"jobs/{path.stem.partition('-')[0]}/{path.name}"
        s3.upload_file(str(path), BUCKET, key)
        uris.append(f"s3://{BUCKET}/{key}")
    return uris


def measure(folder: Path, count: int, runs: int, flat: int) -> dict[str, float]:
    """Do everything, print the table, and return what the bars are about."""
    from gtlabel.emulator.api import Context
    from gtlabel.emulator.child import running
    from gtlabel.emulator.environment import environ

    many, few = make(folder, count), make(folder, _FEW)
    size = sum(path.stat().st_size for path in many)
    print(f"{count:,} lines of {size / count:.0f} bytes in two jobs; medians of {runs} runs\n")
    with running() as address:
        os.environ.update(environ(address.url, Context()))
        uris, small = upload(many), upload(few)
        taken: dict[str, list[dict[str, Any]]] = {name: [] for name in STEPS}
        for _ in range(runs):
            taken["bare"].append(step("bare", [str(path) for path in many]))
            taken["script"].append(step("script", [str(path) for path in many]))
            taken["consolidate"].append(step("consolidate", uris))
            taken["stream"].append(step("stream", [str(path) for path in many]))
        base = step("consolidate", small)
    for path in many:
        path.unlink()
    longer = step("stream", [str(path) for path in make(folder, flat)])
    ratios = {
        peer: median(
            ours["cpu"] / theirs["cpu"]
            for ours, theirs in zip(taken["consolidate"], taken[peer], strict=True)
        )
        for peer in ("bare", "script")
    }
    pictures = taken["consolidate"][0]["result"]
    peak = median(run["peak"] for run in taken["consolidate"])
    shorter = median(run["peak"] for run in taken["stream"])
    print(f"{'':28}{'CPU s':>9}{'lines/s':>12}{'peak MB':>10}")
    for name, found in taken.items():
        cpu = median(run["cpu"] for run in found)
        memory = median(run["peak"] for run in found) / 1e6
        print(f"{name:28}{cpu:9.2f}{count / cpu:12,.0f}{memory:10.1f}")
    name, rate = f"stream, {flat:,} lines", flat / longer["cpu"]
    print(f"{name:28}{longer['cpu']:9.2f}{rate:12,.0f}{longer['peak'] / 1e6:10.1f}")
    print(f"{f'consolidate, {_FEW:,} lines':28}{base['cpu']:9.2f}{'':12}{base['peak'] / 1e6:10.1f}\n")
    print(f"{'consolidation, as a multiple of the script':46}{ratios['script']:9.2f}")
    return {
        "cpu": ratios["bare"],
        "bytes": (peak - base["peak"]) / pictures,
        "flat": max(shorter, longer["peak"]) / 1e6,
        "growth": (longer["peak"] - shorter) / 1e6,
    }


def main() -> int:
    """Measure, and say which bars are missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--flat", type=int, default=4_000_000)
    parser.add_argument("--no-bars", action="store_true", help="for so few lines that they say nothing")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("paths", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        do(arguments.step, arguments.paths)
        return 0
    with tempfile.TemporaryDirectory(prefix="consolidating-") as folder:
        found = measure(Path(folder), arguments.lines, arguments.runs, arguments.flat)
    told = {
        "cpu": "consolidation, as a multiple of bare reading",
        "bytes": "bytes for each picture",
        "flat": "most memory of streaming, MB",
        "growth": "and how much more for the longer file, MB",
    }
    missed = False
    for name, bar in BARS.items():
        late = found[name] > bar and not arguments.no_bars
        missed |= late
        print(f"{told[name]:46}{found[name]:9.2f}   bar {bar:g}{'   MISSED' if late else ''}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
