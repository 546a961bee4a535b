"""The child processes of a device: one component's scripts, each in a process group of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gtlabel.emulator.lastwill import GRACE, LastWill, alive, members
from gtlabel.emulator.printed import keep, last_words
from gtlabel.emulator.runwith import User
from gtlabel.errors import EdgeError

# A nucleus gives up on a component that failed this often (contract/deployment.md 3.2).
_ATTEMPTS = 3
_BACKOFF = 0.3
# Looking through all processes takes some milliseconds.
_WEIGH_EVERY = 0.5
_DRAIN = 2.0


@dataclass(frozen=True, slots=True)
class Launch:
    """How a script is run.

    Attributes:
        script: what the shell is given.
        folder: where it runs, and where what it prints is kept.
        environ: its whole environment.
        user: who runs it; None is who runs the device.
        memory: what it and all it started may hold in memory, in KB; None is no limit.
        will: what ends it if the device cannot.
    """

    script: str
    folder: Path
    environ: Mapping[str, str]
    user: User | None = None
    memory: int | None = None
    will: LastWill | None = None


class Child:
    """A script that was started, with everything that it starts."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        user = launch.user
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", launch.script],
            cwd=launch.folder,
            env=dict(launch.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
        )
        self.group = self._process.pid
        if launch.will:
            launch.will.add(self.group)
        self._printed = keep(self._process, launch.folder)
        self._weighed = time.monotonic()
        self._too_heavy = ""

    def poll(self) -> int | None:
        """The exit code of the script, negative for a signal, or None while it runs."""
        if self._process.poll() is None and self._launch.memory:
            self._weigh(self._launch.memory)
        return self._process.poll()

    def wait(self, seconds: float) -> int | None:
        """Wait for its end; None if it runs on."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self.poll()

    def why(self) -> str:
        """Why it ended, in words; known when `clear` was called."""
        code = self._process.returncode
        return self._too_heavy or f"{describe(code)}: {last_words(self._launch.folder)}"

    def ask(self) -> None:
        """Ask it to end."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.group, signal.SIGTERM)

    def end(self, grace: float = GRACE) -> None:
        """End it and everything it started: politely, and after a while by force."""
        self.ask()
        deadline = time.monotonic() + grace
        while self._process.poll() is None or alive(self.group):
            if time.monotonic() >= deadline:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.group, signal.SIGKILL)
                break
            self.wait(0.05) if self._process.poll() is None else time.sleep(0.02)
        self._process.wait()
        self.clear()

    def clear(self) -> None:
        """End what the script left running when it ended, and have all it said on disk.

        systemd does so with a service whose program has ended; nucleus lite makes services of components.
        """
        if not _taken(self.group):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.group, signal.SIGKILL)
        self._printed.join(_DRAIN)
        if self._launch.will:
            self._launch.will.remove(self.group)

    def _weigh(self, limit: int) -> None:
        """End it as the kernel would if what it holds exceeds the limit."""
        if time.monotonic() - self._weighed < _WEIGH_EVERY:
            return
        self._weighed = time.monotonic()
        if (held := held_memory(self.group)) > limit:
            self._too_heavy = f"it held {held} KB of memory, and its systemResourceLimits allow {limit} KB"
            os.killpg(self.group, signal.SIGKILL)
            self._process.wait()


class Program:
    """A component's `run` script. It is started again when it fails, and given up after three times.

    Args:
        launch: how it is run.
        recover: called before it is started again, for instance to run the component's `recover`.
        forgives: seconds after which an earlier failure no longer counts; None counts them all.
        clock: tells the seconds.

    Attributes:
        state: `RUNNING`, `FINISHED`, `ERRORED` (to be started again) or `BROKEN`.
        details: what it last said on stderr, when it failed.
    """

    def __init__(
        self,
        launch: Launch,
        *,
        recover: Callable[[], None] = lambda: None,
        forgives: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = "RUNNING"
        self.details = ""
        self._launch = launch
        self._recover = recover
        self._forgives = forgives
        self._clock = clock
        self._failures = 0
        self._failed_at = 0.0
        self._child = Child(launch)
        self._started = clock()

    def settled(self, seconds: float) -> bool:
        """Whether it has ended well, or has lived long enough to be believed."""
        lives = self.state == "RUNNING" and self._clock() - self._started >= seconds
        return lives or self.state == "FINISHED"

    def look(self) -> None:
        """See how the process is, and start it again when its time has come."""
        if self.state == "RUNNING":
            code = self._child.poll()
            if code is not None:
                self._child.clear()
                if code == 0:
                    self.state = "FINISHED"
                else:
                    self._failed()
        elif self.state == "ERRORED" and self._clock() >= self._failed_at + _BACKOFF:
            try:
                self._recover()
                self._child = Child(self._launch)
            except (EdgeError, OSError) as error:
                self._failed(f"it could not be started again: {error}")
                return
            self._started = self._clock()
            self.state = "RUNNING"

    def fail(self, why: str) -> None:
        """End it as one that has failed, for what it said of itself."""
        self._child.end()
        self._failed(why)

    def stop(self) -> None:
        """End it and everything it started."""
        if self._child.poll() is None:
            self._child.end()
        elif self.state == "RUNNING":
            # It ended since the last look, and what it started may not have.
            self._child.clear()
        if self.state in ("RUNNING", "ERRORED"):
            self.state = "FINISHED"

    def _failed(self, why: str = "") -> None:
        now = self._clock()
        if self._forgives is not None and now - self._failed_at > self._forgives:
            self._failures = 0
        self._failures += 1
        self._failed_at = now
        self.details = why or f"run ended with {self._child.why()}"
        self.state = "BROKEN" if self._failures >= _ATTEMPTS else "ERRORED"


def run_to_end(step: str, launch: Launch, timeout: float, stop: threading.Event) -> Child:
    """Run a script that must end well before the next one may start.

    Args:
        step: the lifecycle step, for the error.
        launch: how it is run.
        timeout: seconds.
        stop: set when the device goes down.

    Returns:
        The script that has ended; what it left running does so on.

    Raises:
        EdgeError: if it fails, takes too long, or the device goes down meanwhile.
    """
    child = Child(launch)
    deadline = time.monotonic() + timeout
    while child.wait(0.2) is None:
        if stop.is_set():
            child.end(2.0)
            raise EdgeError(f"{step} was interrupted: the device goes down")
        if time.monotonic() >= deadline:
            child.end(2.0)
            raise EdgeError(f"{step} was not done after {timeout:g} s: {last_words(launch.folder)}")
    if child.poll():
        child.clear()
        raise EdgeError(f"{step} ended with {child.why()}")
    return child


def describe(code: int) -> str:
    """An exit code or the signal that ended a process, in words."""
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def held_memory(group: int) -> int:
    """What the processes of a group hold in memory, in KB (Linux: proc_pid_statm(5))."""
    page = os.sysconf("SC_PAGE_SIZE") // 1024
    held = 0
    for pid, _ in members(group):
        # It may end while we look.
        with suppress(OSError):
            held += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page
    return held


def weighs() -> bool:
    """Whether this system tells what a process holds in memory."""
    return sys.platform == "linux"


def end_escaped(variable: str) -> None:
    """Kill the processes that have a variable, `NAME=value`, in the environment they were started with.

    A program may leave its process group, as `setsid` does, and takes its environment along. Only Linux tells
    one process the environment of another (proc_pid_environ(5)); elsewhere nothing is done.
    """
    if not weighs():
        return
    wanted = variable.encode()
    for folder in Path("/proc").glob("[0-9]*"):
        # It may end while we look, and others' environments are not ours to read.
        with suppress(OSError):
            if wanted not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            process = os.pidfd_open(int(folder.name))
            try:
                # Its number may have become another's before it was opened.
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    signal.pidfd_send_signal(process, signal.SIGKILL)
            finally:
                os.close(process)


def _taken(pid: int) -> bool:
    """Whether the number of a process of ours that was collected belongs to another by now."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
