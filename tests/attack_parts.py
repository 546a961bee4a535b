"""Hostile templates before a worker: a portal as a process, an attacker who counts, and the same pages without walls.

Each file of `tests/attacks` is an attack. Its page stands in a task of a job of its own, in one browser with a
worker who is signed in; a second time it stands in a plain frame of a plain page, where most of it succeeds.
What it says with `attempt` shows that it ran. It reached something if it says `got`, if the attacker's server
was asked for anything, if the portal was asked for what no shell of ours asks for, or if a window opened.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from browser import DESKTOP, until
from playwright.sync_api import Browser, BrowserContext, Error, Page, Request
from serve_parts import Server, environ, serving

from gtlabel.aws import Aws
from gtlabel.engine.crew import Crew, Role
from gtlabel.engine.store import Store
from gtlabel.labeling.request import LabelingJobRequest
from gtlabel.portal.liquid import Templates
from gtlabel.uris import S3Uri

ATTACKS = sorted(path.stem for path in (Path(__file__).parent / "attacks").glob("*.liquid"))
# What succeeds on a plain page, as a browser of today has it; the rest needs a shell of ours, or a person.
UNWALLED = frozenset(
    """api base beacons cookie devices download fetch forms images javascript-links links media meta nested-frames
    parent-page popups prefetch scripts self-navigation self-navigation-blob self-navigation-data sibling-frame
    sockets storage styles top-navigation webrtc workers""".split()
)
BUCKET = "attacked"
TEAM = "arn:aws:sagemaker:us-east-1:123456789012:workteam/private-crowd/gtlabel"
CLASSES = ("Compost", "Landfill", "Recycle")
# How long the walls are watched once every attack has said what it did.
_QUIET_SECONDS = 1.0
_LONGEST_SECONDS = 8.0
_AT_ONCE = 6
# What the shell asks for by itself; heartbeats and releases come when a task is shown, and when a tab closes.
_SHELL_POSTS = ("/api/lease", "/api/heartbeat", "/api/release")
_PRELUDE = """<script>
  const ATTACKER = '{{ task.input.manifestLine.attacker }}/%s';
  const own = window.__gtlabel ?? {nonce: '0123456789abcdef'};
  const report = (said) => console.log(`attack: ${said}`);
  const attempt = async (what, act) => {
    try {
      const got = await act();
      report(got ? `got ${what}` : `tried ${what}`);
    } catch (error) {
      report(`refused ${what}: ${error.name}`);
    }
  };
</script>
"""
_ON_TOP = """(name) => {
  const {left, top, width, height} = document.getElementById(name).getBoundingClientRect();
  return document.elementFromPoint(left + width / 2, top + height / 2)?.id;
}"""
_FORM = """<crowd-form><crowd-image-classifier name="crowd-image-classifier"
  src="{{ task.input.taskObject | grant_read_access }}" header="Which bin?"
  categories="{{ task.input.labels | to_json | escape }}">
  <short-instructions>x</short-instructions><full-instructions header="x">x</full-instructions>
</crowd-image-classifier></crowd-form>
"""


@dataclass
class Outcome:
    """What came of one attack.

    Attributes:
        name: which one.
        said: what it said of itself.
        hits: what the attacker's servers were asked for.
        posts: what the portal was asked for that no shell of ours asks for.
        windows: how many windows opened.
        crashed: whether the browser ended its page.
        shell: what was wrong with the page around it in the end.
    """

    name: str
    said: list[str] = field(default_factory=list)
    hits: list[str] = field(default_factory=list)
    posts: list[str] = field(default_factory=list)
    windows: int = 0
    crashed: bool = False
    shell: list[str] = field(default_factory=list)

    @property
    def reached(self) -> list[str]:
        """All that it reached."""
        got = [said for said in self.said if said.startswith("got ")]
        return [*got, *self.hits, *self.posts, *self.shell, *(["a window"] * self.windows)]


class Attacker:
    """Servers elsewhere that count what they are asked for, and a plain site with the same pages."""

    def __init__(self) -> None:
        self.hits: dict[str, list[str]] = defaultdict(list)
        self.pages: dict[str, str] = {}
        attacker = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                attacker.hits[self.path.split("/")[1]].append(f"{self.command} {self.path}"[:120])
                self._say(b"", "text/plain")

            do_POST = do_HEAD = do_OPTIONS = do_GET

            def _say(self, body: bytes, kind: str, **headers: str) -> None:
                self.send_response(200)
                plain = {"Content-Type": kind, "Content-Length": str(len(body))}
                for name, value in {**plain, "Access-Control-Allow-Origin": "*", **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                with suppress(OSError):
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        class Plain(Handler):
            """The same pages on a site that puts up no walls."""

            def do_GET(self) -> None:
                kind, _, name = self.path[1:].partition("/")
                if kind == "around":
                    body = f'<title>secret</title><p>secret</p><iframe src="/page/{name}"></iframe><iframe src="/page/-"></iframe>'
                    self._say(body.encode(), "text/html", Set_Cookie="session=secret; Path=/")
                elif kind == "page":
                    self._say(attacker.pages.get(name, "<title>beside</title>").encode(), "text/html")
                elif self.path.startswith("/static/"):
                    self._say(b"", "text/javascript")
                else:
                    super().do_GET()

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                found = re.search(r"attack=([\w-]+)", self.path)
                attacker.hits[found[1] if found else "?"].append(f"POST {self.path}")
                self._say(b"{}", "application/json")

        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), kind) for kind in (Handler, Plain)]
        self.url, self.plain = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        # What a peer is asked over UDP has no name in it, so that each side has a port of its own.
        self._sockets = {side: self._listen(side) for side in ("walled", "plain")}
        self.peers = {side: "127.0.0.1:%d" % end.getsockname()[1] for side, end in self._sockets.items()}

    def _listen(self, side: str) -> socket.socket:
        end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        end.bind(("127.0.0.1", 0))

        def count() -> None:
            with suppress(OSError):
                while end.recvfrom(2048):
                    self.hits["webrtc"].append(f"a call to a peer ({side})")

        threading.Thread(target=count, daemon=True).start()
        return end

    def close(self) -> None:
        """Stop answering."""
        for server in self._servers:
            server.shutdown()
            server.server_close()
        for end in self._sockets.values():
            end.close()


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
                line = HTTPConnection(there.hostname or "", there.port, timeout=30)
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

            do_POST = do_HEAD = do_OPTIONS = do_PUT = do_GET

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
            "sagemaker", "us-east-1", endpoint_url=server.url, aws_access_key_id="x", aws_secret_access_key="x"
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
        lines = [json.dumps({"source-ref": S3Uri.of(BUCKET, image), **said}) for image in images]
        request = LabelingJobRequest(
            name=name,
            attribute="bin",
            manifest=self.put(f"{name}/in.manifest", "\n".join(lines)),
            classes=self.put(f"{name}/classes.json", json.dumps({"labels": [{"label": one} for one in classes]})),
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
        from gtlabel.engine.desk import Desk

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


def strike(browser: Browser, there: Premises, names: Sequence[str] = ATTACKS) -> tuple[list[Outcome], list[Outcome]]:
    """Let the templates loose behind our walls, and then without them; what came of each, in order."""
    attacker, ear = Attacker(), Ear(there.server.url)
    try:
        for name in names:
            _prepare(there, attacker, name)
        numbers = there.numbers(len(names))
        context = browser.new_context(viewport=DESKTOP)
        join(context, ear.url, there.invite("ann")).close()
        walled = [Outcome(name) for name in names]
        _watch(context, [(each, f"{ear.url}/work/{numbers[each.name]}") for each in walled], ear.url)
        for each in walled:
            each.hits += [hit for hit in attacker.hits.pop(each.name, []) if not hit.endswith("(plain)")]
            each.posts += _unasked(ear, each.name)
        context.close()
        # A browser asks for the icon of any page that it opens; that page itself was counted.
        attacker.hits.pop("favicon.ico", None)
        assert not attacker.hits, dict(attacker.hits)

        context = browser.new_context(viewport=DESKTOP)
        plain = [Outcome(name) for name in names if name in UNWALLED]
        _watch(context, [(each, f"{attacker.plain}/around/{each.name}") for each in plain], attacker.plain)
        for each in plain:
            each.hits += attacker.hits.pop(each.name, [])
        context.close()
        return walled, plain
    finally:
        ear.close()
        attacker.close()


def _prepare(there: Premises, attacker: Attacker, name: str) -> None:
    """Start the job of an attack, and put its page on the plain site."""
    attack = (Path(__file__).parent / "attacks" / f"{name}.liquid").read_text()
    template = _PRELUDE % name + attack + _FORM
    line = {"attacker": attacker.url, "stun": attacker.peers["walled"]}
    there.job(name, template, ["0.png", "1.png"], **line)
    task = {
        "manifestLine": {**line, "stun": attacker.peers["plain"]},
        "taskObject": "s3://attacked/0.png",
        "labels": list(CLASSES),
    }
    rendered = Templates().render(template, task, lambda _: "/o/1/2/0.png")
    assert rendered.errors == []
    attacker.pages[name] = rendered.content


def _watch(context: BrowserContext, visits: Sequence[tuple[Outcome, str]], url: str) -> None:
    """Open pages side by side, wait until each has said something and all have been quiet, and look at them."""
    clock = context.new_page()
    pages = []
    for number, (outcome, address) in enumerate(visits):
        pages.append(_opened(context, outcome, address, url))
        _wait(clock, [outcome for outcome, _ in visits[: max(0, number - _AT_ONCE)]])
    _wait(clock, [outcome for outcome, _ in visits])
    clock.wait_for_timeout(_QUIET_SECONDS * 1000)
    for page, (outcome, address) in zip(pages, visits, strict=True):
        if "/work/" in address and not outcome.crashed:
            outcome.shell += _look(page, address)
        with suppress(Error):
            page.close()
    clock.close()


def _wait(clock: Page, outcomes: Sequence[Outcome]) -> None:
    end = time.monotonic() + _LONGEST_SECONDS
    while not all(each.said or each.hits or each.crashed for each in outcomes) and time.monotonic() < end:
        clock.wait_for_timeout(20)


def _look(page: Page, address: str) -> list[str]:
    """What is wrong with a shell: it is elsewhere, or a worker cannot press its buttons any more."""
    wrong = []
    if page.url != address:
        wrong.append(f"the shell is at {page.url}")
    for button in ("decline", "leave"):
        if page.evaluate(_ON_TOP, button) != button:
            wrong.append(f"{button} cannot be pressed")
    return wrong


def _opened(context: BrowserContext, outcome: Outcome, address: str, url: str) -> Page:
    page = context.new_page()

    def asked(request: Request) -> None:
        path = request.url.removeprefix(url)
        if request.method != "GET" and path != request.url and path not in _SHELL_POSTS:
            body = (request.post_data_buffer or b"")[:60].decode(errors="replace")
            outcome.posts.append(f"{request.method} {path} {body}")

    def opened(_: Page) -> None:
        outcome.windows += 1

    def told(text: str) -> None:
        if text.startswith("attack: "):
            outcome.said.append(text.removeprefix("attack: "))

    def crashed(_: Page) -> None:
        outcome.crashed = True

    page.on("crash", crashed)
    page.on("request", asked)
    page.on("popup", opened)
    page.on("download", lambda _: outcome.said.append("got a file on the disk"))
    page.on("dialog", lambda dialog: dialog.dismiss())
    page.on("console", lambda said: told(said.text))
    page.goto(address, wait_until="commit")
    return page


def _unasked(ear: Ear, name: str) -> list[str]:
    """What came to the portal from a template: by its name, or without an origin."""
    return [
        f"{each.method} {each.path} ({each.status})"
        for each in ear.heard
        if f"attack={name}" in each.path
        # Nothing but pictures that nobody signed: there is nothing behind such an address.
        and not (each.path.startswith("/o/") and each.status in (403, 404))
    ]


def png(gray: int) -> bytes:
    """A picture of one color."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + bytes([gray]) * 64 for _ in range(64))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
