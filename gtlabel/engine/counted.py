"""Which answers count: all but those of workers whose answers in the job were withdrawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, Table, bindparam, exists, select

from gtlabel.engine.jobs import Job
from gtlabel.engine.schema import withdrawals
from gtlabel.engine.statements import Prepared

if TYPE_CHECKING:
    from gtlabel.engine.store import Store

_MINE = Prepared(
    select(withdrawals.c.moment).where(
        withdrawals.c.job == bindparam("of_job"), withdrawals.c.worker == bindparam("of_worker")
    )
)


def counts(said: Table) -> ColumnElement[bool]:
    """The condition that an answer in this table was not withdrawn."""
    return ~exists().where(withdrawals.c.job == said.c.job, withdrawals.c.worker == said.c.worker)


def refusal(connection: Connection, job: Job, worker: str) -> str | None:
    """Why a worker gets no image of a job, where that is for answers that were withdrawn; else None."""
    if is_withdrawn(connection, job.number, worker):
        return f"your answers in the job {job.key.name!r} were withdrawn; it has no more tasks for you"
    return None


def withdrawn(store: Store, job: Job) -> frozenset[str]:
    """Whose answers in a job count no more."""
    with store.read() as connection:
        return withdrawn_from(connection, job.number)


def withdrawn_from(connection: Connection, job: int) -> frozenset[str]:
    """The same, within a transaction."""
    mine = select(withdrawals.c.worker).where(withdrawals.c.job == job)
    return frozenset(connection.execute(mine).scalars())


def is_withdrawn(connection: Connection, job: int, worker: str) -> bool:
    """Whether a worker's answers in a job count no more."""
    return _MINE.one(connection, of_job=job, of_worker=worker) is not None
