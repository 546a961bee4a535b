"""What lies in S3: buckets, their settings, their objects and the small ones' bytes, in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

_T = TypeVar("_T")

# How many waiting writes share one commit, and with it one flush of the disk.
_GROUP = 128

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
create table if not exists bodies (name text primary key, content blob not null);
"""


@dataclass(frozen=True, slots=True)
class BucketRow:
    """A bucket: its owner, its region, and the moment it was made, as ISO text."""

    name: str
    account: str
    region: str
    created: str


class Entries:
    """What can be written into an index, within one transaction of it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add_bucket(self, bucket: BucketRow) -> None:
        """Note a bucket, unless it is known."""
        self._connection.execute(
            "insert or ignore into buckets values (?, ?, ?, ?)",
            (bucket.name, bucket.account, bucket.region, bucket.created),
        )

    def drop_bucket(self, name: str) -> None:
        """Forget a bucket, its settings and its objects."""
        self._connection.execute("delete from objects where bucket = ?", (name,))
        self._connection.execute("delete from settings where bucket = ?", (name,))
        self._connection.execute("delete from buckets where name = ?", (name,))

    def set(self, bucket: str, query: str, request: dict[str, Any]) -> None:
        """Keep the request that last settled something about a bucket, by its query (`cors`, `policy`)."""
        self._connection.execute(
            "insert or replace into settings values (?, ?, ?)", (bucket, query, json.dumps(request))
        )

    def unset(self, bucket: str, query: str) -> None:
        """Forget such a request."""
        self._connection.execute("delete from settings where bucket = ? and query = ?", (bucket, query))

    def put(self, bucket: str, key: str, versions: Iterable[dict[str, Any]]) -> None:
        """Write the versions of a key, oldest first, in place of what was known; none means gone."""
        self._connection.execute("delete from objects where bucket = ? and key = ?", (bucket, key))
        self._connection.executemany(
            "insert into objects values (?, ?, ?, ?)",
            ((bucket, key, n, json.dumps(document)) for n, document in enumerate(versions)),
        )

    def keep(self, name: str, content: bytes) -> None:
        """Keep the bytes of a small object."""
        self._connection.execute("insert or ignore into bodies values (?, ?)", (name, content))

    def drop(self, names: Iterable[str]) -> None:
        """Forget the bytes of small objects."""
        self._connection.executemany("delete from bodies where name = ?", ((name,) for name in names))

    def clear(self) -> None:
        """Forget everything."""
        for table in ("objects", "settings", "buckets", "bodies"):
            self._connection.execute(f"delete from {table}")  # noqa: S608 - the names are ours


class Index:
    """The directory of an S3 that survives a restart.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._lock, self._reading = threading.Lock(), threading.RLock()
        self._waiting: deque[tuple[Callable[[Entries], Any], Future[Any]]] = deque()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("pragma journal_mode=wal")
        self._connection.execute("pragma synchronous=full")
        self._connection.executescript(_SCHEMA)
        self._entries = Entries(self._connection)
        # Whoever reads must not wait for the disk on which others are writing.
        self._reader = sqlite3.connect(path, check_same_thread=False, isolation_level=None)

    def write(self, work: Callable[[Entries], _T]) -> _T:
        """Do `work` and return what it returned, once what it wrote is on disk.

        Those who wait for one another share a transaction. Their works run one after the other, so that what
        one looks at cannot change before it is written down. `work` must not call `write` again.
        """
        future: Future[_T] = Future()
        self._waiting.append((work, future))
        with self._lock:
            # Whoever gets the lock works for all who queued up meanwhile, perhaps for us already.
            while not future.done():
                self._commit_group()
        return future.result()

    def buckets(self) -> list[BucketRow]:
        """All buckets."""
        return [BucketRow(*row) for row in self._read("select * from buckets order by created")]

    def settings(self, bucket: str) -> list[tuple[str, dict[str, Any]]]:
        """The requests that made a bucket what it is, in the order they were made."""
        rows = self._read("select query, request from settings where bucket = ? order by rowid", bucket)
        return [(query, json.loads(request)) for query, request in rows]

    def objects(self, bucket: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The versions of every key of a bucket, in key order and oldest first."""
        with self._reading:
            rows = self._reader.execute(
                "select key, document from objects where bucket = ? order by key, position", (bucket,)
            )
            for key, document in rows:
                yield key, json.loads(document)

    def body(self, name: str) -> bytes:
        """The bytes of a small object.

        Raises:
            LookupError: if there are none of that name.
        """
        rows = self._read("select content from bodies where name = ?", name)
        if not rows:
            raise LookupError(f"the bytes {name} are gone")
        content: bytes = rows[0][0]
        return content

    def bodies(self) -> set[str]:
        """The names under which bytes are kept."""
        return {name for (name,) in self._read("select name from bodies")}

    def close(self) -> None:
        """Let go of the file."""
        with self._lock, self._reading:
            self._reader.close()
            self._connection.close()

    def _read(self, query: str, *values: str) -> list[Any]:
        with self._reading:
            return self._reader.execute(query, values).fetchall()

    def _commit_group(self) -> None:
        group: list[tuple[Callable[[Entries], Any], Future[Any]]] = []
        while self._waiting and len(group) < _GROUP:
            group.append(self._waiting.popleft())
        try:
            self._connection.execute("begin immediate")
            try:
                outcomes = [self._attempt(work) for work, _ in group]
                self._connection.execute("commit")
            except BaseException:
                self._connection.execute("rollback")
                raise
        except BaseException as error:
            # Nobody may take a write for done that was not committed.
            for _, future in group:
                future.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for (_, future), (value, failure) in zip(group, outcomes, strict=True):
            if failure is None:
                future.set_result(value)
            else:
                future.set_exception(failure)

    def _attempt(self, work: Callable[[Entries], _T]) -> tuple[_T | None, Exception | None]:
        self._connection.execute("savepoint work")
        try:
            value = work(self._entries)
        except Exception as error:  # noqa: BLE001 - carried to the caller of write(), who raises it
            self._connection.execute("rollback to work")
            self._connection.execute("release work")
            return None, error
        self._connection.execute("release work")
        return value, None
