"""Training images of one's own: a program stands for each, and only the platform's rules apply to it."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from training_parts import ROLE, Sagemaker, artifact_of, clients_that_nobody_asks_for

from gtlabel.aws import Aws
from gtlabel.emulator.api import ApiError
from gtlabel.emulator.executor import Executor
from gtlabel.emulator.shelf import Shelf
from gtlabel.emulator.spot import Spot
from gtlabel.emulator.trainers import TRAINERS, read_trainers, written
from gtlabel.errors import EmulatorError, SettingsError
from gtlabel.training.follow import LOG_GROUP

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/my-trainer:2"


@pytest.fixture(params=["gtlabel_mock", "gtlabel_aws"])
def aws(request: pytest.FixtureRequest) -> Aws:
    """An account in process, and one behind `gtlabel local up --trainer`."""
    found: Aws = request.getfixturevalue(request.param)
    found.s3.create_bucket(Bucket="trash")
    return found


@pytest.fixture
def served(gtlabel_aws: Aws) -> Aws:
    gtlabel_aws.s3.create_bucket(Bucket="trash")
    return gtlabel_aws


def own(program: str, name: str = "sorter", **changes: Any) -> dict[str, Any]:
    return {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        "RoleArn": ROLE,
        "HyperParameters": {"program": json.dumps(dedent(program)), "whatever": "I like"},
        "OutputDataConfig": {"S3OutputPath": "s3://trash/models"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        **changes,
    }


def wait(aws: Aws, name: str = "sorter") -> dict[str, Any]:
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        job: dict[str, Any] = dict(aws.sagemaker.describe_training_job(TrainingJobName=name))
        if job["TrainingJobStatus"] not in ("InProgress", "Stopping"):
            return job
        time.sleep(0.05)
    raise AssertionError(job)


def test_an_own_image_trains_on_any_machine_from_any_channel_and_measures_what_it_likes(aws: Aws) -> None:
    aws.s3.put_object(Bucket="trash", Key="pictures/Compost/1.jpg", Body=b"peel")
    job = own(
        """
        print("loss: 0.75; f1=0.5", flush=True)
        print("loss: 0.25; f1=none", flush=True)
        (model / "found").write_text(" ".join(sys.argv[1:]))
        (model / "picture").write_bytes((data / "training/Compost/1.jpg").read_bytes())
        """
    )
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://trash/pictures"}
    job["InputDataConfig"] = [{"ChannelName": "training", "DataSource": {"S3DataSource": source}}]
    job["AlgorithmSpecification"] |= {
        "MetricDefinitions": [
            {"Name": "loss", "Regex": r"loss: ([0-9.]+)"},
            {"Name": "f1", "Regex": "f1=([^ ]+)"},
            {"Name": "never", "Regex": "nothing ([0-9]+)"},
        ],
        "ContainerArguments": ["train", "--fast"],
    }
    aws.sagemaker.create_training_job(**job)
    described = wait(aws)
    assert described["TrainingJobStatus"] == "Completed", described
    assert {item["MetricName"]: item["Value"] for item in described["FinalMetricDataList"]} == {
        "loss": 0.25,
        "f1": 0.5,
    }
    assert described["HyperParameters"] == job["HyperParameters"]
    assert artifact_of(aws.s3) == {"found": b"train --fast", "picture": b"peel"}


def _with(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda job: job["AlgorithmSpecification"].update(changes)


def _channel(name: str, mode: str, kind: str, **more: Any) -> Callable[[dict[str, Any]], None]:
    source = {"S3DataType": kind, "S3Uri": "s3://trash/x", **more.pop("source", {})}
    one = {"ChannelName": name, "InputMode": mode, "DataSource": {"S3DataSource": source}, **more}
    return lambda job: job.update(InputDataConfig=[one])


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            _with(TrainingImage=IMAGE.replace("my-trainer", "other")),
            "what can be trained is image-classification, team/my-trainer. Say which program stands for it "
            "with: gtlabel local up --trainer team/other=COMMAND",
        ),
        (_with(TrainingImage=IMAGE.replace("us-east-1", "eu-west-1")), "is in eu-west-1; a job in us-east-1"),
        (_with(ContainerEntrypoint=["python"]), "ContainerEntrypoint names a program inside of the image"),
        (_with(MetricDefinitions=[{"Name": "a", "Regex": "("}]), "a: ( is no regular expression: missing )"),
        (_with(MetricDefinitions=[{"Name": "a", "Regex": "loss"}]), "a: loss has no group"),
        (lambda job: job["ResourceConfig"].update(InstanceCount=2), "jobs run on one machine here"),
        (
            lambda job: job.update(
                ResourceConfig={
                    "InstanceGroups": [
                        {"InstanceType": "ml.m5.large", "InstanceCount": 1, "InstanceGroupName": "one"}
                    ],
                    "VolumeSizeInGB": 1,
                }
            ),
            "InstanceGroups cannot be had here",
        ),
        (
            lambda job: job.pop("AlgorithmSpecification"),
            "Give an AlgorithmSpecification with a TrainingImage",
        ),
        (
            _channel("a", "File", "S3Prefix", RecordWrapperType="RecordIO"),
            "RecordWrapperType is for Pipe mode only",
        ),
        (_channel("a", "FastFile", "AugmentedManifestFile"), "read in Pipe mode only, not in FastFile mode"),
        (
            _channel("a", "Pipe", "AugmentedManifestFile"),
            "AttributeNames must say what of each line is streamed",
        ),
        (_channel("model", "Pipe", "S3Prefix"), "an earlier artifact is read in File mode only"),
    ],
)
def test_what_an_own_image_cannot_have_is_refused_by_a_sentence(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], None], sentence: str
) -> None:
    shelf, trainers = Shelf(), {**TRAINERS, "team/my-trainer": ["train"]}
    sagemaker = Sagemaker(Executor(clients_that_nobody_asks_for, tmp_path, shelf, trainers=trainers), shelf)
    job = own("pass")
    spoil(job)
    with pytest.raises(ApiError) as refused:
        sagemaker("CreateTrainingJob", **job)
    assert refused.value.code == "ValidationException"
    assert sentence in refused.value.message


def test_log_lines_can_be_read_while_the_program_runs_and_by_pages(served: Aws) -> None:
    program = r"""
        for number in range(5):
            print(f"line {number}\tof five", flush=True)
        while not (base / "go").exists():
            time.sleep(0.01)
        (model / "weights").write_text("1")
    """
    served.sagemaker.create_training_job(**own(program))
    limit = time.monotonic() + 60
    messages: list[str] = []
    while len(messages) < 5:
        assert time.monotonic() < limit
        time.sleep(0.05)
        messages = _messages(served, limit=2)
    assert messages == [f"line {number}#011of five" for number in range(5)]
    job = served.sagemaker.describe_training_job(TrainingJobName="sorter")
    assert job["SecondaryStatus"] == "Training"
    served.sagemaker.stop_training_job(TrainingJobName="sorter")
    assert wait(served)["TrainingJobStatus"] == "Stopped"
    # From where the last page ended nothing more comes, and that stays so.
    stream = _stream(served)
    page = served.logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream, startFromHead=True)
    after = served.logs.get_log_events(
        logGroupName=LOG_GROUP, logStreamName=stream, nextToken=page["nextForwardToken"]
    )
    assert (after["events"], after["nextForwardToken"]) == ([], page["nextForwardToken"])


def test_the_lines_of_one_job_are_found_by_the_beginning_of_its_streams(aws: Aws) -> None:
    for name in ("apple", "apples"):
        program = f"""
            print("the first of {name}", flush=True)
            print("the last of {name}", flush=True)
            (model / "weights").write_text("1")
        """
        aws.sagemaker.create_training_job(**own(program, name))
    for name in ("apple", "apples"):
        wait(aws, name)

    def found(prefix: str, **more: Any) -> list[str]:
        pages = aws.logs.get_paginator("filter_log_events").paginate(
            logGroupName=LOG_GROUP, logStreamNamePrefix=prefix, PaginationConfig={"PageSize": 1}, **more
        )
        return [event["message"] for page in pages for event in page["events"]]

    assert found("apple/") == ["the first of apple", "the last of apple"]
    assert found("apples/", filterPattern="last") == ["the last of apples"]
    assert len(found("apple")) == 4
    assert found("pear") == []
    with pytest.raises(aws.logs.exceptions.ResourceNotFoundException):
        aws.logs.filter_log_events(logGroupName="/nowhere", logStreamNamePrefix="apple/")


def _stream(aws: Aws) -> str:
    found = aws.logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix="sorter/")
    return found["logStreams"][0]["logStreamName"]


def _messages(aws: Aws, limit: int) -> list[str]:
    try:
        pages = aws.logs.get_paginator("filter_log_events").paginate(
            logGroupName=LOG_GROUP, logStreamNames=[_stream(aws)], PaginationConfig={"PageSize": limit}
        )
        return [event["message"] for page in pages for event in page["events"]]
    except (aws.logs.exceptions.ResourceNotFoundException, IndexError):
        return []


def test_a_test_can_take_a_spot_machine_away(served: Aws, gtlabel_spot: Spot) -> None:
    program = """
        saved = base / "checkpoints/saved"
        if saved.exists():
            (model / "weights").write_text(saved.read_text())
            sys.exit()
        saved.write_text("from the first machine")
        print("ready", flush=True)
        time.sleep(60)
    """
    whole = own(
        program,
        EnableManagedSpotTraining=True,
        StoppingCondition={"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60},
        CheckpointConfig={"S3Uri": "s3://trash/checkpoints"},
    )
    served.sagemaker.create_training_job(**whole)
    limit = time.monotonic() + 60
    while "Contents" not in served.s3.list_objects_v2(Bucket="trash", Prefix="checkpoints/"):
        assert time.monotonic() < limit
        time.sleep(0.05)
    gtlabel_spot.interrupt("sorter")
    job = wait(served)
    assert job["TrainingJobStatus"] == "Completed", job
    assert "Interrupted" in [step["Status"] for step in job["SecondaryStatusTransitions"]]
    assert artifact_of(served.s3) == {"weights": b"from the first machine"}
    with pytest.raises(EmulatorError, match="no training job named 'sorter' is in progress"):
        gtlabel_spot.interrupt("sorter")
    with pytest.raises(EmulatorError, match="-1 is no number of seconds without a machine"):
        gtlabel_spot.interrupt("sorter", seconds=-1)


def test_a_program_is_named_as_a_shell_would_and_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.py").touch()
    monkeypatch.chdir(tmp_path)
    command = f"{shlex.quote(sys.executable)} train.py --mode 'very fast' training"
    found = read_trainers([f"team/my-trainer={command}", f"other={sys.executable} -m module=1"])
    assert found == {
        "team/my-trainer": (
            *(sys.executable, str(tmp_path / "train.py")),
            *("--mode", "very fast", "training"),
        ),
        "other": (sys.executable, "-m", "module=1"),
    }
    assert read_trainers(option.removeprefix("--trainer=") for option in written(found)) == found


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["my-trainer"], "write it as REPOSITORY=COMMAND"),
        (["my-trainer= "], "write it as REPOSITORY=COMMAND"),
        (["My Trainer=python"], "write it as REPOSITORY=COMMAND"),
        (["my-trainer:1=python"], "write it as REPOSITORY=COMMAND"),
        (["a='b"], "the command cannot be taken apart: No closing quotation"),
        (["a=no-such-program-anywhere train.py"], "there is no program 'no-such-program-anywhere'"),
        (["a=sh 1", "a=sh 2"], "a is /"),
    ],
)
def test_a_program_that_is_named_otherwise_is_an_error(options: list[str], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        read_trainers(options)
