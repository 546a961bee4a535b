"""`gtlabel estimate`: what labeling will cost and how long it will take."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtlabel.cli.options import EndpointUrl, Output, Profile, Region, connect
from gtlabel.cli.output import Format, put, put_json, put_table, say

if TYPE_CHECKING:
    from gtlabel.labeling.cost import Estimate, Range


class Team(StrEnum):
    """Who works."""

    PRIVATE = "private"
    VENDOR = "vendor"
    PUBLIC = "public"


def estimate(
    images: Annotated[int, typer.Option("--images", min=1, help="How many pictures there are.")],
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, max=9, help="How many people look at each picture. (default: 3)"),
    ] = None,
    team: Annotated[Team, typer.Option("--team-kind", help="Who works.")] = Team.PRIVATE,
    price_per_answer: Annotated[
        str | None, typer.Option("--price-per-answer", help="What an answer costs, in US dollars.")
    ] = None,
    automated: Annotated[
        bool, typer.Option("--automated", help="Let a model label what it is sure of.")
    ] = False,
    share: Annotated[
        float | None,
        typer.Option("--automated-share", min=0, max=1, help="The share that it labels, if you know it."),
    ] = None,
    already: Annotated[
        int, typer.Option("--already", min=0, help="Images labeled this month in the account before.")
    ] = 0,
    free_tier: Annotated[
        bool, typer.Option("--free-tier", help="The account is in its first two months.")
    ] = False,
    people: Annotated[
        int | None,
        typer.Option("--people", min=1, help="How many people work at once. (default: as --workers)"),
    ] = None,
    answers_per_hour: Annotated[
        float | None, typer.Option("--answers-per-hour", help="How many answers a person gives an hour.")
    ] = None,
    like: Annotated[
        list[str] | None,
        typer.Option("--like", metavar="JOB", help="Take people's pace from this earlier job (repeatable)."),
    ] = None,
    prices: Annotated[
        Path | None,
        typer.Option("--prices", exists=True, dir_okay=False, help="A table of prices of your own, as TOML."),
    ] = None,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Say what labeling would cost and how long it would take; nothing is started.

    AWS is asked only with --like. The shipped prices are printed by `gtlabel template prices.toml`.

    Example: gtlabel estimate --images 20000 --workers 3 --people 5 --like trash-bins
    """
    from decimal import Decimal, InvalidOperation

    from gtlabel.errors import SettingsError
    from gtlabel.labeling import cost
    from gtlabel.labeling.pace import ASSUMED, Pace, read_pace
    from gtlabel.labeling.tasks import TeamKind
    from gtlabel.settings import Project

    if answers_per_hour is not None and like:
        raise SettingsError("--answers-per-hour and --like both tell people's pace; give one of them")
    project = Project.load(workers=workers, prices=prices)
    try:
        price = None if price_per_answer is None else Decimal(price_per_answer)
    except InvalidOperation:
        raise SettingsError(f"--price-per-answer {price_per_answer!r} is not a number of dollars") from None
    if like:
        _, aws = connect(profile, region, endpoint_url)
        pace = read_pace(aws.sagemaker, aws.s3, like)
    else:
        pace = ASSUMED if answers_per_hour is None else Pace.given(answers_per_hour)
    found = cost.estimate(
        images,
        workers=project.workers,
        team=TeamKind(f"{team}-crowd"),
        price_per_answer=price,
        automated=automated,
        automated_share=None if share is None else (Decimal(str(share)), Decimal(str(share))),
        already=already,
        free_tier=free_tier,
        people=people,
        pace=pace,
        prices=cost.Prices.load(project.prices),
    )
    if output is Format.JSON:
        put_json(found.to_json())
    else:
        _show(found)


def _show(found: Estimate) -> None:
    def dollars(amount: Range) -> tuple[str, str]:
        return f"${amount.low:,.2f}", f"${amount.high:,.2f}"

    rows = [(part.what, f"{part.quantity:,} {part.unit}", *dollars(part.dollars)) for part in found.parts]
    rows.append(("together", "", *dollars(found.dollars)))
    put_table(("", "up to", "at least", "at most"), rows, right=("up to", "at least", "at most"))
    put("")
    hours = [
        ("looking at pictures", "person hours", found.person_hours),
        (f"with {found.people} people at once", "hours", found.hours),
    ]
    put_table(
        ("", "in", "at least", "at most"),
        [(what, unit, f"{span.low:,.1f}", f"{span.high:,.1f}") for what, unit, span in hours],
        right=("at least", "at most"),
    )
    if found.jobs > 1:
        say(f"{found.images:,} pictures are {found.jobs} labeling jobs")
    for sentence in found.assumptions:
        say(f"assuming {sentence}")
