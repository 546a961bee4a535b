"""Files of formats and channels that an earlier run wrote and this one would not write again."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from gtlabel.datasets.formats import FORMATS, files_of
from gtlabel.errors import DatasetError
from gtlabel.manifests.split import CHANNELS, Channel
from gtlabel.storage import exists, list_objects
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


def refuse_leftovers(
    s3: S3Client, into: S3Uri, formats: Collection[str], channels: Collection[Channel]
) -> None:
    """Raise an error if a file lies there that would go on telling what held when it was written.

    No certificate would name it any more, and whoever trains with it would not know. It is not deleted here:
    who may write a dataset may not always delete, and somebody may be reading it.

    Args:
        s3: the client.
        into: the dataset.
        formats: those that are to be written.
        channels: those that are to be written.

    Raises:
        DatasetError: naming the first.
    """
    for name in _lying(s3, into, channels if "imagefolder" in formats else ()):
        if name in files_of(FORMATS, CHANNELS) and name not in files_of({*formats, "augmented"}, channels):
            raise DatasetError(
                f"{into / name} is of an earlier run, and this one would leave it as it is, telling what "
                "held then: ask for the same formats and channels again, or delete it first"
            )


def _lying(s3: S3Client, into: S3Uri, branches: Collection[Channel]) -> Iterator[str]:
    """The names that may be of formats, found with few requests, however many pictures there are."""
    for channel in CHANNELS:
        for item in list_objects(s3, into / f"{channel}."):
            yield item.uri.removeprefix(into)
    if exists(s3, into / "croissant.json"):
        yield "croissant.json"
    for channel in CHANNELS:
        # A run that broke off may have brought pictures only.
        folder = into / f"imagefolder/{channel}/"
        if channel not in branches and next(list_objects(s3, folder), None):
            yield f"imagefolder/{channel}/metadata.jsonl"
