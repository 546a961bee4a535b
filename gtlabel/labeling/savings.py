"""What a job tells of answers that it did not need, since it asked for them where they helped.

Our own engine leaves it beside a job's other files (`gtlabel.engine.adaptive`); AWS asks as many people about
each picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gtlabel.labeling.promised import read_told

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from gtlabel.labeling.jobs import LabelingJob

_FILE = "gtlabel/redundancy.json"


def read_redundancy(s3: S3Client, job: LabelingJob) -> dict[str, Any] | None:
    """What a job tells of the answers it saved; None where it asked as many people about each picture.

    Raises:
        ManifestError: if the file is not what the engine writes.
    """
    return read_told(s3, job, _FILE)


def saved(told: Mapping[str, Any]) -> str:
    """The same for people, as a sentence without its end."""
    # Nobody was asked about anything: all that was sent out came to nothing, or the job was stopped before.
    if not told["fixed"]:
        return "no picture was sent to anybody"
    sentence = (
        f"{told['answers']:,} answers about {told['images']:,} pictures in place of {told['fixed']:,}: "
        f"{told['saved']:,} saved, {told['saved'] / told['fixed']:.0%}"
    )
    if told["expected_error"] is None:
        return sentence
    sentence += f"; by what they say of each other {told['expected_error']:.1%} of the labels are wrong"
    # Of other methods than `auto` nobody has measured it, and earlier engines did not tell.
    if not told.get("error_range"):
        return sentence
    least, most = told["error_range"]
    return f"{sentence} ({least:.1%} to {most:.1%} were where the truth was known)"
