"""S3 as far as datasets use it, at a distance: every answer takes a while, and it can fail on purpose.

In a thread of this process (`Distant`), where a test looks into it, or in a process of its own (`elsewhere`),
where it does not share our turns of the interpreter. Objects live in memory and outlast the programs that
write them. Signatures are not looked at; conditions (`If-Match` and its kin) are.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from hashlib import md5
from itertools import count
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit
from urllib.request import urlopen
from xml.sax.saxutils import unescape

# The suite runs this with tests/ on its path; by itself it finds that here.
sys.path.append(str(Path(__file__).resolve().parent))

from bucket import unchunked

Answer = tuple[int, dict[str, str], bytes]
# Called with the addresses of a source and a target before it is copied; may answer in S3's place.
Hook = Callable[[str, str], Answer | None]

_KEPT = ("content-type", "cache-control", "content-disposition", "content-encoding", "content-language")
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Stored:
    """An object: its bytes, its ETag with quotes, what was said of it, and when it was written."""

    body: bytes
    etag: str
    headers: Mapping[str, str] = field(default_factory=dict)
    modified: float = 0.0


class Distant:
    """One S3 endpoint with whatever buckets one writes to.

    Args:
        latency: how long every answer takes, in seconds.
        encrypting: a prefix `bucket/key` below which copies get ETags of their own, as under a KMS key.

    Attributes:
        objects: by `bucket/key`.
        copies: how often each target was copied to.
        written: how often each object was put there as a whole.
        requests: how often each operation was asked for.
        on_copy: see `Hook`.
        busiest: the most requests that were under way at once.
    """

    def __init__(self, latency: float = 0.0, encrypting: str | None = None) -> None:
        self.latency = latency
        self.encrypting = encrypting
        self.objects: dict[str, Stored] = {}
        self.copies: Counter[str] = Counter()
        self.written: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.on_copy: Hook | None = None
        self.busiest = self.busy = 0
        self._uploads: dict[str, tuple[dict[str, str], dict[int, bytes]]] = {}
        self._numbers = count(1)
        self._keys: list[str] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="distant-s3", daemon=True)
        self._thread.start()
        listening = self._loop.create_server(lambda: _Talk(self, self._loop), "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(_awaited(listening), self._loop).result()
        self.port = int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Stop listening and forget everything."""
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def put(self, name: str, body: bytes, etag: str | None = None, **headers: str) -> None:
        """Put an object there, as somebody else would."""
        self.written[name] += 1
        self._write(name, Stored(body, etag or _etag(body), headers, time.time()))

    def drop(self, prefix: str) -> None:
        """Delete the objects under `bucket/prefix`, and forget who copied."""
        for name in [name for name in self.objects if name.startswith(prefix)]:
            self._forget(name)
        self.copies.clear()

    def tree(self, prefix: str) -> dict[str, bytes]:
        """The objects under `bucket/prefix`, by what follows it."""
        found = list(self.objects.items())
        return {name.removeprefix(prefix): item.body for name, item in found if name.startswith(prefix)}

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """What S3 says to a request."""
        url = urlsplit(target)
        name, query = unquote(url.path).lstrip("/"), parse_qs(url.query, keep_blank_values=True)
        if name.startswith("-/"):
            return self._control(name, query)
        if method == "GET" and "list-type" in query:
            self.requests["list"] += 1
            return self._list(name.strip("/"), query)
        if method == "POST" and "delete" in query:
            self.requests["delete"] += 1
            return self._delete_many(name.strip("/"), body.decode())
        if method == "POST" or "uploadId" in query:
            return self._upload(method, name, query, headers, body)
        if "x-amz-copy-source" in headers:
            return self._copy(name, headers)
        self.requests[method.lower()] += 1
        there = self.objects.get(name)
        refusal = _refused(headers, there)
        if refusal is not None:
            return refusal
        if method == "PUT":
            self.put(name, body, None, **_said(headers))
            return 200, {"ETag": _etag(body)}, b""
        if method == "DELETE":
            self._forget(name)
            return 204, {}, b""
        if there is None:
            return 404, {}, _error("NoSuchKey", "The specified key does not exist.")
        return _shown(there, headers)

    def _copy(self, name: str, headers: Mapping[str, str]) -> Answer:
        self.requests["copy"] += 1
        source = unquote(headers["x-amz-copy-source"]).lstrip("/")
        told = self.on_copy(source, name) if self.on_copy else None
        if told is not None:
            return told
        there = self.objects.get(source)
        if there is None:
            return 404, {}, _error("NoSuchKey", "The specified key does not exist.")
        if _differs(headers.get("x-amz-copy-source-if-match"), there):
            return 412, {}, _error("PreconditionFailed", "At least one of the pre-conditions did not hold.")
        said = there.headers
        if headers.get("x-amz-metadata-directive") == "REPLACE":
            said = _said(headers)
        etag = _etag(there.body)
        if self.encrypting is not None and name.startswith(self.encrypting):
            etag = f'"{next(self._numbers):032x}"'
        self.copies[name] += 1
        self._write(name, Stored(there.body, etag, said, time.time()))
        return 200, {}, f"<CopyObjectResult><ETag>{etag}</ETag></CopyObjectResult>".encode()

    def _upload(
        self, method: str, name: str, query: Mapping[str, list[str]], headers: Mapping[str, str], body: bytes
    ) -> Answer:
        if "uploads" in query:
            self.requests["create"] += 1
            upload = f"upload-{next(self._numbers)}"
            self._uploads[upload] = (_said(headers), {})
            return (
                200,
                {},
                f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId>"
                "</InitiateMultipartUploadResult>".encode(),
            )
        upload = query["uploadId"][0]
        if method == "DELETE":
            self.requests["abort"] += 1
            self._uploads.pop(upload, None)
            return 204, {}, b""
        said, parts = self._uploads[upload]
        if method == "PUT":
            self.requests["part"] += 1
            if "x-amz-copy-source" in headers:
                there = self.objects.get(unquote(headers["x-amz-copy-source"]).lstrip("/"))
                if there is None or _differs(headers.get("x-amz-copy-source-if-match"), there):
                    return 412, {}, _error("PreconditionFailed", "It changed.")
                first, last = re.findall(r"\d+", headers["x-amz-copy-source-range"])
                body = there.body[int(first) : int(last) + 1]
            parts[int(query["partNumber"][0])] = body
            told = f"<CopyPartResult><ETag>{_etag(body)}</ETag></CopyPartResult>".encode()
            return 200, {"ETag": _etag(body)}, told if "x-amz-copy-source" in headers else b""
        self.requests["complete"] += 1
        whole = b"".join(parts[number] for number in sorted(parts))
        etag = f'"{md5(whole, usedforsecurity=False).hexdigest()}-{len(parts)}"'
        del self._uploads[upload]
        self.copies[name] += 1
        self._write(name, Stored(whole, etag, said, time.time()))
        return (
            200,
            {},
            f"<CompleteMultipartUploadResult><ETag>{etag}</ETag></CompleteMultipartUploadResult>".encode(),
        )

    def _list(self, bucket: str, query: Mapping[str, list[str]]) -> Answer:
        if self._keys is None:
            self._keys = sorted(self.objects)
        prefix = f"{bucket}/{query.get('prefix', [''])[0]}"
        after = unquote(query.get("continuation-token", [""])[0]) or query.get("start-after", [""])[0]
        start = bisect_right(self._keys, f"{bucket}/{after}" if after else prefix)
        if not after and start and self._keys[start - 1] == prefix:
            start -= 1
        page: list[str] = []
        more = False
        for name in self._keys[start : start + _PAGE + 1]:
            if not name.startswith(prefix):
                break
            more = len(page) == _PAGE
            if not more:
                page.append(name)
        rows = "".join(
            f"<Contents><Key>{quote(name.partition('/')[2])}</Key><Size>{len(item.body)}</Size>"
            f"<ETag>{item.etag}</ETag><LastModified>{_moment(item.modified)}</LastModified></Contents>"
            for name in page
            for item in (self.objects[name],)
        )
        last = quote(page[-1].partition("/")[2]) if more else ""
        token = f"<NextContinuationToken>{last}</NextContinuationToken>"
        text = (
            f"<ListBucketResult><Name>{bucket}</Name><EncodingType>url</EncodingType>"
            f"<KeyCount>{len(page)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{token if more else ''}{rows}</ListBucketResult>"
        )
        return 200, {"Content-Type": "application/xml"}, text.encode()

    def _delete_many(self, bucket: str, document: str) -> Answer:
        kept = ""
        for item in re.findall(r"<Object>.*?</Object>", document, re.DOTALL):
            key = re.search(r"<Key>(.*?)</Key>", item, re.DOTALL)
            etag = re.search(r"<ETag>(.*?)</ETag>", item)
            if key is None:
                continue
            name = f"{bucket}/{unescape(key[1], {'&quot;': chr(34), '&#xA;': chr(10), '&#xD;': chr(13)})}"
            if etag is not None and _differs(unescape(etag[1], {"&quot;": '"'}), self.objects.get(name)):
                kept += f"<Error><Key>{key[1]}</Key><Code>PreconditionFailed</Code></Error>"
            else:
                self._forget(name)
        return 200, {}, f"<DeleteResult>{kept}</DeleteResult>".encode()

    def _control(self, name: str, query: Mapping[str, list[str]]) -> Answer:
        """What a program of ours asks that is no S3 client: fill a prefix, forget, or count."""
        if name == "-/fill":
            for number in range(int(query["count"][0])):
                self.put(f"{query['prefix'][0]}{number:06d}.jpg", b"picture %d" % number)
        elif name == "-/forget":
            self.drop(query["prefix"][0])
        told = {
            "copies": self.copies.total(),
            "targets": len(self.copies),
            "busiest": self.busiest,
            "requests": dict(self.requests),
        }
        return 200, {}, json.dumps(told).encode()

    def _write(self, name: str, item: Stored) -> None:
        if name not in self.objects:
            self._keys = None
        self.objects[name] = item

    def _forget(self, name: str) -> None:
        if self.objects.pop(name, None) is not None:
            self._keys = None


class _Talk(asyncio.Protocol):
    """One connection."""

    def __init__(self, place: Distant, loop: asyncio.AbstractEventLoop) -> None:
        self._place = place
        self._loop = loop
        self._buffer = b""
        self._told_to_go_on = False
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._take():
            pass

    def _take(self) -> bool:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return False
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
        if "expect" in headers and not self._told_to_go_on:
            self._told_to_go_on = True
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if len(rest) < length:
            return False
        body, self._buffer = rest[:length], rest[length:]
        self._told_to_go_on = False
        if "aws-chunked" in headers.get("content-encoding", ""):
            body = unchunked(body)
        place = self._place
        place.busy += 1
        place.busiest = max(place.busiest, place.busy)
        if place.latency and not target.startswith("/-/"):
            self._loop.call_later(place.latency, self._reply, method, target, headers, body)
        else:
            self._reply(method, target, headers, body)
        return True

    def _reply(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        self._place.busy -= 1
        status, extra, content = self._place.answer(method, target, headers, body)
        shown = {"Content-Length": str(len(content)), "Date": formatdate(usegmt=True), **extra}
        head = "".join(f"{name}: {value}\r\n" for name, value in shown.items())
        self._send(
            f"HTTP/1.1 {status} -\r\n{head}\r\n".encode("latin-1") + (b"" if method == "HEAD" else content)
        )

    def _send(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


def busy() -> Answer:
    """The answer of an S3 that has too much to do."""
    return 503, {}, _error("SlowDown", "Please reduce your request rate.")


@contextmanager
def elsewhere(latency: float) -> Iterator[str]:
    """A distant S3 in a process of its own; gives its address."""
    program = [sys.executable, __file__, str(latency)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            yield child.stdout.readline().strip()
        finally:
            child.stdin.close()


def ask(url: str, what: str, **query: object) -> dict[str, int]:
    """Ask a distant S3 of ours to fill or forget a prefix, or how much it copied."""
    words = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in query.items())
    with urlopen(f"{url}/-/{what}?{words}", timeout=60) as answer:
        told: dict[str, int] = json.loads(answer.read())
    return told


async def _awaited(listening: object) -> asyncio.Server:
    server: asyncio.Server = await listening  # type: ignore[misc]
    return server


def _said(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name in _KEPT or name.startswith("x-amz-meta-")}


def _shown(there: Stored, headers: Mapping[str, str]) -> Answer:
    told = {"ETag": there.etag, "Last-Modified": formatdate(there.modified, usegmt=True), **there.headers}
    span = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
    if span is None:
        return 200, told, there.body
    last = int(span[2]) if span[2] else len(there.body) - 1
    part = there.body[int(span[1]) : last + 1]
    told["Content-Range"] = f"bytes {span[1]}-{int(span[1]) + len(part) - 1}/{len(there.body)}"
    return 206, told, part


def _refused(headers: Mapping[str, str], there: Stored | None) -> Answer | None:
    if "if-match" in headers and there is None:
        return 404, {}, _error("NoSuchKey", "The specified key does not exist.")
    if _differs(headers.get("if-match"), there) or (headers.get("if-none-match") == "*" and there):
        return 412, {}, _error("PreconditionFailed", "At least one of the pre-conditions did not hold.")
    return None


def _differs(wanted: str | None, there: Stored | None) -> bool:
    return wanted is not None and there is not None and wanted.strip('"') != there.etag.strip('"')


def _etag(body: bytes) -> str:
    return f'"{md5(body, usedforsecurity=False).hexdigest()}"'


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))


def _error(code: str, message: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


def main() -> None:
    """Be a distant S3 in a process of its own until standard input is closed, and say where."""
    place = Distant(float(sys.argv[1]))
    print(place.url, flush=True)
    sys.stdin.read()
    place.close()


if __name__ == "__main__":
    main()
