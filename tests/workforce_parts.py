"""What the tests of teams share: an account without one, and a team made of addresses."""

from __future__ import annotations

from typing import Any

from gtlabel.aws import Aws
from gtlabel.labeling.members import (
    list_members,
)
from gtlabel.labeling.workforce import (
    Team,
    TeamPlan,
    TeamRequest,
    create_team,
    list_teams,
    plan_team,
)

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
