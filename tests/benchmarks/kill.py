"""`kill -9` of the server again and again while people answer, and what became of their answers.

Run: python tests/benchmarks/kill.py [--kills 50] [--aimed 12] [--seed 7] [--database postgresql]

Example: python tests/benchmarks/kill.py --kills 3 --aimed 2 --slots 3 --short

Jobs are put up one after another in several slots and answered over HTTP by simulated people, who try again
whatever they got no answer to. The server is killed at seeded random moments, and then at aimed ones: just
before or after a file reaches S3, while its reply is still owed, and while a job is created. On PostgreSQL
two servers share the database; either is killed, and now and then PostgreSQL itself crashes and recovers. At
last the same jobs are answered once more by the same people and nothing is killed.

Ends with 1 if an answer was lost, bought twice, or anything else is not as in the undisturbed run.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

# The suite runs this with tests/ on its path; by itself it finds that here.
sys.path.append(str(Path(__file__).resolve().parents[1]))

import postgres
from bucket import Bucket
from clients import Line, Server, end_politely, row_text
from postgres import Cluster
from shift import Shift, Slot, crews
from sites import PREFIX, Site, site
from witness import Finding, Witness, check_answers, check_manifests, check_tree, same_batches

_COLUMNS = (
    ("kill", 6),
    ("s", 8),
    ("whom", 12),
    ("moment", 32),
    ("in flight", 11),
    ("acked", 9),
    ("lost", 6),
    ("doubled", 9),
    ("up again s", 12),
)
_EARLIEST, _LATEST = 0.05, 1.5
# Aimed kills wait so long for the file that they aim at.
_AIM_SECONDS = 20.0
_SILENCE_SECONDS = 60.0
# The longest jobs, and tasks that somebody lost, are done well before.
_END_SECONDS = 240.0


@dataclass
class Kill:
    """One kill and what was found when the server was up again."""

    number: int
    second: float
    whom: str
    moment: str
    in_flight: int
    acknowledged: int
    lost: int = 0
    doubled: int = 0
    restart: float = 0.0

    @property
    def row(self) -> tuple[object, ...]:
        """As a row of the table."""
        return (
            self.number,
            self.second,
            self.whom,
            self.moment,
            self.in_flight,
            self.acknowledged,
            self.lost,
            self.doubled,
            self.restart,
        )


@dataclass
class Outcome:
    """What a run came to."""

    kills: list[Kill]
    findings: list[Finding]
    summary: dict[str, object]
    complaints: dict[str, int]

    @property
    def faults(self) -> int:
        """How much was not as it should be."""
        return sum(finding.faults for finding in self.findings)


class Executioner:
    """Kills servers, at random and aimed moments, and starts them again.

    Args:
        servers: one, or several on one database.
        witness: looks after each kill whether all is there.
        crash: restarts the database itself without a checkpoint; counts as one of the moments.
    """

    def __init__(
        self,
        servers: list[Server],
        shift: Shift,
        bucket: Bucket,
        witness: Witness,
        random: Random,
        crash: Callable[[], object] | None = None,
    ) -> None:
        self._servers = servers
        self._shift = shift
        self._bucket = bucket
        self._witness = witness
        self._random = random
        self._crash = crash
        self._begun = time.perf_counter()
        self.kills: list[Kill] = []

    async def kill_all(self, kills: int, aimed: int) -> None:
        """Kill at so many random moments under load, then at so many aimed ones."""
        for number in range(kills):
            await self._flowing()
            await asyncio.sleep(self._random.uniform(_EARLIEST, _LATEST))
            if self._crash is not None and number % 5 == 4:
                await self._note("database", "random", self._crash)
            else:
                server = self._servers[number % len(self._servers)]
                await self._note(self._name(server), "random", server.kill, server)
        for number in range(aimed):
            await self._flowing()
            if number % 4 == 3:
                await self._at_creation(self._servers[number % len(self._servers)])
            else:
                await self._at_a_file(number)

    async def _at_a_file(self, number: int) -> None:
        """Kill whoever writes a file of a batch, a manifest, or a list of sent images."""
        part = (
            "worker-response",
            "consolidation-request",
            "consolidation-response",
            "manifests/",
            "annotations.json",
        )[self._random.randrange(5)]
        early = bool(number % 2)
        struck = threading.Event()
        countdown = self._random.randint(1, 40) if part == "worker-response" else 1
        counts = iter(range(countdown - 1, -1, -1))

        def strike(name: str, _body: bytes) -> None:
            if part in name and not struck.is_set() and next(counts, 0) == 0:
                # Whoever wrote this is one of them, and only the leader writes.
                for server in self._servers:
                    server.signal_kill()
                struck.set()

        moment = f"{'before' if early else 'after'} {part.strip('/')}"
        if early:
            self._bucket.before = strike
        else:
            self._bucket.after = strike
        waited = await asyncio.to_thread(struck.wait, _AIM_SECONDS)
        in_flight = Line.waiting
        self._bucket.before = self._bucket.after = None
        for server in self._servers:
            server.kill()
        await self._note(
            "all", moment if waited else "nothing aimed at", lambda: None, *self._servers, flight=in_flight
        )

    async def _at_creation(self, server: Server) -> None:
        """Kill within the few milliseconds in which a job is created."""
        known = sum(len(slot.names) for slot in self._shift.slots)
        waited = time.perf_counter()
        while sum(len(slot.names) for slot in self._shift.slots) == known:
            if time.perf_counter() - waited > _AIM_SECONDS:
                break
            await asyncio.sleep(0)
        await asyncio.sleep(self._random.uniform(0, 0.01))
        await self._note(self._name(server), "creating a job", server.kill, server)

    async def _note(
        self, whom: str, moment: str, kill: Callable[[], object], *dead: Server, flight: int | None = None
    ) -> None:
        in_flight = Line.waiting if flight is None else flight
        acknowledged = [lease for lease, said in self._shift.book.said.items() if said.acknowledged]
        struck = time.perf_counter()
        await asyncio.to_thread(kill)
        entry = Kill(
            len(self.kills) + 1,
            time.perf_counter() - self._begun,
            whom,
            moment,
            in_flight,
            len(acknowledged),
        )
        for server in dead:
            await asyncio.to_thread(server.start)
        entry.restart = time.perf_counter() - struck
        entry.lost, entry.doubled = await asyncio.to_thread(self._witness.lost_and_doubled, acknowledged)
        self.kills.append(entry)
        print(row_text(_COLUMNS, entry.row), flush=True)

    async def _flowing(self) -> None:
        """Wait until answers are acknowledged again."""
        book, begun = self._shift.book, time.perf_counter()
        before = book.acknowledged
        while book.acknowledged < before + 5:
            if time.perf_counter() - begun > _SILENCE_SECONDS:
                raise SystemExit(f"no answer was taken for {_SILENCE_SECONDS:g} s; heard: {book.complaints}")
            await asyncio.sleep(0.01)

    def _name(self, server: Server) -> str:
        return f"server {self._servers.index(server) + 1}"


async def disturbed(
    site: Site,
    slots: Sequence[Slot],
    witness: Witness,
    random: Random,
    crash: Callable[[], object] | None,
    kills: tuple[int, int],
    forgetful: Sequence[int],
) -> tuple[Shift, list[Kill]]:
    """A shift during which servers are killed.

    The crews of forgetful slots never ask what they still hold: lost tasks come back by their time limit.
    """
    shift = await site.shift(slots, forgetful=forgetful)
    executioner = Executioner(site.servers, shift, site.bucket, witness, random, crash)
    working = asyncio.create_task(shift.run())
    killing = asyncio.create_task(executioner.kill_all(*kills))
    await asyncio.wait({working, killing}, return_when=asyncio.FIRST_COMPLETED)
    if not killing.done():
        # Nothing told the shift to end: it failed, and says why.
        killing.cancel()
        await working
    await killing
    shift.end()
    await asyncio.wait({working}, timeout=_END_SECONDS)
    if not working.done():
        working.cancel()
        left = [slot.job for slot in slots if slot.job]
        raise SystemExit(f"jobs that do not end: {', '.join(left)}; heard: {shift.book.complaints}")
    await working
    return shift, executioner.kills


async def undisturbed(site: Site, slots: Sequence[Slot], limit: Mapping[int, int]) -> Shift:
    """The same jobs and the same people, and nothing is killed."""
    shift = await site.shift(slots, limit=limit)
    await shift.run()
    return shift


def run(
    folder: Path,
    kills: tuple[int, int],
    seed: int,
    shape: tuple[int, int],
    cluster: Cluster | None,
    *,
    short: bool = False,
) -> Outcome:
    """Kill, go through the books, and compare with an undisturbed run."""
    begun = time.perf_counter()
    killed = site(folder / "killed", cluster)
    peer = site(folder / "undisturbed", cluster, servers=1)
    crew, again = crews(*shape, seed, short=short), crews(*shape, seed, short=short)
    per_image = shape[1]
    witness = Witness(killed.database)
    try:
        killed.open(crew)
        crash = None if cluster is None else cluster.crash
        shift, made = asyncio.run(
            disturbed(killed, crew, witness, Random(seed), crash, kills, forgetful=() if short else (0,))
        )
        killed.close()
        took = time.perf_counter() - begun
        stored = witness.stored()
        findings = [
            *check_answers(shift.book, stored, per_image),
            *witness.leaks(),
            *check_tree(killed.bucket, PREFIX, stored),
            Finding.of(
                "jobs that did not complete",
                [f"{n} {s}" for n, s in shift.statuses.items() if s != "Completed"],
            ),
        ]
        peer.open(again)
        asyncio.run(undisturbed(peer, again, {slot.number: len(slot.names) for slot in crew}))
        findings += check_manifests(killed.bucket, peer.bucket, PREFIX)
    finally:
        witness.close()
        for place in (killed, peer):
            place.close()
            place.bucket.close()
    said = shift.book.said.values()
    summary: dict[str, object] = {
        "seconds with kills": took,
        "jobs": len(shift.statuses),
        "jobs with the same batches as undisturbed": same_batches(killed.bucket, peer.bucket, PREFIX),
        "acknowledged answers": shift.book.acknowledged,
        "answers in the database": len(stored),
        "answers sent more than once": sum(each.tries > 1 for each in said),
        "refused, their place was taken": sum(bool(each.refused) for each in said),
        "slowest restart, s": max((kill.restart for kill in made), default=0.0),
        "other answers of the servers": sum(shift.book.complaints.values()),
    }
    return Outcome(made, findings, summary, shift.book.complaints)


def show(outcome: Outcome) -> None:
    """Print what was found, below the table of kills."""
    print()
    for name, value in outcome.summary.items():
        print(f"{name:<66}{value:>10.2f}" if isinstance(value, float) else f"{name:<66}{value!s:>10}")
    for sentence, count in outcome.complaints.items():
        print(f"{'':>4}{count} x {' '.join(sentence.split())}")
    print()
    for finding in outcome.findings:
        print(f"{finding.check:<66}{finding.faults:>10}  {finding.example}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="kills at random moments")
    parser.add_argument("--aimed", type=int, default=12, help="kills at aimed moments")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--slots", type=int, default=5, help="jobs that are up at once")
    parser.add_argument("--per-image", type=int, default=3, help="answers for each image")
    parser.add_argument("--short", action="store_true", help="short jobs only, and nobody who forgets a task")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    given = parser.parse_args()
    end_politely()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gtlabel-kill-")))
        shared = stack.enter_context(postgres.cluster()) if given.database == "postgresql" else None
        print("".join(f"{name:>{width}}" for name, width in _COLUMNS), flush=True)
        outcome = run(
            folder,
            (given.kills, given.aimed),
            given.seed,
            (given.slots, given.per_image),
            shared,
            short=given.short,
        )
    show(outcome)
    sys.exit(1 if outcome.faults else 0)


if __name__ == "__main__":
    main()
