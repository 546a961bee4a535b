"""Training jobs: create, find, follow, stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from gtlabel.errors import (
    TrainingEndedError,
    TrainingError,
    TrainingJobNameTakenError,
    TrainingJobNotFoundError,
)
from gtlabel.training.failures import explain
from gtlabel.training.patience import Patience, passes
from gtlabel.training.terms import TrainingRequest
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_sagemaker import SageMakerClient
    from types_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef

ENDED = frozenset({"Completed", "Failed", "Stopped"})
STATUSES = ("InProgress", "Completed", "Failed", "Stopping", "Stopped")
_SORTS = {"created": "CreationTime", "name": "Name", "status": "Status"}


@dataclass(frozen=True, slots=True)
class Transition:
    """A step that a job came to.

    Attributes:
        status: a secondary status, such as `Downloading`.
        ended: None for the step it is at.
        message: what the service says about it.
    """

    status: str
    started: datetime
    ended: datetime | None
    message: str


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """A training job as the service describes it. Times that were asked for or passed are in seconds.

    Attributes:
        secondary_status: what the job is busy with (`Downloading`, `Training`, ...), or how it ended.
        artifact: where the model lies; None while the job runs and when it failed.
        metrics: the last value of each metric, by name.
        started: when the machine was there and the program began; None before.
        training_seconds: how long the machines worked; None until the job has ended.
        billable_seconds: how much of that is paid for, on each machine; less than it with spot capacity.
        image: the program, as the address of a container image.
        input_mode: how channels are read that do not say it themselves: `Pipe`, `File` or `FastFile`.
        spot: whether it runs on capacity that AWS may take away.
        max_wait: how long it may wait for that and run, together.
        checkpoints: where it keeps what it would go on from.
        keep_alive: how long its machines are kept, and paid for, after its end.
        transitions: its steps, oldest first.
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
    started: datetime | None = None
    training_seconds: int | None = None
    billable_seconds: int | None = None
    image: str = ""
    input_mode: str = ""
    role: str = ""
    output: S3Uri | None = None
    instance_type: str = ""
    instance_count: int = 1
    volume_gb: int = 0
    max_runtime: int | None = None
    spot: bool = False
    max_wait: int | None = None
    checkpoints: S3Uri | None = None
    keep_alive: int = 0
    transitions: tuple[Transition, ...] = ()

    @property
    def region(self) -> str:
        """Where it runs."""
        return self.arn.split(":")[3]

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        values: dict[str, Any] = _plain(asdict(self))
        return values


def create_training_job(sagemaker: SageMakerClient, request: TrainingRequest) -> str:
    """Start a training job and return its ARN.

    A GPU is rented, and paid for, from when it starts until the job ends.

    Raises:
        TrainingJobNameTakenError: if the account has a job of that name.
        RequestError: if the service would refuse the request; nothing was sent then.
        TrainingError: if the service refused it for a reason that is known, such as a limit of the account.
    """
    from botocore.exceptions import ClientError

    parameters = request.to_boto()
    try:
        return sagemaker.create_training_job(**parameters)["TrainingJobArn"]
    except sagemaker.exceptions.ResourceInUse as error:
        raise TrainingJobNameTakenError(request.name) from error
    except ClientError as error:
        failure = explain(str(error))
        if failure is None:
            raise
        message = error.response["Error"].get("Message", "").rstrip(".")
        raise TrainingError(
            f"AWS refused the training job {request.name!r}: {message}; {failure.sentence}"
        ) from error


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


def read_tags(sagemaker: SageMakerClient, arn: str) -> dict[str, str]:
    """The tags of a job: what it was trained on, where gtlabel started it."""
    pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
    return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}


def list_training_jobs(
    sagemaker: SageMakerClient,
    *,
    status: str | None = None,
    name_contains: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    sort: str = "created",
    ascending: bool = False,
    limit: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the account's jobs as plain JSON values: name, status, created, ended.

    Args:
        sagemaker: the client.
        status: only jobs of this status, such as `InProgress`.
        name_contains: only jobs with this in their name.
        since: only jobs created after this moment.
        until: only jobs created before this moment.
        sort: `created`, `name` or `status`.
        ascending: the oldest first, or the first in the alphabet.
        limit: not more than these.

    Raises:
        TrainingError: at a status or an order that the service does not know.
    """
    if sort not in _SORTS:
        raise TrainingError(f"jobs cannot be sorted by {sort!r}; sort by {', '.join(_SORTS)}")
    if status is not None and status not in STATUSES:
        raise TrainingError(f"no training job is ever {status!r}; their statuses are {', '.join(STATUSES)}")
    filters: dict[str, Any] = {
        "SortBy": _SORTS[sort],
        "SortOrder": "Ascending" if ascending else "Descending",
        "StatusEquals": status,
        "NameContains": name_contains,
        "CreationTimeAfter": since,
        "CreationTimeBefore": until,
    }
    filters = {name: value for name, value in filters.items() if value is not None}
    pages = sagemaker.get_paginator("list_training_jobs").paginate(**filters)
    items = (item for page in pages for item in page["TrainingJobSummaries"])
    for item in islice(items, limit):
        ended = item.get("TrainingEndTime")
        yield {
            "name": item["TrainingJobName"],
            "status": item["TrainingJobStatus"],
            "created": item["CreationTime"].isoformat(timespec="seconds"),
            "ended": ended.isoformat(timespec="seconds") if ended else None,
        }


def wait_for_training_job(
    sagemaker: SageMakerClient,
    name: str,
    *,
    timeout: float | None = None,
    poll: float = 15.0,
    on_change: Callable[[TrainingJob], None] | None = None,
    on_look: Callable[[TrainingJob], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> TrainingJob:
    """Wait until a job is completed, and return it. `follow_training_job` shows its log lines as well.

    A service that is too busy or out of reach for a while is asked again, less and less often, for up to
    five minutes.

    Args:
        sagemaker: the client.
        name: the job's name.
        timeout: seconds after which to give up; the job goes on.
        poll: seconds between two looks.
        on_change: called at the first look and whenever the status or a metric is another.
        on_look: called at every look, after `on_change`.
        sleep: waits that many seconds.
        clock: tells the seconds passed.

    Raises:
        TrainingJobNotFoundError: if there is no such job.
        TrainingEndedError: if it failed, was stopped, or was not done in time.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    start = clock()
    patience = Patience(poll, clock)
    seen: TrainingJob | None = None
    while True:
        try:
            job = describe_training_job(sagemaker, name)
            patience.succeeded()
        except (BotoCoreError, ClientError) as error:
            # Before the first answer, whoever asks would rather know.
            if seen is None or not passes(error) or not patience.failed():
                raise
            job = seen
        if on_change is not None and job != seen:
            on_change(job)
        seen = job
        if on_look is not None:
            on_look(job)
        if job.status == "Completed":
            return job
        if job.status in ENDED:
            failure = explain(job.failure_reason) if job.failure_reason else None
            raise TrainingEndedError(
                name,
                job.status,
                job.failure_reason or _unspoken_reason(job),
                explanation=failure.sentence if failure else "",
            )
        if timeout is not None and clock() - start + patience.pause > timeout:
            raise TrainingEndedError(name, job.status, timed_out=True)
        sleep(patience.pause)


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
    if job.secondary_status == "MaxWaitTimeExceeded":
        return "spare machines did not come in time; ask for a longer max_wait, or leave out spot"
    return ""


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value


def _job(answer: DescribeTrainingJobResponseTypeDef) -> TrainingJob:
    # The service names the address from the start, long before something lies there.
    has_artifact = answer["TrainingJobStatus"] in ("Completed", "Stopped")
    artifact = answer.get("ModelArtifacts", {}).get("S3ModelArtifacts") if has_artifact else None
    resources, limits = answer.get("ResourceConfig", {}), answer.get("StoppingCondition", {})
    algorithm = answer.get("AlgorithmSpecification", {})
    output = answer.get("OutputDataConfig", {}).get("S3OutputPath")
    checkpoints = answer.get("CheckpointConfig", {}).get("S3Uri")
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
        started=answer.get("TrainingStartTime"),
        training_seconds=answer.get("TrainingTimeInSeconds"),
        billable_seconds=answer.get("BillableTimeInSeconds"),
        image=algorithm.get("TrainingImage", algorithm.get("AlgorithmName", "")),
        input_mode=algorithm.get("TrainingInputMode", ""),
        role=answer.get("RoleArn", ""),
        output=S3Uri(output) if output else None,
        # A cluster of several kinds of machines has no one type, and no one count.
        instance_type=resources.get("InstanceType", ""),
        instance_count=resources.get("InstanceCount", 1),
        volume_gb=resources.get("VolumeSizeInGB", 0),
        max_runtime=limits.get("MaxRuntimeInSeconds"),
        spot=answer.get("EnableManagedSpotTraining", False),
        max_wait=limits.get("MaxWaitTimeInSeconds"),
        checkpoints=S3Uri(checkpoints) if checkpoints else None,
        keep_alive=resources.get("KeepAlivePeriodInSeconds", 0),
        transitions=tuple(
            Transition(step["Status"], step["StartTime"], step.get("EndTime"), step.get("StatusMessage", ""))
            for step in answer.get("SecondaryStatusTransitions", ())
        ),
    )
