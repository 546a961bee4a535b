"""How a job of the engine makes labels: by a batch alone, as AWS does, or by all of its answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
from engine_parts import CLASSES, KEY, MANIFEST, Bucket, Shop
from groundtruth_parts import TOPIC, Account
from hypothesis import given
from hypothesis import strategies as st

from gtlabel.crowd.methods import METHODS
from gtlabel.emulator.api import ApiError
from gtlabel.engine.jobs import JobKey, JobSpec, Kind, Status
from gtlabel.engine.standing import fitted_at
from gtlabel.labeling.tasks import algorithm_arn
from gtlabel.portal.quality import told_of_quality
from gtlabel.uris import S3Uri

OUTPUT = "manifests/output/output.manifest"
GOLD = S3Uri("s3://trash/gold.manifest")
CROWD = ("ann", "bob", "eve", "joe", "zoe")
# Two who know, and three who only guess.
SKILL = {"ann": 0.97, "bob": 0.97, "eve": 0.4, "joe": 0.4, "zoe": 0.4}


def opinion(worker: str, number: int) -> str:
    fate = Random(f"{worker}/{number}")
    truth = number % 3
    return CLASSES[truth if fate.random() < SKILL[worker] else (truth + fate.randint(1, 2)) % 3]


def records(shop: Shop) -> list[dict[str, Any]]:
    return [json.loads(line) for line in shop.tree()[OUTPUT].splitlines()]


def right(shop: Shop) -> int:
    return sum(record["bin"] == number % 3 for number, record in enumerate(records(shop)))


def done(lines: int = 90, *, opinion: Callable[[str, int], str] = opinion, **spec: Any) -> Shop:
    """A job whose images the five above looked at, all of them unless the job wants fewer."""
    return Shop(lines, **{"workers_per_object": 5, **spec}).start().finish(opinion, CROWD)


def gold(lines: Sequence[str], **spec: Any) -> Shop:
    """A job some of whose images are known."""
    bucket = Bucket()
    bucket.files[GOLD.key] = "\n".join(lines).encode()
    return Shop(30, bucket=bucket, gold=GOLD, workers_per_object=3, **spec)


def known(number: int, name: str) -> str:
    return f'{{"source-ref":"s3://trash/images/{number}.jpg","class":"{name}"}}'


def test_all_answers_of_a_job_tell_who_is_right_where_hands_are_counted_in_vain() -> None:
    assert right(done(consensus="majority")) < 80
    assert right(done()) >= 85
    assert right(done(consensus="aws")) >= 85


def test_a_label_that_later_answers_contradict_is_put_right_in_the_end() -> None:
    def lonely(worker: str, number: int) -> str:
        """Ann knows, and the four others guess."""
        fate = Random(f"0/{worker}/{number}")
        truth, skill = number % 3, 0.95 if worker == "ann" else 0.4
        return CLASSES[truth if fate.random() < skill else (truth + fate.randint(1, 2)) % 3]

    shop = done(opinion=lonely, consensus="dawid_skene")
    made_first = {
        int(each["datasetObjectId"]): each["consolidatedAnnotation"]["content"]
        for name, body in shop.tree().items()
        if "/consolidation-response/" in name
        for each in json.loads(body)
    }
    after = dict(enumerate(records(shop)))
    changed = [number for number, content in made_first.items() if content["bin"] != after[number]["bin"]]
    assert changed
    assert right(shop) > sum(content["bin"] == number % 3 for number, content in made_first.items())
    # The moment is that of the first label; only what it says has changed.
    for number in changed:
        assert (
            after[number]["bin-metadata"]["creation-date"]
            == (made_first[number]["bin-metadata"]["creation-date"])
        )
        assert after[number]["bin-metadata"]["class-name"] == CLASSES[after[number]["bin"]]


@given(st.integers(1, 5000))
def test_the_same_batch_is_labeled_by_the_same_fit_and_not_by_one_long_ago(batch: int) -> None:
    fit = fitted_at(batch)
    assert fitted_at(fit) == fit <= batch <= fit + min(max(fit // 2, 1), 100) - (batch > fit)


@pytest.mark.parametrize("method", ["auto", "wawa", "majority"])
@pytest.mark.parametrize("kind", [Kind.SINGLE, Kind.MULTI])
def test_a_process_that_takes_over_labels_batches_as_the_one_before_would(method: str, kind: Kind) -> None:
    def made(*, anew: bool) -> dict[str, bytes]:
        shop = Shop(26, kind=kind, consensus=method, workers_per_object=3, max_concurrent=4).start()
        while not shop.job.status.ended:
            for worker in ("ann", "bob", "eve"):
                while task := shop.board.lease(KEY, worker):
                    said = {Kind.MULTI.value: {"labels": [opinion(worker, task.object)]}}
                    single = {Kind.SINGLE.value: {"label": opinion(worker, task.object)}}
                    shop.board.submit(task.lease, said if kind is Kind.MULTI else single)
            if anew:
                shop.foreman.forget()
            shop.turn()
        return dict(shop.tree())

    assert made(anew=False) == made(anew=True)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_finishes_a_job(method: str) -> None:
    shop = done(20, consensus=method)
    assert shop.job.status is Status.COMPLETED
    assert right(shop) > 10


def test_one_worker_means_a_confidence_of_zero_whatever_the_method() -> None:
    shop = done(15, workers_per_object=1)
    assert {record["bin-metadata"]["confidence"] for record in records(shop)} == {0.0}


def test_several_classes_are_settled_one_by_one() -> None:
    shop = Shop(20, kind=Kind.MULTI, workers_per_object=3).start()
    while not shop.job.status.ended:
        shop.turn()
        for worker in ("ann", "bob", "eve"):
            while task := shop.board.lease(KEY, worker):
                picked = {CLASSES[task.object % 3], opinion(worker, task.object)}
                shop.board.submit(task.lease, {Kind.MULTI.value: {"labels": sorted(picked)}})
    for number, record in enumerate(records(shop)):
        confidence = record["bin-metadata"]["confidence-map"]
        assert confidence[str(number % 3)] == max(confidence.values())
        assert set(record["bin"]) == {int(index) for index in confidence}


def test_a_job_from_before_there_was_a_choice_goes_on_as_aws_would() -> None:
    spec = JobSpec(KEY, "bin", MANIFEST, None, S3Uri("s3://trash/out/"), workers_per_object=2)
    assert JobSpec.from_json(KEY, spec.to_json()) == spec
    written = json.loads(spec.to_json())
    for name in ("consensus", "redundancy", "gold"):
        del written[name]
    before = JobSpec.from_json(KEY, json.dumps(written))
    assert (before.consensus, before.redundancy, before.gold) == ("aws", None, None)


def test_known_pictures_tell_who_is_right_where_a_majority_is_wrong() -> None:
    def say(worker: str, number: int) -> str:
        """Ann says the truth; Eve and Joe agree on the same wrong class."""
        return CLASSES[(number + (worker != "ann")) % 3]

    people = ("ann", "eve", "joe")
    blind = Shop(30, workers_per_object=3).start().finish(say, people)
    assert right(blind) == 0
    shop = gold([known(number, CLASSES[number % 3]) for number in range(15)])
    shop.start().finish(say, people)
    assert right(shop) == 30


def test_known_pictures_can_come_as_the_labels_of_a_job() -> None:
    metadata = {"class-name": "Recycle", "type": "groundtruth/image-classification"}
    line = {"source-ref": "s3://trash/images/0.jpg", "truth": 2, "truth-metadata": metadata}
    shop = gold([json.dumps(line)], consensus="majority").start().finish(workers=("ann", "bob", "eve"))
    assert records(shop)[0]["bin-metadata"]["class-name"] == "Recycle"
    assert records(shop)[1]["bin-metadata"]["class-name"] == "Landfill"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (known(0, "Glass"), "'Glass', which is no class of this job; its classes are Compost"),
        (known(99, "Compost"), "tells the class of no image of this job"),
        ('{"source-ref":"s3://trash/images/0.jpg"}', "has no label; give it one under 'bin'"),
        ('{"source-ref":"s3://trash/images/0.jpg","a":1,"a-metadata":{}}', "without the name of its class"),
        (f"{known(0, 'Compost')}\n{known(0, 'Recycle')}", "0.jpg twice, and other classes; leave one"),
        (
            '{"source-ref":"s3://trash/images/0.jpg","class":["Compost","Recycle"]}',
            "2 classes; this job asks",
        ),
        ('{"source-ref":"s3://trash/images/0.jpg","class":[]}', "0 classes; this job asks"),
        ("Compost", "gold.manifest.*line 1"),
    ],
)
def test_known_pictures_that_nobody_knows_fail_the_job_with_a_reason(line: str, reason: str) -> None:
    shop = gold([line]).start()
    assert shop.job.status is Status.FAILED
    assert re.search(reason, shop.job.reason), shop.job.reason
    assert shop.job.reason.startswith("ClientError: ")


def test_known_pictures_that_are_not_there_fail_the_job_with_their_address() -> None:
    shop = Shop(30, gold=GOLD).start()
    assert shop.job.status is Status.FAILED
    assert "s3://trash/gold.manifest" in shop.job.reason


def test_known_pictures_of_several_classes_name_them_all_or_none() -> None:
    line = '{"source-ref":"s3://trash/images/%s.jpg","class":%s}'
    shop = gold([line % (0, '["Landfill","Recycle"]'), line % (1, "[]")], kind=Kind.MULTI, consensus="wawa")
    shop.start()
    while not shop.job.status.ended:
        shop.turn()
        for worker in CROWD[:3]:
            while task := shop.board.lease(KEY, worker):
                said = ["Compost", "Landfill"] if task.object == 0 else [opinion(worker, task.object)]
                shop.board.submit(task.lease, {Kind.MULTI.value: {"labels": said}})
    # What nobody saw and what is not there stand in it too.
    sure = records(shop)[0]["bin-metadata"]["confidence-map"]
    assert sure == {"0": 0.0, "1": 1.0, "2": 1.0}
    assert set(records(shop)[1]["bin-metadata"]["confidence-map"].values()) == {0.0}


def tags(**said: str) -> list[dict[str, str]]:
    return [{"Key": f"gtlabel:{name}", "Value": value} for name, value in said.items()]


def test_tags_say_how_a_job_makes_its_labels() -> None:
    account = Account()
    account.create(
        Tags=tags(consensus="dawid-skene", redundancy="error=0.05", gold="s3://trash/gold.manifest")
    )
    spec = account.board.job(JobKey("123456789012", "us-east-1", "Bins-1")).spec
    assert (spec.consensus, spec.redundancy, spec.gold) == (
        "dawid_skene",
        "first=2 error=0.05",
        S3Uri("s3://trash/gold.manifest"),
    )


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"consensus": "oracle"}, "gtlabel:consensus: there is no method 'oracle'; take one of auto"),
        ({"redundancy": "first=9"}, "gtlabel:redundancy: .*first=9 answers cannot be had of at most 3"),
        ({"redundancy": "often"}, "gtlabel:redundancy: .*'often'.*write it like 'first=2 error=0.02'"),
        ({"gold": "gold.manifest"}, "gtlabel:gold: .*gold.manifest"),
    ],
)
def test_a_tag_that_cannot_be_followed_is_refused(said: dict[str, str], reason: str) -> None:
    account = Account()
    with pytest.raises(ApiError, match=reason):
        account.create(Tags=tags(**said))


PASS_THROUGH = {
    "PreHumanTaskLambdaArn": "arn:aws:lambda:us-east-1:432418664414:function:PRE-PassThrough",
    "AnnotationConsolidationConfig": {
        "AnnotationConsolidationLambdaArn": "arn:aws:lambda:us-east-1:432418664414:function:ACS-PassThrough"
    },
}
STREAM = {"DataSource": {"SnsDataSource": {"SnsTopicArn": TOPIC}}}
ALGORITHM = {"LabelingJobAlgorithmSpecificationArn": algorithm_arn("us-east-1")}


@pytest.mark.parametrize(
    ("said", "changes", "reason"),
    [
        ({"redundancy": ""}, {"LabelingJobAlgorithmsConfig": ALGORITHM}, "leave out this or automated"),
        ({"redundancy": ""}, {"InputConfig": STREAM}, "a streaming job labels each picture as it comes"),
        ({"gold": str(GOLD)}, {"InputConfig": STREAM}, "a streaming job is sent its pictures one by one"),
        ({"consensus": "auto"}, {"human": PASS_THROUGH}, "the answers of a custom job are its own"),
        ({"redundancy": ""}, {"human": PASS_THROUGH}, "the answers of a custom job are its own"),
        ({"gold": str(GOLD)}, {"human": PASS_THROUGH}, "the answers of a custom job are its own"),
    ],
)
def test_a_tag_is_refused_where_a_job_is_of_another_kind(
    said: dict[str, str], changes: dict[str, Any], reason: str
) -> None:
    account = Account()
    with pytest.raises(ApiError, match=reason):
        account.create(Tags=tags(**said), **changes)
    assert account.board.jobs("123456789012", "us-east-1") == []


def test_the_owner_sees_who_is_right_on_known_pictures() -> None:
    shop = gold([known(number, CLASSES[number % 3]) for number in range(0, 30, 2)])
    shop.start().finish(opinion, ("ann", "eve", "joe"))
    told = told_of_quality(shop.store, shop.job, {}, lambda _: {})
    workers = {one["name"]: one for one in told["workers"]}
    assert {one["gold_answers"] for one in workers.values()} == {15}
    right = [opinion("eve", number) == CLASSES[number % 3] for number in range(0, 30, 2)]
    assert workers["ann"]["gold"]["value"] == pytest.approx(1.0, abs=0.1)
    assert workers["eve"]["gold"]["value"] == pytest.approx(sum(right) / 15, abs=0.1)
    assert workers["eve"]["gold"]["low"] < sum(right) / 15 < workers["eve"]["gold"]["high"]
