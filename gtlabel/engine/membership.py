"""Who may work on which job, and what happens to the tasks of those who may not any more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection, select

from gtlabel.engine.jobs import Job, to_micros
from gtlabel.engine.ledger import job_by_number
from gtlabel.engine.places import send_home
from gtlabel.engine.schema import leases
from gtlabel.engine.store import Store

# Why a worker may not work on a job, or None if they may.
Admits = Callable[[Job, str], str | None]


def call_back(store: Store, admits: Admits, now: datetime) -> bool:
    """Give the tasks of workers who would not get them any more to the others; answers stay.

    Looking costs one read of the open leases. Whoever was let in while somebody else shut the door, in
    another process perhaps, is found here, so it wants to be called every second or so.

    Returns:
        Whether the work on an image ended with it.
    """
    query = select(leases.c.job, leases.c.worker).where(leases.c.state == "leased").distinct()
    with store.read() as connection:
        holders = connection.execute(query).all()
        jobs = {number: job_by_number(connection, number) for number in {row.job for row in holders}}
    gone = [row for row in holders if admits(jobs[row.job], row.worker) is not None]

    def take_back(connection: Connection) -> bool:
        ended = [send_home(connection, row.worker, to_micros(now), row.job) for row in gone]
        return any(ended)

    return bool(gone) and store.write(take_back)
