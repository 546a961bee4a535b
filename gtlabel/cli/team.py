"""`gtlabel team`: who labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtlabel.cli.options import DryRun, EndpointUrl, Output, Profile, Region, connect
from gtlabel.cli.output import Format, put, put_fields, put_json, put_table, say

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.labeling.workforce import Team

app = typer.Typer(no_args_is_help=True, help="Make private teams, invite people, see who labels how fast.")

TeamName = Annotated[str, typer.Argument(metavar="TEAM", help="The name of the team.")]
Emails = Annotated[
    list[str] | None, typer.Argument(metavar="EMAIL...", help="Who is in it, by e-mail address.")
]


@app.command()
def create(
    team: TeamName,
    members: Emails = None,
    description: Annotated[
        str, typer.Option("--description", help="What the team is for.")
    ] = "People who label pictures",
    topic: Annotated[
        str | None, typer.Option("--topic", help="The ARN of an SNS topic that tells them of new work.")
    ] = None,
    oidc_group: Annotated[
        list[str] | None,
        typer.Option("--oidc-group", help="A group of your own provider, instead of people; repeatable."),
    ] = None,
    oidc: Annotated[
        Path | None,
        typer.Option(
            "--oidc",
            exists=True,
            dir_okay=False,
            help="How to reach that provider: OidcConfig of CreateWorkforce, as JSON.",
        ),
    ] = None,
    poll: Annotated[
        float, typer.Option("--poll", min=0.01, help="Seconds between two looks at a workforce.")
    ] = 5.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be made and who would be written to; stop.")
    ] = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Make a private team: user pool, client, workforce, group and team, as far as they are missing.

    Its people get an e-mail with a temporary password. Running it again writes to nobody again.

    Example: gtlabel team create sorters ann@example.com bob@example.com --dry-run
    """
    from gtlabel.labeling.workforce import TeamRequest, create_team, plan_team

    _, aws = connect(profile, region, endpoint_url)
    request = TeamRequest(
        name=team,
        description=description,
        members=tuple(members or ()),
        oidc_groups=tuple(oidc_group or ()),
        oidc=_json(oidc) if oidc else None,
        topic=topic,
    )
    plan = plan_team(aws.sagemaker, aws.cognito_idp, request, account=aws.account, region=aws.region)
    if dry_run:
        _print_steps(plan.steps, output)
        return
    for step in plan.steps:
        say(step)
    made = create_team(aws.sagemaker, aws.cognito_idp, plan, poll=poll)
    if output is Format.JSON:
        put_json(made.to_json())
        return
    say(f"people sign in at {made.portal}" if made.portal else f"the team {made.name} is there")
    put(made.arn)


@app.command("list")
def list_teams(
    name_contains: Annotated[
        str | None, typer.Option("--name-contains", help="Only teams with this in their name.")
    ] = None,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """List the private teams.

    Example: gtlabel team list
    """
    from gtlabel.labeling.workforce import list_teams as find_teams

    _, aws = connect(profile, region, endpoint_url)
    teams = list(find_teams(aws.sagemaker, name_contains))
    if output is Format.JSON:
        put_json([team.to_json() for team in teams])
    elif teams:
        rows = [[team.name, ", ".join(team.groups), team.pool or "OIDC", team.description] for team in teams]
        put_table(["name", "groups", "user pool", "description"], rows)
    else:
        say("there are no such teams; make one with: gtlabel team create NAME EMAIL...")


@app.command()
def show(
    team: TeamName,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Show a team and its people.

    Example: gtlabel team show sorters
    """
    from gtlabel.labeling.members import list_members
    from gtlabel.labeling.workforce import describe_team

    _, aws = connect(profile, region, endpoint_url)
    found = describe_team(aws.sagemaker, team)
    members = list(list_members(aws.cognito_idp, found.pool, found.groups)) if found.pool else None
    if output is Format.JSON:
        people = None if members is None else [member.to_json() for member in members]
        put_json({**found.to_json(), "members": people})
        return
    put_fields(
        {
            "name": found.name,
            "arn": found.arn,
            "description": found.description,
            "portal": found.portal or "not known yet",
            "groups": ", ".join(found.groups),
            "user pool": found.pool or "none: people sign in with your own provider",
            "members": "unknown here" if members is None else len(members),
        }
    )
    if members:
        rows = [[one.email, one.status, "yes" if one.enabled else "no", one.username] for one in members]
        put_table(["email", "status", "enabled", "user name"], rows)


@app.command()
def invite(
    team: TeamName,
    members: Annotated[list[str], typer.Argument(metavar="EMAIL...", help="Whom to invite.")],
    dry_run: DryRun = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Invite people to a team by e-mail. Who is in it already is not written to again.

    Example: gtlabel team invite sorters eve@example.com
    """
    from gtlabel.labeling.members import check_emails, email_names
    from gtlabel.labeling.members import invite as invite_people

    _, aws = connect(profile, region, endpoint_url)
    found, pool = _cognito_team(aws, team)
    check_emails(members)
    if dry_run:
        there = email_names(aws.cognito_idp, pool, found.groups[0])
        fresh = [email for email in members if email.lower() not in there]
        _print_steps([f"invite {email} by e-mail" for email in fresh], output)
        return
    done = invite_people(aws.cognito_idp, pool, found.groups[0], members)
    if output is Format.JSON:
        put_json([{"email": one.email, "outcome": one.outcome} for one in done])
    else:
        put_table(["email", "outcome"], [[one.email, one.outcome] for one in done])


@app.command()
def deactivate(
    team: TeamName,
    worker: Annotated[str, typer.Argument(metavar="WORKER", help="An e-mail address, user name or sub.")],
    from_team: Annotated[
        bool, typer.Option("--from-team", help="Only take them out of this team; they may still sign in.")
    ] = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Let somebody sign in no more. What they answered stays.

    Example: gtlabel team deactivate sorters eve@example.com
    """
    from gtlabel.labeling.members import deactivate_member, remove_member

    _, aws = connect(profile, region, endpoint_url)
    found, pool = _cognito_team(aws, team)
    end = remove_member if from_team else deactivate_member
    member = end(aws.cognito_idp, pool, found.groups, worker)
    person = member.email or member.username
    if output is Format.JSON:
        put_json({"team": team, "worker": person, "may_sign_in": from_team})
    elif from_team:
        say(f"{person} is not in {team} any more")
    else:
        say(f"{person} cannot sign in any more; invite them again to change that")


@app.command()
def workers(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB...", help="The jobs to look at.")],
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Tell who answered how much in some jobs, and how fast.

    Example: gtlabel team workers trash-20261122-101500 trash-20261129-093000
    """
    from gtlabel.labeling.groups import describe_labeling
    from gtlabel.labeling.throughput import activity, people, read_responses

    _, aws = connect(profile, region, endpoint_url)
    found = [each for job in jobs for each in describe_labeling(aws.sagemaker, aws.s3, job).jobs]
    responses = (response for job in found for response in read_responses(aws.s3, job.output, job.name))
    active = activity(responses, people(aws.cognito_idp))
    if output is Format.JSON:
        put_json([worker.to_json() for worker in active])
    elif active:
        columns = ["person", "answers", "per hour", "median seconds", "last answer", "worker"]
        rows = [
            [
                worker.person or "unknown",
                worker.answers,
                worker.per_hour if worker.per_hour is not None else "?",
                worker.median_seconds if worker.median_seconds is not None else "?",
                worker.last.isoformat(timespec="seconds"),
                worker.worker,
            ]
            for worker in active
        ]
        put_table(columns, rows, right=("answers", "per hour", "median seconds"))
    else:
        say("nobody has answered anything there yet")


def _cognito_team(aws: Aws, name: str) -> tuple[Team, str]:
    from gtlabel.errors import WorkforceError
    from gtlabel.labeling.workforce import describe_team

    team = describe_team(aws.sagemaker, name)
    if team.pool is None:
        raise WorkforceError(
            f"the people of {name!r} sign in with your own provider; add and remove them there, in "
            f"{', '.join(team.groups)}"
        )
    return team, team.pool


def _print_steps(steps: list[str], output: Format) -> None:
    if output is Format.JSON:
        put_json(steps)
    elif steps:
        put("\n".join(steps))
    else:
        say("there is nothing to do; all of it is there")


def _json(path: Path) -> dict[str, Any]:
    from gtlabel.errors import WorkforceError

    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WorkforceError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise WorkforceError(f"{path} is not the JSON object that OidcConfig of CreateWorkforce is")
    return value
