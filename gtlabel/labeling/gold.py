"""Pictures whose class is known, mixed among those of a job so that nobody can tell them apart."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gtlabel.errors import SettingsError
from gtlabel.images.selection import Selection, is_list, select_images

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from gtlabel.images.listing import Usable
    from gtlabel.uris import S3Uri


def with_gold(s3: S3Client, usable: Usable, gold: S3Uri) -> Usable:
    """The pictures of a job, and evenly among them those that a manifest tells the classes of.

    Those that are in the job anyway stay where they are. Evenly, so that each has its share where the
    pictures become several jobs.

    Args:
        s3: the client.
        usable: the pictures of the job.
        gold: the manifest, whose name ends in `.manifest` or `.jsonl`.

    Raises:
        SettingsError: if it is not named like one.
        NoImagesError: if it names no picture that can be used.
        ManifestLineError: if a line of it names no picture.
    """
    if not is_list(gold):
        raise SettingsError(f"{gold} is no manifest of known pictures; name it .manifest or .jsonl")
    found = select_images(s3, gold, Selection(duplicates="keep"))
    there = {image.uri for image in usable.images}
    added = [image for image in found.images if image.uri not in there]
    if not added:
        return replace(usable, refused=(*usable.refused, *found.refused))
    # The place of each among all, as a share of the way; a known picture comes before another at its place.
    lined = [((place + 0.5) / len(added), 0, image) for place, image in enumerate(added)]
    lined += [((place + 0.5) / len(usable.images), 1, image) for place, image in enumerate(usable.images)]
    images = tuple(image for _, _, image in sorted(lined, key=lambda each: each[:2]))
    turned = (*usable.turned, *(uri for uri in found.turned if uri not in there))
    return replace(usable, images=images, refused=(*usable.refused, *found.refused), turned=turned)
