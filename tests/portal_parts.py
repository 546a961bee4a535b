"""A portal as a process of its own with its account, people and jobs, and an ear before it."""

from __future__ import annotations

import json
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from browser import until
from playwright.sync_api import BrowserContext, Page
from serve_parts import Server, environ, serving

from gtlabel.aws import Aws
from gtlabel.engine.crew import Crew, Role
from gtlabel.engine.desk import Desk
from gtlabel.engine.store import Store
from gtlabel.labeling.request import LabelingJobRequest
from gtlabel.uris import S3Uri

BUCKET = "attacked"
TEAM = "arn:aws:sagemaker:us-east-1:123456789012:workteam/private-crowd/gtlabel"
CLASSES = ("Compost", "Landfill", "Recycle")


@dataclass
class Heard:
    """One request as it came to the portal."""

    method: str
    path: str
    headers: dict[str, str]
    status: int
    given: dict[str, str]


class Ear:
    """Stands before a portal and hears everything that comes to it."""

    def __init__(self, url: str) -> None:
        self.heard: list[Heard] = []
        there, ear = urlsplit(url), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                line = HTTPConnection(there.hostname or "", there.port, timeout=120)
                try:
                    # A portal may answer before it has read all, and hang up.
                    with suppress(BrokenPipeError, ConnectionResetError):
                        line.request(self.command, self.path, body or None, dict(self.headers.items()))
                    answer = line.getresponse()
                    content = answer.read()
                finally:
                    line.close()
                given = {name.lower(): value for name, value in answer.getheaders()}
                named = {name.lower(): value for name, value in self.headers.items()}
                ear.heard.append(Heard(self.command, self.path, named, answer.status, given))
                with suppress(OSError):
                    self.send_response_only(answer.status)
                    for name, value in answer.getheaders():
                        if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                            self.send_header(name, value)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            do_POST = do_HEAD = do_OPTIONS = do_PUT = do_GET  # noqa: N815 - as http.server calls it

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Hear no more."""
        self._server.shutdown()
        self._server.server_close()


class Premises:
    """A portal, the account behind it, and the people in it.

    Args:
        server: the portal.
        state: its folder.
        aws: the account.
    """

    def __init__(self, server: Server, state: Path, aws: Aws) -> None:
        self.server = server
        self.aws = aws
        self.sagemaker = boto3.client(
            "sagemaker",
            "us-east-1",
            endpoint_url=server.url,
            aws_access_key_id="x",
            aws_secret_access_key="x",
        )
        self.store = Store(f"sqlite:///{state / 'engine.sqlite'}", guest=True)
        self.crew = Crew(self.store)

    def invite(self, name: str, *groups: str, role: Role = Role.WORKER) -> str:
        """Take somebody in, if they are not, and return an invite."""
        if name not in [worker.name for worker in self.crew.workers()]:
            self.crew.add(name, groups=groups or ("gtlabel",), role=role)
        return self.crew.invite(name)

    def put(self, key: str, body: str | bytes) -> S3Uri:
        """Put an object into the bucket."""
        content = body.encode() if isinstance(body, str) else body
        self.aws.s3.put_object(Bucket=BUCKET, Key=key, Body=content)
        return S3Uri.of(BUCKET, key)

    def job(
        self,
        name: str,
        template: str,
        images: Sequence[str],
        *,
        classes: Sequence[str] = CLASSES,
        team: str = TEAM,
        **said: Any,
    ) -> None:
        """Start a job.

        Args:
            name: what it is called.
            template: its worker template.
            images: the keys of its pictures.
            classes: what the pictures can be.
            team: who works on it.
            said: what the records say besides.
        """
        class_list = {"labels": [{"label": one} for one in classes]}
        lines = [json.dumps({"source-ref": S3Uri.of(BUCKET, image), **said}) for image in images]
        request = LabelingJobRequest(
            name=name,
            attribute="bin",
            manifest=self.put(f"{name}/in.manifest", "\n".join(lines)),
            classes=self.put(f"{name}/classes.json", json.dumps(class_list)),
            template=self.put(f"{name}/template.liquid", template),
            output=S3Uri(f"s3://{BUCKET}/out/"),
            role="arn:aws:iam::123456789012:role/gtlabel",
            team=team,
            region="us-east-1",
            workers_per_image=1,
        )
        self.sagemaker.create_labeling_job(**request.to_boto())

    def numbers(self, count: int) -> dict[str, int]:
        """The numbers of the jobs, by name, once that many give out tasks."""
        desk = Desk(self.store)
        until(lambda: len(desk.running()) >= count, "jobs that give out tasks", 30)
        return {job.key.name: job.number for job in desk.running()}


@contextmanager
def premises(s3: str, aws: Aws, folder: Path, *options: str) -> Iterator[Premises]:
    """A portal as a process of its own, with an empty bucket."""
    aws.s3.create_bucket(Bucket=BUCKET)
    state = folder / "state"
    with serving("--state", str(state), *options, env=environ(s3)) as server:
        there = Premises(server, state, aws)
        for number in (0, 1):
            there.put(f"{number}.png", png(number * 99))
        there.put("secret.png", png(250))
        yield there
        there.store.close()


def join(context: BrowserContext, url: str, invite: str) -> Page:
    """Come in as the one who was invited."""
    page = context.new_page()
    page.goto(f"{url}/join/{invite}")
    page.get_by_text("Join", exact=True).click()
    page.wait_for_url(f"{url}/")
    return page


def png(gray: int) -> bytes:
    """A picture of one color."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + bytes([gray]) * 64 for _ in range(64))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
