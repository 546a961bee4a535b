"""Training jobs of the emulator: real child processes, real FIFOs, S3 of moto in process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from training_parts import (
    MODEL_AT_ONCE,
    READS_TWO_EPOCHS,
    Start,
    artifact,
    executing,
    request,
)

from gtlabel.emulator.clock import Clock
from gtlabel.networks.artifact import read_artifact


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with executing(tmp_path) as begin:
        yield begin


def test_a_job_ends_with_the_files_of_its_program_as_a_flat_archive(start: Start) -> None:
    sagemaker = start(READS_TWO_EPOCHS)
    arn = sagemaker("CreateTrainingJob", **request(sagemaker))["TrainingJobArn"]
    job = sagemaker.wait()
    assert arn == "arn:aws:sagemaker:us-east-1:123456789012:training-job/sorter"
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Completed", "Completed"), job
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == "s3://trash/models/sorter/output/model.tar.gz"
    files = artifact(sagemaker)
    assert list(files) == ["image-classification-0001.params", "orders.json"]
    assert files["image-classification-0001.params"] == b"weights"


def test_each_step_is_written_down_with_the_time_it_really_took(start: Start) -> None:
    sagemaker = start(READS_TWO_EPOCHS)
    sagemaker("CreateTrainingJob", **request(sagemaker))
    job = sagemaker.wait()
    steps = job["SecondaryStatusTransitions"]
    assert [step["Status"] for step in steps] == ["Starting", "Training", "Uploading", "Completed"]
    assert all(step["StartTime"] <= step["EndTime"] for step in steps)
    assert [step["EndTime"] for step in steps[:-1]] == [step["StartTime"] for step in steps[1:]]
    assert job["CreationTime"] <= job["TrainingStartTime"] < job["TrainingEndTime"]
    assert job["BillableTimeInSeconds"] >= 1


def test_the_last_value_of_each_metric_is_the_final_one(start: Start) -> None:
    sagemaker = start(READS_TWO_EPOCHS)
    sagemaker("CreateTrainingJob", **request(sagemaker))
    job = sagemaker.wait()
    metrics = {item["MetricName"]: item["Value"] for item in job["FinalMetricDataList"]}
    assert metrics == {"train:accuracy": 0.75, "validation:accuracy": 0.5}
    assert all(
        job["TrainingStartTime"] <= item["Timestamp"] <= job["TrainingEndTime"]
        for item in job["FinalMetricDataList"]
    )


def test_a_seed_shuffles_each_epoch_differently_and_keeps_pictures_with_their_labels(start: Start) -> None:
    sagemaker = start(READS_TWO_EPOCHS)
    sagemaker("CreateTrainingJob", **request(sagemaker, shuffle_seed=7))
    sagemaker.wait()
    seen = json.loads(artifact(sagemaker)["orders.json"])
    first, second = seen["orders"]["train"]
    everything = [str(number) for number in range(8)]
    assert sorted(first) == sorted(second) == everything
    assert first != second
    assert everything not in (first, second)
    assert seen["sizes"] == [1000 * (int(label) + 1) + 1 for label in first]
    assert seen["orders"]["validation"] == [everything, everything]


def test_the_program_finds_its_job_in_the_environment_and_nobody_s_credentials(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the-boss")
    monkeypatch.setenv("DATABASE_PASSWORD", "secret")
    sagemaker = start(READS_TWO_EPOCHS)
    modest = {**request(sagemaker), "Environment": {"MODE": "quick"}}
    arn = sagemaker("CreateTrainingJob", **modest)["TrainingJobArn"]
    assert sagemaker.wait()["Environment"] == {"MODE": "quick"}
    environment = json.loads(artifact(sagemaker)["orders.json"])["environment"]
    assert environment["TRAINING_JOB_NAME"] == "sorter"
    assert environment["TRAINING_JOB_ARN"] == arn
    assert environment["AWS_REGION"] == "us-east-1"
    assert environment["MODE"] == "quick"
    assert not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} & set(environment)
    assert not [name for name, value in environment.items() if value in ("secret", "testing")]


def test_the_program_reads_what_the_platform_would_tell_it(start: Start) -> None:
    sagemaker = start(
        """
        for file in (base / "input/config").iterdir():
            (model / file.name).write_bytes(file.read_bytes())
        """
    )
    sagemaker("CreateTrainingJob", **request(sagemaker))
    assert sagemaker.wait()["TrainingJobStatus"] == "Completed"
    config = {name: json.loads(content) for name, content in artifact(sagemaker).items()}
    assert config["hyperparameters.json"]["num_training_samples"] == "8"
    assert config["hyperparameters.json"]["image_shape"] == "3,48,64"
    channel = {
        "ContentType": "application/x-recordio",
        "TrainingInputMode": "Pipe",
        "S3DistributionType": "FullyReplicated",
        "RecordWrapperType": "RecordIO",
    }
    assert config["inputdataconfig.json"] == {"train": channel, "validation": channel}
    assert config["resourceconfig.json"]["current_host"] == "algo-1"
    assert config["resourceconfig.json"]["hosts"] == ["algo-1"]


def test_what_the_program_prints_is_in_cloudwatch_and_beside_the_job(start: Start, tmp_path: Path) -> None:
    sagemaker = start(
        r"""
        print("Epoch[0] Batch [20]\tSpeed: 155.4 samples/sec")
        print()
        print("to the other stream", file=sys.stderr)
        sys.stdout.write("no end of line")
        (model / "weights").write_text("1")
        """
    )
    sagemaker("CreateTrainingJob", **request(sagemaker))
    sagemaker.wait()
    logs = sagemaker.aws.logs
    streams = logs.describe_log_streams(logGroupName="/aws/sagemaker/TrainingJobs")["logStreams"]
    (stream,) = [stream["logStreamName"] for stream in streams]
    assert stream.startswith("sorter/algo-1-")
    events = logs.get_log_events(logGroupName="/aws/sagemaker/TrainingJobs", logStreamName=stream)["events"]
    messages = [event["message"] for event in events]
    # Tabs arrive as the log driver of the service spells them.
    assert "Epoch[0] Batch [20]#011Speed: 155.4 samples/sec" in messages
    assert "to the other stream" in messages
    assert "no end of line" in messages
    kept = (tmp_path / "jobs/123456789012/us-east-1/sorter/log.txt").read_text()
    assert "Epoch[0] Batch [20]\tSpeed: 155.4 samples/sec\n\n" in kept


@pytest.mark.parametrize("days", [-30, 3])
def test_lines_are_kept_on_whatever_day_the_account_believes_to_be(start: Start, days: int) -> None:
    clock = Clock(lambda: datetime.now(UTC) + timedelta(days=days))
    sagemaker = start("print('one line', flush=True)", MODEL_AT_ONCE, clock=clock)
    sagemaker("CreateTrainingJob", **request(sagemaker))
    sagemaker.wait()
    events = sagemaker.aws.logs.filter_log_events(logGroupName="/aws/sagemaker/TrainingJobs")["events"]
    assert [event["message"] for event in events] == ["one line"]


def test_a_manifest_that_is_not_there_fails_the_job(start: Start) -> None:
    sagemaker = start("epoch('train', 0)")
    sagemaker("CreateTrainingJob", **request(sagemaker, train="s3://trash/elsewhere.manifest"))
    assert "there is nothing at s3://trash/elsewhere.manifest" in sagemaker.wait()["FailureReason"]


def test_an_output_bucket_that_is_not_there_fails_the_job(start: Start) -> None:
    sagemaker = start(READS_TWO_EPOCHS)
    sagemaker("CreateTrainingJob", **request(sagemaker, output="s3://nowhere/models"))
    assert "the bucket 'nowhere' does not exist" in sagemaker.wait()["FailureReason"]


def test_what_made_a_job_fail_is_told_even_when_its_output_cannot_be_kept(start: Start) -> None:
    sagemaker = start("(base / 'output/data/plot').write_text('1'); sys.exit('out of cheese')")
    sagemaker("CreateTrainingJob", **request(sagemaker, output="s3://nowhere/models"))
    assert sagemaker.wait()["FailureReason"] == "AlgorithmError: out of cheese, exit code: 1"


def test_a_job_leaves_nothing_on_disk_but_its_settings_and_its_log(start: Start, tmp_path: Path) -> None:
    sagemaker = start(READS_TWO_EPOCHS)
    sagemaker("CreateTrainingJob", **request(sagemaker))
    sagemaker.wait()
    job = tmp_path / "jobs/123456789012/us-east-1/sorter"
    assert {str(path.relative_to(job)) for path in job.rglob("*") if not path.is_dir()} == {
        "log.txt",
        "ml/input/config/hyperparameters.json",
        "ml/input/config/inputdataconfig.json",
        "ml/input/config/resourceconfig.json",
    }
    sagemaker.executor.reset()
    assert not (tmp_path / "jobs").exists()


def test_a_program_may_stop_reading_whenever_it_likes(start: Start) -> None:
    sagemaker = start(
        """
        labels = []
        for number in range(3):
            while not (data / f"train_{number}").exists():
                time.sleep(0.01)
            with (data / f"train_{number}").open("rb", buffering=0) as stream:
                records = read_records(stream)
                next(records)
                labels.append(next(records).decode())
        (model / "labels").write_text(" ".join(labels))
        """
    )
    sagemaker("CreateTrainingJob", **request(sagemaker))
    assert sagemaker.wait()["TrainingJobStatus"] == "Completed"
    assert artifact(sagemaker) == {"labels": b"0 0 0"}


def test_what_else_a_program_leaves_is_kept_even_when_it_fails(start: Start) -> None:
    sagemaker = start(
        """
        (output / "data/plots").mkdir()
        (output / "data/plots/loss.csv").write_text("0.5")
        (model / "weights").write_text("useless")
        sys.exit(1)
        """
    )
    sagemaker("CreateTrainingJob", **request(sagemaker))
    assert sagemaker.wait()["TrainingJobStatus"] == "Failed"
    assert artifact(sagemaker, "output.tar.gz") == {"plots/loss.csv": b"0.5"}
    found = sagemaker.aws.s3.list_objects_v2(Bucket="trash", Prefix="models/")["Contents"]
    assert [item["Key"] for item in found] == ["models/sorter/output/output.tar.gz"]


def test_the_same_files_make_the_same_archive(start: Start) -> None:
    sagemaker = start(READS_TWO_EPOCHS.split("report =")[0], "(model / 'sub').mkdir()", MODEL_AT_ONCE)
    contents = []
    for name in ("first", "second"):
        sagemaker("CreateTrainingJob", **request(sagemaker, name=name))
        sagemaker.wait(name)
        key = f"models/{name}/output/model.tar.gz"
        contents.append(sagemaker.aws.s3.get_object(Bucket="trash", Key=key)["Body"].read())
    assert contents[0] == contents[1]


SAMPLES = Path(__file__).parent.parent / "samples" / "trash"


def test_the_usual_trainer_learns_pictures_through_the_pipes_and_leaves_the_built_in_s_files(
    start: Start, tmp_path: Path
) -> None:
    sagemaker = start()
    classes = (SAMPLES / "classes.txt").read_text().split()
    truth = [json.loads(text) for text in (SAMPLES / "truth.jsonl").read_text().splitlines()]
    lines = []
    for sample in truth[:12]:
        key = sample["image"]
        sagemaker.aws.s3.put_object(Bucket="trash", Key=key, Body=(SAMPLES / key).read_bytes())
        lines.append({"source-ref": f"s3://trash/{key}", "label": classes.index(sample["class"])})
    sagemaker("CreateTrainingJob", **request(sagemaker, lines, shuffle_seed=7))
    job = sagemaker.wait(seconds=60)
    assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]
    metrics = {item["MetricName"] for item in job["FinalMetricDataList"]}
    assert {"train:accuracy", "validation:accuracy"} <= metrics
    key = "models/sorter/output/model.tar.gz"
    sagemaker.aws.s3.download_file("trash", key, str(tmp_path / "model.tar.gz"))
    learned = read_artifact(tmp_path / "model.tar.gz")
    assert learned.shape[1:] == (3, 48, 64)
    assert learned.warnings == ()
