"""What ends the programs of a device that was killed: a process of its own, told of each group that runs.

Linux could send a signal to a child whose parent dies (PR_SET_PDEATHSIG), but only to the child itself, a
shell in front of the program more often than not, and other systems cannot. A pipe that closes with the
device, however it ends, reaches the whole group everywhere. The process also holds the lock on the
device's disk, so a device that starts again begins when the programs of the one before are gone.

It is run as a file, by an interpreter without site packages: it must start at once and stay small.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

# As long as a device that is asked to end gives its programs.
GRACE = 15.0
# As long as such a device takes at most: a `shutdown` has as much time before, and what they said is written.
LONGEST_END = 2 * GRACE + 10
_POLL = 0.05


class LastWill:
    """Process groups that must not outlive this process.

    Args:
        lock: an open file whose lock the will keeps until those groups are gone.
    """

    def __init__(self, lock: IO[bytes] | None = None) -> None:
        # Here, since the process that this starts runs this file and has no use for it.
        import subprocess

        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[lock.fileno()] if lock else [],
            # Whoever kills the device's process group must not kill this with it.
            start_new_session=True,
        )

    def add(self, group: int) -> None:
        """Have a process group ended when this process is gone."""
        self._tell(f"+{group}\n")

    def remove(self, group: int) -> None:
        """Forget a process group that has ended."""
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """Leave; whatever was not removed is ended now."""
        if self._process.stdin:
            with suppress(OSError):
                self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        if self._process.stdin:
            # Somebody may have killed it; the device goes on without.
            with suppress(OSError):
                self._process.stdin.write(line.encode())
                self._process.stdin.flush()


def alive(group: int) -> bool:
    """Whether a process of a group runs; one that only waits to be collected does not."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    stats = list(members(group))
    return not stats or any(state not in "ZX" for _, state in stats)


def lives(process: int) -> bool:
    """Whether a process runs; one that only waits to be collected does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return True


def members(group: int) -> Iterable[tuple[int, str]]:
    """The processes of a group with their states, where the system has /proc (see proc_pid_stat(5))."""
    for folder in Path("/proc").glob("[0-9]*"):
        # It may end while we look.
        with suppress(OSError):
            # The name before the last bracket may hold anything.
            state, _, its_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group:
                yield int(folder.name), state


def _carry_out() -> None:
    """Read what to end until the device is gone, and end it."""
    # A Ctrl-C or a polite end is for the device, which may still need this.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        if line.endswith("\n"):
            (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    deadline = time.monotonic() + GRACE
    for kind in (signal.SIGTERM, signal.SIGKILL):
        for group in groups:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, kind)
        while any(alive(group) for group in groups) and time.monotonic() < deadline:
            time.sleep(_POLL)
        deadline = time.monotonic() + 1


if __name__ == "__main__":
    _carry_out()
