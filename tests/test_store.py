"""The engine's memory: what one writer promises to many, and what happens when the disk is in the way."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from databases import new_database, server
from sqlalchemy import Connection, create_engine, func, insert, select, text

from gtlabel.engine.schema import VERSION, jobs, schema_version
from gtlabel.engine.store import Store
from gtlabel.errors import (
    DatabaseFullError,
    DatabaseInUseError,
    DatabaseReadOnlyError,
    DatabaseUnavailableError,
    DatabaseVersionError,
    LeaseError,
    SettingsError,
)

ROW = {"account": "1", "region": "r", "spec": "{}", "status": "Failed", "created": 0, "modified": 0}


def add(connection: Connection, number: int) -> None:
    connection.execute(insert(jobs).values(name=f"n{number}", folded=f"n{number}", **ROW))


def adding(number: int) -> Callable[[Connection], None]:
    return lambda connection: add(connection, number)


def names(store: Store) -> list[str]:
    with store.read() as connection:
        return list(connection.execute(select(jobs.c.name).order_by(jobs.c.id)).scalars())


# ---- one writer ------------------------------------------------------------------------------------------


def test_a_write_that_fails_takes_nothing_of_the_others_with_it(store: Store) -> None:
    def outcome_of(number: int) -> str:
        def work(connection: Connection) -> None:
            add(connection, number)
            if number % 3 == 0:
                raise LeaseError("no")

        try:
            store.write(work)
        except LeaseError:
            return "failed"
        return "written"

    with ThreadPoolExecutor(8) as pool:
        outcome = Counter(pool.map(outcome_of, range(60)))
    assert outcome == {"failed": 20, "written": 40}
    assert len(names(store)) == 40


def test_a_row_that_is_there_already_fails_only_who_adds_it_again(store: Store) -> None:
    futures = [store.write_soon(adding(n // 2)) for n in range(20)]
    failures = [future.exception() for future in futures]
    assert sum(failure is None for failure in failures) == 10
    assert names(store) == [f"n{number}" for number in range(10)]


def test_writes_are_done_in_the_order_they_were_asked_for(store: Store) -> None:
    futures = [store.write_soon(adding(n)) for n in range(300)]
    for future in futures:
        future.result()
    assert names(store) == [f"n{number}" for number in range(300)]


def test_writes_that_wait_share_a_commit(tmp_path: Path) -> None:
    shared = Store(f"sqlite:///{tmp_path / 'engine'}")
    commits = []
    gate = threading.Event()
    shared.write_soon(lambda _: gate.wait(60) and None)
    futures = [shared.write_soon(adding(n)) for n in range(128)]
    for future in futures:
        # Whoever is told sees that all the others are on disk, too.
        future.add_done_callback(lambda _: commits.append(len(names(shared))))
    gate.set()
    for future in futures:
        future.result()
    # The first few may have been in one group with what held the others up.
    assert len(set(commits)) <= 2
    shared.close()


def test_closing_does_what_is_queued_and_takes_no_more(url: str) -> None:
    closing = Store(url)
    futures = [closing.write_soon(adding(n)) for n in range(200)]
    closing.close()
    assert all(future.done() and future.exception() is None for future in futures)
    with pytest.raises(DatabaseUnavailableError, match="was closed; open it again"):
        closing.write_soon(adding(1))


def test_whoever_gave_up_waiting_is_left_out(store: Store) -> None:
    gate = threading.Event()
    store.write_soon(lambda _: gate.wait(60) and None)
    given_up = store.write_soon(adding(1))
    wanted = store.write_soon(adding(2))
    assert given_up.cancel()
    gate.set()
    wanted.result()
    assert names(store) == ["n2"]


# A database in memory has one connection, which others wait for.
@pytest.mark.parametrize("url", ["file", "postgres"], indirect=True)
def test_a_write_sees_what_it_wrote_and_others_do_not_before_it_is_done(url: str) -> None:
    busy = Store(url)
    inside, outside = threading.Event(), threading.Event()

    def work(connection: Connection) -> int:
        add(connection, 1)
        inside.set()
        outside.wait(60)
        with busy.read() as same:
            return same.execute(select(func.count()).select_from(jobs)).scalar_one()

    future = busy.write_soon(work)
    inside.wait(60)
    assert names(busy) == []
    outside.set()
    assert future.result() == 1
    busy.close()


def test_a_write_that_would_wait_for_itself_says_so(store: Store) -> None:
    with pytest.raises(RuntimeError, match="a write cannot wait for another write"):
        store.write(lambda _: store.write(adding(1)))
    assert names(store) == []


def test_a_store_that_nobody_holds_any_more_ends_its_thread() -> None:
    before = threading.active_count()
    for _ in range(20):
        Store()
    until = time.monotonic() + 60
    while threading.active_count() > before + 1 and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() <= before + 1


# ---- who may open it -------------------------------------------------------------------------------------


def test_a_file_is_one_process_s_at_a_time(tmp_path: Path) -> None:
    file = tmp_path / "engine.sqlite"
    held = Store(f"sqlite:///{file}")
    opening = f"from gtlabel.engine.store import Store; Store('sqlite:///{file}')"
    refused = subprocess.run(
        [sys.executable, "-c", opening], capture_output=True, text=True, timeout=120, check=False
    )
    assert f"the database {file} is used by process {os.getpid()}; stop that first" in refused.stderr
    with pytest.raises(DatabaseInUseError):
        Store(f"sqlite:///{file}")
    held.close()
    Store(f"sqlite:///{file}").close()


@pytest.mark.parametrize("url", ["file", "postgres"], indirect=True)
def test_a_newer_database_is_left_alone(url: str) -> None:
    store = Store(url)
    store.write(lambda connection: connection.execute(schema_version.update().values(number=VERSION + 1)))
    store.close()
    with pytest.raises(DatabaseVersionError, match=f"a newer gtlabel .its tables have version {VERSION + 1}"):
        Store(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(schema_version.update().values(number=VERSION))
    engine.dispose()
    Store(url).close()


def test_a_database_from_before_versions_were_counted_is_an_older_one(tmp_path: Path) -> None:
    file = tmp_path / "engine.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("create table jobs (id integer primary key)")
    connection.close()
    with pytest.raises(DatabaseVersionError, match=r"an older gtlabel \(its tables have version 1, this one"):
        Store(f"sqlite:///{file}")


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("engine.sqlite", "'engine.sqlite' is no address of a database; write sqlite:///FILE"),
        ("mysql://somewhere/engine", "the engine keeps nothing in mysql; give it sqlite:///FILE"),
    ],
)
def test_what_is_no_database_of_ours_is_refused_by_its_name(address: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        Store(address)


def test_a_file_in_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailableError, match="gone/engine.sqlite cannot be opened"):
        Store(f"sqlite:///{tmp_path / 'gone' / 'engine.sqlite'}")


def test_a_password_is_never_shown() -> None:
    with pytest.raises(DatabaseUnavailableError) as caught:
        Store(f"postgresql://somebody:secret@127.0.0.1:{server().port}/no-such-database")
    assert "secret" not in str(caught.value)
    assert "no-such-database" in str(caught.value)


# ---- full and read-only ----------------------------------------------------------------------------------

FILLING = """
import resource, signal, sys
from sqlalchemy import insert
from gtlabel.engine.schema import jobs
from gtlabel.engine.store import Store
from gtlabel.errors import StoreError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store(sys.argv[1])
row = {"account": "1", "region": "r", "status": "Failed", "created": 0, "modified": 0, "spec": "x" * 50_000}

def add(number):
    named = insert(jobs).values(name=f"n{number}", folded=f"n{number}", **row)
    store.write(lambda connection: connection.execute(named) and None)
    print(number, flush=True)

resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
for number in range(1000):
    try:
        add(number)
    except StoreError as error:
        print("refused", type(error).__name__, error, flush=True)
        break
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
add(5000)
store.close()
"""


def test_a_disk_that_takes_no_more_refuses_and_goes_on_when_it_does(tmp_path: Path) -> None:
    target = f"sqlite:///{tmp_path / 'engine.sqlite'}"
    done = subprocess.run(
        [sys.executable, "-c", FILLING, target], capture_output=True, text=True, timeout=120, check=True
    )
    *written, refused, last = done.stdout.splitlines()
    assert refused.startswith("refused Database")
    assert "so nothing was stored" in refused
    assert last == "5000"
    store = Store(target)
    assert names(store) == [f"n{number}" for number in [*written, last]]
    store.close()


def test_a_full_disk_is_told_apart_and_the_next_write_is_tried_again(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'engine.sqlite'}")
    # As full as a disk gets: SQLite may not use one page more.
    store.write(lambda connection: connection.execute(text("pragma max_page_count=1")))
    large = {**ROW, "spec": "x" * 100_000}
    with pytest.raises(DatabaseFullError, match="has no room on its disk, so nothing was stored; free some"):
        store.write(lambda connection: connection.execute(insert(jobs).values(name="a", folded="a", **large)))
    # The writer took a new connection, whose limit is the usual one again.
    store.write(lambda connection: connection.execute(insert(jobs).values(name="b", folded="b", **large)))
    assert names(store) == ["b"]
    store.close()


def test_a_full_disk_fails_all_who_shared_the_commit(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'engine.sqlite'}")
    store.write(lambda connection: connection.execute(text("pragma max_page_count=1")))
    gate = threading.Event()
    store.write_soon(lambda _: gate.wait(60) and None)
    large = {**ROW, "spec": "x" * 100_000}
    small = store.write_soon(adding(1))
    filling = store.write_soon(
        lambda connection: connection.execute(insert(jobs).values(name="a", folded="a", **large)) and None
    )
    gate.set()
    assert isinstance(small.exception(), DatabaseFullError)
    assert isinstance(filling.exception(), DatabaseFullError)
    assert names(store) == []
    store.close()


def test_a_server_that_can_only_be_read_says_so_and_is_asked_again() -> None:
    used = new_database()
    Store(used).close()
    name = used.rpartition("/")[2]
    owner = create_engine(used, isolation_level="AUTOCOMMIT")
    with owner.connect() as connection:
        connection.execute(text(f"alter database {name} set default_transaction_read_only = on"))
        store = Store(used)
        with pytest.raises(DatabaseReadOnlyError, match="can only be read, so nothing was stored"):
            store.write(adding(1))
        connection.execute(text(f"alter database {name} set default_transaction_read_only = off"))
    store.write(adding(2))
    assert names(store) == ["n2"]
    store.close()
    owner.dispose()


def test_a_file_that_can_only_be_read_says_so(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'engine.sqlite'}")
    store.write(lambda connection: connection.execute(text("pragma query_only=1")))
    with pytest.raises(DatabaseReadOnlyError, match="make it and its folder writable and try again"):
        store.write(adding(1))
    store.write(adding(2))
    assert names(store) == ["n2"]
    store.close()


# ---- a server and its failures ---------------------------------------------------------------------------


def test_two_processes_make_the_same_tables_at_once() -> None:
    fresh = new_database()
    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(lambda _: Store(fresh), range(6)))
    for number, each in enumerate(stores):
        each.write(adding(number))
    assert len(names(stores[0])) == 6
    for each in stores:
        each.close()


def test_writes_wait_for_a_server_that_restarts() -> None:
    store = Store(new_database())
    store.write(adding(1))
    server().stop("fast")
    waiting = [store.write_soon(adding(n)) for n in range(2, 12)]
    time.sleep(0.3)
    assert not any(future.done() for future in waiting)
    server().start()
    for future in waiting:
        future.result(timeout=120)
    assert len(names(store)) == 11
    store.close()


def test_a_connection_that_is_cut_costs_nobody_their_write() -> None:
    used = new_database()
    store = Store(used)
    cutter = create_engine(used, isolation_level="AUTOCOMMIT")

    def cut() -> None:
        kill = text(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        for _ in range(5):
            time.sleep(0.2)
            with cutter.connect() as connection:
                connection.execute(kill)

    cutting = threading.Thread(target=cut)
    cutting.start()

    def once(number: int) -> Callable[[Connection], None]:
        def work(connection: Connection) -> None:
            # As every work must be: fit to run again after its commit got lost.
            if connection.execute(select(jobs.c.id).where(jobs.c.name == f"n{number}")).first() is None:
                add(connection, number)

        return work

    futures = []
    for number in range(400):
        futures.append(store.write_soon(once(number)))
        time.sleep(0.002)
    for future in futures:
        future.result(timeout=120)
    cutting.join()
    assert sorted(names(store)) == sorted(f"n{number}" for number in range(400))
    store.close()
    cutter.dispose()


def test_two_writers_in_each_other_s_way_both_get_done() -> None:
    used = new_database()
    first, second = Store(used), Store(used)
    for number in (1, 2):
        first.write(adding(number))

    def touch(*order: int) -> Any:
        def work(connection: Connection) -> None:
            for number in order:
                change = jobs.update().where(jobs.c.name == f"n{number}")
                connection.execute(change.values(iteration=jobs.c.iteration + 1))
                time.sleep(0.2)

        return work

    futures = [first.write_soon(touch(1, 2)), second.write_soon(touch(2, 1))]
    for future in futures:
        future.result(timeout=120)
    with first.read() as connection:
        assert list(connection.execute(select(jobs.c.iteration)).scalars()) == [2, 2]
    first.close()
    second.close()


def test_one_process_leads_and_another_takes_over_when_it_is_gone() -> None:
    used = new_database()
    first, second = Store(used), Store(used)
    assert [first.leading(), second.leading(), first.leading()] == [True, False, True]
    cutter = create_engine(used, isolation_level="AUTOCOMMIT")
    with cutter.connect() as connection:
        held = "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted"
        connection.execute(text(held))
    _wait_for(second.leading)
    assert not first.leading()
    second.close()
    _wait_for(first.leading)
    first.close()
    cutter.dispose()


def test_whoever_has_a_file_leads() -> None:
    store = Store()
    assert store.leading()
    store.close()


def _wait_for(happening: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not happening():
        assert time.monotonic() < until
        time.sleep(0.02)
