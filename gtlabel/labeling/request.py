"""A labeling job as it is asked for: checked in full before anything is sent.

boto3 checks only required members, types and minima; a job name of 180 characters passes it. So every
request is also held against the whole service model, and against the rules that the model leaves out:
https://docs.aws.amazon.com/sagemaker/latest/dg/sms-create-labeling-job-api.html
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gtlabel.awsmodel import check_request
from gtlabel.errors import RequestError
from gtlabel.labeling.tasks import consolidation_function, pre_function
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_sagemaker.type_defs import CreateLabelingJobRequestTypeDef

MAX_JOB_NAME = 63
DEFAULT_TITLE = "Choose the class that fits the picture"
DEFAULT_DESCRIPTION = "Look at one picture at a time and choose the class that fits it best."

_RESERVED_ATTRIBUTES = ("source", "source-ref")


class LabelingJobRequest(BaseModel):
    """One labeling job of the built-in single-label image classification.

    Times are in seconds. The defaults are those of the SageMaker console.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    attribute: str = ""  # the job's name when empty
    manifest: S3Uri
    classes: S3Uri
    template: S3Uri
    output: S3Uri
    role: str
    team: str
    region: str
    title: str = DEFAULT_TITLE
    description: str = DEFAULT_DESCRIPTION
    keywords: tuple[str, ...] = ("images", "classification")
    workers_per_image: int = 3
    task_time_limit: Annotated[int, Field(le=28_800)] = 300
    availability: Annotated[int, Field(le=2_592_000)] = 864_000
    max_concurrent: int = 1_000
    tags: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _rules_the_model_leaves_out(self) -> Self:
        attribute = self.label_attribute
        if attribute in _RESERVED_ATTRIBUTES:
            raise ValueError(f"the label attribute {attribute!r} is reserved; choose another")
        for ending in ("-metadata", "-ref"):
            if attribute.endswith(ending):
                raise ValueError(
                    f"the label attribute {attribute!r} must not end in {ending}; choose another"
                )
        if re.search(r":workteam/public-crowd/", self.team):
            raise ValueError(
                "the public team closed with Mechanical Turk on 2026-09-30; use a private or vendor team"
            )
        if self.template == self.manifest or self.classes == self.manifest:
            raise ValueError(f"the manifest, the class list and the template cannot all be {self.manifest}")
        return self

    @property
    def label_attribute(self) -> str:
        """The key under which the job writes its label."""
        return self.attribute or self.name

    def to_boto(self) -> CreateLabelingJobRequestTypeDef:
        """The parameters of `create_labeling_job`.

        Raises:
            RequestError: with one sentence for each field that the service would refuse.
            SettingsError: in a region without built-in functions.
        """
        request: CreateLabelingJobRequestTypeDef = {
            "LabelingJobName": self.name,
            "LabelAttributeName": self.label_attribute,
            "InputConfig": {
                "DataSource": {"S3DataSource": {"ManifestS3Uri": self.manifest}},
                "DataAttributes": {
                    "ContentClassifiers": [
                        "FreeOfPersonallyIdentifiableInformation",
                        "FreeOfAdultContent",
                    ]
                },
            },
            "OutputConfig": {"S3OutputPath": self.output},
            "RoleArn": self.role,
            "LabelCategoryConfigS3Uri": self.classes,
            "HumanTaskConfig": {
                "WorkteamArn": self.team,
                "UiConfig": {"UiTemplateS3Uri": self.template},
                "PreHumanTaskLambdaArn": pre_function(self.region),
                "TaskKeywords": list(self.keywords),
                "TaskTitle": self.title,
                "TaskDescription": self.description,
                "NumberOfHumanWorkersPerDataObject": self.workers_per_image,
                "TaskTimeLimitInSeconds": self.task_time_limit,
                "TaskAvailabilityLifetimeInSeconds": self.availability,
                "MaxConcurrentTaskCount": self.max_concurrent,
                "AnnotationConsolidationConfig": {
                    "AnnotationConsolidationLambdaArn": consolidation_function(self.region)
                },
            },
            "Tags": [{"Key": key, "Value": value} for key, value in self.tags.items()],
        }
        problems = check_request("sagemaker", "CreateLabelingJob", dict(request))
        if problems:
            raise RequestError("CreateLabelingJob", problems)
        return request
