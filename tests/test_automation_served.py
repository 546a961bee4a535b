"""An automated job as a user has it: through boto3 and over HTTP, with a power cut in the middle."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from emulator_parts import BUCKET, TEAM, TEMPLATE, clients, post

from gtlabel.aws import Aws
from gtlabel.emulator.child import Address, running
from gtlabel.emulator.simulate import Habits, answer
from gtlabel.emulator.state import running_emulators
from gtlabel.labeling.request import LabelingJobRequest
from gtlabel.labeling.tasks import AUTOMATED_TAG
from gtlabel.templates import read_template
from gtlabel.uris import S3Uri

pytestmark = pytest.mark.slow  # two servers, and two hundred requests of people

SAMPLES = Path(__file__).parents[1] / "samples" / "trash"
CLASSES = ("Compost", "Landfill", "Recycle")
JOB = "bins"
# A camera over a belt sees the same few things again and again.
PICTURES, TIMES = 15, 18
LINES = PICTURES * TIMES


def put_inputs(aws: Aws) -> dict[str, str]:
    """A few real pictures, each many times in the manifest; what each shows."""
    truth: dict[str, str] = {}
    aws.s3.create_bucket(Bucket=BUCKET)
    for line in (SAMPLES / "truth.jsonl").read_text().splitlines()[:PICTURES]:
        known = json.loads(line)
        body = (SAMPLES / known["image"]).read_bytes()
        aws.s3.put_object(Bucket=BUCKET, Key=known["image"], Body=body)
        truth[f"s3://{BUCKET}/{known['image']}"] = known["class"]
    lines = [json.dumps({"source-ref": image}) + "\n" for _ in range(TIMES) for image in truth]
    files = {
        "in.manifest": "".join(lines),
        "classes.json": json.dumps({"labels": [{"label": name} for name in CLASSES]}),
        "template.liquid": read_template(TEMPLATE),
    }
    for key, text in files.items():
        aws.s3.put_object(Bucket=BUCKET, Key=key, Body=text.encode())
    return truth


def create(aws: Aws) -> None:
    request = LabelingJobRequest(
        name=JOB,
        attribute="bin",
        manifest=S3Uri(f"s3://{BUCKET}/in.manifest"),
        classes=S3Uri(f"s3://{BUCKET}/classes.json"),
        template=S3Uri(f"s3://{BUCKET}/template.liquid"),
        output=S3Uri(f"s3://{BUCKET}/out/"),
        role="arn:aws:iam::123456789012:role/gtlabel",
        team=TEAM,
        region="us-east-1",
        workers_per_image=1,
        automated=True,
        images=LINES,
        tags={AUTOMATED_TAG: "precision=0.9 risk=0.1 seed=3"},
    )
    aws.sagemaker.create_labeling_job(**request.to_boto())


def described(aws: Aws) -> dict[str, Any]:
    return dict(aws.sagemaker.describe_labeling_job(LabelingJobName=JOB))


def answer_until(aws: Aws, truth: dict[str, str], enough: Callable[[dict[str, int]], int]) -> None:
    """Answer as one person, until the job's counters are so."""
    url, end = aws.s3.meta.endpoint_url, time.monotonic() + 240
    while not enough(described(aws)["LabelCounters"]):
        assert time.monotonic() < end, described(aws)["LabelCounters"]
        task = post(f"{url}/gtlabel/worker/lease", {"job": JOB, "worker": "ann"})
        if task["lease"]:
            said = {"crowd-image-classifier": {"label": truth[task["source_ref"]]}}
            post(f"{url}/gtlabel/worker/submit", {"lease": task["lease"], "answer": said})
        else:
            time.sleep(0.02)


def kill(address: Address) -> None:
    pid = next(one.pid for one in running_emulators() if one.url == address.url)
    os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Aws, dict[str, Any]]]:
    """A job whose emulator was killed while people checked what a machine had labeled."""
    state = tmp_path_factory.mktemp("automation") / "state"
    with running(state) as address:
        aws = clients(address)
        truth = put_inputs(aws)
        create(aws)
        answer_until(aws, truth, lambda count: count["MachineLabeled"])
        kill(address)
    with running(state) as address:
        aws = clients(address)
        answer(address.url, JOB, 2, 1.0, truth, 1, habits=Habits(declines=0, releases=0))
        yield aws, described(aws)


def files(aws: Aws) -> dict[str, bytes]:
    prefix = f"out/{JOB}/"
    listed = aws.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]
    return {
        each["Key"].removeprefix(prefix): aws.s3.get_object(Bucket=BUCKET, Key=each["Key"])["Body"].read()
        for each in listed
        if "/annotations/" not in each["Key"]
    }


def test_an_automated_job_ends_with_every_image_labeled(ended: tuple[Aws, dict[str, Any]]) -> None:
    _, job = ended
    count = job["LabelCounters"]
    assert job["LabelingJobStatus"] == "Completed"
    assert count["TotalLabeled"] == count["HumanLabeled"] + count["MachineLabeled"] == LINES
    assert count["MachineLabeled"] >= LINES // 4
    assert count["Unlabeled"] == count["FailedNonRetryableError"] == 0
    assert ":model/bins-" in job["LabelingJobOutput"]["FinalActiveLearningModelArn"]
    algorithm = job["LabelingJobAlgorithmsConfig"]["LabelingJobAlgorithmSpecificationArn"]
    assert algorithm.endswith(":labeling-job-algorithm-specification/image-classification")


def test_the_output_manifest_tells_people_s_labels_from_a_machine_s(
    ended: tuple[Aws, dict[str, Any]],
) -> None:
    aws, job = ended
    known = {
        f"s3://{BUCKET}/{each['image']}": each["class"]
        for each in map(json.loads, (SAMPLES / "truth.jsonl").read_text().splitlines())
    }
    records = [json.loads(line) for line in files(aws)["manifests/output/output.manifest"].splitlines()]
    by = [record["bin-metadata"]["human-annotated"] for record in records]
    assert len(records) == LINES
    assert by.count("no") == job["LabelCounters"]["MachineLabeled"]
    assert by.count("yes") == job["LabelCounters"]["HumanLabeled"]
    right = [known[record["source-ref"]] == record["bin-metadata"]["class-name"] for record in records]
    assert sum(right) >= 0.9 * LINES


def test_the_files_of_an_automated_job_lie_where_ground_truth_leaves_them(
    ended: tuple[Aws, dict[str, Any]],
) -> None:
    aws, job = ended
    tree = files(aws)
    told = json.loads(tree["gtlabel/automation.json"])
    (annotated,) = [name for name in tree if name.endswith("/auto_annotator_output.txt")]
    assert annotated.split("/")[0] == "activelearning"
    assert annotated.split("/")[-3].isdecimal()
    lines = tree[annotated].decode().splitlines()
    assert len(lines) == job["LabelCounters"]["MachineLabeled"] + told["audit"]["sample"]
    # As AWS's own notebook takes them apart: an id, and then the record.
    records = [json.loads(" ".join(line.split()[1:])) for line in lines]
    assert {record["bin-metadata"]["human-annotated"] for record in records} == {"no"}
    assert told["settings"] == {"target": 0.9, "risk": 0.1, "seed": 3}
    assert told["machine_labeled"] == job["LabelCounters"]["MachineLabeled"]


def test_nobody_was_asked_twice_for_the_kill(ended: tuple[Aws, dict[str, Any]]) -> None:
    aws, job = ended
    pages = aws.s3.get_paginator("list_objects_v2").paginate(
        Bucket=BUCKET, Prefix=f"out/{JOB}/annotations/worker-response/"
    )
    seen = [each["Key"].split("/")[-2] for page in pages for each in page["Contents"]]
    assert len(seen) == len(set(seen)) == job["LabelCounters"]["HumanLabeled"]


def test_a_worker_finds_nothing_more_to_do(ended: tuple[Aws, dict[str, Any]]) -> None:
    aws, _ = ended
    url = aws.s3.meta.endpoint_url
    assert post(f"{url}/gtlabel/worker/lease", {"job": JOB, "worker": "late"})["lease"] is None
