"""`gtlabel notify`: be told when labeling jobs have ended."""

from __future__ import annotations

from typing import Annotated

import typer

from gtlabel.cli.options import DryRun, EndpointUrl, Output, Profile, Region, connect
from gtlabel.cli.output import Format, put, put_json, say


def notify(
    to: Annotated[str, typer.Option("--to", metavar="ARN", help="The SNS topic or SQS queue to tell.")],
    job: Annotated[
        str | None,
        typer.Argument(metavar="JOB", help="The labeling job; all of the account when none is named."),
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", help="Tell only of jobs that end like this: Completed, Failed or Stopped."),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Tell it no more.")] = False,
    dry_run: DryRun = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Tell a topic or a queue when a labeling job has ended, or each of those launched under one name.

    An EventBridge rule sends AWS's own event, and the target's policy gains the statement that lets it.
    Nothing has to run meanwhile. For an address of your own: gtlabel jobs wait JOB --webhook URL.

    Example: gtlabel notify trash-20261122-101500 --to arn:aws:sns:us-east-1:123456789012:labels
    """
    from gtlabel.labeling.groups import describe_labeling
    from gtlabel.labeling.notify import STATUSES, plan_notification, remove_notification
    from gtlabel.labeling.notify import notify as start

    _, aws = connect(profile, region, endpoint_url)
    if remove and not dry_run:
        plan = plan_notification(aws, to, job=job)
        removed = remove_notification(aws, plan)
        say(f"{to} is told no more" if removed else f"{to} was not told before")
        if output is Format.JSON:
            put_json({"rule": plan.rule, "target": to, "removed": removed})
        return
    group = None if job is None else describe_labeling(aws.sagemaker, aws.s3, job)
    parts = [each.name for each in group.jobs] if group else []
    plan = plan_notification(aws, to, job=job, parts=parts, statuses=status or STATUSES)
    if dry_run:
        put_json(plan.to_boto())
        return
    arn = start(aws, plan)
    # Asked after the rule is there: a job that ends now is told of.
    for each in describe_labeling(aws.sagemaker, aws.s3, group.name).jobs if group else ():
        if each.status in STATUSES:
            say(f"{each.name} has ended already, as {each.status}; no further event will come")
    if output is Format.JSON:
        put_json({"rule": arn, "target": to, "pattern": plan.pattern})
        return
    put(arn)
