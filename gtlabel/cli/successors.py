"""New labeling jobs from earlier ones: `gtlabel jobs clone`, `chain`, `resume`, `relabel`, `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtlabel.cli.options import (
    DryRun,
    EndpointUrl,
    Force,
    JobName,
    Output,
    Profile,
    Region,
    RequestFields,
    connect,
    request_fields,
)
from gtlabel.cli.output import Format, put, put_json, say
from gtlabel.cli.precautions import look_before

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.labeling.lifecycle import SuccessorPlan

NewName = Annotated[
    str | None, typer.Option("--name", help="The new job's name. (default: the old one and a word)")
]
Attribute = Annotated[
    str | None, typer.Option("--attribute", help="The key of the new labels. (default: the new name)")
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, max=9, help="How many people look at each. (default: as before)"),
]
Team = Annotated[str | None, typer.Option("--team", help="The work team. (default: as before)")]


def clone(
    job: JobName,
    name: NewName = None,
    workers: Workers = None,
    team: Team = None,
    settings: RequestFields = None,
    force: Force = False,
    dry_run: DryRun = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Start the same job once more, on the same input under a new name, and print that.

    Example: gtlabel jobs clone trash-1f0c22ab --name trash-second-opinion --workers 5
    """
    from gtlabel.labeling.lifecycle import plan_clone

    _, aws = connect(profile, region, endpoint_url)
    launch(
        aws, plan_clone(aws, job, to=name, **changed(aws, workers, team, settings)), dry_run, force, output
    )


def chain(
    job: JobName,
    name: NewName = None,
    attribute: Attribute = None,
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="What a picture can be, separated by commas. (default: as before)"),
    ] = None,
    template: Annotated[
        Path | None,
        typer.Option("--template", exists=True, dir_okay=False, help="A worker template of your own."),
    ] = None,
    workers: Workers = None,
    team: Team = None,
    settings: RequestFields = None,
    force: Force = False,
    dry_run: DryRun = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Start a job on what an ended job put out, and print its name.

    Under a new attribute people are asked about all images; under the old one about those it lacks.

    Example: gtlabel jobs chain trash-1f0c22ab --classes Clean,Dirty --attribute clean
    """
    from gtlabel.labeling.lifecycle import plan_chain

    project, aws = connect(profile, region, endpoint_url)
    plan = plan_chain(
        aws,
        job,
        to=name,
        attribute=attribute,
        classes=[part.strip() for part in classes.split(",")] if classes else None,
        template=template.read_text(encoding="utf-8") if template else None,
        max_images_per_job=project.max_images_per_job,
        **changed(aws, workers, team, settings),
    )
    launch(aws, plan, dry_run, force, output)


def resume(
    job: JobName,
    name: NewName = None,
    workers: Workers = None,
    team: Team = None,
    settings: RequestFields = None,
    force: Force = False,
    dry_run: DryRun = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Start a job for only what an expired, failed or stopped one has not labeled, and print its name.

    Consolidate both together: gtlabel consolidate OLD NEW --into ...

    Example: gtlabel jobs resume trash-1f0c22ab
    """
    from gtlabel.labeling.lifecycle import plan_resume

    project, aws = connect(profile, region, endpoint_url)
    launch(
        aws,
        plan_resume(
            aws,
            job,
            to=name,
            max_images_per_job=project.max_images_per_job,
            **changed(aws, workers, team, settings),
        ),
        dry_run,
        force,
        output,
    )


def relabel(
    job: JobName,
    below: Annotated[
        float | None,
        typer.Option("--below", min=0, max=1, help="Labels whose confidence is less than this."),
    ] = None,
    disputed: Annotated[
        bool, typer.Option("--disputed", help="Images about which not all said the same.")
    ] = False,
    name: NewName = None,
    attribute: Attribute = None,
    workers: Workers = None,
    team: Team = None,
    settings: RequestFields = None,
    force: Force = False,
    dry_run: DryRun = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Start a job that labels anew what may be wrong in an ended one, and print its name.

    Consolidated together with the old job, the newer labels hold.

    Example: gtlabel jobs relabel trash-1f0c22ab --disputed --workers 5
    """
    from gtlabel.labeling.lifecycle import plan_relabel

    project, aws = connect(profile, region, endpoint_url)
    plan = plan_relabel(
        aws,
        job,
        below=below,
        disputed=disputed,
        to=name,
        attribute=attribute,
        max_images_per_job=project.max_images_per_job,
        **changed(aws, workers, team, settings),
    )
    launch(aws, plan, dry_run, force, output)


def verify(
    job: JobName,
    adjust: Annotated[
        bool, typer.Option("--adjust", help="Let people choose the class, in place of judging it.")
    ] = False,
    name: NewName = None,
    attribute: Attribute = None,
    workers: Workers = None,
    team: Team = None,
    settings: RequestFields = None,
    force: Force = False,
    dry_run: DryRun = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Start a job in which people say whether each label of an ended one is right, and print its name.

    Example: gtlabel jobs verify trash-1f0c22ab --workers 1
    """
    from gtlabel.labeling.lifecycle import plan_verify

    project, aws = connect(profile, region, endpoint_url)
    plan = plan_verify(
        aws,
        job,
        adjust=adjust,
        to=name,
        attribute=attribute,
        max_images_per_job=project.max_images_per_job,
        **changed(aws, workers, team, settings),
    )
    launch(aws, plan, dry_run, force, output)


def changed(aws: Aws, workers: int | None, team: str | None, settings: list[str] | None) -> dict[str, Any]:
    """The fields of the request that are to be otherwise than before."""
    from gtlabel.labeling.tasks import team_arn

    changes = request_fields(settings)
    if workers is not None:
        changes["workers_per_image"] = workers
    if team is not None:
        changes["team"] = team_arn(team, aws.region, aws.account)
    return changes


def launch(aws: Aws, plan: SuccessorPlan, dry_run: bool, force: bool, output: Format) -> None:
    """Start the jobs of a plan after a look at what could go wrong, or with `dry_run` print the requests."""
    from gtlabel.labeling.lifecycle import start_successor

    if plan.started != plan.launch.jobs:
        look_before(aws, plan.subject, force=force or dry_run)
    if dry_run:
        requests = [request.to_boto() for request in plan.requests]
        put_json(requests[0] if len(requests) == 1 else requests)
        return
    arn = start_successor(aws, plan)
    launch = plan.launch
    if output is Format.JSON:
        put_json(
            {
                "name": launch.name,
                "arn": arn,
                "jobs": launch.jobs,
                "images": launch.images,
                "started_before": plan.started,
            }
        )
        return
    if plan.started == launch.jobs:
        say("it was started before; for one more, give it another --name")
    else:
        say(f"{launch.images} images; follow it with:")
        say(f"  gtlabel jobs wait {launch.name}")
    put(launch.name)
