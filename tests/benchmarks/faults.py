"""What workers see when the disk is full, the database or S3 is gone, or the clock jumps, and what is left.

Run: python tests/benchmarks/faults.py [--only NAME]

Example: python tests/benchmarks/faults.py --only "disk full" --only "S3 is down"

Each fault strikes a server in the middle of a shift, stays for a while, and ends without a restart, unless
its name says so. People go on trying all the time. Afterwards every job must complete, and database and tree
must hold each acknowledged answer exactly once.

Ends with 1 if an answer was lost or bought twice, or a job did not complete.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

# The suite runs this with tests/ on its path; by itself it finds that here.
sys.path.append(str(Path(__file__).resolve().parents[1]))

import postgres
from clients import NotReadyError, end_politely, row_text
from postgres import Cluster
from shift import Shift, crews
from sites import PREFIX, Site, site
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool
from witness import Finding, Witness, check_answers, check_tree

_COLUMNS = (
    ("fault", 36),
    ("acked before", 14),
    ("during", 8),
    ("at last", 9),
    ("stored", 8),
    ("lost", 6),
    ("doubled", 9),
    ("up again s", 12),
    ("all well", 10),
)
_SLOTS, _PER_IMAGE = 3, 3
# How long a fault stays once workers have noticed it, or for those that they do not notice.
_STAY_SECONDS = 1.5
_NOTICE_SECONDS = 10.0
_END_SECONDS = 120.0
_TMPFS_MEGABYTES = 64
_HERE = Path(__file__).parent


@dataclass
class Trial:
    """One fault, while it happens.

    Attributes:
        state: the folder of the server.
        clock: the file that sets its clock.
        said: what the server, or its log, said about it.
    """

    site: Site
    shift: Shift
    state: Path
    clock: Path
    cluster: Cluster | None
    acked_during: int = 0
    acked_before: int = 0
    said: dict[str, int] = field(default_factory=dict)

    @asynccontextmanager
    async def struck(self, *, noticed: bool = True) -> AsyncIterator[None]:
        """From when a fault is there until it is mended: count what is acknowledged meanwhile."""
        book = self.shift.book
        self.acked_before, known = book.acknowledged, dict(book.complaints)
        yield
        begun = time.perf_counter()
        while noticed and book.complaints == known and time.perf_counter() - begun < _NOTICE_SECONDS:
            await asyncio.sleep(0.02)
        await asyncio.sleep(_STAY_SECONDS)
        self.acked_during = book.acknowledged - self.acked_before
        for sentence, count in book.complaints.items():
            if count > known.get(sentence, 0):
                self.said[sentence] = count - known.get(sentence, 0)


# How a fault strikes; what it returns mends it.
Mend = Callable[[], object]


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        strike: makes it happen and returns what mends it.
        mounted: whether the server's folder must be a small file system of its own.
        shared: whether the database is PostgreSQL.
        noticed: whether workers are told anything at all.
        jumping: whether the server's clock is one that can be set.
        expected: what one of the server's sentences to the workers must say.
    """

    name: str
    strike: Callable[[Trial], Mend]
    mounted: bool = False
    shared: bool = False
    noticed: bool = True
    jumping: bool = False
    expected: str = ""


def disk_full(trial: Trial) -> Mend:
    """Something else fills the disk that the database lies on."""
    filler = trial.state / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler.unlink


def files_limited(trial: Trial) -> Mend:
    """No file of the server may grow any more."""
    largest = max(file.stat().st_size for file in trial.state.iterdir())
    pid = trial.site.servers[0].pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest, before[1]))
    return lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def read_only(trial: Trial) -> Mend:
    """The files of the database become immutable, but for the one that SQLite keeps mapped as memory.

    Whatever a process writes to a mapped file that nothing can be written to, the kernel kills it.
    """
    files = [str(trial.state / name) for name in ("engine.sqlite", "engine.sqlite-wal")]
    subprocess.run(["chattr", "+i", *files], check=True)
    return lambda: subprocess.run(["chattr", "-i", *files], check=True)


def read_only_start(trial: Trial) -> Mend:
    """The server is started on a file system that cannot be written."""
    server = trial.site.servers[0]
    server.stop()
    _remount(trial.state, "ro")
    try:
        server.start()
    except NotReadyError:
        trial.said[server.log.read_text().strip().splitlines()[-1]] = 1

    def mend() -> None:
        _remount(trial.state, "rw")
        server.start()

    return mend


def folder_moved(trial: Trial) -> Mend:
    """The folder of the database gets another name."""
    away = trial.state.with_name("away")
    trial.state.rename(away)

    def mend() -> None:
        # What the server may have made in its place is not what workers were told is safe.
        shutil.rmtree(trial.state, ignore_errors=True)
        away.rename(trial.state)

    return mend


def database_stopped(trial: Trial) -> Mend:
    """PostgreSQL is stopped as its owner does it."""
    assert trial.cluster is not None
    trial.cluster.stop()
    return trial.cluster.start


def database_crashed(trial: Trial) -> Mend:
    """PostgreSQL crashes and is started again a while later."""
    assert trial.cluster is not None
    trial.cluster.stop("immediate")
    return trial.cluster.start


def leaders_ousted(trial: Trial) -> Mend:
    """Whichever server leads loses its lock, again and again, while it moves jobs on."""
    over = threading.Event()
    engine = create_engine(trial.site.database, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    oust = text(
        "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted "
        "and database = (select oid from pg_database where datname = current_database())"
    )

    def work() -> None:
        while not over.wait(0.1):
            with engine.connect() as connection:
                connection.execute(oust)

    thread = threading.Thread(target=work)
    thread.start()

    def mend() -> None:
        over.set()
        thread.join()

    return mend


def storage_down(trial: Trial) -> Mend:
    """Nobody answers where S3 was."""
    trial.site.bucket.stop()
    return trial.site.bucket.start


def storage_refusing(trial: Trial) -> Mend:
    """S3 says SlowDown to everything."""
    trial.site.bucket.refusing = True
    return lambda: setattr(trial.site.bucket, "refusing", False)


def clock_forward(trial: Trial) -> Mend:
    """The clock is an hour ahead for a while: all tasks in workers' hands are overdue at once."""
    trial.clock.write_text("3600")
    return lambda: trial.clock.write_text("0")


def clock_back(trial: Trial) -> Mend:
    """The clock is an hour behind for a while."""
    trial.clock.write_text("-3600")
    return lambda: trial.clock.write_text("0")


FAULTS = (
    Fault("disk full", disk_full, mounted=True, expected="no room"),
    Fault("files may not grow", files_limited, expected="nothing was stored"),
    Fault("database files immutable", read_only, expected="nothing was stored"),
    Fault("read-only at a restart", read_only_start, mounted=True, noticed=False, expected="ead-only"),
    Fault("database folder moved away", folder_moved, expected="put it back"),
    Fault("PostgreSQL stopped", database_stopped, shared=True, expected="nothing was stored"),
    Fault("PostgreSQL crashed", database_crashed, shared=True, expected="nothing was stored"),
    Fault("leader loses its lock", leaders_ousted, shared=True, noticed=False),
    Fault("S3 is down", storage_down, noticed=False),
    Fault("S3 refuses everything", storage_refusing, noticed=False),
    Fault("clock an hour ahead", clock_forward, noticed=False, jumping=True),
    Fault("clock an hour behind", clock_back, noticed=False, jumping=True),
)


@dataclass
class Result:
    """What a fault did."""

    fault: Fault
    trial: Trial
    stored: int
    lost: int
    doubled: int
    recovered: float
    findings: list[Finding]

    @property
    def well(self) -> bool:
        """Whether all was as it should be in the end, and workers were told what it was about."""
        told = any(self.fault.expected in sentence for sentence in self.trial.said)
        crashed = any(sentence.startswith("500") for sentence in self.trial.said)
        return (
            not any(finding.faults for finding in self.findings)
            and not crashed
            and told | (not self.fault.expected)
        )

    @property
    def row(self) -> tuple[object, ...]:
        """As a row of the table."""
        trial = self.trial
        return (
            self.fault.name,
            trial.acked_before,
            trial.acked_during,
            trial.shift.book.acknowledged,
            self.stored,
            self.lost,
            self.doubled,
            self.recovered,
            "yes" if self.well else "NO",
        )


async def endure(
    fault: Fault, place: Site, witness: Witness, folder: Path, cluster: Cluster | None, *, short: bool
) -> Result:
    """Have a shift go through a fault, and look at what is left of it."""
    slots = crews(_SLOTS, _PER_IMAGE, 7, short=short)
    place.open(slots)
    shift = await place.shift(slots)
    trial = Trial(place, shift, place.servers[0].state, folder / "clock", cluster)
    working = asyncio.create_task(shift.run())
    await acknowledged(place, shift, 60, working)
    async with trial.struck(noticed=fault.noticed):
        mend = await asyncio.to_thread(fault.strike, trial)
    await asyncio.to_thread(mend)
    mended = time.perf_counter()
    await acknowledged(place, shift, 1, working)
    recovered = time.perf_counter() - mended
    await acknowledged(place, shift, 60, working)
    shift.end()
    await asyncio.wait_for(working, _END_SECONDS)
    place.close()
    stored = witness.stored()
    leases = [lease for lease, said in shift.book.said.items() if said.acknowledged]
    findings = [
        *check_answers(shift.book, stored, _PER_IMAGE),
        *witness.leaks(),
        *check_tree(place.bucket, PREFIX, stored),
        Finding.of(
            "jobs that did not complete", [f"{n} {s}" for n, s in shift.statuses.items() if s != "Completed"]
        ),
    ]
    return Result(fault, trial, len(stored), *witness.lost_and_doubled(leases), recovered, findings)


async def acknowledged(place: Site, shift: Shift, more: int, working: asyncio.Task[None]) -> None:
    """Wait until so many more answers were acknowledged."""
    begun, before = time.perf_counter(), shift.book.acknowledged
    while shift.book.acknowledged < before + more:
        ended = [server.ended for server in place.servers if server.ended is not None]
        if ended or working.done() or time.perf_counter() - begun > _END_SECONDS:
            heard = f"servers that ended: {ended}; heard: {shift.book.complaints}"
            raise SystemExit(f"the shift does not go on; {heard}")
        await asyncio.sleep(0.01)


def run(fault: Fault, folder: Path, cluster: Cluster | None, *, short: bool = False) -> Result:
    """One fault, from an empty database to the books."""
    clock = folder / "clock"
    clock.write_text("0")
    with ExitStack() as stack:
        state = stack.enter_context(small_disk(folder / "mounted")) if fault.mounted else None
        place = site(folder / fault.name.lower().replace(" ", "-"), cluster if fault.shared else None, state)
        if fault.jumping:
            path = os.pathsep.join([str(_HERE / "clock"), os.environ.get("PYTHONPATH", "")])
            jumping = {"PYTHONPATH": path.rstrip(os.pathsep), "GTLABEL_TEST_CLOCK": str(clock)}
            for server in place.servers:
                server.environ.update(jumping)
        stack.callback(place.bucket.close)
        stack.callback(place.close)
        witness = Witness(place.database)
        stack.callback(witness.close)
        return asyncio.run(endure(fault, place, witness, folder, cluster, short=short))


def possible(fault: Fault) -> bool:
    """Whether this user, on this machine, can bring the fault about."""
    if fault.strike is read_only:
        return os.geteuid() == 0 and shutil.which("chattr") is not None
    return not fault.mounted or os.geteuid() == 0


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A small file system."""
    folder.mkdir()
    size = f"size={_TMPFS_MEGABYTES}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "gtlabel-faults", str(folder)], check=True)
    try:
        state = folder / "state"
        yield state
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


def _remount(state: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(state.parent)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    names = [fault.name for fault in FAULTS]
    parser.add_argument("--only", action="append", choices=names, help="this fault; may be given again")
    parser.add_argument("--short", action="store_true", help="short jobs only")
    given = parser.parse_args()
    end_politely()
    chosen = [fault for fault in FAULTS if not given.only or fault.name in given.only]
    well = True
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gtlabel-faults-")))
        shared = any(fault.shared for fault in chosen)
        cluster = stack.enter_context(postgres.cluster()) if shared else None
        print("".join(f"{name:>{width}}" for name, width in _COLUMNS), flush=True)
        for fault in chosen:
            if not possible(fault):
                print(f"{fault.name:>36}  (only root can do this)", flush=True)
                continue
            result = run(fault, folder, cluster, short=given.short)
            print(row_text(_COLUMNS, result.row), flush=True)
            for sentence, count in result.trial.said.items():
                print(f"{'':>38}{count} x {sentence}", flush=True)
            for finding in result.findings:
                if finding.faults:
                    print(f"{'':>38}{finding.check}: {finding.faults}, such as {finding.example}", flush=True)
            well = well and result.well
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
