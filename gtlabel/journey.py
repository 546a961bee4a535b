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
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from gtlabel.datasets.channels import Dataset, read_channel, read_dataset
from gtlabel.datasets.consolidate import JobOutput, Options, consolidate
from gtlabel.edge.bundle import build_bundle
from gtlabel.edge.deploy import Deployed, DeploymentPlan, deploy_model
from gtlabel.errors import ArtifactError, DatasetError, EvaluationError, MissingExtraError, TrainingError
from gtlabel.labeling.groups import describe_labeling
from gtlabel.labeling.jobs import ENDED
from gtlabel.labeling.plan import LabelingPlan, plan_labeling, prepare_labeling, start_labeling
from gtlabel.labeling.request import MAX_JOB_NAME
from gtlabel.labeling.tasks import role_arn
from gtlabel.manifests.split import Channel
from gtlabel.storage import exists, read
from gtlabel.training.backends import Backend
from gtlabel.training.data import ChannelData, TrainingData
from gtlabel.training.jobs import TrainingJob, describe_training_job, read_tags
from gtlabel.training.lineage import DATASET_DIGEST, trained_classes
from gtlabel.training.plan import TrainingOptions, plan_job
from gtlabel.training.request import DEFAULT_INSTANCE_TYPE, TrainingJobRequest
from gtlabel.training.terms import TrainingRequest
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.datasets.truth import Truth
    from gtlabel.training.evaluate import Judgement
    from gtlabel.training.model import Model

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
    if trained_on in (None, _training_data(dataset).digest):
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


def known_pictures(
    model: Model,
    dataset: str | None,
    connect: Callable[[], Aws],
    *,
    channel: Channel = "validation",
    attribute: str | None = None,
) -> Truth:
    """The pictures that a model can be judged by.

    Args:
        model: what `open_model` returns.
        dataset: a dataset, a manifest or class folders, in S3 or on disk; by default what the model's
            training job read.
        connect: gives the clients; it is not asked for where everything is on disk.
        channel: of a dataset, or of the job.
        attribute: the attribute with the labels, where a manifest has several.

    Raises:
        EvaluationError: if no pictures are named, and no training job says which there are, or it read no
            such channel.
        DatasetError: if there are none.
    """
    from gtlabel.datasets.places import Place
    from gtlabel.datasets.truth import open_truth

    place: Place | None = None
    if dataset is not None:
        place = Place.of(dataset, lambda: connect().s3)
    elif model.job is not None:
        read_by_it = model.job.channels
        manifest = read_by_it.get(channel) or read_by_it.get("train")
        if manifest is not None and exists(connect().s3, manifest.folder / "dataset.json"):
            # A dataset may have channels that no job reads.
            place = Place(manifest.folder, lambda: connect().s3)
        elif channel in read_by_it:
            place = Place(read_by_it[channel], lambda: connect().s3)
        elif read_by_it:
            raise EvaluationError(
                f"the training job {model.job.name!r} has no {channel} channel; it has "
                f"{', '.join(read_by_it)}; name pictures whose class is known, or another --channel"
            )
    if place is None:
        raise EvaluationError(
            f"nothing says what {model.name} was trained on; name pictures whose class is known: a dataset, "
            "a manifest, or a folder with a folder for each class"
        )
    return open_truth(place, channel=channel, attribute=attribute, names=model.classes)


def evaluate_model(
    aws: Aws,
    name: str,
    dataset: str | None = None,
    *,
    channel: Channel = "validation",
    attribute: str | None = None,
    classes: Sequence[str] | None = None,
    strict: bool = False,
) -> Judgement:
    """Judge a model by pictures whose class is known.

    Args:
        aws: the clients.
        name: a training job, or the path or s3:// address of a `model.tar.gz` or an `.onnx` file.
        dataset: as `known_pictures` has it.
        channel: of a dataset.
        attribute: the attribute with the labels, where a manifest has several.
        classes: the names of the network's outputs, where nothing else says them.
        strict: whether a picture that cannot be used is an error.

    Raises:
        ArtifactError: if there is no such model.
        EvaluationError: if there is nothing to judge it by, or a picture is of a class it does not know.
        MissingExtraError: if numpy, Pillow or onnxruntime is not installed.
    """
    try:
        from gtlabel.training.evaluate import judge
        from gtlabel.training.model import open_model
    except ModuleNotFoundError as error:
        raise MissingExtraError("judging a model", "edge") from error

    model = open_model(name, lambda: aws, classes=classes)
    truth = known_pictures(model, dataset, lambda: aws, channel=channel, attribute=attribute)
    return judge(model.network, model.classes, truth.images, far=truth.far, strict=strict)


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
            model.classes,
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


def _training_data(dataset: Dataset) -> TrainingData:
    """A dataset in the words of training, which knows nothing of how it came about."""
    channels: dict[str, ChannelData] = {
        name: ChannelData(file.manifest, file.images, file.sha256) for name, file in dataset.channels.items()
    }
    digests = "".join(channel.sha256 for channel in channels.values())
    # A job's output lies at <prefix>/<job>/manifests/output/output.manifest.
    jobs = (source.manifest.key.partition("/manifests/output/")[0] for source in dataset.sources)
    return TrainingData(
        uri=dataset.uri,
        attribute=dataset.attribute,
        classes=tuple(dataset.names),
        channels=channels,
        digest=dataset.certificate or sha256(digests.encode()).hexdigest(),
        jobs=tuple(dict.fromkeys(job.rpartition("/")[2] for job in jobs)),
        folders=dataset.mode != "none",
    )


def _stem(uri: S3Uri) -> str:
    """The last part of an address in letters, digits and hyphens."""
    stem = uri.key.rstrip("/").rpartition("/")[2] or uri.bucket
    return re.sub(r"[^a-zA-Z0-9]+", "-", stem).strip("-") or "images"


def _job_name(images: S3Uri, now: datetime) -> str:
    """A name such as `trash-20261122-101500`, from the last part of the prefix."""
    stem = _stem(images)
    stamp = now.strftime("%Y%m%d-%H%M%S")
    return f"{stem[: MAX_JOB_NAME - len(stamp) - 1].rstrip('-')}-{stamp}"
