"""The worker pages of jobs, as they were when the jobs began: what was looked at is what workers get."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from gtlabel.engine.jobs import Job
from gtlabel.engine.schema import pages
from gtlabel.engine.store import Store


class Pages:
    """The worker page of each job that has one, as text.

    Args:
        store: the engine's database.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def keep(self, job: Job, page: str) -> None:
        """Keep a job's page, in place of one that is there already."""

        def write(connection: Connection) -> None:
            connection.execute(delete(pages).where(pages.c.job == job.number))
            connection.execute(insert(pages).values(job=job.number, page=page))

        self._store.write(write)

    def of(self, job: Job) -> str | None:
        """A job's page; None before the job began, and for one that was given none."""
        with self._store.read() as connection:
            found = connection.execute(select(pages.c.page).where(pages.c.job == job.number)).first()
        return None if found is None else str(found.page)
