"""What tests of datasets share: a bucket, jobs that ended in it, and a look at everything that lies there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gtlabel.datasets.channels import Dataset, Example, read_channel
from gtlabel.storage import list_objects, read, write, write_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

BUCKET = "trash-photos"
INTO = S3Uri(f"s3://{BUCKET}/dataset/")
BINS = ("Compost", "Landfill", "Recycle")


def address(name: str) -> S3Uri:
    return S3Uri.of(BUCKET, f"images/{name}")


def said(
    class_name: str,
    classes: Sequence[str] = BINS,
    *,
    attribute: str = "bin",
    job: str = "bins",
    created: str = "2026-11-22T10:11:12.345678",
    confidence: float = 0.95,
    human: str = "yes",
) -> dict[str, Any]:
    """The keys that a job adds to a line."""
    return {
        attribute: classes.index(class_name),
        f"{attribute}-metadata": {
            "confidence": confidence,
            "job-name": f"labeling-job/{job}",
            "class-name": class_name,
            "human-annotated": human,
            "creation-date": created,
            "type": "groundtruth/image-classification",
        },
    }


def line(name: str, *labels: dict[str, Any]) -> dict[str, Any]:
    """A line of an output manifest."""
    result: dict[str, Any] = {"source-ref": address(name)}
    for keys in labels:
        result.update(keys)
    return result


def put_job(s3: S3Client, name: str, lines: Sequence[dict[str, Any]]) -> S3Uri:
    """A job's output manifest, and an object for each of its images."""
    manifest = S3Uri(f"s3://{BUCKET}/jobs/{name}/manifests/output/output.manifest")
    for item in lines:
        write(s3, S3Uri(item["source-ref"]), f"picture {item['source-ref']}".encode())
    write_lines(s3, manifest, [json.dumps(item).encode() for item in lines])
    return manifest


def put_answers(s3: S3Client, name: str, number: int, answers: dict[str, str], hour: int = 10) -> None:
    """What workers said about the image on a line of a job's output manifest."""
    folder = f"s3://{BUCKET}/jobs/{name}/annotations/worker-response/iteration-1/{number}"
    document = {
        "answers": [
            {
                "answerContent": {"crowd-image-classifier": {"label": class_name}},
                "submissionTime": f"2026-11-22T{hour:02d}:00:{second:02d}.000Z",
                "workerId": f"private.us-east-1.{worker}",
            }
            for second, (worker, class_name) in enumerate(answers.items())
        ]
    }
    where = S3Uri(f"{folder}/2026-11-22_{hour:02d}:01:00.json")
    write(s3, where, json.dumps(document).encode())


def examples(s3: S3Client, dataset: Dataset) -> list[Example]:
    """All lines of all channels."""
    return [item for channel in dataset.channels for item in read_channel(s3, dataset, channel)]


def labels(s3: S3Client, dataset: Dataset) -> dict[str, str]:
    """The class of each picture by its name."""
    return {item.original.name: item.class_name for item in examples(s3, dataset)}


def lines_of(s3: S3Client, dataset: Dataset) -> dict[str, dict[str, Any]]:
    """The line of each picture, by its name."""
    told = [
        json.loads(text)
        for channel in dataset.channels.values()
        for text in read(s3, channel.manifest).splitlines()
    ]
    return {S3Uri(item.get("original-ref", item["source-ref"])).name: item for item in told}


def tree(s3: S3Client, prefix: S3Uri = INTO) -> dict[str, bytes]:
    """Everything below a prefix."""
    return {item.uri.key: read(s3, item.uri) for item in list_objects(s3, prefix)}
