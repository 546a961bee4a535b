"""How a plan is told in a terminal, and what its page is made of."""

from __future__ import annotations

import shlex
from decimal import Decimal
from typing import TYPE_CHECKING

from gtlabel.cli.output import put_table, say

if TYPE_CHECKING:
    from gtlabel.labeling.offers import Offer, Plan
    from gtlabel.labeling.planning import Span, Way
    from gtlabel.pages.plan import PlanPage
    from gtlabel.pages.planchart import PlannedWay


def put_plan(plan: Plan) -> None:
    """Print the ways as a table, the cheapest first, then which one to take and what it rests on."""
    best = plan.best
    paid = plan.terms.answer_costs > 0
    machine = any(offer.trial.way.automated for offer in plan.offers)
    numbers = (
        "right",
        "in 9 of 10 draws",
        "answers each",
        *(["by machine"] if machine else []),
        *(["answers cost"] if paid else []),
        "with AWS",
        "time",
    )
    rows = []
    for number, offer in enumerate(plan.offers, start=1):
        trial = offer.trial
        rows.append(
            (
                number,
                ">" if offer is best else "*" if offer.on_frontier else "",
                str(trial.way),
                f"{trial.accuracy.mean:.1%}",
                _shares(trial.accuracy),
                f"{trial.answers.mean:.2f}",
                *([f"{trial.by_machine.mean:.0%}" if trial.way.automated else "-"] if machine else []),
                *([_money(offer.dollars)] if paid else []),
                "-" if offer.by_aws is None else _money(offer.by_aws),
                _time(offer, plan),
            )
        )
    put_table(("#", "", "way", *numbers), rows, right=("#", *numbers))
    if best is None:
        say(f"no way has {plan.target:.1%} right labels in 19 of 20 draws; {verdict(plan)}")
        say("  try more --votes or a lower --target; clearer classes would help as well")
    else:
        say(f"> the cheapest way to {plan.target:.1%} right labels in 19 of 20 draws: {verdict(plan)}")
    if other := instead(plan):
        say(f"  {other}")
    for step in steps(plan):
        say(f"    {step}")
    say("* no other way is both cheaper and more accurate")
    if any(offer.by_aws is None for offer in plan.offers):
        say("- Ground Truth cannot ask in this way; gtlabel's own engine can (`gtlabel serve`)")
    for sentence in plan.assumptions():
        say(f"assuming {sentence}")


def verdict(plan: Plan) -> str:
    """What the cheapest way that is good enough is called, or how far the best of them gets."""
    if plan.best is not None:
        return str(plan.best.trial.way)
    top = plan.most_accurate.trial
    return f"the nearest is {top.way}, with {_shares(top.accuracy)}"


def instead(plan: Plan) -> str:
    """Which way to take with Ground Truth, where it cannot ask in the cheapest one; else empty."""
    if plan.best is None or plan.best.by_aws is not None:
        return ""
    by_aws = plan.best_by_aws
    if by_aws is None:
        return "none in which Ground Truth can ask gets there"
    return f"with Ground Truth, which cannot ask in that way: {by_aws.trial.way}"


def steps(plan: Plan) -> list[str]:
    """The commands that label in the cheapest way that is good enough; none where there is none."""
    if plan.best is None:
        return []
    way = plan.best.trial.way
    words = ["gtlabel", "label", "s3://BUCKET/IMAGES/", "--workers", str(way.votes)]
    if way.votes > 1:
        words += ["--consensus", way.method.replace("_", "-")]
    if way.adaptive:
        words += ["--redundancy", _rule(way, plan)]
    if way.automated:
        words += ["--automated", f"{plan.tries.precision:g}"]
    found = [shlex.join(words)]
    if way.by_aws and way.votes > 1 and way.method != "aws":
        found.append(f"gtlabel quality reconsolidate JOB --method {way.method}  # where AWS made the labels")
    return found


def page_of(plan: Plan) -> PlanPage:
    """What the page shows."""
    from gtlabel.pages.plan import PlanPage

    best = plan.best
    return PlanPage(
        images=plan.terms.images,
        people=plan.people,
        ways=[_planned(offer, plan, chosen=offer is best) for offer in plan.offers],
        target=plan.target,
        verdict=_capital(verdict(plan)),
        instead=_capital(instead(plan)),
        steps=steps(plan),
        dollars_per_answer=float(plan.terms.answer_costs * plan.terms.images),
        notes=[f"{_capital(sentence)}." for sentence in plan.assumptions()[1:]],
        numbers=plan.to_json(),
    )


def _planned(offer: Offer, plan: Plan, *, chosen: bool) -> PlannedWay:
    from gtlabel.pages.planchart import Around, PlannedWay

    trial = offer.trial
    way = trial.way

    def around(span: Span) -> Around:
        return Around(span.mean, span.low, span.high)

    return PlannedWay(
        name=str(way),
        kind=_kind(way),
        accuracy=around(trial.accuracy),
        answers=around(trial.answers),
        by_machine=trial.by_machine.mean if way.automated else None,
        dollars=around(offer.dollars),
        by_aws=None if offer.by_aws is None else around(offer.by_aws),
        time=_time(offer, plan),
        on_frontier=offer.on_frontier,
        chosen=chosen,
    )


def _kind(way: Way) -> str:
    if way.automated:
        return "machine"
    if way.adaptive:
        return "adaptive"
    return "auto" if way.method == "auto" else "other"


def _rule(way: Way, plan: Plan) -> str:
    budget = "" if way.budget is None else f" budget={round(way.budget * plan.terms.images)}"
    return f"first={min(2, way.votes)} error={plan.tries.error:g}{budget}"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _shares(span: Span) -> str:
    return f"{span.low:.1%} to {span.high:.1%}"


def _money(span: Span) -> str:
    low, high = f"${span.low:,.2f}", f"${span.high:,.2f}"
    mean = f"${span.mean:,.2f}"
    return mean if low == high else f"{mean} ({low} to {high})"


def _time(offer: Offer, plan: Plan) -> str:
    """Days of work, or hours or minutes where it is less than one of them."""
    low, high, unit = offer.days.low, offer.days.high, "days"
    for shorter, as_many in (("hours", Decimal(plan.terms.hours_per_day)), ("minutes", Decimal(60))):
        if high >= 1:
            break
        low, high, unit = low * as_many, high * as_many, shorter
    least, most = f"{low:,.1f}", f"{high:,.1f}"
    return f"{most} {unit}" if least == most else f"{least} to {most} {unit}"
