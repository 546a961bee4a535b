"""The process that a function of a custom workflow runs in; its argument is `package.module:name`.

It reads one JSON document per line, `{"event", "arn", "request", "seconds"}`, and writes one per line: first
`{"ready": true}`, then `{"value"}` or `{"error"}` for each event. What the function prints goes to the
standard error stream, which is the server's log.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

Handler = Callable[[Any, Any], Any]


class LambdaContext:
    """What a function is told about its call, as far as there is something to tell.

    https://docs.aws.amazon.com/lambda/latest/dg/python-context.html
    """

    def __init__(self, arn: str, request: str, seconds: float) -> None:
        self.invoked_function_arn = arn
        self.function_name = arn.rpartition(":")[2]
        self.function_version = "$LATEST"
        self.aws_request_id = request
        self._ends = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        """The milliseconds that are left before the call is ended."""
        return max(0, int((self._ends - time.monotonic()) * 1000))


def load(target: str) -> Handler:
    """The function that `package.module:name` names.

    Raises:
        ValueError: with the reason if there is none.
    """
    module, _, name = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"the module {module!r} cannot be imported: {error}") from error
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise ValueError(f"the module {module!r} has no function {name!r}")
    handler: Handler = found
    return handler


def answer(handler: Handler, asked: dict[str, Any]) -> bytes:
    """One event's line of answer."""
    context = LambdaContext(asked["arn"], asked["request"], asked["seconds"])
    try:
        body = json.dumps({"value": handler(asked["event"], context)}, allow_nan=False)
    except Exception as error:  # noqa: BLE001 - whatever it raises is its answer
        traceback.print_exc()
        body = json.dumps({"error": f"{type(error).__name__}: {error}"})
    return body.encode()


def main(target: str) -> None:
    """Answer events until there are no more."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def reply(body: bytes) -> None:
        replies.write(body + b"\n")
        replies.flush()

    try:
        handler = load(target)
    except ValueError as error:
        reply(json.dumps({"error": str(error)}).encode())
        return
    except Exception as error:  # noqa: BLE001 - a module can raise anything when it is imported
        traceback.print_exc()
        reply(json.dumps({"error": str(error) or type(error).__name__}).encode())
        return
    reply(b'{"ready": true}')
    for line in sys.stdin.buffer:
        reply(answer(handler, json.loads(line)))


if __name__ == "__main__":
    main(sys.argv[1])
