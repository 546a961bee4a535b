"""From the parameters of CreateLabelingJob to what the engine is asked to do.

The rules are those that botocore's model leaves out: contract/ground-truth.md 2.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from gtlabel.emulator.api import ApiError, Context
from gtlabel.emulator.automated import automation_of
from gtlabel.emulator.jobtags import wishes_of
from gtlabel.engine.jobs import JobKey, JobSpec, Kind
from gtlabel.errors import UriError
from gtlabel.labeling.tasks import FUNCTION_ACCOUNTS
from gtlabel.uris import S3Uri

DEFAULT_AVAILABILITY_SECONDS = 2_592_000
DEFAULT_CONCURRENT = 1000

_LONGEST_TASK_SECONDS = 28_800
_KINDS = {
    "ImageMultiClass": Kind.SINGLE,
    "ImageMultiClassMultiLabel": Kind.MULTI,
    "PassThrough": Kind.CUSTOM,
}


def job_spec(context: Context, params: dict[str, Any], functions: Container[str] = ()) -> JobSpec:
    """What a request asks of the engine.

    Args:
        context: the account and region.
        params: of CreateLabelingJob.
        functions: the names of the functions that custom workflows can have here.

    Raises:
        ApiError: `ValidationException` for what the service, or this emulator, cannot do.
    """
    human, source = params["HumanTaskConfig"], params["InputConfig"]["DataSource"]
    _check_attribute(params["LabelAttributeName"])
    _check_team(context, human["WorkteamArn"])
    _check_times(human)
    streaming = "SnsDataSource" in source
    output_topic = params["OutputConfig"].get("SnsTopicArn", "")
    if streaming:
        _check_topics(context, source["SnsDataSource"].get("SnsTopicArn", ""), output_topic)
    elif "S3DataSource" not in source:
        raise _refusal("InputConfig.DataSource: one of S3DataSource and SnsDataSource is needed")
    kind, pre, post = _functions(context, human, functions)
    if "LabelCategoryConfigS3Uri" not in params and kind is not Kind.CUSTOM:
        raise _refusal("LabelCategoryConfigS3Uri: image classification needs its classes")
    if "HumanTaskUiArn" in human["UiConfig"] or "UiTemplateS3Uri" not in human["UiConfig"]:
        raise _refusal(
            "HumanTaskConfig.UiConfig: image classification needs UiTemplateS3Uri and nothing else"
        )
    # Streaming jobs ignore stopping conditions (contract/ground-truth.md 8).
    conditions = {} if streaming else params.get("StoppingConditions", {})
    return JobSpec(
        key=JobKey(context.account, context.region, params["LabelingJobName"]),
        attribute=params["LabelAttributeName"],
        manifest=_uri("InputConfig.DataSource.S3DataSource.ManifestS3Uri", source["S3DataSource"])
        if "S3DataSource" in source
        else None,
        class_list=_uri("LabelCategoryConfigS3Uri", params) if "LabelCategoryConfigS3Uri" in params else None,
        template=_uri("HumanTaskConfig.UiConfig.UiTemplateS3Uri", human["UiConfig"]),
        output=_uri("OutputConfig.S3OutputPath", params["OutputConfig"]),
        kind=kind,
        workers_per_object=human["NumberOfHumanWorkersPerDataObject"],
        task_seconds=human["TaskTimeLimitInSeconds"],
        availability_seconds=human.get("TaskAvailabilityLifetimeInSeconds", DEFAULT_AVAILABILITY_SECONDS),
        max_concurrent=human.get("MaxConcurrentTaskCount", DEFAULT_CONCURRENT),
        max_labeled=conditions.get("MaxHumanLabeledObjectCount"),
        max_percentage=conditions.get("MaxPercentageOfInputDatasetLabeled"),
        request=params,
        streaming=streaming,
        announced=streaming and bool(output_topic),
        team=human["WorkteamArn"],
        pre=pre,
        post=post,
        automation=automation_of(context, params, kind),
        **wishes_of(params, kind),
    )


def _check_attribute(name: str) -> None:
    if name in ("source", "source-ref"):
        raise _refusal(f"LabelAttributeName: '{name}' is reserved")
    for ending in ("-metadata", "-ref"):
        if name.endswith(ending):
            raise _refusal(f"LabelAttributeName: '{name}' must not end in '{ending}'")


def _check_team(context: Context, arn: str) -> None:
    if ":workteam/public-crowd/" in arn:
        raise _refusal(
            "HumanTaskConfig.WorkteamArn: the public workforce closed with Mechanical Turk on 2026-09-30; "
            "give a private team"
        )
    region = arn.split(":")[3]
    if region != context.region:
        raise _refusal(
            f"HumanTaskConfig.WorkteamArn: the team is in {region} and the job in {context.region}"
        )


def _check_topics(context: Context, given: str, answered: str) -> None:
    member = "InputConfig.DataSource.SnsDataSource.SnsTopicArn"
    if not given:
        raise _refusal(f"{member}: a streaming job needs the topic that it listens to")
    for name, arn in ((member, given), ("OutputConfig.SnsTopicArn", answered)):
        if arn and (arn.split(":")[3] != context.region or arn.endswith(".fifo")):
            raise _refusal(f"{name}: '{arn}' must be a standard topic in {context.region}")
    if given == answered:
        raise _refusal("OutputConfig.SnsTopicArn: a job cannot answer on the topic that it listens to")


def _check_times(human: dict[str, Any]) -> None:
    if human["TaskTimeLimitInSeconds"] > _LONGEST_TASK_SECONDS:
        raise _refusal(
            f"HumanTaskConfig.TaskTimeLimitInSeconds: at most {_LONGEST_TASK_SECONDS} seconds for images"
        )
    if human.get("TaskAvailabilityLifetimeInSeconds", 0) > DEFAULT_AVAILABILITY_SECONDS:
        raise _refusal(
            "HumanTaskConfig.TaskAvailabilityLifetimeInSeconds: "
            f"at most {DEFAULT_AVAILABILITY_SECONDS} seconds for a private team"
        )


def _functions(
    context: Context, human: dict[str, Any], known: Container[str]
) -> tuple[Kind, str | None, str | None]:
    """The kind of question, and the names of the functions that are the caller's own.

    Built-in functions must fit each other and the region. A custom task may go without a function, and then
    does what its `PassThrough` would.
    """
    consolidation = human.get("AnnotationConsolidationConfig", {}).get("AnnotationConsolidationLambdaArn")
    before, pre = _function(
        "PreHumanTaskLambdaArn", "PRE", context, human.get("PreHumanTaskLambdaArn"), known
    )
    after, post = _function("AnnotationConsolidationConfig", "ACS", context, consolidation, known)
    if before is not after and Kind.CUSTOM in (before, after):
        raise _refusal("HumanTaskConfig: a built-in task needs both of its functions, PRE and ACS")
    if before is not after:
        raise _refusal("HumanTaskConfig: the PRE and the ACS function are of different task types")
    return before, pre, post


def _function(
    member: str, prefix: str, context: Context, arn: str | None, known: Container[str]
) -> tuple[Kind, str | None]:
    if arn is None:
        return Kind.CUSTOM, None
    # A version or an alias may follow the name; here there is one of each function.
    _, _, _, region, account, _, name, *_ = arn.split(":")
    kind = _KINDS.get(name.removeprefix(f"{prefix}-")) if name.startswith(prefix) else None
    if kind is None and name in known:
        if region != context.region:
            raise _refusal(
                f"HumanTaskConfig.{member}: the function is in {region} and the job in {context.region}"
            )
        return Kind.CUSTOM, name
    if kind is None:
        raise _refusal(
            f"HumanTaskConfig.{member}: '{arn}' is none of the functions here, "
            f"{', '.join(f'{prefix}-{task}' for task in _KINDS)}; "
            f"start this server with --function {name}=package.module:function to have it"
        )
    if region != context.region or account != FUNCTION_ACCOUNTS.get(context.region):
        raise _refusal(
            f"HumanTaskConfig.{member}: '{arn}' is not the function of {context.region}, "
            f"which account {FUNCTION_ACCOUNTS.get(context.region, '(none)')} owns"
        )
    return kind, None


def _uri(member: str, holder: dict[str, Any]) -> S3Uri:
    try:
        return S3Uri(holder[member.rpartition(".")[2]])
    except UriError as error:
        raise _refusal(f"{member}: {error}") from error


def _refusal(sentence: str) -> ApiError:
    return ApiError("ValidationException", f"{sentence}.")
