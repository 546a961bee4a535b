"""`gtlabel quality`: how good labels are, and better ones from the same answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtlabel.cli import more, suspects
from gtlabel.cli.options import EndpointUrl, Output, Profile, Region, connect
from gtlabel.cli.output import Format, progress, put, put_json, say

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.labeling.answered import Answered

app = typer.Typer(no_args_is_help=True, help="How good labels are, and better ones from the same answers.")

Places = Annotated[
    list[str],
    typer.Argument(
        metavar="JOB|FOLDER|TABLE...",
        help="Jobs or groups of jobs, their folders in S3, or folders downloaded from there; or tables of "
        "answers (.csv), whose header names the columns image, worker and label, and if you like gold, "
        "seconds and time.",
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
        help="The job's class list, as JSON or with one class a line, where its folder does not tell it.",
    ),
]
Without = Annotated[
    list[str] | None,
    typer.Option(
        "--without",
        metavar="WORKER",
        help="Leave out the answers of a worker, by id or address; may be repeated.",
    ),
]
Method = Annotated[
    str,
    typer.Option(
        "--method",
        help="How to settle on labels: auto, aws, bayes, dawid-skene, glad, mace, majority, one-coin, wawa.",
    ),
]
Page = Annotated[
    Path | None, typer.Option("--report", dir_okay=False, help="An HTML page to write, with charts.")
]


@app.command("report")
def report(
    places: Places,
    method: Method = "auto",
    gold: Annotated[
        str | None,
        typer.Option(
            "--gold",
            metavar="MANIFEST|TABLE",
            help='Pictures whose class is known: a manifest, a dataset, JSON lines with "class", or a table '
            "with the columns image and gold. (default: the column gold of the answers)",
        ),
    ] = None,
    without: Without = None,
    page: Page = None,
    classes: Classes = None,
    attribute: Attribute = None,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Say how good the labels of jobs are: agreement, workers, confidence, and the methods side by side.

    Reads what the jobs left, asks nobody and costs nothing. Several jobs about the same pictures are read as
    one. Shares come with their 95% intervals.

    Example: gtlabel quality report trash-1f0c22ab --report quality.html
    """
    from gtlabel.cli.qualityview import put_quality, write_page
    from gtlabel.labeling.quality import judge

    aws = _account(profile, region, endpoint_url)
    answered = read(aws, places, attribute, classes, without)
    known = _of_folders(answered) if gold is None else _gold(aws, gold, answered)
    if (unheard := _unheard(answered, known or {})) is not None:
        say(unheard)
        answered = replace(answered, notes=(*answered.notes, unheard))
    quality = judge(answered, method=method, gold=known)
    names = _people(aws, answered)
    if page is not None:
        say(f"report: {write_page(page, quality, names, aws)}")
    if output is Format.JSON:
        put_json(quality.to_json())
        return
    put_quality(quality, names)


@app.command("reconsolidate")
def reconsolidate(
    places: Places,
    method: Method = "auto",
    without: Without = None,
    into: Annotated[
        str | None,
        typer.Option(
            "--into",
            help="Write the labels as a manifest: s3://bucket/key, or a file; named .csv, as a table.",
        ),
    ] = None,
    write_as: Annotated[
        str | None,
        typer.Option("--as", metavar="ATTRIBUTE", help="The key to write them under. (default: the job's)"),
    ] = None,
    page: Page = None,
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

    from gtlabel.cli.qualityview import put_differences, write_page
    from gtlabel.labeling.answertables import is_table, written_table
    from gtlabel.labeling.reconsolidation import reconsolidate
    from gtlabel.labeling.relabeled import relabeled
    from gtlabel.manifests.lines import write_record

    if into is not None:
        _refuse_folder(into)
    aws = _account(profile, region, endpoint_url)
    answered = read(aws, places, attribute, classes, without)
    made = reconsolidate(answered, method)
    if into is not None and is_table(into):
        _write(aws, into, written_table(made.rows()))
    elif into is not None:
        _write(aws, into, (write_record(record) for record in relabeled(made, datetime.now(UTC), write_as)))
    if page is not None:
        from gtlabel.labeling.quality import judge

        quality = judge(answered, method=method)
        say(f"report: {write_page(page, quality, _people(aws, answered), aws)}")
    if output is Format.JSON:
        put_json({**made.to_json(), "manifest": into})
        return
    put_differences(made)
    if into is not None:
        put(into)


app.command("more")(more.more)
app.command("suspects")(suspects.suspects)


def read(
    aws: Callable[[], Aws],
    places: list[str],
    attribute: str | None,
    classes: Path | None,
    without: list[str] | None,
) -> Answered:
    """The answers at some places, with what a reader should know said."""
    from gtlabel.labeling.answered import read_answered

    listed = None if classes is None else _listed(classes)
    with progress("reading answers") as show:
        answered = read_answered(aws, places, attribute=attribute, classes=listed, on_progress=show)
    for note in answered.notes:
        say(note)
    return answered.without(_ids(aws, answered, without)) if without else answered


def _listed(file: Path) -> Sequence[str]:
    """The classes in a file: those of a dataset or of a job, or a text that somebody wrote."""
    from gtlabel.labeling.inputs import read_classes
    from gtlabel.manifests.classes import class_names

    body = file.read_bytes()
    return class_names(body, str(file)) if body.lstrip()[:1] in (b"{", b"[") else read_classes(file)


def _ids(aws: Callable[[], Aws], answered: Answered, named: Sequence[str]) -> set[str]:
    """The ids of workers, who may be named as the report does; what is no name of one stays as it is."""
    from gtlabel.pages.quality import short_worker

    ids = {short_worker(worker): worker for worker in answered.workers}
    if not set(named) <= {*ids, *answered.workers}:
        ids.update(zip(_people(aws, answered), answered.workers, strict=True))
    return {ids.get(name, name) for name in named}


def _refuse_folder(into: str) -> None:
    """What is written has a name of its own, which is known before anything is read."""
    from gtlabel.errors import SettingsError
    from gtlabel.uris import S3Uri

    if into.startswith("s3://"):
        named = bool(S3Uri(into).key)
    else:
        named = bool(Path(into).name) and not Path(into).is_dir()
    if not named or into.endswith("/"):
        raise SettingsError(f"--into {into!r} names no file; give one, such as better.manifest or labels.csv")


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


def _account(profile: str | None, region: str | None, endpoint_url: str | None) -> Callable[[], Aws]:
    """The account, asked for when it is needed: a folder on this machine needs none."""
    return cache(lambda: connect(profile, region, endpoint_url)[1])


def _gold(aws: Callable[[], Aws], gold: str, answered: Answered) -> dict[str, tuple[str, ...]]:
    """The classes of those answered pictures that are known."""
    from gtlabel.datasets.places import Place
    from gtlabel.datasets.truth import open_truth
    from gtlabel.errors import DatasetError
    from gtlabel.labeling.answertables import is_table, read_gold
    from gtlabel.manifests.lines import read_records

    place = Place.of(gold, lambda: aws().s3)
    wanted = set(answered.sources)
    if is_table(gold):
        table = read_gold(place.read(), gold)
        known: dict[str, tuple[str, ...]] = {
            image: (name,) for image, name in table.items() if image in wanted
        }
    else:
        images = open_truth(place, names=answered.classes).images
        known = {each.name: each.classes for each in images if each.name in wanted}
    if not known and not is_table(gold) and place.is_manifest:
        # Truth as simulated people read it.
        for record in read_records(place.lines(), gold):
            name = record.get("class")
            if isinstance(name, str) and record.address in wanted:
                known[record.address] = (name,)
    if not known:
        raise DatasetError(
            f"{gold} tells the class of none of the {len(wanted):,} pictures that were answered; they are "
            f"known by their addresses, such as {answered.sources[0]}"
        )
    return known


def _of_folders(answered: Answered) -> dict[str, tuple[str, ...]] | None:
    """The classes that tables of answers tell beside them, the first that does; None where none does."""
    known: dict[str, tuple[str, ...]] = {}
    for folder in reversed(answered.folders):
        known.update((image, (name,)) for image, name in folder.gold.items())
    return known or None


def _unheard(answered: Answered, known: Mapping[str, Sequence[str]]) -> str | None:
    """What to say of pictures that are of a class which nobody named, since no method can find it."""
    pictures = [names for image, names in known.items() if not set(names) <= set(answered.classes)]
    if not pictures:
        return None
    names = ", ".join(sorted({name for each in pictures for name in each} - set(answered.classes)))
    count = f"{len(pictures):,} pictures with gold are" if len(pictures) > 1 else "1 picture with gold is"
    return f"{count} of a class that no answer names ({names}), so that no label of theirs can be right"


def _people(aws: Callable[[], Aws], answered: Answered) -> list[str]:
    """What to call the workers: by their address where the user pool tells it, else by their id."""
    if not any(sub for sub, _ in answered.people):
        return list(answered.workers)
    from botocore.exceptions import BotoCoreError

    from gtlabel.cli.failures import explain
    from gtlabel.labeling.throughput import people

    try:
        person_of = people(aws().cognito_idp)
        names = [person_of(sub, issuer) for sub, issuer in answered.people]
    except BotoCoreError as error:
        # A folder that was downloaded can be read without an account, too.
        why, _ = explain(error) or (str(error), 1)
        say(f"workers go by their ids, since their user pool cannot be asked: {why}")
        return list(answered.workers)
    return [name or worker for name, worker in zip(names, answered.workers, strict=True)]
