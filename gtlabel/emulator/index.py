"""What lies in S3, without the bytes: buckets, their settings and their objects, in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SCHEMA = """
create table if not exists buckets (
    name text primary key, account text not null, region text not null, created text not null
) without rowid;
create table if not exists settings (
    bucket text not null, query text not null, request text not null, primary key (bucket, query)
);
create table if not exists objects (
    bucket text not null, key text not null, position integer not null, document text not null,
    primary key (bucket, key, position)
) without rowid;
"""


@dataclass(frozen=True, slots=True)
class BucketRow:
    """A bucket: its owner, its region, and the moment it was made, as ISO text."""

    name: str
    account: str
    region: str
    created: str


class Index:
    """The directory of an S3 that survives a restart.

    Every write is on disk when it returns.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("pragma journal_mode=wal")
        self._connection.execute("pragma synchronous=full")
        self._connection.executescript(_SCHEMA)

    def add_bucket(self, bucket: BucketRow) -> None:
        """Note a bucket, unless it is known."""
        with self.lock:
            self._connection.execute(
                "insert or ignore into buckets values (?, ?, ?, ?)",
                (bucket.name, bucket.account, bucket.region, bucket.created),
            )

    def drop_bucket(self, name: str) -> None:
        """Forget a bucket, its settings and its objects."""
        with self._transaction():
            self._connection.execute("delete from objects where bucket = ?", (name,))
            self._connection.execute("delete from settings where bucket = ?", (name,))
            self._connection.execute("delete from buckets where name = ?", (name,))

    def set(self, bucket: str, query: str, request: dict[str, Any]) -> None:
        """Keep the request that last settled something about a bucket, by its query (`cors`, `policy`)."""
        with self.lock:
            self._connection.execute(
                "insert or replace into settings values (?, ?, ?)", (bucket, query, json.dumps(request))
            )

    def unset(self, bucket: str, query: str) -> None:
        """Forget such a request."""
        with self.lock:
            self._connection.execute("delete from settings where bucket = ? and query = ?", (bucket, query))

    def put(self, bucket: str, versions: dict[str, list[dict[str, Any]]]) -> None:
        """Write the versions of some keys, oldest first, in place of what was known; none means gone."""
        with self._transaction():
            for key, documents in versions.items():
                self._connection.execute("delete from objects where bucket = ? and key = ?", (bucket, key))
                self._connection.executemany(
                    "insert into objects values (?, ?, ?, ?)",
                    ((bucket, key, n, json.dumps(document)) for n, document in enumerate(documents)),
                )

    def buckets(self) -> list[BucketRow]:
        """All buckets."""
        with self.lock:
            return [
                BucketRow(*row) for row in self._connection.execute("select * from buckets order by created")
            ]

    def settings(self, bucket: str) -> list[tuple[str, dict[str, Any]]]:
        """The requests that made a bucket what it is, in the order they were made."""
        with self.lock:
            rows = self._connection.execute(
                "select query, request from settings where bucket = ? order by rowid", (bucket,)
            ).fetchall()
        return [(query, json.loads(request)) for query, request in rows]

    def objects(self, bucket: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The versions of every key of a bucket, in key order and oldest first."""
        with self.lock:
            rows = self._connection.execute(
                "select key, document from objects where bucket = ? order by key, position", (bucket,)
            )
            for key, document in rows:
                yield key, json.loads(document)

    def clear(self) -> None:
        """Forget everything."""
        with self._transaction():
            for table in ("objects", "settings", "buckets"):
                self._connection.execute(f"delete from {table}")  # noqa: S608 - the names are ours

    def close(self) -> None:
        """Let go of the file."""
        with self.lock:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self.lock:
            self._connection.execute("begin immediate")
            try:
                yield
            except BaseException:
                self._connection.execute("rollback")
                raise
            self._connection.execute("commit")
