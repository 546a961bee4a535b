"""`gtlabel train` as people use it: started, followed live, explained, stopped, and read by others too."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import boto3
import pytest
from PIL import Image
from programs import ending
from typer.main import get_command

import gtlabel
from gtlabel.aws import Aws
from gtlabel.cli.train import app
from gtlabel.emulator.actors import Served
from gtlabel.emulator.child import running
from gtlabel.emulator.spot import Spot
from gtlabel.errors import SettingsError, TrainingEndedError, TrainingError, TrainingJobNameTakenError
from gtlabel.storage import write, write_lines
from gtlabel.training.cost import ceiling, cost_of, hourly_price, in_words
from gtlabel.training.follow import LogLine, follow_training_job
from gtlabel.training.jobs import TrainingJob
from gtlabel.uris import S3Uri

BIN = Path(sys.executable).parent
DATASET = "s3://trash-photos/bins/"
BINS = ("Compost", "Landfill")

# A program that knows SageMaker's contract and nothing of ours; what it does, the job's environment says.
TRAINER = """
import os, pathlib, signal, sys, time
model = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"]) / "model"
failure = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"]) / "output/failure"
def epoch(number, train, validation):
    print(f"Epoch[{number}] Batch [20]\\tSpeed: 155.4 samples/sec\\taccuracy=0.5")
    print(f"Epoch[{number}] Train-accuracy={train}")
    print(f"Epoch[{number}] Time cost=0.5")
    print(f"Epoch[{number}] Validation-accuracy={validation}", flush=True)
exec(os.environ["WHAT"])
"""
LEARNS = "[epoch(n, 0.5 + n / 10, 0.5) for n in range(3)]; (model / 'weights').write_text('1')"
LASTS = "epoch(0, 0.25, 0.5); epoch(1, 0.5, 0.5); time.sleep(60)"
FAILS = (
    "print('ClientError: Got empty batch from pipe.', flush=True); "
    r"failure.write_text('ClientError: \x1b[2JInvalid lst file in the train channel'); sys.exit(1)"
)
INTERRUPTED = """
mark = model.parent / "checkpoints/seen"
if mark.exists():
    epoch(1, 0.5, 0.75)
    (model / "weights").write_text("1")
else:
    mark.write_text("1")
    epoch(0, 0.25, 0.5)
    time.sleep(60)
"""
STEERS = r"print('\x1b[2J[red]\ttabs, \u00e4'); (model / 'weights').write_text('1')"


NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

# A job's name, and the command that started it.
Followed = tuple[str, subprocess.CompletedProcess[str]]


@dataclass
class Account:
    """An emulator whose training image runs the program above, with a dataset in it."""

    environ: Mapping[str, str]
    aws: Aws
    names: Iterator[int] = field(default_factory=lambda: iter(range(1, 1000)))

    def gtlabel(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gtlabel", *arguments],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=120,
            **options,
        )

    def train(self, what: str, *options: str) -> tuple[str, subprocess.CompletedProcess[str]]:
        name = f"sorter-{next(self.names)}"
        return name, self.gtlabel(
            "train", DATASET, "--name", name, "--env", f"WHAT={what}", "--poll", "0.1", *options
        )

    def until(self, name: str, status: str, metric: str | None = None) -> dict[str, Any]:
        """Wait for a job to come to a secondary status, and to have measured something."""
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            job: Any = self.aws.sagemaker.describe_training_job(TrainingJobName=name)
            if job["SecondaryStatus"] == status and (metric is None or job.get("FinalMetricDataList")):
                return dict(job)
            time.sleep(0.05)
        raise AssertionError(f"{name} is {job['SecondaryStatus']}")


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    program = tmp_path_factory.mktemp("trainer") / "trainer.py"
    program.write_text(TRAINER)
    with running(trainers={"image-classification": [sys.executable, str(program)]}) as address:
        aws = Aws(boto3.Session("testing", "testing", region_name="us-east-1"), address.url)
        aws.s3.create_bucket(Bucket="trash-photos")
        _put_dataset(aws)
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "GTLABEL_"))
        }
        yield Account({**clean, **address.environ, "COLUMNS": "80", "LC_ALL": "C.UTF-8"}, aws)


def _put_dataset(aws: Aws) -> None:
    lines = []
    for number in range(16):
        body = BytesIO()
        Image.new("RGB", (224, 224), (number * 9, 90, 90)).save(body, "JPEG")
        uri = S3Uri(f"s3://trash-photos/images/{number}.jpg")
        write(aws.s3, uri, body.getvalue())
        said = {"class-name": BINS[number % 2], "type": "groundtruth/image-classification"}
        said |= {"human-annotated": "yes", "creation-date": "2026-11-22T10:11:12.345678"}
        metadata = {**said, "job-name": "labeling-job/bins", "confidence": 0.95}
        lines.append(json.dumps({"source-ref": uri, "bin": number % 2, "bin-metadata": metadata}).encode())
    manifest = S3Uri("s3://trash-photos/bins.manifest")
    write_lines(aws.s3, manifest, lines)
    gtlabel.consolidate_jobs(aws, [manifest], S3Uri(DATASET), attribute="bin")


@pytest.fixture(scope="module")
def learned(account: Account) -> Followed:
    """A job that was followed to its good end, and what was to be seen."""
    return account.train(LEARNS, "--wait")


class Look:
    """Runs `gtlabel train ...` in this process, where it takes less long, and gives what stands on stdout.

    Attributes:
        said: what the last one said on stderr.
    """

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.said = ""
        self._capsys = capsys

    def __call__(self, *words: str) -> str:
        self._capsys.readouterr()
        _command().main([*words], "gtlabel train", standalone_mode=False)
        seen = self._capsys.readouterr()
        self.said = seen.err
        return seen.out


@pytest.fixture
def look(account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Look:
    """Commands in this process, on the account."""
    for name, value in account.environ.items():
        monkeypatch.setenv(name, value)
    return Look(capsys)


@cache
def _command() -> Any:
    return get_command(app)


def fields(text: str) -> dict[str, str]:
    """The lines of a name and a value that a command prints."""
    found = (re.split(r"  +", line, maxsplit=1) for line in text.splitlines())
    return {line[0]: line[1] for line in found if len(line) == 2}


# `gtlabel train --wait`.


def test_lines_steps_and_the_curve_pass_on_stderr_and_the_result_stands_on_stdout(learned: Followed) -> None:
    name, run = learned
    assert run.returncode == 0, run.stderr
    shown = fields(run.stdout)
    assert shown["status"] == "Completed"
    assert shown["artifact"] == f"{DATASET}models/{name}/output/model.tar.gz"
    assert (shown["train:accuracy"], shown["best validation"]) == ("0.7", "50.0%, in epoch 0")
    assert re.fullmatch(r"(less than )?\$0\.0\d for \d+ seconds", shown["cost"])
    said = run.stderr.splitlines()
    # Before anything can go wrong: the name is all that stops what is paid for.
    assert f"started {name}" in said[:2]
    assert said.index(f"{name}: Completed") > said.index("Epoch[2] Validation-accuracy=0.5")
    assert "Epoch[0] Batch [20]     Speed: 155.4 samples/sec        accuracy=0.5" in said
    # A file is no terminal: nothing is drawn that it could not hold.
    assert "     +------" in said
    assert said[-1] == "      epochs 0 to 2   . train 70.0%   * validation 50.0%"
    assert run.stderr.isascii()


def test_the_aws_command_line_reads_the_same_lines(account: Account, learned: Followed, look: Look) -> None:
    name, _ = learned
    group = "/aws/sagemaker/TrainingJobs"
    found = account.aws.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")
    (stream,) = [each["logStreamName"] for each in found["logStreams"]]
    words = ["logs", "get-log-events", "--log-group-name", group, "--log-stream-name", stream]
    run = subprocess.run(
        [BIN / "aws", *words, "--start-from-head", "--output", "json"],
        env=account.environ,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    theirs = [event["message"].replace("#011", "\t") for event in json.loads(run.stdout)["events"]]
    assert len(theirs) == 12
    ours = [json.loads(line) for line in look("logs", name, "--output", "json").splitlines()]
    assert [line["text"] for line in ours] == theirs
    assert {line["host"] for line in ours} == {"algo-1"}


def test_a_job_that_has_ended_is_followed_from_its_first_line(learned: Followed, look: Look) -> None:
    name, _ = learned
    assert look("logs", name, "--follow", "--poll", "0.01") == look("logs", name) != ""


def test_a_failure_is_explained_and_has_its_own_exit_code(account: Account, look: Look) -> None:
    name, run = account.train(FAILS, "--wait", "--output", "json")
    assert run.returncode == 3
    reason = "ClientError: \\x1b[2JInvalid lst file in the train channel, exit code: 1"
    found = json.loads(run.stdout)
    assert (found["status"], found["artifact"], found["curve"]) == ("Failed", None, [])
    cause, complaint = found["explained"]
    assert "name source-ref first and the label attribute as the lines spell it" in complaint
    # What ended it stands last, and nothing stands there twice.
    ended = f"gtlabel: the training job '{name}' ended as Failed: {reason}; what that means: {cause}\n"
    assert run.stderr.endswith(ended)
    assert run.stderr.count(f"what that means: {complaint}\n") == run.stderr.count(cause) == 1
    shown = look("show", name)
    assert fields(shown)["failure reason"] == reason
    assert f"what that means: {cause}\nwhat that means: {complaint}\n" in shown


def test_a_program_s_lines_cannot_steer_the_terminal(account: Account, look: Look) -> None:
    name = f"sorter-{next(account.names)}"
    assert look(DATASET, "--name", name, "--env", f"WHAT={STEERS}") == f"{name}\n"
    account.until(name, "Completed")
    assert look("logs", name) == "\\x1b[2J[red]    tabs, ä\n"


def test_a_job_whose_spot_machine_was_taken_away_is_followed_to_the_next_one(
    account: Account, look: Look
) -> None:
    name = f"sorter-{next(account.names)}"
    look(DATASET, "--name", name, "--spot", "--env", f"WHAT={INTERRUPTED}")
    lines: list[LogLine] = []
    steps: list[str] = []

    def hear(line: LogLine) -> None:
        lines.append(line)
        if line.text == "Epoch[0] Validation-accuracy=0.5":
            Spot(lambda: Served(account.environ["AWS_ENDPOINT_URL"])).interrupt(name, seconds=2)

    follow_training_job(
        account.aws.sagemaker,
        account.aws.logs,
        name,
        on_line=hear,
        on_change=lambda job: steps.append(job.secondary_status),
        poll=0.05,
        timeout=120,
    )
    assert [line.text[:8] for line in lines] == ["Epoch[0]"] * 4 + ["Epoch[1]"] * 4
    assert [step for step in steps if step in ("Interrupted", "Completed")] == [
        "Interrupted",
        "Completed",
    ]
    shown = json.loads(look("show", name, "--output", "json"))
    assert (shown["spot"], [point["validation"] for point in shown["curve"]]) == (True, [0.5, 0.75])


def test_who_has_seen_enough_leaves_the_job_running_and_knows_how_to_stop_it(
    account: Account, look: Look
) -> None:
    name = f"sorter-{next(account.names)}"
    words = ["train", DATASET, "--name", name, "--env", f"WHAT={LASTS}", "--wait", "--poll", "0.1"]
    seen, code = _in_a_terminal(account, words, leave_at=f"{name}: Training   0:".encode())
    assert code == 130
    assert "● validation 50.0%" in seen
    assert "at most $0.74" in seen
    assert f"stop it: gtlabel train stop {name}" in " ".join(seen.split())
    assert account.until(name, "Training")["TrainingJobStatus"] == "InProgress"

    with pytest.raises(TrainingEndedError, match="it goes on") as late:
        look("logs", name, "--follow", "--timeout", "0.1", "--poll", "0.05")
    assert late.value.timed_out
    result = json.loads(look("stop", name, "--wait", "--poll", "0.1", "--output", "json"))
    assert (result["status"], [point["train"] for point in result["curve"]]) == ("Stopped", [0.25, 0.5])
    with pytest.raises(TrainingError, match="has already ended as Stopped"):
        look("stop", name)


def _in_a_terminal(account: Account, words: list[str], leave_at: bytes) -> tuple[str, int]:
    """Run a command in a terminal of 100 columns and press Ctrl-C when it shows something."""
    screen, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    environ = {name: value for name, value in account.environ.items() if name != "COLUMNS"}
    command = [sys.executable, "-m", "gtlabel", *words]
    process = subprocess.Popen(
        command, stdin=end, stdout=end, stderr=end, env={**environ, "TERM": "xterm"}, start_new_session=True
    )
    with ending(process):
        os.close(end)
        seen, left, limit = b"", False, time.monotonic() + 60
        while time.monotonic() < limit:
            if not select.select([screen], [], [], 0.2)[0]:
                continue
            try:
                seen += os.read(screen, 1 << 16)
            except OSError:
                # That is how a terminal says that nobody writes to it any more.
                break
            if leave_at in seen and "● validation".encode() in seen and not left:
                left = True
                process.send_signal(signal.SIGINT)
        code = process.wait(60)
    os.close(screen)
    return seen.decode(), code


# `gtlabel train list`, `show` and `failures`.


def test_a_job_is_shown_with_its_steps_its_cost_and_what_it_learned_from(
    learned: Followed, look: Look
) -> None:
    name, _ = learned
    shown = look("show", name, "--hourly-price", "3600")
    assert fields(shown)["machines"] == "1 x ml.g4dn.xlarge"
    assert fields(shown)["train channel"] == f"{DATASET}train.manifest"
    assert fields(shown)["tag gtlabel:dataset"] == DATASET
    assert re.fullmatch(r"\$(\d+)\.00 for \1 seconds", fields(shown)["cost"])
    steps = re.findall(r"^([A-Z]\w+) +\d{4}-\d\d-\d\dT", shown, re.MULTILINE)
    assert steps == ["Starting", "Training", "Uploading", "Completed"]
    assert shown.endswith("epochs 0 to 2   . train 70.0%   * validation 50.0%\n")
    found = json.loads(look("show", name, "--output", "json"))
    assert found["curve"][1] == {"epoch": 1, "train": 0.6, "validation": 0.5, "seconds": 0.5}
    assert found["tags"]["gtlabel:dataset"] == DATASET
    paid = 0.7364 * found["billable_seconds"] / 3600
    assert found["cost"]["so_far"] == found["cost"]["at_most"] == pytest.approx(paid, abs=1e-4)


def test_jobs_are_listed_by_what_is_asked_for(learned: Followed, look: Look) -> None:
    name, _ = learned
    words = ["list", "--name-contains", name, "--since", "2026-01-01", "--sort", "name"]
    found = {job["name"]: job["status"] for job in json.loads(look(*words, "--output", "json"))}
    assert found[name] == "Completed"
    assert look(*words, "--limit", "1").splitlines()[0].split() == ["name", "status", "created", "ended"]
    assert look("list", "--until", "2026-01-01") == ""
    with pytest.raises(TrainingError, match="their statuses are InProgress, Completed, Failed"):
        look("list", "--status", "Done")


def test_failures_are_a_table_and_each_is_explained(look: Look) -> None:
    rows = json.loads(look("failures", "--output", "json"))
    assert [row["number"] for row in rows] == list(range(1, 24))
    told = look("failures", f"AlgorithmError: {rows[4]['message']}")
    assert told.startswith(f"{rows[4]['cause']}; {rows[4]['remedy']}\n")
    with pytest.raises(TrainingError, match="knows nothing about that message"):
        look("failures", "the dog ate it")


# `gtlabel train DATASET`.


def test_a_dry_run_says_what_it_would_cost_and_sends_nothing(
    account: Account, learned: Followed, look: Look
) -> None:
    words = ["--spot", "--max-runtime", "7200", "--tag", "team=bins", "--seed", "0", "--dry-run"]
    words += ["--set", "epochs=3", "--instance-type", "ml.g5.2xlarge", "--env", "WHAT=pass"]
    request = json.loads(look(DATASET, "--name", "planned", *words))
    assert request["EnableManagedSpotTraining"] is True
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 7200, "MaxWaitTimeInSeconds": 14400}
    assert {"Key": "team", "Value": "bins"} in request["Tags"]
    assert request["InputDataConfig"][0]["ShuffleConfig"] == {"Seed": 0}
    assert request["Environment"] == {"WHAT": "pass"}
    assert request["HyperParameters"]["epochs"] == "3"
    assert "it would cost at most $3.03: $1.515 an hour for ml.g5.2xlarge in us-east-1" in look.said
    with pytest.raises(account.aws.sagemaker.exceptions.ClientError, match="not found"):
        account.aws.sagemaker.describe_training_job(TrainingJobName="planned")
    with pytest.raises(TrainingJobNameTakenError, match="pick another with --name"):
        look(DATASET, "--name", learned[0], "--dry-run")


def test_help_shows_what_a_start_takes_and_the_other_commands(look: Look) -> None:
    shown = look("--help")
    assert "| COMMAND [ARGS]..." in shown
    assert "--spot" in shown
    assert "failures" in shown
    assert "Example: gtlabel train" in shown
    assert look("start", "--help").count("--spot") == shown.count("--spot")


class TestCost:
    """`gtlabel.training.cost`."""

    def job(self, **changes: Any) -> TrainingJob:
        fields: dict[str, Any] = {
            "name": "sorter",
            "arn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/sorter",
            "status": "InProgress",
            "secondary_status": "Training",
            "failure_reason": "",
            "artifact": None,
            "metrics": {},
            "hyperparameters": {},
            "channels": {},
            "created": NOON,
            "ended": None,
            "started": NOON,
            "instance_type": "ml.g4dn.xlarge",
            "max_runtime": 3600,
            **changes,
        }
        return TrainingJob(**fields)

    def test_a_running_job_is_paid_for_until_now_and_never_beyond_its_limit(self) -> None:
        price = hourly_price("ml.g4dn.xlarge", "us-east-1", "2")
        found = cost_of(self.job(instance_count=2), NOON + timedelta(minutes=15), price)
        assert (found.so_far, found.at_most, found.seconds) == (Decimal(1), Decimal(4), 1800)
        waiting = cost_of(self.job(started=None), NOON + timedelta(minutes=15), price)
        assert (waiting.so_far, waiting.at_most) == (Decimal(0), Decimal(2))
        kept = cost_of(self.job(keep_alive=1800), NOON, price)
        assert kept.at_most == Decimal(3)

    def test_what_spot_capacity_saved_is_known_at_the_end(self) -> None:
        price = hourly_price("ml.g4dn.xlarge", "us-east-1", "3.6")
        hour = NOON + timedelta(hours=1)
        done = self.job(ended=hour, spot=True, training_seconds=500, billable_seconds=100)
        found = cost_of(done, hour, price)
        assert (found.so_far, found.at_most, found.saved) == (Decimal("0.1"), Decimal("0.1"), 0.8)
        running = cost_of(self.job(spot=True), NOON, price)
        assert running.saved is None
        assert "spot capacity costs less" in running.assumptions[-1]

    @pytest.mark.parametrize(
        ("machine", "region"), [("ml.g4dn.xlarge", "eu-west-1"), ("ml.p9.large", "us-east-1"), ("", "x")]
    )
    def test_a_price_that_is_not_in_the_table_is_not_guessed(self, machine: str, region: str) -> None:
        price = hourly_price(machine, region)
        found = cost_of(self.job(), NOON, price)
        assert (price.dollars, found.so_far, found.at_most, ceiling(price)) == (None, None, None, None)
        assert "is not known here; give its price with --hourly-price" in found.assumptions[0]
        assert found.to_json()["at_most"] is None

    @pytest.mark.parametrize("given", ["cheap", "-1", "NaN", "Infinity", ""])
    def test_a_price_that_is_none_is_refused(self, given: str) -> None:
        with pytest.raises(SettingsError, match="give a price in US dollars"):
            hourly_price("ml.g4dn.xlarge", "us-east-1", given)

    def test_the_table_tells_its_day_its_source_and_its_regions(self) -> None:
        price = hourly_price("ml.g4dn.xlarge", "us-east-1")
        assert price.dollars == Decimal("0.7364")
        assert "in us-east-1, as of 2026-11-22, from public tables of AWS's list prices" in price.source
        assert ceiling(price, instance_count=2, max_runtime=1800) == Decimal("0.7364")
        assert [in_words(amount) for amount in (None, Decimal(0), Decimal("0.001"), Decimal(1234))] == [
            "unknown",
            "$0.00",
            "less than $0.01",
            "$1,234.00",
        ]
