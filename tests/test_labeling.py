"""Labeling jobs, asked for through the library: what is sent, and what is refused before it is."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from PIL import Image

from gtlabel.aws import Aws
from gtlabel.awsmodel import check_request
from gtlabel.errors import (
    BucketNotFoundError,
    ClassListError,
    GtlabelError,
    JobEndedError,
    JobNameTakenError,
    JobNotFoundError,
    LabelingJobError,
    NoImagesError,
    RequestError,
)
from gtlabel.journey import LabelingPlan, plan_labeling, start_labeling
from gtlabel.labeling.jobs import (
    describe_labeling_job,
    list_labeling_jobs,
    stop_labeling_job,
    wait_for_labeling_job,
)
from gtlabel.labeling.request import LabelingJobRequest
from gtlabel.labeling.tasks import FUNCTION_ACCOUNTS, consolidation_function, pre_function
from gtlabel.storage import read
from gtlabel.uris import S3Uri

CLASSES = ["Compost", "Landfill", "Recycle"]
ROLE = "arn:aws:iam::123456789012:role/gtlabel"
TEAM = "arn:aws:sagemaker:us-east-1:123456789012:workteam/private-crowd/gtlabel"
FIELDS: dict[str, Any] = {
    "name": "trash-1",
    "manifest": "s3://photos/in/input.manifest",
    "classes": "s3://photos/in/classes.json",
    "template": "s3://photos/in/template.liquid",
    "output": "s3://photos/gtlabel/",
    "role": ROLE,
    "team": TEAM,
    "region": "us-east-1",
}


def jpeg(color: str) -> bytes:
    body = io.BytesIO()
    Image.new("RGB", (32, 24), color).save(body, "JPEG")
    return body.getvalue()


@pytest.fixture
def photos(gtlabel_aws: Aws) -> S3Uri:
    gtlabel_aws.s3.create_bucket(Bucket="photos")
    for number, color in enumerate(["red", "green", "blue"]):
        gtlabel_aws.s3.put_object(Bucket="photos", Key=f"trash/{number} ü+.jpg", Body=jpeg(color))
    gtlabel_aws.s3.put_object(Bucket="photos", Key="trash/cut.jpg", Body=jpeg("red")[:-30])
    return S3Uri("s3://photos/trash/")


def plan(aws: Aws, photos: S3Uri, **changes: Any) -> LabelingPlan:
    return plan_labeling(aws, photos, **{"classes": CLASSES, "team": "gtlabel", "role": "gtlabel", **changes})


def test_a_request_names_everything_that_image_classification_needs() -> None:
    assert LabelingJobRequest(**FIELDS).to_boto() == {
        "LabelingJobName": "trash-1",
        "LabelAttributeName": "trash-1",
        "InputConfig": {
            "DataSource": {"S3DataSource": {"ManifestS3Uri": "s3://photos/in/input.manifest"}},
            "DataAttributes": {
                "ContentClassifiers": ["FreeOfPersonallyIdentifiableInformation", "FreeOfAdultContent"]
            },
        },
        "OutputConfig": {"S3OutputPath": "s3://photos/gtlabel/"},
        "RoleArn": ROLE,
        "LabelCategoryConfigS3Uri": "s3://photos/in/classes.json",
        "HumanTaskConfig": {
            "WorkteamArn": TEAM,
            "UiConfig": {"UiTemplateS3Uri": "s3://photos/in/template.liquid"},
            "PreHumanTaskLambdaArn": "arn:aws:lambda:us-east-1:432418664414:function:PRE-ImageMultiClass",
            "TaskKeywords": ["images", "classification"],
            "TaskTitle": "Choose the class that fits the picture",
            "TaskDescription": "Look at one picture at a time and choose the class that fits it best.",
            "NumberOfHumanWorkersPerDataObject": 3,
            "TaskTimeLimitInSeconds": 300,
            "TaskAvailabilityLifetimeInSeconds": 864_000,
            "MaxConcurrentTaskCount": 1_000,
            "AnnotationConsolidationConfig": {
                "AnnotationConsolidationLambdaArn": (
                    "arn:aws:lambda:us-east-1:432418664414:function:ACS-ImageMultiClass"
                )
            },
        },
        "Tags": [],
    }


def test_the_functions_of_every_region_are_named_as_the_service_model_documents_them() -> None:
    from gtlabel.awsmodel import service_model

    human_task: Any = service_model("sagemaker").shape_for("HumanTaskConfig")
    documented = human_task.members["PreHumanTaskLambdaArn"]
    consolidation: Any = service_model("sagemaker").shape_for("AnnotationConsolidationConfig")
    acs = consolidation.members["AnnotationConsolidationLambdaArn"]
    for region in FUNCTION_ACCOUNTS:
        assert pre_function(region) in documented.documentation
        assert consolidation_function(region) in acs.documentation


def test_a_plan_reads_and_writes_nothing(gtlabel_aws: Aws, photos: S3Uri) -> None:
    made = plan(gtlabel_aws, photos)
    assert made.request.name == f"trash-{made.launch.digest[:8]}"
    assert made.request.team == TEAM
    assert made.request.role == ROLE
    assert [image.uri.name for image in made.usable.images] == ["0 ü+.jpg", "1 ü+.jpg", "2 ü+.jpg"]
    assert [str(refusal.uri) for refusal in made.usable.refused] == ["s3://photos/trash/cut.jpg"]
    keys = [item["Key"] for item in gtlabel_aws.s3.list_objects_v2(Bucket="photos")["Contents"]]
    assert all(key.startswith("trash/") for key in keys)
    assert list(list_labeling_jobs(gtlabel_aws.sagemaker)) == []


def test_a_started_job_finds_its_manifest_its_classes_and_its_template(
    gtlabel_aws: Aws, photos: S3Uri
) -> None:
    made = plan(gtlabel_aws, photos, name="Trash-1")
    arn = start_labeling(gtlabel_aws, made)
    assert arn == "arn:aws:sagemaker:us-east-1:123456789012:labeling-job/trash-1"
    inputs = S3Uri("s3://photos/gtlabel/Trash-1/input/")
    lines = read(gtlabel_aws.s3, inputs / "input.manifest").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"source-ref": f"s3://photos/trash/{number} ü+.jpg"} for number in range(3)
    ]
    assert json.loads(read(gtlabel_aws.s3, inputs / "classes.json")) == {
        "document-version": "2018-11-28",
        "labels": [{"label": name} for name in CLASSES],
    }
    assert b"crowd-image-classifier" in read(gtlabel_aws.s3, inputs / "template.liquid")
    sent = gtlabel_aws.sagemaker.describe_labeling_job(LabelingJobName="Trash-1")
    asked = {key: value for key, value in made.request.to_boto().items() if value}
    assert {key: sent.get(key) for key in asked if key != "OutputConfig"} == {
        key: value for key, value in asked.items() if key != "OutputConfig"
    }


def test_a_name_can_be_used_once_in_any_spelling(gtlabel_aws: Aws, photos: S3Uri) -> None:
    first = plan(gtlabel_aws, photos, name="trash-1")
    second = plan(gtlabel_aws, photos, name="trash-1", classes=["yes", "no"])
    start_labeling(gtlabel_aws, first)
    with pytest.raises(JobNameTakenError, match="pick another with --name"):
        start_labeling(gtlabel_aws, second)
    with pytest.raises(JobNameTakenError, match="'TRASH-1' already exists"):
        plan(gtlabel_aws, photos, name="TRASH-1")


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"images": S3Uri("s3://nowhere-at-all/x/")}, BucketNotFoundError, "'nowhere-at-all' does not exist"),
        ({"images": S3Uri("s3://photos/empty/")}, NoImagesError, "under s3://photos/empty/"),
        ({"classes": ["Compost"]}, ClassListError, "one class"),
        ({"classes": ["Compost", "Compost"]}, ClassListError, "'Compost' stands in it 2 times"),
        ({"name": "no_underscores"}, RequestError, "name (LabelingJobName): 'no_underscores' must be"),
    ],
)
def test_bad_input_is_one_sentence_and_starts_nothing(
    gtlabel_aws: Aws, photos: S3Uri, changes: dict[str, Any], error: type[GtlabelError], sentence: str
) -> None:
    images = changes.pop("images", photos)
    with pytest.raises(error) as refusal:
        plan(gtlabel_aws, images, **changes)
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert list(list_labeling_jobs(gtlabel_aws.sagemaker)) == []


def test_a_job_that_does_not_exist_is_named(gtlabel_aws: Aws) -> None:
    with pytest.raises(JobNotFoundError, match="named 'nothing'; see .gtlabel jobs list"):
        describe_labeling_job(gtlabel_aws.sagemaker, "nothing")


def test_a_stopped_job_ends_the_wait_as_stopped_and_cannot_be_stopped_twice(
    gtlabel_aws: Aws, photos: S3Uri
) -> None:
    start_labeling(gtlabel_aws, plan(gtlabel_aws, photos, name="trash-1"))
    stop_labeling_job(gtlabel_aws.sagemaker, "trash-1")
    with pytest.raises(JobEndedError, match="ended as Stopped") as end:
        wait_for_labeling_job(gtlabel_aws.sagemaker, "trash-1", poll=0.05, timeout=120)
    assert not end.value.timed_out
    with pytest.raises(LabelingJobError, match="already ended as Stopped"):
        stop_labeling_job(gtlabel_aws.sagemaker, "trash-1")


def test_a_wait_that_takes_too_long_says_that_the_job_goes_on(gtlabel_aws: Aws, photos: S3Uri) -> None:
    start_labeling(gtlabel_aws, plan(gtlabel_aws, photos, name="trash-1"))
    with pytest.raises(JobEndedError, match="when the time was up; it goes on") as end:
        wait_for_labeling_job(gtlabel_aws.sagemaker, "trash-1", poll=0.05, timeout=0.2)
    assert end.value.timed_out


def test_every_field_that_is_sent_is_known_to_the_service_model() -> None:
    wrong = {**LabelingJobRequest(**FIELDS).to_boto(), "LabelingJobNmae": "x"}
    assert any(
        "LabelingJobNmae" in problem for problem in check_request("sagemaker", "CreateLabelingJob", wrong)
    )
