"""The functions of custom workflows: how they are called, from Python and from the front door."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from emulator_parts import clients, post
from programs import ending

from gtlabel.emulator.api import Context
from gtlabel.emulator.child import Address
from gtlabel.emulator.environment import environ
from gtlabel.engine.functions import Functions, read_functions
from gtlabel.errors import FunctionError, FunctionNotFoundError, SettingsError

ARN = "arn:aws:lambda:us-east-1:123456789012:function:f"
ROLE = "arn:aws:iam::123456789012:role/gtlabel"
SOURCE = """
import os
import time
from pathlib import Path

def echo(event, context):
    print("this goes to the log")
    return {"event": event, "name": context.function_name, "arn": context.invoked_function_arn,
            "left": context.get_remaining_time_in_millis(), "id": context.aws_request_id,
            "seen": os.environ.get("SEEN"), "process": os.getpid()}

def fail(event, context):
    with Path(event["log"]).open("a") as log:
        log.write("x")
    raise ValueError("no such bin")

def twice_in_vain(event, context):
    with Path(event["log"]).open("a") as log:
        log.write("x")
    if len(Path(event["log"]).read_text()) < 3:
        raise OSError("not now")
    return "at last"

def hang(event, context):
    time.sleep(60)

def end(event, context):
    os._exit(3)

def much(event, context):
    return "x" * 7_000_000

def odd(event, context):
    return {1, 2}
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that the processes of functions can import."""
    (tmp_path / "bins.py").write_text(SOURCE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "bins"


@pytest.fixture
def functions(module: str) -> Iterator[Callable[..., Functions]]:
    """Makes functions, and ends them."""
    made: list[Functions] = []

    def make(*names: str, **options: Any) -> Functions:
        made.append(Functions({name: f"{module}:{name}" for name in names}, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


# ---- calls -------------------------------------------------------------------------------------------------


def test_a_function_gets_an_event_and_a_context_as_in_lambda(functions: Callable[..., Functions]) -> None:
    said = functions("echo", seconds=9, environ={"SEEN": "yes"}).call("echo", ARN, {"a": [1, "é"]}).result(60)
    assert said["event"] == {"a": [1, "é"]}
    assert (said["name"], said["arn"], said["seen"]) == ("f", ARN, "yes")
    assert 0 < said["left"] <= 9000
    assert len(said["id"]) == 36
    assert said["process"] != os.getpid()


def test_calls_run_beside_each_other_in_processes_that_are_used_again(
    functions: Callable[..., Functions],
) -> None:
    own = functions("echo")
    processes = {call.result(60)["process"] for call in [own.call("echo", ARN, {}) for _ in range(40)]}
    assert 1 <= len(processes) <= 4


def test_a_function_that_fails_is_called_twice_again_and_its_words_are_kept(
    functions: Callable[..., Functions], tmp_path: Path
) -> None:
    own, log = functions("fail", "twice_in_vain"), tmp_path / "log"
    with pytest.raises(FunctionError, match=r"^the function 'fail' failed: ValueError: no such bin$"):
        own.call("fail", ARN, {"log": str(log)}).result(60)
    assert log.read_text() == "xxx"
    assert own.call("twice_in_vain", ARN, {"log": str(tmp_path / "other")}).result(60) == "at last"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("hang", "it took longer than 0.5 seconds"),
        ("end", "its process ended with exit code 3"),
        ("much", "its answer has 7000013 bytes; at most 6291556 are allowed"),
        ("odd", "TypeError: Object of type set is not JSON serializable"),
    ],
)
def test_a_function_that_gives_no_answer_fails_and_leaves_no_process_behind(
    functions: Callable[..., Functions], name: str, reason: str
) -> None:
    own = functions(name, "echo", seconds=0.5 if name == "hang" else 30)
    with pytest.raises(FunctionError) as failure:
        own.call(name, ARN, {}).result(60)
    assert failure.value.reason == reason
    assert failure.value.timed_out == (name == "hang")
    own.close()
    assert _children() == []


def _children() -> list[str]:
    """The commands of processes that run functions."""
    listed = subprocess.run(
        ["ps", "-o", "args=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=False
    )
    return [line for line in listed.stdout.splitlines() if "functionchild" in line]


def test_a_callable_of_this_process_is_held_to_the_same_contract() -> None:
    def answer(event: Any, context: Any) -> Any:
        assert context.function_name == "f"
        if event.get("hang"):
            time.sleep(5)
        return {"got": event, "tuple": (1, 2)}

    patient = Functions({"f": answer}, seconds=60)
    assert patient.call("f", ARN, {"a": 1}).result(60) == {"got": {"a": 1}, "tuple": [1, 2]}
    patient.close()
    own = Functions({"f": answer}, seconds=0.3)
    with pytest.raises(FunctionError, match=r"it took longer than 0\.3 seconds"):
        own.call("f", ARN, {"hang": True}).result(60)
    own.close()


def test_what_cannot_be_loaded_is_found_before_a_job_needs_it(module: str) -> None:
    Functions({"fine": f"{module}:echo"}).check()
    for target, reason in (
        ("bins:nothing", "the module 'bins' has no function 'nothing'"),
        ("bins:SOURCE", "the module 'bins' has no function 'SOURCE'"),
        ("no_such_module:f", "the module 'no_such_module' cannot be imported: No module named"),
    ):
        with pytest.raises(FunctionError) as failure:
            Functions({"f": target}).check()
        assert failure.value.reason.startswith(reason)


def test_a_function_that_nobody_gave_us_says_how_to_give_it() -> None:
    with pytest.raises(
        FunctionNotFoundError, match="start this server with --function pre=package.module:fun"
    ):
        Functions().call("pre", ARN, {})


def test_functions_are_named_on_the_command_line() -> None:
    assert read_functions(["pre=a.b:c", "post-1=d:E.f"]) == {"pre": "a.b:c", "post-1": "d:E.f"}
    for wrong in ("pre", "pre=a.b", "=a:b", "p.q=a:b", "pre=a:b:c"):
        with pytest.raises(SettingsError, match="write it as NAME=package.module:function"):
            read_functions([wrong])
    with pytest.raises(SettingsError, match="pre is a:b already"):
        read_functions(["pre=a:b", "pre=c:d"])


# ---- through the front door --------------------------------------------------------------------------------

HANDLERS = """
import json
import boto3

def before(event, context):
    return {"taskInput": {"text": event["dataObject"]["source"].upper()}}

def after(event, context):
    bucket, _, key = event["payload"]["s3Uri"].removeprefix("s3://").partition("/")
    asked = json.loads(boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())
    name = event["labelAttributeName"]
    return [{"datasetObjectId": each["datasetObjectId"], "consolidatedAnnotation": {"content": {name: {
        "said": [json.loads(one["annotationData"]["content"]) for one in each["annotations"]],
        "of": each["dataObject"]["content"]}}}} for each in asked]
"""
PAGE = '<crowd-form><crowd-input name="said"></crowd-input><p>{{ task.input.text }}</p></crowd-form>'


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Address]:
    """An emulator with two functions, as a user starts it."""
    (tmp_path / "handlers.py").write_text(HANDLERS)
    command = [sys.executable, "-m", "gtlabel", "local", "up", "--port", "0", "--until-stdin-closes"]
    given = ["--function=before=handlers:before", "--function=after=handlers:after"]
    process = subprocess.Popen(
        [*command, *given], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    with ending(process, 600):
        assert process.stdin
        assert process.stdout
        url = process.stdout.readline().strip()
        try:
            yield Address(url, environ(url, Context()))
        finally:
            process.stdin.close()
            process.wait(60)


def function_arn(name: str) -> str:
    return f"arn:aws:lambda:us-east-1:123456789012:function:{name}"


def custom_request(pre: str, after: str) -> dict[str, Any]:
    return {
        "LabelingJobName": "Texts",
        "LabelAttributeName": "said",
        "InputConfig": {"DataSource": {"S3DataSource": {"ManifestS3Uri": "s3://trash/in.manifest"}}},
        "OutputConfig": {"S3OutputPath": "s3://trash/out/"},
        "RoleArn": ROLE,
        "HumanTaskConfig": {
            "WorkteamArn": "arn:aws:sagemaker:us-east-1:123456789012:workteam/private-crowd/gtlabel",
            "UiConfig": {"UiTemplateS3Uri": "s3://trash/page.liquid"},
            "PreHumanTaskLambdaArn": function_arn(pre),
            "AnnotationConsolidationConfig": {"AnnotationConsolidationLambdaArn": function_arn(after)},
            "TaskTitle": "What?",
            "TaskDescription": "Say what.",
            "NumberOfHumanWorkersPerDataObject": 2,
            "TaskTimeLimitInSeconds": 60,
        },
    }


def test_a_custom_workflow_runs_from_the_request_to_its_manifest(workplace: Address) -> None:
    aws = clients(workplace)
    aws.s3.create_bucket(Bucket="trash")
    aws.s3.put_object(Bucket="trash", Key="in.manifest", Body=b'{"source":"one"}\n{"source":"two"}\n')
    aws.s3.put_object(Bucket="trash", Key="page.liquid", Body=PAGE.encode())
    with pytest.raises(aws.sagemaker.exceptions.ClientError) as refusal:
        aws.sagemaker.create_labeling_job(**custom_request("befor", "after"))
    assert "start this server with --function befor=package.module:function" in str(refusal.value)
    # A version or an alias may follow the name.
    aws.sagemaker.create_labeling_job(**custom_request("before:live", "after"))
    until = time.monotonic() + 60
    while (job := aws.sagemaker.describe_labeling_job(LabelingJobName="Texts"))[
        "LabelingJobStatus"
    ] != "Completed":
        assert time.monotonic() < until, job
        assert job["LabelingJobStatus"] in ("Initializing", "InProgress"), job
        for worker in ("ann", "bob"):
            task = post(f"{workplace.url}/gtlabel/worker/lease", {"job": "Texts", "worker": worker})
            if task["lease"]:
                said = {"said": f"{worker} saw {task['input']['text']}"}
                post(f"{workplace.url}/gtlabel/worker/submit", {"lease": task["lease"], "answer": said})
        time.sleep(0.05)
    uri = job["LabelingJobOutput"]["OutputDatasetS3Uri"].removeprefix("s3://trash/")
    lines = aws.s3.get_object(Bucket="trash", Key=uri)["Body"].read().splitlines()
    for line, word in zip(map(json.loads, lines), ("one", "two"), strict=True):
        assert line["source"] == line["said"]["of"] == word
        assert {each["said"] for each in line["said"]["said"]} == {
            f"ann saw {word.upper()}",
            f"bob saw {word.upper()}",
        }


def test_an_account_that_is_emptied_while_a_function_runs_begins_anew(workplace: Address) -> None:
    aws = clients(workplace)
    for text in (b"one", b"two"):
        aws.s3.create_bucket(Bucket="trash")
        aws.s3.put_object(Bucket="trash", Key="in.manifest", Body=b'{"source":"%s"}\n' % text)
        aws.s3.put_object(Bucket="trash", Key="page.liquid", Body=PAGE.encode())
        aws.sagemaker.create_labeling_job(**custom_request("before", "after"))
        until = time.monotonic() + 60
        while not (task := lease(workplace))["lease"]:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert task["input"] == {"text": text.decode().upper()}
        post(f"{workplace.url}/gtlabel/worker/submit", {"lease": task["lease"], "answer": {"said": "x"}})
        post(f"{workplace.url}/moto-api/reset")


def lease(workplace: Address) -> dict[str, Any]:
    return post(f"{workplace.url}/gtlabel/worker/lease", {"job": "Texts", "worker": "ann"})
