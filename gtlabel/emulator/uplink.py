"""A device's connection to the broker that plays AWS IoT Core for it.

It behaves as a nucleus's does: what is published while the broker is away waits, in memory and within
2.5 MB; beyond that new messages are refused, not old ones dropped
(https://docs.aws.amazon.com/greengrass/v2/developerguide/ipc-iot-core-mqtt.html).
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from gtlabel.emulator.ipcpolicy import matches
from gtlabel.errors import EdgeError

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage
    from paho.mqtt.reasoncodes import ReasonCode

_log = logging.getLogger(__name__)

_SPOOL = 2_500_000
# What a message takes beside its payload, so that empty ones are not free.
_AROUND = 100
_ABSENT = "is away; messages wait for it"
_PORTS = {"mqtt": 1883, "mqtts": 8883}

Deliver = Callable[[str, bytes], None]


class Uplink:
    """A connection that comes back by itself; it is made when the first broker answers.

    Args:
        url: `mqtt://host:port` or `mqtts://host:port`, with `user:password@` where the broker wants them.
        thing: the device's name, which is its client id as at AWS.
        ca: a file with the certificate authority of a broker with TLS; otherwise those of the system count.
        cert: the device's certificate.
        key: its key.
        spool: bytes that may wait for the broker.

    Raises:
        EdgeError: if the address is none.
    """

    def __init__(
        self,
        url: str,
        thing: str,
        *,
        ca: str | None = None,
        cert: str | None = None,
        key: str | None = None,
        spool: int = _SPOOL,
    ) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

        parts = urlsplit(url)
        try:
            port = parts.port or _PORTS[parts.scheme]
        except (KeyError, ValueError):
            port = 0
        if not port or not parts.hostname or parts.scheme not in _PORTS:
            raise EdgeError(f"{url!r} is no address of a broker; give one such as mqtt://192.168.1.5:1883")
        self._room = spool
        # The sizes in bytes of those that the broker has not confirmed, by their numbers.
        self._waiting: dict[int, int] = {}
        self._confirmed_early: set[int] = set()
        self._subscriptions: dict[int, tuple[str, int, Deliver]] = {}
        self._lock = threading.Lock()
        self._why_away = ""
        self._code = MQTTErrorCode
        self._client: Client = Client(CallbackAPIVersion.VERSION2, client_id=thing, clean_session=False)
        # Fractions of a second work as well as whole ones.
        self._client.reconnect_delay_set(0.1, 5)  # type: ignore[arg-type]
        # The spool above bounds the messages, by their size.
        self._client.max_queued_messages_set(0)
        if parts.username:
            self._client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        if parts.scheme == "mqtts":
            try:
                self._client.tls_set(ca, cert, key, cert_reqs=ssl.CERT_REQUIRED)
            except OSError as error:
                raise EdgeError(f"the certificates for {parts.hostname} cannot be read: {error}") from None
        self._client.on_connect = self._connected
        self._client.on_publish = self._confirmed
        self._client.on_disconnect = self._gone
        self._client.on_connect_fail = self._unreachable
        self._client.on_message = self._arrived
        self._where = f"{parts.hostname}:{port}"
        self._client.connect_async(parts.hostname, port, keepalive=30)
        self._client.loop_start()

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> bool:
        """Send a message, or let it wait while the broker is away.

        Returns:
            Whether there was room for it.
        """
        # What nobody confirms takes no room: while the broker is away it is lost, as with a nucleus.
        size = len(payload) + len(topic) + _AROUND if qos else 0
        with self._lock:
            if size > self._room:
                return False
            self._room -= size
        # Not under the lock: the client confirms under a lock of its own, which it takes here, too.
        info = self._client.publish(topic, payload, qos, retain)
        with self._lock:
            if info.rc == self._code.MQTT_ERR_QUEUE_SIZE or info.mid in self._confirmed_early:
                self._confirmed_early.discard(info.mid)
                self._room += size
            elif qos or info.rc == self._code.MQTT_ERR_SUCCESS:
                self._waiting[info.mid] = size
        return info.rc != self._code.MQTT_ERR_QUEUE_SIZE

    def subscribe(self, topic_filter: str, qos: int, deliver: Deliver) -> Callable[[], None]:
        """Have messages delivered, from a thread of this connection.

        Returns:
            What ends the subscription.
        """
        with self._lock:
            number = max(self._subscriptions, default=0) + 1
            self._subscriptions[number] = (topic_filter, qos, deliver)
        self._client.subscribe(topic_filter, qos)

        def end() -> None:
            with self._lock:
                self._subscriptions.pop(number, None)
                others = any(wanted == topic_filter for wanted, _, _ in self._subscriptions.values())
            if not others:
                self._client.unsubscribe(topic_filter)

        return end

    def close(self, patience: float = 5.0) -> None:
        """Disconnect; while the broker is there, what waits is sent first, for at most so many seconds."""
        deadline = time.monotonic() + patience
        while self._waiting and not self._why_away and time.monotonic() < deadline:
            time.sleep(0.01)
        if self._waiting:
            _log.warning("the broker %s never got %d messages", self._where, len(self._waiting))
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any) -> None:
        if code.is_failure:
            self._stay_away(f"refuses this device: {code}")
            return
        self._why_away = ""
        with self._lock:
            wanted = list(self._subscriptions.values())
        for topic_filter, qos, _ in wanted:
            client.subscribe(topic_filter, qos)

    def _confirmed(
        self, _client: Client, _data: Any, number: int, _code: ReasonCode, _properties: Any
    ) -> None:
        with self._lock:
            if number in self._waiting:
                self._room += self._waiting.pop(number)
            else:
                self._confirmed_early.add(number)

    def _gone(self, _client: Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any) -> None:
        # After a refusal the broker hangs up, which is no news.
        if code.is_failure and not self._why_away:
            self._stay_away(_ABSENT)

    def _unreachable(self, _client: Client, _data: Any) -> None:
        self._stay_away(_ABSENT)

    def _stay_away(self, why: str) -> None:
        """Say it once, not with every attempt to come back."""
        if why != self._why_away:
            _log.warning("the broker %s %s", self._where, why)
        self._why_away = why

    def _arrived(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        with self._lock:
            wanted = [
                deliver for shape, _, deliver in self._subscriptions.values() if matches(shape, message.topic)
            ]
        for deliver in wanted:
            deliver(message.topic, bytes(message.payload))
