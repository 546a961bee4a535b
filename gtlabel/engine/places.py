"""The places at each image: how many workers may still take it, and when it is done with.

Places are counted anew from leases after every event and never added up, so none can leak. Whoever changes a
lease of an image holds the lock of its task.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    literal_column,
    select,
    update,
)

from gtlabel.engine import drafts
from gtlabel.engine.counted import counts
from gtlabel.engine.jobs import Job, Status
from gtlabel.engine.queue import TaskRow, next_tick
from gtlabel.engine.register import hold_job, set_status
from gtlabel.engine.schema import answers, leases, surplus, tasks
from gtlabel.engine.statements import Prepared

# How many overdue leases or tasks one transaction takes back; the next one takes the rest.
SWEEP = 500
_SECOND = 1_000_000
DONE_WITH = ("answered", "labeled")
_ASKED = ("waiting", "chosen", "open", *DONE_WITH)

_this = (tasks.c.job == bindparam("of_job"), tasks.c.object == bindparam("of_object"))
_here = (leases.c.job == bindparam("of_job"), leases.c.object == bindparam("of_object"))
_leased = leases.c.state == literal_column("'leased'")
# A held one is answered, but not for good.
_live = leases.c.state.in_([literal_column("'leased'"), literal_column("'held'")])
_LOCK = Prepared(select(tasks).where(*_this).with_for_update())
_LOCK_UNLESS_HELD = Prepared(select(tasks).where(*_this).with_for_update(skip_locked=True))
_COUNT = Prepared(
    select(
        func.coalesce(func.sum(case((leases.c.state == literal_column("'done'"), 1), else_=0)), 0),
        func.coalesce(func.sum(case((_live, 1), else_=0)), 0),
    ).where(*_here)
)
_FINISH = Prepared(
    update(tasks)
    .where(*_this)
    .values(state=bindparam("to"), answered=bindparam("now"), declines=bindparam("said_no"), open_slots=0)
)
_OFFER = Prepared(
    update(tasks)
    .where(*_this)
    .values(open_slots=bindparam("places"), queued=bindparam("tick"), declines=bindparam("said_no"))
)
_WANT = Prepared(update(tasks).where(*_this).values(need=bindparam("wanted")))
_REOPEN = Prepared(
    update(tasks)
    .where(*_this)
    .values(state=literal_column("'open'"), answered=None, batch=None, deadline=bindparam("until"))
)
_END = Prepared(
    update(leases)
    .where(leases.c.id == bindparam("lease"))
    .values(state=bindparam("to"), seat=bindparam("sits"), ended=bindparam("now"), paused=None)
)
_OVERDUE = Prepared(
    select(leases.c.id, leases.c.job, leases.c.object)
    .where(_leased, leases.c.expires <= bindparam("now"))
    .limit(SWEEP)
)
_IS_OVERDUE = Prepared(
    select(leases.c.id).where(
        leases.c.id == bindparam("lease"), _leased, leases.c.expires <= bindparam("now")
    )
)
_SITS = Prepared(select(leases.c.id).where(*_here, leases.c.seat == bindparam("worker")))
_OLD = Prepared(
    select(tasks.c.job, tasks.c.object)
    .where(tasks.c.state == literal_column("'open'"), tasks.c.deadline <= bindparam("now"))
    .limit(SWEEP)
)
_SURPLUS = select(surplus).where(
    surplus.c.job == bindparam("of_job"), surplus.c.object == bindparam("of_object")
)
_SPARE = Prepared(
    _SURPLUS.where(~exists().where(*_here, leases.c.seat == surplus.c.worker).correlate(surplus))
    .where(counts(surplus))
    .order_by(surplus.c.submitted, surplus.c.lease)
    .limit(1)
)


def lock_task(connection: Connection, job: int, number: int) -> TaskRow:
    """A task that nobody else changes until the transaction ends."""
    return TaskRow(*_LOCK.one(connection, of_job=job, of_object=number))


def end_lease(connection: Connection, lease: str, state: str, seat: str | None, now: int) -> None:
    """Write what became of a lease, and whether its worker may not see the image again."""
    _END.run(connection, lease=lease, to=state, sits=seat, now=now)


def sits(connection: Connection, task: TaskRow, worker: str) -> bool:
    """Whether a worker has the image, answered it or declined it."""
    return _SITS.one(connection, of_job=task.job, of_object=task.object, worker=worker) is not None


def need_of(job: Job, task: TaskRow) -> int:
    """How many answers an image is to get."""
    return task.need or job.spec.workers_per_object


def patience_of(job: Job, task: TaskRow) -> int:
    """How many workers may decline an image before it is offered no more.

    As many as answers are wanted (contract/ground-truth.md 3.1), be they asked for at once or one by one.
    """
    return max(need_of(job, task), job.spec.workers_per_object)


def settle(connection: Connection, job: Job, task: TaskRow, now: int) -> bool:
    """Count an image's places after something happened to it; say if workers are done with it.

    One answer is enough for a label when the image is not offered any more, be it for its age or for as
    many declines as answers were wanted (contract/ground-truth.md 3.1). Who still holds it may finish.

    Args:
        connection: within a transaction that holds the task's lock.
        job: the image's job.
        task: the task as it is, except for places and state.
        now: what time it is.
    """
    if task.state != "open":
        return False
    here = {"of_job": task.job, "of_object": task.object}
    need = need_of(job, task)
    closing = task.declines >= patience_of(job, task) or (task.deadline or 0) <= now
    while True:
        done, live = _COUNT.one(connection, **here)
        places = need - done - live
        # A place got free: an answer that came too late for another fills it, before anyone works again.
        if places <= task.open_slots or not _promote(connection, task, now):
            break
    if done >= need or (closing and live == 0):
        state = "answered" if done else "failed"
        _FINISH.run(connection, **here, to=state, now=now, said_no=task.declines)
        return True
    places = 0 if closing else max(0, places)
    tick = next_tick(connection) if places > task.open_slots else task.queued
    _OFFER.run(connection, **here, places=places, tick=tick, said_no=task.declines)
    return False


def is_anything_due(connection: Connection, now: int) -> bool:
    """Whether something was kept or offered too long."""
    if drafts.is_any_due(connection, now):
        return True
    return any(query.one(connection, now=now) is not None for query in (_OVERDUE, _OLD))


def expire_leases(connection: Connection, now: int) -> bool:
    """Take back what is overdue, and make answers of drafts that are; say if there was any."""
    changed = finish_drafts(connection, drafts.due(connection, now), now)
    for lease, number, object_ in _OVERDUE.all(connection, now=now):
        job = hold_job(connection, number)
        task = _LOCK_UNLESS_HELD.one(connection, of_job=number, of_object=object_)
        # Whoever has it may be answering just now; if not, the next sweep takes it.
        if task is None or _IS_OVERDUE.one(connection, lease=lease, now=now) is None:
            continue
        end_lease(connection, lease, "expired", None, now)
        settle(connection, job, TaskRow(*task), now)
        changed = True
    return changed


def finish_drafts(connection: Connection, found: Sequence[Row[Any]], now: int) -> bool:
    """Make answers of drafts; say if there was any."""
    changed = False
    for draft in found:
        job = hold_job(connection, draft.job)
        task = lock_task(connection, draft.job, draft.object)
        # Another process may have been quicker, before the task was ours.
        held = connection.execute(select(leases.c.state).where(leases.c.id == draft.lease)).scalar()
        if held != "held":
            continue
        drafts.finish(connection, draft)
        end_lease(connection, draft.lease, "done", draft.worker, draft.submitted)
        settle(connection, job, task, now)
        changed = True
    return changed


def close_old(connection: Connection, now: int) -> bool:
    """Close what was offered long enough; say if workers are done with any."""
    changed = False
    for number, object_ in _OLD.all(connection, now=now):
        job = hold_job(connection, number)
        task = _LOCK_UNLESS_HELD.one(connection, of_job=number, of_object=object_)
        if task is not None:
            changed |= settle(connection, job, TaskRow(*task), now)
    return changed


def ask_more(connection: Connection, job: Job, number: int, need: int, now: int) -> bool:
    """Ask more workers about an image; False if so many were asked, or it failed or needs no label.

    One that workers were done with is offered again, for as long as a new one.
    """
    task = lock_task(connection, job.number, number)
    tired = max(need, job.spec.workers_per_object) <= task.declines
    if need <= need_of(job, task) or tired or task.state not in _ASKED:
        return False
    here = {"of_job": job.number, "of_object": number}
    _WANT.run(connection, **here, wanted=need)
    if task.state in DONE_WITH:
        _REOPEN.run(connection, **here, until=now + job.spec.availability_seconds * _SECOND)
    settle(connection, job, lock_task(connection, job.number, number), now)
    return True


def halt(connection: Connection, job: Job, now: int) -> bool:
    """Stop a job, which the caller holds alone; False if it had ended before."""
    if job.status.ended:
        return False
    if job.status is not Status.STOPPING:
        _take_back(connection, job.number, now)
        set_status(connection, job.number, Status.STOPPING, now)
    return True


def _take_back(connection: Connection, job: int, now: int) -> None:
    # Those with an answer count as answered, the others wait as if never sent.
    finish_drafts(connection, drafts.of_job(connection, job), now)
    live = update(leases).where(leases.c.job == job, leases.c.state == "leased")
    connection.execute(live.values(state="expired", seat=None, ended=now, paused=None))
    answered = exists().where(
        answers.c.job == tasks.c.job, answers.c.object == tasks.c.object, counts(answers)
    )
    out = update(tasks).where(tasks.c.job == job, tasks.c.state.in_(("chosen", "open")))
    connection.execute(out.where(answered).values(state="answered", answered=now, open_slots=0))
    connection.execute(out.where(~answered).values(state="waiting", open_slots=0))


def _promote(connection: Connection, task: TaskRow, now: int) -> bool:
    """Make an answer of the oldest surplus one whose worker has no other; say if there was one."""
    row = _SPARE.one(connection, of_job=task.job, of_object=task.object)
    if row is None:
        return False
    kept = dict(zip(surplus.c.keys(), row, strict=True))
    connection.execute(insert(answers).values(kept))
    connection.execute(delete(surplus).where(surplus.c.lease == kept["lease"]))
    end_lease(connection, kept["lease"], "done", kept["worker"], now)
    return True
