"""`gtlabel template`: the files that gtlabel ships for AWS, and a look at worker pages of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from gtlabel.cli.options import Output
from gtlabel.cli.output import Format, put, put_json, put_table, say

if TYPE_CHECKING:
    from gtlabel.portal.problems import Problem

_DEFAULT = "show"


class _OrShow(TyperGroup):
    """A group in which a name that is no command's is the name of a file to show."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command's name before the arguments where it was left out."""
        if args[:1] != ["--help"] and (not args or args[0] not in self.commands):
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_OrShow,
    help="Print a file that gtlabel ships, or look at a worker page of your own.",
    epilog="Example: gtlabel template stepfunctions/journey.asl.json",
)

_File = Annotated[
    Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="The worker page, in Liquid.")
]
_Manifest = Annotated[
    Path | None,
    typer.Option("--manifest", exists=True, dir_okay=False, help="Take the task from a line of this file."),
]
_Line = Annotated[int, typer.Option("--line", min=1, help="Which line of the manifest.")]
_Input = Annotated[
    str | None, typer.Option("--input", metavar="JSON", help="What the page knows as task.input.")
]
_Classes = Annotated[
    str | None, typer.Option("--classes", help="The classes of the task, separated by commas.")
]


@app.command(_DEFAULT)
def show(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Which one; all are listed when none is named.")
    ] = None,
    output: Output = Format.TEXT,
) -> None:
    """Print a file that gtlabel ships: the CloudFormation stack, the Step Functions journey, worker pages.

    gtlabel template cloudformation/gtlabel.yaml > gtlabel.yaml
    aws cloudformation deploy --template-file gtlabel.yaml --stack-name gtlabel --capabilities CAPABILITY_IAM

    The word `show` may be left out.

    Example: gtlabel template stepfunctions/journey.asl.json
    """
    from gtlabel.templates import list_templates, read_template

    if name is None:
        found = list_templates()
        if output is Format.JSON:
            put_json([{"name": item.name, "bytes": item.size} for item in found])
        else:
            put_table(("name", "bytes"), [(item.name, item.size) for item in found], right=("bytes",))
        return
    text = read_template(name)
    put_json({"name": name, "text": text}) if output is Format.JSON else put(text.rstrip("\n"))


@app.command()
def lint(
    file: _File,
    manifest: _Manifest = None,
    line: _Line = 1,
    task_input: _Input = None,
    classes: _Classes = None,
    element: Annotated[
        str | None,
        typer.Option("--element", help="The element whose answer a built-in job reads under its own name."),
    ] = None,
    output: Output = Format.TEXT,
) -> None:
    """Look for what is wrong with a worker page, without showing it to anybody.

    With a task, from a manifest or as JSON, it also finds what the page asks of task.input in vain. It ends
    with 1 if anything is an error, and with 0 if there are warnings only.

    Example: gtlabel template lint page.liquid --manifest input.manifest
    """
    from gtlabel.portal.renderer import Renderer

    sample = _sample(manifest, line, task_input, classes)
    text, renderer = _text(file), Renderer()
    try:
        found = renderer.lint(text, element=element or "", sample=sample)
    finally:
        renderer.close()
    _put_problems(file, found, output)
    if any(one.severity == "error" for one in found):
        raise typer.Exit(1)


@app.command()
def render(
    file: _File,
    manifest: _Manifest = None,
    line: _Line = 1,
    task_input: _Input = None,
    classes: _Classes = None,
) -> None:
    """Print a worker page as a worker's browser gets it, with the data of one task.

    Pictures get the addresses they have in S3, without a signature.

    Example: gtlabel template render page.liquid --manifest input.manifest --classes Compost,Landfill
    """
    from gtlabel.portal.renderer import Renderer

    sample = _sample(manifest, line, task_input, classes)
    text, renderer = _text(file), Renderer()
    try:
        done = renderer.render(text, {} if sample is None else sample, grant=_address)
    finally:
        renderer.close()
    if done.errors:
        for problem in done.errors:
            say(f"{file}, {problem}")
        raise typer.Exit(1)
    put(done.content.rstrip("\n"))


def _sample(manifest: Path | None, line: int, task_input: str | None, classes: str | None) -> Any:
    """The input of the task that was given, or None if none was."""
    from gtlabel.engine.custom import page_input
    from gtlabel.engine.jobs import Kind

    if manifest is not None and task_input is not None:
        raise typer.BadParameter("give a manifest or JSON, and not both", param_hint="--input")
    if task_input is not None:
        return _json(task_input, "--input")
    if manifest is None:
        return None
    with manifest.open(encoding="utf-8") as lines:
        text = next((each for number, each in enumerate(lines, start=1) if number == line), None)
    if text is None:
        raise typer.BadParameter(f"{manifest} has fewer than {line} lines", param_hint="--line")
    record = _json(text, f"{manifest}, line {line}")
    if not isinstance(record, dict):
        raise typer.BadParameter(f"line {line} of {manifest} is no JSON object", param_hint="--manifest")
    names = [name.strip() for name in classes.split(",")] if classes else []
    return page_input(record, names, Kind.CUSTOM)


def _json(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"it is not JSON: {error}", param_hint=place) from error


def _text(file: Path) -> str:
    from gtlabel.errors import TemplateError

    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TemplateError(f"{file} is not UTF-8: {error.reason} at byte {error.start}") from error


def _address(uri: str) -> str:
    from urllib.parse import quote

    from gtlabel.uris import S3Uri

    place = S3Uri(uri)
    return f"https://s3.amazonaws.com/{place.bucket}/{quote(place.key)}"


def _put_problems(file: Path, found: list[Problem], output: Format) -> None:
    if output is Format.JSON:
        names = ("severity", "code", "line", "sentence")
        put_json([{name: getattr(one, name) for name in names} for one in found])
    elif not found:
        say(f"{file}: nothing is wrong")
    else:
        for one in found:
            put(f"{file}, {one} ({one.severity}: {one.code})")
