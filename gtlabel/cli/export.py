"""`gtlabel dataset export`: a dataset as other programs read it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gtlabel.cli.options import EndpointUrl, Output, Profile, Region, connect
from gtlabel.cli.output import Format, put, put_json


def export(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="s3://bucket/dataset/.")],
    into: Annotated[
        str,
        typer.Option("--into", help="A folder, which is made where it is missing, or s3://bucket/prefix/."),
    ],
    formats: Annotated[
        list[str],
        typer.Option(
            "--format",
            help="augmented, lst, recordio, imagefolder, csv, coco or croissant; may be given again.",
        ),
    ],
    mirror: Annotated[
        Path | None,
        typer.Option(
            "--mirror",
            exists=True,
            file_okay=False,
            help="A folder with a copy of the class folders; pictures in it are linked and not fetched.",
        ),
    ] = None,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Write a dataset as other programs read it, and print the files.

    Each file is written whole or not at all; the same dataset gives the same bytes.

    Example: gtlabel dataset export s3://my-bucket/dataset/ --format imagefolder --into pictures/
    """
    from gtlabel.datasets.channels import read_dataset
    from gtlabel.datasets.formats import Folder, Prefix, Target, check_formats, export_dataset
    from gtlabel.uris import S3Uri

    names = check_formats(formats)
    _, aws = connect(profile, region, endpoint_url)
    found = read_dataset(aws.s3, S3Uri(dataset))
    pictures = found.uri / "classes/"
    target: Target
    if into.startswith("s3://"):
        target = Prefix(aws.s3, S3Uri(into), pictures)
    else:
        target = Folder(aws.s3, Path(into), pictures, mirror)
    written = [file for name in names for file in export_dataset(found, name, target)]
    if output is Format.JSON:
        put_json([{"name": file.name, "size": file.size, "sha256": file.sha256} for file in written])
        return
    for file in written:
        put(f"{into.rstrip('/')}/{file.name}")
