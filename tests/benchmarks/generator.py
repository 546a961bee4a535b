"""A cheap crowd: many workers on kept-alive connections, one thread, no parsing beyond what is needed.

Two ways to ask. At a pace: steps are due at fixed moments whatever the server does, and a step's latency
counts from the moment it was due, so that a server that stalls is not asked less (no coordinated omission).
Closed: each worker sends the next step as soon as the last one is answered.
"""

from __future__ import annotations

import json
import re
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from clients import CLASSES, ELEMENT

_LEASE = re.compile(rb'"lease":\s*"([^"]+)"')
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_CHUNK = 1 << 16
# A worker without a task asks again so often.
_SEEK_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 0.05


@dataclass
class Tally:
    """What a phase of load came to.

    Attributes:
        latencies: of each step, in seconds from the moment it was due.
        errors: answers that were none, by what was said.
        searches: requests for a task by workers who had none.
        behind: the most steps that were due and not yet sent, for want of a worker with a task.
    """

    seconds: float = 0.0
    cpu: float = 0.0
    latencies: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    searches: int = 0
    behind: int = 0

    @property
    def steps(self) -> int:
        """How many answers were accepted."""
        return len(self.latencies)

    @property
    def rate(self) -> float:
        """Steps a second."""
        return self.steps / self.seconds

    def quantile(self, share: float) -> float:
        """A quantile of the latencies, in milliseconds."""
        if not self.latencies:
            return float("nan")
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class _Worker:
    """One connection, and the task in this worker's hands."""

    def __init__(self, address: tuple[str, int], name: str, token: str) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.name = name
        self.lease = b""
        self.job = 0
        self.due = 0.0
        self.searching = False
        self.again_at = 0.0
        self.buffer = b""
        self.head = (
            f"HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()


class Crowd:
    """Workers on one server.

    Args:
        address: where it answers.
        tokens: the bearer token of each worker, by name; each gets a connection.
        jobs: the jobs they turn to, one after the other, when one has nothing for them.
    """

    def __init__(self, address: tuple[str, int], tokens: dict[str, str], jobs: Sequence[str]) -> None:
        self._workers = [_Worker(address, name, token) for name, token in tokens.items()]
        for place, worker in enumerate(self._workers):
            worker.job = place % len(jobs)
        self._jobs = jobs
        self._epoll = select.epoll()
        self._by_number = {worker.socket.fileno(): worker for worker in self._workers}
        for number in self._by_number:
            self._epoll.register(number, select.EPOLLIN)
        self._answers = [
            f'","answer":{{"{ELEMENT}":{{"label":"{name}"}}}},"next":true}}'.encode() for name in CLASSES
        ]
        self._sent = 0
        self._idle: deque[_Worker] = deque()
        self._seeking: deque[_Worker] = deque(self._workers)
        self._tally = Tally()

    def close(self) -> None:
        """Hang up."""
        self._epoll.close()
        for worker in self._workers:
            worker.socket.close()

    def paced(self, rate: float, seconds: float) -> Tally:
        """Make `rate` steps a second due for so many seconds, and wait for the last one."""
        total = int(rate * seconds)
        return self._run(rate, lambda number, _now: number < total)

    def closed(
        self, seconds: float = 1e9, answers: int = 1 << 60, look: Callable[[int], None] | None = None
    ) -> Tally:
        """Step as fast as the server answers, for so long or so often.

        Args:
            seconds: for how long.
            answers: how often.
            look: told the number of steps now and then.
        """
        end = time.perf_counter() + seconds
        return self._run(0.0, lambda number, now: number < answers and now < end, look)

    def _run(
        self, rate: float, more: Callable[[int, float], bool], look: Callable[[int], None] | None = None
    ) -> Tally:
        """Step at a rate, or without one as soon as a worker is free, while there is to be more."""
        tally = self._tally = Tally()
        self._warm_up()
        tally.searches = number = flying = 0
        cpu, begun = time.process_time(), time.perf_counter()
        while True:
            now = time.perf_counter()
            going_on = more(number, now)
            while going_on and self._idle and (due := begun + number / rate if rate else now) <= now:
                worker = self._idle.popleft()
                worker.due = due
                self._step(worker)
                number, flying = number + 1, flying + 1
                going_on = more(number, now)
            if not going_on and not flying:
                break
            if rate and going_on:
                tally.behind = max(tally.behind, int((now - begun) * rate) - number)
            self._seek(now)
            pause = _LONGEST_PAUSE_SECONDS
            if rate and self._idle and going_on:
                pause = max(0.0, begun + number / rate - now)
            done = self._listen(min(pause, _SEEK_SECONDS) if self._seeking else pause)
            flying -= done
            if look is not None and done:
                look(tally.steps)
        tally.seconds, tally.cpu = time.perf_counter() - begun, time.process_time() - cpu
        return tally

    def _warm_up(self) -> None:
        """See that every worker who can have a task has one."""
        quiet = time.perf_counter() + 1.0
        while self._seeking and time.perf_counter() < quiet:
            self._seek(time.perf_counter())
            self._listen(_SEEK_SECONDS)

    def _step(self, worker: _Worker) -> None:
        answer = self._answers[self._sent % len(self._answers)]
        self._sent += 1
        body = b'{"lease":"' + worker.lease + answer
        worker.socket.send(
            b"POST /gtlabel/worker/submit " + worker.head + str(len(body)).encode() + b"\r\n\r\n" + body
        )

    def _seek(self, now: float) -> None:
        while self._seeking and self._seeking[0].again_at <= now:
            worker = self._seeking.popleft()
            worker.searching = True
            body = json.dumps({"job": self._jobs[worker.job], "worker": worker.name}).encode()
            worker.socket.send(
                b"POST /gtlabel/worker/lease " + worker.head + str(len(body)).encode() + b"\r\n\r\n" + body
            )
            self._tally.searches += 1

    def _listen(self, pause: float) -> int:
        """Take what was answered; return how many steps that were."""
        steps = 0
        for number, _ in self._epoll.poll(pause):
            worker = self._by_number[number]
            data = worker.socket.recv(_CHUNK)
            if not data:
                raise SystemExit("the server hung up")
            worker.buffer += data
            end = worker.buffer.find(b"\r\n\r\n")
            if end < 0:
                continue
            length = _LENGTH.search(worker.buffer, 0, end)
            if length is None or len(worker.buffer) < end + 4 + int(length[1]):
                continue
            answer, worker.buffer = worker.buffer, b""
            steps += not worker.searching
            self._heard(worker, answer, end)
        return steps

    def _heard(self, worker: _Worker, answer: bytes, end: int) -> None:
        now = time.perf_counter()
        ok = answer[9:12] == b"200"
        if not ok:
            sentence = answer[9:12].decode() + " " + answer[end + 4 :].decode()[:160]
            self._tally.errors[sentence] = self._tally.errors.get(sentence, 0) + 1
        elif not worker.searching:
            self._tally.latencies.append(now - worker.due)
        found = _LEASE.search(answer, end) if ok else None
        worker.searching = False
        if found:
            worker.lease = found[1]
            self._idle.append(worker)
        else:
            worker.job = (worker.job + 1) % len(self._jobs)
            worker.again_at = now + _SEEK_SECONDS
            self._seeking.append(worker)
