"""What goes into a streaming job while it runs, and what is to be told about what came out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from gtlabel.engine.entries import Line
from gtlabel.engine.intake import record_of
from gtlabel.engine.jobs import Job, Status
from gtlabel.engine.ledger import Ledger
from gtlabel.engine.output import compact, manifest_line
from gtlabel.engine.register import job_by_number
from gtlabel.engine.schema import announcements, arrivals, jobs, results, tasks
from gtlabel.engine.store import Store
from gtlabel.errors import StreamError

# Who came first is shown first, and everything of a manifest before: its ranks are hashes of 56 bits.
_FIRST_RANK = 1 << 56


@dataclass(frozen=True, slots=True)
class Arrival:
    """An object on its way into a job.

    Attributes:
        id: what makes it the same object as another.
        line: its record.
        added: keys that whoever took it in adds to the record.
    """

    id: str
    line: str
    added: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Announcement:
    """A label that somebody is to be told of: the line of the output manifest."""

    job: Job
    object: int
    line: bytes


class Outbox:
    """The labels that are still to be told; each stays here until it was."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._ledger = Ledger(store, clock)

    def streams(self) -> list[Job]:
        """The streaming jobs that run or are winding up, oldest first."""
        return [job for job in self._ledger.unfinished() if job.spec.streaming]

    def pending(self, limit: int) -> list[Announcement]:
        """The oldest labels that nobody was told of."""
        here = (tasks.c.job == announcements.c.job) & (tasks.c.object == announcements.c.object)
        found = (results.c.job == announcements.c.job) & (results.c.object == announcements.c.object)
        query = (
            select(announcements, tasks.c.line, tasks.c.state, results.c.label, results.c.metadata)
            .join(tasks, here)
            .join(results, found)
            .order_by(announcements.c.job, results.c.batch, announcements.c.object)
        )
        with self._store.read() as connection:
            rows = connection.execute(query.limit(limit)).all()
            running = {number: job_by_number(connection, number) for number in {row.job for row in rows}}
        return [
            Announcement(
                running[row.job],
                row.object,
                manifest_line(
                    running[row.job].spec.attribute,
                    Line(row.object, row.line, row.state, row.label, row.metadata),
                ),
            )
            for row in rows
        ]

    def told(self, announced: Sequence[Announcement]) -> None:
        """Forget what somebody was told of."""

        def forget(connection: Connection) -> None:
            for each in announced:
                connection.execute(
                    delete(announcements).where(
                        announcements.c.job == each.job.number, announcements.c.object == each.object
                    )
                )

        self._store.write(forget)


def add_arrivals(connection: Connection, job: Job, arrived: Sequence[Arrival], now: int) -> list[str]:
    """Write down what was sent to a job; return a sentence for each thing that cannot be."""
    if not job.spec.streaming or job.status is not Status.IN_PROGRESS:
        why = f"is {job.status} and" if job.spec.streaming else "reads a manifest and"
        raise StreamError(f"the labeling job {job.key.name!r} {why} takes no images")
    last = select(func.max(tasks.c.object)).where(tasks.c.job == job.number)
    number = connection.execute(last).scalar()
    number = -1 if number is None else number
    refused = []
    for arrival in arrived:
        digest = sha256(arrival.id.encode()).hexdigest()
        known = select(arrivals.c.object).where(arrivals.c.job == job.number, arrivals.c.digest == digest)
        if connection.execute(known).first() is not None:
            continue
        try:
            row = _row(job, arrival)
        except ValueError as error:
            refused.append(f"a message to {job.key.name!r} was left out: {error}")
            continue
        number += 1
        row = {"job": job.number, "object": number, "rank": _FIRST_RANK + number, "arrived": now, **row}
        connection.execute(insert(tasks).values(row))
        connection.execute(insert(arrivals).values(job=job.number, digest=digest, object=number))
    connection.execute(update(jobs).where(jobs.c.id == job.number).values(modified=now))
    return refused


def _row(job: Job, arrival: Arrival) -> dict[str, Any]:
    """The object as a row of its own.

    Raises:
        ValueError: if it is no JSON object, so that no output manifest could show it.
    """
    try:
        values = json.loads(arrival.line, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(values, dict):
        raise ValueError("it is not a JSON object")
    line = compact({**values, **arrival.added}) if arrival.added else arrival.line
    try:
        record, source_ref = record_of(line, job.spec.kind)
    except ValueError:
        # As on AWS, where the test event of a bucket becomes an object that nobody can label.
        return {"line": line, "source_ref": "", "state": "failed"}
    passed = job.spec.attribute in record
    return {"line": line, "source_ref": source_ref, "state": "passed" if passed else "waiting"}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it is not JSON: {name} is no number there")
