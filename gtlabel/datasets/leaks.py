"""Leaks: pictures of one group in different channels, so that a model is tested with what it has seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gtlabel.datasets.channels import Dataset, Example, read_channel
from gtlabel.images.groups import find_groups
from gtlabel.images.listing import WORKERS, Refusal
from gtlabel.manifests.split import CHANNELS, Channel
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_NAMED = 3


@dataclass(frozen=True, slots=True)
class Leak:
    """A group that is in more than one channel.

    Attributes:
        group: its name.
        images: its pictures in each channel, by address; at least two channels.
        classes: the classes they were given; more than one is a reason to look at the labels, too.
    """

    group: str
    images: Mapping[Channel, tuple[S3Uri, ...]]
    classes: tuple[str, ...]

    def __str__(self) -> str:
        """A sentence that names the pictures, a few of each channel."""
        told = " and ".join(f"{_some(images)} in {channel}" for channel, images in self.images.items())
        labels = f"; they are labeled {', '.join(self.classes)}" if len(self.classes) > 1 else ""
        return f"nearly the same is {told}{labels}"


@dataclass(frozen=True, slots=True)
class LeakCheck:
    """What a look at all pictures of a dataset found.

    Attributes:
        leaks: by name of the group.
        images: how many pictures were compared.
        unread: pictures that could not be looked at, each with the reason.
    """

    leaks: tuple[Leak, ...]
    images: int
    unread: tuple[Refusal, ...]


def leaks(examples: Iterable[Example], groups: Mapping[S3Uri, str]) -> list[Leak]:
    """The groups that are in more than one channel, by name.

    Args:
        examples: the lines of all channels, in any order.
        groups: the group of each picture, by the address in its line or by that of its original; a
            picture of no group cannot leak.
    """
    members: dict[str, dict[Channel, list[tuple[S3Uri, str]]]] = {}
    for example in examples:
        group = groups.get(example.image) or groups.get(example.original)
        if group is not None:
            of_channel = members.setdefault(group, {}).setdefault(example.channel, [])
            of_channel.append((example.image, example.class_name))
    return [
        Leak(
            group,
            {c: tuple(sorted(image for image, _ in channels[c])) for c in CHANNELS if c in channels},
            tuple(sorted({class_name for found in channels.values() for _, class_name in found})),
        )
        for group, channels in sorted(members.items())
        if len(channels) > 1
    ]


def find_leaks(
    s3: S3Client,
    dataset: Dataset,
    *,
    workers: int = WORKERS,
    on_progress: Callable[[int], None] | None = None,
) -> LeakCheck:
    """Look at every picture of a dataset, whatever it was split by, and find near-duplicates that leak.

    Each picture is read whole, once.

    Args:
        s3: the client; it is used from all threads.
        dataset: whose channels to compare.
        workers: how many pictures are read at once.
        on_progress: called with the number of pictures read so far.

    Raises:
        MissingExtraError: if Pillow and numpy are not installed.
        ManifestLineError: at a line of a channel that is not a record.
    """
    examples = [item for channel in dataset.channels for item in read_channel(s3, dataset, channel)]
    images = {example.image for example in examples}
    found = find_groups(s3, images, workers=workers, on_progress=on_progress)
    return LeakCheck(tuple(leaks(examples, found.groups)), len(images), found.unread)


def _some(images: tuple[S3Uri, ...]) -> str:
    named = ", ".join(images[:_NAMED])
    return named if len(images) <= _NAMED else f"{named} and {len(images) - _NAMED} more"
