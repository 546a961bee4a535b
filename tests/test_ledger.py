"""The ledger: whatever breaks off, and whoever else is at it, the same command launches each job once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.httpsession import URLLib3Session
from lifecycle_parts import (
    BUCKET,
    CLASSES,
    OUTPUT,
    PHOTOS,
    USUAL,
    Luck,
    answer_lost,
    fill,
    jobs,
    jpeg,
    keys,
    lines,
    never_sent,
    refusal,
)

from gtlabel.aws import Aws
from gtlabel.cli.failures import explain
from gtlabel.errors import (
    GtlabelError,
    JobEndedError,
    JobNameClaimedError,
    JobNameTakenError,
    LabelingJobError,
)
from gtlabel.labeling.groups import stop_labeling, wait_for_labeling
from gtlabel.labeling.ledger import read_launch
from gtlabel.labeling.lifecycle import plan_resume
from gtlabel.labeling.plan import LabelingPlan, plan_labeling, start_labeling
from gtlabel.labeling.successors import start_successor
from gtlabel.storage import read, write, write_new
from gtlabel.uris import S3Uri

LABEL = [sys.executable, "-m", "gtlabel", "label", str(PHOTOS), "--classes", ",".join(CLASSES)]


def plan(aws: Aws, **changes: Any) -> LabelingPlan:
    return plan_labeling(aws, PHOTOS, **{**USUAL, **changes})


def test_the_same_command_again_finds_the_job_and_starts_nothing(gtlabel_aws: Aws) -> None:
    fill(gtlabel_aws, 3)
    first = plan(gtlabel_aws)
    arn = start_labeling(gtlabel_aws, first)
    second = plan(gtlabel_aws)
    assert (second.launch, first.started, second.started) == (first.launch, (), first.launch.jobs)
    assert start_labeling(gtlabel_aws, second) == arn
    assert jobs(gtlabel_aws) == [first.launch.name]
    assert read_launch(gtlabel_aws.s3, OUTPUT, first.launch.name) == first.launch


@pytest.mark.parametrize(
    "change",
    [
        {"classes": [*CLASSES, "Glass"]},
        {"classes": CLASSES[::-1]},
        {"workers_per_image": 5},
        {"template": "<crowd-image-classifier></crowd-image-classifier>"},
        {"title": "Which bin?"},
        {"attribute": "bin"},
        {"into": S3Uri("s3://photos/elsewhere/")},
    ],
)
def test_other_settings_are_another_job(gtlabel_aws: Aws, change: dict[str, Any]) -> None:
    fill(gtlabel_aws, 2)
    first, second = plan(gtlabel_aws), plan(gtlabel_aws, **change)
    assert first.launch.name != second.launch.name
    start_labeling(gtlabel_aws, first)
    assert plan(gtlabel_aws, **change).started == ()


def test_other_pictures_or_other_content_under_their_names_are_another_job(gtlabel_aws: Aws) -> None:
    fill(gtlabel_aws, 2)
    names = [plan(gtlabel_aws).launch.name]
    gtlabel_aws.s3.put_object(Bucket=BUCKET, Key="trash/00000.jpg", Body=jpeg("pink"))
    names.append(plan(gtlabel_aws).launch.name)
    gtlabel_aws.s3.put_object(Bucket=BUCKET, Key="trash/new.jpg", Body=jpeg("pink", 1))
    names.append(plan(gtlabel_aws).launch.name)
    assert len(set(names)) == 3


def test_a_deliberately_new_job_takes_another_name_or_again(gtlabel_aws: Aws) -> None:
    fill(gtlabel_aws, 2)
    first = plan(gtlabel_aws)
    assert plan(gtlabel_aws, again=True).launch.name == first.launch.name  # nothing to do again yet
    start_labeling(gtlabel_aws, first)
    again = plan(gtlabel_aws, again=True)
    assert again.launch.name == f"{first.launch.name}-r2"
    start_labeling(gtlabel_aws, again)
    start_labeling(gtlabel_aws, plan(gtlabel_aws, name="by-name"))
    assert plan(gtlabel_aws, again=True).launch.name == f"{first.launch.name}-r3"
    assert jobs(gtlabel_aws) == sorted([first.launch.name, again.launch.name, "by-name"])


def test_a_name_belongs_to_what_it_was_first_used_for(gtlabel_aws: Aws) -> None:
    fill(gtlabel_aws, 2)
    mine, theirs = plan(gtlabel_aws, name="bins"), plan(gtlabel_aws, name="bins", classes=["yes", "no"])
    start_labeling(gtlabel_aws, mine)
    inputs = OUTPUT / "bins/input/"
    before = {key: read(gtlabel_aws.s3, inputs / key) for key in keys(gtlabel_aws, inputs)}
    for attempt in (
        lambda: start_labeling(gtlabel_aws, theirs),
        lambda: plan(gtlabel_aws, name="bins", classes=["yes", "no"]),
        lambda: plan(gtlabel_aws, name="BINS"),
        lambda: plan(gtlabel_aws, name="bins", into=S3Uri("s3://photos/elsewhere/")),
    ):
        with pytest.raises(JobNameTakenError, match="already exists"):
            attempt()
    assert {key: read(gtlabel_aws.s3, inputs / key) for key in keys(gtlabel_aws, inputs)} == before


def test_of_two_who_take_one_name_at_once_the_inputs_of_the_first_stay(gtlabel_aws: Aws) -> None:
    fill(gtlabel_aws, 2)
    mine, theirs = plan(gtlabel_aws, name="bins"), plan(gtlabel_aws, name="bins", classes=["yes", "no"])
    luck = Luck(gtlabel_aws, never_sent)
    luck.arm(1)  # the claim is in the bucket, nothing else
    with pytest.raises(BotoCoreError):
        start_labeling(luck.aws, mine)
    assert luck.operations == ["PutObject", "DescribeLabelingJob"]
    sentence = "of which no job was started yet; .* by deleting s3://photos/gtlabel/bins/input/launch.json"
    with pytest.raises(JobNameClaimedError, match=sentence):
        start_labeling(gtlabel_aws, theirs)
    with pytest.raises(JobNameTakenError, match=sentence):
        plan(gtlabel_aws, name="bins", classes=["yes", "no"])
    start_labeling(gtlabel_aws, mine)
    classes = json.loads(read(gtlabel_aws.s3, OUTPUT / "bins/input/classes.json"))
    assert [item["label"] for item in classes["labels"]] == CLASSES


def test_something_else_in_the_place_of_the_record_is_named(gtlabel_aws: Aws) -> None:
    fill(gtlabel_aws, 2)
    write(gtlabel_aws.s3, OUTPUT / "bins/input/launch.json", b"hello")
    with pytest.raises(LabelingJobError, match=r"bins/input/launch\.json is not the record of a launch"):
        plan(gtlabel_aws, name="bins")
    assert jobs(gtlabel_aws) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "spoil",
    [
        refusal(400, "ExpiredToken", "The provided token has expired."),
        refusal(503, "SlowDown", "Please reduce your request rate."),
        refusal(500, "InternalError", "We encountered an internal error. Please try again."),
        never_sent,
        answer_lost,
    ],
    ids=["expired", "throttled", "error", "never sent", "answer lost"],
)
def test_a_run_that_broke_off_at_any_call_is_completed_by_the_next(
    gtlabel_aws: Aws, spoil: Callable[[Any, Callable[[], Any]], Any]
) -> None:
    fill(gtlabel_aws, 2)
    luck = Luck(gtlabel_aws, spoil)
    expected: set[str] = set()

    def run(aws: Aws, number: int) -> LabelingPlan:
        made = plan(aws, name=f"run-{number}", max_images_per_job=1)
        start_labeling(aws, made)
        return made

    for number in range(100):
        luck.arm(number)
        try:
            run(luck.aws, number)
        except (GtlabelError, BotoCoreError, ClientError):
            made = run(gtlabel_aws, number)
        else:
            break
        for image, request in zip(made.usable.images, made.requests, strict=True):
            job = gtlabel_aws.sagemaker.describe_labeling_job(LabelingJobName=request.name)
            manifest = S3Uri(job["InputConfig"]["DataSource"]["S3DataSource"]["ManifestS3Uri"])
            assert lines(gtlabel_aws, manifest) == [{"source-ref": str(image.uri)}], luck.operations
        expected.update(made.launch.jobs)
    assert luck.operations.count("CreateLabelingJob") == 2
    assert number == len(luck.operations)
    assert set(jobs(gtlabel_aws)) == {*expected, f"run-{number}-1", f"run-{number}-2"}


def test_the_sentence_about_what_broke_off_names_the_next_step(gtlabel_aws: Aws) -> None:
    fill(gtlabel_aws, 1)
    sentences: list[str] = []
    for spoil in (
        refusal(400, "ExpiredToken", "The provided token has expired."),
        refusal(503, "SlowDown", "Please reduce your request rate."),
        answer_lost,
    ):
        for number in (0, 1):  # the claim, and the look whether the job is there
            luck = Luck(gtlabel_aws, spoil)
            made = plan(gtlabel_aws, name=f"run-{len(sentences)}")
            luck.arm(number)
            with pytest.raises((GtlabelError, BotoCoreError, ClientError)) as failure:
                start_labeling(luck.aws, made)
            explained = explain(failure.value)
            assert explained is not None
            sentences.append(explained[0])
    renew, go_on = "; renew the credentials and run the same", "; run the same command again, it goes on"
    assert [renew in sentence for sentence in sentences] == [True] * 2 + [False] * 4
    assert [go_on in sentence for sentence in sentences] == [False] * 2 + [True] * 4


def test_a_resume_that_broke_off_at_any_call_is_completed_by_the_next(gtlabel_aws: Aws) -> None:
    fill(gtlabel_aws, 3)
    start_labeling(gtlabel_aws, plan(gtlabel_aws, name="bins"))
    stop_labeling(gtlabel_aws.sagemaker, gtlabel_aws.s3, "bins")
    with pytest.raises(JobEndedError):
        wait_for_labeling(gtlabel_aws.sagemaker, gtlabel_aws.s3, "bins", poll=0.05, timeout=120)
    luck = Luck(gtlabel_aws, answer_lost)

    def run(aws: Aws, number: int) -> None:
        start_successor(aws, plan_resume(aws, "bins", to=f"rest-{number}", max_images_per_job=2))

    for number in range(100):
        luck.arm(number)
        try:
            run(luck.aws, number)
        except (GtlabelError, BotoCoreError, ClientError):
            run(gtlabel_aws, number)
        else:
            break
        parts = [lines(gtlabel_aws, OUTPUT / f"rest-{number}/input/{n}/input.manifest") for n in (1, 2)]
        names = [[S3Uri(line["source-ref"]).name for line in part] for part in parts]
        assert names == [["00000.jpg", "00001.jpg"], ["00002.jpg"]], luck.operations
    assert number == len(luck.operations) > 12
    launched = [f"rest-{n}-{part}" for n in range(number + 1) for part in (1, 2)]
    assert jobs(gtlabel_aws) == sorted(["bins", *launched])


def test_an_answer_that_was_lost_is_asked_for_again_and_recognized(gtlabel_aws: Aws) -> None:
    fill(gtlabel_aws, 2)
    made = plan(gtlabel_aws)
    lost: list[str] = []

    def lose_the_first(request: Any, event_name: str, **_: Any) -> None:
        if event_name not in lost:
            lost.append(event_name)
            answer_lost(request, lambda: URLLib3Session().send(request))

    gtlabel_aws.s3.meta.events.register("before-send.s3.PutObject", lose_the_first)
    gtlabel_aws.sagemaker.meta.events.register("before-send.sagemaker.CreateLabelingJob", lose_the_first)
    arn = start_labeling(gtlabel_aws, made)
    assert lost == ["before-send.s3.PutObject", "before-send.sagemaker.CreateLabelingJob"]
    assert arn.endswith(f"/{made.launch.name}")
    assert jobs(gtlabel_aws) == [made.launch.name]


@pytest.mark.parametrize(("limit", "endings"), [(1_000, [""]), (2, ["-1", "-2"])])
def test_two_commands_at_once_create_each_job_once_and_both_print_the_name(
    gtlabel_aws: Aws, limit: int, endings: list[str]
) -> None:
    fill(gtlabel_aws, 3)
    command = [*LABEL, "--max-images-per-job", str(limit)]
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert said[0][0] == said[1][0]
    assert jobs(gtlabel_aws) == [said[0][0].strip() + ending for ending in endings]


def test_of_many_who_write_one_object_at_once_one_is_told_yes(gtlabel_aws: Aws) -> None:
    from concurrent.futures import ThreadPoolExecutor

    gtlabel_aws.s3.create_bucket(Bucket=BUCKET)
    with ThreadPoolExecutor(8) as pool:
        for round_number in range(20):
            uri = OUTPUT / f"{round_number}"
            told = list(pool.map(lambda n, uri=uri: write_new(gtlabel_aws.s3, uri, b"%d" % n), range(8)))
            assert told.count(True) == 1
            assert read(gtlabel_aws.s3, uri) == b"%d" % told.index(True)
