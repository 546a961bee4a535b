"""What the fields of a labeling job demand of each other: the rules that no service model holds.

From AWS's manual, restated in contract/ground-truth.md 2 to 4 and 8. Each sentence names the field, as we
spell it and as AWS does, and the rule. What a field may hold by itself is in `gtlabel.labeling.limits`.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from gtlabel.errors import ClassListError
from gtlabel.labeling import limits
from gtlabel.labeling.limits import say
from gtlabel.labeling.tasks import (
    AUTOMATED_TAG,
    CONSENSUS_TAG,
    FUNCTION_ACCOUNTS,
    GOLD_TAG,
    REDUNDANCY_TAG,
    TASKS,
    Task,
    TeamKind,
    algorithm_arn,
    consolidation_function,
    pre_function,
    public_team_arn,
    team_kind,
)
from gtlabel.manifests.classes import check_classes

if TYPE_CHECKING:
    from gtlabel.labeling.request import LabelingJobRequest

# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_PublicWorkforceTaskPrice.html
PUBLIC_PRICES = tuple(Decimal(tenths) / 1000 for tenths in (12, 24, 36, 48, 60, 72, *range(120, 1201, 120)))
# https://docs.aws.amazon.com/sagemaker/latest/dg/sms-automated-labeling.html
MIN_IMAGES_AUTOMATED = 1_250
ADVISED_IMAGES_AUTOMATED = 5_000
# Our own engine promises from a random sample, which must be there first (gtlabel.learning.policies).
MIN_IMAGES_PROMISED = 50

CONTENT_CLASSIFIERS = ("FreeOfPersonallyIdentifiableInformation", "FreeOfAdultContent")

_PUBLIC_AVAILABILITY = 43_200
_RESERVED_ATTRIBUTES = ("source", "source-ref")
_CONSOLE_CLASSES = 30
_USUAL_CONCURRENT = 1_000


def problems(request: LabelingJobRequest) -> list[str]:
    """Everything the service would refuse or fail at, one sentence for each, as far as it can be known here.

    Whether things exist and may be used is another question: see `gtlabel.labeling.preflight`.
    """
    return [*limits.problems(request), *_combined(request)]


def warnings(request: LabelingJobRequest) -> list[str]:
    """What the service takes and people may come to regret."""
    return list(_regrets(request))


def _combined(request: LabelingJobRequest) -> Iterator[str]:
    yield from _attribute(request)
    yield from _sources(request)
    yield from _files(request)
    yield from _classes(request)
    yield from _functions(request)
    yield from _team(request)
    yield from _region(request)
    yield from _public(request)
    yield from _streaming(request)
    yield from _automated(request)


def _attribute(request: LabelingJobRequest) -> Iterator[str]:
    name = request.label_attribute
    if name in _RESERVED_ATTRIBUTES:
        yield say(
            "attribute", "LabelAttributeName", f"{name!r} is reserved for the image's address; choose another"
        )
    for ending in ("-metadata", "-ref"):
        if name.endswith(ending):
            why = "belongs to what jobs say about labels" if ending == "-metadata" else "belongs to masks"
            yield say(
                "attribute",
                "LabelAttributeName",
                f"{name!r} must not end in {ending}, which {why}; choose another",
            )
    audits = TASKS[request.task].audits
    if audits and not request.audited:
        yield say(
            "audited",
            "LabelAttributeName",
            f"{request.task} needs the attribute whose labels are looked at again",
        )
    if request.audited and not audits:
        yield say(
            "audited",
            "LabelAttributeName",
            f"only {Task.VERIFICATION} and {Task.ADJUSTMENT} look at earlier labels",
        )
    if audits and request.audited == name:
        yield say("attribute", "LabelAttributeName", f"{name!r} is what is being audited; choose another")


def _sources(request: LabelingJobRequest) -> Iterator[str]:
    if request.manifest is None and request.input_topic is None:
        yield say("manifest", "InputConfig.DataSource", "a job needs a manifest, an input_topic, or both")
    if len(set(request.content_classifiers)) < len(request.content_classifiers):
        yield say("content_classifiers", "ContentClassifiers", "each may stand there once")
    for classifier in request.content_classifiers:
        if classifier not in CONTENT_CLASSIFIERS:
            yield say(
                "content_classifiers",
                "ContentClassifiers",
                f"{classifier!r} is none of {', '.join(CONTENT_CLASSIFIERS)}",
            )


def _files(request: LabelingJobRequest) -> Iterator[str]:
    files = {"manifest": request.manifest, "classes": request.classes, "template": request.template}
    seen: dict[str, str] = {}
    for field, uri in files.items():
        if uri is not None and uri in seen:
            yield say(
                field,
                "LabelCategoryConfigS3Uri" if field == "classes" else "UiTemplateS3Uri",
                f"it is the same object as the {seen[uri]}; "
                f"the manifest, the class list and the template cannot all be {uri}",
            )
        elif uri is not None:
            seen[uri] = field


def _classes(request: LabelingJobRequest) -> Iterator[str]:
    task = TASKS[request.task]
    if request.classes is None and task.built_in:
        yield say("classes", "LabelCategoryConfigS3Uri", f"{request.task} needs the list of its classes")
    names = request.class_names
    if names is None:
        return
    try:
        check_classes(names)
    except ClassListError as error:
        yield say("class_names", "LabelCategoryConfigS3Uri", str(error))
    if task.max_classes is not None and len(names) > task.max_classes:
        yield say(
            "class_names",
            "LabelCategoryConfigS3Uri",
            f"{len(names)} classes; {request.task}-label jobs may have at most {task.max_classes}",
        )


def _functions(request: LabelingJobRequest) -> Iterator[str]:
    task = TASKS[request.task]
    given = {
        "pre_function": (request.pre_function, "PreHumanTaskLambdaArn", pre_function),
        "consolidation_function": (
            request.consolidation_function,
            "AnnotationConsolidationLambdaArn",
            consolidation_function,
        ),
    }
    if task.built_in and request.region not in FUNCTION_ACCOUNTS:
        yield say(
            "region",
            "PreHumanTaskLambdaArn",
            f"Ground Truth has no built-in functions in {request.region}; "
            f"choose one of {', '.join(FUNCTION_ACCOUNTS)}, or make it a {Task.CUSTOM} task",
        )
        return
    for field, (arn, member, expected) in given.items():
        if arn is None and task.built_in:
            yield say(field, member, f"{request.task} cannot do without; leave the field empty for AWS's own")
        elif arn and task.built_in and arn != expected(request.region, task.function):
            yield say(
                field,
                member,
                f"{request.task} goes with {expected(request.region, task.function)} alone; "
                f"functions of your own make it a {Task.CUSTOM} task",
            )


def _team(request: LabelingJobRequest) -> Iterator[str]:
    parts = request.team.split(":", 5)
    if len(parts) < 6 or not parts[5].startswith("workteam/"):
        return
    kind, name = team_kind(request.team), parts[5].partition("/")[2].partition("/")[2]
    if kind is None:
        yield say(
            "team",
            "WorkteamArn",
            f"{request.team} is none of workteam/{', workteam/'.join(TeamKind)}",
        )
    elif not name:
        yield say("team", "WorkteamArn", f"{request.team} names no team")
    if kind is TeamKind.PUBLIC and not request.force:
        yield say(
            "team",
            "WorkteamArn",
            "the public team closed with Mechanical Turk on 2026-09-30; use a private or vendor team, "
            "or force it if AWS opened it again",
        )
    if kind is TeamKind.PUBLIC and request.team != public_team_arn(request.region):
        yield say(
            "team", "WorkteamArn", f"the public team of the region is {public_team_arn(request.region)}"
        )
    role = request.role.split(":", 5)
    if kind is TeamKind.PRIVATE and len(role) == 6 and role[4] != parts[4]:
        yield say(
            "team",
            "WorkteamArn",
            f"a private team works for its own account {parts[4]}, and the role is of account {role[4]}",
        )


def _region(request: LabelingJobRequest) -> Iterator[str]:
    """Everything a job touches lies in its own region."""
    for field, member in (
        ("team", "WorkteamArn"),
        ("pre_function", "PreHumanTaskLambdaArn"),
        ("consolidation_function", "AnnotationConsolidationLambdaArn"),
        ("input_topic", "InputConfig.DataSource.SnsDataSource.SnsTopicArn"),
        ("output_topic", "OutputConfig.SnsTopicArn"),
        ("output_key", "OutputConfig.KmsKeyId"),
        ("volume_key", "VolumeKmsKeyId"),
        ("initial_model", "InitialActiveLearningModelArn"),
    ):
        parts = (getattr(request, field) or "").split(":", 5)
        if len(parts) == 6 and parts[0] == "arn" and parts[3] != request.region:
            yield say(field, member, f"it is in {parts[3] or 'no region'} and the job in {request.region}")


def _public(request: LabelingJobRequest) -> Iterator[str]:
    kind = team_kind(request.team)
    price = request.price
    if price is not None and kind is not TeamKind.PUBLIC:
        yield say(
            "price",
            "PublicWorkforceTaskPrice",
            "only the public team is paid by the task; a vendor names its price in the Marketplace",
        )
    if price is not None and price not in PUBLIC_PRICES:
        allowed = ", ".join(str(each) for each in PUBLIC_PRICES)
        yield say("price", "PublicWorkforceTaskPrice", f"{price} is none of the allowed {allowed}")
    if kind is not TeamKind.PUBLIC:
        return
    if price is None:
        yield say("price", "PublicWorkforceTaskPrice", "the public team works for a price; give one")
    if CONTENT_CLASSIFIERS[0] not in request.content_classifiers:
        yield say(
            "content_classifiers",
            "ContentClassifiers",
            f"the public team may only see images declared {CONTENT_CLASSIFIERS[0]}",
        )
    if request.availability > _PUBLIC_AVAILABILITY:
        yield say(
            "availability",
            "TaskAvailabilityLifetimeInSeconds",
            f"the public team is offered an image for at most {_PUBLIC_AVAILABILITY:,} seconds",
        )


def _streaming(request: LabelingJobRequest) -> Iterator[str]:
    # https://docs.aws.amazon.com/sagemaker/latest/dg/sms-streaming-create-job.html
    for field, member in (
        ("input_topic", "InputConfig.DataSource.SnsDataSource.SnsTopicArn"),
        ("output_topic", "OutputConfig.SnsTopicArn"),
    ):
        if (getattr(request, field) or "").endswith(".fifo"):
            yield say(field, member, "a FIFO topic cannot be used; make a standard one")
    if request.input_topic is None:
        return
    if request.input_topic == request.output_topic:
        yield say(
            "output_topic",
            "OutputConfig.SnsTopicArn",
            "it is the input topic; labels would come back as images",
        )
    for field, member in (
        ("max_labeled", "MaxHumanLabeledObjectCount"),
        ("max_percentage", "MaxPercentageOfInputDatasetLabeled"),
    ):
        if getattr(request, field) is not None:
            yield say(field, member, "a streaming job ignores stopping conditions; leave it out")
    if request.automated:
        yield say(
            "automated",
            "LabelingJobAlgorithmsConfig",
            "a streaming job cannot label automatically; leave out one of automated and input_topic",
        )


def _automated(request: LabelingJobRequest) -> Iterator[str]:
    member = "LabelingJobAlgorithmsConfig"
    if not request.automated:
        for field, name in (
            ("algorithm", "LabelingJobAlgorithmSpecificationArn"),
            ("initial_model", "InitialActiveLearningModelArn"),
            ("volume_key", "VolumeKmsKeyId"),
            ("subnets", "VpcConfig.Subnets"),
            ("security_groups", "VpcConfig.SecurityGroupIds"),
        ):
            if getattr(request, field):
                yield say(field, name, "it belongs to automated labeling, which is off; set automated too")
        return
    algorithm = TASKS[request.task].algorithm
    if algorithm is None:
        yield say(
            "automated", member, f"AWS labels single-label images automatically, not {request.task} ones"
        )
    elif request.algorithm and request.algorithm != algorithm_arn(request.region, algorithm):
        yield say(
            "algorithm",
            "LabelingJobAlgorithmSpecificationArn",
            f"this task goes with {algorithm_arn(request.region, algorithm)} alone",
        )
    fewest = MIN_IMAGES_PROMISED if AUTOMATED_TAG in request.tags else MIN_IMAGES_AUTOMATED
    if request.images is not None and request.images < fewest:
        yield say(
            "automated",
            member,
            f"{request.images:,} images are fewer than the {fewest:,} it takes to learn from",
        )
    if bool(request.subnets) != bool(request.security_groups):
        missing = "security_groups" if request.subnets else "subnets"
        yield say(missing, "VpcConfig", "a VPC takes both subnets and security_groups")


def _regrets(request: LabelingJobRequest) -> Iterator[str]:
    if request.max_concurrent > _USUAL_CONCURRENT:
        yield say(
            "max_concurrent",
            "MaxConcurrentTaskCount",
            f"more than {_USUAL_CONCURRENT:,} needs a quota that AWS Support raised for the account",
        )
    if request.workers_per_image == 1:
        yield say(
            "workers_per_image",
            "NumberOfHumanWorkersPerDataObject",
            "with one worker there is nothing to compare, and every confidence will be 0.0",
        )
    if request.availability < request.task_time_limit:
        yield say(
            "availability",
            "TaskAvailabilityLifetimeInSeconds",
            "it is shorter than task_time_limit, so that images expire in workers' hands",
        )
    for tag, instead in (
        (CONSENSUS_TAG, "consolidates in its own way"),
        (REDUNDANCY_TAG, f"asks {request.workers_per_image} people about each image"),
        (GOLD_TAG, "takes these images for any others"),
    ):
        if tag in request.tags:
            yield say("tags", f"Tags, {tag}", f"gtlabel's own engine reads it; AWS does not, and {instead}")
    if request.automated and AUTOMATED_TAG in request.tags:
        yield say(
            "automated",
            f"Tags, {AUTOMATED_TAG}",
            f"gtlabel's own engine reads it; AWS does not, takes {MIN_IMAGES_AUTOMATED:,} images and more, "
            "and means 95 %",
        )
    elif request.automated and MIN_IMAGES_AUTOMATED <= (request.images or 0) < ADVISED_IMAGES_AUTOMATED:
        yield say(
            "automated",
            "LabelingJobAlgorithmsConfig",
            f"AWS advises {ADVISED_IMAGES_AUTOMATED:,} images; of {request.images:,} people may label most",
        )
    if (
        request.images is not None
        and request.max_labeled is not None
        and request.max_labeled > request.images
    ):
        yield say(
            "max_labeled",
            "MaxHumanLabeledObjectCount",
            f"it is more than the {request.images:,} images, so that it never stops the job",
        )
    if len(request.class_names or ()) > _CONSOLE_CLASSES:
        yield say(
            "class_names",
            "LabelCategoryConfigS3Uri",
            f"the console allows {_CONSOLE_CLASSES} classes; people choose badly among more",
        )
    if request.output_topic and request.input_topic is None:
        yield say(
            "output_topic",
            "OutputConfig.SnsTopicArn",
            "AWS describes an output topic for streaming jobs only",
        )
    if not request.template.endswith((".liquid", ".html")):
        yield say("template", "UiTemplateS3Uri", "AWS asks for a name that ends in .liquid or .html")
