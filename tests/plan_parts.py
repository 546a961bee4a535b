"""What tests of planned training jobs share: a request, and small datasets in S3."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from PIL import Image

from gtlabel.training.data import ChannelData, TrainingData
from gtlabel.training.image import image_uri
from gtlabel.training.request import TrainingJobRequest, request_for_dataset
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

HERE = S3Uri("s3://trash-photos/dataset/")
BINS = ("Compost", "Landfill", "Recycle")

Lines = Sequence[dict[str, Any] | str]


def made(**changes: Any) -> TrainingJobRequest:
    """A request that can be sent, but for what is changed."""
    values: dict[str, Any] = {
        "classes": 3,
        "train_lines": 96,
        "validation_lines": 24,
        "name": "sorter",
        "role": "arn:aws:iam::123456789012:role/gtlabel",
        "image": image_uri("us-east-1"),
        "train": "s3://trash/train.manifest",
        "validation": "s3://trash/validation.manifest",
        "label_attribute": "label",
        "output": "s3://trash/models",
        **changes,
    }
    return request_for_dataset(**values)


def picture(width: int = 24, height: int = 24, kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(file, kind)
    return file.getvalue()


def line(number: int, label: Any = None, **keys: Any) -> dict[str, Any]:
    label = number % len(BINS) if label is None else label
    return {"source-ref": f"{HERE}classes/{number}.jpg", "label": label, **keys}


def put_data(
    s3: S3Client, train: Lines | None = None, validation: Lines | None = None, **changes: Any
) -> TrainingData:
    """Put a dataset into S3: the lines given for a channel, six good ones for the other."""
    channels = {}
    for name, given in (("train", train), ("validation", validation)):
        lines = [line(0, label=number % 3) for number in range(6)] if given is None else given
        body = "".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in lines)
        manifest = HERE / f"{name}.manifest"
        s3.put_object(Bucket=manifest.bucket, Key=manifest.key, Body=body.encode())
        channels[name] = ChannelData(manifest, len(lines), sha256(body.encode()).hexdigest())
    values: dict[str, Any] = {"attribute": "label", "classes": BINS, "channels": channels, **changes}
    return TrainingData(HERE, **values)
