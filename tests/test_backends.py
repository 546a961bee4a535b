"""One dataset, three programs that train on it, and the terms they are rented on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from backend_parts import IMAGE, ROLE, SMALL, channels, planned, put_labels
from dataset_parts import BUCKET, INTO
from moto import mock_aws

import gtlabel
from gtlabel.aws import Aws
from gtlabel.datasets.channels import Dataset
from gtlabel.datasets.consolidate import consolidate
from gtlabel.emulator.environment import session
from gtlabel.errors import RequestError, TrainingDataError
from gtlabel.storage import read, write
from gtlabel.training.data import ChannelData, TrainingData
from gtlabel.training.lineage import lineage_tags
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

TENSORFLOW = {
    "image": "763104351884.dkr.ecr.us-east-1.amazonaws.com/tensorflow-training:2.8-gpu-py39",
    "source": "s3://jumpstart-cache-prod-us-east-1/scripts/sourcedir.tar.gz",
    "pretrained": "s3://jumpstart-cache-prod-us-east-1/train-mobilenet.tar.gz",
}


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    """Clients of an account with a job's pictures, and three datasets made of them."""
    with mock_aws():
        clients = Aws(session("us-east-1"))
        clients.s3.create_bucket(Bucket=BUCKET)
        _consolidate(clients.s3)
        yield clients


def _consolidate(s3: S3Client) -> None:
    manifest = put_labels(s3)
    consolidate(s3, [manifest], INTO, formats=["imagefolder"])
    consolidate(s3, [manifest], S3Uri(f"s3://{BUCKET}/plain/"))
    consolidate(s3, [manifest], S3Uri(f"s3://{BUCKET}/left/"), mode="none")


@pytest.fixture
def dataset(aws: Aws) -> Dataset:
    return gtlabel.read_dataset(aws.s3, INTO)


def test_the_builtin_gets_manifests_and_where_they_come_from(aws: Aws, dataset: Dataset) -> None:
    request = planned(aws, dataset, hyperparameters=SMALL)
    assert channels(request) == {
        "train": ("train.manifest", "AugmentedManifestFile", "Pipe"),
        "validation": ("validation.manifest", "AugmentedManifestFile", "Pipe"),
    }
    told = request["HyperParameters"]
    assert (told["num_classes"], told["num_training_samples"]) == ("3", str(dataset.channels["train"].images))
    tags = {tag["Key"]: tag["Value"] for tag in request["Tags"]}
    assert tags["gtlabel:dataset"] == INTO
    assert tags["gtlabel:dataset-sha256"] == dataset.certificate
    assert tags["gtlabel:classes"] == "0=Compost 1=Landfill 2=Recycle"
    assert tags["gtlabel:labeling-jobs"] == "bins"
    assert len(tags["gtlabel:classes-sha256"]) == 64
    assert tags["gtlabel:version"]


def test_a_person_is_told_what_a_program_cannot_decide(aws: Aws, dataset: Dataset) -> None:
    small = {**SMALL, "resize": 48, "image_shape": "3,28,20"}
    request = gtlabel.plan_training(aws, dataset, role=ROLE, hyperparameters=small)
    (warning,) = request.warnings
    assert "(24x24): training cuts the middle out of them, and prediction squeezes the whole" in warning
    assert warning.endswith(f"gtlabel consolidate ... --into {INTO} --resize 28x20")
    assert "warnings" not in json.dumps(request.to_boto())


def test_tensorflow_gets_the_class_folders_of_each_channel(aws: Aws, dataset: Dataset) -> None:
    request = planned(
        aws,
        dataset,
        backend="tensorflow",
        instance_type="ml.m5.xlarge",
        hyperparameters={"epochs": 5, "train_only_top_layer": "1", "learning_rate": "0.01"},
        **TENSORFLOW,
    )
    assert channels(request) == {
        "training": ("imagefolder/train/", "S3Prefix", "File"),
        "validation": ("imagefolder/validation/", "S3Prefix", "File"),
        "model": (TENSORFLOW["pretrained"], "S3Prefix", "File"),
    }
    assert request["HyperParameters"] == {
        "epochs": "5",
        "train_only_top_layer": "True",
        "learning_rate": "0.01",
        "sagemaker_program": "transfer_learning.py",
        "sagemaker_submit_directory": TENSORFLOW["source"],
    }
    algorithm = request["AlgorithmSpecification"]
    assert algorithm["TrainingInputMode"] == "File"
    lines = "4/4 - 3s - loss: 0.61 - accuracy: 0.75 - val_loss: 0.59 - val_accuracy: 0.8125"
    told = {item["Name"]: re.findall(item["Regex"], lines) for item in algorithm["MetricDefinitions"]}
    assert told == {"train:accuracy": ["0.75"], "validation:accuracy": ["0.8125"]}


def test_a_container_gets_both_manifests_as_streams(aws: Aws, dataset: Dataset) -> None:
    request = planned(aws, dataset, backend="container", image=IMAGE, hyperparameters={"epochs": 3})
    assert channels(request) == {
        "train": ("train.manifest", "AugmentedManifestFile", "Pipe"),
        "validation": ("validation.manifest", "AugmentedManifestFile", "Pipe"),
    }
    assert request["HyperParameters"] == {"epochs": "3"}
    assert request["Environment"]["GTLABEL_NUM_CLASSES"] == "3"
    assert request["Environment"]["GTLABEL_LABEL_ATTRIBUTE"] == "label"
    names = [metric["Name"] for metric in request["AlgorithmSpecification"]["MetricDefinitions"]]
    assert names == ["train:accuracy", "validation:accuracy"]


def test_a_container_may_read_several_classes_of_a_picture_whatever_it_calls_that(aws: Aws) -> None:
    several = consolidate(aws.s3, [put_labels(aws.s3)], S3Uri(f"s3://{BUCKET}/several/"))
    for channel in several.channels.values():
        lines = map(json.loads, read(aws.s3, channel.manifest).splitlines())
        body = "".join(json.dumps({**each, "label": [each["label"], 0]}) + "\n" for each in lines)
        write(aws.s3, channel.manifest, body.encode())
    assert planned(aws, several, backend="container", image=IMAGE, hyperparameters={"heads": "sigmoid"})
    with pytest.raises(TrainingDataError, match="is not the number of one class"):
        planned(aws, several, backend="container", image=IMAGE, hyperparameters={"multi_label": 0})


def test_a_script_gets_pictures_as_files_and_the_manifests_beside_them(aws: Aws, dataset: Dataset) -> None:
    request = planned(
        aws,
        dataset,
        backend="container",
        image=IMAGE,
        input_mode="FastFile",
        source="s3://trash-photos/code/sourcedir.tar.gz",
        program="train.py",
        model="s3://trash-photos/models/old/output/model.tar.gz",
    )
    assert channels(request) == {
        "train": ("train.manifest", "S3Prefix", "File"),
        "validation": ("validation.manifest", "S3Prefix", "File"),
        "images": ("classes/", "S3Prefix", "FastFile"),
        "model": ("s3://trash-photos/models/old/output/model.tar.gz", "S3Prefix", "File"),
    }
    assert request["Environment"]["GTLABEL_IMAGES"] == f"{INTO}classes/"
    assert json.loads(request["HyperParameters"]["sagemaker_program"]) == "train.py"


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"input_mode": "File"}, "the built-in reads manifests in Pipe mode only"),
        ({"source": "s3://a-bucket/x.tar.gz"}, "there is no field 'source'"),
        ({"backend": "tensorflow"}, "needs image, source, pretrained, whose places only AWS's SDK knows"),
        ({"backend": "tensorflow", **TENSORFLOW, "input_mode": "Pipe"}, "in File mode, not in Pipe mode"),
        (
            {"backend": "tensorflow", **TENSORFLOW, "pretrained": "s3://bucket/x"},
            "pretrained s3://bucket/x is no",
        ),
        ({"backend": "tensorflow", **TENSORFLOW, "instance_count": 2}, "set instance_count=1"),
        ({"backend": "container"}, "needs image, the address of the container"),
        (
            {"backend": "container", "image": IMAGE, "program": "train.py"},
            "give source, its sourcedir.tar.gz",
        ),
        ({"backend": "container", "image": IMAGE, "instance_type": "ml.x"}, "there is no machine 'ml.x'"),
        ({"backend": "container", "image": IMAGE, "input_mode": "File", "shuffle_seed": 4}, "only Pipe mode"),
    ],
)
def test_what_a_back_end_cannot_do_is_refused(
    aws: Aws, dataset: Dataset, asked: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(RequestError) as refused:
        planned(aws, dataset, **asked)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"train_only_on_top_layer": "True"}, "did you mean 'train_only_top_layer'?"),
        ({"momentum": 0.9}, "momentum has no effect with the optimizer adam"),
        ({"augmentation_random_zoom": 0.2}, "set augmentation=True"),
        ({"early_stopping_patience": 3}, "set early_stopping=True"),
        ({"epochs": 0}, "greater than or equal to 1"),
        ({"binary_mode": "True"}, "binary_mode is about two classes and there are 3"),
    ],
)
def test_hyperparameters_that_tensorflow_would_pass_over_are_refused(
    aws: Aws, dataset: Dataset, told: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(RequestError) as refused:
        planned(aws, dataset, backend="tensorflow", hyperparameters=told, **TENSORFLOW)
    assert sentence in str(refused.value)


def test_tensorflow_refuses_a_dataset_without_class_folders_and_tells_how_to_make_them(aws: Aws) -> None:
    plain = gtlabel.read_dataset(aws.s3, S3Uri(f"s3://{BUCKET}/plain/"))
    with pytest.raises(
        TrainingDataError, match="no class folders at s3://trash-photos/plain/imagefolder/train/.*"
    ):
        planned(aws, plain, backend="tensorflow", **TENSORFLOW)
    lacking = f"{INTO}imagefolder/validation/Landfill/"
    keys = [
        S3Uri.of(BUCKET, item["Key"])
        for item in aws.s3.list_objects_v2(Bucket=BUCKET, Prefix=S3Uri(lacking).key)["Contents"]
    ]
    for key in keys:
        aws.s3.delete_object(Bucket=BUCKET, Key=key.key)
    try:
        with pytest.raises(
            TrainingDataError, match="imagefolder/validation/ has 2 class folders .* has 3 classes"
        ):
            planned(aws, gtlabel.read_dataset(aws.s3, INTO), backend="tensorflow", **TENSORFLOW)
    finally:
        for key in keys:
            write(aws.s3, key, b"picture")


def test_files_cannot_be_read_where_pictures_were_left(aws: Aws) -> None:
    left = gtlabel.read_dataset(aws.s3, S3Uri(f"s3://{BUCKET}/left/"))
    with pytest.raises(RequestError, match="consolidate with --mode copy, or train in Pipe mode"):
        planned(aws, left, backend="container", image=IMAGE, input_mode="FastFile")
    assert planned(aws, left, backend="container", image=IMAGE)


def test_a_job_can_be_rented_on_any_terms(aws: Aws, dataset: Dataset) -> None:
    request = planned(
        aws,
        dataset,
        hyperparameters=SMALL,
        instance_type="ml.g5.2xlarge",
        instance_count=2,
        spot=True,
        max_runtime=7200,
        output_key="alias/models",
        subnets=("subnet-1",),
        security_groups=("sg-1", "sg-2"),
        isolated=True,
        encrypt_traffic=True,
        environment={"A": "b"},
        tags={"team": "waste", "gtlabel:version": "mine"},
        shuffle_seed=None,
    )
    assert request["EnableManagedSpotTraining"] is True
    assert request["EnableNetworkIsolation"] is True
    assert request["EnableInterContainerTrafficEncryption"] is True
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 7200, "MaxWaitTimeInSeconds": 14_400}
    assert request["CheckpointConfig"] == {"S3Uri": f"{INTO}models/sorter/checkpoints/"}
    assert request["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1", "sg-2"]}
    assert request["OutputDataConfig"]["KmsKeyId"] == "alias/models"
    assert request["HyperParameters"]["kv_store"] == "dist_sync"
    assert request["Environment"] == {"A": "b"}
    assert "ShuffleConfig" not in request["InputDataConfig"][0]
    tags = {tag["Key"]: tag["Value"] for tag in request["Tags"]}
    assert (tags["team"], tags["gtlabel:version"]) == ("waste", "mine")
    elsewhere = planned(aws, dataset, hyperparameters=SMALL, output="s3://nobody-knows-where/")
    assert elsewhere["OutputDataConfig"] == {"S3OutputPath": "s3://nobody-knows-where/"}
    warm = planned(aws, dataset, hyperparameters=SMALL, keep_alive=600)
    assert warm["ResourceConfig"]["KeepAlivePeriodInSeconds"] == 600


def test_tags_tell_as_many_classes_as_there_is_room_for() -> None:
    names = tuple(f"class {number:02d}, of many" for number in range(60))
    data = TrainingData(
        S3Uri("s3://bucket/a folder!/"),
        "label",
        names,
        {"train": ChannelData(S3Uri("s3://bucket/t"), 1)},
        jobs=("one", "two"),
    )
    tags = lineage_tags(data)
    assert all(len(value) <= 256 for value in tags.values())
    assert tags["gtlabel:classes"].startswith("0=class 00_ of many 1=class 01_ of many ")
    assert tags["gtlabel:classes"].endswith(" +48")
    assert tags["gtlabel:dataset"] == "s3://bucket/a folder_/"
    assert tags["gtlabel:labeling-jobs"] == "one two"
    assert "gtlabel:dataset-sha256" not in tags
    other = lineage_tags(TrainingData(data.uri, "label", (*names[:-1], "another"), data.channels))
    assert other["gtlabel:classes-sha256"] != tags["gtlabel:classes-sha256"]
