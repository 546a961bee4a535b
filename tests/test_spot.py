"""Managed spot training: machines that are taken away, checkpoints, and machines that are kept warm."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from training_parts import (
    MODEL_AT_ONCE,
    SLEEPS,
    Sagemaker,
    Start,
    artifact,
    executing,
    keys,
    request,
    started,
)

from gtlabel.emulator.api import ApiError
from gtlabel.emulator.clock import Clock
from gtlabel.errors import EmulatorError
from gtlabel.training.follow import LOG_GROUP


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with executing(tmp_path) as begin:
        yield begin


def spot(whole: dict[str, Any], max_wait: int = 3600, **changes: Any) -> dict[str, Any]:
    return {
        **whole,
        "EnableManagedSpotTraining": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": max_wait},
        "CheckpointConfig": {"S3Uri": "s3://trash/checkpoints/sorter"},
        **changes,
    }


# Counts how often it was started, says so in a metric, and is done the second time.
GOES_ON = """
counter = base / "checkpoints" / "deep" / "starts"
counter.parent.mkdir(exist_ok=True)
starts = int(counter.read_text()) if counter.exists() else 0
first = len(epoch("train", 0))
counter.write_text(str(starts + 1))
(model / "weights").write_text(str(starts))
print(f"Epoch[{starts}] Train-accuracy=0.{starts + 1}", flush=True)
if starts == 0:
    time.sleep(60)
"""


def statuses(job: dict[str, Any]) -> list[str]:
    return [step["Status"] for step in job["SecondaryStatusTransitions"]]


def test_a_job_whose_machine_is_taken_away_goes_on_from_its_checkpoint(start: Start) -> None:
    sagemaker = start(GOES_ON)
    sagemaker("CreateTrainingJob", **spot(request(sagemaker)))
    sagemaker.wait(until=started)
    sagemaker.interrupt(away=1.2)
    waiting = sagemaker.wait(until=lambda job: job["SecondaryStatus"] == "Interrupted")
    assert waiting["TrainingJobStatus"] == "InProgress"
    assert (
        sagemaker.aws.s3.get_object(Bucket="trash", Key="checkpoints/sorter/deep/starts")["Body"].read()
        == b"1"
    )
    job = sagemaker.wait()
    assert statuses(job) == [
        *("Starting", "Training", "Interrupted"),
        *("Starting", "Training", "Uploading", "Completed"),
    ]
    assert artifact(sagemaker) == {"weights": b"1"}
    assert [item["Value"] for item in job["FinalMetricDataList"]] == [pytest.approx(0.2)]
    # For the second without a machine nobody pays.
    assert job["BillableTimeInSeconds"] < job["TrainingTimeInSeconds"]
    streams = sagemaker.aws.logs.describe_log_streams(logGroupName=LOG_GROUP)["logStreams"]
    assert len(streams) == 2


def test_checkpoints_are_in_s3_while_the_program_still_runs(start: Start) -> None:
    sagemaker = start("(base / 'checkpoints/epoch-1').write_text('half way')", SLEEPS)
    sagemaker("CreateTrainingJob", **spot(request(sagemaker)))
    limit = time.monotonic() + 60
    while keys(sagemaker, "checkpoints/") != ["checkpoints/sorter/epoch-1"]:
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert sagemaker.describe()["SecondaryStatus"] == "Training"


def test_checkpoints_need_no_spot_machine_and_have_the_folder_that_was_asked_for(start: Start) -> None:
    sagemaker = start(
        """
        own = base / "own/folder"
        (model / "found").write_text((own / "epoch-1").read_text())
        (own / "epoch-2").write_text("new")
        (own / "epoch-1").unlink()
        """
    )
    sagemaker.aws.s3.put_object(Bucket="trash", Key="kept/epoch-1", Body=b"old")
    checkpoints = {"S3Uri": "s3://trash/kept/", "LocalPath": "/opt/ml/own/folder"}
    sagemaker("CreateTrainingJob", **{**request(sagemaker), "CheckpointConfig": checkpoints})
    job = sagemaker.wait()
    assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]
    assert job["CheckpointConfig"] == checkpoints
    assert artifact(sagemaker) == {"found": b"old"}
    assert keys(sagemaker, "kept/") == ["kept/epoch-1", "kept/epoch-2"]


def test_checkpoints_without_a_bucket_fail_the_job(start: Start) -> None:
    sagemaker = start(MODEL_AT_ONCE)
    sagemaker("CreateTrainingJob", **spot(request(sagemaker), CheckpointConfig={"S3Uri": "s3://nowhere/x"}))
    reason = sagemaker.wait()["FailureReason"]
    assert reason.startswith(
        "ClientError: the checkpoints cannot be read: the bucket 'nowhere' does not exist"
    )


def test_a_job_without_a_machine_can_be_stopped_and_waits_no_longer_than_it_may(start: Start) -> None:
    sagemaker = start(SLEEPS)
    whole = request(sagemaker)
    hurried = spot(
        whole,
        1,
        TrainingJobName="hurried",
        StoppingCondition={"MaxRuntimeInSeconds": 1, "MaxWaitTimeInSeconds": 1},
    )
    for each in (spot(whole), hurried):
        sagemaker("CreateTrainingJob", **each)
    sagemaker.wait(until=started)
    sagemaker.interrupt(away=30)
    # A slow machine may have used up the second of this one already.
    with suppress(EmulatorError):
        sagemaker.interrupt("hurried", away=30)
    sagemaker.wait(until=lambda job: job["SecondaryStatus"] == "Interrupted")
    sagemaker("StopTrainingJob", TrainingJobName="sorter")
    assert statuses(sagemaker.wait())[-3:] == ["Interrupted", "Stopping", "Stopped"]
    late = sagemaker.wait("hurried")
    assert (late["TrainingJobStatus"], late["SecondaryStatus"]) == ("Stopped", "MaxWaitTimeExceeded")
    assert keys(sagemaker, "models/") == []


def test_only_a_running_spot_machine_can_be_taken_away(start: Start) -> None:
    sagemaker = start(MODEL_AT_ONCE)
    with pytest.raises(EmulatorError, match="no training job named 'sorter' is in progress"):
        sagemaker.interrupt()
    other = start(SLEEPS)
    other("CreateTrainingJob", **request(other))
    with pytest.raises(EmulatorError, match="has a machine of its own"):
        other.interrupt()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 60}}, "MaxWaitTimeInSeconds must be there"),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 59}},
            "at least MaxRuntimeInSeconds, which is 60",
        ),
        ({"EnableManagedSpotTraining": False}, "is for EnableManagedSpotTraining only"),
        (
            {"CheckpointConfig": {"S3Uri": "s3://trash/c", "LocalPath": "/tmp/c"}},
            "LocalPath /tmp/c cannot be had",
        ),
        (
            {"CheckpointConfig": {"S3Uri": "s3://trash/c", "LocalPath": "/opt/ml/model"}},
            "other than input, model",
        ),
        (
            {"CheckpointConfig": {"S3Uri": "s3://trash/c", "LocalPath": "/opt/ml/a/../model"}},
            "cannot be had here",
        ),
        (
            {"CheckpointConfig": {"S3Uri": "https://trash/c"}},
            "CheckpointConfig.S3Uri: 'https://trash/c' is not",
        ),
    ],
)
def test_a_spot_job_that_makes_no_sense_is_refused(
    start: Start, changes: dict[str, Any], sentence: str
) -> None:
    sagemaker = start(MODEL_AT_ONCE)
    with pytest.raises(ApiError, match=sentence):
        sagemaker("CreateTrainingJob", **spot(request(sagemaker), **changes))


def warm(sagemaker: Sagemaker, name: str, seconds: int | None = 600, **resources: Any) -> dict[str, Any]:
    whole = request(sagemaker, name=name)
    if seconds is not None:
        resources["KeepAlivePeriodInSeconds"] = seconds
    return {**whole, "ResourceConfig": {**whole["ResourceConfig"], **resources}}


def test_a_warm_machine_is_taken_over_by_the_next_job_that_fits(start: Start) -> None:
    clock = Clock()
    sagemaker = start(MODEL_AT_ONCE, clock=clock)
    assert "WarmPoolStatus" not in _done(sagemaker, warm(sagemaker, "cold", None))
    assert _done(sagemaker, warm(sagemaker, "first"))["WarmPoolStatus"]["Status"] == "Available"
    clock.advance(timedelta(seconds=100))
    _done(sagemaker, warm(sagemaker, "larger", VolumeSizeInGB=99))
    _done(sagemaker, warm(sagemaker, "second"))
    taken = sagemaker.describe("first")["WarmPoolStatus"]
    assert (taken["Status"], taken["ReusedByJob"]) == ("Reused", "second")
    assert 100 <= taken["ResourceRetainedBillableTimeInSeconds"] <= 110

    def found(status: str) -> list[str]:
        listed = sagemaker("ListTrainingJobs", WarmPoolStatusEquals=status)["TrainingJobSummaries"]
        assert all(job["WarmPoolStatus"]["Status"] == status for job in listed)
        return [job["TrainingJobName"] for job in listed]

    assert found("Available") == ["larger", "second"]
    clock.advance(timedelta(seconds=700))
    assert found("Terminated") == ["larger", "second"]
    over = sagemaker.describe("second")["WarmPoolStatus"]
    assert over == {"Status": "Terminated", "ResourceRetainedBillableTimeInSeconds": 600}
    with pytest.raises(ApiError, match="keeps no spot instances"):
        sagemaker("CreateTrainingJob", **spot(warm(sagemaker, "both")))


def _done(sagemaker: Sagemaker, whole: dict[str, Any]) -> dict[str, Any]:
    sagemaker("CreateTrainingJob", **whole)
    job = sagemaker.wait(whole["TrainingJobName"])
    assert job["TrainingJobStatus"] == "Completed", job
    return job


def test_the_rest_of_a_request_is_described_as_it_was_asked_for(start: Start) -> None:
    sagemaker = start(MODEL_AT_ONCE)
    key = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
    whole = spot(
        request(sagemaker),
        VpcConfig={"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]},
        EnableNetworkIsolation=True,
        EnableInterContainerTrafficEncryption=True,
        Environment={"MODE": "quick"},
        RetryStrategy={"MaximumRetryAttempts": 2},
    )
    whole["OutputDataConfig"]["KmsKeyId"] = whole["ResourceConfig"]["VolumeKmsKeyId"] = key
    sagemaker("CreateTrainingJob", **whole)
    job = sagemaker.wait()
    del whole["Tags"]
    assert {name: job[name] for name in whole} == whole
    kept = sagemaker.aws.s3.head_object(Bucket="trash", Key="models/sorter/output/model.tar.gz")
    assert (kept["ServerSideEncryption"], kept["SSEKMSKeyId"]) == ("aws:kms", key)
