"""Teams: made of e-mail addresses, looked at, changed; and who answered how much in their jobs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.model import OperationModel
from emulator_parts import BUCKET, TRUTH, clients, create_job, gtlabel, post, put_inputs
from pydantic import ValidationError

from gtlabel.aws import Aws
from gtlabel.emulator.child import Address
from gtlabel.emulator.simulate import answer as simulate
from gtlabel.errors import LabelingJobError, RequestError, TeamNotFoundError, WorkforceError
from gtlabel.labeling.members import (
    deactivate_member,
    find_member,
    invite,
    list_members,
    remove_member,
)
from gtlabel.labeling.throughput import activity, people, read_responses
from gtlabel.labeling.workforce import (
    Team,
    TeamPlan,
    TeamRequest,
    create_team,
    describe_team,
    find_workforce,
    list_teams,
    plan_team,
)
from gtlabel.uris import S3Uri

ACCOUNT = "123456789012"
ANN, BOB, EVE = "ann@example.com", "bob@example.com", "eve@example.com"
OIDC = {
    "ClientId": "gtlabel",
    "ClientSecret": "secret",
    "Issuer": "https://login.example.com",
    "AuthorizationEndpoint": "https://login.example.com/authorize",
    "TokenEndpoint": "https://login.example.com/token",
    "UserInfoEndpoint": "https://login.example.com/userinfo",
    "LogoutEndpoint": "https://login.example.com/logout",
    "JwksUri": "https://login.example.com/jwks",
}


def plan(aws: Aws, name: str = "sorters", *members: str, **changes: Any) -> TeamPlan:
    request = TeamRequest(**{"name": name, "members": members, **changes})
    return plan_team(aws.sagemaker, aws.cognito_idp, request, account=ACCOUNT, region="us-east-1")


def make(aws: Aws, name: str = "sorters", *members: str, **changes: Any) -> Team:
    return create_team(aws.sagemaker, aws.cognito_idp, plan(aws, name, *members, **changes), poll=0.01)


def emails(aws: Aws, team: Team) -> dict[str, bool]:
    """Who is in a team, and whether they may sign in."""
    members = list_members(aws.cognito_idp, team.pool or "", team.groups)
    return {member.email: member.enabled for member in members}


def everything(aws: Aws) -> dict[str, list[Any]]:
    """All there is of people and teams, by name."""
    cognito: Any = aws.cognito_idp
    found: dict[str, list[Any]] = {"pools": [], "clients": [], "groups": [], "users": [], "domains": []}
    for pool in cognito.list_user_pools(MaxResults=60)["UserPools"]:
        found["pools"].append(pool["Name"])
        given = {"UserPoolId": pool["Id"]}
        found["clients"] += [
            c["ClientName"] for c in cognito.list_user_pool_clients(**given)["UserPoolClients"]
        ]
        found["groups"] += [group["GroupName"] for group in cognito.list_groups(**given)["Groups"]]
        found["users"] += [user["Username"] for user in cognito.list_users(**given)["Users"]]
        found["domains"] += [cognito.describe_user_pool(**given)["UserPool"].get("Domain")]
    found["workforces"] = [w["WorkforceName"] for w in aws.sagemaker.list_workforces()["Workforces"]]
    found["teams"] = [team.name for team in list_teams(aws.sagemaker)]
    return found


@pytest.fixture
def bare(gtlabel_aws: Aws) -> Aws:
    """An account in which nobody ever made a workforce."""
    gtlabel_aws.sagemaker.delete_workteam(WorkteamName="gtlabel")
    gtlabel_aws.sagemaker.delete_workforce(WorkforceName="default")
    return gtlabel_aws


def test_a_team_is_made_of_nothing_but_addresses(bare: Aws) -> None:
    asked = plan(bare, "sorters", ANN, BOB)
    assert asked.steps == [
        "create the Cognito user pool gtlabel-workers",
        "create its client gtlabel-workers, with a secret",
        f"give it the domain {asked_domain(asked)}",
        "create the workforce default, the only one of us-east-1",
        "create the group sorters",
        "create the team sorters",
        f"invite {ANN} by e-mail",
        f"invite {BOB} by e-mail",
    ]
    assert everything(bare)["pools"] == []
    team = create_team(bare.sagemaker, bare.cognito_idp, asked, poll=0.01)
    assert team.arn == f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:workteam/private-crowd/sorters"
    assert emails(bare, team) == {ANN: True, BOB: True}
    workforce = find_workforce(bare.sagemaker)
    assert workforce is not None
    assert (workforce.pool, workforce.client, workforce.portal) == (team.pool, team.client, team.portal)


def asked_domain(asked: TeamPlan) -> str:
    return next(step for step in asked.steps if "domain" in step).rpartition(" ")[2]


def test_the_portal_can_sign_people_in_and_is_named_in_their_invitation(bare: Aws) -> None:
    team = make(bare, "sorters", ANN)
    given: Any = {"UserPoolId": team.pool, "ClientId": team.client}
    client = bare.cognito_idp.describe_user_pool_client(**given)["UserPoolClient"]
    assert client["ClientSecret"]
    assert client["CallbackURLs"] == [f"{team.portal}/oauth2/idpresponse"]
    assert client["LogoutURLs"] == [f"{team.portal}/logout"]
    assert client["AllowedOAuthFlowsUserPoolClient"]
    pool = bare.cognito_idp.describe_user_pool(UserPoolId=team.pool or "")["UserPool"]
    assert pool["Domain"].startswith("gtlabel-")
    assert team.portal in pool["AdminCreateUserConfig"]["InviteMessageTemplate"]["EmailMessage"]
    assert pool["AdminCreateUserConfig"]["AllowAdminCreateUserOnly"]


def test_asking_again_makes_nothing_twice_and_writes_to_nobody_again(bare: Aws) -> None:
    first = make(bare, "sorters", ANN, BOB)
    before = everything(bare)
    again = plan(bare, "sorters", "Ann@Example.com", BOB)
    assert again.steps == []
    assert create_team(bare.sagemaker, bare.cognito_idp, again, poll=0.01) == first
    assert everything(bare) == before
    assert plan(bare, "sorters", ANN, EVE).steps == [f"invite {EVE} by e-mail"]
    assert emails(bare, make(bare, "sorters", ANN, EVE)) == {ANN: True, BOB: True, EVE: True}


@pytest.mark.parametrize("calls", range(9))
def test_a_team_that_was_made_halfway_is_finished(bare: Aws, calls: int) -> None:
    made = 0

    def cut(model: OperationModel, **_: Any) -> None:
        nonlocal made
        made += not model.name.startswith(("Describe", "List", "Get"))
        if made > calls:
            raise ConnectionError

    asked = plan(bare, "sorters", ANN)
    asking = (bare.cognito_idp, bare.sagemaker)
    for client in asking:
        client.meta.events.register("before-call", cut)
    try:
        with pytest.raises(ConnectionError):
            create_team(bare.sagemaker, bare.cognito_idp, asked, poll=0.01)
    finally:
        for client in asking:
            client.meta.events.unregister("before-call", cut)
    assert emails(bare, make(bare, "sorters", ANN)) == {ANN: True}
    assert {name: len(found) for name, found in everything(bare).items()} == {
        "pools": 1,
        "clients": 1,
        "groups": 1,
        "users": 1,
        "domains": 1,
        "workforces": 1,
        "teams": 1,
    }


def test_two_who_want_the_same_team_at_once_get_one(bare: Aws) -> None:
    plans = [plan(bare, "sorters", ANN), plan(bare, "sorters", ANN, BOB)]
    first, second = (create_team(bare.sagemaker, bare.cognito_idp, each, poll=0.01) for each in plans)
    assert first == second
    assert emails(bare, first) == {ANN: True, BOB: True}
    found = {name: len(names) for name, names in everything(bare).items()}
    once = ("pools", "clients", "groups", "domains", "workforces", "teams")
    assert found == {**dict.fromkeys(once, 1), "users": 2}


def test_two_who_invite_the_same_person_at_once_invite_them_once(bare: Aws, gtlabel_server: Address) -> None:
    team = make(bare, "sorters", ANN)
    other = clients(gtlabel_server)

    raced = []

    def first(**_: Any) -> None:
        raced.extend(invite(other.cognito_idp, team.pool or "", "sorters", [BOB]))

    bare.cognito_idp.meta.events.register_first(
        "before-call.cognito-identity-provider.AdminCreateUser", first
    )
    (outcome,) = invite(bare.cognito_idp, team.pool or "", "sorters", [BOB])
    assert [outcome.email] == [one.email for one in raced] == [BOB]
    assert len(everything(bare)["users"]) == 2
    assert emails(bare, team) == {ANN: True, BOB: True}


def test_a_second_team_uses_the_workforce_that_is_there(gtlabel_aws: Aws) -> None:
    assert [team.name for team in list_teams(gtlabel_aws.sagemaker)] == ["gtlabel"]
    before = everything(gtlabel_aws)
    assert plan(gtlabel_aws, "sorters", ANN).steps == [
        "create the group sorters",
        "create the team sorters",
        f"invite {ANN} by e-mail",
    ]
    team = make(gtlabel_aws, "sorters", ANN)
    after = everything(gtlabel_aws)
    assert [team.name for team in list_teams(gtlabel_aws.sagemaker)] == ["gtlabel", "sorters"]
    assert (after["pools"], after["workforces"]) == (before["pools"], ["default"])
    assert describe_team(gtlabel_aws.sagemaker, team.arn) == team


def test_somebody_who_is_in_one_team_joins_another_without_an_invitation(bare: Aws) -> None:
    make(bare, "sorters", ANN)
    other = make(bare, "checkers", ANN, BOB)
    assert emails(bare, other) == {ANN: True, BOB: True}
    assert len(everything(bare)["users"]) == 2
    outcomes = invite(bare.cognito_idp, other.pool or "", "sorters", ["Ann@Example.com", BOB, EVE])
    assert [one.outcome for one in outcomes] == ["already there", "added", "invited"]


def test_who_is_deactivated_cannot_sign_in_until_invited_again(bare: Aws) -> None:
    team = make(bare, "sorters", ANN, BOB)
    pool = team.pool or ""
    deactivate_member(bare.cognito_idp, pool, team.groups, "BOB@example.com")
    assert emails(bare, team) == {ANN: True, BOB: False}
    assert plan(bare, "sorters", BOB).steps == [f"invite {BOB} by e-mail"]
    (outcome,) = invite(bare.cognito_idp, pool, "sorters", [BOB])
    assert outcome.outcome == "enabled"
    assert emails(bare, team) == {ANN: True, BOB: True}
    remove_member(bare.cognito_idp, pool, team.groups, BOB)
    assert emails(bare, team) == {ANN: True}
    left = find_member(bare.cognito_idp, pool, BOB)
    assert left is not None
    assert left.enabled
    with pytest.raises(WorkforceError, match="nobody in the team is called 'bob@example.com'"):
        remove_member(bare.cognito_idp, pool, team.groups, BOB)


def test_a_team_in_process_needs_no_server(gtlabel_mock: Aws) -> None:
    team = make(gtlabel_mock, "sorters", ANN)
    assert emails(gtlabel_mock, team) == {ANN: True}
    put_inputs(gtlabel_mock.s3)
    assert create_job(gtlabel_mock, "Bins-1", team=team.arn).endswith("labeling-job/bins-1")


def test_groups_of_a_provider_make_a_team_without_cognito(bare: Aws) -> None:
    with pytest.raises(WorkforceError, match="say how to reach the provider of these groups with --oidc"):
        plan(bare, oidc_groups=("labelers",))
    team = make(bare, oidc_groups=("labelers", "students"), oidc=OIDC)
    assert (team.groups, team.pool, team.client) == (("labelers", "students"), None, None)
    assert everything(bare)["pools"] == []
    workforce = find_workforce(bare.sagemaker)
    assert workforce is not None
    assert workforce.issuer == "https://login.example.com"
    described = bare.sagemaker.describe_workforce(WorkforceName="default")["Workforce"]
    assert "ClientSecret" not in described["OidcConfig"]
    assert plan(bare, oidc_groups=("students", "labelers")).steps == []
    assert plan(bare, "checkers", oidc_groups=("students",)).steps == ["create the team checkers"]
    with pytest.raises(WorkforceError, match="exists with the groups labelers, students; choose another"):
        plan(bare, oidc_groups=("students",))
    with pytest.raises(WorkforceError, match="signs in with https://login.example.com"):
        plan(bare, "checkers", ANN)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "a_b"}, "workteamName"),
        ({"name": "x" * 64}, "workteamName"),
        ({"description": ""}, "description"),
        ({"description": "x" * 201}, "description"),
        ({"topic": "here"}, "notificationTopicArn"),
        ({"members": ("ann",)}, "'ann' is not an e-mail address; nobody was written to"),
        ({"members": (ANN, "ANN@example.com")}, "is named twice"),
        ({"members": (ANN,), "oidc_groups": ("a",)}, "not both; leave out one of them"),
        ({"oidc_groups": tuple("abcdefghijk")}, "11 groups; a team has at most 10"),
        ({"oidc_groups": ("x" * 64,)}, "has 64 characters; 1 to 63 are allowed"),
        ({"oidc": OIDC}, "needs the groups whose members are in the team"),
        ({"oidc_groups": ("a",)}, "signs in with the Cognito user pool"),
    ],
)
def test_a_team_that_cannot_be_is_refused_before_anything_is_made(
    gtlabel_aws: Aws, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises((WorkforceError, RequestError, ValidationError), match=sentence):
        plan(gtlabel_aws, **changes)
    pools = gtlabel_aws.cognito_idp.list_user_pools(MaxResults=60)["UserPools"]
    assert "gtlabel-workers" not in [pool.get("Name") for pool in pools]


def test_a_twenty_sixth_team_is_refused(gtlabel_aws: Aws) -> None:
    team = describe_team(gtlabel_aws.sagemaker, "gtlabel")
    group: Any = {"UserPool": team.pool, "UserGroup": "gtlabel", "ClientId": team.client}
    for number in range(24):
        gtlabel_aws.sagemaker.create_workteam(
            WorkteamName=f"team-{number}",
            Description="Sorts",
            MemberDefinitions=[{"CognitoMemberDefinition": group}],
        )
    with pytest.raises(WorkforceError, match="has 25 teams in us-east-1, the most there can be"):
        plan(gtlabel_aws, "one-more")
    assert plan(gtlabel_aws, "team-3").steps == []


def test_a_workforce_whose_pool_is_gone_is_said(bare: Aws) -> None:
    team = make(bare, "sorters", ANN)
    bare.cognito_idp.delete_user_pool(UserPoolId=team.pool or "")
    with pytest.raises(WorkforceError, match="does not exist any more, so nobody can sign in"):
        plan(bare, "checkers", ANN)


def test_a_team_that_is_not_there_is_named(gtlabel_aws: Aws) -> None:
    with pytest.raises(TeamNotFoundError, match="there is no work team named 'nobody'; see `gtlabel team"):
        describe_team(gtlabel_aws.sagemaker, "nobody")


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
    until = time.monotonic() + 20
    while not (value := found()):
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.05)
    return value
