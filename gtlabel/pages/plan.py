"""The page of a plan: what ways to label would cost, and how right their labels would be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gtlabel.pages.page import embedded, policy, rendered, style, write_whole
from gtlabel.pages.planchart import KINDS, PlannedWay, chart, legend_mark, standalone


@dataclass(frozen=True, slots=True)
class PlanPage:
    """What the page shows.

    Attributes:
        images: how many pictures are planned for.
        people: who is asked, as the end of a sentence.
        ways: what was tried, the cheapest first.
        target: the share of labels that should be right.
        verdict: what the cheapest way that is good enough is called, or that there is none, as a sentence.
        instead: which way to take where that one cannot be had, as a sentence; may be empty.
        steps: the command that labels in that way; empty where there is none.
        dollars_per_answer: what one answer about each picture costs, added up.
        notes: what all that rests on, as sentences.
        numbers: the figures as plain JSON values.
    """

    images: int
    people: str
    ways: Sequence[PlannedWay]
    target: float
    verdict: str
    instead: str
    steps: Sequence[str]
    dollars_per_answer: float
    notes: Sequence[str]
    numbers: Mapping[str, Any]


def render_plan(page: PlanPage) -> str:
    """The page.

    Raises:
        MissingExtraError: if jinja2 or Pillow is not installed.
    """
    sheet = style("gtlabel", "plan.css")
    kinds = {way.kind for way in page.ways}
    values = {
        "page": page,
        "chart": chart(page.ways, page.target, page.dollars_per_answer),
        "legend": [(legend_mark(kind), said) for kind, said in KINDS.items() if kind in kinds],
        "chosen": next((way for way in page.ways if way.chosen), None),
        "machine": any(way.by_machine is not None for way in page.ways),
        "money": _money,
        "numbers": embedded(page.numbers),
        "style": sheet,
        "policy": policy(sheet),
    }
    return rendered("plan.html", values)


def write_plan(page: PlanPage, path: Path) -> Path:
    """Write the page to a file, or the chart alone where its name ends in .svg; whole or not at all.

    Raises:
        MissingExtraError: if jinja2 or Pillow is not installed, and it is a page.
    """
    if path.suffix.lower() == ".svg":
        return write_whole(path, [standalone(page.ways, page.target, page.dollars_per_answer), "\n"])
    return write_whole(path, [render_plan(page)])


def _money(amount: float) -> str:
    """Dollars, with cents where there are few."""
    return f"${amount:,.2f}" if amount < 10 else f"${amount:,.0f}"
