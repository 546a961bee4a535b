"""The functions of custom workflows: Python callables with Lambda's contract, run off everybody's thread.

A function is named as `package.module:function` and then runs in processes of its own, which are ended when
it takes too long and which can be told where AWS answers; or it is a callable of this process, which a test
or a library hands over. Both are called as Lambda would, with an event and a context, and everything that
goes in or comes out is JSON.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol

from gtlabel.engine.functionchild import Handler, answer
from gtlabel.errors import FunctionError, FunctionNotFoundError, SettingsError

_log = logging.getLogger(__name__)

# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LONGEST_SECONDS = 900.0
_LARGEST_ANSWER = 6_291_556
# A call that failed is made twice again, as Lambda does for callers that do not wait:
# https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
_ATTEMPTS = 3
# How many calls of one function run at once.
_AT_ONCE = 4
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TARGET = re.compile(r"[\w.]+:[\w.]+")


class Functions:
    """Functions by the names that ARNs call them by.

    Args:
        targets: `package.module:function`, or a callable, by name.
        seconds: how long one call may take.
        environ: what the processes of functions find in their environment beside what this one has.
    """

    def __init__(
        self,
        targets: Mapping[str, str | Handler] | None = None,
        *,
        seconds: float = LONGEST_SECONDS,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._targets = dict(targets or {})
        self._seconds = seconds
        self.environ: dict[str, str] = dict(environ or {})
        self._teams: dict[str, _Team] = {}
        self._lock = threading.Lock()

    def __contains__(self, name: object) -> bool:
        return name in self._targets

    def names(self) -> list[str]:
        """The names, in order."""
        return sorted(self._targets)

    def check(self) -> None:
        """Load every function once, so that a typo is known before a job needs it.

        Raises:
            FunctionError: at the first that cannot be loaded.
        """
        for name in self.names():
            self._runner(name).close()

    def call(self, name: str, arn: str, event: Mapping[str, Any]) -> Future[Any]:
        """Call a function; the future has what it returned, or a FunctionError.

        Args:
            name: which one.
            arn: what the job calls it.
            event: what it gets.

        Raises:
            FunctionNotFoundError: if there is none of that name.
        """
        if name not in self._targets:
            raise FunctionNotFoundError(name)
        with self._lock:
            team = self._teams.setdefault(name, _Team(name, lambda: self._runner(name)))
        return team.call({"event": dict(event), "arn": arn, "seconds": self._seconds})

    def close(self) -> None:
        """End every process; calls that wait are never made."""
        with self._lock:
            teams, self._teams = list(self._teams.values()), {}
        for team in teams:
            team.close()

    def _runner(self, name: str) -> _Runner:
        target = self._targets[name]
        if isinstance(target, str):
            return _Child(name, target, {**os.environ, **self.environ})
        return _Here(name, target)


def read_functions(options: Iterable[str]) -> dict[str, str]:
    """Functions as a command line names them, `NAME=package.module:function`.

    Raises:
        SettingsError: if one is written in another way.
    """
    found: dict[str, str] = {}
    for option in options:
        name, _, target = option.partition("=")
        if not _NAME.fullmatch(name) or not _TARGET.fullmatch(target):
            raise SettingsError(f"--function {option}: write it as NAME=package.module:function")
        if name in found:
            raise SettingsError(f"--function {option}: {name} is {found[name]} already")
        found[name] = target
    return found


class _Runner(Protocol):
    def run(self, asked: dict[str, Any]) -> Any: ...

    def close(self) -> None: ...


class _Team:
    """Threads that call one function, as many as there is work for."""

    def __init__(self, name: str, runner: Callable[[], _Runner]) -> None:
        self._name = name
        self._runner = runner
        self._calls: queue.SimpleQueue[tuple[dict[str, Any], Future[Any]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._waiting = 0
        self._running: set[_Runner] = set()
        self._closed = False

    def call(self, asked: dict[str, Any]) -> Future[Any]:
        future: Future[Any] = Future()
        with self._lock:
            self._waiting += 1
            grow = self._waiting > self._threads and self._threads < _AT_ONCE
            self._threads += grow
        self._calls.put((asked, future))
        if grow:
            # Not threads of an executor: the interpreter would wait for a function that hangs.
            threading.Thread(target=self._work, name=f"function {self._name}", daemon=True).start()
        return future

    def close(self) -> None:
        with self._lock:
            self._closed = True
            running, threads = list(self._running), self._threads
        for _ in range(threads):
            self._calls.put(None)
        for runner in running:
            runner.close()

    def _work(self) -> None:
        runner: _Runner | None = None
        while (call := self._calls.get()) is not None:
            asked, future = call
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    if runner is None:
                        runner = self._hired()
                    value = runner.run(asked)
                except FunctionError as error:
                    if self._closed:
                        return
                    if error.ended:
                        self._dismiss(runner)
                        runner = None
                    if attempt < _ATTEMPTS and not error.timed_out:
                        continue
                    _log.warning("%s", error)
                    future.set_exception(error)
                else:
                    future.set_result(value)
                break
            with self._lock:
                self._waiting -= 1
        self._dismiss(runner)

    def _hired(self) -> _Runner:
        runner = self._runner()
        with self._lock:
            self._running.add(runner)
        return runner

    def _dismiss(self, runner: _Runner | None) -> None:
        if runner is not None:
            with self._lock:
                self._running.discard(runner)
            runner.close()


class _Child:
    """A process that has the function loaded."""

    def __init__(self, name: str, target: str, environ: Mapping[str, str]) -> None:
        self._name = name
        self._lock = threading.Lock()
        # The folder this process was started in comes first on the path of the other, as `-m` does it.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gtlabel.engine.functionchild", target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(environ),
        )
        try:
            self._talk(b"", LONGEST_SECONDS)
        except FunctionError:
            self.close()
            raise

    def run(self, asked: dict[str, Any]) -> Any:
        body = json.dumps({**asked, "request": str(uuid.uuid4())}).encode() + b"\n"
        return self._talk(body, asked["seconds"]).get("value")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _talk(self, body: bytes, seconds: float) -> dict[str, Any]:
        given, said = self._process.stdin, self._process.stdout
        if given is None or said is None:
            raise FunctionError(self._name, "its process has no streams", ended=True)
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        watch = threading.Timer(seconds, end)
        watch.daemon = True
        watch.start()
        try:
            given.write(body)
            given.flush()
            line = said.readline()
        except (OSError, ValueError):
            # The process is gone, or `close` took its streams away.
            line = b""
        finally:
            watch.cancel()
        if late.is_set():
            raise FunctionError(
                self._name, f"it took longer than {seconds:g} seconds", timed_out=True, ended=True
            )
        if not line.endswith(b"\n"):
            raise FunctionError(
                self._name, f"its process ended with exit code {self._process.wait()}", ended=True
            )
        return _read(self._name, line)


class _Here:
    """A callable of this process. One that hangs is left behind in its thread."""

    def __init__(self, name: str, handler: Handler) -> None:
        self._name = name
        self._handler = handler

    def run(self, asked: dict[str, Any]) -> Any:
        # Through JSON, so that nothing can pass here that could not pass between processes.
        copied = json.loads(json.dumps({**asked, "request": str(uuid.uuid4())}))
        said: Future[bytes] = Future()
        work = threading.Thread(target=lambda: said.set_result(answer(self._handler, copied)), daemon=True)
        work.start()
        work.join(asked["seconds"])
        if not said.done():
            late = f"it took longer than {asked['seconds']:g} seconds"
            raise FunctionError(self._name, late, timed_out=True)
        return _read(self._name, said.result()).get("value")

    def close(self) -> None:
        pass


def _read(name: str, line: bytes) -> dict[str, Any]:
    line = line.rstrip()
    if len(line) > _LARGEST_ANSWER:
        raise FunctionError(name, f"its answer has {len(line)} bytes; at most {_LARGEST_ANSWER} are allowed")
    said: dict[str, Any] = json.loads(line)
    if "error" in said:
        raise FunctionError(name, said["error"])
    return said
