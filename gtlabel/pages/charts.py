"""Charts as inline SVG: shares over shares, drawn with the colors of the page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gtlabel.networks.measures import Bin, Threshold

_WIDTH, _HEIGHT = 440, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 12, 44
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
# The share of fewer answers jumps about and says nothing.
_FEWEST = 5
# A curve of more points looks the same and weighs more.
_MOST_POINTS = 200
_LARGEST_DOT, _SMALLEST_DOT = 8.0, 2.5

Point = tuple[float, float]


def calibration(bins: Sequence[Bin], confidence: str = "confidence", accuracy: str = "right") -> str:
    """How often answers of each confidence are right; on the diagonal, confidence tells the truth.

    Args:
        bins: the dots; the more answers, the larger.
        confidence: what the axis to the right is called.
        accuracy: what the axis upwards is called.
    """
    most = max((each.images for each in bins), default=1)
    drawn = [f'<path class="chart-ideal" d="{_path([(0.0, 0.0), (1.0, 1.0)])}"/>']
    for each in bins:
        low, high = each.interval
        ends = _path([(each.confidence, low), (each.confidence, high)])
        drawn.append(f'<path class="chart-whisker" d="{ends}"/>')
    points = [(each.confidence, each.accuracy) for each in bins]
    drawn.append(f'<path class="chart-line" d="{_path(points)}"/>')
    for each, (x, y) in zip(bins, map(_place, points), strict=True):
        radius = max(_SMALLEST_DOT, _LARGEST_DOT * math.sqrt(each.images / most))
        said = (
            f"{confidence} {each.confidence:.0%}, {accuracy} {each.accuracy:.0%} "
            f"({each.interval[0]:.0%} to {each.interval[1]:.0%}), {each.images:,} answers"
        )
        drawn.append(
            f'<circle class="chart-dot" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">'
            f"<title>{escape(said)}</title></circle>"
        )
    label = "Calibration: " + "; ".join(f"{x:.0%} sure, {y:.0%} {accuracy}" for x, y in points)
    return _chart(drawn, confidence, accuracy, label)


def thresholds(steps: Sequence[Threshold]) -> str:
    """How many pictures are answered at each threshold, and how many of those answers are right.

    Args:
        steps: at every confidence that occurs, the highest first.
    """
    enough = [step for step in steps if step.answered >= _FEWEST] or list(steps)
    rising = _thinned(enough[::-1])
    # Up to the least confidence that occurs, all are answered.
    first = rising[0]
    answered = [(0.0, first.coverage)]
    right = [(0.0, first.accuracy or 0.0)]
    band = [(0.0, first.interval or (0.0, 1.0))]
    for step in rising:
        # A step down at each confidence: above it, its answers are not given any more.
        answered += [(step.threshold, answered[-1][1]), (step.threshold, step.coverage)]
        right.append((step.threshold, step.accuracy or 0.0))
        band.append((step.threshold, step.interval or (0.0, 1.0)))
    outline = [(x, high) for x, (_, high) in band] + [(x, low) for x, (low, _) in reversed(band)]
    drawn = [
        f'<path class="chart-band" d="{_path(outline)}Z"/>',
        f'<path class="chart-line" d="{_path(right)}"/>',
        f'<path class="chart-other" d="{_path(answered)}"/>',
    ]
    label = "Thresholds: " + "; ".join(
        f"at {step.threshold:.2f}, {step.coverage:.0%} answered, {step.accuracy or 0:.0%} of them right"
        for step in _thinned(rising, 8)
    )
    return _chart(drawn, "threshold", "share", label)


def _thinned(steps: Sequence[Threshold], most: int = _MOST_POINTS) -> list[Threshold]:
    """At most so many of them, the first and the last among them."""
    if len(steps) <= most:
        return list(steps)
    return [steps[round(place * (len(steps) - 1) / (most - 1))] for place in range(most)]


def _place(point: Point) -> Point:
    x, y = point
    return (
        _LEFT + x * (_WIDTH - _LEFT - _RIGHT),
        _HEIGHT - _BOTTOM - y * (_HEIGHT - _TOP - _BOTTOM),
    )


def _path(points: Iterable[Point]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in map(_place, points))


def _chart(drawn: Sequence[str], across: str, upwards: str, label: str) -> str:
    grid = []
    for tick in _TICKS:
        (x, bottom), (left, y) = _place((tick, 0.0)), _place((0.0, tick))
        right = _place((1.0, tick))[0]
        grid.append(f'<path class="chart-grid" d="M{left:.1f} {y:.1f}H{right:.1f}"/>')
        grid.append(f'<text x="{left - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{tick:.0%}</text>')
        grid.append(f'<text x="{x:.1f}" y="{bottom + 18:.1f}" text-anchor="middle">{tick:.0%}</text>')
    middle, _ = _place((0.5, 0.0))
    _, height = _place((0.0, 0.5))
    names = (
        f'<text class="chart-name" x="{middle:.1f}" y="{_HEIGHT - 6}" '
        f'text-anchor="middle">{escape(across)}</text>'
        f'<text class="chart-name" transform="translate(12 {height:.1f}) rotate(-90)" '
        f'text-anchor="middle">{escape(upwards)}</text>'
    )
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">'
        + "".join((*grid, names, *drawn))
        + "</svg>"
    )
