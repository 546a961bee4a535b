"""A worker page against real lines of a manifest, for whoever writes it; nothing is sent anywhere.

GET  /<token>/                 the page around it
GET  /<token>/line/<number>    what a line holds, and what is wrong with the template
POST /<token>/check            why a job of that kind would refuse an answer, if it would
GET  /frame/<key>/<number>     the page of one line, in a frame of its own, as workers get it
GET  /o/...                    pictures, by signed address

The template is read anew each time, so that it can be changed beside the browser. Its frame knows no token.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from secrets import token_bytes, token_urlsafe
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from gtlabel.engine.board import check_answer
from gtlabel.engine.custom import page_input
from gtlabel.engine.jobs import Job, JobKey, JobSpec, Kind, Status
from gtlabel.errors import AnswerError, GtlabelError, ManifestLineError
from gtlabel.portal.assets import static
from gtlabel.portal.documents import failed_document, frame_document, frame_headers
from gtlabel.portal.pictures import Pictures
from gtlabel.portal.renderer import Renderer
from gtlabel.portal.replies import API_HEADERS, api, own_page, page
from gtlabel.uris import S3Uri

_JOB = JobKey("-", "-", "preview")
_FOUND_KINDS = (Kind.MULTI, Kind.SINGLE)


class Preview:
    """The pages.

    Args:
        template: gives the template as it is now.
        name: what the template is called.
        lines: the lines of the manifest.
        manifest: what the manifest is called.
        classes: the classes of the job.
        read: gives a picture by its address, which may be that of `stand_in`.
        stand_in: gives the address of a picture that lies on this machine, for what a line calls it; the
            same text for everything else.
        asset_hosts: hosts that the template may load scripts and styles from, over TLS.

    Attributes:
        token: what whoever may look knows.
    """

    def __init__(
        self,
        template: Callable[[], str],
        name: str,
        lines: Sequence[bytes],
        manifest: str,
        classes: Sequence[str],
        read: Callable[[S3Uri], bytes],
        stand_in: Callable[[str], str],
        asset_hosts: Sequence[str] = (),
    ) -> None:
        self._template = template
        self._name = name
        self._lines = lines
        self._manifest = manifest
        self._classes = tuple(classes)
        self._stand_in = stand_in
        self._asset_hosts = [f"https://{host}" for host in asset_hosts]
        self._renderer = Renderer()
        self._pictures = Pictures(token_bytes(32), lambda _, uri: read(uri))
        self.token = token_urlsafe(24)
        self._key = token_urlsafe(24)

    def app(self) -> Starlette:
        """The application."""
        return Starlette(
            routes=[
                Route(f"/{self.token}/", page(self.shell)),
                Route(f"/{self.token}/line/{{number:int}}", api(self.line)),
                Route(f"/{self.token}/check", api(self.check), methods=["POST"]),
                Route(f"/frame/{self._key}/{{number:int}}", self.frame),
                Route("/o/{expiry:int}/{signature}/{place:path}", self._pictures.answer),
                Route("/static/{name:path}", static),
            ]
        )

    def close(self) -> None:
        """End the process that renders."""
        self._renderer.close()

    async def shell(self, _request: Request) -> Response:
        """The page around the task."""
        return own_page("preview.html")

    async def line(self, request: Request) -> Response:
        """What a line holds, and what is wrong with the template."""
        number = request.path_params["number"]
        record = self._record(number)
        problems = await asyncio.to_thread(self._problems, record)
        said = {
            "template": self._name,
            "manifest": self._manifest,
            "total": len(self._lines),
            "record": record,
            "frame": f"/frame/{self._key}/{number}",
            "nonce": self._key,
            "problems": problems,
        }
        return JSONResponse(said, headers=API_HEADERS)

    async def check(self, request: Request) -> Response:
        """Why a job would refuse an answer."""
        answer = json.loads(await request.body())
        text = await asyncio.to_thread(self._template)
        # A built-in job is told by the element it has; every other one takes what it gets.
        kind = next((kind for kind in _FOUND_KINDS if f"<{kind.value}" in text), Kind.CUSTOM)
        refused = None
        try:
            check_answer(_job(kind, self._classes), answer)
        except AnswerError as error:
            refused = str(error)
        return JSONResponse({"refused": refused}, headers=API_HEADERS)

    async def frame(self, request: Request) -> Response:
        """The page of one line."""
        origin = f"http://{request.headers.get('host', '')}"
        status = 200
        try:
            record = self._record(request.path_params["number"])
            template = await asyncio.to_thread(self._template)
            rendered = await self._renderer.render_async(
                template, self._input(record), grant=lambda uri: self._pictures.address(_JOB, uri)
            )
            if rendered.errors:
                text = failed_document(str(rendered.errors[0]), nonce=self._key, origin=origin)
            else:
                text = frame_document(rendered.content, nonce=self._key, origin=origin, title=self._name)
        except GtlabelError as error:
            status, text = 404, failed_document(str(error), nonce=self._key, origin=origin)
        return HTMLResponse(text, status, frame_headers(origin, self._asset_hosts))

    def _record(self, number: int) -> dict[str, Any]:
        if not 0 < number <= len(self._lines):
            raise ManifestLineError(self._manifest, number, f"there are {len(self._lines)} lines")
        try:
            record = json.loads(self._lines[number - 1])
        except (ValueError, RecursionError) as error:
            raise ManifestLineError(self._manifest, number, f"it is not JSON: {error}") from error
        if not isinstance(record, dict):
            raise ManifestLineError(self._manifest, number, "it is no JSON object")
        return record

    def _input(self, record: dict[str, Any]) -> dict[str, Any]:
        there = {
            name: self._stand_in(value) if isinstance(value, str) else value for name, value in record.items()
        }
        return page_input(there, self._classes, Kind.CUSTOM)

    def _problems(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        found = self._renderer.lint(self._template(), element="", sample=self._input(record))
        return [asdict(one) for one in sorted(found, key=lambda one: (one.severity, one.line or 0))]


def _job(kind: Kind, classes: tuple[str, ...]) -> Job:
    """What a job with such a page would be, as far as its answers go."""
    spec = JobSpec(_JOB, "label", None, None, S3Uri("s3://preview"), kind)
    long_ago = datetime.fromtimestamp(0, UTC)
    return Job(0, spec, Status.IN_PROGRESS, "", long_ago, long_ago, classes, 0)
