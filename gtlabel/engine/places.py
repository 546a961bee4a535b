"""The places at each image: how many workers may still take it, and when it is done with.

Places are counted anew from leases and answers after every event and never added up, so none can leak.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, Update, exists, func, select, update

from gtlabel.engine.jobs import Job
from gtlabel.engine.ledger import job_by_number
from gtlabel.engine.store import answers, leases, tasks
from gtlabel.errors import LeaseError

# How many overdue leases or tasks one transaction takes back; the next one takes the rest.
SWEEP = 500


def settle(connection: Connection, job: Job, number: int, now: int) -> bool:
    """Count an image's places after something happened to it; say if workers are done with it.

    One answer is enough for a label when the image is not offered any more, be it for its age or for as
    many declines as answers were wanted (contract/ground-truth.md 3.1). Who still holds it may finish.
    """
    task = connection.execute(select(tasks).where(tasks.c.job == job.number, tasks.c.object == number)).one()
    if task.state != "open":
        return False
    query = select(leases.c.state, func.count()).where(leases.c.job == job.number, leases.c.object == number)
    count: dict[str, int] = dict(connection.execute(query.group_by(leases.c.state)).all())
    done, live = count.get("done", 0), count.get("leased", 0)
    need = job.spec.workers_per_object
    closing = task.declines >= need or task.deadline <= now
    if done >= need or (closing and live == 0):
        state = "answered" if done else "failed"
        connection.execute(task_row(job.number, number).values(state=state, answered=now, open_slots=0))
        return True
    places = 0 if closing else max(0, need - done - live)
    connection.execute(task_row(job.number, number).values(open_slots=places))
    return False


def expire_leases(connection: Connection, now: int) -> bool:
    """Take back what is overdue; say if there was any."""
    overdue = select(leases).where(leases.c.state == "leased", leases.c.expires <= now).limit(SWEEP)
    expired = connection.execute(overdue).all()
    for held in expired:
        connection.execute(lease_row(held.id).values(state="expired", seat=None))
        settle(connection, job_by_number(connection, held.job), held.object, now)
    return bool(expired)


def send_home(connection: Connection, worker: str, now: int, job: int | None = None) -> bool:
    """Give what a worker holds, of one job or of all, back to everybody; say if work on an image ended."""
    held = select(leases).where(leases.c.state == "leased", leases.c.worker == worker)
    if job is not None:
        held = held.where(leases.c.job == job)
    done = False
    for lease in connection.execute(held).all():
        connection.execute(lease_row(lease.id).values(state="released", seat=None))
        done |= settle(connection, job_by_number(connection, lease.job), lease.object, now)
    return done


def reclaim(connection: Connection, held: Row[Any]) -> None:
    """Take an expired lease's place again, which is free unless someone else took it.

    Raises:
        LeaseError: if it is not free.
    """
    here = (leases.c.job == held.job, leases.c.object == held.object)
    free = select(tasks.c.object).where(
        tasks.c.job == held.job,
        tasks.c.object == held.object,
        tasks.c.state == "open",
        tasks.c.open_slots > 0,
    )
    sits = select(leases.c.id).where(*here, leases.c.seat == held.worker)
    if connection.execute(free).first() is None or connection.execute(sits).first() is not None:
        raise LeaseError("the time for this task was up and it went to someone else; ask for a new one")


def withdraw(connection: Connection, job: int, now: int) -> None:
    """Take all tasks back; those with an answer count as answered, the others wait as if never sent."""
    live = update(leases).where(leases.c.job == job, leases.c.state == "leased")
    connection.execute(live.values(state="expired", seat=None))
    answered = exists().where(answers.c.job == tasks.c.job, answers.c.object == tasks.c.object)
    out = update(tasks).where(tasks.c.job == job, tasks.c.state.in_(("chosen", "open")))
    connection.execute(out.where(answered).values(state="answered", answered=now, open_slots=0))
    connection.execute(out.where(~answered).values(state="waiting", open_slots=0))


def task_row(job: int, number: int) -> Update:
    """The change of one task."""
    return update(tasks).where(tasks.c.job == job, tasks.c.object == number)


def lease_row(lease: str) -> Update:
    """The change of one lease."""
    return update(leases).where(leases.c.id == lease)
