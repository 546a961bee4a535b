"""How many answers a second the server takes, each on disk before it is acknowledged.

Run: python tests/benchmarks/load.py [--rate 1000] [--seconds 60] [--connections 64] [--answers 200000]

Example: python tests/benchmarks/load.py --seconds 5 --answers 0

A step is what a worker's page does between two pictures: submit an answer and get the next task, in one
request. Everything runs on two cores: the server with its foreman, which consolidates and writes meanwhile,
an S3 that only counts bytes, and the generator. `paced` makes steps due at fixed moments; latency counts from
then on. `closed` is as fast as it goes. The peer is what one writes in an afternoon: the same steps on
sqlite3 behind uvicorn, with a commit of its own for each (peer.py).

Ends with 1 if a bar is missed: 99 in 100 within 100 ms at 1,000 steps a second, no error, memory flat.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The suite runs this with tests/ on its path; by itself it finds that here.
sys.path.append(str(Path(__file__).resolve().parents[1]))

import postgres
from clients import (
    Line,
    Server,
    cpu_seconds,
    end_politely,
    free_port,
    job_request,
    make_team,
    memory,
    put_inputs,
    recruit,
    row_text,
    table,
)
from generator import Crowd, Tally

BUCKET = "load"
GROUP = "load"
_HERE = Path(__file__).parent
_PER_IMAGE = 3
_JOBS = 4
# The most that AWS lets a job have out at once.
_CONCURRENT = 5000
_LIMIT_MILLISECONDS = 100.0
_SAMPLE = 20_000
# What 100,000 more answers may add to the server's memory.
_LIMIT_GROWTH = 8e6
_COUNTED_SECONDS = 5.0
_COLUMNS = (
    ("phase", 26),
    ("steps/s", 10),
    ("p50 ms", 9),
    ("p95 ms", 9),
    ("p99 ms", 9),
    ("max ms", 9),
    ("errors", 8),
    ("server CPU", 12),
    ("generator", 11),
    ("flushes/s", 11),
    ("steps/flush", 13),
)


@contextmanager
def storage(*picture: Path) -> Iterator[str]:
    """An S3 in a process of its own, whose images are all this picture."""
    command = [sys.executable, str(_HERE / "bucket.py"), *map(str, picture)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(20)


def put(endpoint: str, name: str, body: bytes) -> None:
    """Write an object."""
    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", body, method="PUT"), timeout=30):
        pass


async def start_jobs(port: int, team: str, names: list[str], images: int, workers: int = _PER_IMAGE) -> None:
    """Put up jobs, and wait until tasks can be had."""
    line = Line(port)
    for name in names:
        request = job_request(
            name,
            BUCKET,
            team,
            manifest=str(images),
            workers=workers,
            TaskTimeLimitInSeconds=3600,
            MaxConcurrentTaskCount=_CONCURRENT,
        )
        status, said = await line.aws("CreateLabelingJob", **request)
        if status != 200:
            raise SystemExit(f"no job: {said}")
    for name in names:
        while (await line.aws("DescribeLabelingJob", LabelingJobName=name))[1][
            "LabelingJobStatus"
        ] == "Initializing":
            await asyncio.sleep(0.1)
    line.close()


async def team(port: int) -> str:
    line = Line(port)
    try:
        return await make_team(line, GROUP)
    finally:
        line.close()


def flushes(folder: Path) -> int:
    """How often the disk below a folder was told to keep what it has; 0 where the kernel does not count."""
    device = folder.stat().st_dev
    for line in Path("/proc/diskstats").read_text().splitlines():
        fields = line.split()
        if (int(fields[0]), int(fields[1])) == (os.major(device), os.minor(device)) and len(fields) > 18:
            return int(fields[18])
    return 0


def measured(name: str, pid: int, folder: Path, phase: Callable[[], Tally]) -> tuple[Tally, str]:
    """Run a phase of load and make its row."""
    cpu, flushed = cpu_seconds(pid), flushes(folder)
    tally = phase()
    cpu, flushed = cpu_seconds(pid) - cpu, flushes(folder) - flushed
    row: list[Any] = [name, tally.rate, *(tally.quantile(share) for share in (0.5, 0.95, 0.99, 1.0))]
    row += [
        sum(tally.errors.values()),
        f"{100 * cpu / tally.seconds:.0f} %",
        f"{100 * tally.cpu / tally.seconds:.0f} %",
    ]
    row += [flushed / tally.seconds, tally.steps / flushed if flushed else float("nan")]
    return tally, row_text(_COLUMNS, row)


def counted(pid: int, phase: Callable[[], Tally]) -> str:
    """How many times the server itself called fsync or fdatasync in a phase of load, as the kernel saw it."""
    calls = ("fsync", "fdatasync")
    if shutil.which("perf"):
        events = ",".join(f"syscalls:sys_enter_{name}" for name in calls)
        command = ["perf", "stat", "-x", ",", "-e", events, "-p", str(pid)]
        pattern = r"^(\d+),,syscalls:sys_enter_(\w+)"
    elif shutil.which("strace"):
        command = ["strace", "-f", "-c", "-U", "calls,name", "-e", f"trace={','.join(calls)}", "-p", str(pid)]
        pattern = r"^\s*(\d+)\s+(\w+)$"
    else:
        return "neither perf nor strace is here to count the server's own calls"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as watcher:
        time.sleep(0.5)
        tally = phase()
        watcher.send_signal(2)
        said = watcher.communicate(timeout=20)[1]
    count = sum(int(number) for number, name in re.findall(pattern, said, re.MULTILINE) if name in calls)
    return (
        f"{command[0]}: {count} calls of fsync and fdatasync by the server for {tally.steps} steps "
        f"at {tally.rate:.0f} a second, {tally.steps / max(1, count):.1f} steps a call"
    )


@dataclass(frozen=True)
class Held:
    """The memory of the server and of its children after so many answers, in bytes."""

    answers: int
    server: int
    children: int


def grow(crowd: Crowd, pid: int, answers: int) -> list[Held]:
    """The memory at every 20,000 answers."""
    samples = [Held(0, *memory(pid))]

    def look(steps: int) -> None:
        if steps >= samples[-1].answers + _SAMPLE:
            samples.append(Held(steps, *memory(pid)))

    crowd.closed(answers=answers, look=look)
    return samples


def slope(samples: list[Held]) -> float:
    """Bytes more per 100,000 answers, by least squares over the second half, when caches are full."""
    half = [(held.answers, held.server + held.children) for held in samples[len(samples) // 2 :]]
    middle = sum(x for x, _ in half) / len(half)
    level = sum(y for _, y in half) / len(half)
    spread = sum((x - middle) ** 2 for x, _ in half)
    return 1e5 * sum((x - middle) * (y - level) for x, y in half) / spread if spread else 0.0


def load(folder: Path, given: argparse.Namespace, database: str | None) -> bool:
    """Measure the server; say whether all bars were met."""
    met: bool = True
    with ExitStack() as stack:
        endpoint = stack.enter_context(storage())
        server = Server(folder / "state", endpoint, database)
        names = [f"worker-{number}" for number in range(given.connections)]
        tokens = recruit(server.database, {GROUP: names})
        server.start()
        stack.callback(server.stop)
        arn = asyncio.run(team(server.port))
        phases = given.seconds + _COUNTED_SECONDS + given.closed
        expected = {"paced": int(given.rate * phases * 1.5) + 20_000, "memory": given.answers + 20_000}
        made: dict[str, list[str]] = {}
        for phase, answers in expected.items():
            images = answers // _PER_IMAGE // _JOBS
            put_inputs(lambda name, body: put(endpoint, name, body), BUCKET, images, str(images))
            made[phase] = [f"{phase}-{number}" for number in range(_JOBS)]
            if phase == "paced" or given.answers:
                asyncio.run(start_jobs(server.port, arn, made[phase], images))
        crowd = Crowd(("127.0.0.1", server.port), tokens, made["paced"])
        # The first images of each job are a trial (contract/ground-truth.md 5.1): nothing is measured then.
        crowd.closed(seconds=3)
        paced, row = measured(
            f"paced {given.rate:g}/s, {given.connections} lines",
            server.pid,
            folder,
            lambda: crowd.paced(given.rate, given.seconds),
        )
        print(row, flush=True)
        quick = paced.quantile(0.99) < _LIMIT_MILLISECONDS and paced.rate > 0.99 * given.rate
        met = quick and not paced.errors
        print(f"  most steps due and not sent: {paced.behind}; searches for a task: {paced.searches}")
        for sentence, count in paced.errors.items():
            print(f"  {count} x {sentence}")
        print("  " + counted(server.pid, lambda: crowd.paced(given.rate, _COUNTED_SECONDS)), flush=True)
        closed, row = measured(
            f"closed, {given.connections} lines",
            server.pid,
            folder,
            lambda: crowd.closed(seconds=given.closed),
        )
        print(row, flush=True)
        met = met and not closed.errors
        crowd.close()
        if given.answers:
            crowd = Crowd(("127.0.0.1", server.port), tokens, made["memory"])
            samples = grow(crowd, server.pid, given.answers)
            crowd.close()
            columns = (("answers", 12), ("server MB", 12), ("children MB", 13))
            rows = [(held.answers, held.server / 1e6, held.children / 1e6) for held in samples]
            print("\nmemory (PSS), closed")
            table(columns, rows)
            growth = slope(samples)
            print(f"slope over the second half: {growth / 1e6:+.2f} MB per 100,000 answers")
            met = met and growth < _LIMIT_GROWTH
    return met


def peer(folder: Path, given: argparse.Namespace) -> None:
    """Measure the peer with the same generator and the same requests."""
    port = free_port()
    images = int(given.closed * 5000) + 20_000
    file = folder / "peer.sqlite"
    command = [
        sys.executable,
        str(_HERE / "peer.py"),
        "--port",
        str(port),
        "--file",
        str(file),
        "--images",
        str(images),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        crowd = Crowd(("127.0.0.1", port), {f"worker-{n}": "" for n in range(given.connections)}, ["peer"])
        try:
            row = measured(
                f"peer, closed, {given.connections} lines",
                process.pid,
                folder,
                lambda: crowd.closed(seconds=given.closed),
            )[1]
            print(row, flush=True)
        finally:
            crowd.close()
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rate", type=float, default=1000, help="steps a second, paced")
    parser.add_argument("--seconds", type=float, default=60, help="how long they are paced")
    parser.add_argument("--closed", type=float, default=10, help="seconds of the closed phases")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--answers", type=int, default=200_000, help="for the memory; 0 leaves that out")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    given = parser.parse_args()
    end_politely()
    if hasattr(os, "sched_setaffinity"):
        # All of it on two cores, children included.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gtlabel-load-")))
        url = stack.enter_context(postgres.running()) if given.database == "postgresql" else None
        print("".join(f"{name:>{width}}" for name, width in _COLUMNS), flush=True)
        met = load(folder, given, url)
        if given.database == "sqlite":
            peer(folder, given)
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
