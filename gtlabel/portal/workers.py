"""The API of workers, JSON in and out: what a worker page, or a simulated worker, says to the board.

    lease      {"job", "worker"}                     -> {"lease", "object", "source_ref", "classes", "kind",
                                                         "input", "accepted", "expires",
                                                         "job_status", "workers_per_object"}
                                                     or {"lease": null, "job_status", "workers_per_object"}
    submit     {"lease", "answer", "active_seconds"} -> {"accepted": true}
               and "next": true                      -> {"accepted": true, "next": what lease would say}
    decline    {"lease"}                             -> {"declined": true}
    release    {"lease"}                             -> {"released": true}
    heartbeat  {"lease"}                             -> {"expires"}

`job` is a name; `account` and `region` beside it say where, if not at the usual place. `input` is what the
template knows as `task.input`. A server that asks for a token takes the worker from it, and `worker` is not
looked at. What cannot be done is answered by `{"error": sentence}`: 400 for a word that is not understood or
names no class, 404 for a job that does not exist, 409 for a task that is not in the worker's hands any more,
503 and 507 when nothing can be stored now: then nothing was taken, and the same may be sent again.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gtlabel.engine.board import Board, JobKey, Status, Task
from gtlabel.errors import (
    AnswerError,
    DatabaseFullError,
    JobNotFoundError,
    LeaseError,
    NotSignedInError,
    StoreError,
    TooManyTriesError,
    WorkerDeactivatedError,
    WorkerNotAdmittedError,
)

_log = logging.getLogger(__name__)

_LONGEST_TEXT = 256

# The HTTP status and the JSON to answer with.
Answer = tuple[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and where they are at home.

    Attributes:
        worker: who they are, when a server knows; without it, whom the body names.
        account: the account of jobs that are asked for by name alone.
        region: the region of such jobs.
    """

    worker: str | None = None
    account: str = "123456789012"
    region: str = "us-east-1"


_ANYBODY = Caller()


def handle(board: Board, action: str, body: Mapping[str, Any], caller: Caller = _ANYBODY) -> Answer:
    """Answer one request.

    Args:
        board: the board.
        action: what follows `/gtlabel/worker/`.
        body: the request's JSON object.
        caller: who asks.
    """
    try:
        asked = _understood(board, action, body, caller)
        return 200, asked.told(asked.done())
    except Exception as error:  # noqa: BLE001 - told apart in `refusal`
        return refusal(error, action)


async def answer(board: Board, action: str, body: Mapping[str, Any], caller: Caller = _ANYBODY) -> Answer:
    """Answer one request while others are answered; see `handle`."""
    return await asyncio.to_thread(handle, board, action, body, caller)


def refusal(error: Exception, action: str) -> Answer:
    """What to say about a failure; one that nobody foresaw is logged."""
    for kind, status in _STATUS.items():
        if isinstance(error, kind):
            said: dict[str, Any] = {"error": str(error)}
            if isinstance(error, TooManyTriesError):
                said["retry_after"] = max(1, math.ceil(error.seconds))
            return status, said
    _log.error("worker/%s", action, exc_info=error)
    return 500, {"error": f"{action} failed inside: {type(error).__name__}: {error}"}


class _NotUnderstoodError(Exception):
    pass


class _UnknownActionError(Exception):
    pass


# The first that fits counts.
_STATUS: dict[type[Exception], int] = {
    _NotUnderstoodError: 400,
    AnswerError: 400,
    JobNotFoundError: 404,
    _UnknownActionError: 404,
    WorkerNotAdmittedError: 403,
    LeaseError: 409,
    NotSignedInError: 401,
    WorkerDeactivatedError: 403,
    TooManyTriesError: 429,
    DatabaseFullError: 507,
    StoreError: 503,
}


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that was understood: what is to be done, and how its result is told."""

    done: Callable[[], Any]
    told: Callable[[Any], dict[str, Any]]


def _understood(board: Board, action: str, body: Mapping[str, Any], caller: Caller) -> _Asked:
    name = action.strip("/")
    match name:
        case "lease":
            return _lease(board, body, caller)
        case "submit":
            return _submit(board, body)
        case "decline":
            lease = _text(body, "lease")
            return _Asked(lambda: board.decline(lease), lambda _: {"declined": True})
        case "release":
            lease = _text(body, "lease")
            return _Asked(lambda: board.release(lease), lambda _: {"released": True})
        case "heartbeat":
            lease = _text(body, "lease")
            return _Asked(lambda: board.heartbeat(lease), lambda until: {"expires": until.isoformat()})
    raise _UnknownActionError(f"workers cannot {name!r}; they can lease, submit, decline, release, heartbeat")


def _lease(board: Board, body: Mapping[str, Any], caller: Caller) -> _Asked:
    key = JobKey(
        _text(body, "account", caller.account), _text(body, "region", caller.region), _text(body, "job")
    )
    worker = caller.worker or _text(body, "worker")
    return _Asked(lambda: board.lease(key, worker), lambda task: _offered(board, key, task))


def _offered(board: Board, key: JobKey, task: Task | None) -> dict[str, Any]:
    if task is None:
        job = board.job(key)
        return {
            "lease": None,
            "job_status": job.status.value,
            "workers_per_object": job.spec.workers_per_object,
        }
    return {
        "lease": task.lease,
        "object": task.object,
        "source_ref": task.source_ref,
        "classes": list(task.classes),
        "kind": task.kind.value,
        "accepted": task.accepted.isoformat(),
        "expires": task.expires.isoformat(),
        "job_status": Status.IN_PROGRESS.value,
        "workers_per_object": task.workers_per_object,
    }


def _submit(board: Board, body: Mapping[str, Any]) -> _Asked:
    said, seconds = body.get("answer"), body.get("active_seconds")
    if not isinstance(said, dict):
        raise _NotUnderstoodError('"answer" must be the JSON object that the worker page gives')
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float)):
        raise _NotUnderstoodError('"active_seconds" must be a number of seconds')
    lease = _text(body, "lease")
    return _Asked(lambda: board.submit(lease, said, seconds), lambda _: {"accepted": True})


def _text(body: Mapping[str, Any], name: str, default: str = "") -> str:
    value = body.get(name, default)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT or not value.isprintable():
        raise _NotUnderstoodError(f'"{name}" must be a text of 1 to {_LONGEST_TEXT} printable characters')
    return value
