"""The steps tied together: label, consolidate, train, deploy, each as one call.

A step that costs money, or shows pictures to people, comes in two halves: `plan_...` only reads and
returns what would be sent, `start_...` sends it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gtlabel.errors import JobNameTakenError
from gtlabel.images.listing import Usable, check_images, list_images
from gtlabel.labeling.inputs import write_inputs
from gtlabel.labeling.jobs import create_labeling_job, job_exists
from gtlabel.labeling.request import MAX_JOB_NAME, LabelingJobRequest
from gtlabel.labeling.tasks import role_arn, team_arn
from gtlabel.manifests.classes import check_classes
from gtlabel.templates import read_template
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from gtlabel.aws import Aws

TASK_TEMPLATE = "tasks/image-classification.liquid"


@dataclass(frozen=True, slots=True)
class LabelingPlan:
    """A labeling job that could be started: its request and the pictures it would show."""

    request: LabelingJobRequest
    usable: Usable
    classes: tuple[str, ...]
    template: str


def plan_labeling(
    aws: Aws,
    images: S3Uri,
    classes: Sequence[str],
    *,
    team: str,
    role: str,
    name: str | None = None,
    into: S3Uri | None = None,
    workers_per_image: int = 3,
    template: str | None = None,
    max_concurrent: int = 1_000,
    on_progress: Callable[[int], None] | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> LabelingPlan:
    """Look at the pictures of a prefix and make the request of a labeling job for them.

    Nothing is written. Pictures that cannot be read are left out and named in `usable.refused`.

    Args:
        aws: the clients.
        images: the prefix under which the pictures lie.
        classes: what a picture can be, in the order that workers see.
        team: a private work team's name, or the ARN of any.
        role: the name or ARN of the role that the job reads and writes with.
        name: the job's name; by default made of the prefix and the time.
        into: where the job writes; by default `gtlabel/` in the pictures' bucket.
        workers_per_image: how many people look at each picture.
        template: the worker template's text; by default the shipped one.
        max_concurrent: how many pictures are out with workers at once.
        on_progress: called with the number of pictures looked at so far.
        now: tells the time.

    Raises:
        JobNameTakenError: if the account ever had a job of that name.
        NoImagesError: if there is no picture that can be used.
        BucketNotFoundError: if the bucket does not exist.
        ClassListError: if the classes cannot be labeled with.
        RequestError: if the service would refuse the job.
    """
    names = tuple(check_classes(classes))
    usable = check_images(aws.s3, list_images(aws.s3, images), on_progress=on_progress)
    job = name or _job_name(images, now())
    output = into or S3Uri.of(images.bucket, "gtlabel/")
    inputs = output / job / "input"
    request = LabelingJobRequest(
        name=job,
        manifest=inputs / "input.manifest",
        classes=inputs / "classes.json",
        template=inputs / "template.liquid",
        output=output,
        role=role_arn(role, "" if role.startswith("arn:") else aws.account),
        team=team_arn(team, aws.region, "" if team.startswith("arn:") else aws.account),
        region=aws.region,
        workers_per_image=workers_per_image,
        max_concurrent=max_concurrent,
    )
    request.to_boto()
    if job_exists(aws.sagemaker, job):
        raise JobNameTakenError(job)
    return LabelingPlan(request, usable, names, template or read_template(TASK_TEMPLATE))


def start_labeling(aws: Aws, plan: LabelingPlan) -> str:
    """Write the job's inputs, start it, and return its ARN.

    Workers see the pictures as soon as this returns.

    Raises:
        JobNameTakenError: if somebody took the name since the plan was made.
    """
    uris = [image.uri for image in plan.usable.images]
    write_inputs(aws.s3, uris, plan.classes, plan.template, plan.request.manifest.folder)
    return create_labeling_job(aws.sagemaker, plan.request)


def _job_name(images: S3Uri, now: datetime) -> str:
    """A name such as `trash-20261122-101500`, from the last part of the prefix."""
    stem = images.key.rstrip("/").rpartition("/")[2] or images.bucket
    stem = re.sub(r"[^a-zA-Z0-9]+", "-", stem).strip("-") or "images"
    stamp = now.strftime("%Y%m%d-%H%M%S")
    return f"{stem[: MAX_JOB_NAME - len(stamp) - 1].rstrip('-')}-{stamp}"
