"""Answers that can be taken back for a while: stored at once, changed, final by themselves, never lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from gtlabel.engine.board import Board, JobKey, JobSpec
from gtlabel.engine.holding import Holding
from gtlabel.engine.ledger import Ledger
from gtlabel.engine.schema import answers, drafts, leases, revisions, tasks
from gtlabel.engine.store import Store
from gtlabel.errors import LeaseError
from gtlabel.uris import S3Uri

KEY = JobKey("123456789012", "us-east-1", "bins")
NAME = "crowd-image-classifier"


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def _say(label: str) -> dict[str, dict[str, str]]:
    return {NAME: {"label": label}}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board_of(store: Store, clock: Clock) -> Callable[..., Board]:
    def make(images: int = 20, workers: int = 1) -> Board:
        board = Board(store, clock=clock)
        assert store.leading()
        manifest, classes, output = (S3Uri(f"s3://pix/{name}") for name in ("in", "classes", "out"))
        spec = JobSpec(KEY, "bin", manifest, classes, output, workers_per_object=workers)
        job = board.create_job(spec)
        ledger = Ledger(board.store, clock)
        lines = [{"source-ref": f"s3://pix/{number}.jpg"} for number in range(images)]
        ledger.replace_tasks(
            job,
            (
                {
                    "object": number,
                    "line": json.dumps(line),
                    "source_ref": line["source-ref"],
                    "rank": number,
                    "state": "waiting",
                }
                for number, line in enumerate(lines)
            ),
        )
        ledger.begin(job, ["Compost", "Landfill", "Recycle"])
        ledger.choose(board.job(KEY), images)
        ledger.send(board.job(KEY))
        return board

    return make


def _states(board: Board) -> dict[int, str]:
    with board.store.read() as connection:
        return dict(connection.execute(select(tasks.c.object, tasks.c.state)).all())


def _contents(board: Board) -> list[str]:
    with board.store.read() as connection:
        rows = connection.execute(select(answers.c.content).order_by(answers.c.id))
        return [json.loads(row.content)[NAME]["label"] for row in rows]


def _take(board: Board, worker: str = "ana") -> str:
    task = board.lease(KEY, worker)
    assert task is not None
    return task.lease


def test_a_held_answer_is_stored_at_once_and_becomes_final_by_itself(
    board_of: Callable[..., Board], clock: Clock
) -> None:
    board = board_of(1)
    until = Holding(board).submit_soon(_take(board), _say("Compost"), 2.0).result()

    assert until == clock.now + timedelta(seconds=30)
    with board.store.read() as connection:
        assert connection.execute(select(drafts.c.content)).scalar_one() == json.dumps(
            _say("Compost"), separators=(",", ":")
        )
    assert not board.expire()
    assert _states(board) == {0: "open"}

    clock.now += timedelta(seconds=31)
    assert board.expire()
    assert _states(board) == {0: "answered"}
    assert _contents(board) == ["Compost"]


def test_a_changed_answer_counts_as_it_was_said_last_and_the_former_stays_for_the_audit(
    board_of: Callable[..., Board], clock: Clock
) -> None:
    board = board_of(1)
    lease = _take(board)
    Holding(board).submit_soon(lease, _say("Compost"), 2.0).result()
    clock.now += timedelta(seconds=20)
    Holding(board).revise_soon(lease, _say("Recycle"), 3.0).result()
    clock.now += timedelta(seconds=20)
    assert not board.expire()

    clock.now += timedelta(seconds=11)
    board.expire()

    assert _contents(board) == ["Recycle"]
    with board.store.read() as connection:
        former = connection.execute(select(revisions.c.content)).scalars().all()
    assert [json.loads(text)[NAME]["label"] for text in former] == ["Compost"]


def test_what_is_final_can_no_longer_be_changed(board_of: Callable[..., Board], clock: Clock) -> None:
    board = board_of(1)
    lease = _take(board)
    Holding(board).submit_soon(lease, _say("Compost")).result()
    clock.now += timedelta(seconds=31)
    board.expire()

    with pytest.raises(LeaseError, match="no longer be changed"):
        Holding(board).revise_soon(lease, _say("Recycle")).result()
    assert _contents(board) == ["Compost"]


def test_only_the_last_ten_answers_of_a_worker_can_be_changed(board_of: Callable[..., Board]) -> None:
    board = board_of(14)
    held = []
    for _ in range(12):
        held.append(_take(board))
        Holding(board).submit_soon(held[-1], _say("Compost")).result()
        board.clock.now += timedelta(milliseconds=100)  # type: ignore[attr-defined]

    assert len(_contents(board)) == 2
    with pytest.raises(LeaseError):
        Holding(board).revise_soon(held[1], _say("Recycle")).result()
    Holding(board).revise_soon(held[2], _say("Recycle")).result()


def test_a_held_answer_keeps_its_place_from_others(board_of: Callable[..., Board]) -> None:
    board = board_of(1)
    Holding(board).submit_soon(_take(board), _say("Compost")).result()

    assert board.lease(KEY, "ben") is None
    assert board.lease(KEY, "ana") is None
    assert board.held("ana") == []


def test_stopping_a_job_loses_no_held_answer(board_of: Callable[..., Board]) -> None:
    board = board_of(2)
    Holding(board).submit_soon(_take(board), _say("Compost")).result()

    board.stop(KEY)

    assert _contents(board) == ["Compost"]
    assert sorted(_states(board).values()) == ["answered", "waiting"]


def test_submitting_for_good_ends_the_time_in_which_an_answer_can_be_changed(
    board_of: Callable[..., Board],
) -> None:
    board = board_of(1)
    lease = _take(board)
    Holding(board).submit_soon(lease, _say("Compost")).result()
    board.submit(lease, _say("Landfill"))

    assert _contents(board) == ["Landfill"]
    assert _states(board) == {0: "answered"}
    with board.store.read() as connection:
        assert connection.execute(select(drafts.c.lease)).all() == []


def test_a_held_answer_cannot_be_declined_or_released(board_of: Callable[..., Board]) -> None:
    board = board_of(1)
    lease = _take(board)
    Holding(board).submit_soon(lease, _say("Compost")).result()

    for give_back in (board.decline, board.release):
        with pytest.raises(LeaseError):
            give_back(lease)
    with board.store.read() as connection:
        assert connection.execute(select(leases.c.state)).scalar_one() == "held"


def test_a_held_answer_of_three_completes_the_image_when_it_is_final(
    board_of: Callable[..., Board], clock: Clock
) -> None:
    board = board_of(1, workers=3)
    Holding(board).submit_soon(_take(board, "ana"), _say("Compost")).result()
    board.submit(_take(board, "ben"), _say("Compost"))
    board.submit(_take(board, "cleo"), _say("Landfill"))
    assert _states(board) == {0: "open"}

    clock.now += timedelta(seconds=31)
    board.expire()

    assert _states(board) == {0: "answered"}
    assert sorted(_contents(board)) == ["Compost", "Compost", "Landfill"]
