"""Results to an MQTT broker; the only door to paho-mqtt, which is imported when a broker is asked for.

Version 3.1.1 of the protocol, quality of service 1: a message may come twice, and none is missing.
"""

from __future__ import annotations

import queue
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gtlabel.edge.device.arguments import Broker
from gtlabel.edge.device.ending import MISSING_PACKAGE, WRONG_ARGUMENTS, RunError

# A broker that went without a word is missed after one and a half times this.
_KEEPALIVE = 30
_CONNECT_SECONDS = 5.0
_FIRST_RETRY, _LONGEST_RETRY = 1, 30


class MqttCarrier:
    """Publishes to one topic of one broker, reconnecting with growing pauses for as long as it takes.

    Args:
        broker: where it is.
        topic: where results go.
        client_id: how the broker knows this device; brokers that tie rights to it want the thing's name.
            Empty lets the broker choose.
        ca: who vouches for the broker, as a PEM file; None trusts whom the system trusts.
        cert: this device's certificate as a PEM file.
        key: its key.
        tell: takes sentences for people.

    Raises:
        RunError: if paho-mqtt is missing, or a file is no certificate or key.
    """

    def __init__(
        self,
        broker: Broker,
        topic: str,
        *,
        client_id: str = "",
        ca: Path | None = None,
        cert: Path | None = None,
        key: Path | None = None,
        tell: Callable[[str], None],
    ) -> None:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise RunError(
                f"{error}; publishing needs it: python3 -m pip install paho-mqtt", MISSING_PACKAGE
            ) from error
        self._broker = broker
        self._topic = topic
        self._tell = tell
        self._away = False
        self._abandoned = False
        self._connected = False
        # The numbers of confirmed messages. A queue and not a lock: paho calls back with its own locks held.
        self._confirmed: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        client = Client(CallbackAPIVersion.VERSION2, client_id=client_id)
        client.connect_timeout = _CONNECT_SECONDS
        client.reconnect_delay_set(_FIRST_RETRY, _LONGEST_RETRY)
        if broker.user is not None:
            client.username_pw_set(broker.user, broker.password)
        if broker.tls:
            _encrypt(client, ca, cert, key)
        client.on_connect, client.on_connect_fail = self._on_connect, self._on_connect_fail
        client.on_disconnect, client.on_publish = self._on_disconnect, self._on_publish
        self._client = client
        client.connect_async(broker.host, broker.port, _KEEPALIVE)
        client.loop_start()

    def deliver(self, payload: bytes) -> bool:
        """Publish and wait for the broker's word; paho sends it again after each reconnection."""
        number = self._client.publish(self._topic, payload, qos=1).mid
        while not self._abandoned:
            confirmed = self._confirmed.get()
            if confirmed == number:
                if self._away:
                    self._away = False
                    self._tell(f"the broker {self._broker} takes results again")
                return True
        return False

    def abandon(self) -> None:
        """End a delivery under way."""
        self._abandoned = True
        self._confirmed.put(None)

    def close(self) -> None:
        """Say goodbye to the broker, if it is there."""
        connected = self._connected
        self._client.disconnect()
        # A thread that is trying to connect would be waited for; it ends with the program.
        if connected:
            self._client.loop_stop()

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure:
            self._complain(f"refuses this device ({code})")
        else:
            self._connected = True

    def _on_connect_fail(self, _client: Any, _data: Any) -> None:
        # paho calls this while it handles the error, and does not pass it on.
        self._complain(f"cannot be reached ({sys.exc_info()[1]})")

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        self._connected = False
        if code.is_failure:
            self._complain(f"ended the connection ({code})")

    def _on_publish(self, _client: Any, _data: Any, number: int, _code: Any, _properties: Any) -> None:
        self._confirmed.put(number)

    def _complain(self, what: str) -> None:
        # Told once until a result went through: a broker that forbids the topic also ends the connection,
        # and takes the next one.
        if not self._away and not self._abandoned:
            self._away = True
            self._tell(f"the broker {self._broker} {what}; results are kept until it takes them")


def _encrypt(client: Any, ca: Path | None, cert: Path | None, key: Path | None) -> None:
    for path in filter(None, (ca, cert, key)):
        try:
            # OpenSSL would not tell which of them it is.
            path.read_bytes()
        except OSError as error:
            raise RunError(f"{path} cannot be read for TLS: {error.strerror}", WRONG_ARGUMENTS) from error
    names = [str(path) if path else None for path in (ca, cert, key)]
    try:
        client.tls_set(*names)
    except (ssl.SSLError, ValueError) as error:
        files = ", ".join(name for name in names if name)
        raise RunError(
            f"{files or 'the certificates of the system'} cannot be used for TLS: {error}", WRONG_ARGUMENTS
        ) from error
