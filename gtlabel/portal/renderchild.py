"""The guarded process that templates are rendered in: what it does, and what it may not.

It reads requests from its input and writes replies to its output, each a JSON text behind its length in four
bytes, and ends when its input does. It has no environment, an empty folder, no right to write a file or to
start a process, and as much memory and time as it is told. What a template wants granted it asks its parent,
in the middle of a render: `{"grant": uri}` is answered by `{"url": ...}` or `{"refused": sentence}`, so
that no key ever comes here and a template may go on filtering what it got.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable
from typing import Any

LENGTH = struct.Struct(">I")
# A page of 4 MB of characters that all need six bytes in JSON does not come near it.
MOST_BYTES = 64_000_000


def packed(message: Any) -> bytes:
    """A message with its length before it; halves of characters become question marks."""
    body = json.dumps(message, ensure_ascii=False).encode(errors="replace")
    return LENGTH.pack(len(body)) + body


def main(memory: int, seconds: float) -> None:
    """Serve until the input ends.

    Args:
        memory: how many bytes of address space there are.
        seconds: how much processor time one request may take.
    """
    # Ctrl-C in a terminal is for the parent to act upon.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        from gtlabel.portal.lint import lint
        from gtlabel.portal.liquid import GrantRefusedError, Templates
    except ImportError as error:
        _send({"failed": str(error)})
        return
    _confine(memory)
    templates = Templates()

    def grant(uri: str) -> str:
        _send({"grant": uri})
        answer = _receive()
        if answer is None or "url" not in answer:
            raise GrantRefusedError((answer or {}).get("refused", "nobody is there any more"))
        return str(answer["url"])

    def rendered(request: dict[str, Any]) -> dict[str, Any]:
        done = templates.render(request["template"], request["input"], grant)
        return {"content": done.content, "problems": _told(done.errors)}

    def linted(request: dict[str, Any]) -> dict[str, Any]:
        found = lint(
            request["template"], element=request["element"], sample=request["sample"], templates=templates
        )
        return {"problems": _told(found)}

    works: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"render": rendered, "lint": linted}
    _send({"ready": os.getpid()})
    while (request := _receive()) is not None:
        _limit_time(seconds)
        try:
            _send(works[request["work"]](request))
        except MemoryError:
            # What is left of it is not to be trusted with another template.
            _send({"spent": "memory"})
            return


def _confine(memory: int) -> None:
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
    }
    for limit, value in limits.items():
        most = resource.getrlimit(limit)[1]
        fits = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(limit, (fits, fits))


def _limit_time(seconds: float) -> None:
    """The parent's clock is the one that counts; this one still works when the parent is gone."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _told(problems: list[Any]) -> list[list[Any]]:
    return [[one.severity, one.code, one.line, one.sentence] for one in problems]


def _send(message: Any) -> None:
    sys.stdout.buffer.write(packed(message))
    sys.stdout.buffer.flush()


def _receive() -> Any:
    head = sys.stdin.buffer.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    return json.loads(sys.stdin.buffer.read(LENGTH.unpack(head)[0]))
