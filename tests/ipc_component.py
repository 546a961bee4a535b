"""A component as its owner writes it, with AWS's own client: it does as told and prints what came of it.

Run: ipc_component.py '[["publish_to_iot_core", {"topic_name": "a/b", "qos": "1", "payload": "text"}], …]'
"""

from __future__ import annotations

import json
import queue
import sys
from typing import Any

from awsiot import eventstreamrpc
from awsiot.greengrasscoreipc import model
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2

_SUBSCRIPTIONS = ("subscribe_to_topic", "subscribe_to_iot_core")


def main() -> None:
    try:
        client = GreengrassCoreIPCClientV2()
    except eventstreamrpc.AccessDeniedError as error:
        say(error=type(error).__name__)
        return
    events: queue.Queue[Any] = queue.Queue()
    for name, arguments in json.loads(sys.argv[1]):
        try:
            if name == "wait":
                event = events.get(timeout=120)
                say(event=shown(event))
            elif name in _SUBSCRIPTIONS:
                response, _ = getattr(client, name)(on_stream_event=events.put, **arguments)
                say(done=type(response).__name__)
            else:
                response = getattr(client, name)(**prepared(arguments))
                say(done=getattr(response, "value", None))
        except model.GreengrassCoreIPCError as error:
            say(error=type(error).__name__, message=error.message)
    client.close().result(60)


def prepared(arguments: dict[str, Any]) -> dict[str, Any]:
    """What can be said in JSON, as the client wants it."""
    found = dict(arguments)
    if "size" in found:
        found["payload"] = bytes(found.pop("size"))
    elif isinstance(found.get("payload"), str):
        found["payload"] = found["payload"].encode()
    if "binary" in found:
        message = model.BinaryMessage(message=found.pop("binary").encode())
        found["publish_message"] = model.PublishMessage(binary_message=message)
    if "json" in found:
        found["publish_message"] = model.PublishMessage(
            json_message=model.JsonMessage(message=found.pop("json"))
        )
    return found


def shown(event: Any) -> list[Any]:
    """An event's topic and content."""
    if isinstance(event, model.IoTCoreMessage):
        return [event.message.topic_name, event.message.payload.decode()]
    if event.json_message is not None:
        return [event.json_message.context.topic, event.json_message.message]
    return [event.binary_message.context.topic, event.binary_message.message.decode()]


def say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
