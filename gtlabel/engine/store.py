"""The engine's memory: jobs, tasks, leases, answers and labels in a SQL database.

SQLite by default, in WAL mode with every commit on disk before it is acknowledged; any other SQLAlchemy URL
works, as long as one process at a time writes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
)
from sqlalchemy.engine import make_url
from sqlalchemy.pool import StaticPool

_T = TypeVar("_T")

# How many waiting writes share one commit, and with it one flush of the disk.
_GROUP = 128
_BUSY_MILLISECONDS = 30_000
_WRITES = "gtlabel_writes"

_metadata = MetaData()

# Times are whole microseconds since 1970, UTC: every database keeps them exactly.
jobs = Table(
    "jobs",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("account", String(12), nullable=False),
    Column("region", String(32), nullable=False),
    Column("name", String(63), nullable=False),
    # Job names are unique in any letter case (contract/ground-truth.md 2.1).
    Column("folded", String(63), nullable=False),
    Column("spec", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("created", BigInteger, nullable=False),
    Column("modified", BigInteger, nullable=False),
    Column("classes", Text, nullable=False, default="[]"),
    Column("iteration", Integer, nullable=False, default=0),
    UniqueConstraint("account", "region", "folded"),
)

tasks = Table(
    "tasks",
    _metadata,
    Column("job", Integer, ForeignKey("jobs.id"), primary_key=True),
    Column("object", Integer, primary_key=True, autoincrement=False),
    Column("line", Text, nullable=False),
    Column("source_ref", Text, nullable=False),
    # What the worker page gets, as JSON; null where it gets the image itself.
    Column("input", Text),
    # How many answers it gets; null for as many as the job asks for.
    Column("need", Integer),
    # Where it stands in the order of asking; a hash, so that the first ones are a fair sample.
    Column("rank", BigInteger, nullable=False),
    Column("state", String(10), nullable=False),
    Column("iteration", Integer, nullable=False, default=0),
    Column("open_slots", Integer, nullable=False, default=0),
    Column("declines", Integer, nullable=False, default=0),
    # When it stops being offered, once it was sent out.
    Column("deadline", BigInteger),
    Column("answered", BigInteger),
    Column("batch", Integer),
    Index("ix_tasks_order", "job", "state", "rank"),
    Index("ix_tasks_deadline", "state", "deadline"),
)

leases = Table(
    "leases",
    _metadata,
    Column("id", String(64), primary_key=True),
    Column("job", Integer, ForeignKey("jobs.id"), nullable=False),
    Column("object", Integer, nullable=False),
    Column("worker", String(256), nullable=False),
    # The worker while the lease counts against seeing the object again, else null. Nulls never collide,
    # so the constraint below lets a released object come back, and nothing else.
    Column("seat", String(256)),
    Column("state", String(10), nullable=False),
    Column("accepted", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    UniqueConstraint("job", "object", "seat"),
    Index("ix_leases_live", "state", "expires"),
)

# Append-only: an answer is paid work.
answers = Table(
    "answers",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("lease", String(64), ForeignKey("leases.id"), nullable=False, unique=True),
    Column("job", Integer, nullable=False),
    Column("object", Integer, nullable=False),
    Column("worker", String(256), nullable=False),
    Column("content", Text, nullable=False),
    Column("accepted", BigInteger, nullable=False),
    Column("submitted", BigInteger, nullable=False),
    Column("active_seconds", Float, nullable=False),
    Index("ix_answers_object", "job", "object"),
)

# A batch is decided before its files are written, so that writing them again gives the same files.
batches = Table(
    "batches",
    _metadata,
    Column("job", Integer, ForeignKey("jobs.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("iteration", Integer, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("stamp", BigInteger, nullable=False),
    Column("done", Integer, nullable=False, default=0),
)

results = Table(
    "results",
    _metadata,
    Column("job", Integer, ForeignKey("jobs.id"), primary_key=True),
    Column("object", Integer, primary_key=True, autoincrement=False),
    Column("batch", Integer, nullable=False),
    Column("label", Text, nullable=False),
    Column("metadata", Text, nullable=False),
)

# The objects that were sent to streaming jobs, by the ids that keep them from being labeled twice.
arrivals = Table(
    "arrivals",
    _metadata,
    Column("job", Integer, ForeignKey("jobs.id"), primary_key=True),
    # A hash of the id: ids are longer than some databases let a key be.
    Column("digest", String(64), primary_key=True),
    Column("object", Integer, nullable=False),
)

# Labels that somebody is still to be told of.
announcements = Table(
    "announcements",
    _metadata,
    Column("job", Integer, ForeignKey("jobs.id"), primary_key=True),
    Column("object", Integer, primary_key=True, autoincrement=False),
)


class Store:
    """The database behind a board.

    Writes that wait for one another share a commit: each runs in a savepoint of its own, so one that raises
    takes nothing of the others with it, and none returns before all of them are on disk.

    Args:
        url: an SQLAlchemy URL; `sqlite:///file` for a file, `sqlite://` for memory only.
    """

    def __init__(self, url: str = "sqlite://") -> None:
        parsed = make_url(url)
        self._lock = threading.RLock()
        self._waiting: deque[tuple[Callable[[Connection], Any], Future[Any]]] = deque()
        self._in_memory = parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:")
        options: dict[str, Any] = {}
        if self._in_memory:
            options = {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
        self._engine = create_engine(parsed, **options)
        self._writer = self._engine.execution_options(**{_WRITES: True})
        if parsed.get_backend_name() == "sqlite":
            _tune_sqlite(self._engine)
        _metadata.create_all(self._engine)

    def write(self, work: Callable[[Connection], _T]) -> _T:
        """Run `work` in a transaction and return what it returned, once that is on disk.

        `work` must not call `write` again.
        """
        future: Future[_T] = Future()
        self._waiting.append((work, future))
        with self._lock:
            # Whoever gets the lock works for all who queued up meanwhile, perhaps for us already.
            while not future.done():
                self._commit_group()
        return future.result()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one committed state."""
        # The one connection of a database in memory must not be shared with a running write.
        with self._lock if self._in_memory else nullcontext(), self._engine.begin() as connection:
            yield connection

    def clear(self) -> None:
        """Forget everything."""

        def empty(connection: Connection) -> None:
            for table in reversed(_metadata.sorted_tables):
                connection.execute(table.delete())

        self.write(empty)

    def close(self) -> None:
        """Let go of the database."""
        with self._lock:
            self._engine.dispose()

    def _commit_group(self) -> None:
        group: list[tuple[Callable[[Connection], Any], Future[Any]]] = []
        while self._waiting and len(group) < _GROUP:
            group.append(self._waiting.popleft())
        outcomes: list[tuple[Any, BaseException | None]] = []
        try:
            with self._writer.begin() as connection:
                outcomes = [_attempt(connection, work) for work, _ in group]
        except BaseException as error:
            # Nobody may take a write for done that was not committed.
            for _, future in group:
                future.set_exception(error)
            raise
        for (_, future), (value, failure) in zip(group, outcomes, strict=True):
            if failure is None:
                future.set_result(value)
            else:
                future.set_exception(failure)


def _attempt(
    connection: Connection, work: Callable[[Connection], _T]
) -> tuple[_T | None, BaseException | None]:
    try:
        with connection.begin_nested():
            return work(connection), None
    except Exception as error:  # noqa: BLE001 - carried to the caller of write(), who raises it
        return None, error


def _tune_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        # SQLAlchemy begins transactions itself below; the driver's own guess breaks savepoints.
        # https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#pysqlite-serializable
        connection.isolation_level = None
        connection.execute("pragma journal_mode=wal")
        connection.execute("pragma synchronous=full")
        connection.execute(f"pragma busy_timeout={_BUSY_MILLISECONDS}")
        connection.execute("pragma foreign_keys=on")

    @event.listens_for(engine, "begin")
    def began(connection: Connection) -> None:
        # A reader that turns writer after another process wrote would be refused without waiting.
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("begin immediate" if writes else "begin")
