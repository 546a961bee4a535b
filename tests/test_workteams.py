"""Teams at work: what the service refuses, and who answered how much in their jobs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError
from emulator_parts import BUCKET, TRUTH, create_job, gtlabel, post, put_inputs
from workforce_parts import ACCOUNT, ANN, BOB, EVE, OIDC, emails, everything, make

from gtlabel.aws import Aws
from gtlabel.emulator.child import Address
from gtlabel.emulator.simulate import answer as simulate
from gtlabel.errors import LabelingJobError
from gtlabel.labeling.members import (
    find_member,
)
from gtlabel.labeling.throughput import activity, people, read_responses
from gtlabel.labeling.workforce import (
    describe_team,
    find_workforce,
)
from gtlabel.uris import S3Uri


@pytest.fixture
def bare(gtlabel_aws: Aws) -> Aws:
    """An account in which nobody ever made a workforce."""
    gtlabel_aws.sagemaker.delete_workteam(WorkteamName="gtlabel")
    gtlabel_aws.sagemaker.delete_workforce(WorkforceName="default")
    return gtlabel_aws


@pytest.mark.parametrize(
    ("operation", "params", "sentence"),
    [
        (
            "create_workforce",
            {"WorkforceName": "more", "CognitoConfig": {"UserPool": "POOL", "ClientId": "CLIENT"}},
            f"Cannot create more than one workforce for account {ACCOUNT}. If you are trying to update "
            "existing workforce, please use UpdateWorkforce API",
        ),
        (
            "create_workforce",
            {"WorkforceName": "more", "CognitoConfig": {"UserPool": "us-east-1_none", "ClientId": "c"}},
            "The user pool 'us-east-1_none' does not exist.",
        ),
        (
            "create_workteam",
            {"group": {"UserPool": "POOL", "ClientId": "CLIENT", "UserGroup": "nobody"}},
            "has no group 'nobody'.",
        ),
        (
            "create_workteam",
            {"group": {"UserPool": "POOL", "ClientId": "other", "UserGroup": "gtlabel"}},
            "has no client 'other'.",
        ),
        ("create_workteam", {"groups": ["a"]}, "signs in with Cognito, and so must its teams."),
        ("update_workforce", {"WorkforceName": "default", "OidcConfig": OIDC}, "signs in with Cognito"),
    ],
)
def test_the_service_refuses_what_has_no_people_behind_it(
    gtlabel_aws: Aws, operation: str, params: dict[str, Any], sentence: str
) -> None:
    workforce = find_workforce(gtlabel_aws.sagemaker)
    assert workforce is not None
    if "group" in params:
        params = {"MemberDefinitions": [{"CognitoMemberDefinition": params["group"]}]}
    elif "groups" in params:
        params = {"MemberDefinitions": [{"OidcMemberDefinition": {"Groups": params["groups"]}}]}
    if operation == "create_workteam":
        params = {"WorkteamName": "sorters", "Description": "Sorts", **params}
    filled = (
        json.dumps(params).replace("POOL", workforce.pool or "").replace("CLIENT", workforce.client or "")
    )
    with pytest.raises(ClientError) as refused:
        getattr(gtlabel_aws.sagemaker, operation)(**json.loads(filled))
    assert sentence in refused.value.response["Error"]["Message"]
    assert refused.value.response["Error"]["Code"] == "ValidationException"


def test_a_workforce_says_where_its_people_work(gtlabel_aws: Aws) -> None:
    workforce = gtlabel_aws.sagemaker.describe_workforce(WorkforceName="default")["Workforce"]
    team = gtlabel_aws.sagemaker.describe_workteam(WorkteamName="gtlabel")["Workteam"]
    assert workforce["SubDomain"] == team["SubDomain"]
    assert workforce["SubDomain"].endswith(".labeling.us-east-1.sagemaker.aws")
    assert workforce["Status"] == "Active"
    narrow: Any = {"Cidrs": ["10.0.0.0/8"]}
    changed = gtlabel_aws.sagemaker.update_workforce(WorkforceName="default", SourceIpConfig=narrow)
    assert changed["Workforce"]["SourceIpConfig"] == narrow


def test_who_answered_how_much_is_told_by_name(gtlabel_aws: Aws, gtlabel_server: Address) -> None:
    put_inputs(gtlabel_aws.s3)
    team = make(gtlabel_aws, "sorters", ANN, BOB)
    for name in ("Bins-1", "Bins-2"):
        create_job(gtlabel_aws, name, team=team.arn)
    answer_as(gtlabel_server.url, "Bins-1", {ANN: 3, "somebody": 1}, seconds=2.0)
    answer_as(gtlabel_server.url, "Bins-2", {ANN: 2, BOB: 2}, seconds=2.0)
    output = S3Uri(f"s3://{BUCKET}/out/")

    def found() -> list[Any]:
        responses = [r for job in ("Bins-1", "Bins-2") for r in read_responses(gtlabel_aws.s3, output, job)]
        return activity(responses, people(gtlabel_aws.cognito_idp)) if len(responses) == 8 else []

    ann, bob, somebody = eventually(found)
    assert [(one.person, one.answers, one.jobs) for one in (ann, bob, somebody)] == [
        (ANN, 5, ("Bins-1", "Bins-2")),
        (BOB, 2, ("Bins-2",)),
        ("", 1, ("Bins-1",)),
    ]
    member = find_member(gtlabel_aws.cognito_idp, team.pool or "", ANN)
    assert member is not None
    assert (ann.sub, ann.issuer.rpartition("/")[2]) == (member.sub, team.pool)
    assert ann.worker.startswith("private.us-east-1.")
    assert ann.median_seconds is not None
    assert ann.per_hour is not None
    assert ann.first < ann.last


def test_a_real_job_of_2019_is_summed_up_although_it_tells_no_times(gtlabel_aws: Aws) -> None:
    files = {"1": "iteration-1", "2": "iteration-2"}
    answers = [
        {
            "answerContent": {},
            "submissionTime": f"2019-04-01T10:00:{second:02d}Z",
            "workerId": f"public.{who}",
        }
        for second, who in enumerate("aab")
    ]
    gtlabel_aws.s3.create_bucket(Bucket=BUCKET)
    for number, iteration in files.items():
        key = f"out/birds/annotations/worker-response/{iteration}/{number}/2019-04-01_10:01:00.json"
        body = json.dumps({"answers": answers}).encode()
        gtlabel_aws.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    busiest, other = activity(read_responses(gtlabel_aws.s3, S3Uri(f"s3://{BUCKET}/out/"), "birds"))
    assert (busiest.worker, busiest.answers, busiest.per_hour, busiest.median_seconds) == (
        "public.a",
        4,
        None,
        None,
    )
    assert (other.answers, other.person, other.sub) == (2, "", "")


def test_the_rate_and_the_median_count_the_seconds_that_people_looked() -> None:
    from datetime import UTC, datetime, timedelta

    from gtlabel.labeling.throughput import Response

    start = datetime(2026, 11, 22, tzinfo=UTC)
    given = [
        Response("j", str(place), "w", "s", "i", start + timedelta(hours=place), seconds)
        for place, seconds in enumerate((2.0, 4.0, 12.0, None))
    ]
    (worker,) = activity(given)
    assert (worker.answers, worker.per_hour, worker.median_seconds) == (4, 600.0, 4.0)
    assert (worker.first, worker.last) == (start, start + timedelta(hours=3))


def test_a_file_that_holds_no_answers_is_named(gtlabel_aws: Aws) -> None:
    gtlabel_aws.s3.create_bucket(Bucket=BUCKET)
    key = "out/Bins-1/annotations/worker-response/iteration-1/0/x.json"
    gtlabel_aws.s3.put_object(Bucket=BUCKET, Key=key, Body=b"{}")
    with pytest.raises(LabelingJobError, match=f"s3://{BUCKET}/{key} holds no answers of workers"):
        list(read_responses(gtlabel_aws.s3, S3Uri(f"s3://{BUCKET}/out/"), "Bins-1"))


def test_workers_of_a_provider_answer_under_its_name(bare: Aws, gtlabel_server: Address) -> None:
    put_inputs(bare.s3)
    team = make(bare, oidc_groups=("labelers",), oidc=OIDC)
    create_job(bare, "Bins-1", team=team.arn)
    answer_as(gtlabel_server.url, "Bins-1", {ANN: 3, BOB: 1})
    output = S3Uri(f"s3://{BUCKET}/out/")
    eventually(lambda: len(list(read_responses(bare.s3, output, "Bins-1"))) == 4)
    ann, bob = activity(read_responses(bare.s3, output, "Bins-1"), people(bare.cognito_idp))
    assert (ann.answers, bob.answers) == (3, 1)
    assert ann.issuer == bob.issuer == "https://login.example.com"
    assert ann.sub != bob.sub
    assert ann.person == bob.person == ""


def test_simulated_people_are_those_of_the_first_team(gtlabel_aws: Aws, gtlabel_server: Address) -> None:
    put_inputs(gtlabel_aws.s3)
    team = describe_team(gtlabel_aws.sagemaker, "gtlabel")
    assert emails(gtlabel_aws, team) == {"worker-1@example.com": True}
    create_job(gtlabel_aws, "Bins-1")
    simulate(gtlabel_server.url, "Bins-1", 2, 1.0, TRUTH)
    output = S3Uri(f"s3://{BUCKET}/out/")
    responses = eventually(
        lambda: (
            (found := list(read_responses(gtlabel_aws.s3, output, "Bins-1"))) and len(found) == 4 and found
        )
    )
    told = {worker.person for worker in activity(responses, people(gtlabel_aws.cognito_idp))}
    assert told <= {"worker-1@example.com", "worker-2@example.com"}
    assert told <= set(emails(gtlabel_aws, team))
    assert told


def test_teams_from_the_command_line(bare: Aws) -> None:
    dry = gtlabel("team", "create", "sorters", ANN, "--dry-run", "--output", "json")
    assert json.loads(dry.stdout)[-1] == f"invite {ANN} by e-mail"
    assert everything(bare)["pools"] == []
    made = gtlabel("team", "create", "sorters", ANN, BOB, "--poll", "0.1")
    assert made.stdout == f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:workteam/private-crowd/sorters\n", (
        made.stderr
    )
    assert f"invite {ANN} by e-mail" in made.stderr
    invited = gtlabel("team", "invite", "sorters", ANN, EVE, "--output", "json")
    assert json.loads(invited.stdout) == [
        {"email": ANN, "outcome": "already there"},
        {"email": EVE, "outcome": "invited"},
    ]
    gone = gtlabel("team", "deactivate", "sorters", BOB, "--output", "json")
    assert json.loads(gone.stdout) == {"team": "sorters", "worker": BOB, "may_sign_in": False}
    shown = json.loads(gtlabel("team", "show", "sorters", "--output", "json").stdout)
    assert {one["email"]: one["enabled"] for one in shown["members"]} == {ANN: True, BOB: False, EVE: True}
    wrong = gtlabel("team", "create", "sorters", "ann")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr == "gtlabel: 'ann' is not an e-mail address; nobody was written to\n"


def test_the_workers_of_a_job_from_the_command_line(gtlabel_aws: Aws, gtlabel_server: Address) -> None:
    put_inputs(gtlabel_aws.s3)
    team = make(gtlabel_aws, "sorters", ANN)
    create_job(gtlabel_aws, "Bins-1", team=team.arn)
    answer_as(gtlabel_server.url, "Bins-1", {ANN: 4})
    eventually(lambda: len(list(read_responses(gtlabel_aws.s3, S3Uri(f"s3://{BUCKET}/out/"), "Bins-1"))) == 4)
    (worker,) = json.loads(gtlabel("team", "workers", "Bins-1", "--output", "json").stdout)
    assert (worker["person"], worker["answers"], worker["jobs"]) == (ANN, 4, ["Bins-1"])
    assert ANN in gtlabel("team", "workers", "Bins-1").stdout


def answer_as(url: str, job: str, shares: dict[str, int], seconds: float | None = None) -> None:
    """Have each of these people answer so many of a job's images."""
    for worker, count in shares.items():
        for _ in range(count):
            task = eventually(partial(lease, url, job, worker))
            said = {"crowd-image-classifier": {"label": TRUTH[task["source_ref"]]}}
            given = {"lease": task["lease"], "answer": said, "active_seconds": seconds}
            post(f"{url}/gtlabel/worker/submit", given)


def lease(url: str, job: str, worker: str) -> dict[str, Any] | None:
    task = post(f"{url}/gtlabel/worker/lease", {"job": job, "worker": worker})
    return task if task["lease"] else None


def eventually(found: Callable[[], Any]) -> Any:
    """What a look gives once it gives something true."""
    until = time.monotonic() + 60
    while not (value := found()):
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.05)
    return value
