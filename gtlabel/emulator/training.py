"""SageMaker's operations on training jobs, in front of the executor.

What would cost money at AWS before it fails, and can be known, is refused at once; what only the platform
would find out, such as a picture that is missing, fails the job while it runs, as it would there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from gtlabel.awsmodel import service_model
from gtlabel.emulator.api import ApiError, Context, Operations
from gtlabel.emulator.container import input_mode
from gtlabel.emulator.executor import DEFAULT_MAX_RUNTIME, Executor
from gtlabel.emulator.jobrecord import KIND, RUNNING, seconds_between
from gtlabel.emulator.paging import page
from gtlabel.emulator.shelf import Shelf
from gtlabel.emulator.tagging import check_tags
from gtlabel.errors import TrainingRegionError, UriError
from gtlabel.training.image import image_uri, parse_image
from gtlabel.uris import S3Uri

TAGGED_RESOURCES = ("training-job",)

_MOST_TAGS = 50
# Members that the service describes whether they were asked for or not.
_SWITCHES = (
    "EnableNetworkIsolation",
    "EnableInterContainerTrafficEncryption",
    "EnableManagedSpotTraining",
)
_GPU = re.compile(r"ml\.[pg]\d")
_ATTRIBUTES = 2  # a picture and its label: all that this algorithm reads of a line


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
        repository = _check_image(context, params["AlgorithmSpecification"], self._executor.trainers)
        _check_resources(params, repository)
        _check_output(params["OutputDataConfig"])
        _check_channels(params)
        if params["RoleArn"].split(":")[4] != context.account:
            raise _refused(f"The role {params['RoleArn']} belongs to another account than {context.account}")
        return {"TrainingJobArn": self._executor.start(context, params, repository)}

    def describe(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        document = self._executor.record(context, params["TrainingJobName"]).read()
        if document is None:
            raise _not_found(context, params["TrainingJobName"])
        return _described(document)

    def list(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        documents = [each for each in self._shelf.all(context, KIND) if _selected(each, params)]
        shown, token = page(documents, lambda each: _position(each, params.get("SortBy")), params)
        return {"TrainingJobSummaries": [_summary(each) for each in shown], **token}

    def stop(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        name = params["TrainingJobName"]
        status = self._executor.stop(context, name)
        if status is None:
            raise _not_found(context, name)
        if status not in RUNNING:
            raise _refused(f"The request was rejected because the training job is in status {status}.")
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
                raise _refused(f"The resource '{arn}' does not exist.")
            tags = change(document["tags"])
            if len(tags) > _MOST_TAGS:
                raise _refused(f"{arn} would have {len(tags)} tags; the most is {_MOST_TAGS}")
            if tags != document["tags"]:
                self._shelf.put(context, KIND, name, {**document, "tags": tags})
        return tags


def _check_image(context: Context, algorithm: Mapping[str, Any], trainers: Iterable[str]) -> str:
    """The repository of a training image that can be run here."""
    if algorithm.get("MetricDefinitions"):
        raise _refused("The metrics of a built-in algorithm are fixed; leave MetricDefinitions out")
    image = algorithm.get("TrainingImage")
    if image is None:
        raise _refused("Give a TrainingImage; what AlgorithmName stands for cannot be run here")
    found = parse_image(image)
    if found is None or found.repository not in trainers:
        raise _refused(
            f"The training image {image} cannot be run here; what can be trained is the built-in "
            f"{', '.join(sorted(trainers))}"
        )
    try:
        here = image_uri(context.region)
    except TrainingRegionError as error:
        raise _refused(str(error)) from error
    expected = parse_image(here)
    if expected is not None and (found.account, found.region) != (expected.account, expected.region):
        raise _refused(f"The training image {image} does not exist for jobs in {context.region}; use {here}")
    return found.repository


def _check_resources(params: Mapping[str, Any], repository: str) -> None:
    resources = params.get("ResourceConfig") or {}
    instance = resources.get("InstanceType")
    if instance is None or "InstanceCount" not in resources or "VolumeSizeInGB" not in resources:
        raise _refused("ResourceConfig needs InstanceType, InstanceCount and VolumeSizeInGB")
    if not _GPU.match(instance):
        # AWS's own words: contract/training.md §1.8, 11.
        raise _refused(
            f"Instance type {instance} is not supported by algorithm {repository}; "
            "only GPU instances are supported."
        )
    if resources["InstanceCount"] != 1:
        raise _refused(f"InstanceCount is {resources['InstanceCount']}; jobs run on one machine here")


def _check_output(output: Mapping[str, Any]) -> None:
    _address(output["S3OutputPath"], "OutputDataConfig.S3OutputPath")
    if output.get("CompressionType", "GZIP") != "GZIP":
        raise _refused("OutputDataConfig.CompressionType must be GZIP here: the artifact is a model.tar.gz")


def _check_channels(params: Mapping[str, Any]) -> None:
    channels = params.get("InputDataConfig") or ()
    names = [channel["ChannelName"] for channel in channels]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise _refused(f"InputDataConfig names the channel {', '.join(twice)} more than once")
    missing = [name for name in ("train", "validation") if name not in names]
    if missing:
        raise _refused(
            f"InputDataConfig lacks the channel {' and '.join(missing)}, which the algorithm needs"
        )
    for channel in channels:
        _check_channel(channel, input_mode(params, channel))


def _check_channel(channel: Mapping[str, Any], mode: str) -> None:
    where = f"InputDataConfig, channel {channel['ChannelName']}"
    source = channel["DataSource"].get("S3DataSource")
    if source is None:
        raise _refused(f"{where}: only an S3DataSource can be read here")
    _address(source["S3Uri"], where)
    if channel.get("CompressionType", "None") != "None":
        raise _refused(f"{where}: CompressionType must be None")
    kind = source["S3DataType"]
    if kind == "AugmentedManifestFile":
        _check_manifest_channel(channel, source, mode, where)
    elif kind != "S3Prefix":
        raise _refused(f"{where}: S3DataType {kind} cannot be read here; AugmentedManifestFile can")
    elif mode == "Pipe":
        raise _refused(f"{where}: an S3Prefix is read in File mode here, not in Pipe mode")
    elif source.get("AttributeNames"):
        raise _refused(f"{where}: AttributeNames belong to an AugmentedManifestFile")


def _check_manifest_channel(
    channel: Mapping[str, Any], source: Mapping[str, Any], mode: str, where: str
) -> None:
    attributes = source.get("AttributeNames", [])
    if mode != "Pipe":
        raise _refused(f"{where}: an AugmentedManifestFile is read in Pipe mode only, not in {mode} mode")
    if len(attributes) != _ATTRIBUTES:
        raise _refused(
            f"{where}: AttributeNames must be the picture and its label, such as source-ref and label; "
            f"they are {attributes}"
        )
    if channel.get("RecordWrapperType") != "RecordIO":
        raise _refused(f"{where}: RecordWrapperType must be RecordIO, or pictures run into their labels")
    if source.get("S3DataDistributionType", "FullyReplicated") != "FullyReplicated":
        raise _refused(f"{where}: S3DataDistributionType must be FullyReplicated")


def _address(text: str, where: str) -> None:
    try:
        S3Uri(text)
    except UriError as error:
        raise _refused(f"{where}: {error}") from error


def _described(document: Mapping[str, Any]) -> dict[str, Any]:
    request = document["request"]
    limits = {"MaxRuntimeInSeconds": DEFAULT_MAX_RUNTIME, **request.get("StoppingCondition", {})}
    passed = seconds_between(document["started"], document["ended"])
    result = {
        **dict.fromkeys(_SWITCHES, False),
        **request,
        **_common(document),
        "ModelArtifacts": {"S3ModelArtifacts": document["artifact"]},
        "StoppingCondition": limits,
        "FailureReason": document["reason"] or None,
        "TrainingStartTime": _time(document["started"]),
        "TrainingTimeInSeconds": passed,
        "BillableTimeInSeconds": passed,
        "SecondaryStatusTransitions": [_transition(step) for step in document["transitions"]],
        "FinalMetricDataList": [
            {"MetricName": item["name"], "Value": item["value"], "Timestamp": _time(item["time"])}
            for item in document["metrics"]
        ],
    }
    described: Any = service_model("sagemaker").shape_for("DescribeTrainingJobResponse")
    # A few members of the request are not described: SessionChainingConfig is one.
    return {name: value for name, value in result.items() if name in described.members and value is not None}


def _summary(document: Mapping[str, Any]) -> dict[str, Any]:
    result = {"TrainingJobName": document["request"]["TrainingJobName"], **_common(document)}
    return {name: value for name, value in result.items() if value is not None}


def _transition(step: Mapping[str, Any]) -> dict[str, Any]:
    result = {
        "Status": step["status"],
        "StartTime": _time(step["start"]),
        "EndTime": _time(step["end"]),
        "StatusMessage": step["message"],
    }
    return {name: value for name, value in result.items() if value is not None}


def _common(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "TrainingJobArn": document["arn"],
        "TrainingJobStatus": document["status"],
        "SecondaryStatus": document["secondary"],
        "CreationTime": _time(document["created"]),
        "LastModifiedTime": _time(document["modified"]),
        "TrainingEndTime": _time(document["ended"]),
    }


def _selected(document: Mapping[str, Any], params: Mapping[str, Any]) -> bool:
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
        # Nothing here is kept warm or planned ahead.
        "WarmPoolStatusEquals": lambda _: False,
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


def _refused(message: str) -> ApiError:
    return ApiError("ValidationException", message)


def _not_found(context: Context, name: str) -> ApiError:
    arn = context.arn("sagemaker", f"training-job/{name}")
    return ApiError("ResourceNotFound", f"Requested resource not found: there is no {arn}")
