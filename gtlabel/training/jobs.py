"""Training jobs: create, find, follow, stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gtlabel.errors import (
    TrainingEndedError,
    TrainingError,
    TrainingJobNameTakenError,
    TrainingJobNotFoundError,
)
from gtlabel.training.request import TrainingJobRequest
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_sagemaker import SageMakerClient
    from types_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef

ENDED = frozenset({"Completed", "Failed", "Stopped"})


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """A training job as the service describes it.

    Attributes:
        secondary_status: what the job is busy with (`Downloading`, `Training`, ...), or how it ended.
        artifact: where the model lies; None while the job runs and when it failed.
        metrics: the last value of each metric, by name.
    """

    name: str
    arn: str
    status: str
    secondary_status: str
    failure_reason: str
    artifact: S3Uri | None
    metrics: dict[str, float]
    hyperparameters: dict[str, str]
    channels: dict[str, S3Uri]
    created: datetime
    ended: datetime | None

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {
            **asdict(self),
            "created": self.created.isoformat(),
            "ended": self.ended.isoformat() if self.ended else None,
        }


def create_training_job(sagemaker: SageMakerClient, request: TrainingJobRequest) -> str:
    """Start a training job and return its ARN.

    A GPU is rented, and paid for, from when it starts until the job ends.

    Raises:
        TrainingJobNameTakenError: if the account has a job of that name.
        RequestError: if the service would refuse the request; nothing was sent then.
    """
    parameters = request.to_boto()
    try:
        return sagemaker.create_training_job(**parameters)["TrainingJobArn"]
    except sagemaker.exceptions.ResourceInUse as error:
        raise TrainingJobNameTakenError(request.name) from error


def describe_training_job(sagemaker: SageMakerClient, name: str) -> TrainingJob:
    """Look a job up.

    Raises:
        TrainingJobNotFoundError: if the account has no job of that name.
    """
    from botocore.exceptions import ClientError

    try:
        return _job(sagemaker.describe_training_job(TrainingJobName=name))
    except ClientError as error:
        # The model declares ResourceNotFound; the service has been seen to send ValidationException.
        code = error.response["Error"]["Code"]
        message = error.response["Error"].get("Message", "")
        if code == "ResourceNotFound" or (code == "ValidationException" and "not found" in message.lower()):
            raise TrainingJobNotFoundError(name) from error
        raise


def list_training_jobs(
    sagemaker: SageMakerClient, *, status: str | None = None, name_contains: str | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the account's jobs, newest first, as plain JSON values: name, status, created, ended."""
    filters: dict[str, Any] = {"SortBy": "CreationTime", "SortOrder": "Descending"}
    if status:
        filters["StatusEquals"] = status
    if name_contains:
        filters["NameContains"] = name_contains
    for page in sagemaker.get_paginator("list_training_jobs").paginate(**filters):
        for item in page["TrainingJobSummaries"]:
            ended = item.get("TrainingEndTime")
            yield {
                "name": item["TrainingJobName"],
                "status": item["TrainingJobStatus"],
                "created": item["CreationTime"].isoformat(),
                "ended": ended.isoformat() if ended else None,
            }


def wait_for_training_job(
    sagemaker: SageMakerClient,
    name: str,
    *,
    timeout: float | None = None,
    poll: float = 15.0,
    on_change: Callable[[TrainingJob], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> TrainingJob:
    """Follow a job until it is completed, and return it.

    Args:
        sagemaker: the client.
        name: the job's name.
        timeout: seconds after which to give up; the job goes on.
        poll: seconds between two looks.
        on_change: called at the first look and whenever the status or a metric is another.
        sleep: waits that many seconds.
        clock: tells the seconds passed.

    Raises:
        TrainingJobNotFoundError: if there is no such job.
        TrainingEndedError: if it failed, was stopped, or was not done in time.
    """
    start = clock()
    seen: TrainingJob | None = None
    while True:
        job = describe_training_job(sagemaker, name)
        if on_change is not None and job != seen:
            on_change(job)
        seen = job
        if job.status == "Completed":
            return job
        if job.status in ENDED:
            raise TrainingEndedError(name, job.status, job.failure_reason or _unspoken_reason(job))
        if timeout is not None and clock() - start + poll > timeout:
            raise TrainingEndedError(name, job.status, timed_out=True)
        sleep(poll)


def stop_training_job(sagemaker: SageMakerClient, name: str) -> None:
    """Stop a job. Its program gets two minutes to save a model, which is kept.

    Raises:
        TrainingJobNotFoundError: if there is no such job.
        TrainingError: if it has ended already.
    """
    job = describe_training_job(sagemaker, name)
    if job.status in ENDED:
        raise TrainingError(f"the training job {name!r} has already ended as {job.status}")
    sagemaker.stop_training_job(TrainingJobName=name)


def _unspoken_reason(job: TrainingJob) -> str:
    """Why a job ended that gives no reason: running out of time shows in the secondary status alone."""
    if job.secondary_status == "MaxRuntimeExceeded":
        return "its time was up; ask for a longer max_runtime"
    return ""


def _job(answer: DescribeTrainingJobResponseTypeDef) -> TrainingJob:
    # The service names the address from the start, long before something lies there.
    has_artifact = answer["TrainingJobStatus"] in ("Completed", "Stopped")
    artifact = answer.get("ModelArtifacts", {}).get("S3ModelArtifacts") if has_artifact else None
    return TrainingJob(
        name=answer["TrainingJobName"],
        arn=answer["TrainingJobArn"],
        status=answer["TrainingJobStatus"],
        secondary_status=answer["SecondaryStatus"],
        failure_reason=answer.get("FailureReason", ""),
        artifact=S3Uri(artifact) if artifact else None,
        metrics={item["MetricName"]: item["Value"] for item in answer.get("FinalMetricDataList", ())},
        hyperparameters=dict(answer.get("HyperParameters", {})),
        channels={
            channel["ChannelName"]: S3Uri(channel["DataSource"]["S3DataSource"]["S3Uri"])
            for channel in answer.get("InputDataConfig", ())
            if "S3DataSource" in channel["DataSource"]
        },
        created=answer["CreationTime"],
        ended=answer.get("TrainingEndTime"),
    )
