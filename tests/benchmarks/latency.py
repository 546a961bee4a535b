"""How long after a key press the next picture is painted, in a browser, at the pace of somebody who decides.

Run: python tests/benchmarks/latency.py [--decisions 40] [--pause 450] [--only NAME]

Example: python tests/benchmarks/latency.py --decisions 10 --only fast

The portal's page holds the next task loaded behind the one on show. `fast` is one digit per picture, `normal`
a digit and then Enter. The peer is what labeling pages commonly are: the same task documents from the same
server, one whole page after another, each answer a form that is posted and leads to the next page.

How it is measured, inside the pages: from the time stamp of the key event until both have happened, (a) the
shell has put the other frame on show, its next animation frame has run, and a message posted in that frame,
which comes after it was painted, has arrived; and (b) the page in that frame has its picture decoded
(`img.decode()`) and painted by an animation frame of its own in the same way. That is commonly over before
the key is pressed: a transparent frame is painted, too, and only its opacity changes. Pages of other
processes agree about the time by `performance.timeOrigin`. For the peer: the time stamp is kept in the
session's storage, and (b) counts in the page that follows. Every picture has an address of its own, so that
none is in a cache.

Ends with 1 if the median of any mode of the portal is over 20 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

# The suite runs this with tests/ on its path; by itself it finds that here.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from browser import DESKTOP, chromium, until
from bucket import Bucket
from clients import Server, end_politely, put_inputs, row_text
from load import BUCKET, start_jobs, team
from playwright.sync_api import Browser, Page
from portal_load import Worker, invited, picture

JOB = "pictures"
SIZES = {113_000: (1280, 960), 759_000: (2048, 1536)}
DESIGNS = ("fast", "normal", "full page")
_DIGITS = "123"
# The first pictures find caches empty, and code that was not compiled yet.
_UNCOUNTED = 3
_COLUMNS = (
    ("design", 12),
    ("picture", 10),
    ("pictures", 10),
    ("p50 ms", 9),
    ("p95 ms", 9),
    ("max ms", 9),
)
# Runs before everything else in every document, also in frames.
_WATCH = """(() => {
  const at = (stamp) => performance.timeOrigin + stamp;
  const picture = () => [...document.querySelectorAll('*')]
    .map((node) => node.shadowRoot?.querySelector('img')).find(Boolean);
  const painted = (then) => requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => then(at(performance.now()));
    channel.port2.postMessage(null);
  });
  const seen = async (then) => {
    let image;
    while (!((image = picture())?.complete && image.naturalWidth)) {
      await new Promise((done) => setTimeout(done, 1));
    }
    await image.decode();
    painted(then);
  };
  if (window.parent !== window) {
    const tell = (content) => window.parent.postMessage({watched: true, ...content}, '*');
    window.addEventListener('keydown', (event) => tell({key: at(event.timeStamp)}), true);
    seen((when) => tell({decoded: when}));
    return;
  }
  const rows = window.watchedRows = [];
  const behind = new Map();
  let key = null;
  let front = null;
  window.addEventListener('message', ({data, source}) => {
    if (!data?.watched) return;
    if (data.key) key = data.key;
    else if (source === front) rows.at(-1).decoded ??= data.decoded;
    else behind.set(source, data.decoded);
  });
  new MutationObserver((changes) => {
    for (const {target, oldValue} of changes) {
      if (target.localName !== 'iframe' || !target.classList.contains('front')) continue;
      if (oldValue?.split(' ').includes('front')) continue;
      front = target.contentWindow;
      // The page that comes into this frame next says so itself.
      const row = {key, decoded: behind.get(front)};
      behind.delete(front);
      rows.push(row);
      painted((when) => { row.shown = when; });
    }
  }).observe(document, {subtree: true, attributeFilter: ['class'], attributeOldValue: true});
  document.addEventListener('DOMContentLoaded', () => {
    if (!document.querySelector('crowd-form')) return;
    const kept = Number(sessionStorage.getItem('pressed'));
    const keep = (event) => sessionStorage.setItem('pressed', at(event.timeStamp));
    window.addEventListener('keydown', keep, true);
    seen((when) => rows.push({key: kept || null, shown: when, decoded: when}));
  });
})()"""
# What a page of its own does with an answer.
_POSTING = """<script>
document.addEventListener('all-crowd-elements-ready', () => {
  const form = document.querySelector('crowd-form');
  form._submitHelperForm = () => {
    const sent = document.createElement('form');
    Object.assign(sent, {method: 'post', action: '/answer'});
    const field = document.createElement('input');
    Object.assign(field, {type: 'hidden', name: 'answer', value: JSON.stringify(form.collect())});
    sent.append(field);
    document.body.append(sent);
    sent.submit();
  };
});
</script>"""


@dataclass(frozen=True)
class Place:
    """A portal with one job of pictures, and an invite for each who measures."""

    server: Server
    invites: list[str]


@contextmanager
def portal(
    folder: Path, shown: bytes, people: int, images: int, state: Path | None = None
) -> Iterator[Place]:
    """A server whose pictures are all these bytes, and who may come in; its job's trial is over.

    Args:
        folder: for what the server leaves.
        shown: the picture.
        people: how many may come in.
        images: how many images the job has; the trial takes the first ten.
        state: the server's own folder, if it is to be elsewhere.
    """
    with ExitStack() as stack:
        bucket = Bucket(remember=False, picture=shown)
        stack.callback(bucket.close)
        folder.mkdir()
        server = Server(state or folder / "state", bucket.url)
        server.log = folder / "server.log"
        invites, _owner = invited(server.database, people + 1)
        server.start()
        stack.callback(server.stop)
        put_inputs(bucket.files.__setitem__, BUCKET, images, str(images))
        arn = asyncio.run(team(server.port))
        asyncio.run(start_jobs(server.port, arn, [JOB], images, workers=1))

        async def try_out() -> None:
            first = Worker(server.port, 0, 1)
            await first.join(invites[0])
            await first.try_out()
            first.close()

        asyncio.run(try_out())
        yield Place(server, invites[1:])


def decide(page: Page, keys: tuple[str, ...], pause: float) -> None:
    """Look at a picture for a while and say what it is."""
    begun = time.perf_counter()
    for number, key in enumerate(keys, 1):
        # The digit a while before Enter, as fingers do it.
        wanted = pause - 0.12 * (len(keys) - number)
        time.sleep(max(0.0, begun + wanted - time.perf_counter()))
        page.keyboard.press(key)


def spans(rows: list[dict[str, Any]]) -> list[float]:
    """Milliseconds from key to picture of every change that was seen to its end."""
    return [max(row["shown"], row["decoded"]) - row["key"] for row in rows if row.get("key")]


def stacked(browser: Browser, place: Place, invite: str, mode: str, given: argparse.Namespace) -> list[float]:
    """Answer in the portal's own page."""
    context = browser.new_context(viewport=DESKTOP)
    context.add_init_script(_WATCH)
    page = context.new_page()
    page.goto(f"{place.server.url}/join/{invite}")
    page.get_by_text("Join", exact=True).first.click()
    page.wait_for_url("**/")
    page.evaluate(f"localStorage.setItem('gtlabel', '{json.dumps({'fast': mode == 'fast'})}')")
    page.goto(f"{place.server.url}/work/1")
    count = "() => (window.watchedRows ?? []).filter(({shown, decoded}) => shown && decoded).length"
    for number in range(given.decisions + _UNCOUNTED):
        until(lambda: page.evaluate(count) > number, "the next picture", 30)  # noqa: B023 - called at once
        digit = _DIGITS[number % len(_DIGITS)]
        decide(page, (digit,) if mode == "fast" else (digit, "Enter"), given.pause / 1000)
    until(lambda: page.evaluate(count) > given.decisions + _UNCOUNTED, "the last picture", 30)
    rows = page.evaluate("() => window.watchedRows")
    context.close()
    return spans(rows)[_UNCOUNTED:]


class Peer(ThreadingHTTPServer):
    """Whole pages, one after another: the portal's task documents, and a form that leads to the next."""

    daemon_threads = True

    def __init__(self, place: Place, invite: str) -> None:
        super().__init__(("127.0.0.1", 0), _PeerHandler)
        self.portal = place.server
        self.line = HTTPConnection("127.0.0.1", place.server.port)
        self.cookie = ""
        self.lease = ""
        self.turn = threading.Lock()
        self.cookie = self.ask("POST", f"/join/{invite}")[1].split(";")[0]
        self.lease = json.loads(self.ask("POST", "/api/lease", b'{"job": 1}')[0])["lease"]

    def ask(self, method: str, path: str, body: bytes = b"") -> tuple[bytes, str]:
        """What the portal says, and the cookie it sets."""
        headers = {"Origin": self.portal.url, "X-Gtlabel": "1", "Cookie": self.cookie}
        self.line.request(method, path, body, headers)
        response = self.line.getresponse()
        return response.read(), response.headers.get("Set-Cookie", "")


class _PeerHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Peer

    def do_GET(self) -> None:
        with self.server.turn:
            text = self.server.ask("GET", f"/frame/{self.server.lease}")[0].decode()
        # Scripts and pictures come from the portal itself.
        text = text.replace('"/static/', f'"{self.server.portal.url}/static/')
        text = text.replace('src="/o/', f'src="{self.server.portal.url}/o/')
        self._say(200, {"Content-Type": "text/html; charset=utf-8"}, (text + _POSTING).encode())

    def do_POST(self) -> None:
        said = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        answer = json.loads(said["answer"][0])
        body = {"lease": self.server.lease, "answer": answer, "active_seconds": 0.4, "next": True}
        with self.server.turn:
            told = json.loads(self.server.ask("POST", "/api/submit", json.dumps(body).encode())[0])
        self.server.lease = told["next"]["lease"]
        self._say(303, {"Location": "/"})

    def _say(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body)), "Cache-Control": "no-store"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, *_about: object) -> None:
        """Say nothing."""


def full_page(browser: Browser, place: Place, invite: str, given: argparse.Namespace) -> list[float]:
    """Answer on one page after another."""
    peer = Peer(place, invite)
    threading.Thread(target=peer.serve_forever, daemon=True).start()
    context = browser.new_context(viewport=DESKTOP)
    context.add_init_script(_WATCH)
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{peer.server_port}/")
    rows: list[dict[str, Any]] = []
    seen = "() => window.watchedRows?.[0] ?? null"
    for number in range(given.decisions + _UNCOUNTED + 1):
        rows.append(until(lambda: _asked(page, seen, rows) or {}, "the next page", 30))
        if number < given.decisions + _UNCOUNTED:
            decide(page, (_DIGITS[number % len(_DIGITS)], "Enter"), given.pause / 1000)
    context.close()
    peer.shutdown()
    peer.server_close()
    return spans(rows)[_UNCOUNTED:]


def _asked(page: Page, seen: str, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    from playwright.sync_api import Error

    try:
        row: dict[str, Any] | None = page.evaluate(seen)
    except Error:
        # It is on its way to another page.
        return None
    return None if row is None or row in rows else row


def quantile(times: list[float], share: float) -> float:
    """A quantile."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--decisions", type=int, default=40, help="pictures to answer, for each row")
    parser.add_argument("--pause", type=float, default=450, help="milliseconds that each decision takes")
    parser.add_argument("--only", action="append", choices=DESIGNS, help="this design; may be given again")
    parser.add_argument("--size", type=int, choices=list(SIZES), help="only pictures of so many bytes")
    parser.add_argument("--limit", type=float, default=20, help="milliseconds for the median")
    given = parser.parse_args()
    end_politely()
    chosen = [design for design in DESIGNS if not given.only or design in given.only]
    met = True
    print("".join(f"{name:>{width}}" for name, width in _COLUMNS), flush=True)
    with tempfile.TemporaryDirectory(prefix="gtlabel-latency-") as name:
        for size, pixels in SIZES.items():
            if given.size not in (None, size):
                continue
            shown = picture(size, pixels)
            images = (given.decisions + 20) * len(chosen) + 40
            # Playwright's loop counts as running, so the browser comes when no other loop is needed any more.
            with portal(Path(name) / str(size), shown, len(chosen), images) as place, chromium() as browser:
                for design, invite in zip(chosen, place.invites, strict=True):
                    if design == "full page":
                        times = full_page(browser, place, invite, given)
                    else:
                        times = stacked(browser, place, invite, design, given)
                    median = quantile(times, 0.5)
                    row = [design, f"{len(shown) / 1000:.0f} kB", len(times)]
                    print(row_text(_COLUMNS, [*row, median, quantile(times, 0.95), max(times)]), flush=True)
                    met = met and (design == "full page" or median <= given.limit)
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
