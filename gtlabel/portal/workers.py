"""The API of workers, JSON in and out: what a worker page, or a simulated worker, says to the board.

    lease      {"job", "worker"}                     -> {"lease", "object", "source_ref", "classes", "kind",
                                                         "input", "accepted", "expires",
                                                         "job_status", "workers_per_object"}
                                                     or {"lease": null, "job_status", "workers_per_object"}
    submit     {"lease", "answer", "active_seconds"} -> {"accepted": true}
               and "next": true                      -> {"accepted": true, "next": as lease}
               or "hold": true                       -> {"accepted": true, "final_at"}
    revise     {"lease", "answer", "active_seconds"} -> {"accepted": true, "final_at"}
    decline    {"lease"}                             -> {"declined": true}
    release    {"lease"}                             -> {"released": true}
    heartbeat  {"lease"}                             -> {"expires"}
    stop       {"lease"}                             -> {"stopped": true, "expires"}
    resume     {"lease"}                             -> as lease
    held       {"worker"}                            -> {"tasks": [as lease, and "job", "stopped"]}

`job` is a name; `account` and `region` beside it say where, if not at the usual place. `input` is what the
template knows as `task.input`. `submit` with `next` takes the answer and hands out the next image of the job
in one transaction; where there is none, `next` is `{"lease": null}`, with the rest if the request names the
job. With `hold` the answer is stored and can be changed by `revise` until `final_at`, or until its worker has
held ten newer ones. `stop` puts a task aside, to go on later, while its time runs on. A server that asks for
a token takes the worker from it, and `worker` is not looked at.

What cannot be done is answered by `{"error": sentence}`: 400 for a word that is not understood or names no
class, 401 without a token that is known, 403 for a worker who may not, 404 for a job that does not exist,
409 for a task that is not in the worker's hands any more, 429 after too many wrong tokens, 503 and 507 when
nothing can be stored now: then nothing was taken, and the same may be sent again.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gtlabel.engine.board import Board, JobKey, Status, Task
from gtlabel.engine.custom import task_input
from gtlabel.engine.holding import Holding
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
    try:
        asked = _understood(board, action, body, caller)
        if asked.soon is None:
            return 200, await asyncio.to_thread(lambda: asked.told(asked.done()))
        done = await asyncio.wrap_future(asked.soon())
        if done is None and asked.looks:
            return 200, await asyncio.to_thread(asked.told, done)
        return 200, asked.told(done)
    except Exception as error:  # noqa: BLE001 - told apart in `refusal`
        return refusal(error, action)


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
    """A request that was understood.

    Attributes:
        told: how what came of it is told.
        soon: does it while the caller does something else, where that can be.
        now: does it while the caller waits, where it cannot.
        looks: whether `told` has to look into the database to tell that there was nothing.
    """

    told: Callable[[Any], dict[str, Any]]
    soon: Callable[[], Future[Any]] | None = None
    now: Callable[[], Any] | None = None
    looks: bool = False

    def done(self) -> Any:
        """What came of it, once it is on disk."""
        if self.soon is not None:
            return self.soon().result()
        return self.now() if self.now is not None else None


def _understood(board: Board, action: str, body: Mapping[str, Any], caller: Caller) -> _Asked:
    name = action.strip("/")
    if name not in _ACTIONS:
        raise _UnknownActionError(f"workers cannot {name!r}; they can {', '.join(_ACTIONS)}")
    return _ACTIONS[name](board, body, caller)


def _lease(board: Board, body: Mapping[str, Any], caller: Caller) -> _Asked:
    key, worker = _key(body, caller), _worker(body, caller)
    return _Asked(
        lambda task: _nothing(board, key) if task is None else _offered(task),
        soon=lambda: board.lease_soon(key, worker),
        looks=True,
    )


def _submit(board: Board, body: Mapping[str, Any], caller: Caller) -> _Asked:
    (said, seconds), lease = _said(body), _text(body, "lease")
    if body.get("hold") is True:
        return _Asked(
            _told_until, soon=lambda: Holding(board).submit_soon(lease, said, seconds, worker=caller.worker)
        )
    if body.get("next") is not True:
        return _Asked(
            lambda _: {"accepted": True},
            soon=lambda: board.submit_soon(lease, said, seconds, worker=caller.worker),
        )
    key = _key(body, caller) if "job" in body else None

    def told(task: Task | None) -> dict[str, Any]:
        if task is not None:
            return {"accepted": True, "next": _offered(task)}
        return {"accepted": True, "next": {"lease": None} if key is None else _nothing(board, key)}

    return _Asked(told, soon=lambda: board.step_soon(lease, said, seconds, worker=caller.worker), looks=True)


def _revise(board: Board, body: Mapping[str, Any], caller: Caller) -> _Asked:
    (said, seconds), lease = _said(body), _text(body, "lease")
    return _Asked(
        _told_until, soon=lambda: Holding(board).revise_soon(lease, said, seconds, worker=caller.worker)
    )


def _said(body: Mapping[str, Any]) -> tuple[dict[str, Any], float | None]:
    said, seconds = body.get("answer"), body.get("active_seconds")
    if not isinstance(said, dict):
        raise _NotUnderstoodError('"answer" must be the JSON object that the worker page gives')
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float)):
        raise _NotUnderstoodError('"active_seconds" must be a number of seconds')
    return said, seconds


def _told_until(until: datetime) -> dict[str, Any]:
    return {"accepted": True, "final_at": until.isoformat()}


def _decline(board: Board, body: Mapping[str, Any], caller: Caller) -> _Asked:
    lease = _text(body, "lease")
    return _Asked(lambda _: {"declined": True}, soon=lambda: board.decline_soon(lease, worker=caller.worker))


def _release(board: Board, body: Mapping[str, Any], caller: Caller) -> _Asked:
    lease = _text(body, "lease")
    return _Asked(lambda _: {"released": True}, soon=lambda: board.release_soon(lease, worker=caller.worker))


def _heartbeat(board: Board, body: Mapping[str, Any], caller: Caller) -> _Asked:
    lease = _text(body, "lease")
    return _Asked(
        lambda expires: {"expires": expires.isoformat()},
        soon=lambda: board.heartbeat_soon(lease, worker=caller.worker),
    )


def _stop(board: Board, body: Mapping[str, Any], caller: Caller) -> _Asked:
    lease = _text(body, "lease")
    return _Asked(
        lambda task: {"stopped": True, "expires": task.expires.isoformat()},
        now=lambda: board.pause(lease, worker=caller.worker),
    )


def _resume(board: Board, body: Mapping[str, Any], caller: Caller) -> _Asked:
    lease = _text(body, "lease")
    return _Asked(_offered, now=lambda: board.resume(lease, worker=caller.worker))


def _held(board: Board, body: Mapping[str, Any], caller: Caller) -> _Asked:
    worker = _worker(body, caller)

    def told(tasks: list[Task]) -> dict[str, Any]:
        return {"tasks": [{**_offered(task), "job": task.job.name, "stopped": task.paused} for task in tasks]}

    return _Asked(told, now=lambda: board.held(worker))


_ACTIONS: dict[str, Callable[[Board, Mapping[str, Any], Caller], _Asked]] = {
    "lease": _lease,
    "submit": _submit,
    "revise": _revise,
    "decline": _decline,
    "release": _release,
    "heartbeat": _heartbeat,
    "stop": _stop,
    "resume": _resume,
    "held": _held,
}


def _offered(task: Task) -> dict[str, Any]:
    return {
        "lease": task.lease,
        "object": task.object,
        "source_ref": task.source_ref,
        "classes": list(task.classes),
        "kind": task.kind.value,
        "input": task_input(task),
        "accepted": task.accepted.isoformat(),
        "expires": task.expires.isoformat(),
        "job_status": Status.IN_PROGRESS.value,
        "workers_per_object": task.workers_per_object,
    }


def _nothing(board: Board, key: JobKey) -> dict[str, Any]:
    job = board.job(key)
    return {
        "lease": None,
        "job_status": job.status.value,
        "workers_per_object": job.spec.workers_per_object,
    }


def _key(body: Mapping[str, Any], caller: Caller) -> JobKey:
    account, region = _text(body, "account", caller.account), _text(body, "region", caller.region)
    return JobKey(account, region, _text(body, "job"))


def _worker(body: Mapping[str, Any], caller: Caller) -> str:
    return caller.worker or _text(body, "worker")


def _text(body: Mapping[str, Any], name: str, default: str = "") -> str:
    value = body.get(name, default)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT or not value.isprintable():
        raise _NotUnderstoodError(f'"{name}" must be a text of 1 to {_LONGEST_TEXT} printable characters')
    return value
