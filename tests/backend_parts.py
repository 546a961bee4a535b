"""What tests of the programs that train share: labeled pictures, and what is asked for."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dataset_parts import BINS, BUCKET, INTO, line, put_job, said
from PIL import Image

import gtlabel
from gtlabel.aws import Aws
from gtlabel.datasets.channels import Dataset
from gtlabel.storage import write
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

ROLE = "arn:aws:iam::123456789012:role/gtlabel"
SMALL = {"image_shape": "3,24,24", "num_layers": 20, "resize": 24}
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/sorter:3"


def put_labels(s3: S3Client, name: str = "bins", classes: Sequence[str] = BINS) -> S3Uri:
    """What a job said of a dozen pictures of each class, by its own class list."""
    names = [(f"{bin_}-{number}.png", bin_) for bin_ in BINS for number in range(12)]
    manifest = put_job(s3, name, [line(each, said(bin_, classes)) for each, bin_ in names])
    for number, (each, _) in enumerate(names):
        file = io.BytesIO()
        Image.new("RGB", (24, 24), (number, 0, 0)).save(file, "PNG")
        write(s3, S3Uri(f"s3://{BUCKET}/images/{each}"), file.getvalue())
    return manifest


def planned(aws: Aws, dataset: Dataset, **asked: Any) -> dict[str, Any]:
    asked = {"role": ROLE, "name": "sorter", **asked}
    return dict(gtlabel.plan_training(aws, dataset, **asked).to_boto())


def channels(request: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    """What each channel reads, how it is told, and the mode."""
    return {
        channel["ChannelName"]: (
            channel["DataSource"]["S3DataSource"]["S3Uri"].removeprefix(INTO),
            channel["DataSource"]["S3DataSource"]["S3DataType"],
            channel["InputMode"],
        )
        for channel in request["InputDataConfig"]
    }
