"""An ASGI application on a port: in the main thread until somebody ends the process, or in one of its own."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gtlabel.errors import EmulatorError, PortInUseError

if TYPE_CHECKING:
    from starlette.types import ASGIApp


_GRACE_SECONDS = 5
_BACKLOG = 1024


def listen(host: str, port: int) -> socket.socket:
    """Take a port; whoever connects from now on is answered once there is an application.

    Args:
        host: the address to listen on.
        port: the port; 0 takes a free one.

    Raises:
        PortInUseError: if something else listens there.
        EmulatorError: if it cannot be had.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise EmulatorError(f"{host} is no address of this machine: {error.strerror}") from error
    listener = socket.socket(found[0], socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(found[4])
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(host, port) from None
        raise EmulatorError(f"cannot listen on {host}, port {port}: {error.strerror}") from error
    return listener


class WebServer:
    """Answers on a port that was taken.

    Args:
        app: answers.
        listener: the port.
        tls_cert: the file of its certificate.
        tls_key: the file of the certificate's key.

    Attributes:
        closing: set when it begins to end; what streams looks at it and ends, too. Whoever sets it before it
            began has it not begin.
    """

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket,
        *,
        tls_cert: Path | None = None,
        tls_key: Path | None = None,
        closing: threading.Event | None = None,
    ) -> None:
        self.closing = closing or threading.Event()
        self._app = app
        self._listener = listener
        self._tls: dict[str, Any] = {
            "ssl_certfile": tls_cert,
            "ssl_keyfile": str(tls_key) if tls_key else None,
        }
        self._server: Any = None

    def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Answer until `end`; in the main thread also until SIGTERM or SIGINT.

        Args:
            on_ready: called once, when the first request may come.
        """
        import uvicorn

        closing = self.closing

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                if closing.is_set():
                    self.should_exit = True
                else:
                    on_ready()

            async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
                closing.set()
                await super().shutdown(sockets)

        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            # Whose the address is that a proxy names is for the portal to say.
            proxy_headers=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=_GRACE_SECONDS,
            **self._tls,
        )
        self._server = Server(config)
        if closing.is_set():
            return
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(self._server.serve([self._listener]))

    def end(self) -> None:
        """Have it answer what was asked, and end; from any thread, and before it began, too."""
        self.closing.set()
        if self._server is not None:
            self._server.should_exit = True


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop: uvloop where it is installed, with which a request costs half."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
