"""`gtlabel train show`, `list`, `logs` and `stop`: find, follow and stop training jobs."""

from __future__ import annotations

import json
import sys
from datetime import UTC
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
from gtlabel.cli.output import Format, is_fine, put, put_fields, put_json, put_table, say

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.cli.following import Heard
    from gtlabel.training.cost import TrainingCost
    from gtlabel.training.follow import LogLine
    from gtlabel.training.jobs import TrainingJob

HourlyPrice = Annotated[
    str | None,
    typer.Option(
        "--hourly-price",
        metavar="DOLLARS",
        help="What an hour of one machine costs, where that is not in the shipped table.",
    ),
]
Timeout = Annotated[
    float | None, typer.Option("--timeout", help="Give up after this many seconds; the job goes on.")
]


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
    """List the training jobs, newest first.

    Example: gtlabel train list --status InProgress --since 2026-11-01
    """
    from gtlabel.training.jobs import list_training_jobs

    _, aws = connect(profile, region, endpoint_url)
    found = list_training_jobs(
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
        put_table(list(jobs[0]), [[cell or "" for cell in job.values()] for job in jobs])
    else:
        say("there are no such training jobs")


def show(
    job: JobName,
    hourly_price: HourlyPrice = None,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Show one training job: its steps, how well it learns, what it costs, and why it failed if it did.

    Example: gtlabel train show trash-20261122-101500
    """
    from gtlabel.cli.following import cost, described
    from gtlabel.training.jobs import describe_training_job, read_tags

    _, aws = connect(profile, region, endpoint_url)
    found = describe_training_job(aws.sagemaker, job)
    tags = read_tags(aws.sagemaker, found.arn)
    heard = _heard(aws, job)
    paid = cost(found, hourly_price)
    if output is Format.JSON:
        put_json({**described(found, heard, paid), "tags": tags})
        return
    _put_job(found, heard, tags, paid)


def logs(
    job: JobName,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with the lines that come, until the job has ended.")
    ] = False,
    timeout: Timeout = None,
    poll: Poll = 5.0,
    hourly_price: HourlyPrice = None,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Print what a training job has printed; as JSON one object for each line.

    With --follow it exits with 3 if the job failed, 4 if it was stopped, 5 if the time was up. To see no
    more, press Ctrl-C: the job goes on.

    Example: gtlabel train logs trash-20261122-101500 --follow
    """
    from gtlabel.cli.following import Watch, readable
    from gtlabel.training.follow import LogReader
    from gtlabel.training.jobs import describe_training_job

    _, aws = connect(profile, region, endpoint_url)
    found = describe_training_job(aws.sagemaker, job)

    def tell(line: LogLine) -> None:
        if output is Format.JSON:
            put(json.dumps(line.to_json(), ensure_ascii=False))
        else:
            put(readable(line, with_host=found.instance_count > 1))

    if follow:
        Watch(aws, job, hourly_price=hourly_price, on_line=tell).follow(timeout=timeout, poll=poll)
        return
    lines = list(LogReader(aws.logs, job).read())
    for line in lines:
        tell(line)
    if not lines:
        say(f"{job} is {found.status} ({found.secondary_status}) and has printed nothing")


def stop(
    job: JobName,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job until it has ended.")] = False,
    timeout: Timeout = None,
    poll: Poll = 5.0,
    hourly_price: HourlyPrice = None,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Stop a training job; its program has two minutes to save a model, which is kept.

    With --wait it exits with 3 if the job failed meanwhile, 5 if the time was up.

    Example: gtlabel train stop trash-20261122-101500 --wait
    """
    from gtlabel.cli.following import Watch
    from gtlabel.errors import TrainingEndedError
    from gtlabel.training.jobs import stop_training_job

    _, aws = connect(profile, region, endpoint_url)
    stop_training_job(aws.sagemaker, job)
    if not wait:
        if output is Format.JSON:
            put_json({"stopping": job})
            return
        say(f"stopping {job}; see when it has: gtlabel train show {job}")
        return
    watch = Watch(aws, job, hourly_price=hourly_price)
    try:
        watch.follow(timeout=timeout, poll=poll)
    except TrainingEndedError as end:
        if end.status != "Stopped":
            raise
    watch.put(output)


def failures(
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="[TEXT]", help="A FailureReason, or a line of a log. All are listed when there is none."
        ),
    ] = None,
    output: Output = Format.TEXT,
) -> None:
    """Explain what a training job failed with, or list what such jobs are known to fail with.

    Exits with 1 if the text is not known.

    Example: gtlabel train failures "Got empty batch from pipe"
    """
    from gtlabel.errors import TrainingError
    from gtlabel.training.failures import explain, table

    if text is None:
        rows = table()
        if output is Format.JSON:
            put_json(rows)
            return
        for row in rows:
            here = row["prevented"] or "told when it happens: only AWS can know before"
            put(f"{row['number']:>2}  {row['message']}\n    {row['cause']}; {row['remedy']}")
            put(f"    here: {here}\n")
        return
    found = explain(text)
    if found is None:
        raise TrainingError("gtlabel knows nothing about that message; compare `gtlabel train failures`")
    if output is Format.JSON:
        put_json(found.to_json())
        return
    put(f"{found.sentence}\nreported in {found.source}")


def _heard(aws: Aws, job: str) -> Heard:
    """What a job's log says, as far as it may be read."""
    from botocore.exceptions import ClientError

    from gtlabel.cli.failures import explain
    from gtlabel.cli.following import Heard
    from gtlabel.training.follow import LogReader

    heard = Heard()
    try:
        for line in LogReader(aws.logs, job).read():
            heard.take(line)
    except ClientError as error:
        explained = explain(error, "train")
        say(f"shown without its log: {explained[0] if explained else error}")
    return heard


def _put_job(job: TrainingJob, heard: Heard, tags: dict[str, str], paid: TrainingCost) -> None:
    from gtlabel.cli.following import best, cost_in_words, drawn

    machines = f"{job.instance_count} x {job.instance_type}" if job.instance_type else "a mixed cluster"
    fields: dict[str, Any] = {
        "name": job.name,
        "status": job.status
        if job.status == job.secondary_status
        else f"{job.status} ({job.secondary_status})",
        "machines": f"{machines}, spot" if job.spot else machines,
        "image": job.image,
        "created": job.created.isoformat(timespec="seconds"),
    }
    if job.started:
        fields["started"] = job.started.isoformat(timespec="seconds")
    if job.ended:
        fields["ended"] = job.ended.isoformat(timespec="seconds")
    if job.training_seconds is not None and job.billable_seconds is not None:
        fields["trained"] = f"{job.training_seconds:,} seconds, {job.billable_seconds:,} of them billed"
    fields["cost"] = cost_in_words(job, paid)
    fields.update({f"{name} channel": uri for name, uri in job.channels.items()})
    fields["artifact"] = job.artifact or "none"
    if job.checkpoints:
        fields["checkpoints"] = job.checkpoints
    fields.update(job.metrics)
    fields.update(best(heard.curve))
    fields.update({f"tag {name}": value for name, value in tags.items()})
    if job.failure_reason:
        fields["failure reason"] = job.failure_reason
    put_fields(fields)
    for sentence in heard.explain(job):
        put(f"what that means: {sentence}")
    put("")
    steps = [
        (step.status, step.started.isoformat(timespec="seconds"), _seconds(step), step.message)
        for step in job.transitions
    ]
    put_table(("step", "since", "seconds", "what the service says"), steps, right=("seconds",))
    lines = drawn(heard.curve, fine=is_fine(sys.stdout))
    if lines:
        put("\n" + "\n".join(lines))


def _seconds(step: Any) -> str:
    return "" if step.ended is None else f"{(step.ended - step.started).total_seconds():,.0f}"
