"""The README is a promise: its commands run, its outputs are what they print, its code works."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from readme_parts import README, blocks, section, without_numbers
from typer.main import get_command

from gtlabel.aws import Aws
from gtlabel.cli.main import app
from gtlabel.settings import Project

CHECKOUT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


def test_the_first_screen_has_two_commands_of_one_line() -> None:
    commands = blocks(section("Two commands"), "sh")
    assert len(commands) == 2
    assert all("\n" not in command for command in commands)
    assert README.index("## Two commands") < 1_500


@pytest.mark.slow
def test_the_steps_run_one_after_the_other_as_printed(tmp_path: Path) -> None:
    (tmp_path / "samples").symlink_to(CHECKOUT / "samples")
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "GTLABEL_"))
    }
    script = "\n".join(["set -eu", *blocks(section("Step by step"), "sh")])
    run = subprocess.run(
        ["sh", "-c", script],
        cwd=tmp_path,
        env={**inherited, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert '"HumanLabeled"' in run.stdout
    held_out = len(list((CHECKOUT / "samples" / "trash" / "held-out").iterdir()))
    answers = (tmp_path / "predictions.jsonl").read_text().splitlines()
    assert sum('"image"' in line for line in answers) == held_out


@pytest.mark.slow
def test_better_labels_for_fewer_answers_come_as_printed(tmp_path: Path) -> None:
    (tmp_path / "samples").symlink_to(CHECKOUT / "samples")
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "GTLABEL_"))
    }
    text = section("Better labels for fewer answers")
    plan, thrifty, again = blocks(text, "sh")
    (shown,) = blocks(text, "text")

    def run(script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-euc", script],
            cwd=tmp_path,
            env={**inherited, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=280,
        )

    planned = run(plan)
    assert planned.returncode == 0, planned.stderr
    assert (tmp_path / "plan.html").stat().st_size > 10_000
    saving = run(thrifty)
    assert saving.returncode == 0, saving.stdout + saving.stderr
    promised = re.search(r"`(thrifty: .*?)`", text, re.DOTALL)
    assert promised is not None
    told = next(line for line in saving.stderr.splitlines() if line.startswith("thrifty: "))
    assert without_numbers(told) == without_numbers(promised[1])
    assert (tmp_path / "quality.html").is_file()
    anew = run(again)
    assert without_numbers(anew.stdout) == without_numbers(shown), anew.stderr


def test_a_program_is_tried_as_printed(tmp_path: Path) -> None:
    (command,) = blocks(section("Training"), "sh")
    (shown,) = blocks(section("Training"), "text")
    (tmp_path / "samples").symlink_to(CHECKOUT / "samples")
    path = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    run = subprocess.run(
        ["sh", "-ec", command], cwd=tmp_path, env={**os.environ, **path}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert without_numbers(run.stdout) == without_numbers(shown)


@pytest.mark.slow
def test_a_ground_truth_of_ones_own_runs_as_printed(tmp_path: Path, gtlabel_aws: Aws) -> None:
    serve, people, customer = blocks(section("A Ground Truth of your own"), "sh")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    people = people.replace("5001", port)
    gtlabel_aws.s3.create_bucket(Bucket="trash-sorter")
    truth = (CHECKOUT / "samples/trash/truth.jsonl").read_text().splitlines()[:6]
    for record in map(json.loads, truth):
        body = (CHECKOUT / "samples/trash" / record["image"]).read_bytes()
        gtlabel_aws.s3.put_object(Bucket="trash-sorter", Key=record["source-ref"].split("/", 3)[3], Body=body)
    (tmp_path / "samples").symlink_to(CHECKOUT / "samples")
    clean = {name: value for name, value in os.environ.items() if name != "AWS_ENDPOINT_URL"}
    s3 = os.environ["AWS_ENDPOINT_URL"]
    environ = {**clean, "AWS_ENDPOINT_URL_S3": s3, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}

    def start(command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["sh", "-ec", f"exec {command}"], cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True
        )

    with start(f"{serve} --port {port}") as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline().strip() == f"http://127.0.0.1:{port}"
            run = subprocess.run(
                ["sh", "-ec", people], cwd=tmp_path, env=environ, capture_output=True, text=True
            )
            assert run.returncode == 0, run.stderr
            assert f"http://127.0.0.1:{port}/join/" in run.stdout
            assert '"LabelingJobSummaryList": []' in run.stdout
            environ["AWS_ENDPOINT_URL_SAGEMAKER"] = f"http://127.0.0.1:{port}"
            with start(f"{customer} --poll 0.2") as job:
                answer = f"gtlabel local answer bins --url http://127.0.0.1:{port} --token-file ana.token"
                deadline = time.monotonic() + 60
                while job.poll() is None and time.monotonic() < deadline:
                    words = [*answer.split(), "--workers", "1", "--truth", "samples/trash/truth.jsonl"]
                    subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, timeout=120)
                assert job.stdout is not None
                labels = [json.loads(line) for line in job.stdout]
            assert job.returncode == 0
        finally:
            server.terminate()
    assert [source for source, _, _ in labels] == [json.loads(line)["source-ref"] for line in truth]
    assert {name for _, name, _ in labels} <= {"Compost", "Landfill", "Recycle"}


def test_the_library_example_starts_a_job(gtlabel_aws: Aws) -> None:
    gtlabel_aws.s3.create_bucket(Bucket="my-bucket")
    picture = next((CHECKOUT / "samples" / "trash" / "images").iterdir())
    gtlabel_aws.s3.put_object(Bucket="my-bucket", Key="trash/1.jpg", Body=picture.read_bytes())
    members = gtlabel_aws.sagemaker.describe_workteam(WorkteamName="gtlabel")["Workteam"]["MemberDefinitions"]
    gtlabel_aws.sagemaker.create_workteam(
        WorkteamName="my-team", Description="people", MemberDefinitions=members
    )
    example, answers = blocks(section("As a library"), "python")
    said = subprocess.run([sys.executable, "-c", answers], capture_output=True, text=True, check=True)
    assert [line.split()[:2] for line in said.stdout.splitlines()] == [
        ["1.jpg", "Compost"],
        ["2.jpg", "Recycle"],
    ]
    run = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "'LabelingJobName': 'trash-" in run.stdout
    jobs = gtlabel_aws.sagemaker.list_labeling_jobs()["LabelingJobSummaryList"]
    assert [job["WorkteamArn"].rpartition("/")[2] for job in jobs] == ["my-team"]


def test_the_test_example_passes_and_can_fail(tmp_path: Path) -> None:
    (example,) = blocks(section("In your tests"), "python")
    pipeline = textwrap.dedent(
        """
        import gtlabel, pathlib
        PICTURE = next(pathlib.Path({folder!r}).iterdir()).read_bytes()
        def my_pipeline(prefix):
            aws = gtlabel.Aws()
            aws.s3.put_object(Bucket="photos", Key="new/1.jpg", Body=PICTURE)
            plan = gtlabel.plan_labeling(
                aws, gtlabel.S3Uri(prefix), ["a", "b"], team="gtlabel", role="gtlabel"
            )
            {last}
            return plan.request.name
        """
    )
    folder = str(CHECKOUT / "samples" / "trash" / "images")
    endings = {"passes": "gtlabel.start_labeling(aws, plan)", "can_fail": "pass"}
    for name, last in endings.items():
        (tmp_path / f"test_{name}.py").write_text(pipeline.format(folder=folder, last=last) + example)
    # One run for both: they share an emulator then, as the tests of a project do.
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", "--tb=short", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    outcomes = re.findall(r"^(PASSED|FAILED|ERROR) test_(\w+)\.py::", run.stdout, re.MULTILINE)
    assert sorted(outcomes) == [("FAILED", "can_fail")] * 2 + [("PASSED", "passes")] * 2, run.stdout


def test_the_project_file_is_one(tmp_path: Path) -> None:
    (example,) = blocks(section("A project file"), "toml")
    (tmp_path / "gtlabel.toml").write_text(example)
    project = Project.load(tmp_path / "gtlabel.toml", environ={})
    assert (project.team, project.role, project.region) == ("my-team", "my-role", "eu-west-1")
    assert project.classes == ("Compost", "Landfill", "Recycle")


def test_every_command_of_the_table_exists() -> None:
    named = set(re.findall(r"`gtlabel ([a-z]+)", section("What it does")))
    assert {"label", "train"} <= named
    # That each can be called is in test_cli.py.
    assert named <= vars(get_command(app))["commands"].keys()
