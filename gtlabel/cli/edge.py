"""`gtlabel edge`: what comes back from devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtlabel.cli.options import DryRun, EndpointUrl, Output, Profile, Region, connect
from gtlabel.cli.output import Format, progress, put, put_json, put_table, say

if TYPE_CHECKING:
    from gtlabel.edge.collect import Brought, FramesPlan
    from gtlabel.edge.kept import Frame, Unusable
    from gtlabel.uris import S3Uri

_SHOWN = 3

app = typer.Typer(
    no_args_is_help=True,
    help="Bring back what devices keep for people to look at.",
    epilog="Example: gtlabel edge collect /media/card --into s3://mine/unsure/",
)


class By(StrEnum):
    """How unsure a model is."""

    MARGIN = "margin"
    ENTROPY = "entropy"


@app.callback()
def _edge() -> None:
    """A group, although it has one command."""


@app.command()
def collect(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Devices' folders, SD cards, or prefixes in S3 that such folders were copied to.",
        ),
    ],
    into: Annotated[str, typer.Option("--into", help="Where the pictures go: s3://bucket/prefix/.")],
    most: Annotated[
        int | None,
        typer.Option(
            "--most", min=1, help="Of these sources so many, the least sure first; earlier runs count."
        ),
    ] = None,
    by: Annotated[
        By, typer.Option("--by", help="How small the lead of the first class is, or entropy.")
    ] = By.MARGIN,
    known: Annotated[
        list[str] | None,
        typer.Option(
            "--known", metavar="S3_PREFIX", help="Pass over what looks like a picture of this dataset."
        ),
    ] = None,
    move: Annotated[
        bool, typer.Option("--move", help="Remove from the devices' folders what is in S3 then.")
    ] = False,
    dry_run: DryRun = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Bring the frames that cameras were least sure of to S3, to be labeled.

    A camera keeps such frames only if its owner wants that: deploy with
    --set unsure=FOLDER. Frames of several cameras compete, and near copies
    are passed over. The same command run again brings nothing twice.

    Example: gtlabel edge collect camera-1/ camera-2/ --into s3://mine/unsure/
    """
    from gtlabel.errors import MissingExtraError
    from gtlabel.uris import S3Uri

    try:
        from gtlabel.edge.collect import bring_frames, next_command, plan_frames
    except ModuleNotFoundError as error:
        raise MissingExtraError("comparing what pictures show", "edge") from error

    _, aws = connect(profile, region, endpoint_url)
    target = S3Uri(f"{into.rstrip('/')}/")
    places = [S3Uri(source) if source.startswith("s3://") else Path(source) for source in sources]
    with progress("looking at known pictures") as show:
        plan = plan_frames(
            aws.s3,
            places,
            target,
            known=[S3Uri(prefix) for prefix in known or ()],
            most=most,
            by=by.value,
            on_progress=lambda done: show(done, 0),
        )
    if dry_run:
        _tell(plan, plan.unusable)
        _print(plan, None, output)
        return
    with progress("bringing frames") as show:
        brought = bring_frames(aws.s3, plan, move=move, on_progress=show)
    _tell(plan, brought.unusable)
    if frames := len(brought.frames):
        say(f"{frames} frames came; have people label them:")
        say(f"  {next_command(plan)}")
    elif not plan.copies and not plan.over:
        say("there are no new frames")
    _print(plan, brought, output)


def _tell(plan: FramesPlan, unusable: Sequence[Unusable]) -> None:
    """What was left out, and why."""
    for each in unusable[:_SHOWN]:
        say(f"left out: {each.place} {each.reason}")
    if len(unusable) > _SHOWN:
        say(f"left out: {len(unusable) - _SHOWN} more; --output json names them all")
    if plan.there:
        say(f"{len(plan.there)} frames were brought by an earlier run")
    if plan.copies:
        say(f"{len(plan.copies)} frames look like another picture and were passed over")
    if plan.over:
        say(f"{len(plan.over)} frames were left where they are: the models are surer of them")


def _print(plan: FramesPlan, brought: Brought | None, output: Format) -> None:
    frames = [(plan.address(frame), frame) for frame in plan.chosen] if brought is None else brought.frames
    if output is Format.JSON:
        put_json(_summary(plan, brought, frames))
        return
    things: dict[str, list[Frame]] = {}
    for _, frame in frames:
        things.setdefault(frame.said.thing or "not said", []).append(frame)
    # The frames are in order: the least sure first.
    if frames:
        rows = [(thing, len(its), _words(its[0]), its[0].said.ts) for thing, its in sorted(things.items())]
        put_table(("thing", "frames", "the least sure", "at"), rows, right=("frames",))
    if brought is not None:
        put(brought.manifest)


def _words(frame: Frame) -> str:
    """What a model could not decide between."""
    ranked = sorted(zip(frame.said.values, frame.said.labels, strict=False), reverse=True)
    return " or ".join(f"{label} {value:.0%}" for value, label in ranked[:2])


def _summary(
    plan: FramesPlan, brought: Brought | None, frames: Sequence[tuple[S3Uri, Frame]]
) -> dict[str, Any]:
    from gtlabel.edge.collect import MANIFEST, next_command

    return {
        "into": plan.into,
        "manifest": plan.into / MANIFEST,
        "frames": [
            {
                "uri": uri,
                "from": str(frame.picture),
                **frame.said.model_dump(include={"thing", "model", "label", "confidence", "ts"}),
                "margin": round(frame.margin, 6),
                "entropy": round(frame.entropy, 6),
            }
            for uri, frame in frames
        ],
        "brought_before": [plan.address(frame) for frame in plan.there],
        "near_copies": [{"from": str(copy.frame.picture), "of": copy.of} for copy in plan.copies],
        "surer": len(plan.over),
        "unusable": [asdict(each) for each in (plan if brought is None else brought).unusable],
        "removed": brought.removed if brought else 0,
        "classes": plan.classes,
        "next": next_command(plan),
    }
