"""A labeling job as it is asked for: checked in full before anything is sent.

boto3 checks only required members, types and minima; a job name of 180 characters passes it. So every
request is held against the rules of AWS's manual, each named in a sentence of ours, and then against the
whole service model, patterns, enumerations and maxima included:
https://docs.aws.amazon.com/sagemaker/latest/dg/sms-create-labeling-job-api.html
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self, cast

from pydantic import BaseModel, ConfigDict, Field

from gtlabel.awsmodel import check_request
from gtlabel.errors import RequestError
from gtlabel.labeling import rules
from gtlabel.labeling.limits import MAX_AVAILABILITY, MAX_JOB_NAME
from gtlabel.labeling.tasks import (
    FUNCTION_ACCOUNTS,
    TASKS,
    Task,
    TeamKind,
    algorithm_arn,
    consolidation_function,
    pre_function,
    team_kind,
)
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_sagemaker.type_defs import CreateLabelingJobRequestTypeDef

__all__ = ["MAX_JOB_NAME", "LabelingJobRequest"]

DEFAULT_TITLE = "Choose the class that fits the picture"
DEFAULT_DESCRIPTION = "Look at one picture at a time and choose the class that fits it best."
DEFAULT_KEYWORDS = ("images", "classification")

_OPERATION = "CreateLabelingJob"


class LabelingJobRequest(BaseModel):
    """One labeling job of image classification, or of a custom task on images.

    Times are in seconds. The defaults are those of the SageMaker console. An empty text stands for what
    goes with the rest by itself: the attribute is the job's name, the functions are the task's own.

    Attributes:
        name: never used before in the account and region, whatever the case of its letters.
        attribute: the key its labels get; the job's name when empty.
        task: what workers are asked.
        manifest: the images; a streaming job may go without.
        classes: the class list; a custom task may go without.
        template: the worker page.
        output: the folder below which the job writes a folder of its own name.
        role: the ARN of the role the job reads and writes with.
        team: the ARN of the work team.
        region: where all of it happens.
        availability: how long an image is offered before it counts as failed.
        pre_function: the ARN of a function that makes a task of a line, for custom tasks; None for no
            function at all.
        consolidation_function: the same for what makes one label of many answers.
        price: what the public team gets for an answer, in US dollars.
        max_labeled: stop when so many images are labeled by people.
        max_percentage: stop when this share of the input has a label.
        output_key: the KMS key that encrypts the output.
        input_topic: the SNS topic that brings images; it makes the job a streaming one.
        output_topic: the SNS topic that gets the labels.
        automated: whether a model labels what it is sure of.
        algorithm: the ARN of the algorithm it is trained with; the task's own when empty.
        initial_model: the ARN of the model of an earlier job to begin with.
        volume_key: the KMS key of the disks of automated labeling.
        subnets: where the machines of automated labeling stand.
        security_groups: what those may talk to.
        content_classifiers: what the images are declared free of.
        audited: the attribute of the earlier job whose labels are verified or adjusted.
        images: how many images the manifest names, if that is known; it is checked and not sent.
        class_names: what stands in the class list, if that is known; it is checked and not sent.
        force: send it to the public team all the same.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    attribute: str = ""
    task: Task = Task.SINGLE
    manifest: S3Uri | None = None
    classes: S3Uri | None = None
    template: S3Uri
    output: S3Uri
    role: str
    team: str
    region: str
    title: str = DEFAULT_TITLE
    description: str = DEFAULT_DESCRIPTION
    keywords: tuple[str, ...] = DEFAULT_KEYWORDS
    workers_per_image: int = 3
    task_time_limit: int = 300
    availability: int = 864_000
    max_concurrent: int = 1_000
    pre_function: str | None = ""
    consolidation_function: str | None = ""
    price: Decimal | None = None
    max_labeled: int | None = None
    max_percentage: int | None = None
    output_key: str = ""
    input_topic: str | None = None
    output_topic: str | None = None
    automated: bool = False
    algorithm: str = ""
    initial_model: str = ""
    volume_key: str = ""
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    content_classifiers: tuple[str, ...] = rules.CONTENT_CLASSIFIERS
    tags: dict[str, str] = Field(default_factory=dict)
    audited: str = ""
    images: int | None = None
    class_names: tuple[str, ...] | None = None
    force: bool = False

    @property
    def label_attribute(self) -> str:
        """The key under which the job writes its label."""
        return self.attribute or self.name

    @property
    def streaming(self) -> bool:
        """Whether images are sent while the job runs."""
        return self.input_topic is not None

    def problems(self) -> list[str]:
        """One sentence for each thing the service would refuse; nothing is asked of it.

        What our rules say comes first; the service model has the last word on what they do not see.
        """
        ours = rules.problems(self)
        return ours or check_request("sagemaker", _OPERATION, dict(self._compiled()))

    def warnings(self) -> list[str]:
        """One sentence for each thing the service takes and people may come to regret."""
        return rules.warnings(self)

    def to_boto(self) -> CreateLabelingJobRequestTypeDef:
        """The parameters of `create_labeling_job`.

        Raises:
            RequestError: with one sentence for each thing that the service would refuse.
        """
        problems = self.problems()
        if problems:
            raise RequestError(_OPERATION, problems)
        return self._compiled()

    def _compiled(self) -> CreateLabelingJobRequestTypeDef:
        request = {
            "LabelingJobName": self.name,
            "LabelAttributeName": self.label_attribute,
            "InputConfig": self._input(),
            "OutputConfig": _given(
                S3OutputPath=self.output, KmsKeyId=self.output_key, SnsTopicArn=self.output_topic
            ),
            "RoleArn": self.role,
            "HumanTaskConfig": self._human_task(),
            "Tags": [{"Key": key, "Value": value} for key, value in self.tags.items()],
            **_given(
                LabelCategoryConfigS3Uri=self.classes,
                StoppingConditions=_given(
                    MaxHumanLabeledObjectCount=self.max_labeled,
                    MaxPercentageOfInputDatasetLabeled=self.max_percentage,
                ),
                LabelingJobAlgorithmsConfig=self._automation(),
            ),
        }
        return cast("CreateLabelingJobRequestTypeDef", request)

    def _input(self) -> dict[str, Any]:
        return {
            "DataSource": _given(
                S3DataSource=_given(ManifestS3Uri=self.manifest),
                SnsDataSource=_given(SnsTopicArn=self.input_topic),
            ),
            **_given(DataAttributes=_given(ContentClassifiers=list(self.content_classifiers))),
        }

    def _human_task(self) -> dict[str, Any]:
        consolidation = self._function(self.consolidation_function, consolidation_function)
        return {
            "WorkteamArn": self.team,
            "UiConfig": {"UiTemplateS3Uri": self.template},
            "TaskTitle": self.title,
            "TaskDescription": self.description,
            "NumberOfHumanWorkersPerDataObject": self.workers_per_image,
            "TaskTimeLimitInSeconds": self.task_time_limit,
            "TaskAvailabilityLifetimeInSeconds": self.availability,
            "MaxConcurrentTaskCount": self.max_concurrent,
            **_given(
                PreHumanTaskLambdaArn=self._function(self.pre_function, pre_function),
                TaskKeywords=list(self.keywords),
                AnnotationConsolidationConfig=_given(AnnotationConsolidationLambdaArn=consolidation),
                PublicWorkforceTaskPrice=_price(self.price),
            ),
        }

    def _function(self, given: str | None, by_region: Any) -> str | None:
        """The function to name: the one given, else the task's own where AWS has it, else none."""
        if given == "" and self.region in FUNCTION_ACCOUNTS:
            own: str = by_region(self.region, TASKS[self.task].function)
            return own
        return given

    def _automation(self) -> dict[str, Any]:
        if not self.automated:
            return {}
        own = TASKS[self.task].algorithm or ""
        return {
            "LabelingJobAlgorithmSpecificationArn": self.algorithm or algorithm_arn(self.region, own),
            **_given(
                InitialActiveLearningModelArn=self.initial_model,
                LabelingJobResourceConfig=_given(
                    VolumeKmsKeyId=self.volume_key,
                    VpcConfig=_given(SecurityGroupIds=list(self.security_groups), Subnets=list(self.subnets)),
                ),
            ),
        }

    @classmethod
    def from_boto(cls, request: Mapping[str, Any], region: str, **changes: Any) -> Self:
        """The request behind the parameters of CreateLabelingJob, or behind what DescribeLabelingJob says.

        Verification and adjustment come back as custom tasks, because that is what AWS knows them as.

        Args:
            request: the parameters or the description.
            region: where the job ran or is to run.
            changes: fields to set otherwise, such as the name of a clone.
        """
        source, human = request["InputConfig"]["DataSource"], request["HumanTaskConfig"]
        automation = request.get("LabelingJobAlgorithmsConfig") or {}
        resources = automation.get("LabelingJobResourceConfig", {})
        vpc = resources.get("VpcConfig", {})
        # A streaming job ignores them, and a description may still show the service's own.
        conditions = {} if "SnsDataSource" in source else request.get("StoppingConditions") or {}
        before = human.get("PreHumanTaskLambdaArn")
        after = human.get("AnnotationConsolidationConfig", {}).get("AnnotationConsolidationLambdaArn")
        attributes = request["InputConfig"].get("DataAttributes", {})
        values = {
            "name": request["LabelingJobName"],
            "attribute": request.get("LabelAttributeName", ""),
            "task": _task(before),
            "manifest": source.get("S3DataSource", {}).get("ManifestS3Uri"),
            "classes": request.get("LabelCategoryConfigS3Uri"),
            "template": human["UiConfig"].get("UiTemplateS3Uri"),
            "output": request["OutputConfig"]["S3OutputPath"],
            "role": request["RoleArn"],
            "team": human["WorkteamArn"],
            "region": region,
            "title": human["TaskTitle"],
            "description": human["TaskDescription"],
            "keywords": tuple(human.get("TaskKeywords", ())),
            "workers_per_image": human["NumberOfHumanWorkersPerDataObject"],
            "task_time_limit": human["TaskTimeLimitInSeconds"],
            "availability": human.get("TaskAvailabilityLifetimeInSeconds", MAX_AVAILABILITY),
            "max_concurrent": human.get("MaxConcurrentTaskCount", 1_000),
            "pre_function": before,
            "consolidation_function": after,
            "price": _dollars(human.get("PublicWorkforceTaskPrice")),
            "max_labeled": conditions.get("MaxHumanLabeledObjectCount"),
            "max_percentage": conditions.get("MaxPercentageOfInputDatasetLabeled"),
            "output_key": request["OutputConfig"].get("KmsKeyId", ""),
            "input_topic": source.get("SnsDataSource", {}).get("SnsTopicArn"),
            "output_topic": request["OutputConfig"].get("SnsTopicArn"),
            "automated": bool(automation),
            "algorithm": automation.get("LabelingJobAlgorithmSpecificationArn", ""),
            "initial_model": automation.get("InitialActiveLearningModelArn", ""),
            "volume_key": resources.get("VolumeKmsKeyId", ""),
            "subnets": tuple(vpc.get("Subnets", ())),
            "security_groups": tuple(vpc.get("SecurityGroupIds", ())),
            "content_classifiers": tuple(attributes.get("ContentClassifiers", ())),
            "tags": {tag["Key"]: tag["Value"] for tag in request.get("Tags") or ()},
        }
        return cls.model_validate({**values, **changes})

    @property
    def team_kind(self) -> TeamKind | None:
        """Who works, by the team's ARN."""
        return team_kind(self.team)


def _given(**members: Any) -> dict[str, Any]:
    """The members that say something; AWS takes an empty structure or list for a mistake."""
    return {name: value for name, value in members.items() if value not in (None, "", [], {})}


def _task(pre_function: str | None) -> Task:
    name = (pre_function or "").rpartition(":")[2].removeprefix("PRE-")
    account = (pre_function or "").split(":")[4:5]
    built_in = (task for task, kind in TASKS.items() if kind.built_in and kind.function == name)
    return (
        next(built_in, Task.CUSTOM) if account and account[0] in FUNCTION_ACCOUNTS.values() else Task.CUSTOM
    )


def _price(price: Decimal | None) -> dict[str, Any]:
    if price is None:
        return {}
    tenths = int(price * 1000)
    return {
        "AmountInUsd": {
            "Dollars": tenths // 1000,
            "Cents": tenths % 1000 // 10,
            "TenthFractionsOfACent": tenths % 10,
        }
    }


def _dollars(price: Mapping[str, Any] | None) -> Decimal | None:
    if not price:
        return None
    amount = price.get("AmountInUsd", {})
    tenths = (
        1000 * amount.get("Dollars", 0) + 10 * amount.get("Cents", 0) + amount.get("TenthFractionsOfACent", 0)
    )
    return Decimal(tenths) / 1000
