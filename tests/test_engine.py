"""Our own Ground Truth: what it promises to workers, to owners of jobs, and in a power cut."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from engine_parts import CLASS_LIST, KEY, MANIFEST, Bucket, PowerCut, Shop, answer
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from gtlabel.engine.entries import Line
from gtlabel.engine.jobs import Counters, Kind, Receipt, Status
from gtlabel.engine.output import EXPIRED, manifest_line, members
from gtlabel.engine.schema import answers
from gtlabel.engine.store import Store
from gtlabel.errors import JobNameTakenError, JobNotFoundError, LeaseError
from gtlabel.uris import S3Uri

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


def _sent(shop: Shop, iteration: int) -> list[int]:
    body = shop.tree()[f"annotations/intermediate/{iteration}/annotations.json"]
    return [int(json.loads(line)["datasetObjectId"]) for line in body.splitlines()]
