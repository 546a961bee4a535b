"""The one thread that writes to a database: what waits meanwhile shares a commit and a flush of the disk."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from sqlalchemy import Connection

from gtlabel.engine.database import HELD, Database, Fault
from gtlabel.errors import DatabaseUnavailableError, StoreError

_T = TypeVar("_T")
Work = Callable[[Connection], _T]

_GROUP = 128
# How long a group is tried again when the database was in the way, before those who wait are told: a server
# that restarts is back by then.
_PATIENCE_SECONDS = 20.0
_FIRST_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 1.0


@dataclass(slots=True)
class _Item:
    work: Work[Any]
    lease: str | None
    future: Future[Any] = field(default_factory=Future)


class _DatabaseFaultError(Exception):
    """Carries what is wrong with the database past the works of the others."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault.error))
        self.fault = fault


class Writer:
    """Runs works one after another, many to a transaction.

    Each work of a group stands in a savepoint of its own, so one that raises takes nothing of the others
    with it, and nobody is told anything before the group is on disk.

    Attributes:
        rollbacks: how many groups were undone, for who remembers what it saw in one.
    """

    def __init__(self, database: Database, guard: threading.RLock) -> None:
        self._database = database
        self._guard = guard
        self._queue: SimpleQueue[_Item | None] = SimpleQueue()
        self._open = True
        self._gate = threading.Lock()
        self._connection: Connection | None = None
        self._at_work: Connection | None = None
        self.rollbacks = 0
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def add(self, work: Work[_T], lease: str | None) -> Future[_T]:
        """Queue a work; see `Store.write_soon`."""
        item = _Item(work, lease)
        with self._gate:
            if not self._open:
                raise DatabaseUnavailableError(self._database.name, "was closed; open it again")
            self._queue.put(item)
        return item.future

    @property
    def here(self) -> Connection | None:
        """The connection of the running group, for who asks from within it."""
        return self._at_work if threading.current_thread() is self._thread else None

    def end(self) -> None:
        """Take no more works; those that wait are still done."""
        with self._gate:
            if self._open:
                self._open = False
                self._queue.put(None)

    def join(self) -> None:
        """Wait until all is done and the database was let go of."""
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        last = False
        while not last:
            group: list[_Item] = []
            item = self._queue.get()
            while True:
                if item is None:
                    last = True
                    break
                # Whoever gave up waiting is left out; nobody can give up from here on.
                if item.future.set_running_or_notify_cancel():
                    group.append(item)
                if len(group) == _GROUP:
                    break
                try:
                    item = self._queue.get_nowait()
                except Empty:
                    break
            if group:
                self._serve(group)
            # Nothing may outlive its group only because the next one is long in coming.
            del group, item
        self._let_go()
        self._database.close()

    def _serve(self, group: Sequence[_Item]) -> None:
        """Do a group, again and again while only the database is in the way."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                with self._guard:
                    outcomes = self._commit(group)
                break
            except BaseException as error:  # noqa: BLE001 - those who wait get it
                self.rollbacks += 1
                fault = _fault_of(error, self._database)
                self._start_anew(fault)
                if fault is None or not fault.passing or time.monotonic() > deadline:
                    told = _told(fault, error)
                    for item in group:
                        item.future.set_exception(told)
                    return
            if fault.crossed and len(group) > 1:
                for item in group:
                    self._serve([item])
                return
            # Two processes that were in each other's way must not come back together.
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        for item, (value, failure) in zip(group, outcomes, strict=True):
            if failure is None:
                item.future.set_result(value)
            else:
                item.future.set_exception(failure)

    def _commit(self, group: Sequence[_Item]) -> list[tuple[Any, BaseException | None]]:
        if self._connection is None:
            self._connection = self._database.writing.connect()
        connection = self._at_work = self._connection
        connection.info.pop(HELD, None)
        transaction = connection.begin()
        try:
            if touched := [item.lease for item in group if item.lease is not None]:
                self._database.lock_leases(connection, touched)
            if len(group) == 1:
                outcomes = [self._attempt(connection, group[0].work)]
            else:
                outcomes = [self._attempt_apart(connection, item.work) for item in group]
            # What the only work of a group wrote before it raised goes with the transaction.
            if len(group) == 1 and outcomes[0][1] is not None:
                transaction.rollback()
            else:
                self._database.must_be_there()
                transaction.commit()
        finally:
            self._at_work = None
            if transaction.is_active:
                transaction.close()
        return outcomes

    def _attempt(self, connection: Connection, work: Work[_T]) -> tuple[_T | None, BaseException | None]:
        try:
            return work(connection), None
        except Exception as error:
            fault = self._database.fault(error)
            if fault is not None:
                raise _DatabaseFaultError(fault) from error
            return None, error

    def _attempt_apart(
        self, connection: Connection, work: Work[_T]
    ) -> tuple[_T | None, BaseException | None]:
        # SQLAlchemy's own savepoints cost more than most works.
        driver: Any = connection.connection.dbapi_connection
        driver.execute("savepoint work")
        value, failure = self._attempt(connection, work)
        if failure is not None:
            driver.execute("rollback to savepoint work")
            connection.info.pop(HELD, None)
        driver.execute("release savepoint work")
        return value, failure

    def _start_anew(self, fault: Fault | None) -> None:
        """Leave a connection that something went wrong with, unless it is the only one there is."""
        if fault is not None and not self._database.in_memory:
            self._let_go()

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if not self._database.in_memory:
                connection.invalidate()
            connection.close()


def _fault_of(error: BaseException, database: Database) -> Fault | None:
    return error.fault if isinstance(error, _DatabaseFaultError) else database.fault(error)


def _told(fault: Fault | None, error: BaseException) -> BaseException:
    if fault is None:
        return error
    told: StoreError = fault.error
    told.__cause__ = error.__cause__ if isinstance(error, _DatabaseFaultError) else error
    return told
