"""Pictures whose class is known, mixed among those of a job so that nobody can tell them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from gtlabel import storage
from gtlabel.errors import GoldError, SettingsError
from gtlabel.images.selection import Selection, is_list, select_images
from gtlabel.manifests.gold import read_gold

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


def check_gold(
    s3: S3Client,
    gold: S3Uri,
    usable: Usable,
    *,
    classes: Sequence[str],
    attribute: str,
    several: bool,
    images_per_job: int,
) -> None:
    """Refuse known pictures by which a job could not measure people, before anybody is asked.

    Args:
        s3: the client.
        gold: the manifest.
        usable: the pictures of the jobs, the known ones among them.
        classes: of the jobs.
        attribute: of the jobs.
        several: whether a picture may have several classes.
        images_per_job: how many pictures each job gets, in their order.

    Raises:
        GoldError: if a line tells no class, or one that the jobs do not have, or contradicts another; or if
            a job has no known picture.
        ManifestLineError: if a line is no record of a picture.
    """
    known = read_gold(storage.read_lines(s3, gold), str(gold), classes, attribute, several=several)
    for first in range(0, len(usable.images), images_per_job):
        if not any(str(image.uri) in known for image in usable.images[first : first + images_per_job]):
            job, jobs = first // images_per_job + 1, -(-len(usable.images) // images_per_job)
            raise GoldError(
                f"none of the {len(known)} pictures in {gold} comes to job {job} of {jobs}, which could not "
                "measure people by any; name more of them, or leave --gold out"
            )
