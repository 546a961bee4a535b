"""The kinds of labeling jobs that can be asked for, through the emulator and back."""

from __future__ import annotations

import itertools
import json
import time
from decimal import Decimal
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from emulator_parts import post
from request_parts import (
    FIELDS,
    FORCED,
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
)

from gtlabel.aws import Aws
from gtlabel.emulator.child import Address
from gtlabel.errors import ManifestError, MissingLabelError, TemplateError
from gtlabel.labeling import rules
from gtlabel.labeling.audits import Audit, Opinion, audit_page, read_audit
from gtlabel.labeling.jobs import create_labeling_job, wait_for_labeling_job
from gtlabel.labeling.preflight.pages import check_template
from gtlabel.labeling.preflight.subject import Subject
from gtlabel.labeling.request import LabelingJobRequest
from gtlabel.labeling.tasks import TASKS, Task, consolidation_function, pre_function
from gtlabel.manifests.records import ManifestRecord
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
    "no keywords, no classifiers": {"keywords": (), "content_classifiers": ()},
}


@pytest.fixture
def bucket(gtlabel_aws: Aws) -> Aws:
    gtlabel_aws.s3.create_bucket(Bucket="trash")
    return gtlabel_aws


@pytest.mark.parametrize("kind", RIGHT)
def test_a_right_request_is_taken_and_described_back_field_by_field(bucket: Aws, kind: str) -> None:
    asked = request(**RIGHT[kind])
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


# What AWS documents: https://docs.aws.amazon.com/sagemaker/latest/dg/sms-ui-template-reference.html
DOCUMENTED = {
    "crowd-form": set[str](),
    "crowd-image-classifier": {"name", "src", "header", "categories", "overlay"},
    "crowd-image-classifier-multi-select": {"name", "src", "header", "categories", "exclusion-category"},
    "full-instructions": {"header"},
    "short-instructions": set[str](),
    "worker-comment": {"header", "link-text", "placeholder"},
}


class Page(HTMLParser):
    """The elements of a page with their attributes, and those that were never closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("task", [task for task in Task if task is not Task.CUSTOM])
def test_every_page_asks_with_what_aws_documents_and_answers_under_the_name_of_its_task(task: Task) -> None:
    kind = TASKS[task]
    assert kind.template is not None
    text = audit_page(task, "bin", CLASSES) if kind.audits else read_template(kind.template)
    page = Page(text)
    assert page.open == []
    for tag, attributes in page.elements:
        if "-" in tag:
            assert set(attributes) <= DOCUMENTED[tag], tag
    (asked,) = [attributes for tag, attributes in page.elements if "classifier" in tag]
    assert asked["name"] == kind.answer_key
    assert "${" not in text
    found = check_template(Aws(), Subject(template=text, task=task))
    assert [finding.sentence for finding in found if finding.level != "ok"] == []


def test_a_custom_task_has_no_page_but_its_own() -> None:
    assert TASKS[Task.CUSTOM].template is None


# --- from the page to what came of it

CLASSES = ("Compost", "Landfill", "Recycle")
IMAGES = [f"s3://trash/{number}.jpg" for number in range(3)]


def start(aws: Aws, page: str, lines: list[dict[str, Any]], **fields: Any) -> LabelingJobRequest:
    manifest = "".join(f"{json.dumps(line)}\n" for line in lines)
    labels = {"labels": [{"label": name} for name in CLASSES]}
    for key, text in (
        ("in.manifest", manifest),
        ("classes.json", json.dumps(labels)),
        ("template.liquid", page),
    ):
        aws.s3.put_object(Bucket="trash", Key=key, Body=text.encode())
    asked = request(attribute="second", **fields)
    create_labeling_job(aws.sagemaker, asked)
    return asked


def work(aws: Aws, server: Address, answers: dict[str, dict[str, Any]]) -> list[ManifestRecord]:
    """Let each worker answer every image as told, and return the records of the output manifest."""
    left = len(answers) * len(IMAGES)
    deadline = time.monotonic() + 20
    for worker in itertools.cycle(answers):
        task = post(f"{server.url}/gtlabel/worker/lease", {"job": "trash-1", "worker": worker})
        if task["lease"] is None:
            assert time.monotonic() < deadline, f"{left} answers are still to be given"
            time.sleep(0.02)
            continue
        answer = {"lease": task["lease"], "answer": answers[worker][task["source_ref"]]}
        assert post(f"{server.url}/gtlabel/worker/submit", answer) == {"accepted": True}
        left -= 1
        if left == 0:
            break
    done = wait_for_labeling_job(aws.sagemaker, "trash-1", poll=0.05, timeout=20)
    assert done.output_manifest is not None
    body = aws.s3.get_object(Bucket="trash", Key=done.output_manifest.key)["Body"].read()
    return [ManifestRecord.from_line(line) for line in body.decode().splitlines()]


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


def chained(class_name: str, image: str) -> dict[str, Any]:
    metadata = {"class-name": class_name, "confidence": 0.95, "human-annotated": "yes"}
    return {"source-ref": image, "bin": CLASSES.index(class_name), "bin-metadata": metadata}


def test_a_verification_job_shows_the_label_and_says_what_became_of_it(
    bucket: Aws, gtlabel_server: Address
) -> None:
    page = audit_page(Task.VERIFICATION, "bin", CLASSES)
    assert "bin-metadata" in page
    lines = [chained("Compost", image) for image in IMAGES]
    start(bucket, page, lines, task="verification", audited="bin", workers_per_image=3)

    def says(*verdicts: str) -> dict[str, Any]:
        return {
            image: {"verification": {"label": verdict, "workerComment": f"{verdict}!"}}
            for image, verdict in zip(IMAGES, verdicts, strict=True)
        }

    records = work(
        bucket,
        gtlabel_server,
        {
            "ann": says("correct", "incorrect: Landfill", "incorrect"),
            "bob": says("correct", "incorrect: Landfill", "incorrect"),
            "cid": says("incorrect: Recycle", "correct", "incorrect: Recycle"),
        },
    )
    found = [read_audit(record, "second", "bin") for record in records]
    assert [audit and (audit.outcome, audit.label) for audit in found] == [
        ("confirmed", "Compost"),
        ("changed", "Landfill"),
        ("rejected", None),
    ]
    assert [round(audit.agreement, 2) for audit in found if audit] == [0.67, 0.67, 0.67]
    first = found[0]
    assert first is not None
    assert {opinion.comment for opinion in first.opinions} == {"correct!", "incorrect: Recycle!"}
    metadata = records[0].label("second")
    assert metadata.type == "groundtruth/custom"
    assert metadata.by_human
    assert records[0].label("bin").class_name == "Compost"


def test_an_adjustment_job_asks_for_the_class_again(bucket: Aws, gtlabel_server: Address) -> None:
    page = audit_page(Task.ADJUSTMENT, "bin", CLASSES)
    lines = [chained("Compost", image) for image in IMAGES]
    start(bucket, page, lines, task="adjustment", audited="bin", workers_per_image=1)
    said = {
        image: {"crowd-image-classifier": {"label": name}}
        for image, name in zip(IMAGES, CLASSES, strict=True)
    }
    records = work(bucket, gtlabel_server, {"ann": said})
    audits = [read_audit(record, "second", "bin") for record in records]
    assert [audit and audit.outcome for audit in audits] == ["confirmed", "changed", "changed"]
    assert [audit and audit.label for audit in audits] == list(CLASSES)


def test_opinions_that_are_divided_are_a_dispute_and_leave_the_label() -> None:
    audit = Audit("Compost", (Opinion("a", "Compost"), Opinion("b", "Landfill")))
    assert audit.outcome == "disputed"
    assert audit.label == "Compost"
    away = Audit("Compost", (Opinion("a", "Recycle"), Opinion("b", "Landfill")))
    assert (away.outcome, away.label, away.agreement) == ("disputed", "Recycle", 0.5)


def test_a_page_keeps_the_names_of_classes_as_they_are() -> None:
    names = ['a "b"', "{{ task }}", "{% raw %}", "c & d", "e's", "<f>", "$g"]
    page = audit_page(Task.ADJUSTMENT, "bin", names)
    assert "{{ task }}" not in page
    assert json.loads(unescape(page.split('categories="')[1].split('"')[0])) == names


def test_what_is_no_audit_is_named() -> None:
    failed = ManifestRecord.from_line('{"source-ref":"s3://trash/1.jpg","second-metadata":{"retry-count":1}}')
    assert read_audit(failed, "second", "bin") is None
    single = ManifestRecord.from_line(
        '{"source-ref":"s3://trash/1.jpg","second":1,"second-metadata":{"class-name":"a"}}'
    )
    with pytest.raises(MissingLabelError, match="has no 'bin' label"):
        read_audit(single, "second", "bin")
    with pytest.raises(ManifestError, match="holds no answers about the class under 'second'"):
        read_audit(single, "second", "second")
    for task in (Task.SINGLE, Task.CUSTOM):
        with pytest.raises(TemplateError, match=f"a {task} task does not look at earlier labels"):
            audit_page(task, "bin", CLASSES)
