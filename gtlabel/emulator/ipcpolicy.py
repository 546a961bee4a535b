"""What a component may do over IPC: the `accessControl` of its configuration.

Rules: https://docs.aws.amazon.com/greengrass/v2/developerguide/interprocess-communication.html#ipc-authorization-policies
and https://docs.aws.amazon.com/greengrass/v2/developerguide/ipc-iot-core-mqtt.html.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

MQTT = "aws.greengrass.ipc.mqttproxy"
PUBSUB = "aws.greengrass.ipc.pubsub"

# Signs with a meaning are written so when they are meant themselves.
_ESCAPED = {"${*}": "*", "${?}": "?", "${$}": "$"}
_TOKEN = re.compile(r"\$\{[*?$]\}|\*|[^*$]+|\$")


def allows(configuration: Mapping[str, Any], service: str, operation: str, resource: str, thing: str) -> bool:
    """Whether a component's own configuration lets it do something.

    Args:
        configuration: the component's; a policy in it that is none allows nothing.
        service: `MQTT` or `PUBSUB`.
        operation: such as `aws.greengrass#PublishToIoTCore`.
        resource: a topic, or for a subscription a topic filter.
        thing: what `{iot:thingName}` stands for.
    """
    for policy in _mapping(_mapping(configuration.get("accessControl")).get(service)).values():
        operations = _texts(_mapping(policy).get("operations"))
        if operation not in operations and "*" not in operations:
            continue
        for allowed in _texts(_mapping(policy).get("resources")):
            pattern = _pattern(allowed.replace("{iot:thingName}", thing), service == MQTT)
            if pattern.fullmatch(resource):
                return True
    return False


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a topic lies within an MQTT topic filter; topics with `$` are not for wildcards.

    MQTT 3.1.1, section 4.7: https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html.
    """
    if topic.startswith("$") and not topic_filter.startswith("$"):
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for place, level in enumerate(wanted):
        if level == "#":
            return True
        if place >= len(levels) or level not in ("+", levels[place]):
            return False
    return len(wanted) == len(levels)


@lru_cache(maxsize=256)
def _pattern(resource: str, mqtt: bool) -> re.Pattern[str]:
    """A resource of a policy as an expression; `+` and `#` count only where topics are MQTT's."""
    if not mqtt:
        return re.compile(_stars(resource), re.DOTALL)
    parts = []
    levels = resource.split("/")
    for place, level in enumerate(levels):
        slash = "/" if place else ""
        if level == "#" and place == len(levels) - 1:
            # `a/#` is also `a` itself.
            parts.append(f"(?:{slash}.*)?")
        else:
            # A filter with `#` asks for more than one level, which `+` does not grant.
            parts.append(slash + (r"[^/#]*" if level == "+" else _stars(level)))
    return re.compile("".join(parts), re.DOTALL)


def _stars(text: str) -> str:
    return "".join(
        ".*" if part == "*" else re.escape(_ESCAPED.get(part, part)) for part in _TOKEN.findall(text)
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _texts(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
