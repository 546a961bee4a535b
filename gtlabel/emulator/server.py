"""The emulator on a port: one process that answers for AWS, for the workers' pages and for devices.

`/gtlabel/worker/*` and `/gtlabel/device/*` are our own; the rest is AWS's protocol, answered by moto with
our operations behind it (contract/moto.md sections 4 and 8).
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from gtlabel.emulator.api import Context
from gtlabel.emulator.child import Address, running
from gtlabel.emulator.environment import ROLE, role_policy, role_trust
from gtlabel.emulator.environment import environ as environ_of
from gtlabel.emulator.portal import Portal
from gtlabel.emulator.state import StateFolder
from gtlabel.engine.functions import Functions
from gtlabel.errors import EmulatorError, PortInUseError

if TYPE_CHECKING:
    from gtlabel.emulator.emulator import Emulator
    from gtlabel.emulator.memory import Memory
    from gtlabel.emulator.protocol import Reply
    from gtlabel.emulator.storage import Storage

__all__ = ["Address", "Front", "running", "serve"]

_log = logging.getLogger(__name__)

_THREADS = 32
# cheroot's own 10 and 5 make the slowest of 32 clients wait for 1 to 2 seconds (contract/moto.md 4).
_CONNECTIONS = 200
_HOSTS_REMEMBERED = 1024
_IDLE_SECONDS = 0.5
_SWEEP_SECONDS = 30.0
# What is due is seen to at once, but not all the time: of the clock, a turn may take one part in so many.
_TURN_SHARE = 8
_LONGEST_PAUSE = 0.25

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


def serve(
    host: str = "127.0.0.1",
    port: int = 5000,
    state: Path | None = None,
    *,
    functions: Functions | None = None,
    trainers: Mapping[str, Sequence[str]] | None = None,
    on_ready: Callable[[str], None] | None = None,
    portal_port: int | None = None,
    on_portal: Callable[[Portal], None] = lambda _portal: None,
) -> None:
    """Answer until SIGTERM or SIGINT; call it from the main thread.

    Args:
        host: the address to listen on.
        port: the port; 0 takes a free one.
        state: the folder in which everything survives; without one, it is all gone at the end.
        functions: the functions of custom workflows; they find this server where they look for AWS.
        trainers: the program for each training image, by its repository, besides the usual ones.
        on_ready: called once with the URL, when the first request may come.
        portal_port: the port of the pages on which people label; 0 takes a free one, and without one there
            are none.
        on_portal: called once, from another thread, when the pages are there.

    Raises:
        PortInUseError: if something else listens there.
        StateInUseError: if another emulator has the folder.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    # moto would answer every origin by itself, and hide that a bucket has no CORS rule (contract/moto.md 2).
    os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"
    server = _listen(host, port)
    try:
        with StateFolder(state) as folder:
            url = f"http://{host}:{server.bind_addr[1]}"
            functions = functions or Functions()
            functions.environ.update(environ_of(url, Context()))
            functions.check()
            durable = state is not None
            front = Front(folder.path, url, durable=durable, functions=functions, trainers=trainers)
            server.wsgi_app = front
            portal = None
            if portal_port is not None:
                portal = Portal(
                    front.emulator, host, portal_port, lambda: on_portal(portal) if portal else None
                )
                front.emulator.portal = portal
            keeper = _Housekeeper(front)
            try:
                serving = threading.Thread(target=_serve, args=(server, stop), name="server", daemon=True)
                serving.start()
                keeper.start()
                folder.announce(url)
                if on_ready:
                    on_ready(url)
                if portal:
                    portal.start()
                stop.wait()
            finally:
                # First those who still talk to this server, then the server, then the state.
                if portal:
                    portal.end()
                keeper.end()
                front.emulator.executor.close()
                server.stop()
                front.close()
    finally:
        server.stop()


def _serve(server: Any, stop: threading.Event) -> None:
    try:
        server.serve()
    finally:
        stop.set()


class Front:
    """The WSGI application: ours first, the rest to moto."""

    def __init__(
        self,
        root: Path,
        url: str,
        *,
        durable: bool,
        functions: Functions | None = None,
        trainers: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        from gtlabel.emulator import bucketpolicy, moto
        from gtlabel.emulator.emulator import Emulator
        from gtlabel.emulator.gate import Gate
        from gtlabel.emulator.memory import Memory
        from gtlabel.emulator.storage import Storage

        self.emulator: Emulator = Emulator(root, endpoint_url=url, functions=functions, trainers=trainers)
        self.storage: Storage = Storage(root, durable=durable)
        moto.install(self.emulator.operations, lambda: None, strict=False)
        self.storage.install()
        self.emulator.put = self._put
        bucketpolicy.install()
        self.memory: Memory | None = Memory(root / "moto.sqlite") if durable else None
        self._moto = Gate(_dispatcher(self.storage, self.memory))
        # moto looks whether an object is there and writes it in two steps; S3 does in one.
        self._conditional = threading.Lock()
        count = self.storage.load(self._replay)
        if count:
            _log.info("%d objects are there again", count)
        if self.memory:
            self.memory.load()
        self._seed_role()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        environ.setdefault("RAW_URI", environ.get("REQUEST_URI", environ["PATH_INFO"]))
        path = environ["PATH_INFO"]
        if path.startswith("/gtlabel/"):
            return self._own(path.removeprefix("/gtlabel/"), environ, start_response)
        if path.startswith("/moto-api/") and _writes(environ) and _is_foreign(environ):
            return _send_json(start_response, 403, {"error": "no page of another server may do that here"})
        if path == "/moto-api/reset" and environ["REQUEST_METHOD"] == "POST":
            # Ours first: moto holds its lock while it forgets, and a trainer's last upload would wait for it.
            self.emulator.reset()
            self.storage.clear()
            answer = self._ask_moto(environ, start_response)
            if self.memory:
                self.memory.clear()
            self._seed_role()
            return answer
        return self._ask_moto(environ, start_response)

    def close(self) -> None:
        """Let go of the state."""
        self.emulator.close()
        self.storage.close()
        if self.memory:
            self.memory.close()

    def _own(self, path: str, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        from gtlabel.emulator import doors

        # The portal's pages have a port of their own, and none lies here.
        if _writes(environ) and "HTTP_ORIGIN" in environ:
            return _send_json(start_response, 403, {"error": f"no page of a browser asks for {path} here"})
        try:
            length = int(environ.get("CONTENT_LENGTH") or 0)
            body = json.loads(environ["wsgi.input"].read(length) or b"{}")
            if not isinstance(body, dict):
                raise TypeError
        except (ValueError, TypeError):
            return _send_json(start_response, 400, {"error": "the body is not a JSON object"})
        try:
            status, answer = doors.answer(self.emulator, path, body)
        except Exception as error:
            # The boundary of the server: whatever goes wrong inside is logged, and the client is told.
            logging.exception("%s", path)
            status, answer = 500, {"error": f"{path} failed inside: {type(error).__name__}: {error}"}
        return _send_json(start_response, status, answer)

    def _ask_moto(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        from gtlabel.emulator.moto import fault, not_implemented

        headers = {
            "content-type": environ.get("CONTENT_TYPE", ""),
            "authorization": environ.get("HTTP_AUTHORIZATION", ""),
        }
        what = environ.get("HTTP_X_AMZ_TARGET") or f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        conditions = {"HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"} & environ.keys()
        alone = self._conditional if conditions and environ["REQUEST_METHOD"] == "PUT" else nullcontext()
        try:
            with alone:
                return self._moto(environ, start_response)
        except NotImplementedError as error:
            named = re.search(r"The (\w+) action", str(error))
            reply = not_implemented(headers, named[1] if named else what)
        except Exception as error:
            # The boundary of the server: whatever goes wrong inside is logged, and the client is told.
            logging.exception("%s", what)
            sentence = f"{what} failed inside the emulator: {type(error).__name__}: {error}"
            reply = fault(headers, 500, "InternalFailure", sentence)
        return _send(start_response, reply)

    def _put(self, account: str, bucket: str, key: str, body: bytes, content_type: str) -> str | None:
        """Write an object without a request, where nobody's rights count."""
        from gtlabel.emulator.identities import enforcing

        return None if enforcing() else self.storage.put(account, bucket, key, body, content_type)

    def _replay(self, method: str, path: str, headers: dict[str, str], body: bytes) -> int:
        from werkzeug.test import Client

        return Client(self).open(path, method=method, headers=headers, data=body).status_code

    def _seed_role(self) -> None:
        trust = {"AssumeRolePolicyDocument": role_trust()}
        rights = {"PolicyName": "everything", "PolicyDocument": role_policy()}
        # A role that came back with the state keeps the rights it had.
        if self._ask_iam("CreateRole", **trust) == HTTPStatus.OK:
            self._ask_iam("PutRolePolicy", **rights)

    def _ask_iam(self, action: str, **parameters: str) -> int:
        form = {"Action": action, "Version": "2010-05-08", "RoleName": ROLE, **parameters}
        scope = f"Credential=gtlabel/20200101/{Context().region}/iam/aws4_request"
        headers = {
            "Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return self._replay("POST", "/", headers, urlencode(form).encode())


class _Housekeeper(threading.Thread):
    """Does what is due when nobody asks: labeling jobs move on, retired bodies go."""

    def __init__(self, front: Front) -> None:
        super().__init__(name="housekeeper", daemon=True)
        self._front = front
        self._over = threading.Event()

    def run(self) -> None:
        news = self._front.emulator.board.news
        swept = time.monotonic()
        while not self._over.is_set():
            news.wait(_IDLE_SECONDS)
            news.clear()
            if self._over.is_set():
                return
            began = time.monotonic()
            try:
                self._front.emulator.turn()
                if self._front.memory:
                    self._front.memory.sweep()
                if time.monotonic() - swept > _SWEEP_SECONDS:
                    self._front.storage.bodies.sweep()
                    swept = time.monotonic()
            except Exception:
                # The jobs of others must go on whatever is wrong with one, and so must this thread.
                logging.exception("a labeling job could not be moved on; it is tried again")
                time.sleep(_IDLE_SECONDS)
            self._over.wait(min((_TURN_SHARE - 1) * (time.monotonic() - began), _LONGEST_PAUSE))

    def end(self) -> None:
        """Stop after what is being done now."""
        self._over.set()
        self._front.emulator.board.news.set()
        if self.is_alive():
            self.join(timeout=10)


def _listen(host: str, port: int) -> Any:
    from cheroot.wsgi import Gateway_10, Server

    class Gateway(Gateway_10):
        """WSGI folds dashes and underscores of header names; S3's metadata must keep the difference."""

        def get_environ(self) -> Environ:  # type: ignore[override]
            from moto.core.request import (
                PRESERVED_HEADER_NAMES_ENVIRON_KEY,
                environ_key_for_header,
                should_preserve_original_header_name,
            )

            environ: Environ = super().get_environ()  # type: ignore[no-untyped-call]
            names = (name.decode("latin-1") for name in self.req.inheaders)
            environ[PRESERVED_HEADER_NAMES_ENVIRON_KEY] = {
                environ_key_for_header(name): name.lower()
                for name in names
                if should_preserve_original_header_name(name)
            }
            return environ

    server = Server((host, port), None, numthreads=_THREADS, request_queue_size=_CONNECTIONS)
    server.gateway = Gateway
    server.max_request_body_size = 0
    server.keep_alive_conn_limit = _CONNECTIONS
    # Also how long a stop waits for its turn.
    server.expiration_interval = 0.1
    try:
        server.prepare()
    except OSError as error:
        # cheroot wraps the reason in a text.
        if f"[Errno {errno.EADDRINUSE}]" in str(error):
            raise PortInUseError(host, port) from None
        raise EmulatorError(f"cannot listen on {host}, port {port}: {error}") from error
    return server


def _dispatcher(storage: Storage, memory: Memory | None) -> Any:
    from flask import Response, request
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.exceptions import MethodNotAllowed, NotFound

    from gtlabel.emulator import stacks
    from gtlabel.emulator.memory import SERVICES
    from gtlabel.emulator.moto import not_implemented

    def create(service: Any) -> Any:
        if service is None:
            raise NotImplementedError
        app = create_backend_app(service)
        if service == "cloudformation":
            stacks.complete_change_sets()

        def unknown(error: Exception) -> Any:
            if request.routing_exception is None or service == "moto_api":
                return error
            headers = {name.lower(): value for name, value in request.headers.items()}
            reply = not_implemented(headers, f"{request.method} {request.path}")
            return Response(reply.body, reply.status, reply.headers)

        def note(response: Any) -> Any:
            storage.note(request, response.status_code)
            return response

        def remember(response: Any) -> Any:
            target = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
            operation = target or request.form.get("Action", "")
            if memory:
                memory.note(service, request.method, operation, response.status_code)
            return response

        if service == "s3":
            app.after_request(note)
        elif memory and service in SERVICES:
            app.after_request(remember)
        app.register_error_handler(NotFound, unknown)
        app.register_error_handler(MethodNotAllowed, unknown)
        return app

    class Dispatcher(DomainDispatcherApplication):
        """moto's dispatcher, which would search its folders twice in every request."""

        seen: dict[str | None, Any] = {}  # noqa: RUF012 - one dispatcher in a process

        def get_backend_for_host(self, host: str | None) -> Any:
            if host not in self.seen:
                if len(self.seen) >= _HOSTS_REMEMBERED:
                    self.seen.clear()
                self.seen[host] = super().get_backend_for_host(host)
            return self.seen[host]

    return Dispatcher(create)


def _writes(environ: Environ) -> bool:
    return environ["REQUEST_METHOD"] not in ("GET", "HEAD")


def _is_foreign(environ: Environ) -> bool:
    """Whether a page asks that is not of this server: browsers say where it is from, programs do not."""
    origin = environ.get("HTTP_ORIGIN")
    return origin is not None and origin != f"http://{environ.get('HTTP_HOST')}"


def _send_json(start_response: StartResponse, status: int, answer: dict[str, Any]) -> Iterable[bytes]:
    from gtlabel.emulator.protocol import Reply

    content = json.dumps(answer).encode()
    return _send(start_response, Reply(status, {"Content-Type": "application/json"}, content))


def _send(start_response: StartResponse, reply: Reply) -> Iterable[bytes]:
    headers = [*reply.headers.items(), ("Content-Length", str(len(reply.body)))]
    start_response(f"{reply.status} {HTTPStatus(reply.status).phrase}", headers)
    return [reply.body]
