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
from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from gtlabel.engine.board import Board
from gtlabel.engine.crew import Crew, Worker
from gtlabel.engine.custom import task_input
from gtlabel.engine.desk import Desk
from gtlabel.engine.doorkeeper import Patience
from gtlabel.engine.jobs import Job
from gtlabel.engine.pages import Pages
from gtlabel.errors import (
    ForeignRequestError,
    InviteError,
    LeaseError,
    TooManyTriesError,
    WorkerNotAdmittedError,
)
from gtlabel.portal import workers
from gtlabel.portal.assets import static
from gtlabel.portal.documents import (
    PAGE_HEADERS,
    failed_document,
    frame_document,
    frame_headers,
)
from gtlabel.portal.grid import is_for_grid, suggestion
from gtlabel.portal.numbers import EXPIRY, NUMBER
from gtlabel.portal.pictures import Pictures
from gtlabel.portal.renderer import Renderer
from gtlabel.portal.replies import API_HEADERS, api, calm, notice, own_page, page, trouble
from gtlabel.portal.visitors import Visitors

_ACTIONS = ("lease", "submit", "decline", "release", "stop", "heartbeat", "revise")
_PAGES_REMEMBERED = 64


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
        address_of: where a request came from.
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
        address_of: Callable[[Request], str],
    ) -> None:
        self._board = board
        self._crew = crew
        self._renderer = renderer
        self._pictures = pictures
        self._secret = secret
        self._admits = admits
        self._asset_hosts = asset_hosts
        self._seat = seat
        self._address_of = address_of
        self._desk = Desk(board.store)
        self._pages = Pages(board.store)
        self._patience = Patience()
        self._texts: dict[int, str] = {}
        self._grids: dict[int, bool] = {}
        self.visitors = Visitors(crew, secure=secure)

    def routes(self) -> list[BaseRoute]:
        """What the pages answer to."""
        return [
            Route("/", page(self.home)),
            Route("/join/{invite}", page(self.join), methods=["GET", "POST"]),
            Route("/leave", page(self.leave), methods=["POST"]),
            Route(f"/work/{NUMBER}", page(self.work)),
            Route("/frame/{lease}", self.frame),
            Route(f"/o/{EXPIRY}/{{signature}}/{{place:path}}", self._pictures.answer),
            Route("/static/{name:path}", static),
            Route("/api/me", api(self.me)),
            Route(f"/api/held/{NUMBER}", api(self.held)),
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
        address = self._address_of(request)
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
        await self.visitors.sign_in(worker, request, response)
        return response

    async def leave(self, request: Request) -> Response:
        """Signs out."""
        self.visitors.check_own(request, script=False)
        response = notice("You are signed out", "To come back, ask the owner for a new invite.")
        await self.visitors.sign_out(request, response)
        return response

    async def work(self, request: Request) -> Response:
        """The shell."""
        worker = await self.visitors.worker(request)
        job = await asyncio.to_thread(self._desk.job, request.path_params["number"])
        reason = await asyncio.to_thread(self._admits, job, self._seat(worker))
        if reason is not None:
            raise WorkerNotAdmittedError(reason)
        wants_grid = request.query_params.get("view") == "grid"
        if wants_grid and not await asyncio.to_thread(self._has_grid, job):
            return RedirectResponse(request.url.path, 303, PAGE_HEADERS)
        return own_page("grid.html" if wants_grid else "work.html")

    async def frame(self, request: Request) -> Response:
        """The page of one task, for the worker who has it; what is wrong is told inside the frame."""
        origin, lease = self.visitors.origin(request), request.path_params["lease"]
        status, nonce = 200, ""
        try:
            if request.headers.get("sec-fetch-dest") not in (None, "iframe"):
                # In a tab of its own the page could go wherever it likes, with what it knows of the task.
                raise ForeignRequestError
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
        except Exception as error:  # noqa: BLE001 - told apart in `trouble`
            status, sentence = trouble(error, "/frame")
            text = failed_document(sentence, nonce=nonce, origin=origin)
        return HTMLResponse(text, status, frame_headers(origin, self._asset_hosts))

    async def me(self, request: Request) -> Response:
        """Who asks, and what there is for them to do."""
        worker = await self.visitors.worker(request)
        jobs = await asyncio.to_thread(self._jobs_of, worker)
        return JSONResponse(
            {"name": worker.name, "role": worker.role.value, "jobs": jobs}, headers=API_HEADERS
        )

    async def held(self, request: Request) -> Response:
        """The tasks of a job that are in the hands of whoever asks; those put aside are taken up again."""
        self.visitors.check_near(request)
        worker = await self.visitors.worker(request)
        view = request.query_params.get("view", "")
        tasks = await asyncio.to_thread(self._held, worker, request.path_params["number"], view)
        return JSONResponse({"tasks": tasks}, headers=API_HEADERS)

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
            return JSONResponse({"error": f"{action!r} with this body is not understood"}, 400, API_HEADERS)
        view, job = asked.pop("view", ""), None
        if action == "lease":
            number = asked.pop("job", None)
            if type(number) is not int:
                return JSONResponse({"error": '"job" must be the number of a job'}, 400, API_HEADERS)
            job = await asyncio.to_thread(self._desk.job, number)
            asked |= {"job": job.key.name, "account": job.key.account, "region": job.key.region}
        status, said = await workers.answer(self._board, action, asked, workers.Caller(self._seat(worker)))
        for given in (said, said.get("next")):
            if isinstance(given, dict) and given.get("lease"):
                given.update(self._moment(given["lease"]))
                # The shell of a job knows its title from the first task on.
                if view == "grid":
                    given.update(await asyncio.to_thread(self._about, given["lease"], worker, view))
                elif job is not None:
                    given.update({"title": title_of(job), "job_name": job.key.name})
        return JSONResponse(calm(said, status), status, API_HEADERS)

    def nonce(self, lease: str) -> str:
        """What only the page of a task and the shell around it know."""
        return hmac.new(self._secret, f"frame/{lease}".encode(), hashlib.sha256).hexdigest()[:32]

    def _template(self, job: Job) -> str:
        text = self._texts.get(job.number) or self._pages.of(job)
        if text is None:
            raise LeaseError(f"the job {job.key.name!r} has no page for workers; answer it by the API")
        if len(self._texts) >= _PAGES_REMEMBERED:
            self._texts.clear()
        self._texts[job.number] = text
        return text

    def _has_grid(self, job: Job) -> bool:
        if job.number not in self._grids:
            text = self._pages.of(job)
            if text is None:
                # There may be one yet, when the job has begun.
                return False
            self._grids[job.number] = is_for_grid(job, text)
        return self._grids[job.number]

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
                    "grid": self._has_grid(job),
                }
            )
        return found

    def _held(self, worker: Worker, number: int, view: str) -> list[dict[str, Any]]:
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
                    **self._about(task.lease, worker, view),
                }
            )
        return tasks

    def _about(self, lease: str, worker: Worker, view: str) -> dict[str, Any]:
        """What the shell must know of a task beside what the API says."""
        task, job = self._desk.task(lease, self._seat(worker))
        about: dict[str, Any] = {
            **self._moment(lease),
            "title": title_of(job),
            "job_name": job.key.name,
        }
        if view == "grid":
            about["picture"] = self._pictures.address(job.key, task.source_ref) if task.source_ref else None
            about["suggestion"] = suggestion(task.line, task.classes)
        return about

    def _moment(self, lease: str) -> dict[str, Any]:
        """What belongs to a task in the shell, and what time it is here."""
        return {"nonce": self.nonce(lease), "now": self._board.clock().isoformat()}


def title_of(job: Job) -> str:
    """What workers call a job."""
    return str(job.spec.request.get("HumanTaskConfig", {}).get("TaskTitle") or job.key.name)
