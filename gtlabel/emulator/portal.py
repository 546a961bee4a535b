"""The portal of an emulator: its labeling jobs in a browser, on a port of its own.

It is a thread of the emulator's process. What it is made of is imported there, once AWS is answered already:
nobody who never looks at it waits for it.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gtlabel.emulator import doorway
from gtlabel.emulator.api import Context
from gtlabel.emulator.secret import portal_secret
from gtlabel.emulator.webserver import WebServer, listen
from gtlabel.engine.roster import Role
from gtlabel.errors import EmulatorNotReadyError, PortInUseError, WorkerNameTakenError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from gtlabel.emulator.emulator import Emulator
    from gtlabel.emulator.shelf import Shelf

# The largest answer of a worker is far below it.
_LARGEST_BODY = 4 << 20
_READY_SECONDS = 30.0
_END_SECONDS = 10.0


class Portal(threading.Thread):
    """Pages for the people of an account, who have their names there.

    Args:
        emulator: the account.
        host: the address to listen on.
        port: the port; 0 takes a free one.
        on_ready: called once, from its own thread, when the first page may be asked for.

    Attributes:
        url: where it is.

    Raises:
        PortInUseError: if something else listens there.
    """

    def __init__(
        self, emulator: Emulator, host: str, port: int, on_ready: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(name="portal", daemon=True)
        self._emulator = emulator
        self._host = host
        self._on_ready = on_ready
        self._listener = _listen(emulator.shelf, host, port)
        self._ready = threading.Event()
        self._app: ASGIApp | None = None
        self._server = WebServer(self._answer, self._listener)
        shown = host.strip("[]")
        shown = "127.0.0.1" if shown in ("0.0.0.0", "::") else shown  # noqa: S104 - it is what was asked for
        self.url = f"http://{f'[{shown}]' if ':' in shown else shown}:{self._listener.getsockname()[1]}"

    def run(self) -> None:
        """Answer until `end`."""
        try:
            doorway.remember(self._emulator.shelf, self.url)
            self.renew()
            self._server.run(self._tell)
        except Exception:
            # A thread has nobody to raise to, and the rest of the emulator goes on without its pages.
            logging.exception("the portal at %s has ended", self.url)

    def renew(self) -> None:
        """Make the pages anew, with nothing remembered of what was shown before."""
        from starlette.applications import Starlette

        from gtlabel.emulator.hosts import Guard
        from gtlabel.portal.app import pages
        from gtlabel.portal.replies import nowhere

        emulator = self._emulator
        shown = pages(
            emulator.board,
            emulator.crew,
            portal_secret(emulator.shelf),
            lambda job: emulator.aws(Context(job.account, job.region)).s3,
            emulator.people.admits,
            secure=False,
            seat=lambda worker: worker.name,
            closing=self._server.closing,
        )
        self._app = Guard(
            Starlette(routes=shown, exception_handlers={404: nowhere}), _names(self._host), _LARGEST_BODY
        )

    def invite(self, name: str, role: Role = Role.WORKER) -> str:
        """The link that lets somebody in once; who is not known yet is taken in.

        Raises:
            WorkerError: if nobody can be called that, or they may not come in.
            EmulatorNotReadyError: if the portal does not come up.
        """
        if not self._ready.wait(_READY_SECONDS):
            raise EmulatorNotReadyError(f"the portal at {self.url} is not ready; the log says why")
        crew = self._emulator.crew
        try:
            crew.add(name, role=role, by="gtlabel")
        except WorkerNameTakenError:
            if role is Role.OWNER:
                crew.change(name, role=role, by="gtlabel")
        return doorway.link(self.url, crew.invite(name, by="gtlabel"))

    def end(self) -> None:
        """Answer what was asked, and end."""
        self._server.end()
        if self.is_alive():
            self.join(timeout=_END_SECONDS)
        self._listener.close()

    def _tell(self) -> None:
        self._ready.set()
        self._on_ready()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is not None:
            await self._app(scope, receive, send)


def _listen(shelf: Shelf, host: str, port: int) -> socket.socket:
    """Take a port: of free ones that of last time, where browsers are signed in."""
    latest = urlsplit(doorway.remembered(shelf) or "").port
    if port == 0 and latest is not None:
        with suppress(PortInUseError):
            return listen(host, latest)
    return listen(host, port)


def _names(host: str) -> list[str]:
    """What the portal may be called: for all addresses of this machine, any that it finds of its own."""
    from gtlabel.emulator.hosts import LOOPBACK_NAMES, is_everywhere

    names = [host, *LOOPBACK_NAMES]
    if is_everywhere(host):
        mine = socket.gethostname()
        names += [mine, *_addresses(mine)]
    return names


def _addresses(name: str) -> list[str]:
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    except OSError:
        return []
