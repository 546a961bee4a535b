"""`gtlabel serve` as a process: a customer's program, workers, signatures, restarts, and what it refuses."""

from __future__ import annotations

import json
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import postgres
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from emulator_parts import IMAGES, TEAM, TRUTH, create_job, put_inputs, run
from programs import ending, free_port, need
from serve_parts import (
    KEYS,
    Server,
    add_worker,
    answer_all,
    certify,
    environ,
    refused,
    relay,
    serving,
    take,
    wait_until,
)

from gtlabel.aws import Aws
from gtlabel.emulator.server import Address
from gtlabel.emulator.service import Service, check
from gtlabel.errors import EmulatorError

CUSTOMER = Path(__file__).parents[1] / "samples" / "customer.py"
ROLE = "arn:aws:iam::123456789012:role/labeling"
AWS = str(Path(sys.executable).with_name("aws"))


def client(url: str, *, secret: str = KEYS["AWS_SECRET_ACCESS_KEY"], **changes: Any) -> Any:
    """A SageMaker client, with the server's own keys unless others are given."""
    given: dict[str, Any] = {
        "aws_access_key_id": KEYS["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": secret,
        "region_name": "us-east-1",
        "config": Config(retries={"total_max_attempts": 1}),
        **changes,
    }
    return boto3.client("sagemaker", endpoint_url=url, **given)


def plain(server: Server) -> Aws:
    """Clients of somebody on the same machine."""
    return Aws(boto3.Session("x", "x", region_name="us-east-1"), server.url)


def start_job(aws: Aws, server: Server, name: str) -> None:
    """Put a job's inputs into S3, start it, and wait until workers can take tasks."""
    put_inputs(aws.s3)
    create_job(plain(server), name)
    wait_for_job(server.url, name)


def wait_for_job(url: str, name: str, status: str = "InProgress", seconds: float = 60) -> dict[str, Any]:
    """The description of a job once it is as far as it should be."""
    sagemaker, deadline = client(url), time.monotonic() + seconds
    while True:
        found = sagemaker.list_labeling_jobs(NameContains=name)["LabelingJobSummaryList"]
        if found and found[0]["LabelingJobStatus"] == status:
            described: dict[str, Any] = sagemaker.describe_labeling_job(LabelingJobName=name)
            return described
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The option that names the state of the servers `alone`, `proxied` and `team`."""
    return "--state", str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def alone(state: tuple[str, str]) -> Iterator[Server]:
    """A server whose S3 nobody asks for anything."""
    with serving("--state", f"{state[1]}/alone") as server:
        yield server


@pytest.fixture(scope="module")
def team(state: tuple[str, str], gtlabel_server: Address) -> Iterator[Server]:
    """A server whose S3 is the emulator's."""
    with serving("--state", f"{state[1]}/team", env=environ(gtlabel_server.url)) as server:
        yield server


@pytest.fixture(scope="module")
def ana(state: tuple[str, str], team: Server) -> str:
    """The token of somebody who joined while the server ran."""
    return add_worker("ana", "--state", f"{state[1]}/team")


@pytest.fixture(scope="module")
def proxied(state: tuple[str, str]) -> Iterator[Server]:
    """A server behind a proxy, so that requests must be signed."""
    config = Path(state[1]) / "credentials"
    config.write_text("[guests]\naws_access_key_id = AKIAGUEST\naws_secret_access_key = guest-secret\n")
    options = ("--behind-proxy", "--hostname", "labels.example.com", "--client-profile", "guests")
    env = environ(AWS_SHARED_CREDENTIALS_FILE=str(config))
    with serving("--state", f"{state[1]}/proxied", *options, env=env) as server:
        yield server


# ---- a customer's day --------------------------------------------------------------------------------------


def test_a_customer_s_program_runs_unchanged_and_outlives_a_restart(
    gtlabel_aws: Aws, gtlabel_server: Address, tmp_path: Path
) -> None:
    s3, port = gtlabel_aws.s3, free_port()
    s3.create_bucket(Bucket="trash")
    for image in TRUTH:
        s3.put_object(Bucket="trash", Key=image.removeprefix("s3://trash/"), Body=b"a picture")
    state, env = ("--state", str(tmp_path / "state")), environ(gtlabel_server.url)
    options = ["--bucket", "trash", "--prefix", "images/", "--classes", "Compost,Landfill,Recycle"]
    command = [sys.executable, str(CUSTOMER), "bins", *options, "--team", TEAM, "--role", ROLE]
    with serving(*state, env=env, port=port) as server:
        customer = subprocess.Popen(
            [*command, "--workers", "1", "--poll", "0.1"],
            env={**env, "AWS_ENDPOINT_URL_SAGEMAKER": server.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        token = add_worker("ana", *state)
        wait_for_job(server.url, "bins")
        assert answer_all(server, "bins", token, TRUTH, most=2) == 2
        # It looks twice a minute otherwise, and so would hardly look now.
        customer.send_signal(signal.SIGSTOP)
        assert server.end() == 0
    with serving(*state, env=env, port=port) as server:
        customer.send_signal(signal.SIGCONT)
        described = client(server.url).describe_labeling_job(LabelingJobName="bins")
        assert described["LabelCounters"]["HumanLabeled"] == 2
        assert answer_all(server, "bins", token, TRUTH) == 2
        printed, said = customer.communicate(timeout=120)
        assert customer.returncode == 0, said
        listed = run([AWS, "sagemaker", "list-labeling-jobs", "--endpoint-url", server.url], env)
    found = [json.loads(line) for line in printed.splitlines()]
    assert {image: name for image, name, _ in found} == TRUTH
    [job] = json.loads(listed.stdout)["LabelingJobSummaryList"]
    assert (job["LabelingJobName"], job["LabelingJobStatus"]) == ("bins", "Completed")
    key = "labeled/bins/annotations/worker-response/iteration-1/0/"
    [response] = s3.list_objects_v2(Bucket="trash", Prefix=key)["Contents"]
    body = json.loads(s3.get_object(Bucket="trash", Key=response["Key"])["Body"].read())
    identity = body["answers"][0]["workerMetadata"]["identityData"]
    assert identity["identityProviderType"] == "Oidc"


def test_the_customer_s_program_knows_nothing_of_gtlabel() -> None:
    text = CUSTOMER.read_text(encoding="utf-8")
    assert "gtlabel" not in text
    assert "endpoint_url=" not in text


# ---- the process -------------------------------------------------------------------------------------------


def test_it_is_ready_soon_and_says_how_it_is_used(alone: Server) -> None:
    # 2 seconds on a machine that does nothing else; here other tests run beside it, on what machine ever.
    assert alone.seconds < 60
    wait_until(lambda: f"export AWS_ENDPOINT_URL_SAGEMAKER={alone.url}" in "".join(alone.log))
    wait_until(lambda: f"export GTLABEL_TEAM={TEAM}" in "".join(alone.log))


def test_it_loads_nothing_of_the_emulated_aws(tmp_path: Path) -> None:
    where = ("--state", str(tmp_path / "state"), "--account", "210987654321")
    with serving(*where, python=("-X", "importtime")) as server:
        [team] = client(server.url).list_workteams()["Workteams"]
        assert team["WorkteamArn"] == TEAM.replace("123456789012", "210987654321")
        assert server.ask("lease", "gtl_none", job="bins")[0] == 401
        assert server.end(signal.SIGINT) == 0
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in server.log if "|" in line}
    assert {"uvicorn", "starlette", "sqlalchemy"} <= loaded
    assert loaded & {"moto", "flask", "werkzeug", "cheroot", "pandas", "sklearn"} == set()


def test_a_folder_is_one_server_s(alone: Server, state: tuple[str, str]) -> None:
    assert "is in use by process" in refused("--state", f"{state[1]}/alone")
    assert alone.send("GET", "/gtlabel/health")[0] == 200


def test_it_ends_when_it_is_told_to_while_it_starts(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gtlabel", "serve", "--port", "0", "--state", str(tmp_path / "state")]
    process = subprocess.Popen(command, env=environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with ending(process):
        wait_until((tmp_path / "state" / "lock").exists)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
    assert process.returncode == 0


def test_it_never_is_its_own_s3(tmp_path: Path) -> None:
    port = free_port()
    own = environ(f"http://localhost:{port}")
    said = refused("--state", str(tmp_path / "state"), "--port", str(port), env=own)
    assert "which is this server itself" in said
    assert "AWS_ENDPOINT_URL_SAGEMAKER is the one to set" in said
    harmless = environ(AWS_ENDPOINT_URL_SAGEMAKER=f"http://127.0.0.1:{port}")
    with serving("--state", str(tmp_path / "state"), env=harmless, port=port) as server:
        assert server.send("GET", "/gtlabel/health")[0] == 200


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"state": None}, "give --state FOLDER or --database URL"),
        ({"host": "0.0.0.0"}, "can be reached from other machines"),
        ({"host": "labels.example.com"}, "can be reached from other machines"),
        ({"host": "::", "behind_proxy": True}, "say what this server is called"),
        ({"behind_proxy": True}, "say what this server is called"),
        ({"tls_cert": Path("c.pem")}, "give both --tls-cert and --tls-key"),
        ({"account": "12"}, "give 12 digits with --account"),
    ],
)
def test_what_would_be_unsafe_is_not_started(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(EmulatorError, match=sentence):
        check(Service(**{"state": Path("labels"), **changes}))


def test_nobody_else_is_served_while_no_key_is_known(tmp_path: Path) -> None:
    bare = environ()
    for name in KEYS:
        del bare[name]
    said = refused(
        "--state", str(tmp_path / "s"), "--behind-proxy", "--hostname", "labels.example.com", env=bare
    )
    assert "must be signed by a key that this server knows, and it found none" in said


# ---- what it answers ---------------------------------------------------------------------------------------


def test_it_starts_with_a_team_of_its_own_workers(alone: Server) -> None:
    sagemaker = client(alone.url)
    [team] = sagemaker.list_workteams()["Workteams"]
    assert team["WorkteamArn"] == TEAM
    assert team["MemberDefinitions"] == [{"OidcMemberDefinition": {"Groups": ["gtlabel"]}}]


def test_other_operations_are_refused_with_what_to_use(alone: Server) -> None:
    with pytest.raises(ClientError, match="labeling operations only, and ListTrainingJobs is none") as error:
        client(alone.url).list_training_jobs()
    assert error.value.response["Error"]["Code"] == "UnknownOperationException"


@pytest.mark.parametrize(
    ("service", "ask"),
    [
        ("s3", lambda s3: s3.list_buckets()),
        ("s3", lambda s3: s3.put_object(Bucket="trash", Key="k", Body=b"x")),
        ("sts", lambda sts: sts.get_caller_identity()),
        ("sqs", lambda sqs: sqs.list_queues()),
    ],
    ids=["listing of S3", "object of S3", "query protocol", "json protocol"],
)
def test_other_services_are_told_which_variable_to_set(alone: Server, service: str, ask: Any) -> None:
    make: Any = boto3.Session("x", "x", region_name="us-east-1").client
    once = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    asking = make(service, endpoint_url=alone.url, config=once)
    with pytest.raises(ClientError, match="point only AWS_ENDPOINT_URL_SAGEMAKER to it") as error:
        ask(asking)
    assert error.value.response["Error"]["Code"] == "NotImplemented"


def test_on_the_own_machine_any_key_will_do_and_none(alone: Server) -> None:
    assert client(alone.url, secret="something else").list_labeling_jobs()["LabelingJobSummaryList"] == []
    unsigned = client(alone.url, config=Config(signature_version=UNSIGNED))
    assert unsigned.list_labeling_jobs()["LabelingJobSummaryList"] == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"config": Config(signature_version=UNSIGNED)}, "MissingAuthenticationToken"),
        ({"secret": "guessed"}, "InvalidSignatureException"),
        ({"aws_access_key_id": "AKIANOBODY"}, "UnrecognizedClientException"),
        ({"aws_session_token": "made-up"}, "UnrecognizedClientException"),
        ({"region_name": "eu-west-1"}, "InvalidSignatureException"),
    ],
)
def test_from_elsewhere_only_known_keys_are_let_in(
    proxied: Server, changes: dict[str, Any], code: str
) -> None:
    assert client(proxied.url).list_labeling_jobs()["LabelingJobSummaryList"] == []
    guest = client(proxied.url, secret="guest-secret", aws_access_key_id="AKIAGUEST")
    assert guest.list_labeling_jobs()["LabelingJobSummaryList"] == []
    with pytest.raises(ClientError) as error:
        client(proxied.url, **changes).list_labeling_jobs()
    assert error.value.response["Error"]["Code"] == code
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:99", 200),
        ("localhost", 200),
        ("[::1]:80", 200),
        ("labels.example.com", 200),
        ("LABELS.example.com:443", 200),
        ("evil.example", 421),
        ("labels.example.com.evil.example", 421),
        ("", 421),
    ],
)
def test_it_answers_to_its_own_names_only(proxied: Server, host: str, status: int) -> None:
    assert proxied.send("GET", "/gtlabel/health", headers={"Host": host})[0] == status


def test_no_body_is_read_without_end(alone: Server) -> None:
    start = b"POST /gtlabel/worker/lease HTTP/1.1\r\nHost: localhost\r\n"
    port = int(alone.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=120) as line:
        line.sendall(start + b"Content-Length: 4194305\r\n\r\n")
        assert line.recv(65536).startswith(b"HTTP/1.1 413 ")
    with socket.create_connection(("127.0.0.1", port), timeout=120) as line:
        line.sendall(start + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(64):
            line.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        # One byte more than it reads.
        line.sendall(b"1\r\ny\r\n")
        assert line.recv(65536).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("method", "authorization", "body", "status", "sentence"),
    [
        ("GET", "", b"", 405, "POST a JSON object"),
        ("POST", "", b"{}", 401, "a token is needed"),
        ("POST", "Basic YTpi", b"{}", 401, "a token is needed"),
        ("POST", "Bearer gtl_nobody_x", b"{}", 401, "not known, or was revoked"),
    ],
)
def test_workers_show_their_token(
    alone: Server, method: str, authorization: str, body: bytes, status: int, sentence: str
) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    answered, named, said = alone.send(method, "/gtlabel/worker/lease", body or None, headers)
    assert answered == status
    assert sentence in json.loads(said)["error"]
    assert named["cache-control"] == "no-store"
    assert (named.get("www-authenticate") == "Bearer") == (status == 401)


def test_nothing_secret_is_ever_logged(proxied: Server, state: tuple[str, str]) -> None:
    token = add_worker("ben", "--state", f"{state[1]}/proxied")
    wrong = f"{token[:-6]}wrong-"
    for shown in (token, wrong, wrong, wrong, wrong, wrong):
        proxied.ask("lease", shown, job="nothing")
    client(proxied.url).list_workteams()
    with pytest.raises(ClientError):
        client(proxied.url, secret="guessed-secret").list_workteams()
    proxied.send("POST", "/", b"{", {"X-Amz-Target": "SageMaker.CreateWorkteam"})
    wait_until(lambda: "a token that is none" in "".join(proxied.log))
    said = "".join(proxied.log)
    for secret in (token, token.split("_", 2)[2], wrong, KEYS["AWS_SECRET_ACCESS_KEY"], "guessed-secret"):
        assert secret not in said


def test_who_listens_to_everybody_speaks_tls(tmp_path: Path) -> None:
    certificate, key = certify("localhost", tmp_path)
    where = ("--host", "0.0.0.0", "--hostname", "localhost", "--state", str(tmp_path / "state"))
    with serving(*where, "--tls-cert", str(certificate), "--tls-key", str(key)) as server:
        assert server.url.startswith("https://localhost:")
        assert (
            client(server.url, verify=str(certificate)).list_labeling_jobs()["LabelingJobSummaryList"] == []
        )
        with pytest.raises(ClientError, match="does not match"):
            client(server.url, verify=str(certificate), secret="guessed").list_labeling_jobs()


# ---- a worker's day ----------------------------------------------------------------------------------------


def test_a_worker_takes_tasks_puts_them_aside_and_goes_on(gtlabel_aws: Aws, team: Server, ana: str) -> None:
    start_job(gtlabel_aws, team, "day")
    task = take(team, "day", ana)
    assert task["input"]["taskObject"] == task["source_ref"]
    assert set(task["input"]["labels"]) == set(TRUTH.values())
    lease = {"lease": task["lease"]}
    assert team.ask("heartbeat", ana, **lease)[1]["expires"] >= task["expires"]
    assert team.ask("stop", ana, **lease)[1]["stopped"]
    [held] = team.ask("held", ana)[1]["tasks"]
    assert (held["lease"], held["job"], held["stopped"]) == (task["lease"], "day", True)
    assert team.ask("resume", ana, **lease)[1]["lease"] == task["lease"]
    said = {"crowd-image-classifier": {"label": TRUTH[task["source_ref"]]}}
    status, accepted = team.ask("submit", ana, **lease, answer=said, next=True, job="day", active_seconds=1)
    assert (status, accepted["accepted"]) == (200, True)
    assert accepted["next"]["source_ref"] != task["source_ref"]
    assert team.ask("release", ana, lease=accepted["next"]["lease"])[1] == {"released": True}
    assert answer_all(team, "day", ana, TRUTH, next_too=True) == len(TRUTH) - 1
    wait_for_job(team.url, "day", "Completed")


def test_a_task_is_its_worker_s_and_a_job_its_team_s(
    gtlabel_aws: Aws, team: Server, ana: str, state: tuple[str, str]
) -> None:
    start_job(gtlabel_aws, team, "whose")
    where = ("--state", f"{state[1]}/team")
    eve, guest = add_worker("eve", *where), add_worker("guest", "--group", "others", *where)
    task = take(team, "whose", ana)
    status, refusal = team.ask("decline", eve, lease=task["lease"])
    assert (status, refusal["error"][:17]) == (409, "there is no lease")
    status, refusal = team.ask("lease", guest, job="whose")
    assert status == 403
    assert "guest is not in there" in refusal["error"]
    status, refusal = team.ask("lease", ana, job="unknown")
    assert status == 404


# ---- trouble -----------------------------------------------------------------------------------------------


def test_nothing_is_acknowledged_that_the_disk_does_not_take(
    gtlabel_aws: Aws, team: Server, ana: str
) -> None:
    start_job(gtlabel_aws, team, "full")
    task = take(team, "full", ana)
    said = {"crowd-image-classifier": {"label": TRUTH[task["source_ref"]]}}
    # From now on no file of the process may grow, as on a disk that is full.
    was = resource.prlimit(team.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    status, refusal = team.ask("submit", ana, lease=task["lease"], answer=said)
    assert status in (503, 507)
    assert "nothing was stored" in refusal["error"]
    with pytest.raises(ClientError, match="database") as error:
        client(team.url).stop_labeling_job(LabelingJobName="full")
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    with pytest.raises(ClientError, match="nothing was stored") as error:
        client(team.url).create_workteam(
            WorkteamName="more",
            Description="more people",
            MemberDefinitions=[{"OidcMemberDefinition": {"Groups": ["gtlabel"]}}],
        )
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    counters = client(team.url).describe_labeling_job(LabelingJobName="full")["LabelCounters"]
    assert counters["HumanLabeled"] == 0
    resource.prlimit(team.process.pid, resource.RLIMIT_FSIZE, was)
    assert team.ask("submit", ana, lease=task["lease"], answer=said)[0] == 200
    assert answer_all(team, "full", ana, TRUTH) == len(TRUTH) - 1
    assert wait_for_job(team.url, "full", "Completed")["LabelCounters"]["HumanLabeled"] == len(IMAGES)


def test_trouble_with_the_bucket_that_passes_costs_no_job(
    gtlabel_aws: Aws, gtlabel_server: Address, tmp_path: Path
) -> None:
    put_inputs(gtlabel_aws.s3)
    port = free_port()
    # Nobody answers at that address yet.
    with serving("--state", str(tmp_path / "state"), env=environ(f"http://127.0.0.1:{port}")) as server:
        create_job(plain(server), "bins")
        wait_until(lambda: "is tried again" in "".join(server.log))
        assert wait_for_job(server.url, "bins", "Initializing")
        with relay(port, gtlabel_server.url):
            wait_for_job(server.url, "bins")


def test_a_bucket_that_is_gone_fails_the_job_and_says_so(gtlabel_aws: Aws, team: Server, ana: str) -> None:
    start_job(gtlabel_aws, team, "gone")
    s3 = gtlabel_aws.s3

    def gone() -> bool:
        for item in s3.list_objects_v2(Bucket="trash").get("Contents", ()):
            s3.delete_object(Bucket="trash", Key=item["Key"])
        try:
            s3.delete_bucket(Bucket="trash")
        except s3.exceptions.ClientError:
            # The server wrote something meanwhile.
            return False
        return True

    wait_until(gone)
    answer_all(team, "gone", ana, TRUTH)
    failed = wait_for_job(team.url, "gone", "Failed")
    assert "the bucket 'trash' does not exist" in failed["FailureReason"]


# ---- several servers ---------------------------------------------------------------------------------------


def test_another_server_on_the_database_takes_over_when_the_leader_dies(
    gtlabel_aws: Aws, gtlabel_server: Address
) -> None:
    need(postgres.programs(), "several servers share a PostgreSQL: apt-get install postgresql")
    put_inputs(gtlabel_aws.s3)
    env = environ(gtlabel_server.url)
    with postgres.running() as url:
        where = ("--database", url.replace("+psycopg", ""))
        with serving(*where, env=env) as first, serving(*where, env=env) as second:
            token = add_worker("ana", *where)
            create_job(plain(first), "bins")
            wait_for_job(second.url, "bins")
            assert answer_all(first, "bins", token, TRUTH, most=2) == 2
            assert answer_all(second, "bins", token, TRUTH, most=1) == 1
            first.process.kill()
            assert answer_all(second, "bins", token, TRUTH) == 1
            wait_for_job(second.url, "bins", "Completed")
            assert second.end() == 0
