"""What CreateTrainingJob refuses: what would cost money at AWS before it fails, and what cannot be done here.

The built-in image classification has rules of its own (contract/training.md §1.3 to §1.5). Any other image
that a program stands for is a container of somebody's own, to which only the platform's rules apply.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gtlabel.emulator.api import ApiError, Context
from gtlabel.emulator.container import BASE, input_mode
from gtlabel.errors import TrainingRegionError, UriError
from gtlabel.training.image import REPOSITORY, image_uri, parse_image
from gtlabel.uris import S3Uri

DEFAULT_MAX_RUNTIME = 86_400

_GPU = re.compile(r"ml\.[pg]\d")
_ATTRIBUTES = 2  # a picture and its label: all that the built-in reads of a line
_NEEDED = ("train", "validation")
_POSSIBLE = (*_NEEDED, "train_lst", "validation_lst", "model")


def check_job(context: Context, params: Mapping[str, Any], trainers: Mapping[str, Sequence[str]]) -> str:
    """Refuse a job that cannot come to a good end; return the repository of its image.

    Args:
        context: where the job is.
        params: the parameters of CreateTrainingJob.
        trainers: the program for each repository.

    Raises:
        ApiError: `ValidationException`, with one sentence.
    """
    algorithm = params.get("AlgorithmSpecification")
    if algorithm is None:
        raise refused("Give an AlgorithmSpecification with a TrainingImage; jobs without one cannot run here")
    repository = _check_image(context, algorithm, trainers)
    _check_resources(params)
    _check_output(params["OutputDataConfig"])
    _check_time(params)
    _check_checkpoints(params.get("CheckpointConfig"))
    channels = params.get("InputDataConfig") or ()
    _check_names(channels)
    for channel in channels:
        _check_channel(channel, input_mode(params, channel))
    if repository == REPOSITORY:
        _check_built_in(params, algorithm, channels)
    else:
        _check_metrics(algorithm)
    if params["RoleArn"].split(":")[4] != context.account:
        raise refused(f"The role {params['RoleArn']} belongs to another account than {context.account}")
    return repository


def refused(message: str) -> ApiError:
    """The error of a request that is no use."""
    return ApiError("ValidationException", message)


def _check_image(
    context: Context, algorithm: Mapping[str, Any], trainers: Mapping[str, Sequence[str]]
) -> str:
    """The repository of a training image that can be run here."""
    image = algorithm.get("TrainingImage")
    if image is None:
        raise refused("Give a TrainingImage; what AlgorithmName stands for cannot be run here")
    found = parse_image(image)
    if found is None:
        raise refused(
            f"The training image {image} cannot be run here: it is not an address of Amazon ECR, "
            "such as 123456789012.dkr.ecr.us-east-1.amazonaws.com/my-trainer:1"
        )
    if found.repository not in trainers:
        raise refused(
            f"The training image {image} cannot be run here; what can be trained is "
            f"{', '.join(sorted(trainers))}. Say which program stands for it with: "
            f"gtlabel local up --trainer {found.repository}=COMMAND"
        )
    if algorithm.get("ContainerEntrypoint"):
        raise refused(
            "ContainerEntrypoint names a program inside of the image, and no image is run here; leave it "
            "out: what stands for the image is called, with ContainerArguments if there are any"
        )
    if found.repository == REPOSITORY:
        _check_registry(context, image)
    elif found.region != context.region:
        raise refused(
            f"The training image {image} is in {found.region}; a job in {context.region} reads images of its "
            "own region only"
        )
    return found.repository


def _check_registry(context: Context, image: str) -> None:
    try:
        here = image_uri(context.region)
    except TrainingRegionError as error:
        raise refused(str(error)) from error
    found, expected = parse_image(image), parse_image(here)
    assert found is not None
    assert expected is not None
    if (found.account, found.region) != (expected.account, expected.region):
        raise refused(f"The training image {image} does not exist for jobs in {context.region}; use {here}")


def _check_resources(params: Mapping[str, Any]) -> None:
    resources = params.get("ResourceConfig") or {}
    if resources.get("InstanceGroups"):
        raise refused("InstanceGroups cannot be had here: jobs run on one machine; give an InstanceType")
    if any(name not in resources for name in ("InstanceType", "InstanceCount", "VolumeSizeInGB")):
        raise refused("ResourceConfig needs InstanceType, InstanceCount and VolumeSizeInGB")
    if resources["InstanceCount"] != 1:
        raise refused(f"InstanceCount is {resources['InstanceCount']}; jobs run on one machine here")
    if resources.get("KeepAlivePeriodInSeconds") and params.get("EnableManagedSpotTraining"):
        # https://docs.aws.amazon.com/sagemaker/latest/dg/train-warm-pools.html
        raise refused("KeepAlivePeriodInSeconds keeps no spot instances; leave EnableManagedSpotTraining out")


def _check_output(output: Mapping[str, Any]) -> None:
    _address(output["S3OutputPath"], "OutputDataConfig.S3OutputPath")
    if output.get("CompressionType", "GZIP") != "GZIP":
        raise refused("OutputDataConfig.CompressionType must be GZIP here: the artifact is a model.tar.gz")


def _check_time(params: Mapping[str, Any]) -> None:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/model-managed-spot-training.html."""
    limits = params.get("StoppingCondition") or {}
    longest, wait = limits.get("MaxRuntimeInSeconds", DEFAULT_MAX_RUNTIME), limits.get("MaxWaitTimeInSeconds")
    if params.get("EnableManagedSpotTraining"):
        if wait is None or wait < longest:
            raise refused(
                "StoppingCondition.MaxWaitTimeInSeconds must be there for managed spot training, "
                f"and at least MaxRuntimeInSeconds, which is {longest}"
            )
    elif wait is not None:
        raise refused("StoppingCondition.MaxWaitTimeInSeconds is for EnableManagedSpotTraining only")


def _check_checkpoints(checkpoints: Mapping[str, Any] | None) -> None:
    if checkpoints is None:
        return
    _address(checkpoints["S3Uri"], "CheckpointConfig.S3Uri")
    path = checkpoints.get("LocalPath", "")
    parts = path.strip("/").split("/")
    taken = parts[2:3] == [] or parts[2] in ("input", "model", "output")
    if path and (parts[:2] != ["opt", "ml"] or taken or ".." in parts):
        raise refused(
            f"CheckpointConfig.LocalPath {path} cannot be had here; give a folder below {BASE} other than "
            "input, model and output, or leave it out"
        )


def _check_metrics(algorithm: Mapping[str, Any]) -> None:
    for metric in algorithm.get("MetricDefinitions", ()):
        try:
            groups = re.compile(metric["Regex"]).groups
        except re.error as error:
            raise refused(
                f"MetricDefinitions, {metric['Name']}: {metric['Regex']} is no regular expression: {error}"
            ) from error
        if not groups:
            raise refused(
                f"MetricDefinitions, {metric['Name']}: {metric['Regex']} has no group, whose text would be "
                "the value; put the number in parentheses"
            )


def _check_names(channels: Sequence[Mapping[str, Any]]) -> None:
    names = [channel["ChannelName"] for channel in channels]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise refused(f"InputDataConfig names the channel {', '.join(twice)} more than once")


def _check_channel(channel: Mapping[str, Any], mode: str) -> None:
    where = _where(channel)
    source = channel["DataSource"].get("S3DataSource")
    if source is None:
        raise refused(f"{where}: only an S3DataSource can be read here")
    _address(source["S3Uri"], where)
    if channel.get("CompressionType", "None") != "None":
        raise refused(f"{where}: CompressionType must be None here")
    kind = source["S3DataType"]
    if kind == "AugmentedManifestFile":
        if mode != "Pipe":
            raise refused(f"{where}: an AugmentedManifestFile is read in Pipe mode only, not in {mode} mode")
        if not source.get("AttributeNames"):
            raise refused(f"{where}: AttributeNames must say what of each line is streamed")
    elif kind not in ("S3Prefix", "ManifestFile"):
        raise refused(
            f"{where}: S3DataType {kind} cannot be read here; "
            "S3Prefix, ManifestFile and AugmentedManifestFile can"
        )
    elif source.get("AttributeNames"):
        raise refused(f"{where}: AttributeNames belong to an AugmentedManifestFile")
    wrapped = channel.get("RecordWrapperType", "None") != "None"
    if wrapped and mode != "Pipe":
        raise refused(f"{where}: RecordWrapperType is for Pipe mode only, and the channel is in {mode} mode")
    if channel["ChannelName"] == "model" and mode != "File":
        raise refused(
            f"{where}: an earlier artifact is read in File mode only; give the channel InputMode File"
        )


def _check_built_in(
    params: Mapping[str, Any], algorithm: Mapping[str, Any], channels: Sequence[Mapping[str, Any]]
) -> None:
    instance = params["ResourceConfig"]["InstanceType"]
    if not _GPU.match(instance):
        # AWS's own words: contract/training.md §1.8, 11.
        raise refused(
            f"Instance type {instance} is not supported by algorithm {REPOSITORY}; "
            "only GPU instances are supported."
        )
    if algorithm.get("MetricDefinitions"):
        raise refused("The metrics of a built-in algorithm are fixed; leave MetricDefinitions out")
    if algorithm.get("ContainerArguments"):
        raise refused("A built-in algorithm takes no ContainerArguments; give it HyperParameters")
    names = [channel["ChannelName"] for channel in channels]
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise refused(f"InputDataConfig lacks the channel {' and '.join(missing)}, which the algorithm needs")
    unknown = [name for name in names if name not in _POSSIBLE]
    if unknown:
        raise refused(
            f"InputDataConfig has the channel {', '.join(unknown)}; "
            f"the algorithm reads {', '.join(_POSSIBLE)}"
        )
    for channel in channels:
        source = channel["DataSource"]["S3DataSource"]
        if source["S3DataType"] == "AugmentedManifestFile":
            _check_manifest_of_built_in(channel, source)


def _check_manifest_of_built_in(channel: Mapping[str, Any], source: Mapping[str, Any]) -> None:
    where = _where(channel)
    attributes = source["AttributeNames"]
    if len(attributes) != _ATTRIBUTES:
        raise refused(
            f"{where}: AttributeNames must be the picture and its label, such as source-ref and label; "
            f"they are {attributes}"
        )
    if channel.get("RecordWrapperType") != "RecordIO":
        raise refused(f"{where}: RecordWrapperType must be RecordIO, or pictures run into their labels")
    if source.get("S3DataDistributionType", "FullyReplicated") != "FullyReplicated":
        raise refused(f"{where}: S3DataDistributionType must be FullyReplicated")


def _where(channel: Mapping[str, Any]) -> str:
    return f"InputDataConfig, channel {channel['ChannelName']}"


def _address(text: str, where: str) -> None:
    try:
        S3Uri(text)
    except UriError as error:
        raise refused(f"{where}: {error}") from error
