"""The pytest plugin as its users have it: accounts, people who answer, a clock, and its example."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from emulator_parts import BUCKET, IMAGES, TEAM, TRUTH, create_job, labels, put_inputs

from gtlabel.aws import Aws
from gtlabel.emulator import plugin
from gtlabel.emulator.actors import Hands, Workers
from gtlabel.errors import EmulatorError
from gtlabel.labeling.tasks import FUNCTION_ACCOUNTS

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(params=["gtlabel_mock", "gtlabel_aws"])
def aws(request: pytest.FixtureRequest) -> Aws:
    found: Aws = request.getfixturevalue(request.param)
    put_inputs(found.s3)
    return found


def create(aws: Aws, name: str, kind: str, *, workers: int = 1, available: int = 3600) -> None:
    """A job of a kind of the API's own names, with workers and a lifetime of its tasks."""
    owner = FUNCTION_ACCOUNTS["us-east-1"]
    templates = {
        "ImageMultiClassMultiLabel": "<crowd-form><crowd-image-classifier-multi-select name="
        "'crowd-image-classifier-multi-select' src='{{ task.input.taskObject | grant_read_access }}' "
        "header='h' categories='{{ task.input.labels | to_json }}'><full-instructions></full-instructions>"
        "<short-instructions></short-instructions></crowd-image-classifier-multi-select></crowd-form>",
        "PassThrough": "<crowd-form><crowd-input name='bin'></crowd-input></crowd-form>",
    }
    key = "template.liquid"
    if kind in templates:
        key = f"{kind}.liquid"
        aws.s3.put_object(Bucket=BUCKET, Key=key, Body=templates[kind].encode())
    aws.sagemaker.create_labeling_job(
        LabelingJobName=name,
        LabelAttributeName="bin",
        InputConfig={"DataSource": {"S3DataSource": {"ManifestS3Uri": f"s3://{BUCKET}/in.manifest"}}},
        OutputConfig={"S3OutputPath": f"s3://{BUCKET}/out/"},
        RoleArn="arn:aws:iam::123456789012:role/gtlabel",
        LabelCategoryConfigS3Uri=f"s3://{BUCKET}/classes.json",
        HumanTaskConfig={
            "WorkteamArn": TEAM,
            "UiConfig": {"UiTemplateS3Uri": f"s3://{BUCKET}/{key}"},
            "PreHumanTaskLambdaArn": f"arn:aws:lambda:us-east-1:{owner}:function:PRE-{kind}",
            "AnnotationConsolidationConfig": {
                "AnnotationConsolidationLambdaArn": f"arn:aws:lambda:us-east-1:{owner}:function:ACS-{kind}"
            },
            "TaskTitle": "t",
            "TaskDescription": "d",
            "NumberOfHumanWorkersPerDataObject": workers,
            "TaskTimeLimitInSeconds": 600,
            "TaskAvailabilityLifetimeInSeconds": available,
        },
    )


def records(aws: Aws, job: str) -> list[dict[str, Any]]:
    body = aws.s3.get_object(Bucket=BUCKET, Key=f"out/{job}/manifests/output/output.manifest")["Body"]
    return [json.loads(line) for line in body.read().splitlines()]


def test_people_who_are_right_label_every_image(aws: Aws, gtlabel_workers: Workers) -> None:
    create_job(aws, "Bins")
    truth = {image.removeprefix("s3://"): name for image, name in TRUTH.items()}
    assert gtlabel_workers.answer("Bins", truth, workers=1) == len(IMAGES)
    assert labels(aws.s3, "Bins") == TRUTH
    assert gtlabel_workers.answer("Bins", truth) == 0


def test_people_err_in_the_same_places_at_every_run(aws: Aws, gtlabel_workers: Workers) -> None:
    for name in ("one", "two"):
        create(aws, name, "ImageMultiClass")
        gtlabel_workers.answer(name, TRUTH, workers=1, accuracy=0.3, seed=5)
    assert labels(aws.s3, "one") == labels(aws.s3, "two") != TRUTH


def test_an_image_of_several_classes_is_answered_by_a_function(aws: Aws, gtlabel_workers: Workers) -> None:
    create(aws, "many", "ImageMultiClassMultiLabel", workers=2)

    def seen(task: Mapping[str, Any]) -> list[str]:
        return ["Compost", "Recycle"] if task["source_ref"] == IMAGES[0] else []

    assert gtlabel_workers.answer("many", seen, workers=2) == 2 * len(IMAGES)
    found = {record["source-ref"]: record["bin"] for record in records(aws, "many")}
    assert found == {image: [0, 2] if image == IMAGES[0] else [] for image in IMAGES}


def test_a_page_of_ones_own_gets_what_the_function_says(aws: Aws, gtlabel_workers: Workers) -> None:
    create(aws, "own", "PassThrough", workers=2)

    def say(task: Mapping[str, Any]) -> dict[str, Any]:
        return {"bin": f"{task['worker']} saw {task['source_ref']}"}

    assert gtlabel_workers.answer("own", say, workers=2) == 2 * len(IMAGES)
    first = records(aws, "own")[0]["bin"]
    said = {json.loads(one["annotationData"]["content"])["bin"] for one in first["annotationsFromAllWorkers"]}
    assert said == {f"worker-{number} saw {IMAGES[0]}" for number in (1, 2)}


def test_a_job_that_nobody_finishes_fails_its_images_when_their_time_is_over(
    aws: Aws, gtlabel_workers: Workers, gtlabel_clock: Hands
) -> None:
    assert gtlabel_clock.freeze(NOON) == NOON
    create(aws, "late", "ImageMultiClass", workers=2, available=3600)
    assert gtlabel_workers.answer("late", TRUTH, workers=2, answers=2) == 2
    assert gtlabel_clock.advance(minutes=59, seconds=59) > NOON
    running = aws.sagemaker.describe_labeling_job(LabelingJobName="late")
    assert (running["LabelingJobStatus"], running["CreationTime"]) == ("InProgress", NOON)
    gtlabel_clock.advance(seconds=1)
    ended = aws.sagemaker.describe_labeling_job(LabelingJobName="late")
    assert ended["LabelingJobStatus"] == "Completed"
    assert ended["LabelCounters"]["FailedNonRetryableError"] == 3
    assert ended["LastModifiedTime"] == gtlabel_clock.now()


def test_a_task_that_was_kept_too_long_goes_to_somebody_else(
    aws: Aws, gtlabel_account: Any, gtlabel_clock: Hands, gtlabel_workers: Workers
) -> None:
    create(aws, "kept", "ImageMultiClass", workers=1)
    gtlabel_workers.answer("kept", TRUTH, workers=1, answers=len(IMAGES) - 1)

    def lease(worker: str) -> str | None:
        status, task = gtlabel_account().ask("worker/lease", {"job": "kept", "worker": worker})
        assert status == 200
        found: str | None = task["lease"]
        return found

    gtlabel_clock.freeze()
    assert lease("slow")
    assert lease("other") is None
    gtlabel_clock.advance(minutes=10)
    assert lease("other")


def test_the_clock_of_a_test_is_not_that_of_the_next(gtlabel_aws: Aws, gtlabel_clock: Hands) -> None:
    before = gtlabel_clock.now()
    assert abs((before - datetime.now(UTC)).total_seconds()) < 60
    ahead = gtlabel_clock.advance(days=2)
    assert (ahead - before).days == 2
    assert gtlabel_clock.now() > ahead
    assert gtlabel_clock.reset() < ahead


@pytest.mark.parametrize("at", ["noon", "2026-11-22T09:00:00", "2026-13-01T00:00:00Z"])
def test_a_moment_that_is_none_is_refused(gtlabel_aws: Aws, gtlabel_clock: Hands, at: str) -> None:
    with pytest.raises(EmulatorError, match=r"write it as 2026-11-22T09:00:00\+00:00"):
        gtlabel_clock.freeze(at)


@pytest.mark.parametrize(
    "body",
    [{"advance": -1}, {"advance": "1"}, {"advance": 1e300}, {"freeze": 5}, {"stop": 1}, {"freeze": "x"}],
)
def test_the_clocks_door_says_what_it_does_not_understand(
    gtlabel_aws: Aws, gtlabel_account: Any, body: dict[str, Any]
) -> None:
    status, answer = gtlabel_account().ask("clock", body)
    assert status == 400
    assert "clock" in answer["error"] or "moment" in answer["error"] or "number" in answer["error"]


def test_what_cannot_be_answered_is_said(aws: Aws, gtlabel_workers: Workers) -> None:
    create(aws, "three", "ImageMultiClass", workers=3)
    with pytest.raises(EmulatorError, match="the truth says nothing about s3://trash/images/"):
        gtlabel_workers.answer("three", {})
    with pytest.raises(EmulatorError, match=r"has no task for 2 workers; it wants 3 different ones"):
        gtlabel_workers.answer("three", TRUTH, workers=2, timeout=0.3)
    with pytest.raises(EmulatorError, match="'no-such-job'"):
        gtlabel_workers.answer("no-such-job", TRUTH)
    with pytest.raises(EmulatorError, match="no class of this job"):
        gtlabel_workers.answer("three", lambda _task: "Metal")


def example() -> str:
    """The example of the plugin's documentation, as it is printed there."""
    text = (plugin.__doc__ or "").partition("in ten lines:\n\n")[2]
    block = text[: text.index("\n\n`gtlabel_workers.answer`")]
    return textwrap.dedent(block)


PIPELINE = """
import json, os
import boto3

def label_pictures(bucket, job):
    s3, sagemaker = boto3.client("s3"), boto3.client("sagemaker")
    listed = s3.list_objects_v2(Bucket=bucket, Prefix="in/")["Contents"]
    manifest = "".join(json.dumps({"source-ref": f"s3://{bucket}/{one['Key']}"}) + "\\n" for one in listed)
    classes = {"labels": [{"label": name} for name in ("Compost", "Landfill", "Recycle")]}
    from gtlabel.templates import read_template
    s3.put_object(Bucket=bucket, Key="in.manifest", Body=manifest)
    s3.put_object(Bucket=bucket, Key="classes.json", Body=json.dumps(classes))
    s3.put_object(Bucket=bucket, Key="t.liquid", Body=read_template("tasks/image-classification.liquid"))
    function = "arn:aws:lambda:us-east-1:432418664414:function:"
    sagemaker.create_labeling_job(
        LabelingJobName=job,
        LabelAttributeName="bin",
        InputConfig={"DataSource": {"S3DataSource": {"ManifestS3Uri": f"s3://{bucket}/in.manifest"}}},
        OutputConfig={"S3OutputPath": f"s3://{bucket}/out"},
        RoleArn=os.environ["GTLABEL_ROLE"],
        LabelCategoryConfigS3Uri=f"s3://{bucket}/classes.json",
        HumanTaskConfig={
            "WorkteamArn": os.environ["GTLABEL_TEAM"],
            "UiConfig": {"UiTemplateS3Uri": f"s3://{bucket}/t.liquid"},
            "PreHumanTaskLambdaArn": function + "PRE-ImageMultiClass",
            "AnnotationConsolidationConfig": {
                "AnnotationConsolidationLambdaArn": function + "ACS-ImageMultiClass"},
            "TaskTitle": "t", "TaskDescription": "d",
            "NumberOfHumanWorkersPerDataObject": 3, "TaskTimeLimitInSeconds": 300,
        },
    )

def read_labels(bucket, job):
    key = f"out/{job}/manifests/output/output.manifest"
    lines = boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().splitlines()
    records = map(json.loads, lines)
    return {one["source-ref"].rpartition("/")[2]: one["bin-metadata"]["class-name"] for one in records}
"""


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "AWS_"))}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=120, env=environ
    )


def test_the_example_of_the_documentation_passes_as_printed(tmp_path: Path) -> None:
    assert len([line for line in example().splitlines()[2:] if line.strip()]) <= 10
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    (tmp_path / "test_pipeline.py").write_text(example())
    (tmp_path / "test_again.py").write_text(example().replace("gtlabel_aws", "gtlabel_mock"))
    # With xdist each of its processes has a server of its own.
    ran = pytest_in(tmp_path, "-n", "2")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 passed" in ran.stdout


def test_a_clock_without_an_account_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text("def test_it(gtlabel_clock):\n    gtlabel_clock.freeze()\n")
    ran = pytest_in(tmp_path)
    assert "let it ask for gtlabel_aws or gtlabel_mock too" in ran.stdout
    assert ran.returncode == 1


def test_whoever_does_not_use_the_plugin_pays_nothing_for_it(tmp_path: Path) -> None:
    script = """
import sys, pytest
pytest.main(["--help"])
heavy = ("boto3", "botocore", "moto", "sqlalchemy", "pydantic", "starlette", "numpy")
print("IMPORTED", [name for name in heavy if name in sys.modules])
print("OURS", sorted(name for name in sys.modules if name.startswith("gtlabel")))
"""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120
    )
    assert "IMPORTED []" in ran.stdout
    assert "OURS ['gtlabel', 'gtlabel.emulator', 'gtlabel.emulator.plugin']" in ran.stdout


def test_the_fixtures_are_listed_with_what_they_are_for(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    shown = pytest_in(tmp_path, "--fixtures", "-v").stdout
    for name, words in (
        ("gtlabel_server", "one for the whole session"),
        ("gtlabel_aws", "empty again for every test"),
        ("gtlabel_mock", "no thread outlives the fixture"),
        ("gtlabel_workers", "People who answer"),
        ("gtlabel_clock", "Hands on the clock"),
    ):
        assert name in shown
        assert words in shown
