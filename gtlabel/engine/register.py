"""The register of jobs: each as the database has it now."""

from __future__ import annotations

import json
from enum import Enum, auto
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select, text, update

from gtlabel.engine.database import HELD
from gtlabel.engine.jobs import Job, JobKey, JobSpec, Status, from_micros
from gtlabel.engine.schema import jobs
from gtlabel.engine.statements import Prepared
from gtlabel.errors import JobNotFoundError


class Hold(Enum):
    """How a job is held: so that many can work on its tasks at once, or so that nobody else does."""

    WITH_OTHERS = auto()
    ALONE = auto()


_BY_NAME = Prepared(
    select(jobs).where(
        jobs.c.account == bindparam("account"),
        jobs.c.region == bindparam("region"),
        jobs.c.folded == bindparam("folded"),
    )
)
_HOLD = {
    Hold.WITH_OTHERS: Prepared(text("select pg_advisory_xact_lock_shared(:family, :number)")),
    Hold.ALONE: Prepared(text("select pg_advisory_xact_lock(:family, :number)")),
}
# The first of two numbers that name a lock.
_JOB_LOCKS = 72_233
_BY_NUMBER = Prepared(select(jobs).where(jobs.c.id == bindparam("number")))


def job_of(row: Row[Any]) -> Job:
    """A job from its row."""
    return _job(*row)


def find_job(connection: Connection, key: JobKey, *, hold: Hold | None = None) -> Job:
    """The job of that name, in any letter case.

    Args:
        connection: within a transaction.
        key: its name.
        hold: see `hold_job`.

    Raises:
        JobNotFoundError: if there is none.
    """
    row = _BY_NAME.one(connection, account=key.account, region=key.region, folded=key.name.lower())
    if row is None:
        raise JobNotFoundError(key.name)
    if hold is not None and _may_meet_others(connection):
        return hold_job(connection, row[0], hold)
    return _job(*row)


def job_by_number(connection: Connection, number: int) -> Job:
    """The job the database calls that."""
    return _job(*_BY_NUMBER.one(connection, number=number))


def hold_job(connection: Connection, number: int, hold: Hold = Hold.WITH_OTHERS) -> Job:
    """A job that stays as it is until the transaction ends.

    SQLite lets only one write anyway.
    """
    if _may_meet_others(connection):
        held: set[tuple[int, Hold]] = connection.info.setdefault(HELD, set())
        if (number, hold) not in held:
            _HOLD[hold].run(connection, family=_JOB_LOCKS, number=number)
            held.add((number, hold))
    return job_by_number(connection, number)


def _may_meet_others(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def set_status(connection: Connection, job: int, status: Status, now: int, reason: str = "") -> None:
    """Write where a job stands."""
    change = {"status": status.value, "modified": now, "reason": reason}
    connection.execute(update(jobs).where(jobs.c.id == job).values(change))


# A row is read for every answer; what it says in JSON is understood once for as long as it is the same.
@lru_cache(maxsize=256)
def _job(
    number: int,
    account: str,
    region: str,
    name: str,
    _folded: str,
    spec: str,
    status: str,
    reason: str,
    created: int,
    modified: int,
    classes: str,
    iteration: int,
) -> Job:
    return Job(
        number=number,
        spec=JobSpec.from_json(JobKey(account, region, name), spec),
        status=Status(status),
        reason=reason,
        created=from_micros(created),
        modified=from_micros(modified),
        classes=tuple(json.loads(classes)),
        iteration=iteration,
    )
