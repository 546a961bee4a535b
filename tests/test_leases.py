"""What the board promises to workers: their place, their time, and that no answer of theirs is lost."""

from __future__ import annotations

import itertools
import json
import random
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from databases import new_database
from engine_parts import CLASSES, KEY, START, Shop, answer
from sqlalchemy import Connection, select

from gtlabel.engine.board import Board
from gtlabel.engine.jobs import Counters, Receipt, Status, Task, to_micros
from gtlabel.engine.schema import answers, leases, surplus
from gtlabel.engine.store import Store
from gtlabel.engine.stream import Arrival
from gtlabel.errors import AnswerError, LeaseError, WorkerNotAdmittedError

Shops = Callable[..., Shop]


def test_every_image_gets_its_number_of_answers_each_from_someone_else(a_shop: Shops) -> None:
    shop = a_shop(25).start().finish(workers=("ann", "bob", "eve", "kim", "lee"))
    with shop.store.read() as connection:
        rows = connection.execute(select(answers.c.object, answers.c.worker)).all()
    assert Counter(row.object for row in rows) == dict.fromkeys(range(25), 3)
    assert len(set(rows)) == 75
    assert shop.board.counters(KEY) == Counters(human_labeled=25)


def test_a_worker_never_sees_an_image_twice_and_no_more_workers_than_wanted_see_it(a_shop: Shops) -> None:
    shop = a_shop(1, workers_per_object=2).start()
    first = shop.lease("ann")
    assert shop.board.lease(KEY, "ann") is None
    shop.say(first)
    assert shop.board.lease(KEY, "ann") is None
    shop.lease("bob")
    assert shop.board.lease(KEY, "eve") is None


def test_a_lease_that_runs_out_gives_its_place_to_others(a_shop: Shops) -> None:
    shop = a_shop(1, workers_per_object=1, task_seconds=30).start()
    shop.lease("ann")
    shop.clock.pass_seconds(29)
    assert shop.board.lease(KEY, "bob") is None
    shop.clock.pass_seconds(1)
    shop.lease("bob")


def test_a_late_answer_is_taken_while_its_place_is_free(a_shop: Shops) -> None:
    shop = a_shop(1, workers_per_object=1, task_seconds=30).start()
    task = shop.lease("ann")
    shop.clock.pass_seconds(31)
    assert shop.board.expire()
    shop.say(task)
    assert shop.turn().job.status is Status.COMPLETED


def test_a_late_answer_is_kept_as_a_surplus_one_once_its_place_is_taken(a_shop: Shops) -> None:
    shop = a_shop(1, workers_per_object=1, task_seconds=30).start()
    late = shop.lease("ann")
    shop.clock.pass_seconds(31)
    shop.say(shop.lease("bob"), "Recycle")
    assert shop.board.submit(late.lease, answer("Compost")) is Receipt.SURPLUS
    assert shop.board.submit(late.lease, answer("Compost")) is Receipt.SURPLUS
    assert shop.turn().records()[0]["bin-metadata"]["class-name"] == "Recycle"


def test_a_worker_who_took_an_image_again_is_counted_once(a_shop: Shops) -> None:
    shop = a_shop(1, workers_per_object=2, task_seconds=30).start()
    forgotten = shop.lease("ann")
    shop.clock.pass_seconds(31)
    shop.say(shop.lease("ann"))
    assert shop.board.submit(forgotten.lease, answer("Compost")) is Receipt.SURPLUS
    assert shop.board.counters(KEY) == Counters(unlabeled=1)


def test_a_surplus_answer_takes_the_next_place_that_gets_free(a_shop: Shops) -> None:
    shop = a_shop(1, workers_per_object=1, task_seconds=30).start()
    late = shop.lease("ann")
    shop.clock.pass_seconds(31)
    taken = shop.lease("bob")
    assert shop.board.submit(late.lease, answer("Compost")) is Receipt.SURPLUS
    shop.board.release(taken.lease)
    assert shop.board.lease(KEY, "eve") is None
    assert shop.turn().records()[0]["bin-metadata"]["class-name"] == "Compost"


def test_an_answer_counts_once_however_often_it_is_submitted(a_shop: Shops) -> None:
    shop = a_shop(1, workers_per_object=1).start()
    task = shop.lease()
    receipts = [shop.board.submit(task.lease, answer("Compost")) for _ in range(3)]
    assert receipts == [Receipt.TAKEN, Receipt.KNOWN, Receipt.KNOWN]
    assert shop.turn().records()[0]["bin-metadata"]["class-name"] == "Compost"


def test_another_answer_to_the_same_task_is_refused_and_the_first_one_stands(a_shop: Shops) -> None:
    shop = a_shop(1, workers_per_object=1).start()
    task = shop.lease()
    shop.say(task, "Compost")
    with pytest.raises(LeaseError, match="answered before, and differently; the first answer stands"):
        shop.say(task, "Landfill")
    assert shop.turn().records()[0]["bin-metadata"]["class-name"] == "Compost"


def test_a_declined_image_never_comes_back_to_the_same_worker(a_shop: Shops) -> None:
    shop = a_shop(1).start()
    shop.board.decline(shop.lease("ann").lease)
    assert shop.board.lease(KEY, "ann") is None
    shop.lease("bob")


def test_an_image_that_as_many_decline_as_were_to_answer_fails(a_shop: Shops) -> None:
    shop = a_shop(1, workers_per_object=2).start()
    for worker in ("ann", "bob"):
        shop.board.decline(shop.lease(worker).lease)
    assert shop.board.lease(KEY, "eve") is None
    assert shop.turn().job.status is Status.COMPLETED
    assert shop.board.counters(KEY) == Counters(failed=1)


def test_one_answer_is_enough_when_too_many_others_decline(a_shop: Shops) -> None:
    shop = a_shop(1, workers_per_object=2).start()
    shop.say(shop.lease("ann"), "Recycle")
    for worker in ("bob", "eve"):
        shop.board.decline(shop.lease(worker).lease)
    (record,) = shop.turn().records()
    assert record["bin-metadata"]["class-name"] == "Recycle"


def test_whoever_holds_an_image_may_finish_although_others_declined(a_shop: Shops) -> None:
    shop = a_shop(1, workers_per_object=2).start()
    task = shop.lease("ann")
    for worker in ("bob", "eve"):
        shop.board.decline(shop.lease(worker).lease)
    assert shop.turn().board.counters(KEY) == Counters(unlabeled=1)
    shop.say(task)
    assert shop.turn().board.counters(KEY) == Counters(human_labeled=1)


def test_a_released_image_may_come_back_to_the_same_worker(a_shop: Shops) -> None:
    shop = a_shop(1).start()
    task = shop.lease("ann")
    shop.board.release(task.lease)
    assert shop.lease("ann").object == task.object
    with pytest.raises(LeaseError, match="was released before"):
        shop.say(task)


def test_a_heartbeat_gives_time_and_eight_hours_are_the_end_of_it(a_shop: Shops) -> None:
    shop = a_shop(1, task_seconds=3600).start()
    task = shop.lease()
    for _ in range(9):
        shop.clock.pass_seconds(3000)
        expires = shop.board.heartbeat(task.lease)
    assert expires == START + timedelta(hours=8)
    shop.clock.pass_seconds(3600)
    shop.board.expire()
    with pytest.raises(LeaseError, match="it is expired"):
        shop.board.heartbeat(task.lease)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (answer("Compst"), "'Compst' is no class of this job; its classes are Compost, Landfill, Recycle"),
        ({"crowd-image-classifier": {}}, "None is no class of this job"),
        ({"crowd-image-classifier": "Compost"}, "the answer holds no 'crowd-image-classifier'"),
        ({"bin": {"label": "Compost"}}, "the answer holds no 'crowd-image-classifier'"),
        ({**answer("Compost"), "note": "\ud800"}, "the answer cannot be written as JSON"),
        ({**answer("Compost"), "note": float("nan")}, "the answer cannot be written as JSON"),
    ],
)
def test_what_is_no_answer_is_refused_and_the_task_stays(
    a_shop: Shops, said: dict[str, Any], sentence: str
) -> None:
    shop = a_shop(1).start()
    task = shop.lease()
    with pytest.raises(AnswerError, match=re.escape(sentence)):
        shop.board.submit(task.lease, said)
    shop.say(task)


def test_a_lease_that_nobody_was_given_cannot_be_answered(a_shop: Shops) -> None:
    with pytest.raises(LeaseError, match="there is no lease 'lease-99'; ask for a new task"):
        a_shop(1).start().board.submit("lease-99", answer("Compost"))


@pytest.mark.parametrize(("seconds", "kept"), [(40.5431, 40.543), (999.0, 60.0), (None, 60.0)])
def test_active_time_is_what_the_page_says_and_never_more_than_has_passed(
    a_shop: Shops, seconds: float | None, kept: float
) -> None:
    shop = a_shop(1, workers_per_object=1).start()
    task = shop.lease()
    shop.clock.pass_seconds(60)
    shop.board.submit(task.lease, answer("Compost"), seconds)
    (response,) = (body for name, body in shop.turn().tree().items() if "worker-response" in name)
    assert json.loads(response)["answers"][0]["timeSpentInSeconds"] == kept


def test_many_workers_at_once_leave_exactly_three_answers_and_no_place_open(a_shop: Shops) -> None:
    shop = a_shop(60).start()
    _work_together([shop.board], shop)


def test_two_servers_on_one_database_hand_out_and_take_as_one_does() -> None:
    used = new_database()
    stores = [Store(used), Store(used)]
    shop = Shop(60, store=stores[0]).start()
    _work_together([shop.board, Board(stores[1], clock=shop.clock)], shop)
    for store in stores:
        store.close()


def test_a_step_takes_the_answer_and_hands_out_the_next_image(a_shop: Shops) -> None:
    shop = a_shop(3, workers_per_object=1).start()
    task, seen = shop.lease(), []
    following: Task | None = task
    while following is not None:
        seen.append(following.object)
        following = shop.board.step(following.lease, answer("Compost"))
    assert sorted(seen) == [0, 1, 2]
    assert shop.turn().board.counters(KEY) == Counters(human_labeled=3)


def test_a_step_that_is_asked_for_again_gives_the_same_image(a_shop: Shops) -> None:
    shop = a_shop(5, workers_per_object=1).start()
    task = shop.lease()
    following = [shop.board.step(task.lease, answer("Compost")) for _ in range(3)]
    assert following[0] is not None
    assert following == following[:1] * 3
    assert shop.board.held("ann") == following[:1]
    # Once that one was given back, there is another.
    shop.board.decline(following[0].lease)
    fourth = shop.board.step(task.lease, answer("Compost"))
    assert fourth is not None
    assert fourth.object not in {task.object, following[0].object}


def test_a_step_with_a_wrong_answer_takes_and_gives_nothing(a_shop: Shops) -> None:
    shop = a_shop(5).start()
    task = shop.lease()
    with pytest.raises(AnswerError):
        shop.board.step(task.lease, answer("Glass"))
    assert shop.board.held("ann") == [task]


def test_a_step_that_comes_too_late_to_count_goes_on_all_the_same(a_shop: Shops) -> None:
    shop = a_shop(2, workers_per_object=1, task_seconds=30).start()
    late = shop.lease("ann")
    shop.clock.pass_seconds(31)
    shop.board.expire()
    taken = [shop.lease("bob"), shop.lease("bob")]
    other = next(task for task in taken if task.object != late.object)
    shop.board.release(other.lease)
    following = shop.board.step(late.lease, answer("Compost"))
    assert following is not None
    assert following.object == other.object
    assert shop.board.step(late.lease, answer("Compost")) == following


def test_answers_of_a_stopped_job_are_kept_and_give_no_next_image(a_shop: Shops) -> None:
    shop = a_shop(5).start()
    task = shop.lease()
    shop.board.stop(KEY)
    assert shop.board.step(task.lease, answer("Compost")) is None
    assert shop.board.submit(task.lease, answer("Compost")) is Receipt.SURPLUS
    with shop.store.read() as connection:
        kept = connection.execute(select(surplus.c.worker, surplus.c.content)).all()
    assert kept == [("ann", '{"crowd-image-classifier":{"label":"Compost"}}')]


def test_every_answer_is_kept_with_when_it_was_begun_and_given_and_how_long_it_took(a_shop: Shops) -> None:
    shop = a_shop(1, workers_per_object=1).start()
    task = shop.lease()
    shop.clock.pass_seconds(12)
    shop.board.submit(task.lease, answer("Compost"), 7.5)
    with shop.store.read() as connection:
        (row,) = connection.execute(select(answers)).all()
        (lease,) = connection.execute(select(leases)).all()
    begun, given = to_micros(START), to_micros(START) + 12_000_000
    assert (row.worker, row.accepted, row.submitted, row.active_seconds) == ("ann", begun, given, 7.5)
    assert (lease.state, lease.accepted, lease.ended) == ("done", begun, given)


def test_what_a_worker_has_in_hands_can_be_listed_and_put_aside_and_taken_up(a_shop: Shops) -> None:
    shop = a_shop(5, task_seconds=60).start()
    first, second = shop.lease(), shop.lease()
    shop.lease("bob")
    assert shop.board.held("ann") == [first, second]
    assert shop.board.pause(first.lease) == replace(first, paused=True)
    assert shop.board.held("ann") == [replace(first, paused=True), second]
    with pytest.raises(LeaseError, match="put aside; resume it first"):
        shop.board.heartbeat(first.lease)
    assert shop.board.resume(first.lease) == first
    shop.board.pause(second.lease)
    shop.say(second)
    assert shop.board.held("ann") == [first]


def test_the_time_of_a_task_that_was_put_aside_runs_on(a_shop: Shops) -> None:
    shop = a_shop(1, workers_per_object=1, task_seconds=60).start()
    task = shop.lease()
    shop.board.pause(task.lease)
    assert shop.board.lease(KEY, "bob") is None
    shop.clock.pass_seconds(60)
    assert shop.board.held("ann") == []
    shop.lease("bob")
    with pytest.raises(LeaseError, match="it is expired"):
        shop.board.resume(task.lease)


def test_whoever_is_not_admitted_gets_nothing_and_what_they_had_counts(store: Store) -> None:
    shop, out = Shop(5, store=store).start(), set[str]()
    board = Board(
        store,
        clock=shop.clock,
        admits=lambda job, who: f"{who} is not in {job.key.name}" if who in out else None,
    )
    task = board.lease(KEY, "ann")
    assert task is not None
    out.add("ann")
    with pytest.raises(WorkerNotAdmittedError, match="ann is not in Bins-1"):
        board.lease(KEY, "ann")
    assert board.step(task.lease, answer("Compost")) is None
    assert board.submit(task.lease, answer("Compost")) is Receipt.KNOWN


def test_more_workers_can_be_asked_about_an_image_as_long_as_it_is_out(a_shop: Shops) -> None:
    shop = a_shop(2, workers_per_object=1).start()
    done = shop.lease("ann")
    shop.say(done)
    assert shop.board.raise_need(KEY, [0, 1], 3) == [0, 1]
    assert shop.board.raise_need(KEY, [0, 1], 2) == []
    assert shop.lease("ann").object != done.object
    for worker in ("bob", "eve"):
        assert {shop.lease(worker).object, shop.lease(worker).object} == {0, 1}
    assert shop.board.lease(KEY, "kim") is None


def test_an_image_that_has_its_label_gets_a_new_one_when_more_are_asked(a_shop: Shops) -> None:
    shop = a_shop(2, workers_per_object=1).start()
    first = shop.lease("ann")
    shop.say(first, "Compost")
    shop.clock.pass_seconds(61)
    shop.turn()
    assert shop.board.counters(KEY) == Counters(human_labeled=1, unlabeled=1)
    assert shop.board.raise_need(KEY, [first.object], 3) == [first.object]
    assert shop.board.counters(KEY) == Counters(unlabeled=2)
    shop.finish(lambda _worker, _number: "Recycle", workers=("ann", "bob", "eve"))
    record = shop.records()[first.object]
    assert record["bin-metadata"]["class-name"] == "Recycle"


def test_nobody_can_be_asked_more_about_a_job_that_has_ended(a_shop: Shops) -> None:
    shop = a_shop(1).start().finish()
    with pytest.raises(LeaseError, match="is Completed and takes no more answers"):
        shop.board.raise_need(KEY, [0], 5)


def test_a_job_that_is_not_done_within_thirty_days_is_stopped(a_shop: Shops) -> None:
    shop = a_shop(3, workers_per_object=1).start()
    done = shop.lease()
    shop.say(done)
    shop.clock.pass_seconds(29 * 86_400)
    assert shop.turn().job.status is Status.IN_PROGRESS
    shop.clock.pass_seconds(86_400)
    assert shop.turn().job.status is Status.STOPPED
    assert ["bin" in record for record in shop.records()].count(True) == 1


def test_what_a_stream_cannot_send_out_for_fourteen_days_fails(a_shop: Shops) -> None:
    shop = a_shop(1, manifest=None, streaming=True, max_concurrent=1, workers_per_object=1).start()
    lines = [f'{{"source-ref":"s3://trash/{number}.jpg"}}' for number in range(3)]
    shop.board.add_objects(KEY, [Arrival(line, line) for line in lines])
    shop.turn()
    task = shop.lease()
    shop.clock.pass_seconds(13 * 86_400)
    shop.turn()
    assert shop.board.counters(KEY) == Counters(unlabeled=3)
    shop.say(task)
    # That made room for one more.
    shop.turn()
    shop.clock.pass_seconds(86_400)
    shop.turn()
    assert shop.board.counters(KEY) == Counters(human_labeled=1, failed=1, unlabeled=1)


def test_a_step_costs_the_same_however_many_images_there_are_and_were_seen() -> None:
    few, many = _instructions(60, 20), _instructions(3_000, 2_000)
    # Trees of pages get a little deeper, and no more than that.
    assert many < 1.5 * few


def test_what_steps_cost_can_be_measured() -> None:
    program = Path(__file__).parent / "benchmarks" / "engine.py"
    small = ["--objects", "100", "--steps", "100", "--depth", "4", "--answers", "100"]
    done = subprocess.run(
        [sys.executable, program, *small], capture_output=True, text=True, timeout=120, check=True
    )
    lines = done.stdout.splitlines()
    assert [line.split(",")[1].split()[0] for line in lines[:3]] == ["fresh", "seen", "done"]
    assert all("ms CPU each" in line for line in lines)


def _instructions(images: int, seen: int) -> float:
    """How many instructions SQLite runs for a step of somebody who has seen so many of so many images."""
    shop = Shop(images, workers_per_object=2, max_concurrent=images)
    shop.start()
    # The first few are there to try the job out; the others are sent when those are done.
    for worker in ("kim", "lee"):
        while task := shop.board.lease(KEY, worker):
            shop.say(task)
    shop.turn()
    task = shop.lease("ann")
    for _ in range(seen):
        task = _next(shop, task)
    run = itertools.count()
    shop.store.write(lambda connection: _driver(connection).set_progress_handler(lambda: next(run) < 0, 10))
    for _ in range(10):
        task = _next(shop, task)
    shop.store.write(lambda connection: _driver(connection).set_progress_handler(None, 0))
    shop.store.close()
    return next(run)


def _driver(connection: Connection) -> Any:
    return connection.connection.dbapi_connection


def _next(shop: Shop, task: Task) -> Task:
    following = shop.board.step(task.lease, answer("Compost"))
    assert following is not None
    return following


def _work_together(boards: Sequence[Board], shop: Shop) -> None:
    at_the_desk = threading.Lock()

    def work(number: int) -> None:
        moods, board = random.Random(number), boards[number % len(boards)]
        task = None
        while not board.job(KEY).status.ended:
            task = task or board.lease(KEY, f"worker-{number % 6}")
            if task is None:
                with at_the_desk:
                    shop.turn()
            elif moods.random() < 0.1:
                board.release(task.lease)
                task = None
            else:
                task = board.step(task.lease, answer(moods.choice(CLASSES)))

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(12)))
    with shop.store.read() as connection:
        rows = connection.execute(select(answers.c.object, answers.c.worker)).all()
        live = connection.execute(select(leases).where(leases.c.state == "leased")).all()
    assert Counter(row.object for row in rows) == dict.fromkeys(range(60), 3)
    assert len(set(rows)) == 180
    assert live == []
