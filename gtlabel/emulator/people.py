"""The people behind workers: user pools of Cognito, which moto has, as Ground Truth looks at them.

Whoever is in the pool of a team, by that user name, address or `sub`, answers under their own `sub`, so that
worker responses lead back to them as they do on AWS (contract/ground-truth.md 5.3).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

from gtlabel.emulator.api import ApiError, Context
from gtlabel.emulator.shelf import Shelf
from gtlabel.engine.jobs import Job
from gtlabel.engine.output import Identity

if TYPE_CHECKING:
    from gtlabel.aws import Aws

SEEDED_CLIENT = "gtlabel"
SEEDED_TEAM = "gtlabel"
# The first of the people whom `gtlabel local answer` has; the others join as they answer.
_FIRST_PERSON = "worker-1"
# How long a pool is believed not to have got somebody new.
_FRESH_SECONDS = 5.0


class People:
    """Who is in the user pools of an account.

    Args:
        shelf: where the teams are kept.
        clients: gives the clients of an account and region.
    """

    def __init__(self, shelf: Shelf, clients: Callable[[Context], Aws]) -> None:
        self._shelf = shelf
        self._clients = clients
        self._known: dict[tuple[Context, str], tuple[float, dict[str, Identity]]] = {}

    def identify(self, job: Job, worker: str) -> Identity | None:
        """The person in the pool of the job's team whom a worker's name means; None when it has none such.

        Whoever signs in with a provider is taken at their word, and keeps one `sub` there.
        """
        context = Context(job.key.account, job.key.region)
        arn = str(job.spec.request.get("HumanTaskConfig", {}).get("WorkteamArn", ""))
        team = self._shelf.get(context, "workteam", arn.rpartition("/")[2])
        if team and team["WorkteamArn"] != arn:
            # The team of a vendor may be called like one of the account's own.
            return None
        members = team["MemberDefinitions"] if team else []
        pool = next((m["CognitoMemberDefinition"] for m in members if "CognitoMemberDefinition" in m), None)
        if team and pool is None:
            workforces = self._shelf.all(context, "workforce")
            issuer = str(workforces[0].get("OidcConfig", {}).get("Issuer", "")) if workforces else ""
            return Identity(str(uuid5(NAMESPACE_URL, f"{issuer}#{worker}")), issuer, "Oidc")
        if pool is None or pool["ClientId"] == SEEDED_CLIENT:
            return None
        known = self._find(context, pool["UserPool"], worker)
        if known is None and team and team["WorkteamName"] == SEEDED_TEAM and "seeded" in team:
            return self._join(context, pool, worker)
        return known

    def has_pool(self, context: Context, pool: str) -> bool:
        """Whether there is a user pool of that id."""
        cognito = self._clients(context).cognito_idp
        try:
            cognito.describe_user_pool(UserPoolId=pool)
        except cognito.exceptions.ResourceNotFoundException:
            return False
        return True

    def check_client(self, context: Context, pool: str, client: str) -> None:
        """Look whether a pool and its client are there.

        Raises:
            ApiError: if one of them is not.
        """
        cognito = self._clients(context).cognito_idp
        if not self.has_pool(context, pool):
            raise ApiError("ValidationException", f"The user pool '{pool}' does not exist.")
        try:
            found = cognito.describe_user_pool_client(UserPoolId=pool, ClientId=client)["UserPoolClient"]
        except cognito.exceptions.ResourceNotFoundException as error:
            raise ApiError(
                "ValidationException", f"The user pool '{pool}' has no client '{client}'."
            ) from error
        if not found.get("ClientSecret"):
            raise ApiError("ValidationException", f"The client '{client}' has no secret, which it needs.")

    def check_member(self, context: Context, member: dict[str, Any]) -> None:
        """Look whether the pool, the client and the group that a team names are there.

        Whoever signs in with a provider is not known here, so any group of one is.

        Raises:
            ApiError: if one of them is not.
        """
        cognito = member.get("CognitoMemberDefinition")
        if cognito:
            self.check_client(context, cognito["UserPool"], cognito["ClientId"])
            self._check_group(context, cognito["UserPool"], cognito["UserGroup"])

    def first(self, context: Context) -> tuple[dict[str, Any], dict[str, Any]]:
        """How people sign in to the workforce that an account starts with, and who is in its team."""
        return unseen_pool(context)

    def seed(self, context: Context, group: str) -> dict[str, str]:
        """Make the pool that an account starts with, somebody in it, and return where it is."""
        cognito = self._clients(context).cognito_idp
        pool = cognito.create_user_pool(PoolName="gtlabel")["UserPool"]["Id"]
        client: Any = cognito.create_user_pool_client(
            UserPoolId=pool, ClientName="gtlabel", GenerateSecret=True
        )["UserPoolClient"]
        cognito.create_group(UserPoolId=pool, GroupName=group)
        self._add(context, pool, group, _FIRST_PERSON)
        return {"UserPool": pool, "ClientId": client["ClientId"]}

    def reset(self) -> None:
        """Forget who was in which pool."""
        self._known.clear()

    def _check_group(self, context: Context, pool: str, group: str) -> None:
        cognito = self._clients(context).cognito_idp
        try:
            cognito.get_group(UserPoolId=pool, GroupName=group)
        except cognito.exceptions.ResourceNotFoundException as error:
            raise ApiError(
                "ValidationException", f"The user pool '{pool}' has no group '{group}'."
            ) from error

    def _join(self, context: Context, pool: dict[str, str], worker: str) -> Identity | None:
        """Take whoever answers for the first team into it, unless Cognito would not take the name."""
        cognito = self._clients(context).cognito_idp
        if worker.split() != [worker]:
            return None
        try:
            self._add(context, pool["UserPool"], pool["UserGroup"], worker)
        except cognito.exceptions.ResourceNotFoundException:
            # moto forgets pools when it starts anew, and what was answered must still be written.
            return None
        self._known.pop((context, pool["UserPool"]), None)
        return self._find(context, pool["UserPool"], worker)

    def _add(self, context: Context, pool: str, group: str, name: str) -> None:
        cognito = self._clients(context).cognito_idp
        address = name if "@" in name else f"{name}@example.com"
        try:
            cognito.admin_create_user(
                UserPoolId=pool,
                Username=name,
                UserAttributes=[{"Name": "email", "Value": address}],
                MessageAction="SUPPRESS",
            )
        except cognito.exceptions.UsernameExistsException:
            # Somebody made them since we looked.
            return
        cognito.admin_add_user_to_group(UserPoolId=pool, GroupName=group, Username=name)

    def _find(self, context: Context, pool: str, worker: str) -> Identity | None:
        read, known = self._known.get((context, pool), (0.0, {}))
        if worker not in known and time.monotonic() - read > _FRESH_SECONDS:
            known = self._read(context, pool)
            self._known[context, pool] = time.monotonic(), known
        return known.get(worker)

    def _read(self, context: Context, pool: str) -> dict[str, Identity]:
        cognito = self._clients(context).cognito_idp
        issuer = f"https://cognito-idp.{context.region}.amazonaws.com/{pool}"
        known = {}
        try:
            for page in cognito.get_paginator("list_users").paginate(UserPoolId=pool):
                for user in page["Users"]:
                    attributes = {item["Name"]: item.get("Value", "") for item in user["Attributes"]}
                    identity = Identity(attributes["sub"], issuer)
                    names = (user["Username"], attributes["sub"], attributes.get("email", ""))
                    known.update({name: identity for name in names if name})
        except cognito.exceptions.ResourceNotFoundException:
            # moto forgets pools when it starts anew, and what was answered must still be written.
            return {}
        return known


def unseen_pool(context: Context) -> tuple[dict[str, Any], dict[str, Any]]:
    """A pool that stands for one until somebody looks, and the first team's group in it."""
    pool = {"UserPool": f"{context.region}_gtlabel01", "ClientId": SEEDED_CLIENT}
    return {"CognitoConfig": pool}, {"CognitoMemberDefinition": {**pool, "UserGroup": SEEDED_TEAM}}
