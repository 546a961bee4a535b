"""The owner's pages, as routes of an ASGI application: what goes on in all jobs, and who may come in.

GET  /owner                        all jobs
GET  /owner/jobs/<number>          one job
GET  /owner/jobs/<number>/quality  how far people agree in it, and how good each of them is
GET  /owner/people                 who may come in
GET  /api/owner/events             progress of all jobs, as it happens (server-sent events)
GET  /api/owner/jobs/<number>      one job in full
GET  /api/owner/jobs/<n>/quality   agreement and workers of one job
GET  /api/owner/people             everybody
POST /api/owner/jobs/<n>/stop      stops a job
POST /api/owner/jobs/<n>/withdraw  lets a worker's answers count no more: {"worker"}
POST /api/owner/people             takes somebody in: {"name", "email", "groups"}
POST /api/owner/people/<name>/<what>   invite, deactivate, activate or sign-out
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from gtlabel.engine.adaptive import saving
from gtlabel.engine.automation import told
from gtlabel.engine.board import Board
from gtlabel.engine.crew import Crew, Role, Worker
from gtlabel.engine.desk import Desk
from gtlabel.engine.jobs import Job, Status
from gtlabel.engine.overview import Overview
from gtlabel.errors import NotTheOwnerError, WorkerError
from gtlabel.portal.numbers import NUMBER
from gtlabel.portal.pictures import Pictures
from gtlabel.portal.replies import API_HEADERS, api, own_page, page, trouble
from gtlabel.portal.site import title_of
from gtlabel.portal.visitors import Visitors

_EVENT_SECONDS = 1.0
# A proxy ends a connection that says nothing for long.
_SILENCE_SECONDS = 15.0
# A view of a large job takes a while to read. As many times as long it serves everybody who looks, so that
# owners who follow a job take at most a twentieth of the server from those who work.
_VIEW_SHARE = 20
_QUICK_SECONDS = 0.01
# What was read of jobs by their numbers: in which status, until when it is good enough, and what.
_Views = dict[int, tuple[Status, float, dict[str, Any]]]


class OwnerSite:
    """The pages.

    Args:
        board: where the tasks are.
        crew: who may come in.
        visitors: who is at the browser.
        pictures: shows disputed images.
        closing: set when the server ends.
    """

    def __init__(
        self, board: Board, crew: Crew, visitors: Visitors, pictures: Pictures, closing: threading.Event
    ) -> None:
        self._closing = closing
        self._board = board
        self._crew = crew
        self._visitors = visitors
        self._pictures = pictures
        self._desk = Desk(board.store)
        self._overview = Overview(board.store)
        self._latest: tuple[float, list[dict[str, Any]]] = (0.0, [])
        self._views: _Views = {}
        self._judgments: _Views = {}
        # How often answers were withdrawn: what was read before one of these is not good enough after it.
        self._withdrawals = 0
        # One at a time of each: a large crowd takes seconds to judge, and nobody waits for that to see a job.
        self._reading, self._judging = asyncio.Lock(), asyncio.Lock()

    def routes(self) -> list[BaseRoute]:
        """What the pages answer to; they stand before the workers' own."""
        return [
            Route("/owner", page(self._shown("owner.html"))),
            Route(f"/owner/jobs/{NUMBER}", page(self.job_page)),
            Route(f"/owner/jobs/{NUMBER}/quality", page(self.quality_page)),
            Route("/owner/people", page(self._shown("people.html"))),
            Route("/api/owner/events", api(self.events)),
            Route(f"/api/owner/jobs/{NUMBER}", api(self.job)),
            Route(f"/api/owner/jobs/{NUMBER}/quality", api(self.quality)),
            Route(f"/api/owner/jobs/{NUMBER}/stop", api(self.stop), methods=["POST"]),
            Route(f"/api/owner/jobs/{NUMBER}/withdraw", api(self.withdraw), methods=["POST"]),
            Route("/api/owner/people", api(self.people), methods=["GET", "POST"]),
            Route("/api/owner/people/{name}/{what}", api(self.change), methods=["POST"]),
        ]

    def _shown(self, name: str) -> Callable[[Request], Awaitable[Response]]:
        async def shown(request: Request) -> Response:
            await self._owner(request)
            return own_page(name)

        return shown

    async def job_page(self, request: Request) -> Response:
        """The page of one job."""
        await self._owner(request)
        await asyncio.to_thread(self._desk.job, request.path_params["number"])
        return own_page("owner-job.html")

    async def quality_page(self, request: Request) -> Response:
        """The page of how good the answers of a job are."""
        await self._owner(request)
        await asyncio.to_thread(self._desk.job, request.path_params["number"])
        return own_page("owner-quality.html")

    async def events(self, request: Request) -> Response:
        """How far all jobs are: once at the start, and whenever it changes."""
        await self._owner(request)
        return StreamingResponse(
            self._stream(request),
            media_type="text/event-stream",
            headers={**API_HEADERS, "X-Accel-Buffering": "no"},
        )

    async def job(self, request: Request) -> Response:
        """One job in full."""
        await self._owner(request)
        return await self._kept(request.path_params["number"], self._view, self._views, self._reading)

    async def quality(self, request: Request) -> Response:
        """How far people agree in a job, and how good each of them is."""
        await self._owner(request)
        number = request.path_params["number"]
        return await self._kept(number, self._judged, self._judgments, self._judging)

    async def _kept(
        self, number: int, read: Callable[[Job], dict[str, Any]], views: _Views, reading: asyncio.Lock
    ) -> Response:
        """What was read a short while ago, or is read now; one at a time for all who look."""
        async with reading:
            began = time.monotonic()
            job = await asyncio.to_thread(self._desk.job, number)
            status, good_until, view = views.get(number, (None, 0.0, {}))
            # How a job ended is not to be waited for.
            if began >= good_until or status is not job.status:
                before = self._withdrawals
                view = await asyncio.to_thread(read, job)
                took = time.monotonic() - began
                for past in [each for each, (_, until, _) in views.items() if until <= began]:
                    del views[past]
                if took > _QUICK_SECONDS and before == self._withdrawals:
                    views[number] = job.status, began + _VIEW_SHARE * took, view
        return JSONResponse(view, headers=API_HEADERS)

    async def stop(self, request: Request) -> Response:
        """Stops a job; what was answered is kept."""
        self._visitors.check_own(request)
        await self._owner(request)
        job = await asyncio.to_thread(self._desk.job, request.path_params["number"])
        stopped = await asyncio.to_thread(self._board.stop, job.key)
        self._views.pop(job.number, None)
        return JSONResponse({"stopping": stopped}, headers=API_HEADERS)

    async def withdraw(self, request: Request) -> Response:
        """Lets a worker's answers in a job count no more; others take their places."""
        self._visitors.check_own(request)
        await self._owner(request)
        job = await asyncio.to_thread(self._desk.job, request.path_params["number"])
        named = str((await _object(request)).get("worker", ""))
        people = await asyncio.to_thread(self._crew.workers)
        # Who came by the API alone is known by nothing but an id.
        worker = next((one.sub for one in people if one.name == named), named)
        lost = await asyncio.to_thread(self._board.withdraw_worker, job.key, worker)
        self._withdrawals += 1
        self._views.pop(job.number, None)
        self._judgments.pop(job.number, None)
        return JSONResponse({"withdrawn": len(lost)}, headers=API_HEADERS)

    async def people(self, request: Request) -> Response:
        """Everybody; or takes somebody in and invites them."""
        owner = await self._owner(request)
        if request.method == "POST":
            self._visitors.check_own(request)
            asked = await _object(request)
            groups = [group.strip() for group in str(asked.get("groups", "")).split(",") if group.strip()]
            name, email = str(asked.get("name", "")), str(asked.get("email", ""))
            await asyncio.to_thread(
                lambda: self._crew.add(name, email=email, groups=groups, role=Role.WORKER, by=owner.name)
            )
            return await self._invited(request, name, owner)
        workers = await asyncio.to_thread(self._crew.workers)
        return JSONResponse({"people": [_told(worker) for worker in workers]}, headers=API_HEADERS)

    async def change(self, request: Request) -> Response:
        """Invites somebody again, or changes whether they may come in."""
        self._visitors.check_own(request)
        owner = await self._owner(request)
        name, what = request.path_params["name"], request.path_params["what"]
        changes: dict[str, Callable[[], object]] = {
            "deactivate": lambda: self._crew.deactivate(name, by=owner.name),
            "activate": lambda: self._crew.activate(name, by=owner.name),
            "sign-out": lambda: self._crew.sign_out(name, by=owner.name),
        }
        if what == "invite":
            return await self._invited(request, name, owner)
        if what not in changes:
            raise WorkerError(f"people cannot be told to {what!r}")
        if what == "deactivate" and name == owner.name:
            raise WorkerError("you cannot shut yourself out; another owner can")
        await asyncio.to_thread(changes[what])
        return JSONResponse(_told(await asyncio.to_thread(self._crew.worker, name)), headers=API_HEADERS)

    async def _invited(self, request: Request, name: str, owner: Worker) -> Response:
        invite = await asyncio.to_thread(lambda: self._crew.invite(name, by=owner.name))
        link = f"{self._visitors.origin(request)}/join/{invite}"
        return JSONResponse({"name": name, "link": link}, headers=API_HEADERS)

    async def _owner(self, request: Request) -> Worker:
        worker = await self._visitors.worker(request)
        if worker.role is not Role.OWNER:
            raise NotTheOwnerError
        return worker

    async def _stream(self, request: Request) -> AsyncIterator[str]:
        last, silent = "", 0.0
        while not self._closing.is_set() and not await request.is_disconnected():
            try:
                # The session may end, or the role, while the page stays open.
                await self._owner(request)
                text = json.dumps({"jobs": await self._progress()})
            except Exception as error:  # noqa: BLE001 - told apart in `trouble`
                status, sentence = trouble(error, "/api/owner/events")
                yield f"event: trouble\ndata: {json.dumps({'error': sentence, 'status': status})}\n\n"
                return
            if text != last:
                yield f"event: jobs\ndata: {text}\n\n"
                last, silent = text, 0.0
            elif silent >= _SILENCE_SECONDS:
                yield ": still here\n\n"
                silent = 0.0
            await asyncio.sleep(_EVENT_SECONDS)
            silent += _EVENT_SECONDS

    async def _progress(self) -> list[dict[str, Any]]:
        """What all who watch are told, read once a second for all of them."""
        now = asyncio.get_running_loop().time()
        read, jobs = self._latest
        if now - read >= _EVENT_SECONDS / 2:
            jobs = await asyncio.to_thread(lambda: [_row(*each) for each in self._overview.jobs()])
            self._latest = now, jobs
        return jobs

    def _judged(self, job: Job) -> dict[str, Any]:
        # numpy starts slowly, and only who looks at this page needs it.
        from gtlabel.portal.quality import told_of_quality

        names = {worker.sub: worker.name for worker in self._crew.workers()}
        return told_of_quality(self._board.store, job, names, lambda numbers: self._addresses(job, numbers))

    def _addresses(self, job: Job, numbers: Sequence[int]) -> dict[int, str | None]:
        """Where some pictures of a job can be seen, by their numbers; None for what is no picture in S3."""
        sources = self._overview.sources(job, numbers)
        return {
            number: self._pictures.address(job.key, source) if source else None
            for number, source in sources.items()
        }

    def _view(self, job: Job) -> dict[str, Any]:
        view = self._overview.view(job)
        saved = saving(self._board.store, job)
        names = {worker.sub: worker.name for worker in self._crew.workers()}
        return {
            **_row(job, view.states),
            "attribute": job.spec.attribute,
            "workers_per_object": job.spec.workers_per_object,
            "output": str(job.spec.root),
            "reason": job.reason,
            "classes": view.classes,
            "agreement": view.agreement,
            "automation": told(self._board.store, job),
            "saving": None if saved is None else saved.to_json(),
            "people": [
                {
                    "name": names.get(pace.worker, pace.worker),
                    "answers": pace.answers,
                    "seconds": pace.seconds,
                    "agreement": pace.agreement,
                    "last": pace.last.isoformat(timespec="seconds"),
                    "withdrawn": pace.withdrawn,
                }
                for pace in view.people
            ],
            "disputed": [
                {
                    "object": each.object,
                    "picture": self._pictures.address(job.key, each.source_ref) if each.source_ref else None,
                    "votes": each.votes,
                }
                for each in view.disputed
            ],
        }


def _row(job: Job, states: dict[str, int]) -> dict[str, Any]:
    machine = states.get("machine", 0)
    labeled = states.get("labeled", 0) + states.get("answered", 0) + machine
    passed = states.get("passed", 0)
    return {
        "number": job.number,
        "name": job.key.name,
        "title": title_of(job),
        "status": job.status.value,
        "ended": job.status.ended,
        "created": job.created.isoformat(timespec="seconds"),
        "labeled": labeled,
        "by_machine": machine,
        "failed": states.get("failed", 0),
        "total": sum(states.values()) - passed,
    }


def _told(worker: Worker) -> dict[str, Any]:
    return {
        "name": worker.name,
        "email": worker.email,
        "groups": list(worker.groups),
        "role": worker.role.value,
        "active": worker.active,
    }


async def _object(request: Request) -> dict[str, Any]:
    try:
        asked = json.loads(await request.body() or b"{}")
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        raise WorkerError("the body is not a JSON object")
    return asked
