"""`gtlabel label`: start a labeling job on the pictures of a prefix."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gtlabel.cli.options import DryRun, EndpointUrl, Output, Profile, Region, connect
from gtlabel.cli.output import Format, progress, put, put_json, say


def label(
    images: Annotated[str, typer.Argument(metavar="S3_PREFIX", help="Where the pictures are.")],
    classes: Annotated[
        str | None, typer.Option("--classes", help="What a picture can be, separated by commas.")
    ] = None,
    team: Annotated[str | None, typer.Option("--team", help="The work team, by name or ARN.")] = None,
    role: Annotated[
        str | None, typer.Option("--role", help="The role the job reads and writes with, by name or ARN.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The job's name. [default: the prefix and the time]")
    ] = None,
    into: Annotated[
        str | None,
        typer.Option("--into", help="Where the job writes. [default: gtlabel/ in the pictures' bucket]"),
    ] = None,
    upload: Annotated[
        Path | None,
        typer.Option("--upload", exists=True, file_okay=False, help="Upload this folder to S3_PREFIX first."),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=9, help="How many people look at each picture.")
    ] = 3,
    template: Annotated[
        Path | None,
        typer.Option("--template", exists=True, dir_okay=False, help="A worker template of your own."),
    ] = None,
    dry_run: DryRun = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Start a labeling job and print its name.

    Workers see the pictures as soon as this returns. Pictures that cannot be read are left out and named.

    Example: gtlabel label s3://my-bucket/trash/ --classes Compost,Landfill,Recycle --team me --role labeler
    """
    from gtlabel.errors import SettingsError
    from gtlabel.images.upload import upload_folder
    from gtlabel.journey import plan_labeling, start_labeling
    from gtlabel.uris import S3Uri

    project, aws = connect(profile, region, endpoint_url)
    prefix = S3Uri(images)
    names = [part.strip() for part in classes.split(",")] if classes else list(project.classes)
    if not names:
        raise SettingsError("no classes are named; give --classes or write classes = [...] in gtlabel.toml")
    if upload is not None:
        if dry_run:
            say(f"would upload the pictures of {upload} to {prefix}")
        else:
            with progress("uploading") as show:
                upload_folder(aws.s3, upload, prefix, on_progress=show)
    with progress("looking at the pictures") as show:
        plan = plan_labeling(
            aws,
            prefix,
            names,
            team=team or project.need("team", "--team"),
            role=role or project.need("role", "--role"),
            name=name,
            into=S3Uri(into) if into else None,
            workers_per_image=workers,
            template=template.read_text(encoding="utf-8") if template else None,
            on_progress=lambda done: show(done, 0),
        )
    for refusal in plan.usable.refused:
        say(f"left out: {refusal.uri} {refusal.reason}")
    if dry_run:
        put_json(plan.request.to_boto())
        return
    arn = start_labeling(aws, plan)
    if output is Format.JSON:
        refused = [{"uri": refusal.uri, "reason": refusal.reason} for refusal in plan.usable.refused]
        put_json(
            {"name": plan.request.name, "arn": arn, "images": len(plan.usable.images), "refused": refused}
        )
        return
    say(f"{len(plan.usable.images)} pictures, {workers} people each; follow it with:")
    say(f"  gtlabel jobs wait {plan.request.name}")
    put(plan.request.name)
