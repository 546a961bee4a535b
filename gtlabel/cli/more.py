"""`gtlabel quality more`: another round of answers, only where the first left doubt."""

from __future__ import annotations

from functools import cache
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
from gtlabel.cli.output import Format, put, put_json, say

if TYPE_CHECKING:
    from gtlabel.labeling.doubtful import Doubts


def more(
    jobs: Annotated[
        list[str],
        typer.Argument(
            metavar="JOB...",
            help="The ended job; behind it the rounds that followed it already. Of a folder or a table of "
            "answers (.csv), the pictures in doubt are printed.",
        ),
    ],
    error: Annotated[
        float,
        typer.Option("--error", min=0, max=1, help="The share of wrong labels to come down to."),
    ] = 0.02,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=9, help="How many more people look at each picture.")
    ] = 2,
    most: Annotated[
        int, typer.Option("--most", min=1, help="No picture gets more answers than this in all rounds.")
    ] = 9,
    budget: Annotated[
        int | None, typer.Option("--budget", min=1, help="How many more answers there may be in all.")
    ] = None,
    method: Annotated[
        str, typer.Option("--method", help="How to read the answers: auto, dawid-skene, majority, ...")
    ] = "auto",
    name: Annotated[
        str | None, typer.Option("--name", help="The new job's name. (default: the old one and -more)")
    ] = None,
    team: Annotated[str | None, typer.Option("--team", help="The work team. (default: as before)")] = None,
    settings: RequestFields = None,
    force: Force = False,
    dry_run: DryRun = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Ask again about those pictures of a job that its answers leave in doubt, and print the new job's name.

    Works wherever the job ran, in AWS too. It costs as many answers as pictures in doubt times --workers. Who
    answered about a picture before may get it again, and counts with the newer answer alone: the larger the
    team, the more there is to gain.
    When the new job is done, make labels of both jobs' answers: gtlabel quality reconsolidate JOB JOB-more

    Example: gtlabel quality more trash-1f0c22ab --error 0.02 --dry-run
    """
    from gtlabel.cli.quality import read
    from gtlabel.cli.successors import changed, launch
    from gtlabel.labeling.doubtful import find_doubts, plan_more

    project, aws = connect(profile, region, endpoint_url)
    answered = read(cache(lambda: aws), jobs, None, None, None)
    doubts = find_doubts(answered, error=error, answers=workers, most=most, budget=budget, method=method)
    _tell(doubts)
    if not doubts.images:
        if output is Format.JSON:
            put_json({"name": None, **doubts.to_json()})
        return
    first = jobs[0]
    folder = "/" in first or Path(first).is_dir()
    if folder or answered.folders[0].table is not None:
        # No page and no team stand behind them: whoever asks again needs to know the pictures.
        if folder:
            say("to have people asked, name the job itself in place of its folder")
        if output is Format.JSON:
            put_json({"name": None, **doubts.to_json()})
        for image in doubts.images if output is Format.TEXT else ():
            put(image)
        return
    called = name or (f"{first}-more" if len(jobs) == 1 else f"{first}-more-{len(jobs)}")
    plan = plan_more(
        aws,
        first,
        doubts,
        to=called,
        max_images_per_job=project.max_images_per_job,
        **changed(aws, None, team, settings),
    )
    launch(aws, plan, dry_run, force, output)
    if not dry_run and output is Format.TEXT:
        say("when it is done, make labels of all answers:")
        say(f"  gtlabel quality reconsolidate {' '.join([*jobs, called])}")


def _tell(doubts: Doubts) -> None:
    say(
        f"{doubts.given:,} answers about {doubts.pictures:,} pictures: {doubts.expected_error:.1%} of the "
        f"labels are expected to be wrong, {doubts.error:.1%} are allowed"
    )
    # Where all say one class there is nothing else that a picture could be.
    if doubts.error_range is not None and doubts.expected_error > 0:
        least, most = doubts.error_range
        say(
            f"in crowds whose truth is known {least:.1%} to {most:.1%} were wrong where so much was "
            "expected; known pictures among yours (gtlabel label --gold) tell more"
        )
    if not doubts.images:
        reason = {
            "error": "no picture needs another answer",
            "budget": "the budget does not buy another answer; raise --budget",
            "most": "more answers would hardly change labels; raise --most, or look at the pictures yourself",
        }[doubts.why]
        say(reason)
        return
    asked = len(doubts.images)
    say(
        f"{asked:,} of them should be asked about again, {doubts.answers} more answers each: "
        f"{asked * doubts.answers:,} answers in place of {doubts.pictures * doubts.answers:,} for all"
    )
