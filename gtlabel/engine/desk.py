"""What a worker has in front of them: the jobs they may work on, and the tasks in their hands."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from gtlabel.engine import leasing
from gtlabel.engine.jobs import Job, Status, Task
from gtlabel.engine.register import job_by_number, job_of
from gtlabel.engine.schema import jobs, leases, tasks
from gtlabel.engine.store import Store
from gtlabel.errors import JobNotFoundError, LeaseError

# No database counts further, and asking it about more is an error of another kind.
_LARGEST_NUMBER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Standing:
    """How far one worker is with a job.

    Attributes:
        left: how many images they may still be asked about.
        mine: how many they answered.
    """

    left: int
    mine: int


class Desk:
    """Reads for pages; nothing here changes anything.

    Args:
        store: the engine's database.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def job(self, number: int) -> Job:
        """The job that the database calls that.

        Raises:
            JobNotFoundError: if there is none.
        """
        if not 0 < number <= _LARGEST_NUMBER:
            raise JobNotFoundError(str(number)[:20])
        with self._store.read() as connection:
            row = connection.execute(select(jobs.c.id).where(jobs.c.id == number)).first()
            if row is None:
                raise JobNotFoundError(str(number))
            return job_by_number(connection, number)

    def running(self) -> list[Job]:
        """The jobs that give out tasks, oldest first."""
        query = select(jobs).where(jobs.c.status == Status.IN_PROGRESS.value).order_by(jobs.c.id)
        with self._store.read() as connection:
            return [job_of(row) for row in connection.execute(query)]

    def task(self, lease: str, worker: str) -> tuple[Task, Job]:
        """What a worker was given under a lease, while it is in their hands or can still be changed.

        Raises:
            LeaseError: if there is no such lease, it is somebody else's, or it is over; all get one sentence.
        """
        gone = LeaseError("this task is not in your hands; go back to the list of jobs")
        with self._store.read() as connection:
            try:
                held = leasing.find_lease(connection, lease)
            except LeaseError:
                raise gone from None
            if held.worker != worker or held.state not in ("leased", "held"):
                raise gone
            job = job_by_number(connection, held.job)
            return leasing.task_of(connection, job, held), job

    def standing(self, job: Job, worker: str) -> Standing:
        """How far a worker is with a job."""
        here = tasks.c.job == job.number
        unfinished = tasks.c.state.in_(("waiting", "chosen", "open"))
        seen = (
            select(leases.c.state, tasks.c.state == "open", func.count())
            .join(tasks, (tasks.c.job == leases.c.job) & (tasks.c.object == leases.c.object))
            .where(leases.c.job == job.number, leases.c.seat == worker)
            .group_by(leases.c.state, tasks.c.state == "open")
        )
        with self._store.read() as connection:
            count = connection.execute(select(func.count()).where(here, unfinished)).scalar_one()
            mine = still = 0
            for state, is_open, number in connection.execute(seen):
                mine += number if state in ("done", "held") else 0
                still += number if is_open and state != "leased" else 0
        return Standing(left=max(0, count - still), mine=mine)
