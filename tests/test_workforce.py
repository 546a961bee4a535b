"""Teams: made of e-mail addresses, looked at, changed; and who answered how much in their jobs."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.model import OperationModel
from emulator_parts import clients, create_job, put_inputs
from pydantic import ValidationError
from workforce_parts import ACCOUNT, ANN, BOB, EVE, OIDC, emails, everything, make, plan

from gtlabel.aws import Aws
from gtlabel.emulator.child import Address
from gtlabel.errors import RequestError, TeamNotFoundError, WorkforceError
from gtlabel.labeling.members import (
    deactivate_member,
    find_member,
    invite,
    remove_member,
)
from gtlabel.labeling.workforce import (
    TeamPlan,
    create_team,
    describe_team,
    find_workforce,
    list_teams,
)


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
