"""What is deployed to devices: deploying, `status`, `rollback`, `remove`, `list` and `check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtlabel.cli.options import DryRun, EndpointUrl, Output, Profile, Region, connect
from gtlabel.cli.output import Format, put_fields, put_json, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gtlabel.aws import Aws
    from gtlabel.edge.deploy import DeploymentPlan

To = Annotated[
    str | None, typer.Option("--to", metavar="TARGET", help="A thing, thinggroup/NAME, or the ARN of either.")
]
Needed = Annotated[
    str, typer.Option("--to", metavar="TARGET", help="A thing, thinggroup/NAME, or the ARN of either.")
]
Component = Annotated[
    str | None, typer.Option("--name", help="The component. [default: the one of gtlabel that is there]")
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
        help="The share of a group's devices that must fail to stop. [default: the first that fails]",
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
Timeout = Annotated[float, typer.Option("--timeout", help="Seconds to wait for the devices.")]
Poll = Annotated[float, typer.Option("--poll", help="Seconds between two looks.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before the devices change.")]


def asked_rollout(
    rollout: str | None, abort_after: float | None, device_timeout: int | None
) -> Mapping[str, Any]:
    """How fast a deployment reaches the devices of a group, and when it stops."""
    return {"rollout": rollout, "abort_after": abort_after, "device_timeout": device_timeout}


def deploy(
    aws: Aws,
    job: str,
    to: str,
    *,
    name: str | None,
    version: str | None,
    configuration: Mapping[str, str],
    keep_settings: bool,
    rollout: Mapping[str, Any],
    device_role: str | None,
    roll_back: bool,
    timeout: float,
    poll: float,
    yes: bool,
    dry_run: bool,
    output: Format,
) -> None:
    """Deploy a model through Greengrass and print what became of it."""
    from gtlabel import journey

    model = journey.fetch_model(aws, job)
    if dry_run:
        put_json(
            {
                "training job": job,
                "classes": list(model.classes),
                "onnx bytes": len(model.onnx),
                "component": name or journey.component_name(model.dataset.uri),
                "to": to,
                "configuration": dict(configuration),
            }
        )
        return

    def tell(plan: DeploymentPlan) -> None:
        say(f"{to}: {plan}")

    deployed = journey.deploy(
        aws, model, to, name=name, configuration=configuration, timeout=timeout, poll=poll, on_plan=tell
    )
    component = deployed.component
    result = {
        "deployment": deployed.deployment,
        "component": component.name,
        "version": component.version,
        "artifact": component.artifact,
    }
    if output is Format.JSON:
        put_json({**result, "states": deployed.states})
        return
    states = {f"thing {thing}": state for thing, state in deployed.states.items()}
    put_fields({**result, **states})


def status(
    to: To = None,
    name: Component = None,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Show what each device runs, how its deployment went, and when it was last heard of.

    Example: gtlabel deploy status --to kitchen-camera
    """


def rollback(
    to: Needed,
    name: Component = None,
    to_version: Annotated[
        str | None, typer.Option("--to-version", help="An earlier version. [default: the last good one]")
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
    """Deploy an earlier version again, with the configuration it had.

    Example: gtlabel deploy rollback --to kitchen-camera
    """


def remove(
    to: Needed,
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

    Example: gtlabel deploy remove --to kitchen-camera
    """


def list_revisions(
    to: To = None,
    name: Component = None,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """List the revisions of a target's deployment.

    Example: gtlabel deploy list --to kitchen-camera
    """
    connect(profile, region, endpoint_url)


def check(
    recipe: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, metavar="RECIPE", help="A recipe, JSON or YAML.")
    ],
    output: Output = Format.TEXT,
) -> None:
    """Say what is wrong with a component's recipe.

    Example: gtlabel deploy check recipe.yaml
    """
