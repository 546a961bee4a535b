"""The terms of a training job that are the same whatever trains: machines, time, money, keys and network.

What AWS's model of the request tells is left to `gtlabel.awsmodel`; here are the rules between the fields,
which the service tells one at a time, after the request was sent.

Spot: https://docs.aws.amazon.com/sagemaker/latest/dg/model-managed-spot-training.html.
Machines that are kept: https://docs.aws.amazon.com/sagemaker/latest/dg/train-warm-pools.html.
Keys and disks: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ResourceConfig.html.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gtlabel.awsmodel import check_request
from gtlabel.errors import RequestError
from gtlabel.training.instances import DEFAULT_INSTANCE_TYPE, has_local_disk
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_sagemaker.literals import TrainingInstanceTypeType
    from types_boto3_sagemaker.type_defs import (
        AlgorithmSpecificationTypeDef,
        ChannelTypeDef,
        CreateTrainingJobRequestTypeDef,
        ResourceConfigTypeDef,
        StoppingConditionTypeDef,
    )

OPERATION = "CreateTrainingJob"
_LONGEST_SECONDS = 28 * 24 * 3600
# How long AWS lets an algorithm that saves no checkpoints wait for spare machines.
_UNSAVED_WAIT_SECONDS = 3600
_MOST_TAGS = 50

_Positive = Annotated[int, Field(ge=1)]
Request = TypeVar("Request", bound="TrainingRequest")


class TrainingRequest(BaseModel):
    """A training job as it is asked for, whatever trains. Times are in seconds.

    Attributes:
        name: the job's name, which no other job of the account ever had.
        role: the ARN of the role that the job reads and writes with.
        image: the container that trains.
        output: the prefix that gets `NAME/output/model.tar.gz`.
        instance_type: the machine to rent.
        instance_count: how many of them.
        volume_gb: the disk of each.
        max_runtime: when the job is stopped.
        spot: whether to rent spare machines, which cost about a third and can be taken away at any time.
        max_wait: with `spot`, when the job is stopped, waiting included; twice `max_runtime` by default.
        checkpoints: where what `/opt/ml/checkpoints` holds is kept, so that a job goes on where it was
            interrupted.
        volume_key: the KMS key of the disks.
        output_key: the KMS key of the artifact.
        subnets: the network that the job is put into, with `security_groups`.
        security_groups: what it may talk to there.
        isolated: whether the container is kept off every network; SageMaker still brings it its channels.
        encrypt_traffic: whether machines talk to each other encrypted.
        keep_alive: for how long the machines are kept for the next job alike, and paid.
        environment: variables of the container.
        tags: the job's tags.
        warnings: what a person should know before it is sent; it does not travel.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    role: str
    image: str
    output: S3Uri
    instance_type: str = DEFAULT_INSTANCE_TYPE
    instance_count: _Positive = 1
    volume_gb: _Positive = 50
    max_runtime: Annotated[int, Field(ge=1, le=_LONGEST_SECONDS)] = 3_600
    spot: bool = False
    max_wait: _Positive | None = None
    checkpoints: S3Uri | None = None
    volume_key: str | None = None
    output_key: str | None = None
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    isolated: bool = False
    encrypt_traffic: bool = False
    keep_alive: Annotated[int, Field(ge=0)] | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    tags: dict[str, str] = Field(default_factory=dict)
    warnings: tuple[str, ...] = Field(default=(), exclude=True, repr=False)

    @model_validator(mode="after")
    def _rules_the_model_leaves_out(self) -> Self:
        problems = list(self._problems())
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _problems(self) -> Iterator[str]:
        """One sentence for each rule that is broken; what trains adds its own."""
        yield from self._spot_problems()
        if self.volume_key and has_local_disk(self.instance_type):
            yield (
                f"{self.instance_type} keeps its data on a disk of its own, which encrypts itself, and AWS "
                "takes no volume_key for it (--volume-kms-key); leave it out, and encrypt the artifact with "
                "output_key (--kms-key)"
            )
        if bool(self.subnets) != bool(self.security_groups):
            lacking = "security_groups" if self.subnets else "subnets"
            yield f"a network is told by subnets and security_groups; give {lacking} as well"
        if self.encrypt_traffic and self.instance_count == 1:
            yield "encrypt_traffic is about several machines and there is one; leave it out"
        yield from self._tag_problems()

    def _spot_problems(self) -> Iterator[str]:
        if not self.spot:
            if self.max_wait is not None:
                yield "max_wait is about spare machines; leave it out, or set spot"
            return
        if self.max_wait is not None and self.max_wait < self.max_runtime:
            yield (
                f"max_wait {self.max_wait} holds waiting and running, so it is at least the max_runtime of "
                f"{self.max_runtime}"
            )
        if self.checkpoints is None and self._wait > _UNSAVED_WAIT_SECONDS:
            yield (
                "without checkpoints AWS lets a spot job wait and run for an hour in all, and an interrupted "
                "one begins anew; give checkpoints, an s3:// prefix"
            )
        if self.keep_alive:
            yield "spare machines cannot be kept for the next job; leave out keep_alive or spot"

    def _tag_problems(self) -> Iterator[str]:
        if len(self.tags) > _MOST_TAGS:
            yield f"{len(self.tags)} tags are more than the {_MOST_TAGS} that a job can have"
        reserved = next((key for key in self.tags if key.lower().startswith("aws:")), None)
        if reserved is not None:
            yield f"the tag {reserved!r} begins with 'aws:', which AWS keeps for itself; name it otherwise"

    @property
    def _wait(self) -> int:
        return self.max_wait if self.max_wait is not None else 2 * self.max_runtime

    @abstractmethod
    def _algorithm(self) -> AlgorithmSpecificationTypeDef:
        """What trains."""

    @abstractmethod
    def _channels(self) -> list[ChannelTypeDef]:
        """What it reads."""

    @abstractmethod
    def _spelled_hyperparameters(self) -> dict[str, str]:
        """What it is told."""

    def to_boto(self) -> CreateTrainingJobRequestTypeDef:
        """The parameters of `create_training_job`.

        Raises:
            RequestError: with one sentence for each field that the service would refuse.
        """
        request: CreateTrainingJobRequestTypeDef = {
            "TrainingJobName": self.name,
            "AlgorithmSpecification": self._algorithm(),
            "RoleArn": self.role,
            "HyperParameters": self._spelled_hyperparameters(),
            "InputDataConfig": self._channels(),
            "OutputDataConfig": {"S3OutputPath": self.output},
            "ResourceConfig": self._machines(),
            "StoppingCondition": self._limits(),
            "Tags": [{"Key": key, "Value": value} for key, value in self.tags.items()],
        }
        if self.output_key:
            request["OutputDataConfig"]["KmsKeyId"] = self.output_key
        if self.subnets:
            request["VpcConfig"] = {
                "Subnets": list(self.subnets),
                "SecurityGroupIds": list(self.security_groups),
            }
        if self.checkpoints is not None:
            request["CheckpointConfig"] = {"S3Uri": self.checkpoints}
        if self.environment:
            request["Environment"] = self.environment
        if self.spot:
            request["EnableManagedSpotTraining"] = True
        if self.isolated:
            request["EnableNetworkIsolation"] = True
        if self.encrypt_traffic:
            request["EnableInterContainerTrafficEncryption"] = True
        problems = check_request("sagemaker", OPERATION, dict(request))
        if problems:
            raise RequestError(OPERATION, problems)
        return request

    def _machines(self) -> ResourceConfigTypeDef:
        machines: ResourceConfigTypeDef = {
            "InstanceType": cast("TrainingInstanceTypeType", self.instance_type),
            "InstanceCount": self.instance_count,
            "VolumeSizeInGB": self.volume_gb,
        }
        if self.volume_key:
            machines["VolumeKmsKeyId"] = self.volume_key
        if self.keep_alive is not None:
            machines["KeepAlivePeriodInSeconds"] = self.keep_alive
        return machines

    def _limits(self) -> StoppingConditionTypeDef:
        limits: StoppingConditionTypeDef = {"MaxRuntimeInSeconds": self.max_runtime}
        if self.spot:
            limits["MaxWaitTimeInSeconds"] = self._wait
        return limits


def parsed(kind: type[Request], values: Mapping[str, Any]) -> Request:
    """The request of these fields.

    Raises:
        RequestError: with one sentence for each field that the service or the algorithm would refuse.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise RequestError(OPERATION, [_sentence(kind, problem) for problem in error.errors()]) from error


def _sentence(kind: type[BaseModel], problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        return _unknown(kind, problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    field = ".".join(str(part) for part in problem["loc"])
    return f"{field}: {message}" if field else message


def _unknown(kind: type[BaseModel], place: tuple[Any, ...]) -> str:
    name, known, what = str(place[-1]), list(kind.model_fields), "field"
    inner = kind.model_fields[place[0]].annotation if place[0] in kind.model_fields else None
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        known, what = list(inner.model_fields), "hyperparameter"
    near = get_close_matches(name, known, 1)
    return f"there is no {what} {name!r}; " + (
        f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    )


def is_object(uri: S3Uri) -> bool:
    """Whether an address names one object and not a prefix."""
    return bool(uri.key) and not uri.key.endswith("/")
