"""What was launched from which input: the record that keeps two runs of one command from paying twice.

A launch is known by its name and by the digest of everything it was made of. Its record lies beside the
inputs and is written once, by whoever comes first, before anything else; everyone after that reads it. It
holds no progress: whether a job was created is asked of the service, whose names are used once and never
freed, so a run that broke off anywhere is completed by the next one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from gtlabel.errors import (
    JobNameClaimedError,
    JobNameTakenError,
    JobNotFoundError,
    LabelingJobError,
    ObjectNotFoundError,
)
from gtlabel.labeling.jobs import describe_labeling_job, job_exists
from gtlabel.storage import read, write_new
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sagemaker import SageMakerClient

# No job can be called so, and no job writes here: its own files lie in `manifests/` and `annotations/`.
_RECORD = "input/launch.json"


class Launch(BaseModel):
    """What was started under one name.

    Attributes:
        name: what to call it.
        digest: of what it was made.
        jobs: the names of its labeling jobs: its own, or several when it is too large for one.
        images: how many images they have together.
        images_per_job: how many each of them has; the last one has the rest.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    digest: str
    jobs: tuple[str, ...]
    images: int
    images_per_job: int


def inputs_of(output: S3Uri, name: str) -> S3Uri:
    """The prefix of what the jobs of a launch read, below the one that they write to."""
    return output / name / "input/"


def digest_of(settings: Mapping[str, Any], images: Iterable[str]) -> str:
    """What tells two launches apart: the settings, and a line for each image in their order."""
    digest = sha256(json.dumps(settings, sort_keys=True, ensure_ascii=False).encode())
    for image in images:
        digest.update(f"\n{image}".encode())
    return digest.hexdigest()


def read_launch(s3: S3Client, output: S3Uri, name: str) -> Launch | None:
    """The record of a launch, or None when nothing was launched under that name there.

    Raises:
        LabelingJobError: if what lies in its place is no record.
    """
    uri = output / name / _RECORD
    try:
        return Launch.model_validate_json(read(s3, uri))
    except ObjectNotFoundError:
        return None
    except ValidationError as error:
        raise LabelingJobError(
            f"{uri} is not the record of a launch; move it away or pick another --name"
        ) from error


def launches(s3: S3Client, output: S3Uri) -> Iterator[Launch]:
    """Yield every launch below a prefix that jobs write to; what the jobs wrote there is not listed."""
    folder = S3Uri(output.rstrip("/") + "/")
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=folder.bucket, Prefix=folder.key, Delimiter="/"
    )
    for page in pages:
        for item in page.get("CommonPrefixes", ()):
            launch = read_launch(s3, output, item["Prefix"].removeprefix(folder.key).rstrip("/"))
            if launch is not None:
                yield launch


def claim(sagemaker: SageMakerClient, s3: S3Client, output: S3Uri, launch: Launch) -> Launch:
    """Take a name for a launch; return the record that holds, which an equal launch may have written.

    Raises:
        JobNameTakenError: if the name belongs to a launch of something else.
    """
    document = launch.model_dump_json(indent=2).encode() + b"\n"
    if write_new(s3, output / launch.name / _RECORD, document, "application/json"):
        return launch
    found = read_launch(s3, output, launch.name)
    if found is None:
        raise JobNameTakenError(launch.name)
    _refuse_another(sagemaker, output, found, launch)
    return found


def look_up(
    sagemaker: SageMakerClient, s3: S3Client, output: S3Uri, launch: Launch
) -> tuple[Launch, tuple[str, ...]]:
    """What an earlier run of the same launch left: the record that holds, and its jobs that exist already.

    Raises:
        JobNameTakenError: if the name, or that of one of its jobs, belongs to something else.
    """
    earlier = read_launch(s3, output, launch.name)
    if earlier is not None:
        _refuse_another(sagemaker, output, earlier, launch)
    held = earlier or launch
    taken = [name for name in dict.fromkeys([held.name, *held.jobs]) if job_exists(sagemaker, name)]
    if taken and (earlier is None or taken[0] not in held.jobs):
        raise JobNameTakenError(taken[0])
    return held, tuple(taken)


def ensure_job(
    sagemaker: SageMakerClient, name: str, manifest: S3Uri | None, create: Callable[[], str]
) -> str:
    """The ARN of a job that reads this manifest: of the one that there is, or of a new one.

    A creation whose answer was lost, or that somebody else was faster with, counts as well.

    Args:
        sagemaker: the client.
        name: the job's name.
        manifest: what it reads. It lies below the launch's own prefix, so nobody else's job does.
        create: writes what the job reads, creates it and returns its ARN.

    Raises:
        JobNameTakenError: if the account ever had another job of that name.
    """
    try:
        found = describe_labeling_job(sagemaker, name)
    except JobNotFoundError:
        try:
            return create()
        except JobNameTakenError:
            found = describe_labeling_job(sagemaker, name)
    if found.name != name or found.manifest != manifest:
        raise JobNameTakenError(name)
    return found.arn


def _refuse_another(sagemaker: SageMakerClient, output: S3Uri, held: Launch, launch: Launch) -> None:
    """Refuse a launch whose name is held for something else.

    A name that no job was started under is not taken over, either: whoever holds it may be about to.
    """
    if held.digest == launch.digest:
        return
    if any(job_exists(sagemaker, name) for name in held.jobs):
        raise JobNameTakenError(launch.name)
    raise JobNameClaimedError(launch.name, output / launch.name / _RECORD)
