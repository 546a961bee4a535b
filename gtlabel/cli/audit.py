"""`gtlabel jobs audit`: what a second look at labels found out."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer

from gtlabel.cli.options import EndpointUrl, JobName, Output, Profile, Region, connect
from gtlabel.cli.output import Format, put, put_json, put_table, say


def audit(
    job: JobName,
    audited: Annotated[
        str | None,
        typer.Option("--audited", help="The attribute looked at. (default: the only other one)"),
    ] = None,
    into: Annotated[
        str | None,
        typer.Option("--into", help="Write the labels, corrected, as a manifest: s3://bucket/key."),
    ] = None,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Say which labels a verification or adjustment job confirmed, changed, rejected or left in dispute.

    With --into, the earlier labels are written with the changes made and without what was rejected or is
    disputed; the manifest can be given to gtlabel consolidate in place of the job.

    Example: gtlabel jobs audit trash-1f0c22ab-verify --into s3://my-bucket/corrected.manifest
    """
    from gtlabel.errors import LabelingJobError
    from gtlabel.labeling.corrections import read_audits, write_corrected
    from gtlabel.labeling.groups import describe_labeling
    from gtlabel.uris import S3Uri

    _, aws = connect(profile, region, endpoint_url)
    jobs = describe_labeling(aws.sagemaker, aws.s3, job).jobs
    found = [image for each in jobs for image in read_audits(aws.s3, each, audited)]
    if into is not None:
        if jobs[0].classes is None:
            raise LabelingJobError(f"the labeling job {job!r} has no list of classes to correct labels by")
        write_corrected(aws.s3, found, jobs[0].classes, S3Uri(into))
    results = [image.to_json() for image in found]
    if output is Format.JSON:
        put_json(results)
        return
    rows = [
        (
            result["outcome"],
            result.get("before", ""),
            result.get("label") or "none",
            f"{result.get('agreement', 0):.0%}",
            result["image"],
        )
        for result in results
        if result["outcome"] != "confirmed"
    ]
    if rows:
        put_table(("outcome", "before", "people say", "agree", "image"), rows, right=("agree",))
    for outcome, count in Counter(result["outcome"] for result in results).most_common():
        say(f"{outcome}: {count}")
    if into is not None:
        put(into)
