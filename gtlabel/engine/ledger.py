"""The foreman's book: which step each job is at, and what is decided before files are written.

Whatever a file's content depends on (who is in a batch, when it was made) is written down here first, so that
a step repeated after a crash writes the same files again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Select,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from gtlabel.engine import entries
from gtlabel.engine.adaptive import first_answers
from gtlabel.engine.counted import counts, withdrawn_from
from gtlabel.engine.entries import Answer, Answered, Batch, Chosen, Line, Pulse, Tally
from gtlabel.engine.jobs import Job, Status, from_micros, to_micros
from gtlabel.engine.queue import next_tick
from gtlabel.engine.register import Hold, hold_job, job_of, set_status
from gtlabel.engine.schema import announcements, answers, batches, jobs, results, tasks
from gtlabel.engine.statements import Prepared
from gtlabel.engine.store import Store

_CHUNK = 1000
_SECOND = 1_000_000


def _in(state: str) -> Select[Any]:
    here = (tasks.c.job == bindparam("job"), tasks.c.state == literal_column(f"'{state}'"))
    return select(tasks.c.object).where(*here)


# These two are asked again after every few answers.
_UNFINISHED = Prepared(
    select(jobs)
    .where(jobs.c.status.in_([literal_column(f"'{status}'") for status in Status if not status.ended]))
    .order_by(jobs.c.id)
)
_PULSE = Prepared(
    select(
        exists(_in("waiting")),
        exists(_in("chosen")),
        _in("open").with_only_columns(func.count()).scalar_subquery(),
        func.count(),
        func.min(tasks.c.answered),
    ).where(
        tasks.c.job == bindparam("job"),
        tasks.c.state == literal_column("'answered'"),
        tasks.c.batch.is_(None),
    )
)


class Ledger:
    """What the foreman reads and writes; there is one per database, so only the process that leads writes."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    def unfinished(self) -> list[Job]:
        """The jobs that something is still to be done for, oldest first."""
        with self._store.read() as connection:
            return [job_of(row) for row in _UNFINISHED.all(connection)]

    def replace_tasks(self, job: Job, rows: Iterable[dict[str, Any]]) -> None:
        """Put the images of a job in place of those that an interrupted reading left.

        They are written in chunks, so that workers of other jobs need not wait for a long manifest.
        """
        self._store.lead(
            lambda connection: connection.execute(delete(tasks).where(tasks.c.job == job.number))
        )
        remaining = iter(rows)
        while chunk := [{"job": job.number, **row} for row in islice(remaining, _CHUNK)]:
            self._insert(job, chunk)

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

        self._store.lead(start)

    def tally(self, job: Job) -> Tally:
        """Where the job's images are."""
        query = select(tasks.c.state, func.count()).where(tasks.c.job == job.number)
        oldest = select(func.min(tasks.c.answered)).where(
            tasks.c.job == job.number, tasks.c.state == "answered"
        )
        with self._store.read() as connection:
            count: dict[str, int] = dict(connection.execute(query.group_by(tasks.c.state)).all())
            since = connection.execute(oldest).scalar()
        states = ("waiting", "chosen", "open", "answered", "labeled", "failed", "passed", "machine")
        numbers = {state: count.get(state, 0) for state in states}
        return Tally(**numbers, oldest=None if since is None else from_micros(since))

    def pulse(self, job: Job) -> Pulse:
        """Whether the job wants anything."""
        with self._store.read() as connection:
            waiting, chosen, out, answered, since = _PULSE.one(connection, job=job.number)
        oldest = None if since is None else from_micros(since)
        return Pulse(bool(waiting), bool(chosen), out, answered, oldest)

    def choose(self, job: Job, count: int) -> None:
        """Decide which images the next iteration sends out; nobody gets them before `send`."""

        def pick(connection: Connection) -> None:
            here = select(jobs.c.status, jobs.c.iteration).where(jobs.c.id == job.number)
            status, before = connection.execute(here).one()
            # Chosen already, if this runs again: see `Store.write_soon`.
            if status != Status.IN_PROGRESS or before != job.iteration:
                return
            waiting = select(tasks.c.object).where(tasks.c.job == job.number, tasks.c.state == "waiting")
            first = waiting.order_by(tasks.c.rank, tasks.c.object).limit(count)
            iteration = job.iteration + 1
            picked = update(tasks).where(tasks.c.job == job.number, tasks.c.object.in_(first))
            connection.execute(picked.values(state="chosen", iteration=iteration))
            connection.execute(update(jobs).where(jobs.c.id == job.number).values(iteration=iteration))

        self._store.lead(pick)

    def chosen(self, job: Job) -> list[Chosen]:
        """The images about to be sent out, in manifest order."""
        query = select(tasks.c.object, tasks.c.line, tasks.c.input).where(
            tasks.c.job == job.number,
            tasks.c.state == "chosen",
            # Who led before may still hold the job as it was, and must not file these under an earlier one.
            tasks.c.iteration == job.iteration,
        )
        with self._store.read() as connection:
            # Sorted here: a database that sorts by number reads the whole job to do it.
            return sorted((Chosen(*row) for row in connection.execute(query)), key=lambda each: each.object)

    def prepare(self, job: Job, prepared: Sequence[entries.Prepared]) -> None:
        """Write down what the job's function made of chosen images."""

        def keep(connection: Connection) -> None:
            for each in prepared:
                here = (tasks.c.job == job.number, tasks.c.object == each.object, tasks.c.state == "chosen")
                if each.input is not None:
                    connection.execute(update(tasks).where(*here).values(input=each.input))
                    continue
                state = "passed" if each.failure is None else "failed"
                if (
                    connection.execute(update(tasks).where(*here).values(state=state)).rowcount
                    and each.failure
                ):
                    row = {"job": job.number, "object": each.object, "batch": 0, "label": ""}
                    connection.execute(insert(results).values(**row, metadata=each.failure))

        self._store.lead(keep)

    def is_lost(self, job: Job) -> bool:
        """Whether every image of the newest iteration failed before it was sent out."""
        newest = (tasks.c.job == job.number, tasks.c.iteration == job.iteration)
        others = select(tasks.c.object).where(*newest, tasks.c.state != "failed").limit(1)
        with self._store.read() as connection:
            return connection.execute(others).first() is None

    def send(self, job: Job) -> None:
        """Offer the chosen images to workers."""
        now = to_micros(self._clock())
        spec, first = job.spec, first_answers(job)

        def out(connection: Connection) -> None:
            chosen = update(tasks).where(tasks.c.job == job.number, tasks.c.state == "chosen")
            if first < spec.workers_per_object:
                connection.execute(chosen.where(tasks.c.need.is_(None)).values(need=first))
            connection.execute(
                chosen.values(
                    state="open",
                    open_slots=func.coalesce(tasks.c.need, spec.workers_per_object),
                    queued=next_tick(connection),
                    deadline=now + spec.availability_seconds * _SECOND,
                )
            )

        self._store.lead(out)

    def form_batch(self, job: Job, size: int) -> Batch:
        """Put the images that wait longest for consolidation into a batch; there must be some."""
        now = to_micros(self._clock())
        numbered = select(batches).where(batches.c.job == job.number)
        with self._store.read() as connection:
            newest = numbered.order_by(batches.c.number.desc()).limit(1)
            last = connection.execute(newest).one_or_none()
        number = 1 if last is None else last.number + 1

        def form(connection: Connection) -> Batch:
            formed = connection.execute(numbered.where(batches.c.number == number)).one_or_none()
            # Formed already, if this runs again: see `Store.write_soon`.
            if formed is not None:
                return _batch_of(dict(formed._mapping))
            answered = select(tasks.c.object, tasks.c.iteration).where(
                tasks.c.job == job.number, tasks.c.state == "answered", tasks.c.batch.is_(None)
            )
            order = (tasks.c.iteration, tasks.c.answered, tasks.c.object)
            rows = connection.execute(answered.order_by(*order).limit(size)).all()
            second = now - now % _SECOND
            batch = {
                "number": number,
                "iteration": rows[0].iteration,
                "created": now,
                # Files of batches within one second would overwrite each other.
                "stamp": second if last is None else max(second, last.stamp + _SECOND),
            }
            connection.execute(insert(batches).values(job=job.number, **batch))
            together = [row.object for row in rows if row.iteration == rows[0].iteration]
            connection.execute(_many_tasks(job, together).values(batch=number))
            return _batch_of(batch)

        return self._store.lead(form)

    def unfinished_batches(self, job: Job) -> list[Batch]:
        """Batches that were formed and not recorded: what a crash interrupted."""
        query = select(batches).where(batches.c.job == job.number, batches.c.done == 0)
        with self._store.read() as connection:
            rows = connection.execute(query.order_by(batches.c.number))
            return [_batch_of(dict(row._mapping)) for row in rows]

    def contents(self, job: Job, batch: Batch) -> list[Answered]:
        """The images of a batch, in the order their answers were complete."""
        members = (
            select(tasks.c.object, tasks.c.line, tasks.c.source_ref, tasks.c.answered)
            .where(tasks.c.job == job.number, tasks.c.batch == batch.number)
            .order_by(tasks.c.answered, tasks.c.object)
        )
        by_object: dict[int, list[Answer]] = {}
        with self._store.read() as connection:
            rows = connection.execute(members).all()
            # By their numbers: a join with the batch would read all answers of the job.
            here = (answers.c.job == job.number, answers.c.object.in_([row.object for row in rows]))
            said = select(answers).where(*here, counts(answers)).order_by(answers.c.submitted, answers.c.id)
            for row in connection.execute(said):
                by_object.setdefault(row.object, []).append(_answer_of(row))
        return [
            Answered(
                row.object, row.line, row.source_ref, from_micros(row.answered), tuple(by_object[row.object])
            )
            for row in rows
        ]

    def record(
        self,
        job: Job,
        batch: Batch,
        labels: Sequence[tuple[int, str, str]],
        failures: Sequence[tuple[int, str]] = (),
    ) -> None:
        """Keep what became of a batch, now that its files are written.

        An image that more people were asked about while the batch was being written stays with them, and has
        no label if all answers that it was made of were withdrawn meanwhile; one that fails and had a label
        before keeps that.

        Args:
            job: the job.
            batch: the batch.
            labels: number, then label and metadata as JSON.
            failures: number, then metadata as JSON.
        """

        def keep(connection: Connection) -> None:
            # Nobody withdraws answers between the look at them and the end.
            hold_job(connection, job.number)
            bare = _bare(connection, job, batch, [number for number, *_ in labels])
            made = [each for each in labels if each[0] not in bare]
            known = select(results.c.object).where(results.c.job == job.number, results.c.label != "")
            failed = known.where(results.c.object.in_([number for number, _ in failures]))
            before = set(connection.execute(failed).scalars())
            lost = [(number, "", data) for number, data in failures if number not in before]
            rows = [
                {"job": job.number, "object": number, "batch": batch.number, "label": label, "metadata": data}
                for number, label, data in [*made, *lost]
            ]
            mine = (results.c.job == job.number, results.c.object.in_([row["object"] for row in rows]))
            connection.execute(delete(results).where(*mine))
            if rows:
                connection.execute(insert(results), rows)
            if job.spec.announced and made:
                _announce(connection, job, [number for number, *_ in made])
            answered = (tasks.c.job == job.number, tasks.c.batch == batch.number, tasks.c.state == "answered")
            if lost:
                gone = tasks.c.object.in_([number for number, *_ in lost])
                connection.execute(update(tasks).where(*answered, gone).values(state="failed"))
            connection.execute(update(tasks).where(*answered).values(state="labeled"))
            done = (batches.c.job == job.number, batches.c.number == batch.number)
            connection.execute(update(batches).where(*done).values(done=1))
            now = to_micros(self._clock())
            connection.execute(update(jobs).where(jobs.c.id == job.number).values(modified=now))

        self._store.lead(keep)

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

    def finish(
        self, job: Job, status: Status, reason: str = "", without: frozenset[str] | None = None
    ) -> bool:
        """End a job, unless it was changed from outside meanwhile; then the next turn sees to it.

        Args:
            job: the job.
            status: how it ends.
            reason: why it failed.
            without: the workers whose answers counted no more when its last files were written; None where
                these files do not depend on that.
        """
        now = to_micros(self._clock())

        def end(connection: Connection) -> bool:
            # Nobody withdraws answers or asks for more while this looks whether somebody has.
            hold_job(connection, job.number, Hold.ALONE)
            here = select(jobs.c.status, jobs.c.modified).where(jobs.c.id == job.number)
            found, modified = connection.execute(here).one()
            # Ended already, if this runs again: see `Store.write_soon`.
            if (found, modified) == (status, now):
                return True
            if found != job.status or (without is not None and _is_outdated(connection, job, without)):
                return False
            set_status(connection, job.number, status, now, reason)
            return True

        return self._store.lead(end)

    def _insert(self, job: Job, chunk: list[dict[str, Any]]) -> None:
        here = (
            tasks.c.job == job.number,
            tasks.c.object.between(chunk[0]["object"], chunk[-1]["object"]),
        )

        def put(connection: Connection) -> None:
            # The same chunk may be there already: see `Store.write_soon`.
            connection.execute(delete(tasks).where(*here))
            connection.execute(insert(tasks), chunk)

        self._store.lead(put)


def _announce(connection: Connection, job: Job, numbers: Sequence[int]) -> None:
    # One that nobody was told of yet is told once, with its new label.
    here = (announcements.c.job == job.number, announcements.c.object.in_(numbers))
    connection.execute(delete(announcements).where(*here))
    connection.execute(insert(announcements), [{"job": job.number, "object": number} for number in numbers])


def _bare(connection: Connection, job: Job, batch: Batch, numbers: Sequence[int]) -> frozenset[int]:
    """The images that were taken out of a batch again and have no answer any more that counts."""
    out = or_(tasks.c.batch.is_(None), tasks.c.batch != batch.number)
    here = select(tasks.c.object).where(tasks.c.job == job.number, tasks.c.object.in_(numbers), out)
    moved = frozenset(connection.execute(here).scalars())
    if not moved:
        return moved
    said = select(answers.c.object).where(answers.c.job == job.number, answers.c.object.in_(moved))
    return moved - frozenset(connection.execute(said.where(counts(answers))).scalars())


def _is_outdated(connection: Connection, job: Job, without: frozenset[str]) -> bool:
    """Whether something is to be done for a job again since its last files were written."""
    busy = tasks.c.state.in_(("chosen", "open", "answered"))
    again = select(tasks.c.object).where(tasks.c.job == job.number, busy).limit(1)
    if job.status is Status.IN_PROGRESS and connection.execute(again).first() is not None:
        return True
    return withdrawn_from(connection, job.number) != without


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
