"""`gtlabel quality`: how good labels are, and better ones from the same answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtlabel.cli.options import EndpointUrl, Output, Profile, Region, connect
from gtlabel.cli.output import Format, progress, put, put_fields, put_json, put_table, say

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.labeling.answered import Answered
    from gtlabel.labeling.reconsolidation import Reconsolidation

app = typer.Typer(no_args_is_help=True, help="How good labels are, and better ones from the same answers.")

Places = Annotated[
    list[str],
    typer.Argument(
        metavar="JOB|FOLDER...",
        help="Jobs or groups of jobs, their folders in S3, or folders downloaded from there.",
    ),
]
Attribute = Annotated[
    str | None,
    typer.Option("--attribute", help="The attribute with the labels, where a manifest has several."),
]
Classes = Annotated[
    Path | None,
    typer.Option(
        "--classes",
        exists=True,
        dir_okay=False,
        help="The job's class list as JSON, where its folder does not tell it.",
    ),
]
Without = Annotated[
    list[str] | None,
    typer.Option("--without", metavar="WORKER", help="Leave out a worker's answers; may be repeated."),
]
# Rows of a table that a person reads.
_SHOWN = 40
_DOUBTFUL = 10


@app.command("reconsolidate")
def reconsolidate(
    places: Places,
    method: Annotated[
        str, typer.Option("--method", help="How to settle: auto, aws, majority, dawid-skene, ...")
    ] = "auto",
    without: Without = None,
    into: Annotated[
        str | None,
        typer.Option("--into", help="Write the labels as a manifest: s3://bucket/key, or a file."),
    ] = None,
    write_as: Annotated[
        str | None,
        typer.Option("--as", metavar="ATTRIBUTE", help="The key to write them under. (default: the job's)"),
    ] = None,
    classes: Classes = None,
    attribute: Attribute = None,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Settle on labels anew, from the answers that jobs left, and list what differs.

    Nothing is asked again and nothing is paid. Several jobs about the same pictures are read as one. With
    --into, the labels are written in the place of the old ones; the manifest can be given to gtlabel
    consolidate in place of the job.

    Example: gtlabel quality reconsolidate trash-1f0c22ab --into s3://my-bucket/better.manifest
    """
    from datetime import UTC, datetime

    from gtlabel.labeling.reconsolidation import reconsolidate
    from gtlabel.labeling.relabeled import relabeled
    from gtlabel.manifests.lines import write_record

    @cache
    def aws() -> Aws:
        return connect(profile, region, endpoint_url)[1]

    answered = read(aws, places, attribute, classes, without)
    made = reconsolidate(answered, method)
    if into is not None:
        records = relabeled(made, datetime.now(UTC), write_as)
        _write(aws, into, (write_record(record) for record in records))
    if output is Format.JSON:
        put_json(_told(made, into))
        return
    _put(made)
    if into is not None:
        put(into)


def read(
    aws: Callable[[], Aws],
    places: list[str],
    attribute: str | None,
    classes: Path | None,
    without: list[str] | None,
) -> Answered:
    """The answers at some places, with what a reader should know said."""
    from gtlabel.labeling.answered import read_answered
    from gtlabel.manifests.classes import class_names

    listed = None if classes is None else class_names(classes.read_bytes(), str(classes))
    with progress("reading answers") as show:
        answered = read_answered(aws, places, attribute=attribute, classes=listed, on_progress=show)
    for note in answered.notes:
        say(note)
    return answered.without(without or ())


def _write(aws: Callable[[], Aws], into: str, lines: Iterable[bytes]) -> None:
    from gtlabel.storage import write_lines
    from gtlabel.uris import S3Uri

    if into.startswith("s3://"):
        write_lines(aws().s3, S3Uri(into), lines)
        return
    path = Path(into)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.writelines(line + b"\n" for line in lines)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _told(made: Reconsolidation, into: str | None) -> dict[str, object]:
    answered = made.answered
    return {
        "jobs": [folder.name for folder in answered.folders],
        "method": made.method,
        "images": len(answered.sources),
        "answers": len(answered.objects),
        "workers": len(answered.workers),
        "differences": [each.to_json() for each in made.differences],
        "manifest": into,
        "notes": list(answered.notes),
    }


def _put(made: Reconsolidation) -> None:
    answered = made.answered
    differences = made.differences
    put_fields(
        {
            "jobs": ", ".join(folder.name for folder in answered.folders),
            "answers": f"{len(answered.objects):,} of {len(answered.workers):,} workers "
            f"about {len(answered.sources):,} images",
            "method": made.method,
            "other labels": f"{len(differences):,} of {len(answered.sources):,}",
        }
    )
    if differences:
        put("")
        put_table(
            ("image", "was", "is now", "answers", "sure", "because"),
            [
                (
                    each.source.rpartition("/")[2],
                    ", ".join(each.before) or "-",
                    ", ".join(each.after) or "-",
                    ", ".join(f"{count} {name}" for name, count in each.said),
                    "-" if each.sure is None else f"{each.sure:.0%}",
                    each.why,
                )
                for each in differences[:_SHOWN]
            ],
            right=("sure",),
        )
