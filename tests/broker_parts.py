"""An MQTT broker for the tests, which plays AWS IoT Core or the broker of a LAN: Debian's mosquitto.

A module that needs one makes it once:

    @pytest.fixture(scope="module")
    def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
        with mosquitto(tmp_path_factory.mktemp("broker")) as running:
            yield running
"""

from __future__ import annotations

import getpass
import ipaddress
import itertools
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from programs import need

_WAIT = 60.0
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Message:
    """What a subscriber got."""

    topic: str
    payload: bytes

    def json(self) -> Any:
        return json.loads(self.payload)


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files that a broker with TLS and its clients need; every one is PEM.

    Attributes:
        ca: whom both trust.
        cert: the client's certificate, which names it `camera`.
        key: the client's key.
        server_cert: the broker's certificate, for `localhost` and 127.0.0.1.
        server_key: the broker's key.
    """

    ca: Path
    cert: Path
    key: Path
    server_cert: Path
    server_key: Path


class Listener:
    """A subscriber that forgets nothing: the broker keeps its messages while it is away or restarts."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._changed = threading.Condition()

    def add(self, message: Message) -> None:
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()

    def wait_for(
        self, count: int = 1, where: Callable[[Message], bool] = lambda _message: True, timeout: float = _WAIT
    ) -> list[Message]:
        """The messages so far that are such, once there are so many of them."""

        def found() -> list[Message]:
            return [message for message in self.messages if where(message)]

        with self._changed:
            there = self._changed.wait_for(lambda: len(found()) >= count, timeout)
            assert there, f"{len(found())} of {count} messages after {timeout:g} s: {self.messages[-5:]}"
            return found()


class Broker:
    """A mosquitto of our own.

    Attributes:
        port: its port at 127.0.0.1, which stays its own while it is stopped.
        certificates: with TLS, what clients need.
    """

    def __init__(self, folder: Path, certificates: Certificates | None, extra: Sequence[str]) -> None:
        self.host = "127.0.0.1"
        self.certificates = certificates
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        # Bound and never listening: while the broker is away clients are refused, and nobody takes the port.
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind((self.host, 0))
        self.port: int = self._held.getsockname()[1]
        lines = [
            f"listener {self.port} {self.host}",
            "allow_anonymous true",
            f"user {getpass.getuser()}",
            "persistence true",
            f"persistence_location {folder}/",
            "max_queued_messages 0",
            "sys_interval 0",
            "log_dest stderr",
            *_tls_lines(certificates),
            *extra,
        ]
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    @property
    def url(self) -> str:
        """Its address as programs take it."""
        return f"{'mqtts' if self.certificates else 'mqtt'}://{self.host}:{self.port}"

    @property
    def log(self) -> str:
        """What it said."""
        return (self._folder / "mosquitto.log").read_text(errors="replace")

    def start(self) -> None:
        """Start, on the same port as before; it takes connections when this returns."""
        with (self._folder / "mosquitto.log").open("ab") as log:
            command = [_program(), "-c", str(self._folder / "mosquitto.conf")]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + _WAIT
        while True:
            try:
                socket.create_connection((self.host, self.port), 5).close()
                return
            except OSError:
                assert self._process.poll() is None, f"mosquitto ended: {self.log}"
                assert time.monotonic() < deadline, f"mosquitto did not come up: {self.log}"
                time.sleep(0.01)

    def stop(self) -> None:
        """Go away, as in an outage; subscriptions and what they have not got yet are kept on disk."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_WAIT)
            self._process = None

    def close(self) -> None:
        """Stop for good."""
        self.stop()
        self._held.close()

    @contextmanager
    def listen(self, topic: str = "#", qos: int = 1) -> Iterator[Listener]:
        """A subscriber, which is subscribed when this is entered."""
        listener = Listener()
        subscribed = threading.Event()
        client = self._client(f"listener-{next(_numbers)}")

        def on_connect(
            client: Client, _data: Any, flags: ConnectFlags, _code: ReasonCode, _properties: Properties | None
        ) -> None:
            if not flags.session_present:
                client.subscribe(topic, qos)

        def on_subscribe(
            _client: Client, _data: Any, _id: int, codes: list[ReasonCode], _properties: Properties | None
        ) -> None:
            assert not codes[0].is_failure, codes
            subscribed.set()

        def on_message(_client: Client, _data: Any, message: MQTTMessage) -> None:
            listener.add(Message(message.topic, bytes(message.payload)))

        client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
        client.connect(self.host, self.port)
        client.loop_start()
        try:
            assert subscribed.wait(_WAIT), f"no subscription to {topic}: {self.log}"
            yield listener
        finally:
            client.disconnect()
            client.loop_stop()

    def publish(self, topic: str, payload: bytes | str, *, retain: bool = False) -> None:
        """Publish one message; the broker has it when this returns."""
        client = self._client(f"publisher-{next(_numbers)}")
        client.connect(self.host, self.port)
        client.loop_start()
        try:
            published = client.publish(topic, payload, qos=1, retain=retain)
            published.wait_for_publish(_WAIT)
            assert published.is_published(), self.log
        finally:
            client.disconnect()
            client.loop_stop()

    def _client(self, name: str) -> Client:
        client = Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
        client.reconnect_delay_set(0.05, 0.2)  # type: ignore[arg-type]  # fractions work, too
        if self.certificates:
            ours = self.certificates
            client.tls_set(str(ours.ca), str(ours.cert), str(ours.key), cert_reqs=ssl.CERT_REQUIRED)
        return client


@contextmanager
def mosquitto(folder: Path, *, tls: bool = False, extra: Sequence[str] = ()) -> Iterator[Broker]:
    """A broker that runs, and is gone afterwards.

    Args:
        folder: an empty folder for its files.
        tls: take only TLS, and only clients with a certificate of its CA.
        extra: further lines of its configuration.
    """
    broker = Broker(folder, make_certificates(folder) if tls else None, extra)
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


def make_certificates(folder: Path) -> Certificates:
    """A CA, a broker's certificate and a client's, for a day."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.now(UTC)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test CA")])

    def write(name: str, value: bytes) -> Path:
        (folder / name).write_bytes(value)
        return folder / name

    def issue(name: str, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType) -> Path:
        common = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
        made = (
            x509.CertificateBuilder()
            .subject_name(common)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(authority, critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        return write(f"{name.replace(' ', '-')}.pem", made.public_bytes(serialization.Encoding.PEM))

    def keep(name: str, key: ec.EllipticCurvePrivateKey) -> Path:
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return write(name, pem)

    server_key, client_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]
    client_use = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH])
    return Certificates(
        ca=issue("test CA", ca_key, x509.BasicConstraints(ca=True, path_length=None)),
        cert=issue("camera", client_key, client_use),
        key=keep("camera.key", client_key),
        server_cert=issue("broker", server_key, x509.SubjectAlternativeName(names)),
        server_key=keep("broker.key", server_key),
    )


def _tls_lines(certificates: Certificates | None) -> list[str]:
    if certificates is None:
        return []
    return [
        f"cafile {certificates.ca}",
        f"certfile {certificates.server_cert}",
        f"keyfile {certificates.server_key}",
        "require_certificate true",
        "use_identity_as_username true",
    ]


def _program() -> str:
    # Debian keeps it where the paths of ordinary users do not lead.
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    need(found, "mosquitto plays the broker of the devices; get it with: apt-get install mosquitto")
    assert found
    return found
