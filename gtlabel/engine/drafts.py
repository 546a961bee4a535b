"""Answers that their workers may still change: stored at once, and final after a while.

A draft keeps its lease in the state `held`: the place is taken, and the image is not consolidated before the
answer is final. What a worker said first and then changed stays among the revisions, for the audit.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from gtlabel.engine.schema import answers, drafts, leases, revisions

# A worker may take back their last ten answers, for half a minute (contract/worker-ui.md 5).
NEWEST = 10
HOLD_MICROSECONDS = 30_000_000
_AT_ONCE = 500


def keep(connection: Connection, row: dict[str, Any], until: int) -> None:
    """Store an answer as a draft, in place of the one that its lease has."""
    former = connection.execute(select(drafts).where(drafts.c.lease == row["lease"])).one_or_none()
    if former is None:
        connection.execute(insert(drafts).values(**row, until=until))
        change = {"state": "held", "paused": None}
        connection.execute(update(leases).where(leases.c.id == row["lease"]).values(change))
        return
    connection.execute(
        insert(revisions).values(
            lease=former.lease,
            content=former.content,
            submitted=former.submitted,
            active_seconds=former.active_seconds,
        )
    )
    connection.execute(update(drafts).where(drafts.c.lease == row["lease"]).values(**row, until=until))


def finish(connection: Connection, draft: Row[Any]) -> None:
    """Make an answer of a draft; its lease and its image are for the caller to settle."""
    row = {**draft._mapping, "next": None}
    del row["until"]
    connection.execute(insert(answers).values(row))
    drop(connection, draft.lease)


def drop(connection: Connection, lease: str) -> None:
    """Forget a draft, because its answer came in another way."""
    connection.execute(delete(drafts).where(drafts.c.lease == lease))


def due(connection: Connection, now: int) -> list[Row[Any]]:
    """Drafts whose time is up."""
    query = select(drafts).where(drafts.c.until <= now).order_by(drafts.c.until).limit(_AT_ONCE)
    return list(connection.execute(query))


def is_any_due(connection: Connection, now: int) -> bool:
    """Whether there is such a draft."""
    return (
        connection.execute(select(drafts.c.lease).where(drafts.c.until <= now).limit(1)).first() is not None
    )


def of_job(connection: Connection, job: int) -> list[Row[Any]]:
    """All drafts of a job."""
    return list(connection.execute(select(drafts).where(drafts.c.job == job).order_by(drafts.c.lease)))


def older(connection: Connection, worker: str) -> list[Row[Any]]:
    """A worker's drafts before their newest ones."""
    mine = select(drafts).where(drafts.c.worker == worker)
    return list(connection.execute(mine.order_by(drafts.c.submitted.desc(), drafts.c.lease).offset(NEWEST)))
