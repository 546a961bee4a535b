"""Signed addresses for objects in S3, and what is behind them.

A worker page stands in a frame whose origin is opaque, so no cookie reaches what it shows: whoever has the
address may see the object, until it ends (contract/worker-ui.md 4.3). It is what `grant_read_access` gives on
AWS as a presigned URL.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from gtlabel.engine.jobs import JobKey
from gtlabel.errors import GtlabelError, StorageError
from gtlabel.uris import S3Uri

# An address holds for at least this long, and is the same for as long, so that a browser asks once.
_SPAN_SECONDS = 3600
_REMEMBERED_BYTES = 128 << 20
# Of the 32 connections of a client, so that jobs that are moved on meanwhile have some, too.
_AT_ONCE = 24
_LARGEST_REMEMBERED = 8 << 20
_HEADERS = {
    "Cache-Control": f"private, max-age={_SPAN_SECONDS}, immutable",
    # An SVG is a document, too: as one of its own it runs nothing and reaches nobody.
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Access-Control-Allow-Origin": "*",
    "X-Content-Type-Options": "nosniff",
}
# What a picture, a sound or a film begins with, and where; the type that S3 has on record is anybody's word.
_TYPES = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (4, b"ftypavif", "image/avif"),
    (0, b"BM", "image/bmp"),
    (0, b"\x00\x00\x01\x00", "image/x-icon"),
    (4, b"ftyp", "video/mp4"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"OggS", "application/ogg"),
    (8, b"WAVE", "audio/wav"),
)


class Pictures:
    """Gives addresses out and answers them.

    Args:
        secret: what addresses are signed with; all processes of a portal have the same.
        read: gives an object that a job shows.
        now: seconds since 1970.
    """

    def __init__(
        self, secret: bytes, read: Callable[[JobKey, S3Uri], bytes], now: Callable[[], float] = time.time
    ) -> None:
        self._secret = secret
        self._read = read
        self._now = now
        self._shelf = _Shelf()
        # Threads of their own: S3 takes its time, and no answer may queue behind pictures.
        self._fetchers = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="gtlabel-pictures")

    def address(self, key: JobKey, uri: str) -> str:
        """The address of an object for the workers of a job, without the origin.

        Raises:
            GtlabelError: if it is no S3 URI of an object.
        """
        checked = S3Uri(uri)
        if not checked.key:
            raise StorageError(f"{uri} names a bucket and no object; a picture needs the key of one")
        expiry = (int(self._now()) // _SPAN_SECONDS + 2) * _SPAN_SECONDS
        place = f"{key.account}/{key.region}/{key.name}/{checked.bucket}/{checked.key}"
        # Browsers resolve `..` on their own, and the name that was signed would be another.
        is_plain = not {"", ".", ".."} & set(place.split("/"))
        return f"/o/{expiry}/{self._signature(expiry, place)}/{quote(place, safe='/' if is_plain else '')}"

    async def answer(self, request: Request) -> Response:
        """What is behind an address; everything that is wrong with one gets the same word."""
        expiry, signature = request.path_params["expiry"], request.path_params["signature"]
        place = request.path_params["place"]
        good = hmac.compare_digest(signature.encode(), self._signature(expiry, place).encode())
        if not good or expiry <= self._now():
            return PlainTextResponse("this address is not, or no longer, good", 403)
        account, region, name, bucket, key = place.split("/", 4)
        try:
            body = await self._body(JobKey(account, region, name), S3Uri.of(bucket, key))
        except GtlabelError as error:
            return PlainTextResponse(str(error), 404)
        except Exception:
            # Credentials that ran out, S3 away: the page says that the picture cannot be shown, the log why.
            logging.exception("s3://%s/%s", bucket, key)
            return PlainTextResponse("the picture is out of reach", 502)
        return Response(body, headers={**_HEADERS, "Content-Type": media_type(body)})

    async def _body(self, key: JobKey, uri: S3Uri) -> bytes:
        body = self._shelf.get(uri)
        if body is None:
            loop = asyncio.get_running_loop()
            body = await loop.run_in_executor(self._fetchers, self._read, key, uri)
            self._shelf.put(uri, body)
        return body

    def _signature(self, expiry: int, place: str) -> str:
        return hmac.new(self._secret, f"o/{expiry}/{place}".encode(), hashlib.sha256).hexdigest()


def media_type(body: bytes) -> str:
    """What a body is, by how it begins; what is not known is no document and no script."""
    for offset, magic, name in _TYPES:
        if body.startswith(magic, offset):
            return name
    start = body[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"<svg") or (
        start.startswith((b"<?xml", b"<!--")) and b"<svg" in body[:4096].lower()
    ):
        return "image/svg+xml"
    return "application/octet-stream"


class _Shelf:
    """The objects that were asked for last: each picture is shown to several workers, one after another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    def get(self, uri: str) -> bytes | None:
        with self._lock:
            body = self._bodies.get(uri)
            if body is not None:
                self._bodies.move_to_end(uri)
            return body

    def put(self, uri: str, body: bytes) -> None:
        if len(body) > _LARGEST_REMEMBERED:
            return
        with self._lock:
            self._size += len(body) - len(self._bodies.pop(uri, b""))
            self._bodies[uri] = body
            while self._size > _REMEMBERED_BYTES:
                self._size -= len(self._bodies.popitem(last=False)[1])
