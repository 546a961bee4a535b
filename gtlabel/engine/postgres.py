"""PostgreSQL as the engine uses it: several processes on one database."""

from __future__ import annotations

import threading
from typing import Any

from sqlalchemy import URL, Connection, bindparam, create_engine, event, select, text
from sqlalchemy.exc import SQLAlchemyError

from gtlabel.engine.database import Database, Fault, driver_error, shown
from gtlabel.engine.register import hold_job
from gtlabel.engine.schema import leases, tasks
from gtlabel.errors import (
    DatabaseFullError,
    DatabaseReadOnlyError,
    DatabaseUnavailableError,
    LeadLostError,
    MissingExtraError,
)

# Advisory locks of ours: who makes tables, whose foreman works, and whether one that did is still writing.
# Any numbers that others hardly take.
_TABLES_LOCK = 7_223_372_001
_LEADER_LOCK = 7_223_372_002
_LED_LOCK = 7_223_372_003

# A broken network is noticed after some seconds and not after hours
# (https://www.postgresql.org/docs/15/libpq-connect.html#LIBPQ-KEEPALIVES).
_PATIENCE = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
# https://www.postgresql.org/docs/15/errcodes-appendix.html
_CROSSED = ("40001", "40P01", "55P03")
_PASSING = ("57P01", "57P02", "57P03", "53300")
_FULL = ("53100",)
_READ_ONLY = ("25006", "42501")

_jobs = select(leases.c.job).distinct().where(leases.c.id.in_(bindparam("ids", expanding=True)))
_lock_in_order = (
    select(tasks.c.object)
    .join(leases, (leases.c.job == tasks.c.job) & (leases.c.object == tasks.c.object))
    .where(leases.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(tasks.c.job, tasks.c.object)
    .with_for_update(of=tasks)
)

_HOLDS = text(
    "select exists (select from pg_locks where locktype = 'advisory' and granted and pid = :session"
    " and (classid::bigint << 32) + objid::bigint = :key)"
)


class Postgres(Database):
    """A database on a server.

    Transactions read what others committed, and lock the tasks that they change, all in one order.

    Raises:
        MissingExtraError: if the driver is not installed.
    """

    shared = True

    def __init__(self, url: URL) -> None:
        try:
            import psycopg  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("a PostgreSQL database", "postgres") from error
        url = url.set(drivername="postgresql+psycopg")
        url = url.update_query_dict(
            {name: value for name, value in _PATIENCE.items() if name not in url.query}
        )
        self.name = shown(url.set(query={}))
        self.engine = create_engine(url, isolation_level="READ COMMITTED", pool_pre_ping=True)
        self.writing = self.engine
        self.reading = self.engine.execution_options(isolation_level="REPEATABLE READ")
        self._leader: Connection | None = None
        # The server's own number of the session that holds the lock.
        self._session = 0
        self._electing = threading.Lock()

        @event.listens_for(self.engine, "connect")
        def connected(connection: Any, _record: Any) -> None:
            # Whatever the server's own setting is: what was acknowledged is on disk.
            connection.execute("set session synchronous_commit = on")
            connection.commit()

    def fault(self, error: BaseException) -> Fault | None:
        """What an error says about the server and the way to it."""
        import psycopg

        cause = driver_error(error)
        if not isinstance(cause, psycopg.Error):
            return None
        state = cause.sqlstate or ""
        if state in _FULL:
            return Fault(DatabaseFullError(self.name))
        if state in _READ_ONLY:
            return Fault(DatabaseReadOnlyError(self.name))
        unavailable = DatabaseUnavailableError(
            self.name, f"does not answer ({_first_line(cause)}), so nothing was stored; try again"
        )
        if state in _CROSSED:
            return Fault(unavailable, passing=True, crossed=True)
        lost = isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError) and not state
        if lost or state in _PASSING or state.startswith("08"):
            return Fault(unavailable, passing=True)
        if state.startswith(("53", "58", "XX")):
            return Fault(unavailable)
        return None

    def begin_making_tables(self, connection: Connection) -> None:
        """Keep other processes from making the same tables."""
        connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _TABLES_LOCK})

    def lock_leases(self, connection: Connection, leases: list[str]) -> None:
        """Hold the jobs and lock the tasks of leases, so that two transactions never wait for each other."""
        ids = {"ids": leases}
        for number in sorted(connection.execute(_jobs, ids).scalars()):
            hold_job(connection, number)
        connection.execute(_lock_in_order, ids)

    def leading(self) -> bool:
        """Whether this process holds the lock that only one can hold.

        The lock lives and dies with a connection of its own, which is asked each time.
        """
        with self._electing:
            try:
                if self._leader is None:
                    self._leader = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                    self._session = self._leader.execute(text("select pg_backend_pid()")).scalar_one()
                # It is counted how often a session took the lock, so whoever has it must not ask again.
                return self._holds(self._leader) or self._took(self._leader)
            except SQLAlchemyError:
                # Whoever cannot be sure does not lead; the next call connects anew.
                self._resign()
                return False

    def must_lead(self, connection: Connection) -> None:
        """Go on only while this process leads; the next leader waits for the end of the transaction."""
        connection.execute(text("select pg_advisory_xact_lock_shared(:key)"), {"key": _LED_LOCK})
        if not self._holds(connection):
            raise LeadLostError(self.name)

    def close(self) -> None:
        """Let go of all connections, and of the lead with them."""
        with self._electing:
            self._resign()
        super().close()

    def _holds(self, connection: Connection) -> bool:
        held = {"key": _LEADER_LOCK, "session": self._session}
        return bool(connection.execute(_HOLDS, held).scalar())

    def _took(self, leader: Connection) -> bool:
        took = text("select pg_try_advisory_lock(:key)")
        if not leader.execute(took, {"key": _LEADER_LOCK}).scalar():
            return False
        # What the last leader is still writing is written before this one looks.
        leader.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LED_LOCK})
        return True

    def _resign(self) -> None:
        if self._leader is not None:
            # Back in the pool the session would keep the lock.
            self._leader.invalidate()
            self._leader.close()
            self._leader = None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
