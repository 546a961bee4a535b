"""The command line as a whole: its commands, and what happens when one fails."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gtlabel.cli import (
    collect,
    consolidate,
    convert,
    dataset,
    demo,
    deploy,
    doctor,
    edge,
    estimate,
    evaluate,
    jobs,
    label,
    local,
    notify,
    plan,
    policy,
    predict,
    quality,
    serve,
    stack,
    stream,
    team,
    template,
    train,
)
from gtlabel.cli.failures import INTERRUPTED, explain
from gtlabel.cli.output import put, say
from gtlabel.policies import COMMANDS

app = typer.Typer(
    name="gtlabel",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From unlabeled pictures to a classifier on a camera: label, consolidate, train, deploy.",
    epilog="Try it on real pictures: gtlabel demo",
)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.command("estimate")(estimate.estimate)
app.command("plan")(plan.plan)
app.command("label")(label.label)
app.add_typer(jobs.app, name="jobs")
app.add_typer(stream.app, name="stream")
app.add_typer(team.app, name="team")
app.command("collect")(collect.collect)
app.command("consolidate")(consolidate.consolidate)
app.add_typer(quality.app, name="quality")
app.add_typer(dataset.app, name="dataset")
app.add_typer(train.app, name="train")
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("convert")(convert.convert)
app.add_typer(deploy.app, name="deploy")
app.add_typer(edge.app, name="edge")
app.command("notify")(notify.notify)
app.command("policy")(policy.policy)
app.command("stack")(stack.stack)
app.add_typer(template.app, name="template")
app.add_typer(serve.app, name="serve")
app.add_typer(local.app, name="local")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        put(f"gtlabel {version('gtlabel')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that belong to no command."""


def _keep_only(name: str = "") -> None:
    """Forget the commands that were not asked for: making sixty of them takes longer than parsing one."""
    commands = [command for command in app.registered_commands if command.name == name]
    groups = [group for group in app.registered_groups if group.name == name]
    if commands or groups:
        app.registered_commands[:], app.registered_groups[:] = commands, groups


def _policies(words: list[str]) -> list[str]:
    """The policies that the first words of a command line may mean: `quality more` has one of its own."""
    return [name for name in ("-".join(words), *words[:1]) if name in COMMANDS]


def main() -> None:
    """Run the command line; print an error once, without a traceback, and leave with its exit code."""
    _keep_only(*sys.argv[1:2])
    try:
        app()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            say("gtlabel: interrupted; what was finished stays, and the same command may be run again")
        raise
    except Exception as error:
        explained = explain(error, *_policies(sys.argv[1:3])[:1])
        if explained is None:
            raise
        sentence, code = explained
        say(f"gtlabel: {sentence}")
        sys.exit(code)
