"""The chart of a plan: how right labels are expected to be, over how many answers are bought."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from types import MappingProxyType

from gtlabel.pages.page import style

_WIDTH, _HEIGHT = 440, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 24, 14, 62
_LEGEND_LINE = 20
# Dots with as many answers stand beside each other, so far apart.
_APART = 9.0
_DOT, _RING = 4.5, 9.0
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2)
_MOST_STEPS = 6

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "auto": "as many people for each picture",
        "other": "the same, by other methods",
        "adaptive": "more people only where there is doubt",
        "machine": "with a machine",
    }
)


@dataclass(frozen=True, slots=True)
class Around:
    """A mean and the interval around it."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PlannedWay:
    """One way to label.

    Attributes:
        name: what it is.
        kind: one of `KINDS`.
        accuracy: the share of labels that is right.
        answers: how many answers there are for each picture.
        by_machine: the share of pictures that a machine labels; None where none is asked.
        dollars: what answers cost.
        by_aws: that and Ground Truth's fee; None where Ground Truth cannot do it.
        time: how long people work, with its unit.
        on_frontier: whether no other way is both cheaper and more accurate.
        chosen: whether it is the cheapest that is right often enough.
    """

    name: str
    kind: str
    accuracy: Around
    answers: Around
    by_machine: float | None
    dollars: Around
    by_aws: Around | None
    time: str
    on_frontier: bool
    chosen: bool


def chart(ways: Sequence[PlannedWay], target: float, dollars_per_answer: float = 0.0) -> str:
    """The ways as dots with their intervals, those on the frontier joined and numbered as they stand.

    Args:
        ways: what was tried, the cheapest first.
        target: the share of labels that should be right.
        dollars_per_answer: what one answer about each of the pictures costs; 0 for nothing that is counted.
    """
    return _svg(_Scale(ways, target).drawn(ways, target, dollars_per_answer), ways, _HEIGHT)


def standalone(ways: Sequence[PlannedWay], target: float, dollars_per_answer: float = 0.0) -> str:
    """The same chart as a file of its own, with a legend, in light and in dark."""
    sheet = style("gtlabel", "plan.css")
    colors = sheet[: sheet.index("* {")]
    rules = [line for line in sheet.splitlines() if line.startswith((".chart-", ".chart ", ".plan-"))]
    rules.remove(next(rule for rule in rules if rule.startswith(".chart {")))
    font = 'text { font: 12px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }'
    height = _HEIGHT + _LEGEND_LINE * len(KINDS) + 10
    drawn = [
        f"<style>{colors}{font}{''.join(rules)}</style>",
        f'<rect class="plan-paper" width="{_WIDTH}" height="{height}"/>',
        *_Scale(ways, target).drawn(ways, target, dollars_per_answer),
    ]
    for place, (kind, said) in enumerate(KINDS.items()):
        x, y = _LEFT, _HEIGHT + 16 + _LEGEND_LINE * place
        drawn += [_mark(kind, x, y), f'<text x="{x + 12}" y="{y + 4}">{escape(said)}</text>']
    # What shows the file in a page gives it a size; a browser that opens it alone takes this one.
    size = f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * _WIDTH}" height="{2 * height}" '
    return _svg(drawn, ways, height).replace("<svg ", size, 1)


def legend_mark(kind: str) -> str:
    """The mark of a kind of ways, as a small picture."""
    return f'<svg class="plan-key" viewBox="-7 -7 14 14" aria-hidden="true">{_mark(kind, 0, 0)}</svg>'


class _Scale:
    """Where shares and numbers of answers lie in the picture."""

    def __init__(self, ways: Sequence[PlannedWay], target: float) -> None:
        least = min(min(way.accuracy.low for way in ways), target)
        self.step = next((step for step in _STEPS if (1 - least) / step <= _MOST_STEPS), _STEPS[-1])
        self.low = max(0.0, math.floor(least / self.step + 1e-9) * self.step)
        self.most = math.ceil(max(way.answers.high for way in ways) + 0.2)

    def x(self, answers: float) -> float:
        return _LEFT + answers / self.most * (_WIDTH - _LEFT - _RIGHT)

    def y(self, share: float) -> float:
        return _TOP + (1 - share) / (1 - self.low) * (_HEIGHT - _TOP - _BOTTOM)

    def drawn(self, ways: Sequence[PlannedWay], target: float, dollars: float) -> list[str]:
        places = self._places(ways)
        frontier = [place for place, way in zip(places, ways, strict=True) if way.on_frontier]
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in frontier)
        height = self.y(target)
        return [
            *self._axes(dollars),
            f'<path class="plan-target" d="M{_LEFT} {height:.1f}H{_WIDTH - _RIGHT}"/>',
            f'<text class="plan-goal" x="{_LEFT + 6}" y="{height - 5:.1f}">target {_percent(target)}</text>',
            f'<path class="plan-frontier" d="M{line}"/>',
            *(
                self._dot(number, way, place)
                for number, (way, place) in enumerate(zip(ways, places, strict=True), 1)
            ),
        ]

    def _places(self, ways: Sequence[PlannedWay]) -> list[tuple[float, float]]:
        """Where the dots stand; those with as many answers beside each other."""
        together: dict[int, list[int]] = {}
        for number, way in enumerate(ways):
            together.setdefault(round(self.x(way.answers.mean) / _APART), []).append(number)
        found = [(0.0, 0.0)] * len(ways)
        for numbers in together.values():
            for place, number in enumerate(sorted(numbers, key=lambda each: ways[each].accuracy.mean)):
                aside = (place - (len(numbers) - 1) / 2) * _APART
                found[number] = self.x(ways[number].answers.mean) + aside, self.y(ways[number].accuracy.mean)
        return found

    def _dot(self, number: int, way: PlannedWay, place: tuple[float, float]) -> str:
        x, y = place
        low, high = self.y(way.accuracy.low), self.y(way.accuracy.high)
        said = (
            f"{way.name}: {_percent(way.accuracy.mean)} right ({_percent(way.accuracy.low)} to "
            f"{_percent(way.accuracy.high)}), {way.answers.mean:.2f} answers a picture"
        )
        below = max(low, y + (_RING if way.chosen else _DOT))
        ring = f'<circle class="plan-chosen" cx="{x:.1f}" cy="{y:.1f}" r="{_RING}"/>' if way.chosen else ""
        named = (
            f'<text class="plan-number" x="{x:.1f}" y="{below + 13:.1f}" text-anchor="middle">{number}</text>'
            if way.on_frontier or way.chosen
            else ""
        )
        return (
            f'<g><title>{escape(said)}</title><path class="chart-whisker" d="M{x:.1f} {low:.1f}V{high:.1f}"/>'
            f"{ring}{_mark(way.kind, x, y)}{named}</g>"
        )

    def _axes(self, dollars: float) -> list[str]:
        found = []
        bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        for place in range(round((1 - self.low) / self.step) + 1):
            share = self.low + place * self.step
            y = self.y(share)
            found.append(f'<path class="chart-grid" d="M{_LEFT} {y:.1f}H{right}"/>')
            found.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{share:.0%}</text>')
        every = math.ceil(self.most / 6)
        for answers in range(0, self.most + 1, every):
            x = self.x(answers)
            found.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{answers}</text>')
            if dollars:
                found.append(
                    f'<text class="plan-dollars" x="{x:.1f}" y="{bottom + 32}" text-anchor="middle">'
                    f"${answers * dollars:,.0f}</text>"
                )
        middle = (_LEFT + right) / 2
        named = "answers for each picture" + (", and what they cost" if dollars else "")
        found.append(
            f'<text class="chart-name" x="{middle:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{named}</text>'
        )
        found.append(
            f'<text class="chart-name" transform="translate(12 {(_TOP + bottom) / 2:.1f}) rotate(-90)" '
            'text-anchor="middle">right labels</text>'
        )
        return found


def _mark(kind: str, x: float, y: float) -> str:
    name = f'class="plan-{kind}"'
    if kind == "adaptive":
        side = _DOT * 1.3
        return f'<path {name} d="M{x:.1f} {y - side:.1f}l{side} {side}l-{side} {side}l-{side} -{side}Z"/>'
    if kind == "machine":
        return f'<rect {name} x="{x - _DOT:.1f}" y="{y - _DOT:.1f}" width="{2 * _DOT}" height="{2 * _DOT}"/>'
    return f'<circle {name} cx="{x:.1f}" cy="{y:.1f}" r="{_DOT}"/>'


def _svg(drawn: Sequence[str], ways: Sequence[PlannedWay], height: int) -> str:
    label = "Plan: " + "; ".join(
        f"{way.name}, {way.answers.mean:.1f} answers a picture, {_percent(way.accuracy.mean)} right"
        for way in ways
    )
    return (
        f'<svg class="chart plan" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(label)}">'
        + "".join(drawn)
        + "</svg>"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
