"""`gtlabel collect`: make a labeled manifest of the class folders of a public data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtlabel.cli.options import DryRun, EndpointUrl, Output, Profile, Region, connect
from gtlabel.cli.output import Format, progress, put, put_json, put_table, say

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from gtlabel.aws import Aws
    from gtlabel.datasets.collect.planning import CollectionPlan, CollectionWishes
    from gtlabel.uris import S3Uri

_READING = "How the source is read"
_SHOWN = 3


def collect(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder, a zip or tar(.gz, .bz2, .xz) archive, either of them here or in S3.",
        ),
    ],
    into: Annotated[str, typer.Option("--into", help="Where the collection goes: s3://bucket/prefix/.")],
    licence: Annotated[
        str | None,
        typer.Option(
            "--licence",
            "--license",
            help="The pictures' licence, as SPDX has it, or 'unknown'; by default what their files say.",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option("--from", metavar="URL", help="Where SOURCE was downloaded, for the manifest."),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes", help="Only these, in this order: names separated by commas, or their file."
        ),
    ] = None,
    vocabulary: Annotated[
        Path | None,
        typer.Option(
            "--vocabulary", exists=True, dir_okay=False, help="Renames, merges and removed classes, as TOML."
        ),
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Leave pictures in S3 where they are; write the manifest only.")
    ] = False,
    no_sign_request: Annotated[
        bool, typer.Option("--no-sign-request", help="Read SOURCE without credentials, as anybody may.")
    ] = False,
    depth: Annotated[
        int | None,
        typer.Option(
            "--depth",
            min=1,
            help="Which folder is the class, 1 being the first in SOURCE; found by default.",
            rich_help_panel=_READING,
        ),
    ] = None,
    within: Annotated[
        str,
        typer.Option("--within", help="Only pictures below this folder of SOURCE.", rich_help_panel=_READING),
    ] = "",
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Decode each picture to find damage amid its pixels.", rich_help_panel=_READING
        ),
    ] = False,
    follow_links: Annotated[
        bool,
        typer.Option(
            "--follow-links", help="Take what links in a folder point to.", rich_help_panel=_READING
        ),
    ] = False,
    name_encoding: Annotated[
        str | None,
        typer.Option(
            "--name-encoding",
            help="How an archive writes names where it does not say, such as cp932.",
            rich_help_panel=_READING,
        ),
    ] = None,
    max_gigabytes: Annotated[
        int,
        typer.Option(
            "--max-gigabytes",
            min=1,
            help="How much an archive may hold, unpacked.",
            rich_help_panel=_READING,
        ),
    ] = 500,
    break_lock: Annotated[
        bool, typer.Option("--break-lock", help="Collect although another run is said to be at it.")
    ] = False,
    dry_run: DryRun = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Bring the class folders of a public data set to S3, and print the address of their manifest.

    `gtlabel consolidate` takes it beside labeling jobs. Nothing is unpacked to disk. Interrupted, the same
    command goes on where it was.

    Example: gtlabel collect flowers.zip --into s3://my-bucket/flowers/ --licence CC-BY-4.0
    """
    from gtlabel.datasets.collect.collect import collect as bring
    from gtlabel.datasets.collect.planning import plan_collection
    from gtlabel.errors import DatasetError
    from gtlabel.uris import S3Uri

    if source.startswith(("https://", "http://")):
        raise DatasetError(
            f"{source} is on the web; fetch it with `curl -LO`, then collect the file with --from {source}"
        )
    _, aws = connect(profile, region, endpoint_url)
    target = S3Uri(into)
    wishes = _wishes(
        licence=licence,
        address=address,
        classes=classes,
        vocabulary=vocabulary,
        depth=depth,
        within=within,
        strict=strict,
        follow_links=follow_links,
        encoding=name_encoding,
        max_gigabytes=max_gigabytes,
    )
    where = S3Uri(source) if source.startswith("s3://") else Path(source)
    with progress("looking at pictures") as show:
        plan = plan_collection(
            where, wishes, s3=_reader(aws, where, no_sign_request), on_progress=lambda done: show(done, 0)
        )
    _tell(plan)
    if dry_run:
        _print(_summary(plan, target), output)
        return
    with progress("bringing pictures") as show:
        collection = bring(aws.s3, plan, target, in_place=in_place, break_lock=break_lock, on_progress=show)
    if output is Format.JSON:
        put_json({**collection.model_dump(mode="json"), "others": plan.others})
        return
    _print(_summary(plan, target), output)
    put(collection.manifest)


def _wishes(
    *,
    classes: str | None,
    vocabulary: Path | None,
    strict: bool,
    max_gigabytes: int,
    **others: Any,
) -> CollectionWishes:
    from gtlabel.datasets.collect.archives import GIGABYTE, Limits
    from gtlabel.datasets.collect.planning import CollectionWishes
    from gtlabel.images.decoding import strict_decoder
    from gtlabel.labeling.inputs import read_classes
    from gtlabel.manifests.vocabulary import Vocabulary

    names: list[str] | None = None
    if classes is not None:
        file = Path(classes)
        names = list(read_classes(file)) if file.is_file() else [name.strip() for name in classes.split(",")]
    decode = None
    if strict:
        decoder = strict_decoder()
        decode = decoder.find_damage
        if decoder.note:
            say(decoder.note)
    return CollectionWishes(
        classes=names,
        vocabulary=Vocabulary.read(vocabulary) if vocabulary else None,
        decode=decode,
        limits=Limits(max_bytes=max_gigabytes * GIGABYTE),
        **others,
    )


def _reader(aws: Aws, source: S3Uri | Path, unsigned: bool) -> S3Client | None:
    if isinstance(source, Path):
        return None
    return aws.unsigned_s3 if unsigned else aws.s3


def _tell(plan: CollectionPlan) -> None:
    """What was found, to the person at the terminal."""
    aside = plan.chosen.aside
    broken = [item for item in aside if "is the same picture as" not in item.reason]
    for item in broken[:_SHOWN]:
        say(f"set aside: {item}")
    if len(broken) > _SHOWN:
        say(f"set aside: {len(broken) - _SHOWN} more, see set-aside.jsonl")
    if plan.chosen.repeated:
        say(f"{plan.chosen.repeated} pictures are there more than once; each was taken once")
    for note in plan.notes:
        say(note)


def _summary(plan: CollectionPlan, into: S3Uri) -> dict[str, Any]:
    chosen = plan.chosen
    counts: dict[str, dict[str, int]] = {name: {} for name in chosen.classes}
    for item in chosen.labeled:
        split = item.split or ""
        counts[item.class_name][split] = counts[item.class_name].get(split, 0) + 1
    return {
        "from": plan.origin.address,
        "into": into,
        "licence": plan.licence,
        "images": len(chosen.labeled),
        "classes": counts,
        "set_aside": len(chosen.aside),
        "left_out": chosen.left_out,
        "others": plan.others,
    }


def _print(summary: dict[str, Any], output: Format) -> None:
    if output is Format.JSON:
        put_json(summary)
        return
    splits = sorted({split for counts in summary["classes"].values() for split in counts})
    if splits in ([""], []):
        rows = [(name, sum(counts.values())) for name, counts in summary["classes"].items()]
        put_table(("class", "images"), rows, right=("images",))
    else:
        shown = [split or "not said" for split in splits]
        table = [
            (name, *(counts.get(split, 0) for split in splits)) for name, counts in summary["classes"].items()
        ]
        put_table(("class", *shown), table, right=shown)
    put(f"licence  {summary['licence']}")
