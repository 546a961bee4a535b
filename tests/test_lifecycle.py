"""Labeling jobs after their start: found, followed, stopped, and made into new ones."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lifecycle_parts import (
    BUCKET,
    CLASSES,
    OUTPUT,
    PHOTOS,
    USUAL,
    fill,
    jobs,
    jpeg,
    keys,
    lines,
    people_answer,
    worker_says,
)

from gtlabel.aws import Aws
from gtlabel.datasets.channels import read_channel
from gtlabel.errors import (
    DatasetError,
    JobEndedError,
    JobNameTakenError,
    JobNotFoundError,
    LabelingJobError,
    NothingNewError,
    RequestError,
)
from gtlabel.journey import consolidate_jobs
from gtlabel.labeling.audits import read_audit
from gtlabel.labeling.groups import describe_labeling, stop_labeling, wait_for_labeling
from gtlabel.labeling.jobs import Counters, describe_labeling_job, list_labeling_jobs
from gtlabel.labeling.ledger import claim
from gtlabel.labeling.lifecycle import (
    plan_chain,
    plan_clone,
    plan_relabel,
    plan_resume,
    plan_verify,
)
from gtlabel.labeling.outcome import disputed_images, failures, records
from gtlabel.labeling.plan import LabelingPlan, plan_labeling, start_labeling
from gtlabel.labeling.speed import Speed
from gtlabel.labeling.successors import start_successor
from gtlabel.storage import list_objects, read
from gtlabel.templates import read_template
from gtlabel.uris import S3Uri


def start(aws: Aws, name: str = "bins", **changes: Any) -> LabelingPlan:
    plan = plan_labeling(aws, PHOTOS, **{**USUAL, "name": name, **changes})
    start_labeling(aws, plan)
    return plan


def wait(aws: Aws, name: str) -> Any:
    return wait_for_labeling(aws.sagemaker, aws.s3, name, poll=0.05, timeout=120)


def stop(aws: Aws, name: str) -> None:
    stop_labeling(aws.sagemaker, aws.s3, name)
    with pytest.raises(JobEndedError):
        wait(aws, name)


def output(aws: Aws, name: str) -> list[dict[str, Any]]:
    return lines(aws, OUTPUT / name / "manifests/output/output.manifest")


def test_more_pictures_than_a_job_may_have_become_jobs_that_go_by_one_name(gtlabel_aws: Aws) -> None:
    truth = fill(gtlabel_aws, 25)
    plan = start(gtlabel_aws, max_images_per_job=10, workers_per_image=1)
    names = ["bins-1", "bins-2", "bins-3"]
    assert jobs(gtlabel_aws) == names
    found = describe_labeling(gtlabel_aws.sagemaker, gtlabel_aws.s3, "bins")
    assert [job.name for job in found.jobs] == names
    given = [lines(gtlabel_aws, OUTPUT / f"bins/input/{n}/input.manifest") for n in (1, 2, 3)]
    assert [len(part) for part in given] == [10, 10, 5]
    assert [line["source-ref"] for part in given for line in part] == sorted(truth)
    for name in names:
        sent = gtlabel_aws.sagemaker.describe_labeling_job(LabelingJobName=name)
        assert sent["LabelAttributeName"] == "bins"
        assert sent["Tags"] == [{"Key": "gtlabel:group", "Value": "bins"}]

    with pytest.raises(DatasetError, match="'bins-1' is InProgress .* gtlabel jobs wait bins"):
        consolidate_jobs(gtlabel_aws, ["bins"], S3Uri("s3://photos/dataset/"))
    with pytest.raises(JobEndedError, match="'bins' was still InProgress"):
        wait_for_labeling(gtlabel_aws.sagemaker, gtlabel_aws.s3, "bins", poll=0.05, timeout=0.1)
    for name in names:
        people_answer(name, truth, workers=1)
    ended = wait(gtlabel_aws, "bins")
    assert (ended.status, ended.counters) == ("Completed", Counters(25, 25, 0, 0, 0))
    dataset = consolidate_jobs(gtlabel_aws, ["bins"], S3Uri("s3://photos/dataset/"))
    labeled = {
        example.image.name: example.class_name
        for channel in ("train", "validation")
        for example in read_channel(gtlabel_aws.s3, dataset, channel)
    }
    assert labeled == {S3Uri(uri).name: name for uri, name in truth.items()}
    assert (
        plan_labeling(
            gtlabel_aws, PHOTOS, **USUAL, name="bins", max_images_per_job=7, workers_per_image=1
        ).launch
        == plan.launch
    )


def test_a_group_is_stopped_and_resumed_as_one(gtlabel_aws: Aws) -> None:
    truth = fill(gtlabel_aws, 6)
    start(gtlabel_aws, max_images_per_job=3, workers_per_image=1)
    people_answer("bins-1", truth, workers=1)
    assert wait_for_labeling_part(gtlabel_aws, "bins-1") == "Completed"
    assert list(stop_labeling(gtlabel_aws.sagemaker, gtlabel_aws.s3, "bins")) == ["bins-2"]
    with pytest.raises(JobEndedError, match="'bins' ended as Stopped"):
        wait(gtlabel_aws, "bins")
    with pytest.raises(LabelingJobError, match="'bins' has already ended as Stopped"):
        stop_labeling(gtlabel_aws.sagemaker, gtlabel_aws.s3, "bins")
    plan = plan_resume(gtlabel_aws, "bins")
    start_successor(gtlabel_aws, plan)
    assert plan.launch.jobs == ("bins-rest",)
    assert lines(gtlabel_aws, OUTPUT / "bins-rest/input/input.manifest") == [
        {"source-ref": uri} for uri in sorted(truth)[3:]
    ]


def wait_for_labeling_part(aws: Aws, name: str) -> str:
    return str(wait(aws, name).status)


def test_a_part_of_a_group_that_was_never_started_is_named(gtlabel_aws: Aws) -> None:
    fill(gtlabel_aws, 2)
    plan = plan_labeling(gtlabel_aws, PHOTOS, **USUAL, name="bins", max_images_per_job=1)
    single = start(gtlabel_aws, "bins-1")
    with pytest.raises(JobNotFoundError, match="no labeling job named 'bins'"):
        describe_labeling(gtlabel_aws.sagemaker, gtlabel_aws.s3, "bins")
    with pytest.raises(JobNameTakenError, match="'bins-1' already exists"):
        start_labeling(gtlabel_aws, plan)
    assert jobs(gtlabel_aws) == [single.launch.name]
    start(gtlabel_aws, "more", max_images_per_job=1)
    record = {"name": "more", "digest": "", "jobs": ["more-1", "more-3"], "images": 2, "images_per_job": 1}
    key = "gtlabel/more/input/launch.json"
    gtlabel_aws.s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(record))
    with pytest.raises(LabelingJobError, match="'more-3', one of the 2 .* was not started; run the command"):
        describe_labeling(gtlabel_aws.sagemaker, gtlabel_aws.s3, "more")
    # What it costs can be ended all the same.
    assert list(stop_labeling(gtlabel_aws.sagemaker, gtlabel_aws.s3, "more")) == ["more-1"]


def test_jobs_are_listed_by_time_name_and_status_page_after_page(gtlabel_aws: Aws) -> None:
    fill(gtlabel_aws, 1)
    start(gtlabel_aws, "bins")
    for number in range(2, 5):
        start_successor(gtlabel_aws, plan_clone(gtlabel_aws, "bins", to=f"bins-{number}"))
    stop(gtlabel_aws, "bins-3")
    sagemaker = gtlabel_aws.sagemaker

    def names(**filters: Any) -> list[str]:
        return [job["name"] for job in list_labeling_jobs(sagemaker, **filters)]

    assert names() == ["bins-4", "bins-3", "bins-2", "bins"]
    assert names(sort="name", ascending=True, limit=3) == ["bins", "bins-2", "bins-3"]
    assert names(status="Stopped") == ["bins-3"]
    assert names(name_contains="S-4") == ["bins-4"]
    hour = timedelta(hours=1)
    assert names(since=datetime.now(UTC) - hour, until=datetime.now(UTC) + hour, sort="name") == names(
        sort="name"
    )
    assert names(since=datetime.now(UTC) + hour) == names(until=datetime.now(UTC) - hour) == []
    with pytest.raises(RequestError, match=r"'Done' at 'statusEquals'"):
        names(status="Done")


def test_the_rest_of_a_stopped_job_is_labeled_by_a_new_one_and_both_make_one_dataset(
    gtlabel_aws: Aws,
) -> None:
    truth = fill(gtlabel_aws, 9)
    start(gtlabel_aws, workers_per_image=1, max_labeled=3)
    people_answer("bins", truth, workers=1)
    with pytest.raises(JobEndedError, match="ended as Stopped"):
        wait(gtlabel_aws, "bins")
    before = {line["source-ref"]: line["bins"] for line in output(gtlabel_aws, "bins") if "bins" in line}
    assert 3 <= len(before) < 9

    plan = plan_resume(gtlabel_aws, "bins", max_labeled=None)
    start_successor(gtlabel_aws, plan)
    again = plan_resume(gtlabel_aws, "bins", max_labeled=None)
    assert (again.launch.name, again.started) == ("bins-rest", ("bins-rest",))
    left = [line["source-ref"] for line in lines(gtlabel_aws, OUTPUT / "bins-rest/input/input.manifest")]
    assert left == [uri for uri in sorted(truth) if uri not in before]
    people_answer("bins-rest", truth, workers=1)
    wait(gtlabel_aws, "bins-rest")
    dataset = consolidate_jobs(gtlabel_aws, ["bins", "bins-rest"], S3Uri("s3://photos/dataset/"))
    assert sum(item.train + item.validation for item in dataset.classes) == 9
    with pytest.raises(LabelingJobError, match="every image of 'bins-rest' has its label"):
        plan_resume(gtlabel_aws, "bins-rest")


def test_a_completed_job_with_failed_images_says_why_and_is_resumed_without_what_they_left(
    gtlabel_aws: Aws,
) -> None:
    truth = fill(gtlabel_aws, 3)
    start(gtlabel_aws, workers_per_image=1)
    people_answer("bins", truth, workers=1)
    wait(gtlabel_aws, "bins")
    # As AWS writes a failure: metadata without a label (contract 5.2).
    manifest = OUTPUT / "bins/manifests/output/output.manifest"
    written = output(gtlabel_aws, "bins")
    del written[1]["bins"]
    written[1]["bins-metadata"] = {
        "retry-count": 1,
        "failure-reason": "ClientError: Annotation tasks expired.",
        "human-annotated": "true",
    }
    written[1]["lot"] = 7
    body = "".join(json.dumps(line) + "\n" for line in written)
    gtlabel_aws.s3.put_object(Bucket=BUCKET, Key=manifest.key, Body=body.encode())
    job = describe_labeling_job(gtlabel_aws.sagemaker, "bins")
    assert [(failure.image.name, failure.reason) for failure in failures(gtlabel_aws.s3, job)] == [
        ("00001.jpg", "ClientError: Annotation tasks expired.")
    ]
    start_successor(gtlabel_aws, plan_resume(gtlabel_aws, "bins"))
    assert lines(gtlabel_aws, OUTPUT / "bins-rest/input/input.manifest") == [
        {"source-ref": str(PHOTOS / "00001.jpg"), "lot": 7}
    ]
    chained = plan_chain(gtlabel_aws, "bins", attribute="bins")
    start_successor(gtlabel_aws, chained)
    given = lines(gtlabel_aws, OUTPUT / "bins-next/input/input.manifest")
    assert [sorted(line) for line in given] == [
        ["bins", "bins-metadata", "source-ref"],
        ["lot", "source-ref"],
        ["bins", "bins-metadata", "source-ref"],
    ]
    people_answer("bins-next", truth, workers=1)
    assert wait(gtlabel_aws, "bins-next").counters.failed == 0
    assert all("bins" in line for line in output(gtlabel_aws, "bins-next"))


def test_a_wait_tells_of_images_that_failed_in_a_completed_job(gtlabel_aws: Aws) -> None:
    truth = fill(gtlabel_aws, 3)
    start(gtlabel_aws, workers_per_image=1)
    answers = {uri: {"crowd-image-classifier": {"label": name}} for uri, name in truth.items()}
    worker_says("bins", {**answers, str(PHOTOS / "00001.jpg"): None})
    command = [sys.executable, "-m", "gtlabel", "jobs", "wait", "bins", "--poll", "0.1"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0
    assert "status           Completed with 1 failed\n" in run.stdout
    assert "bins is completed, but 1 image could not be labeled\n  1 times: ClientError:" in run.stderr
    assert "gtlabel jobs resume bins" in run.stderr
    start_successor(gtlabel_aws, plan_resume(gtlabel_aws, "bins"))
    assert lines(gtlabel_aws, OUTPUT / "bins-rest/input/input.manifest") == [
        {"source-ref": str(PHOTOS / "00001.jpg")}
    ]


def test_a_job_that_failed_before_it_wrote_anything_is_resumed_from_its_input(gtlabel_aws: Aws) -> None:
    truth = fill(gtlabel_aws, 2)
    plan = plan_labeling(gtlabel_aws, PHOTOS, **USUAL, name="bins")
    start_labeling(gtlabel_aws, plan)
    stop(gtlabel_aws, "bins")
    for stored in list_objects(gtlabel_aws.s3, OUTPUT / "bins/manifests/"):
        gtlabel_aws.s3.delete_object(Bucket=BUCKET, Key=stored.uri.key)
    job = describe_labeling_job(gtlabel_aws.sagemaker, "bins")
    failed = replace(job, output_manifest=None)
    assert [str(record.source_ref) for record in records(gtlabel_aws.s3, failed)] == sorted(truth)


def test_the_next_of_a_chain_asks_another_question_and_keeps_the_answers_to_the_first(
    gtlabel_aws: Aws,
) -> None:
    truth = fill(gtlabel_aws, 4)
    start(gtlabel_aws, workers_per_image=1)
    with pytest.raises(LabelingJobError, match="'bins' is I.*; wait for it with gtlabel jobs wait"):
        plan_chain(gtlabel_aws, "bins")
    people_answer("bins", truth, workers=1)
    wait(gtlabel_aws, "bins")
    plan = plan_chain(gtlabel_aws, "bins", to="clean", classes=["Clean", "Dirty"])
    start_successor(gtlabel_aws, plan)
    sent = gtlabel_aws.sagemaker.describe_labeling_job(LabelingJobName="clean")
    assert sent["InputConfig"]["DataSource"]["S3DataSource"]["ManifestS3Uri"] == str(
        OUTPUT / "bins/manifests/output/output.manifest"
    )
    people_answer("clean", dict.fromkeys(truth, "Dirty"), workers=1)
    wait(gtlabel_aws, "clean")
    for line in output(gtlabel_aws, "clean"):
        assert line["bins-metadata"]["class-name"] == truth[line["source-ref"]]
        assert line["clean-metadata"]["class-name"] == "Dirty"


def test_a_clone_asks_the_same_of_the_same_pictures(gtlabel_aws: Aws) -> None:
    fill(gtlabel_aws, 2)
    start(gtlabel_aws, tags={"project": "trash"}, title="Which bin?")
    plan = plan_clone(gtlabel_aws, "bins", workers_per_image=5)
    start_successor(gtlabel_aws, plan)
    first = gtlabel_aws.sagemaker.describe_labeling_job(LabelingJobName="bins")
    second = gtlabel_aws.sagemaker.describe_labeling_job(LabelingJobName="bins-copy")
    for member in ("InputConfig", "OutputConfig", "RoleArn", "Tags", "LabelAttributeName"):
        assert second.get(member) == first.get(member)
    assert second["HumanTaskConfig"] == {**first["HumanTaskConfig"], "NumberOfHumanWorkersPerDataObject": 5}
    assert keys(gtlabel_aws, OUTPUT / "bins-copy/input/") == ["launch.json"]
    with pytest.raises(JobNameTakenError, match="'bins-copy' already exists"):
        plan_clone(gtlabel_aws, "bins", workers_per_image=7)


def test_labels_that_may_be_wrong_are_labeled_anew_and_the_newer_hold(gtlabel_aws: Aws) -> None:
    truth = fill(gtlabel_aws, 12)
    start(gtlabel_aws, workers_per_image=3)
    people_answer("bins", truth, workers=3, accuracy=0.6)
    job = wait(gtlabel_aws, "bins").jobs[0]
    # What the workers said, from the other kind of file that a job leaves.
    said: dict[int, set[str]] = {}
    for stored in list_objects(gtlabel_aws.s3, OUTPUT / "bins/annotations/worker-response/"):
        (response,) = lines(gtlabel_aws, stored.uri)
        number = int(stored.uri.key.split("/")[-2])
        said[number] = {a["answerContent"]["crowd-image-classifier"]["label"] for a in response["answers"]}
    disputed = {number for number, labels in said.items() if len(labels) > 1}
    assert disputed
    assert disputed_images(gtlabel_aws.s3, job) == disputed
    for stored in list_objects(gtlabel_aws.s3, OUTPUT / "bins/annotations/consolidated-annotation/"):
        gtlabel_aws.s3.delete_object(Bucket=BUCKET, Key=stored.uri.key)
    assert disputed_images(gtlabel_aws.s3, job) == disputed

    plan = plan_relabel(gtlabel_aws, "bins", disputed=True, workers_per_image=1)
    start_successor(gtlabel_aws, plan)
    given = lines(gtlabel_aws, OUTPUT / "bins-relabel/input/input.manifest")
    assert [line["source-ref"] for line in given] == [sorted(truth)[number] for number in sorted(disputed)]
    people_answer("bins-relabel", truth, workers=1)
    wait(gtlabel_aws, "bins-relabel")
    dataset = consolidate_jobs(gtlabel_aws, ["bins", "bins-relabel"], S3Uri("s3://photos/dataset/"))
    labeled = {
        example.image.name: example.class_name
        for channel in ("train", "validation")
        for example in read_channel(gtlabel_aws.s3, dataset, channel)
    }
    for number in disputed:
        assert labeled[f"{number:05}.jpg"] == CLASSES[number % 3]

    confident = [line["bins-metadata"]["confidence"] for line in output(gtlabel_aws, "bins")]
    worst = min(confident)
    plan = plan_relabel(gtlabel_aws, "bins", below=worst + 0.005, to="doubts")
    assert plan.launch.images == confident.count(worst)
    with pytest.raises(LabelingJobError, match="no label of 'bins' is below a confidence of 0.0"):
        plan_relabel(gtlabel_aws, "bins", below=0.0)
    with pytest.raises(LabelingJobError, match="only one worker looked at each image of 'bins-relabel'"):
        plan_relabel(gtlabel_aws, "bins-relabel", below=0.5)
    with pytest.raises(LabelingJobError, match="say what to label again"):
        plan_relabel(gtlabel_aws, "bins")


def test_people_verify_the_labels_of_an_earlier_job_on_a_page_of_ours(gtlabel_aws: Aws) -> None:
    truth = fill(gtlabel_aws, 3)
    start(gtlabel_aws, workers_per_image=1)
    people_answer("bins", truth, workers=1)
    wait(gtlabel_aws, "bins")
    plan = plan_verify(gtlabel_aws, "bins")
    start_successor(gtlabel_aws, plan)
    sent = gtlabel_aws.sagemaker.describe_labeling_job(LabelingJobName="bins-verify")
    assert sent["HumanTaskConfig"]["PreHumanTaskLambdaArn"].endswith(":function:PRE-PassThrough")
    page = read(gtlabel_aws.s3, S3Uri(sent["HumanTaskConfig"]["UiConfig"]["UiTemplateS3Uri"])).decode()
    assert "incorrect: Landfill" in page
    verdicts = dict(zip(sorted(truth), ("correct", "incorrect: Recycle", "correct"), strict=True))
    worker_says("bins-verify", {uri: {"verification": {"label": said}} for uri, said in verdicts.items()})
    wait(gtlabel_aws, "bins-verify")
    audits = [
        read_audit(record, "bins-verify", "bins")
        for record in records(gtlabel_aws.s3, describe_labeling_job(gtlabel_aws.sagemaker, "bins-verify"))
    ]
    assert [audit.outcome for audit in audits if audit] == ["confirmed", "changed", "confirmed"]


def test_a_pace_is_told_from_what_got_done_while_somebody_looked() -> None:
    speed = Speed(start=100.0, done_at_start=50)
    counters = Counters(labeled=68, by_people=68, by_machine=0, failed=2, unlabeled=40)
    assert speed.images_per_hour(3700.0, counters) == 20
    assert speed.seconds_left(3700.0, counters) == 2 * 3600
    assert speed.seconds_left(100.5, counters) is None
    assert speed.images_per_hour(3700.0, Counters(50, 50, 0, 0, 60)) is None


def test_only_what_no_completed_launch_has_is_new(gtlabel_aws: Aws) -> None:
    fill(gtlabel_aws, 4)
    start(gtlabel_aws, "first", max_images_per_job=2)
    with pytest.raises(NothingNewError, match="4"):
        plan_labeling(gtlabel_aws, PHOTOS, **USUAL, only_new=True)
    gtlabel_aws.s3.put_object(Bucket=BUCKET, Key="trash/later.jpg", Body=jpeg("red"))
    plan = plan_labeling(gtlabel_aws, PHOTOS, **USUAL, only_new=True)
    assert [image.uri.name for image in plan.usable.images] == ["later.jpg"]
    # Broken off after its claim: the same command completes it, and does not take it for done.
    claim(gtlabel_aws.sagemaker, gtlabel_aws.s3, OUTPUT, plan.launch)
    again = plan_labeling(gtlabel_aws, PHOTOS, **USUAL, only_new=True)
    assert again.launch == plan.launch
    start_labeling(gtlabel_aws, again)
    assert lines(gtlabel_aws, OUTPUT / plan.launch.name / "input/input.manifest") == [
        {"source-ref": str(PHOTOS / "later.jpg")}
    ]


def test_the_project_file_the_environment_and_the_flags_settle_a_launch_in_rising_priority(
    gtlabel_aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = fill(gtlabel_aws, 5)
    page = read_template("tasks/image-classification.liquid").replace("Classify", "Sort")
    (tmp_path / "page.liquid").write_text(page)
    (tmp_path / "gtlabel.toml").write_text(
        f'bucket = "{BUCKET}"\nclasses = {CLASSES}\nworkers = 5\nmax_images_per_job = 4\n'
        'template = "page.liquid"\n'
    )
    monkeypatch.setenv("GTLABEL_MAX_IMAGES_PER_JOB", "3")

    def label(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gtlabel", "label", "trash/", "--output", "json", *more]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    run = label("--set", "title=Which bin?", "--set", "max_concurrent=50")
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert "at AWS's list prices $0.40, and " in run.stderr  # five pictures at $0.08
    name = result["name"]
    assert result["jobs"] == [f"{name}-1", f"{name}-2"]
    asked = gtlabel_aws.sagemaker.describe_labeling_job(LabelingJobName=f"{name}-2")["HumanTaskConfig"]
    assert (asked["NumberOfHumanWorkersPerDataObject"], asked["TaskTitle"]) == (5, "Which bin?")
    assert asked["MaxConcurrentTaskCount"] == 50
    assert read(gtlabel_aws.s3, S3Uri(asked["UiConfig"]["UiTemplateS3Uri"])).decode() == page
    nothing = label("--new")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert f"{len(truth)}" in nothing.stderr
    gtlabel_aws.s3.delete_bucket_cors(Bucket=BUCKET)
    refused = label("--workers", "1")
    assert refused.returncode == 1
    assert "put-bucket-cors" in refused.stderr or "gtlabel doctor" in refused.stderr
    assert len(jobs(gtlabel_aws)) == 2
