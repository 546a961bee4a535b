"""`gtlabel stream`: label images as they come in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtlabel.cli.options import DryRun, EndpointUrl, Force, JobName, Output, Poll, Profile, Region, connect
from gtlabel.cli.output import Format, progress, put, put_fields, put_json, say
from gtlabel.cli.precautions import look_before

if TYPE_CHECKING:
    from gtlabel.manifests.records import ManifestRecord
    from gtlabel.uris import S3Uri

app = typer.Typer(no_args_is_help=True, help="Label images as they come in, until the job is stopped.")


@app.command()
def start(
    job: JobName,
    into: Annotated[str, typer.Option("--into", help="Where the job writes, as s3://bucket/prefix/.")],
    classes: Annotated[
        str | None, typer.Option("--classes", help="What a picture can be, separated by commas.")
    ] = None,
    team: Annotated[str | None, typer.Option("--team", help="The work team, by name or ARN.")] = None,
    role: Annotated[
        str | None, typer.Option("--role", help="The role the job reads and writes with, by name or ARN.")
    ] = None,
    manifest: Annotated[
        str | None, typer.Option("--manifest", help="Pictures to begin with: an input manifest in S3.")
    ] = None,
    input_topic: Annotated[
        str | None,
        typer.Option("--input-topic", help="A topic to listen to, by ARN. (default: a new one)"),
    ] = None,
    output_topic: Annotated[
        str | None,
        typer.Option("--output-topic", help="A topic to answer on, by ARN. (default: a new one)"),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=9, help="How many people look at each picture.")
    ] = 3,
    max_concurrent: Annotated[
        int, typer.Option("--max-concurrent", help="How many pictures are out with workers at once.")
    ] = 1_000,
    template: Annotated[
        Path | None,
        typer.Option("--template", exists=True, dir_okay=False, help="A worker template of your own."),
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait until it is ready.")] = 600.0,
    poll: Poll = 2.0,
    force: Force = False,
    dry_run: DryRun = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Start a streaming job, wait until it can be sent to, and print its name.

    Its labels are collected from then on; fetch them with `gtlabel stream receive`.

    Example: gtlabel stream start belt --into s3://my-bucket/gtlabel/ --classes Compost,Landfill,Recycle
    """
    from gtlabel.errors import SettingsError
    from gtlabel.labeling.plan import subject_of
    from gtlabel.labeling.receiving import subscribe
    from gtlabel.labeling.request import LabelingJobRequest
    from gtlabel.labeling.streaming import plan_streaming, start_streaming, wait_until_open
    from gtlabel.labeling.tasks import role_arn, team_arn
    from gtlabel.templates import read_template
    from gtlabel.uris import S3Uri

    project, aws = connect(profile, region, endpoint_url)
    names = [part.strip() for part in classes.split(",")] if classes else list(project.classes)
    if not names:
        raise SettingsError("no classes are named; give --classes or write classes = [...] in gtlabel.toml")
    inputs = S3Uri(into) / job / "input"
    request = LabelingJobRequest(
        name=job,
        manifest=S3Uri(manifest) if manifest else None,
        classes=inputs / "classes.json",
        template=inputs / "template.liquid",
        output=S3Uri(into),
        role=role_arn(role or project.need("role", "--role"), aws.account),
        team=team_arn(team or project.need("team", "--team"), aws.region, aws.account),
        region=aws.region,
        workers_per_image=workers,
        max_concurrent=max_concurrent,
        input_topic=input_topic,
        output_topic=output_topic,
    )
    page = (
        template.read_text(encoding="utf-8")
        if template
        else read_template("tasks/image-classification.liquid")
    )
    plan = plan_streaming(aws.sagemaker, request, names, page, account=aws.account)
    # Where its images will lie is not known yet, so nothing is said about their buckets.
    subject = replace(subject_of(plan.request, (), names, page), name=job)
    look_before(aws, subject, force=force or dry_run)
    if dry_run:
        put_json(plan.request.to_boto())
        return
    arn = start_streaming(aws.sagemaker, aws.sns, aws.s3, plan)
    stream = wait_until_open(aws.sagemaker, job, timeout=timeout, poll=poll)
    results = subscribe(aws.sns, aws.sqs, stream)
    if output is Format.JSON:
        put_json(
            {
                "name": job,
                "arn": arn,
                "input_topic": stream.input_topic,
                "output_topic": stream.output_topic,
                "results": results.url,
            }
        )
        return
    say(f"send pictures with: gtlabel stream send {job} s3://my-bucket/new/picture.jpg")
    put(job)


@app.command()
def show(
    job: JobName,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Show a streaming job: its topics, and what waits in its queues.

    Example: gtlabel stream show belt
    """
    from gtlabel.labeling.streaming import find_stream, messages_in, queue_url, results_queue, waiting

    _, aws = connect(profile, region, endpoint_url)
    stream = find_stream(aws.sagemaker, job)
    collected = queue_url(aws.sqs, results_queue(job))
    fields = {
        "name": stream.job,
        "status": stream.status,
        "input_topic": stream.input_topic,
        "output_topic": stream.output_topic,
        "waiting_to_be_shown": waiting(aws.sqs, stream),
        "waiting_to_be_received": messages_in(aws.sqs, collected) if collected else 0,
    }
    if output is Format.JSON:
        put_json(fields)
    else:
        put_fields(fields)


@app.command()
def send(
    job: JobName,
    images: Annotated[
        list[str] | None, typer.Argument(metavar="S3_URI...", help="The pictures; - reads them from stdin.")
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option("--manifest", exists=True, dir_okay=False, help="Send the records of this manifest."),
    ] = None,
    key: Annotated[
        str, typer.Option("--id-key", help="The key whose value keeps a picture from being labeled twice.")
    ] = "source-ref",
    dry_run: DryRun = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Send pictures to a streaming job. Workers see them at once; sending one again does no harm.

    Example: gtlabel stream send belt s3://my-bucket/new/1.jpg s3://my-bucket/new/2.jpg
    """
    from gtlabel.labeling.sending import identified
    from gtlabel.labeling.sending import send as send_images
    from gtlabel.manifests.lines import write_record

    if not images and manifest is None:
        raise typer.BadParameter("name pictures, or a file with --manifest", param_hint="S3_URI")
    _, aws = connect(profile, region, endpoint_url)
    records = _given(images or [], manifest)
    if dry_run:
        for record in identified(records, key):
            put(write_record(record).decode())
        return
    with progress("sending") as bar:
        count = send_images(
            aws.sagemaker, aws.sns, job, records, key=key, on_progress=lambda sent: bar(sent, 0)
        )
    if output is Format.JSON:
        put_json({"job": job, "sent": count})
        return
    say(f"sent {count} pictures to {job}")


@app.command()
def receive(
    job: JobName,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="End after so many labels.")] = None,
    idle: Annotated[float, typer.Option("--idle", help="End when nothing came for so many seconds.")] = 20.0,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until the job has ended, however long nothing comes.")
    ] = False,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Print the labels of a streaming job as they come, as lines of a manifest.

    What was printed is gone from the queue; whoever is interrupted goes on where they were.

    Example: gtlabel stream receive belt --follow >> labeled.manifest
    """
    from gtlabel.labeling.jobs import ENDED
    from gtlabel.labeling.receiving import find_results, subscribe
    from gtlabel.labeling.receiving import receive as receive_records
    from gtlabel.labeling.streaming import find_stream
    from gtlabel.manifests.lines import write_record

    _, aws = connect(profile, region, endpoint_url)
    stream = find_stream(aws.sagemaker, job)
    running = stream.status not in ENDED
    results = subscribe(aws.sns, aws.sqs, stream) if running else find_results(aws.sqs, job)
    records = receive_records(
        aws.sqs,
        results,
        limit=limit,
        idle=None if follow else idle,
        over=lambda: find_stream(aws.sagemaker, job).status in ENDED,
        on_refused=lambda text, reason: say(f"left out, because {reason}: {text}"),
    )
    count = 0
    try:
        for count, record in enumerate(records, start=1):  # noqa: B007 - told below
            put(write_record(record).decode())
    finally:
        # Gives back at once what was fetched and not printed.
        records.close()
    say(f"received {count} labels of {job}")


@app.command()
def stop(
    job: JobName,
    clean: Annotated[
        bool, typer.Option("--clean", help="Wait for its end, then remove its queues and topics.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --clean: drop what still waits in the queues.")
    ] = False,
    timeout: Annotated[float, typer.Option("--timeout", help="With --clean: seconds to wait.")] = 600.0,
    poll: Poll = 2.0,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Stop a streaming job for good. AWS leaves its queue behind; --clean removes it, and what we made.

    Example: gtlabel stream stop belt --clean
    """
    from gtlabel.errors import JobEndedError
    from gtlabel.labeling.jobs import ENDED, wait_for_labeling_job
    from gtlabel.labeling.streaming import clean_up, find_stream, stop_streaming

    _, aws = connect(profile, region, endpoint_url)
    if not (clean and find_stream(aws.sagemaker, job).status in ENDED):
        stop_streaming(aws.sagemaker, job)
    if not clean:
        if output is Format.JSON:
            put_json({"stopping": job, "removed": []})
            return
        say(f"stopping {job}; then remove its queue with: gtlabel stream stop {job} --clean")
        return
    try:
        wait_for_labeling_job(aws.sagemaker, job, timeout=timeout, poll=poll)
    except JobEndedError as ended:
        # Stopped is what was asked for.
        if ended.timed_out:
            raise
    removed = clean_up(aws.sagemaker, aws.sns, aws.sqs, job, force=force)
    if output is Format.JSON:
        put_json({"stopped": job, "removed": list(removed)})
        return
    say(f"stopped {job}; removed {', '.join(removed) or 'nothing, for nothing was left'}")


def _given(images: list[str], manifest: Path | None) -> Iterator[S3Uri | ManifestRecord]:
    from gtlabel.manifests.lines import read_records
    from gtlabel.storage import read_file_lines
    from gtlabel.uris import S3Uri

    for image in images:
        lines = sys.stdin if image == "-" else [image]
        yield from (S3Uri(line.strip()) for line in lines if line.strip())
    if manifest is not None:
        yield from read_records(read_file_lines(manifest), str(manifest))
