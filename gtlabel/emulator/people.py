"""The people behind workers: user pools of Cognito, which moto has, as Ground Truth looks at them.

Whoever is in the pool of a team, by that user name, address or `sub`, answers under their own `sub`, so that
worker responses lead back to them as they do on AWS (contract/ground-truth.md 5.3), and answers no more when
they are disabled or taken out of the team. Nobody signs in here: a name that no pool knows is taken for
somebody all the same, as simulated people have such. Whoever is invited into the portal has their name there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

from gtlabel.emulator.api import ApiError, Context
from gtlabel.emulator.shelf import Shelf
from gtlabel.emulator.teambook import TeamBook
from gtlabel.engine.crew import Crew
from gtlabel.engine.jobs import Job
from gtlabel.engine.output import Identity

if TYPE_CHECKING:
    from gtlabel.aws import Aws

SEEDED_CLIENT = "gtlabel"
SEEDED_TEAM = "gtlabel"
# The first of the people whom `gtlabel local answer` has; the others join as they answer.
_FIRST_PERSON = "worker-1"


class People:
    """Who is in the user pools of an account.

    Args:
        shelf: where the teams are kept.
        clients: gives the clients of an account and region.

    Attributes:
        invited: whoever was invited into the portal, if there is one.
    """

    def __init__(self, shelf: Shelf, clients: Callable[[Context], Aws]) -> None:
        self._shelf = shelf
        self._clients = clients
        self._teams = TeamBook(shelf)
        self.invited: Crew | None = None

    def identify(self, job: Job, worker: str) -> Identity | None:
        """The person in the pool of the job's team whom a worker's name means; None when it has none such.

        Whoever signs in with a provider is taken at their word, and keeps one `sub` there.
        """
        team = self._teams.of(job)
        if team is None:
            return None
        context = Context(job.key.account, job.key.region)
        pool = _pool_of(team)
        if pool is None:
            workforces = self._shelf.all(context, "workforce")
            issuer = str(workforces[0].get("OidcConfig", {}).get("Issuer", "")) if workforces else ""
            return Identity(str(uuid5(NAMESPACE_URL, f"{issuer}#{worker}")), issuer, "Oidc")
        if pool["ClientId"] == SEEDED_CLIENT:
            return None
        known = _find(context, pool["UserPool"], worker)
        if known is None and _is_first(team):
            known = self._join(context, pool, worker)
        return known and Identity(known.id, _issuer(context, pool["UserPool"]))

    def admits(self, job: Job, worker: str) -> str | None:
        """Why a worker may not answer a job, or None if they may; it costs microseconds."""
        known_here = self.invited.by_name(worker) if self.invited else None
        if known_here is not None and not known_here.active:
            return f"{worker} is deactivated; ask the owner"
        team = self._teams.of(job)
        pool = _pool_of(team) if team else None
        if team is None or pool is None:
            return None
        context = Context(job.key.account, job.key.region)
        known = _find(context, pool["UserPool"], worker)
        if known is None:
            return None
        if not known.enabled:
            return f"{worker} is disabled in the user pool {pool['UserPool']}; let them in again there first"
        if _is_first(team):
            return None
        groups = {member["CognitoMemberDefinition"]["UserGroup"] for member in team["MemberDefinitions"]}
        if groups.isdisjoint(group.group_name for group in known.groups):
            return f"{worker} is not in the team {team['WorkteamName']} that the job asks"
        return None

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
        """Forget which job asks which team."""
        self._teams.clear()

    def _check_group(self, context: Context, pool: str, group: str) -> None:
        cognito = self._clients(context).cognito_idp
        try:
            cognito.get_group(UserPoolId=pool, GroupName=group)
        except cognito.exceptions.ResourceNotFoundException as error:
            raise ApiError(
                "ValidationException", f"The user pool '{pool}' has no group '{group}'."
            ) from error

    def _join(self, context: Context, pool: dict[str, str], worker: str) -> Any:
        """Take whoever answers for the first team into it, unless Cognito would not take the name."""
        cognito = self._clients(context).cognito_idp
        if worker.split() != [worker]:
            return None
        try:
            self._add(context, pool["UserPool"], pool["UserGroup"], worker)
        except cognito.exceptions.ResourceNotFoundException:
            # A pool can be gone, and what was answered must still be written.
            return None
        return _find(context, pool["UserPool"], worker)

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


def unseen_pool(context: Context) -> tuple[dict[str, Any], dict[str, Any]]:
    """A pool that stands for one until somebody looks, and the first team's group in it."""
    pool = {"UserPool": f"{context.region}_gtlabel01", "ClientId": SEEDED_CLIENT}
    return {"CognitoConfig": pool}, {"CognitoMemberDefinition": {**pool, "UserGroup": SEEDED_TEAM}}


def _find(context: Context, pool: str, worker: str) -> Any:
    """Somebody in a user pool, as moto has them; None if there is nobody of that user name, address or `sub`.

    moto is asked without a request, for this is looked at whenever a task is handed out.
    """
    from gtlabel.emulator.moto import backend

    # moto forgets pools when it starts anew without a state folder.
    found = backend("cognito-idp", context.account, context.region).user_pools.get(pool)
    if found is None:
        return None
    named = found.users.get(worker)
    if named is not None:
        return named
    others = list(found.users.values())
    return next((one for one in others if worker in (one.id, one.attribute_lookup.get("email"))), None)


def _pool_of(team: dict[str, Any]) -> dict[str, str] | None:
    """The user pool of a team; None for one whose people sign in with a provider."""
    pool: dict[str, str] | None = team["MemberDefinitions"][0].get("CognitoMemberDefinition")
    return pool


def _is_first(team: dict[str, Any]) -> bool:
    """Whether it is the team that an account starts with, which people join as they answer."""
    return "seeded" in team and team["WorkteamName"] == SEEDED_TEAM


def _issuer(context: Context, pool: str) -> str:
    return f"https://cognito-idp.{context.region}.amazonaws.com/{pool}"
