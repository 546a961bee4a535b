"""What the tests of `gtlabel serve` share: a server in a process of its own, and workers who talk to it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from emulator_parts import run

KEYS = {"AWS_ACCESS_KEY_ID": "AKIASERVER", "AWS_SECRET_ACCESS_KEY": "server-secret"}


@dataclass
class Server:
    """A server that runs.

    Attributes:
        seconds: how long it took until it said that it is ready.
        log: what it wrote to stderr, as far as it has been read.
    """

    process: subprocess.Popen[str]
    url: str
    seconds: float
    log: list[str] = field(default_factory=list)

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it by a signal and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(20)

    def ask(self, action: str, token: str, **body: Any) -> tuple[int, dict[str, Any]]:
        """Say something as a worker."""
        content = json.dumps(body).encode()
        status, _, answered = self.send(
            "POST", f"/gtlabel/worker/{action}", content, {"Authorization": f"Bearer {token}"}
        )
        said: dict[str, Any] = json.loads(answered)
        return status, said

    def send(
        self, method: str, path: str, content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Send any HTTP request."""
        connection = HTTPConnection(urlsplit(self.url).hostname or "", urlsplit(self.url).port, timeout=30)
        try:
            connection.request(method, path, content, dict(headers or {}))
            response = connection.getresponse()
            answered = response.read()
            named = {name.lower(): value for name, value in response.getheaders()}
            return response.status, named, answered
        finally:
            connection.close()


def environ(s3: str = "http://127.0.0.1:9", **more: str) -> dict[str, str]:
    """An environment in which S3 is somewhere, and nothing of the tester's own is left."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "GTLABEL_"))}
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    return {
        **clean,
        **nowhere,
        **KEYS,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": s3,
        **more,
    }


@contextmanager
def serving(
    *options: str, env: Mapping[str, str] | None = None, python: tuple[str, ...] = (), port: int = 0
) -> Iterator[Server]:
    """Run `gtlabel serve` while this is entered."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *python, "-m", "gtlabel", "serve", "--port", str(port), *options],
        env=dict(env or environ()),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    log: list[str] = []
    reader = threading.Thread(target=_read, args=(process, log), daemon=True)
    reader.start()
    try:
        url = process.stdout.readline().strip()
        assert url, f"the server ended: {process.wait(20)} {''.join(log)}"
        yield Server(process, url, time.monotonic() - began, log)
    finally:
        process.kill()
        process.wait(20)
        reader.join(10)


def refused(*options: str, env: Mapping[str, str] | None = None) -> str:
    """What `gtlabel serve` says when it does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "gtlabel", "serve", "--port", "0", *options],
        env=dict(env or environ()),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def add_worker(name: str, *where: str) -> str:
    """Take somebody in from the command line, and return their token."""
    command = [sys.executable, "-m", "gtlabel", "serve", "worker", "add", name, *where]
    done = run(command)
    assert done.returncode == 0, done.stderr
    found = re.search(r"gtl_\w+_[\w-]+", done.stdout)
    assert found is not None, done.stdout
    return found[0]


def answer_all(server: Server, job: str, token: str, truth: Mapping[str, str], most: int = 1000) -> int:
    """Answer as one worker, rightly, until there is nothing more for them; return how often."""
    count = 0
    deadline = time.monotonic() + 30
    while count < most and time.monotonic() < deadline:
        status, task = server.ask("lease", token, job=job)
        assert status == 200, task
        if task["lease"] is None:
            if task["job_status"] not in ("Initializing", "InProgress"):
                break
            time.sleep(0.05)
            continue
        said = {"crowd-image-classifier": {"label": truth[task["source_ref"]]}}
        status, accepted = server.ask("submit", token, lease=task["lease"], answer=said)
        assert (status, accepted["accepted"]) == (200, True)
        count += 1
    return count


def log_of(path: Path) -> str:
    """A log file as text."""
    return path.read_text(encoding="utf-8")


def _read(process: subprocess.Popen[str], log: list[str]) -> None:
    assert process.stderr is not None
    log.extend(iter(process.stderr.readline, ""))
