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

import re
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from gtlabel.emulator.databases import database_url
from gtlabel.emulator.hosts import is_everywhere, is_loopback
from gtlabel.emulator.webserver import WebServer, listen
from gtlabel.errors import EmulatorError

# It becomes part of a policy, where a blank or a semicolon would begin something else.
_ASSET_HOST = re.compile(
    r"(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+(:\d{1,5})?", re.IGNORECASE
)


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
        asset_hosts: hosts that worker templates may load scripts and styles from.
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
    asset_hosts: tuple[str, ...] = ()
    functions: Mapping[str, str] = field(default_factory=dict)
    function_seconds: float = 900.0

    @property
    def public_url(self) -> str | None:
        """What people call it who come through the proxy; None without one."""
        return f"https://{self.hostnames[0]}" if self.behind_proxy else None

    @property
    def open_to_others(self) -> bool:
        """Whether requests can come from another machine, and so must be signed."""
        return self.behind_proxy or not is_loopback(self.host)


@dataclass(frozen=True, slots=True)
class Ready:
    """What whoever started a server must know.

    Attributes:
        url: where it answers on this machine.
        environ: what points boto3, the aws command line and gtlabel to it, through the proxy if there is one.
        portal: where people find it.
        owner: the name of somebody who may let others in; None if there is nobody.
        invite: what lets the owner in, once, if this is the first start of all; it belongs into no log.
    """

    url: str
    environ: dict[str, str]
    portal: str
    owner: str | None = None
    invite: str | None = None


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
    from gtlabel.emulator.workshop import Workshop

    check(service)
    # Until uvicorn listens for signals, they are heard here. When it has ended it raises them once more,
    # which would otherwise end us in the middle of our own end.
    closing = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: closing.set())
    with ExitStack() as stack:
        listener = stack.enter_context(listen(service.host, service.port))
        if service.state is not None:
            stack.enter_context(StateFolder(service.state))
        url = _url(service, listener.getsockname()[1])
        workshop = Workshop(service, url, database_url(service.state, service.database), closing)
        stack.callback(workshop.close)

        def ready() -> None:
            if on_ready:
                on_ready(workshop.ready(url))

        workshop.open()
        server = WebServer(
            workshop.app,
            listener,
            tls_cert=service.tls_cert,
            tls_key=service.tls_key,
            closing=closing,
        )
        server.run(ready)


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
    check_asset_hosts(service.asset_hosts)


def check_asset_hosts(hosts: Iterable[str]) -> None:
    """Refuse what is not the name of a host.

    Raises:
        EmulatorError: if there is such a thing.
    """
    for host in hosts:
        if not _ASSET_HOST.fullmatch(host):
            raise EmulatorError(
                f"{host!r} is no host that templates could load from; give its name alone, "
                "such as --allow-asset-host cdn.jsdelivr.net"
            )


def _url(service: Service, port: int) -> str:
    scheme = "http" if service.tls_cert is None else "https"
    host = service.hostnames[0] if service.hostnames and service.tls_cert else service.host.strip("[]")
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
