"""Our own Ground Truth: what it promises to workers, to owners of jobs, and in a power cut."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from engine_parts import CLASS_LIST, CLASSES, KEY, MANIFEST, START, Bucket, PowerCut, Shop, answer
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select

from gtlabel.engine.jobs import Counters, Kind, Receipt, Status
from gtlabel.engine.ledger import Line
from gtlabel.engine.output import EXPIRED, manifest_line, members
from gtlabel.engine.schema import answers, jobs, leases
from gtlabel.engine.store import Store
from gtlabel.errors import AnswerError, JobNameTakenError, JobNotFoundError, LeaseError
from gtlabel.uris import S3Uri

# ---- workers ---------------------------------------------------------------------------------------------


def test_every_image_gets_its_number_of_answers_each_from_someone_else() -> None:
    shop = Shop(25).start().finish(workers=("ann", "bob", "eve", "kim", "lee"))
    with shop.store.read() as connection:
        rows = connection.execute(select(answers.c.object, answers.c.worker)).all()
    assert Counter(row.object for row in rows) == dict.fromkeys(range(25), 3)
    assert len(set(rows)) == 75
    assert shop.board.counters(KEY) == Counters(human_labeled=25)


def test_a_worker_never_sees_an_image_twice_and_no_more_workers_than_wanted_see_it() -> None:
    shop = Shop(1, workers_per_object=2).start()
    first = shop.lease("ann")
    assert shop.board.lease(KEY, "ann") is None
    shop.say(first)
    assert shop.board.lease(KEY, "ann") is None
    shop.lease("bob")
    assert shop.board.lease(KEY, "eve") is None


def test_a_lease_that_runs_out_gives_its_place_to_others() -> None:
    shop = Shop(1, workers_per_object=1, task_seconds=30).start()
    shop.lease("ann")
    shop.clock.pass_seconds(29)
    assert shop.board.lease(KEY, "bob") is None
    shop.clock.pass_seconds(1)
    shop.lease("bob")


def test_a_late_answer_is_taken_while_its_place_is_free() -> None:
    shop = Shop(1, workers_per_object=1, task_seconds=30).start()
    task = shop.lease("ann")
    shop.clock.pass_seconds(31)
    assert shop.board.expire()
    shop.say(task)
    assert shop.turn().job.status is Status.COMPLETED


def test_a_late_answer_is_kept_as_a_surplus_one_once_its_place_is_taken() -> None:
    shop = Shop(1, workers_per_object=1, task_seconds=30).start()
    late = shop.lease("ann")
    shop.clock.pass_seconds(31)
    shop.say(shop.lease("bob"), "Recycle")
    assert shop.board.submit(late.lease, answer("Compost")) is Receipt.SURPLUS
    assert shop.board.submit(late.lease, answer("Compost")) is Receipt.SURPLUS
    assert shop.turn().records()[0]["bin-metadata"]["class-name"] == "Recycle"


def test_a_worker_who_took_an_image_again_is_counted_once() -> None:
    shop = Shop(1, workers_per_object=2, task_seconds=30).start()
    forgotten = shop.lease("ann")
    shop.clock.pass_seconds(31)
    shop.say(shop.lease("ann"))
    assert shop.board.submit(forgotten.lease, answer("Compost")) is Receipt.SURPLUS
    assert shop.board.counters(KEY) == Counters(unlabeled=1)


def test_a_surplus_answer_takes_the_next_place_that_gets_free() -> None:
    shop = Shop(1, workers_per_object=1, task_seconds=30).start()
    late = shop.lease("ann")
    shop.clock.pass_seconds(31)
    taken = shop.lease("bob")
    assert shop.board.submit(late.lease, answer("Compost")) is Receipt.SURPLUS
    shop.board.release(taken.lease)
    assert shop.board.lease(KEY, "eve") is None
    assert shop.turn().records()[0]["bin-metadata"]["class-name"] == "Compost"


def test_an_answer_counts_once_however_often_it_is_submitted() -> None:
    shop = Shop(1, workers_per_object=1).start()
    task = shop.lease()
    receipts = [shop.board.submit(task.lease, answer("Compost")) for _ in range(3)]
    assert receipts == [Receipt.TAKEN, Receipt.KNOWN, Receipt.KNOWN]
    assert shop.turn().records()[0]["bin-metadata"]["class-name"] == "Compost"


def test_another_answer_to_the_same_task_is_refused_and_the_first_one_stands() -> None:
    shop = Shop(1, workers_per_object=1).start()
    task = shop.lease()
    shop.say(task, "Compost")
    with pytest.raises(LeaseError, match="answered before, and differently; the first answer stands"):
        shop.say(task, "Landfill")
    assert shop.turn().records()[0]["bin-metadata"]["class-name"] == "Compost"


def test_a_declined_image_never_comes_back_to_the_same_worker() -> None:
    shop = Shop(1).start()
    shop.board.decline(shop.lease("ann").lease)
    assert shop.board.lease(KEY, "ann") is None
    shop.lease("bob")


def test_an_image_that_as_many_decline_as_were_to_answer_fails() -> None:
    shop = Shop(1, workers_per_object=2).start()
    for worker in ("ann", "bob"):
        shop.board.decline(shop.lease(worker).lease)
    assert shop.board.lease(KEY, "eve") is None
    assert shop.turn().job.status is Status.COMPLETED
    assert shop.board.counters(KEY) == Counters(failed=1)


def test_one_answer_is_enough_when_too_many_others_decline() -> None:
    shop = Shop(1, workers_per_object=2).start()
    shop.say(shop.lease("ann"), "Recycle")
    for worker in ("bob", "eve"):
        shop.board.decline(shop.lease(worker).lease)
    (record,) = shop.turn().records()
    assert record["bin-metadata"]["class-name"] == "Recycle"


def test_whoever_holds_an_image_may_finish_although_others_declined() -> None:
    shop = Shop(1, workers_per_object=2).start()
    task = shop.lease("ann")
    for worker in ("bob", "eve"):
        shop.board.decline(shop.lease(worker).lease)
    assert shop.turn().board.counters(KEY) == Counters(unlabeled=1)
    shop.say(task)
    assert shop.turn().board.counters(KEY) == Counters(human_labeled=1)


def test_a_released_image_may_come_back_to_the_same_worker() -> None:
    shop = Shop(1).start()
    task = shop.lease("ann")
    shop.board.release(task.lease)
    assert shop.lease("ann").object == task.object
    with pytest.raises(LeaseError, match="was released before"):
        shop.say(task)


def test_a_heartbeat_gives_time_and_eight_hours_are_the_end_of_it() -> None:
    shop = Shop(1, task_seconds=3600).start()
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
def test_what_is_no_answer_is_refused_and_the_task_stays(said: dict[str, Any], sentence: str) -> None:
    shop = Shop(1).start()
    task = shop.lease()
    with pytest.raises(AnswerError, match=re.escape(sentence)):
        shop.board.submit(task.lease, said)
    shop.say(task)


def test_a_lease_that_nobody_was_given_cannot_be_answered() -> None:
    with pytest.raises(LeaseError, match="there is no lease 'lease-99'; ask for a new task"):
        Shop(1).start().board.submit("lease-99", answer("Compost"))


@pytest.mark.parametrize(("seconds", "kept"), [(40.5431, 40.543), (999.0, 60.0), (None, 60.0)])
def test_active_time_is_what_the_page_says_and_never_more_than_has_passed(
    seconds: float | None, kept: float
) -> None:
    shop = Shop(1, workers_per_object=1).start()
    task = shop.lease()
    shop.clock.pass_seconds(60)
    shop.board.submit(task.lease, answer("Compost"), seconds)
    (response,) = (body for name, body in shop.turn().tree().items() if "worker-response" in name)
    assert json.loads(response)["answers"][0]["timeSpentInSeconds"] == kept


def test_many_workers_at_once_leave_exactly_three_answers_and_no_place_open(tmp_path: Path) -> None:
    shop = Shop(60, store=Store(f"sqlite:///{tmp_path / 'engine'}")).start()
    at_the_desk = threading.Lock()

    def work(number: int) -> None:
        moods = random.Random(number)
        while not shop.job.status.ended:
            task = shop.board.lease(KEY, f"worker-{number % 6}")
            if task is None:
                with at_the_desk:
                    shop.turn()
            elif moods.random() < 0.1:
                shop.board.release(task.lease)
            else:
                shop.say(task, moods.choice(CLASSES))

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(12)))
    with shop.store.read() as connection:
        rows = connection.execute(select(answers.c.object, answers.c.worker)).all()
        live = connection.execute(select(leases).where(leases.c.state == "leased")).all()
    assert Counter(row.object for row in rows) == dict.fromkeys(range(60), 3)
    assert len(set(rows)) == 180
    assert live == []


# ---- jobs ------------------------------------------------------------------------------------------------


def test_a_name_is_taken_in_every_letter_case() -> None:
    shop = Shop().start()
    with pytest.raises(JobNameTakenError):
        shop.board.create_job(shop.spec)
    assert shop.board.job(type(KEY)(KEY.account, KEY.region, "bins-1")).key == KEY
    with pytest.raises(JobNotFoundError):
        shop.board.job(type(KEY)(KEY.account, "eu-west-1", "Bins-1"))


def test_the_first_iteration_tries_ten_images_from_all_over_the_manifest() -> None:
    shop = Shop(100).start()
    probes = _sent(shop, 1)
    assert len(probes) == 10
    assert probes != list(range(10))
    assert shop.finish().job.iteration == 2
    assert sorted(probes + _sent(shop, 2)) == list(range(100))


def test_never_more_images_are_out_than_the_job_allows() -> None:
    shop = Shop(30, max_concurrent=8).start().finish()
    assert [len(_sent(shop, n)) for n in range(1, 5)] == [8, 8, 8, 6]


@pytest.mark.parametrize(("condition", "labeled"), [({"max_labeled": 12}, 12), ({"max_percentage": 30}, 9)])
def test_a_stopping_condition_ends_the_job_at_exactly_its_number(
    condition: dict[str, Any], labeled: int
) -> None:
    shop = Shop(30, **condition).start().finish()
    assert shop.job.status is Status.STOPPED
    assert sum("bin" in record for record in shop.records()) == labeled
    assert shop.board.counters(KEY) == Counters(human_labeled=labeled, unlabeled=30 - labeled)


def test_an_image_that_nobody_finished_in_time_fails_with_the_words_of_aws() -> None:
    shop = Shop(1, availability_seconds=3600, task_seconds=60).start()
    shop.lease()
    shop.clock.pass_seconds(3600)
    assert shop.board.lease(KEY, "bob") is None
    assert shop.turn().job.status is Status.COMPLETED
    (line,) = shop.output()
    failure = {"retry-count": 1, "failure-reason": EXPIRED, "human-annotated": "true"}
    expected = {"source-ref": "s3://trash/images/0.jpg", "bin-metadata": failure}
    assert line == json.dumps(expected, separators=(",", ":")).encode()
    assert not any("worker-response" in name or "consolidation" in name for name in shop.tree())


def test_an_image_with_some_answers_is_labeled_from_them_when_its_time_is_up() -> None:
    shop = Shop(1, availability_seconds=3600).start()
    shop.say(shop.lease(), "Landfill")
    shop.clock.pass_seconds(3600)
    (record,) = shop.turn().records()
    assert record["bin-metadata"]["class-name"] == "Landfill"


def test_a_stopped_job_writes_what_is_done_and_leaves_other_lines_as_they_were() -> None:
    lines = [f'{{"source-ref": "s3://trash/{n}.jpg", "weight": 1.50}}' for n in range(12)]
    shop = Shop(lines, workers_per_object=2).start()
    done, half, held = shop.lease("ann"), shop.lease("ann"), shop.lease("ann")
    shop.say(done)
    shop.say(half, "Recycle")
    other = shop.lease("bob")
    assert other.object == done.object
    shop.say(other)
    assert shop.board.stop(KEY)
    assert shop.job.status is Status.STOPPING
    with pytest.raises(LeaseError, match="'Bins-1' is Stopping and takes no more answers"):
        shop.board.heartbeat(held.lease)
    assert shop.board.submit(held.lease, answer("Compost")) is Receipt.SURPLUS
    assert shop.turn().job.status is Status.STOPPED
    labeled = {number for number, record in enumerate(shop.records()) if "bin" in record}
    assert labeled == {done.object, half.object}
    for number, line in enumerate(shop.output()):
        assert number in labeled or line == lines[number].encode()
    assert shop.board.counters(KEY) == Counters(human_labeled=2, unlabeled=10)
    assert shop.tree()["manifests/intermediate/1/output.manifest"] == b"\n".join(shop.output()) + b"\n"
    assert not shop.board.stop(KEY)


def test_a_job_stopped_before_its_manifest_was_read_ends_without_output() -> None:
    shop = Shop()
    shop.board.create_job(shop.spec)
    shop.board.stop(KEY)
    assert shop.turn().job.status is Status.STOPPED
    assert shop.tree() == {}


def test_answers_that_wait_long_are_consolidated_before_the_slowest_worker_is_done() -> None:
    shop = Shop(2, workers_per_object=1).start()
    shop.say(shop.lease("ann"))
    shop.lease("bob")
    shop.turn()
    assert not any("consolidation" in name for name in shop.tree())
    shop.clock.pass_seconds(60)
    shop.turn()
    assert sum("consolidation-request" in name for name in shop.tree()) == 1


def test_batches_hold_at_most_fifty_images_and_never_share_a_file_name() -> None:
    shop = Shop(130).start().finish()
    sizes = {
        name: len(json.loads(body)) for name, body in shop.tree().items() if "consolidation-response" in name
    }
    assert sorted(sizes.values()) == [10, 20, 50, 50]


def test_several_labels_per_image_are_written_as_aws_writes_them() -> None:
    shop = Shop(1, kind=Kind.MULTI, workers_per_object=2).start()
    for worker, names in (("ann", ["Recycle"]), ("bob", ["Compost", "Recycle"])):
        task = shop.lease(worker)
        shop.board.submit(task.lease, {"crowd-image-classifier-multi-select": {"labels": names}})
    (record,) = shop.turn().records()
    assert record["bin"] == [2, 0]
    about = record["bin-metadata"]
    assert list(about) == [
        "job-name", "class-map", "human-annotated", "creation-date", "confidence-map", "type"
    ]  # fmt: skip
    assert about["class-map"] == {"2": "Recycle", "0": "Compost"}
    assert about["type"] == "groundtruth/image-classification-multilabel"
    assert about["confidence-map"]["2"] > about["confidence-map"]["0"]


# ---- manifests -------------------------------------------------------------------------------------------

GOOD = '{"source-ref":"s3://trash/1.jpg"}'


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{'source-ref'}", "it is not JSON: Expecting property name enclosed in double quotes at column 2"),
        ('["s3://trash/1.jpg"]', "it is not a JSON object"),
        ('{"source":"hello"}', 'it has no "source-ref" with the address of an image'),
        ('{"source-ref":7}', 'it has no "source-ref" with the address of an image'),
        ('{"source-ref":"/tmp/1.jpg"}', "'/tmp/1.jpg' is not an S3 address; write it as s3://bucket/key"),
        (
            '{"source-ref":"s3://trash/1.jpg","$id":1}',
            "the attribute '$id' starts with '$', which is reserved",
        ),
        ('{"source-ref":"s3://trash/1.jpg","w":NaN}', "it is not JSON: NaN is no number there"),
        (
            f'{{"source-ref":"s3://t/{"x" * 100_000}"}}',
            "it has 100024 characters; at most 100000 are allowed",
        ),
        (
            f'{{"source-ref":"s3://trash/1.jpg","note":"{"x" * 20_000}"}}',
            "the attribute 'note' has more than 20000 characters",
        ),
        ('{"a":' * 9999 + "1" + "}" * 9999, "it is nested too deeply"),
    ],
)
def test_a_line_that_is_no_record_fails_the_job_by_its_number(line: str, reason: str) -> None:
    shop = Shop([GOOD, "", line, GOOD]).start()
    assert shop.job.status is Status.FAILED
    assert shop.job.reason == f"ClientError: {MANIFEST}, line 3: {reason}"
    assert shop.tree() == {}
    assert shop.board.counters(KEY) == Counters()


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("[", f"{CLASS_LIST} is not JSON: Expecting value: line 1 column 2 (char 1)"),
        ("{}", f'{CLASS_LIST} holds no list "labels"; see LabelCategoryConfigS3Uri'),
        ('{"labels":[{"label":"a"}]}', f"{CLASS_LIST} has 1 of the 2 classes that a choice needs at least"),
        (
            '{"labels":[{"label":"a"},{"label":"b"},{"label":"a"}]}',
            f"{CLASS_LIST}, labels[2]: 'a' is there twice; classes are unique",
        ),
        (
            '{"labels":[{"label":"a"},{"name":"b"}]}',
            f'{CLASS_LIST}, labels[1]: "label" is no name of 1 to 256 characters',
        ),
    ],
)
def test_classes_that_images_cannot_be_sorted_by_fail_the_job(document: str, reason: str) -> None:
    bucket = Bucket()
    bucket.files[CLASS_LIST.key] = document.encode()
    shop = Shop(bucket=bucket).start()
    assert (shop.job.status, shop.job.reason) == (Status.FAILED, f"ClientError: {reason}")


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"manifest": S3Uri("s3://trash/gone")}, "there is nothing at s3://trash/gone"),
        ({"manifest": S3Uri("s3://elsewhere/m")}, "the bucket 'elsewhere' does not exist"),
        ({"output": S3Uri("s3://elsewhere/")}, "the bucket 'elsewhere' does not exist"),
        ({"template": S3Uri("s3://trash/gone")}, "there is nothing at s3://trash/gone"),
        ({"template": CLASS_LIST}, f"{CLASS_LIST} holds no <crowd-image-classifier>"),
    ],
)
def test_what_cannot_be_read_or_written_fails_the_job_with_its_address(
    spec: dict[str, Any], reason: str
) -> None:
    job = Shop(**spec).start().job
    assert job.status is Status.FAILED
    assert job.reason.startswith(f"ClientError: {reason}")


def test_an_empty_manifest_fails_the_job() -> None:
    job = Shop(["", "  "]).start().job
    assert job.reason == f"ClientError: {MANIFEST} has no lines; there is nothing to label"


def test_a_chained_job_labels_only_what_has_no_label_yet() -> None:
    first = Shop(12, max_labeled=5).start().finish()
    bucket = Bucket()
    bucket.files[MANIFEST.key] = b"\n".join(first.output())
    second = Shop(bucket=bucket, key=KEY).start()
    assert second.board.counters(KEY) == Counters(unlabeled=7)
    second.finish()
    assert second.job.status is Status.COMPLETED
    for before, after in zip(first.output(), second.output(), strict=True):
        assert before == after if b'"bin"' in before else b'"bin"' in after


def test_an_image_that_failed_before_is_labeled_anew_without_its_old_failure() -> None:
    failed = '{"a":1,"bin-metadata":{"retry-count":1},"source-ref":"s3://trash/1.jpg"}'
    (line,) = Shop([failed]).start().finish().output()
    assert line.startswith(b'{"a":1,"source-ref":"s3://trash/1.jpg","bin":0,"bin-metadata":{"confidence":')


_NUMBERS = st.sampled_from(["0", "-0", "1.50", "1e5", "1E+05", "-12.000", "123456789012345678901234567890"])
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_STRINGS = st.tuples(_TEXTS, st.booleans()).map(lambda pair: json.dumps(pair[0], ensure_ascii=pair[1]))
_SPACE = st.sampled_from(["", "", " ", "\t", "  "])


def _objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    member = st.tuples(_SPACE, _STRINGS, _SPACE, _SPACE, values, _SPACE).map(
        lambda parts: f"{parts[0]}{parts[1]}{parts[2]}:{parts[3]}{parts[4]}{parts[5]}"
    )
    return st.lists(member, min_size=1, max_size=4).map(lambda all_of_it: "{" + ",".join(all_of_it) + "}")


_VALUES = st.recursive(
    st.one_of(_NUMBERS, _STRINGS, st.sampled_from(["true", "null"])),
    lambda inner: st.one_of(
        _objects(inner), st.lists(inner, max_size=3).map(lambda items: "[" + " , ".join(items) + "]")
    ),
    max_leaves=6,
)


@given(_objects(_VALUES))
@settings(max_examples=150, deadline=None)
def test_a_label_changes_nothing_else_in_a_line(text: str) -> None:
    own = ("bin", "bin-metadata")
    labeled = manifest_line("bin", Line(0, text, "labeled", "2", '{"confidence":0.9}')).decode()
    kept = [member for name, member in members(text) if name not in own]
    assert labeled == "{" + ",".join([*kept, '"bin":2', '"bin-metadata":{"confidence":0.9}']) + "}"
    # Token for token what came in, without the white space between tokens.
    tokens = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s"]')
    everything = [token for _, member in members(text) for token in tokens.findall(member)]
    separators = len(list(members(text))) - 1
    assert Counter(everything) + Counter([","] * separators) + Counter("{}") == Counter(tokens.findall(text))
    pairs = json.loads(text, object_pairs_hook=list)
    assert json.loads(labeled, object_pairs_hook=list)[:-2] == [pair for pair in pairs if pair[0] not in own]
    assert manifest_line("bin", Line(0, text, "waiting", None, None)) == text.encode()


# ---- power cuts ------------------------------------------------------------------------------------------


SMALL: dict[str, Any] = {"lines": 5, "max_concurrent": 3, "workers_per_object": 1}


def test_a_power_cut_at_any_write_leaves_the_same_tree_in_the_end() -> None:
    uninterrupted = dict(Shop(**SMALL).start().finish().tree())
    writes = len(uninterrupted) + 1  # the intermediate manifest is written twice
    for number in range(1, writes + 1):
        for cut in ("cut_before", "cut_after"):
            bucket = Bucket()
            setattr(bucket, cut, number)
            before = Shop(bucket=bucket, **SMALL)
            with pytest.raises(PowerCut):
                before.start().finish()
            # Whoever sees an output manifest sees a whole one.
            output = bucket.files.get("out/Bins-1/manifests/output/output.manifest", b"\n" * 5)
            assert output.count(b"\n") == 5
            after = Shop(bucket=bucket, store=before.store, **SMALL).finish()
            assert after.job.status is Status.COMPLETED
            assert dict(after.tree()) == uninterrupted


def test_an_interrupted_reading_of_the_manifest_starts_over() -> None:
    shop = Shop(2500, workers_per_object=1)
    shop.board.create_job(shop.spec)
    shop.bucket.cut_lines = 1500
    with pytest.raises(PowerCut):
        shop.foreman.turn()
    assert shop.board.counters(KEY) == Counters()
    shop.bucket.cut_lines = None
    assert shop.turn().board.counters(KEY) == Counters(unlabeled=2500)


def test_what_was_acknowledged_survives_a_killed_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'engine'}"
    Shop(10, store=Store(url), workers_per_object=1).start().store.close()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer_and_tell, args=(url, theirs))
    process.start()
    acknowledged = {ours.recv() for _ in range(5)}
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    with Store(url).read() as connection:
        kept = set(connection.execute(select(answers.c.lease)).scalars())
    assert acknowledged <= kept


def _answer_and_tell(url: str, pipe: Any) -> None:
    shop = Shop(store=Store(url))
    while task := shop.board.lease(KEY, "ann"):
        shop.say(task)
        pipe.send(task.lease)
    threading.Event().wait()


def test_a_write_that_fails_takes_nothing_of_the_others_with_it(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'engine'}")
    row = {"account": "1", "region": "r", "spec": "{}", "status": "Failed", "created": 0, "modified": 0}

    def add(number: int) -> str:
        def work(connection: Any) -> None:
            connection.execute(insert(jobs).values(name=f"n{number}", folded=f"n{number}", **row))
            if number % 3 == 0:
                raise LeaseError("no")

        try:
            store.write(work)
        except LeaseError:
            return "failed"
        return "written"

    with ThreadPoolExecutor(8) as pool:
        outcome = Counter(pool.map(add, range(60)))
    assert outcome == {"failed": 20, "written": 40}
    with store.read() as connection:
        assert len(connection.execute(select(jobs.c.id)).all()) == 40


def _sent(shop: Shop, iteration: int) -> list[int]:
    body = shop.tree()[f"annotations/intermediate/{iteration}/annotations.json"]
    return [int(json.loads(line)["datasetObjectId"]) for line in body.splitlines()]
