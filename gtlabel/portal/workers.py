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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gtlabel.engine.board import Board, JobKey, Status, Task
from gtlabel.errors import AnswerError, JobNotFoundError, LeaseError

_LONGEST_TEXT = 256

# The account and region of a job that is asked for by its name alone.
HOME = ("123456789012", "us-east-1")

Answer = tuple[int, dict[str, Any]]


def handle(
    board: Board,
    action: str,
    body: Mapping[str, Any],
    worker: str | None = None,
    home: tuple[str, str] = HOME,
) -> Answer:
    """Answer one request.

    Args:
        board: the board.
        action: what follows `/gtlabel/worker/`.
        body: the request's JSON object.
        worker: who asks; by default whom the body names.
        home: the account and region of jobs that are asked for by name alone.

    Returns:
        The HTTP status and the JSON to answer with.
    """
    try:
        asked = _understood(board, action, body, worker, home)
        return 200, asked.told(asked.done())
    except Exception as error:
        return _refused(error)


async def answer(
    board: Board,
    action: str,
    body: Mapping[str, Any],
    worker: str | None = None,
    home: tuple[str, str] = HOME,
) -> Answer:
    """Answer one request while others are answered; see `handle`."""
    return await asyncio.to_thread(handle, board, action, body, worker, home)


class _NotUnderstoodError(Exception):
    pass


class _UnknownActionError(Exception):
    pass


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that was understood: what is to be done, and how its result is told."""

    done: Callable[[], Any]
    told: Callable[[Any], dict[str, Any]]


def _refused(error: Exception) -> Answer:
    """What to say about a failure that was foreseen; any other is raised again."""
    for kind, status in _STATUS.items():
        if isinstance(error, kind):
            return status, {"error": str(error)}
    raise error


_STATUS: dict[type[Exception], int] = {
    _NotUnderstoodError: 400,
    AnswerError: 400,
    JobNotFoundError: 404,
    _UnknownActionError: 404,
    LeaseError: 409,
}


def _understood(
    board: Board, action: str, body: Mapping[str, Any], worker: str | None, home: tuple[str, str]
) -> _Asked:
    known = {
        "lease": _lease,
        "submit": _submit,
        "decline": _decline,
        "release": _release,
        "heartbeat": _heartbeat,
    }
    name = action.strip("/")
    if name not in known:
        raise _UnknownActionError(f"workers cannot {name!r}; they can {', '.join(known)}")
    return known[name](board, body, worker, home)


def _lease(board: Board, body: Mapping[str, Any], worker: str | None, home: tuple[str, str]) -> _Asked:
    key = JobKey(_text(body, "account", home[0]), _text(body, "region", home[1]), _text(body, "job"))
    person = worker or _text(body, "worker")
    return _Asked(lambda: board.lease(key, person), lambda task: _offered(board, key, task))


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


def _submit(board: Board, body: Mapping[str, Any], worker: str | None, home: tuple[str, str]) -> _Asked:
    said, seconds = body.get("answer"), body.get("active_seconds")
    if not isinstance(said, dict):
        raise _NotUnderstoodError('"answer" must be the JSON object that the worker page gives')
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float)):
        raise _NotUnderstoodError('"active_seconds" must be a number of seconds')
    lease = _text(body, "lease")
    return _Asked(lambda: board.submit(lease, said, seconds), lambda _: {"accepted": True})


def _decline(board: Board, body: Mapping[str, Any], worker: str | None, home: tuple[str, str]) -> _Asked:
    lease = _text(body, "lease")
    return _Asked(lambda: board.decline(lease), lambda _: {"declined": True})


def _release(board: Board, body: Mapping[str, Any], worker: str | None, home: tuple[str, str]) -> _Asked:
    lease = _text(body, "lease")
    return _Asked(lambda: board.release(lease), lambda _: {"released": True})


def _heartbeat(board: Board, body: Mapping[str, Any], worker: str | None, home: tuple[str, str]) -> _Asked:
    lease = _text(body, "lease")
    return _Asked(lambda: board.heartbeat(lease), lambda expires: {"expires": expires.isoformat()})


def _text(body: Mapping[str, Any], name: str, default: str = "") -> str:
    value = body.get(name, default)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT or not value.isprintable():
        raise _NotUnderstoodError(f'"{name}" must be a text of 1 to {_LONGEST_TEXT} printable characters')
    return value
