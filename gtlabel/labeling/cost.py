"""What a labeling job will cost and how long it will take, before anybody is paid.

An estimate is an interval with its parts and its assumptions named. All prices come from one dated table,
`templates/prices.toml`, or from another file of that form.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gtlabel.errors import SettingsError
from gtlabel.labeling.inputs import MAX_IMAGES
from gtlabel.labeling.pace import ASSUMED, Pace
from gtlabel.labeling.rules import MIN_IMAGES_AUTOMATED
from gtlabel.labeling.tasks import TeamKind
from gtlabel.manifests.records import first_problem
from gtlabel.templates import read_template

PRICE_TABLE = "prices.toml"
_CENT = Decimal("0.01")

_Price = Annotated[Decimal, Field(ge=0)]
_Share = Annotated[Decimal, Field(ge=0, le=1)]


class FeeTier(BaseModel):
    """What each image costs up to so many in a month; the last tier has no end."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    each: _Price
    up_to: Annotated[int, Field(gt=0)] | None = None


class Prices(BaseModel):
    """The table of prices; what its parts mean is said in the shipped one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    as_of: date
    source: str
    fee: Annotated[tuple[FeeTier, ...], Field(min_length=1)]
    free_images: Annotated[int, Field(ge=0)] = 0
    public_answer: _Price | None = None
    vendor_answer: _Price | None = None
    automated_share: tuple[_Share, _Share] = (Decimal(0), Decimal(0))

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        ends = [tier.up_to for tier in self.fee]
        bounds = [end for end in ends[:-1] if end is not None]
        if ends[-1] is not None or len(bounds) < len(ends) - 1 or sorted(set(bounds)) != bounds:
            raise ValueError("the fee's tiers must grow by up_to, and the last one has none")
        if self.automated_share[0] > self.automated_share[1]:
            raise ValueError("automated_share is the least and the most, in this order")
        return self

    @classmethod
    def load(cls, file: Path | None = None) -> Prices:
        """Read a table of prices; by default the shipped one.

        Raises:
            SettingsError: if it cannot be read, or is no such table.
        """
        where = str(file or PRICE_TABLE)
        try:
            text = file.read_text(encoding="utf-8") if file else read_template(PRICE_TABLE)
            return cls.model_validate(tomllib.loads(text, parse_float=Decimal))
        except OSError as error:
            raise SettingsError(f"the prices in {where} cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"the prices in {where} are not TOML: {error}") from error
        except ValidationError as error:
            raise SettingsError(f"the prices in {where} cannot be used: {first_problem(error)}") from error

    def fees(self, images: int, *, already: int = 0, free: bool = False) -> Decimal:
        """Ground Truth's fee for so many images more, after so many already in the same month."""
        paid = max(0, images - max(0, self.free_images - already)) if free else images
        start, end = already + images - paid, already + images
        total, below = Decimal(0), 0
        for tier in self.fee:
            top = end if tier.up_to is None else min(end, tier.up_to)
            total += tier.each * max(0, top - max(start, below))
            below = tier.up_to or end
        return total


@dataclass(frozen=True, slots=True)
class Range:
    """The least and the most."""

    low: Decimal
    high: Decimal

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.high + other.high)


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that is paid for.

    Attributes:
        what: its name.
        quantity: how many, at the most.
        unit: of what.
        dollars: what they cost.
    """

    what: str
    quantity: int
    unit: str
    dollars: Range


@dataclass(frozen=True, slots=True)
class Estimate:
    """What labeling will cost and how long it will take.

    Attributes:
        images: how many pictures.
        jobs: how many labeling jobs they make.
        answers: how many answers people give.
        parts: what is paid for.
        dollars: all of it.
        person_hours: the time people look at pictures, added up.
        hours: the time that passes while they do, at the least: nobody rests or waits for others.
        people: how many work at the same time.
        assumptions: what it rests on, in sentences.
        prices_as_of: the day of the table of prices.
    """

    images: int
    jobs: int
    answers: Range
    parts: tuple[Part, ...]
    dollars: Range
    person_hours: Range
    hours: Range
    people: int
    assumptions: tuple[str, ...]
    prices_as_of: date

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values; money is rounded to cents, hours to hundredths."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def estimate(
    images: int,
    *,
    workers: int = 3,
    team: TeamKind = TeamKind.PRIVATE,
    price_per_answer: Decimal | None = None,
    automated: bool = False,
    automated_share: tuple[Decimal, Decimal] | None = None,
    already: int = 0,
    free_tier: bool = False,
    people: int | None = None,
    pace: Pace = ASSUMED,
    prices: Prices | None = None,
) -> Estimate:
    """Estimate what labeling so many pictures costs and how long it takes; nothing is asked of AWS.

    Args:
        images: how many pictures.
        workers: how many people look at each.
        team: who works.
        price_per_answer: what an answer costs, instead of what the table says.
        automated: whether a model labels what it is sure of.
        automated_share: the least and the most of it, instead of what the table says.
        already: how many images the account has had labeled this month.
        free_tier: whether it is in the first two months of the account.
        people: how many work at the same time; by default as many as look at each picture.
        pace: how fast they are.
        prices: the table of prices; by default the shipped one.

    Raises:
        SettingsError: if that cannot be asked of Ground Truth, or a price is missing.
    """
    table = prices or Prices.load()
    crew = workers if people is None else people
    _check(images, workers, crew, already, automated)
    share = (automated_share or table.automated_share) if automated else (Decimal(0), Decimal(0))
    if not 0 <= share[0] <= share[1] <= 1:
        raise SettingsError(
            f"an automated share of {share[0]} to {share[1]} cannot be; give shares from 0 to 1"
        )
    seen = (ceil(images * (1 - share[1])), ceil(images * (1 - share[0])))
    answers = Range(Decimal(seen[0] * workers), Decimal(seen[1] * workers))
    each = price_of_answer(team, price_per_answer, table)
    parts = [
        Part("Ground Truth", images, "images", _fee_range(table, images, already, free_tier)),
        Part(
            f"{team.removesuffix('-crowd')} team",
            int(answers.high),
            "answers",
            Range(answers.low * each, answers.high * each),
        ),
    ]
    dollars = parts[0].dollars + parts[1].dollars
    person_hours = Range(
        answers.low / Decimal(pace.answers_per_hour[1]), answers.high / Decimal(pace.answers_per_hour[0])
    )
    return Estimate(
        images=images,
        jobs=ceil(images / MAX_IMAGES),
        answers=answers,
        parts=tuple(parts),
        dollars=dollars,
        person_hours=person_hours,
        hours=Range(person_hours.low / crew, person_hours.high / crew),
        people=crew,
        assumptions=tuple(_assumptions(table, pace, share, crew, team, each, automated)),
        prices_as_of=table.as_of,
    )


def _check(images: int, workers: int, people: int, already: int, automated: bool) -> None:
    if images < 1 or already < 0:
        raise SettingsError(
            f"{images:,} images, after {already:,}, cannot be labeled; give how many there are"
        )
    if not 1 <= workers <= 9:
        raise SettingsError(f"{workers} people cannot look at each image; Ground Truth asks 1 to 9")
    if people < workers:
        raise SettingsError(
            f"{people} people are too few: {workers} different ones look at each image; give more --people"
        )
    if automated and images < MIN_IMAGES_AUTOMATED:
        raise SettingsError(
            f"{images:,} images are fewer than the {MIN_IMAGES_AUTOMATED:,} it takes to label automatically"
        )


def price_of_answer(team: TeamKind, given: Decimal | None, table: Prices) -> Decimal:
    """What an answer of a team costs.

    Raises:
        SettingsError: if nobody says.
    """
    if given is not None:
        if given < 0:
            raise SettingsError(f"an answer cannot cost {given}; give a price of 0 or more")
        return given
    if team is TeamKind.PRIVATE:
        return Decimal(0)
    found = table.vendor_answer if team is TeamKind.VENDOR else table.public_answer
    if found is None:
        name = team.removesuffix("-crowd")
        raise SettingsError(
            f"the table has no price of a {name} team's answer; give --price-per-answer or {name}_answer"
        )
    return found


def _fee_range(table: Prices, images: int, already: int, free: bool) -> Range:
    """With all tiers at the least, and with the first tier alone at the most."""
    flat = table.model_copy(update={"fee": (FeeTier(each=max(tier.each for tier in table.fee)),)})
    return Range(
        table.fees(images, already=already, free=free), flat.fees(images, already=already, free=free)
    )


def _assumptions(
    table: Prices,
    pace: Pace,
    share: tuple[Decimal, Decimal],
    people: int,
    team: TeamKind,
    each: Decimal,
    automated: bool,
) -> Iterable[str]:
    yield f"prices as of {table.as_of}, from {table.source}"
    if len(table.fee) > 1:
        yield "the fee falls with the images of a month at the lower end, and does not at the upper one"
    if team is TeamKind.PRIVATE and not each:
        yield "a private team's wages are not counted; give --price-per-answer to count them"
    if team is TeamKind.PUBLIC:
        yield "the public team closed with Mechanical Turk on 2026-09-30; its price is history"
    if automated:
        yield f"a model labels {share[0]:.0%} to {share[1]:.0%}; the machines it runs on are billed apart"
    low, high = pace.answers_per_hour
    yield f"a person gives {low:,.0f} to {high:,.0f} answers an hour: {pace.source}"
    yield f"{people} people work at the same time, without rest and without waiting for the next batch"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Decimal):
        return float(value.quantize(_CENT))
    return value.isoformat() if isinstance(value, date) else value
