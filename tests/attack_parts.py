"""Hostile templates before a worker, an attacker who counts, and the same pages without walls.

Each file of `tests/attacks` is an attack. Its page stands in a task of a job, in one browser with a worker
who is signed in; a second time it stands in a plain frame of a plain page, where most of it succeeds. What it
says with `attempt` shows that it ran. It reached something if it says `got`, if the attacker's servers were
asked for anything, if the portal was asked for what no shell of ours asks for, if a window opened, or if the
shell around it is not what it was.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from browser import DESKTOP, NO_SUGGESTIONS
from playwright.sync_api import Browser, BrowserContext, Error, Page, Request
from portal_parts import BUCKET, CLASSES, Ear, Premises, join

from gtlabel.portal.documents import PAGE_HEADERS, frame_document, frame_headers
from gtlabel.portal.liquid import Templates

ATTACKS = sorted(path.stem for path in (Path(__file__).parent / "attacks").glob("*.liquid"))
# What goes elsewhere with its own page, or answers, so that nothing else could be tried there.
ALONE = [
    "base",
    "download",
    "flood",
    "focus",
    "forms",
    "history",
    "huge-answer",
    "links",
    "meta",
    "odd-answers",
    "own-answer",
    "own-pages",
    "self-navigation",
    "self-navigation-blob",
    "self-navigation-data",
]
# What succeeds on a plain page in the browser of today; the rest needs a shell of ours, or a person.
UNWALLED = [
    "api",
    "base",
    "beacons",
    "cookie",
    "devices",
    "download",
    "fetch",
    "forms",
    "images",
    "javascript-links",
    "media",
    "meta",
    "nested-frames",
    "parent-page",
    "popups",
    "prefetch",
    "scripts",
    "self-navigation",
    "self-navigation-blob",
    "self-navigation-data",
    "sibling-frame",
    "sockets",
    "storage",
    "styles",
    "top-navigation",
    "webrtc",
    "webrtc-within",
    "workers",
]
# The browser ends the process of a page that calls a peer from a frame within, which Playwright's driver does
# not survive: such a page is opened without it.
UNDRIVEN = ["webrtc-within"]
# How long the walls are watched once every attack has said what it did, and how long they are waited for.
_QUIET_SECONDS = 1.0
_LONGEST_SECONDS = 60.0
_OPEN_AT_ONCE = 3
# What the shell asks for by itself; heartbeats and releases come when a task is shown, and when a tab closes.
_SHELL_POSTS = ("/api/lease", "/api/heartbeat", "/api/release")
_PRELUDE = """<script>
  const own = window.__gtlabel ?? {nonce: '0123456789abcdef'};
  const attacker = (name) => {
    const report = (said) => console.log(`attack: ${name}: ${said}`);
    const attempt = async (what, act) => {
      try {
        const got = await act();
        report(got ? `got ${what}` : `tried ${what}`);
      } catch (error) {
        report(`refused ${what}: ${error.name}`);
      }
    };
    return {ATTACKER: `{{ task.input.manifestLine.attacker }}/${name}`, report, attempt};
  };
</script>
"""
_SCRIPT = re.compile(r"^<script>(.*?)</script>$", re.DOTALL | re.MULTILINE)
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
        done: what else its page, and those beside it, did: requests, windows, harm to the shell.
        crashed: whether the browser ended its page.
    """

    name: str
    said: list[str] = field(default_factory=list)
    hits: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    crashed: bool = False

    @property
    def reached(self) -> list[str]:
        """All that it reached."""
        return [*(said for said in self.said if said.startswith("got ")), *self.hits, *self.done]


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

            do_POST = do_HEAD = do_OPTIONS = do_GET  # noqa: N815 - as http.server calls it

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
                    frames = f'<iframe src="/page/{name}"></iframe><iframe src="/page/-"></iframe>'
                    body = f"<title>secret</title><p>secret</p>{frames}"
                    self._say(body.encode(), "text/html", Set_Cookie="session=secret; Path=/")
                elif kind == "walled":
                    body = f'<iframe src="/frame/{name}"></iframe>'
                    self._say(body.encode(), "text/html", **PAGE_HEADERS)
                elif kind == "frame":
                    text = frame_document(
                        attacker.pages[name], nonce="0" * 32, origin=attacker.plain, title="x"
                    )
                    self._say(text.encode(), "text/html", **frame_headers(attacker.plain))
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
        # What a peer is asked over UDP has no name in it, so that each attack has a port of its own.
        self._sockets = {name: self._listen(name) for name in ("webrtc", "webrtc-within")}
        self.peers = {name: f"127.0.0.1:{end.getsockname()[1]}" for name, end in self._sockets.items()}

    def _listen(self, name: str) -> socket.socket:
        end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        end.bind(("127.0.0.1", 0))

        def count() -> None:
            with suppress(OSError):
                while end.recvfrom(2048):
                    self.hits[name].append("a call to a peer")

        threading.Thread(target=count, daemon=True).start()
        return end

    def close(self) -> None:
        """Stop answering."""
        for server in self._servers:
            server.shutdown()
            server.server_close()
        for end in self._sockets.values():
            end.close()


def strike(
    browser: Browser, there: Premises, names: Sequence[str] = ATTACKS, *, together: bool
) -> tuple[dict[str, Outcome], dict[str, Outcome]]:
    """Let templates loose behind our walls and then without them, and return what came of each, by name.

    Args:
        browser: where.
        there: the portal.
        names: the attacks.
        together: whether those that do not stand in each other's way share a page, which takes less time.
    """
    shared = [name for name in names if together and name not in (*ALONE, *UNDRIVEN)]
    groups = [shared] if shared else []
    groups += [[name] for name in names if name not in (*shared, *UNDRIVEN)]
    attacker, ear = Attacker(), Ear(there.server.url)
    try:
        for group in groups:
            _start(there, attacker, group)
        numbers = there.numbers(len(groups))
        context = browser.new_context(viewport=DESKTOP)
        join(context, ear.url, there.invite("ann")).close()
        walled = {name: Outcome(name) for group in groups for name in group}
        visits = [
            ([walled[name] for name in group], f"{ear.url}/work/{numbers[group[0]]}") for group in groups
        ]
        _visit(context, visits, ear.url)
        context.close()
        for name, outcome in walled.items():
            outcome.hits += attacker.hits.pop(name, [])
            outcome.done += _unasked(ear, name)
        # A browser asks for the icon of any page that it opens; that page itself was counted.
        attacker.hits.pop("favicon.ico", None)
        assert not attacker.hits, dict(attacker.hits)

        context = browser.new_context(viewport=DESKTOP)
        plain = {name: Outcome(name) for name in walled if name in UNWALLED}
        visits = [([outcome], f"{attacker.plain}/around/{name}") for name, outcome in plain.items()]
        _visit(context, visits, attacker.plain)
        context.close()
        for name, outcome in plain.items():
            outcome.hits += attacker.hits.pop(name, [])
        for name in UNDRIVEN:
            if name in names:
                walled[name], plain[name] = (_undriven(attacker, name, side) for side in ("walled", "around"))
        return {name: walled[name] for name in names}, plain
    finally:
        ear.close()
        attacker.close()


def _undriven(attacker: Attacker, name: str, side: str) -> Outcome:
    """What comes of an attack in a browser that nobody drives, behind the walls of a frame or without."""
    attacker.pages[name] = _rendered(_task(attacker, name), name)
    # Its own children may still write into the profile when the browser itself has ended.
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        (Path(folder) / "log").open("w") as log,
    ):
        command = [shutil.which("chromium") or "chromium", "--headless", "--no-sandbox", "--disable-gpu"]
        command += [
            "--enable-logging=stderr",
            f"--disable-features={NO_SUGGESTIONS}",
            f"--user-data-dir={folder}/profile",
            "--remote-debugging-port=0",
        ]
        address = f"{attacker.plain}/{side}/{name}"
        process = subprocess.Popen([*command, address], stderr=log, start_new_session=True)
        end = time.monotonic() + _LONGEST_SECONDS
        while f"attack: {name}" not in _read(log.name) and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(_QUIET_SECONDS)
        process.terminate()
        process.wait(60)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        told = _read(log.name)
    said = re.findall(rf"attack: {name}: ([^\"]+)", told)
    return Outcome(name, said, attacker.hits.pop(name, []))


def _read(name: str) -> str:
    return Path(name).read_text(errors="replace")


def _start(there: Premises, attacker: Attacker, group: Sequence[str]) -> None:
    """Start the job of some attacks, and put their pages on the plain site."""
    task = _task(attacker, group[0])
    template = _PRELUDE + "".join(map(_page_of, group)) + _FORM
    # The next task is there to be attacked, too; alone, an attack has enough with its own.
    images = ["0.png", "1.png"] if len(group) > 1 or group[0] == "next-task" else ["0.png"]
    there.job(group[0], template, images, **task["manifestLine"])
    for name in group:
        attacker.pages[name] = _rendered(task, name)


def _task(attacker: Attacker, name: str) -> dict[str, Any]:
    """What a template learns of its task."""
    line = {"attacker": attacker.url, "stun": attacker.peers.get(name, attacker.peers["webrtc"])}
    return {"manifestLine": line, "taskObject": f"s3://{BUCKET}/0.png", "labels": list(CLASSES)}


def _rendered(task: dict[str, Any], name: str) -> str:
    rendered = Templates().render(_PRELUDE + _page_of(name), task, lambda _: "/o/1/2/a/b/c/d/0.png")
    assert rendered.errors == []
    return rendered.content


def _page_of(name: str) -> str:
    """An attack whose scripts keep their names to themselves."""
    text = (Path(__file__).parent / "attacks" / f"{name}.liquid").read_text()
    names = f"const {{ATTACKER, report, attempt}} = attacker('{name}');"
    return _SCRIPT.sub(lambda found: f"<script>{{ {names} {found[1]} }}</script>", text)


def _visit(context: BrowserContext, visits: Sequence[tuple[list[Outcome], str]], url: str) -> None:
    """Open pages one after another, and watch all that come of them."""
    clock, opened = context.new_page(), []
    for outcomes, address in visits:
        page = _open(context, outcomes, address, url)
        opened.append((page, outcomes, address))
        end = time.monotonic() + _LONGEST_SECONDS
        while not all(each.said or each.hits or each.crashed for each in outcomes) and time.monotonic() < end:
            clock.wait_for_timeout(10)
        while len(opened) >= _OPEN_AT_ONCE:
            _leave(*opened.pop(0))
    clock.wait_for_timeout(_QUIET_SECONDS * 1000)
    for left in opened:
        _leave(*left)
    clock.close()


def _open(context: BrowserContext, outcomes: Sequence[Outcome], address: str, url: str) -> Page:
    page = context.new_page()

    def asked(request: Request) -> None:
        path = request.url.removeprefix(url)
        if request.method != "GET" and path != request.url and path not in _SHELL_POSTS:
            body = (request.post_data_buffer or b"")[:60].decode(errors="replace")
            outcomes[0].done.append(f"{request.method} {path} {body}".strip())

    def crashed(_: Page) -> None:
        for outcome in outcomes:
            outcome.crashed = True

    def told(text: str) -> None:
        for outcome in outcomes:
            mark = f"attack: {outcome.name}: "
            if text.startswith(mark):
                outcome.said.append(text.removeprefix(mark))

    page.on("crash", crashed)
    page.on("request", asked)
    page.on("popup", lambda opened: outcomes[0].done.append(f"a window of {opened.url}"))
    page.on("download", lambda _: outcomes[0].done.append("a file on the disk"))
    page.on("dialog", lambda dialog: dialog.dismiss())
    page.on("console", lambda said: told(said.text))
    page.goto(address, wait_until="commit")
    return page


def _leave(page: Page, outcomes: Sequence[Outcome], address: str) -> None:
    """Look what became of the page around the attacks, and close it."""
    if "/work/" in address and not outcomes[0].crashed:
        if page.url != address:
            outcomes[0].done.append(f"the shell is at {page.url}")
        for button in ("decline", "leave"):
            if page.evaluate(_ON_TOP, button) != button:
                outcomes[0].done.append(f"nobody can press {button}")
    with suppress(Error):
        page.close()


def _unasked(ear: Ear, name: str) -> list[str]:
    """What a template asked the portal for and got."""
    return [
        f"{each.method} {each.path} ({each.status})"
        for each in ear.heard
        # A frame may go to other pages of ours, and pictures may be asked for: without a cookie or a
        # signature there is nothing.
        if f"attack={name}" in each.path and not (each.method == "GET" and each.status in (401, 403, 404))
    ]
