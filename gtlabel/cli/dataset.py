"""`gtlabel dataset`: look at a dataset, or at manifests, before anybody trains on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtlabel.cli.export import export
from gtlabel.cli.options import EndpointUrl, Output, Profile, Region, connect
from gtlabel.cli.output import Format, progress, put, put_json, say, visible
from gtlabel.cli.surveys import put_comparison, put_survey

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from gtlabel.datasets.places import Place
    from gtlabel.manifests.lint import Finding

app = typer.Typer(
    no_args_is_help=True,
    help="Look at a dataset, or at manifests, before anybody trains on them.",
    epilog="Example: gtlabel dataset show s3://my-bucket/dataset/",
)
app.command()(export)

_Dataset = Annotated[
    str, typer.Argument(metavar="DATASET", help="s3://bucket/dataset/, or a folder with a copy of it.")
]
_Limit = Annotated[
    int, typer.Option("--limit", min=1, help="How many pictures to fetch, the most suspicious first.")
]
_Attribute = Annotated[
    str | None,
    typer.Option("--attribute", help="The attribute to look at in manifests. (default: what jobs wrote)"),
]
_EITHER = "A dataset or a manifest, in S3 or on disk."


class LintFormat(StrEnum):
    """How findings are printed."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"


class DiffFormat(StrEnum):
    """How changes are printed."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


@app.command()
def show(
    dataset: _Dataset,
    pictures: Annotated[
        bool,
        typer.Option("--pictures", help="Fetch the pictures too: sizes, shapes, duplicates, leaks."),
    ] = False,
    suspicious: Annotated[
        int, typer.Option("--suspicious", min=0, help="How many suspicious labels to list.")
    ] = 20,
    limit: _Limit = 20_000,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Count labels, confidence and agreement, and list the labels to look at first.

    Without --pictures only the lines are read, and nothing is fetched.

    Example: gtlabel dataset show s3://my-bucket/dataset/ --pictures
    """
    from gtlabel.datasets.survey import survey

    place = _place(dataset, profile, region, endpoint_url)
    with progress("looking") as bar:
        found = survey(place, pictures=pictures, limit=limit, on_progress=bar)
    if output is Format.JSON:
        put_json(found.to_json(suspicious))
        return
    put_survey(found, suspicious)


@app.command()
def report(
    dataset: _Dataset,
    into: Annotated[Path, typer.Option("--into", help="The page to write.")] = Path("report.html"),
    title: Annotated[
        str | None, typer.Option("--title", help="What the page is called. (default: the dataset's name)")
    ] = None,
    limit: _Limit = 20_000,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Write one HTML page with all that can be counted and every picture, suspicious labels first.

    The page needs neither network nor server; 20,000 pictures take about 30 MB.

    Example: gtlabel dataset report s3://my-bucket/dataset/ --into report.html
    """
    from gtlabel.datasets.report import Report, write_report
    from gtlabel.datasets.survey import survey

    place = _place(dataset, profile, region, endpoint_url)
    with progress("looking") as bar:
        found = survey(place, thumbnails=True, limit=limit, on_progress=bar)
    name = dataset.rstrip("/").rpartition("/")[2]
    path = write_report(Report(title or name or dataset, found), into)
    told = {"images": len(found.images), "suspicious": len(found.suspicious), "bytes": path.stat().st_size}
    if output is Format.JSON:
        put_json({"report": str(path), **told})
        return
    say(f"{told['images']:,} pictures, {told['suspicious']:,} suspicious labels, {told['bytes']:,} bytes")
    put(str(path))


@app.command()
def lint(
    targets: Annotated[list[str], typer.Argument(metavar="TARGET...", help=_EITHER)],
    attribute: _Attribute = None,
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="The class list that integers are checked by: file or s3://."),
    ] = None,
    output: Annotated[LintFormat, typer.Option("--output", help="How to print findings.")] = LintFormat.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Find what is wrong with manifests, line by line, and end with 1 if anything is an error.

    The manifests of a dataset are checked against its own class list. `--output github` prints what
    GitHub shows beside the lines of a pull request.

    Example: gtlabel dataset lint s3://my-bucket/dataset/ labels/output.manifest
    """
    from gtlabel.datasets.places import Place
    from gtlabel.manifests.classes import ClassList
    from gtlabel.manifests.lint import Severity

    s3 = _client(profile, region, endpoint_url)
    names = ClassList.from_json(Place.of(classes, s3).read(), classes) if classes else None
    counts: Counter[Severity] = Counter()
    told: list[dict[str, Any]] = []
    for finding in _findings(targets, s3, attribute, names):
        counts[finding.severity] += 1
        if output is LintFormat.JSON:
            told.append(asdict(finding))
        else:
            put(visible(str(finding)) if output is LintFormat.TEXT else _annotation(finding))
    if output is LintFormat.JSON:
        put_json(told)
    summary = ", ".join(f"{counts[each]} {each}{'s' if counts[each] != 1 else ''}" for each in Severity)
    say(summary if counts else "nothing is wrong")
    if counts[Severity.ERROR]:
        raise typer.Exit(1)


@app.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help=_EITHER)],
    after: Annotated[str, typer.Argument(metavar="AFTER", help=_EITHER)],
    attribute: _Attribute = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with 1 if anything changed, as git diff does.")
    ] = False,
    title: Annotated[
        str | None, typer.Option("--title", help="What to call it in Markdown. (default: AFTER)")
    ] = None,
    output: Annotated[DiffFormat, typer.Option("--output", help="How to print changes.")] = DiffFormat.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Tell what changed between two datasets or two manifests: images, labels, and who is in which channel.

    Images are compared by address and labels by class name, whatever the order of lines and integers.

    Example: gtlabel dataset diff s3://my-bucket/dataset-1/ s3://my-bucket/dataset-2/
    """
    from gtlabel.datasets.comparison import compare, markdown
    from gtlabel.datasets.places import Place

    s3 = _client(profile, region, endpoint_url)
    comparison = compare(Place.of(before, s3), Place.of(after, s3), attribute=attribute)
    if output is DiffFormat.JSON:
        put_json(comparison.to_json())
    elif output is DiffFormat.MARKDOWN:
        put(markdown(comparison, title))
    else:
        put_comparison(comparison)
    if exit_code and comparison:
        raise typer.Exit(1)


@app.command()
def verify(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="s3://bucket/dataset/.")],
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Check a dataset against its certificate, and end with 1 if anything is not as it says.

    Every digest is computed again: files, lines, copies, groups and the split.

    Example: gtlabel dataset verify s3://my-bucket/dataset/
    """
    from gtlabel.datasets.certificate import verify
    from gtlabel.uris import S3Uri

    found = verify(_client(profile, region, endpoint_url)(), S3Uri(dataset))
    if output is Format.JSON:
        put_json([asdict(finding) for finding in found])
    else:
        for finding in found:
            put(visible(f"{finding.kind}: {finding.sentence}"))
    say(f"{len(found)} things are not as the certificate says" if found else "all is as the certificate says")
    if found:
        raise typer.Exit(1)


def _client(profile: str | None, region: str | None, endpoint_url: str | None) -> Callable[[], S3Client]:
    """The way to S3, made when the first object is asked for: a folder needs no credentials."""
    return cache(lambda: connect(profile, region, endpoint_url)[1].s3)


def _place(text: str, profile: str | None, region: str | None, endpoint_url: str | None) -> Place:
    from gtlabel.datasets.places import Place

    return Place.of(text, _client(profile, region, endpoint_url))


def _findings(
    targets: Sequence[str],
    s3: Callable[[], S3Client],
    attribute: str | None,
    classes: Sequence[str] | None,
) -> Iterator[Finding]:
    from gtlabel.datasets.places import Place
    from gtlabel.datasets.survey import open_dataset
    from gtlabel.manifests.lint import lint

    for target in targets:
        place = Place.of(target, s3)
        if place.is_manifest:
            yield from lint(place.lines(cut=True), str(place), attribute=attribute, classes=classes)
            continue
        dataset = open_dataset(place)
        for file in dataset.channels.values():
            manifest = place.at(file.manifest.name)
            yield from lint(
                manifest.lines(cut=True),
                str(manifest),
                attribute=dataset.attribute,
                classes=tuple(dataset.names),
            )


def _annotation(finding: Finding) -> str:
    """A finding as GitHub's runner reads it from the log.

    https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
    """
    kind = {"error": "error", "warning": "warning", "note": "notice"}[finding.severity]
    where = f"file={_escaped(finding.manifest, ',:')}"
    if finding.line is not None:
        where += f",line={finding.line}"
    return f"::{kind} {where},title={_escaped(finding.rule, ',:')}::{_escaped(finding.sentence)}"


def _escaped(text: str, characters: str = "") -> str:
    for character in f"%\r\n{characters}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text
