"""The API of workers, JSON in and out: what a worker page, or a simulated worker, says to the board.

    lease      {"job", "worker"}                     -> {"lease", "object", "source_ref", "classes", "kind",
                                                         "accepted", "expires",
                                                         "job_status", "workers_per_object"}
                                                     or {"lease": null, "job_status", "workers_per_object"}
    submit     {"lease", "answer", "active_seconds"} -> {"accepted": true}
    decline    {"lease"}                             -> {"declined": true}
    release    {"lease"}                             -> {"released": true}
    heartbeat  {"lease"}                             -> {"expires"}

`job` is a name; `account` and `region` beside it say where, if not at the usual place. What cannot be done
is answered by `{"error": sentence}`: 400 for a word that is not understood or names no class, 404 for a job
that does not exist, 409 for a task that is not in the worker's hands any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gtlabel.emulator.api import Context
from gtlabel.engine.board import Board, JobKey, Status
from gtlabel.errors import AnswerError, JobNotFoundError, LeaseError

_LONGEST_TEXT = 256


def handle(board: Board, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Answer one request.

    Args:
        board: the board.
        path: what follows `/gtlabel/worker/`.
        body: the request's JSON object.

    Returns:
        The HTTP status and the JSON to answer with.
    """
    actions = {
        "lease": _lease,
        "submit": _submit,
        "decline": _decline,
        "release": _release,
        "heartbeat": _heartbeat,
    }
    action = actions.get(path.strip("/"))
    if action is None:
        return 404, {"error": f"workers cannot {path.strip('/')!r}; they can {', '.join(actions)}"}
    try:
        return 200, action(board, body)
    except (_NotUnderstoodError, AnswerError) as error:
        return 400, {"error": str(error)}
    except JobNotFoundError as error:
        return 404, {"error": str(error)}
    except LeaseError as error:
        return 409, {"error": str(error)}


class _NotUnderstoodError(Exception):
    pass


def _lease(board: Board, body: Mapping[str, Any]) -> dict[str, Any]:
    usual = Context()
    key = JobKey(
        _text(body, "account", usual.account), _text(body, "region", usual.region), _text(body, "job")
    )
    task = board.lease(key, _text(body, "worker"))
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


def _submit(board: Board, body: Mapping[str, Any]) -> dict[str, Any]:
    answer, seconds = body.get("answer"), body.get("active_seconds")
    if not isinstance(answer, dict):
        raise _NotUnderstoodError('"answer" must be the JSON object that the worker page gives')
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float)):
        raise _NotUnderstoodError('"active_seconds" must be a number of seconds')
    board.submit(_text(body, "lease"), answer, seconds)
    return {"accepted": True}


def _decline(board: Board, body: Mapping[str, Any]) -> dict[str, Any]:
    board.decline(_text(body, "lease"))
    return {"declined": True}


def _release(board: Board, body: Mapping[str, Any]) -> dict[str, Any]:
    board.release(_text(body, "lease"))
    return {"released": True}


def _heartbeat(board: Board, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"expires": board.heartbeat(_text(body, "lease")).isoformat()}


def _text(body: Mapping[str, Any], name: str, default: str = "") -> str:
    value = body.get(name, default)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT or not value.isprintable():
        raise _NotUnderstoodError(f'"{name}" must be a text of 1 to {_LONGEST_TEXT} printable characters')
    return value
