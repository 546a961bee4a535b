"""What it costs to look at a data set, how fast it gets to a distant S3, and what `kill -9` leaves.

Run: python tests/benchmarks/collect.py [--pictures 4000] [--kilobytes 30] [--kills 10] [--latency 50]

Example: python tests/benchmarks/collect.py --pictures 200 --kills 1

The first table looks at the same pictures as a folder, a zip and a tar, each in a process of its own:
pictures per CPU second, against unpacking the archive to disk with the standard library and digesting the
files, and how much more memory four times the pictures take. The second sends them to an S3 that answers
late, against a loop of `put_object`. The third kills the command at random moments and runs it again.

Ends with 1 if looking at 1,000 pictures or more takes more CPU than unpacking and digesting them, if each
picture more takes more than 8 kB of memory, if sending 800 is not at least 8 times as fast as the loop, or if
a run after a kill sends a picture again that was there, or ends in other bytes.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from hashlib import sha256
from itertools import islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from distant import Distant, elsewhere

if TYPE_CHECKING:
    from gtlabel.datasets.collect.archives import Source

CLASSES = ("cat", "dog", "emu", "fox")
KINDS = ("folder", "zip", "tar", "tar.gz")
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "none", "AWS_REGION": "us-east-1"}
_INTO = "photos/flowers/"
_COLUMNS = (
    ("looking at", 12),
    ("pictures/CPU s", 16),
    ("MB/CPU s", 10),
    ("unpack+digest", 15),
    ("ratio", 7),
    ("kB each more", 14),
)
_SLOWEST, _BYTES_EACH, _LEAST = 1.0, 8_000, 8.0


def picture(number: int, kilobytes: int) -> bytes:
    """A JPEG as far as its markers tell, of bytes that do not compress."""
    noise = Random(number).randbytes(kilobytes * 1000).replace(b"\xff", b"\xfe")
    frame = b"\xff\xc0\x00\x11\x08\x01\x80\x02\x00\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"
    scan = b"\xff\xda\x00\x0c\x03\x01\x00\x02\x11\x03\x11\x00\x3f\x00"
    return b"\xff\xd8" + frame + scan + noise + b"\xff\xd9"


def make(folder: Path, count: int, kilobytes: int) -> dict[str, Path]:
    """The same pictures as each kind of source."""
    folder.mkdir(exist_ok=True)
    made = {kind: folder / f"flowers-{count}.{kind}" for kind in KINDS}
    with zipfile.ZipFile(made["zip"], "w") as zipped, tarfile.open(made["tar"], "w") as tarred:
        packed = tarfile.open(made["tar.gz"], "w:gz", compresslevel=1)  # noqa: SIM115
        for number in range(count):
            name, body = f"train/{CLASSES[number % 4]}/{number}.jpg", picture(number, kilobytes)
            path = made["folder"] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
            zipped.writestr(name, body)
            for archive in (tarred, packed):
                info = tarfile.TarInfo(name)
                info.size = len(body)
                archive.addfile(info, io.BytesIO(body))
        packed.close()
    return made


def look(source: Path) -> None:
    """Look at a source."""
    from gtlabel.datasets.collect.planning import CollectionWishes, plan_collection

    plan_collection(source, CollectionWishes(licence="unknown"))


def unpack(source: Path) -> None:
    """Unpack a source to disk, and digest what comes out."""
    with TemporaryDirectory(dir=source.parent) as folder:
        if source.is_dir():
            shutil.copytree(source, Path(folder) / "all")
        elif source.suffix == ".zip":
            zipfile.ZipFile(source).extractall(folder)
        else:
            with tarfile.open(source) as archive:
                archive.extractall(folder, filter="data")
        for path in Path(folder).rglob("*.jpg"):
            sha256(path.read_bytes()).hexdigest()


def alone(what: str, source: Path) -> tuple[float, float]:
    """CPU seconds and peak megabytes of doing that in a process of its own, without starting it."""
    run = subprocess.run(
        [sys.executable, __file__, "--alone", what, str(source)], capture_output=True, text=True
    )
    if run.returncode:
        raise SystemExit(run.stderr)
    seconds, megabytes = run.stdout.split()
    return float(seconds), float(megabytes)


def be_alone(what: str, source: Path) -> None:
    import gtlabel.datasets.collect.collect  # noqa: F401 - loading it is not what is measured

    begun = time.process_time()
    (look if what == "look" else unpack)(source)
    print(time.process_time() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def looking(folder: Path, pictures: int, kilobytes: int, rounds: int) -> int:
    """Print the first table, and return how many bars were missed."""
    few, many = make(folder, pictures // 4, kilobytes), make(folder, pictures, kilobytes)
    print("".join(f"{name:>{width}}" for name, width in _COLUMNS))
    missed = 0
    for kind in KINDS:
        runs = [(alone("look", many[kind]), alone("unpack", many[kind])) for _ in range(rounds)]
        seconds = statistics.median(look[0] for look, _ in runs)
        ratio = statistics.median(look[0] / unpack[0] for look, unpack in runs)
        more = statistics.median(look[1] for look, _ in runs) - alone("look", few[kind])[1]
        each = more * 1e6 / (pictures - pictures // 4)
        slow = pictures / statistics.median(unpack[0] for _, unpack in runs)
        print(
            f"{kind:>12}{pictures / seconds:>16,.0f}{pictures * kilobytes / 1000 / seconds:>10,.0f}"
            f"{slow:>15,.0f}{ratio:>7.2f}{each / 1000:>14.2f}",
            flush=True,
        )
        # Few pictures say nothing: the interpreter itself varies by more.
        missed += pictures >= 1000 and (ratio > _SLOWEST) + (each > _BYTES_EACH)
    return missed


def sending(source: Path, latency: float) -> int:
    """Print how long it takes to send all pictures, and to send nothing the second time."""
    import boto3

    from gtlabel.aws import Aws
    from gtlabel.datasets.collect.collect import collect
    from gtlabel.datasets.collect.planning import CollectionWishes, plan_collection
    from gtlabel.uris import S3Uri

    plan = plan_collection(source, CollectionWishes(licence="unknown"))
    with elsewhere(latency) as url:
        aws = Aws(boto3.Session("a", "b", region_name="us-east-1"), url)
        first = _seconds(lambda: collect(aws.s3, plan, S3Uri("s3://photos/flowers/")))
        second = _seconds(lambda: collect(aws.s3, plan, S3Uri("s3://photos/flowers/")))
        bodies = _first(plan.source, 40)
        begun = time.perf_counter()
        for path, body in bodies.items():
            aws.s3.put_object(Bucket="photos", Key=f"loop/{path}", Body=body)
        loop = time.perf_counter() - begun
    count = len(plan.chosen.labeled)
    times = loop / len(bodies) * count / first
    print(f"\nsending {count} pictures to an S3 that answers after {latency * 1000:.0f} ms: {first:.1f} s;")
    print(f"a loop takes {times:.1f} times as long; sending them once more {second:.1f} s")
    # A few pictures are sent before the connections are up.
    return int(count >= 800 and times < _LEAST)


def killing(source: Path, kills: int, seed: int) -> int:
    """Print the third table, and return how much was wrong."""
    s3 = Distant(0.01)
    took = _seconds(lambda: _command(s3, source).communicate(timeout=300))
    whole = _dated(s3)
    print(f"\n{'kill':>5}{'at s':>8}{'there':>8}{'sent again':>12}{'too early':>11}{'same bytes':>12}")
    wrong = int("collection.json" not in whole)
    random = Random(seed)
    for number in range(1, kills + 1):
        s3.drop(_INTO)
        s3.written.clear()
        second = random.uniform(0.4, 1.0) * took
        process = _command(s3, source)
        try:
            process.wait(timeout=second)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
        there = len(s3.tree(f"{_INTO}images/"))
        early = f"{_INTO}collection.json" in s3.objects and _dated(s3) != whole
        _, told = _command(s3, source).communicate(timeout=300)
        again = sum(count - 1 for name, count in s3.written.items() if "/images/" in name)
        same = _dated(s3) == whole
        print(f"{number:>5}{second:>8.2f}{there:>8}{again:>12}{early!s:>11}{same!s:>12}", flush=True)
        if not same:
            print(told.decode())
        wrong += again + early + (not same)
    s3.close()
    return wrong


def _command(s3: Distant, source: Path) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-m", "gtlabel", "collect", str(source), "--licence", "unknown"]
    return subprocess.Popen(
        [*program, "--into", f"s3://{_INTO}", "--endpoint-url", s3.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **KEYS},
    )


def _dated(s3: Distant) -> dict[str, bytes]:
    """What is there, as if it had been collected at one moment; the lock is no part of it."""
    tree = s3.tree(_INTO)
    told = json.loads(tree.get("collection.json", b"{}"))
    if told:
        lines = tree["output.manifest"].replace(told["created"].rstrip("Z").encode(), b"then")
        tree["output.manifest"] = lines
        tree["collection.json"] = json.dumps({**told, "created": "", "manifest_sha256": ""}).encode()
    return {name: body for name, body in tree.items() if name != ".gtlabel-lock"}


def _first(source: Source | None, count: int) -> dict[str, bytes]:
    """Some pictures of a source."""
    assert source is not None
    found = source.scan(lambda _path, _size: True)
    return {item.path: item.body for item in islice(found, count) if item.body is not None}


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pictures", type=int, default=4000)
    parser.add_argument("--kilobytes", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3, help="0 leaves the first table out")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--latency", type=float, default=50.0, help="milliseconds of every answer")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--alone", nargs=2, metavar=("WHAT", "SOURCE"), help="used by itself")
    given = parser.parse_args()
    if given.alone:
        be_alone(given.alone[0], Path(given.alone[1]))
        return
    with TemporaryDirectory(prefix="gtlabel-collect-") as scratch:
        folder = Path(scratch)
        missed = looking(folder, given.pictures, given.kilobytes, given.rounds) if given.rounds else 0
        some = make(folder / "some", min(given.pictures, 800), 5)
        missed += sending(some["zip"], given.latency / 1000)
        missed += killing(some["tar.gz"], given.kills, given.seed)
    print(f"\nmissed or wrong: {missed}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
