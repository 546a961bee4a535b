"""How many people the portal serves at once: pages, pictures and answers, as their browsers ask for them.

Run: python tests/benchmarks/portal_load.py [--workers 50,150,300] [--seconds 60]

Example: python tests/benchmarks/portal_load.py --workers 50,150,300 --seconds 20

Each worker signs in with an invite and answers once a second, whatever the server does (open loop; latency
counts from the moment an answer was due). As in the shell of the portal, two tasks are at hand: an answer is
sent with `next`, the task behind it is extended when it comes on show if it has waited for three seconds,
and the new one's page and its picture of 113 kB are loaded behind that. Every 20 seconds a worker's page
asks how much is left. An owner follows a stream of events and has five pages of a job open, which ask again
every two seconds. Every picture is another one to the portal. Server, the processes that render, an S3 and
this generator share two cores.

Ends with 1 if a bar is missed: at up to 150 workers, 95 in 100 answers and their next tasks within 100 ms, no
error, and no answer fewer than were due.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import random
import re
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# The suite runs this with tests/ on its path; by itself it finds that here.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from clients import CLASSES, ELEMENT, Server, cpu_seconds, end_politely, put_inputs, row_text
from load import BUCKET, GROUP, put, start_jobs, storage, team

from gtlabel.engine.crew import Crew, Role
from gtlabel.engine.store import Store

JOB = "pictures"
PICTURE_BYTES = 113_000
_SAMPLE = Path(__file__).parents[2] / "samples/trash/images/photo-001.jpg"
_PER_IMAGE = 3
_AHEAD = 2
# contract/ground-truth.md 5.1
_TRIED_OUT = 10
_LIMIT_WORKERS = 150
_OWNER_PAGES = 5
_OWNER_SECONDS = 2.0
# As long a task that was leased ahead is as good as new (static/work/main.js).
_FRESH_SECONDS = 3.0
_COUNT_SECONDS = 20.0
_SEEK_SECONDS = 0.3
_ADDRESS = re.compile(rb'src="(/o/[^"]+|[^"]+?(/o/[^"]+))"')
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_COOKIE = re.compile(rb"set-cookie:\s*([^;\r]+)", re.IGNORECASE)
_ANSWERS = [{ELEMENT: {"label": name}} for name in CLASSES]
_COLUMNS = (
    ("workers", 8),
    ("asked", 14),
    ("a second", 10),
    ("p50 ms", 9),
    ("p95 ms", 9),
    ("p99 ms", 9),
    ("max ms", 9),
    ("errors", 8),
)


def picture(size: int, pixels: tuple[int, int] = (1280, 960)) -> bytes:
    """A real picture, enlarged and grained until it is about as many bytes long as a camera's."""
    from PIL import Image

    with Image.open(_SAMPLE) as sample:
        large = sample.convert("RGB").resize(pixels)
    grain = Image.frombytes("RGB", pixels, random.Random(7).randbytes(3 * pixels[0] * pixels[1]))
    low, high, found = 0.0, 0.6, b""
    for _ in range(12):
        share = (low + high) / 2
        made = io.BytesIO()
        Image.blend(large, grain, share).save(made, "JPEG", quality=80)
        found = made.getvalue()
        low, high = (share, high) if len(found) < size else (low, share)
    return found


class Wire(asyncio.Protocol):
    """One kept-alive connection, as one of the several that a browser has; long bodies are only counted."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[tuple[int, bytes, bytes]] | None = None
        self._turn = asyncio.Lock()
        self._clear()

    def _clear(self) -> None:
        self._buffer = b""
        self._head = b""
        self._missing = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionError("the server hung up"))

    def data_received(self, data: bytes) -> None:
        if self._missing < 0:
            self._buffer += data
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self._head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
            length = _LENGTH.search(self._head)
            self._missing = int(length[1]) - len(self._buffer) if length else 0
        else:
            self._missing -= len(data)
            if b"image/" not in self._head:
                self._buffer += data
        if self._missing <= 0 and self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            if not waiting.done():
                waiting.set_result((int(self._head[9:12]), self._head, self._buffer))

    async def ask(self, request: bytes, port: int) -> tuple[int, bytes, bytes]:
        """Status, head and body of the answer to a request; one at a time."""
        async with self._turn:
            loop = asyncio.get_running_loop()
            if self._transport is None:
                await loop.create_connection(lambda: self, "127.0.0.1", port)
            self._clear()
            self._waiting = waiting = loop.create_future()
            assert self._transport is not None
            self._transport.write(request)
            return await asyncio.wait_for(waiting, 30)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


@dataclass
class Tally:
    """How long each kind of request took, in seconds, and what went wrong."""

    taken: dict[str, list[float]] = field(default_factory=dict)
    errors: dict[str, dict[str, int]] = field(default_factory=dict)

    def note(self, kind: str, seconds: float) -> None:
        """Count one that was answered."""
        self.taken.setdefault(kind, []).append(seconds)

    def complain(self, kind: str, sentence: str) -> None:
        """Count one that was not."""
        errors = self.errors.setdefault(kind, {})
        errors[sentence] = errors.get(sentence, 0) + 1

    def quantile(self, kind: str, share: float) -> float:
        """A quantile in milliseconds."""
        ordered = sorted(self.taken.get(kind, ()))
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


class Visitor:
    """Somebody's browser: their cookie, and their connections."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.tally = Tally()
        self._wire, self._second = Wire(), Wire()
        self._host = f"127.0.0.1:{port}"
        self._cookie = b""

    async def join(self, invite: str) -> None:
        """Accept an invite."""
        status, head, body = await self._wire.ask(self._request("POST", f"/join/{invite}"), self.port)
        found = _COOKIE.search(head)
        if status != 303 or found is None:
            raise SystemExit(f"an invite was not taken: {status} {body[:300]!r}")
        self._cookie = found[1]

    async def post(self, kind: str, action: str, body: dict[str, Any], due: float = 0.0) -> dict[str, Any]:
        """Ask for an action of the API; what it took counts as that kind of request."""
        content = json.dumps(body).encode()
        answer = await self.ask(kind, self._request("POST", f"/api/{action}", content), self._wire, due)
        said: dict[str, Any] = json.loads(answer) if answer else {}
        return said

    async def get(self, kind: str, path: str, *, pictures: bool = False) -> bytes:
        """Ask for a page; pictures, and what holds them, come on a connection of their own."""
        return await self.ask(kind, self._request("GET", path), self._second if pictures else self._wire)

    async def ask(self, kind: str, request: bytes, wire: Wire, due: float = 0.0) -> bytes:
        """Ask and count; nothing if it went wrong."""
        begun = due or time.perf_counter()
        try:
            status, _, body = await wire.ask(request, self.port)
        except (OSError, TimeoutError) as error:
            self.tally.complain(kind, f"{type(error).__name__} {error}")
            return b""
        if status != 200:
            self.tally.complain(kind, f"{status} {body[:200].decode(errors='replace')}")
            return b""
        self.tally.note(kind, time.perf_counter() - begun)
        return body

    def _request(self, method: str, path: str, content: bytes = b"") -> bytes:
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nOrigin: http://{self._host}\r\n"
            "X-Gtlabel: 1\r\nSec-Fetch-Site: same-origin\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n"
        )
        return head.encode() + b"Cookie: " + self._cookie + b"\r\n\r\n" + content

    def close(self) -> None:
        """Hang up."""
        self._wire.close()
        self._second.close()


class Worker(Visitor):
    """Somebody who answers once a second."""

    def __init__(self, port: int, number: int, job: int) -> None:
        super().__init__(port)
        self._number = number
        self._job = job
        self._line: list[tuple[str, float]] = []
        self._said = 0
        self._behind: set[asyncio.Task[None]] = set()

    async def work(self, start: float, seconds: float, tally: Tally) -> None:
        """Answer at fixed moments, and load the next page meanwhile."""
        self.tally = tally
        # Not all at the same moment of a second.
        first = start + random.Random(self._number).random()
        counted = first + random.Random(-self._number).random() * _COUNT_SECONDS
        for turn in range(int(seconds)):
            due = first + turn
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if not self._line:
                self.tally.complain("answer", "no task at hand when an answer was due")
                await self.fill()
                continue
            await self._step(due)
            if due >= counted:
                counted += _COUNT_SECONDS
                self._apart(self._count())
        await asyncio.gather(*self._behind)

    async def try_out(self) -> None:
        """Answer the trial: a job gives out all its images when it has seen that some come out well."""
        answered = 0
        while answered < _TRIED_OUT:
            said = await self.post("lease", "lease", {"job": self._job})
            if said.get("lease"):
                body = {"lease": said["lease"], "answer": _ANSWERS[0], "active_seconds": 0.9}
                await self.post("answer", "submit", body)
                answered += 1
            else:
                await asyncio.sleep(_SEEK_SECONDS)

    async def fill(self) -> None:
        """Lease until enough tasks are at hand."""
        while len(self._line) < _AHEAD:
            said = await self.post("lease", "lease", {"job": self._job})
            if said.get("lease"):
                self._line.append((said["lease"], time.perf_counter()))
                await self._load(said["lease"])
            else:
                await asyncio.sleep(_SEEK_SECONDS)

    async def _step(self, due: float) -> None:
        lease, _ = self._line.pop(0)
        self._said += 1
        answer = _ANSWERS[(self._number + self._said) % len(_ANSWERS)]
        body = {"lease": lease, "answer": answer, "active_seconds": 0.9, "next": True}
        said = await self.post("answer", "submit", body, due)
        if self._line and time.perf_counter() - self._line[0][1] >= _FRESH_SECONDS:
            self._apart(self._extend(self._line[0][0]))
        following = (said.get("next") or {}).get("lease")
        if following:
            self._line.append((following, time.perf_counter()))
            self._apart(self._load(following))
        else:
            self._apart(self.fill())

    async def _extend(self, lease: str) -> None:
        await self.post("heartbeat", "heartbeat", {"lease": lease})

    async def _count(self) -> None:
        await self.get("jobs", "/api/me")

    async def _load(self, lease: str) -> None:
        page = await self.get("page", f"/frame/{lease}", pictures=True)
        if not page:
            return
        found = _ADDRESS.search(page)
        if found is None:
            self.tally.complain("page", "no address of a picture in it")
            return
        address = (found[2] or found[1]).decode().replace("&amp;", "&")
        await self.get("picture", address, pictures=True)

    def _apart(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)


class Owner(Visitor):
    """Somebody who watches, on several pages."""

    def __init__(self, port: int, job: int) -> None:
        super().__init__(port)
        self._job = job

    async def watch(self, tally: Tally) -> None:
        """Look on until canceled."""
        self.tally = tally
        await asyncio.gather(self._stream(), *(self._page(number) for number in range(_OWNER_PAGES)))

    async def _page(self, number: int) -> None:
        await asyncio.sleep(number * _OWNER_SECONDS / _OWNER_PAGES)
        wire = Wire()
        try:
            while True:
                request = self._request("GET", f"/api/owner/jobs/{self._job}")
                await self.ask("owner's page", request, wire)
                await asyncio.sleep(_OWNER_SECONDS)
        finally:
            wire.close()

    async def _stream(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(self._request("GET", "/api/owner/events"))
            last = time.perf_counter()
            while line := await reader.readline():
                if line.startswith(b"event: trouble"):
                    self.tally.complain("event", (await reader.readline()).decode())
                elif line.startswith(b"event: "):
                    self.tally.note("event", time.perf_counter() - last)
                    last = time.perf_counter()
        finally:
            writer.close()


@dataclass(frozen=True)
class Used:
    """Seconds of processor time: of the server, of what renders for it, and of this program."""

    server: float
    renderers: float
    generator: float

    @classmethod
    def now(cls, pid: int) -> Used:
        """So far."""
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for thread in Path(f"/proc/{pid}/task").iterdir():
            if thread.name != str(pid):
                children += (thread / "children").read_text().split()
        return cls(cpu_seconds(pid), sum(cpu_seconds(int(child)) for child in children), time.process_time())


async def crowd(port: int, invites: list[str], job: int, owner: str) -> tuple[list[Worker], Owner]:
    """Everybody, signed in and with tasks at hand."""
    watcher = Owner(port, job)
    await watcher.join(owner)
    people = [Worker(port, number, job) for number in range(len(invites))]
    for person, invite in zip(people, invites, strict=True):
        await person.join(invite)
    await asyncio.gather(*(person.try_out() for person in people[:_PER_IMAGE]))
    await asyncio.wait_for(asyncio.gather(*(person.fill() for person in people)), 120)
    return people, watcher


async def measure(
    people: list[Worker], owner: Owner, given: argparse.Namespace, pid: int
) -> tuple[Tally, float, Used, Used]:
    """Have everybody work, a while for nothing and then for the table."""
    watching = asyncio.create_task(owner.watch(Tally()))
    for length, tally in ((given.warm_up, Tally()), (given.seconds, Tally())):
        owner.tally = tally
        before, begun = Used.now(pid), time.perf_counter()
        await asyncio.gather(*(person.work(begun, length, tally) for person in people))
        after, taken = Used.now(pid), time.perf_counter() - begun
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    for visitor in (*people, owner):
        visitor.close()
    return tally, taken, before, after


def report(
    workers: int, given: argparse.Namespace, tally: Tally, taken: float, before: Used, after: Used
) -> bool:
    """Print the rows of a crowd; say whether they meet the bar."""
    for kind in ("answer", "heartbeat", "page", "picture", "jobs", "owner's page"):
        times = [tally.quantile(kind, share) for share in (0.5, 0.95, 0.99, 1.0)]
        errors = sum(tally.errors.get(kind, {}).values())
        rate = len(tally.taken.get(kind, ())) / taken
        print(row_text(_COLUMNS, [workers, kind, rate, *times, errors]), flush=True)
    for kind, errors_of in tally.errors.items():
        for sentence, count in errors_of.items():
            print(f"{'':8}{kind}: {count} x {sentence}")
    rendered = max(1, len(tally.taken.get("page", ())))
    shares = [
        f"{name} {100 * (getattr(after, name) - getattr(before, name)) / taken:.0f} %"
        for name in ("server", "renderers", "generator")
    ]
    print(
        f"{'':8}CPU: {', '.join(shares)}; rendering in its own process: "
        f"{1000 * (after.renderers - before.renderers) / rendered:.2f} ms a page",
        flush=True,
    )
    told = len(tally.taken.get("answer", ()))
    complete = told == workers * int(given.seconds) and not tally.errors
    return workers > _LIMIT_WORKERS or (complete and tally.quantile("answer", 0.95) <= given.limit)


def invited(database: str, workers: int) -> tuple[list[str], str]:
    """Invites for so many workers and an owner, before a server has the database."""
    store = Store(database)
    crew = Crew(store)
    names = [f"worker-{number}" for number in range(workers)]
    for name in names:
        crew.add(name, groups=[GROUP])
    crew.add("owner", role=Role.OWNER)
    invites = [crew.invite(name) for name in names]
    owner = crew.invite("owner")
    store.close()
    return invites, owner


def serve(folder: Path, workers: int, given: argparse.Namespace, shown: Path) -> bool:
    """Measure one crowd on a server of its own."""
    with ExitStack() as stack:
        endpoint = stack.enter_context(storage(shown))
        folder.mkdir()
        server = Server(folder / "state", endpoint)
        invites, owner = invited(server.database, workers)
        server.start()
        stack.callback(server.stop)
        arn = asyncio.run(team(server.port))
        images = int(workers * (given.seconds + given.warm_up + 10)) // _PER_IMAGE + 200
        put_inputs(lambda name, body: put(endpoint, name, body), BUCKET, images, str(images))
        asyncio.run(start_jobs(server.port, arn, [JOB], images))

        async def run() -> tuple[Tally, float, Used, Used]:
            people, watcher = await crowd(server.port, invites, 1, owner)
            return await measure(people, watcher, given, server.pid)

        return report(workers, given, *asyncio.run(run()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--workers", default="150", help="how many, or several numbers with commas between")
    parser.add_argument("--seconds", type=float, default=60, help="how long each crowd is measured")
    parser.add_argument("--warm-up", type=float, default=5, help="seconds before that")
    parser.add_argument("--limit", type=float, default=100, help="milliseconds for 95 in 100 answers")
    given = parser.parse_args()
    end_politely()
    if hasattr(os, "sched_setaffinity"):
        # All of it on two cores, children included.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    met = True
    with tempfile.TemporaryDirectory(prefix="gtlabel-portal-") as name:
        folder = Path(name)
        shown = folder / "picture.jpg"
        shown.write_bytes(picture(PICTURE_BYTES))
        print(f"each picture has {shown.stat().st_size / 1000:.0f} kB")
        print("".join(f"{name:>{width}}" for name, width in _COLUMNS), flush=True)
        for workers in map(int, given.workers.split(",")):
            met = serve(folder / str(workers), workers, given, shown) and met
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
