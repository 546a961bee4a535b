"""`gtlabel consolidate`: make a dataset of what labeling jobs left."""

from __future__ import annotations

from typing import Annotated

import typer

from gtlabel.cli.options import EndpointUrl, Output, Profile, Region, connect
from gtlabel.cli.output import Format, progress, put, put_json, put_table, say


def consolidate(
    jobs: Annotated[
        list[str], typer.Argument(metavar="JOB...", help="Labeling jobs that have ended, or manifests.")
    ],
    into: Annotated[str, typer.Option("--into", help="Where the dataset goes: s3://bucket/prefix/.")],
    validation: Annotated[
        float, typer.Option("--validation", help="The share of images kept for validation.")
    ] = 0.2,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Make class folders and training channels of labeling jobs, and print where they are.

    Images are copied inside S3. Interrupted, the same command goes on where it was.

    Example: gtlabel consolidate trash-20261122-101500 --into s3://my-bucket/dataset/
    """
    from gtlabel.journey import consolidate_jobs
    from gtlabel.uris import S3Uri

    _, aws = connect(profile, region, endpoint_url)
    with progress("copying") as show:
        dataset = consolidate_jobs(aws, jobs, S3Uri(into), validation=validation, on_progress=show)
    for source in dataset.sources:
        if source.failed or source.unlabeled:
            say(
                f"{source.manifest}: {source.failed} images failed, {source.unlabeled} lack a label; left out"
            )
    for uri in dataset.missing:
        say(f"left out: {uri} was labeled and is not there any more")
    for disagreement in dataset.disagreements:
        dropped = ", ".join(disagreement.dropped)
        say(f"{disagreement.image}: {disagreement.kept} holds, being newer than {dropped}")
    if output is Format.JSON:
        put_json(dataset.model_dump(mode="json"))
        return
    rows = [(item.name, item.train, item.validation, item.folder) for item in dataset.classes]
    put_table(("class", "train", "validation", "folder"), rows, right=("train", "validation"))
    put(str(dataset.uri))
