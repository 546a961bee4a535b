"""From a dataset to the request of a training job, for each of the back ends.

Nothing is sent here but questions: the manifests are read, some pictures are looked at, and an earlier model
is looked up. What would fail is refused; what a person should know stands in the request's `warnings`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from gtlabel.errors import RequestError
from gtlabel.storage import explained
from gtlabel.training.backends import Backend, InputMode
from gtlabel.training.checks import Finding, check_channels, check_regions, refuse_errors
from gtlabel.training.data import TrainingData
from gtlabel.training.earlier import EarlierModel, check_earlier, earlier_artifact, earlier_model
from gtlabel.training.image import image_uri
from gtlabel.training.lineage import lineage_tags
from gtlabel.training.request import TrainingJobRequest, request_for_dataset
from gtlabel.training.terms import OPERATION, TrainingRequest, parsed
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from gtlabel.aws import Aws

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
# What is derived where it is not given.
_SHUFFLE_SEED = 1


class TrainingOptions(TypedDict, total=False):
    """What else can be asked of a training job; `TrainingRequest` and the back ends tell what each means.

    Attributes:
        image: the container; the built-in's own by default, to be given for the others.
        input_mode: of `container`: `Pipe` (the default), `FastFile` or `File`.
        model: an earlier training job, by name, or the address of its model.tar.gz, to go on from; of
            `builtin` and `container`.
        source: of `tensorflow` and `container`: a script, packed as sourcedir.tar.gz, in S3.
        program: of these: the script's file.
        pretrained: of `tensorflow`: the network to begin with, in S3.
        output: the prefix that gets the artifact; `models/` of the dataset by default.
    """

    image: str
    input_mode: InputMode
    model: str
    source: str
    program: str
    pretrained: str
    output: str
    instance_count: int
    volume_gb: int
    max_runtime: int
    spot: bool
    max_wait: int
    checkpoints: str
    volume_key: str
    output_key: str
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]
    isolated: bool
    encrypt_traffic: bool
    keep_alive: int
    environment: Mapping[str, str]
    tags: Mapping[str, str]
    shuffle_seed: int | None


def plan_job(
    aws: Aws,
    data: TrainingData,
    *,
    backend: Backend,
    name: str,
    role: str,
    hyperparameters: Mapping[str, Any],
    instance_type: str,
    options: TrainingOptions,
) -> TrainingRequest:
    """The request of a job that trains on a dataset; see `gtlabel.journey.plan_training`.

    Raises:
        RequestError: if what is asked for cannot be, with a sentence for each reason.
        TrainingDataError: if the dataset or an earlier model would spoil it, in the same way.
    """
    # Of these, None means as little as leaving it out, but for a seed it means not to shuffle.
    given: dict[str, Any] = {
        key: value for key, value in options.items() if value is not None or key == "shuffle_seed"
    }
    output = S3Uri(given.pop("output", data.uri / "models/"))
    fields: dict[str, Any] = {
        "name": name,
        "role": role,
        "output": output,
        "instance_type": instance_type,
        **given,
        "tags": {**lineage_tags(data), **given.get("tags", {})},
    }
    if fields.get("spot"):
        fields.setdefault("checkpoints", output / name / "checkpoints/")
    planned = {"builtin": _builtin, "tensorflow": _tensorflow, "container": _container}[backend]
    request, findings = planned(aws, data, fields, hyperparameters)
    places = [data.uri, request.output, *([request.checkpoints] if request.checkpoints else [])]
    warnings = refuse_errors([*findings, *check_regions(aws.s3, aws.region, places)])
    return request.model_copy(update={"warnings": warnings})


def _builtin(
    aws: Aws, data: TrainingData, fields: dict[str, Any], hyperparameters: Mapping[str, Any]
) -> tuple[TrainingRequest, list[Finding]]:
    if fields.pop("input_mode", "Pipe") != "Pipe":
        raise RequestError(
            OPERATION, ["the built-in reads manifests in Pipe mode only; leave input_mode out"]
        )
    earlier = earlier_model(aws, fields["model"], data.classes) if "model" in fields else None
    if earlier:
        fields["model"] = earlier.artifact
    request = request_for_dataset(
        classes=len(data.classes),
        train_lines=data.train.images,
        validation_lines=data.validation.images,
        hyperparameters={**_begin(hyperparameters, earlier), **hyperparameters},
        **{"image": image_uri(aws.region), "shuffle_seed": _SHUFFLE_SEED, **fields},
        train=data.train.manifest,
        validation=data.validation.manifest,
        label_attribute=data.attribute,
    )
    told = request.hyperparameters
    findings = check_channels(
        aws.s3,
        data,
        multi_label=bool(told.multi_label),
        shape=told.shape[1:],
        resize=told.resize,
        region=aws.region,
    )
    findings += _doubts(request)
    if earlier:
        findings += check_earlier(earlier, told, data.classes)
    return request, findings


def _begin(given: Mapping[str, Any], earlier: EarlierModel | None) -> dict[str, Any]:
    """What holds where nothing else is asked for."""
    if earlier:
        return {
            "num_layers": earlier.layers,
            "image_shape": earlier.shape,
            "resize": earlier.resize,
            "epochs": TRASH_SORTER["epochs"],
            "learning_rate": TRASH_SORTER["learning_rate"],
        }
    # A shape or a depth of one's own rules out the pretrained network and what goes with it.
    own = not {"num_layers", "use_pretrained_model", "image_shape"}.isdisjoint(given)
    return dict(FROM_SCRATCH if own else TRASH_SORTER)


def _doubts(request: TrainingJobRequest) -> Iterator[Finding]:
    if request.hyperparameters.use_weighted_loss:
        yield Finding(
            "weighted-loss",
            "warning",
            "the algorithm was seen to fail with 'pos_cls_weights' when it weighs the loss of manifests in "
            "Pipe mode",
            "leave out use_weighted_loss if it does",
        )


def _tensorflow(
    aws: Aws, data: TrainingData, fields: dict[str, Any], hyperparameters: Mapping[str, Any]
) -> tuple[TrainingRequest, list[Finding]]:
    from gtlabel.training.backends.tensorflow import ASK, TensorFlowRequest

    missing = [name for name in ("image", "source", "pretrained") if name not in fields]
    if missing:
        raise RequestError(
            OPERATION,
            [
                f"the back end tensorflow needs {', '.join(missing)}, whose places only AWS's SDK knows; "
                f"ask {ASK}"
            ],
        )
    mode = fields.pop("input_mode", "File")
    if mode != "File":
        raise RequestError(OPERATION, [f"tensorflow reads class folders in File mode, not in {mode} mode"])
    folders = data.uri / "imagefolder"
    request = parsed(
        TensorFlowRequest,
        {
            **fields,
            "training": folders / "train/",
            "validation": folders / "validation/",
            "classes": len(data.classes),
            "hyperparameters": dict(hyperparameters),
        },
    )
    findings = list(_folder_findings(aws, data, (request.training, request.validation)))
    return request, findings


def _folder_findings(aws: Aws, data: TrainingData, places: Iterable[S3Uri]) -> Iterator[Finding]:
    """Whether there is a folder with pictures for each class in each channel."""
    for place in places:
        found = _folders(aws, place)
        if not found:
            yield Finding(
                "folders",
                "error",
                f"there are no class folders at {place}, and tensorflow reads nothing else",
                f"run gtlabel consolidate ... --into {data.uri} --format imagefolder",
            )
            return
        if len(found) != len(data.classes):
            yield Finding(
                "folders",
                "error",
                f"{place} has {len(found)} class folders and the dataset has {len(data.classes)} classes; "
                "both channels need a picture of each, or labels would not fit each other",
                "label more of the rare classes, or remove them with gtlabel consolidate --vocabulary",
            )


def _folders(aws: Aws, place: S3Uri) -> list[str]:
    """The folders right below a prefix, without a look at what is in them."""
    pages = aws.s3.get_paginator("list_objects_v2").paginate(
        Bucket=place.bucket, Prefix=place.key, Delimiter="/"
    )
    with explained("s3:ListBucket", place):
        return [item["Prefix"] for page in pages for item in page.get("CommonPrefixes", ())]


def _container(
    aws: Aws, data: TrainingData, fields: dict[str, Any], hyperparameters: Mapping[str, Any]
) -> tuple[TrainingRequest, list[Finding]]:
    from gtlabel.training.backends.container import (
        ATTRIBUTE_VARIABLE,
        CLASSES_VARIABLE,
        IMAGES_VARIABLE,
        SAMPLES_VARIABLE,
        ContainerRequest,
        told_names,
    )

    if "image" not in fields:
        raise RequestError(OPERATION, ["the back end container needs image, the address of the container"])
    told = {
        ATTRIBUTE_VARIABLE: data.attribute,
        CLASSES_VARIABLE: str(len(data.classes)),
        SAMPLES_VARIABLE: str(data.train.images),
        **told_names(data.classes),
    }
    if fields.get("input_mode", "Pipe") == "Pipe":
        fields = {"shuffle_seed": _SHUFFLE_SEED, **fields}
    elif data.folders:
        told[IMAGES_VARIABLE] = fields["images"] = data.uri / "classes/"
    else:
        raise RequestError(
            OPERATION,
            [
                f"the pictures of {data.uri} were left where they are, and a channel of files is one prefix; "
                "consolidate with --mode copy, or train in Pipe mode"
            ],
        )
    if "model" in fields and not fields["model"].startswith("s3://"):
        from gtlabel.training.jobs import describe_training_job

        job = describe_training_job(aws.sagemaker, fields["model"])
        fields["model"] = earlier_artifact(aws, job)
    request = parsed(
        ContainerRequest,
        {
            **fields,
            "train": data.train.manifest,
            "validation": data.validation.manifest,
            "label_attribute": data.attribute,
            "hyperparameters": {key: str(value) for key, value in hyperparameters.items()},
            "environment": {**told, **fields.get("environment", {})},
        },
    )
    # Nobody here knows what the program calls it; where it says nothing, the labels do.
    told_several = request.hyperparameters.get("multi_label")
    several = None if told_several is None else told_several.lower() in ("1", "true")
    return request, check_channels(aws.s3, data, multi_label=several, region=aws.region)
