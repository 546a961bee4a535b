"""S3 as far as the engine uses it, in a thread of this process: it sees every write and can fail on purpose.

Objects live in memory and outlast the servers that are killed. Bodies are taken whole or not at all, as S3
does; requests are not checked for signatures.
"""

from __future__ import annotations

import asyncio
import re
import sys
import threading
from collections.abc import Callable
from hashlib import md5
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

# What a write may be met with: None lets it be, the rest happens before or after the object is there.
Hook = Callable[[str, bytes], None]

_REASONS = {100: "Continue", 200: "OK", 204: "No Content", 404: "Not Found", 503: "Service Unavailable"}


class Bucket:
    """One S3 endpoint with whatever buckets one writes to.

    Args:
        remember: whether objects of jobs are kept; without it, only what is not below an `out/` folder.
        picture: what is found at every address below an `images/` folder.

    Attributes:
        files: the objects, by `bucket/key`.
        writes: every object that was ever written: name and the MD5 of its bytes, in order.
        before: called with name and body before an object is there.
        after: called when it is there, before the writer is told.
        refusing: answer every request with 503 SlowDown.
    """

    def __init__(self, *, remember: bool = True, picture: bytes | None = None) -> None:
        self._remember = remember
        self._picture = picture
        self.files: dict[str, bytes] = {}
        self.writes: list[tuple[str, str]] = []
        self.before: Hook | None = None
        self.after: Hook | None = None
        self.refusing = False
        self.requests = 0
        self._parts: dict[str, dict[int, bytes]] = {}
        self._talks: set[_Talk] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="s3", daemon=True)
        self._thread.start()
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, at the port of before."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def stop(self) -> None:
        """Hang up and stop listening; the objects stay."""
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result()

    def close(self) -> None:
        """Stop for good."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def tree(self, prefix: str) -> dict[str, bytes]:
        """The objects under `bucket/prefix`, by what follows it."""
        return {
            name.removeprefix(prefix): body
            for name, body in list(self.files.items())
            if name.startswith(prefix)
        }

    async def _listen(self) -> None:
        self._server = await self._loop.create_server(lambda: _Talk(self), "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _hang_up(self) -> None:
        if self._server is not None:
            self._server.close()
            for talk in list(self._talks):
                talk.abort()
            self._server = None

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """What S3 says to a request."""
        self.requests += 1
        url = urlsplit(target)
        name, query = unquote(url.path).lstrip("/"), parse_qs(url.query, keep_blank_values=True)
        if self.refusing:
            return 503, {}, _error("SlowDown", "Please reduce your request rate.")
        if method == "PUT" and "partNumber" in query:
            self._parts[query["uploadId"][0]][int(query["partNumber"][0])] = body
            return 200, {"ETag": _etag(body)}, b""
        if method == "POST" and "uploads" in query:
            upload = f"upload-{self.requests}"
            self._parts[upload] = {}
            text = f"<UploadId>{upload}</UploadId>"
            return 200, {}, f"<InitiateMultipartUploadResult>{text}</InitiateMultipartUploadResult>".encode()
        if method == "POST" and "uploadId" in query:
            parts = self._parts.pop(query["uploadId"][0])
            whole = b"".join(parts[number] for number in sorted(parts))
            self._write(name, whole)
            text = f"<ETag>{escape(_etag(whole))}</ETag>"
            return 200, {}, f"<CompleteMultipartUploadResult>{text}</CompleteMultipartUploadResult>".encode()
        if method == "PUT":
            self._write(name, body)
            return 200, {"ETag": _etag(body)}, b""
        found = self.files.get(name, self._picture if "/images/" in name else None)
        if found is None:
            return 404, {}, _error("NoSuchKey", "The specified key does not exist.")
        return 200, {"ETag": _etag(found), "Last-Modified": "Sun, 22 Nov 2026 10:00:00 GMT"}, found

    def _write(self, name: str, body: bytes) -> None:
        if self.before is not None:
            self.before(name, body)
        if self._remember or "/out/" not in name:
            self.files[name] = body
            self.writes.append((name, md5(body, usedforsecurity=False).hexdigest()))
        if self.after is not None:
            self.after(name, body)

    def joined(self, talk: _Talk) -> None:
        self._talks.add(talk)

    def left(self, talk: _Talk) -> None:
        self._talks.discard(talk)


class _Talk(asyncio.Protocol):
    """One connection."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._buffer = bytearray()
        self._told_to_go_on = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._bucket.joined(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self._bucket.left(self)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._take():
            pass

    def _take(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ", 2)
        pairs = (line.partition(":") for line in lines[1:])
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        length = int(headers.get("content-length", "0"))
        if "expect" in headers and not self._told_to_go_on:
            self._told_to_go_on = True
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if len(self._buffer) < end + 4 + length:
            return False
        body = bytes(self._buffer[end + 4 : end + 4 + length])
        del self._buffer[: end + 4 + length]
        self._told_to_go_on = False
        if "aws-chunked" in headers.get("content-encoding", ""):
            body = unchunked(body)
        status, extra, content = self._bucket.answer(method, target, body)
        shown = {"Content-Length": str(len(content)), **extra}
        head = "".join(f"{name}: {value}\r\n" for name, value in shown.items())
        self._send(
            f"HTTP/1.1 {status} {_REASONS[status]}\r\n{head}\r\n".encode()
            + (b"" if method == "HEAD" else content)
        )
        return True

    def _send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


def _etag(body: bytes) -> str:
    return f'"{md5(body, usedforsecurity=False).hexdigest()}"'


def _error(code: str, message: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


def unchunked(body: bytes) -> bytes:
    """A body in AWS's chunked encoding, without its frame.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
    """
    whole, rest = b"", body
    while (size := re.match(rb"([0-9a-fA-F]+)[^\r]*\r\n", rest)) and int(size[1], 16):
        start = size.end()
        whole += rest[start : start + int(size[1], 16)]
        rest = rest[start + int(size[1], 16) + 2 :]
    return whole


def main() -> None:
    """Be an S3 in a process of its own until standard input is closed, and say where.

    The argument, if there is one, is the file of the picture that is found everywhere.
    """
    picture = Path(sys.argv[1]).read_bytes() if len(sys.argv) > 1 else None
    bucket = Bucket(remember=False, picture=picture)
    print(bucket.url, flush=True)
    sys.stdin.read()
    bucket.close()


if __name__ == "__main__":
    main()
