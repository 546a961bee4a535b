"""What the channels of a training job hold: files, whole objects in a stream, and an earlier model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from training_parts import MODEL_AT_ONCE, PICTURES, ROLE, Start, artifact, executing, request

from gtlabel.recordio import encode
from gtlabel.training.backends.container import ContainerRequest
from gtlabel.training.backends.tensorflow import TensorFlowRequest
from gtlabel.training.terms import TrainingRequest
from gtlabel.uris import S3Uri

# What a program finds in File mode, in its artifact.
LISTS_ITS_FILES = """
files = [path for path in data.rglob("*") if path.is_file()]
found = {str(path.relative_to(data)): path.stat().st_size for path in files}
(model / "found").write_text(json.dumps(found))
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with executing(tmp_path) as begin:
        yield begin


def channel(name: str, uri: str, mode: str = "File", kind: str = "S3Prefix", **more: Any) -> dict[str, Any]:
    return {
        "ChannelName": name,
        "DataSource": {"S3DataSource": {"S3DataType": kind, "S3Uri": uri}},
        "InputMode": mode,
        **more,
    }


def both(whole: dict[str, Any], *arguments: str, **more: Any) -> dict[str, Any]:
    channels = [channel(name, *arguments, **more) for name in ("train", "validation")]
    return {**whole, "InputDataConfig": channels}


def test_channels_in_file_mode_are_downloaded_first(start: Start) -> None:
    sagemaker = start(LISTS_ITS_FILES)
    sagemaker("CreateTrainingJob", **both(request(sagemaker), "s3://trash/images"))
    job = sagemaker.wait()
    statuses = [step["Status"] for step in job["SecondaryStatusTransitions"]]
    assert statuses == ["Starting", "Downloading", "Training", "Uploading", "Completed"], job
    found = json.loads(artifact(sagemaker)["found"])
    assert found == {
        f"{channel}/{name}": len(content)
        for channel in ("train", "validation")
        for name, content in PICTURES.items()
    }


def test_channels_in_fastfile_mode_are_there_and_are_not_a_download(start: Start) -> None:
    sagemaker = start(LISTS_ITS_FILES, "assert not os.stat(files[0]).st_mode & 0o222")
    sagemaker("CreateTrainingJob", **both(request(sagemaker), "s3://trash/images/", "FastFile"))
    job = sagemaker.wait()
    statuses = [step["Status"] for step in job["SecondaryStatusTransitions"]]
    assert statuses == ["Starting", "Training", "Uploading", "Completed"], job
    assert len(json.loads(artifact(sagemaker)["found"])) == 2 * len(PICTURES)


def test_a_manifest_of_objects_says_which_files_there_are(start: Start) -> None:
    sagemaker = start(LISTS_ITS_FILES)
    text = json.dumps([{"prefix": "s3://trash/images/"}, "2.jpg", "7.jpg"])
    sagemaker.aws.s3.put_object(Bucket="trash", Key="files.manifest", Body=text.encode())
    whole = both(request(sagemaker), "s3://trash/files.manifest", "File", "ManifestFile")
    sagemaker("CreateTrainingJob", **whole)
    assert sagemaker.wait()["TrainingJobStatus"] == "Completed"
    assert set(json.loads(artifact(sagemaker)["found"])) == {
        "train/2.jpg",
        "train/7.jpg",
        "validation/2.jpg",
        "validation/7.jpg",
    }


def test_an_earlier_model_is_a_file_beside_the_streams(start: Start) -> None:
    sagemaker = start("epoch('train', 0)", LISTS_ITS_FILES)
    sagemaker.aws.s3.put_object(Bucket="trash", Key="models/old/output/model.tar.gz", Body=b"weights")
    whole = request(sagemaker)
    earlier = channel(
        "model", "s3://trash/models/old/output/model.tar.gz", ContentType="application/x-sagemaker-model"
    )
    sagemaker("CreateTrainingJob", **{**whole, "InputDataConfig": [*whole["InputDataConfig"], earlier]})
    job = sagemaker.wait()
    assert job["TrainingJobStatus"] == "Completed", job
    assert job["InputDataConfig"][2] == earlier
    assert json.loads(artifact(sagemaker)["found"]) == {"model/model.tar.gz": 7}


# A reader that knows nothing of records: it keeps the bytes of two epochs.
KEEPS_TWO_EPOCHS = """
for number in (0, 1):
    path = data / f"train_{number}"
    while not path.exists():
        time.sleep(0.01)
    (model / str(number)).write_bytes(path.read_bytes())
"""


def test_objects_follow_each_other_in_a_pipe_in_the_order_of_their_keys(start: Start) -> None:
    sagemaker = start(KEEPS_TWO_EPOCHS)
    for name, value in [("b.rec", b"second"), ("a.rec", b"first"), ("c/d.rec", b"third"), ("c/", b"")]:
        sagemaker.aws.s3.put_object(
            Bucket="trash", Key=f"records/{name}", Body=encode(value) if value else b""
        )
    sagemaker("CreateTrainingJob", **both(request(sagemaker), "s3://trash/records/", "Pipe"))
    assert sagemaker.wait()["TrainingJobStatus"] == "Completed"
    whole = encode(b"first") + encode(b"second") + encode(b"third")
    assert artifact(sagemaker) == {"0": whole, "1": whole}


def test_objects_in_a_pipe_can_be_wrapped_and_shuffled_anew_for_every_epoch(start: Start) -> None:
    sagemaker = start(
        """
        for number in (0, 1):
            sizes = [len(record) for record in epoch("train", number)]
            (model / str(number)).write_text(json.dumps(sizes))
        """
    )
    more: dict[str, Any] = {"RecordWrapperType": "RecordIO", "ShuffleConfig": {"Seed": 7}}
    sagemaker("CreateTrainingJob", **both(request(sagemaker), "s3://trash/images/", "Pipe", **more))
    assert sagemaker.wait()["TrainingJobStatus"] == "Completed"
    first, second = (json.loads(each) for each in artifact(sagemaker).values())
    everything = sorted(len(content) for content in PICTURES.values())
    assert sorted(first) == sorted(second) == everything
    assert first != second
    assert everything not in (first, second)


def test_several_labels_are_a_json_array_in_the_stream(start: Start) -> None:
    sagemaker = start(
        """
        values = epoch("train", 0)[1::2]
        (model / "labels").write_text(json.dumps([json.loads(value) for value in values]))
        """
    )
    lines = [
        {"source-ref": f"s3://trash/images/{number}.jpg", "label": label}
        for number, label in [(1, [0, 2]), (2, []), (3, [1])]
    ]
    sagemaker("CreateTrainingJob", **request(sagemaker, lines))
    assert sagemaker.wait()["TrainingJobStatus"] == "Completed"
    assert json.loads(artifact(sagemaker)["labels"]) == [[0, 2], [], [1]]


def test_what_the_library_asks_for_elsewhere_than_of_the_built_in_is_run_too(start: Start) -> None:
    usual = {"role": ROLE, "output": S3Uri("s3://trash/models"), "instance_type": "ml.m5.large"}
    registry = "763104351884.dkr.ecr.us-east-1.amazonaws.com"
    manifests = {
        "train": S3Uri("s3://trash/train.manifest"),
        "validation": S3Uri("s3://trash/train.manifest"),
    }
    jobs: list[tuple[TrainingRequest, set[str]]] = [
        (
            TensorFlowRequest(
                name="tensorflow",
                image=f"{registry}/tensorflow-training:2.19-cpu",
                training=S3Uri("s3://trash/classes/train/"),
                validation=S3Uri("s3://trash/classes/validation/"),
                source=S3Uri("s3://trash/sourcedir.tar.gz"),
                pretrained=S3Uri("s3://trash/network.tar.gz"),
                classes=2,
                **usual,
            ),
            {"training/Compost/1.jpg", "validation/Landfill/2.jpg", "model/network.tar.gz"},
        ),
        (
            ContainerRequest(
                name="files",
                image=f"{registry}/pytorch-training:2.10-cpu",
                input_mode="FastFile",
                images=S3Uri("s3://trash/classes/"),
                label_attribute="label",
                **manifests,
                **usual,
            ),
            {
                *("train/train.manifest", "validation/train.manifest"),
                *("images/train/Compost/1.jpg", "images/validation/Landfill/2.jpg"),
            },
        ),
    ]
    sagemaker = start(LISTS_ITS_FILES, image=("tensorflow-training", "pytorch-training"))
    for key in ("classes/train/Compost/1.jpg", "classes/validation/Landfill/2.jpg", "network.tar.gz"):
        sagemaker.aws.s3.put_object(Bucket="trash", Key=key, Body=b"1")
    request(sagemaker)
    for asked, files in jobs:
        sagemaker("CreateTrainingJob", **asked.to_boto())
        job = sagemaker.wait(asked.name)
        assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]
        assert set(json.loads(artifact(sagemaker, job=asked.name)["found"])) == files


FORM = '[{"prefix": "s3://BUCKET/FOLDER/"}, "KEY", ...]'


@pytest.mark.parametrize(
    ("uri", "mode", "kind", "sentence"),
    [
        (
            "s3://trash/nothing/",
            "File",
            "S3Prefix",
            "the channel train: there is nothing at s3://trash/nothing/",
        ),
        ("s3://trash/nothing/", "Pipe", "S3Prefix", "there is nothing at s3://trash/nothing/"),
        ("s3://nobody/x/", "FastFile", "S3Prefix", "the channel train: the bucket 'nobody' does not exist"),
        ("s3://trash/evil/", "File", "S3Prefix", "leads out of its channel's directory"),
        (
            "s3://trash/m/missing",
            "File",
            "ManifestFile",
            "the channel train: there is nothing at s3://trash/no.jpg",
        ),
        ("s3://trash/m/missing", "Pipe", "ManifestFile", "there is nothing at s3://trash/no.jpg"),
        ("s3://trash/m/lines", "File", "ManifestFile", "s3://trash/m/lines is not JSON: "),
        (
            "s3://trash/m/list",
            "Pipe",
            "ManifestFile",
            f"s3://trash/m/list is no manifest of objects; it must be like {FORM}",
        ),
        (
            "s3://trash/m/number",
            "Pipe",
            "ManifestFile",
            f"s3://trash/m/number, entry 2: 5 is no key, as in {FORM}",
        ),
    ],
)
def test_objects_that_cannot_be_read_fail_the_job_by_channel_and_address(
    start: Start, uri: str, mode: str, kind: str, sentence: str
) -> None:
    sagemaker = start("epoch('train', 0)", MODEL_AT_ONCE)
    prefix = {"prefix": "s3://trash/"}
    manifests: dict[str, Any] = {
        "missing": [prefix, "images/1.jpg", "no.jpg"],
        "list": ["images/1.jpg"],
        "number": [prefix, "images/1.jpg", 5],
    }
    files = {f"m/{name}": json.dumps(content).encode() for name, content in manifests.items()}
    files |= {"m/lines": b'{"source-ref": "s3://trash/1.jpg"}\n{}', "evil/../../../../stolen": b"gotcha"}
    for key, body in files.items():
        sagemaker.aws.s3.put_object(Bucket="trash", Key=key, Body=body)
    sagemaker("CreateTrainingJob", **both(request(sagemaker), uri, mode, kind))
    job = sagemaker.wait()
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: Data download failed: ")
    assert sentence in job["FailureReason"]
