"""`gtlabel doctor`: whether a labeling job would work, before it costs anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtlabel.cli.options import EndpointUrl, Output, Profile, Region, connect
from gtlabel.cli.output import Format, put, put_json, put_table, say
from gtlabel.labeling.tasks import TASKS, Task

if TYPE_CHECKING:
    from gtlabel.labeling.preflight import Finding
    from gtlabel.settings import Project
    from gtlabel.uris import S3Uri

_MARKS = {"ok": "✓", "warning": "!", "error": "✗"}


def doctor(
    images: Annotated[
        str | None,
        typer.Argument(metavar="S3_PREFIX", help="Where the pictures are. (default: the project's bucket)"),
    ] = None,
    team: Annotated[str | None, typer.Option("--team", help="The work team, by name or ARN.")] = None,
    role: Annotated[
        str | None, typer.Option("--role", help="The role the job reads and writes with, by name or ARN.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="Classes separated by commas, or the s3:// address of a class list."),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option("--template", help="A worker template: a file or an s3:// address. (default: ours)"),
    ] = None,
    task: Annotated[Task, typer.Option("--task", help="What workers would be asked.")] = Task.SINGLE,
    name: Annotated[str | None, typer.Option("--name", help="The name the job would have.")] = None,
    into: Annotated[
        str | None,
        typer.Option("--into", help="Where the job would write. (default: gtlabel/ in the pictures' bucket)"),
    ] = None,
    kms_key: Annotated[
        list[str] | None, typer.Option("--kms-key", help="A KMS key the job would write with.")
    ] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Let workers' browsers into the bucket; its other rules stay.")
    ] = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Look at everything that a labeling job leans on; exit with 1 if it would fail.

    Nothing is written, except with --fix.

    Example: gtlabel doctor s3://my-bucket/trash/ --team me --role labeler --classes Compost,Landfill,Recycle
    """
    from gtlabel.labeling.preflight import Subject, check, let_browsers_in
    from gtlabel.uris import S3Uri

    project, aws = connect(profile, region, endpoint_url)
    place = _place(images, project)
    subject = Subject(
        images=(place,) if place else (),
        output=S3Uri(into) if into else S3Uri.of(place.bucket, "gtlabel/") if place else None,
        name=name,
        team=team or project.team,
        role=role or project.role,
        classes=_classes(classes, project),
        template=_template(template, project, task),
        task=task,
        kms_keys=tuple(kms_key or ()),
        quotas=True,
    )
    if fix:
        for bucket in subject.image_buckets:
            if let_browsers_in(aws.s3, bucket):
                say(f"workers' browsers may now read the pictures of the bucket {bucket!r}")
    findings = check(aws, subject)
    if output is Format.JSON:
        put_json({"findings": [finding.to_json() for finding in findings]})
    else:
        _print(findings)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


def _print(findings: Sequence[Finding]) -> None:
    rows = [(_MARKS[finding.level], finding.check, finding.sentence) for finding in findings]
    put_table(("", "check", "what was found"), rows)
    # Below the table, where nothing wraps them: they are there to be copied.
    for finding in findings:
        if finding.detail:
            put(f"\n{finding.detail}")
        if finding.fix:
            put(f"\nto fix {finding.check}:\n  {finding.fix}")
    errors = sum(finding.level == "error" for finding in findings)
    warnings = sum(finding.level == "warning" for finding in findings)
    say(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _place(images: str | None, project: Project) -> S3Uri | None:
    from gtlabel.uris import S3Uri

    if images is not None and (images.startswith("s3://") or not project.bucket):
        return S3Uri(images)
    return S3Uri.of(project.bucket, images or "") if project.bucket else None


def _classes(given: str | None, project: Project) -> Sequence[str] | S3Uri | None:
    from gtlabel.uris import S3Uri

    if given is None:
        return project.classes or None
    return S3Uri(given) if given.startswith("s3://") else [name.strip() for name in given.split(",")]


def _template(given: str | None, project: Project, task: Task) -> str | S3Uri | Path | None:
    from gtlabel.templates import read_template
    from gtlabel.uris import S3Uri

    if given is not None:
        return S3Uri(given) if given.startswith("s3://") else Path(given)
    shipped = TASKS[task].template
    return project.template or (read_template(shipped) if shipped else None)
