"""Images that an earlier run moved into a dataset: their copies are the only ones there are.

Whatever a later run does at the same address, each of them keeps its place, or nothing is written at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from gtlabel.datasets.channels import ORIGINAL_REF, Mode, has_moved
from gtlabel.datasets.folders import Placement
from gtlabel.errors import DatasetError, ObjectNotFoundError
from gtlabel.manifests.lines import read_records
from gtlabel.manifests.split import CHANNELS
from gtlabel.storage import StoredObject, list_objects, read_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from gtlabel.images.fingerprints import Fingerprint
    from gtlabel.images.groups import Looks

# The copy of each image, by the address that the image had.
Moved = Mapping[S3Uri, StoredObject]


def find_moved(s3: S3Client, into: S3Uri, mode: Mode) -> Moved:
    """The images that an earlier run moved into a dataset, finished or not; none where it copied.

    Raises:
        DatasetError: if there are some and this run is not to move: it would forget that theirs are the only
            copies.
    """
    if not has_moved(s3, into):
        return {}
    if mode != "move":
        raise DatasetError(
            f"an earlier run moved its images to {into}, where their only copies are; move again "
            "(--mode move), or consolidate into another place"
        )
    copies = {item.uri: item for item in list_objects(s3, into / "classes/")}
    moved = {}
    for channel in CHANNELS:
        manifest = into / f"{channel}.manifest"
        try:
            for record in read_records(read_lines(s3, manifest), manifest):
                original = record.get(ORIGINAL_REF)
                if original is not None and record.source_ref in copies:
                    moved[S3Uri(original)] = copies[record.source_ref]
        except ObjectNotFoundError:
            continue
    return moved


def refuse_to_lose(into: S3Uri, moved: Moved, placements: Mapping[S3Uri, Placement]) -> None:
    """Raise an error if a run would leave out the only copy of an image, or put another one in its place.

    Args:
        into: the dataset.
        moved: the images that are not where they were any more.
        placements: what goes where in this run.

    Raises:
        DatasetError: naming the first.
    """
    for image, copy in sorted(moved.items()):
        placement = placements.get(image)
        if placement is None or placement.target != copy.uri:
            raise DatasetError(
                f"{copy.uri} is the only copy of {image}, which an earlier run moved, and this run has "
                "another place for it or none: give all earlier jobs and the same options again, or "
                f"consolidate {into / 'train.manifest'} and the other channels into another place"
            )


def looking_at_copies(s3: S3Client, moved: Moved, look: Looks | None) -> Looks:
    """What reads images where they are now, and tells of them by the addresses they had."""

    def seen(images: Iterable[S3Uri]) -> Iterator[tuple[S3Uri, Fingerprint | str]]:
        from gtlabel.images.groups import fingerprints_of

        named = {moved[image].uri if image in moved else image: image for image in images}
        for place, found in look(named) if look else fingerprints_of(s3, named):
            yield named[place], found

    return seen
