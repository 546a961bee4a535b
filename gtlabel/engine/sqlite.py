"""SQLite as the engine uses it: one process at a time, and every commit on disk before it is acknowledged."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

from gtlabel.engine.database import Database, Fault, driver_error
from gtlabel.errors import (
    DatabaseFullError,
    DatabaseInUseError,
    DatabaseReadOnlyError,
    DatabaseUnavailableError,
)

_BUSY_MILLISECONDS = 30_000
# Pages of 4 kB: a checkpoint writes each page once, however often it changed since the last one.
_CHECKPOINT_PAGES = 4_000
_CACHE_KILOBYTES = 32_768
_WRITES = "gtlabel_writes"

# Result codes, https://www.sqlite.org/rescode.html; the ones that are not here are about what was asked.
_NO_ROOM = {sqlite3.SQLITE_FULL}
_NO_WRITING = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}
_NO_WORKING = {
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_NOLFS,
}


class Sqlite(Database):
    """A file that no other process has, or a database in memory.

    Args:
        url: its URL.
        guest: whether it does not matter that another process has the file.

    Raises:
        DatabaseInUseError: if another process has the file.
        DatabaseReadOnlyError: if it cannot be written.
        DatabaseUnavailableError: if there is no folder for it.
    """

    def __init__(self, url: URL, *, guest: bool = False) -> None:
        file = _file_of(url)
        self.in_memory = file is None
        self.name = str(file or "in memory")
        self._lock = _lock(file) if file and not guest else None
        options: dict[str, Any] = {}
        if self.in_memory:
            options = {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
        self.engine = create_engine(url, **options)
        self.writing = self.engine.execution_options(**{_WRITES: True})
        self.reading = self.engine
        _tune(self.engine)
        self._file = file
        # What the file is to the kernel, whatever it is called; known once there is one.
        self._identity: tuple[int, int] | None = None

        @event.listens_for(self.engine, "do_connect")
        def connecting(*_: Any) -> None:
            # SQLite would make an empty file where there is none, and go on with that.
            if self._identity is not None:
                self.must_be_there()

    def must_be_there(self) -> None:
        """Have a transaction come to nothing when the file does not lie at its place any more.

        SQLite writes to the file that it has open, deleted or not, and all of that would be lost.
        """
        if self._file is None:
            return
        try:
            found = self._file.stat()
            identity = (found.st_dev, found.st_ino)
        except OSError:
            identity = None
        self._identity = self._identity or identity
        if identity is None or identity != self._identity:
            raise DatabaseUnavailableError(
                self.name,
                "was moved, deleted or replaced while the server had it, so nothing was stored; "
                "put it back, or start the server again",
            )

    def fault(self, error: BaseException) -> Fault | None:
        """What an error says about the file and its disk."""
        cause = driver_error(error)
        code = getattr(cause, "sqlite_errorcode", None)
        if not isinstance(cause, sqlite3.Error) or code is None:
            return None
        primary = code & 0xFF
        if primary in _NO_ROOM:
            return Fault(DatabaseFullError(self.name))
        if primary in _NO_WRITING:
            return Fault(DatabaseReadOnlyError(self.name))
        if primary in _NO_WORKING:
            return Fault(
                DatabaseUnavailableError(
                    self.name, f"does not work ({cause}), so nothing was stored; look at its disk"
                )
            )
        return None

    def close(self) -> None:
        """Let go of the file."""
        super().close()
        if self._lock:
            self._lock.close()


def _file_of(url: URL) -> Path | None:
    name = url.database
    if name in (None, "", ":memory:"):
        return None
    if str(name).startswith("file:"):
        parts = urlsplit(str(name))
        if "mode=memory" in f"{parts.query}&{url.query.get('mode', '')}" or parts.path == ":memory:":
            return None
        return Path(unquote(parts.path)).absolute()
    return Path(str(name)).absolute()


def _lock(file: Path) -> IO[str]:
    path = file.with_name(f"{file.name}.lock")
    try:
        lock = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise _unopened(file, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "another process"
        lock.close()
        raise DatabaseInUseError(str(file), holder) from None
    lock.seek(0)
    lock.truncate()
    try:
        lock.write(f"process {os.getpid()}")
        lock.flush()
    except OSError as error:
        raise _unopened(file, error) from error
    return lock


def _unopened(file: Path, error: OSError) -> Exception:
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return DatabaseReadOnlyError(str(file))
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DatabaseFullError(str(file))
    return DatabaseUnavailableError(str(file), f"cannot be opened ({error.strerror}); is its folder there?")


def _tune(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        # SQLAlchemy begins transactions itself below; the driver's own guess breaks savepoints.
        # https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#pysqlite-serializable
        connection.isolation_level = None
        connection.execute(f"pragma busy_timeout={_BUSY_MILLISECONDS}")
        connection.execute("pragma journal_mode=wal")
        connection.execute("pragma synchronous=full")
        connection.execute("pragma foreign_keys=on")
        connection.execute(f"pragma wal_autocheckpoint={_CHECKPOINT_PAGES}")
        connection.execute(f"pragma cache_size=-{_CACHE_KILOBYTES}")

    @event.listens_for(engine, "begin")
    def began(connection: Connection) -> None:
        # A reader that turns writer after another connection wrote would be refused without waiting.
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("begin immediate" if writes else "begin")
