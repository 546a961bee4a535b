"""The engine's memory: jobs, tasks, leases, answers and labels in a SQL database.

SQLite by default, in WAL mode with every commit on disk before it is acknowledged, for one process at a time;
PostgreSQL by URL, for several.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from typing import TypeVar

from sqlalchemy import Connection, MetaData, insert, inspect, select

from gtlabel.engine.database import open_database
from gtlabel.engine.schema import VERSION, metadata, schema_version, ticks
from gtlabel.engine.writer import Writer
from gtlabel.errors import DatabaseVersionError

_T = TypeVar("_T")

# What `clear` leaves: what the tables are, and a count that must never start over.
_LASTING = (schema_version, ticks)


class Store:
    """The database behind a board.

    One thread writes. Writes that wait for one another share a commit: one that raises takes nothing of the
    others with it, and none returns before all of them are on disk. When the disk is full or cannot be
    written, those who wait are told, nothing is acknowledged, and the next write tries again.

    Args:
        url: an SQLAlchemy URL; `sqlite:///file` for a file, `sqlite://` for memory only, `postgresql://…`
            for a database that several processes share.
        guest: whether to come in although another process has the file, for tables that are no board's:
            those of a board may only change where its process sees it.

    Raises:
        StoreError: if it cannot be had: another process has the file, it was made by another version, it
            cannot be written or reached.
    """

    def __init__(self, url: str = "sqlite://", *, guest: bool = False) -> None:
        self._database = open_database(url, guest=guest)
        # The one connection of a database in memory must not be shared with a running write.
        self._guard = threading.RLock()
        self._writer = Writer(self._database, self._guard)
        self._end = weakref.finalize(self, self._writer.end)
        try:
            # Whoever opens hears at once what a write would wait for: a server that does not answer.
            with self.read():
                pass
            self.ensure(metadata)
        except BaseException:
            self.close()
            raise

    @property
    def shared(self) -> bool:
        """Whether other processes may write to this database."""
        return self._database.shared

    @property
    def rollbacks(self) -> int:
        """How many transactions came to nothing, with all that was seen in them."""
        return self._writer.rollbacks

    def write_soon(self, work: Callable[[Connection], _T], *, lease: str | None = None) -> Future[_T]:
        """Queue `work`; the future has what it returned once that is on disk.

        `work` must not wait for another write. When a server was in the way (two processes met, or the
        connection broke), it runs again, even though its first run may have been committed: so running it
        twice must do no harm.

        Args:
            work: gets a connection within a transaction.
            lease: the lease it is about. Whoever changes a lease or the answers of an object must hold the
                lock of its task, and works that name their lease hold it from the start.
        """
        return self._writer.add(work, lease)

    def write(self, work: Callable[[Connection], _T], *, lease: str | None = None) -> _T:
        """Run `work` in a transaction and return what it returned, once that is on disk."""
        if self._writer.here is not None:
            raise RuntimeError("a write cannot wait for another write; do both in one")
        return self._writer.add(work, lease).result()

    def lead(self, work: Callable[[Connection], _T]) -> _T:
        """`write`, for what only the process that leads may do.

        A process may lose the lead in the middle of what it does, and only notice later. Nothing that it
        writes then takes effect, so it cannot be in the way of the next one.

        Raises:
            LeadLostError: if another process leads, or nobody does.
        """

        def led(connection: Connection) -> _T:
            self._database.must_lead(connection)
            return work(connection)

        return self.write(led)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one committed state; within a write, one that sees what it wrote.

        Do not write while it is open.

        Raises:
            StoreError: if the database cannot be read.
        """
        here = self._writer.here
        if here is not None:
            yield here
            return
        try:
            with (
                self._guard if self._database.in_memory else nullcontext(),
                self._database.reading.begin() as connection,
            ):
                yield connection
        except Exception as error:
            fault = self._database.fault(error)
            if fault is None:
                raise
            raise fault.error from error

    def ensure(self, tables: MetaData) -> None:
        """Make the tables that are not there yet, also when another process does so at the same time."""

        def make(connection: Connection) -> None:
            self._database.begin_making_tables(connection)
            self._check_version(connection)
            tables.create_all(connection)

        self.write(make)

    def leading(self) -> bool:
        """Whether this process is the one for what must be done once per database: the foreman's work.

        Ask before each turn: the lead goes to another process when this one's connection is lost.
        """
        return self._database.leading()

    def clear(self) -> None:
        """Forget everything."""

        def empty(connection: Connection) -> None:
            for table in reversed(metadata.sorted_tables):
                if table not in _LASTING:
                    connection.execute(table.delete())

        self.write(empty)

    def close(self) -> None:
        """Do what is queued and let go of the database."""
        self._writer.end()
        self._writer.join()

    def _check_version(self, connection: Connection) -> None:
        known = inspect(connection)
        if known.has_table(schema_version.name):
            found = connection.execute(select(schema_version.c.number)).scalar_one()
        elif known.has_table("jobs"):
            found = 1
        else:
            schema_version.create(connection)
            connection.execute(insert(schema_version).values(number=VERSION))
            found = VERSION
        if found != VERSION:
            raise DatabaseVersionError(self._database.name, found, VERSION)
