"""How fast a FIFO is fed: from a folder beside `cat`, and from a distant S3 beside plain parallel GETs.

    python tests/benchmarks/pipes.py [--pictures 10000] [--objects 3000] [--latency 0.03] [--runs 5]

Example: python tests/benchmarks/pipes.py --pictures 2000 --objects 500 --runs 3

Pictures of 50 kB with their labels are fed into a FIFO as in Pipe mode, and read by a process that looks at
nothing. From a folder (in the page cache) the peers are `cat` of the same files, and `cat` of one file with
the same bytes, both into a FIFO of the same size and into the same reader. From an S3 whose answers take
30 ms (in a process of its own) the peers are threads that GET the same objects with the same client, and keep
nothing: 32 and 64 of them, of which the faster counts. The programs take turns; figures are medians, shares
those of the shares of each run.

Ends with 1 if a bar is missed: 60 % of `cat` of the files, 90 % of the GETs, 200 MB of memory. Fewer than
2,000 pictures are no measurement, and are held against no bar.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent))

import boto3
from distant import elsewhere

from gtlabel.aws import Aws
from gtlabel.emulator.manifest import Manifest
from gtlabel.emulator.pictures import Copies, Folder
from gtlabel.emulator.pipe import Feeder, PipeChannel
from gtlabel.recordio import read_views

FEWEST_TO_JUDGE = 2000
PICTURE = 50_000
PIPE = 1 << 20
OF_CAT, OF_GETS, MOST_MEGABYTES = 0.6, 0.9, 200

READER = """
import os, sys
fifo = os.open(sys.argv[1], os.O_RDONLY)
print("open", flush=True)
room, count = bytearray(1 << 20), 0
while got := os.readv(fifo, [room]):
    count += got
print(count, flush=True)
"""

Rates = dict[str, list[float]]


def make(folder: Path, count: int) -> None:
    """Write pictures that are all different, a manifest of them, and all their bytes in one file."""
    chance = random.Random(7)
    noise = chance.randbytes(PICTURE + count)
    with (folder / "whole").open("wb") as whole, (folder / "train.manifest").open("w") as manifest:
        for number in range(count):
            picture = noise[number : number + PICTURE]
            (folder / f"{number:06}.jpg").write_bytes(picture)
            whole.write(picture)
            metadata = {"confidence": 0.9, "class-name": "Glass", "human-annotated": "yes"}
            manifest.write(
                json.dumps(
                    {
                        "source-ref": f"s3://trash/pictures/{number:06}.jpg",
                        "label": number % 3,
                        "label-metadata": metadata,
                    }
                )
                + "\n"
            )


@contextmanager
def reader(fifo: Path) -> Iterator[subprocess.Popen[str]]:
    """Somebody who takes whatever comes out of a FIFO."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", READER, str(fifo)], stdout=subprocess.PIPE, text=True
    ) as process:
        yield process


def timed_cat(folder: Path, words: str) -> tuple[float, int]:
    """The seconds that `cat` takes, and the bytes that arrived."""
    fifo = folder / "cat.fifo"
    os.mkfifo(fifo)
    try:
        with reader(fifo) as process:
            pipe = os.open(fifo, os.O_WRONLY)
            if hasattr(fcntl, "F_SETPIPE_SZ"):
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE)
            assert process.stdout is not None
            process.stdout.readline()
            before = time.perf_counter()
            subprocess.run(["sh", "-c", words], stdout=pipe, cwd=folder, check=True)
            os.close(pipe)
            count = int(process.stdout.readline())
            return time.perf_counter() - before, count
    finally:
        fifo.unlink()


def timed_feeder(make_feeder: Callable[[Path], Feeder]) -> tuple[float, int]:
    """The seconds that an epoch takes from the moment that its reader comes."""
    with tempfile.TemporaryDirectory() as name:
        feeder = make_feeder(Path(name))
        feeder.start()
        try:
            # The manifest is read before the first epoch, and not again.
            time.sleep(0.3)
            with reader(Path(name) / "train_0") as process:
                assert process.stdout is not None
                process.stdout.readline()
                count = int(process.stdout.readline())
            epoch = feeder.epochs[0]
            assert feeder.error is None
            assert epoch.ended is not None
            return time.monotonic() - epoch.opened, count
        finally:
            feeder.close()


def from_folder(folder: Path, runs: int) -> Rates:
    """MB per second of each program, as they take turns."""

    def ours() -> tuple[float, int]:
        def feeder(directory: Path) -> Feeder:
            channel = PipeChannel("train", str(folder / "train.manifest"), ("source-ref", "label"))
            source = Manifest(Folder(folder, Copies(folder)), channel, directory / "copy")
            return Feeder(None, channel, directory, directory / "copy", source=source)

        return timed_feeder(feeder)

    return rates(
        {
            "cat of the files": lambda: timed_cat(folder, "cat *.jpg"),
            "cat of one file": lambda: timed_cat(folder, "cat whole"),
            "gtlabel": ours,
        },
        runs,
    )


def rates(programs: dict[str, Callable[[], tuple[float, int]]], runs: int) -> Rates:
    """The rates of each program, run by run; the first run only warms up, unless there is no other."""
    figures: Rates = {name: [] for name in programs}
    for run in range(runs + 1 if runs > 1 else 1):
        for name, program in programs.items():
            seconds, count = program()
            if run or runs == 1:
                figures[name].append(count / seconds / 1e6)
    return figures


def from_s3(count: int, latency: float, runs: int) -> Rates:
    with elsewhere(latency) as url:
        session = boto3.Session("testing", "testing", region_name="us-east-1")
        s3 = Aws(session, url).s3
        noise = random.Random(7).randbytes(PICTURE + count)
        keys = [f"pictures/{number:06}.jpg" for number in range(count)]

        def put(number: int) -> None:
            s3.put_object(Bucket="trash", Key=keys[number], Body=noise[number : number + PICTURE])

        with ThreadPoolExecutor(32) as pool:
            list(pool.map(put, range(count)))
        lines = [
            json.dumps({"source-ref": f"s3://trash/{key}", "label": number % 3})
            for number, key in enumerate(keys)
        ]
        s3.put_object(Bucket="trash", Key="train.manifest", Body="\n".join(lines).encode())

        def gets(threads: int) -> tuple[float, int]:
            def get(key: str) -> int:
                return len(s3.get_object(Bucket="trash", Key=key)["Body"].read())

            with ThreadPoolExecutor(threads) as pool:
                before = time.perf_counter()
                taken = sum(pool.map(get, keys))
                return time.perf_counter() - before, taken

        def ours() -> tuple[float, int]:
            def feeder(directory: Path) -> Feeder:
                channel = PipeChannel("train", "s3://trash/train.manifest", ("source-ref", "label"))
                return Feeder(s3, channel, directory, directory / "copy")

            return timed_feeder(feeder)

        programs: dict[str, Callable[[], tuple[float, int]]] = {
            "32 threads of GETs": lambda: gets(32),
            "64 threads of GETs": lambda: gets(64),
            "gtlabel": ours,
        }
        return rates(programs, runs)


def table(title: str, found: Rates, peers: tuple[str, ...], bar: float) -> bool:
    """Print a table; say whether the bar was missed.

    A share is the median of those of each run, because the machine may be busier in one run than in another.
    """
    best = [max(several) for several in zip(*(found[name] for name in peers), strict=True)]
    print(title)
    for name, several in found.items():
        share = statistics.median(rate / peer for rate, peer in zip(several, best, strict=True))
        note = f", bar {bar:.0%}" if name == "gtlabel" else ""
        print(f"  {name:<22}{statistics.median(several):>9,.0f} MB/s{share:>8.0%}{note}")
    ours = zip(found["gtlabel"], best, strict=True)
    return bool(statistics.median(rate / peer for rate, peer in ours) < bar)


def check(folder: Path) -> None:
    """What is fed are the pictures and their labels, byte for byte."""
    channel = PipeChannel("train", str(folder / "train.manifest"), ("source-ref", "label"))
    with tempfile.TemporaryDirectory() as name:
        source = Manifest(Folder(folder, Copies(folder)), channel, Path(name) / "copy")
        feeder = Feeder(None, channel, Path(name), Path(name) / "copy", source=source)
        feeder.start()
        try:
            with (Path(name) / "train_0").open("rb") as stream:
                for number, value in enumerate(read_views(stream)):
                    wanted: Any = b"%d" % (number // 2 % 3)
                    if number % 2 == 0:
                        wanted = (folder / f"{number // 2:06}.jpg").read_bytes()
                    assert value == wanted
        finally:
            feeder.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--objects", type=int, default=3000)
    parser.add_argument("--latency", type=float, default=0.03, help="of S3, in seconds")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, options.pictures)
        check(folder)
        missed = table(
            f"{options.pictures} pictures of {PICTURE} bytes from a folder, medians of {options.runs}",
            from_folder(folder, options.runs),
            ("cat of the files",),
            OF_CAT,
        )
    missed |= table(
        f"{options.objects} of them from S3, {options.latency * 1000:g} ms away",
        from_s3(options.objects, options.latency, options.runs),
        ("32 threads of GETs", "64 threads of GETs"),
        OF_GETS,
    )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"memory at most {memory:.0f} MB, bar {MOST_MEGABYTES} MB")
    missed |= memory > MOST_MEGABYTES
    return int(missed and min(options.pictures, options.objects) >= FEWEST_TO_JUDGE)


if __name__ == "__main__":
    sys.exit(main())
