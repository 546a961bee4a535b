"""What the tests of training jobs share: trainers, an executor for them, and requests to it."""

from __future__ import annotations

import io
import json
import multiprocessing
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import boto3
from moto import mock_aws

from gtlabel.aws import Aws
from gtlabel.awsmodel import check_request, check_result
from gtlabel.emulator.api import Context
from gtlabel.emulator.executor import Executor
from gtlabel.emulator.shelf import Shelf
from gtlabel.emulator.trainers import TRAINERS
from gtlabel.emulator.training import operations
from gtlabel.training.image import image_uri
from gtlabel.training.request import request_for_dataset

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

HERE = Context()
ROLE = "arn:aws:iam::123456789012:role/gtlabel"
PICTURES = {f"{number}.jpg": bytes([number]) * (1000 * number + 1) for number in range(1, 9)}

# What every trainer of these tests begins with: it knows the platform's contract and nothing of ours but
# the record format.
PRELUDE = """
import json, os, pathlib, signal, sys, time
from gtlabel.recordio import read_records
assert sys.argv[1:] == ["train"]
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
data, model, output = base / "input/data", base / "model", base / "output"
def epoch(channel, number):
    path = data / f"{channel}_{number}"
    while not path.exists():
        time.sleep(0.01)
    with path.open("rb") as stream:
        return list(read_records(stream))
"""
READS_TWO_EPOCHS = """
seen = {name: [epoch(name, number) for number in (0, 1)] for name in ("train", "validation")}
def labels(values):
    return [value.decode() for value in values[1::2]]
orders = {name: [labels(values) for values in epochs] for name, epochs in seen.items()}
sizes = [len(value) for value in seen["train"][0][0::2]]
print("Epoch[0] Train-accuracy=0.25")
print("Epoch[1] Train-accuracy=0.75")
print("Epoch[1] Validation-accuracy=0.5", flush=True)
(model / "image-classification-0001.params").write_bytes(b"weights")
report = {"orders": orders, "sizes": sizes, "environment": dict(os.environ)}
(model / "orders.json").write_text(json.dumps(report))
"""
MODEL_AT_ONCE = "(model / 'weights').write_text('1')"
SLEEPS = """
print("Epoch[0] Train-accuracy=0.5", flush=True)
time.sleep(60)
"""


class Sagemaker:
    """The operations as a client would call them: checked against the model on both sides."""

    def __init__(self, executor: Executor, shelf: Shelf, aws: Aws | None = None) -> None:
        self._aws = aws
        self.executor = executor
        self._operations = operations(executor, shelf)

    @property
    def aws(self) -> Aws:
        assert self._aws is not None
        return self._aws

    def __call__(self, operation: str, **params: Any) -> dict[str, Any]:
        assert check_request("sagemaker", operation, params) == []
        result = self._operations[operation](HERE, params)
        assert check_result("sagemaker", operation, result) == []
        return result

    def describe(self, name: str = "sorter") -> dict[str, Any]:
        return self("DescribeTrainingJob", TrainingJobName=name)

    def interrupt(self, name: str = "sorter", away: float = 0) -> None:
        self.executor.interrupt(HERE, name, away)

    def wait(
        self,
        name: str = "sorter",
        until: Callable[[dict[str, Any]], bool] | None = None,
        seconds: float = 60,
    ) -> dict[str, Any]:
        until = until or (lambda job: job["TrainingJobStatus"] not in ("InProgress", "Stopping"))
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            job = self.describe(name)
            if until(job):
                return job
            time.sleep(0.02)
        raise AssertionError(f"still {job['TrainingJobStatus']} ({job['SecondaryStatus']})")


Start = Callable[..., Sagemaker]


@cache
def clients() -> Aws:
    """Clients take a while to make and hold no state, so all tests share them."""
    return Aws(boto3.Session("testing", "testing", region_name="us-east-1"))


def clients_that_nobody_asks_for(_: Context) -> Aws:
    raise AssertionError("nothing is to be sent")


@contextmanager
def executing(directory: Path, shelf: Shelf | None = None) -> Iterator[Start]:
    """An emulator's executor whose trainer is a program of the test, or the usual one."""
    executors: list[Executor] = []
    with mock_aws():
        aws = clients()
        aws.s3.create_bucket(Bucket="trash")
        for name, content in PICTURES.items():
            aws.s3.put_object(Bucket="trash", Key=f"images/{name}", Body=content)
        shelf = shelf or Shelf()

        def begin(
            *program: str, image: Sequence[str] = ("image-classification",), **options: Any
        ) -> Sagemaker:
            script = directory / "trainer.py"
            script.write_text(PRELUDE + "".join(dedent(part) + "\n" for part in program))
            trainers = dict.fromkeys(image, (sys.executable, str(script))) if program else TRAINERS
            options = {"trainers": trainers, **options}
            executor = Executor(lambda _: aws, directory / "jobs", shelf, **options)
            executors.append(executor)
            return Sagemaker(executor, shelf, aws)

        try:
            yield begin
        finally:
            for executor in executors:
                executor.close()
            assert "Uploads" not in aws.s3.list_multipart_uploads(Bucket="trash")
    assert fifos(directory) == []
    assert running_below(directory) == []
    ours = ("feed", "fetch", "log ", "training", "checkpoints")
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith(ours)] == []
    assert multiprocessing.active_children() == []


def started(job: dict[str, Any]) -> bool:
    """Whether the program `SLEEPS` has said something."""
    return bool(job["FinalMetricDataList"])


def lives(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(found.stdout.strip()) and not found.stdout.startswith("Z")


def running_below(directory: Path) -> list[int]:
    """The processes of jobs whose directories are below this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            environment = (process / "environ").read_bytes()
            if f"\0SAGEMAKER_BASE_DIR={directory}/".encode() in b"\0" + environment:
                found.append(int(process.name))
    return found


def fifos(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_fifo()]


def line(number: int, **changes: Any) -> dict[str, Any]:
    return {"source-ref": f"s3://trash/images/{number}.jpg", "label": number - 1, **changes}


def request(sagemaker: Sagemaker, lines: list[Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A request of the library, whose manifests are written first."""
    lines = [line(number) for number in range(1, 9)] if lines is None else lines
    text = "".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in lines)
    for name in ("train", "validation"):
        sagemaker.aws.s3.put_object(Bucket="trash", Key=f"{name}.manifest", Body=text.encode())
    return asked(len(lines), **changes)


def asked(images: int = 8, **changes: Any) -> dict[str, Any]:
    fields = {
        "name": "sorter",
        "role": ROLE,
        "image": image_uri("us-east-1"),
        "train": "s3://trash/train.manifest",
        "validation": "s3://trash/validation.manifest",
        "label_attribute": "label",
        "output": "s3://trash/models",
        "hyperparameters": {"num_layers": 18, "image_shape": "3,48,64"},
        **changes,
    }
    return dict(
        request_for_dataset(classes=8, train_lines=images, validation_lines=images, **fields).to_boto()
    )


def keys(sagemaker: Sagemaker, prefix: str) -> list[str]:
    """What is in the bucket."""
    found = sagemaker.aws.s3.list_objects_v2(Bucket="trash", Prefix=prefix).get("Contents", ())
    return [item["Key"] for item in found]


def artifact(sagemaker: Sagemaker, name: str = "model.tar.gz", job: str = "sorter") -> dict[str, bytes]:
    return artifact_of(sagemaker.aws.s3, name, job)


def artifact_of(s3: S3Client, name: str = "model.tar.gz", job: str = "sorter") -> dict[str, bytes]:
    """The files of an archive that a job left."""
    key = f"models/{job}/output/{name}"
    content = s3.get_object(Bucket="trash", Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
