"""Work teams of vendors, which an account subscribes to in AWS Marketplace.

contract/ground-truth.md 2.6 and 3.5.

There is no marketplace here. A new account has no such team, and gets one by `POST /gtlabel/vendor-team`, by
`gtlabel local up --vendor-team NAME`, or in a test by `gtlabel_workers.subscribe(NAME)`:

    {"name": "acme", "title": "...", "seller": "...", "description": "..."}    -> {"arn": "arn:aws:..."}

All but the name may be left out. Whoever gives the workers' API a name may answer the jobs of such a team.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from gtlabel.emulator.api import ApiError, Context, Operations
from gtlabel.emulator.paging import page
from gtlabel.emulator.shelf import Shelf
from gtlabel.errors import EmulatorError

# The documentation's own example of an account that is somebody else's.
_VENDOR = "111122223333"
_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_TEXTS = {"title": "MarketplaceTitle", "seller": "SellerName", "description": "MarketplaceDescription"}
_LONGEST = 200
_KIND = "vendor-team"


class Vendors:
    """The teams of vendors that an account is subscribed to.

    Args:
        shelf: where they are kept.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def operations(self) -> Operations:
        """By their names in the service model."""
        return {"DescribeSubscribedWorkteam": self.describe, "ListSubscribedWorkteams": self.list}

    def subscribe(self, context: Context, name: str, **texts: str) -> str:
        """Subscribe to a vendor's team and return its ARN; the second time changes what it says of itself.

        Args:
            context: the account and region.
            name: the team's name.
            texts: `title`, `seller` and `description`, as the marketplace would show them.

        Raises:
            EmulatorError: if there can be no team like that.
        """
        if not _NAME.fullmatch(name):
            raise EmulatorError(f"{name!r} is no name of a team: 1 to 63 letters, digits and dashes inside")
        for word, text in texts.items():
            if word not in _TEXTS or not isinstance(text, str) or not 0 < len(text) <= _LONGEST:
                raise EmulatorError(
                    f"{word!r} is none of {', '.join(_TEXTS)}, or no text of 1 to {_LONGEST} characters"
                )
        arn = f"arn:aws:sagemaker:{context.region}:{_VENDOR}:workteam/vendor-crowd/{name}"
        team = {
            "WorkteamArn": arn,
            "MarketplaceTitle": name,
            "SellerName": name,
            "MarketplaceDescription": f"The team {name}, which gtlabel's emulator was told of",
            "ListingId": f"prod-{sha256(name.encode()).hexdigest()[:13]}",
            **{_TEXTS[word]: text for word, text in texts.items()},
        }
        self._shelf.put(context, _KIND, name, team)
        return arn

    def has(self, context: Context, arn: str) -> bool:
        """Whether the account is subscribed to the team of an ARN."""
        return self._find(context, arn) is not None

    def describe(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """DescribeSubscribedWorkteam."""
        team = self._find(context, params["WorkteamArn"])
        if team is None:
            raise ApiError(
                "ResourceNotFound", f"The account is not subscribed to a work team '{params['WorkteamArn']}'."
            )
        return {"SubscribedWorkteam": team}

    def list(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """ListSubscribedWorkteams, by name."""
        part = params.get("NameContains", "").lower()
        found = [team for team in self._shelf.all(context, _KIND) if part in _name(team).lower()]
        shown, token = page(found, lambda team: (_name(team), team["WorkteamArn"]), params, _KIND)
        return {"SubscribedWorkteams": shown, **token}

    def _find(self, context: Context, arn: str) -> dict[str, Any] | None:
        team = self._shelf.get(context, _KIND, arn.rpartition("/")[2])
        return team if team and team["WorkteamArn"] == arn else None


def handle(vendors: Vendors, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Answer one request for `/gtlabel/vendor-team`: the status and the JSON."""
    usual = Context()
    given = {"account": usual.account, "region": usual.region, **body}
    name, account, region = given.pop("name", None), given.pop("account"), given.pop("region")
    if not all(isinstance(text, str) for text in (name, account, region)):
        return 400, {"error": 'a team of a vendor has a "name", and may have an "account" and a "region"'}
    try:
        return 200, {"arn": vendors.subscribe(Context(account, region), str(name), **given)}
    except EmulatorError as error:
        return 400, {"error": str(error)}


def _name(team: dict[str, Any]) -> str:
    return str(team["WorkteamArn"].rpartition("/")[2])
