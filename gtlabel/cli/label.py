"""`gtlabel label`: start a labeling job on the pictures of a prefix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtlabel.cli.options import DryRun, EndpointUrl, Output, Profile, Region, connect
from gtlabel.cli.output import Format, progress, put, put_json, say

if TYPE_CHECKING:
    from gtlabel.uris import S3Uri


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
        str | None,
        typer.Option(
            "--name", help="The job's name. [default: the prefix and a digest of all it is made of]"
        ),
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
        int | None,
        typer.Option("--workers", min=1, max=9, help="How many people look at each picture. [default: 3]"),
    ] = None,
    template: Annotated[
        Path | None,
        typer.Option("--template", exists=True, dir_okay=False, help="A worker template of your own."),
    ] = None,
    max_images_per_job: Annotated[
        int | None,
        typer.Option("--max-images-per-job", help="More become several jobs. [default: 100000]"),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Label once more, and pay once more, what was labeled before.")
    ] = False,
    dry_run: DryRun = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Start a labeling job and print its name.

    Workers see the pictures as soon as this returns. Pictures that cannot be read are left out and named.
    The same command run again, interrupted or on another machine, completes what is missing and starts
    nothing twice.

    Example: gtlabel label s3://my-bucket/trash/ --classes Compost,Landfill,Recycle --team me --role labeler
    """
    from gtlabel.errors import SettingsError
    from gtlabel.images.upload import upload_folder
    from gtlabel.journey import plan_labeling, start_labeling
    from gtlabel.uris import S3Uri

    project, aws = connect(
        profile,
        region,
        endpoint_url,
        classes=tuple(part.strip() for part in classes.split(",")) if classes else None,
        team=team,
        role=role,
        template=template,
        workers=workers,
        max_images_per_job=max_images_per_job,
    )
    prefix = _prefix(images, project.bucket)
    if not project.classes:
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
            project.classes,
            team=project.need("team", "--team"),
            role=project.need("role", "--role"),
            name=name,
            again=again,
            into=S3Uri(into) if into else None,
            workers_per_image=project.workers,
            template=project.template.read_text(encoding="utf-8") if project.template else None,
            max_images_per_job=project.max_images_per_job,
            on_progress=lambda done: show(done, 0),
        )
    for refusal in plan.usable.refused:
        say(f"left out: {refusal.uri} {refusal.reason}")
    if dry_run:
        requests = [request.to_boto() for request in plan.requests]
        put_json(requests[0] if len(requests) == 1 else requests)
        return
    arn = start_labeling(aws, plan)
    launch = plan.launch
    if output is Format.JSON:
        refused = [{"uri": refusal.uri, "reason": refusal.reason} for refusal in plan.usable.refused]
        put_json(
            {
                "name": launch.name,
                "arn": arn,
                "jobs": launch.jobs,
                "images": launch.images,
                "refused": refused,
                "started_before": plan.started,
            }
        )
        return
    if plan.started == launch.jobs:
        say("these pictures were sent to workers before, with the same settings; nothing was started now")
        say("to label and pay for them once more, run it with --again")
    else:
        jobs = "" if len(launch.jobs) == 1 else f" in {len(launch.jobs)} jobs"
        say(f"{launch.images} pictures{jobs}, {project.workers} people each; follow it with:")
        say(f"  gtlabel jobs wait {launch.name}")
    put(launch.name)


def _prefix(images: str, bucket: str | None) -> S3Uri:
    """The address of the pictures; one that names no bucket lies in the project's."""
    from gtlabel.uris import S3Uri

    return S3Uri.of(bucket, images) if bucket and not images.startswith("s3://") else S3Uri(images)
