"""A trained model on its way to a device: fetched, converted, and put into a bundle or on a core device."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from gtlabel.datasets.channels import Dataset, read_dataset
from gtlabel.edge.bundle import Bundle, build_bundle
from gtlabel.edge.deploy import Deployed, DeploymentPlan, ModelPlan, Wishes, deploy_model, plan_model
from gtlabel.edge.manifest import Accuracy
from gtlabel.edge.presets import PRESETS, TargetName, with_prefix
from gtlabel.errors import BundleError, DatasetError, EdgeError
from gtlabel.judging import known_pictures
from gtlabel.training.jobs import TrainingJob, read_tags
from gtlabel.training.lineage import DATASET_DIGEST, JOBS
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.datasets.truth import Truth
    from gtlabel.training.model import Model

# Each costs room in the bundle and time before every switch.
_MOST_PICTURES = 16


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A trained network, brought here and converted, with what a device and its owner should know of it.

    Attributes:
        name: what it was asked for by.
        address: where it lies.
        classes: the names of its outputs, in order; those it was trained with, whatever the dataset has now.
        onnx: the network as ONNX.
        self_test: a picture of each class by file name, of those kept from training; at most sixteen.
        lineage: what it comes from: the training job, the labeling jobs, digests of data and weights.
        job: the training job; None where nobody knows.
        dataset: what lies where it was trained; None where nobody knows, or it is gone.
        int8: the network with 8 bits, where it is good enough.
        accuracy: how good they are.
        warnings: sentences about what was odd about the artifact.
    """

    name: str
    address: str
    classes: tuple[str, ...]
    onnx: bytes = field(repr=False)
    self_test: dict[str, bytes] = field(repr=False)
    lineage: dict[str, Any] = field(default_factory=dict)
    job: TrainingJob | None = None
    dataset: Dataset | None = None
    int8: bytes | None = field(default=None, repr=False)
    accuracy: Accuracy = field(default_factory=Accuracy)
    warnings: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """A name for what is made of it: the dataset's, else the training job's, else the file's."""
        if self.dataset is not None:
            return self.dataset.uri.stem
        if self.job is not None:
            return self.job.name
        file = self.address.rstrip("/").rpartition("/")[2]
        return _stem(file.removesuffix(".gz").removesuffix(".tar").removesuffix(".tgz").removesuffix(".onnx"))

    @property
    def folder(self) -> S3Uri | None:
        """The place in S3 where things of this model lie: its dataset, else where it lies itself."""
        if self.dataset is not None:
            return self.dataset.uri
        return S3Uri(self.address).folder if self.address.startswith("s3://") else None


def fetch_model(
    aws: Aws,
    model: str,
    *,
    pictures: str | None = None,
    classes: Sequence[str] | None = None,
    most_drop: float | None = None,
) -> TrainedModel:
    """Bring a trained network here and convert it to ONNX.

    Args:
        aws: the clients; not asked for where files are enough.
        model: a training job, or the path or s3:// address of a `model.tar.gz` or an `.onnx` file.
        pictures: a dataset, a manifest or class folders whose pictures a device proves itself on; by default
            those that the training job kept from its network.
        classes: the names of the network's outputs, where nothing else says them.
        most_drop: the share of those pictures that the network of 8 bits may lose to be kept; None makes
            none.

    Raises:
        TrainingJobNotFoundError: if there is no such job.
        TrainingError: if it has no model.
        ArtifactError: if there is no network there, it cannot be converted, or nothing says what its classes
            are.
        BundleError: if there is no picture for the self-test.
        QuantizationError: if the pictures and the network do not fit.
        MissingExtraError: if what converts and runs a network is not installed.
    """
    from gtlabel.networks.onnx import with_properties
    from gtlabel.training.model import open_model

    opened = open_model(model, lambda: aws, classes=classes)
    if opened.job is None and pictures is None:
        raise BundleError(
            f"nothing says which pictures {model} was not trained with, and a device proves itself on such; "
            "name a dataset, a manifest or class folders with --pictures"
        )
    dataset, lineage = _lineage(aws, opened)
    if opened.job is not None:
        # Whoever has nothing but the file can still tell where it comes from.
        told = {key: value if isinstance(value, str) else " ".join(value) for key, value in lineage.items()}
        opened = replace(opened, onnx=with_properties(opened.onnx, told))
    int8, accuracy = _in_eight_bits(opened, lambda: known_pictures(opened, pictures, lambda: aws), most_drop)
    known = {key: opened.network.metadata.get(key) for key in ("epoch", "symbol-sha256", "params-sha256")}
    return TrainedModel(
        name=model,
        address=opened.address,
        classes=opened.classes,
        onnx=opened.onnx,
        self_test=_self_test(opened, known_pictures(opened, pictures, lambda: aws)),
        lineage={**lineage, **{key: value for key, value in known.items() if value is not None}},
        job=opened.job,
        dataset=dataset,
        int8=int8,
        accuracy=accuracy,
        warnings=opened.warnings,
    )


@dataclass(frozen=True, slots=True)
class Packing:
    """What goes into a bundle beside the model.

    Attributes:
        target: the kind of device.
        wheels: the platforms whose packages come along, such as `linux-x86_64:3.11`.
        threshold: the confidence below which a device gives no label unless told otherwise.
        settings: what a unit of systemd tells the program, by the names of a component's configuration.
    """

    target: TargetName = "bundle"
    wheels: Sequence[str] = ()
    threshold: float = 0.5
    settings: Mapping[str, str] = field(default_factory=dict)


def pack(
    model: TrainedModel,
    path: Path,
    name: str | None = None,
    packing: Packing = Packing(),  # a value that cannot change
    *,
    greengrass: bool = False,
) -> Bundle:
    """Write the bundle of a model.

    Args:
        model: what `fetch_model` returns.
        path: the ZIP to write.
        name: what folders and units on a device are called; by default made of the model's own.
        packing: what goes into it beside the model.
        greengrass: whether it is to speak to a Greengrass nucleus.

    Raises:
        BundleError: if wheels cannot be fetched, or a name or setting is none.
    """
    preset = PRESETS[packing.target]
    return build_bundle(
        model.onnx,
        model.classes,
        path,
        self_test=model.self_test,
        name=name or bundle_name(model, packing.target),
        int8=model.int8,
        use="fp32" if model.int8 is None else "int8",
        accuracy=model.accuracy,
        lineage=model.lineage,
        threshold=packing.threshold,
        preset=preset,
        settings=packing.settings,
        wheels=packing.wheels,
        greengrass=greengrass,
    )


def bundle_name(model: TrainedModel, target: TargetName) -> str:
    """The name of a bundle by default: the model's own, after `deeplens-` for that camera."""
    return with_prefix(model.stem, PRESETS[target])


def deploy(
    aws: Aws,
    model: TrainedModel,
    to: str,
    *,
    name: str | None = None,
    packing: Packing = Packing(),  # a value that cannot change
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
        packing: what goes into the bundle beside the model.
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
    with _order(model, to, name, packing, configuration, wishes) as order:
        return deploy_model(
            aws.greengrass,
            aws.s3,
            aws.iot,
            **order,
            timeout=timeout,
            sleep=lambda _seconds: time.sleep(poll),
            on_plan=on_plan,
        )


def plan_delivery(
    aws: Aws,
    model: TrainedModel,
    to: str,
    *,
    name: str | None = None,
    packing: Packing = Packing(),  # a value that cannot change
    configuration: Mapping[str, Any] | None = None,
    **wishes: Unpack[Wishes],
) -> ModelPlan:
    """What `deploy` would make and change, with the same arguments; the bundle is built, nothing is uploaded.

    Raises:
        DeviceNotFoundError: if there is no such device or group.
    """
    with _order(model, to, name, packing, configuration, wishes) as order:
        return plan_model(aws.greengrass, aws.iot, **order)


def component_name(model: TrainedModel | S3Uri) -> str:
    """The component's name by default, after a model or its dataset; DeepLens asked for its first part."""
    return with_prefix(model.stem, PRESETS["deeplens"])


def components_folder(model: TrainedModel) -> S3Uri:
    """Where the artifacts of a model's components lie: beside the dataset.

    Raises:
        EdgeError: if the model is not in S3, and nobody knows its dataset.
    """
    if model.folder is None:
        raise EdgeError(
            f"{model.address} is on this machine, and devices fetch their bundle from S3; copy it there with "
            f"`aws s3 cp {model.address} s3://BUCKET/models/`, and deploy that"
        )
    return model.folder / "components/"


class _Order(TypedDict):
    """What is to be deployed where, as `deploy_model` and `plan_model` take it."""

    bundle: Bundle
    to: str
    folder: S3Uri
    name: str
    configuration: Mapping[str, Any] | None
    wishes: Wishes


@contextmanager
def _order(
    model: TrainedModel,
    to: str,
    name: str | None,
    packing: Packing,
    configuration: Mapping[str, Any] | None,
    wishes: Wishes,
) -> Iterator[_Order]:
    """An order with the bundle of a model for a nucleus, which is there for as long as it is needed."""
    name, folder = name or component_name(model), components_folder(model)
    with tempfile.TemporaryDirectory(prefix="gtlabel-") as scratch:
        yield {
            "bundle": pack(model, Path(scratch) / "bundle.zip", name, packing, greengrass=True),
            "to": to,
            "folder": folder,
            "name": name,
            "configuration": configuration,
            "wishes": wishes,
        }


def _lineage(aws: Aws, model: Model) -> tuple[Dataset | None, dict[str, Any]]:
    """The dataset that a model's job was trained on, and what is known of where the model comes from."""
    if model.job is None:
        return None, {"model": model.address}
    job = model.job
    tags = read_tags(aws.sagemaker, job.arn)
    lineage: dict[str, Any] = {"training-job": job.name, "artifact": model.address}
    if JOBS in tags:
        lineage["labeling-jobs"] = tags[JOBS].split()
    trained_on = tags.get(DATASET_DIGEST)
    if trained_on is not None:
        lineage["dataset-sha256"] = trained_on
    try:
        dataset = read_dataset(aws.s3, job.channels["train"].folder) if "train" in job.channels else None
    except DatasetError:
        dataset = None
    if dataset is not None:
        lineage["dataset"] = dataset.uri
        # Of a dataset that was made anew since, the manifests are not those that were learned from.
        if trained_on in (None, dataset.digest):
            lineage |= {f"{name}-sha256": file.sha256 for name, file in dataset.channels.items()}
    return dataset, lineage


def _in_eight_bits(
    model: Model, truth: Callable[[], Truth], most_drop: float | None
) -> tuple[bytes | None, Accuracy]:
    """The network of 8 bits if it is asked for and good enough, and how good both are."""
    training = model.job.metrics if model.job else {}
    if most_drop is None:
        return None, Accuracy(training=training)
    from gtlabel.training.precision import choose_precision

    choice = choose_precision(model, truth().images, most_drop=most_drop)
    return choice.network, Accuracy(
        pictures=choice.pictures,
        fp32=choice.fp32,
        int8=choice.int8,
        most_drop=most_drop,
        decision=choice.decision,
        training=training,
    )


def _self_test(model: Model, truth: Truth) -> dict[str, bytes]:
    """A picture of each class that the network can read; where there are many classes, of the first ones."""
    found: dict[str, bytes] = {}
    seen: set[str] = set()
    wanted = min(len(model.classes), _MOST_PICTURES)
    for image in truth.images:
        if seen.issuperset(image.classes):
            continue
        data = image.read()
        try:
            model.network.load(data)
        except ValueError:
            continue
        seen.update(image.classes)
        name = image.name.rpartition("/")[2]
        found[name if name not in found else f"{len(found)}-{name}"] = data
        if len(found) == wanted or seen.issuperset(model.classes):
            break
    if not found:
        raise BundleError(f"{truth.name} has no picture that can be read; a device proves itself on such")
    return found


def _stem(text: str) -> str:
    return re.sub(r"[^a-zA-Z0-9]+", "-", text).strip("-") or "classifier"
