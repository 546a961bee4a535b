"""`gtlabel demo`: the whole journey on real pictures, against an account of its own on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtlabel.cli.options import Output
from gtlabel.cli.output import Format, progress, put, put_json, put_table, say

if TYPE_CHECKING:
    from gtlabel.cli.walk import Summary


def demo(
    into: Annotated[
        Path, typer.Option("--into", file_okay=False, help="The folder for the report and the model.")
    ] = Path("gtlabel-demo"),
    seed: Annotated[int, typer.Option("--seed", help="Decides who the simulated workers are.")] = 7,
    output: Output = Format.TEXT,
) -> None:
    """Go the whole way on real pictures: label, consolidate, train, deploy, and score.

    Takes about a minute, costs nothing and sends nothing anywhere: it starts an account of its own on
    this machine, with three simulated people who look at each picture, and stops it at the end.

    Example: gtlabel demo --output json
    """
    from gtlabel.cli.walk import Walk, prepare

    folder = prepare(into)
    say("Sorting trash: photographs nobody has labeled, three bins, one camera.")
    with Walk(folder, seed=seed, bar=progress, tell=say) as walk:
        summary = walk.go()
    if output is Format.JSON:
        put_json(summary.to_json())
        return
    show(summary)


def show(summary: Summary) -> None:
    """Print what came of a demo, for people."""
    put_table(
        ("step", "what happened", "seconds"),
        [(step.name, step.outcome, f"{step.seconds:.1f}") for step in summary.steps],
        right=("seconds",),
    )
    put("")
    put(
        f"accuracy  {summary.accuracy:.1%} of {summary.scored} pictures that were never labeled or trained on"
    )
    put(f"baseline  {summary.baseline:.1%} for always saying the most frequent class")
    put(f"report    {summary.report}")
    say(summary.hint)
