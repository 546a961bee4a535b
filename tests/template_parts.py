"""A worker at a page: templates rendered, framed and served as the portal does, and hands to answer with."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

from browser import DESKTOP, colors, until
from playwright.sync_api import Browser, ConsoleMessage, Frame, Locator, Page

from gtlabel.portal.documents import PAGE_HEADERS, elements_script, frame_document, frame_headers
from gtlabel.portal.liquid import Templates

TEMPLATES = Path(__file__).parent / "templates"
_STATIC = Path(__file__).parent.parent / "gtlabel" / "portal" / "static"
PICTURES = Path(__file__).parent.parent / "samples" / "trash" / "images"

# The same frames as in the portal, and a list of what they said in place of the portal's API.
_SHELL = b"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Shell</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><link rel="stylesheet" href="/static/portal.css">
<script type="module" src="/shell.js"></script></head>
<body class="work"><h1 class="hidden-text">Shell</h1><main class="stack">
<iframe title="Task" id="frame-0"></iframe><iframe title="Next task" id="frame-1"></iframe></main></body>"""
_SHELL_SCRIPT = b"""import {Frames} from '/static/work/frames.js';
window.heard = [];
const hear = (task, said) => window.heard.push({...said, lease: task.lease});
const elements = [0, 1].map((number) => document.getElementById(`frame-${number}`));
window.frames_ = new Frames(elements, hear, {fast: false, hotkeys: true});
"""


# Pictures are fitted anew after a frame was drawn in the new size.
_SETTLE = """() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"""
# Elements ignore keys for 150 ms after their page was shown.
_NOTE_SHOWN = """window.addEventListener('message', ({data}) => {
  if (data?.type === 'gtlabel:show') window.gtlabelShown = performance.now();
});"""
_TAKES_KEYS = "() => performance.now() - (window.gtlabelShown ?? Infinity) > 160"


def template(name: str) -> str:
    """The text of a template."""
    return (TEMPLATES / f"{name}.liquid").read_text()


class Portal:
    """A server of frames, and of whatever they need."""

    def __init__(self) -> None:
        self._frames: dict[str, str] = {}
        # Those that are not among the samples, by their names.
        self.pictures: dict[str, bytes] = {}
        self._numbers = count(1)
        self._templates = Templates()
        portal = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, headers, body = portal.answer(self.path.partition("?")[0])
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Answers no more."""
        self._server.shutdown()
        self._server.server_close()

    def frame(self, template: str, task_input: Any) -> str:
        """Makes the page of a task; its lease, which is its nonce, too."""
        rendered = self._templates.render(template, task_input, lambda uri: "/o/" + uri.rpartition("/")[2])
        assert rendered.errors == []
        lease = f"lease-{next(self._numbers)}"
        self._frames[lease] = frame_document(
            rendered.content, nonce=lease, origin=self.origin, title="Sort the bin"
        )
        return lease

    def answer(self, path: str) -> tuple[int, Mapping[str, str], bytes]:
        """What is found under a path."""
        kind, _, name = path[1:].partition("/")
        if path == "/shell":
            return 200, {**PAGE_HEADERS, "Content-Type": "text/html"}, _SHELL
        if path == "/shell.js":
            return 200, {"Content-Type": "text/javascript"}, _SHELL_SCRIPT
        if kind == "frame" and name in self._frames:
            headers = {**frame_headers(self.origin), "Content-Type": "text/html; charset=utf-8"}
            return 200, headers, self._frames[name].encode()
        if path == "/static/crowd.js":
            return 200, {"Content-Type": "text/javascript"}, elements_script()
        if kind == "static" and (_STATIC / name).is_file():
            types = {".js": "text/javascript", ".css": "text/css"}
            return 200, {"Content-Type": types[Path(name).suffix]}, (_STATIC / name).read_bytes()
        picture = self.pictures.get(name) if kind == "o" else None
        if kind == "o" and picture is None and (PICTURES / name).is_file():
            picture = (PICTURES / name).read_bytes()
        if picture is not None:
            return 200, {"Content-Type": "image/jpeg", "Access-Control-Allow-Origin": "*"}, picture
        return 404, {"Content-Type": "text/plain"}, b"nothing here"


class Desk:
    """A worker's browser, with the task at hand in it."""

    def __init__(self, page: Page, portal: Portal) -> None:
        self.page = page
        self.portal = portal
        self.complaints: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(portal.origin + "/shell")
        until(lambda: page.evaluate("() => 'frames_' in window"), "the shell")
        self.lease = ""
        self.frame: Frame = page.main_frame

    def _note(self, said: ConsoleMessage) -> None:
        if said.type == "error":
            self.complaints.append(said.text)

    def open(self, template: str, task_input: Any, answer: Any = None) -> Frame:
        """Puts a task before the worker.

        Args:
            template: the text of its template.
            task_input: what the template knows as `task.input`.
            answer: what the worker answered before.
        """
        self.complaints.clear()
        self.lease = self.portal.frame(template, task_input)
        task = {"lease": self.lease, "nonce": self.lease, "answer": answer}
        self.page.evaluate("(task) => { heard.length = 0; frames_.arrange([task]); }", task)
        self.message("ready")
        front = self.page.query_selector("iframe.front")
        assert front is not None
        inside = front.content_frame()
        assert inside is not None
        self.frame = inside
        return self.frame

    def set(self, *, fast: bool = False, hotkeys: bool = True) -> None:
        """Sets what a worker may set."""
        self.page.evaluate("(set) => frames_.set(set)", {"fast": fast, "hotkeys": hotkeys})

    def settle(self) -> None:
        """Waits until the page has taken a new size or color."""
        self.frame.evaluate(_SETTLE)

    def heard(self, kind: str) -> list[dict[str, Any]]:
        """What the frame said so far."""
        said: list[dict[str, Any]] = self.page.evaluate("() => heard")
        return [one for one in said if one["type"] == kind and one["lease"] == self.lease]

    def message(self, kind: str) -> dict[str, Any]:
        """The first thing of its kind that the frame says, soon."""
        return until(lambda: self.heard(kind), f"the message {kind} ({self.complaints})")[0]

    def answer(self) -> str:
        """What the worker submitted, as it is stored."""
        return json.dumps(self.message("submit")["answer"], sort_keys=True, ensure_ascii=False)

    def answer_again(self, answer: Any) -> str:
        """What the page submits when it was emptied and is shown an earlier answer."""
        self.frame.evaluate("() => document.querySelector('crowd-form').reset()")
        self.page.evaluate(
            "(answer) => frames_.frames.forEach((one) => frames_.post(one, 'answer', {answer}))", answer
        )

        def submitted() -> bool:
            # Nobody submits twice, so it does nothing until the page has heard of the answer.
            self.key("Control+Enter")
            return len(self.heard("submit")) > 1

        until(submitted, "the answer again")
        return json.dumps(self.heard("submit")[1]["answer"], sort_keys=True, ensure_ascii=False)

    def key(self, *keys: str) -> None:
        """Presses keys, one after another, as soon as a page takes them: workers have to see it first."""
        until(lambda: self.frame.evaluate(_TAKES_KEYS), "a page that takes keys")
        for key in keys:
            self.page.keyboard.press(key)

    def find(self, selector: str) -> Locator:
        """Elements of the task's page, also in shadows."""
        return self.frame.locator(selector)

    def click(self, *selectors: str) -> None:
        """Clicks on one element after another."""
        for selector in selectors:
            self.find(selector).first.click()

    def type(self, selector: str, text: str) -> None:
        """Types into a field, key by key."""
        self.find(selector).first.click()
        self.page.keyboard.type(text)

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Where a place on the task's picture, in its own pixels, is on the screen."""
        image = self.find(".viewport img").first
        box = image.bounding_box()
        assert box is not None
        width = image.evaluate("(image) => image.naturalWidth")
        scale = box["width"] / width
        return box["x"] + x * scale, box["y"] + y * scale

    def drag(self, *places: tuple[float, float]) -> None:
        """Draws from the first place on the picture to the last."""
        self.page.mouse.move(*self.point(*places[0]))
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*self.point(*place), steps=3)
        self.page.mouse.up()

    def touch(self, *places: tuple[float, float]) -> None:
        """Clicks on places of the picture."""
        for place in places:
            self.page.mouse.click(*self.point(*place))


@contextmanager
def desk(browser: Browser, *, scripts: Sequence[str] = (), **options: Any) -> Iterator[Desk]:
    """A desk with a portal of its own.

    Args:
        browser: where it opens.
        scripts: what runs in every page before its own scripts do.
        options: of Playwright's `new_context`.
    """
    portal = Portal()
    context = browser.new_context(**{"viewport": DESKTOP, **colors("light"), **options})
    for script in (_NOTE_SHOWN, *scripts):
        context.add_init_script(script)
    yield Desk(context.new_page(), portal)
    context.close()
    portal.close()
