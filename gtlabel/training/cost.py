"""What a training job costs: so far, and at most.

Paid is for the seconds that its machines are rented, each of them, at the price of an hour; see
BillableTimeInSeconds in
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTrainingJob.html
All prices come from one dated table, `templates/training-prices.toml`; one that is not in it is not guessed.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from math import ceil
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from gtlabel.errors import SettingsError
from gtlabel.templates import read_template
from gtlabel.training.jobs import TrainingJob

PRICE_TABLE = "training-prices.toml"
# What the service takes where no limit is given.
_LONGEST_RUNTIME = 86_400
_HOUR = 3_600


class TrainingPrices(BaseModel):
    """The table of prices; what its parts mean is said in the shipped one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    as_of: date
    source: str
    regions: tuple[str, ...]
    hourly: dict[str, Annotated[Decimal, Field(ge=0)]]


@lru_cache
def shipped_prices() -> TrainingPrices:
    """The shipped table."""
    table = tomllib.loads(read_template(PRICE_TABLE), parse_float=Decimal)
    return TrainingPrices.model_validate(table)


@dataclass(frozen=True, slots=True)
class HourlyPrice:
    """What one machine costs.

    Attributes:
        dollars: for an hour; None when that is not known here.
        source: a sentence on where the price is from, or on what to do without one.
    """

    dollars: Decimal | None
    source: str


def hourly_price(instance_type: str, region: str, given: str | Decimal | None = None) -> HourlyPrice:
    """What an hour of a machine costs in a region, on demand.

    Args:
        instance_type: such as `ml.g4dn.xlarge`.
        region: such as `us-east-1`.
        given: a price to take instead of the table's, in US dollars.

    Raises:
        SettingsError: if the given price is none.
    """
    if given is not None:
        return HourlyPrice(_dollars(given), f"${given} an hour, as given")
    table = shipped_prices()
    found = table.hourly.get(instance_type) if region in table.regions else None
    if found is None:
        where = f"{instance_type or 'a mixed cluster'} in {region}"
        return HourlyPrice(None, f"what {where} costs is not known here; give its price with --hourly-price")
    return HourlyPrice(
        found, f"${found} an hour for {instance_type} in {region}, as of {table.as_of}, from {table.source}"
    )


@dataclass(frozen=True, slots=True)
class TrainingCost:
    """What a job costs, in US dollars; None where the price is not known.

    Attributes:
        so_far: what has been paid for until now; for spot capacity, until the job has ended, at most that.
        at_most: what it can come to.
        saved: the share of the price that spot capacity saved, 0 to 1; None without it or before the end.
        seconds: how long its machines have been paid for, all of them together.
        assumptions: what the amounts rest on, in sentences.
    """

    so_far: Decimal | None
    at_most: Decimal | None
    saved: float | None
    seconds: int
    assumptions: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values; money is rounded to hundredths of a cent."""
        return {
            "so_far": _rounded(self.so_far),
            "at_most": _rounded(self.at_most),
            "saved": None if self.saved is None else round(self.saved, 4),
            "seconds": self.seconds,
            "assumptions": list(self.assumptions),
        }


def cost_of(job: TrainingJob, now: datetime, price: HourlyPrice) -> TrainingCost:
    """What a job has cost until now, and what it can cost.

    Args:
        job: as it is now.
        now: the time, with its zone.
        price: of one of its machines.
    """
    ended = job.ended is not None
    each = job.billable_seconds
    if each is None:
        begun = job.started
        each = 0 if begun is None else max(0, ceil(((job.ended or now) - begun).total_seconds()))
    seconds = each * job.instance_count
    saved = None
    if job.spot and ended and job.training_seconds and job.billable_seconds is not None:
        saved = max(0.0, 1 - job.billable_seconds / job.training_seconds)
    notes = [price.source, "what volumes, logs and requests cost is not counted"]
    if job.spot and not ended:
        notes.append("spot capacity costs less; how much less is known when the job has ended")
    kept = job.keep_alive * job.instance_count
    if kept:
        notes.append(f"machines kept for the next job cost up to {kept:,} seconds more")
    limit = max(each, _limit(job.max_runtime)) if not ended else each
    return TrainingCost(
        so_far=_for(seconds, price),
        at_most=_for(limit * job.instance_count + kept, price),
        saved=saved,
        seconds=seconds,
        assumptions=tuple(notes),
    )


def ceiling(
    price: HourlyPrice, *, instance_count: int = 1, max_runtime: int | None = None, keep_alive: int = 0
) -> Decimal | None:
    """What a job can cost at most, before it is started; None where the price is not known.

    Args:
        price: of one of its machines.
        instance_count: how many there are.
        max_runtime: seconds after which the service ends it.
        keep_alive: seconds that its machines are kept after its end.
    """
    return _for((_limit(max_runtime) + keep_alive) * instance_count, price)


def in_words(amount: Decimal | None) -> str:
    """An amount as people write it."""
    if amount is None:
        return "unknown"
    return "less than $0.01" if 0 < amount < Decimal("0.01") else f"${amount:,.2f}"


def _limit(max_runtime: int | None) -> int:
    return _LONGEST_RUNTIME if max_runtime is None else max_runtime


def _for(seconds: int, price: HourlyPrice) -> Decimal | None:
    return None if price.dollars is None else price.dollars * seconds / _HOUR


def _rounded(amount: Decimal | None) -> float | None:
    return None if amount is None else round(float(amount), 4)


def _dollars(given: str | Decimal) -> Decimal:
    try:
        found = Decimal(given)
    except ArithmeticError:
        found = Decimal("NaN")
    if not found.is_finite() or found < 0:
        raise SettingsError(f"an hour cannot cost {given!r}; give a price in US dollars, such as 0.7364")
    return found
