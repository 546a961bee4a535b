"""The foreman's book: which step each job is at, and what is decided before files are written.

Whatever a file's content depends on (who is in a batch, when it was made) is written down here first, so that
a step repeated after a crash writes the same files again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from gtlabel.engine.jobs import Job, JobKey, JobSpec, Status, from_micros, to_micros
from gtlabel.engine.store import Store, announcements, answers, batches, jobs, results, tasks
from gtlabel.errors import JobNotFoundError

_CHUNK = 1000
_SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Tally:
    """How many of a job's images are in which state, and since when the oldest waits for consolidation."""

    waiting: int
    chosen: int
    open: int
    answered: int
    labeled: int
    failed: int
    passed: int
    oldest: datetime | None

    @property
    def total(self) -> int:
        """All lines of the manifest."""
        states = (self.waiting, self.chosen, self.open, self.answered, self.labeled, self.failed, self.passed)
        return sum(states)


@dataclass(frozen=True, slots=True)
class Batch:
    """Images that are consolidated together.

    Attributes:
        stamp: the whole second its files are named by, which no other batch of the iteration has.
    """

    number: int
    iteration: int
    created: datetime
    stamp: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """What one worker said."""

    worker: str
    content: str
    accepted: datetime
    submitted: datetime
    active_seconds: float


@dataclass(frozen=True, slots=True)
class Answered:
    """An image and everything workers said about it, in the order they said it."""

    object: int
    line: str
    source_ref: str
    answered: datetime
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the manifest and what became of it; `label` and `metadata` are JSON texts."""

    object: int
    line: str
    state: str
    label: str | None
    metadata: str | None


class Ledger:
    """What the foreman reads and writes; one foreman per database."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    def unfinished(self) -> list[Job]:
        """The jobs that something is still to be done for, oldest first."""
        running = (Status.INITIALIZING, Status.IN_PROGRESS, Status.STOPPING)
        query = select(jobs).where(jobs.c.status.in_(running)).order_by(jobs.c.id)
        with self._store.read() as connection:
            return [job_of(row) for row in connection.execute(query)]

    def replace_tasks(self, job: Job, rows: Iterable[dict[str, Any]]) -> None:
        """Put the images of a job in place of those that an interrupted reading left.

        They are written in chunks, so that workers of other jobs need not wait for a long manifest.
        """
        self._store.write(
            lambda connection: connection.execute(delete(tasks).where(tasks.c.job == job.number))
        )
        remaining = iter(rows)
        while chunk := [{"job": job.number, **row} for row in islice(remaining, _CHUNK)]:
            self._insert(chunk)

    def begin(self, job: Job, classes: Sequence[str]) -> None:
        """The manifest was read in full; images can be sent out."""

        def start(connection: Connection) -> None:
            change = {
                "status": Status.IN_PROGRESS,
                "classes": json.dumps(list(classes), ensure_ascii=False),
                "modified": to_micros(self._clock()),
            }
            here = (jobs.c.id == job.number, jobs.c.status == Status.INITIALIZING)
            connection.execute(update(jobs).where(*here).values(change))

        self._store.write(start)

    def tally(self, job: Job) -> Tally:
        """Where the job's images are."""
        query = select(tasks.c.state, func.count()).where(tasks.c.job == job.number)
        oldest = select(func.min(tasks.c.answered)).where(
            tasks.c.job == job.number, tasks.c.state == "answered"
        )
        with self._store.read() as connection:
            count: dict[str, int] = dict(connection.execute(query.group_by(tasks.c.state)).all())
            since = connection.execute(oldest).scalar()
        states = ("waiting", "chosen", "open", "answered", "labeled", "failed", "passed")
        numbers = {state: count.get(state, 0) for state in states}
        return Tally(**numbers, oldest=None if since is None else from_micros(since))

    def choose(self, job: Job, count: int) -> None:
        """Decide which images the next iteration sends out; nobody gets them before `send`."""

        def pick(connection: Connection) -> None:
            if not _is(connection, job, Status.IN_PROGRESS):
                return
            waiting = select(tasks.c.object).where(tasks.c.job == job.number, tasks.c.state == "waiting")
            numbers = connection.execute(waiting.order_by(tasks.c.rank, tasks.c.object).limit(count))
            iteration = job.iteration + 1
            connection.execute(
                _many_tasks(job, [row.object for row in numbers]).values(state="chosen", iteration=iteration)
            )
            connection.execute(update(jobs).where(jobs.c.id == job.number).values(iteration=iteration))

        self._store.write(pick)

    def chosen(self, job: Job) -> list[tuple[int, str]]:
        """The images about to be sent out: number and line, in manifest order."""
        query = select(tasks.c.object, tasks.c.line).where(
            tasks.c.job == job.number, tasks.c.state == "chosen"
        )
        with self._store.read() as connection:
            return [(row.object, row.line) for row in connection.execute(query.order_by(tasks.c.object))]

    def send(self, job: Job) -> None:
        """Offer the chosen images to workers."""
        now = to_micros(self._clock())
        spec = job.spec

        def out(connection: Connection) -> None:
            chosen = update(tasks).where(tasks.c.job == job.number, tasks.c.state == "chosen")
            connection.execute(
                chosen.values(
                    state="open",
                    open_slots=spec.workers_per_object,
                    deadline=now + spec.availability_seconds * _SECOND,
                )
            )

        self._store.write(out)

    def form_batch(self, job: Job, size: int) -> Batch:
        """Put the images that wait longest for consolidation into a batch."""
        now = to_micros(self._clock())

        def form(connection: Connection) -> Batch:
            answered = select(tasks).where(
                tasks.c.job == job.number, tasks.c.state == "answered", tasks.c.batch.is_(None)
            )
            order = (tasks.c.iteration, tasks.c.answered, tasks.c.object)
            rows = connection.execute(answered.order_by(*order).limit(size)).all()
            iteration = rows[0].iteration
            last = select(func.max(batches.c.number), func.max(batches.c.stamp))
            number, stamp = connection.execute(last.where(batches.c.job == job.number)).one()
            second = now - now % _SECOND
            batch = {
                "number": (number or 0) + 1,
                "iteration": iteration,
                "created": now,
                # Files of batches within one second would overwrite each other.
                "stamp": second if stamp is None else max(second, stamp + _SECOND),
            }
            connection.execute(insert(batches).values(job=job.number, **batch))
            together = [row.object for row in rows if row.iteration == iteration]
            connection.execute(_many_tasks(job, together).values(batch=batch["number"]))
            return _batch_of(batch)

        return self._store.write(form)

    def unfinished_batches(self, job: Job) -> list[Batch]:
        """Batches that were formed and not recorded: what a crash interrupted."""
        query = select(batches).where(batches.c.job == job.number, batches.c.done == 0)
        with self._store.read() as connection:
            rows = connection.execute(query.order_by(batches.c.number))
            return [_batch_of(dict(row._mapping)) for row in rows]

    def contents(self, job: Job, batch: Batch) -> list[Answered]:
        """The images of a batch, in the order their answers were complete."""
        members = select(tasks).where(tasks.c.job == job.number, tasks.c.batch == batch.number)
        said = (
            select(answers)
            .join(tasks, (tasks.c.job == answers.c.job) & (tasks.c.object == answers.c.object))
            .where(tasks.c.job == job.number, tasks.c.batch == batch.number)
            .order_by(answers.c.submitted, answers.c.id)
        )
        by_object: dict[int, list[Answer]] = {}
        with self._store.read() as connection:
            rows = connection.execute(members.order_by(tasks.c.answered, tasks.c.object)).all()
            for row in connection.execute(said):
                by_object.setdefault(row.object, []).append(_answer_of(row))
        return [
            Answered(
                row.object, row.line, row.source_ref, from_micros(row.answered), tuple(by_object[row.object])
            )
            for row in rows
        ]

    def record(self, job: Job, batch: Batch, labels: Sequence[tuple[int, str, str]]) -> None:
        """Keep a batch's labels, now that its files are written: number, then label and metadata as JSON."""

        def keep(connection: Connection) -> None:
            rows = [
                {"job": job.number, "object": number, "batch": batch.number, "label": label, "metadata": data}
                for number, label, data in labels
            ]
            connection.execute(insert(results), rows)
            if job.spec.announced:
                told = [{"job": job.number, "object": number} for number, _, _ in labels]
                connection.execute(insert(announcements), told)
            mine = (tasks.c.job == job.number, tasks.c.batch == batch.number)
            connection.execute(update(tasks).where(*mine).values(state="labeled"))
            here = (batches.c.job == job.number, batches.c.number == batch.number)
            connection.execute(update(batches).where(*here).values(done=1))
            now = to_micros(self._clock())
            connection.execute(update(jobs).where(jobs.c.id == job.number).values(modified=now))

        self._store.write(keep)

    def lines(self, job: Job) -> Iterator[Line]:
        """The whole manifest in its order, a page in memory at a time."""
        query = (
            select(tasks.c.object, tasks.c.line, tasks.c.state, results.c.label, results.c.metadata)
            .outerjoin(results, (results.c.job == tasks.c.job) & (results.c.object == tasks.c.object))
            .where(tasks.c.job == job.number)
            .order_by(tasks.c.object)
            .limit(_CHUNK)
        )
        last = -1
        while True:
            with self._store.read() as connection:
                page = connection.execute(query.where(tasks.c.object > last)).all()
            if not page:
                return
            for row in page:
                yield Line(*row)
            last = page[-1].object

    def finish(self, job: Job, status: Status, reason: str = "") -> bool:
        """End a job, unless it was changed from outside meanwhile; then the next turn sees to it."""
        now = to_micros(self._clock())

        def end(connection: Connection) -> bool:
            if not _is(connection, job, job.status):
                return False
            set_status(connection, job.number, status, now, reason)
            return True

        return self._store.write(end)

    def _insert(self, chunk: list[dict[str, Any]]) -> None:
        self._store.write(lambda connection: connection.execute(insert(tasks), chunk))


def job_of(row: Row[Any]) -> Job:
    """A job from its row."""
    key = JobKey(row.account, row.region, row.name)
    return Job(
        number=row.id,
        spec=JobSpec.from_json(key, row.spec),
        status=Status(row.status),
        reason=row.reason,
        created=from_micros(row.created),
        modified=from_micros(row.modified),
        classes=tuple(json.loads(row.classes)),
        iteration=row.iteration,
    )


def find_job(connection: Connection, key: JobKey) -> Job:
    """The job of that name, in any letter case.

    Raises:
        JobNotFoundError: if there is none.
    """
    query = select(jobs).where(
        jobs.c.account == key.account, jobs.c.region == key.region, jobs.c.folded == key.name.lower()
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise JobNotFoundError(key.name)
    return job_of(row)


def job_by_number(connection: Connection, number: int) -> Job:
    """The job the database calls that."""
    return job_of(connection.execute(select(jobs).where(jobs.c.id == number)).one())


def set_status(connection: Connection, job: int, status: Status, now: int, reason: str = "") -> None:
    """Write where a job stands."""
    change = {"status": status, "modified": now, "reason": reason}
    connection.execute(update(jobs).where(jobs.c.id == job).values(change))


def _is(connection: Connection, job: Job, status: Status) -> bool:
    now = connection.execute(select(jobs.c.status).where(jobs.c.id == job.number)).scalar_one()
    return Status(now) is status


def _many_tasks(job: Job, numbers: Sequence[int]) -> Any:
    return update(tasks).where(tasks.c.job == job.number, tasks.c.object.in_(numbers))


def _batch_of(row: dict[str, Any]) -> Batch:
    return Batch(row["number"], row["iteration"], from_micros(row["created"]), from_micros(row["stamp"]))


def _answer_of(row: Row[Any]) -> Answer:
    return Answer(
        worker=row.worker,
        content=row.content,
        accepted=from_micros(row.accepted),
        submitted=from_micros(row.submitted),
        active_seconds=row.active_seconds,
    )
