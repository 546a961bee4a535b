"""`gtlabel deploy`: put a trained model on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gtlabel.cli.options import EndpointUrl, Output, Profile, Region, connect, taken_apart
from gtlabel.cli.output import Format, put_fields, put_json, say

if TYPE_CHECKING:
    from gtlabel.edge.deploy import DeploymentPlan


def deploy(
    job: Annotated[str, typer.Argument(metavar="JOB", help="The training job whose model to deploy.")],
    to: Annotated[str, typer.Option("--to", help="A thing, thinggroup/NAME, or the ARN of either.")],
    name: Annotated[
        str | None,
        typer.Option("--name", help="The component's name. [default: deeplens- and the dataset's]"),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A value of the component's configuration."),
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait for the devices.")] = 600,
    poll: Annotated[float, typer.Option("--poll", help="Seconds between two looks.")] = 2.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Convert the model, say what would be deployed, and stop.")
    ] = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Put a trained model on a Greengrass V2 core device and wait until it runs there.

    The model becomes one ONNX file in a bundle that tests itself on the device before it starts.
    Components that others have deployed to the device stay. Exits with 3 if the deployment failed.

    Example: gtlabel deploy trash-20261122-113000 --to kitchen-camera
    """
    from gtlabel import journey

    configuration = taken_apart(settings)
    _, aws = connect(profile, region, endpoint_url)
    model = journey.fetch_model(aws, job)
    if dry_run:
        put_json(
            {
                "training job": job,
                "classes": list(model.classes),
                "onnx bytes": len(model.onnx),
                "component": name or journey.component_name(model.dataset.uri),
                "to": to,
                "configuration": configuration,
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
