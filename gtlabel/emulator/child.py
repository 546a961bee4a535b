"""An emulator in a process of its own: started, waited for, and ended with whoever started it."""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gtlabel.emulator.api import Context
from gtlabel.emulator.environment import environ
from gtlabel.emulator.state import Running, prepare, registry
from gtlabel.emulator.trainers import written
from gtlabel.errors import EmulatorError, EmulatorNotReadyError

_READY_SECONDS = 60.0
# Trainers and devices are given a few seconds of their own before the emulator ends.
_END_SECONDS = 15.0
_POLL_SECONDS = 0.05
_LAST_LINES = 15


@dataclass(frozen=True, slots=True)
class Address:
    """Where an emulator answers.

    Attributes:
        environ: what a program's environment needs to use it in place of AWS.
    """

    url: str
    environ: dict[str, str]


@contextmanager
def running(
    state: Path | None = None, port: int = 0, *, trainers: Mapping[str, Sequence[str]] | None = None
) -> Iterator[Address]:
    """Run an emulator while this is entered, and end it whatever happens.

    It also ends when this process is killed. It has no portal: nobody would know the address.

    Args:
        state: the folder in which everything survives; without one, it is all gone at the end.
        port: the port; 0 takes a free one.
        trainers: the program for each training image, by its repository, besides the usual ones.

    Raises:
        EmulatorNotReadyError: if it does not come up.
    """
    with tempfile.TemporaryDirectory(prefix="gtlabel-log-") as folder:
        log = Path(folder) / "emulator.log"
        options = ["--until-stdin-closes", "--no-portal", *written(trainers or {})]
        process = _start(state, port, log, options, stdin=subprocess.PIPE)
        try:
            url = _url_of(process, log)
            yield Address(url, environ(url, Context()))
        finally:
            end(process)


def reopen(state: Path) -> str:
    """What to type to look around in what an emulator left."""
    return f"gtlabel local up --state {shlex.quote(str(state))}"


def detach(
    state: Path | None,
    port: int,
    host: str,
    options: Sequence[str] = (),
    *,
    furnish: Callable[[str], None] = lambda _url: None,
) -> Address:
    """Start an emulator that outlives this process.

    Its log is `emulator.log` in the state folder, or beside the place where emulators are announced.

    Args:
        state: the folder in which everything survives.
        port: the port; 0 takes a free one.
        host: the address to listen on.
        options: what else to tell `gtlabel local up`.
        furnish: called with its address before it is left alone; if that raises, the emulator is ended.

    Raises:
        EmulatorNotReadyError: if it does not come up.
    """
    if state is None:
        log = registry() / f"emulator-{port}.log"
    else:
        prepare(state)
        log = state / "emulator.log"
    process = _start(state, port, log, ["--host", host, *options], stdin=subprocess.DEVNULL)
    try:
        url = _url_of(process, log)
        furnish(url)
    except BaseException:
        end(process)
        raise
    return Address(url, environ(url, Context()))


def end(process: subprocess.Popen[bytes]) -> None:
    """End an emulator: first kindly, then for certain."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()


def stop(emulator: Running) -> None:
    """End an emulator that somebody else started, and wait until it has gone.

    Raises:
        EmulatorError: if it does not end.
    """
    with suppress(ProcessLookupError):
        os.kill(emulator.pid, signal.SIGTERM)
        for _ in range(int(_END_SECONDS / _POLL_SECONDS)):
            os.kill(emulator.pid, 0)
            time.sleep(_POLL_SECONDS)
        raise EmulatorError(f"the emulator at {emulator.url} (process {emulator.pid}) does not end")


def _start(
    state: Path | None, port: int, log: Path, options: list[str], *, stdin: int
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gtlabel", "local", "up", "--port", str(port), *options]
    if state is not None:
        command += ["--state", str(state)]
    with log.open("wb") as stderr:
        # A group of its own: a Ctrl-C is for us to pass on when we are done with it.
        return subprocess.Popen(
            command, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True
        )


def _url_of(process: subprocess.Popen[bytes], log: Path) -> str:
    """The address that an emulator prints once it can be used."""
    if process.stdout is None:
        raise ValueError("the process was started without a pipe for its output")
    deadline = time.monotonic() + _READY_SECONDS
    printed = b""
    while b"\n" not in printed:
        readable, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(process.stdout.fileno(), 4096) if readable else b""
        if not chunk:
            why = "ended" if readable else f"was not ready after {_READY_SECONDS:.0f} s"
            raise EmulatorNotReadyError(f"the emulator {why}; it said: {_last_lines(log)}")
        printed += chunk
    return printed.split(b"\n")[0].decode()


def _last_lines(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return "\n".join(lines[-_LAST_LINES:]) or "nothing"
