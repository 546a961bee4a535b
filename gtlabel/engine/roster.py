"""Who works here, as every request asks it: in memory, and read again soon after somebody changed it.

Each change leaves a mark in the database. Each process looks at the mark now and then, so that asking who
holds a token costs microseconds, and what another process changed is known within about a second.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from gtlabel.engine.crewtables import changes, tokens, workers
from gtlabel.engine.jobs import from_micros
from gtlabel.engine.store import Store
from gtlabel.errors import WorkerError, WorkerNotFoundError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_EMAIL = re.compile(r"(?=.{3,254}$)[^@\s]+@[^@\s]+")
# As OidcMemberDefinition has them, and ten for each worker (contract/ground-truth.md 3.5 and 10).
_LONGEST_GROUP = 63
_MOST_GROUPS = 10
# How long what is in memory is believed without a look at the database.
FRESH_SECONDS = 1.0


class Role(StrEnum):
    """What somebody may do."""

    WORKER = "worker"
    OWNER = "owner"


@dataclass(frozen=True, slots=True)
class Worker:
    """Somebody who may come in.

    Attributes:
        sub: who they are to the board and in worker responses; it never changes and says nothing about them.
        email: their address, or empty.
        groups: what work teams ask people by.
        active: whether they may come in at the moment.
    """

    sub: str
    name: str
    email: str
    groups: tuple[str, ...]
    role: Role
    active: bool
    created: datetime


@dataclass(frozen=True, slots=True)
class Book:
    """Everybody at one moment.

    Attributes:
        mark: what the last change before it left.
        workers: by their `sub`.
        tokens: whose they are and the hash of what is secret in them, by their public part.
    """

    mark: str
    workers: Mapping[str, Worker]
    tokens: Mapping[str, tuple[str, str]]


class Roster:
    """The latest book.

    Args:
        store: where everybody is written down.
        ticks: seconds that only go forward.
    """

    def __init__(self, store: Store, ticks: Callable[[], float]) -> None:
        self._store = store
        self._ticks = ticks
        self._lock = threading.Lock()
        self._book: Book | None = None
        self._looked = 0.0

    def book(self) -> Book:
        """Everybody, as of a second ago at most."""
        book = self._book
        if book is not None and self._ticks() - self._looked < FRESH_SECONDS:
            return book
        with self._lock:
            book = self._book
            if book is None or self._ticks() - self._looked >= FRESH_SECONDS:
                book = self._look(book)
            return book

    def forget(self) -> None:
        """Look again when asked next: this process changed something."""
        with self._lock:
            self._looked = self._ticks() - FRESH_SECONDS

    def _look(self, before: Book | None) -> Book:
        now = self._ticks()
        with self._store.read() as connection:
            mark = connection.execute(select(changes.c.mark)).scalar() or ""
            book = before if before and before.mark == mark else _read(connection, mark)
        self._book, self._looked = book, now
        return book


def worker_of(row: Row[Any]) -> Worker:
    """Somebody, from their row."""
    return Worker(
        sub=row.sub,
        name=row.name,
        email=row.email,
        groups=tuple(json.loads(row.groups)),
        role=Role(row.role),
        active=row.active,
        created=from_micros(row.created),
    )


def find_worker(connection: Connection, name: str) -> Worker:
    """The one of that name, in any letter case.

    Raises:
        WorkerNotFoundError: if there is nobody; it says who is called nearly so.
    """
    row = connection.execute(select(workers).where(workers.c.folded == name.lower())).one_or_none()
    if row is None:
        names = {row.folded: row.name for row in connection.execute(select(workers.c.folded, workers.c.name))}
        near = get_close_matches(name.lower(), names, n=2)
        raise WorkerNotFoundError(name, tuple(names[folded] for folded in near))
    return worker_of(row)


def leave_mark(connection: Connection, mark: str) -> None:
    """Let every process see that its book is old.

    Args:
        connection: within the transaction of the change.
        mark: one that never was before. A number that goes up would not do: a change that came to nothing
            may have been seen by then, and its number would come again.
    """
    if connection.execute(update(changes).values(mark=mark)).rowcount == 0:
        connection.execute(insert(changes).values(id=1, mark=mark))


def refusal(worker: Worker | None, groups: Sequence[str]) -> str | None:
    """Why somebody may not work for a team that asks these groups; None if they may."""
    if worker is None:
        return "you are not among the workers here; ask the owner to add you"
    if not worker.active:
        return f"{worker.name} is deactivated; ask the owner"
    if set(worker.groups).isdisjoint(groups):
        return f"the job is for {', '.join(sorted(groups)) or 'nobody'}, and {worker.name} is not in there"
    return None


def checked_name(name: str) -> str:
    """A worker's name.

    Raises:
        WorkerError: if it cannot be one.
    """
    if not _NAME.fullmatch(name):
        raise WorkerError(
            f"{name!r} cannot be a worker's name; use 1 to 64 letters, digits and . _ @ + -, "
            "with a letter or a digit first"
        )
    return name


def checked_email(email: str) -> str:
    """An e-mail address or nothing.

    Raises:
        WorkerError: if it is something else.
    """
    if email and not _EMAIL.fullmatch(email):
        raise WorkerError(f"{email!r} is not an e-mail address")
    return email


def checked_groups(groups: Sequence[str]) -> str:
    """Groups as they are written down.

    Raises:
        WorkerError: if they could not be those of a work team.
    """
    for group in groups:
        if not 0 < len(group) <= _LONGEST_GROUP or not group.isprintable() or group.split() != [group]:
            raise WorkerError(
                f"{group!r} cannot be a group; use 1 to {_LONGEST_GROUP} characters without blanks"
            )
    if len(set(groups)) > _MOST_GROUPS:
        raise WorkerError(f"a worker is in {_MOST_GROUPS} groups at most; {len(set(groups))} were given")
    return json.dumps(sorted(set(groups)), ensure_ascii=False)


def _read(connection: Connection, mark: str) -> Book:
    people = [worker_of(row) for row in connection.execute(select(workers))]
    valid = connection.execute(select(tokens).where(tokens.c.revoked.is_(None)))
    return Book(
        mark,
        {worker.sub: worker for worker in people},
        {row.id: (row.worker, row.digest) for row in valid},
    )
