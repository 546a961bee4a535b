"""The board that workers take tasks from and bring answers to.

It promises that each image gets the number of answers asked for, from different people who do not see each
other's, that no one sees an image twice, and that whatever was acknowledged is on disk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from gtlabel.engine import leasing
from gtlabel.engine.counted import refusal
from gtlabel.engine.ids import LeaseIds
from gtlabel.engine.jobs import (
    Counters,
    Job,
    JobKey,
    JobSpec,
    Kind,
    Receipt,
    Status,
    Task,
    from_micros,
    to_micros,
)
from gtlabel.engine.leasing import Said, check_answer
from gtlabel.engine.places import ask_more, close_old, expire_leases, halt, is_anything_due
from gtlabel.engine.queue import Walks
from gtlabel.engine.register import Hold, find_job, job_of
from gtlabel.engine.schema import jobs, tasks
from gtlabel.engine.store import Store
from gtlabel.engine.stream import Arrival, add_arrivals
from gtlabel.engine.withdrawal import withdraw_worker
from gtlabel.errors import JobNameTakenError, WorkerNotAdmittedError

_T = TypeVar("_T")

# What a streaming job could not send out by then fails (contract/ground-truth.md 8).
_WAITING_DAYS = 14
_DAY = 86_400 * leasing.SECOND

__all__ = [
    "Board", "Counters", "Job", "JobKey", "JobSpec", "Kind", "Receipt", "Status", "Task", "check_answer"
]  # fmt: skip


def _now() -> datetime:
    return datetime.now(UTC)


class Board:
    """Jobs, and the tasks, leases and answers of each.

    Whoever knows a lease may speak for its worker, unless a call names the worker: then it must be theirs,
    and somebody else's lease is as unknown as one that never was.

    Args:
        store: where everything is kept.
        clock: what time it is.
        ids: makes lease ids, which whoever holds one can answer under: they must not be guessable.
        admits: says why a worker may not work on a job, or None if they may. It is asked before every lease,
            by the thread that writes: it must be quick, and may read the store and not write to it.

    Attributes:
        admits: the one that was given.
        news: set whenever the foreman has something to do; whoever waits for it clears it.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], datetime] = _now,
        ids: Callable[[], str] | None = None,
        admits: Callable[[Job, str], str | None] = lambda _job, _worker: None,
    ) -> None:
        self.store = store
        self.clock = clock
        self._ids = ids or LeaseIds()
        self.admits = admits
        self._walks = Walks(store)
        self.news = threading.Event()

    def create_job(self, spec: JobSpec) -> Job:
        """Put up a job; the foreman reads its manifest next.

        Raises:
            JobNameTakenError: if account and region ever had a job of that name, in any letter case.
        """
        now = to_micros(self.clock())

        def create(connection: Connection) -> None:
            row: dict[str, Any] = {
                "account": spec.key.account,
                "region": spec.key.region,
                "name": spec.key.name,
                "folded": spec.key.name.lower(),
                "spec": spec.to_json(),
                "status": Status.INITIALIZING.value,
                "created": now,
                "modified": now,
            }
            # Created already, if this runs again: see `Store.write_soon`.
            mine = select(jobs.c.id).where(*(jobs.c[name] == value for name, value in row.items()))
            if connection.execute(mine).first() is None:
                connection.execute(insert(jobs).values(row))

        try:
            self.store.write(create)
        except IntegrityError as error:
            raise JobNameTakenError(spec.key.name) from error
        self.news.set()
        return self.job(spec.key)

    def job(self, key: JobKey) -> Job:
        """The job of that name.

        Raises:
            JobNotFoundError: if there is none.
        """
        with self.store.read() as connection:
            return find_job(connection, key)

    def jobs(self, account: str, region: str) -> list[Job]:
        """All jobs of an account and region, oldest first."""
        query = select(jobs).where(jobs.c.account == account, jobs.c.region == region)
        with self.store.read() as connection:
            return [job_of(row) for row in connection.execute(query.order_by(jobs.c.created, jobs.c.id))]

    def counters(self, key: JobKey) -> Counters:
        """How far the job is.

        Raises:
            JobNotFoundError: if there is none of that name.
        """
        with self.store.read() as connection:
            job = find_job(connection, key)
            # While the manifest is being read, what is there means nothing yet.
            if job.status is Status.INITIALIZING:
                return Counters()
            query = select(tasks.c.state, func.count()).where(tasks.c.job == job.number)
            count: dict[str, int] = dict(connection.execute(query.group_by(tasks.c.state)).all())
        return Counters(
            human_labeled=count.get("labeled", 0) + count.get("answered", 0),
            failed=count.get("failed", 0),
            unlabeled=sum(count.get(state, 0) for state in ("waiting", "chosen", "open")),
            machine_labeled=count.get("machine", 0),
        )

    def add_objects(self, key: JobKey, arrived: Sequence[Arrival]) -> list[str]:
        """Give a streaming job more images; one whose id it had before changes nothing.

        What is JSON and no record of an image counts as an object that failed.

        Returns:
            A sentence for each that is not even JSON, and was left out.

        Raises:
            JobNotFoundError: if there is no such job.
            StreamError: if the job takes none, or none any more.
        """
        now = to_micros(self.clock())
        refused = self.store.write(
            lambda connection: add_arrivals(
                connection, find_job(connection, key, hold=Hold.ALONE), arrived, now
            )
        )
        self.news.set()
        return refused

    def lease_soon(self, key: JobKey, worker: str) -> Future[Task | None]:
        """Hand an image to a worker, or None when there is none for them now.

        None does not mean that the job is over: images come in iterations, and what others drop comes back.

        Raises:
            JobNotFoundError: if there is no such job.
            WorkerNotAdmittedError: if the worker may not work on it.
        """
        now, lease = to_micros(self.clock()), self._ids()

        def take(connection: Connection) -> Task | None:
            job = find_job(connection, key, hold=Hold.WITH_OTHERS)
            if (reason := self._refusal(connection, job, worker)) is not None:
                raise WorkerNotAdmittedError(reason)
            if self.store.shared and (given := leasing.given_out(connection, lease)) is not None:
                return given
            return leasing.give_out(connection, self._walks, job, worker, lease, now)

        return self.store.write_soon(take)

    def lease(self, key: JobKey, worker: str) -> Task | None:
        """As `lease_soon`, when it is done."""
        return self.lease_soon(key, worker).result()

    def submit_soon(
        self,
        lease: str,
        answer: Mapping[str, Any],
        active_seconds: float | None = None,
        *,
        worker: str | None = None,
    ) -> Future[Receipt]:
        """Take an answer. Submitting the same again under the same lease changes nothing.

        An answer that comes late counts as long as nobody else took the place. Else, and when the job was
        stopped meanwhile, it is kept as a surplus one, and counts if a place gets free.

        Args:
            lease: from `lease`.
            answer: what the worker page gives, `{"crowd-image-classifier": {"label": "Compost"}}`.
            active_seconds: how long the worker really looked; by default the time since the lease.
            worker: whose lease it must be, if not just anybody's.

        Raises:
            AnswerError: if the answer names no class of the job; the task stays with the worker.
            LeaseError: if there is no such lease, the worker gave it back, or another answer was given.
        """
        said = Said(lease, answer, leasing.to_text(answer), active_seconds, to_micros(self.clock()), worker)
        finished: list[bool] = []

        def take(connection: Connection) -> Receipt:
            taken = leasing.take_answer(connection, said)
            finished.append(taken.done)
            return taken.receipt

        return self._tell(self.store.write_soon(take, lease=lease), finished)

    def submit(self, lease: str, answer: Mapping[str, Any], active_seconds: float | None = None) -> Receipt:
        """As `submit_soon`, when it is done."""
        return self.submit_soon(lease, answer, active_seconds).result()

    def step_soon(
        self,
        lease: str,
        answer: Mapping[str, Any],
        active_seconds: float | None = None,
        *,
        worker: str | None = None,
    ) -> Future[Task | None]:
        """Take an answer and hand its worker the next image of the same job, both or neither.

        Who asks again, because the answer to the first request was lost, gets the same image.

        Raises:
            AnswerError: if the answer names no class of the job; the task stays with the worker.
            LeaseError: if there is no such lease, the worker gave it back, or another answer was given.
        """
        now, following = to_micros(self.clock()), self._ids()
        said = Said(lease, answer, leasing.to_text(answer), active_seconds, now, worker)

        finished: list[bool] = []

        def take(connection: Connection) -> Task | None:
            def then(job: Job, worker: str) -> Task | None:
                # The answer is good all the same when its worker may have no more.
                if self._refusal(connection, job, worker) is not None:
                    return None
                return leasing.give_out(connection, self._walks, job, worker, following, now)

            taken = leasing.take_answer(connection, said, then)
            finished.append(taken.done)
            return taken.next

        return self._tell(self.store.write_soon(take, lease=lease), finished)

    def step(self, lease: str, answer: Mapping[str, Any], active_seconds: float | None = None) -> Task | None:
        """As `step_soon`, when it is done."""
        return self.step_soon(lease, answer, active_seconds).result()

    def decline_soon(self, lease: str, *, worker: str | None = None) -> Future[None]:
        """Give a task back for good: the worker never sees the image again.

        When as many workers decline as were to answer, the image is not offered any more.

        Raises:
            LeaseError: if the task is not in the worker's hands any more.
        """
        return self._give_back(lease, "declined", worker)

    def decline(self, lease: str) -> None:
        """As `decline_soon`, when it is done."""
        self.decline_soon(lease).result()

    def release_soon(self, lease: str, *, worker: str | None = None) -> Future[None]:
        """Give a task back to everybody, the worker included.

        Raises:
            LeaseError: if the task is not in the worker's hands any more.
        """
        return self._give_back(lease, "released", worker)

    def release(self, lease: str) -> None:
        """As `release_soon`, when it is done."""
        self.release_soon(lease).result()

    def heartbeat_soon(self, lease: str, *, worker: str | None = None) -> Future[datetime]:
        """Say that the worker is still looking; return when the task now expires.

        Each heartbeat gives a fresh time limit, up to the eight hours that AWS lets a task take at most.

        Raises:
            LeaseError: if the task is not in the worker's hands any more, or was put aside.
        """
        now = to_micros(self.clock())
        return self.store.write_soon(
            lambda connection: from_micros(leasing.extend(connection, lease, now, worker)), lease=lease
        )

    def heartbeat(self, lease: str) -> datetime:
        """As `heartbeat_soon`, when it is done."""
        return self.heartbeat_soon(lease).result()

    def pause(self, lease: str, *, worker: str | None = None) -> Task:
        """Put a task aside, to go on with it later; its time runs on, and no heartbeat stretches it.

        Raises:
            LeaseError: if the task is not in the worker's hands any more.
        """
        now = to_micros(self.clock())
        return self.store.write(
            lambda connection: leasing.put_aside(connection, lease, now, worker), lease=lease
        )

    def resume(self, lease: str, *, worker: str | None = None) -> Task:
        """Take a task up again that was put aside; answering it does so too.

        Raises:
            LeaseError: if the task is not in the worker's hands any more.
        """
        return self.store.write(
            lambda connection: leasing.put_aside(connection, lease, None, worker), lease=lease
        )

    def held(self, worker: str) -> list[Task]:
        """What a worker has in hands or put aside, of all jobs, the oldest first."""
        now = to_micros(self.clock())
        with self.store.read() as connection:
            return leasing.in_hands(connection, worker, now)

    def raise_need(self, key: JobKey, objects: Sequence[int], workers: int) -> list[int]:
        """Ask more workers about some images; return those that are now asked about more.

        Images that have a label are offered again, and get a new one when all answers are in. Left out are
        images that so many workers are asked about already, that so many declined, and that failed or came
        with a label.

        Args:
            key: the job.
            objects: the numbers of the images.
            workers: how many different workers are to look at each, those who did included.

        Raises:
            JobNotFoundError: if there is no such job.
            LeaseError: if the job takes no more answers.
        """
        now = to_micros(self.clock())

        def ask(connection: Connection) -> list[int]:
            job = find_job(connection, key, hold=Hold.WITH_OTHERS)
            leasing.must_be_running(job)
            wanted = sorted(set(objects))
            return [number for number in wanted if ask_more(connection, job, number, workers, now)]

        raised = self.store.write(ask)
        self.news.set()
        return raised

    def expire(self) -> bool:
        """Take back what was kept too long and close what was offered too long; say if there was any."""
        now = to_micros(self.clock())
        waited = (tasks.c.state == "waiting", tasks.c.arrived <= now - _WAITING_DAYS * _DAY)
        with self.store.read() as connection:
            waiting = select(tasks.c.object).where(*waited).limit(1)
            if not is_anything_due(connection, now) and connection.execute(waiting).first() is None:
                return False

        def sweep(connection: Connection) -> bool:
            changed = expire_leases(connection, now)
            changed |= close_old(connection, now)
            changed |= bool(connection.execute(update(tasks).where(*waited).values(state="failed")).rowcount)
            return changed

        return self.store.write(sweep)

    def stop(self, key: JobKey) -> bool:
        """Take the job's tasks off the board; False if the job had ended before.

        Answers that are in still become labels. Tasks in workers' hands are lost to them, as on AWS.

        Raises:
            JobNotFoundError: if there is no such job.
        """
        now = to_micros(self.clock())

        stopping = self.store.write(
            lambda connection: halt(connection, find_job(connection, key, hold=Hold.ALONE), now)
        )
        self.news.set()
        return stopping

    def withdraw_worker(self, key: JobKey, worker: str) -> list[int]:
        """Let nothing count any more that a worker said in a job, and return the images that lost an answer.

        The answers stay on record. Their places are offered to others, and labels are made anew.

        Raises:
            JobNotFoundError: if there is no such job.
            LeaseError: if the job takes no more answers, or the worker never had an image of it.
        """
        now = to_micros(self.clock())
        lost = self.store.write(
            lambda connection: withdraw_worker(
                connection, find_job(connection, key, hold=Hold.ALONE), worker, now
            )
        )
        self.news.set()
        return lost

    def _refusal(self, connection: Connection, job: Job, worker: str) -> str | None:
        return refusal(connection, job, worker) or self.admits(job, worker)

    def _give_back(self, lease: str, state: str, worker: str | None) -> Future[None]:
        now = to_micros(self.clock())
        finished: list[bool] = []

        def give(connection: Connection) -> None:
            finished.append(leasing.give_back(connection, lease, state, now, worker))

        return self._tell(self.store.write_soon(give, lease=lease), finished)

    def _tell(self, future: Future[_T], finished: list[bool]) -> Future[_T]:
        """Set the news once it is on disk that workers are done with an image."""

        def look(_future: Future[_T]) -> None:
            if any(finished):
                self.news.set()

        future.add_done_callback(look)
        return future
