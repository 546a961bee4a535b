"""The operations of Ground Truth, with the engine behind them: plain functions that know no moto.

What botocore's model says about a request was checked before a function here is called. Sentences that AWS's
own wording is not known for are ours (contract/ground-truth.md 11.1).
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from hashlib import sha256
from typing import Any

from gtlabel.emulator.api import ApiError, Context, Operations
from gtlabel.emulator.automated import model_arn
from gtlabel.emulator.jobspec import DEFAULT_AVAILABILITY_SECONDS, DEFAULT_CONCURRENT, job_spec
from gtlabel.emulator.paging import page
from gtlabel.emulator.people import People
from gtlabel.emulator.shelf import Shelf
from gtlabel.emulator.staff import Staff
from gtlabel.emulator.tagging import TAGGED_RESOURCES, Tagging, check_tags, owns
from gtlabel.emulator.taskuis import TaskUis
from gtlabel.emulator.vendors import Vendors
from gtlabel.emulator.workteams import WorkTeams
from gtlabel.engine.board import Board, Counters, Job, JobKey, Status
from gtlabel.engine.jobs import to_micros
from gtlabel.engine.output import Tree
from gtlabel.errors import JobNameTakenError, JobNotFoundError

__all__ = ["TAGGED_RESOURCES", "operations", "owns"]

_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def operations(
    board: Board,
    shelf: Shelf,
    people: People | Staff | None = None,
    uis: TaskUis | None = None,
    functions: Container[str] = (),
) -> Operations:
    """Labeling jobs, work teams, workforces, worker pages, and the tags of all of them.

    `AddTags`, `ListTags` and `DeleteTags` raise `PassOn` for an ARN that `owns` says no to.

    Args:
        board: the engine.
        shelf: where everything else is kept.
        people: who works in the teams.
        uis: the worker pages.
        functions: the names of the functions that custom workflows can have.
    """
    teams, vendors = WorkTeams(shelf, board.clock, people), Vendors(shelf)
    uis = uis or TaskUis(shelf, clock=board.clock)

    def first_tags(context: Context, arn: str) -> Sequence[dict[str, str]] | None:
        try:
            job = board.job(JobKey(context.account, context.region, arn.rpartition("/")[2]))
        except JobNotFoundError:
            return None
        return job.spec.request.get("Tags", ()) if arn == _arn(context, job) else None

    tagging = Tagging(
        shelf,
        {"labeling-job": first_tags, "workteam": teams.first_tags, "human-task-ui": uis.first_tags},
    )
    jobs = _LabelingJobs(board, teams, vendors, uis, tagging, functions)
    return {
        "CreateLabelingJob": jobs.create,
        "DescribeLabelingJob": jobs.describe,
        "ListLabelingJobs": jobs.list,
        "ListLabelingJobsForWorkteam": jobs.list_for_team,
        "StopLabelingJob": jobs.stop,
        **teams.operations(),
        **vendors.operations(),
        **uis.operations(),
        **tagging.operations(),
    }


class _LabelingJobs:
    def __init__(
        self,
        board: Board,
        teams: WorkTeams,
        vendors: Vendors,
        uis: TaskUis,
        tagging: Tagging,
        functions: Container[str],
    ) -> None:
        self._board = board
        self._teams = teams
        self._vendors = vendors
        self._uis = uis
        self._tagging = tagging
        self._functions = functions

    def create(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        check_tags(params.get("Tags", ()))
        spec = job_spec(context, params, self._functions)
        team = params["HumanTaskConfig"]["WorkteamArn"]
        if not self._has_team(context, team):
            raise ApiError(
                "ValidationException",
                f"The specified Workteam '{team}' does not exist or you do not have access to it.",
            )
        self._uis.check(context, spec)
        try:
            job = self._board.create_job(spec)
        except JobNameTakenError as error:
            raise ApiError(
                "ResourceInUse",
                f"A labeling job named '{spec.key.name}' exists, or did once, in this account and region; "
                "names must differ in more than the case of their letters.",
            ) from error
        return {"LabelingJobArn": _arn(context, job)}

    def describe(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        job = self._find(context, params["LabelingJobName"])
        request = dict(job.spec.request)
        conditions = {"MaxPercentageOfInputDatasetLabeled": 100}
        defaults = {
            "TaskAvailabilityLifetimeInSeconds": DEFAULT_AVAILABILITY_SECONDS,
            "MaxConcurrentTaskCount": DEFAULT_CONCURRENT,
        }
        return {
            **request,
            **_standing(context, job),
            "LabelCounters": _counters(self._board.counters(job.key)),
            "JobReferenceCode": _reference_code(job),
            "LabelingJobArn": _arn(context, job),
            "OutputConfig": {"KmsKeyId": "", **request["OutputConfig"]},
            "StoppingConditions": request.get("StoppingConditions", conditions),
            "HumanTaskConfig": {**defaults, **request["HumanTaskConfig"]},
            "Tags": self._tagging.of(context, _arn(context, job)),
        }

    def list(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        order = params.get("SortBy", "CreationTime")

        def key(job: Job) -> tuple[Any, str]:
            by = {"Name": job.key.name, "Status": job.status.value}
            return by.get(order, to_micros(job.created)), job.key.name

        shown, token = page(self._matching(context, params), key, params, "jobs")
        return {"LabelingJobSummaryList": [self._summary(context, job) for job in shown], **token}

    def list_for_team(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        team = params["WorkteamArn"]
        if not self._has_team(context, team):
            raise ApiError("ResourceNotFound", f"The work team '{team}' does not exist.")
        code = params.get("JobReferenceCodeContains", "")
        found = [
            job
            for job in self._matching(context, params)
            if job.spec.request["HumanTaskConfig"]["WorkteamArn"] == team and code in _reference_code(job)
        ]
        shown, token = page(
            found, lambda job: (to_micros(job.created), job.key.name), params, "jobs of a team"
        )
        return {"LabelingJobSummaryList": [self._team_summary(job) for job in shown], **token}

    def stop(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        job = self._find(context, params["LabelingJobName"])
        if not self._board.stop(job.key) and job.status is not Status.STOPPED:
            raise ApiError(
                "ValidationException",
                f"The labeling job '{job.key.name}' is {job.status} and cannot be stopped any more.",
            )
        return {}

    def _has_team(self, context: Context, arn: str) -> bool:
        return self._teams.first_tags(context, arn) is not None or self._vendors.has(context, arn)

    def _find(self, context: Context, name: str) -> Job:
        try:
            return self._board.job(JobKey(context.account, context.region, name))
        except JobNotFoundError as error:
            raise ApiError(
                "ResourceNotFound", f"There is no labeling job named '{name}' in {context.region}."
            ) from error

    def _matching(self, context: Context, params: dict[str, Any]) -> Iterator[Job]:
        """The jobs that the filters of a list leave; both ends of a span belong to it."""
        for job in self._board.jobs(context.account, context.region):
            if (
                params.get("NameContains", "").lower() in job.key.name.lower()
                and params.get("StatusEquals", job.status) == job.status
                and params.get("CreationTimeAfter", job.created) <= job.created
                and job.created <= params.get("CreationTimeBefore", job.created)
                and params.get("LastModifiedTimeAfter", job.modified) <= job.modified
                and job.modified <= params.get("LastModifiedTimeBefore", job.modified)
            ):
                yield job

    def _summary(self, context: Context, job: Job) -> dict[str, Any]:
        request = job.spec.request
        human = request["HumanTaskConfig"]
        return {
            **_standing(context, job),
            "LabelingJobName": job.key.name,
            "LabelingJobArn": _arn(context, job),
            "LabelCounters": _counters(self._board.counters(job.key)),
            "WorkteamArn": human["WorkteamArn"],
            **{name: human[name] for name in ("PreHumanTaskLambdaArn",) if name in human},
            **human.get("AnnotationConsolidationConfig", {}),
            "InputConfig": request["InputConfig"],
        }

    def _team_summary(self, job: Job) -> dict[str, Any]:
        count = self._board.counters(job.key)
        return {
            "LabelingJobName": job.key.name,
            "JobReferenceCode": _reference_code(job),
            "WorkRequesterAccountId": job.key.account,
            "CreationTime": job.created,
            "LabelCounters": {
                "HumanLabeled": count.human_labeled,
                "PendingHuman": count.unlabeled,
                "Total": count.human_labeled + count.machine_labeled + count.failed + count.unlabeled,
            },
            "NumberOfHumanWorkersPerDataObject": job.spec.workers_per_object,
        }


def _standing(context: Context, job: Job) -> dict[str, Any]:
    """What a description and a summary say alike."""
    standing: dict[str, Any] = {
        "LabelingJobStatus": job.status.value,
        "CreationTime": job.created,
        "LastModifiedTime": job.modified,
    }
    if job.reason:
        standing["FailureReason"] = job.reason
    # A job stopped before its manifest was read has written nothing.
    if job.status is Status.COMPLETED or (job.status is Status.STOPPED and job.begun):
        standing["LabelingJobOutput"] = {
            "OutputDatasetS3Uri": str(Tree(job.spec.root).output_manifest),
            **model_arn(context, job),
        }
    return standing


def _counters(count: Counters) -> dict[str, int]:
    return {
        "TotalLabeled": count.human_labeled + count.machine_labeled,
        "HumanLabeled": count.human_labeled,
        "MachineLabeled": count.machine_labeled,
        "FailedNonRetryableError": count.failed,
        "Unlabeled": count.unlabeled,
    }


def _arn(context: Context, job: Job) -> str:
    # The service writes the name in lower case here and keeps its case in S3 (contract 3.1).
    return context.arn("sagemaker", f"labeling-job/{job.key.name.lower()}")


def _reference_code(job: Job) -> str:
    """The account and 16 letters or digits, the same at every look (contract 3.1)."""
    digest = sha256(f"{job.key}/{to_micros(job.created)}".encode()).digest()
    return job.key.account + "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:16])
