"""Options that many commands share, and what they open."""

from __future__ import annotations

import json
from copy import copy
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

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
Poll = Annotated[float, typer.Option("--poll", min=0.01, help="Seconds between two looks.")]
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


# The command of a group whose name may be left out.
START = "start"


class OrStart(TyperGroup):
    """A group in which a word that is no command's is the first argument of its command `start`."""

    def starts(self, word: str) -> bool:
        """Whether a word is not meant as a command's name."""
        return word not in self.commands

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command's name before the arguments where it was left out."""
        if args and args[0] != "--help" and self.starts(args[0]):
            args = [START, *args]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show what starting takes, and the other commands below it."""
        start, shown = self.commands[START], copy(self)
        shown.params, shown.help = start.params, start.help
        shown.subcommand_metavar = "| COMMAND [ARGS]..."
        TyperGroup.format_help(shown, ctx, formatter)


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
