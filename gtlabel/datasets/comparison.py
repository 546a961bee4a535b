"""What changed between two datasets, or two manifests: images, labels, and who is in which channel.

Images of datasets are compared by the address of their original, so that two datasets at different
addresses can be compared, and a class folder that moved is no change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from gtlabel.datasets.channels import ORIGINAL_REF
from gtlabel.datasets.places import Place
from gtlabel.datasets.survey import open_dataset
from gtlabel.manifests.diff import Change, ChangeKind, Difference, Side, diff
from gtlabel.manifests.lines import read_records
from gtlabel.manifests.records import ManifestRecord
from gtlabel.manifests.split import Channel

# GitHub cuts a comment off at 65,536 characters; this many rows of long addresses stay below.
MOST_ROWS = 100
_NONE = "none"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changed.

    Attributes:
        before: what the first is called.
        after: what the second is called.
        difference: images, labels and columns.
        moved: images that changed their channel, by both channels; only between two datasets.
    """

    before: str
    after: str
    difference: Difference
    moved: Mapping[tuple[Channel, Channel], int]

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(self.difference or self.moved)

    @property
    def summary(self) -> str:
        """All of it in one sentence."""
        if not self:
            return "nothing changed"
        counts = self.difference.counts
        told = [f"{counts[kind]:,} {_KINDS[kind]}" for kind in ChangeKind if counts.get(kind)]
        if self.moved:
            told.append(f"{sum(self.moved.values()):,} in another channel")
        columns = len(self.difference.columns_added) + len(self.difference.columns_removed)
        if columns:
            told.append(f"{columns} changed column{'s' if columns > 1 else ''}")
        return ", ".join(told)

    @property
    def moves(self) -> list[tuple[str, str, int]]:
        """How many images went from which class to which, the most first."""
        return sorted(
            ((was or _NONE, now or _NONE, count) for (was, now), count in self.difference.moves.items()),
            key=lambda move: (-move[2], move[0], move[1]),
        )

    @property
    def classes(self) -> list[tuple[str, int, int]]:
        """Each class with its images then and now."""
        then, now = self.difference.classes_before, self.difference.classes_after
        return [(name, then.get(name, 0), now.get(name, 0)) for name in sorted({*then, *now})]

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        difference = self.difference
        return {
            "before": self.before,
            "after": self.after,
            "changed": bool(self),
            "summary": self.summary,
            "unchanged": difference.unchanged,
            "counts": {kind.value: count for kind, count in difference.counts.items()},
            "moves": [{"from": was, "to": now, "images": count} for was, now, count in self.moves],
            "channels": [
                {"from": was, "to": now, "images": count} for (was, now), count in sorted(self.moved.items())
            ],
            "classes": [{"name": name, "before": was, "after": now} for name, was, now in self.classes],
            "columns_added": dict(difference.columns_added),
            "columns_removed": dict(difference.columns_removed),
            "changes": [
                {
                    "kind": change.kind.value,
                    "image": change.image,
                    "before": change.before,
                    "after": change.after,
                    "confidence_before": change.confidence_before,
                    "confidence_after": change.confidence_after,
                }
                for change in difference.changes
            ],
        }


_KINDS = {
    ChangeKind.ADDED: "added",
    ChangeKind.REMOVED: "removed",
    ChangeKind.RELABELED: "of another class",
    ChangeKind.LABELED: "newly labeled",
    ChangeKind.UNLABELED: "without a label now",
    ChangeKind.CONFIDENCE: "of another confidence",
}


def compare(before: Place, after: Place, *, attribute: str | None = None) -> Comparison:
    """Compare two datasets, or two manifests.

    Args:
        before: the first.
        after: the second.
        attribute: the attribute whose labels are compared in manifests; by default the only one, or the
            last one, that jobs wrote.

    Raises:
        DatasetError: if one is meant for a dataset and is none.
        ObjectNotFoundError: if a manifest is not there.
        ManifestLineError: at the first line that is not a record.
    """
    then, now = _Read(before, attribute), _Read(after, attribute)
    difference = diff(then.side(), now.side())
    moved = Counter(
        (then.channels[image], channel)
        for image, channel in now.channels.items()
        if then.channels.get(image, channel) != channel
    )
    return Comparison(str(before), str(after), difference, moved)


class _Read:
    """One of the two, and the channel of each image as far as it has been read."""

    def __init__(self, place: Place, attribute: str | None) -> None:
        self.channels: dict[str, Channel] = {}
        self._place = place
        self._attribute = attribute

    def side(self) -> Side:
        place = self._place
        if place.is_manifest:
            return Side(read_records(place.lines(), str(place)), self._attribute)
        dataset = open_dataset(place)
        files = [(channel, file.manifest.name) for channel, file in dataset.channels.items()]
        return Side(self._records(files), dataset.attribute, tuple(dataset.names))

    def _records(self, files: Sequence[tuple[Channel, str]]) -> Iterator[ManifestRecord]:
        for channel, name in files:
            manifest = self._place.at(name)
            for record in read_records(manifest.lines(), str(manifest)):
                image = record.get(ORIGINAL_REF, record.source_ref)
                self.channels[image] = channel
                yield record.having({"source-ref": image}) if image != record.source_ref else record


def markdown(comparison: Comparison, title: str | None = None, most: int = MOST_ROWS) -> str:
    """What changed, as a comment on a pull request.

    Args:
        comparison: what changed.
        title: what to call it; the name of the second by default.
        most: how many images to list.
    """
    heading = title or comparison.after
    parts = [f"### {_cell(heading)}", f"{comparison.summary.capitalize()}."]
    difference = comparison.difference
    if comparison.moves:
        parts.append(_table(("from", "to", "images"), comparison.moves))
    changed = [(name, was, now, f"{now - was:+,}") for name, was, now in comparison.classes if was != now]
    if changed:
        parts.append(_table(("class", "before", "after", "change"), changed))
    if comparison.moved:
        moved = [(was, now, count) for (was, now), count in sorted(comparison.moved.items())]
        parts.append(_table(("channel before", "channel after", "images"), moved))
    for what, columns in (("added", difference.columns_added), ("removed", difference.columns_removed)):
        if columns:
            told = ", ".join(f"{_cell(name)} ({count:,})" for name, count in columns.items())
            parts.append(f"Columns {what}: {told}")
    if difference.changes:
        rows = [_row(change) for change in difference.changes[:most]]
        left = len(difference.changes) - len(rows)
        table = _table(("change", "image", "before", "after"), rows)
        more = f"\n\nand {left:,} more" if left else ""
        parts.append(f"<details><summary>Images</summary>\n\n{table}{more}\n\n</details>")
    return "\n\n".join(parts)


def _row(change: Change) -> tuple[str, str, str, str]:
    before, after = change.before or "", change.after or ""
    if change.kind is ChangeKind.CONFIDENCE:
        before, after = f"{before} {change.confidence_before}", f"{after} {change.confidence_after}"
    return _KINDS[change.kind], change.image, before, after


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    ruler = ["---:" if isinstance(cell, int) else "---" for cell in (rows[0] if rows else columns)]
    lines = [columns, ruler, *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    """A value as text of a Markdown table, whatever it holds."""
    if isinstance(value, int):
        return f"{value:,}"
    text = " ".join(escape(str(value), quote=False).split())
    # Mentions and references would call people and issues; the rest would be markup.
    for character in "\\|`*_~[]#@":
        text = text.replace(character, f"&#{ord(character)};")
    return text
