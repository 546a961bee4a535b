"""What tests need of this machine, and of the programs that they run on it.

Programs and packages that a newcomer may lack: their tests are skipped then, except where all must run.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest


def need(found: object, sentence: str) -> None:
    """Skip the test unless what it needs is there; fail it where GTLABEL_REQUIRE_PROGRAMS=1 says so.

    Args:
        found: what was looked for; nothing counts as not there.
        sentence: what the test does with it, and how to get it.
    """
    if found:
        return
    if os.environ.get("GTLABEL_REQUIRE_PROGRAMS") == "1":
        pytest.fail(sentence)
    pytest.skip(sentence)


def free_port() -> int:
    """A port that nobody listens at, and that is given to nobody who asks for any: those begin at 32768."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def ending(process: subprocess.Popen[Any], seconds: float = 240.0) -> Iterator[None]:
    """Have a process gone when this is left, and killed before if that takes too long.

    Who waits meanwhile for a line that never comes gets the end of the file.
    """
    overdue = threading.Timer(seconds, process.kill)
    overdue.start()
    try:
        yield
    finally:
        overdue.cancel()
        process.kill()
        process.wait()
        for file in (process.stdin, process.stdout, process.stderr):
            if file is not None:
                # What is left in it for a program that has gone.
                with suppress(OSError):
                    file.close()


@contextmanager
def mounted(place: Path, megabytes: int) -> Iterator[Path]:
    """A small disk in a new folder, which goes with all that is on it."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, check=False).returncode == 0
    need(done, "mounts a small disk to fill it; run as root on Linux")
    try:
        yield place
    finally:
        # A program that still has a file open there keeps the disk, and nobody sees it any more.
        subprocess.run(["umount", "--lazy", str(place)], check=True)
