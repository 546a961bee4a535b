"""Labeling jobs: create, find, follow, stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from gtlabel.awsmodel import check_request
from gtlabel.errors import (
    JobEndedError,
    JobNameTakenError,
    JobNotFoundError,
    LabelingJobError,
    RequestError,
)
from gtlabel.labeling.request import LabelingJobRequest
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_sagemaker import SageMakerClient
    from types_boto3_sagemaker.type_defs import DescribeLabelingJobResponseTypeDef

ENDED = frozenset({"Completed", "Failed", "Stopped"})


@dataclass(frozen=True, slots=True)
class Counters:
    """How many images a job has labeled, by whom, and how many it has not."""

    labeled: int
    by_people: int
    by_machine: int
    failed: int
    unlabeled: int

    @property
    def total(self) -> int:
        """All images, as far as the service has counted them: 0 right after the start."""
        return self.labeled + self.failed + self.unlabeled

    @property
    def done(self) -> int:
        """Images that the job will not come back to."""
        return self.labeled + self.failed


@dataclass(frozen=True, slots=True)
class LabelingJob:
    """A labeling job as the service describes it."""

    name: str
    arn: str
    status: str
    counters: Counters
    created: datetime
    attribute: str
    team: str
    workers_per_image: int
    manifest: S3Uri | None
    classes: S3Uri | None
    output: S3Uri
    output_manifest: S3Uri | None
    failure_reason: str

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {**asdict(self), "created": self.created.isoformat()}


class _Followable(Protocol):
    """What can be waited for."""

    @property
    def name(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def failure_reason(self) -> str: ...


Followed = TypeVar("Followed", bound=_Followable)


def create_labeling_job(sagemaker: SageMakerClient, request: LabelingJobRequest) -> str:
    """Start a labeling job and return its ARN.

    Workers can take tasks as soon as this returns, and are paid for them.

    Raises:
        JobNameTakenError: if the account ever had a job of that name.
        RequestError: if the service would refuse the request; nothing was sent then.
    """
    parameters = request.to_boto()
    try:
        return sagemaker.create_labeling_job(**parameters)["LabelingJobArn"]
    except sagemaker.exceptions.ResourceInUse as error:
        raise JobNameTakenError(request.name) from error


def describe_labeling_job(sagemaker: SageMakerClient, name: str) -> LabelingJob:
    """Look a job up.

    Raises:
        JobNotFoundError: if the account has no job of that name.
    """
    from botocore.exceptions import ClientError

    try:
        return _job(sagemaker.describe_labeling_job(LabelingJobName=name))
    except ClientError as error:
        # The model declares ResourceNotFound; some of AWS's own tools see ValidationException instead.
        code = error.response["Error"]["Code"]
        message = error.response["Error"].get("Message", "")
        if code == "ResourceNotFound" or (code == "ValidationException" and "not found" in message.lower()):
            raise JobNotFoundError(name) from error
        raise


def job_exists(sagemaker: SageMakerClient, name: str) -> bool:
    """Whether the name is taken. Names are compared without regard to case, and never freed."""
    try:
        describe_labeling_job(sagemaker, name)
    except JobNotFoundError:
        return False
    return True


def list_labeling_jobs(
    sagemaker: SageMakerClient,
    *,
    status: str | None = None,
    name_contains: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    sort: Literal["created", "name", "status"] = "created",
    ascending: bool = False,
    limit: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the account's jobs as plain JSON values: name, status, counters, created.

    Args:
        sagemaker: the client.
        status: only jobs of this status, such as `InProgress`.
        name_contains: only jobs with this in their name.
        since: only jobs created then or later.
        until: only jobs created then or earlier.
        sort: what they are sorted by.
        ascending: whether the oldest, or the first in the alphabet, come first.
        limit: how many at most; no more pages are asked for than it takes.

    Raises:
        RequestError: if the service would refuse a filter.
    """
    filters: dict[str, Any] = {
        "SortBy": {"created": "CreationTime", "name": "Name", "status": "Status"}[sort],
        "SortOrder": "Ascending" if ascending else "Descending",
        "MaxResults": 100 if limit is None else max(1, min(limit, 100)),
        "StatusEquals": status,
        "NameContains": name_contains,
        "CreationTimeAfter": since,
        "CreationTimeBefore": until,
    }
    filters = {name: value for name, value in filters.items() if value is not None}
    problems = check_request("sagemaker", "ListLabelingJobs", filters)
    if problems:
        raise RequestError("ListLabelingJobs", problems)
    return islice(_listed(sagemaker, filters), limit)


def wait_for_labeling_job(
    sagemaker: SageMakerClient,
    name: str,
    *,
    timeout: float | None = None,
    poll: float = 15.0,
    on_change: Callable[[LabelingJob], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> LabelingJob:
    """Follow a job until it is completed, and return it.

    A completed job may still have images that failed: look at `counters.failed`.

    Args:
        sagemaker: the client.
        name: the job's name.
        timeout: seconds after which to give up; the job goes on.
        poll: seconds between two looks.
        on_change: called after each look.
        sleep: waits that many seconds.
        clock: tells the seconds passed.

    Raises:
        JobNotFoundError: if there is no such job.
        JobEndedError: if it failed, was stopped, or was not done in time.
    """
    return follow(
        lambda: describe_labeling_job(sagemaker, name),
        timeout=timeout,
        poll=poll,
        on_change=on_change,
        sleep=sleep,
        clock=clock,
    )


def follow(
    look: Callable[[], Followed],
    *,
    timeout: float | None,
    poll: float,
    on_change: Callable[[Followed], None] | None,
    sleep: Callable[[float], None],
    clock: Callable[[], float],
) -> Followed:
    """Look again and again until what is seen is completed; arguments as for `wait_for_labeling_job`."""
    start = clock()
    while True:
        seen = look()
        if on_change is not None:
            on_change(seen)
        if seen.status == "Completed":
            return seen
        if seen.status in ENDED:
            raise JobEndedError(seen.name, seen.status, seen.failure_reason)
        if timeout is not None and clock() - start + poll > timeout:
            raise JobEndedError(seen.name, seen.status, timed_out=True)
        sleep(poll)


def stop_labeling_job(sagemaker: SageMakerClient, name: str) -> None:
    """Stop a job for good. What was labeled so far is written out; the job cannot be resumed.

    Raises:
        JobNotFoundError: if there is no such job.
        LabelingJobError: if it has ended already.
    """
    job = describe_labeling_job(sagemaker, name)
    if job.status in ENDED:
        raise LabelingJobError(f"the labeling job {name!r} has already ended as {job.status}")
    sagemaker.stop_labeling_job(LabelingJobName=name)


def _listed(sagemaker: SageMakerClient, filters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for page in sagemaker.get_paginator("list_labeling_jobs").paginate(**filters):
        for item in page["LabelingJobSummaryList"]:
            counters = item["LabelCounters"]
            yield {
                "name": item["LabelingJobName"],
                "status": item["LabelingJobStatus"],
                "labeled": counters.get("TotalLabeled", 0),
                "failed": counters.get("FailedNonRetryableError", 0),
                "unlabeled": counters.get("Unlabeled", 0),
                "created": item["CreationTime"].isoformat(),
            }


def _job(answer: DescribeLabelingJobResponseTypeDef) -> LabelingJob:
    counters = answer["LabelCounters"]
    source = answer["InputConfig"]["DataSource"].get("S3DataSource", {}).get("ManifestS3Uri")
    classes = answer.get("LabelCategoryConfigS3Uri")
    output = answer.get("LabelingJobOutput", {}).get("OutputDatasetS3Uri")
    return LabelingJob(
        name=answer["LabelingJobName"],
        arn=answer["LabelingJobArn"],
        status=answer["LabelingJobStatus"],
        counters=Counters(
            labeled=counters.get("TotalLabeled", 0),
            by_people=counters.get("HumanLabeled", 0),
            by_machine=counters.get("MachineLabeled", 0),
            failed=counters.get("FailedNonRetryableError", 0),
            unlabeled=counters.get("Unlabeled", 0),
        ),
        created=answer["CreationTime"],
        attribute=answer.get("LabelAttributeName", answer["LabelingJobName"]),
        team=answer["HumanTaskConfig"]["WorkteamArn"],
        workers_per_image=answer["HumanTaskConfig"]["NumberOfHumanWorkersPerDataObject"],
        manifest=S3Uri(source) if source else None,
        classes=S3Uri(classes) if classes else None,
        output=S3Uri(answer["OutputConfig"]["S3OutputPath"]),
        output_manifest=S3Uri(output) if output else None,
        failure_reason=answer.get("FailureReason", ""),
    )
