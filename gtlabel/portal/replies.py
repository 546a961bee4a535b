"""What the portal answers with: pages and JSON, and a sentence for everything that does not work."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from pathlib import Path
from string import Template
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from gtlabel.errors import (
    DatabaseFullError,
    ForeignRequestError,
    GtlabelError,
    InviteError,
    JobNotFoundError,
    LeaseError,
    NotSignedInError,
    NotTheOwnerError,
    StorageError,
    StoreError,
    TooManyTriesError,
    WorkerDeactivatedError,
    WorkerNameTakenError,
    WorkerNotAdmittedError,
    WorkerNotFoundError,
)
from gtlabel.portal.documents import PAGE_HEADERS

_log = logging.getLogger(__name__)

_PAGES = Path(__file__).parent / "static" / "pages"
API_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
# The first that fits counts.
_STATUS: dict[type[Exception], int] = {
    ForeignRequestError: 403,
    NotTheOwnerError: 403,
    InviteError: 403,
    WorkerDeactivatedError: 403,
    WorkerNotAdmittedError: 403,
    NotSignedInError: 401,
    TooManyTriesError: 429,
    WorkerNotFoundError: 404,
    WorkerNameTakenError: 409,
    LeaseError: 404,
    DatabaseFullError: 507,
    StoreError: 503,
    StorageError: 502,
    GtlabelError: 400,
}
_TITLES = {
    401: "You are not signed in",
    403: "This is not allowed",
    404: "There is nothing here",
    429: "Please wait a little",
    500: "This does not work",
    502: "The pictures are out of reach",
    503: "Nothing can be stored now",
    507: "Nothing can be stored now",
}
_CALM = {
    503: "The database is away or cannot be written, so nothing was taken. Try again; the owner sees why.",
    507: "The server has no room for another answer, so nothing was taken. Try again; the owner sees why.",
}
# An invite that was not used yet lets somebody in, so no log gets one.
_INVITES = re.compile(r"^/join/.*", re.DOTALL)

Endpoint = Callable[[Request], Awaitable[Response]]


def page(endpoint: Endpoint) -> Endpoint:
    """Tells a person in the browser what went wrong."""

    @wraps(endpoint)
    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Exception as error:  # noqa: BLE001 - told apart in `trouble`
            status, sentence = trouble(error, request.url.path)
            return notice(_TITLES.get(status, "This does not work"), sentence, status)

    return answered


def api(endpoint: Endpoint) -> Endpoint:
    """Tells a script what went wrong."""

    @wraps(endpoint)
    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Exception as error:  # noqa: BLE001 - told apart in `trouble`
            status, sentence = trouble(error, request.url.path)
            return JSONResponse({"error": sentence}, status, API_HEADERS)

    return answered


def trouble(error: Exception, path: str) -> tuple[int, str]:
    """The HTTP status of what is not allowed, not there, or cannot be now, and a sentence for whoever asked.

    What only the owner can mend is logged, and what a database is called is not for workers to know.
    """
    if isinstance(error, JobNotFoundError):
        return 404, "There is no such job; go back to the list of jobs."
    if isinstance(error, ClientDisconnect):
        # Nobody is there to read it, and nothing is wrong here.
        return 400, "The request did not come whole."
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), None)
    if status is None:
        _log.error("%s", _INVITES.sub("/join/...", path), exc_info=error)
        return 500, "Something failed inside. Try again, and tell the owner if it fails again."
    if status in _CALM:
        _log.error("%s: %s", _INVITES.sub("/join/...", path), error)
        return status, _CALM[status]
    return status, str(error)


def calm(said: dict[str, Any], status: int) -> dict[str, Any]:
    """The same, without what is only for the owner."""
    if status in _CALM:
        _log.error("%s", said.get("error"))
        return {**said, "error": _CALM[status]}
    return said


async def nowhere(request: Request, _error: Exception) -> Response:
    """Tells a person in the browser, or a program, that an address leads nowhere."""
    if "text/html" not in request.headers.get("accept", ""):
        return PlainTextResponse("there is nothing here", 404)
    return notice(_TITLES[404], "No page of the portal is at this address; the list of jobs is at /.", 404)


def own_page(name: str, values: Mapping[str, str] | None = None, status: int = 200) -> HTMLResponse:
    """A page of ours; values become text and never markup."""
    text = (_PAGES / name).read_text()
    if values is not None:
        text = Template(text).substitute({key: _escaped(value) for key, value in values.items()})
    return HTMLResponse(text, status, PAGE_HEADERS)


def notice(title: str, text: str, status: int = 200) -> HTMLResponse:
    """A page that says one thing."""
    return own_page("notice.html", {"title": title, "text": text}, status)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
