"""A job for people in a browser: pictures in an emulator's S3, and a server of one's own beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from emulator_parts import run
from serve_parts import Server, environ, serving

from gtlabel.emulator.child import running

ROOT = Path(__file__).parent.parent
CLASSES = ("Compost", "Landfill", "Recycle")
TEAM = "arn:aws:sagemaker:us-east-1:123456789012:workteam/private-crowd/gtlabel"
ROLE = "arn:aws:iam::123456789012:role/gtlabel"


class Work:
    """A bucket of real pictures and a server beside it, which can be killed and started again.

    Args:
        state: the server's folder.
        pictures: how many pictures there are.
    """

    def __init__(self, state: Path, pictures: int) -> None:
        self._state = state
        self._stack = ExitStack()
        self._serving = ExitStack()
        address = self._stack.enter_context(running())
        self.environ = environ(address.url)
        self.truth: dict[str, list[str]] = {}
        import boto3

        self.s3: Any = boto3.client("s3", endpoint_url=address.url, region_name="us-east-1", **_keys())
        self.s3.create_bucket(Bucket="trash")
        sample = ROOT / "samples/trash"
        for line in (sample / "truth.jsonl").read_text().splitlines():
            record = json.loads(line)
            name = Path(urlsplit(record["source-ref"]).path).name
            path = sample / "images" / name
            if len(self.truth) < pictures and path.is_file():
                self.s3.upload_file(str(path), "trash", f"pictures/{name}")
                self.truth[f"s3://trash/pictures/{name}"] = [record["class"]]
        self.server: Server = self.serve(0)

    def serve(self, port: int) -> Server:
        """Start a server."""
        self.server = self._serving.enter_context(
            serving("--state", str(self._state), env=self.environ, port=port)
        )
        return self.server

    def restart(self) -> None:
        """Kill the server without a word, and start it again on the same port."""
        port = urlsplit(self.server.url).port or 0
        self.server.end(signal.SIGKILL)
        self._serving.close()
        self.serve(port)

    def invite(self, name: str, *more: str) -> str:
        """Take somebody in, and return the link that lets them in once."""
        where = ("--state", str(self._state))
        for command in (["add", name, *more], ["invite", name, "--url", self.server.url, "--output", "json"]):
            done = run([sys.executable, "-m", "gtlabel", "serve", "worker", *command, *where])
            assert done.returncode == 0, done.stderr
        link: str = json.loads(done.stdout)["link"]
        return link

    @contextmanager
    def customer(self, job: str, workers: int = 3) -> Iterator[subprocess.Popen[str]]:
        """Run the customer's own script, which creates the job and waits for its end."""
        command = [sys.executable, str(ROOT / "samples/customer.py"), job, "--bucket", "trash"]
        options = ["--prefix", "pictures/", "--classes", ",".join(CLASSES), "--team", TEAM, "--role", ROLE]
        process = subprocess.Popen(
            [*command, *options, "--workers", str(workers), "--poll", "0.5"],
            # The server is away for seconds while it starts again, which boto3 waits out if it is told to.
            env={**self.environ, "AWS_ENDPOINT_URL_SAGEMAKER": self.server.url, "AWS_MAX_ATTEMPTS": "12"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait(20)

    def close(self) -> None:
        """End everything."""
        self._serving.close()
        self._stack.close()


def _keys() -> dict[str, str]:
    return {"aws_access_key_id": "AKIASERVER", "aws_secret_access_key": os.urandom(8).hex()}


def labels_of(process: subprocess.Popen[str]) -> dict[str, str]:
    """What the customer's script printed at its end: the class of each picture."""
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    records: Sequence[list[Any]] = [json.loads(line) for line in out.splitlines()]
    return {str(source): str(name) for source, name, _ in records}
