"""What stands before a server: who it is called, how much it reads and how long, and what it always says.

A page that a browser loaded from elsewhere can reach a server on the browser's own machine by giving its
name another address (DNS rebinding), but the `Host` it then sends is that name:
https://owasp.org/www-community/attacks/DNS_Rebinding.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from ipaddress import ip_address

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gtlabel.portal.app import send_json

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")

# What follows the name becomes part of addresses and policies, so it is a port and nothing else.
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]]+))(?::\d{1,5})?", re.IGNORECASE)
# Of whatever says nothing about itself: nobody keeps it, embeds it, runs it, or takes it for something else.
_WALLS = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


class Guard:
    """Answers nothing that is asked under a strange name, and reads no body without end.

    Args:
        app: what is guarded.
        names: the host names and addresses that it answers to, whatever the port.
        largest: the most bytes that a body may have.
        patience: the seconds in which a body must have come.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str], largest: int, patience: float = 60.0) -> None:
        self._app = app
        self._names = {name.lower().strip("[]") for name in names}
        self._largest = largest
        self._patience = patience

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
        read, whole, refused = 0, False, False
        end = asyncio.get_running_loop().time() + self._patience

        async def refuse(status: int, sentence: str) -> Message:
            nonlocal refused
            if not refused:
                refused = True
                await _refuse(send, status, sentence)
            return {"type": "http.disconnect"}

        async def counted() -> Message:
            nonlocal read, whole
            if whole:
                # Only that the client left can come now, however long that takes.
                return await receive()
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError:
                return await refuse(408, f"the body did not come within {self._patience:g} seconds")
            read += len(message.get("body", b""))
            if read > self._largest:
                return await refuse(413, f"the body is larger than {self._largest} bytes")
            whole = not message.get("more_body")
            return message

        async def noted(message: Message) -> None:
            if not refused:
                await send(_walled(message))

        try:
            await self._app(scope, counted, noted)
        except Exception:
            # To the application it looked as if the client had left.
            if not refused:
                raise


def name_in(host: str) -> str:
    """The name or address in a `Host` header, without the port; nothing if it is none."""
    found = _HOST.fullmatch(host)
    return (found[1] or found[2]).lower().rstrip(".") if found else ""


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


def _walled(message: Message) -> Message:
    """The start of an answer with what it leaves unsaid."""
    if message["type"] == "http.response.start":
        said = {name.lower() for name, _ in message["headers"]}
        message["headers"] = [*message["headers"], *(wall for wall in _WALLS if wall[0] not in said)]
    return message


async def _refuse(send: Send, status: int, sentence: str) -> None:
    async def last(message: Message) -> None:
        message = _walled(message)
        if message["type"] == "http.response.start":
            # What is left of the body is not read, so nothing can follow it.
            others = [header for header in message["headers"] if header[0] != b"connection"]
            message["headers"] = [*others, (b"connection", b"close")]
        await send(message)

    # As a worker page and as an AWS client look for it.
    await send_json(last, status, {"__type": "ValidationException", "message": sentence, "error": sentence})
