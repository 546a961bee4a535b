"""Who is at the browser: sessions by cookie, and whether a request is of one of our own pages.

A request that changes something must come from a page of the portal. The browser says so in `Origin`, and the
cookie is never sent along from elsewhere; the header that only our scripts set is the third lock
(contract/worker-ui.md 6.4).
"""

from __future__ import annotations

import asyncio
import time

from starlette.requests import Request
from starlette.responses import Response

from gtlabel.engine.crew import Crew, Worker
from gtlabel.engine.entry import SESSION_SECONDS
from gtlabel.errors import ForeignRequestError, NotSignedInError

# How long a session is believed to go on.
_FRESH_SECONDS = 0.5
_MOST_REMEMBERED = 4096


class Visitors:
    """Tells visitors apart.

    Args:
        crew: who may come in.
        secure: whether the portal is reached over TLS, so that the cookie needs it, too.
    """

    def __init__(self, crew: Crew, *, secure: bool) -> None:
        self._crew = crew
        self._secure = secure
        self._known: dict[str, tuple[Worker, float]] = {}

    def origin(self, request: Request) -> str:
        """Where the portal is, as the browser knows it; who stands in front looked at the name."""
        scheme = "https" if self._secure else "http"
        return f"{scheme}://{request.headers.get('host', '')}"

    def cookie(self, request: Request) -> str:
        """The name of the session's cookie; a browser sends those of one host to all of its ports."""
        if self._secure:
            return "__Host-gtlabel"
        return f"gtlabel-{request.headers.get('host', '').rpartition(':')[2]}"

    async def worker(self, request: Request) -> Worker:
        """Whose session it is.

        Raises:
            NotSignedInError: if there is none, or it is over.
        """
        session = request.cookies.get(self.cookie(request), "")
        worker, looked = self._known.get(session, (None, 0.0))
        if worker is not None and time.monotonic() - looked < _FRESH_SECONDS:
            return worker
        self._known.pop(session, None)
        # In a thread, because it may wait for the database, and everybody else must not.
        found = await asyncio.to_thread(self._crew.session, session) if session else None
        if found is None:
            raise NotSignedInError(
                "you are not signed in; open the link of an invite, or ask the owner for one"
            )
        if len(self._known) >= _MOST_REMEMBERED:
            self._known.clear()
        self._known[session] = found, time.monotonic()
        return found

    def check_own(self, request: Request, *, script: bool = True) -> None:
        """Refuse what does not come from a page of ours.

        Args:
            request: what came.
            script: whether only a script of ours sends it, and no form.

        Raises:
            ForeignRequestError: if it comes from elsewhere.
        """
        origin = request.headers.get("origin")
        site = request.headers.get("sec-fetch-site")
        if origin != self.origin(request) or site not in (None, "same-origin"):
            raise ForeignRequestError
        if script and request.headers.get("x-gtlabel") != "1":
            raise ForeignRequestError

    def check_near(self, request: Request) -> None:
        """Refuse what a page elsewhere asks for in passing, as a picture or a script of its own.

        Raises:
            ForeignRequestError: if it comes from there.
        """
        if request.headers.get("sec-fetch-site") not in (None, "none", "same-origin"):
            raise ForeignRequestError

    async def sign_in(self, worker: Worker, request: Request, response: Response) -> None:
        """Begin a new session in an answer, and end the one that was there before."""
        await self._end(request)
        session = await asyncio.to_thread(self._crew.open_session, worker.name)
        response.set_cookie(
            self.cookie(request),
            session,
            max_age=SESSION_SECONDS,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="strict",
        )

    async def sign_out(self, request: Request, response: Response) -> None:
        """End the session that a request shows."""
        await self._end(request)
        response.delete_cookie(
            self.cookie(request), path="/", secure=self._secure, httponly=True, samesite="strict"
        )

    async def _end(self, request: Request) -> None:
        session = request.cookies.get(self.cookie(request), "")
        self._known.pop(session, None)
        if session:
            await asyncio.to_thread(self._crew.close_session, session)
