"""`gtlabel plan`: how many answers to buy, tried out on simulated people before anybody is paid."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtlabel.cli.estimate import Team
from gtlabel.cli.options import EndpointUrl, Output, Profile, Region, connect
from gtlabel.cli.output import Format, progress, put_json, say

if TYPE_CHECKING:
    from decimal import Decimal

    from gtlabel.crowd.population import Population
    from gtlabel.labeling.pace import Pace

_PEOPLE = "Who is asked"
_WAYS = "What is tried"
_TERMS = "What it costs"
# As many as a small team has; each of a picture's answers is from somebody else.
_USUAL_PEOPLE = 10


def plan(
    images: Annotated[int, typer.Option("--images", min=1, help="How many pictures there are.")],
    classes: Annotated[
        int | None,
        typer.Option("--classes", min=2, help="How many classes there are; --from tells it, too."),
    ] = None,
    places: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="JOB|FOLDER|TABLE",
            help="Ask people like those of this earlier job, of its name or folder, or of a table of answers "
            "(repeatable).",
            rich_help_panel=_PEOPLE,
        ),
    ] = None,
    accuracy: Annotated[
        float | None,
        typer.Option(
            "--accuracy",
            help="Without --from: the share of their answers that is right. (default: 0.8)",
            rich_help_panel=_PEOPLE,
        ),
    ] = None,
    spread: Annotated[
        float | None,
        typer.Option(
            "--spread",
            min=0,
            max=0.5,
            help="Without --from: how far people differ in that, as a standard deviation. (default: 0.1)",
            rich_help_panel=_PEOPLE,
        ),
    ] = None,
    hard: Annotated[
        float | None,
        typer.Option(
            "--hard",
            min=0,
            max=1,
            help="Without --from: the share of pictures that look like another class. "
            "(default: as many as make half of the mistakes)",
            rich_help_panel=_PEOPLE,
        ),
    ] = None,
    people: Annotated[
        int | None,
        typer.Option(
            "--people",
            min=1,
            help="How many there are, all working at the same time. (default: 10, or those of --from)",
            rich_help_panel=_PEOPLE,
        ),
    ] = None,
    votes: Annotated[
        str,
        typer.Option("--votes", help="How many people look at each picture.", rich_help_panel=_WAYS),
    ] = "1,3,5",
    methods: Annotated[
        str,
        typer.Option("--methods", help="How their answers become labels.", rich_help_panel=_WAYS),
    ] = "majority,aws,auto",
    adaptive: Annotated[
        bool,
        typer.Option(
            "--adaptive/--no-adaptive",
            help="Try to ask more people only where the first ones leave doubt.",
            rich_help_panel=_WAYS,
        ),
    ] = True,
    error: Annotated[
        float,
        typer.Option(
            "--error",
            min=0,
            max=0.5,
            help="Ask no more where this share of wrong labels is expected.",
            rich_help_panel=_WAYS,
        ),
    ] = 0.02,
    automated: Annotated[
        bool,
        typer.Option(
            "--automated/--no-automated",
            help="Try to have a machine label what it can.",
            rich_help_panel=_WAYS,
        ),
    ] = True,
    precision: Annotated[
        float,
        typer.Option(
            "--precision",
            min=0.5,
            max=0.999,
            help="The share of a machine's labels that must be those people would give.",
            rich_help_panel=_WAYS,
        ),
    ] = 0.95,
    model_accuracy: Annotated[
        float,
        typer.Option(
            "--model-accuracy",
            help="How often a machine that learned from all pictures would be right.",
            rich_help_panel=_WAYS,
        ),
    ] = 0.85,
    target: Annotated[
        float,
        typer.Option("--target", min=0, max=1, help="The share of labels that should be right."),
    ] = 0.95,
    runs: Annotated[
        int, typer.Option("--seeds", min=2, help="How often all ways are tried, each time with others.")
    ] = 20,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another number draws others.")] = 0,
    team: Annotated[
        Team, typer.Option("--team-kind", help="Who works.", rich_help_panel=_TERMS)
    ] = Team.PRIVATE,
    price_per_answer: Annotated[
        str | None,
        typer.Option(
            "--price-per-answer", help="What an answer costs, in US dollars.", rich_help_panel=_TERMS
        ),
    ] = None,
    answers_per_hour: Annotated[
        float | None,
        typer.Option(
            "--answers-per-hour",
            help="How many answers a person gives an hour. (default: as in --from, or 360 to 1,200)",
            rich_help_panel=_TERMS,
        ),
    ] = None,
    hours_per_day: Annotated[
        float,
        typer.Option(
            "--hours-per-day", min=0.1, max=24, help="How long a person works.", rich_help_panel=_TERMS
        ),
    ] = 6.0,
    prices: Annotated[
        Path | None,
        typer.Option(
            "--prices",
            exists=True,
            dir_okay=False,
            help="A table of prices of your own, as TOML.",
            rich_help_panel=_TERMS,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", dir_okay=False, help="A chart to write, as a page (.html) or alone (.svg)."),
    ] = None,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Say how many answers to buy, and how to make labels of them; nothing is started.

    Ways to label are tried out on simulated people, who are like those of an earlier job or as you say. AWS
    is asked only for the answers of a job named with --from.

    Example: gtlabel plan --images 5000 --from trash-1f0c22ab --price-per-answer 0.03 --target 0.95
    """
    from gtlabel.cli.planview import page_of, put_plan
    from gtlabel.labeling.cost import Prices
    from gtlabel.labeling.offers import Terms, make_plan
    from gtlabel.labeling.planning import Tries, ways
    from gtlabel.labeling.tasks import TeamKind
    from gtlabel.settings import Project

    if plot is not None and plot.suffix.lower() not in (".html", ".svg"):
        raise typer.BadParameter(f"{plot} ends neither in .html nor in .svg", param_hint="--plot")
    price = _dollars(price_per_answer)
    tried = ways(_numbers(votes), _methods(methods), adaptive=adaptive, automated=automated)
    stated = {"accuracy": accuracy, "spread": spread, "hard": hard}
    if places:
        _refuse(stated, classes)
        population, pace = _measured(places, people, profile, region, endpoint_url)
    else:
        population, pace = _assumed(classes, people, stated), None
    terms = Terms(
        images,
        _pace(pace, answers_per_hour),
        people or population.people,
        hours_per_day,
        TeamKind(f"{team}-crowd"),
        price,
        prices=Prices.load(Project.load(prices=prices).prices),
    )
    tries = Tries(runs, seed, error, model_accuracy, precision)
    with progress("trying ways out") as show:
        found = make_plan(population, terms, tried, target=target, tries=tries, on_progress=show)
    if output is Format.JSON:
        put_json(found.to_json())
    else:
        put_plan(found)
    if plot is not None:
        from gtlabel.pages.plan import write_plan

        say(f"plot: {write_plan(page_of(found), plot)}")


def _numbers(votes: str) -> list[int]:
    try:
        found = [int(part) for part in votes.split(",")]
    except ValueError:
        found = []
    if not found or not all(1 <= count <= 9 for count in found):
        raise typer.BadParameter(
            f"{votes!r} is no list of numbers from 1 to 9, such as 1,3,5", param_hint="--votes"
        )
    return found


def _methods(methods: str) -> list[str]:
    from gtlabel.crowd.methods import METHODS

    found = [part.strip().replace("-", "_") for part in methods.split(",")]
    unknown = [name for name in found if name not in METHODS]
    if unknown:
        raise typer.BadParameter(
            f"{unknown[0]!r} is no method; take some of {', '.join(METHODS)}", param_hint="--methods"
        )
    return found


def _dollars(price: str | None) -> Decimal | None:
    from decimal import Decimal, InvalidOperation

    from gtlabel.errors import SettingsError

    try:
        found = None if price is None else Decimal(price)
    except InvalidOperation:
        found = Decimal("NaN")
    if found is not None and not found.is_finite():
        raise SettingsError(f"--price-per-answer {price!r} is not a number of dollars")
    return found


def _refuse(stated: dict[str, float | None], classes: int | None) -> None:
    """Options that --from answers already."""
    from gtlabel.errors import SettingsError

    for name, value in {**stated, "classes": classes}.items():
        if value is not None:
            raise SettingsError(f"--from and --{name} both tell what people are asked; give one of them")


def _assumed(classes: int | None, people: int | None, stated: dict[str, float | None]) -> Population:
    from gtlabel.crowd.population import assumed
    from gtlabel.errors import SettingsError

    if classes is None:
        raise SettingsError("nothing says how many classes there are; give --classes, or --from a job")
    given = {name: value for name, value in stated.items() if value is not None}
    try:
        return assumed(classes, people=people or _USUAL_PEOPLE, **given)
    except ValueError as error:
        raise SettingsError(f"{error}; give another --accuracy or --hard") from error


def _measured(
    places: list[str], people: int | None, profile: str | None, region: str | None, endpoint_url: str | None
) -> tuple[Population, Pace | None]:
    """People like those of old jobs, and how fast they were."""
    from gtlabel.cli.quality import read
    from gtlabel.crowd.methods import aggregate
    from gtlabel.crowd.population import fitted
    from gtlabel.errors import SettingsError
    from gtlabel.labeling.offers import pace_in

    answered = read(cache(lambda: connect(profile, region, endpoint_url)[1]), places, None, None, None)
    names = ", ".join(folder.name for folder in answered.folders)
    if answered.several:
        raise SettingsError(
            f"a picture of {names} may have several classes, and plans are of pictures that have one; say "
            "with --classes and --accuracy what people are like"
        )
    votes = answered.votes
    found = aggregate(votes, len(answered.sources), len(answered.classes))
    source = (
        f"like the {len(answered.workers):,} of {names}, who gave {len(votes.objects):,} answers "
        f"about {len(answered.sources):,} pictures"
    )
    return fitted(votes, found.posterior, source=source, people=people), pace_in(answered)


def _pace(measured: Pace | None, answers_per_hour: float | None) -> Pace:
    from gtlabel.labeling.pace import ASSUMED, Pace

    if answers_per_hour is not None:
        return Pace.given(answers_per_hour)
    return measured or Pace(ASSUMED.answers_per_hour, "assumed, 3 to 10 seconds each")
