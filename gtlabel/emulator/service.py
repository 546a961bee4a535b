"""`gtlabel serve`: a Ground Truth of one's own, for pictures and results in one's own bucket.

One process answers AWS's protocol for SageMaker's labeling operations and the workers' API, and moves the
jobs on. It reads and writes S3 with whatever credentials boto3 finds, as a labeling job on AWS does with its
role. Several processes may share one PostgreSQL database: all of them answer, and one moves the jobs on.

Who may ask: on a loopback address, which only this machine reaches, AWS requests are taken with any signature
or none, because whoever can send one could as well read the credentials of this machine. Everywhere else they
must be signed by a key that the server knows, its own or that of a profile it was given, and must come over
TLS or through a proxy that ends TLS. Workers show a token everywhere. Nothing is answered under a name that
the server does not go by, so that no web page can reach it through a browser.

No AWS account is asked for its number: ARNs name `Service.account`, which need not be yours. Requests, ARNs
and jobs must agree about it, so keep it once there are jobs.
"""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gtlabel.emulator.api import Context
from gtlabel.emulator.environment import team_arn
from gtlabel.emulator.hosts import LOOPBACK_NAMES, is_everywhere, is_loopback
from gtlabel.errors import EmulatorError, PortInUseError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

# The largest answer of a worker is far below it, and so is the largest request to create a job.
_LARGEST_BODY = 4 << 20
_GRACE_SECONDS = 5
_BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Service:
    """How a server is to be run.

    Attributes:
        state: the folder that everything survives in.
        database: an SQLAlchemy URL, instead of a file in that folder.
        host: the address to listen on.
        port: the port; 0 takes a free one.
        region: the region it answers for; by default that of the profile.
        account: the account that its ARNs name.
        profile: the profile whose credentials S3 is used with.
        client_profiles: profiles whose keys may sign requests, besides the server's own.
        hostnames: what it is called, besides its address.
        behind_proxy: whether a proxy that ends TLS stands before it.
        tls_cert: the file of its certificate, and of those it hangs on.
        tls_key: the file of the certificate's key.
        functions: `package.module:function` of each function that custom workflows can have, by name.
        function_seconds: how long one call of them may take.
    """

    state: Path | None = None
    database: str | None = None
    host: str = "127.0.0.1"
    port: int = 5001
    region: str | None = None
    account: str = "123456789012"
    profile: str | None = None
    client_profiles: tuple[str, ...] = ()
    hostnames: tuple[str, ...] = ()
    behind_proxy: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    functions: Mapping[str, str] = field(default_factory=dict)
    function_seconds: float = 900.0

    @property
    def open_to_others(self) -> bool:
        """Whether requests can come from another machine, and so must be signed."""
        return self.behind_proxy or not is_loopback(self.host)


@dataclass(frozen=True, slots=True)
class Ready:
    """What whoever started a server must know.

    Attributes:
        url: where it answers.
        environ: what points boto3, the aws command line and gtlabel to it.
    """

    url: str
    environ: dict[str, str]


def serve(service: Service, *, on_ready: Callable[[Ready], None] | None = None) -> None:
    """Answer until SIGTERM or SIGINT; call it from the main thread.

    Args:
        service: how.
        on_ready: called once, when the first request may come.

    Raises:
        EmulatorError: if it cannot run that way; the sentence says why.
        StoreError: if the database cannot be used.
        StateInUseError: if another server has the folder.
    """
    from gtlabel.emulator.state import StateFolder

    check(service)
    # uvicorn raises the signal once more when it has ended, which would end us in the middle of our own end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    with ExitStack() as stack:
        listener = stack.enter_context(_listen(service.host, service.port))
        if service.state is not None:
            stack.enter_context(StateFolder(service.state))
        running = _Running(service, _url(service, listener.getsockname()[1]))
        stack.callback(running.close)

        def ready() -> None:
            if on_ready:
                on_ready(running.ready)

        asyncio.run(_answer(service, running.app, listener, ready))


def check(service: Service) -> None:
    """Refuse what would be unsafe, or cannot be.

    Raises:
        EmulatorError: if there is such a thing; the sentence says what to do.
    """
    if service.state is None and service.database is None:
        raise EmulatorError("answers must be kept somewhere; give --state FOLDER or --database URL")
    if (service.tls_cert is None) != (service.tls_key is None):
        raise EmulatorError("a certificate and its key belong together; give both --tls-cert and --tls-key")
    if not (service.account.isascii() and service.account.isdigit() and len(service.account) == 12):
        raise EmulatorError(f"{service.account!r} is no account; give 12 digits with --account")
    if not is_loopback(service.host) and not (service.behind_proxy or service.tls_cert):
        raise EmulatorError(
            f"{service.host} can be reached from other machines, and tokens and answers would travel in the "
            "clear; give --tls-cert and --tls-key, or --behind-proxy if a proxy before it ends TLS"
        )
    if (service.behind_proxy or is_everywhere(service.host)) and not service.hostnames:
        raise EmulatorError(
            "say what this server is called by those who use it, with --hostname, "
            "such as --hostname labels.example.com"
        )


class _Running:
    """All that a server is made of."""

    def __init__(self, service: Service, url: str) -> None:
        from starlette.routing import Mount

        from gtlabel.emulator.awsfront import AwsFront
        from gtlabel.emulator.clients import Clients
        from gtlabel.emulator.groundtruth import operations
        from gtlabel.emulator.hosts import Guard
        from gtlabel.emulator.rounds import Rounds
        from gtlabel.emulator.shelf import Shelf
        from gtlabel.emulator.sigv4 import SignatureCheck
        from gtlabel.emulator.staff import Staff
        from gtlabel.emulator.taskuis import TaskUis
        from gtlabel.engine.board import Board
        from gtlabel.engine.crew import Crew
        from gtlabel.engine.doorkeeper import Doorkeeper
        from gtlabel.engine.foreman import Foreman
        from gtlabel.engine.functions import Functions
        from gtlabel.engine.membership import call_back
        from gtlabel.engine.store import Store
        from gtlabel.portal.app import portal

        clients = Clients(service.profile, service.region)
        clients.must_not_lead_to(url, service.hostnames)
        context = Context(service.account, clients.region)
        checker = None
        if service.open_to_others:
            checker = SignatureCheck(clients.keys(service.client_profiles), context.region).check
        database = database_url(service)
        self._store = Store(database)
        self._shelf = Shelf(database)
        crew = Crew(self._store)
        staff = Staff(crew, self._shelf, _issuer(service, url))
        board = Board(self._store, admits=staff.admits)
        self._functions = Functions(
            service.functions,
            seconds=service.function_seconds,
            environ={
                "AWS_DEFAULT_REGION": context.region,
                **({"AWS_PROFILE": service.profile} if service.profile else {}),
            },
        )
        self._functions.check()
        uis = TaskUis(self._shelf, lambda _context: clients.aws().s3)
        labeling = operations(board, self._shelf, staff, uis, self._functions)
        self._foreman = Foreman(
            board,
            lambda _key: clients.aws().s3,
            identify=staff.identify,
            functions=self._functions,
            inspect=uis.inspect,
        )

        def turn() -> None:
            call_back(board)
            while self._foreman.turn():
                pass

        self._rounds = Rounds(board.news, self._store.leading, turn)
        app = portal(
            board,
            Doorkeeper(crew),
            (context.account, context.region),
            also=[Mount("/", AwsFront(labeling, context, checker))],
            behind_proxy=service.behind_proxy,
        )
        self.app: ASGIApp = Guard(app, [*service.hostnames, service.host, *LOOPBACK_NAMES], _LARGEST_BODY)
        self.ready = Ready(
            url,
            {
                "AWS_ENDPOINT_URL_SAGEMAKER": url,
                "AWS_DEFAULT_REGION": context.region,
                "GTLABEL_TEAM": team_arn(context),
            },
        )
        self._rounds.start()

    def close(self) -> None:
        """Stop moving jobs on, and let go of the database."""
        self._rounds.end()
        self._functions.close()
        self._foreman.close()
        self._shelf.close()
        self._store.close()


def database_url(service: Service) -> str:
    """The SQLAlchemy URL of a server's database.

    Raises:
        EmulatorError: if what was given is none.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    if service.database is None:
        return f"sqlite:///{Path(service.state or '').absolute() / 'engine.sqlite'}"
    try:
        url = make_url(service.database)
    except (ArgumentError, ValueError):
        # What was given is not repeated, for there may be a password in it.
        raise EmulatorError(
            "what was given as --database is no URL of a database; "
            "write it as postgresql://user@host/name or sqlite:////folder/file"
        ) from None
    return url.render_as_string(hide_password=False)


def _issuer(service: Service, url: str) -> str:
    """What worker responses call the server; AWS's model wants https here."""
    return f"https://{service.hostnames[0]}" if service.hostnames else url.replace("http:", "https:")


async def _answer(
    service: Service, app: ASGIApp, listener: socket.socket, on_ready: Callable[[], None]
) -> None:
    import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        # Whose the address is that a proxy names is for the portal to say.
        proxy_headers=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=_GRACE_SECONDS,
        ssl_certfile=service.tls_cert,
        ssl_keyfile=str(service.tls_key) if service.tls_key else None,
    )

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            on_ready()

    await Server(config).serve([listener])


def _listen(host: str, port: int) -> socket.socket:
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


def _url(service: Service, port: int) -> str:
    scheme = "http" if service.tls_cert is None else "https"
    host = service.hostnames[0] if service.hostnames and service.tls_cert else service.host.strip("[]")
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
