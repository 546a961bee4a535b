"""`gtlabel deploy`: put a trained model on devices, and see, change and undo what is deployed there."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtlabel.cli import bundles, deployments
from gtlabel.cli.options import (
    START,
    EndpointUrl,
    OrStart,
    Output,
    Poll,
    Profile,
    Region,
    connect,
    taken_apart,
)
from gtlabel.cli.output import Format, say

if TYPE_CHECKING:
    from gtlabel.aws import Aws


# Options that say something of one target only; with another they would be promises that nobody keeps.
_OF_BUNDLES = ("out",)
_OF_GREENGRASS = (
    "version", "rollout", "abort_after", "device_timeout", "device_role", "no_rollback", "keep_settings",
    "beside", "timeout", "poll",
)  # fmt: skip


class Target(StrEnum):
    """What a model is put into."""

    BUNDLE = "bundle"
    GREENGRASS = "greengrass"
    DEEPLENS = "deeplens"


app = typer.Typer(
    cls=OrStart,
    no_args_is_help=True,
    help="Put a trained model on devices; see, change and undo what is deployed there.",
)
app.command("status")(deployments.status)
app.command("rollback")(deployments.rollback)
app.command("remove")(deployments.remove)
app.command("list")(deployments.list_revisions)
app.command("check")(deployments.check)


@app.command(START, hidden=True)
def start(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A training job, or the path or s3:// address of a model.tar.gz or an .onnx file.",
        ),
    ],
    target: Annotated[
        Target | None,
        typer.Option("--target", help="What the model becomes. (default: greengrass with --to, else bundle)"),
    ] = None,
    to: deployments.To = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="The component's name. (default: deeplens- and the dataset's)"),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A value of the component's configuration."),
    ] = None,
    keep_settings: Annotated[
        bool, typer.Option("--keep-settings", help="Keep what --set was given for the deployment before.")
    ] = False,
    beside: Annotated[
        bool, typer.Option("--beside", help="Keep another classifier of gtlabel that is there as well.")
    ] = False,
    most_drop: Annotated[
        float | None,
        typer.Option(
            "--most-drop",
            metavar="SHARE",
            min=0,
            max=1,
            help=f"The share of pictures that the network of 8 bits may lose. (default: {bundles.MOST_DROP})",
        ),
    ] = None,
    no_int8: Annotated[bool, typer.Option("--no-int8", help="Make no network of 8 bits.")] = False,
    pictures: Annotated[
        str | None,
        typer.Option("--pictures", help="Pictures whose class is known, for the self-test and the 8 bits."),
    ] = None,
    classes: Annotated[
        str | None, typer.Option("--classes", help="The names of the classes, where nothing else says them.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The .zip or folder to write.", rich_help_panel="Bundles to copy"),
    ] = None,
    wheels: Annotated[
        str | None,
        typer.Option(
            "--wheels",
            metavar="PLATFORMS",
            help="Bring the packages along, such as for linux-x86_64,linux-aarch64.",
            rich_help_panel="Bundles to copy",
        ),
    ] = None,
    core: Annotated[
        str | None,
        typer.Option(
            "--core",
            metavar="THING",
            help="A DeepLens that was reflashed and runs a Greengrass nucleus.",
            rich_help_panel="Bundles to copy",
        ),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(
            "--version",
            help="The component's version. (default: the one of this content, or the next)",
            rich_help_panel="Greengrass",
        ),
    ] = None,
    rollout: deployments.Rollout = None,
    abort_after: deployments.AbortAfter = None,
    device_timeout: deployments.DeviceTimeout = None,
    device_role: Annotated[
        str | None,
        typer.Option(
            "--device-role",
            metavar="ROLE",
            help="Look whether this token-exchange role of the devices lets them fetch the bundle.",
            rich_help_panel="Greengrass",
        ),
    ] = None,
    no_rollback: Annotated[
        bool,
        typer.Option(
            "--no-rollback", help="Leave a version that failed where it is.", rich_help_panel="Greengrass"
        ),
    ] = False,
    timeout: deployments.Timeout = 600,
    poll: Poll = 2.0,
    yes: deployments.Yes = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be made and changed, and upload nothing.")
    ] = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Put a trained model on devices.

    With --to it goes to a Greengrass V2 core device, or to all of a thing
    group, and is waited for until it runs there. Without, it becomes a
    bundle to copy to any machine with Python.

    The model becomes one ONNX file in a bundle that tests itself on the
    device before it starts. Components that others have deployed stay.

    Exits with 3 if a device failed; unless --no-rollback says otherwise, the
    last good version is then deployed again. Exits with 5 if the time was up;
    the deployment waits for devices that are off.

    Example: gtlabel deploy trash-20261122-113000 --to kitchen-camera
    """
    chosen = _target(target, to, core)
    _refuse_options_of_others(context, chosen)
    configuration = taken_apart(settings)

    def clients() -> Aws:
        return connect(profile, region, endpoint_url)[1]

    if no_int8 and most_drop is not None:
        raise typer.BadParameter(
            "says how good the network that --no-int8 leaves out must be", param_hint="--most-drop"
        )
    allowed = None if no_int8 else bundles.MOST_DROP if most_drop is None else most_drop
    if chosen is not Target.GREENGRASS:
        bundles.write_bundle(
            model,
            "deeplens" if chosen is Target.DEEPLENS else "bundle",
            clients,
            out=out,
            name=name,
            wheels=wheels,
            most_drop=allowed,
            pictures=pictures,
            classes=classes,
            settings=configuration,
            dry_run=dry_run,
            output=output,
        )
        return
    from gtlabel import delivery
    from gtlabel.cli.greengrass import deliver
    from gtlabel.edge.presets import PRESETS
    from gtlabel.edge.rollout import parse_rollout
    from gtlabel.training.model import read_classes

    pace = parse_rollout(rollout, abort_after=abort_after, device_timeout=device_timeout)
    # A core has a newer system than the one that a DeepLens was sold with, and any of several Pythons.
    packing = bundles.asked_packing("bundle", wheels, {})
    if core is not None:
        bundles.check_core(clients, core)
        if not configuration.keys() & {"camera", "cameraCommand", "folder"}:
            configuration["camera"] = PRESETS["deeplens"].camera
    aws = clients()
    trained = delivery.fetch_model(
        aws,
        model,
        pictures=pictures,
        classes=read_classes(classes) if classes else None,
        most_drop=allowed,
    )
    for warning in trained.warnings:
        say(warning)
    deliver(
        aws,
        trained,
        to or core or "",
        name=name or delivery.component_name(trained),
        packing=packing,
        configuration=configuration,
        wishes={
            "version": version,
            "keep_settings": keep_settings,
            "beside": beside,
            "rollout": pace,
            "roll_back": not no_rollback,
        },
        device_role=device_role,
        timeout=timeout,
        poll=poll,
        yes=yes,
        dry_run=dry_run,
        output=output,
    )


def _target(target: Target | None, to: str | None, core: str | None) -> Target:
    """What a model is to become, where the options go together."""
    if core is not None and target is not Target.DEEPLENS:
        raise typer.BadParameter("goes with --target deeplens", param_hint="--core")
    if to is not None and target not in (None, Target.GREENGRASS):
        raise typer.BadParameter(f"goes with --target greengrass, not {target}", param_hint="--to")
    if target is Target.GREENGRASS and to is None:
        raise typer.BadParameter("name the thing, or thinggroup/NAME", param_hint="--to")
    if core is not None or to is not None:
        return Target.GREENGRASS
    return target or Target.BUNDLE


def _refuse_options_of_others(context: typer.Context, chosen: Target) -> None:
    others = _OF_BUNDLES if chosen is Target.GREENGRASS else _OF_GREENGRASS
    for name in others:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(
                f"says nothing of the target {chosen}; "
                + (
                    "leave out --to for a bundle"
                    if chosen is Target.GREENGRASS
                    else "give --to for Greengrass"
                ),
                param_hint=f"--{name.replace('_', '-')}",
            )
