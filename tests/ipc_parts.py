"""What the tests of Greengrass IPC share."""

from __future__ import annotations

from typing import Any


def configuration(
    *resources: str, service: str = "mqttproxy", operations: tuple[str, ...] = ("*",), **more: Any
) -> dict[str, Any]:
    """A component's configuration with one policy."""
    policy = {"operations": list(operations), "resources": list(resources)}
    return {"accessControl": {f"aws.greengrass.ipc.{service}": {"it:1": policy}}, **more}
