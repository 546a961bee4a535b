"""What the tests of streaming jobs share: a stream, workers who answer it, and what is right."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from emulator_parts import TEMPLATE, post

from gtlabel.aws import Aws
from gtlabel.labeling.receiving import Results, subscribe
from gtlabel.labeling.request import LabelingJobRequest
from gtlabel.labeling.streaming import (
    StreamPlan,
    plan_streaming,
    start_streaming,
    wait_until_open,
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
    stream = wait_until_open(aws.sagemaker, name, poll=0.05, timeout=120)
    return subscribe(aws.sns, aws.sqs, stream)


def lease(url: str, worker: str = "ann", job: str = "Belt-1") -> dict[str, Any]:
    return post(f"{url}/gtlabel/worker/lease", {"job": job, "worker": worker})


def work(url: str, count: int, job: str = "Belt-1") -> None:
    """Answer truly as tasks come, until `count` answers are in."""
    until = time.monotonic() + 60
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
    until = time.monotonic() + 60
    while not (value := found()):
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.05)
    return value


def labels(records: list[ManifestRecord], attribute: str = "bin") -> dict[str, str | None]:
    return {str(record.source_ref): record.label(attribute).class_name for record in records}


def line_of(number: int) -> str:
    return json.dumps({"source-ref": f"s3://trash/images/{number}.jpg"})
