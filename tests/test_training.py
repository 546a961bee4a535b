"""Asking for training jobs, and following them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st
from plan_parts import made

from gtlabel.emulator.environment import session
from gtlabel.errors import (
    RequestError,
    TrainingEndedError,
    TrainingError,
    TrainingJobNameTakenError,
    TrainingJobNotFoundError,
    TrainingRegionError,
)
from gtlabel.training.hyperparameters import Hyperparameters
from gtlabel.training.image import image_uri, parse_image, regions
from gtlabel.training.jobs import (
    create_training_job,
    describe_training_job,
    list_training_jobs,
    stop_training_job,
    wait_for_training_job,
)
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_sagemaker import SageMakerClient

ARN = "arn:aws:sagemaker:us-east-1:123456789012:training-job/sorter"
CREATED = datetime(2026, 11, 22, 17, 0, tzinfo=UTC)


def test_a_request_is_what_the_algorithm_reads_augmented_manifests_with() -> None:
    request = made(
        hyperparameters={"num_layers": 18, "image_shape": "3,48,64"}, shuffle_seed=7, tags={"a": "b"}
    )

    def channel(name: str) -> dict[str, Any]:
        return {
            "ChannelName": name,
            "DataSource": {
                "S3DataSource": {
                    "S3DataType": "AugmentedManifestFile",
                    "S3Uri": f"s3://trash/{name}.manifest",
                    "S3DataDistributionType": "FullyReplicated",
                    "AttributeNames": ["source-ref", "label"],
                }
            },
            "ContentType": "application/x-recordio",
            "CompressionType": "None",
            "RecordWrapperType": "RecordIO",
            "InputMode": "Pipe",
        }

    assert request.to_boto() == {
        "TrainingJobName": "sorter",
        "AlgorithmSpecification": {
            "TrainingImage": "811284229777.dkr.ecr.us-east-1.amazonaws.com/image-classification:1",
            "TrainingInputMode": "Pipe",
        },
        "RoleArn": "arn:aws:iam::123456789012:role/gtlabel",
        "HyperParameters": {
            "num_classes": "3",
            "num_training_samples": "96",
            "num_layers": "18",
            "image_shape": "3,48,64",
            "mini_batch_size": "24",
        },
        "InputDataConfig": [
            {**channel("train"), "ShuffleConfig": {"Seed": 7}},
            channel("validation"),
        ],
        "OutputDataConfig": {"S3OutputPath": "s3://trash/models"},
        "ResourceConfig": {"InstanceType": "ml.g4dn.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 50},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        "Tags": [{"Key": "a", "Value": "b"}],
    }


def test_a_batch_is_never_larger_than_the_smallest_channel() -> None:
    def batch(train: int, validation: int) -> int | None:
        return made(train_lines=train, validation_lines=validation).hyperparameters.mini_batch_size

    assert batch(1000, 200) == 32
    assert batch(1000, 5) == 5
    assert batch(4, 200) == 4
    with pytest.raises(RequestError, match="mini_batch_size 16 is larger than the smallest channel"):
        made(train_lines=100, validation_lines=10, hyperparameters={"mini_batch_size": 16})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"validation_lines": 0}, "the validation channel is empty"),
        ({"train_lines": 0}, "the train channel is empty"),
        ({"classes": 1}, "num_classes is 1; a classifier needs two classes"),
        ({"instance_type": "ml.c5.xlarge"}, "take ml.g4dn.xlarge or another of the GPU families"),
        ({"instance_type": "ml.p2.xlarge"}, "P2 machines left EC2 in 2024"),
        ({"instance_type": "ml.p3.2xlarge"}, "nobody knows whether"),
        ({"instance_type": "ml.g6.xlarge"}, "nobody knows whether"),
        ({"instance_type": "ml.g5.huge"}, "there is no 'ml.g5.huge'; ml.g5 comes as xlarge, 2xlarge"),
        ({"label_attribute": "source-ref"}, "'source-ref' is not a label attribute"),
        ({"train": "s3://trash/folder/"}, "s3://trash/folder/ is not a manifest"),
        ({"train": "trash/train.manifest"}, "train: 'trash/train.manifest' is not an S3 address"),
        ({"max_runtime": 0}, "max_runtime: Input should be greater than or equal to 1"),
        ({"instance_typ": "ml.g5.xlarge"}, "no field 'instance_typ'; did you mean 'instance_type'?"),
        ({"hyperparameters": {"epoch": 3}}, "no hyperparameter 'epoch'; did you mean 'epochs'?"),
        ({"hyperparameters": {"x": 3}}, "no hyperparameter 'x'; there are num_classes, num_training_samples"),
        ({"hyperparameters": {"num_classes": 4}}, "num_classes 4 is not the 3 classes of the dataset"),
        ({"hyperparameters": {"num_training_samples": 90}}, "90 is not the 96 training lines of the dataset"),
    ],
)
def test_a_request_that_cannot_work_is_refused_by_field(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RequestError) as refused:
        made(**changes)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "member"),
    [
        ({"name": "two words"}, "trainingJobName"),
        ({"name": "x" * 64}, "trainingJobName"),
        ({"role": "gtlabel"}, "roleArn"),
        ({"tags": {"": "empty"}}, "tags"),
        ({"label_attribute": "x" * 257}, "attributeNames"),
    ],
)
def test_what_only_the_service_knows_is_refused_before_anything_is_sent(
    changes: dict[str, Any], member: str
) -> None:
    with pytest.raises(RequestError, match=member):
        made(**changes).to_boto()


@pytest.mark.parametrize(
    ("given_values", "sentence"),
    [
        ({"image_shape": "3,100,100", "use_pretrained_model": "1"}, "needs image_shape 3,224,224"),
        ({"num_layers": 20, "use_pretrained_model": 1}, "take one of 18, 34, 50, 101, 152, 200"),
        ({"num_layers": 18, "image_shape": "3,28,28"}, "take one of 20, 32, 44, 56, 110"),
        ({"image_shape": "3,28,28"}, "num_layers 152, the default, does not fit a height of 28 pixels"),
        ({"num_layers": 19}, "num_layers 19 does not fit a height of 224"),
        ({"image_shape": "4,224,224"}, "color channels, 1 or 3, not 4"),
        ({"image_shape": "3,224"}, "image_shape"),
        ({"resize": 200}, "resize 200 is smaller than image_shape"),
        ({"mini_batch_size": 97}, "larger than the 96 training samples"),
        ({"checkpoint_frequency": 31}, "larger than the 30 epochs"),
        ({"checkpoint_frequency": 3, "epochs": 2}, "larger than the 2 epochs"),
        ({"lr_scheduler_step": "20,10"}, "must rise"),
        ({"lr_scheduler_step": "10,x"}, "lr_scheduler_step"),
        ({"learning_rate": 1.5}, "less than or equal to 1"),
        ({"learning_rate": float("nan")}, "finite"),
        ({"optimizer": "adagrad"}, "optimizer"),
        ({"use_weighted_loss": True}, "needs multi_label"),
        ({"momentum": 0.9, "optimizer": "adam"}, "set optimizer=sgd or nag"),
        ({"weight_decay": 0.1, "optimizer": "rmsprop"}, "weight_decay has no effect with the optimizer rms"),
        ({"beta_1": 0.9}, "beta_1 has no effect with the optimizer sgd; leave it out, or set optimizer=adam"),
        ({"beta_2": 0.9, "optimizer": "nag"}, "optimizer=adam"),
        ({"eps": 1e-8}, "set optimizer=adam or rmsprop"),
        ({"gamma": 0.9, "optimizer": "adam"}, "set optimizer=rmsprop"),
        ({"lr_scheduler_factor": 0.1}, "no effect without lr_scheduler_step"),
        ({"early_stopping_patience": 3}, "set early_stopping=True"),
        ({"early_stopping_tolerance": 0.1, "early_stopping": "False"}, "set early_stopping=True"),
        ({"early_stopping": "True", "early_stopping_min_epochs": 31}, "larger than the 30 epochs"),
        ({"early_stopping": "yes please"}, "early_stopping"),
        ({"top_k": 4}, "larger than the 3 classes"),
        ({"top_k": 1}, "greater than or equal to 2"),
    ],
)
def test_hyperparameters_that_would_fail_on_a_rented_gpu_are_refused(
    given_values: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        Hyperparameters(**{"num_classes": 3, "num_training_samples": 96, **given_values})


def test_the_hyperparameters_of_aws_s_own_demonstration_are_accepted() -> None:
    # contract/training.md 1.6, the notebook "from unlabeled data to deployed ..."
    travelling = {
        "num_classes": "2",
        "num_training_samples": "900",
        "num_layers": "18",
        "use_pretrained_model": "1",
        "image_shape": "3,224,224",
        "resize": "224",
        "epochs": "30",
        "mini_batch_size": "32",
        "learning_rate": "0.01",
        "lr_scheduler_step": "10,20",
    }
    assert Hyperparameters.model_validate(travelling).to_boto() == travelling


share = st.floats(0, 1)


@given(
    st.fixed_dictionaries(
        {"num_classes": st.integers(2, 50), "num_training_samples": st.integers(32, 10**6)},
        optional={
            "epochs": st.integers(1, 500),
            "learning_rate": share,
            "weight_decay": share,
            "use_pretrained_model": st.booleans(),
            "early_stopping": st.booleans(),
            "multi_label": st.booleans(),
            "optimizer": st.sampled_from(["sgd", "nag"]),
            "lr_scheduler_step": st.sets(st.integers(1, 500), min_size=1).map(lambda s: tuple(sorted(s))),
        },
    )
)
def test_hyperparameters_are_the_same_after_travelling_as_text(values: dict[str, Any]) -> None:
    sent = Hyperparameters(**values)
    travelling = sent.to_boto()
    assert Hyperparameters.model_validate(travelling) == sent
    assert travelling.get("early_stopping", "True") in ("True", "False")
    assert travelling.get("multi_label", "1") in ("0", "1")


def test_every_region_of_the_algorithm_has_an_image_of_its_own() -> None:
    images = [image_uri(region) for region in regions()]
    assert len(set(images)) == 37
    parsed = [parse_image(image) for image in images]
    assert [image.region for image in parsed if image] == list(regions())
    assert {image.repository for image in parsed if image} == {"image-classification"}
    assert image_uri("cn-north-1").endswith(".dkr.ecr.cn-north-1.amazonaws.com.cn/image-classification:1")
    assert image_uri("us-isob-east-1").endswith("us-isob-east-1.sc2s.sgov.gov/image-classification:1")


def test_a_region_without_the_algorithm_names_those_with_it() -> None:
    with pytest.raises(TrainingRegionError, match="not offered in 'mx-central-1'.*us-west-2"):
        image_uri("mx-central-1")


@pytest.fixture
def sagemaker() -> Iterator[tuple[SageMakerClient, Stubber]]:
    """A client whose answers are those that the test has AWS give."""
    client = session("us-east-1").client("sagemaker")
    with Stubber(client) as stubber:
        yield client, stubber
        stubber.assert_no_pending_responses()


Stubbed = tuple["SageMakerClient", Stubber]


def answer(status: str, secondary: str = "Training", **members: Any) -> dict[str, Any]:
    return {
        "TrainingJobName": "sorter",
        "TrainingJobArn": ARN,
        "ModelArtifacts": {"S3ModelArtifacts": "s3://trash/models/sorter/output/model.tar.gz"},
        "TrainingJobStatus": status,
        "SecondaryStatus": secondary,
        "AlgorithmSpecification": {"TrainingInputMode": "Pipe"},
        "StoppingCondition": {},
        "CreationTime": CREATED,
        **members,
    }


def metric(value: float) -> dict[str, Any]:
    return {
        "FinalMetricDataList": [{"MetricName": "validation:accuracy", "Value": value, "Timestamp": CREATED}]
    }


def test_a_job_is_followed_until_it_is_completed_and_changes_are_told_once(sagemaker: Stubbed) -> None:
    client, aws = sagemaker
    answers = [
        answer("InProgress", "Starting"),
        answer("InProgress"),
        answer("InProgress"),
        answer("InProgress", **metric(0.5)),
        answer("Completed", "Completed", **metric(0.75)),
    ]
    for each in answers:
        aws.add_response("describe_training_job", each, {"TrainingJobName": "sorter"})
    seen: list[tuple[str, dict[str, float]]] = []
    slept: list[float] = []
    job = wait_for_training_job(
        client,
        "sorter",
        poll=3,
        on_change=lambda job: seen.append((job.secondary_status, job.metrics)),
        sleep=slept.append,
    )
    assert seen == [
        ("Starting", {}),
        ("Training", {}),
        ("Training", {"validation:accuracy": 0.5}),
        ("Completed", {"validation:accuracy": 0.75}),
    ]
    assert slept == [3, 3, 3, 3]
    assert job.artifact == S3Uri("s3://trash/models/sorter/output/model.tar.gz")
    assert job.metrics == {"validation:accuracy": 0.75}


def test_a_job_that_failed_has_no_artifact_and_says_why(sagemaker: Stubbed) -> None:
    client, aws = sagemaker
    failed = answer("Failed", "Failed", FailureReason="AlgorithmError: no, exit code: 1")
    aws.add_response("describe_training_job", failed)
    aws.add_response("describe_training_job", failed)
    assert describe_training_job(client, "sorter").artifact is None
    with pytest.raises(TrainingEndedError, match="'sorter' ended as Failed: AlgorithmError: no") as ended:
        wait_for_training_job(client, "sorter")
    assert (ended.value.status, ended.value.timed_out, ended.value.explanation) == ("Failed", False, "")


def test_a_reason_that_is_known_comes_with_its_explanation(sagemaker: Stubbed) -> None:
    client, aws = sagemaker
    reason = "ClientError: Got empty batch from pipe. Please check if the manifest, exit code: 2"
    aws.add_response("describe_training_job", answer("Failed", "Failed", FailureReason=reason))
    with pytest.raises(TrainingEndedError, match="Got empty batch") as ended:
        wait_for_training_job(client, "sorter")
    assert "name source-ref first and the label attribute as the lines spell it" in ended.value.explanation


def test_a_refusal_that_is_known_says_what_to_do(sagemaker: Stubbed) -> None:
    client, aws = sagemaker
    limit = "The account-level service limit 'ml.g4dn.xlarge for training job usage' is 0 Instances."
    aws.add_client_error("create_training_job", "ResourceLimitExceeded", limit)
    with pytest.raises(TrainingError, match="is 0 Instances; the account may not rent .* Service Quotas"):
        create_training_job(client, made(hyperparameters={"num_layers": 18}))
    aws.add_client_error("create_training_job", "AccessDeniedException", "not authorized")
    with pytest.raises(ClientError, match="not authorized"):
        create_training_job(client, made(hyperparameters={"num_layers": 18}))


def test_a_job_that_ran_out_of_time_says_so(sagemaker: Stubbed) -> None:
    client, aws = sagemaker
    aws.add_response("describe_training_job", answer("Stopped", "MaxRuntimeExceeded"))
    with pytest.raises(TrainingEndedError, match="its time was up; ask for a longer max_runtime"):
        wait_for_training_job(client, "sorter")
    aws.add_response("describe_training_job", answer("Stopped", "MaxWaitTimeExceeded"))
    with pytest.raises(TrainingEndedError, match="spare machines did not come"):
        wait_for_training_job(client, "sorter")


def test_waiting_ends_in_time_and_leaves_the_job_alone(sagemaker: Stubbed) -> None:
    client, aws = sagemaker
    for _ in range(3):
        aws.add_response("describe_training_job", answer("InProgress"))
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    with pytest.raises(TrainingEndedError, match="was still InProgress when the time was up") as ended:
        wait_for_training_job(client, "sorter", timeout=25, poll=10, sleep=sleep, clock=lambda: now[0])
    assert ended.value.timed_out
    assert now == [20]


def test_a_name_that_is_taken_is_said_to_be(sagemaker: Stubbed) -> None:
    client, aws = sagemaker
    aws.add_client_error("create_training_job", "ResourceInUse", "exists")
    with pytest.raises(TrainingJobNameTakenError, match="pick another with --name"):
        create_training_job(client, made(hyperparameters={"num_layers": 18}))


@pytest.mark.parametrize(
    ("code", "message"),
    [("ResourceNotFound", "gone"), ("ValidationException", "Requested resource not found.")],
)
def test_a_job_that_is_not_there_is_said_to_be_missing(sagemaker: Stubbed, code: str, message: str) -> None:
    client, aws = sagemaker
    aws.add_client_error("describe_training_job", code, message)
    with pytest.raises(TrainingJobNotFoundError, match="no training job named 'sorter'"):
        describe_training_job(client, "sorter")


def test_a_job_that_ended_is_not_stopped_again(sagemaker: Stubbed) -> None:
    client, aws = sagemaker
    aws.add_response("describe_training_job", answer("InProgress"))
    aws.add_response("stop_training_job", {}, {"TrainingJobName": "sorter"})
    stop_training_job(client, "sorter")
    aws.add_response("describe_training_job", answer("Stopped", "Stopped"))
    with pytest.raises(TrainingError, match="has already ended as Stopped"):
        stop_training_job(client, "sorter")


def test_jobs_are_listed_page_by_page(sagemaker: Stubbed) -> None:
    client, aws = sagemaker

    def summary(name: str, **members: Any) -> dict[str, Any]:
        return {
            "TrainingJobName": name,
            "TrainingJobArn": ARN,
            "CreationTime": CREATED,
            "TrainingJobStatus": "Completed",
            **members,
        }

    order = {"SortBy": "CreationTime", "SortOrder": "Descending", "NameContains": "s"}
    aws.add_response(
        "list_training_jobs", {"TrainingJobSummaries": [summary("second")], "NextToken": "more"}, order
    )
    aws.add_response(
        "list_training_jobs",
        {"TrainingJobSummaries": [summary("first", TrainingEndTime=CREATED)]},
        {**order, "NextToken": "more"},
    )
    listed = list(list_training_jobs(client, name_contains="s"))
    assert [(job["name"], job["ended"]) for job in listed] == [
        ("second", None),
        ("first", "2026-11-22T17:00:00+00:00"),
    ]
