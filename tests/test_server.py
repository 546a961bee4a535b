"""The emulator as a process: how it starts, what it answers, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from emulator_parts import TRUTH, clients, create_job, gtlabel, labels, post, put_inputs, run

from gtlabel.aws import Aws
from gtlabel.emulator.server import Address, running
from gtlabel.emulator.simulate import answer
from gtlabel.emulator.state import find, registry, running_emulators
from gtlabel.errors import EmulatorError, EmulatorNotReadyError


def port_of(address: Address) -> str:
    return address.url.rpartition(":")[2]


def test_the_aws_command_line_is_answered(gtlabel_aws: Aws, gtlabel_server: Address) -> None:
    put_inputs(gtlabel_aws.s3)
    create_job(gtlabel_aws, "bins")
    aws = str(Path(sys.executable).with_name("aws"))
    with ThreadPoolExecutor() as pool:
        buckets = pool.submit(run, [aws, "s3", "ls"], gtlabel_server.environ)
        jobs = pool.submit(run, [aws, "sagemaker", "list-labeling-jobs"], gtlabel_server.environ)
    assert buckets.result().stdout.split()[-1] == "trash"
    listed = json.loads(jobs.result().stdout)["LabelingJobSummaryList"]
    assert [job["LabelingJobName"] for job in listed] == ["bins"]


def test_a_job_is_answered_and_completed_over_http(gtlabel_aws: Aws, gtlabel_server: Address) -> None:
    put_inputs(gtlabel_aws.s3)
    create_job(gtlabel_aws, "bins")
    answer(gtlabel_server.url, "bins", workers=2, accuracy=1.0, truth=TRUTH, seed=7)
    described = gtlabel_aws.sagemaker.describe_labeling_job(LabelingJobName="bins")
    assert described["LabelingJobStatus"] == "Completed"
    assert labels(gtlabel_aws.s3, "bins") == TRUTH


@pytest.mark.parametrize(
    "ask",
    [
        lambda aws: aws.iam.get_context_keys_for_principal_policy(
            PolicySourceArn="arn:aws:iam::123456789012:role/gtlabel"
        ),
        lambda aws: aws.session.client("greengrass").list_connector_definitions(),
        lambda aws: aws.session.client("mediatailor").list_channels(),
    ],
    ids=["an operation", "a path", "a service"],
)
def test_what_moto_does_not_have_is_an_error_at_once(gtlabel_aws: Aws, ask: Callable[[Aws], object]) -> None:
    with pytest.raises(ClientError, match="neither gtlabel's emulator nor moto implements") as error:
        ask(gtlabel_aws)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    # Clients repeat a 500 and wait in between; this they must not.
    assert error.value.response["ResponseMetadata"]["RetryAttempts"] == 0


def test_a_mistake_inside_is_told_in_one_sentence_and_no_web_page(gtlabel_aws: Aws) -> None:
    # moto stumbles over this one (contract/moto.md 2).
    from botocore.config import Config

    once = Config(retries={"total_max_attempts": 1})
    first = gtlabel_aws.session.client("greengrass", config=once)
    with pytest.raises(ClientError, match="failed inside the emulator: ") as error:
        first.create_core_definition(Name="core")
    assert error.value.response["Error"]["Code"] == "InternalFailure"


def test_one_key_can_be_written_and_read_by_many_at_once(gtlabel_aws: Aws) -> None:
    s3 = gtlabel_aws.s3
    s3.create_bucket(Bucket="trash")
    bodies = {bytes([letter]) * 20_000 for letter in b"abcdef"}
    s3.put_object(Bucket="trash", Key="k", Body=b"a" * 20_000)

    def write(body: bytes) -> None:
        for _ in range(15):
            s3.put_object(Bucket="trash", Key="k", Body=body)

    def read(_: int) -> set[bytes]:
        return {s3.get_object(Bucket="trash", Key="k")["Body"].read() for _ in range(15)}

    with ThreadPoolExecutor(12) as pool:
        writing = [pool.submit(write, body) for body in bodies]
        seen = set().union(*pool.map(read, range(6)))
        for each in writing:
            each.result()
    assert seen <= bodies


@pytest.mark.parametrize("key", ["a b+c%.jpg", "ü/日本.jpg", "a//b", "a%2Fb", "/lead", "q?x=1&y", "x" * 900])
def test_odd_keys_and_metadata_names_come_back_as_they_were(gtlabel_aws: Aws, key: str) -> None:
    s3 = gtlabel_aws.s3
    s3.create_bucket(Bucket="trash")
    s3.put_object(Bucket="trash", Key=key, Body=b"x", Metadata={"my_key": "1", "other-key": "2"})
    assert [item["Key"] for item in s3.list_objects_v2(Bucket="trash")["Contents"]] == [key]
    assert s3.head_object(Bucket="trash", Key=key)["Metadata"] == {"my_key": "1", "other-key": "2"}


def test_a_browser_gets_the_bucket_s_own_rule_and_no_other(gtlabel_aws: Aws, gtlabel_server: Address) -> None:
    s3 = gtlabel_aws.s3
    s3.create_bucket(Bucket="trash")
    s3.put_object(Bucket="trash", Key="k.jpg", Body=b"x", ACL="public-read")

    def allowed() -> str | None:
        request = urllib.request.Request(
            f"{gtlabel_server.url}/trash/k.jpg", headers={"Origin": "https://portal.example"}
        )
        with urllib.request.urlopen(request) as response:
            header: str | None = response.headers["Access-Control-Allow-Origin"]
            return header

    assert allowed() is None
    s3.put_bucket_cors(
        Bucket="trash",
        CORSConfiguration={
            "CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["https://portal.example"]}]
        },
    )
    assert allowed() == "https://portal.example"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("worker/dance", b"{}", 404), ("nothing", b"{}", 404), ("worker/lease", b"[]", 400), ("x", b"{", 400)],
)
def test_a_word_to_us_that_makes_no_sense_is_answered_as_such(
    gtlabel_server: Address, path: str, body: bytes, status: int
) -> None:
    request = urllib.request.Request(f"{gtlabel_server.url}/gtlabel/{path}", body, method="POST")
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request)
    assert error.value.code == status
    assert json.load(error.value)["error"]


def test_a_port_in_use_is_one_sentence_and_exit_code_1(gtlabel_server: Address) -> None:
    port = port_of(gtlabel_server)
    ended = gtlabel("local", "up", "--port", port)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr == (
        f"gtlabel: port {port} on 127.0.0.1 is in use; stop what listens there or pick another with --port\n"
    )


def test_an_emulator_that_does_not_come_up_says_why(gtlabel_server: Address) -> None:
    port = int(port_of(gtlabel_server))
    in_use = pytest.raises(EmulatorNotReadyError, match=f"port {port} on 127.0.0.1 is in use")
    with in_use, running(port=port):
        pytest.fail("it came up")


def test_env_prints_what_points_any_program_here(gtlabel_server: Address) -> None:
    port = port_of(gtlabel_server)
    shell = gtlabel("local", "env", "--port", port)
    assert f"export AWS_ENDPOINT_URL={gtlabel_server.url}\n" in shell.stdout
    assert "export GTLABEL_TEAM=arn:aws:sagemaker:us-east-1:123456789012:workteam/" in shell.stdout
    as_json = gtlabel("local", "env", "--port", port, "--output", "json")
    assert json.loads(as_json.stdout) == gtlabel_server.environ


def test_nothing_running_is_one_sentence_with_the_next_step() -> None:
    ended = gtlabel("local", "env", "--port", "1")
    assert ended.returncode == 1
    assert ended.stderr == (
        "gtlabel: no emulator is running here; start one with: gtlabel local up --detach\n"
    )
    with pytest.raises(EmulatorError, match="no emulator is running here"):
        find(state=Path("/nowhere"))


def test_a_detached_emulator_is_found_and_stopped(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    started = gtlabel("local", "up", "--detach", "--port", "0", "--state", state)
    url = started.stdout.strip()
    assert started.returncode == 0, started.stderr
    try:
        again = gtlabel("local", "up", "--state", state, "--port", "0")
        assert again.returncode == 1
        assert f"is in use by the emulator at {url}" in again.stderr
    finally:
        stopped = gtlabel("local", "down", "--state", state)
    assert stopped.stderr == f"the emulator at {url} has stopped\n"
    assert url not in [one.url for one in running_emulators()]


def test_it_ends_when_whoever_started_it_is_killed() -> None:
    program = (
        "import time\n"
        "from gtlabel.emulator.server import running\n"
        "with running() as address:\n"
        "    print(address.url, flush=True)\n"
        "    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    url = parent.stdout.readline().strip()
    emulator = next(one for one in running_emulators() if one.url == url)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while url in [one.url for one in running_emulators()]:
        assert time.monotonic() < deadline, f"process {emulator.pid} goes on"
        time.sleep(0.1)


def test_emulators_that_end_while_one_looks_for_them_do_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder, over = registry(), threading.Event()
    gone = json.dumps({"url": "http://127.0.0.1:9", "pid": os.getpid(), "state": ""})

    def come_and_go() -> None:
        while not over.is_set():
            for number in range(20):
                temporary = folder / f"{number}.new"
                temporary.write_text(gone)
                temporary.replace(folder / f"{number}.json")
            for number in range(20):
                (folder / f"{number}.json").unlink(missing_ok=True)

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(100):
            assert running_emulators() == []
    finally:
        over.set()
        thread.join()


def test_ctrl_c_ends_it_at_once_and_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gtlabel", "local", "up", "--port", "0"]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    clients(Address(url, dict(gtlabel_credentials()))).s3.create_bucket(Bucket="trash")
    process.send_signal(signal.SIGINT)
    # Connections that clients keep open are not waited for.
    assert process.wait(60) == 0
    process.stdout.close()
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == []


def gtlabel_credentials() -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}


def test_a_new_job_wakes_the_foreman(gtlabel_aws: Aws, gtlabel_server: Address) -> None:
    put_inputs(gtlabel_aws.s3)
    create_job(gtlabel_aws, "bins")
    end = time.monotonic() + 60
    while True:
        task = post(f"{gtlabel_server.url}/gtlabel/worker/lease", {"job": "bins", "worker": "ann"})
        if task["lease"]:
            break
        assert time.monotonic() < end, "no task came"
        time.sleep(0.05)
    assert task["source_ref"] in TRUTH
