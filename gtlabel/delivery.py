"""A trained model on its way to a device: fetched, converted, and put into a bundle or on a core device."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from gtlabel.datasets.channels import Dataset, read_channel, read_dataset
from gtlabel.edge.bundle import Bundle, build_bundle
from gtlabel.edge.deploy import Deployed, DeploymentPlan, ModelPlan, Wishes, deploy_model, plan_model
from gtlabel.edge.manifest import Accuracy
from gtlabel.errors import ArtifactError, TrainingError
from gtlabel.storage import read
from gtlabel.training.jobs import TrainingJob, describe_training_job, read_tags
from gtlabel.training.lineage import DATASET_DIGEST, trained_classes
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from gtlabel.aws import Aws


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A training job's artifact, brought here and converted.

    Attributes:
        job: the training job.
        dataset: what lies where it was trained.
        classes: the names of its outputs, in order; those of the dataset unless that was made anew since.
        onnx: the network as ONNX.
        self_test: a picture of each class by file name, from the validation channel.
    """

    job: TrainingJob
    dataset: Dataset
    classes: tuple[str, ...]
    onnx: bytes
    self_test: dict[str, bytes]


def fetch_model(aws: Aws, training_job: str) -> TrainedModel:
    """Download the artifact of a completed training job and convert it to ONNX.

    Raises:
        TrainingJobNotFoundError: if there is no such job.
        TrainingError: if it is not completed.
        DatasetError: if the dataset it was trained on is gone.
        ArtifactError: if the artifact cannot be converted, or nothing says any more what its classes are.
    """
    from gtlabel.networks.artifact import read_artifact
    from gtlabel.networks.onnx import to_onnx

    job = describe_training_job(aws.sagemaker, training_job)
    if job.status != "Completed" or job.artifact is None:
        raise TrainingError(f"the training job {training_job!r} is {job.status} and has no model to deploy")
    dataset = read_dataset(aws.s3, job.channels["train"].folder)
    tags = read_tags(aws.sagemaker, job.arn)
    remedy = "train again on what it is now, or consolidate with the classes of then"
    classes = trained_classes(aws.s3, job, tags, instead=remedy)
    if not classes:
        raise ArtifactError(f"nothing says what the classes of {training_job!r} are called; {remedy}")
    lineage = {"training-job": job.name, "artifact": job.artifact, "dataset": dataset.uri}
    trained_on = tags.get(DATASET_DIGEST)
    if trained_on is not None:
        lineage["dataset-sha256"] = trained_on
    # Of a dataset that was made anew since, the manifest is not the one that was learned from.
    if trained_on in (None, dataset.digest):
        lineage["train-sha256"] = dataset.channels["train"].sha256
    with tempfile.TemporaryDirectory(prefix="gtlabel-") as folder:
        archive = Path(folder) / "model.tar.gz"
        archive.write_bytes(read(aws.s3, job.artifact))
        network = to_onnx(read_artifact(archive), classes, lineage)
    pictures: dict[str, S3Uri] = {}
    for example in read_channel(aws.s3, dataset, "validation"):
        pictures.setdefault(example.class_name, example.image)
    self_test = {uri.name: read(aws.s3, uri) for uri in pictures.values()}
    return TrainedModel(job, dataset, classes, network, self_test)


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
    **wishes: Unpack[Wishes],
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
        on_plan: called with what the deployment changes; when it raises, nothing is uploaded.
        wishes: what else can be asked for; see `gtlabel.edge.deploy.Wishes`.

    Raises:
        DeviceNotFoundError: if there is no such device or group.
        DeploymentChangedError: if somebody else deployed there between the plan and now.
        DeploymentEndedError: if a device did not bring it to a good end in time.
    """
    with _bundled(model) as bundle:
        return deploy_model(
            aws.greengrass,
            aws.s3,
            aws.iot,
            bundle,
            to=to,
            folder=_components(model),
            name=name or component_name(model.dataset.uri),
            configuration=configuration,
            timeout=timeout,
            sleep=lambda _seconds: time.sleep(poll),
            on_plan=on_plan,
            wishes=wishes,
        )


def plan_delivery(
    aws: Aws,
    model: TrainedModel,
    to: str,
    *,
    name: str | None = None,
    configuration: Mapping[str, Any] | None = None,
    **wishes: Unpack[Wishes],
) -> ModelPlan:
    """What `deploy` would make and change, with the same arguments; the bundle is built, nothing is uploaded.

    Raises:
        DeviceNotFoundError: if there is no such device or group.
    """
    with _bundled(model) as bundle:
        return plan_model(
            aws.greengrass,
            aws.iot,
            bundle,
            to=to,
            folder=_components(model),
            name=name or component_name(model.dataset.uri),
            configuration=configuration,
            wishes=wishes,
        )


def component_name(dataset: S3Uri) -> str:
    """The component's name by default; DeepLens cameras asked for its first part."""
    return f"deeplens-{dataset.stem}"


def _components(model: TrainedModel) -> S3Uri:
    """Where the artifacts of a model's components lie: beside the dataset."""
    return model.dataset.uri / "components/"


@contextmanager
def _bundled(model: TrainedModel) -> Iterator[Bundle]:
    """The bundle of a model, for as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="gtlabel-") as scratch:
        yield build_bundle(
            model.onnx,
            model.classes,
            Path(scratch) / "bundle.zip",
            self_test=model.self_test,
            lineage={"training-job": model.job.name, "dataset": model.dataset.uri},
            accuracy=Accuracy(training=model.job.metrics),
        )
