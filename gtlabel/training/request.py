"""A training job as it is asked for: checked in full before a GPU is rented.

The job is the one the built-in image classification reads augmented manifests with: Pipe mode, two
channels, RecordIO around a picture and its label in turn (contract/training.md §1.4 and §1.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Self, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gtlabel.awsmodel import check_request
from gtlabel.errors import RequestError
from gtlabel.manifests.channel import manifest_channel
from gtlabel.training.hyperparameters import Hyperparameters
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_sagemaker.literals import TrainingInstanceTypeType
    from types_boto3_sagemaker.type_defs import CreateTrainingJobRequestTypeDef

DEFAULT_INSTANCE_TYPE = "ml.g4dn.xlarge"
_MINI_BATCH_SIZE = 32
# P2 left EC2, and whether the container's old CUDA runs on anything newer than G5 is not known.
_INSTANCE_FAMILIES = ("ml.g4dn.", "ml.g5.")


class TrainingJobRequest(BaseModel):
    """One training job of the built-in image classification. Times are in seconds.

    Attributes:
        train: the manifest to learn from.
        validation: the manifest to choose the best epoch with.
        label_attribute: the key of the integer label in both manifests.
        shuffle_seed: shuffles the lines of `train` anew for every epoch; without it they keep their order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    role: str
    image: str
    train: S3Uri
    validation: S3Uri
    label_attribute: str
    output: S3Uri
    hyperparameters: Hyperparameters
    instance_type: str = DEFAULT_INSTANCE_TYPE
    volume_gb: Annotated[int, Field(ge=1)] = 50
    max_runtime: Annotated[int, Field(ge=1)] = 3_600
    shuffle_seed: int | None = None
    tags: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _rules_the_model_leaves_out(self) -> Self:
        if not self.instance_type.startswith(_INSTANCE_FAMILIES):
            raise ValueError(
                f"the built-in image classification is not known to run on {self.instance_type!r}; "
                f"take {DEFAULT_INSTANCE_TYPE} or another of the GPU families ml.g4dn and ml.g5"
            )
        if not self.label_attribute or self.label_attribute.endswith(("-ref", "-metadata")):
            raise ValueError(
                f"{self.label_attribute!r} is not a label attribute; "
                "name the one that holds the number of the class"
            )
        for channel in (self.train, self.validation):
            if not channel.key or channel.key.endswith("/"):
                raise ValueError(f"{channel} is not a manifest; a channel reads one object, not a prefix")
        return self

    def to_boto(self) -> CreateTrainingJobRequestTypeDef:
        """The parameters of `create_training_job`.

        Raises:
            RequestError: with one sentence for each field that the service would refuse.
        """
        request: CreateTrainingJobRequestTypeDef = {
            "TrainingJobName": self.name,
            "AlgorithmSpecification": {"TrainingImage": self.image, "TrainingInputMode": "Pipe"},
            "RoleArn": self.role,
            "HyperParameters": self.hyperparameters.to_boto(),
            "InputDataConfig": [
                manifest_channel("train", self.train, self.label_attribute, shuffle_seed=self.shuffle_seed),
                manifest_channel("validation", self.validation, self.label_attribute),
            ],
            "OutputDataConfig": {"S3OutputPath": self.output},
            "ResourceConfig": {
                "InstanceType": cast("TrainingInstanceTypeType", self.instance_type),
                "InstanceCount": 1,
                "VolumeSizeInGB": self.volume_gb,
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": self.max_runtime},
            "Tags": [{"Key": key, "Value": value} for key, value in self.tags.items()],
        }
        problems = check_request("sagemaker", "CreateTrainingJob", dict(request))
        if problems:
            raise RequestError("CreateTrainingJob", problems)
        return request


def request_for_dataset(
    *,
    classes: int,
    train_lines: int,
    validation_lines: int,
    hyperparameters: Mapping[str, Any] | None = None,
    **fields: Any,
) -> TrainingJobRequest:
    """The request of a job that trains on a dataset, with what the data itself settles filled in.

    Settled are `num_classes`, `num_training_samples` (the algorithm's schedule needs the exact number of
    lines) and a `mini_batch_size` that both channels can fill.

    Args:
        classes: how many classes the dataset has, those without pictures included.
        train_lines: the lines of the train manifest.
        validation_lines: the lines of the validation manifest.
        hyperparameters: further ones, and others than the derived ones.
        fields: the other fields of `TrainingJobRequest`.

    Raises:
        RequestError: with one sentence for each field that the service or the algorithm would refuse.
    """
    smallest = min(train_lines, validation_lines)
    if smallest < 1:
        empty = "train" if train_lines < 1 else "validation"
        raise RequestError(
            "CreateTrainingJob", [f"the {empty} channel is empty; it needs at least one image"]
        )
    derived = {
        "num_classes": classes,
        "num_training_samples": train_lines,
        "mini_batch_size": min(_MINI_BATCH_SIZE, smallest),
    }
    values = {**fields, "hyperparameters": {**derived, **(hyperparameters or {})}}
    request = _parsed(values)
    size = request.hyperparameters.mini_batch_size
    if size is not None and size > smallest:
        raise RequestError(
            "CreateTrainingJob",
            [f"mini_batch_size {size} is larger than the smallest channel, which has {smallest} images"],
        )
    return request


def _parsed(values: Mapping[str, Any]) -> TrainingJobRequest:
    try:
        return TrainingJobRequest.model_validate(values)
    except ValidationError as error:
        raise RequestError("CreateTrainingJob", [_sentence(problem) for problem in error.errors()]) from error


def _sentence(problem: Any) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    field = ".".join(str(part) for part in problem["loc"])
    return f"{field}: {message}" if field else message
