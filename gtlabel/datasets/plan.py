"""Which pictures a dataset has and which channel each is in, decided before anything is written."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, islice

from gtlabel.errors import DatasetError
from gtlabel.manifests.choose import capped
from gtlabel.manifests.split import CHANNELS, Channel, Shares, channel_codes, loans
from gtlabel.manifests.table import LabelTable

GroupOf = Callable[[str], str]


@dataclass(slots=True)
class Plan:
    """The pictures of a dataset, five bytes and one reference each.

    Attributes:
        images: their addresses, sorted.
        rows: where the table has the label of each.
        group_of: the group of each.
        shares: of the channels.
        lent: the groups that are not where their hash puts them.
        counts: how many pictures of each class every channel has.
        warnings: what a person should know before training with it.
    """

    images: Sequence[str]
    rows: array[int]
    group_of: GroupOf
    shares: Shares
    lent: Mapping[str, Channel] = field(default_factory=dict)
    counts: dict[Channel, Counter[str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    _channels: bytearray = field(default_factory=bytearray)

    def members(self, channel: Channel) -> Iterator[str]:
        """The pictures of a channel, sorted."""
        return compress(self.images, self._in(channel))

    def members_rows(self, channel: Channel) -> Iterator[int]:
        """Where the table has the labels of those pictures."""
        return compress(self.rows, self._in(channel))

    def batches(self, channel: Channel, size: int) -> Iterator[tuple[list[str], list[int]]]:
        """The pictures of a channel, sorted, so many at a time, and their rows."""
        members, rows = self.members(channel), self.members_rows(channel)
        while batch := list(islice(members, size)):
            yield batch, list(islice(rows, size))

    def _in(self, channel: Channel) -> bytearray:
        """For each picture, 1 if it is in a channel."""
        chosen = bytearray(256)
        chosen[CHANNELS.index(channel)] = 1
        return self._channels.translate(chosen)


def cap(table: LabelTable, images: Sequence[str], most: int | None) -> Sequence[str]:
    """The pictures that a cap for each class leaves, sorted; all of them without one."""
    if most is None:
        return images
    return sorted(capped(((image, table.class_of(image)) for image in images), most))


def make_plan(
    table: LabelTable,
    images: Sequence[str],
    group_of: GroupOf,
    shares: Shares,
    earlier: Mapping[str, Channel],
    rows: array[int] | None = None,
) -> Plan:
    """Give every picture its channel.

    Args:
        table: the labels, settled.
        images: the pictures, sorted.
        group_of: the group of each.
        shares: of the channels.
        earlier: the groups that an earlier run lent to a channel; they stay there.
        rows: where the table has the label of each picture, if that is known.

    Raises:
        DatasetError: if there are too few groups for the channels.
    """
    plan = Plan(images, table.rows_of(images) if rows is None else rows, group_of, shares)
    # Only what is in this dataset can stand in for anything.
    known = {group: channel for group, channel in earlier.items() if channel in shares.channels}
    kept = {group: known[group] for group in map(group_of, images) if group in known} if known else {}
    codes = {channel: CHANNELS.index(channel) for channel in CHANNELS}
    plan._channels = channel_codes(map(group_of, images), shares)
    if any(codes[channel] not in plan._channels for channel in shares.channels) or kept:
        kept = loans(map(group_of, images), shares, kept)
        for position, image in enumerate(images):
            lent = kept.get(group_of(image))
            if lent:
                plan._channels[position] = codes[lent]
    plan.lent = kept
    plan.counts = {channel: table.classes_of(plan.members_rows(channel)) for channel in shares.channels}
    plan.warnings.extend(_warnings(plan))
    return plan


def refuse_what_cannot_train(sizes: Mapping[str, int], missing: Sequence[str]) -> None:
    """Raise an error if no classifier can come of classes of these sizes.

    Raises:
        DatasetError: saying what is lacking.
    """
    if not sizes:
        raise DatasetError(
            f"none of the {len(missing)} labeled images is in S3 any more; the first was {missing[0]}"
        )
    if len(sizes) < 2:
        ((name, size),) = sizes.items()
        raise DatasetError(
            f"all {size} labeled images are {name!r}; a classifier needs images of at least two classes"
        )
    if max(sizes.values()) < 2:
        raise DatasetError(
            "no class has two labeled images, so none would be left to validate with; label more"
        )


def _warnings(plan: Plan) -> Iterator[str]:
    for channel in plan.shares.channels:
        lent = [group for group, where in sorted(plan.lent.items()) if where == channel]
        if lent:
            yield (
                f"{channel} would be empty, so {lent[0]} stands in for it"
                f"{f' and {len(lent) - 1} more' if len(lent) > 1 else ''}; label more images for a real one"
            )
    names = sorted(set().union(*plan.counts.values()))
    for channel in plan.shares.channels:
        without = [name for name in names if not plan.counts[channel][name]]
        if without:
            listed = ", ".join(repr(name) for name in without[:5])
            more = f" and {len(without) - 5} more" if len(without) > 5 else ""
            yield (
                f"no image of {listed}{more} is in {channel}: the class is small, and images never change "
                "their channel to fill another; label more of it"
            )
