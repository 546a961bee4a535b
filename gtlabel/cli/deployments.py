"""What is deployed to devices: deploying, and `status`, `rollback`, `remove`, `list` and `check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtlabel.cli.options import DryRun, EndpointUrl, Output, Poll, Profile, Region, connect
from gtlabel.cli.output import Format, put_fields, put_json, put_table, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gtlabel.aws import Aws
    from gtlabel.edge.deploy import DeploymentPlan
    from gtlabel.edge.targets import Target

To = Annotated[
    str | None, typer.Option("--to", metavar="TARGET", help="A thing, thinggroup/NAME, or the ARN of either.")
]
NeededTo = Annotated[
    str, typer.Option("--to", metavar="TARGET", help="A thing, thinggroup/NAME, or the ARN of either.")
]
Component = Annotated[
    str | None, typer.Option("--name", help="The component. (default: the one of gtlabel that is there)")
]
Rollout = Annotated[
    str | None,
    typer.Option(
        "--rollout",
        metavar="N/min",
        help="How many devices of a group to tell in a minute; 5x2/min begins with 5 and doubles.",
        rich_help_panel="Greengrass",
    ),
]
AbortAfter = Annotated[
    float | None,
    typer.Option(
        "--abort-after",
        metavar="PERCENT",
        min=0.01,
        max=100,
        help="The share of those done that must fail to stop and go back. (default: one device)",
        rich_help_panel="Greengrass",
    ),
]
DeviceTimeout = Annotated[
    int | None,
    typer.Option(
        "--device-timeout",
        metavar="MINUTES",
        min=1,
        max=10080,
        help="How long a device may take from when it began.",
        rich_help_panel="Greengrass",
    ),
]
Timeout = Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait for the devices.")]
Yes = Annotated[
    bool, typer.Option("--yes", help="Do not ask before the devices change, as where nobody could answer.")
]


def status(
    to: To = None,
    name: Component = None,
    stale: Annotated[
        float, typer.Option("--stale", metavar="HOURS", min=0, help="How old a device's last report may be.")
    ] = 25,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Show what each device runs, how its deployment went, and when it was last heard of.

    A device says how it is when something changes there, and once a day.

    Exits with 0 if all is well, 1 if something failed, 2 if a device is not
    done yet, 3 if one that was well has not been heard of for too long.

    Example: gtlabel deploy status --to kitchen-camera
    """
    from datetime import UTC, datetime, timedelta

    from gtlabel.cli.deploymentview import put_status, status_json
    from gtlabel.edge.status import read_status, worst
    from gtlabel.edge.targets import find_target
    from gtlabel.errors import EdgeError

    _, aws = connect(profile, region, endpoint_url)
    target = find_target(aws.greengrass, aws.iot, to, may_be_empty=True) if to else None
    now = datetime.now(UTC)
    found = read_status(
        aws.greengrass, aws.iot, target, component=name, now=now, stale=timedelta(hours=stale)
    )
    if not found:
        where = f" to {target.resource}" if target else ""
        raise EdgeError(f"{name or 'nothing of gtlabel'} is{' not' if name else ''} deployed{where}")
    verdict = worst(each.verdict for each in found)
    if output is Format.JSON:
        put_json({"verdict": verdict.word, "deployments": [status_json(each, now) for each in found]})
    else:
        put_status(found, now)
    raise typer.Exit(int(verdict))


def rollback(
    to: NeededTo,
    name: Component = None,
    to_version: Annotated[
        str | None, typer.Option("--to-version", help="An earlier version. (default: the last good one)")
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    timeout: Timeout = 600,
    poll: Poll = 2.0,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Deploy an earlier version again, with the configuration that it had.

    It is a new deployment; what others have deployed there stays as it is
    now. Versions are never deleted. Exits with 3 if a device failed.

    Example: gtlabel deploy rollback --to kitchen-camera --to-version 1.0.3
    """
    from gtlabel.edge.overlap import check_versions, overlapping
    from gtlabel.edge.plan import plan_return
    from gtlabel.edge.undo import find_revision

    _, aws = connect(profile, region, endpoint_url)
    target, arn, component = _found(aws, to, name)
    chosen = find_revision(aws.greengrass, target, arn, component, to_version)
    revision = chosen.revision
    say(f"going back to revision {revision.number}, {component} {revision.version_of(component)}, {chosen}")
    others = overlapping(aws.greengrass, aws.iot, target)
    check_versions(target, component, revision.version_of(component) or "", others)
    plan = plan_return(aws.greengrass, arn, component, revision)
    _carry_out(aws, target, plan, yes=yes, dry_run=dry_run, timeout=timeout, poll=poll, output=output)


def remove(
    to: NeededTo,
    name: Component = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    timeout: Timeout = 600,
    poll: Poll = 2.0,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Take the model off devices; what others have deployed there stays.

    Its versions stay in the cloud, so that it can be deployed again.

    Example: gtlabel deploy remove --to kitchen-camera
    """
    from gtlabel.edge.plan import plan_removal

    _, aws = connect(profile, region, endpoint_url)
    target, arn, component = _found(aws, to, name)
    plan = plan_removal(aws.greengrass, arn, component)
    _carry_out(aws, target, plan, yes=yes, dry_run=dry_run, timeout=timeout, poll=poll, output=output)


def list_revisions(
    to: To = None,
    name: Component = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Not more than these.")] = 20,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """List what was deployed to a target, the newest first; without --to, what is deployed everywhere.

    Example: gtlabel deploy list --to kitchen-camera
    """
    from gtlabel.cli.deploymentview import put_revisions
    from gtlabel.edge.history import history, latest

    _, aws = connect(profile, region, endpoint_url)
    if to is None:
        found = latest(aws.greengrass, name)
    else:
        target, arn, component = _found(aws, to, name)
        found = history(aws.greengrass, target, arn, component, limit)
    put_revisions(found[:limit], output)


def check(
    recipe: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, metavar="RECIPE", help="A recipe, JSON or YAML.")
    ],
    output: Output = Format.TEXT,
) -> None:
    """Say what is wrong with a component's recipe, whoever wrote it.

    "refused" means that Greengrass does not take it, or that it can never
    work; "lite" that nucleus lite does not run it; "trap" that it runs, but
    not as one would think. Exits with 1 for the first two.

    Example: gtlabel deploy check recipe.yaml
    """
    from gtlabel.edge.recipefile import read_recipe
    from gtlabel.edge.recipes import inspect_recipe

    findings = inspect_recipe(read_recipe(recipe))
    if output is Format.JSON:
        put_json([finding.to_json() for finding in findings])
    elif findings:
        put_table(("kind", "problem"), [(finding.kind, finding.sentence) for finding in findings])
    else:
        put_fields({"recipe": recipe, "problems": "none; both nuclei take it"})
    if any(finding.kind != "trap" for finding in findings):
        raise typer.Exit(1)


def _found(aws: Aws, to: str, name: str | None) -> tuple[Target, str, str]:
    """A target that something is deployed to, its ARN, and the component that is meant."""
    from gtlabel.edge.plan import current
    from gtlabel.edge.status import our_component
    from gtlabel.edge.targets import find_target, target_arn

    target = find_target(aws.greengrass, aws.iot, to, may_be_empty=True)
    arn = target_arn(aws.greengrass, target)
    if name is not None and arn:
        return target, arn, name
    return target, arn, our_component(aws.greengrass, current(aws.greengrass, arn)[0], target)


def _carry_out(
    aws: Aws,
    target: Target,
    plan: DeploymentPlan,
    *,
    yes: bool,
    dry_run: bool,
    timeout: float,
    poll: float,
    output: Format,
) -> None:
    """Show what a way back changes, ask, deploy it, and print what became of it."""
    import time

    from gtlabel.cli.deploymentview import Screen, ask, described, show_plan
    from gtlabel.edge.follow import not_good
    from gtlabel.edge.plan import with_configuration
    from gtlabel.edge.undo import carry_out

    plan = with_configuration(aws.greengrass, plan)
    if dry_run:
        put_json(described(plan)) if output is Format.JSON else show_plan(plan, to_stderr=False)
        return
    show_plan(plan, to_stderr=True)
    ask(f"Deploy this to {target.resource}?", yes=yes)
    screen = Screen()
    with screen.shown():
        deployment, devices = carry_out(
            aws.greengrass,
            target,
            plan,
            timeout=timeout,
            sleep=lambda _seconds: time.sleep(poll),
            on_progress=screen.take,
            on_overtaken=screen.tell_overtaken,
        )
    if not all(device.good for device in devices):
        raise not_good(deployment, devices, timeout, target.resource)
    name, _, version = plan.changed
    put_result(
        {"deployment": deployment, "component": name, "version": version or "none"},
        {device.thing: device.state or "removed" for device in devices},
        output,
    )


def put_result(result: Mapping[str, Any], states: Mapping[str, str], output: Format) -> None:
    """Print a deployment that went well, and what each device does now."""
    if output is Format.JSON:
        put_json({**result, "states": dict(states)})
        return
    put_fields({**result, **{f"thing {thing}": state for thing, state in states.items()}})
