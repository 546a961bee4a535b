"""The kinds of labeling jobs that can be asked for, through the emulator and back."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from request_parts import (
    FIELDS,
    FORCED,
    IMAGES,
    KEY,
    LAMBDA,
    MODEL,
    OUT_TOPIC,
    REGION,
    STREAMING,
    TEAM,
    TOPIC,
    VENDOR,
    request,
    start,
    work,
)

from gtlabel.aws import Aws
from gtlabel.emulator.child import Address
from gtlabel.labeling import rules
from gtlabel.labeling.jobs import create_labeling_job
from gtlabel.labeling.request import LabelingJobRequest
from gtlabel.labeling.tasks import consolidation_function, pre_function
from gtlabel.templates import read_template

RIGHT: dict[str, dict[str, Any]] = {
    "single": {},
    "every field of its own": {
        "attribute": "bin",
        "title": "Which bin?",
        "description": "Choose the bin it belongs in.",
        "keywords": ("trash", "three bins"),
        "workers_per_image": 5,
        "task_time_limit": 28_800,
        "availability": 2_592_000,
        "max_concurrent": 5_000,
        "max_labeled": 3,
        "max_percentage": 50,
        "output_key": KEY,
        "tags": {"project": "trash", "cost:center": "4711"},
        "content_classifiers": ("FreeOfAdultContent",),
        "pre_function": pre_function(REGION),
        "consolidation_function": consolidation_function(REGION),
    },
    "multi": {"task": "multi", "template": "s3://trash/multi.liquid"},
    "custom": {"task": "custom", "classes": None, "template": "s3://trash/custom.liquid"},
    "verification": {
        "task": "verification",
        "audited": "bin",
        "template": "s3://trash/verification.liquid",
    },
    "adjustment": {"task": "adjustment", "audited": "bin", "template": "s3://trash/adjustment.liquid"},
    "streaming": STREAMING,
    "streaming from a manifest on": {"input_topic": TOPIC, "output_topic": OUT_TOPIC},
    "no keywords, no classifiers": {"keywords": (), "content_classifiers": ()},
}


@pytest.fixture
def bucket(gtlabel_aws: Aws) -> Aws:
    gtlabel_aws.s3.create_bucket(Bucket="trash")
    return gtlabel_aws


@pytest.mark.parametrize("kind", RIGHT)
def test_a_right_request_is_taken_and_described_back_field_by_field(bucket: Aws, kind: str) -> None:
    asked = request(**RIGHT[kind])
    for topic in (asked.input_topic, asked.output_topic):
        if topic:
            bucket.sns.create_topic(Name=topic.rpartition(":")[2])
    create_labeling_job(bucket.sagemaker, asked)
    described: dict[str, Any] = {**bucket.sagemaker.describe_labeling_job(LabelingJobName="trash-1")}
    sent: dict[str, Any] = json.loads(json.dumps(asked.to_boto()))
    for member, value in sent.items():
        if member == "OutputConfig":
            assert described[member] == {"KmsKeyId": "", **value}
        else:
            assert described[member] == value, member
    again = LabelingJobRequest.from_boto(described, REGION)
    assert again.name == asked.name
    again.to_boto()


def test_the_described_job_is_cloned_under_another_name(bucket: Aws) -> None:
    create_labeling_job(bucket.sagemaker, request(**RIGHT["every field of its own"]))
    described = bucket.sagemaker.describe_labeling_job(LabelingJobName="trash-1")
    clone = LabelingJobRequest.from_boto(described, REGION, name="trash-2", attribute="second")
    create_labeling_job(bucket.sagemaker, clone)
    assert clone == request(**{**RIGHT["every field of its own"], "name": "trash-2", "attribute": "second"})


def test_automated_labeling_names_the_algorithm_and_where_its_machines_stand() -> None:
    asked = request(
        automated=True,
        images=5_000,
        initial_model=MODEL,
        volume_key=KEY,
        subnets=("subnet-1", "subnet-2"),
        security_groups=("sg-1",),
    )
    assert asked.to_boto()["LabelingJobAlgorithmsConfig"] == {
        "LabelingJobAlgorithmSpecificationArn": (
            "arn:aws:sagemaker:us-east-1:027400017018:labeling-job-algorithm-specification/image-classification"
        ),
        "InitialActiveLearningModelArn": MODEL,
        "LabelingJobResourceConfig": {
            "VolumeKmsKeyId": KEY,
            "VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1", "subnet-2"]},
        },
    }


def test_a_streaming_job_reads_a_topic_and_may_begin_with_a_manifest() -> None:
    assert request(**STREAMING).to_boto()["InputConfig"]["DataSource"] == {
        "SnsDataSource": {"SnsTopicArn": TOPIC}
    }
    both = request(input_topic=TOPIC, output_topic=OUT_TOPIC)
    assert both.streaming
    assert both.to_boto()["InputConfig"]["DataSource"] == {
        "S3DataSource": {"ManifestS3Uri": FIELDS["manifest"]},
        "SnsDataSource": {"SnsTopicArn": TOPIC},
    }
    assert both.to_boto()["OutputConfig"]["SnsTopicArn"] == OUT_TOPIC


def test_the_public_team_is_paid_what_the_manual_allows_and_only_by_force() -> None:
    for price in rules.PUBLIC_PRICES:
        sent: Any = request(**{**FORCED, "price": price}).to_boto()
        amount = sent["HumanTaskConfig"]["PublicWorkforceTaskPrice"]["AmountInUsd"]
        assert (
            price
            == amount["Dollars"]
            + Decimal(amount["Cents"]) / 100
            + Decimal(amount["TenthFractionsOfACent"]) / 1000
        )
        assert LabelingJobRequest.from_boto(sent, REGION).price == price
    assert [str(price) for price in rules.PUBLIC_PRICES[:3]] == ["0.012", "0.024", "0.036"]
    assert rules.PUBLIC_PRICES[-1] == Decimal("1.2")


def test_a_vendor_team_of_another_account_may_work() -> None:
    sent = request(team=VENDOR).to_boto()["HumanTaskConfig"]
    assert sent["WorkteamArn"] == VENDOR
    assert "PublicWorkforceTaskPrice" not in sent


def test_custom_tasks_go_where_there_are_no_built_in_functions() -> None:
    there: dict[str, Any] = {
        "task": "custom",
        "region": "eu-west-3",
        "team": TEAM.replace(REGION, "eu-west-3"),
    }
    assert "PreHumanTaskLambdaArn" not in request(**there).to_boto()["HumanTaskConfig"]
    own = request(**there, pre_function=LAMBDA.replace(REGION, "eu-west-3"))
    assert own.to_boto()["HumanTaskConfig"].get("PreHumanTaskLambdaArn") == own.pre_function
    here = request(task="custom").to_boto()["HumanTaskConfig"]
    assert here.get("PreHumanTaskLambdaArn") == pre_function(REGION, "PassThrough")
    assert (
        "PreHumanTaskLambdaArn" not in request(task="custom", pre_function=None).to_boto()["HumanTaskConfig"]
    )


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"max_concurrent": 1_001}, "more than 1,000 needs a quota that AWS Support raised"),
        ({"workers_per_image": 1}, "every confidence will be 0.0"),
        ({"availability": 60, "task_time_limit": 300}, "shorter than task_time_limit"),
        ({"automated": True, "images": 1_250}, "AWS advises 5,000 images"),
        ({"images": 10, "max_labeled": 11}, "more than the 10 images"),
        ({"class_names": tuple(f"c{n}" for n in range(31))}, "the console allows 30 classes"),
        ({"output_topic": OUT_TOPIC}, "for streaming jobs only"),
        ({"template": "s3://trash/page.txt"}, "ends in .liquid or .html"),
    ],
)
def test_what_people_may_regret_is_said_and_sent(fields: dict[str, Any], sentence: str) -> None:
    asked = request(**fields)
    assert any(sentence in warning for warning in asked.warnings())
    assert asked.problems() == []
    assert request().warnings() == []


def test_a_multi_label_job_gives_every_class_that_anybody_chose(bucket: Aws, gtlabel_server: Address) -> None:
    lines = [{"source-ref": image} for image in IMAGES]
    page = read_template("tasks/image-classification-multi-label.liquid")
    start(bucket, page, lines, task="multi", workers_per_image=2)
    key = "crowd-image-classifier-multi-select"
    answers: dict[str, dict[str, Any]] = {
        "ann": {image: {key: {"labels": ["Compost", "Recycle"]}} for image in IMAGES},
        "bob": {image: {key: {"labels": ["Compost"]}} for image in IMAGES[:2]},
    }
    answers["bob"][IMAGES[2]] = {key: {"labels": []}}
    records = work(bucket, gtlabel_server, answers)
    assert [record.source_ref for record in records] == IMAGES
    for record in records:
        assert sorted(record.to_json()["second"]) == [0, 2]
        label = record.label("second")
        assert label.class_map == {"0": "Compost", "2": "Recycle"}
        assert label.type == "groundtruth/image-classification-multilabel"
        assert set(label.confidence_map or {}) == {"0", "2"}
        assert label.by_human
