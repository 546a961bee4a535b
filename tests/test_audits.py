"""Labels looked at again: the page, what people say on it, and the labels corrected by it."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from emulator_parts import gtlabel
from PIL import Image
from request_parts import CLASSES, IMAGES, start, work

from gtlabel.aws import Aws
from gtlabel.emulator.child import Address
from gtlabel.errors import LabelingJobError, ManifestError, MissingLabelError, TemplateError
from gtlabel.journey import consolidate_jobs
from gtlabel.labeling.audits import Audit, Opinion, audit_page, read_audit
from gtlabel.labeling.corrections import Audited, corrected, read_audits
from gtlabel.labeling.jobs import describe_labeling_job
from gtlabel.labeling.preflight.pages import check_template
from gtlabel.labeling.preflight.subject import Subject
from gtlabel.labeling.tasks import TASKS, Task
from gtlabel.manifests.classes import check_classes
from gtlabel.manifests.records import ManifestRecord
from gtlabel.templates import read_template
from gtlabel.uris import S3Uri


@pytest.fixture
def bucket(gtlabel_aws: Aws) -> Aws:
    gtlabel_aws.s3.create_bucket(Bucket="trash")
    return gtlabel_aws


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


def test_corrected_labels_go_into_a_dataset_and_disputes_do_not(bucket: Aws, gtlabel_server: Address) -> None:
    images = [*IMAGES, "s3://trash/3.jpg"]
    for number, color in enumerate(("red", "green", "blue", "pink")):
        body = io.BytesIO()
        Image.new("RGB", (32, 24), color).save(body, "JPEG")
        bucket.s3.put_object(Bucket="trash", Key=f"{number}.jpg", Body=body.getvalue())
    lines = [chained(name, image) for name, image in zip([*CLASSES, "Recycle"], images, strict=True)]
    page = audit_page(Task.VERIFICATION, "bin", CLASSES)
    start(bucket, page, lines, task="verification", audited="bin", workers_per_image=1)
    verdicts = ("correct", "incorrect: Recycle", "incorrect", "correct")
    said = {
        image: {"verification": {"label": verdict}} for image, verdict in zip(images, verdicts, strict=True)
    }
    work(bucket, gtlabel_server, {"ann": said})

    run = gtlabel("jobs", "audit", "trash-1", "--into", "s3://trash/corrected.manifest", "--output", "json")
    assert run.returncode == 0, run.stderr
    assert [(item["outcome"], item["label"]) for item in json.loads(run.stdout)] == [
        ("confirmed", "Compost"),
        ("changed", "Recycle"),
        ("rejected", None),
        ("confirmed", "Recycle"),
    ]
    manifest = bucket.s3.get_object(Bucket="trash", Key="corrected.manifest")["Body"].read().decode()
    confirmed, changed, rejected, _ = [json.loads(line) for line in manifest.splitlines()]
    assert confirmed == lines[0]
    assert rejected == {"source-ref": IMAGES[2]}
    assert changed["bin"] == 2
    metadata = changed["bin-metadata"]
    when = datetime.fromisoformat(metadata.pop("creation-date"))
    assert abs((datetime.now(UTC) - when).total_seconds()) < 120
    assert metadata == {
        "class-name": "Recycle",
        "confidence": 1.0,
        "human-annotated": "yes",
        "job-name": "labeling-job/trash-1",
        "type": "groundtruth/image-classification",
        "adjustment-status": "adjusted",
    }
    dataset = consolidate_jobs(bucket, ["s3://trash/corrected.manifest"], S3Uri("s3://trash/set/"))
    assert {item.name: item.train + item.validation for item in dataset.classes} == {
        "Compost": 1,
        "Recycle": 2,
    }


def test_the_command_shows_what_was_not_confirmed(bucket: Aws, gtlabel_server: Address) -> None:
    lines = [chained("Compost", image) for image in IMAGES]
    page = audit_page(Task.ADJUSTMENT, "bin", CLASSES)
    start(bucket, page, lines, task="adjustment", audited="bin", workers_per_image=1)
    said = {image: {"crowd-image-classifier": {"label": "Compost"}} for image in IMAGES}
    said[IMAGES[1]] = {"crowd-image-classifier": {"label": "Landfill"}}
    work(bucket, gtlabel_server, {"ann": said})
    run = gtlabel("jobs", "audit", "trash-1")
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[1].split() == ["changed", "Compost", "Landfill", "100%", IMAGES[1]]
    assert len(run.stdout.splitlines()) == 2
    assert run.stderr == "confirmed: 2\nchanged: 1\n"
    job = describe_labeling_job(bucket.sagemaker, "trash-1")
    with pytest.raises(MissingLabelError, match="has no 'bins' label"):
        list(read_audits(bucket.s3, job, "bins"))


def test_it_must_be_clear_which_labels_were_looked_at(bucket: Aws, gtlabel_server: Address) -> None:
    line = {**chained("Compost", IMAGES[0]), "kind": 0, "kind-metadata": {"class-name": "bottle"}}
    page = audit_page(Task.VERIFICATION, "bin", CLASSES)
    start(bucket, page, [line], task="verification", audited="bin", workers_per_image=1)
    work(bucket, gtlabel_server, {"ann": {IMAGES[0]: {"verification": {"label": "correct"}}}})
    job = describe_labeling_job(bucket.sagemaker, "trash-1")
    with pytest.raises(LabelingJobError, match="could be about 2 labels of .*; name one of bin, kind with"):
        list(read_audits(bucket.s3, job))
    (found,) = read_audits(bucket.s3, job, "bin")
    assert found.to_json()["outcome"] == "confirmed"


def test_a_label_that_is_no_class_corrects_nothing() -> None:
    record = ManifestRecord.from_line(json.dumps(chained("Compost", IMAGES[0])))
    image = Audited(record, "second", "bin", Audit("Compost", (Opinion("a", "Glass"),)))
    with pytest.raises(ManifestError, match="'Glass' is none of the classes Compost, Landfill, Recycle"):
        corrected(image, check_classes(CLASSES))
    unseen = Audited(record, "second", "bin", None)
    assert corrected(unseen, check_classes(CLASSES)) == record
    assert unseen.to_json() == {"image": IMAGES[0], "outcome": "unseen"}


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


# --- pages


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
