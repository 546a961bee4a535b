"""The operations of Greengrass IPC that an emulated device offers, each under its name in AWS's model."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from gtlabel.emulator.ipcpolicy import MQTT, PUBSUB, allows, matches

_log = logging.getLogger(__name__)

# AWS IoT Core's own bounds, https://docs.aws.amazon.com/general/latest/gr/iot-core.html.
_MOST_PAYLOAD = 128 * 1024
_LONGEST_TOPIC = 256
_MOST_SLASHES = 7
_IMPOSSIBLE = re.compile("[\0\ud800-\udfff]")


class Cloud(Protocol):
    """What plays AWS IoT Core: `gtlabel.emulator.uplink.Uplink`."""

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> bool:
        """Send or keep a message; whether there was room for it. Must not block."""
        ...

    def subscribe(
        self, topic_filter: str, qos: int, deliver: Callable[[str, bytes], None]
    ) -> Callable[[], None]:
        """Have messages delivered in any thread; returns what ends that."""
        ...


class Refusal(Exception):  # noqa: N818 (an answer, not a fault)
    """An operation is refused with one of the errors of AWS's model.

    Attributes:
        kind: the error's name, such as `UnauthorizedError`.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Reply:
    """A message to a component.

    Attributes:
        kind: its name in AWS's model.
        value: its JSON.
    """

    kind: str
    value: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Subscription:
    """An answer that events follow.

    Attributes:
        reply: the answer.
        begin: called when it is sent; returns what ends the subscription.
    """

    reply: Reply
    begin: Callable[[], Callable[[], None]]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls an operation.

    Attributes:
        component: its name.
        send: sends an event of a subscription; to be called in the thread of the connections.
    """

    component: str
    send: Callable[[Reply], None]


@dataclass(frozen=True, slots=True)
class _Subscriber:
    topic_filter: str
    caller: Caller
    own_too: bool


class Room:
    """What the components of one device share.

    Attributes:
        thing: the device's name.
        cloud: what plays AWS IoT Core, if anything does.
        configurations: each component's, by name.
        states: what components said of themselves, by name.
        lock: for these two.
    """

    def __init__(self, thing: str, cloud: Cloud | None) -> None:
        self.thing = thing
        self.cloud = cloud
        self.configurations: dict[str, Mapping[str, Any]] = {}
        self.states: dict[str, str] = {}
        self.lock = threading.Lock()
        # Only the thread of the connections touches these.
        self.subscribers: list[_Subscriber] = []

    def configuration(self, component: str) -> Mapping[str, Any] | None:
        """A component's configuration, if it is there."""
        with self.lock:
            return self.configurations.get(component)

    def demand(self, caller: Caller, service: str, operation: str, resource: str) -> None:
        """Refuse what a component's configuration does not allow."""
        configuration = self.configuration(caller.component) or {}
        if not allows(configuration, service, f"aws.greengrass#{operation}", resource, self.thing):
            raise Refusal(
                "UnauthorizedError",
                f"{caller.component} may not {operation} at {resource!r}: no policy under accessControl of "
                f"its configuration, in {service}, allows it",
            )


def publish_to_iot_core(room: Room, caller: Caller, request: Mapping[str, Any]) -> Reply:
    """Send a message to AWS IoT Core."""
    topic, qos = _for_iot_core(_topic(request, "topicName")), _qos(request)
    payload = _blob(request, "payload")
    room.demand(caller, MQTT, "PublishToIoTCore", topic)
    if len(payload) > _MOST_PAYLOAD:
        raise Refusal(
            "InvalidArgumentsError", f"AWS IoT Core takes {_MOST_PAYLOAD} bytes, not {len(payload)}"
        )
    if room.cloud is None:
        _log.info("this device has no broker: a message of %s for %s goes nowhere", caller.component, topic)
    elif not room.cloud.publish(topic, payload, qos=qos, retain=request.get("retain") is True):
        raise Refusal("ServiceError", "the broker is away, and no more messages can wait for it")
    return Reply("PublishToIoTCoreResponse", {})


def subscribe_to_iot_core(room: Room, caller: Caller, request: Mapping[str, Any]) -> Subscription:
    """Get messages from AWS IoT Core."""
    topic_filter, qos = _for_iot_core(_filter(request, "topicName")), _qos(request)
    room.demand(caller, MQTT, "SubscribeToIoTCore", topic_filter)
    loop = asyncio.get_running_loop()

    def deliver(topic: str, payload: bytes) -> None:
        message = {"topicName": topic, "payload": base64.b64encode(payload).decode()}
        # The device may be going down while a message is on its way.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(caller.send, Reply("IoTCoreMessage", {"message": message}))

    def begin() -> Callable[[], None]:
        return room.cloud.subscribe(topic_filter, qos, deliver) if room.cloud else lambda: None

    return Subscription(Reply("SubscribeToIoTCoreResponse", {}), begin)


def publish_to_topic(room: Room, caller: Caller, request: Mapping[str, Any]) -> Reply:
    """Send a message to the components of this device."""
    topic = _topic(request, "topic")
    room.demand(caller, PUBSUB, "PublishToTopic", topic)
    message = _object(request, "publishMessage")
    kinds = [kind for kind in ("jsonMessage", "binaryMessage") if isinstance(message.get(kind), dict)]
    if len(kinds) != 1:
        raise Refusal("InvalidArgumentsError", "publishMessage holds one jsonMessage or one binaryMessage")
    content = {**message[kinds[0]], "context": {"topic": topic}}
    for subscriber in list(room.subscribers):
        if subscriber.caller.component == caller.component and not subscriber.own_too:
            continue
        if matches(subscriber.topic_filter, topic):
            subscriber.caller.send(Reply("SubscriptionResponseMessage", {kinds[0]: content}))
    return Reply("PublishToTopicResponse", {})


def subscribe_to_topic(room: Room, caller: Caller, request: Mapping[str, Any]) -> Subscription:
    """Get messages from the components of this device."""
    topic_filter = _filter(request, "topic")
    room.demand(caller, PUBSUB, "SubscribeToTopic", topic_filter)
    own_too = request.get("receiveMode") == "RECEIVE_ALL_MESSAGES"
    subscriber = _Subscriber(topic_filter, caller, own_too)

    def begin() -> Callable[[], None]:
        room.subscribers.append(subscriber)
        return lambda: room.subscribers.remove(subscriber)

    return Subscription(Reply("SubscribeToTopicResponse", {"topicName": topic_filter}), begin)


def get_configuration(room: Room, caller: Caller, request: Mapping[str, Any]) -> Reply:
    """Read one's own configuration or that of another component; a single value comes under its key."""
    name = _text(request, "componentName") if request.get("componentName") else caller.component
    value: Any = room.configuration(name)
    if value is None:
        raise Refusal("ResourceNotFoundError", f"there is no component {name!r} on {room.thing}")
    path = request.get("keyPath") or []
    if not isinstance(path, list) or not all(isinstance(key, str) for key in path):
        raise Refusal("InvalidArgumentsError", "keyPath is a list of keys")
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            raise Refusal("ResourceNotFoundError", f"the configuration of {name} has no {'/'.join(path)!r}")
        value = value[key]
    found = dict(value) if isinstance(value, Mapping) else {path[-1]: value}
    return Reply("GetConfigurationResponse", {"componentName": name, "value": found})


def update_state(room: Room, caller: Caller, request: Mapping[str, Any]) -> Reply:
    """Say that one runs, or has failed."""
    state = request.get("state")
    if state not in ("RUNNING", "ERRORED"):
        raise Refusal("InvalidArgumentsError", f"a component is RUNNING or ERRORED, not {state!r}")
    with room.lock:
        # One that is being removed may still say its last words.
        if caller.component in room.configurations:
            room.states[caller.component] = state
    return Reply("UpdateStateResponse", {})


Operation = Callable[[Room, Caller, Mapping[str, Any]], Reply | Subscription]

OPERATIONS: Mapping[str, Operation] = {
    "aws.greengrass#PublishToIoTCore": publish_to_iot_core,
    "aws.greengrass#SubscribeToIoTCore": subscribe_to_iot_core,
    "aws.greengrass#PublishToTopic": publish_to_topic,
    "aws.greengrass#SubscribeToTopic": subscribe_to_topic,
    "aws.greengrass#GetConfiguration": get_configuration,
    "aws.greengrass#UpdateState": update_state,
}


def _topic(request: Mapping[str, Any], key: str) -> str:
    """A topic that can be published to."""
    topic = _text(request, key)
    if "+" in topic or "#" in topic:
        raise Refusal("InvalidArgumentsError", f"{topic!r} has a wildcard; publish to one topic")
    return topic


def _filter(request: Mapping[str, Any], key: str) -> str:
    """A topic filter that can be subscribed to."""
    levels = _text(request, key).split("/")
    if "#" in levels[:-1] or any(len(level) > 1 and ("+" in level or "#" in level) for level in levels):
        raise Refusal(
            "InvalidArgumentsError", f"{'/'.join(levels)!r} is no filter: + is a whole level, # the last one"
        )
    return "/".join(levels)


def _for_iot_core(topic: str) -> str:
    """A topic or a topic filter that AWS IoT Core takes."""
    if topic.startswith("$"):
        raise Refusal(
            "InvalidArgumentsError",
            f"{topic!r} is AWS's own: topics that begin with $ are reserved, and a message there may end the "
            "whole connection; use one of your own, such as gtlabel/THING/infer",
        )
    if len(topic.encode()) > _LONGEST_TOPIC or topic.count("/") > _MOST_SLASHES:
        raise Refusal(
            "InvalidArgumentsError",
            f"{topic!r} is too long: AWS IoT Core takes {_LONGEST_TOPIC} bytes and {_MOST_SLASHES} slashes",
        )
    return topic


def _qos(request: Mapping[str, Any]) -> int:
    qos = request.get("qos")
    if qos not in ("0", "1"):
        raise Refusal("InvalidArgumentsError", f"qos is '0' or '1', not {qos!r}")
    return int(qos)


def _text(request: Mapping[str, Any], key: str) -> str:
    value = request.get(key)
    # JSON can say characters that no text in UTF-8 has.
    if not isinstance(value, str) or not value or _IMPOSSIBLE.search(value):
        raise Refusal("InvalidArgumentsError", f"{key} is a text, not {value!r}")
    return value


def _object(request: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = request.get(key)
    return value if isinstance(value, dict) else {}


def _blob(request: Mapping[str, Any], key: str) -> bytes:
    try:
        return base64.b64decode(request.get(key) or "", validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise Refusal("InvalidArgumentsError", f"{key} is no base64") from None
