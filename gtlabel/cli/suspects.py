"""`gtlabel quality suspects`: labels that the pictures themselves contradict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtlabel.cli.options import (
    DryRun,
    EndpointUrl,
    Force,
    Output,
    Profile,
    Region,
    RequestFields,
    connect,
)
from gtlabel.cli.output import Format, progress, put_json, put_table, say

if TYPE_CHECKING:
    from gtlabel.datasets.suspects import Suspicious

# More rows than this nobody reads in a terminal.
_ROWS = 20
_UNREADABLE = 5
_CERTAIN = 1_000


def suspects(
    place: Annotated[
        str,
        typer.Argument(
            metavar="DATASET|MANIFEST|FOLDER",
            help="Labeled pictures: a dataset, a job's output manifest, or a folder for each class.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", dir_okay=False, help="Write all labels, most doubtful first, as JSON Lines."),
    ] = None,
    relabel: Annotated[
        str | None,
        typer.Option(
            "--relabel",
            metavar="JOB",
            help="Ask people again about the suspects, with the page, team and classes of this ended job.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="How many suspects. (default: as many as seem to be wrong)"),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, max=9, help="How many people look at each. (default: as before)"),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The new job's name. (default: the old one and -suspects)")
    ] = None,
    team: Annotated[str | None, typer.Option("--team", help="The work team. (default: as before)")] = None,
    attribute: Annotated[
        str | None,
        typer.Option("--attribute", help="The attribute with the labels, where a manifest has several."),
    ] = None,
    settings: RequestFields = None,
    force: Force = False,
    dry_run: DryRun = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Rank labels by how likely they are wrong, as the other pictures tell, and have people look again.

    Each label is judged by a classifier that learned from other pictures only; nothing is downloaded. Without
    --relabel it asks nobody and costs nothing.

    Example: gtlabel quality suspects s3://my-bucket/dataset/ --out suspects.jsonl
    """
    import json

    from gtlabel.datasets.places import Place
    from gtlabel.datasets.suspects import suspicious_labels
    from gtlabel.errors import DatasetError

    with progress("looking at pictures", remaining=False) as show:
        found = suspicious_labels(
            Place.of(place, lambda: connect(profile, region, endpoint_url)[1].s3),
            attribute=attribute,
            on_progress=show,
        )
    count = found.wrong if limit is None else limit
    _tell(found)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("".join(json.dumps(each.to_json()) + "\n" for each in found.ranked), encoding="utf-8")
        say(f"all of them, in this order: {out}")
    if relabel is None:
        if output is Format.JSON:
            put_json([each.to_json() for each in found.ranked[:count]])
        else:
            _show(found, count)
        return
    if limit is None and not found.counted:
        raise DatasetError(
            f"the pictures of {place} tell too little for a guess at how many labels are wrong; "
            "say with --limit how many to ask about"
        )
    if not count:
        say("no label is to be looked at again; --limit says how many are in any case")
        return
    from gtlabel.cli.successors import changed, launch
    from gtlabel.labeling.doubtful import plan_again

    project, aws = connect(profile, region, endpoint_url)
    plan = plan_again(
        aws,
        relabel,
        [each.image for each in found.ranked[:count]],
        to=name or f"{relabel}-suspects",
        max_images_per_job=project.max_images_per_job,
        **changed(aws, workers, team, settings),
    )
    launch(aws, plan, dry_run, force, output)


def _tell(found: Suspicious) -> None:
    for image in found.unreadable[:_UNREADABLE]:
        say(f"{image} is gone, or no picture that can be read; it is left out")
    if len(found.unreadable) > _UNREADABLE:
        say(f"and {len(found.unreadable) - _UNREADABLE:,} more that are left out")
    seem = (
        f"{found.wrong:,} of {len(found.ranked):,} labels seem to be wrong, as far as the other pictures tell"
    )
    if found.counted:
        say(seem)
        return
    say(
        f"{seem}, but they tell only {found.agreeing:.0%} of all labels: there are too few of them, or they "
        "look too much alike, and most of these labels will be right; look at the first ones alone"
    )


def _show(found: Suspicious, count: int) -> None:
    rows = [
        (each.label, each.better, _times(each.times), each.image)
        for each in found.ranked[: min(count, _ROWS)]
    ]
    if rows:
        put_table(("label", "seems", "times likelier", "image"), rows, right=("times likelier",))
    if count > _ROWS:
        say(f"and {count - _ROWS:,} more; --out FILE writes all, --output json prints them")


def _times(times: float) -> str:
    """How many times likelier; a classifier of a few thousand pictures cannot tell thousands apart."""
    if times >= _CERTAIN:
        return f"over {_CERTAIN:,}"
    return f"{times:.0f}" if times >= 10 else f"{times:.1f}"
