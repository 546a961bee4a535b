"""Streaming jobs: images sent through SNS, labels received through SQS, and what AWS leaves behind."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from emulator_parts import TEMPLATE, post
from engine_parts import CLASS_LIST, KEY, Shop, answer

from gtlabel.aws import Aws
from gtlabel.emulator.child import Address
from gtlabel.emulator.simulate import answer as simulate
from gtlabel.engine.jobs import Status
from gtlabel.engine.stream import Arrival
from gtlabel.errors import JobEndedError, RequestError, StreamError
from gtlabel.labeling.jobs import describe_labeling_job
from gtlabel.labeling.receiving import Results, find_results, receive, subscribe
from gtlabel.labeling.request import LabelingJobRequest
from gtlabel.labeling.sending import identified, send
from gtlabel.labeling.streaming import (
    StreamPlan,
    clean_up,
    find_stream,
    plan_streaming,
    start_streaming,
    stop_streaming,
    wait_until_open,
    waiting,
)
from gtlabel.manifests.records import ManifestRecord
from gtlabel.templates import read_template
from gtlabel.uris import S3Uri

NAMES = ("Compost", "Landfill", "Recycle")
IMAGES = [S3Uri(f"s3://trash/images/{number}.jpg") for number in range(12)]
TRUTH = {str(image): NAMES[number % 3] for number, image in enumerate(IMAGES)}
ACCOUNT = "123456789012"


def plan(aws: Aws, name: str = "Belt-1", **changes: Any) -> StreamPlan:
    folder = S3Uri(f"s3://trash/out/{name}/input")
    usual: dict[str, Any] = {
        "attribute": "bin",
        "classes": folder / "classes.json",
        "template": folder / "template.liquid",
        "output": S3Uri("s3://trash/out/"),
        "role": f"arn:aws:iam::{ACCOUNT}:role/gtlabel",
        "team": f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:workteam/private-crowd/gtlabel",
        "region": "us-east-1",
        "workers_per_image": 1,
    }
    request = LabelingJobRequest(name=name, **{**usual, **changes})
    return plan_streaming(aws.sagemaker, request, NAMES, read_template(TEMPLATE), account=ACCOUNT)


def open_stream(aws: Aws, name: str = "Belt-1", **changes: Any) -> Results:
    """Start a streaming job and have its labels collected."""
    start_streaming(aws.sagemaker, aws.sns, aws.s3, plan(aws, name, **changes))
    stream = wait_until_open(aws.sagemaker, name, poll=0.05, timeout=20)
    return subscribe(aws.sns, aws.sqs, stream)


def lease(url: str, worker: str = "ann", job: str = "Belt-1") -> dict[str, Any]:
    return post(f"{url}/gtlabel/worker/lease", {"job": job, "worker": worker})


def work(url: str, count: int, job: str = "Belt-1") -> None:
    """Answer truly as tasks come, until `count` answers are in."""
    until = time.monotonic() + 20
    while count:
        assert time.monotonic() < until, f"{count} tasks never came"
        task = lease(url, job=job)
        if task["lease"] is None:
            time.sleep(0.02)
            continue
        said = {"crowd-image-classifier": {"label": TRUTH[task["source_ref"]]}}
        post(f"{url}/gtlabel/worker/submit", {"lease": task["lease"], "answer": said})
        count -= 1


def eventually(found: Callable[[], Any]) -> Any:
    """What a look gives once it gives something true."""
    until = time.monotonic() + 20
    while not (value := found()):
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.05)
    return value


def labels(records: list[ManifestRecord]) -> dict[str, str | None]:
    return {str(record.source_ref): record.label("bin").class_name for record in records}


@pytest.fixture
def aws(gtlabel_aws: Aws) -> Aws:
    gtlabel_aws.s3.create_bucket(Bucket="trash")
    return gtlabel_aws


def test_images_that_are_sent_come_back_labeled(aws: Aws, gtlabel_server: Address) -> None:
    results = open_stream(aws)
    assert send(aws.sagemaker, aws.sns, "Belt-1", IMAGES) == 12
    work(gtlabel_server.url, 12)
    records = list(receive(aws.sqs, results, limit=12))
    assert labels(records) == TRUTH
    assert list(receive(aws.sqs, results, idle=0)) == []
    job = describe_labeling_job(aws.sagemaker, "Belt-1")
    assert (job.status, job.counters.labeled) == ("InProgress", 12)
