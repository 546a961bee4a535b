"""Who labels: the workforce of an account, its teams, and making a team of people's e-mail addresses.

An account has one private workforce in each region. Its people sign in with a Cognito user pool, or with a
provider of your own (OIDC). Whatever is found is used, whatever is missing is made, so that a team that was
made halfway is finished by asking again.
https://docs.aws.amazon.com/sagemaker/latest/dg/sms-workforce-private.html, contract/ground-truth.md 3.5.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, model_validator

from gtlabel.awsmodel import check_request
from gtlabel.errors import RequestError, TeamNotFoundError, WorkforceError
from gtlabel.labeling import signin
from gtlabel.labeling.members import check_emails, email_names, ensure_group, invite

if TYPE_CHECKING:
    from types_boto3_cognito_idp import CognitoIdentityProviderClient
    from types_boto3_sagemaker import SageMakerClient
    from types_boto3_sagemaker.type_defs import WorkforceTypeDef, WorkteamTypeDef

DEFAULT_DESCRIPTION = "People who label pictures"
WORKFORCE_NAME = "default"

MAX_TEAMS = 25
MAX_GROUPS = 10


@dataclass(frozen=True, slots=True)
class Workforce:
    """The people of an account in a region.

    Attributes:
        portal: the address where they sign in; empty until AWS has given one.
        pool: the Cognito user pool they are in; None when they sign in elsewhere.
        client: the pool's client that the portal uses.
        issuer: the provider they sign in with instead of Cognito.
    """

    name: str
    arn: str
    status: str
    portal: str
    pool: str | None
    client: str | None
    issuer: str | None


@dataclass(frozen=True, slots=True)
class Team:
    """A private work team.

    Attributes:
        groups: the groups of the pool, or of the provider, whose members are in the team.
        pool: the Cognito user pool of the groups; None when they are a provider's.
        topic: the SNS topic that tells the team of new work.
    """

    name: str
    arn: str
    description: str
    portal: str
    groups: tuple[str, ...]
    pool: str | None
    client: str | None
    topic: str | None
    created: datetime | None

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {**asdict(self), "created": self.created.isoformat() if self.created else None}


class TeamRequest(BaseModel):
    """A private team that is wanted.

    Attributes:
        members: the e-mail addresses of its people, who are sent an invitation each.
        oidc_groups: groups of the account's own provider, instead of people.
        oidc: how to reach that provider, when the account has no workforce yet: the members of
            `OidcConfig` of CreateWorkforce.
        topic: the ARN of an SNS topic that tells the team of new work.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str = DEFAULT_DESCRIPTION
    members: tuple[str, ...] = ()
    oidc_groups: tuple[str, ...] = ()
    oidc: dict[str, Any] | None = None
    topic: str | None = None

    @model_validator(mode="after")
    def _rules(self) -> Self:
        check_emails(self.members)
        if self.members and self.oidc_groups:
            raise ValueError(
                "a team has people of Cognito or groups of a provider, not both; leave out one of them"
            )
        if self.oidc and not self.oidc_groups:
            raise ValueError("a provider needs the groups whose members are in the team; name at least one")
        if len(self.oidc_groups) > MAX_GROUPS:
            raise ValueError(f"{len(self.oidc_groups)} groups; a team has at most {MAX_GROUPS}")
        for group in self.oidc_groups:
            if not 0 < len(group) <= 63:
                raise ValueError(f"the group {group!r} has {len(group)} characters; 1 to 63 are allowed")
        return self

    def to_boto(self, workforce: str, pool: str, client: str) -> dict[str, Any]:
        """The parameters of `create_workteam`.

        Raises:
            RequestError: with one sentence for each field that the service would refuse.
        """
        member: dict[str, Any]
        if self.oidc_groups:
            member = {"OidcMemberDefinition": {"Groups": list(self.oidc_groups)}}
        else:
            group = {"UserPool": pool, "UserGroup": self.name, "ClientId": client}
            member = {"CognitoMemberDefinition": group}
        request: dict[str, Any] = {
            "WorkteamName": self.name,
            "WorkforceName": workforce,
            "Description": self.description,
            "MemberDefinitions": [member],
        }
        if self.topic:
            request["NotificationConfiguration"] = {"NotificationTopicArn": self.topic}
        problems = check_request("sagemaker", "CreateWorkteam", request)
        if problems:
            raise RequestError("CreateWorkteam", problems)
        return request


@dataclass(frozen=True, slots=True)
class TeamPlan:
    """A team that could be made, and what is there of it; None stands for what is missing."""

    request: TeamRequest
    account: str
    region: str
    workforce: Workforce | None
    pool: str | None
    client: str | None
    domain: str | None
    team: Team | None
    new_members: tuple[str, ...]

    @property
    def steps(self) -> list[str]:
        """What would be done, one sentence each; empty when all of it is there."""
        request, steps = self.request, []
        if not request.oidc_groups and self.workforce is None:
            if self.pool is None:
                steps.append(f"create the Cognito user pool {signin.POOL_NAME}")
            if self.client is None:
                steps.append(f"create its client {signin.POOL_NAME}, with a secret")
            if self.domain is None:
                steps.append(f"give it the domain {signin.domain_name(self.account, self.region)}")
        if self.workforce is None:
            steps.append(f"create the workforce {WORKFORCE_NAME}, the only one of {self.region}")
        if self.team is None:
            if not request.oidc_groups:
                steps.append(f"create the group {request.name}")
            steps.append(f"create the team {request.name}")
        steps.extend(f"invite {email} by e-mail" for email in self.new_members)
        return steps


def find_workforce(sagemaker: SageMakerClient) -> Workforce | None:
    """The private workforce of the account in this region, if it has one."""
    for page in sagemaker.get_paginator("list_workforces").paginate():
        for workforce in page["Workforces"]:
            return _workforce(workforce)
    return None


def list_teams(sagemaker: SageMakerClient, name_contains: str | None = None) -> Iterator[Team]:
    """Yield the private teams of the account, by name."""
    filters: dict[str, Any] = {"SortBy": "Name", "SortOrder": "Ascending"}
    if name_contains:
        filters["NameContains"] = name_contains
    for page in sagemaker.get_paginator("list_workteams").paginate(**filters):
        for team in page["Workteams"]:
            yield _team(team)


def describe_team(sagemaker: SageMakerClient, name: str) -> Team:
    """Look a team up by its name or ARN.

    Raises:
        TeamNotFoundError: if the account has no such team.
    """
    from botocore.exceptions import ClientError

    try:
        return _team(sagemaker.describe_workteam(WorkteamName=name.rpartition("/")[2])["Workteam"])
    except ClientError as error:
        answer = error.response["Error"]
        # The service has no error of its own for it (contract 11.1, text 5).
        if answer["Code"] == "ValidationException" and answer.get("Message", "").startswith("The work team"):
            raise TeamNotFoundError(name) from error
        raise


def plan_team(
    sagemaker: SageMakerClient,
    cognito: CognitoIdentityProviderClient,
    request: TeamRequest,
    *,
    account: str,
    region: str,
) -> TeamPlan:
    """Look what is there of a team; nothing is made and nobody is written to.

    Raises:
        WorkforceError: if the account's workforce cannot have such a team.
        RequestError: if the service would refuse it.
    """
    request.to_boto(WORKFORCE_NAME, f"{region}_pool", "client")
    workforce, team = find_workforce(sagemaker), _team_or_none(sagemaker, request.name)
    _check_kind(request, workforce)
    pool, client = (workforce.pool, workforce.client) if workforce else (None, None)
    domain = None
    if not request.oidc_groups:
        pool = pool or signin.find_pool(cognito)
        domain = signin.domain_of(cognito, pool) if pool else None
        if pool and not client:
            client = signin.find_client(cognito, pool)
    if team is None and sum(1 for _ in list_teams(sagemaker)) >= MAX_TEAMS:
        raise WorkforceError(
            f"the account has {MAX_TEAMS} teams in {region}, the most there can be; delete one first"
        )
    if team is not None and request.oidc_groups and set(team.groups) != set(request.oidc_groups):
        raise WorkforceError(
            f"the team {team.name!r} exists with the groups {', '.join(team.groups)}; choose another name"
        )
    group = team.groups[0] if team else request.name
    there = email_names(cognito, pool, group) if pool and request.members else frozenset()
    fresh = tuple(email for email in request.members if email.lower() not in there)
    return TeamPlan(request, account, region, workforce, pool, client, domain, team, fresh)


def create_team(
    sagemaker: SageMakerClient,
    cognito: CognitoIdentityProviderClient,
    plan: TeamPlan,
    *,
    poll: float = 5.0,
    timeout: float = 600.0,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Team:
    """Make what is missing of a plan, and return the team; its new people get an e-mail each.

    It looks again first, so that what somebody made since the plan is not made twice.

    Args:
        sagemaker: the client for workforces and teams.
        cognito: the client for people.
        plan: what is wanted and what is there.
        poll: seconds between two looks at a new workforce.
        timeout: seconds that it may take.
        sleep: waits that many seconds.
        clock: tells the seconds passed.

    Raises:
        WorkforceError: if the workforce cannot be made.
    """
    account, region = plan.account, plan.region
    plan = plan_team(sagemaker, cognito, plan.request, account=account, region=region)
    request, pool, client = plan.request, plan.pool, plan.client
    if not request.oidc_groups:
        pool = pool or signin.create_pool(cognito)
        client = client or signin.create_client(cognito, pool)
        if plan.workforce is None and plan.domain is None:
            name = signin.domain_name(account, region)
            cognito.create_user_pool_domain(UserPoolId=pool, Domain=name)
    workforce = plan.workforce or _create_workforce(sagemaker, request, pool, client)
    workforce = _wait_until_active(sagemaker, workforce, poll, timeout, sleep, clock)
    if workforce.pool and workforce.client:
        if workforce.portal:
            signin.lead_back(cognito, workforce.pool, workforce.client, workforce.portal)
            signin.write_portal(cognito, workforce.pool, workforce.portal)
        ensure_group(cognito, workforce.pool, plan.team.groups[0] if plan.team else request.name)
    team = plan.team or _create_workteam(sagemaker, request, workforce)
    if team.pool and plan.new_members:
        invite(cognito, team.pool, team.groups[0], plan.new_members)
    return team


def _check_kind(request: TeamRequest, workforce: Workforce | None) -> None:
    if workforce is None:
        if request.oidc_groups and not request.oidc:
            raise WorkforceError(
                "the account has no workforce yet; say how to reach the provider of these groups with --oidc"
            )
        return
    if request.oidc_groups and workforce.issuer is None:
        raise WorkforceError(
            f"the workforce {workforce.name!r} signs in with the Cognito user pool {workforce.pool}, and an "
            "account has one workforce in a region; name people by e-mail instead of groups"
        )
    if not request.oidc_groups and workforce.pool is None:
        raise WorkforceError(
            f"the workforce {workforce.name!r} signs in with {workforce.issuer}, and an account has one "
            "workforce in a region; name groups of that provider with --oidc-group"
        )


def _create_workforce(
    sagemaker: SageMakerClient, request: TeamRequest, pool: str | None, client: str | None
) -> Workforce:
    from botocore.exceptions import ClientError

    parameters: dict[str, Any] = {"WorkforceName": WORKFORCE_NAME}
    if request.oidc_groups:
        parameters["OidcConfig"] = dict(request.oidc or {})
    else:
        parameters["CognitoConfig"] = {"UserPool": pool, "ClientId": client}
    problems = check_request("sagemaker", "CreateWorkforce", parameters)
    if problems:
        raise RequestError("CreateWorkforce", problems)
    try:
        sagemaker.create_workforce(**parameters)
    except ClientError as error:
        # Somebody else made it since we looked (contract 11.1, text 3).
        if "more than one workforce" not in error.response["Error"].get("Message", ""):
            raise
    workforce = find_workforce(sagemaker)
    if workforce is None:
        raise WorkforceError("the workforce that was just made cannot be found; run this again in a minute")
    _check_kind(request, workforce)
    return workforce


def _wait_until_active(
    sagemaker: SageMakerClient,
    workforce: Workforce,
    poll: float,
    timeout: float,
    sleep: Callable[[float], None],
    clock: Callable[[], float],
) -> Workforce:
    start = clock()
    while workforce.status in ("Initializing", "Updating"):
        if clock() - start + poll > timeout:
            raise WorkforceError(
                f"the workforce {workforce.name!r} is still {workforce.status}; run this again later"
            )
        sleep(poll)
        found = sagemaker.describe_workforce(WorkforceName=workforce.name)["Workforce"]
        workforce = _workforce(found)
    if workforce.status not in ("Active", ""):
        raise WorkforceError(
            f"the workforce {workforce.name!r} is {workforce.status}; delete it and run this again"
        )
    return workforce


def _create_workteam(sagemaker: SageMakerClient, request: TeamRequest, workforce: Workforce) -> Team:
    parameters: Any = request.to_boto(workforce.name, workforce.pool or "", workforce.client or "")
    try:
        sagemaker.create_workteam(**parameters)
    except sagemaker.exceptions.ResourceInUse:
        # Somebody else made it since we looked, which is as good.
        return describe_team(sagemaker, request.name)
    return describe_team(sagemaker, request.name)


def _team_or_none(sagemaker: SageMakerClient, name: str) -> Team | None:
    try:
        return describe_team(sagemaker, name)
    except TeamNotFoundError:
        return None


def _workforce(found: WorkforceTypeDef) -> Workforce:
    cognito = found.get("CognitoConfig")
    return Workforce(
        name=found["WorkforceName"],
        arn=found["WorkforceArn"],
        status=found.get("Status", ""),
        portal=_address(found.get("SubDomain", "")),
        pool=cognito["UserPool"] if cognito else None,
        client=cognito["ClientId"] if cognito else None,
        issuer=found.get("OidcConfig", {}).get("Issuer"),
    )


def _team(found: WorkteamTypeDef) -> Team:
    cognito = [
        member["CognitoMemberDefinition"]
        for member in found["MemberDefinitions"]
        if "CognitoMemberDefinition" in member
    ]
    groups = [member["UserGroup"] for member in cognito] or [
        group
        for member in found["MemberDefinitions"]
        for group in member.get("OidcMemberDefinition", {}).get("Groups", ())
    ]
    return Team(
        name=found["WorkteamName"],
        arn=found["WorkteamArn"],
        description=found["Description"],
        portal=_address(found.get("SubDomain", "")),
        groups=tuple(groups),
        pool=cognito[0]["UserPool"] if cognito else None,
        client=cognito[0]["ClientId"] if cognito else None,
        topic=found.get("NotificationConfiguration", {}).get("NotificationTopicArn"),
        created=found.get("CreateDate"),
    )


def _address(domain: str) -> str:
    return domain if not domain or re.match(r"https?://", domain) else f"https://{domain}"
