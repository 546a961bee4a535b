"""The command line as a process: what it prints, where, and with which exit code."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.main import get_command

from gtlabel.aws import Aws
from gtlabel.cli.main import app
from gtlabel.emulator.child import Address
from gtlabel.labeling.preflight import let_browsers_in

GTLABEL = [sys.executable, "-m", "gtlabel"]
TEMPLATES = Path(__file__).parent.parent / "templates"
CLASSES = ["--classes", "Compost,Landfill,Recycle"]


def gtlabel(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*GTLABEL, *arguments], capture_output=True, text=True, cwd=cwd, timeout=120)


def refused(*arguments: str, code: int = 1) -> str:
    """The one sentence of a command that fails."""
    run = gtlabel(*arguments)
    assert run.returncode == code, run.stderr
    assert run.stdout == ""
    assert "Traceback" not in run.stderr
    assert run.stderr.startswith("gtlabel: ")
    assert run.stderr.count("\n") == 1
    return run.stderr.removeprefix("gtlabel: ").strip()


def jpeg(color: str) -> bytes:
    body = io.BytesIO()
    Image.new("RGB", (32, 24), color).save(body, "JPEG")
    return body.getvalue()


@pytest.fixture
def photos(gtlabel_aws: Aws) -> str:
    gtlabel_aws.s3.create_bucket(Bucket="photos")
    let_browsers_in(gtlabel_aws.s3, "photos")
    for color in ("red", "green", "blue"):
        gtlabel_aws.s3.put_object(Bucket="photos", Key=f"trash/{color}.jpg", Body=jpeg(color))
    return "s3://photos/trash/"


def test_help_shows_every_command_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    """Most of them in this process: sixty that start take half a minute, to say the same."""
    for line in ([], ["label"], ["jobs", "wait"], ["template"]):
        run = gtlabel(*line, "--help")
        assert (run.returncode, run.stderr) == (0, "")
        assert not line or "Example:" in run.stdout, line
    root = get_command(app)
    found = dict(_commands(root))
    assert {"label", "jobs wait", "serve worker add", "local device"} <= found.keys()
    for name in found:
        with pytest.raises(SystemExit, match="^0$"):
            root.main([*name.split(), "--help"], "gtlabel")
        assert "Example:" in capsys.readouterr().out, name
    # A word in brackets is taken for markup there, and not shown.
    helps = {name: " ".join(str(each.help) for each in command.params) for name, command in found.items()}
    assert [name for name, text in helps.items() if re.search(r"\[[a-z]", text)] == []


def _commands(group: Any) -> Iterator[tuple[str, Any]]:
    """Everything that can be typed, with what it is."""
    for name, command in group.commands.items():
        if not hasattr(command, "commands"):
            yield name, command
            continue
        if command.invoke_without_command:
            yield name, command
        yield from ((f"{name} {more}", found) for more, found in _commands(command))


def test_a_job_is_started_followed_and_stopped_by_its_name(photos: str) -> None:
    started = gtlabel("label", photos, *CLASSES, "--name", "trash-1")
    assert started.returncode == 0, started.stderr
    assert started.stdout == "trash-1\n"
    assert "gtlabel jobs wait trash-1" in started.stderr

    listed = gtlabel("jobs", "list", "--output", "json")
    assert [job["name"] for job in json.loads(listed.stdout)] == ["trash-1"]
    assert "trash-1" in gtlabel("jobs", "list").stdout

    late = gtlabel("jobs", "wait", "trash-1", "--timeout", "0.5", "--poll", "0.1")
    assert (late.returncode, late.stdout) == (5, "")
    stopping = gtlabel("jobs", "stop", "trash-1", "--output", "json")
    assert json.loads(stopping.stdout) == {"stopping": ["trash-1"]}
    stopped = gtlabel("jobs", "wait", "trash-1", "--timeout", "120", "--poll", "0.1")
    assert stopped.returncode == 4
    assert "ended as Stopped" in stopped.stderr
    shown = json.loads(gtlabel("jobs", "show", "trash-1", "--output", "json").stdout)
    assert (shown["status"], shown["counters"]["unlabeled"]) == ("Stopped", 3)


def test_a_dry_run_prints_the_request_and_sends_nothing(gtlabel_aws: Aws, photos: str) -> None:
    run = gtlabel("label", photos, *CLASSES, "--name", "trash-1", "--dry-run")
    request = json.loads(run.stdout)
    assert request["HumanTaskConfig"]["NumberOfHumanWorkersPerDataObject"] == 3
    assert request["LabelCategoryConfigS3Uri"] == "s3://photos/gtlabel/trash-1/input/classes.json"
    assert gtlabel_aws.sagemaker.list_labeling_jobs()["LabelingJobSummaryList"] == []
    assert gtlabel_aws.s3.list_objects_v2(Bucket="photos")["KeyCount"] == 3


def test_pictures_that_cannot_be_used_are_named_and_left_out(gtlabel_aws: Aws, photos: str) -> None:
    gtlabel_aws.s3.put_object(Bucket="photos", Key="trash/text.jpg", Body=b"hello")
    gtlabel_aws.s3.put_object(Bucket="photos", Key="trash/cut.jpg", Body=jpeg("red")[:-20])
    run = gtlabel("label", photos, *CLASSES, "--name", "trash-1", "--output", "json")
    result = json.loads(run.stdout)
    assert result["images"] == 3
    assert [item["uri"] for item in result["refused"]] == [
        "s3://photos/trash/cut.jpg",
        "s3://photos/trash/text.jpg",
    ]
    assert "left out: s3://photos/trash/text.jpg is neither JPEG nor PNG" in run.stderr
    assert "left out: s3://photos/trash/cut.jpg is a JPEG that is cut off" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["label", "s3://no-such-bucket/x/", *CLASSES], "the bucket 'no-such-bucket' does not exist"),
        (["label", "s3://photos/empty/", *CLASSES], "there are no .jpg, .jpeg, .png pictures under"),
        (
            ["label", "photos/trash", *CLASSES],
            "'photos/trash' is not an S3 address; write it as s3://bucket/key",
        ),
        (["label", "s3://photos/trash/", "--classes", "a,b,a"], "'a' stands in it 2 times"),
        (["label", "s3://photos/trash/", "--classes", "a"], "it has one class"),
        (["label", "s3://photos/trash/"], "no classes are named; give --classes"),
        (["label", "s3://photos/trash/", *CLASSES, "--name", "a_b"], "name (LabelingJobName): 'a_b' must be"),
        (["label", "s3://photos/trash/", *CLASSES, "--team", "nobody"], "workteam/private-crowd/nobody"),
        (["jobs", "show", "nothing"], "there is no labeling job named 'nothing'"),
        (["consolidate", "nothing", "--into", "s3://photos/d/"], "there is no labeling job named 'nothing'"),
        (
            ["train", "s3://photos/nothing/"],
            "there is no finished dataset at s3://photos/nothing/; run gtlabel consolidate",
        ),
        (["deploy", "nothing", "--to", "camera"], "there is no training job named 'nothing'"),
        (["jobs", "list", "--endpoint-url", "http://127.0.0.1:9"], "nothing answers"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_one(
    photos: str, arguments: list[str], sentence: str
) -> None:
    assert sentence in refused(*arguments)


def test_a_name_used_before_is_refused_before_anything_is_written(gtlabel_aws: Aws, photos: str) -> None:
    assert gtlabel("label", photos, *CLASSES, "--name", "trash-1").returncode == 0
    before = gtlabel_aws.s3.get_object(Bucket="photos", Key="gtlabel/trash-1/input/classes.json")[
        "Body"
    ].read()
    sentence = refused("label", photos, "--classes", "other,names", "--name", "Trash-1")
    assert sentence.startswith("a labeling job named 'Trash-1' already exists; job names are never freed")
    after = gtlabel_aws.s3.get_object(Bucket="photos", Key="gtlabel/trash-1/input/classes.json")[
        "Body"
    ].read()
    assert after == before


def test_a_job_that_still_runs_cannot_be_consolidated(photos: str) -> None:
    gtlabel("label", photos, *CLASSES, "--name", "trash-1")
    sentence = refused("consolidate", "trash-1", "--into", "s3://photos/d/")
    assert "has no output yet; wait for it with: gtlabel jobs wait trash-1" in sentence


def test_a_wrong_command_line_is_exit_code_two() -> None:
    assert gtlabel("label").returncode == 2
    assert gtlabel("nonsense").returncode == 2
    assert gtlabel("train", "s3://bucket/d/", "--set", "epochs", "--role", "r").returncode == 2


def test_a_misspelled_setting_is_named_with_those_that_exist(tmp_path: Path) -> None:
    (tmp_path / "gtlabel.toml").write_text('clases = ["a", "b"]\n')
    run = gtlabel("jobs", "list", cwd=tmp_path)
    assert run.returncode == 1
    assert run.stderr.startswith(
        "gtlabel: setting 'clases': Extra inputs are not permitted; known settings are"
    )


def test_a_port_in_use_is_said_before_anything_starts(gtlabel_server: Address) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        sentence = refused("local", "up", "--port", str(port))
    assert sentence.startswith(f"port {port} on 127.0.0.1 is in use")


def test_ctrl_c_ends_a_wait_with_its_own_exit_code(photos: str) -> None:
    gtlabel("label", photos, *CLASSES, "--name", "trash-1")
    waiting = subprocess.Popen(
        [*GTLABEL, "jobs", "wait", "trash-1", "--poll", "0.1"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    # From the moment that it asks for the job, which takes a connection, it waits.
    deadline = time.monotonic() + 60
    while not _has_a_connection(waiting.pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    waiting.send_signal(signal.SIGINT)
    _, said = waiting.communicate(timeout=120)
    assert waiting.returncode == 130
    assert said.startswith("gtlabel: interrupted")
    assert "Traceback" not in said


def _has_a_connection(pid: int) -> bool:
    with suppress(FileNotFoundError):
        return any(str(file.readlink()).startswith("socket:") for file in Path(f"/proc/{pid}/fd").iterdir())
    # Something was closed while this looked.
    return False


def test_a_manifest_that_is_no_json_fails_the_job_with_its_line_and_exit_code_three(
    gtlabel_aws: Aws, photos: str
) -> None:
    run = gtlabel("label", photos, *CLASSES, "--name", "trash-1", "--dry-run")
    request = json.loads(run.stdout)
    prefix = "gtlabel/trash-1/input/"
    objects = {
        "input.manifest": b'{"source-ref":"s3://photos/trash/red.jpg"}\nnot json\n',
        "classes.json": b'{"labels":[{"label":"a"},{"label":"b"}]}',
        "template.liquid": (TEMPLATES / "tasks" / "image-classification.liquid").read_bytes(),
    }
    for name, body in objects.items():
        gtlabel_aws.s3.put_object(Bucket="photos", Key=prefix + name, Body=body)
    gtlabel_aws.sagemaker.create_labeling_job(**request)
    waited = gtlabel("jobs", "wait", "trash-1", "--poll", "0.1", "--timeout", "120")
    assert waited.returncode == 3
    assert "ended as Failed" in waited.stderr
    assert "line 2" in waited.stderr


def test_an_output_manifest_that_was_damaged_is_refused_with_its_line(gtlabel_aws: Aws, photos: str) -> None:
    gtlabel("label", photos, *CLASSES, "--name", "trash-1")
    gtlabel("jobs", "stop", "trash-1")
    gtlabel("jobs", "wait", "trash-1", "--poll", "0.1", "--timeout", "120")
    key = "gtlabel/trash-1/manifests/output/output.manifest"
    gtlabel_aws.s3.put_object(
        Bucket="photos", Key=key, Body=b'{"source-ref":"s3://photos/trash/red.jpg"}\n{"so'
    )
    sentence = refused("consolidate", "trash-1", "--into", "s3://photos/d/")
    assert sentence.startswith(f"s3://photos/{key}, line 2: ")
    assert gtlabel_aws.s3.list_objects_v2(Bucket="photos", Prefix="d/")["KeyCount"] == 0
