"""A portal in this process, on a real port, and people who visit it with nothing but HTTP."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from engine_parts import Shop
from sqlalchemy import select
from starlette.applications import Starlette

from gtlabel.emulator.hosts import LOOPBACK_NAMES, Guard
from gtlabel.emulator.webserver import WebServer, listen
from gtlabel.engine.crew import Crew, Role, Worker
from gtlabel.engine.jobs import Job
from gtlabel.engine.pages import Pages
from gtlabel.engine.schema import answers
from gtlabel.engine.store import Store
from gtlabel.portal.app import pages
from gtlabel.templates import read_template

# What `Premises` signs the addresses of pictures with.
SECRET = b"secret" * 6
PAGES = ("/", "/work/1", "/owner", "/owner/jobs/1", "/owner/people", "/join/x", "/api/me", "/api/held/1")
NOWHERE = ("/nowhere", "/api/owner/nothing", "/o/1/2/3", "/static/nothing.js", "/frame/guess", "/work/x")
ANSWER = {"crowd-image-classifier": {"label": "Compost"}}
JPEG = b"\xff\xd8\xff\xe0 a picture"
TEMPLATE = read_template("tasks/image-classification.liquid")
LINES = [
    json.dumps(
        {
            "source-ref": f"s3://trash/images/{number}.jpg",
            "model": 1,
            "model-metadata": {
                "class-name": "Landfill",
                "confidence": 0.8,
                "creation-date": f"2026-01-0{number % 9 + 1}",
            },
        }
    )
    for number in range(12)
]


@dataclass
class Said:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Visitor:
    """Somebody with a browser's manners: one cookie jar, and the headers that a page of ours sends."""

    url: str
    cookies: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: Any = None, **changed: str | None) -> Said:
        """Send a request; `changed` replaces headers, and takes those away that are None."""
        headers: dict[str, str | None] = {"Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())}
        content = None
        if method == "POST":
            headers |= {"Origin": self.url, "Sec-Fetch-Site": "same-origin", "X-Gtlabel": "1"}
            content = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        headers |= {name.replace("_", "-"): value for name, value in changed.items()}
        connection = HTTPConnection(urlsplit(self.url).hostname or "", urlsplit(self.url).port, timeout=120)
        try:
            given = {name: value for name, value in headers.items() if value is not None}
            connection.request(method, path, content, given)
            response = connection.getresponse()
            said = Said(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()
        if "set-cookie" in said.headers:
            name, _, value = said.headers["set-cookie"].partition(";")[0].partition("=")
            self.cookies[name] = value.strip('"')
        return said

    def get(self, path: str, **changed: str | None) -> Said:
        return self.ask("GET", path, **changed)

    def post(self, path: str, body: Any = None, **changed: str | None) -> Said:
        return self.ask("POST", path, body, **changed)

    def lease(self, job: int, **more: Any) -> dict[str, Any]:
        said = self.post("/api/lease", {"job": job, **more})
        assert said.status == 200, said.text
        return said.json

    def first_event(self, path: str) -> str:
        """The first thing that a stream says."""
        connection = HTTPConnection(urlsplit(self.url).hostname or "", urlsplit(self.url).port, timeout=120)
        cookie = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        connection.request("GET", path, headers={"Cookie": cookie})
        response = connection.getresponse()
        read = b""
        while not read.endswith(b"\n\n"):
            read += response.read(1)
        connection.close()
        return read.decode()


class Premises:
    """A portal with one job of a few pictures for the group gtlabel."""

    def __init__(
        self,
        store: Store | None = None,
        lines: Sequence[str] = tuple(LINES),
        *,
        behind_proxy: bool = False,
        template: str = TEMPLATE,
        picture: bytes = JPEG,
        **spec: Any,
    ) -> None:
        self.shop = Shop(lines, store=store, **spec)
        for number in range(len(lines)):
            self.shop.bucket.files[f"images/{number}.jpg"] = picture
        self.crew = Crew(self.shop.store)
        self.shop.board.admits = self.admits
        self.shop.start()
        self.job = self.shop.job
        self.number = self.job.number
        Pages(self.shop.store).keep(self.job, template)
        self._listener: socket.socket = listen("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        closing, ready = threading.Event(), threading.Event()
        routes = pages(
            self.shop.board,
            self.crew,
            SECRET,
            lambda _: self.shop.bucket.client,
            self.admits,
            secure=False,
            behind_proxy=behind_proxy,
            closing=closing,
        )
        app = Guard(Starlette(routes=routes), LOOPBACK_NAMES, 1 << 20)
        self._server = WebServer(app, self._listener, closing=closing)
        self._thread = threading.Thread(target=self._server.run, args=(ready.set,), daemon=True)
        self._thread.start()
        assert ready.wait(60)

    def admits(self, _job: Job, worker: str) -> str | None:
        return self.crew.refusal(worker, ["gtlabel"])

    def add(self, name: str, *, role: Role = Role.WORKER, groups: Sequence[str] = ("gtlabel",)) -> Worker:
        return self.crew.add(name, role=role, groups=groups)

    def somebody(self, name: str, **options: Any) -> Visitor:
        """Somebody who was taken in and came in."""
        self.add(name, **options)
        visitor = Visitor(self.url)
        said = visitor.post(f"/join/{self.crew.invite(name)}", X_Gtlabel=None)
        assert said.status == 303, said.text
        return visitor

    def answers(self) -> dict[int, dict[str, Any]]:
        """What was answered about each picture."""
        with self.shop.store.read() as connection:
            rows = connection.execute(select(answers.c.object, answers.c.content)).all()
        return {row.object: json.loads(row.content) for row in rows}

    def close(self) -> None:
        self._server.end()
        self._thread.join(60)
        self.shop.store.close()


def address_in(page: str) -> str:
    """The signed address of the picture on a page."""
    found = re.search(r"/o/\d+/[0-9a-f]+/[^\"' ]+", page)
    assert found is not None, page
    return found[0]


def until(happened: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something."""
    gate = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if happened():
            return
        gate.wait(0.05)
    raise AssertionError("it did not happen")
