"""Models of earlier jobs: to go on from, to deploy, and the classes that they were trained with."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import pytest
from backend_parts import IMAGE, ROLE, SMALL, channels, planned, put_labels
from botocore.stub import Stubber
from dataset_parts import BINS, BUCKET, INTO
from judging_parts import color_artifact
from moto import mock_aws

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
from gtlabel.storage import write
from gtlabel.training.jobs import create_training_job
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    """Clients of an account with a job's pictures, and a dataset made of them."""
    with mock_aws():
        clients = Aws(session("us-east-1"))
        clients.s3.create_bucket(Bucket=BUCKET)
        consolidate(clients.s3, [put_labels(clients.s3)], INTO)
        yield clients


@pytest.fixture
def dataset(aws: Aws) -> Dataset:
    return gtlabel.read_dataset(aws.s3, INTO)


def _turn(s3: S3Client, into: S3Uri) -> Dataset:
    """Consolidate anew what a job said whose class list has the other order."""
    job = JobOutput(put_labels(s3, "turned", BINS[::-1]), "bin", ClassList(BINS[::-1]))
    anew = consolidate(s3, [job], into)
    assert tuple(anew.names) == BINS[::-1]
    return anew


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
    trained = consolidate(aws.s3, [put_labels(aws.s3)], into)
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
    trained = consolidate(aws.s3, [put_labels(aws.s3)], into)
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
    with pytest.raises(ArtifactError, match="made anew since: give the names of then with --classes"):
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
