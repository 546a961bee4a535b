"""What the tests of requests share: one that is right, and what other kinds of it need."""

from __future__ import annotations

import itertools
import json
import time
from decimal import Decimal
from typing import Any

from emulator_parts import post

from gtlabel.aws import Aws
from gtlabel.emulator.child import Address
from gtlabel.labeling.jobs import create_labeling_job, wait_for_labeling_job
from gtlabel.labeling.request import LabelingJobRequest
from gtlabel.manifests.records import ManifestRecord

REGION = "us-east-1"
ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/gtlabel"
TEAM = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:workteam/private-crowd/gtlabel"
VENDOR = f"arn:aws:sagemaker:{REGION}:999999999999:workteam/vendor-crowd/labelers-inc"
PUBLIC = f"arn:aws:sagemaker:{REGION}:394669845002:workteam/public-crowd/default"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:GroundTruth-in"
OUT_TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:GroundTruth-out"
MODEL = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model/earlier"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
LAMBDA = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:SageMaker-mine"
FIELDS: dict[str, Any] = {
    "name": "trash-1",
    "manifest": "s3://trash/in.manifest",
    "classes": "s3://trash/classes.json",
    "template": "s3://trash/template.liquid",
    "output": "s3://trash/out/",
    "role": ROLE,
    "team": TEAM,
    "region": REGION,
}
AUTOMATED = {"automated": True}
VPC = {**AUTOMATED, "subnets": ("subnet-1",), "security_groups": ("sg-1",)}
VERIFICATION = {"task": "verification", "audited": "bin"}
STREAMING = {"input_topic": TOPIC, "output_topic": OUT_TOPIC, "manifest": None}
CLASSES = ("Compost", "Landfill", "Recycle")
IMAGES = [f"s3://trash/{number}.jpg" for number in range(3)]
FORCED = {"force": True, "team": PUBLIC, "price": Decimal("0.012"), "availability": 21_600}


def request(**fields: Any) -> LabelingJobRequest:
    return LabelingJobRequest(**{**FIELDS, **fields})


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
    left = sum(len(said) for said in answers.values())
    deadline = time.monotonic() + 240
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
    done = wait_for_labeling_job(aws.sagemaker, "trash-1", poll=0.05, timeout=120)
    assert done.output_manifest is not None
    body = aws.s3.get_object(Bucket="trash", Key=done.output_manifest.key)["Body"].read()
    return [ManifestRecord.from_line(line) for line in body.decode().splitlines()]
