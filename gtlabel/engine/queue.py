"""The line that a job's images wait in, and how far along it each worker has come.

An image that is sent out gets into the line with a tick, the number of the moment, and images of one tick
stand by their rank. Each worker walks the line from front to back: what is behind them they have seen, or it
had no place free. An image that gets a place free goes to the end of the line, before everyone again. So the
next image of a worker is found in a few reads, be the line and what they have seen of it as long as it may.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import BigInteger, Connection, bindparam, exists, literal_column, select, text, tuple_
from sqlalchemy.dialects.sqlite import insert

from gtlabel.engine.schema import leases, tasks, tick_sequence, ticks
from gtlabel.engine.statements import Prepared

if TYPE_CHECKING:
    from gtlabel.engine.store import Store

# How many workers' places are remembered; whoever is forgotten begins at the front.
_WORKERS = 10_000
# How often whoever finds nothing looks at the whole line, where others may have changed what is behind.
_SECONDS_BETWEEN_WALKS = 1.0

_seen = exists().where(
    leases.c.job == tasks.c.job,
    leases.c.object == tasks.c.object,
    leases.c.seat == bindparam("worker"),
)
# The literal zero is what lets the database see that its index of those with a place free will do.
_free = tasks.c.open_slots > literal_column("0")
_line = (
    select(tasks.c.queued, tasks.c.rank, tasks.c.object)
    .where(
        tasks.c.job == bindparam("job"),
        _free,
        tuple_(tasks.c.queued, tasks.c.rank)
        >= tuple_(bindparam("queued", type_=BigInteger), bindparam("rank", type_=BigInteger)),
        ~_seen,
    )
    .order_by(tasks.c.queued, tasks.c.rank, tasks.c.object)
    .limit(1)
)
_NEXT = Prepared(_line)
_NEXT_NOT_LOCKED = Prepared(_line.with_for_update(skip_locked=True, of=tasks))
_TAKE = Prepared(
    select(tasks)
    .where(tasks.c.job == bindparam("job"), tasks.c.object == bindparam("object"), _free)
    .with_for_update(skip_locked=True, of=tasks)
)
_COUNT_ON = Prepared(
    insert(ticks)
    .values(id=1, last=1)
    .on_conflict_do_update(index_elements=[ticks.c.id], set_={"last": ticks.c.last + 1})
    .returning(ticks.c.last)
)
_LAST = Prepared(select(ticks.c.last))
_DRAW = Prepared(select(tick_sequence.next_value()))
_DRAWN = Prepared(text("select case when is_called then last_value else 0 end from tick_sequence"))

_FRONT = (-1, -1)
_BEHIND_ALL = 1 << 62


class TaskRow(NamedTuple):
    """A task as the database has it; columns as in `gtlabel.engine.schema`."""

    job: int
    object: int
    rank: int
    state: str
    iteration: int
    need: int | None
    open_slots: int
    queued: int | None
    declines: int
    deadline: int | None
    answered: int | None
    batch: int | None
    arrived: int | None
    source_ref: str
    input: str | None
    line: str


class Walks:
    """How far along each job's line each worker has come.

    It may forget at any time, which costs a longer look at the line. On a database that others write to as
    well, what they put back into the line may end up behind a worker: so whoever finds nothing looks at the
    whole line again now and then.

    Args:
        store: whose lines they are; only its writing thread may call.
        monotonic: seconds that only grow.
    """

    def __init__(self, store: Store, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._monotonic = monotonic
        self._positions: dict[tuple[int, str], tuple[int, int]] = {}
        self._walked: dict[tuple[int, str], float] = {}
        self._rollbacks = store.rollbacks

    def next(self, connection: Connection, job: int, worker: str) -> TaskRow | None:
        """The first image in line that a worker has not seen, locked; None if there is none."""
        # What was seen in a transaction that came to nothing was never so.
        if self._rollbacks != self._store.rollbacks or len(self._positions) > _WORKERS:
            self._positions.clear()
            self._walked.clear()
            self._rollbacks = self._store.rollbacks
        who = (job, worker)
        start = self._positions.get(who, _FRONT)
        row = self._walk(connection, who, start)
        if row is None and self._store.shared and start != _FRONT and self._is_due(who):
            row = self._walk(connection, who, _FRONT)
        return row

    def _walk(self, connection: Connection, who: tuple[int, str], start: tuple[int, int]) -> TaskRow | None:
        job, worker = who
        while ahead := _NEXT.one(connection, job=job, worker=worker, queued=start[0], rank=start[1]):
            self._positions[who] = start = ahead[0], ahead[1]
            row = _TAKE.one(connection, job=job, object=ahead[2])
            if row is None:
                # Another process holds it, and may leave a place: so the worker stays before it.
                beyond = _NEXT_NOT_LOCKED.one(
                    connection, job=job, worker=worker, queued=start[0], rank=start[1]
                )
                if beyond is None:
                    return None
                row = _TAKE.one(connection, job=job, object=beyond[2])
            if row is not None:
                return TaskRow(*row)
        self._positions[who] = _last_tick(connection), _BEHIND_ALL
        return None

    def _is_due(self, who: tuple[int, str]) -> bool:
        now = self._monotonic()
        if now - self._walked.get(who, -_SECONDS_BETWEEN_WALKS) < _SECONDS_BETWEEN_WALKS:
            return False
        self._walked[who] = now
        return True


def next_tick(connection: Connection) -> int:
    """A number that is larger than all before."""
    draws = connection.dialect.supports_sequences
    tick: int = (_DRAW if draws else _COUNT_ON).one(connection)[0]
    return tick


def _last_tick(connection: Connection) -> int:
    row = (_DRAWN if connection.dialect.supports_sequences else _LAST).one(connection)
    return row[0] if row else 0
