"""Greengrass IPC on this machine: what a nucleus offers its components on a Unix domain socket.

A component finds the socket and a token of its own in its environment, as with a nucleus, and speaks to it
with AWS's own client: `GreengrassCoreIPCClientV2` of awsiotsdk. On the wire these are frames of
`gtlabel.emulator.ipcframes`. A connection begins with a Connect that holds the token; then each operation is
a stream of its own, with JSON in both directions, and its errors are messages with a type.

https://docs.aws.amazon.com/greengrass/v2/developerguide/interprocess-communication.html
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gtlabel.emulator.ipcframes import Frame, FrameError, encode, read_frame
from gtlabel.emulator.ipcoperations import OPERATIONS, Caller, Cloud, Refusal, Reply, Room, Subscription
from gtlabel.errors import EdgeError

_log = logging.getLogger(__name__)

SOCKET_VARIABLE = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"
TOKEN_VARIABLE = "SVCUID"  # noqa: S105 (the name of the variable)

# The system's own bound on the path of a socket, with room for the zero at its end.
_LONGEST_PATH = 100
_CONNECT_SECONDS = 10.0
_HANG_UP_SECONDS = 5.0
# What may wait to be read by a component that has subscribed and does not read.
_MOST_UNREAD = 8 * 1024 * 1024

_MESSAGE, _ERROR, _PING, _PING_RESPONSE, _CONNECT, _CONNECT_ACK, _PROTOCOL_ERROR = range(7)
_ACCEPTED, _TERMINATE = 1, 2


class Ipc:
    """The IPC of one device.

    Attributes:
        socket: where it listens.
    """

    def __init__(self, path: Path, thing: str, cloud: Cloud | None) -> None:
        self.socket = path
        self._room = Room(thing, cloud)
        self._names: dict[str, str] = {}

    def environ_for(self, component: str, configuration: Mapping[str, Any]) -> dict[str, str]:
        """Let a component in, or give it another configuration; its token stays the same.

        What it said of its state is forgotten, since it is about to start.

        Args:
            component: its name.
            configuration: what it may read, and in `accessControl` what it may do.

        Returns:
            What its processes need in their environment.
        """
        with self._room.lock:
            self._room.configurations[component] = configuration
            self._room.states.pop(component, None)
            token = self._token_of(component)
            if token is None:
                token = secrets.token_urlsafe(24)
                self._names[token] = component
        return {SOCKET_VARIABLE: str(self.socket), TOKEN_VARIABLE: token}

    def forget(self, component: str) -> None:
        """Let a component in no more."""
        with self._room.lock:
            self._room.configurations.pop(component, None)
            self._room.states.pop(component, None)
            self._names = {token: name for token, name in self._names.items() if name != component}

    def mark_of(self, component: str) -> str | None:
        """The `NAME=token` that only this component has in its environment; None before it was let in."""
        with self._room.lock:
            token = self._token_of(component)
        return token and f"{TOKEN_VARIABLE}={token}"

    def state_of(self, component: str) -> str | None:
        """What a component last said of itself with UpdateState: `RUNNING`, `ERRORED`, or nothing."""
        with self._room.lock:
            return self._room.states.get(component)

    def _token_of(self, component: str) -> str | None:
        return next((token for token, name in self._names.items() if name == component), None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self._room, reader, writer)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                component = self._admitted(await read_frame(reader))
            connection.send({":message-type": _CONNECT_ACK}, flags=_ACCEPTED if component else 0)
            await writer.drain()
            if component is not None:
                await connection.run(component)
            else:
                await _hung_up(reader)
        except FrameError as error:
            _log.warning("something that is no Greengrass component spoke at %s: %s", self.socket, error)
            connection.send({":message-type": _PROTOCOL_ERROR}, b"{}")
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            _log.debug("a connection to %s ended", self.socket)
        except asyncio.CancelledError:
            # The device goes down; nobody waits for a component that does not read. It is not raised again,
            # because asyncio would tell the owner of the device about it as an error.
            writer.transport.abort()
        finally:
            connection.close()

    def _admitted(self, frame: Frame) -> str | None:
        """The component that a Connect comes from."""
        if frame.headers.get(":message-type") != _CONNECT:
            raise FrameError("a connection begins with a Connect")
        said = _parsed(frame.payload).get("authToken")
        if not isinstance(said, str) or not said.isascii():
            return None
        with self._room.lock:
            names = (name for token, name in self._names.items() if secrets.compare_digest(token, said))
            return next(names, None)


@contextmanager
def serve(path: Path, thing: str, cloud: Cloud | None = None) -> Iterator[Ipc]:
    """Offer IPC to the components of a device, from a thread of its own.

    Args:
        path: where the socket should be. Where this is too long for a socket, it lies in a folder of its
            own for temporary files; components learn the place from their environment.
        thing: the device's name, which `{iot:thingName}` in policies stands for.
        cloud: what plays AWS IoT Core, such as a `gtlabel.emulator.uplink.Uplink`. Without one the device
            is a core that is offline: messages for AWS IoT Core are accepted and go nowhere.

    Raises:
        EdgeError: if another device has the socket.
    """
    path, folder = path.absolute(), None
    if len(os.fsencode(path)) > _LONGEST_PATH:
        folder = Path(tempfile.mkdtemp(prefix="gtlabel-ipc-"))
        path = folder / "ipc.socket"
    if _listens(path):
        raise EdgeError(f"another device listens at {path}; end it, or give this one a root of its own")
    ipc = Ipc(path, thing, cloud)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name=f"ipc of {thing}", daemon=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        thread.start()
        try:
            server = asyncio.run_coroutine_threadsafe(_listen(ipc), loop).result()
        except OSError as error:
            raise EdgeError(f"no socket can be made at {path}: {error}") from None
        try:
            yield ipc
        finally:
            asyncio.run_coroutine_threadsafe(_end(server), loop).result()
            path.unlink(missing_ok=True)
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
        loop.close()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


async def _listen(ipc: Ipc) -> asyncio.Server:
    server = await asyncio.start_unix_server(ipc._serve, ipc.socket)
    # The token is what lets a component in; other users of this machine need not even try.
    ipc.socket.chmod(0o600)
    return server


async def _hung_up(reader: asyncio.StreamReader) -> None:
    """Wait a while for the other side to close, which may miss an answer with the end right behind it."""
    async with asyncio.timeout(_HANG_UP_SECONDS):
        while await reader.read(4096):
            continue


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as caller, suppress(OSError):
        caller.connect(str(path))
        return True
    return False


@dataclass(slots=True)
class _Connection:
    """One component's connection.

    Attributes:
        room: what it shares with the others.
        reader: what it says.
        writer: what it hears.
        open: what ends each of its subscriptions, by the number of the stream.
    """

    room: Room
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    open: dict[int, Callable[[], None]] = field(default_factory=dict)

    async def run(self, component: str) -> None:
        """Answer until the component goes away."""
        while True:
            frame = await read_frame(self.reader)
            kind, stream = frame.headers.get(":message-type"), frame.headers.get(":stream-id")
            if kind == _PING:
                self.send({":message-type": _PING_RESPONSE}, frame.payload)
            elif kind != _MESSAGE or not isinstance(stream, int) or stream < 1:
                raise FrameError(f"{component} sent a message of type {kind!r} on the stream {stream!r}")
            elif stream in self.open:
                # No operation takes anything after its request but its end.
                self.open.pop(stream)()
            elif "operation" in frame.headers:
                self._start(component, stream, frame)
            await self.writer.drain()

    def _start(self, component: str, stream: int, frame: Frame) -> None:
        name = str(frame.headers["operation"])
        try:
            operation = OPERATIONS.get(name)
            if operation is None:
                known = ", ".join(sorted(each.partition("#")[2] for each in OPERATIONS))
                raise Refusal("ServiceError", f"this emulated device does not know {name}, only {known}")
            caller = Caller(component, lambda event: self._event(stream, event))
            answer = operation(self.room, caller, _parsed(frame.payload))
        except Refusal as refusal:
            _log.info("%s of %s was refused: %s", name, component, refusal)
            self._answer(stream, Reply(refusal.kind, {"message": str(refusal)}), _ERROR, _TERMINATE)
            return
        if isinstance(answer, Subscription):
            self._answer(stream, answer.reply, _MESSAGE, 0)
            self.open[stream] = answer.begin()
        else:
            self._answer(stream, answer, _MESSAGE, _TERMINATE)

    def _answer(self, stream: int, reply: Reply, kind: int, flags: int) -> None:
        headers: dict[str, int | str] = {
            ":message-type": kind,
            ":content-type": "application/json",
            "service-model-type": f"aws.greengrass#{reply.kind}",
        }
        self.send(headers, json.dumps(reply.value).encode(), flags=flags, stream=stream)

    def _event(self, stream: int, event: Reply) -> None:
        if stream not in self.open:
            return
        if self.writer.transport.get_write_buffer_size() > _MOST_UNREAD:
            _log.warning("a component that does not read what it subscribed to is disconnected")
            self.writer.transport.abort()
            return
        self._answer(stream, event, _MESSAGE, 0)

    def send(
        self, headers: Mapping[str, int | str], payload: bytes = b"", *, flags: int = 0, stream: int = 0
    ) -> None:
        """Write a frame; it leaves when the component reads."""
        if not self.writer.is_closing():
            common = {":message-flags": flags, ":stream-id": stream}
            self.writer.write(encode(Frame({**headers, **common}, payload)))

    def close(self) -> None:
        """End its subscriptions, and the connection."""
        while self.open:
            self.open.popitem()[1]()
        self.writer.close()


def _parsed(payload: bytes) -> Mapping[str, Any]:
    """What a message says; one that says nothing that can be understood says nothing."""
    try:
        value = json.loads(payload) if payload else {}
    except (ValueError, RecursionError):
        value = {}
    return value if isinstance(value, dict) else {}
