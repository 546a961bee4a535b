"""Renders worker templates in processes that can be spared.

A template may come from anyone who can start a job, and Liquid's own limits do not bound what one filter
costs: contract/worker-ui.md 2.4. So each is rendered and checked in one of a few child processes that have
no secrets and little memory, and are killed when they take too long; the others go on meanwhile. A template
that was stopped has to share one process with its like until it has shown that it can do better, so that
however many tasks it has, it cannot take the others' turn again.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import hashlib
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast

from gtlabel.errors import GtlabelError, MissingExtraError, TemplateError
from gtlabel.portal.problems import Problem, Rendered
from gtlabel.portal.renderchild import LENGTH, MOST_BYTES, packed

Grant = Callable[[str], str]

_MEMORY = 512 * 2**20
_START_SECONDS = 60.0
# A page shows a picture or two; each grant costs the parent some of its own time.
_MOST_GRANTS = 1000
_SUSPECTS = 256
_WAITING_SUSPECTS = 16
_BOOT = (
    "import sys; sys.path[:] = sys.argv[3:]; from gtlabel.portal.renderchild import main; "
    "main(int(sys.argv[1]), float(sys.argv[2]))"
)


class Renderer:
    """Renders and checks templates; threads may share it.

    Processes are started when they are needed, and kept. Starting one takes about a fifth of a second.

    Args:
        children: how many templates can be worked on at once, besides those that were stopped before.
        seconds: how long one may take, measured by the clock on the wall.
        memory: how much address space a process has, in bytes.
    """

    def __init__(self, *, children: int = 2, seconds: float = 2.0, memory: int = _MEMORY) -> None:
        self._seconds = seconds
        self._memory = memory
        self._lanes = ThreadPoolExecutor(children, thread_name_prefix="gtlabel-render")
        self._side_lane = ThreadPoolExecutor(1, thread_name_prefix="gtlabel-render-aside")
        self._lock = threading.Lock()
        # By the thread of the lane.
        self._of_lane: dict[int, _Child] = {}
        self._children: set[_Child] = set()
        # An ordered set: the oldest are forgotten.
        self._suspects: dict[str, None] = {}
        self._aside = 0
        self._closed = False
        self._folder = tempfile.TemporaryDirectory(prefix="gtlabel-render-")

    def render(self, template: str, task_input: Any, *, grant: Grant) -> Rendered:
        """A template with `task.input` in it; what is wrong with it is told and not raised.

        Args:
            template: the template's text.
            task_input: what the template knows as `task.input`; anything that JSON has a word for.
            grant: gives the URL for an S3 URI. It is called here, not in the child, while the template is
                being rendered, from another thread; a GtlabelError that it raises becomes a problem.

        Raises:
            MissingExtraError: if python-liquid is not installed.
        """
        return self._render_soon(template, task_input, grant).result()

    async def render_async(self, template: str, task_input: Any, *, grant: Grant) -> Rendered:
        """The same without keeping a thread waiting."""
        return await asyncio.wrap_future(self._render_soon(template, task_input, grant))

    def lint(self, template: str, *, element: str = "", sample: Any = None) -> list[Problem]:
        """What `gtlabel.portal.lint.lint` finds, or that it took too much."""
        request = {"work": "lint", "template": template, "element": element, "sample": sample}
        return _problems_in(self._soon(request, _grant_nothing).result())

    def close(self) -> None:
        """End all processes; who waits is told."""
        with self._lock:
            self._closed = True
            children = list(self._children)
        for child in children:
            child.kill()
        for lane in (self._lanes, self._side_lane):
            # What still waits is not canceled but run, and fails at once: nobody is left without an answer.
            lane.shutdown(wait=True)
        for child in children:
            child.end()
        self._folder.cleanup()

    def _render_soon(self, template: str, task_input: Any, grant: Grant) -> Future[Rendered]:
        request = {"work": "render", "template": template, "input": task_input}
        rendered: Future[Rendered] = Future()

        def pass_on(done: Future[dict[str, Any]]) -> None:
            if done.cancelled():
                rendered.cancel()
            elif error := done.exception():
                rendered.set_exception(error)
            else:
                reply = done.result()
                rendered.set_result(Rendered(reply.get("content", ""), _problems_in(reply)))

        self._soon(request, grant).add_done_callback(pass_on)
        return rendered

    def _soon(self, request: dict[str, Any], grant: Grant) -> Future[dict[str, Any]]:
        message = packed(request)
        digest = hashlib.sha256(request["template"].encode(errors="replace")).hexdigest()
        answer: Future[dict[str, Any]] = Future()
        try:
            self._lanes.submit(self._run, digest, message, grant, answer, False)
        except RuntimeError as error:
            raise _closed() from error
        return answer

    def _run(
        self, digest: str, message: bytes, grant: Grant, answer: Future[dict[str, Any]], aside: bool
    ) -> None:
        try:
            if not aside and digest in self._suspects:
                self._put_aside(digest, message, grant, answer)
            else:
                answer.set_result(self._answered(digest, message, grant))
        except BaseException as error:  # noqa: BLE001 - whoever waits for the answer gets it
            answer.set_exception(error)

    def _put_aside(self, digest: str, message: bytes, grant: Grant, answer: Future[dict[str, Any]]) -> None:
        with self._lock:
            full = self._aside >= _WAITING_SUSPECTS
            self._aside += not full
        if full:
            sentence = "the template was stopped before, and too many of its tasks wait to try it again"
            answer.set_result(_spent("time", sentence))
            return

        def run() -> None:
            try:
                self._run(digest, message, grant, answer, True)
            finally:
                with self._lock:
                    self._aside -= 1

        self._side_lane.submit(run)

    def _answered(self, digest: str, message: bytes, grant: Grant) -> dict[str, Any]:
        child, began = self._child(), time.monotonic()
        try:
            reply = child.answer(message, grant, self._seconds)
        except _OverdueError:
            self._replace(child)
            self._suspect(digest)
            return _spent("time", f"the template was stopped after {self._seconds:g} s")
        except _GoneError:
            self._replace(child)
            if self._closed:
                raise _closed() from None
            self._suspect(digest)
            return _spent("memory", f"the template took more than {self._memory // 2**20} MB")
        except _StillbornError as error:
            self._replace(child)
            if self._closed:
                raise _closed() from None
            raise TemplateError("the process that renders worker templates does not start") from error
        except BaseException:
            self._replace(child)
            raise
        if "spent" in reply:
            self._replace(child)
            self._suspect(digest)
            return _spent("memory", f"the template took more than {self._memory // 2**20} MB")
        if time.monotonic() - began < self._seconds / 2:
            with self._lock:
                self._suspects.pop(digest, None)
        return reply

    def _child(self) -> _Child:
        """The process of this lane."""
        if self._closed:
            raise _closed()
        return self._of_lane.get(threading.get_ident()) or self._start()

    def _start(self) -> _Child:
        with self._lock:
            if self._closed:
                raise _closed()
            child = _Child(self._memory, self._seconds, self._folder.name)
            self._children.add(child)
        self._of_lane[threading.get_ident()] = child
        return child

    def _replace(self, child: _Child) -> None:
        child.end()
        self._of_lane.pop(threading.get_ident(), None)
        with self._lock:
            self._children.discard(child)
            closed = self._closed
        if not closed:
            # Before anybody needs it.
            self._start()

    def _suspect(self, digest: str) -> None:
        with self._lock:
            self._suspects[digest] = None
            if len(self._suspects) > _SUSPECTS:
                del self._suspects[next(iter(self._suspects))]


@cache
def shared_renderer() -> Renderer:
    """One renderer for the whole process, which ends with it."""
    renderer = Renderer()
    atexit.register(renderer.close)
    return renderer


class _OverdueError(Exception):
    """A child has not answered in time."""


class _GoneError(Exception):
    """A child has ended, or says what it must not."""


class _StillbornError(Exception):
    """A child has not come to life; no template is to blame."""


class _Child:
    """A process of `gtlabel.portal.renderchild`; one thread talks to it, any may kill it."""

    def __init__(self, memory: int, seconds: float, folder: str) -> None:
        command = [sys.executable, "-I", "-X", "utf8", "-c", _BOOT, str(memory), str(seconds)]
        self._process = subprocess.Popen(
            [*command, *filter(None, sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd=folder,
            env={},
            start_new_session=True,
        )
        self._ready = False
        self._input, self._output = _number(self._process.stdin), _number(self._process.stdout)
        os.set_blocking(self._input, False)
        self._buffer = b""

    def answer(self, message: bytes, grant: Grant, seconds: float) -> dict[str, Any]:
        """What it says to a request.

        Raises:
            _OverdueError: if it does not say anything for too long.
            _GoneError: if it has ended.
            _StillbornError: if it did not start.
            MissingExtraError: if it lacks python-liquid.
        """
        self._wait_until_ready()
        deadline = time.monotonic() + seconds
        granted: dict[str, dict[str, str]] = {}
        self._send(message, deadline)
        while "grant" in (reply := self._receive(deadline)):
            uri = reply["grant"]
            asked = time.monotonic()
            if uri not in granted:
                granted[uri] = _grant(uri, grant, len(granted))
            # How long the parent takes is not the template's fault.
            deadline += time.monotonic() - asked
            self._send(packed(granted[uri]), deadline)
        return reply

    def kill(self) -> None:
        """End it; whoever waits for its answer hears that it has gone."""
        self._process.kill()

    def end(self) -> None:
        """End it and let go of it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()

    def _wait_until_ready(self) -> None:
        if self._ready:
            return
        try:
            said = self._receive(time.monotonic() + _START_SECONDS)
        except (_OverdueError, _GoneError) as error:
            raise _StillbornError from error
        if "failed" in said:
            raise _missing()
        self._ready = True

    def _send(self, data: bytes, deadline: float) -> None:
        view = memoryview(data)
        while view:
            _wait(self._input, select.POLLOUT, deadline)
            try:
                view = view[os.write(self._input, view[:65_536]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as error:
                raise _GoneError from error

    def _receive(self, deadline: float) -> dict[str, Any]:
        size = LENGTH.unpack(self._take(LENGTH.size, deadline))[0]
        if size > MOST_BYTES:
            raise _GoneError
        return cast("dict[str, Any]", json.loads(self._take(size, deadline)))

    def _take(self, size: int, deadline: float) -> bytes:
        parts = [self._buffer]
        have = len(self._buffer)
        while have < size:
            _wait(self._output, select.POLLIN, deadline)
            part = os.read(self._output, 1_048_576)
            if not part:
                raise _GoneError
            parts.append(part)
            have += len(part)
        whole = b"".join(parts)
        self._buffer = whole[size:]
        return whole[:size]


def _wait(descriptor: int, event: int, deadline: float) -> None:
    # Not `select`, which knows no descriptor above 1023, and a server has many.
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise _OverdueError


def _grant(uri: str, grant: Grant, count: int) -> dict[str, str]:
    if count >= _MOST_GRANTS:
        return {"refused": f"the template asks for access to more than {_MOST_GRANTS} objects"}
    try:
        return {"url": grant(uri)}
    except GtlabelError as error:
        return {"refused": str(error)}


def _grant_nothing(uri: str) -> str:
    raise TemplateError(f"nobody grants access to {uri} here")


def _closed() -> TemplateError:
    return TemplateError("the renderer was closed; nothing is rendered any more")


def _missing() -> GtlabelError:
    with contextlib.suppress(PackageNotFoundError):
        return TemplateError(
            f"liquidpy {version('liquidpy')} stands in the way of python-liquid, because both are called "
            "liquid; uninstall both and install it again: pip uninstall liquidpy python-liquid; "
            "pip install 'gtlabel[all]'"
        )
    return MissingExtraError("rendering worker templates", "all")


def _spent(code: str, sentence: str) -> dict[str, Any]:
    return {"problems": [["error", code, None, sentence]]}


def _problems_in(reply: dict[str, Any]) -> list[Problem]:
    return [Problem(*one) for one in reply["problems"]]


def _number(pipe: Any) -> int:
    return int(pipe.fileno())
