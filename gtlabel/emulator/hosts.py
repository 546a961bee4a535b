"""What stands before a server: who it is called, and how much it reads.

A page that a browser loaded from elsewhere can reach a server on the browser's own machine by giving its
name another address (DNS rebinding), but the `Host` it then sends is that name:
https://owasp.org/www-community/attacks/DNS_Rebinding.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gtlabel.portal.app import send_json

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


class Guard:
    """Answers nothing that is asked under a strange name, and reads no body without end.

    Args:
        app: what is guarded.
        names: the host names and addresses that it answers to, whatever the port.
        largest: the most bytes that a body may have.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str], largest: int) -> None:
        self._app = app
        self._names = {name.lower().strip("[]") for name in names}
        self._largest = largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or name_in(hosts[0]) not in self._names:
            shown = hosts[0] if hosts else ""
            await _refuse(
                send, 421, f"this server is not called {shown!r}; name it with --hostname if it should be"
            )
            return
        if _length(scope) > self._largest:
            await _refuse(send, 413, f"the body is larger than {self._largest} bytes")
            return
        await self._limited(scope, receive, send)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        read, refused = 0, False

        async def counted() -> Message:
            nonlocal read, refused
            message = await receive()
            read += len(message.get("body", b""))
            if read <= self._largest:
                return message
            if not refused:
                refused = True
                await _refuse(send, 413, f"the body is larger than {self._largest} bytes")
            return {"type": "http.disconnect"}

        async def noted(message: Message) -> None:
            if not refused:
                await send(message)

        try:
            await self._app(scope, counted, noted)
        except Exception:
            # To the application it looked as if the client had left.
            if not refused:
                raise


def name_in(host: str) -> str:
    """The name or address in a `Host` header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_everywhere(host: str) -> bool:
    """Whether the address stands for all of this machine's."""
    try:
        return ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return False


def _length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def _refuse(send: Send, status: int, sentence: str) -> None:
    # As a worker page and as an AWS client look for it.
    await send_json(send, status, {"__type": "ValidationException", "message": sentence, "error": sentence})
