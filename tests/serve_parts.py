"""What the tests of `gtlabel serve` share: a server in a process of its own, and workers who talk to it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
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
        return self.process.wait(60)

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
        connection = HTTPConnection(urlsplit(self.url).hostname or "", urlsplit(self.url).port, timeout=120)
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
        assert url, f"the server ended: {process.wait(60)} {''.join(log)}"
        yield Server(process, url, time.monotonic() - began, log)
    finally:
        process.kill()
        process.wait(60)
        reader.join(60)


def refused(*options: str, env: Mapping[str, str] | None = None) -> str:
    """What `gtlabel serve` says when it does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "gtlabel", "serve", "--port", "0", *options],
        env=dict(env or environ()),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
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


def take(server: Server, job: str, token: str) -> dict[str, Any]:
    """Take a task as soon as there is one."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        status, task = server.ask("lease", token, job=job)
        assert status == 200, task
        if task["lease"] is not None:
            return task
        time.sleep(0.05)
    raise AssertionError(f"no task of {job} came: {task}")


def answer_all(
    server: Server,
    job: str,
    token: str,
    truth: Mapping[str, str],
    most: int = 1000,
    *,
    next_too: bool = False,
) -> int:
    """Answer as one worker, rightly, until there is nothing more for them; return how often.

    Args:
        server: where.
        job: the name of the job.
        token: the worker's.
        truth: what is right.
        most: the most answers to give.
        next_too: whether to ask for the next task with each answer.
    """
    count, task = 0, {"lease": None}
    deadline = time.monotonic() + 240
    while count < most and time.monotonic() < deadline:
        if task["lease"] is None:
            status, task = server.ask("lease", token, job=job)
            assert status == 200, task
        if task["lease"] is None:
            if task["job_status"] not in ("Initializing", "InProgress"):
                break
            time.sleep(0.05)
            continue
        said = {"crowd-image-classifier": {"label": truth[task["source_ref"]]}}
        more = {"next": True, "job": job} if next_too else {}
        status, accepted = server.ask("submit", token, lease=task["lease"], answer=said, **more)
        assert (status, accepted["accepted"]) == (200, True)
        task = accepted.get("next", {"lease": None})
        count += 1
    return count


def wait_until(happened: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def relay(port: int, url: str) -> Iterator[None]:
    """Answer on a port with what another server says."""
    there = urlsplit(url)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection((there.hostname, there.port)) as other:
                back = threading.Thread(target=_pass_on, args=(other, self.request), daemon=True)
                back.start()
                _pass_on(self.request, other)
                back.join(60)

    class Relay(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True
        block_on_close = False

    with Relay(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join(60)


def certify(name: str, folder: Path) -> tuple[Path, Path]:
    """Make a certificate for a host that signs itself: its file, and that of its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)


def _read(process: subprocess.Popen[str], log: list[str]) -> None:
    assert process.stderr is not None
    log.extend(iter(process.stderr.readline, ""))
