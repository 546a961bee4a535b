"""Workforces and work teams: who may be asked.

Each account and region starts with the workforce `default` and the team `gtlabel`, so that a job can be
created on a machine where nobody ever opened a console. contract/ground-truth.md 3.5. Their user pool, if
people sign in with one, is made when somebody asks for one of them: see `gtlabel.emulator.people`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from gtlabel.emulator.api import ApiError, Context, Operations
from gtlabel.emulator.paging import page
from gtlabel.emulator.people import SEEDED_CLIENT, SEEDED_TEAM, People, unseen_pool
from gtlabel.emulator.shelf import Shelf
from gtlabel.emulator.staff import Staff
from gtlabel.emulator.tagging import check_tags

_SEEDED_WORKFORCE = "default"
_MOST_TEAMS = 25
_DATES = ("CreateDate", "LastUpdatedDate")


class WorkTeams:
    """The operations on workforces and work teams.

    Args:
        shelf: where they are kept.
        clock: what time it is.
        people: what workers sign in with; without it, any user pool is taken for one.
    """

    def __init__(
        self,
        shelf: Shelf,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        people: People | Staff | None = None,
    ) -> None:
        self._shelf = shelf
        self._clock = clock
        self._people = people

    def operations(self) -> Operations:
        """By their names in the service model."""
        return {
            "CreateWorkforce": self.create_workforce,
            "DescribeWorkforce": self.describe_workforce,
            "ListWorkforces": self.list_workforces,
            "UpdateWorkforce": self.update_workforce,
            "DeleteWorkforce": self.delete_workforce,
            "CreateWorkteam": self.create_workteam,
            "DescribeWorkteam": self.describe_workteam,
            "ListWorkteams": self.list_workteams,
            "UpdateWorkteam": self.update_workteam,
            "DeleteWorkteam": self.delete_workteam,
        }

    def first_tags(self, context: Context, arn: str) -> list[dict[str, str]] | None:
        """The tags a team was created with, or None if there is no such team here."""
        self._seed(context)
        name = arn.rpartition("/")[2]
        team = self._shelf.get(context, "workteam", name) if arn == _team_arn(context, name) else None
        return None if team is None else []

    def create_workforce(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """CreateWorkforce; an account has one per region, and starts with one."""
        self._seed(context)
        if ("CognitoConfig" in params) == ("OidcConfig" in params):
            raise ApiError("ValidationException", "Give exactly one of CognitoConfig and OidcConfig.")
        if self._people and "CognitoConfig" in params:
            cognito = params["CognitoConfig"]
            self._people.check_client(context, cognito["UserPool"], cognito["ClientId"])
        check_tags(params.get("Tags", ()))
        workforce = _shown({name: value for name, value in params.items() if name != "Tags"})
        with self._shelf.transaction():
            if self._shelf.all(context, "workforce"):
                raise ApiError(
                    "ValidationException",
                    f"Cannot create more than one workforce for account {context.account}. If you are "
                    "trying to update existing workforce, please use UpdateWorkforce API",
                )
            return {"WorkforceArn": self._put_workforce(context, workforce)}

    def describe_workforce(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """DescribeWorkforce."""
        self._settle(context)
        return {"Workforce": _dated(self._workforce(context, params["WorkforceName"]))}

    def list_workforces(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """ListWorkforces."""
        return self._list(context, params, "workforce", "Workforces", "WorkforceName")

    def update_workforce(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """UpdateWorkforce; how people sign in can only change while there are no teams."""
        self._seed(context)
        with self._shelf.transaction():
            workforce = self._workforce(context, params["WorkforceName"])
            change = _shown(params)
            if "OidcConfig" in change:
                if "OidcConfig" not in workforce:
                    raise ApiError("ValidationException", "The workforce signs in with Cognito, not OIDC.")
                if self._has_teams(context, workforce):
                    raise ApiError(
                        "ConflictException", "The workforce still has work teams; delete them first."
                    )
            workforce = {**workforce, **change, "LastUpdatedDate": self._clock().isoformat()}
            if workforce.get("WorkforceVpcConfig") == {}:
                # That is how a workforce leaves its VPC.
                del workforce["WorkforceVpcConfig"]
            self._shelf.put(context, "workforce", params["WorkforceName"], workforce)
        return {"Workforce": _dated(workforce)}

    def delete_workforce(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """DeleteWorkforce; its teams must be gone."""
        self._seed(context)
        with self._shelf.transaction():
            workforce = self._workforce(context, params["WorkforceName"])
            if self._has_teams(context, workforce):
                raise ApiError("ResourceInUse", "The workforce still has work teams; delete them first.")
            self._shelf.delete(context, "workforce", params["WorkforceName"])
        return {}

    def create_workteam(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """CreateWorkteam."""
        self._seed(context)
        self._check_members(context, params["MemberDefinitions"])
        workforces = self._shelf.all(context, "workforce")
        wanted = params.get("WorkforceName", workforces[0]["WorkforceName"] if workforces else "")
        workforce = self._workforce(context, wanted)
        _check_kind(workforce, params["MemberDefinitions"])
        check_tags(params.get("Tags", ()))
        name = params["WorkteamName"]
        with self._shelf.transaction():
            if self._shelf.get(context, "workteam", name) is not None:
                raise ApiError("ResourceInUse", f"A work team named {name!r} exists; choose another name.")
            if len(self._teams(context)) >= _MOST_TEAMS:
                raise ApiError(
                    "ResourceLimitExceeded",
                    f"The account has {_MOST_TEAMS} work teams in {context.region}, the most there can be.",
                )
            arn = self._put_team(context, params, workforce["WorkforceArn"])
        return {"WorkteamArn": arn}

    def describe_workteam(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """DescribeWorkteam."""
        self._settle(context)
        return {"Workteam": _dated(self._team(context, params["WorkteamName"]))}

    def list_workteams(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """ListWorkteams."""
        return self._list(context, params, "workteam", "Workteams", "WorkteamName")

    def update_workteam(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """UpdateWorkteam; what is not given stays."""
        if "MemberDefinitions" in params:
            self._check_members(context, params["MemberDefinitions"])
        self._seed(context)
        with self._shelf.transaction():
            team = self._team(context, params["WorkteamName"])
            if "MemberDefinitions" in params:
                workforce = self._workforce(context, team["WorkforceArn"].rpartition("/")[2])
                _check_kind(workforce, params["MemberDefinitions"])
            team = {**team, **params, "LastUpdatedDate": self._clock().isoformat()}
            self._shelf.put(context, "workteam", params["WorkteamName"], team)
        return {"Workteam": _dated(team)}

    def delete_workteam(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """DeleteWorkteam."""
        self._team(context, params["WorkteamName"])
        return {"Success": self._shelf.delete(context, "workteam", params["WorkteamName"])}

    def _seed(self, context: Context) -> None:
        """Give an account and region its first workforce and team, once: what is deleted stays away."""
        if self._shelf.get(context, "seeded", "workforce") is not None:
            return
        with self._shelf.transaction():
            if not self._shelf.add(context, "seeded", "workforce", {}):
                return
            config, member = (self._people.first if self._people else unseen_pool)(context)
            workforce = {"WorkforceName": _SEEDED_WORKFORCE, **config, "seeded": True}
            arn = self._put_workforce(context, workforce)
            team = {
                "WorkteamName": SEEDED_TEAM,
                "Description": "The team that gtlabel starts with",
                "seeded": True,
                "MemberDefinitions": [member],
            }
            self._put_team(context, team, arn)

    def _settle(self, context: Context) -> None:
        """Make the pool of the first workforce, before anybody hears its name, or again when it is gone.

        Making it takes a while, and most of those who start a job never look at their team.
        """
        self._seed(context)
        workforce = self._shelf.get(context, "workforce", _SEEDED_WORKFORCE)
        if not isinstance(self._people, People) or workforce is None or "seeded" not in workforce:
            return
        before = workforce["CognitoConfig"]
        if before["ClientId"] != SEEDED_CLIENT and self._people.has_pool(context, before["UserPool"]):
            return
        pool = self._people.seed(context, SEEDED_TEAM)
        with self._shelf.transaction():
            self._shelf.put(context, "workforce", _SEEDED_WORKFORCE, {**workforce, "CognitoConfig": pool})
            for team in self._teams(context):
                members = [_moved(member, before, pool) for member in team["MemberDefinitions"]]
                if members != team["MemberDefinitions"]:
                    moved = {**team, "MemberDefinitions": members}
                    self._shelf.put(context, "workteam", team["WorkteamName"], moved)

    def _check_members(self, context: Context, members: list[dict[str, Any]]) -> None:
        _check_members(members)
        for member in members:
            if self._people:
                self._people.check_member(context, member)

    def _has_teams(self, context: Context, workforce: dict[str, Any]) -> bool:
        return any(team["WorkforceArn"] == workforce["WorkforceArn"] for team in self._teams(context))

    def _put_workforce(self, context: Context, workforce: dict[str, Any]) -> str:
        now = self._clock().isoformat()
        arn = context.arn("sagemaker", f"workforce/{workforce['WorkforceName']}")
        document = {
            "WorkforceArn": arn,
            "CreateDate": now,
            "LastUpdatedDate": now,
            "Status": "Active",
            "SubDomain": _portal(context),
        }
        self._shelf.put(context, "workforce", workforce["WorkforceName"], {**workforce, **document})
        return arn

    def _put_team(self, context: Context, params: dict[str, Any], workforce_arn: str) -> str:
        now = self._clock().isoformat()
        arn = _team_arn(context, params["WorkteamName"])
        given = {name: value for name, value in params.items() if name not in ("Tags", "WorkforceName")}
        document = {
            "WorkteamArn": arn,
            "WorkforceArn": workforce_arn,
            "CreateDate": now,
            "SubDomain": _portal(context),
        }
        team = {**given, **document, "LastUpdatedDate": now}
        self._shelf.put(context, "workteam", params["WorkteamName"], team)
        # Tags of a team that had this name before are not this one's.
        self._shelf.put(context, "tags", arn, {"Tags": params.get("Tags", [])})
        return arn

    def _workforce(self, context: Context, name: str) -> dict[str, Any]:
        self._seed(context)
        workforce = self._shelf.get(context, "workforce", name)
        if workforce is None:
            raise ApiError("ValidationException", f"No workforce named {name!r} exists in {context.region}.")
        return workforce

    def _team(self, context: Context, name: str) -> dict[str, Any]:
        self._seed(context)
        team = self._shelf.get(context, "workteam", name)
        if team is None:
            raise ApiError("ValidationException", f"The work team {name!r} does not exist in this account.")
        return team

    def _teams(self, context: Context) -> list[dict[str, Any]]:
        return self._shelf.all(context, "workteam")

    def _list(
        self, context: Context, params: dict[str, Any], kind: str, result: str, name: str
    ) -> dict[str, Any]:
        self._settle(context)
        part = params.get("NameContains", "").lower()
        found = [document for document in self._shelf.all(context, kind) if part in document[name].lower()]
        by = name if params.get("SortBy") == "Name" else "CreateDate"
        shown, token = page(found, lambda document: (document[by], document[name]), params, kind)
        return {result: [_dated(document) for document in shown], **token}


def _team_arn(context: Context, name: str) -> str:
    return context.arn("sagemaker", f"workteam/private-crowd/{name}")


def _check_members(members: list[dict[str, Any]]) -> None:
    kinds = {kind for member in members for kind in member}
    if len(kinds) != 1 or any(len(member) != 1 for member in members):
        raise ApiError(
            "ValidationException",
            "Every member definition is either a CognitoMemberDefinition or an OidcMemberDefinition, "
            "and a team has only one of the two kinds.",
        )
    pools = {
        (cognito["UserPool"], cognito["ClientId"])
        for member in members
        if (cognito := member.get("CognitoMemberDefinition")) is not None
    }
    if len(pools) > 1:
        raise ApiError(
            "ValidationException", "All Cognito members of a team share one UserPool and ClientId."
        )


def _check_kind(workforce: dict[str, Any], members: list[dict[str, Any]]) -> None:
    kinds = {kind for member in members for kind in member}
    if ("OidcConfig" in workforce) != (kinds == {"OidcMemberDefinition"}):
        raise ApiError(
            "ValidationException",
            f"The workforce '{workforce['WorkforceName']}' signs in "
            f"{'with OIDC' if 'OidcConfig' in workforce else 'with Cognito'}, and so must its teams.",
        )


def _shown(workforce: dict[str, Any]) -> dict[str, Any]:
    """What may be told of a workforce: all but the secret of its provider's client.

    Raises:
        ApiError: `ValidationException` for a VPC that is told in part.
    """
    network = workforce.get("WorkforceVpcConfig")
    if network and not {"VpcId", "SecurityGroupIds", "Subnets"} <= network.keys():
        raise ApiError("ValidationException", "WorkforceVpcConfig: give VpcId, SecurityGroupIds and Subnets.")
    if "OidcConfig" not in workforce:
        return dict(workforce)
    public = {name: text for name, text in workforce["OidcConfig"].items() if name != "ClientSecret"}
    return {**workforce, "OidcConfig": public}


def _moved(member: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """A member definition with the first workforce's pool in place of the one it had."""
    cognito = member.get("CognitoMemberDefinition")
    if cognito is None or cognito["UserPool"] != before["UserPool"]:
        return member
    return {"CognitoMemberDefinition": {**cognito, **after}}


def _portal(context: Context) -> str:
    """The host that AWS would show the worker portal on, one for each account and region."""
    name = sha256(f"{context.account}/{context.region}".encode()).hexdigest()[:10]
    return f"{name}.labeling.{context.region}.sagemaker.aws"


def _dated(document: dict[str, Any]) -> dict[str, Any]:
    return {
        name: datetime.fromisoformat(value) if name in _DATES else value
        for name, value in document.items()
        if name != "seeded"
    }
