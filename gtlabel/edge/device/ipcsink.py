"""Results to AWS IoT Core through the Greengrass nucleus that runs this program as a component.

The only door to awsiotsdk, which is imported when a nucleus is there. The component's `accessControl` has to
allow `aws.greengrass#PublishToIoTCore` for the topic
(https://docs.aws.amazon.com/greengrass/v2/developerguide/ipc-iot-core-mqtt.html).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from gtlabel.edge.device.arguments import IPC_SOCKET
from gtlabel.edge.device.ending import MISSING_PACKAGE, WRONG_ARGUMENTS, RunError
from gtlabel.edge.device.outbox import RefusedError

_ANSWER_SECONDS = 10.0
_FIRST_RETRY, _LONGEST_RETRY = 0.5, 30.0


class IpcCarrier:
    """Publishes to one topic through the nucleus, reconnecting when that restarts.

    Args:
        topic: where results go.
        tell: takes sentences for people.

    Raises:
        RunError: if awsiotsdk is missing, or this is not a component of a nucleus.
    """

    def __init__(self, topic: str, tell: Callable[[str], None]) -> None:
        if not (os.environ.get(IPC_SOCKET) and os.environ.get("SVCUID")):
            raise RunError(
                f"no Greengrass nucleus started this ({IPC_SOCKET} and SVCUID are not set); use --ipc off",
                WRONG_ARGUMENTS,
            )
        try:
            from awsiot.greengrasscoreipc import clientv2, model
        except ImportError as error:
            raise RunError(
                f"{error}; publishing through Greengrass needs it: python3 -m pip install awsiotsdk",
                MISSING_PACKAGE,
            ) from error
        self._connect = clientv2.GreengrassCoreIPCClientV2
        # What the nucleus refuses so it will refuse again, however often it is asked.
        self._unauthorized, self._invalid = model.UnauthorizedError, model.InvalidArgumentsError
        self._topic = topic
        self._tell = tell
        self._client: Any = None
        self._abandoned = threading.Event()

    def deliver(self, payload: bytes) -> bool:
        """Publish and wait for the nucleus's answer, which means that it keeps the message from now on.

        Raises:
            RefusedError: if the component may not publish to the topic, or nobody may.
        """
        pause, away = _FIRST_RETRY, False
        while not self._abandoned.is_set():
            try:
                if self._client is None:
                    self._client = self._connect()
                answer = self._client.publish_to_iot_core_async(
                    topic_name=self._topic, qos="1", payload=payload
                )
                answer.result(_ANSWER_SECONDS)
            except self._invalid as error:
                raise RefusedError(_reason(error)) from error
            except self._unauthorized as error:
                raise RefusedError(
                    f"{_reason(error)}; the component's accessControl must allow "
                    f"aws.greengrass#PublishToIoTCore for {self._topic}"
                ) from error
            # The SDK's errors share no base class, and a nucleus that restarts causes all sorts of them.
            except Exception as error:  # noqa: BLE001
                if not away:
                    away = True
                    self._tell(
                        f"the nucleus does not take results ({_reason(error)}); they are kept until it does"
                    )
                self._hang_up()
                self._abandoned.wait(pause)
                pause = min(2 * pause, _LONGEST_RETRY)
            else:
                if away:
                    self._tell("the nucleus takes results again")
                return True
        return False

    def abandon(self) -> None:
        """End a delivery under way; one that waits for an answer ends when that is overdue."""
        self._abandoned.set()

    def close(self) -> None:
        """Close the connection."""
        self._hang_up()

    def _hang_up(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close(executor_wait=False)


def _reason(error: Exception) -> str:
    """What an error says; those of the SDK's model say it in a field of their own."""
    return getattr(error, "message", None) or str(error) or type(error).__name__
