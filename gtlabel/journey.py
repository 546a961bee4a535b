"""The steps tied together for those who want one call each: label, consolidate, train, deploy.

The steps themselves are strangers to each other; here the files that one leaves are handed to the next.
A step that costs money, or shows pictures to people, comes in two halves: `plan_...` only reads and
returns what would be sent, `start_...` sends it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from gtlabel.datasets.channels import Dataset
from gtlabel.datasets.consolidate import JobOutput, Options, consolidate
from gtlabel.delivery import TrainedModel, component_name, deploy, fetch_model
from gtlabel.errors import DatasetError
from gtlabel.judging import evaluate_model, known_pictures
from gtlabel.labeling.groups import describe_labeling
from gtlabel.labeling.jobs import ENDED
from gtlabel.labeling.plan import LabelingPlan, plan_labeling, prepare_labeling, start_labeling
from gtlabel.labeling.request import MAX_JOB_NAME
from gtlabel.labeling.tasks import role_arn
from gtlabel.training.backends import Backend
from gtlabel.training.data import ChannelData, TrainingData
from gtlabel.training.plan import TrainingOptions, plan_job
from gtlabel.training.request import DEFAULT_INSTANCE_TYPE, TrainingJobRequest
from gtlabel.training.terms import TrainingRequest
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from gtlabel.aws import Aws

__all__ = [
    "LabelingPlan",
    "TrainedModel",
    "component_name",
    "consolidate_jobs",
    "deploy",
    "evaluate_model",
    "fetch_model",
    "known_pictures",
    "plan_labeling",
    "plan_training",
    "prepare_labeling",
    "start_labeling",
]


def consolidate_jobs(
    aws: Aws, jobs: Sequence[str], into: S3Uri, *, attribute: str | None = None, **options: Unpack[Options]
) -> Dataset:
    """Make a dataset of what labeling jobs left: class folders, channels and a class list.

    Running it again goes on where it was interrupted and ends in the same bytes.

    Args:
        aws: the clients.
        jobs: names of completed or stopped labeling jobs, or of groups of them, or addresses of manifests;
            their order is the order of the classes.
        into: the prefix of the dataset.
        attribute: the label attribute of manifests that hold the labels of several jobs; a job given by its
            name knows its own.
        options: those of `gtlabel.datasets.consolidate.consolidate`.

    Raises:
        JobNotFoundError: if one of the jobs does not exist.
        DatasetError: if one of them has not ended, or there is nothing to train with.
    """
    outputs: list[JobOutput | S3Uri] = []
    for name in jobs:
        if name.startswith("s3://"):
            outputs.append(JobOutput(S3Uri(name), attribute))
            continue
        for job in describe_labeling(aws.sagemaker, aws.s3, name).jobs:
            if job.output_manifest is None or job.status not in ENDED:
                raise DatasetError(
                    f"the labeling job {job.name!r} is {job.status} and has no output yet; wait for it with: "
                    f"gtlabel jobs wait {name}"
                )
            outputs.append(
                JobOutput(
                    manifest=job.output_manifest,
                    attribute=job.attribute,
                    classes=job.classes,
                    name=job.name,
                )
            )
    return consolidate(aws.s3, outputs, into, **options)


@overload
def plan_training(
    aws: Aws,
    dataset: Dataset,
    *,
    role: str,
    name: str | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    instance_type: str = DEFAULT_INSTANCE_TYPE,
    backend: Literal["builtin"] = "builtin",
    now: Callable[[], datetime] = ...,
    **options: Unpack[TrainingOptions],
) -> TrainingJobRequest: ...
@overload
def plan_training(
    aws: Aws,
    dataset: Dataset,
    *,
    role: str,
    backend: Backend,
    name: str | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    instance_type: str = DEFAULT_INSTANCE_TYPE,
    now: Callable[[], datetime] = ...,
    **options: Unpack[TrainingOptions],
) -> TrainingRequest: ...
def plan_training(
    aws: Aws,
    dataset: Dataset,
    *,
    role: str,
    name: str | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    instance_type: str = DEFAULT_INSTANCE_TYPE,
    backend: Backend = "builtin",
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    **options: Unpack[TrainingOptions],
) -> TrainingRequest:
    """Make the request of a training job for a dataset; nothing is sent.

    Every line of the channels is read, and some of the pictures are looked at, so that what would fail on a
    rented GPU is refused here; what a person should know stands in the `warnings` of what is returned. The
    number of classes, of samples and the mini batch follow from the dataset. The rest is what AWS's own
    trash sorter was trained with: a ResNet-18 that was pretrained, fine-tuned for ten epochs.

    Args:
        aws: the clients.
        dataset: what `consolidate_jobs` or `read_dataset` returns.
        role: the name or ARN of the role that the job reads and writes with.
        name: the job's name; by default made of the dataset and the time.
        hyperparameters: others than these, by the names of what trains.
        instance_type: the machine to rent.
        backend: what trains; see `gtlabel.training.backends`.
        now: tells the time.
        options: what else can be asked; see `gtlabel.training.plan.TrainingOptions`.

    Raises:
        RequestError: if the service or what trains would refuse the job.
        TrainingDataError: if the dataset would spoil it.
        TrainingRegionError: in a region without the built-in algorithm.
        TrainingJobNotFoundError: if there is no such earlier job to go on from.
    """
    return plan_job(
        aws,
        _training_data(dataset),
        backend=backend,
        name=name or _job_name(dataset.uri, now()),
        role=role_arn(role, "" if role.startswith("arn:") else aws.account),
        hyperparameters=hyperparameters or {},
        instance_type=instance_type,
        options=options,
    )


def _training_data(dataset: Dataset) -> TrainingData:
    """A dataset in the words of training, which knows nothing of how it came about."""
    channels: dict[str, ChannelData] = {
        name: ChannelData(file.manifest, file.images, file.sha256) for name, file in dataset.channels.items()
    }
    # A job's output lies at <prefix>/<job>/manifests/output/output.manifest.
    jobs = (source.manifest.key.partition("/manifests/output/")[0] for source in dataset.sources)
    return TrainingData(
        uri=dataset.uri,
        attribute=dataset.attribute,
        classes=tuple(dataset.names),
        channels=channels,
        digest=dataset.digest,
        jobs=tuple(dict.fromkeys(job.rpartition("/")[2] for job in jobs)),
        folders=dataset.mode != "none",
    )


def _job_name(images: S3Uri, now: datetime) -> str:
    """A name such as `trash-20261122-101500`, from the last part of the prefix."""
    stem = images.stem
    stamp = now.strftime("%Y%m%d-%H%M%S")
    return f"{stem[: MAX_JOB_NAME - len(stamp) - 1].rstrip('-')}-{stamp}"
