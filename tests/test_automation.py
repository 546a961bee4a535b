"""Automated labeling in the engine: what it promises, what it leaves, and what a power cut cannot change."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from random import Random

import numpy as np
import pytest
from automation_parts import (
    IMAGES,
    LOOKS,
    Cuttable,
    by_machine,
    picture,
    report,
    right,
    seen_before,
    shop,
    work,
)
from edge_parts import tiny_network
from engine_parts import CLASSES, KEY, Bucket, PowerCut, Shop

from gtlabel.engine.automation import told
from gtlabel.engine.jobs import Counters, Status, Task
from gtlabel.engine.looks import Looks, keep, kept
from gtlabel.uris import S3Uri


@pytest.fixture(scope="module")
def done() -> Shop:
    """A job of pictures that are easy to tell apart, after all was done."""
    return work(_started(shop()))


def _started(opened: Shop) -> Shop:
    opened.board.create_job(opened.spec)
    return opened


def _annotated(opened: Shop) -> Iterator[tuple[str, int, dict[str, object]]]:
    """File, image and record of every line that a machine wrote."""
    for name, body in opened.tree().items():
        if name.endswith("/auto_annotator_output.txt"):
            for line in body.decode().splitlines():
                number, _, record = line.partition(" ")
                yield name, int(number), json.loads(record)


def test_a_machine_labels_what_people_need_not_look_at(done: Shop) -> None:
    machine = by_machine(done)
    assert done.job.status is Status.COMPLETED
    assert len(machine) > IMAGES / 4
    assert all(record["bin"] == number % 3 for number, record in machine.items())
    assert done.board.counters(KEY) == Counters(
        human_labeled=IMAGES - len(machine), machine_labeled=len(machine)
    )


def test_a_machine_s_label_says_so_and_looks_like_all_others_otherwise(done: Shop) -> None:
    machine = by_machine(done)
    people = {number: record for number, record in enumerate(done.records()) if number not in machine}
    number, record = next(iter(machine.items()))
    about = record["bin-metadata"]
    _, other = next(iter(people.items()))
    assert list(record) == list(other) == ["source-ref", "bin", "bin-metadata"]
    assert list(about) == list(other["bin-metadata"])
    assert about["class-name"] == CLASSES[number % 3]
    assert (about["human-annotated"], other["bin-metadata"]["human-annotated"]) == ("no", "yes")
    assert (about["job-name"], about["type"]) == ("labeling-job/bins-1", "groundtruth/image-classification")
    assert datetime.strptime(about["creation-date"], "%Y-%m-%dT%H:%M:%S.%f")
    assert 0 < about["confidence"] < 1


def test_machine_labels_lie_where_programs_that_know_ground_truth_look_for_them(done: Shop) -> None:
    found = list(_annotated(done))
    # An audited image had a machine's label first, and has people's in the end.
    audited = report(done)["audit"]["sample"]
    assert len(found) == len(by_machine(done)) + audited
    final = done.records()
    for name, number, record in found:
        folder, iteration, _, file = name.split("/")
        assert (folder, file) == ("activelearning", "auto_annotator_output.txt")
        assert 1 <= int(iteration) < done.job.iteration
        assert record["source-ref"] == final[number]["source-ref"]
        assert record in (final[number], {**final[number], "bin-metadata": record["bin-metadata"]})


def test_a_job_tells_what_it_promised_and_what_the_audit_found(done: Shop) -> None:
    said = report(done)
    assert said["promise"]["precision"] == 0.95
    assert said["promise"]["risk"] == 0.05
    assert said["audit"]["sample"] >= 10
    assert said["audit"]["wrong"] == 0
    assert said["audit"]["holds"] is True
    assert said["baseline"]["instead_of"] == said["machine_labeled"] + said["audit"]["sample"]
    assert said["people_labeled"] + said["machine_labeled"] == IMAGES
    assert sum(each["people_asked"] + each["audited"] for each in said["rounds"]) == said["people_labeled"]


def test_an_owner_is_told_the_same_as_the_file_says(done: Shop) -> None:
    assert told(done.store, done.job) == report(done)


def test_nobody_is_told_which_images_are_the_audit(done: Shop) -> None:
    sent = [
        json.loads(line)
        for name, body in done.tree().items()
        if name.startswith("annotations/intermediate/")
        for line in body.splitlines()
    ]
    assert all(json.loads(each["manifestLine"]).keys() == {"source-ref"} for each in sent)
    assert len(sent) == report(done)["people_labeled"]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (LOOKS, b""),
        ("auto_annotator_output.txt", b""),
        ("gtlabel/automation.json", b'"holds": true'),
        ("output/output.manifest", b""),
    ],
)
def test_a_power_cut_changes_nothing_that_is_left_in_the_end(done: Shop, file: str, text: bytes) -> None:
    bucket = Cuttable()
    opened = _started(shop(bucket=bucket))
    if file != LOOKS:
        seen_before(opened, done)
    bucket.cut = file, text
    with pytest.raises(PowerCut):
        work(opened)
    assert _tree(work(shop(old=opened))) == _tree(done)


def test_a_power_cut_among_people_s_answers_changes_nothing_either(done: Shop) -> None:
    opened = _started(seen_before(shop(), done))
    opened.bucket.cut_before = done.bucket.writes // 2
    with pytest.raises(PowerCut):
        work(opened)
    opened.bucket.cut_before = -1
    assert _tree(work(shop(old=opened))) == _tree(done)


def _tree(opened: Shop) -> dict[str, bytes]:
    return {name: body for name, body in opened.tree().items() if not name.endswith(".npz")}


def test_pictures_that_look_like_noise_are_left_to_people() -> None:
    opened = _started(shop(80))
    noise = Random(1)
    work(opened, lambda _: noise.choice(CLASSES))
    assert opened.board.counters(KEY) == Counters(human_labeled=80)
    assert "not enough" in report(opened)["why"]
    assert not any(name.startswith("activelearning") for name in opened.tree())


def test_a_picture_that_cannot_be_decoded_is_not_labeled_by_a_machine() -> None:
    opened = shop()
    broken = [7, 70, 170]
    for number in broken:
        opened.bucket.files[f"images/{number}.jpg"] = picture(number)[:60]
    del opened.bucket.files["images/9.jpg"]
    work(_started(opened))
    machine = by_machine(opened)
    assert machine
    assert machine.keys().isdisjoint([*broken, 9])
    assert opened.job.status is Status.COMPLETED
    assert opened.board.counters(KEY).unlabeled == 0


def test_what_was_seen_of_pictures_is_read_again_only_where_it_is_whole() -> None:
    bucket, place, images = Bucket(), S3Uri("s3://trash/seen"), [(3, "s3://trash/a"), (1, "s3://trash/b")]

    def read(seen: Looks, most: int | None = None) -> Looks | None:
        keep(bucket.client, place, seen)
        bucket.files["seen"] = bucket.files["seen"][:most]
        return kept(bucket.client, place, images)

    nobody = np.array([], np.int64)
    whole = Looks(np.array([1, 3]), np.ones((2, 4), np.float32), np.array([3, 1]), nobody)
    assert read(whole) is not None
    assert [read(whole, most) for most in (0, 3, 100, -5)] == [None] * 4
    assert read(replace(whole, numbers=np.array([1, 2]))) is None
    assert read(replace(whole, numbers=np.array(1))) is None
    assert read(replace(whole, features=np.ones((1, 4), np.float32))) is None
    file = io.BytesIO()
    np.save(file, nobody)
    bucket.files["seen"] = file.getvalue()
    assert kept(bucket.client, place, images) is None


def test_pictures_can_be_looked_at_with_a_network_of_one_s_own(done: Shop) -> None:
    opened = shop(automation={"network": "s3://trash/eye.onnx"})
    opened.bucket.files["eye.onnx"] = tiny_network(3)
    machine = by_machine(work(_started(opened)))
    assert len(machine) > IMAGES / 4
    assert all(record["bin"] == number % 3 for number, record in machine.items())
    assert opened.tree()[LOOKS] != done.tree()[LOOKS]


def test_an_audit_that_refutes_the_promise_takes_all_machine_labels_back(done: Shop) -> None:
    opened = _started(seen_before(shop(), done))

    def changed(task: Task) -> str:
        """People who agree with the machine until it has labeled, and never after."""
        promised = opened.board.counters(KEY).machine_labeled
        return CLASSES[(task.object + 1) % 3] if promised else right(task)

    work(opened, changed)
    said = report(opened)
    assert said["withdrawn"] is True
    assert said["audit"]["holds"] is False
    assert said["machine_labeled"] == 0
    assert by_machine(opened) == {}
    assert opened.board.counters(KEY) == Counters(human_labeled=IMAGES)


def test_images_that_nobody_can_label_do_not_keep_the_job_from_its_end(done: Shop) -> None:
    opened = _started(seen_before(shop(), done))
    work(opened, lambda task: None if task.object % 29 == 0 else right(task))
    count = opened.board.counters(KEY)
    assert opened.job.status is Status.COMPLETED
    assert count.machine_labeled > 0
    assert count.unlabeled == 0
    assert count.human_labeled + count.machine_labeled + count.failed == IMAGES


def test_a_job_stopped_during_the_audit_keeps_the_machine_s_labels(done: Shop) -> None:
    opened = _started(seen_before(shop(), done))
    work(opened, until=lambda each: each.board.counters(KEY).machine_labeled > 0)
    opened.board.stop(KEY)
    opened.turn()
    count = opened.board.counters(KEY)
    assert opened.job.status is Status.STOPPED
    assert count.machine_labeled == len(by_machine(opened)) > 0
    assert count.human_labeled + count.machine_labeled + count.unlabeled == IMAGES
    assert report(opened)["audit"] is None


def test_a_limit_of_what_people_label_is_no_limit_for_the_machine(done: Shop) -> None:
    limit = report(done)["people_labeled"] - report(done)["audit"]["sample"]
    opened = work(_started(seen_before(shop(max_labeled=limit), done)))
    count = opened.board.counters(KEY)
    assert opened.job.status is Status.COMPLETED
    assert count == Counters(human_labeled=limit, machine_labeled=IMAGES - limit)
    assert report(opened)["audit"] is None


def test_what_a_machine_may_not_label_waits_when_people_may_label_no_more(done: Shop) -> None:
    opened = work(_started(seen_before(shop(max_labeled=60), done)))
    assert opened.job.status is Status.STOPPED
    assert opened.board.counters(KEY) == Counters(human_labeled=60, unlabeled=IMAGES - 60)


def test_another_seed_asks_about_other_images(done: Shop) -> None:
    opened = work(_started(seen_before(shop(automation={"seed": 2}), done)))
    assert by_machine(opened).keys() != by_machine(done).keys()
    assert by_machine(opened)
