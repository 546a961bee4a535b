"""The board that workers take tasks from and bring answers to.

It promises that each image gets the number of answers asked for, from different people who do not see each
other's, that no one sees an image twice, and that whatever was acknowledged is on disk.
"""

from __future__ import annotations

import json
import math
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, exists, func, insert, select
from sqlalchemy.exc import IntegrityError

from gtlabel.engine.jobs import Counters, Job, JobKey, JobSpec, Kind, Status, Task, from_micros, to_micros
from gtlabel.engine.ledger import find_job, job_by_number, job_of, set_status
from gtlabel.engine.places import SWEEP, expire_leases, lease_row, reclaim, settle, task_row, withdraw
from gtlabel.engine.store import Store, answers, jobs, leases, tasks
from gtlabel.engine.stream import Arrival, add_arrivals
from gtlabel.errors import AnswerError, JobNameTakenError, LeaseError

# The longest that AWS lets anyone keep an image or text task (contract/ground-truth.md 10).
_LONGEST_TASK_SECONDS = 28_800
_SECOND = 1_000_000

__all__ = ["Board", "Counters", "Job", "JobKey", "JobSpec", "Kind", "Status", "Task"]


def _now() -> datetime:
    return datetime.now(UTC)


def _new_id() -> str:
    return uuid.uuid4().hex


class Board:
    """Jobs, and the tasks, leases and answers of each.

    Args:
        store: where everything is kept.
        clock: what time it is.
        ids: makes lease ids, which whoever holds one can answer under: they must not be guessable.

    Attributes:
        news: set whenever the foreman has something to do; whoever waits for it clears it.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], datetime] = _now,
        ids: Callable[[], str] = _new_id,
    ) -> None:
        self.store = store
        self.clock = clock
        self._ids = ids
        self.news = threading.Event()

    def create_job(self, spec: JobSpec) -> Job:
        """Put up a job; the foreman reads its manifest next.

        Raises:
            JobNameTakenError: if account and region ever had a job of that name, in any letter case.
        """
        now = to_micros(self.clock())

        def create(connection: Connection) -> None:
            row = {
                "account": spec.key.account,
                "region": spec.key.region,
                "name": spec.key.name,
                "folded": spec.key.name.lower(),
                "spec": spec.to_json(),
                "status": Status.INITIALIZING,
                "created": now,
                "modified": now,
            }
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
            lambda connection: add_arrivals(connection, find_job(connection, key), arrived, now)
        )
        self.news.set()
        return refused

    def lease(self, key: JobKey, worker: str) -> Task | None:
        """Hand an image to a worker, or None when there is none for them now.

        None does not mean that the job is over: images come in iterations, and what others drop comes back.

        Raises:
            JobNotFoundError: if there is no such job.
        """
        now = to_micros(self.clock())

        def take(connection: Connection) -> Task | None:
            job = find_job(connection, key)
            if job.status is not Status.IN_PROGRESS:
                return None
            expire_leases(connection, now)
            seen = exists().where(
                leases.c.job == tasks.c.job, leases.c.object == tasks.c.object, leases.c.seat == worker
            )
            query = select(tasks).where(
                tasks.c.job == job.number,
                tasks.c.state == "open",
                tasks.c.open_slots > 0,
                tasks.c.deadline > now,
                ~seen,
            )
            task = connection.execute(query.order_by(tasks.c.rank, tasks.c.object).limit(1)).one_or_none()
            if task is None:
                return None
            lease, expires = self._ids(), now + job.spec.task_seconds * _SECOND
            connection.execute(
                insert(leases).values(
                    id=lease,
                    job=job.number,
                    object=task.object,
                    worker=worker,
                    seat=worker,
                    state="leased",
                    accepted=now,
                    expires=expires,
                )
            )
            connection.execute(task_row(job.number, task.object).values(open_slots=task.open_slots - 1))
            return Task(
                lease=lease,
                job=job.key,
                object=task.object,
                source_ref=task.source_ref,
                line=task.line,
                kind=job.spec.kind,
                classes=job.classes,
                accepted=from_micros(now),
                expires=from_micros(expires),
                workers_per_object=job.spec.workers_per_object,
            )

        return self.store.write(take)

    def submit(self, lease: str, answer: Mapping[str, Any], active_seconds: float | None = None) -> None:
        """Take an answer. Submitting again under the same lease changes nothing: the first one stands.

        An answer that comes late is taken as long as nobody else took the place.

        Args:
            lease: from `lease`.
            answer: what the worker page gives, `{"crowd-image-classifier": {"label": "Compost"}}`.
            active_seconds: how long the worker really looked; by default the time since the lease.

        Raises:
            AnswerError: if the answer names no class of the job; the task stays with the worker.
            LeaseError: if the answer is not wanted any more.
        """
        now = to_micros(self.clock())

        def take(connection: Connection) -> bool:
            held = _find_lease(connection, lease)
            if held.state == "done":
                return False
            job = job_by_number(connection, held.job)
            check_answer(job, answer)
            _must_be_running(job)
            if held.state in ("declined", "released"):
                raise LeaseError(f"the task was {held.state} before; ask for a new one")
            if held.state == "expired":
                reclaim(connection, held)
            elapsed = (now - held.accepted) / _SECOND
            connection.execute(
                insert(answers).values(
                    lease=lease,
                    job=held.job,
                    object=held.object,
                    worker=held.worker,
                    content=_to_text(answer),
                    accepted=held.accepted,
                    submitted=now,
                    active_seconds=_active(active_seconds, elapsed),
                )
            )
            connection.execute(lease_row(lease).values(state="done", seat=held.worker))
            return settle(connection, job, held.object, now)

        if self.store.write(take):
            self.news.set()

    def decline(self, lease: str) -> None:
        """Give a task back for good: the worker never sees the image again.

        When as many workers decline as were to answer, the image is not offered any more.

        Raises:
            LeaseError: if the task is not in the worker's hands any more.
        """
        self._give_back(lease, "declined")

    def release(self, lease: str) -> None:
        """Give a task back to everybody, the worker included.

        Raises:
            LeaseError: if the task is not in the worker's hands any more.
        """
        self._give_back(lease, "released")

    def heartbeat(self, lease: str) -> datetime:
        """Say that the worker is still looking; return when the task now expires.

        Each heartbeat gives a fresh time limit, up to the eight hours that AWS lets a task take at most.

        Raises:
            LeaseError: if the task is not in the worker's hands any more.
        """
        now = to_micros(self.clock())

        def extend(connection: Connection) -> int:
            held = _find_lease(connection, lease)
            job = job_by_number(connection, held.job)
            _must_be_running(job)
            _must_be_held(held)
            limit = job.spec.task_seconds
            latest = held.accepted + max(limit, _LONGEST_TASK_SECONDS) * _SECOND
            expires: int = min(now + limit * _SECOND, latest)
            connection.execute(lease_row(lease).values(expires=expires))
            return expires

        return from_micros(self.store.write(extend))

    def expire(self) -> bool:
        """Take back what was kept too long and close what was offered too long; say if there was any."""
        now = to_micros(self.clock())
        due = select(tasks.c.job, tasks.c.object).where(tasks.c.state == "open", tasks.c.deadline <= now)
        overdue = select(leases.c.id).where(leases.c.state == "leased", leases.c.expires <= now)
        with self.store.read() as connection:
            if not any(connection.execute(query.limit(1)).first() for query in (due, overdue)):
                return False

        def sweep(connection: Connection) -> bool:
            changed = expire_leases(connection, now)
            for task in connection.execute(due.limit(SWEEP)).all():
                changed |= settle(connection, job_by_number(connection, task.job), task.object, now)
            return changed

        return self.store.write(sweep)

    def stop(self, key: JobKey) -> bool:
        """Take the job's tasks off the board; False if the job had ended before.

        Answers that are in still become labels. Tasks in workers' hands are lost to them, as on AWS.

        Raises:
            JobNotFoundError: if there is no such job.
        """
        now = to_micros(self.clock())

        def halt(connection: Connection) -> bool:
            job = find_job(connection, key)
            if job.status.ended:
                return False
            if job.status is not Status.STOPPING:
                withdraw(connection, job.number, now)
                set_status(connection, job.number, Status.STOPPING, now)
            return True

        stopping = self.store.write(halt)
        self.news.set()
        return stopping

    def _give_back(self, lease: str, state: str) -> None:
        now = to_micros(self.clock())

        def give(connection: Connection) -> bool:
            held = _find_lease(connection, lease)
            if held.state == state:
                return False
            job = job_by_number(connection, held.job)
            _must_be_running(job)
            _must_be_held(held)
            declined = state == "declined"
            connection.execute(lease_row(lease).values(state=state, seat=held.worker if declined else None))
            if declined:
                counted = task_row(held.job, held.object).values(declines=tasks.c.declines + 1)
                connection.execute(counted)
            return settle(connection, job, held.object, now)

        if self.store.write(give):
            self.news.set()


def check_answer(job: Job, answer: Mapping[str, Any]) -> frozenset[int]:
    """The indices of the classes that an answer names; none for a custom job, whose answers are its own.

    Raises:
        AnswerError: if it is not an answer to this job's question.
    """
    if job.spec.kind is Kind.CUSTOM:
        if not answer:
            raise AnswerError("the answer is empty; a page must give one under at least one name")
        return frozenset()
    known = {name: index for index, name in enumerate(job.classes)}
    given = answer.get(job.spec.kind)
    if not isinstance(given, Mapping):
        raise AnswerError(
            f"the answer holds no '{job.spec.kind}'; the template must keep that element's name"
        )
    chosen = [given.get("label")] if job.spec.kind is Kind.SINGLE else given.get("labels")
    if not isinstance(chosen, list):
        raise AnswerError("the answer holds no list of labels; an image without any has an empty one")
    for name in chosen:
        if not isinstance(name, str) or name not in known:
            raise AnswerError(f"{name!r} is no class of this job; its classes are {', '.join(job.classes)}")
    return frozenset(known[name] for name in chosen)


def _find_lease(connection: Connection, lease: str) -> Row[Any]:
    row = connection.execute(select(leases).where(leases.c.id == lease)).one_or_none()
    if row is None:
        raise LeaseError(f"there is no lease {lease!r}; ask for a new task")
    return row


def _must_be_running(job: Job) -> None:
    if job.status is not Status.IN_PROGRESS:
        raise LeaseError(f"the job {job.key.name!r} is {job.status} and takes no more answers")


def _must_be_held(held: Row[Any]) -> None:
    if held.state != "leased":
        raise LeaseError(f"the task is not in your hands any more (it is {held.state}); ask for a new one")


def _active(given: float | None, elapsed: float) -> float:
    """Seconds really spent: what the page says, within what is possible."""
    if given is None:
        return round(elapsed, 3)
    if not math.isfinite(given) or given < 0:
        raise AnswerError(f"active_seconds is {given}; give the seconds the worker looked, zero or more")
    return round(min(float(given), elapsed), 3)


def _to_text(answer: Mapping[str, Any]) -> str:
    """The answer as JSON that can be written to a file."""
    try:
        text = json.dumps(answer, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except ValueError as error:
        raise AnswerError(f"the answer cannot be written as JSON: {error}") from error
    return text
