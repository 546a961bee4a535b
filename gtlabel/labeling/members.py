"""The people of a team: members of a group in a Cognito user pool.

What is done here is done to the pool; a provider of your own (OIDC) has its own ways.
https://docs.aws.amazon.com/sagemaker/latest/dg/sms-workforce-management-private-api.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from gtlabel.errors import WorkforceError

if TYPE_CHECKING:
    from types_boto3_cognito_idp import CognitoIdentityProviderClient
    from types_boto3_cognito_idp.type_defs import UserTypeTypeDef

# Cognito has the last word; this finds a slip of the finger before anybody is written to.
_EMAIL = re.compile(r"[^@\s\"\\]+@[^@\s\"\\.]+(\.[^@\s\"\\.]+)+")
_EMAIL_CHARACTERS = 254


@dataclass(frozen=True, slots=True)
class Member:
    """A person in a user pool.

    Attributes:
        sub: what worker responses name the person by.
        status: `FORCE_CHANGE_PASSWORD` until the invitation was taken up, then `CONFIRMED`.
        enabled: whether the person may sign in.
    """

    username: str
    email: str
    sub: str
    status: str
    enabled: bool

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Invitation:
    """What became of one address: `invited`, `added`, `enabled` again, `already there`."""

    email: str
    outcome: str


def check_emails(emails: Iterable[str]) -> None:
    """Look whether these can be addresses, each once.

    Raises:
        WorkforceError: at the first that cannot.
    """
    seen: set[str] = set()
    for email in emails:
        if len(email) > _EMAIL_CHARACTERS or not _EMAIL.fullmatch(email):
            raise WorkforceError(f"{email!r} is not an e-mail address; nobody was written to")
        if email.lower() in seen:
            raise WorkforceError(f"{email} is named twice; nobody was written to")
        seen.add(email.lower())


def list_members(
    cognito: CognitoIdentityProviderClient, pool: str, groups: Sequence[str]
) -> Iterator[Member]:
    """Yield the people in any of the groups, each once.

    Raises:
        WorkforceError: if the pool or a group does not exist.
    """
    seen: set[str] = set()
    pages = cognito.get_paginator("list_users_in_group")
    for group in groups:
        try:
            for page in pages.paginate(UserPoolId=pool, GroupName=group):
                for user in page.get("Users", ()):
                    member = _member(user)
                    if member.username not in seen:
                        seen.add(member.username)
                        yield member
        except cognito.exceptions.ResourceNotFoundException as error:
            raise WorkforceError(
                f"the group {group!r} of the user pool {pool} does not exist; see AWS's Cognito console"
            ) from error


def email_names(cognito: CognitoIdentityProviderClient, pool: str, group: str) -> frozenset[str]:
    """The addresses of those in a group who may sign in, in lower case; empty when there is no such group."""
    try:
        return frozenset(
            member.email.lower() for member in list_members(cognito, pool, [group]) if member.enabled
        )
    except WorkforceError:
        return frozenset()


def find_member(cognito: CognitoIdentityProviderClient, pool: str, name: str) -> Member | None:
    """The person of that e-mail address, user name or `sub`, in a team or not."""
    for attribute in ("email", "username", "sub"):
        # The filter's own language has quotation marks, which none of the three may hold unescaped.
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        users = cognito.list_users(UserPoolId=pool, Filter=f'{attribute} = "{escaped}"')["Users"]
        if users:
            return _member(users[0])
    return None


def ensure_group(cognito: CognitoIdentityProviderClient, pool: str, group: str) -> None:
    """Make a group, unless it is there."""
    try:
        cognito.get_group(UserPoolId=pool, GroupName=group)
    except cognito.exceptions.ResourceNotFoundException:
        try:
            cognito.create_group(UserPoolId=pool, GroupName=group)
        except cognito.exceptions.GroupExistsException:
            # Somebody else made it since we looked, which is as good.
            return


def invite(
    cognito: CognitoIdentityProviderClient, pool: str, group: str, emails: Sequence[str]
) -> list[Invitation]:
    """Put people into a group. Who is new to the pool gets an e-mail with a temporary password.

    Doing it again writes to nobody again.

    Raises:
        WorkforceError: at an address that is none, before anybody is written to.
    """
    check_emails(emails)
    aliases = cognito.describe_user_pool(UserPoolId=pool)["UserPool"].get("AliasAttributes", [])
    team = {member.email.lower(): member for member in list_members(cognito, pool, [group])}
    there = {member.username for member in team.values()}
    done = []
    for email in emails:
        # The filter of Cognito tells upper from lower case, and its user names do not.
        member, outcome = team.get(email.lower()) or find_member(cognito, pool, email), "added"
        if member is None:
            member, outcome = _create(cognito, pool, email, by_alias="email" in aliases), "invited"
        elif not member.enabled:
            cognito.admin_enable_user(UserPoolId=pool, Username=member.username)
            outcome = "enabled"
        elif member.username in there:
            outcome = "already there"
        if member.username not in there:
            cognito.admin_add_user_to_group(UserPoolId=pool, GroupName=group, Username=member.username)
        done.append(Invitation(email, outcome))
    return done


def remove_member(
    cognito: CognitoIdentityProviderClient, pool: str, groups: Sequence[str], name: str
) -> Member:
    """Take a person out of a team; they may be in others, and sign in as before.

    Raises:
        WorkforceError: if nobody of that name is in the team.
    """
    member = _known(cognito, pool, groups, name)
    for group in groups:
        cognito.admin_remove_user_from_group(UserPoolId=pool, GroupName=group, Username=member.username)
    return member


def deactivate_member(
    cognito: CognitoIdentityProviderClient, pool: str, groups: Sequence[str], name: str
) -> Member:
    """Let a person sign in no more, be it for this team or for another; what they answered stays.

    Raises:
        WorkforceError: if nobody of that name is in the team.
    """
    member = _known(cognito, pool, groups, name)
    cognito.admin_disable_user(UserPoolId=pool, Username=member.username)
    # A session that was open before would last for its hour.
    cognito.admin_user_global_sign_out(UserPoolId=pool, Username=member.username)
    return member


def _known(cognito: CognitoIdentityProviderClient, pool: str, groups: Sequence[str], name: str) -> Member:
    for member in list_members(cognito, pool, groups):
        if name.lower() in (member.email.lower(), member.username.lower(), member.sub.lower()):
            return member
    raise WorkforceError(f"nobody in the team is called {name!r}; see who is with: gtlabel team show")


def _create(cognito: CognitoIdentityProviderClient, pool: str, email: str, *, by_alias: bool) -> Member:
    # Where an address is another name of a user, it cannot be the user name as well.
    username = f"worker-{sha256(email.lower().encode()).hexdigest()[:12]}" if by_alias else email
    try:
        user = cognito.admin_create_user(
            UserPoolId=pool,
            Username=username,
            UserAttributes=[
                {"Name": "email", "Value": email},
                {"Name": "email_verified", "Value": "true"},
            ],
            DesiredDeliveryMediums=["EMAIL"],
        )["User"]
    except cognito.exceptions.UsernameExistsException:
        # Somebody else invited them since we looked, or in another case of letters.
        found = cognito.admin_get_user(UserPoolId=pool, Username=username)
        user = {
            "Username": found["Username"],
            "Attributes": found["UserAttributes"],
            "UserStatus": found["UserStatus"],
            "Enabled": found["Enabled"],
        }
    return _member(user)


def _member(user: UserTypeTypeDef) -> Member:
    attributes = {item["Name"]: item.get("Value", "") for item in user.get("Attributes", ())}
    return Member(
        username=user.get("Username", ""),
        email=attributes.get("email", ""),
        sub=attributes.get("sub", ""),
        status=user.get("UserStatus", ""),
        enabled=user.get("Enabled", True),
    )
