"""What happens to a lease in the database: it is given out, answered, put aside, given back.

Every function stands within a transaction of its caller.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, insert, literal_column, select, update

from gtlabel.engine import drafts
from gtlabel.engine.counted import is_withdrawn
from gtlabel.engine.intake import check_content
from gtlabel.engine.jobs import Job, Kind, Receipt, Status, Task, from_micros
from gtlabel.engine.places import end_lease, expire_leases, lock_task, need_of, settle, sits
from gtlabel.engine.queue import TaskRow, Walks
from gtlabel.engine.register import hold_job, job_by_number
from gtlabel.engine.schema import answers, leases, surplus, tasks
from gtlabel.engine.statements import Prepared
from gtlabel.errors import AnswerError, LeaseError

SECOND = 1_000_000
# The longest that AWS lets anyone keep an image or text task (contract/ground-truth.md 10).
_LONGEST_TASK_SECONDS = 28_800

_FIND = Prepared(select(leases).where(leases.c.id == bindparam("lease")))
_LEASE = Prepared(
    insert(leases).values(
        id=bindparam("lease"),
        job=bindparam("job"),
        object=bindparam("object"),
        worker=bindparam("worker"),
        seat=bindparam("worker"),
        state="leased",
        accepted=bindparam("accepted"),
        expires=bindparam("expires"),
    )
)
_TAKE_PLACE = Prepared(
    update(tasks)
    .where(tasks.c.job == bindparam("of_job"), tasks.c.object == bindparam("of_object"))
    .values(open_slots=tasks.c.open_slots - 1)
)
_kept: dict[str, Any] = {
    name: bindparam(name)
    for name in (
        "lease", "job", "object", "worker", "content", "accepted", "submitted", "active_seconds", "next"
    )
}  # fmt: skip
_ANSWER = Prepared(insert(answers).values(_kept))
_KEEP = Prepared(insert(surplus).values(_kept))
_SAID = {
    table: Prepared(select(table.c.content, table.c.next).where(table.c.lease == bindparam("lease")))
    for table in (answers, surplus)
}
_EXTEND = Prepared(update(leases).where(leases.c.id == bindparam("lease")).values(expires=bindparam("until")))
_PAUSE = Prepared(update(leases).where(leases.c.id == bindparam("lease")).values(paused=bindparam("since")))
_HELD = Prepared(
    select(leases)
    .where(leases.c.worker == bindparam("of_worker"), leases.c.state == literal_column("'leased'"))
    .where(leases.c.expires > bindparam("now"))
    .order_by(leases.c.accepted, leases.c.id)
)
_READ = Prepared(select(tasks).where(tasks.c.job == bindparam("job"), tasks.c.object == bindparam("object")))


class Held(NamedTuple):
    """A lease as the database has it; columns as in `gtlabel.engine.schema`."""

    id: str
    job: int
    object: int
    worker: str
    seat: str | None
    state: str
    accepted: int
    expires: int
    paused: int | None
    ended: int | None


@dataclass(frozen=True, slots=True)
class Said:
    """An answer on its way in.

    Attributes:
        content: the answer as JSON.
        active_seconds: how long the page says the worker looked.
        now: when it came.
        worker: who says so, where that is known.
    """

    lease: str
    answer: Mapping[str, Any]
    content: str
    active_seconds: float | None
    now: int
    worker: str | None = None


class Taken(NamedTuple):
    """What became of an answer.

    Attributes:
        done: whether workers are done with the image now.
        next: what was handed out together with it.
    """

    receipt: Receipt
    done: bool
    next: Task | None = None


def find_lease(connection: Connection, lease: str, worker: str | None = None) -> Held:
    """The lease of that id, and of that worker where one is named.

    Raises:
        LeaseError: if there is none; nobody learns whether it is somebody else's.
    """
    row = _FIND.one(connection, lease=lease)
    held = Held(*row) if row else None
    if held is None or worker not in (None, held.worker):
        raise LeaseError(f"there is no lease {lease!r}; ask for a new task")
    return held


def open_lease(connection: Connection, lease: str, worker: str | None = None) -> tuple[Held, Job]:
    """A lease that is in its worker's hands, and its job.

    Raises:
        LeaseError: if it is not, or the job takes no answers.
    """
    held = find_lease(connection, lease, worker)
    job = hold_job(connection, held.job)
    must_be_running(job)
    if held.state != "leased":
        raise LeaseError(f"the task is not in your hands any more (it is {held.state}); ask for a new one")
    return held, job


def must_be_running(job: Job) -> None:
    """Raise a LeaseError if a job takes no answers now."""
    if job.status is not Status.IN_PROGRESS:
        raise LeaseError(f"the job {job.key.name!r} is {job.status} and takes no more answers")


def given_out(connection: Connection, lease: str) -> Task | None:
    """What was given out under a lease of that id already; see `Store.write_soon`."""
    row = _FIND.one(connection, lease=lease)
    return task_of(connection, job_by_number(connection, row[1]), Held(*row)) if row else None


def task_of(connection: Connection, job: Job, held: Held) -> Task:
    """What the worker of a lease was given."""
    row = TaskRow(*_READ.one(connection, job=held.job, object=held.object))
    return _task(job, row, held.id, held.accepted, held.expires, paused=held.paused is not None)


def give_out(
    connection: Connection, walks: Walks, job: Job, worker: str, lease: str, now: int
) -> Task | None:
    """Hand the next image in line to a worker, under a lease of that id; None if there is none for them."""
    if job.status is not Status.IN_PROGRESS:
        return None
    swept = False
    while True:
        task = walks.next(connection, job.number, worker)
        if task is None:
            # What others let lie is looked for only when it is needed; the foreman does so all the time.
            if swept or not expire_leases(connection, now):
                return None
            swept = True
        elif (task.deadline or 0) <= now:
            settle(connection, job, task, now)
        else:
            break
    expires = now + job.spec.task_seconds * SECOND
    values = {"job": job.number, "object": task.object, "accepted": now, "expires": expires}
    _LEASE.run(connection, lease=lease, worker=worker, **values)
    _TAKE_PLACE.run(connection, of_job=job.number, of_object=task.object)
    return _task(job, task, lease, now, expires)


def take_answer(
    connection: Connection, said: Said, then: Callable[[Job, str], Task | None] | None = None
) -> Taken:
    """Put an answer down for good, and whatever `then` hands to its worker together with it.

    Raises:
        AnswerError: if it names no class of the job.
        LeaseError: if the worker gave the task back, or gave another answer before.
    """
    held = find_lease(connection, said.lease, said.worker)
    job = hold_job(connection, held.job)
    if held.state in ("done", "withdrawn", "surplus"):
        return _again(connection, job, held, said, then)
    if held.state in ("declined", "released"):
        raise LeaseError(f"the task was {held.state} before; ask for a new one")
    check_answer(job, said.answer)
    task = lock_task(connection, held.job, held.object)
    kept = {
        "lease": held.id,
        "job": held.job,
        "object": held.object,
        "worker": held.worker,
        "content": said.content,
        "accepted": held.accepted,
        "submitted": said.now,
        "active_seconds": active(said.active_seconds, (said.now - held.accepted) / SECOND),
    }
    counts = job.status is Status.IN_PROGRESS and (
        held.state in ("leased", "held") or _is_place_free(connection, task, held.worker)
    )
    counts = counts and not (held.state == "expired" and is_withdrawn(connection, job.number, held.worker))
    done = False
    if counts:
        if held.state == "held":
            drafts.drop(connection, held.id)
        end_lease(connection, held.id, "done", held.worker, said.now)
        done = settle(connection, job, task, said.now)
    else:
        end_lease(connection, held.id, "surplus", None, said.now)
    following = then(job, held.worker) if then else None
    write = _ANSWER if counts else _KEEP
    write.run(connection, **kept, next=following.lease if following else None)
    return Taken(Receipt.TAKEN if counts else Receipt.SURPLUS, done, following)


def give_back(connection: Connection, lease: str, state: str, now: int, worker: str | None = None) -> bool:
    """Take a task from a worker who declined or released it; say if workers are done with the image.

    Raises:
        LeaseError: if it is not in the worker's hands.
    """
    if find_lease(connection, lease, worker).state == state:
        return False
    held, job = open_lease(connection, lease)
    task = lock_task(connection, held.job, held.object)
    declined = state == "declined"
    end_lease(connection, lease, state, held.worker if declined else None, now)
    if declined:
        task = task._replace(declines=task.declines + 1)
    return settle(connection, job, task, now)


def extend(connection: Connection, lease: str, now: int, worker: str | None = None) -> int:
    """Give a worker who is still looking a fresh time limit; return when it is up.

    Raises:
        LeaseError: if the task is not in the worker's hands, or was put aside.
    """
    held, job = open_lease(connection, lease, worker)
    if held.paused is not None:
        raise LeaseError("the task was put aside; resume it first")
    limit = job.spec.task_seconds
    latest = held.accepted + max(limit, _LONGEST_TASK_SECONDS) * SECOND
    until = min(now + limit * SECOND, latest)
    _EXTEND.run(connection, lease=lease, until=until)
    return until


def put_aside(connection: Connection, lease: str, since: int | None, worker: str | None = None) -> Task:
    """Write since when a task lies aside, or that it does not any more.

    Raises:
        LeaseError: if it is not in the worker's hands.
    """
    held, job = open_lease(connection, lease, worker)
    _PAUSE.run(connection, lease=lease, since=since)
    return task_of(connection, job, held._replace(paused=since))


def in_hands(connection: Connection, worker: str, now: int) -> list[Task]:
    """What a worker has, the oldest first."""
    rows = [Held(*row) for row in _HELD.all(connection, of_worker=worker, now=now)]
    return [task_of(connection, job_by_number(connection, held.job), held) for held in rows]


def check_answer(job: Job, answer: Mapping[str, Any]) -> frozenset[int]:
    """The indices of the classes that an answer names; none for a custom job, whose answers are its own.

    Raises:
        AnswerError: if it is not an answer to this job's question.
    """
    if job.spec.kind is Kind.CUSTOM:
        if not answer:
            raise AnswerError("the answer is empty; a page must give one under at least one name")
        return frozenset()
    given = answer.get(job.spec.kind)
    if not isinstance(given, Mapping):
        raise AnswerError(
            f"the answer holds no '{job.spec.kind}'; the template must keep that element's name"
        )
    chosen = [given.get("label")] if job.spec.kind is Kind.SINGLE else given.get("labels")
    if not isinstance(chosen, list):
        raise AnswerError("the answer holds no list of labels; an image without any has an empty one")
    known = _places_of(job.classes)
    for name in chosen:
        if not isinstance(name, str) or name not in known:
            raise AnswerError(f"{name!r} is no class of this job; its classes are {', '.join(job.classes)}")
    return frozenset(known[name] for name in chosen)


def to_text(answer: Mapping[str, Any]) -> str:
    """An answer as JSON that can be written to a file.

    Raises:
        AnswerError: if it cannot be, or is too long.
    """
    try:
        text = _encode(answer)
        text.encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise AnswerError(f"the answer cannot be written as JSON: {error}") from error
    check_content(text)
    return text


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


@lru_cache(maxsize=256)
def _places_of(classes: tuple[str, ...]) -> Mapping[str, int]:
    return {name: index for index, name in enumerate(classes)}


def _again(
    connection: Connection,
    job: Job,
    held: Held,
    said: Said,
    then: Callable[[Job, str], Task | None] | None,
) -> Taken:
    """Answer a second submission as the first one was."""
    counted = held.state != "surplus"
    content, following = _SAID[answers if counted else surplus].one(connection, lease=held.id)
    if content != said.content:
        raise LeaseError("the task was answered before, and differently; the first answer stands")
    receipt = Receipt.KNOWN if counted else Receipt.SURPLUS
    if then is None:
        return Taken(receipt, done=False)
    given = find_lease(connection, following) if following else None
    if given is not None and given.state == "leased":
        return Taken(receipt, False, task_of(connection, job, given))
    return Taken(receipt, False, then(job, held.worker))


def _is_place_free(connection: Connection, task: TaskRow, worker: str) -> bool:
    return task.state == "open" and task.open_slots > 0 and not sits(connection, task, worker)


def _task(job: Job, row: TaskRow, lease: str, accepted: int, expires: int, *, paused: bool = False) -> Task:
    return Task(
        lease=lease,
        job=job.key,
        object=row.object,
        source_ref=row.source_ref,
        line=row.line,
        kind=job.spec.kind,
        classes=job.classes,
        accepted=from_micros(accepted),
        expires=from_micros(expires),
        workers_per_object=need_of(job, row),
        input=row.input,
        paused=paused,
    )


def active(given: float | None, elapsed: float) -> float:
    """Seconds really spent: what the page says, within what is possible."""
    if given is None:
        return round(elapsed, 3)
    if not math.isfinite(given) or given < 0:
        raise AnswerError(f"active_seconds is {given}; give the seconds the worker looked, zero or more")
    return round(min(float(given), elapsed), 3)
