"""SageMaker's operations on training jobs, in front of the executor.

What would cost money at AWS before it fails, and can be known, is refused at once; what only the platform
would find out, such as a picture that is missing, fails the job while it runs, as it would there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from gtlabel.awsmodel import service_model
from gtlabel.emulator import warmpools
from gtlabel.emulator.api import ApiError, Context, Operations
from gtlabel.emulator.executor import Executor
from gtlabel.emulator.jobrecord import KIND, RUNNING, billable_seconds, training_seconds
from gtlabel.emulator.jobrules import DEFAULT_MAX_RUNTIME, check_job, refused
from gtlabel.emulator.paging import page
from gtlabel.emulator.shelf import Shelf
from gtlabel.emulator.tagging import check_tags

TAGGED_RESOURCES = ("training-job",)

_MOST_TAGS = 50
# Members that the service describes whether they were asked for or not.
_SWITCHES = (
    "EnableNetworkIsolation",
    "EnableInterContainerTrafficEncryption",
    "EnableManagedSpotTraining",
)


def operations(executor: Executor, shelf: Shelf) -> Operations:
    """The operations on training jobs and on their tags."""
    jobs = _TrainingJobs(executor, shelf)
    return {
        "CreateTrainingJob": jobs.create,
        "DescribeTrainingJob": jobs.describe,
        "ListTrainingJobs": jobs.list,
        "StopTrainingJob": jobs.stop,
        "AddTags": jobs.add_tags,
        "ListTags": jobs.list_tags,
        "DeleteTags": jobs.delete_tags,
    }


class _TrainingJobs:
    def __init__(self, executor: Executor, shelf: Shelf) -> None:
        self._executor = executor
        self._shelf = shelf

    def create(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        check_tags(params.get("Tags", ()))
        repository = check_job(context, params, self._executor.trainers)
        return {"TrainingJobArn": self._executor.start(context, params, repository)}

    def describe(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        document = self._executor.record(context, params["TrainingJobName"]).read()
        if document is None:
            raise _not_found(context, params["TrainingJobName"])
        return _described(document, self._executor.clock())

    def list(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        now = self._executor.clock()
        documents = [each for each in self._shelf.all(context, KIND) if _selected(each, params, now)]
        shown, token = page(documents, lambda each: _position(each, params.get("SortBy")), params)
        return {"TrainingJobSummaries": [_summary(each, now) for each in shown], **token}

    def stop(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        name = params["TrainingJobName"]
        status = self._executor.stop(context, name)
        if status is None:
            raise _not_found(context, name)
        if status not in RUNNING:
            raise refused(f"The request was rejected because the training job is in status {status}.")
        return {}

    def add_tags(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        check_tags(params["Tags"])
        new = {tag["Key"]: tag["Value"] for tag in params["Tags"]}
        tags = self._change_tags(context, params["ResourceArn"], lambda tags: {**tags, **new})
        return {"Tags": _tag_list(tags)}

    def list_tags(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        return {"Tags": _tag_list(self._change_tags(context, params["ResourceArn"], lambda tags: tags))}

    def delete_tags(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        gone = set(params["TagKeys"])
        self._change_tags(
            context, params["ResourceArn"], lambda tags: {k: v for k, v in tags.items() if k not in gone}
        )
        return {}

    def _change_tags(
        self, context: Context, arn: str, change: Callable[[dict[str, str]], dict[str, str]]
    ) -> dict[str, str]:
        kind, _, name = arn.split(":")[-1].partition("/")
        with self._shelf.transaction():
            document = self._shelf.get(context, KIND, name) if kind in TAGGED_RESOURCES else None
            if document is None or document["arn"] != arn:
                raise refused(f"The resource '{arn}' does not exist.")
            tags = change(document["tags"])
            if len(tags) > _MOST_TAGS:
                raise refused(f"{arn} would have {len(tags)} tags; the most is {_MOST_TAGS}")
            if tags != document["tags"]:
                self._shelf.put(context, KIND, name, {**document, "tags": tags})
        return tags


def _described(document: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    request = document["request"]
    limits = {"MaxRuntimeInSeconds": DEFAULT_MAX_RUNTIME, **request.get("StoppingCondition", {})}
    result = {
        **dict.fromkeys(_SWITCHES, False),
        **request,
        **_common(document, now),
        "ModelArtifacts": {"S3ModelArtifacts": document["artifact"]},
        "StoppingCondition": limits,
        "FailureReason": document["reason"] or None,
        "TrainingStartTime": _time(document["started"]),
        "TrainingTimeInSeconds": training_seconds(document),
        "BillableTimeInSeconds": billable_seconds(document),
        "SecondaryStatusTransitions": [_transition(step) for step in document["transitions"]],
        "FinalMetricDataList": [
            {"MetricName": item["name"], "Value": item["value"], "Timestamp": _time(item["time"])}
            for item in document["metrics"]
        ],
    }
    described: Any = service_model("sagemaker").shape_for("DescribeTrainingJobResponse")
    # A few members of the request are not described: SessionChainingConfig is one.
    return {name: value for name, value in result.items() if name in described.members and value is not None}


def _summary(document: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    result = {"TrainingJobName": document["request"]["TrainingJobName"], **_common(document, now)}
    return {name: value for name, value in result.items() if value is not None}


def _transition(step: Mapping[str, Any]) -> dict[str, Any]:
    result = {
        "Status": step["status"],
        "StartTime": _time(step["start"]),
        "EndTime": _time(step["end"]),
        "StatusMessage": step["message"],
    }
    return {name: value for name, value in result.items() if value is not None}


def _common(document: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    return {
        "TrainingJobArn": document["arn"],
        "TrainingJobStatus": document["status"],
        "SecondaryStatus": document["secondary"],
        "CreationTime": _time(document["created"]),
        "LastModifiedTime": _time(document["modified"]),
        "TrainingEndTime": _time(document["ended"]),
        "WarmPoolStatus": warmpools.status(document, now),
    }


def _selected(document: Mapping[str, Any], params: Mapping[str, Any], now: datetime) -> bool:
    created, modified = _time(document["created"]), _time(document["modified"])
    assert created is not None
    assert modified is not None
    conditions: dict[str, Callable[[Any], bool]] = {
        "NameContains": lambda text: text.lower() in document["request"]["TrainingJobName"].lower(),
        "StatusEquals": lambda status: status == document["status"],
        "CreationTimeAfter": lambda time: created > _aware(time),
        "CreationTimeBefore": lambda time: created < _aware(time),
        "LastModifiedTimeAfter": lambda time: modified > _aware(time),
        "LastModifiedTimeBefore": lambda time: modified < _aware(time),
        "WarmPoolStatusEquals": lambda status: (
            status == (warmpools.status(document, now) or {}).get("Status")
        ),
        # Nothing here is planned ahead.
        "TrainingPlanArnEquals": lambda _: False,
    }
    return all(holds(params[name]) for name, holds in conditions.items() if name in params)


def _position(document: Mapping[str, Any], sort_by: str | None) -> tuple[str, str]:
    name = document["request"]["TrainingJobName"]
    return {"Name": name, "Status": document["status"]}.get(sort_by or "", document["created"]), name


def _tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _not_found(context: Context, name: str) -> ApiError:
    arn = context.arn("sagemaker", f"training-job/{name}")
    return ApiError("ResourceNotFound", f"Requested resource not found: there is no {arn}")
