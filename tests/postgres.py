"""A PostgreSQL of one's own: made, started, crashed, stopped and thrown away by whoever needs one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from programs import free_port

# PostgreSQL refuses to run as root.
_USER = "postgres"


def programs() -> Path | None:
    """The folder of PostgreSQL's programs, the newest where there are several; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    path = shutil.which("initdb")
    return Path(path).parent if path else None


class Cluster:
    """One PostgreSQL server with a folder and a port of its own; it flushes its commits as any other does.

    Attributes:
        url: the SQLAlchemy URL of its database.
    """

    def __init__(self, folder: Path) -> None:
        found = programs()
        assert found is not None, "PostgreSQL is not installed: apt-get install postgresql"
        self._programs = found
        self._folder = folder / "data"
        self._as: dict[str, Any] = {"user": _USER} if os.geteuid() == 0 else {}
        if self._as:
            shutil.chown(folder, _USER)
        self._run("initdb", "-A", "trust", "-U", _USER, "-E", "UTF8", "--no-sync")
        self.port = free_port()
        self.url = f"postgresql+psycopg://{_USER}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        self._run("pg_ctl", "-w", "-t", "300", "-l", str(self._folder / "server.log"), "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it; `immediate` is a crash, from which the next start recovers by its log."""
        self._run("pg_ctl", "-w", "-m", mode, "stop")

    def crash(self) -> None:
        """Stop it as a crash does, and start it again."""
        self.stop("immediate")
        self.start()

    def create(self, database: str) -> str:
        """Make one more database and return its URL."""
        server = ["-h", "127.0.0.1", "-p", str(self.port), "-U", _USER]
        subprocess.run([self._programs / "createdb", *server, database], check=True)
        return f"{self.url.rpartition('/')[0]}/{database}"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, "-D", self._folder, *arguments],
            stdin=subprocess.DEVNULL,
            # A server that is left running would hold a pipe open.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            text=True,
            check=False,
            cwd="/",
            **self._as,
        )
        assert done.returncode == 0, f"{program} {' '.join(arguments)} failed: {done.stderr}"


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Run one while this is entered."""
    folder = Path(tempfile.mkdtemp(prefix="gtlabel-postgres-"))
    try:
        made = Cluster(folder)
        made.start()
        try:
            yield made
        finally:
            made.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running() -> Iterator[str]:
    """Run one while this is entered and give its URL."""
    with cluster() as made:
        yield made.url
