"""Documents that survive a restart: what the control planes know, in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gtlabel.emulator.api import Context

_SCHEMA = """
create table if not exists documents (
    kind text not null, account text not null, region text not null, name text not null,
    body text not null, primary key (kind, account, region, name)
) without rowid
"""


class Shelf:
    """JSON documents by kind, account, region and name.

    Every write is on disk when it returns. Times are kept as ISO strings; who needs a datetime converts.

    Args:
        path: the file; without one, everything is forgotten at the end.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        self._connection.execute("pragma journal_mode=wal")
        self._connection.execute("pragma synchronous=full")
        self._connection.execute(_SCHEMA)

    def put(self, context: Context, kind: str, name: str, document: dict[str, Any]) -> None:
        """Write a document, in place of the one of that name if there is one."""
        with self._lock:
            self._connection.execute(
                "insert or replace into documents values (?, ?, ?, ?, ?)",
                (kind, context.account, context.region, name, json.dumps(document)),
            )

    def add(self, context: Context, kind: str, name: str, document: dict[str, Any]) -> bool:
        """Write a document unless one of that name is there; say whether it was written."""
        with self._lock:
            cursor = self._connection.execute(
                "insert or ignore into documents values (?, ?, ?, ?, ?)",
                (kind, context.account, context.region, name, json.dumps(document)),
            )
            return cursor.rowcount == 1

    def get(self, context: Context, kind: str, name: str) -> dict[str, Any] | None:
        """The document, or None."""
        with self._lock:
            row = self._connection.execute(
                "select body from documents where kind=? and account=? and region=? and name=?",
                (kind, context.account, context.region, name),
            ).fetchone()
        return None if row is None else json.loads(row[0])

    def all(self, context: Context, kind: str) -> list[dict[str, Any]]:
        """The documents of a kind in one account and region, by name."""
        with self._lock:
            rows = self._connection.execute(
                "select body from documents where kind=? and account=? and region=? order by name",
                (kind, context.account, context.region),
            ).fetchall()
        return [json.loads(body) for (body,) in rows]

    def everywhere(self, kind: str) -> list[tuple[Context, dict[str, Any]]]:
        """The documents of a kind in all accounts and regions."""
        with self._lock:
            rows = self._connection.execute(
                "select account, region, body from documents where kind=? order by name", (kind,)
            ).fetchall()
        return [(Context(account, region), json.loads(body)) for account, region, body in rows]

    def delete(self, context: Context, kind: str, name: str) -> bool:
        """Take a document away; say whether there was one."""
        with self._lock:
            cursor = self._connection.execute(
                "delete from documents where kind=? and account=? and region=? and name=?",
                (kind, context.account, context.region, name),
            )
            return cursor.rowcount == 1

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Read and write without another thread in between; nothing is kept when it raises."""
        with self._lock:
            self._connection.execute("begin immediate")
            try:
                yield
            except BaseException:
                self._connection.execute("rollback")
                raise
            self._connection.execute("commit")

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._connection.execute("delete from documents")

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()
