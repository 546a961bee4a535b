"""Training jobs of the emulator: real child processes, real FIFOs, S3 of moto in process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from training_parts import (
    HERE,
    MODEL_AT_ONCE,
    PICTURES,
    PRELUDE,
    READS_TWO_EPOCHS,
    Start,
    artifact,
    clients_that_nobody_asks_for,
    executing,
    line,
    request,
)

from gtlabel.emulator.executor import Executor
from gtlabel.emulator.shelf import Shelf
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


def test_a_program_that_fails_says_why_itself(start: Start) -> None:
    sagemaker = start('(base / "output/failure").write_text("no picture could be read"); sys.exit(3)')
    sagemaker("CreateTrainingJob", **request(sagemaker))
    job = sagemaker.wait()
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Failed", "Failed")
    assert job["FailureReason"] == "AlgorithmError: no picture could be read, exit code: 3"


def test_a_long_explanation_is_cut_and_the_exit_code_stays(start: Start) -> None:
    sagemaker = start('(base / "output/failure").write_text("ClientError: " + "ä" * 5000); sys.exit(2)')
    sagemaker("CreateTrainingJob", **request(sagemaker))
    reason = sagemaker.wait()["FailureReason"]
    assert len(reason) == 1024
    assert reason.startswith("ClientError: äää")
    assert reason.endswith("ä, exit code: 2")


def test_the_last_line_explains_a_program_that_crashes_without_a_word(start: Start) -> None:
    sagemaker = start("raise RuntimeError('out of cheese')")
    sagemaker("CreateTrainingJob", **request(sagemaker))
    reason = sagemaker.wait()["FailureReason"]
    assert reason == "AlgorithmError: RuntimeError: out of cheese, exit code: 1"


def test_a_program_that_ends_well_without_a_model_has_failed(start: Start) -> None:
    sagemaker = start("epoch('train', 0)")
    sagemaker("CreateTrainingJob", **request(sagemaker))
    job = sagemaker.wait()
    assert job["TrainingJobStatus"] == "Failed"
    assert "left no model" in job["FailureReason"]


SLEEPS = """
print("Epoch[0] Train-accuracy=0.5", flush=True)
time.sleep(60)
"""


def started(job: dict[str, Any]) -> bool:
    return bool(job["FinalMetricDataList"])


def test_a_job_can_be_stopped_and_keeps_the_model_it_saved_then(start: Start) -> None:
    sagemaker = start(
        """
        def save(*_):
            (model / "saved").write_text("half way")
            sys.exit(0)
        signal.signal(signal.SIGTERM, save)
        """,
        SLEEPS,
    )
    sagemaker("CreateTrainingJob", **request(sagemaker))
    sagemaker.wait(until=started)
    sagemaker("StopTrainingJob", TrainingJobName="sorter")
    assert sagemaker.describe()["TrainingJobStatus"] in ("Stopping", "Stopped")
    job = sagemaker.wait()
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    statuses = [step["Status"] for step in job["SecondaryStatusTransitions"]]
    assert statuses == ["Starting", "Training", "Stopping", "Uploading", "Stopped"]
    assert artifact(sagemaker) == {"saved": b"half way"}


def test_a_program_that_does_not_listen_is_killed_with_all_it_started(start: Start, tmp_path: Path) -> None:
    sagemaker = start(
        f"""
        import subprocess
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        pathlib.Path({str(tmp_path / "pids")!r}).write_text(f"{{os.getpid()}} {{child.pid}}")
        """,
        SLEEPS,
        grace=0.2,
    )
    sagemaker("CreateTrainingJob", **request(sagemaker))
    sagemaker.wait(until=started)
    sagemaker("StopTrainingJob", TrainingJobName="sorter")
    assert sagemaker.wait()["TrainingJobStatus"] == "Stopped"
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert [pid for pid in pids if lives(pid)] == []


def test_a_job_whose_time_is_up_is_stopped(start: Start) -> None:
    sagemaker = start(SLEEPS)
    sagemaker("CreateTrainingJob", **request(sagemaker, max_runtime=1))
    job = sagemaker.wait()
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (
            [line(1), line(2), line(99), line(4)],
            "s3://trash/train.manifest, line 3: there is nothing at s3://trash/images/99.jpg",
        ),
        (
            [line(1), {"source-ref": "s3://trash/images/2.jpg", "other": 1}],
            "s3://trash/train.manifest, line 2: it has no attribute 'label'; those it has: source-ref, other",
        ),
        ([line(1), "", "{not json"], "s3://trash/train.manifest, line 3: it is not JSON"),
        (["[]"], "s3://trash/train.manifest, line 1: it is not a JSON object but list"),
        ([line(1, **{"source-ref": 5})], "line 1: its 'source-ref' is not an S3 address but 5"),
        ([line(1, **{"source-ref": "C:/1.jpg"})], "line 1: 'C:/1.jpg' is not an S3 address"),
        ([""], "s3://trash/train.manifest has no line"),
    ],
    ids=["a missing picture", "a missing label", "no JSON", "a list", "a number", "no address", "nothing"],
)
def test_a_channel_that_cannot_be_fed_fails_the_job_by_line(
    start: Start, lines: list[Any], sentence: str
) -> None:
    sagemaker = start("epoch('train', 0); (model / 'weights').write_text('of half an epoch')")
    sagemaker("CreateTrainingJob", **request(sagemaker, lines))
    job = sagemaker.wait()
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: Data download failed: ")
    assert sentence in job["FailureReason"]
    assert "Contents" not in sagemaker.aws.s3.list_objects_v2(Bucket="trash", Prefix="models/")


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


def file_channels(whole: dict[str, Any], prefix: str) -> dict[str, Any]:
    channels = [
        {
            "ChannelName": name,
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": prefix}},
            "InputMode": "File",
        }
        for name in ("train", "validation")
    ]
    return {**whole, "InputDataConfig": channels}


def test_channels_in_file_mode_are_downloaded_first(start: Start) -> None:
    sagemaker = start(
        """
        files = [path for path in data.rglob("*") if path.is_file()]
        found = {str(path.relative_to(data)): path.stat().st_size for path in files}
        (model / "found").write_text(json.dumps(found))
        """
    )
    sagemaker("CreateTrainingJob", **file_channels(request(sagemaker), "s3://trash/images"))
    job = sagemaker.wait()
    statuses = [step["Status"] for step in job["SecondaryStatusTransitions"]]
    assert statuses == ["Starting", "Downloading", "Training", "Uploading", "Completed"], job
    found = json.loads(artifact(sagemaker)["found"])
    assert found == {
        f"{channel}/{name}": len(content)
        for channel in ("train", "validation")
        for name, content in PICTURES.items()
    }


def test_a_key_cannot_leave_the_directory_of_its_channel(start: Start) -> None:
    sagemaker = start("(model / 'weights').write_text('1')")
    sagemaker.aws.s3.put_object(Bucket="trash", Key="evil/../../../../stolen", Body=b"gotcha")
    sagemaker("CreateTrainingJob", **file_channels(request(sagemaker), "s3://trash/evil/"))
    job = sagemaker.wait()
    assert job["TrainingJobStatus"] == "Failed"
    assert "leads out of its channel's directory" in job["FailureReason"]


def test_closing_ends_the_programs_and_their_jobs(start: Start, tmp_path: Path) -> None:
    sagemaker = start(f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))", SLEEPS)
    sagemaker("CreateTrainingJob", **request(sagemaker))
    sagemaker.wait(until=started)
    before = time.monotonic()
    sagemaker.executor.close()
    assert time.monotonic() - before < 3
    job = sagemaker.describe()
    assert job["TrainingJobStatus"] == "Failed"
    assert "the emulator ended while the job was running" in job["FailureReason"]
    assert not lives(int((tmp_path / "pid").read_text()))


EMULATOR_THAT_DIES = """
import os, pathlib, signal, sys, time
import boto3
from moto import mock_aws
from gtlabel.aws import Aws
from gtlabel.emulator.api import Context
from gtlabel.emulator.executor import Executor
from gtlabel.emulator.shelf import Shelf

root = pathlib.Path(sys.argv[1])
with mock_aws():
    aws = Aws(boto3.Session("testing", "testing", region_name="us-east-1"))
    trainer = [sys.executable, str(root / "trainer.py")]
    executor = Executor(
        lambda _: aws, root / "jobs", Shelf(root / "shelf"), trainers={"image-classification": trainer}
    )
    request = {
        "TrainingJobName": "sorter",
        "AlgorithmSpecification": {"TrainingInputMode": "Pipe"},
        "OutputDataConfig": {"S3OutputPath": "s3://trash/models"},
        "ResourceConfig": {"InstanceType": "ml.g5.xlarge"},
    }
    executor.start(Context(), request, "image-classification")
    while not (root / "pid").exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_a_crash_of_the_emulator_its_jobs_have_failed_and_their_programs_are_gone(
    tmp_path: Path,
) -> None:
    (tmp_path / "trainer.py").write_text(
        PRELUDE + f"part = pathlib.Path({str(tmp_path / 'pid.part')!r})\n"
        "part.write_text(str(os.getpid()))\n"
        "part.rename(part.with_suffix(''))\n"
        "time.sleep(60)\n"
    )
    (tmp_path / "emulator.py").write_text(EMULATOR_THAT_DIES)
    died = subprocess.run([sys.executable, str(tmp_path / "emulator.py"), str(tmp_path)], check=False)
    assert died.returncode == -signal.SIGKILL
    pid = int((tmp_path / "pid").read_text())
    assert lives(pid)

    executor = Executor(clients_that_nobody_asks_for, tmp_path / "jobs", Shelf(tmp_path / "shelf"))
    assert executor.recover() == ["sorter"]

    record = executor.record(HERE, "sorter").read()
    assert record is not None
    assert record["status"] == "Failed"
    assert "the emulator ended while the job was running" in record["reason"]
    limit = time.monotonic() + 5
    while lives(pid) and time.monotonic() < limit:
        time.sleep(0.02)
    assert not lives(pid)
    assert executor.recover() == []


def lives(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(found.stdout.strip()) and not found.stdout.startswith("Z")


def test_the_same_files_make_the_same_archive(start: Start) -> None:
    sagemaker = start(READS_TWO_EPOCHS.split("report =")[0], "(model / 'sub').mkdir()", MODEL_AT_ONCE)
    contents = []
    for name in ("first", "second"):
        sagemaker("CreateTrainingJob", **request(sagemaker, name=name))
        sagemaker.wait(name)
        key = f"models/{name}/output/model.tar.gz"
        contents.append(sagemaker.aws.s3.get_object(Bucket="trash", Key=key)["Body"].read())
    assert contents[0] == contents[1]


def test_a_job_does_not_wait_for_what_fled_from_its_program(start: Start, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    sagemaker = start(
        f"""
        import subprocess
        fled = subprocess.Popen(["sleep", "30"], start_new_session=True)
        pathlib.Path({str(pid)!r}).write_text(str(fled.pid))
        """,
        MODEL_AT_ONCE,
    )
    before = time.monotonic()
    sagemaker("CreateTrainingJob", **request(sagemaker))
    assert sagemaker.wait()["TrainingJobStatus"] == "Completed"
    assert time.monotonic() - before < 10
    os.kill(int(pid.read_text()), signal.SIGKILL)


SAMPLES = Path(__file__).parent.parent / "samples" / "trash"


def test_the_usual_trainer_learns_pictures_through_the_pipes_and_leaves_the_built_in_s_files(
    start: Start, tmp_path: Path
) -> None:
    sagemaker = start()
    classes = (SAMPLES / "classes.txt").read_text().split()
    truth = [json.loads(text) for text in (SAMPLES / "truth.jsonl").read_text().splitlines()]
    lines = []
    for sample in truth[:36]:
        key = sample["image"]
        sagemaker.aws.s3.put_object(Bucket="trash", Key=key, Body=(SAMPLES / key).read_bytes())
        lines.append({"source-ref": f"s3://trash/{key}", "label": classes.index(sample["class"])})
    sagemaker("CreateTrainingJob", **request(sagemaker, lines, shuffle_seed=7))
    job = sagemaker.wait(seconds=60)
    assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]
    metrics = {item["MetricName"]: item["Value"] for item in job["FinalMetricDataList"]}
    # Both channels hold the same pictures here: what was learned must be known.
    assert metrics["validation:accuracy"] == metrics["train:accuracy"] > 0.6
    key = "models/sorter/output/model.tar.gz"
    sagemaker.aws.s3.download_file("trash", key, str(tmp_path / "model.tar.gz"))
    learned = read_artifact(tmp_path / "model.tar.gz")
    assert learned.shape[1:] == (3, 48, 64)
    assert learned.warnings == ()


def test_the_usual_trainer_says_which_picture_is_none(start: Start) -> None:
    sagemaker = start()
    sagemaker("CreateTrainingJob", **request(sagemaker))
    job = sagemaker.wait(seconds=60)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: record 0 of the train channel: ")
    assert job["FailureReason"].endswith(", exit code: 1")
