"""Jobs that ask for another answer only where one helps."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from engine_parts import CLASSES, Bucket, PowerCut, Shop

from gtlabel.crowd.redundancy import Redundancy
from gtlabel.engine.adaptive import saving
from gtlabel.engine.jobs import Counters, Kind, Status
from gtlabel.engine.labels import verdict
from gtlabel.engine.store import Store

CROWD = tuple(f"worker-{number}" for number in range(7))
OUTPUT = "manifests/output/output.manifest"
SAVED = "gtlabel/redundancy.json"


def opinion(skill: float = 0.85) -> Any:
    """People who are right that often, each about each image in the same way whenever asked."""

    def say(worker: str, number: int) -> str:
        fate = Random(f"{worker}/{number}")
        truth = number % 3
        return CLASSES[truth if fate.random() < skill else (truth + fate.randint(1, 2)) % 3]

    return say


def run(shop: Shop) -> dict[str, Any]:
    """What an adaptive job tells of itself when people have done it."""
    shop.start().finish(opinion(), CROWD)
    told: dict[str, Any] = json.loads(shop.tree()[SAVED])
    return told


def labels(shop: Shop) -> list[int]:
    return [json.loads(line)["bin"] for line in shop.tree()[OUTPUT].splitlines()]


def test_images_in_doubt_get_more_answers_and_the_saved_ones_are_counted() -> None:
    shop = Shop(120, workers_per_object=5, redundancy="first=2 error=0.05", consensus="dawid_skene")
    told = run(shop)
    assert shop.job.status is Status.COMPLETED
    given = [len(json.loads(body)["answers"]) for body in newest_responses(shop).values()]
    assert min(given) == 2
    assert max(given) > 2
    assert told["answers"] == sum(given) < 0.75 * told["fixed"]
    assert told["fixed"] == 600 == told["answers"] + told["saved"]
    assert told["policy"] == "first=2 error=0.05"
    assert told["error_range"] is None
    assert sum(entry["images"] for entry in told["rounds"]) == told["answers"] - 240
    right = sum(label == number % 3 for number, label in enumerate(labels(shop)))
    fixed = Shop(120, workers_per_object=5, consensus="dawid_skene").start().finish(opinion(), CROWD)
    assert right >= sum(label == number % 3 for number, label in enumerate(labels(fixed))) - 8


def newest_responses(shop: Shop) -> dict[str, bytes]:
    """The last file of answers about each image."""
    found = {}
    for name, body in sorted(shop.tree().items()):
        if name.startswith("annotations/worker-response/"):
            found[name.split("/")[3]] = body
    return found


def test_a_budget_is_kept() -> None:
    told = run(Shop(40, workers_per_object=5, redundancy="first=1 error=0 budget=70"))
    assert told["answers"] == 70
    assert told["saved"] == 130


def test_a_budget_that_does_not_buy_the_first_answers_fails_the_job_before_anybody_works() -> None:
    shop = Shop(40, workers_per_object=5, redundancy="first=2 error=0 budget=79").start()
    assert shop.job.status is Status.FAILED
    assert "budget=79 does not buy first=2 answers about each of 40 images; give at least 80" in (
        shop.job.reason
    )


def test_images_that_all_agree_about_are_asked_about_once() -> None:
    shop = Shop(30, workers_per_object=5, redundancy="first=3 error=0.05")
    shop.start().finish(lambda _worker, number: CLASSES[number % 3], CROWD)
    told = json.loads(shop.tree()[SAVED])
    assert told["rounds"] == []
    assert told["answers"] == 90
    least, most = told["error_range"]
    assert least < told["expected_error"] < most


def test_a_worker_who_cannot_be_had_does_not_keep_the_job_from_ending() -> None:
    shop = Shop(12, workers_per_object=5, redundancy="first=2 error=0", availability_seconds=600)
    shop.start()
    for _ in range(400):
        if shop.job.status.ended:
            break
        for worker in CROWD[:2]:
            while task := shop.board.lease(shop.spec.key, worker):
                shop.say(task, opinion(0.5)(worker, task.object))
        shop.clock.pass_seconds(120)
        shop.turn()
    assert shop.job.status is Status.COMPLETED
    assert shop.board.counters(shop.spec.key) == Counters(human_labeled=12)


def test_an_image_that_a_few_decline_is_given_to_others() -> None:
    shop = Shop(10, workers_per_object=5, redundancy="first=2 error=0.05", consensus="majority").start()
    for worker in CROWD[:4]:
        while task := shop.board.lease(shop.spec.key, worker):
            shop.board.decline(task.lease)
    shop.finish(lambda _worker, number: CLASSES[number % 3], CROWD)
    assert shop.board.counters(shop.spec.key) == Counters(human_labeled=10)
    assert json.loads(shop.tree()[SAVED])["answers"] == 20


def test_an_image_that_as_many_decline_as_could_answer_it_fails() -> None:
    shop = Shop(10, workers_per_object=5, redundancy="first=2 error=0.05").start()
    for worker in CROWD[:5]:
        while task := shop.board.lease(shop.spec.key, worker):
            shop.board.decline(task.lease)
    assert shop.turn().board.counters(shop.spec.key) == Counters(failed=10)
    assert shop.job.status is Status.COMPLETED


def test_a_stopped_job_keeps_its_labels_and_tells_what_was_saved() -> None:
    shop = Shop(40, workers_per_object=5, redundancy="first=2").start()
    for worker in CROWD[:2]:
        while task := shop.board.lease(shop.spec.key, worker):
            shop.say(task, opinion()(worker, task.object))
    shop.turn()
    shop.board.stop(shop.spec.key)
    shop.turn()
    assert shop.job.status is Status.STOPPED
    told = json.loads(shop.tree()[SAVED])
    assert told["answers"] == 20
    assert sum(b'"bin":' in line for line in shop.tree()[OUTPUT].splitlines()) == 10


@pytest.mark.parametrize("method", ["aws", "majority", "auto"])
def test_any_way_to_consolidate_can_ask_for_more(method: str) -> None:
    shop = Shop(30, workers_per_object=3, redundancy="first=2 error=0.02", consensus=method)
    told = run(shop)
    assert 60 < told["answers"] < 90
    # What is expected in the end is not what was before the last answers.
    assert told["expected_error"] < told["rounds"][-1]["expected_error"]


def test_several_classes_per_image_are_asked_about_where_one_is_in_doubt() -> None:

    shop = Shop(20, kind=Kind.MULTI, workers_per_object=4, redundancy="first=2 error=0.02").start()
    while not shop.job.status.ended:
        shop.turn()
        for worker in CROWD:
            while task := shop.board.lease(shop.spec.key, worker):
                picked = {CLASSES[task.object % 3], opinion(0.7)(worker, task.object)}
                shop.board.submit(task.lease, {Kind.MULTI.value: {"labels": sorted(picked)}})
    told = json.loads(shop.tree()[SAVED])
    assert 40 < told["answers"] < 80
    assert told["rounds"]
    assert told["error_range"] is None


def test_that_any_of_several_classes_is_wrong_is_likelier_than_that_one_is() -> None:
    job = Shop(2, kind=Kind.MULTI, consensus="majority").start().job
    three = tuple((name, frozenset({place})) for place, name in enumerate(("ann", "bob", "joe")))
    made = verdict(job, {0: three, 1: tuple((name, frozenset({0})) for name, _ in three)})
    assert made.error == pytest.approx([1 - (2 / 3) ** 3, 0], abs=0.01)
    assert made.posterior[:, 1] == pytest.approx([1 / 3, 0], abs=0.01)
    asked = Redundancy(first=2, most=5, error=0.3).ask(made.votes, made.posterior, error=made.error)
    assert asked.more.tolist() == [1, 0]
    assert asked.expected_error == pytest.approx(made.error.mean())


def test_power_cuts_change_neither_the_labels_nor_who_was_asked() -> None:
    def done(cut: int) -> Shop:
        bucket, store = Bucket(), Store()
        bucket.cut_before = cut
        shop = Shop(
            12,
            bucket=bucket,
            store=store,
            workers_per_object=4,
            redundancy="first=2 error=0.03",
            consensus="wawa",
        )
        shop.board.create_job(shop.spec)
        for _ in range(60):
            try:
                shop.finish(opinion(), CROWD)
            except PowerCut:
                bucket.cut_before = -1
                later = Shop(12, bucket=bucket, store=store)
                later.spec, shop = shop.spec, later
                continue
            return shop
        raise AssertionError("it never ended")

    whole = done(-1)
    wanted = {name: whole.tree()[name] for name in (OUTPUT, SAVED)}
    for cut in range(1, whole.bucket.writes + 1, 4):
        shop = done(cut)
        assert {name: shop.tree()[name] for name in wanted} == wanted, cut
        told = saving(shop.store, shop.job)
        assert told is not None
        assert told.answers == json.loads(wanted[SAVED])["answers"]
