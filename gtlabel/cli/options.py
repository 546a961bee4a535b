"""Options that many commands share, and what they open."""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtlabel.cli.output import Format

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.settings import Project

Profile = Annotated[
    str | None, typer.Option("--profile", help="The AWS profile to use.", rich_help_panel="AWS")
]
Region = Annotated[str | None, typer.Option("--region", help="The AWS region to use.", rich_help_panel="AWS")]
EndpointUrl = Annotated[
    str | None,
    typer.Option("--endpoint-url", help="The address that answers instead of AWS.", rich_help_panel="AWS"),
]
Output = Annotated[Format, typer.Option("--output", help="How to print the result.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be sent, and send nothing.")]
Force = Annotated[
    bool, typer.Option("--force", help="Start it although something is found that would make it fail.")
]
RequestFields = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Another field of the request, such as task=multi."),
]
FunctionNames = Annotated[
    list[str] | None,
    typer.Option(
        "--function",
        metavar="NAME=MODULE:CALLABLE",
        help="What a custom workflow's Lambda function of this name is here.",
        rich_help_panel="Custom workflows",
    ),
]
FunctionSeconds = Annotated[
    float,
    typer.Option(
        "--function-seconds",
        min=0.001,
        help="How long one call of a function may take.",
        rich_help_panel="Custom workflows",
    ),
]
# As long as Lambda lets any.
LONGEST_FUNCTION = 900.0
JobName = Annotated[str, typer.Argument(metavar="JOB", help="The name of the job.")]


class Sort(StrEnum):
    """What a list is sorted by."""

    CREATED = "created"
    NAME = "name"
    STATUS = "status"


# Which jobs of an account are listed, and how.
OfStatus = Annotated[str | None, typer.Option("--status", help="Only jobs of this status.")]
NameContains = Annotated[
    str | None, typer.Option("--name-contains", help="Only jobs with this in their name.")
]
Since = Annotated[datetime | None, typer.Option("--since", help="Only jobs created since (UTC).")]
Until = Annotated[datetime | None, typer.Option("--until", help="Only jobs created until (UTC).")]
SortBy = Annotated[Sort, typer.Option("--sort", help="What to sort by.")]
Ascending = Annotated[
    bool, typer.Option("--ascending", help="The oldest first, or the first in the alphabet.")
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Not more than these.")]


def connect(
    profile: str | None, region: str | None, endpoint_url: str | None, **settings: Any
) -> tuple[Project, Aws]:
    """The project of the working directory, the given flags in it, and the clients for its account."""
    from gtlabel.aws import Aws
    from gtlabel.settings import Project

    project = Project.load(profile=profile, region=region, endpoint_url=endpoint_url, **settings)
    return project, Aws(profile=project.profile, region=project.region, endpoint_url=project.endpoint_url)


def taken_apart(settings: list[str] | None, option: str = "--set") -> dict[str, str]:
    """The names and values of `--set NAME=VALUE` options, or of others of that kind."""
    for setting in settings or ():
        if "=" not in setting:
            raise typer.BadParameter(f"{setting!r} is not NAME=VALUE", param_hint=option)
    return dict(setting.split("=", 1) for setting in settings or ())


def request_fields(settings: list[str] | None) -> dict[str, Any]:
    """The fields of a labeling request that `--set` names; values are JSON where they are that, else text."""
    fields: dict[str, Any] = {}
    for name, text in taken_apart(settings).items():
        try:
            fields[name] = json.loads(text)
        except ValueError:
            fields[name] = text
    return fields
