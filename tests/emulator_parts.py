"""What the tests of the emulator share: a bucket with a job in it, and a way to ask as any program would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gtlabel.aws import Aws
from gtlabel.emulator.environment import session
from gtlabel.emulator.server import Address
from gtlabel.labeling.request import LabelingJobRequest
from gtlabel.templates import read_template
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

BUCKET = "trash"
TEMPLATE = "tasks/image-classification.liquid"
IMAGES = [f"s3://{BUCKET}/images/{number}.jpg" for number in range(4)]
TRUTH = dict(zip(IMAGES, ("Compost", "Landfill", "Recycle", "Recycle"), strict=True))


def put_inputs(s3: S3Client) -> None:
    s3.create_bucket(Bucket=BUCKET)
    manifest = "".join(json.dumps({"source-ref": image}) + "\n" for image in IMAGES)
    classes = {"labels": [{"label": name} for name in ("Compost", "Landfill", "Recycle")]}
    s3.put_object(Bucket=BUCKET, Key="in.manifest", Body=manifest.encode())
    s3.put_object(Bucket=BUCKET, Key="classes.json", Body=json.dumps(classes).encode())
    s3.put_object(Bucket=BUCKET, Key="template.liquid", Body=read_template(TEMPLATE).encode())


TEAM = "arn:aws:sagemaker:us-east-1:123456789012:workteam/private-crowd/gtlabel"


def create_job(aws: Aws, name: str, team: str = TEAM) -> str:
    request = LabelingJobRequest(
        name=name,
        attribute="bin",
        manifest=S3Uri(f"s3://{BUCKET}/in.manifest"),
        classes=S3Uri(f"s3://{BUCKET}/classes.json"),
        template=S3Uri(f"s3://{BUCKET}/template.liquid"),
        output=S3Uri(f"s3://{BUCKET}/out/"),
        role="arn:aws:iam::123456789012:role/gtlabel",
        team=team,
        region="us-east-1",
        workers_per_image=1,
    )
    return aws.sagemaker.create_labeling_job(**request.to_boto())["LabelingJobArn"]


def labels(s3: S3Client, job: str) -> dict[str, str]:
    """The classes in a job's output manifest, by image."""
    key = f"out/{job}/manifests/output/output.manifest"
    lines = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().splitlines()
    records = [json.loads(line) for line in lines]
    return {record["source-ref"]: record["bin-metadata"]["class-name"] for record in records}


def clients(address: Address) -> Aws:
    return Aws(session("us-east-1"), address.url)


def post(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body or {}).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=120) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def gtlabel(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command as a person would."""
    return run([sys.executable, "-m", "gtlabel", *arguments], cwd=cwd)


def run(
    command: Sequence[str], environ: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=cwd,
        env={**os.environ, **(environ or {})},
    )
