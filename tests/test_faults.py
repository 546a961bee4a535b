"""Kills, full disks and lost databases: small runs of the programs that measure them, and what they found."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import postgres
import pytest
from engine_parts import Shop
from programs import need
from sqlalchemy import create_engine, text, update

from gtlabel.engine.board import Status
from gtlabel.engine.foreman import Foreman
from gtlabel.engine.patience import passes
from gtlabel.engine.schema import jobs
from gtlabel.engine.store import Store
from gtlabel.errors import LeadLostError, StoreError

BENCHMARKS = Path(__file__).parent / "benchmarks"


def program(name: str, *arguments: str) -> str:
    """What a program prints, which must find nothing wrong."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / name), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def files_that_cannot_grow() -> Iterator[None]:
    """For this process, as long as this is entered."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.slow
def test_kills_lose_no_answer_and_buy_none_twice() -> None:
    said = program("kill.py", "--kills", "2", "--aimed", "1", "--slots", "2", "--short")
    assert "acknowledged answers lost" in said


@pytest.mark.slow
def test_kills_of_two_servers_on_one_database_lose_no_answer_and_buy_none_twice() -> None:
    need(postgres.programs(), "two servers share PostgreSQL; apt-get install postgresql")
    shared = "--database", "postgresql"
    said = program("kill.py", "--kills", "2", "--aimed", "0", "--slots", "2", "--short", *shared)
    assert "server 2" in said


@pytest.mark.skipif(sys.platform != "linux", reason="limits of other processes are Linux's")
def test_a_disk_without_room_is_told_to_workers_and_costs_no_answer() -> None:
    said = program("faults.py", "--only", "files may not grow", "--short")
    assert "so nothing was stored" in said


def test_nothing_is_stored_in_a_file_that_lies_elsewhere(tmp_path: Path) -> None:
    file, away = tmp_path / "engine.sqlite", tmp_path / "away"
    shop = Shop(4, store=Store(f"sqlite:///{file}"), workers_per_object=1).start()
    task = shop.lease()
    file.rename(away)
    with pytest.raises(StoreError, match="put it back"):
        shop.say(task)
    file.write_bytes(b"")
    with pytest.raises(StoreError, match="put it back"):
        shop.say(task)
    away.replace(file)
    shop.say(task)
    assert shop.board.counters(shop.job.key).human_labeled == 1


def test_who_has_lost_the_lead_writes_nothing_even_before_noticing() -> None:
    need(postgres.programs(), "two servers share PostgreSQL; apt-get install postgresql")
    with postgres.running() as url:
        first, second = Store(url), Store(url)
        assert (first.leading(), second.leading()) == (True, False)
        with pytest.raises(LeadLostError, match="another process"):
            second.lead(lambda _: None)
        engine = create_engine(url)
        with engine.connect() as connection:
            end = "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted"
            connection.execute(text(end))
        engine.dispose()
        with pytest.raises(LeadLostError):
            first.lead(lambda connection: connection.execute(update(jobs).values(status="Failed")))
        assert second.leading()
        assert second.lead(lambda _: "written") == "written"
        assert not first.leading()
        first.close()
        second.close()


def test_a_database_that_cannot_be_written_ends_no_job(tmp_path: Path) -> None:
    shop = Shop(4, store=Store(f"sqlite:///{tmp_path / 'engine.sqlite'}"), workers_per_object=1).start()
    shop.foreman = Foreman(shop.board, lambda _: shop.bucket.client, timer=lambda: shop.clock.now.timestamp())
    for task in [shop.lease() for _ in range(4)]:
        shop.say(task)
    with files_that_cannot_grow():
        with pytest.raises(StoreError) as caught:
            shop.store.write(lambda connection: connection.execute(update(jobs).values(modified=0)))
        with suppress(StoreError):
            shop.foreman.turn()
    # What passes is tried again; anything else would be the job's fault, and its end.
    assert passes(caught.value)
    assert shop.job.status is Status.IN_PROGRESS
    shop.clock.pass_seconds(60)
    assert shop.turn().job.status is Status.COMPLETED
    assert len(shop.output()) == 4
