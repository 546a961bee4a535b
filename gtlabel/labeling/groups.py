"""Several labeling jobs that were launched under one name, because one job may only have so many images.

The name stands for all of them: they are found by it, waited for, stopped and consolidated as one. A job
that was launched alone is a group of one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gtlabel.errors import JobNotFoundError, LabelingJobError
from gtlabel.labeling.jobs import (
    ENDED,
    Counters,
    LabelingJob,
    describe_labeling_job,
    follow,
    stop_labeling_job,
)
from gtlabel.labeling.ledger import read_launch

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sagemaker import SageMakerClient

# The tag of every job of a group of several, for bills and for people; it holds the group's name.
GROUP_TAG = "gtlabel:group"


@dataclass(frozen=True, slots=True)
class JobGroup:
    """What goes by one name: a labeling job, or several."""

    name: str
    jobs: tuple[LabelingJob, ...]

    @property
    def status(self) -> str:
        """The status of all: none has ended as long as one goes on, and one that failed fails them."""
        found = [job.status for job in self.jobs]
        for status in ("InProgress", "Initializing", "Stopping", "Failed", "Stopped"):
            if status in found:
                return status
        return "Completed"

    @property
    def counters(self) -> Counters:
        """The counters of all, added up."""
        counters = [job.counters for job in self.jobs]
        return Counters(
            labeled=sum(each.labeled for each in counters),
            by_people=sum(each.by_people for each in counters),
            by_machine=sum(each.by_machine for each in counters),
            failed=sum(each.failed for each in counters),
            unlabeled=sum(each.unlabeled for each in counters),
        )

    @property
    def failure_reason(self) -> str:
        """Why one of them failed, and which."""
        reasons = [(job.name, job.failure_reason) for job in self.jobs if job.failure_reason]
        if len(self.jobs) == 1:
            return reasons[0][1] if reasons else ""
        return "; ".join(f"{name}: {reason}" for name, reason in reasons)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: of one job itself, of several their sum and each."""
        if len(self.jobs) == 1:
            return self.jobs[0].to_json()
        first = self.jobs[0]
        return {
            "name": self.name,
            "status": self.status,
            "counters": asdict(self.counters),
            "created": first.created.isoformat(),
            "attribute": first.attribute,
            "output": first.output,
            "failure_reason": self.failure_reason,
            "jobs": [job.to_json() for job in self.jobs],
        }


def names_in_group(name: str, count: int) -> tuple[str, ...]:
    """What the jobs of a group are called: as the group when there is one, else `NAME-1`, `NAME-2`, ..."""
    return (name,) if count == 1 else tuple(f"{name}-{number}" for number in range(1, count + 1))


def describe_labeling(sagemaker: SageMakerClient, s3: S3Client, name: str) -> JobGroup:
    """Look up the job, or the jobs, of a name.

    Raises:
        JobNotFoundError: if the account has neither a job nor a group of that name.
        LabelingJobError: if a job of the group was never created.
    """
    group, missing = _look_up(sagemaker, s3, name)
    if missing:
        raise LabelingJobError(
            f"{missing[0]!r}, one of the {len(group.jobs) + len(missing)} labeling jobs of {name!r}, was not "
            "started; run the command that started the others again"
        )
    return group


def wait_for_labeling(
    sagemaker: SageMakerClient,
    s3: S3Client,
    name: str,
    *,
    timeout: float | None = None,
    poll: float = 15.0,
    on_change: Callable[[JobGroup], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> JobGroup:
    """Follow the job, or the jobs, of a name until all have ended, and return them.

    Arguments as for `wait_for_labeling_job`. Also completed jobs may have images that failed: look at
    `counters.failed`.

    Raises:
        JobNotFoundError: if there is neither a job nor a group of that name.
        JobEndedError: if one of them failed or was stopped, or not all were done in time.
    """
    return follow(
        lambda: describe_labeling(sagemaker, s3, name),
        timeout=timeout,
        poll=poll,
        on_change=on_change,
        sleep=sleep,
        clock=clock,
    )


def stop_labeling(sagemaker: SageMakerClient, s3: S3Client, name: str) -> Sequence[str]:
    """Stop the job, or the jobs, of a name for good; return the names of those that had not ended yet.

    What was labeled so far is written out. Jobs of a group that were never started do not matter.

    Raises:
        JobNotFoundError: if there is neither a job nor a group of that name.
        LabelingJobError: if all have ended already.
    """
    group, _ = _look_up(sagemaker, s3, name)
    if group.status in ENDED:
        raise LabelingJobError(f"the labeling job {name!r} has already ended as {group.status}")
    running = [job.name for job in group.jobs if job.status not in ENDED]
    for each in running:
        stop_labeling_job(sagemaker, each)
    return running


def _look_up(sagemaker: SageMakerClient, s3: S3Client, name: str) -> tuple[JobGroup, list[str]]:
    """The jobs of a name that exist, and the names of those that should.

    A group is found by way of its first job, which tells where the group's record lies.
    """
    try:
        return JobGroup(name, (describe_labeling_job(sagemaker, name),)), []
    except JobNotFoundError as error:
        unknown = error
    try:
        first = describe_labeling_job(sagemaker, names_in_group(name, 2)[0])
    except JobNotFoundError:
        raise unknown from None
    launch = read_launch(s3, first.output, name)
    if launch is None or first.name not in launch.jobs:
        raise unknown
    jobs, missing = [first], []
    for each in launch.jobs[1:]:
        try:
            jobs.append(describe_labeling_job(sagemaker, each))
        except JobNotFoundError:
            missing.append(each)
    return JobGroup(name, tuple(jobs)), missing
