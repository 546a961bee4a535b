"""The portal's pages for workers, as routes of an ASGI application.

GET  /                    the jobs that a worker may work on
GET  /join/<invite>       asks for a click; POST signs in, so that whoever scans mail burns no invite
POST /leave               signs out
GET  /work/<number>       the shell around the tasks of a job
GET  /frame/<lease>       the page of one task, in a frame of its own
GET  /o/...               pictures, by signed address
GET  /static/...          our scripts and styles
GET  /api/me              who I am, and my jobs
GET  /api/held/<number>   the tasks of a job that are in my hands
POST /api/<action>        the API of workers (`gtlabel.portal.workers`), by session
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import mimetypes
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from string import Template
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from gtlabel.engine.board import Board
from gtlabel.engine.crew import Crew, Worker
from gtlabel.engine.custom import task_input
from gtlabel.engine.desk import Desk
from gtlabel.engine.doorkeeper import Patience
from gtlabel.engine.jobs import Job, Kind
from gtlabel.engine.pages import Pages
from gtlabel.errors import (
    ForeignRequestError,
    GtlabelError,
    InviteError,
    JobNotFoundError,
    LeaseError,
    NotSignedInError,
    NotTheOwnerError,
    TooManyTriesError,
    WorkerDeactivatedError,
)
from gtlabel.portal import workers
from gtlabel.portal.documents import (
    PAGE_HEADERS,
    elements_script,
    failed_document,
    frame_document,
    frame_headers,
)
from gtlabel.portal.pictures import Pictures
from gtlabel.portal.renderer import Renderer
from gtlabel.portal.visitors import Visitors

_STATIC = Path(__file__).parent / "static"
_ACTIONS = ("lease", "submit", "decline", "release", "stop", "heartbeat", "revise")
_SCRIPT_HEADERS = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
_STATUS: dict[type[Exception], int] = {
    ForeignRequestError: 403,
    NotTheOwnerError: 403,
    WorkerDeactivatedError: 403,
    NotSignedInError: 401,
    JobNotFoundError: 404,
    LeaseError: 404,
    TooManyTriesError: 429,
}

Endpoint = Callable[[Request], Awaitable[Response]]


class Site:
    """The pages.

    Args:
        board: where the tasks are.
        crew: who may come in.
        renderer: renders templates.
        pictures: shows what templates name.
        secret: what nonces of tasks are made of; all processes of a portal have the same.
        admits: says why a worker may not work on a job, or None if they may.
        secure: whether the portal is reached over TLS.
        asset_hosts: where templates may load scripts and styles from, as a policy names it.
        seat: who somebody is to the board.
    """

    def __init__(
        self,
        board: Board,
        crew: Crew,
        renderer: Renderer,
        pictures: Pictures,
        secret: bytes,
        admits: Callable[[Job, str], str | None],
        *,
        secure: bool = False,
        asset_hosts: Sequence[str] = (),
        seat: Callable[[Worker], str] = lambda worker: worker.sub,
    ) -> None:
        self._board = board
        self._crew = crew
        self._renderer = renderer
        self._pictures = pictures
        self._secret = secret
        self._admits = admits
        self._asset_hosts = asset_hosts
        self._seat = seat
        self._desk = Desk(board.store)
        self._pages = Pages(board.store)
        self._patience = Patience()
        self._texts: dict[int, str] = {}
        self.visitors = Visitors(crew, secure=secure)

    def routes(self) -> list[BaseRoute]:
        """What the pages answer to."""
        return [
            Route("/", page(self.home)),
            Route("/join/{invite}", page(self.join), methods=["GET", "POST"]),
            Route("/leave", page(self.leave), methods=["POST"]),
            Route("/work/{number:int}", page(self.work)),
            Route("/frame/{lease}", self.frame),
            Route("/o/{expiry:int}/{signature}/{place:path}", self._pictures.answer),
            Route("/static/{name:path}", self.static),
            Route("/api/me", api(self.me)),
            Route("/api/held/{number:int}", api(self.held)),
            Route("/api/{action}", api(self.act), methods=["POST"]),
        ]

    async def home(self, request: Request) -> Response:
        """The list of jobs."""
        await self.visitors.worker(request)
        return own_page("jobs.html")

    async def join(self, request: Request) -> Response:
        """Shows an invite; a click consumes it."""
        if request.method in ("GET", "HEAD"):
            return own_page("join.html")
        self.visitors.check_own(request, script=False)
        address = request.client.host if request.client else ""
        pause = self._patience.wait(address, "invite")
        if pause > 0:
            raise TooManyTriesError(pause)
        try:
            worker = await asyncio.to_thread(self._crew.redeem, request.path_params["invite"])
        except InviteError:
            self._patience.failed(address, "invite")
            raise
        self._patience.succeeded(address, "invite")
        response = RedirectResponse("/", 303, PAGE_HEADERS)
        await self.visitors.sign_in(worker, response)
        return response

    async def leave(self, request: Request) -> Response:
        """Signs out."""
        self.visitors.check_own(request, script=False)
        response = notice("You are signed out", "To come back, ask the owner for a new invite.")
        await self.visitors.sign_out(request, response)
        return response

    async def work(self, request: Request) -> Response:
        """The shell."""
        await self.visitors.worker(request)
        await asyncio.to_thread(self._desk.job, request.path_params["number"])
        return own_page("grid.html" if request.query_params.get("view") == "grid" else "work.html")

    async def frame(self, request: Request) -> Response:
        """The page of one task, for the worker who has it; what is wrong is told inside the frame."""
        origin, lease = self.visitors.origin(request), request.path_params["lease"]
        status, nonce = 200, ""
        try:
            worker = await self.visitors.worker(request)
            task, job = await asyncio.to_thread(self._desk.task, lease, self._seat(worker))
            nonce = self.nonce(lease)
            template = await asyncio.to_thread(self._template, job)
            rendered = await self._renderer.render_async(
                template, task_input(task), grant=lambda uri: self._pictures.address(job.key, uri)
            )
            if rendered.errors:
                text = failed_document(str(rendered.errors[0]), nonce=nonce, origin=origin)
            else:
                text = frame_document(rendered.content, nonce=nonce, origin=origin, title=title_of(job))
        except GtlabelError as error:
            status, text = status_of(error), failed_document(str(error), nonce=nonce, origin=origin)
        return HTMLResponse(text, status, frame_headers(origin, self._asset_hosts))

    async def static(self, request: Request) -> Response:
        """Our own scripts and styles."""
        name = request.path_params["name"]
        if name == "crowd.js":
            headers = {**_SCRIPT_HEADERS, "Cross-Origin-Resource-Policy": "cross-origin"}
            return Response(elements_script(), headers=headers, media_type="text/javascript")
        path = (_STATIC / name).resolve()
        if (
            not path.is_relative_to(_STATIC)
            or path.suffix not in (".js", ".css", ".svg")
            or not path.is_file()
        ):
            return Response("there is nothing here", 404, media_type="text/plain")
        kind = "text/javascript" if path.suffix == ".js" else mimetypes.guess_type(path.name)[0]
        return Response(path.read_bytes(), headers=_SCRIPT_HEADERS, media_type=kind)

    async def me(self, request: Request) -> Response:
        """Who asks, and what there is for them to do."""
        worker = await self.visitors.worker(request)
        jobs = await asyncio.to_thread(self._jobs_of, worker)
        return JSONResponse(
            {"name": worker.name, "role": worker.role.value, "jobs": jobs}, headers=_no_store()
        )

    async def held(self, request: Request) -> Response:
        """The tasks of a job that are in the hands of whoever asks; those put aside are taken up again."""
        worker = await self.visitors.worker(request)
        tasks = await asyncio.to_thread(self._held, worker, request.path_params["number"])
        return JSONResponse({"tasks": tasks}, headers=_no_store())

    async def act(self, request: Request) -> Response:
        """One action of a worker."""
        self.visitors.check_own(request)
        worker = await self.visitors.worker(request)
        action = request.path_params["action"]
        try:
            asked = json.loads(await request.body() or b"{}")
        except (ValueError, RecursionError):
            asked = None
        if action not in _ACTIONS or not isinstance(asked, dict):
            return JSONResponse({"error": f"{action!r} with this body is not understood"}, 400)
        job = None
        if action == "lease":
            job = await asyncio.to_thread(self._desk.job, int(asked.pop("job", 0)))
            asked |= {"job": job.key.name, "account": job.key.account, "region": job.key.region}
        status, said = await workers.answer(self._board, action, asked, workers.Caller(self._seat(worker)))
        for given in (said, said.get("next")):
            if isinstance(given, dict) and given.get("lease"):
                given.update(await asyncio.to_thread(self._about, given["lease"], worker))
        return JSONResponse(said, status, _no_store())

    def nonce(self, lease: str) -> str:
        """What only the page of a task and the shell around it know."""
        return hmac.new(self._secret, f"frame/{lease}".encode(), hashlib.sha256).hexdigest()[:32]

    def _template(self, job: Job) -> str:
        if job.number not in self._texts:
            text = self._pages.of(job)
            if text is None:
                raise LeaseError(f"the job {job.key.name!r} has no page for workers; answer it by the API")
            self._texts[job.number] = text
        return self._texts[job.number]

    def _jobs_of(self, worker: Worker) -> list[dict[str, Any]]:
        paused: dict[str, int] = {}
        for task in self._board.held(self._seat(worker)):
            if task.paused:
                paused[task.job.name] = paused.get(task.job.name, 0) + 1
        found = []
        for job in self._desk.running():
            if self._admits(job, self._seat(worker)) is not None:
                continue
            standing = self._desk.standing(job, self._seat(worker))
            human = job.spec.request.get("HumanTaskConfig", {})
            found.append(
                {
                    "number": job.number,
                    "name": job.key.name,
                    "title": title_of(job),
                    "description": human.get("TaskDescription", ""),
                    "left": standing.left,
                    "mine": standing.mine,
                    "stopped": paused.get(job.key.name, 0),
                    "grid": job.spec.kind is Kind.SINGLE,
                }
            )
        return found

    def _held(self, worker: Worker, number: int) -> list[dict[str, Any]]:
        job = self._desk.job(number)
        tasks = []
        for task in self._board.held(self._seat(worker)):
            if task.job != job.key:
                continue
            if task.paused:
                self._board.resume(task.lease)
            tasks.append(
                {
                    "lease": task.lease,
                    "expires": task.expires.isoformat(),
                    "classes": list(task.classes),
                    **self._about(task.lease, worker),
                }
            )
        return tasks

    def _about(self, lease: str, worker: Worker) -> dict[str, Any]:
        """What the shell must know of a task beside what the API says."""
        _, job = self._desk.task(lease, self._seat(worker))
        return {
            "nonce": self.nonce(lease),
            "title": title_of(job),
            "job_name": job.key.name,
            "now": datetime.now(UTC).isoformat(),
        }


def title_of(job: Job) -> str:
    """What workers call a job."""
    return str(job.spec.request.get("HumanTaskConfig", {}).get("TaskTitle") or job.key.name)


def page(endpoint: Endpoint) -> Endpoint:
    """Tells a person in the browser what went wrong."""

    @wraps(endpoint)
    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except GtlabelError as error:
            titles = {401: "You are not signed in", 403: "This is not allowed", 429: "Please wait a little"}
            status = status_of(error)
            return notice(titles.get(status, "This does not work"), str(error), status)

    return answered


def api(endpoint: Endpoint) -> Endpoint:
    """Tells a script what went wrong."""

    @wraps(endpoint)
    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except GtlabelError as error:
            return JSONResponse({"error": str(error)}, status_of(error), _no_store())

    return answered


def status_of(error: GtlabelError) -> int:
    """The HTTP status of what is not allowed, not there, or cannot be now."""
    known = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), None)
    return known or workers.refusal(error, "page")[0]


def own_page(name: str, values: Mapping[str, str] | None = None, status: int = 200) -> HTMLResponse:
    """A page of ours; values become text and never markup."""
    text = (_STATIC / "pages" / name).read_text()
    if values is not None:
        text = Template(text).substitute({key: _escaped(value) for key, value in values.items()})
    return HTMLResponse(text, status, PAGE_HEADERS)


def notice(title: str, text: str, status: int = 200) -> HTMLResponse:
    """A page that says one thing."""
    return own_page("notice.html", {"title": title, "text": text}, status)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _no_store() -> dict[str, str]:
    return {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
