"""`gtlabel local answer`: simulated people answer labeling jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gtlabel.cli.options import Output
from gtlabel.cli.output import Format, progress, put_json, put_table, say
from gtlabel.cli.running import Port, State, aws_at

_WORKERS = 5


def answer(
    jobs: Annotated[
        list[str], typer.Argument(metavar="JOB...", help="The name of the job, or of a group, or several.")
    ],
    truth: Annotated[
        Path,
        typer.Option(exists=True, dir_okay=False, help="What is right: JSON Lines of source-ref and class."),
    ],
    workers: Annotated[
        int | None, typer.Option(min=1, help="How many people answer: 5, or all who have tokens.")
    ] = None,
    accuracy: Annotated[float, typer.Option(min=0, max=1, help="How often they are right.")] = 0.85,
    seed: Annotated[int, typer.Option(help="The same seed gives the same answers.")] = 7,
    spammers: Annotated[
        int, typer.Option(min=0, help="How many of them never look.", rich_help_panel="People")
    ] = 0,
    confusion: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Which class is taken for which: JSON, {right: {said: weight}}.",
            rich_help_panel="People",
        ),
    ] = None,
    fatigue: Annotated[
        float,
        typer.Option(min=0, max=1, help="How much a day at work costs them.", rich_help_panel="People"),
    ] = 0,
    declines: Annotated[
        float, typer.Option(min=0, max=1, help="Images given back for good.", rich_help_panel="People")
    ] = 0.01,
    releases: Annotated[
        float, typer.Option(min=0, max=1, help="Images given back for now.", rich_help_panel="People")
    ] = 0.01,
    abandons: Annotated[
        float,
        typer.Option(min=0, max=1, help="Images left until their time is up.", rich_help_panel="People"),
    ] = 0,
    pace: Annotated[
        float | None,
        typer.Option(help="Seconds for an answer; without these three nobody waits.", rich_help_panel="Time"),
    ] = None,
    hours: Annotated[
        str | None, typer.Option(metavar="9-17", help="Work on weekdays only.", rich_help_panel="Time")
    ] = None,
    speedup: Annotated[
        float | None,
        typer.Option(help="How many times as fast their time passes.", rich_help_panel="Time"),
    ] = None,
    timezone: Annotated[
        str,
        typer.Option(metavar="ZONE", help="Where the hours are, as in Europe/Rome.", rich_help_panel="Time"),
    ] = "UTC",
    url: Annotated[
        str | None,
        typer.Option("--url", help="Another server, such as gtlabel serve.", rich_help_panel="Server"),
    ] = None,
    token_file: Annotated[
        list[Path] | None,
        typer.Option(
            "--token-file",
            exists=True,
            dir_okay=False,
            help="The token of the worker whom the file is named after, or a name and a token in each line.",
            rich_help_panel="Server",
        ),
    ] = None,
    state: State = None,
    port: Port = None,
    output: Output = Format.TEXT,
) -> None:
    """Let simulated people answer labeling jobs, and print how each of them did.

    At Ctrl-C they give back what they hold. A server that is started again meanwhile is waited for.

    Example: gtlabel local answer trash-bins --workers 5 --accuracy 0.85 --truth truth.jsonl --seed 7
    """
    from gtlabel.emulator import simulate
    from gtlabel.emulator.state import find

    habits = simulate.Habits(
        fatigue=fatigue,
        spammers=spammers,
        confusion=simulate.read_confusion(confusion) if confusion else {},
        declines=declines,
        releases=releases,
        abandons=abandons,
        pace=pace,
        speedup=speedup,
        hours=simulate.Hours.parse(hours, timezone) if hours else None,
    )
    tokens = simulate.read_tokens(token_file) if token_file else None
    known = simulate.read_truth(truth)
    address = url.rstrip("/") if url else find(port=port, state=state).url
    names = _names(address, jobs, elsewhere=url is not None)
    with progress(f"answering {', '.join(jobs)}") as show:
        summary = simulate.answer(
            address,
            names,
            workers or len(tokens or range(_WORKERS)),
            accuracy,
            known,
            seed,
            on_progress=lambda answers: show(answers, 0),
            habits=habits,
            tokens=tokens,
            on_notice=say,
        )
    if output is Format.JSON:
        put_json(summary.to_json())
        return
    columns = ("worker", "kind", "answers", "right", "declined", "released", "forgotten", "late")
    rows = [
        (
            each.worker,
            each.character,
            each.answers,
            "" if each.accuracy is None else f"{each.accuracy:.0%}",
            each.declined,
            each.released,
            each.forgotten,
            each.late,
        )
        for each in (*summary.workers, summary.total)
    ]
    put_table(columns, rows, right=columns[2:])


def _names(url: str, jobs: list[str], *, elsewhere: bool) -> list[str]:
    """The jobs that go by some names."""
    from botocore.exceptions import NoCredentialsError

    from gtlabel.aws import Aws
    from gtlabel.labeling.groups import describe_labeling

    # A server of one's own leaves S3 where it is.
    sagemaker, s3 = (
        (Aws(endpoint_url=url).sagemaker, Aws().s3) if elsewhere else (aws_at(url).sagemaker, aws_at(url).s3)
    )
    try:
        return [job.name for name in jobs for job in describe_labeling(sagemaker, s3, name).jobs]
    except NoCredentialsError:
        # Whoever only works there has none, and knows what the jobs are called.
        return jobs
