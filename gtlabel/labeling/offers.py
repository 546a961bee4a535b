"""What ways to label cost, how long they take, and which one is worth its price.

Ways are tried out in gtlabel.labeling.planning; an offer is one of them with its price. `gtlabel estimate`
(gtlabel.labeling.cost) needs no tries, and says nothing of how good labels are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gtlabel.labeling.cost import Prices, Range, price_of_answer
from gtlabel.labeling.pace import Pace, pace_of
from gtlabel.labeling.planning import MOST_BY_MACHINE, MOST_DRAWN, Span, Trial, Tries, Way, try_out
from gtlabel.labeling.tasks import TeamKind
from gtlabel.labeling.throughput import Response

if TYPE_CHECKING:
    from gtlabel.crowd.population import Population
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

    @property
    def table(self) -> Prices:
        """The table of prices."""
        return self.prices or Prices.load()

    @property
    def answer_costs(self) -> Decimal:
        """What an answer costs.

        Raises:
            SettingsError: if nobody says.
        """
        return price_of_answer(self.team, self.price_per_answer, self.table)


@dataclass(frozen=True, slots=True)
class Offer:
    """A way with its price.

    Attributes:
        trial: the way, and what came of it.
        dollars: what people's answers cost, on average and in nine of ten draws.
        by_aws: that and Ground Truth's fee; None where Ground Truth cannot ask in this way.
        days: how long people work.
        on_frontier: whether no other way is both cheaper and more accurate.
    """

    trial: Trial
    dollars: Span
    by_aws: Span | None
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
            "dollars": _span(self.dollars, 2),
            "dollars_by_aws": None if self.by_aws is None else _span(self.by_aws, 2),
            "days": _range(self.days),
            "on_frontier": self.on_frontier,
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """What could be bought, and what that rests on.

    Attributes:
        people: who is asked, as the end of a sentence.
        classes: how many classes there are.
        terms: what labeling costs.
        tries: how ways were tried out.
        target: the share of labels that should be right.
        offers: the ways with their prices, the cheapest first.
    """

    people: str
    classes: int
    terms: Terms
    tries: Tries
    target: float
    offers: tuple[Offer, ...]

    @property
    def best(self) -> Offer | None:
        """The cheapest way that reaches the target in nineteen of twenty draws; None if none does."""
        return cheapest(self.offers, self.target)

    @property
    def best_by_aws(self) -> Offer | None:
        """The cheapest of those in which Ground Truth can ask; None if none reaches the target."""
        return cheapest([offer for offer in self.offers if offer.by_aws is not None], self.target)

    @property
    def most_accurate(self) -> Offer:
        """The way that is right most often, also where it is unlucky; of equal ones the cheapest."""
        return max(self.offers, key=lambda offer: offer.trial.accuracy.low)

    def assumptions(self) -> list[str]:
        """What it rests on, in sentences."""
        terms, tries = self.terms, self.tries
        ways = [offer.trial.way for offer in self.offers]
        drawn = min(terms.images, MOST_DRAWN)
        low, high = terms.pace.answers_per_hour
        rate = f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"
        found = [
            f"people are {self.people}",
            f"all ways were tried on the same {tries.runs} draws of people, {drawn:,} pictures and answers"
            + ("; figures about more pictures vary less" if drawn < terms.images else ""),
        ]
        if any(way.adaptive for way in ways):
            found.append(
                f"more people are asked until {tries.error:.1%} of the labels are expected to be wrong, or "
                "the budget is spent; waiting for each other is not counted"
            )
        if any(way.automated for way in ways):
            most = min(terms.images, MOST_BY_MACHINE)
            found.append(
                f"a machine that has seen all of {most:,} pictures is right about {tries.model_accuracy:.0%} "
                f"of them, and labels those of which {tries.precision:.1%} agree with people; what "
                "people find hard is no harder for it"
            )
            found.append("Ground Truth's own automated labeling, from 1,250 pictures on, is not tried")
        found.append(f"a person gives {rate} answers an hour: {terms.pace.source}")
        found.append(f"{terms.people} people work at the same time, {terms.hours_per_day:g} hours a day")
        if not terms.answer_costs:
            found.append("what people earn is not counted; give a price per answer to count it")
        table = terms.table
        found.append(
            f"Ground Truth's fee is as of {table.as_of}, from {table.source}; gtlabel's own engine has none"
        )
        return found

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        best, by_aws = self.best, self.best_by_aws
        return {
            "images": self.terms.images,
            "classes": self.classes,
            "target": self.target,
            "best": None if best is None else str(best.trial.way),
            "best_by_aws": None if by_aws is None else str(by_aws.trial.way),
            "offers": [offer.to_json() for offer in self.offers],
            "tries": asdict(self.tries),
            "assumptions": self.assumptions(),
        }


def make_plan(
    population: Population,
    terms: Terms,
    tried: Sequence[Way],
    *,
    target: float = 0.95,
    tries: Tries | None = None,
    on_progress: Callable[[int, int], object] = lambda _done, _total: None,
) -> Plan:
    """Try ways out, and say what they would cost; nothing is asked of AWS.

    Args:
        population: who is asked, about what.
        terms: what labeling costs.
        tried: the ways.
        target: the share of labels that should be right.
        tries: how they are tried; None for the usual.
        on_progress: told how many draws are done, of how many.

    Raises:
        SettingsError: if the people are too few, or an answer of the team has no price.
        LearningError: if the machine is no better than chance.
    """
    tries = tries or Tries()
    # A price that is missing is said before anything is tried.
    _ = terms.answer_costs
    trials = try_out(population, terms.images, tried, tries, on_progress)
    offers = tuple(priced(trials, terms))
    return Plan(population.source, len(population.prior), terms, tries, target, offers)


def priced(trials: Iterable[Trial], terms: Terms) -> list[Offer]:
    """What each way costs and how long it takes; the cheapest first.

    Raises:
        SettingsError: if an answer of the team has no price.
    """
    each = terms.answer_costs
    fee = terms.table.fees(terms.images, already=terms.already)
    slow, fast = (Decimal(rate * terms.people * terms.hours_per_day) for rate in terms.pace.answers_per_hour)
    offers = []
    for trial in trials:
        dollars = _scaled(trial.answers, float(each) * terms.images)
        by_aws = _scaled(trial.answers, float(each) * terms.images, float(fee)) if trial.way.by_aws else None
        low, high = (Decimal(terms.images * value) for value in (trial.answers.low, trial.answers.high))
        offers.append(Offer(trial, dollars, by_aws, Range(low / fast, high / slow)))
    offers.sort(
        key=lambda offer: (
            offer.trial.answers.mean,
            -offer.trial.accuracy.mean,
            # What a machine that labels nothing costs is not worth it.
            offer.trial.way.automated,
        )
    )
    return list(_with_frontier(offers))


def cheapest(offers: Sequence[Offer], accuracy: float) -> Offer | None:
    """The cheapest way that reaches an accuracy in nineteen of twenty draws; None if none does."""
    good = (offer for offer in offers if offer.trial.accuracy.low >= accuracy)
    # Answers are all that differs in price, also where people's time is all they cost.
    return min(good, key=lambda offer: offer.trial.answers.mean, default=None)


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


def _scaled(span: Span, factor: float, more: float = 0.0) -> Span:
    return Span(span.mean * factor + more, span.low * factor + more, span.high * factor + more)


def _with_frontier(offers: Sequence[Offer]) -> Iterator[Offer]:
    best = 0.0
    for offer in offers:
        leads = offer.trial.accuracy.mean > best
        best = max(best, offer.trial.accuracy.mean)
        yield replace(offer, on_frontier=leads)


def _span(span: Span, digits: int = 4) -> dict[str, float]:
    return {name: round(value, digits) for name, value in asdict(span).items()}


def _range(span: Range) -> dict[str, float]:
    return {"low": float(span.low.quantize(_CENT)), "high": float(span.high.quantize(_CENT))}
