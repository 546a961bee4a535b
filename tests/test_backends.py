"""One dataset, three programs that train on it, and the terms they are rented on."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import pytest
from botocore.stub import Stubber
from dataset_parts import BINS, BUCKET, INTO, line, put_job, said
from judging_parts import color_artifact
from moto import mock_aws
from PIL import Image

import gtlabel
from gtlabel.aws import Aws
from gtlabel.datasets.channels import Dataset
from gtlabel.datasets.consolidate import JobOutput, consolidate
from gtlabel.emulator.environment import session
from gtlabel.errors import ArtifactError, RequestError, TrainingDataError, TrainingError
from gtlabel.journey import TrainedModel
from gtlabel.manifests.classes import ClassList
from gtlabel.networks.resnet import resnet
from gtlabel.networks.runtime import Network
from gtlabel.storage import read, write
from gtlabel.training.data import ChannelData, TrainingData
from gtlabel.training.jobs import create_training_job
from gtlabel.training.lineage import lineage_tags
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

ROLE = "arn:aws:iam::123456789012:role/gtlabel"
SMALL = {"image_shape": "3,24,24", "num_layers": 20, "resize": 24}
TENSORFLOW = {
    "image": "763104351884.dkr.ecr.us-east-1.amazonaws.com/tensorflow-training:2.8-gpu-py39",
    "source": "s3://jumpstart-cache-prod-us-east-1/scripts/sourcedir.tar.gz",
    "pretrained": "s3://jumpstart-cache-prod-us-east-1/train-mobilenet.tar.gz",
}
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/sorter:3"


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    """Clients of an account with a job's pictures, and three datasets made of them."""
    with mock_aws():
        clients = Aws(session("us-east-1"))
        clients.s3.create_bucket(Bucket=BUCKET)
        _consolidate(clients.s3)
        yield clients


def _put_labels(s3: S3Client, name: str = "bins", classes: Sequence[str] = BINS) -> S3Uri:
    """What a job said of a dozen pictures of each class, by its own class list."""
    names = [(f"{bin_}-{number}.png", bin_) for bin_ in BINS for number in range(12)]
    manifest = put_job(s3, name, [line(each, said(bin_, classes)) for each, bin_ in names])
    for number, (each, _) in enumerate(names):
        file = io.BytesIO()
        Image.new("RGB", (24, 24), (number, 0, 0)).save(file, "PNG")
        write(s3, S3Uri(f"s3://{BUCKET}/images/{each}"), file.getvalue())
    return manifest


def _consolidate(s3: S3Client) -> None:
    manifest = _put_labels(s3)
    consolidate(s3, [manifest], INTO, formats=["imagefolder"])
    consolidate(s3, [manifest], S3Uri(f"s3://{BUCKET}/plain/"))
    consolidate(s3, [manifest], S3Uri(f"s3://{BUCKET}/left/"), mode="none")


def _turn(s3: S3Client, into: S3Uri) -> Dataset:
    """Consolidate anew what a job said whose class list has the other order."""
    job = JobOutput(_put_labels(s3, "turned", BINS[::-1]), "bin", ClassList(BINS[::-1]))
    anew = consolidate(s3, [job], into)
    assert tuple(anew.names) == BINS[::-1]
    return anew


@pytest.fixture
def dataset(aws: Aws) -> Dataset:
    return gtlabel.read_dataset(aws.s3, INTO)


def planned(aws: Aws, dataset: Dataset, **asked: Any) -> dict[str, Any]:
    asked = {"role": ROLE, "name": "sorter", **asked}
    return dict(gtlabel.plan_training(aws, dataset, **asked).to_boto())


def channels(request: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    """What each channel reads, how it is told, and the mode."""
    return {
        channel["ChannelName"]: (
            channel["DataSource"]["S3DataSource"]["S3Uri"].removeprefix(INTO),
            channel["DataSource"]["S3DataSource"]["S3DataType"],
            channel["InputMode"],
        )
        for channel in request["InputDataConfig"]
    }


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
    several = consolidate(aws.s3, [_put_labels(aws.s3)], S3Uri(f"s3://{BUCKET}/several/"))
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


def put_artifact(s3: S3Client, name: str, where: S3Uri | None = None, **documents: Any) -> S3Uri:
    """A model.tar.gz with these documents, and weights that are of no account."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for member, content in {"image-classification-0001.params": b"weights", **documents}.items():
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            info = tarfile.TarInfo(member)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    where = where or S3Uri(f"s3://{BUCKET}/artifacts/{name}/output/model.tar.gz")
    write(s3, where, file.getvalue())
    return where


def network(layers: int = 20, classes: int = 3, side: int = 24) -> dict[str, Any]:
    return {
        "image-classification-symbol.json": resnet(layers, classes, (3, side, side)).symbol,
        "model-shapes.json": [{"name": "data", "shape": [3, 3, side, side]}],
    }


def without_a_layer() -> dict[str, Any]:
    """A network that has as many layers as the built-in never makes."""
    documents = network()
    nodes = documents["image-classification-symbol.json"]["nodes"]
    last = max(place for place, node in enumerate(nodes) if node["op"] == "Convolution")
    nodes[last] = {**nodes[last], "op": "_copy"}
    return documents


def test_training_goes_on_from_an_artifact_whose_network_is_taken_over(aws: Aws, dataset: Dataset) -> None:
    artifact = put_artifact(aws.s3, "good", **network())
    request = planned(aws, dataset, model=artifact)
    told = request["HyperParameters"]
    assert (told["num_layers"], told["image_shape"], told["num_classes"]) == ("20", "3,24,24", "3")
    assert "use_pretrained_model" not in told
    assert request["InputDataConfig"][2] == {
        "ChannelName": "model",
        "DataSource": {
            "S3DataSource": {
                "S3DataType": "S3Prefix",
                "S3Uri": artifact,
                "S3DataDistributionType": "FullyReplicated",
            }
        },
        "ContentType": "application/x-sagemaker-model",
        "CompressionType": "None",
        "InputMode": "File",
    }
    deep = put_artifact(aws.s3, "deep", **network(50, 3, 224))
    told = planned(aws, dataset, model=deep, hyperparameters={"resize": 224})["HyperParameters"]
    assert (told["num_layers"], told["image_shape"]) == ("50", "3,224,224")
    with pytest.raises(RequestError, match="a job begins with one network; leave out model"):
        planned(aws, dataset, model=deep, hyperparameters={"resize": 224, "use_pretrained_model": 1})


def test_training_goes_on_from_a_job_of_the_same_classes(aws: Aws, dataset: Dataset) -> None:
    before = gtlabel.plan_training(aws, dataset, role=ROLE, name="before", hyperparameters=SMALL)
    create_training_job(aws.sagemaker, before)
    put_artifact(aws.s3, "before", INTO / "models/before/output/model.tar.gz")
    request = planned(aws, dataset, model="before")
    told = request["HyperParameters"]
    assert (told["num_layers"], told["image_shape"], told["resize"]) == ("20", "3,24,24", "24")
    model = request["InputDataConfig"][2]["DataSource"]["S3DataSource"]["S3Uri"]
    assert model.endswith("/before/output/model.tar.gz")
    with pytest.raises(TrainingDataError, match=r"num_layers is 32 and was 20 .*; set num_layers=20"):
        planned(aws, dataset, model="before", hyperparameters={"num_layers": 32})


def test_training_does_not_go_on_when_the_dataset_was_made_anew_with_its_classes_in_another_order(
    aws: Aws,
) -> None:
    into = S3Uri(f"s3://{BUCKET}/turned/")
    trained = consolidate(aws.s3, [_put_labels(aws.s3)], into)
    request = gtlabel.plan_training(aws, trained, role=ROLE, name="straight", hyperparameters=SMALL)
    arn = create_training_job(aws.sagemaker, request)
    put_artifact(aws.s3, "straight", into / "models/straight/output/model.tar.gz")
    turned = _turn(aws.s3, into)
    with pytest.raises(TrainingDataError, match="the label 0 is 'Recycle' and was 'Compost' for"):
        planned(aws, turned, model="straight")
    # The dataset of another prefix still has the classes of then.
    assert planned(aws, gtlabel.read_dataset(aws.s3, INTO), model="straight")
    # Names that no tag has room for are known by their digest alone, whether there is a list or not.
    aws.sagemaker.delete_tags(ResourceArn=arn, TagKeys=["gtlabel:classes"])
    with pytest.raises(ArtifactError, match=r"turned/classes\.json is not the class list that 'straight'"):
        planned(aws, turned, model="straight")
    aws.s3.delete_object(Bucket=BUCKET, Key="turned/classes.json")
    with pytest.raises(ArtifactError, match="'straight' was trained with other classes, as the digest"):
        planned(aws, turned, model="straight")
    assert planned(aws, gtlabel.read_dataset(aws.s3, INTO), model="straight")


def test_a_device_gets_the_names_that_were_trained_when_the_dataset_is_made_anew(
    aws: Aws, tmp_path: Path
) -> None:
    into = S3Uri(f"s3://{BUCKET}/deployed/")
    trained = consolidate(aws.s3, [_put_labels(aws.s3)], into)
    request = gtlabel.plan_training(aws, trained, role=ROLE, name="deployed", hyperparameters=SMALL)
    arn = create_training_job(aws.sagemaker, request)
    files = {file.name: file.read_bytes() for file in color_artifact(tmp_path / "model").iterdir()}
    put_artifact(aws.s3, "model", into / "models/deployed/output/model.tar.gz", **files)

    def lineage(model: TrainedModel) -> dict[str, str]:
        return {each.key: each.value for each in onnx.load_from_string(model.onnx).metadata_props}

    fetched = gtlabel.fetch_model(aws, "deployed")
    assert (fetched.classes, Network(fetched.onnx).classes) == (BINS, BINS)
    assert lineage(fetched)["dataset-sha256"] == trained.certificate
    assert lineage(fetched)["train-sha256"] == trained.channels["train"].sha256
    _turn(aws.s3, into)
    fetched = gtlabel.fetch_model(aws, "deployed")
    assert (fetched.classes, Network(fetched.onnx).classes) == (BINS, BINS)
    assert lineage(fetched)["dataset-sha256"] == trained.certificate
    assert "train-sha256" not in lineage(fetched)
    # Names that no tag has room for are known by their digest alone.
    aws.sagemaker.delete_tags(ResourceArn=arn, TagKeys=["gtlabel:classes"])
    with pytest.raises(ArtifactError, match="made anew since: train again on what it is now, or consolidate"):
        gtlabel.fetch_model(aws, "deployed")


ODD_SHAPES: list[Any] = [[], {}, 7, ["data"], [{"shape": [3]}], [{"name": "data", "shape": "3,3,24,24"}]]


@pytest.mark.parametrize(
    ("documents", "error", "sentence"),
    [
        (network(classes=4), TrainingDataError, "num_classes is 3 and was 4 .* train from the beginning"),
        ({}, ArtifactError, "lacks image-classification-symbol.json"),
        ({**network(), "image-classification-symbol.json": b"{"}, ArtifactError, "is no model.tar.gz"),
        ({**network(), "image-classification-symbol.json": {}}, ArtifactError, "not an MXNet graph"),
        *(
            ({**network(), "model-shapes.json": shapes}, ArtifactError, "holds no ResNet")
            for shapes in ODD_SHAPES
        ),
        (
            {**network(), "model-shapes.json": b" " * (16 << 20) + b"[]"},
            ArtifactError,
            "holds 'model-shapes.json' of 16777218 bytes; that is no model",
        ),
        ({**network(), "model-shapes.json": b"[" * 100_000}, ArtifactError, "is no model.tar.gz"),
        (without_a_layer(), ArtifactError, "holds no ResNet of the built-in"),
    ],
)
def test_an_artifact_that_does_not_fit_is_refused(
    aws: Aws, dataset: Dataset, documents: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    artifact = put_artifact(aws.s3, "bad", **documents)
    with pytest.raises(error, match=sentence):
        planned(aws, dataset, model=artifact)


def test_members_of_an_artifact_may_be_spelled_from_the_folder(aws: Aws, dataset: Dataset) -> None:
    documents = {f"./{name}": document for name, document in network().items()}
    told = planned(aws, dataset, model=put_artifact(aws.s3, "dotted", **documents))["HyperParameters"]
    assert (told["num_layers"], told["image_shape"], told["num_classes"]) == ("20", "3,24,24", "3")


def test_what_is_no_archive_is_no_model(aws: Aws, dataset: Dataset) -> None:
    where = S3Uri(f"s3://{BUCKET}/artifacts/picture.tar.gz")
    write(aws.s3, where, b"not an archive")
    with pytest.raises(ArtifactError, match=r"picture\.tar\.gz is no model\.tar\.gz"):
        planned(aws, dataset, model=where)


@pytest.mark.parametrize("backend", [{}, {"backend": "container", "image": IMAGE}])
@pytest.mark.parametrize("status", ["InProgress", "Failed", "Stopped"])
def test_a_job_that_left_no_model_is_nothing_to_go_on_from(
    aws: Aws, dataset: Dataset, backend: dict[str, Any], status: str
) -> None:
    clients = Aws(session("us-east-1"))
    job: dict[str, Any] = {
        "TrainingJobName": "earlier",
        "TrainingJobArn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/earlier",
        # It is told even of a job that was stopped before there was a model.
        "ModelArtifacts": {"S3ModelArtifacts": "s3://trash-photos/models/earlier/output/model.tar.gz"},
        "TrainingJobStatus": status,
        "SecondaryStatus": "Training" if status == "InProgress" else status,
        "AlgorithmSpecification": {"TrainingInputMode": "Pipe"},
        "StoppingCondition": {},
        "CreationTime": datetime(2026, 11, 22, tzinfo=UTC),
    }
    with Stubber(clients.sagemaker) as stubber:
        stubber.add_response("describe_training_job", job)
        with pytest.raises(TrainingError, match=f"'earlier' is {status} and left no model to go on from"):
            planned(clients, dataset, model="earlier", **backend)


def test_the_builtin_does_not_go_on_from_what_another_program_left(aws: Aws, dataset: Dataset) -> None:
    own = gtlabel.plan_training(aws, dataset, role=ROLE, name="own", backend="container", image=IMAGE)
    create_training_job(aws.sagemaker, own)
    artifact = put_artifact(aws.s3, "own", INTO / "models/own/output/model.tar.gz")
    with pytest.raises(TrainingError, match="of the training job 'own' are not those of the built-in image"):
        planned(aws, dataset, model="own")
    request = planned(aws, dataset, model="own", backend="container", image=IMAGE)
    assert channels(request)["model"][0] == artifact.removeprefix(INTO)


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
