"""Documents that survive a restart: the same in a file, in memory and on PostgreSQL."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import postgres
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import need

from gtlabel.emulator.api import Context
from gtlabel.emulator.shelf import Shelf
from gtlabel.engine.store import Store

HERE = Context()
THERE = Context(region="eu-west-1")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a database on a PostgreSQL."""
    need(postgres.programs(), "documents are kept on PostgreSQL too: apt-get install postgresql")
    with postgres.running() as url:
        yield url


@pytest.fixture(params=["memory", "file", "server"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    """An empty shelf of each kind."""
    if request.param == "server":
        made = Shelf(str(request.getfixturevalue("server")))
    else:
        made = Shelf(tmp_path / "shelf.sqlite" if request.param == "file" else None)
    made.clear()
    try:
        yield made
    finally:
        made.close()


def test_a_document_is_found_under_its_kind_place_and_name_alone(shelf: Shelf) -> None:
    shelf.put(HERE, "team", "sorters", {"size": 3})
    assert shelf.get(HERE, "team", "sorters") == {"size": 3}
    assert shelf.get(THERE, "team", "sorters") is None
    assert shelf.get(HERE, "force", "sorters") is None
    assert shelf.get(HERE, "team", "Sorters") is None


def test_what_is_put_replaces_and_what_is_added_does_not(shelf: Shelf) -> None:
    assert shelf.add(HERE, "team", "sorters", {"size": 1})
    assert not shelf.add(HERE, "team", "sorters", {"size": 2})
    assert shelf.get(HERE, "team", "sorters") == {"size": 1}
    shelf.put(HERE, "team", "sorters", {"size": 3})
    assert shelf.get(HERE, "team", "sorters") == {"size": 3}
    assert shelf.delete(HERE, "team", "sorters")
    assert not shelf.delete(HERE, "team", "sorters")


def test_documents_come_by_name_in_the_order_of_its_characters(shelf: Shelf) -> None:
    for name in ("b", "a", "B", "ä", "a-b", "ab"):
        shelf.put(HERE, "team", name, {"name": name})
    shelf.put(THERE, "team", "c", {"name": "c"})
    assert [one["name"] for one in shelf.all(HERE, "team")] == ["B", "a", "a-b", "ab", "b", "ä"]
    everywhere = shelf.everywhere("team")
    assert (THERE, {"name": "c"}) in everywhere
    assert len(everywhere) == 7


def test_a_transaction_that_raises_leaves_nothing(shelf: Shelf) -> None:
    shelf.put(HERE, "team", "sorters", {"size": 3})

    def fail() -> None:
        with shelf.transaction():
            shelf.put(HERE, "team", "sorters", {"size": 4})
            with shelf.transaction():
                shelf.put(HERE, "team", "others", {})
            assert shelf.get(HERE, "team", "others") == {}
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert shelf.all(HERE, "team") == [{"size": 3}]


def test_nobody_writes_between_the_reading_and_the_writing_of_a_transaction(shelf: Shelf) -> None:
    shelf.put(HERE, "count", "all", {"value": 0})

    def count(_: int) -> None:
        for _ in range(5):
            with shelf.transaction():
                found = shelf.get(HERE, "count", "all")
                assert found is not None
                shelf.put(HERE, "count", "all", {"value": found["value"] + 1})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(4)))
    assert shelf.get(HERE, "count", "all") == {"value": 20}


def test_two_processes_on_a_server_count_as_one(server: str) -> None:
    one, other = Shelf(server), Shelf(server)
    one.clear()
    start = threading.Barrier(2)

    def add(shelf: Shelf) -> int:
        start.wait(60)
        return sum(shelf.add(HERE, "seeded", str(number), {}) for number in range(20))

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(add, (one, other))) == 20
    one.close()
    other.close()


def test_a_file_that_an_earlier_version_wrote_is_read(tmp_path: Path) -> None:
    file = tmp_path / "shelf.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute(
            "create table documents (kind text not null, account text not null, region text not null, "
            "name text not null, body text not null, primary key (kind, account, region, name)) without rowid"
        )
        connection.execute(
            "insert into documents values ('team', '123456789012', 'us-east-1', 'sorters', '{\"size\": 3}')"
        )
    connection.close()
    shelf = Shelf(file)
    assert shelf.get(HERE, "team", "sorters") == {"size": 3}
    shelf.close()


def test_it_stands_in_the_engine_s_database_and_both_can_write(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'engine.sqlite'}"
    store, shelf = Store(url), Shelf(url)

    def write(number: int) -> None:
        shelf.put(HERE, "team", str(number), {})
        store.write(lambda _: None)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(20)))
    # The engine's writer may look at documents while somebody waits to write one.
    with shelf.transaction():
        waiting = store.write_soon(lambda _: shelf.get(HERE, "team", "0"))
    assert waiting.result(60) == {}
    shelf.close()
    store.close()
    again = Shelf(url)
    assert len(again.all(HERE, "team")) == 20
    again.close()


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30),
        st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5),
    )
)
def test_whatever_is_json_comes_back_as_it_was(document: dict[str, object]) -> None:
    shelf = Shelf()
    for name in document:
        shelf.put(HERE, "any", name, document)
    assert all(shelf.get(HERE, "any", name) == document for name in document)
    assert len(shelf.all(HERE, "any")) == len(document)
    shelf.close()
