"""Which images share a channel, by what their keys or their pixels say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gtlabel.datasets.certificate import NEAR_DUPLICATES
from gtlabel.datasets.channels import GROUP, ORIGINAL_REF
from gtlabel.datasets.copying import Progress
from gtlabel.datasets.plan import GroupOf
from gtlabel.errors import ObjectNotFoundError
from gtlabel.manifests.lines import read_records
from gtlabel.manifests.split import CHANNELS, KeyPattern
from gtlabel.storage import read_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from gtlabel.images.groups import Looks


def group_images(
    s3: S3Client,
    into: S3Uri,
    images: Sequence[str],
    groups: str | None,
    *,
    known: bool,
    look: Looks | None = None,
    on_progress: Progress | None = None,
) -> tuple[GroupOf, list[str]]:
    """The group of each image, and what is to be said about groups.

    Args:
        s3: the client.
        into: the dataset, in which an earlier run may have grouped.
        images: the images.
        groups: `near-duplicates`, a regular expression, or nothing.
        known: whether the earlier run grouped in the same way; an image then keeps its group.
        look: what reads images, if not this process; see `gtlabel.images.groups.find_groups`.
        on_progress: called with the number of images read and in all.
    """
    if groups is None:
        return str, []
    if groups != NEAR_DUPLICATES:
        return KeyPattern(groups), []
    from gtlabel.images.groups import find_groups

    earlier = _earlier_groups(s3, into) if known else {}
    found = find_groups(
        s3,
        map(S3Uri, images),
        earlier=earlier,
        look=look,
        on_progress=(lambda done: on_progress(done, len(images))) if on_progress else None,
    )
    told = [
        f"images like those of {bridge.group} turned out to be like those of {', '.join(bridge.others)}, "
        "which an earlier run kept apart; each stays in its channel, so they may be in several"
        for bridge in found.bridges
    ]
    told += [f"{refusal.uri} {refusal.reason}; it is a group by itself" for refusal in found.unread]
    # Plain texts: they are looked up by plain texts.
    named = {str(image): group for image, group in found.groups.items() if group != image}
    return (lambda image: named.get(image, image)), told


def _earlier_groups(s3: S3Client, into: S3Uri) -> dict[S3Uri, str]:
    """The groups that the lines of an earlier run tell, finished or not."""
    earlier: dict[S3Uri, str] = {}
    for channel in CHANNELS:
        manifest = into / f"{channel}.manifest"
        try:
            for record in read_records(read_lines(s3, manifest), manifest):
                image = S3Uri(record.get(ORIGINAL_REF, record.address))
                earlier[image] = record.get(GROUP, str(image))
        except ObjectNotFoundError:
            continue
    return earlier
