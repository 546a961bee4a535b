"""The emulator's operations on training jobs: what they refuse, list and remember."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from training_parts import (
    MODEL_AT_ONCE,
    Sagemaker,
    Start,
    asked,
    clients_that_nobody_asks_for,
    executing,
    request,
)

from gtlabel.emulator.api import ApiError
from gtlabel.emulator.executor import Executor
from gtlabel.emulator.shelf import Shelf
from gtlabel.training.image import image_uri


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with executing(tmp_path) as begin:
        yield begin


def test_a_name_can_be_used_once(start: Start) -> None:
    sagemaker = start(MODEL_AT_ONCE)
    sagemaker("CreateTrainingJob", **request(sagemaker))
    with pytest.raises(ApiError, match="already exists") as refused:
        sagemaker("CreateTrainingJob", **request(sagemaker))
    assert refused.value.code == "ResourceInUse"


def _channel(request: dict[str, Any], **changes: Any) -> None:
    request["InputDataConfig"][0] |= changes


def _source(request: dict[str, Any], **changes: Any) -> None:
    request["InputDataConfig"][0]["DataSource"]["S3DataSource"] |= changes


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda r: r["ResourceConfig"].update(InstanceType="ml.c4.2xlarge"),
            "Instance type ml.c4.2xlarge is not supported by algorithm image-classification; "
            "only GPU instances are supported.",
        ),
        (lambda r: r["ResourceConfig"].update(InstanceCount=2), "InstanceCount is 2"),
        (lambda r: r.pop("ResourceConfig"), "ResourceConfig needs InstanceType"),
        (lambda r: _channel(r, InputMode="File"), "read in Pipe mode only"),
        (lambda r: _channel(r, RecordWrapperType="None"), "RecordWrapperType must be RecordIO"),
        (lambda r: _channel(r, CompressionType="Gzip"), "CompressionType must be None"),
        (lambda r: _channel(r, ChannelName="validation"), "names the channel validation more than once"),
        (lambda r: r["InputDataConfig"].pop(), "lacks the channel validation"),
        (
            lambda r: _source(r, AttributeNames=["source-ref"]),
            "AttributeNames must be the picture and its label",
        ),
        (lambda r: _source(r, S3DataDistributionType="ShardedByS3Key"), "must be FullyReplicated"),
        (lambda r: _source(r, S3DataType="Converse"), "S3DataType Converse cannot be read here"),
        (lambda r: _source(r, S3DataType="S3Prefix"), "AttributeNames belong to an AugmentedManifestFile"),
        (lambda r: _source(r, S3Uri="https://trash/x"), "'https://trash/x' is not an S3 address"),
        (lambda r: r.update(RoleArn="arn:aws:iam::999999999999:role/other"), "belongs to another account"),
        (lambda r: r["OutputDataConfig"].update(CompressionType="NONE"), "must be GZIP here"),
        (
            lambda r: r["Tags"].extend([{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]),
            "'a' is given more than once",
        ),
        (
            lambda r: r["AlgorithmSpecification"].update(TrainingImage="pytorch:latest"),
            "pytorch:latest cannot be run here: it is not an address of Amazon ECR",
        ),
        (
            lambda r: r["AlgorithmSpecification"].update(TrainingImage=image_uri("eu-west-1")),
            "does not exist for jobs in us-east-1; use 811284229777.dkr.ecr.us-east-1.amazonaws.com",
        ),
        (
            lambda r: r["AlgorithmSpecification"].update(MetricDefinitions=[{"Name": "a", "Regex": "b"}]),
            "leave MetricDefinitions out",
        ),
    ],
)
def test_what_would_cost_money_before_it_fails_is_refused_at_once(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], None], sentence: str
) -> None:
    shelf = Shelf()
    sagemaker = Sagemaker(Executor(clients_that_nobody_asks_for, tmp_path, shelf), shelf)
    refused_request = asked()
    spoil(refused_request)
    with pytest.raises(ApiError) as refused:
        sagemaker("CreateTrainingJob", **refused_request)
    assert refused.value.code == "ValidationException"
    assert sentence in refused.value.message
    assert sagemaker("ListTrainingJobs")["TrainingJobSummaries"] == []


def test_jobs_are_listed_in_pages_by_what_is_asked_for(start: Start) -> None:
    sagemaker = start(MODEL_AT_ONCE)
    names = ["apple", "banana", "cherry"]
    for name in names:
        sagemaker("CreateTrainingJob", **request(sagemaker, name=name))
    for name in names:
        sagemaker.wait(name)
    order = {"SortBy": "Name", "SortOrder": "Descending", "MaxResults": 2}
    first = sagemaker("ListTrainingJobs", **order)
    second = sagemaker("ListTrainingJobs", **order, NextToken=first["NextToken"])
    listed = [
        job["TrainingJobName"] for job in first["TrainingJobSummaries"] + second["TrainingJobSummaries"]
    ]
    assert listed == ["cherry", "banana", "apple"]
    assert "NextToken" not in second

    def found(**filters: Any) -> list[str]:
        return [
            job["TrainingJobName"] for job in sagemaker("ListTrainingJobs", **filters)["TrainingJobSummaries"]
        ]

    assert found() == names
    assert found(NameContains="an") == ["banana"]
    assert found(StatusEquals="Completed") == names
    assert found(StatusEquals="InProgress") == []
    banana = sagemaker.describe("banana")["CreationTime"]
    assert found(CreationTimeAfter=banana) == ["cherry"]
    assert found(CreationTimeBefore=banana) == ["apple"]


def test_a_job_that_ended_cannot_be_stopped_and_one_that_never_was_is_not_found(start: Start) -> None:
    sagemaker = start(MODEL_AT_ONCE)
    sagemaker("CreateTrainingJob", **request(sagemaker))
    sagemaker.wait()
    with pytest.raises(ApiError, match="the training job is in status Completed"):
        sagemaker("StopTrainingJob", TrainingJobName="sorter")
    for operation in ("StopTrainingJob", "DescribeTrainingJob"):
        with pytest.raises(ApiError, match="training-job/ghost") as missing:
            sagemaker(operation, TrainingJobName="ghost")
        assert missing.value.code == "ResourceNotFound"


def test_tags_of_a_job_come_with_it_and_can_change(start: Start) -> None:
    sagemaker = start(MODEL_AT_ONCE)
    arn = sagemaker("CreateTrainingJob", **request(sagemaker, tags={"classes": "Compost"}))["TrainingJobArn"]
    sagemaker("AddTags", ResourceArn=arn, Tags=[{"Key": "owner", "Value": "ann"}])
    sagemaker("DeleteTags", ResourceArn=arn, TagKeys=["classes"])
    assert sagemaker("ListTags", ResourceArn=arn)["Tags"] == [{"Key": "owner", "Value": "ann"}]
    sagemaker.wait()
    assert sagemaker("ListTags", ResourceArn=arn)["Tags"] == [{"Key": "owner", "Value": "ann"}]
    with pytest.raises(ApiError, match="ghost"):
        sagemaker("ListTags", ResourceArn=arn.replace("sorter", "ghost"))
