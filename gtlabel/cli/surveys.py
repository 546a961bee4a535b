"""How a look at a dataset, and what changed between two, are told in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gtlabel.cli.output import put, put_fields, put_table, say, visible

if TYPE_CHECKING:
    from gtlabel.datasets.comparison import Comparison
    from gtlabel.datasets.statistics import Histogram, LabelStatistics, PictureStatistics
    from gtlabel.datasets.survey import Survey

_WIDEST_BAR = 32
_DISPUTES = 10
_CHANGES = 50


def put_survey(found: Survey, suspicious: int) -> None:
    """Print what was found, with at most so many suspicious labels."""
    _put_labels(found.labels)
    if found.pictures is not None:
        _put_pictures(found.pictures)
    listed = found.suspicious[:suspicious]
    if listed:
        put("")
        rows = [
            (
                image.class_name,
                image.certainty,
                image.channel,
                image.original,
                image.reasons[0].sentence,
            )
            for image in listed
        ]
        put_table(("class", "confidence", "channel", "image", "this image"), rows, right=("confidence",))
    more = len(found.suspicious) - len(listed)
    if more:
        say(f"{more:,} more labels are suspicious; --suspicious lists more of them")
    if found.pictures is None:
        say("the pictures were not fetched; --pictures finds duplicates, leaks and odd sizes too")


def put_comparison(comparison: Comparison) -> None:
    """Print what changed."""
    difference = comparison.difference
    if comparison.moves:
        put_table(("from", "to", "images"), comparison.moves, right=("images",))
        put("")
    changed = [(name, was, now, f"{now - was:+}") for name, was, now in comparison.classes if was != now]
    if changed:
        columns = ("before", "after", "change")
        put_table(("class", *columns), changed, right=columns)
        put("")
    if comparison.moved:
        moved = [(was, now, count) for (was, now), count in sorted(comparison.moved.items())]
        put_table(("channel before", "channel after", "images"), moved, right=("images",))
        put("")
    listed = difference.changes[:_CHANGES]
    if listed:
        rows = [(change.kind, change.before or "", change.after or "", change.image) for change in listed]
        put_table(("change", "before", "after", "image"), rows)
        put("")
    for what, names in (("added", difference.columns_added), ("removed", difference.columns_removed)):
        for name, count in names.items():
            put(f"column {what}: {visible(name)} ({count} lines)")
    put(comparison.summary)
    if len(difference.changes) > len(listed):
        say(f"{len(listed)} of {len(difference.changes):,} changes are shown; --output json has all")


def _put_labels(labels: LabelStatistics) -> None:
    channels = tuple(labels.channels)
    rows = []
    for name, counts, size in labels.rows:
        middle = labels.of_class[name].quantile(0.5)
        rows.append((name, *counts, size, "" if middle is None else f"{middle:.2f}"))
    numbers = (*channels, "images", "median confidence")
    put_table(("class", *numbers), rows, right=numbers)
    put("")
    facts: dict[str, Any] = {
        "images": labels.images,
        "labeled by people": labels.by_human,
        "by machines": labels.images - labels.by_human,
        "jobs": len(labels.jobs),
        "labeled by several": labels.repeated_images,
    }
    if labels.agreement is not None:
        facts["they agree on"] = f"{labels.agreement:.1%}"
    if labels.confidence.one_answer:
        facts["single answers"] = labels.confidence.one_answer
    if labels.confidence.unknown:
        facts["without confidence"] = labels.confidence.unknown
    put_fields(facts)
    _put_histogram("confidence", labels.confidence.histogram)
    if labels.disputed:
        put("")
        disputed = [(kept, other, count) for (kept, other), count in labels.disputed.most_common(_DISPUTES)]
        put_table(("kept", "dropped", "images"), disputed, right=("images",))


def _put_pictures(pictures: PictureStatistics) -> None:
    put("")
    put_fields(
        {
            "pictures": pictures.looked_at,
            "unreadable": pictures.unreadable,
            "duplicates": pictures.duplicates,
            "in two classes": pictures.twins,
            "groups in two channels": pictures.leaks,
        }
    )
    for name, histogram in pictures.histograms.items():
        _put_histogram(name, histogram)


def _put_histogram(name: str, histogram: Histogram) -> None:
    if not histogram.total:
        return
    put("")
    most = max(histogram.counts)
    rows = [
        # One block at least, so that a rare bin is not taken for an empty one.
        (bin_name, count, "\u2588" * -(-count * _WIDEST_BAR // most))
        for bin_name, count in histogram.bars
    ]
    put_table((name, "images", ""), rows, right=("images",))
