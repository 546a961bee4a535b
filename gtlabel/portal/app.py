"""The portal on a port, as an ASGI application: what workers and their pages ask for over HTTP.

    POST /gtlabel/worker/<action>   JSON in and out, see `gtlabel.portal.workers`
    GET  /gtlabel/health            whether somebody is there

A worker shows who they are with `Authorization: Bearer <token>`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from gtlabel import storage
from gtlabel.engine.board import Board
from gtlabel.engine.crew import Crew, Worker
from gtlabel.engine.doorkeeper import Doorkeeper
from gtlabel.engine.jobs import Job, JobKey
from gtlabel.portal import workers
from gtlabel.portal.owner import OwnerSite
from gtlabel.portal.pictures import Pictures
from gtlabel.portal.renderer import shared_renderer
from gtlabel.portal.replies import nowhere
from gtlabel.portal.site import Site

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_log = logging.getLogger(__name__)

# How long somebody who showed a token is believed to hold it still.
_FRESH_SECONDS = 0.5
_TOKENS_REMEMBERED = 4096
_NOT_STORED = (503, 507)
_COMPLAINT_SECONDS = 10.0


def portal(
    board: Board,
    doorkeeper: Doorkeeper,
    home: tuple[str, str],
    *,
    also: Sequence[BaseRoute] = (),
    behind_proxy: bool = False,
) -> Starlette:
    """The application.

    Args:
        board: where the tasks are.
        doorkeeper: who knows the workers' tokens.
        home: the account and region of jobs that are asked for by name alone.
        also: what else is to be answered.
        behind_proxy: whether a proxy says from where a request came.
    """
    api = WorkerApi(board, doorkeeper, home, behind_proxy=behind_proxy)
    return Starlette(
        routes=[Mount("/gtlabel/worker", api), Route("/gtlabel/health", _health, methods=["GET"]), *also],
        exception_handlers={404: nowhere},
    )


def pages(
    board: Board,
    crew: Crew,
    secret: bytes,
    s3_of: Callable[[JobKey], S3Client],
    admits: Callable[[Job, str], str | None],
    *,
    secure: bool,
    behind_proxy: bool = False,
    asset_hosts: Sequence[str] = (),
    seat: Callable[[Worker], str] = lambda worker: worker.sub,
    closing: threading.Event | None = None,
) -> list[BaseRoute]:
    """The pages of workers and owners.

    Args:
        board: where the tasks are.
        crew: who may come in.
        secret: what addresses are signed with; all processes of a portal have the same.
        s3_of: gives the S3 client of a job.
        admits: says why a worker may not work on a job, or None if they may.
        secure: whether the portal is reached over TLS.
        behind_proxy: whether a proxy says from where a request came.
        asset_hosts: hosts that templates may load scripts and styles from, over TLS.
        seat: who somebody is to the board.
        closing: set when the server ends, so that what streams does, too.
    """
    pictures = Pictures(secret, lambda job, uri: storage.read(s3_of(job), uri))
    site = Site(
        board,
        crew,
        shared_renderer(),
        pictures,
        secret,
        admits,
        secure=secure,
        asset_hosts=[f"https://{host}" for host in asset_hosts],
        seat=seat,
        address_of=lambda request: _address(request.scope, behind_proxy=behind_proxy),
    )
    owners = OwnerSite(board, crew, site.visitors, pictures, closing or threading.Event())
    return [*owners.routes(), *site.routes()]


class WorkerApi:
    """The API of workers, as an ASGI application of its own: a busy team asks it a thousand times a second.

    Args:
        board: where the tasks are.
        doorkeeper: who knows the workers' tokens.
        home: the account and region of jobs that are asked for by name alone.
        behind_proxy: whether a proxy says from where a request came.
    """

    def __init__(
        self, board: Board, doorkeeper: Doorkeeper, home: tuple[str, str], *, behind_proxy: bool = False
    ) -> None:
        self._board = board
        self._doorkeeper = doorkeeper
        self._home = home
        self._behind_proxy = behind_proxy
        self._known: dict[str, tuple[str, float]] = {}
        self._complained = -_COMPLAINT_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        action = scope["path"].rpartition("/")[2]
        body = await read_body(receive)
        if body is None:
            return
        try:
            status, said = await self._answer(scope, action, body)
        except Exception as error:  # noqa: BLE001 - told apart in `refusal`
            status, said = workers.refusal(error, action)
        if status in _NOT_STORED:
            self._complain(said["error"])
        await send_json(send, status, said)

    def _complain(self, sentence: str) -> None:
        """Log that nothing can be stored, once in a while: every worker is told each time."""
        now = time.monotonic()
        if now - self._complained > _COMPLAINT_SECONDS:
            self._complained = now
            _log.error(sentence)

    async def _answer(self, scope: Scope, action: str, body: bytes) -> workers.Answer:
        if scope["method"] != "POST":
            return 405, {"error": f"{scope['method']} is not understood here; POST a JSON object"}
        scheme, _, token = _header(scope, b"authorization").partition(" ")
        worker = await self._who(token.strip() if scheme.lower() == "bearer" else "", scope)
        try:
            asked = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            return 400, {"error": "the body is not a JSON object"}
        return await workers.answer(self._board, action, asked, workers.Caller(worker, *self._home))

    async def _who(self, token: str, scope: Scope) -> str:
        now = time.monotonic()
        worker, looked = self._known.get(token, ("", 0.0))
        if worker and now - looked < _FRESH_SECONDS:
            return worker
        self._known.pop(token, None)
        # In a thread, because it may wait for the database, and everybody else must not.
        address = _address(scope, behind_proxy=self._behind_proxy)
        found = await asyncio.to_thread(self._doorkeeper.worker, token, address)
        if len(self._known) >= _TOKENS_REMEMBERED:
            self._known.clear()
        self._known[token] = found.sub, now
        return found.sub


async def read_body(receive: Receive) -> bytes | None:
    """The whole body of a request, or None when the client left; who stands in front limits its size."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def send_json(send: Send, status: int, said: Mapping[str, Any]) -> None:
    """Answer with JSON that nobody keeps."""
    body = json.dumps(said, separators=(",", ":")).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    if status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        # What is left of the body is not read, so nothing can follow it.
        headers.append((b"connection", b"close"))
    if "retry_after" in said:
        headers.append((b"retry-after", str(said["retry_after"]).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _header(scope: Scope, name: bytes) -> str:
    for given, value in scope["headers"]:
        if given == name:
            text: str = value.decode("latin-1")
            return text
    return ""


def _address(scope: Scope, *, behind_proxy: bool) -> str:
    """Where a request came from; the last word about it is that of the proxy, all others are anybody's."""
    forwarded = _header(scope, b"x-forwarded-for").rpartition(",")[2].strip() if behind_proxy else ""
    client = scope.get("client")
    return forwarded or (client[0] if client else "")


async def _health(_request: Request) -> JSONResponse:
    return JSONResponse({"status": "ok", "pid": os.getpid()})
