"""Whether there is a team, and anybody in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gtlabel.labeling.preflight.clients import client
from gtlabel.labeling.preflight.findings import Finding, asking, error, ok, warning
from gtlabel.labeling.preflight.subject import Subject, command
from gtlabel.labeling.tasks import TeamKind, team_kind

if TYPE_CHECKING:
    from gtlabel.aws import Aws


def check_team(aws: Aws, subject: Subject) -> Iterator[Finding]:
    """Whether the team exists, in this region, and whether anybody is in it."""
    from botocore.exceptions import ClientError

    if subject.team is None:
        return
    arn = subject.team_arn(aws)
    kind = team_kind(arn)
    if kind is None:
        yield error("team", f"{arn} is not the ARN of a work team")
        return
    region, account = arn.split(":")[3:5]
    name = arn.rpartition("/")[2]
    if kind is TeamKind.PUBLIC:
        yield error("team", "the public team closed with Mechanical Turk on 2026-09-30; name another team")
    elif region != aws.region:
        yield error("team", f"the team {arn} is in {region} and the job would run in {aws.region}")
    elif kind is TeamKind.PRIVATE and account != aws.account:
        yield error("team", f"the private team {arn} belongs to another account than {aws.account}")
    else:
        action = "DescribeSubscribedWorkteam" if kind is TeamKind.VENDOR else "DescribeWorkteam"
        try:
            with asking(f"sagemaker:{action}", arn):
                members = _members(aws, kind, arn, name)
        except ClientError as refusal:
            # contract/ground-truth.md 11.1: a team that is missing is a ValidationException.
            if refusal.response["Error"].get("Code") not in ("ValidationException", "ResourceNotFound"):
                raise
            yield error("team", f"there is no work team {arn}", _create(aws, kind, name))
            return
        yield ok("team", f"the team {name!r} exists")
        yield from _people(aws, name, members)


def _members(aws: Aws, kind: TeamKind, arn: str, name: str) -> list[Any]:
    if kind is TeamKind.VENDOR:
        aws.sagemaker.describe_subscribed_workteam(WorkteamArn=arn)
        return []
    return list(aws.sagemaker.describe_workteam(WorkteamName=name)["Workteam"]["MemberDefinitions"])


def _people(aws: Aws, name: str, members: list[Any]) -> Iterator[Finding]:
    """Who can sign in. People of an identity provider of one's own, or a vendor's, are not known to AWS."""
    groups = [member["CognitoMemberDefinition"] for member in members if "CognitoMemberDefinition" in member]
    if not groups:
        return
    cognito = client(aws, "cognito-idp")
    check, people = "team-members", []
    for group in groups:
        pool = group["UserPool"]
        where = f"arn:aws:cognito-idp:{aws.region}:{aws.account}:userpool/{pool}"
        try:
            with asking("cognito-idp:ListUsersInGroup", where):
                pages = cognito.get_paginator("list_users_in_group")
                for page in pages.paginate(UserPoolId=pool, GroupName=group["UserGroup"]):
                    people += [user for user in page["Users"] if user.get("Enabled", True)]
        except cognito.exceptions.ResourceNotFoundException:
            yield warning(
                check,
                f"the team {name!r} names the group {group['UserGroup']!r} of the user pool {pool}, "
                "which does not exist, so nobody can sign in as a member of it",
            )
            return
    # Cognito's word for somebody who was invited and has not been there yet.
    waiting = sum(user.get("UserStatus") == "FORCE_CHANGE_PASSWORD" for user in people)
    if people:
        count = "1 member" if len(people) == 1 else f"{len(people)} members"
        yield ok(check, f"the team {name!r} has {count}; signed in before: {len(people) - waiting}")
    else:
        yield error(check, f"the team {name!r} has no members, so nobody would see the pictures")


def _create(aws: Aws, kind: TeamKind, name: str) -> str | None:
    return command(aws, "gtlabel", "team", "create", name) if kind is TeamKind.PRIVATE else None
