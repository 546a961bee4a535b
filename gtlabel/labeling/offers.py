"""What ways to label cost, how long they take, and which one is worth its price.

Ways are tried out in gtlabel.labeling.planning; an offer is one of them with its price. `gtlabel estimate`
(gtlabel.labeling.cost) needs no tries, and says nothing of how good labels are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gtlabel.labeling.cost import Prices, Range, price_of_answer
from gtlabel.labeling.pace import Pace, pace_of
from gtlabel.labeling.planning import Span, Trial
from gtlabel.labeling.tasks import TeamKind
from gtlabel.labeling.throughput import Response

if TYPE_CHECKING:
    from gtlabel.labeling.answered import Answered

_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Terms:
    """What labeling costs where it is done.

    Attributes:
        images: how many pictures there are.
        pace: how fast people are.
        people: how many work at the same time.
        hours_per_day: how long each of them works on a day.
        team: who works.
        price_per_answer: what an answer costs; None for what the table of prices says.
        already: how many pictures the account has had labeled this month.
        prices: the table of prices; None for the shipped one.
    """

    images: int
    pace: Pace
    people: int
    hours_per_day: float = 6.0
    team: TeamKind = TeamKind.PRIVATE
    price_per_answer: Decimal | None = None
    already: int = 0
    prices: Prices | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """A way with its price.

    Attributes:
        trial: the way, and what came of it.
        dollars: what people's answers cost.
        by_aws: that and Ground Truth's fee; None where Ground Truth cannot ask in this way.
        days: how long people work.
        on_frontier: whether no other way is both cheaper and more accurate.
    """

    trial: Trial
    dollars: Range
    by_aws: Range | None
    days: Range
    on_frontier: bool = False

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values; money is rounded to cents, days to hundredths."""
        way = self.trial.way
        return {
            "way": str(way),
            "votes": way.votes,
            "method": way.method,
            "adaptive": way.adaptive,
            "budget": way.budget,
            "automated": way.automated,
            "accuracy": _span(self.trial.accuracy),
            "answers_per_image": _span(self.trial.answers),
            "by_machine": _span(self.trial.by_machine),
            "dollars": _range(self.dollars),
            "dollars_by_aws": None if self.by_aws is None else _range(self.by_aws),
            "days": _range(self.days),
            "on_frontier": self.on_frontier,
        }


def priced(trials: Iterable[Trial], terms: Terms) -> list[Offer]:
    """What each way costs and how long it takes; the cheapest first.

    Raises:
        SettingsError: if an answer of the team has no price.
    """
    table = terms.prices or Prices.load()
    each = price_of_answer(terms.team, terms.price_per_answer, table)
    fee = table.fees(terms.images, already=terms.already)
    slow, fast = (Decimal(rate * terms.people * terms.hours_per_day) for rate in terms.pace.answers_per_hour)
    offers = []
    for trial in trials:
        low, high = (Decimal(terms.images * value) for value in (trial.answers.low, trial.answers.high))
        dollars = Range(low * each, high * each)
        by_aws = dollars + Range(fee, fee) if trial.way.by_aws else None
        offers.append(Offer(trial, dollars, by_aws, Range(low / fast, high / slow)))
    offers.sort(key=lambda offer: (*_cost(offer), -offer.trial.accuracy.mean))
    return list(_with_frontier(offers))


def cheapest(offers: Sequence[Offer], accuracy: float) -> Offer | None:
    """The cheapest way that reaches an accuracy in nineteen of twenty draws; None if none does."""
    good = (offer for offer in offers if offer.trial.accuracy.low >= accuracy)
    return min(good, key=_cost, default=None)


def pace_in(answered: Answered) -> Pace | None:
    """How fast the people of old jobs were; None where their answers do not tell how long they took."""
    from datetime import UTC, datetime

    start = datetime.fromtimestamp(0, UTC)
    names = ", ".join(folder.name for folder in answered.folders)
    timed = [
        Response("", str(number), answered.workers[worker], "", "", start, seconds)
        for number, (worker, seconds) in enumerate(
            zip(answered.by.tolist(), answered.seconds.tolist(), strict=True)
        )
        if seconds > 0
    ]
    return pace_of(timed, f"measured in {names}") if timed else None


def _cost(offer: Offer) -> tuple[Decimal, float]:
    """What a way costs; where answers cost nothing, people's time is what is paid."""
    return offer.dollars.high, offer.trial.answers.mean


def _with_frontier(offers: Sequence[Offer]) -> Iterator[Offer]:
    best = 0.0
    for offer in offers:
        leads = offer.trial.accuracy.mean > best
        best = max(best, offer.trial.accuracy.mean)
        yield replace(offer, on_frontier=leads)


def _span(span: Span) -> dict[str, float]:
    return {"mean": round(span.mean, 4), "low": round(span.low, 4), "high": round(span.high, 4)}


def _range(span: Range) -> dict[str, float]:
    return {"low": float(span.low.quantize(_CENT)), "high": float(span.high.quantize(_CENT))}
