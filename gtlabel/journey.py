"""The steps tied together for those who want one call each: label, consolidate, train, deploy.

The steps themselves are strangers to each other; here the files that one leaves are handed to the next.
A step that costs money, or shows pictures to people, comes in two halves: `plan_...` only reads and
returns what would be sent, `start_...` sends it.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from gtlabel.datasets.channels import Dataset, read_channel, read_dataset
from gtlabel.datasets.consolidate import JobOutput, Options, consolidate
from gtlabel.edge.bundle import build_bundle
from gtlabel.edge.deploy import Deployed, DeploymentPlan, deploy_model
from gtlabel.errors import DatasetError, TrainingError
from gtlabel.labeling.groups import describe_labeling
from gtlabel.labeling.jobs import ENDED
from gtlabel.labeling.plan import LabelingPlan, plan_labeling, prepare_labeling, start_labeling
from gtlabel.labeling.request import MAX_JOB_NAME
from gtlabel.labeling.tasks import role_arn
from gtlabel.storage import read
from gtlabel.training.image import image_uri
from gtlabel.training.jobs import TrainingJob, describe_training_job
from gtlabel.training.request import DEFAULT_INSTANCE_TYPE, TrainingJobRequest, request_for_dataset
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from gtlabel.aws import Aws

__all__ = [
    "LabelingPlan",
    "TrainedModel",
    "component_name",
    "consolidate_jobs",
    "deploy",
    "fetch_model",
    "plan_labeling",
    "plan_training",
    "prepare_labeling",
    "start_labeling",
]

# https://github.com/aws-samples/aws-deeplens-recipes, the trash sorter (contract/deployment.md section 1.4)
TRASH_SORTER = {
    "num_layers": 18,
    "use_pretrained_model": True,
    "image_shape": "3,224,224",
    "resize": 224,
    "epochs": 10,
    "learning_rate": 0.01,
}
# The same depth for a picture size of one's own, for which there is no pretrained network.
FROM_SCRATCH = {"num_layers": 18}


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


def plan_training(
    aws: Aws,
    dataset: Dataset,
    *,
    role: str,
    name: str | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    instance_type: str = DEFAULT_INSTANCE_TYPE,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> TrainingJobRequest:
    """Make the request of a training job for a dataset; nothing is sent.

    The number of classes, of samples and the mini batch follow from the dataset. The rest is what AWS's
    own trash sorter was trained with: a ResNet-18 that was pretrained, fine-tuned for ten epochs.

    Args:
        aws: the clients.
        dataset: what `consolidate_jobs` or `read_dataset` returns.
        role: the name or ARN of the role that the job reads and writes with.
        name: the job's name; by default made of the dataset and the time.
        hyperparameters: others than these, by the built-in algorithm's names.
        instance_type: the machine to rent.
        now: tells the time.

    Raises:
        RequestError: if the service or the algorithm would refuse the job.
        SettingsError: in a region without the algorithm.
    """
    given = dict(hyperparameters or {})
    # A shape or a depth of one's own rules out the pretrained network and what goes with it.
    own = not {"num_layers", "use_pretrained_model", "image_shape"}.isdisjoint(given)
    return request_for_dataset(
        classes=len(dataset.classes),
        train_lines=dataset.channels["train"].images,
        validation_lines=dataset.channels["validation"].images,
        hyperparameters={**(FROM_SCRATCH if own else TRASH_SORTER), **given},
        name=name or _job_name(dataset.uri, now()),
        role=role_arn(role, "" if role.startswith("arn:") else aws.account),
        image=image_uri(aws.region),
        train=dataset.channels["train"].manifest,
        validation=dataset.channels["validation"].manifest,
        label_attribute=dataset.attribute,
        output=dataset.uri / "models/",
        instance_type=instance_type,
        shuffle_seed=1,
    )


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A training job's artifact, brought here and converted.

    Attributes:
        job: the training job.
        dataset: what it was trained on.
        onnx: the network as ONNX.
        self_test: a picture of each class by file name, from the validation channel.
    """

    job: TrainingJob
    dataset: Dataset
    onnx: bytes
    self_test: dict[str, bytes]


def fetch_model(aws: Aws, training_job: str) -> TrainedModel:
    """Download the artifact of a completed training job and convert it to ONNX.

    Raises:
        TrainingJobNotFoundError: if there is no such job.
        TrainingError: if it is not completed.
        DatasetError: if the dataset it was trained on is gone.
        ArtifactError: if the artifact cannot be converted.
    """
    from gtlabel.networks.artifact import read_artifact
    from gtlabel.networks.onnx import to_onnx

    job = describe_training_job(aws.sagemaker, training_job)
    if job.status != "Completed" or job.artifact is None:
        raise TrainingError(f"the training job {training_job!r} is {job.status} and has no model to deploy")
    dataset = read_dataset(aws.s3, job.channels["train"].folder)
    lineage = {
        "training-job": job.name,
        "artifact": job.artifact,
        "dataset": dataset.uri,
        "train-sha256": dataset.channels["train"].sha256,
    }
    with tempfile.TemporaryDirectory(prefix="gtlabel-") as folder:
        archive = Path(folder) / "model.tar.gz"
        archive.write_bytes(read(aws.s3, job.artifact))
        network = to_onnx(read_artifact(archive), list(dataset.names), lineage)
    pictures: dict[str, S3Uri] = {}
    for example in read_channel(aws.s3, dataset, "validation"):
        pictures.setdefault(example.class_name, example.image)
    self_test = {uri.name: read(aws.s3, uri) for uri in pictures.values()}
    return TrainedModel(job, dataset, network, self_test)


def deploy(
    aws: Aws,
    model: TrainedModel,
    to: str,
    *,
    name: str | None = None,
    configuration: Mapping[str, Any] | None = None,
    timeout: float = 600,
    poll: float = 2.0,
    on_plan: Callable[[DeploymentPlan], None] | None = None,
) -> Deployed:
    """Put a model on a device, or on all devices of a thing group, and wait until it runs there.

    What others have deployed there stays. The component's artifact lies beside the dataset.

    Args:
        aws: the clients.
        model: what `fetch_model` returns.
        to: a thing, or `thinggroup/NAME`, or the ARN of either.
        name: the component's name; by default `deeplens-` and the dataset's.
        configuration: what differs from the recipe's defaults on these devices.
        timeout: seconds to wait for the devices.
        poll: seconds between two looks.
        on_plan: called with what the deployment changes; raising here keeps it from being made.

    Raises:
        DeviceNotFoundError: if there is no such device or group.
        DeploymentEndedError: if a device did not bring it to a good end in time.
    """
    folder = model.dataset.uri
    with tempfile.TemporaryDirectory(prefix="gtlabel-") as scratch:
        bundle = build_bundle(
            model.onnx,
            list(model.dataset.names),
            Path(scratch) / "bundle.zip",
            self_test=model.self_test,
            lineage={"training-job": model.job.name, "dataset": folder},
            accuracy={key: value for key, value in model.job.metrics.items() if "accuracy" in key},
        )
        return deploy_model(
            aws.greengrass,
            aws.s3,
            aws.iot,
            bundle,
            to=to,
            folder=folder / "components/",
            name=name or component_name(folder),
            configuration=configuration,
            timeout=timeout,
            sleep=lambda _seconds: time.sleep(poll),
            on_plan=on_plan,
        )


def component_name(dataset: S3Uri) -> str:
    """The component's name by default; DeepLens cameras asked for its first part."""
    return f"deeplens-{_stem(dataset)}"


def _stem(uri: S3Uri) -> str:
    """The last part of an address in letters, digits and hyphens."""
    stem = uri.key.rstrip("/").rpartition("/")[2] or uri.bucket
    return re.sub(r"[^a-zA-Z0-9]+", "-", stem).strip("-") or "images"


def _job_name(images: S3Uri, now: datetime) -> str:
    """A name such as `trash-20261122-101500`, from the last part of the prefix."""
    stem = _stem(images)
    stamp = now.strftime("%Y%m%d-%H%M%S")
    return f"{stem[: MAX_JOB_NAME - len(stamp) - 1].rstrip('-')}-{stamp}"
