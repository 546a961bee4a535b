"""Documents that survive a restart: what the control planes know, in any SQL database.

A file of its own, or the database that the engine has, where one table more does not matter to it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    Table,
    Text,
    bindparam,
    create_engine,
    event,
    insert,
    select,
    text,
)
from sqlalchemy.engine import make_url
from sqlalchemy.pool import StaticPool

from gtlabel.emulator.api import Context

_BUSY_MILLISECONDS = 30_000
_WRITES = "gtlabel_shelf_writes"
# Any number, as long as all who share a database take the same one.
_POSTGRES_LOCK = 6_075_713_265_141_902_817

_metadata = MetaData()
_documents = Table(
    "documents",
    _metadata,
    Column("kind", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("region", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("body", Text, nullable=False),
    sqlite_with_rowid=False,
)
_PLACE = (
    (_documents.c.kind == bindparam("_kind"))
    & (_documents.c.account == bindparam("_account"))
    & (_documents.c.region == bindparam("_region"))
)
_ONE = _PLACE & (_documents.c.name == bindparam("_name"))


class Shelf:
    """JSON documents by kind, account, region and name.

    Every write is on disk when it returns. Times are kept as ISO strings; who needs a datetime converts.

    Args:
        where: a file, or an SQLAlchemy URL; without one, everything is forgotten at the end.
    """

    def __init__(self, where: Path | str | None = None) -> None:
        url = make_url(where if isinstance(where, str) else f"sqlite:///{where or ''}")
        if url.get_backend_name() == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        self._is_sqlite = url.get_backend_name() == "sqlite"
        self._is_postgres = url.get_backend_name() == "postgresql"
        in_memory = self._is_sqlite and url.database in (None, "", ":memory:")
        options: dict[str, Any] = {"pool_pre_ping": not self._is_sqlite}
        if in_memory:
            options |= {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
        # One who writes keeps all others of this process from writing. Readers wait only where there is but
        # one connection: elsewhere, whoever writes may wait for the engine, which may wait for a reader.
        self._writing = threading.RLock()
        self._reading: AbstractContextManager[Any] = self._writing if in_memory else nullcontext()
        self._mine = threading.local()
        self._changes = 0
        self._engine = create_engine(url, **options)
        self._writer = self._engine.execution_options(**{_WRITES: True})
        if self._is_sqlite:
            event.listen(self._engine, "connect", _tune)
            event.listen(self._engine, "begin", _begin)
        with self._write() as connection:
            _metadata.create_all(connection)

    def put(self, context: Context, kind: str, name: str, document: dict[str, Any]) -> None:
        """Write a document, in place of the one of that name if there is one."""
        body = json.dumps(document)
        with self._write() as connection:
            changed = connection.execute(
                _documents.update().where(_ONE).values(body=body), _key(context, kind, name)
            )
            if not changed.rowcount:
                connection.execute(insert(_documents), _row(context, kind, name, body))

    def add(self, context: Context, kind: str, name: str, document: dict[str, Any]) -> bool:
        """Write a document unless one of that name is there; say whether it was written."""
        with self._write() as connection:
            if connection.execute(select(_documents.c.name).where(_ONE), _key(context, kind, name)).first():
                return False
            connection.execute(insert(_documents), _row(context, kind, name, json.dumps(document)))
            return True

    def get(self, context: Context, kind: str, name: str) -> dict[str, Any] | None:
        """The document, or None."""
        with self._read() as connection:
            body = connection.execute(
                select(_documents.c.body).where(_ONE), _key(context, kind, name)
            ).scalar_one_or_none()
        return None if body is None else json.loads(body)

    def all(self, context: Context, kind: str, prefix: str = "") -> list[dict[str, Any]]:
        """The documents of a kind in one account and region whose names begin with a prefix, by name."""
        query = select(_documents.c.name, _documents.c.body).where(_PLACE)
        if prefix:
            query = query.where(_documents.c.name.startswith(prefix, autoescape=True))
        with self._read() as connection:
            rows = connection.execute(query, _key(context, kind)).all()
        # Here, because databases disagree about the order of texts, and about capital letters.
        found = sorted((row for row in rows if row.name.startswith(prefix)), key=lambda row: row.name)
        return [json.loads(row.body) for row in found]

    @property
    def changes(self) -> int | None:
        """Stays the same while nothing is written; None if that cannot be told.

        It cannot in the middle of a transaction, nor of a database to which other processes write.
        """
        return self._changes if self._is_sqlite and self._own() is None else None

    def everywhere(self, kind: str) -> list[tuple[Context, dict[str, Any]]]:
        """The documents of a kind in all accounts and regions."""
        with self._read() as connection:
            rows = connection.execute(select(_documents).where(_documents.c.kind == kind)).all()
        return [
            (Context(row.account, row.region), json.loads(row.body))
            for row in sorted(rows, key=lambda row: row.name)
        ]

    def delete(self, context: Context, kind: str, name: str) -> bool:
        """Take a document away; say whether there was one."""
        with self._write() as connection:
            found = connection.execute(_documents.delete().where(_ONE), _key(context, kind, name))
            return found.rowcount == 1

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Read and write with nobody else in between; nothing is kept when it raises."""
        with self._write():
            yield

    def clear(self) -> None:
        """Forget everything."""
        with self._write() as connection:
            connection.execute(_documents.delete())

    def close(self) -> None:
        """Let go of the database."""
        with self._writing:
            self._engine.dispose()

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        """The transaction that this thread is in, or one of its own."""
        connection = self._own()
        if connection is not None:
            yield connection
            return
        with self._writing:
            try:
                with self._writer.begin() as connection:
                    if self._is_postgres:
                        # Other processes may have this database too.
                        lock = {"lock": _POSTGRES_LOCK}
                        connection.execute(text("select pg_advisory_xact_lock(:lock)"), lock)
                    self._mine.connection = connection
                    try:
                        yield connection
                    finally:
                        self._mine.connection = None
            finally:
                # Not before others can see it: who counted earlier than that looks again.
                self._changes += 1

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        connection = self._own()
        if connection is not None:
            yield connection
            return
        with self._reading, self._engine.begin() as connection:
            yield connection

    def _own(self) -> Connection | None:
        return getattr(self._mine, "connection", None)


def _key(context: Context, kind: str, name: str | None = None) -> dict[str, str]:
    key = {"_kind": kind, "_account": context.account, "_region": context.region}
    return key if name is None else {**key, "_name": name}


def _row(context: Context, kind: str, name: str, body: str) -> dict[str, str]:
    return {
        "kind": kind,
        "account": context.account,
        "region": context.region,
        "name": name,
        "body": body,
    }


def _tune(connection: Any, _record: Any) -> None:
    # SQLAlchemy begins transactions itself below.
    # https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#pysqlite-serializable
    connection.isolation_level = None
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma synchronous=full")
    connection.execute(f"pragma busy_timeout={_BUSY_MILLISECONDS}")


def _begin(connection: Connection) -> None:
    # A reader that turns writer after another process wrote would be refused without waiting.
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("begin immediate" if writes else "begin")
