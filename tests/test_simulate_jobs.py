"""Simulated people at work: over HTTP, on jobs that an emulator or a server of one's own has."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from emulator_parts import clients, gtlabel, post, run
from lifecycle_parts import PHOTOS, fill
from programs import ending, free_port
from serve_parts import add_worker, environ, serving

from gtlabel.aws import Aws
from gtlabel.emulator.child import Address, running
from gtlabel.emulator.simulate import Habits, Hours, Summary, answer
from gtlabel.errors import EmulatorError, EmulatorNotReadyError
from gtlabel.labeling.jobs import wait_for_labeling_job
from gtlabel.labeling.request import LabelingJobRequest
from gtlabel.templates import read_template
from gtlabel.uris import S3Uri

BUCKET = "trash"
CLASSES = ("Compost", "Landfill", "Recycle")
IMAGES = [f"s3://{BUCKET}/{number}.jpg" for number in range(60)]
TRUTH = {image: CLASSES[number % 3] for number, image in enumerate(IMAGES)}
# Such people do nothing but answer.
EAGER = Habits(declines=0, releases=0)
EXAMPLE = "tasks/image-classification"


def put_inputs(aws: Aws) -> None:
    aws.s3.create_bucket(Bucket=BUCKET)
    files = {
        "in.manifest": "".join(json.dumps({"source-ref": image}) + "\n" for image in IMAGES),
        "classes.json": json.dumps({"labels": [{"label": name} for name in CLASSES]}),
        "single.liquid": read_template(f"{EXAMPLE}.liquid"),
        "multi.liquid": read_template(f"{EXAMPLE}-multi-label.liquid"),
    }
    for key, text in files.items():
        aws.s3.put_object(Bucket=BUCKET, Key=key, Body=text.encode())


def create(aws: Aws, name: str, *, task: str = "single", workers: int = 3, **fields: Any) -> None:
    request = LabelingJobRequest(
        name=name,
        attribute="bin",
        manifest=S3Uri(f"s3://{BUCKET}/in.manifest"),
        classes=S3Uri(f"s3://{BUCKET}/classes.json"),
        template=S3Uri(f"s3://{BUCKET}/{task}.liquid"),
        output=S3Uri(f"s3://{BUCKET}/out/"),
        role="arn:aws:iam::123456789012:role/gtlabel",
        team="arn:aws:sagemaker:us-east-1:123456789012:workteam/private-crowd/gtlabel",
        region="us-east-1",
        workers_per_image=workers,
        task=task,
        **fields,
    )
    aws.sagemaker.create_labeling_job(**request.to_boto())


def status(aws: Aws, name: str) -> str:
    return aws.sagemaker.describe_labeling_job(LabelingJobName=name)["LabelingJobStatus"]


def answers_of(aws: Aws, job: str) -> dict[tuple[str, str], list[str]]:
    """What each worker said about each image, from the files the job left."""
    wait_for_labeling_job(aws.sagemaker, job, poll=0.1, timeout=120)
    requests = aws.s3.get_paginator("list_objects_v2").paginate(
        Bucket=BUCKET, Prefix=f"out/{job}/annotations/consolidated-annotation/consolidation-request/"
    )
    keys = [item["Key"] for page in requests for item in page.get("Contents", ())]
    said = {}
    for key in keys:
        for item in json.loads(aws.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()):
            for each in item["annotations"]:
                content = next(iter(json.loads(each["annotationData"]["content"]).values()))
                names = content["labels"] if "labels" in content else [content["label"]]
                said[each["workerId"], item["dataObject"]["s3Uri"]] = names
    return said


def write(path: Path, truth: Mapping[str, str] = TRUTH) -> str:
    """Write a file of what is right, and return its name."""
    path.write_text("".join(json.dumps({"source-ref": i, "class": n}) + "\n" for i, n in truth.items()))
    return str(path)


def of(summary: Summary) -> dict[str, Any]:
    return {each["worker"]: each for each in summary.to_json()["workers"]}


def test_the_same_seed_says_the_same_whoever_else_is_there_and_however_fast_they_are(
    gtlabel_aws: Aws, gtlabel_server: Address
) -> None:
    put_inputs(gtlabel_aws)
    crowds: list[tuple[str, int, Habits]] = [
        ("One", 3, EAGER),
        ("Two", 5, Habits()),
        ("Three", 3, Habits(declines=0, pace=1.0, speedup=50)),
    ]
    said = []
    for name, people, habits in crowds:
        create(gtlabel_aws, name)
        answer(gtlabel_server.url, name, people, 0.7, TRUTH, seed=3, habits=habits)
        said.append(answers_of(gtlabel_aws, name))
    assert len(said[0]) == len(said[2]) == 180
    assert said[0] == said[2]
    both = said[0].keys() & said[1].keys()
    assert len(both) > 60
    assert {key: said[0][key] for key in both} == {key: said[1][key] for key in both}


def test_who_they_are_shows_in_what_they_did(gtlabel_aws: Aws, gtlabel_server: Address) -> None:
    put_inputs(gtlabel_aws)
    create(gtlabel_aws, "Bins", workers=4)
    summary = answer(
        gtlabel_server.url, "Bins", 4, 0.9, TRUTH, seed=3, habits=Habits(declines=0, releases=0.2, spammers=1)
    )
    told = of(summary)
    assert [told[f"worker-{number}"]["character"] == "honest" for number in range(1, 5)] == [
        False,
        *[True] * 3,
    ]
    assert all(each["answers"] == 60 for each in told.values())
    assert all(each["released"] > 3 for each in told.values())
    assert (
        told["worker-1"]["accuracy"] < 0.6 < min(told[f"worker-{number}"]["accuracy"] for number in (2, 3, 4))
    )
    right = sum(name == [TRUTH[image]] for (_, image), name in answers_of(gtlabel_aws, "Bins").items())
    assert summary.total.right == right


def test_jobs_with_several_classes_are_answered_too(gtlabel_aws: Aws, gtlabel_server: Address) -> None:
    put_inputs(gtlabel_aws)
    create(gtlabel_aws, "Bins", task="multi")
    truth = {image: [name, "Recycle"] if name != "Recycle" else [name] for image, name in TRUTH.items()}
    summary = answer(gtlabel_server.url, "Bins", 3, 0.9, truth, habits=EAGER)
    assert summary.answers == 180
    assert 0.8 < (summary.total.accuracy or 0) < 1
    said = answers_of(gtlabel_aws, "Bins")
    assert sum(set(names) == set(truth[image]) for (_, image), names in said.items()) == summary.total.right


def test_a_group_and_another_job_are_answered_in_one_go(
    gtlabel_aws: Aws, gtlabel_server: Address, tmp_path: Path
) -> None:
    put_inputs(gtlabel_aws)
    create(gtlabel_aws, "Other", workers=1)
    known = {**TRUTH, **fill(gtlabel_aws, 4)}
    label = ["label", str(PHOTOS), "--classes", ",".join(CLASSES), "--workers", "1", "--name", "bins"]
    started = gtlabel(*label, "--max-images-per-job", "2")
    assert started.returncode == 0, started.stderr
    truth = write(tmp_path / "truth.jsonl", known)
    command = ["local", "answer", "--truth", truth, "--url", gtlabel_server.url, "--output", "json"]
    done = gtlabel(*command, "bins", "Other", "--workers", "2", "--accuracy", "1")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["answers"], told["right"], told["accuracy"]) == (64, 64, 1.0)
    assert {status(gtlabel_aws, name) for name in ("bins-1", "bins-2", "Other")} == {"Completed"}
    missing = gtlabel(*command, "bins-3")
    assert missing.returncode != 0
    assert missing.stdout == ""
    assert "'bins-3'" in missing.stderr


def test_the_command_prints_how_each_of_them_did(
    gtlabel_aws: Aws, gtlabel_server: Address, tmp_path: Path
) -> None:
    put_inputs(gtlabel_aws)
    create(gtlabel_aws, "Bins")
    truth, confusion = write(tmp_path / "truth.jsonl"), tmp_path / "confusion.json"
    confusion.write_text('{"Compost": {"Compost": 0, "Landfill": 1}}')
    command = ["local", "answer", "Bins", "--truth", truth, "--url", gtlabel_server.url]
    done = gtlabel(
        *command, "--workers", "4", "--confusion", str(confusion), "--declines", "0", "--spammers", "1"
    )
    assert done.returncode == 0, done.stderr
    rows = [re.split(r"\s{2,}", line.strip()) for line in done.stdout.splitlines()]
    assert rows[0] == ["worker", "kind", "answers", "right", "declined", "released", "forgotten", "late"]
    assert [row[0] for row in rows[1:]] == ["worker-1", "worker-2", "worker-3", "worker-4", "all"]
    assert rows[-1][1] == "180"
    said = answers_of(gtlabel_aws, "Bins")
    compost = [n for (worker, i), n in said.items() if TRUTH[i] == "Compost"]
    assert compost.count(["Landfill"]) > len(compost) / 2
    bad = gtlabel(*command, "--hours", "9-25")
    assert (bad.returncode, bad.stderr) == (
        1,
        "gtlabel: '9-25' are no hours; write them as 9-17 or 8:30-12:15\n",
    )


def test_nobody_works_outside_their_hours(gtlabel_aws: Aws, gtlabel_server: Address) -> None:
    put_inputs(gtlabel_aws)
    create(gtlabel_aws, "Bins", workers=1)
    now = datetime.now(UTC)
    hours = Hours.parse(f"{(now.hour + 2) % 24}-{(now.hour + 3) % 24}")
    # Until they open, an hour or a weekend, half a second passes.
    habits = Habits(declines=0, hours=hours, speedup=2 * hours.wait(now))
    began = time.monotonic()
    first: list[float] = []
    summary = answer(
        gtlabel_server.url,
        "Bins",
        1,
        1.0,
        TRUTH,
        on_progress=lambda _: first.append(time.monotonic() - began),
        habits=habits,
    )
    assert summary.answers == 60
    assert 0.4 < first[0] < 60


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"habits": Habits(fatigue=1.5)}, "fatigue of 1.5 cannot be; give a share from 0 to 1"),
        ({"habits": Habits(pace=0)}, "a pace of 0 cannot be; give a number above 0"),
        ({"habits": Habits(spammers=4)}, "4 of 3 workers cannot be spammers"),
        ({"tokens": {"ana": "x"}}, "3 workers need as many tokens, and there are 1"),
    ],
)
def test_people_who_cannot_be_are_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(EmulatorError, match=sentence):
        answer("http://127.0.0.1:9", "Bins", 3, 0.8, TRUTH, **change)


# ---- servers that go away ----------------------------------------------------------------------------------


def test_a_server_that_is_killed_is_waited_for_and_every_answer_counts_once(tmp_path: Path) -> None:
    state, port = tmp_path / "state", free_port()
    notices: list[str] = []
    reached = threading.Event()
    with running(state, port) as server:
        aws = clients(server)
        put_inputs(aws)
        create(aws, "Bins")
        pid = post(f"{server.url}/gtlabel/health")["pid"]
        result: list[Summary] = []

        def people() -> None:
            result.append(
                answer(
                    server.url,
                    "Bins",
                    4,
                    0.8,
                    TRUTH,
                    on_progress=lambda answers: reached.set() if answers == 60 else None,
                    habits=Habits(declines=0, pace=1, speedup=50),
                    on_notice=notices.append,
                )
            )

        thread = threading.Thread(target=people)
        thread.start()
        assert reached.wait(60)
        subprocess.run(["kill", "-9", str(pid)], check=True)
    with running(state, port) as server:
        thread.join(60)
        summary = result[0]
        said = answers_of(clients(server), "Bins")
    assert len(said) == 180
    # An answer whose acknowledgment got lost with the server is sent again, and is not late.
    assert summary.answers + summary.total.late >= 180
    assert summary.answers <= 180
    assert "waiting up to 60 seconds" in notices[0]
    assert notices[1] == "it answers again"


def test_a_server_that_does_not_come_back_is_not_waited_for_forever(tmp_path: Path) -> None:
    with running(tmp_path / "state") as server:
        aws = clients(server)
        put_inputs(aws)
        create(aws, "Bins")
        pid = post(f"{server.url}/gtlabel/health")["pid"]

        def kill(answers: int) -> None:
            if answers == 30:
                subprocess.run(["kill", "-9", str(pid)], check=True)

        with pytest.raises(EmulatorNotReadyError, match="did not answer for 0.5 seconds .*start the server"):
            answer(server.url, "Bins", 3, 0.8, TRUTH, on_progress=kill, habits=Habits(patience=0.5))


def test_at_ctrl_c_people_give_back_what_they_hold(
    gtlabel_aws: Aws, gtlabel_server: Address, tmp_path: Path
) -> None:
    put_inputs(gtlabel_aws)
    create(gtlabel_aws, "Bins")
    truth = write(tmp_path / "truth.jsonl")
    command = ["local", "answer", "Bins", "--truth", truth, "--url", gtlabel_server.url, "--pace", "60"]
    process = subprocess.Popen(
        [sys.executable, "-m", "gtlabel", *command], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with ending(process):
        names = [f"worker-{number}" for number in range(1, 6)]
        deadline = time.monotonic() + 60
        while not (holders := [name for name in names if held(gtlabel_server, name)]) or len(holders) < 5:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert [name for name in names if held(gtlabel_server, name)] == []


def held(server: Address, worker: str) -> list[Any]:
    found: list[Any] = post(f"{server.url}/gtlabel/worker/held", {"worker": worker})["tasks"]
    return found


def test_people_with_tokens_work_for_a_server_of_one_s_own(
    gtlabel_aws: Aws, gtlabel_server: Address, tmp_path: Path
) -> None:
    put_inputs(gtlabel_aws)
    state = ("--state", str(tmp_path / "state"))
    with serving(*state, env=environ(gtlabel_server.url)) as server:
        files = [tmp_path / f"{name}.token" for name in ("ana", "bob", "eva")]
        for file in files:
            file.write_text(add_worker(file.stem, *state))
        own = Aws(gtlabel_aws.session, server.url)
        create(own, "Bins")
        truth = write(tmp_path / "truth.jsonl")
        tokens = [option for file in files for option in ("--token-file", str(file))]
        done = gtlabel(
            "local", "answer", "Bins", "--truth", truth, "--url", server.url, *tokens, "--output", "json"
        )
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert [each["worker"] for each in told["workers"]] == ["ana", "bob", "eva"]
        assert told["answers"] == 180
        assert status(own, "Bins") == "Completed"


def test_the_benchmark_of_a_whole_job_runs() -> None:
    program = str(Path(__file__).parent / "benchmarks" / "job.py")
    done = run([sys.executable, program, "--pictures", "20", "--json"])
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["status"], told["labeled"], told["answers"]) == ("Completed", 20, 60)
    assert [phase["phase"] for phase in told["phases"]] == [
        "upload",
        "create to first answer",
        "answering",
        "to Completed",
    ]
