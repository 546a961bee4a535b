"""How training jobs end that go wrong: in the right status, with a sentence, and with nothing left behind.

What must not be left is looked for by the fixture at the end of each test: FIFOs, processes, threads and
parts of uploads.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from programs import mounted, need
from training_parts import (
    HERE,
    MODEL_AT_ONCE,
    PRELUDE,
    SLEEPS,
    Start,
    artifact,
    asked,
    clients_that_nobody_asks_for,
    executing,
    keys,
    line,
    lives,
    request,
    started,
)

from gtlabel.emulator.blame import line_meant
from gtlabel.emulator.executor import Executor
from gtlabel.emulator.joblog import CloudLog, JobLog
from gtlabel.emulator.shelf import Shelf
from gtlabel.training.follow import LOG_GROUP


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with executing(tmp_path) as begin:
        yield begin


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


@pytest.mark.parametrize(("seed", "epoch"), [(None, 0), (7, 0), (7, 2)])
def test_a_record_that_a_program_cannot_use_is_told_by_line_and_address(
    start: Start, seed: int | None, epoch: int
) -> None:
    sagemaker = start(
        f"""
        for number in range({epoch} + 1):
            names = [record[:1] for record in epoch("train", number)[0::2]]
        bad = f"record {{2 * names.index(bytes([3]))}} of epoch {{number}} of the train channel"
        (output / "failure").write_text(f"ClientError: {{bad}}: no picture")
        sys.exit(1)
        """
    )
    lines = ["", *(line(number) for number in range(1, 9))]
    sagemaker("CreateTrainingJob", **request(sagemaker, lines, shuffle_seed=seed))
    said, _, meant = sagemaker.wait()["FailureReason"].partition(" (")
    assert said.endswith(f"of epoch {epoch} of the train channel: no picture")
    assert ("record 4 of" in said) == (seed is None)
    assert meant == "s3://trash/train.manifest, line 4: s3://trash/images/3.jpg), exit code: 1"


@pytest.mark.parametrize("seed", [None, 7])
def test_a_record_without_an_epoch_means_a_line_only_where_all_epochs_are_alike(
    start: Start, seed: int | None
) -> None:
    sagemaker = start("epoch('train', 0); sys.exit('record 4 of the train channel: what?')")
    sagemaker("CreateTrainingJob", **request(sagemaker, shuffle_seed=seed))
    assert ("train.manifest, line " in sagemaker.wait()["FailureReason"]) == (seed is None)


def test_what_a_program_said_stands_although_the_manifest_cannot_be_read_again() -> None:
    config = Config(retries={"total_max_attempts": 1})
    session = boto3.Session("testing", "testing", region_name="us-east-1")
    s3 = session.client("s3", endpoint_url="http://127.0.0.1:9", config=config)
    assert line_meant(s3, asked()["InputDataConfig"], "record 4 of the train channel") == ""


def test_a_record_that_nobody_sent_explains_nothing(start: Start) -> None:
    sagemaker = start("epoch('train', 0); sys.exit('record 99 of the train channel: what?')")
    sagemaker("CreateTrainingJob", **request(sagemaker))
    reason = sagemaker.wait()["FailureReason"]
    assert reason == "AlgorithmError: record 99 of the train channel: what?, exit code: 1"


def test_a_job_ends_whose_leavings_cannot_be_removed(start: Start, tmp_path: Path) -> None:
    sagemaker = start(
        MODEL_AT_ONCE,
        # A folder where a file was is what even root cannot unlink.
        """
        mark = base.parent / "pid"
        while not mark.exists():
            time.sleep(0.01)
        mark.unlink()
        mark.mkdir()
        """,
    )
    sagemaker("CreateTrainingJob", **request(sagemaker))
    assert sagemaker.wait()["TrainingJobStatus"] == "Completed"
    kept = tmp_path / "jobs/123456789012/us-east-1/sorter"
    assert (kept / "pid").is_dir()
    assert not (kept / "ml/model").exists()


def test_closing_ends_the_programs_and_their_jobs(start: Start, tmp_path: Path) -> None:
    sagemaker = start(f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))", SLEEPS)
    sagemaker("CreateTrainingJob", **request(sagemaker))
    sagemaker.wait(until=started)
    before = time.monotonic()
    sagemaker.executor.close()
    # Before the job ends by itself.
    assert time.monotonic() - before < 60
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
        "import subprocess\n"
        "fled = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        "part.write_text(f'{os.getpid()} {fled.pid}')\n"
        "part.rename(part.with_suffix(''))\n"
        "time.sleep(60)\n"
    )
    (tmp_path / "emulator.py").write_text(EMULATOR_THAT_DIES)
    died = subprocess.run([sys.executable, str(tmp_path / "emulator.py"), str(tmp_path)], check=False)
    assert died.returncode == -signal.SIGKILL
    pids = [int(pid) for pid in (tmp_path / "pid").read_text().split()]
    assert all(lives(pid) for pid in pids)

    executor = Executor(clients_that_nobody_asks_for, tmp_path / "jobs", Shelf(tmp_path / "shelf"))
    assert executor.recover() == ["sorter"]

    record = executor.record(HERE, "sorter").read()
    assert record is not None
    assert record["status"] == "Failed"
    assert "the emulator ended while the job was running" in record["reason"]
    limit = time.monotonic() + 60
    while any(lives(pid) for pid in pids) and time.monotonic() < limit:
        time.sleep(0.02)
    assert not any(lives(pid) for pid in pids)
    assert executor.recover() == []


def test_a_job_takes_with_it_what_fled_from_its_program(start: Start, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    sagemaker = start(
        f"""
        import subprocess
        fled = subprocess.Popen(["sleep", "30"], start_new_session=True)
        pathlib.Path({str(pid)!r}).write_text(str(fled.pid))
        """,
        MODEL_AT_ONCE,
    )
    sagemaker("CreateTrainingJob", **request(sagemaker))
    assert sagemaker.wait()["TrainingJobStatus"] == "Completed"
    assert not lives(int(pid.read_text()))


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        (
            "print('thinking', flush=True); os.kill(os.getpid(), signal.SIGSEGV)",
            "AlgorithmError: the program was ended by SIGSEGV; the last it printed was: thinking, "
            "exit code: 139",
        ),
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            "AlgorithmError: the program was ended by SIGKILL, as the system does when memory runs out, "
            "exit code: 137",
        ),
        ("sys.exit(7)", "AlgorithmError: the program gave no reason, exit code: 7"),
        (
            "sys.stdout.buffer.write(b'\\x00\\x1b[31m\\xff' * 2 + b'end'); sys.exit(2)",
            "AlgorithmError: \ufffd\ufffd[31m\ufffd\ufffd\ufffd[31m\ufffdend, exit code: 2",
        ),
    ],
    ids=["a crash", "out of memory", "no word", "binary"],
)
def test_a_program_that_ends_without_a_word_of_its_own_is_described(
    start: Start, program: str, sentence: str
) -> None:
    sagemaker = start(program)
    sagemaker("CreateTrainingJob", **request(sagemaker))
    assert sagemaker.wait()["FailureReason"] == sentence


def test_a_program_that_is_not_there_fails_the_job(start: Start, tmp_path: Path) -> None:
    sagemaker = start(MODEL_AT_ONCE, trainers={"image-classification": [str(tmp_path / "nowhere"), "-v"]})
    sagemaker("CreateTrainingJob", **request(sagemaker))
    reason = sagemaker.wait()["FailureReason"]
    assert reason.startswith(f"AlgorithmError: {tmp_path}/nowhere -v cannot be started: ")
    assert reason.endswith("see --trainer of: gtlabel local up")


@pytest.mark.parametrize(
    "program",
    [
        "import shutil; shutil.rmtree(data)",
        "for fifo in data.iterdir():\n    fifo.unlink()",
        "os.close(1); os.close(2)",
        "epoch('train', 0)[0]; (data / 'train_1').unlink(); epoch('validation', 0)",
    ],
    ids=["its data", "its FIFOs", "its output", "a FIFO that it never opens"],
)
def test_a_program_may_put_away_what_it_does_not_need(start: Start, program: str) -> None:
    sagemaker = start(program, MODEL_AT_ONCE)
    sagemaker("CreateTrainingJob", **request(sagemaker))
    job = sagemaker.wait()
    assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]


def test_a_program_that_prints_for_ever_is_read_to_its_end(start: Start, tmp_path: Path) -> None:
    sagemaker = start(
        """
        for number in range(12_000):
            print(f"step {number} " + "x" * 100)
        sys.stdout.buffer.write(bytes(range(256)) * 2000)
        """,
        MODEL_AT_ONCE,
    )
    sagemaker("CreateTrainingJob", **request(sagemaker))
    assert sagemaker.wait()["TrainingJobStatus"] == "Completed"
    kept = (tmp_path / "jobs/123456789012/us-east-1/sorter/log.txt").read_bytes()
    assert kept.count(b"\nstep ") == 11_999
    assert kept.endswith(bytes(range(256)))
    pages = sagemaker.aws.logs.get_paginator("filter_log_events").paginate(logGroupName=LOG_GROUP)
    steps = [
        event["message"].split()[1]
        for page in pages
        for event in page["events"]
        if "step" in event["message"]
    ]
    assert steps == [str(number) for number in range(12_000)]


def test_a_log_that_never_ends_is_cut_in_cloudwatch_and_not_in_its_file(start: Start, tmp_path: Path) -> None:
    logs = start().aws.logs
    reading, writing = os.pipe()
    cloud = CloudLog(logs, "sorter/algo-1-1", most=1 << 10)
    log = JobLog(os.fdopen(reading, "rb"), tmp_path / "log.txt", cloud, lambda: datetime.now(UTC))
    os.write(writing, b"".join(b"%d %s\n" % (number, b"x" * 100) for number in range(100)))
    os.close(writing)
    log.close()
    events = logs.get_log_events(logGroupName=LOG_GROUP, logStreamName="sorter/algo-1-1")["events"]
    assert [event["message"].split()[0] for event in events[:-1]] == [str(n) for n in range(len(events) - 1)]
    assert sum(len(event["message"]) for event in events) < 2 << 10
    assert "the rest is in its file only" in events[-1]["message"]
    assert (tmp_path / "log.txt").read_bytes().count(b"\n") == 100


def test_an_artifact_that_cannot_be_read_to_its_end_does_not_appear(start: Start) -> None:
    # A file of the kernel says that it has 4,096 bytes, and has six. The first file is large enough for an
    # upload in parts, which has begun by then.
    need(Path("/sys/class/net/lo/mtu").is_file(), "needs Linux: a file there is shorter than it says")
    sagemaker = start(
        """
        (model / "a").write_bytes(os.urandom(9 << 20))
        (model / "b").symlink_to("/sys/class/net/lo/mtu")
        """
    )
    sagemaker("CreateTrainingJob", **request(sagemaker))
    job = sagemaker.wait()
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"] == "ClientError: b became shorter while it was packed"
    assert keys(sagemaker, "models/") == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    with mounted(tmp_path / "disk", 2) as place:
        yield place


def test_a_full_disk_fails_the_job_by_the_program_s_word_and_is_empty_again(
    small_disk: Path,
) -> None:
    with executing(small_disk) as start:
        sagemaker = start("print('saving'); (model / 'weights').write_bytes(bytes(3 << 20))")
        sagemaker("CreateTrainingJob", **request(sagemaker))
        job = sagemaker.wait()
        assert job["TrainingJobStatus"] == "Failed"
        assert job["FailureReason"] == (
            "AlgorithmError: OSError: [Errno 28] No space left on device, exit code: 1"
        )
        assert keys(sagemaker, "models/") == []
        used = os.statvfs(small_disk)
        assert (used.f_blocks - used.f_bfree) * used.f_frsize < 1 << 17


def test_a_model_that_fills_the_disk_is_sent_without_room_for_its_archive(small_disk: Path) -> None:
    noise = random.Random(7).randbytes(1 << 20)
    # The records of jobs are on that disk as well, and cannot be written meanwhile.
    with closing(Shelf(small_disk / "shelf.sqlite")) as shelf, executing(small_disk, shelf) as start:
        sagemaker = start(
            """
            import random
            (model / "weights").write_bytes(random.Random(7).randbytes(1 << 20))
            try:
                (base / "filler").write_bytes(bytes(3 << 20))
            except OSError:
                print("Epoch[0] Train-accuracy=0.5: the disk is full", flush=True)
                time.sleep(0.2)
            print("and the log goes on " * 5000, flush=True)
            """
        )
        sagemaker("CreateTrainingJob", **request(sagemaker))
        job = sagemaker.wait()
        assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]
        assert artifact(sagemaker)["weights"] == noise
        assert not (small_disk / "jobs/123456789012/us-east-1/sorter/ml/filler").exists()


def test_what_is_downloaded_onto_a_full_disk_fails_the_job(small_disk: Path) -> None:
    with executing(small_disk) as start:
        sagemaker = start(MODEL_AT_ONCE)
        sagemaker.aws.s3.put_object(Bucket="trash", Key="large/1", Body=bytes(3 << 20))
        whole = request(sagemaker)
        for channel in whole["InputDataConfig"]:
            channel.update(InputMode="File", RecordWrapperType="None")
            source = channel["DataSource"]["S3DataSource"]
            del source["AttributeNames"]
            source.update(S3DataType="S3Prefix", S3Uri="s3://trash/large/")
        sagemaker("CreateTrainingJob", **whole)
        reason = sagemaker.wait()["FailureReason"]
        assert reason.startswith("InternalServerError: [Errno 28] No space left on device")
