"""`gtlabel jobs`: find, follow and stop labeling jobs, and make new ones of them."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC
from typing import TYPE_CHECKING, Annotated

import typer

from gtlabel.cli import audit, preview, successors
from gtlabel.cli.options import (
    Ascending,
    EndpointUrl,
    JobName,
    Limit,
    NameContains,
    OfStatus,
    Output,
    Poll,
    Profile,
    Region,
    Since,
    Sort,
    SortBy,
    Until,
    connect,
)
from gtlabel.cli.output import Format, progress, put_fields, put_json, put_table, say

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.labeling.groups import JobGroup
    from gtlabel.labeling.speed import Speed

app = typer.Typer(
    no_args_is_help=True, help="Find, follow and stop labeling jobs, and make new ones of them."
)
app.command("clone")(successors.clone)
app.command("chain")(successors.chain)
app.command("resume")(successors.resume)
app.command("relabel")(successors.relabel)
app.command("verify")(successors.verify)
app.command("audit")(audit.audit)
app.command("preview")(preview.preview)

# Of the reasons why images failed, the most frequent are shown.
_REASONS_SHOWN = 3


@app.command("list")
def list_jobs(
    status: OfStatus = None,
    name_contains: NameContains = None,
    since: Since = None,
    until: Until = None,
    sort: SortBy = Sort.CREATED,
    ascending: Ascending = False,
    limit: Limit = None,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """List the labeling jobs, newest first.

    Example: gtlabel jobs list --status InProgress --since 2026-11-01
    """
    from gtlabel.labeling.jobs import list_labeling_jobs

    _, aws = connect(profile, region, endpoint_url)
    found = list_labeling_jobs(
        aws.sagemaker,
        status=status,
        name_contains=name_contains,
        since=since.replace(tzinfo=UTC) if since else None,
        until=until.replace(tzinfo=UTC) if until else None,
        sort=sort.value,
        ascending=ascending,
        limit=limit,
    )
    jobs = list(found)
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
    """Show one labeling job, or those that were launched under one name.

    Example: gtlabel jobs show trash-1f0c22ab
    """
    from gtlabel.labeling.groups import describe_labeling

    _, aws = connect(profile, region, endpoint_url)
    group = describe_labeling(aws.sagemaker, aws.s3, job)
    _tell_savings(aws, group)
    _tell_automation(aws, group)
    _print_group(group, output)


@app.command()
def wait(
    job: JobName,
    timeout: Annotated[
        float | None, typer.Option("--timeout", help="Give up after this many seconds.")
    ] = None,
    poll: Poll = 5.0,
    webhook: Annotated[
        str | None, typer.Option("--webhook", metavar="URL", help="Post a JSON there when it has ended.")
    ] = None,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Follow a labeling job, or those launched under one name, until all have ended, and show them.

    Exits with 3 if one failed, 4 if one was stopped, 5 if the time was up. A completed job may have
    images that could not be labeled; they are counted, with the reasons.

    Example: gtlabel jobs wait trash-1f0c22ab --timeout 86400
    """
    from gtlabel.errors import JobEndedError
    from gtlabel.labeling.groups import wait_for_labeling
    from gtlabel.labeling.speed import Speed
    from gtlabel.labeling.webhook import check_webhook

    if webhook is not None:
        check_webhook(webhook)
    _, aws = connect(profile, region, endpoint_url)
    seen: list[JobGroup] = []
    speed: list[Speed] = []

    with progress(f"labeling {job}", remaining=False) as bar:

        def look(now: JobGroup) -> None:
            seen[:] = [now]
            if not speed:
                speed.append(Speed(time.monotonic(), now.counters.done))
            bar(now.counters.done, now.counters.total, _note(now, speed[0]))

        try:
            wait_for_labeling(aws.sagemaker, aws.s3, job, timeout=timeout, poll=poll, on_change=look)
        except JobEndedError as end:
            if webhook is not None and not end.timed_out:
                _post(webhook, seen[0])
            raise
    _tell_failures(aws, seen[0])
    _tell_savings(aws, seen[0])
    _tell_automation(aws, seen[0])
    _print_group(seen[0], output)
    if webhook is not None:
        _post(webhook, seen[0])


@app.command()
def stop(
    job: JobName,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Stop a labeling job, or those launched under one name, for good; what was labeled so far is kept.

    Example: gtlabel jobs stop trash-1f0c22ab
    """
    from gtlabel.labeling.groups import stop_labeling

    _, aws = connect(profile, region, endpoint_url)
    stopping = list(stop_labeling(aws.sagemaker, aws.s3, job))
    if output is Format.JSON:
        put_json({"stopping": stopping})
        return
    for each in stopping:
        say(f"stopping {each}")
    say(f"see when it has: gtlabel jobs wait {job}; label the rest: gtlabel jobs resume {job}")


def _note(group: JobGroup, speed: Speed) -> str:
    """What stands beside the bar: failures, the rate, and when it will be done."""
    now = time.monotonic()
    failed = f"{group.counters.failed} failed  " if group.counters.failed else ""
    rate, left = speed.images_per_hour(now, group.counters), speed.seconds_left(now, group.counters)
    if rate is None or left is None:
        return f"{failed}{group.status}"
    minutes, seconds = divmod(round(left), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{failed}{rate:,.0f} an hour, {hours}:{minutes:02}:{seconds:02} left"


def _tell_failures(aws: Aws, group: JobGroup) -> None:
    """Say how many images of completed jobs failed, and why most of them did."""
    from gtlabel.labeling.outcome import failures

    if not group.counters.failed:
        return
    images = "1 image" if group.counters.failed == 1 else f"{group.counters.failed} images"
    say(f"{group.name} is completed, but {images} could not be labeled")
    failed = [job for job in group.jobs if job.counters.failed]
    reasons = Counter(failure.reason for job in failed for failure in failures(aws.s3, job))
    for reason, count in reasons.most_common(_REASONS_SHOWN):
        say(f"  {count} times: {reason}")
    say(f"  label them once more: gtlabel jobs resume {group.name}")


def _tell_savings(aws: Aws, group: JobGroup) -> None:
    """Say how many answers were not needed, where people were asked for them one by one."""
    from gtlabel.labeling.savings import read_redundancy, saved

    for job in group.jobs:
        told = read_redundancy(aws.s3, job)
        if told is not None:
            say(f"{job.name}: {saved(told)}")


def _tell_automation(aws: Aws, group: JobGroup) -> None:
    """Say what is promised of labels that a machine gave, and what people found who looked at some."""
    from gtlabel.labeling.promised import read_automation, sentences

    for job in group.jobs:
        told = read_automation(aws.s3, job)
        if told is not None:
            for sentence in sentences(told):
                say(f"{job.name}: {sentence}")


def _post(webhook: str, group: JobGroup) -> None:
    """Tell a webhook of each job; that it does not listen is said and changes nothing."""
    from gtlabel.labeling.webhook import post_webhook

    for job in group.jobs:
        problem = post_webhook(webhook, job)
        if problem:
            say(problem)


def _print_group(group: JobGroup, output: Format) -> None:
    if output is Format.JSON:
        put_json(group.to_json())
        return
    counters, first = group.counters, group.jobs[0]
    status = f"{group.status} with {counters.failed} failed" if counters.failed else group.status
    several = len(group.jobs) > 1
    fields = {
        "name": group.name,
        "status": status,
        "labeled": f"{counters.labeled} ({counters.by_people} by people, {counters.by_machine} by machine)",
        "failed": counters.failed,
        "unlabeled": counters.unlabeled,
        "attribute": first.attribute,
        "created": first.created.isoformat(timespec="seconds"),
    }
    if not several:
        fields["output manifest"] = first.output_manifest or "not yet written"
    if group.failure_reason:
        fields["failure reason"] = group.failure_reason
    put_fields(fields)
    if several:
        rows = [
            (job.name, job.status, job.counters.labeled, job.counters.failed, job.counters.unlabeled)
            for job in group.jobs
        ]
        put_table(
            ("job", "status", "labeled", "failed", "unlabeled"),
            rows,
            right=("labeled", "failed", "unlabeled"),
        )
