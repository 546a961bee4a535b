"""The child processes of a device: one component's scripts, in a process group of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from gtlabel.errors import EdgeError

STDOUT, STDERR = "stdout.log", "stderr.log"
# A nucleus gives up on a component that failed this often (contract/deployment.md 3.2).
_ATTEMPTS = 3
_BACKOFF = 0.3
_GRACE = 15.0


class Program:
    """A component's `run` script. It is started again when it fails, and given up after three times.

    Attributes:
        state: `RUNNING`, `FINISHED`, `ERRORED` (to be started again) or `BROKEN`.
        details: what it last said on stderr, when it failed.
    """

    def __init__(
        self,
        script: str,
        folder: Path,
        environ: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.script = script
        self.folder = folder
        self.environ = dict(environ)
        self.state = "RUNNING"
        self.details = ""
        self._clock = clock
        self._failures = 0
        self._again_at = 0.0
        self._process = _start(script, folder, self.environ)
        self._started = clock()

    def settled(self, seconds: float) -> bool:
        """Whether it has ended well, or has lived long enough to be believed."""
        alive = self.state == "RUNNING" and self._clock() - self._started >= seconds
        return alive or self.state == "FINISHED"

    def look(self) -> None:
        """See how the process is, and start it again when its time has come."""
        if self.state == "RUNNING":
            code = self._process.poll()
            if code == 0:
                self.state = "FINISHED"
            elif code is not None:
                self._failures += 1
                self.details = f"run ended with {describe(code)}: {last_words(self.folder)}"
                self.state = "BROKEN" if self._failures >= _ATTEMPTS else "ERRORED"
                self._again_at = self._clock() + _BACKOFF
        elif self.state == "ERRORED" and self._clock() >= self._again_at:
            self._process = _start(self.script, self.folder, self.environ)
            self._started = self._clock()
            self.state = "RUNNING"

    def stop(self) -> None:
        """End the process and everything it started: politely, and after a while by force."""
        if self._process.poll() is None:
            _end(self._process, _GRACE)
        if self.state in ("RUNNING", "ERRORED"):
            self.state = "FINISHED"


def run_to_end(
    step: str, script: str, folder: Path, environ: Mapping[str, str], timeout: float, stop: threading.Event
) -> None:
    """Run a script that must end well before the next one may start.

    Args:
        step: the lifecycle step, for the error.
        script: what to run.
        folder: where.
        environ: its whole environment.
        timeout: seconds.
        stop: set when the device goes down.

    Raises:
        EdgeError: if it fails, takes too long, or the device goes down meanwhile.
    """
    process = _start(script, folder, environ)
    deadline = time.monotonic() + timeout
    try:
        while True:
            try:
                code = process.wait(0.2)
                break
            except subprocess.TimeoutExpired:
                if stop.is_set():
                    raise EdgeError(f"{step} was interrupted: the device goes down") from None
                if time.monotonic() >= deadline:
                    raise EdgeError(f"{step} was not done after {timeout:g} s") from None
    finally:
        if process.poll() is None:
            _end(process, 2.0)
    if code != 0:
        raise EdgeError(f"{step} ended with {describe(code)}: {last_words(folder)}")


def last_words(folder: Path) -> str:
    """The last line a script in that folder wrote to stderr."""
    try:
        lines = (folder / STDERR).read_bytes()[-4096:].decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        lines = []
    said = [line.strip() for line in lines if line.strip()]
    return said[-1][:500] if said else "it said nothing"


def describe(code: int) -> str:
    """An exit code or the signal that ended a process, in words."""
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def _start(script: str, folder: Path, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with (folder / STDOUT).open("ab") as out, (folder / STDERR).open("ab") as err:
        return subprocess.Popen(
            ["/bin/sh", "-c", script],
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )


def _end(process: subprocess.Popen[bytes], grace: float) -> None:
    """End a process group whose leader still runs."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(grace)
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
