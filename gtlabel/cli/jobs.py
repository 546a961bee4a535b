"""`gtlabel jobs`: find, follow and stop labeling jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gtlabel.cli.options import EndpointUrl, JobName, Output, Profile, Region, connect
from gtlabel.cli.output import Format, progress, put_fields, put_json, put_table, say

if TYPE_CHECKING:
    from gtlabel.labeling.jobs import LabelingJob

app = typer.Typer(no_args_is_help=True, help="Find, follow and stop labeling jobs.")


@app.command("list")
def list_jobs(
    status: Annotated[str | None, typer.Option("--status", help="Only jobs of this status.")] = None,
    name_contains: Annotated[
        str | None, typer.Option("--name-contains", help="Only jobs with this in their name.")
    ] = None,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """List the labeling jobs, newest first.

    Example: gtlabel jobs list --status InProgress
    """
    from gtlabel.labeling.jobs import list_labeling_jobs

    _, aws = connect(profile, region, endpoint_url)
    jobs = list(list_labeling_jobs(aws.sagemaker, status=status, name_contains=name_contains))
    if output is Format.JSON:
        put_json(jobs)
    elif jobs:
        put_table(
            list(jobs[0]), [list(job.values()) for job in jobs], right=("labeled", "failed", "unlabeled")
        )
    else:
        say("there are no such labeling jobs")


@app.command()
def show(
    job: JobName,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Show one labeling job.

    Example: gtlabel jobs show trash-20261122-101500
    """
    from gtlabel.labeling.jobs import describe_labeling_job

    _, aws = connect(profile, region, endpoint_url)
    _print_job(describe_labeling_job(aws.sagemaker, job), output)


@app.command()
def wait(
    job: JobName,
    timeout: Annotated[
        float | None, typer.Option("--timeout", help="Give up after this many seconds.")
    ] = None,
    poll: Annotated[float, typer.Option("--poll", help="Seconds between two looks.")] = 5.0,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Follow a labeling job until it has ended, and show it.

    Exits with 3 if the job failed, 4 if it was stopped, 5 if the time was up.

    Example: gtlabel jobs wait trash-20261122-101500 --timeout 86400
    """
    from gtlabel.labeling.jobs import wait_for_labeling_job

    _, aws = connect(profile, region, endpoint_url)
    with progress(f"labeling {job}") as bar:
        ended = wait_for_labeling_job(
            aws.sagemaker,
            job,
            timeout=timeout,
            poll=poll,
            on_change=lambda now: bar(now.counters.done, now.counters.total),
        )
    if ended.counters.failed:
        say(f"{ended.counters.failed} pictures could not be labeled; the output manifest says why for each")
    _print_job(ended, output)


@app.command()
def stop(
    job: JobName,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Stop a labeling job for good; what was labeled so far is kept.

    Example: gtlabel jobs stop trash-20261122-101500
    """
    from gtlabel.labeling.jobs import stop_labeling_job

    _, aws = connect(profile, region, endpoint_url)
    stop_labeling_job(aws.sagemaker, job)
    say(f"stopping {job}; see when it has: gtlabel jobs show {job}")


def _print_job(job: LabelingJob, output: Format) -> None:
    if output is Format.JSON:
        put_json(job.to_json())
        return
    counters = job.counters
    fields = {
        "name": job.name,
        "status": job.status,
        "labeled": f"{counters.labeled} ({counters.by_people} by people, {counters.by_machine} by machine)",
        "failed": counters.failed,
        "unlabeled": counters.unlabeled,
        "attribute": job.attribute,
        "created": job.created.isoformat(timespec="seconds"),
        "output manifest": job.output_manifest or "not yet written",
    }
    if job.failure_reason:
        fields["failure reason"] = job.failure_reason
    put_fields(fields)
