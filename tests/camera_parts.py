"""What the tests of the program on the camera share: a bundle, the program as a process, and cameras."""

from __future__ import annotations

import contextlib
import hashlib
import json
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

from edge_parts import picture
from programs import ending

_WAIT = 60.0
RED, GREEN, GRAY = picture("red"), picture("lime"), picture("gray")
PHOTOS = sorted((Path(__file__).parents[1] / "samples" / "trash" / "images").glob("*.jpg"))


class Program:
    """A bundle's program that runs.

    Attributes:
        process: it.
        told: what it told people, as far as somebody waited for it.
    """

    def __init__(self, folder: Path, *arguments: object, stdout: int = subprocess.PIPE) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(folder / "run.py"), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )
        self.told: list[str] = []
        assert self.process.stderr is not None
        self._sentences = _follow(self.process.stderr)

    def answer(self) -> dict[str, Any]:
        """The next line of stdout."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the program ended: {self.rest()}"
        return dict(json.loads(line))

    def wait_for(self, phrase: str) -> str:
        """The next sentence for people that has a phrase in it."""
        while (sentence := self._sentences.get(timeout=_WAIT)) is not None:
            self.told.append(sentence)
            if phrase in sentence:
                return sentence
        raise AssertionError(f"nobody said {phrase!r}: {self.told}")

    def end(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; return its exit code, when it has said all that it had to say."""
        self.process.send_signal(by)
        code = self.process.wait(_WAIT)
        self.rest()
        return code

    def rest(self) -> list[str]:
        """All that it told people, when it has ended."""
        while (sentence := self._sentences.get(timeout=_WAIT)) is not None:
            self.told.append(sentence)
        self._sentences.put(None)
        return self.told


@contextlib.contextmanager
def program(folder: Path, *arguments: object, stdout: int = subprocess.PIPE) -> Iterator[Program]:
    """The program of a bundle, which is gone afterwards."""
    running = Program(folder, *arguments, stdout=stdout)
    with ending(running.process, 120):
        yield running


def _follow(file: IO[bytes]) -> queue.SimpleQueue[str | None]:
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        with contextlib.suppress(ValueError):
            for line in file:
                lines.put(line.decode().rstrip("\n"))
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines


def run(folder: Path, *arguments: object, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run the program of a bundle to its end."""
    command = [sys.executable, str(folder / "run.py"), *map(str, arguments)]
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.run(command, text=True, timeout=120, check=False, **options)


def answers(text: str) -> list[dict[str, Any]]:
    """The lines of stdout."""
    return [json.loads(line) for line in text.splitlines()]


class Told:
    """Takes sentences for people, from any thread."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self._changed = threading.Condition()

    def __call__(self, sentence: str) -> None:
        with self._changed:
            self.sentences.append(sentence)
            self._changed.notify_all()

    def wait_for(self, phrase: str) -> str:
        """The first sentence with a phrase in it, once there is one."""

        def found() -> str | None:
            return next((sentence for sentence in self.sentences if phrase in sentence), None)

        with self._changed:
            sentence = self._changed.wait_for(found, _WAIT)
            assert sentence, f"nobody said {phrase!r}: {self.sentences}"
            return sentence


def without_tables(jpeg: bytes) -> bytes:
    """A JPEG without its Huffman tables, as many USB cameras send them (they are those of the standard)."""
    kept, at = bytearray(jpeg[:2]), 2
    while jpeg[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if jpeg[at + 1] != 0xC4:
            kept += jpeg[at:end]
        at = end
    return bytes(kept + jpeg[at:])


class WebCamera:
    """An IP camera: `multipart/x-mixed-replace` for whoever logs in as `owner` with `garden`.

    Attributes:
        url: its address.
        heard: what each request said of who asks.
        newest: what it answers at `/newest.jpg`, one after the other.

    Args:
        asks: what it wants to know of who asks.
        moved: where `/old` is now; by default `/video`.
    """

    def __init__(self, *asks: str, moved: str = "/video?key=secret") -> None:
        self._clients: list[queue.SimpleQueue[bytes | None]] = []
        self._changed = threading.Condition()
        self.heard: list[str] = []
        self.newest: list[bytes] = []
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                said = self.headers.get("Authorization", "")
                camera.heard.append(said)
                if said != "Basic b3duZXI6Z2FyZGVu" and not answered(said, self.path):
                    self.send_response(401)
                    for one in asks or ('Basic realm="camera"',):
                        self.send_header("WWW-Authenticate", one)
                    self.end_headers()
                elif self.path == "/old":
                    self.send_response(302)
                    self.send_header("Location", moved)
                    self.end_headers()
                elif self.path == "/newest.jpg":
                    self.send_response(200)
                    self.send_header("Content-Type", "image/jpeg")
                    self.end_headers()
                    self.wfile.write(camera.newest.pop(0) if camera.newest else b"")
                elif self.path == "/page":
                    self.send_response(200)
                    self.send_header("Content-Type", "text/html")
                    self.end_headers()
                else:
                    camera._stream(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.origin = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.origin}/video?key=secret"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def show(self, *pictures: bytes) -> None:
        """Send pictures to the one who looks, once somebody does."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._clients, _WAIT)
            for one in pictures:
                self._clients[-1].put(one)

    def hang_up(self) -> None:
        """End the stream of the one who looks."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._clients, _WAIT)
            self._clients.pop().put(None)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _stream(self, handler: BaseHTTPRequestHandler) -> None:
        pictures: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        handler.end_headers()
        with self._changed:
            self._clients.append(pictures)
            self._changed.notify_all()
        with contextlib.suppress(ConnectionError):
            while (one := pictures.get()) is not None:
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(one)}\r\n\r\n"
                handler.wfile.write(head.encode() + one + b"\r\n")


def answered(said: str, path: str) -> bool:
    """Whether the right digest was given, as RFC 7616 has it in 3.4.1; every nonce will do."""
    words = dict(re.findall(r'(\w+)="?((?:[^"\\]|\\.)*?)"?(?:, |$)', said[7:]))
    name = words.get("algorithm", "MD5").replace("-", "").lower()

    def digest(text: str) -> str:
        return hashlib.new(name, text.encode()).hexdigest()

    if not said.startswith("Digest ") or words["uri"] != path:
        return False
    between = f":{words['nc']}:{words['cnonce']}:{words['qop']}" if "qop" in words else ""
    realm = words["realm"].replace('\\"', '"')
    secret = digest(f"owner:{realm}:garden")
    expected = digest(f"{secret}:{words['nonce']}{between}:{digest(f'GET:{path}')}")
    return bool(words["response"] == expected)


def recording(path: Path, pictures: Sequence[bytes]) -> Path:
    """An MJPEG file."""
    path.write_bytes(b"".join(pictures))
    return path
