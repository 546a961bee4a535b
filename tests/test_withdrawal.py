"""A worker's answers taken out of a job: on record, counting no more, and what was made of them made anew."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from automation_parts import report, work
from automation_parts import shop as automated
from engine_parts import CLASSES, KEY, Bucket, Shop, answer
from sqlalchemy import func, select
from visitor_parts import Premises, Visitor

from gtlabel.engine.crew import Worker
from gtlabel.engine.holding import Holding
from gtlabel.engine.jobs import Counters, Receipt, Status, Task
from gtlabel.engine.output import worker_id
from gtlabel.engine.schema import answers
from gtlabel.errors import LeaseError, WorkerNotAdmittedError
from gtlabel.labeling.answered import read_answered

OUTPUT = "manifests/output/output.manifest"


def truth(_worker: str, number: int) -> str:
    return CLASSES[number % 3]


def liar(worker: str, number: int) -> str:
    """Eve says the next class; everybody else the truth."""
    return CLASSES[(number + (worker == "eve")) % 3]


def lines(shop: Shop) -> list[dict[str, Any]]:
    return [json.loads(line) for line in shop.tree()[OUTPUT].splitlines()]


def answer_all(shop: Shop, *workers: str) -> None:
    for worker in workers:
        while task := shop.board.lease(KEY, worker):
            shop.say(task, liar(worker, task.object))


@pytest.mark.parametrize("consensus", ["auto", "aws"])
def test_the_answers_of_others_take_their_places_and_make_the_labels(consensus: str) -> None:
    shop = Shop(12, workers_per_object=1, consensus=consensus).start()
    answer_all(shop, "eve")
    assert len(shop.board.withdraw_worker(KEY, "eve")) == 10
    shop.finish(truth, ("ann", "bob"))
    assert [line["bin"] for line in lines(shop)] == [number % 3 for number in range(12)]


def test_they_stay_on_record_and_their_worker_gets_nothing_more() -> None:
    shop = Shop(10).start()
    answer_all(shop, "eve")
    assert len(shop.board.withdraw_worker(KEY, "eve")) == 10
    with shop.store.read() as connection:
        assert connection.execute(select(func.count()).select_from(answers)).scalar_one() == 10
    with pytest.raises(WorkerNotAdmittedError, match="were withdrawn"):
        shop.board.lease(KEY, "eve")
    shop.finish(liar, ("ann", "bob", "joe"))
    assert [line["bin"] for line in lines(shop)] == [number % 3 for number in range(10)]
    said = [body for name, body in shop.tree().items() if name.startswith("annotations/worker-response/")]
    assert {len(json.loads(body)["answers"]) for body in said} == {3}


def test_labels_that_were_made_are_made_again() -> None:
    shop = Shop(30, workers_per_object=2).start()
    answer_all(shop, "ann", "eve")
    shop.turn()
    assert shop.board.counters(KEY) == Counters(human_labeled=10, unlabeled=20)
    assert len(shop.board.withdraw_worker(KEY, "eve")) == 10
    assert shop.board.counters(KEY) == Counters(human_labeled=0, unlabeled=30)
    shop.finish(liar, ("ann", "bob"))
    assert [line["bin"] for line in lines(shop)] == [number % 3 for number in range(30)]


def test_a_process_that_takes_over_knows_nobody_where_all_that_was_labeled_is_asked_again() -> None:
    def made(*, anew: bool) -> dict[str, bytes]:
        shop = Shop(55, workers_per_object=3, max_concurrent=10).start()
        for _ in range(4):
            answer_all(shop, "ann", "bob", "eve")
            shop.turn()
        assert len(shop.board.withdraw_worker(KEY, "eve")) == 40
        if anew:
            shop.foreman.forget()
        return dict(shop.finish(liar, ("ann", "bob", "joe")).tree())

    taken_over = made(anew=True)
    assert made(anew=False) == taken_over
    assert [json.loads(line)["bin"] for line in taken_over[OUTPUT].splitlines()] == [
        number % 3 for number in range(55)
    ]


def test_what_they_have_in_hands_goes_back_and_counts_no_more_when_it_comes() -> None:
    shop = Shop(10, workers_per_object=1).start()
    task = shop.lease("eve")
    assert shop.board.withdraw_worker(KEY, "eve") == []
    assert shop.board.submit(task.lease, answer("Compost")) is Receipt.SURPLUS
    shop.finish(truth, ("ann",))
    assert [line["bin"] for line in lines(shop)] == [number % 3 for number in range(10)]


def test_an_answer_sent_twice_is_known_although_it_was_withdrawn() -> None:
    shop = Shop(10).start()
    task = shop.lease("eve")
    shop.say(task)
    shop.board.withdraw_worker(KEY, "eve")
    assert shop.board.submit(task.lease, answer("Compost")) is Receipt.KNOWN
    assert shop.board.step(task.lease, answer("Compost")) is None


def test_doing_it_twice_changes_nothing_more() -> None:
    shop = Shop(10).start()
    answer_all(shop, "eve")
    assert len(shop.board.withdraw_worker(KEY, "eve")) == 10
    assert shop.board.withdraw_worker(KEY, "eve") == []


def test_an_answer_that_may_still_be_changed_is_withdrawn_too() -> None:
    shop = Shop(10, workers_per_object=1).start()
    task = shop.lease("eve")
    Holding(shop.board).submit_soon(task.lease, answer("Compost")).result()
    assert shop.board.withdraw_worker(KEY, "eve") == [task.object]
    shop.finish(truth, ("ann",))
    assert [line["bin"] for line in lines(shop)] == [number % 3 for number in range(10)]


def test_a_stopped_job_keeps_no_label_that_nobody_stands_behind() -> None:
    shop = Shop(30, workers_per_object=1).start()
    answer_all(shop, "eve")
    shop.turn()
    shop.board.withdraw_worker(KEY, "eve")
    shop.board.stop(KEY)
    shop.turn()
    assert shop.job.status is Status.STOPPED
    assert not any("bin" in line for line in lines(shop))


class Meddled(Bucket):
    """A bucket on which something happens once, when a file is written whose name has a part."""

    meddle: Callable[[], object] | None = None
    part = OUTPUT

    def put_object(self, Bucket: str, Key: str, Body: bytes, **more: Any) -> None:  # noqa: N803
        super().put_object(Bucket, Key, Body, **more)
        if self.part in Key and self.meddle is not None:
            meddle, self.meddle = self.meddle, None
            meddle()


def test_a_job_whose_answers_are_withdrawn_while_it_writes_its_last_files_goes_on() -> None:
    bucket = Meddled()
    shop = Shop(10, workers_per_object=2, bucket=bucket).start()
    bucket.meddle = lambda: shop.board.withdraw_worker(KEY, "eve")
    answer_all(shop, "ann", "eve")
    shop.turn()
    assert shop.job.status is Status.IN_PROGRESS
    shop.finish(liar, ("ann", "bob"))
    assert [line["bin"] for line in lines(shop)] == [number % 3 for number in range(10)]
    assert json.loads(shop.tree()["gtlabel/withdrawn.json"])["workers"] == [worker_id(KEY, "eve")]


@pytest.mark.parametrize("stopped", [False, True])
def test_no_label_is_kept_whose_answers_are_withdrawn_while_it_is_made(*, stopped: bool) -> None:
    bucket = Meddled()
    bucket.part = "/consolidation-response/"
    shop = Shop(30, workers_per_object=1, bucket=bucket).start()
    bucket.meddle = lambda: shop.board.withdraw_worker(KEY, "eve")
    answer_all(shop, "eve")
    shop.turn()
    if stopped:
        shop.board.stop(KEY)
        shop.turn()
        assert not any("bin" in line for line in lines(shop))
        return
    shop.finish(liar, ("ann",))
    assert [line["bin"] for line in lines(shop)] == [number % 3 for number in range(30)]


def test_a_job_that_more_are_asked_about_while_it_writes_its_last_files_goes_on() -> None:
    bucket = Meddled()
    shop = Shop(10, workers_per_object=1, bucket=bucket).start()
    bucket.meddle = lambda: shop.board.raise_need(KEY, range(10), 3)
    answer_all(shop, "eve")
    shop.turn()
    assert shop.job.status is Status.IN_PROGRESS
    shop.finish(liar, ("ann", "bob"))
    assert [line["bin"] for line in lines(shop)] == [number % 3 for number in range(10)]


def test_a_job_ends_although_nobody_can_answer_what_was_withdrawn_at_its_end() -> None:
    bucket = Meddled()
    shop = Shop(10, workers_per_object=1, bucket=bucket).start()
    bucket.meddle = lambda: shop.board.withdraw_worker(KEY, "eve")
    task = shop.lease("ann")
    shop.board.decline(task.lease)
    answer_all(shop, "eve")
    shop.turn()
    assert shop.job.status is Status.IN_PROGRESS
    shop.finish(liar, ("ann", "bob"))
    assert not any("bin" in line for line in lines(shop)[task.object : task.object + 1])


def test_it_is_refused_with_the_next_step_where_nobody_could_take_the_places() -> None:
    shop = Shop(10).start()
    with pytest.raises(LeaseError, match="'zoe' never had an image of the job 'Bins-1'"):
        shop.board.withdraw_worker(KEY, "zoe")
    shop.finish()
    with pytest.raises(LeaseError, match="quality reconsolidate Bins-1 --without"):
        shop.board.withdraw_worker(KEY, "eve")


def test_owners_withdraw_answers_and_see_whose(here: Premises, boss: Visitor, ana: Visitor) -> None:
    task = ana.lease(here.number)
    said = {"lease": task["lease"], "answer": answer("Compost")}
    assert ana.post("/api/submit", said).status == 200
    here.shop.clock.pass_seconds(60)
    here.shop.turn()
    path = f"/api/owner/jobs/{here.number}"
    assert [(one["name"], one["withdrawn"]) for one in boss.get(path).json["people"]] == [("ana", False)]
    for visitor, status in ((ana, 403), (Visitor(here.url), 401)):
        assert visitor.post(f"{path}/withdraw", {"worker": "ana"}).status == status
    assert boss.post(f"{path}/withdraw", {"worker": "ana"}, **{"X-Gtlabel": None}).status == 403
    missing = boss.post(f"{path}/withdraw", {"worker": "zoe"})
    assert (missing.status, "'zoe' never had an image" in missing.json["error"]) == (404, True)
    assert boss.post(f"{path}/withdraw", {"worker": "ana"}).json == {"withdrawn": 1}
    assert [one["withdrawn"] for one in boss.get(path).json["people"]] == [True]
    refused = ana.post("/api/lease", {"job": here.number})
    assert (refused.status, "were withdrawn" in refused.json["error"]) == (403, True)


def test_what_an_owner_looks_at_meanwhile_is_not_shown_afterwards(
    here: Premises, boss: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.shop.say(here.shop.lease(here.add("zara").sub))
    path, names = f"/api/owner/jobs/{here.number}", here.crew.workers
    read, done = threading.Event(), threading.Event()

    def slowly(**asked: Any) -> list[Worker]:
        """Names are looked up when a view was read; the first time, not before all is withdrawn."""
        if not read.is_set():
            read.set()
            assert done.wait(60)
            # What is read in no time is not kept for later.
            assert not threading.Event().wait(0.1)
        return names(**asked)

    monkeypatch.setattr(here.crew, "workers", slowly)
    looking = threading.Thread(target=boss.get, args=(path,))
    looking.start()
    assert read.wait(60)
    assert boss.post(f"{path}/withdraw", {"worker": "zara"}).json == {"withdrawn": 1}
    done.set()
    looking.join()
    shown = {one["name"]: one["withdrawn"] for one in boss.get(path).json["people"]}
    assert shown["zara"]


def test_who_reads_the_answers_later_is_told_whose_count_no_more(tmp_path: Path) -> None:
    shop = Shop(12, workers_per_object=2).start()
    answer_all(shop, "ann", "eve")
    shop.turn()
    shop.clock.pass_seconds(60)
    shop.board.withdraw_worker(KEY, "eve")
    shop.finish(liar, ("ann", "bob"))
    for name, body in shop.tree().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(body)
    found = read_answered(no_account, [str(tmp_path)])
    assert len(found.objects) == 24
    assert worker_id(KEY, "eve") not in found.workers
    assert any("10 answers" in note and "were withdrawn" in note for note in found.notes)


@pytest.mark.slow
def test_a_machine_forgets_what_it_learned_of_them() -> None:
    """Ann calls everything by another name, consistently, so that a machine learns just that."""
    opened = automated()
    opened.start()

    def wrong(task: Task) -> str:
        return CLASSES[(task.object + 1) % 3]

    work(opened, wrong, until=lambda each: each.board.counters(KEY).machine_labeled > 0)
    before = report(opened)
    assert before["promise"] is not None
    opened.board.withdraw_worker(KEY, "ann")
    assert opened.board.counters(KEY) == Counters(unlabeled=240)
    work(opened, worker="bob")
    assert [record["bin"] for record in opened.records()] == [number % 3 for number in range(240)]
    told = report(opened)
    assert told["rounds"][: len(before["rounds"])] == before["rounds"]
    assert [each["round"] for each in told["rounds"]] == list(range(1, len(told["rounds"]) + 1))
    assert told["machine_labeled"] > 0
    assert told["audit"]["holds"]
    assert told["people_labeled"] + told["machine_labeled"] == 240


def no_account() -> Any:
    raise AssertionError("a folder needs no account")
