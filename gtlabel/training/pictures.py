"""A look at some of the pictures that a training job would read.

Training brings the shorter side of a picture to `resize` and cuts the middle out of it; prediction squeezes
the whole picture (contract/training.md §1.7). Only pictures that have the network's shape already are the
same to both, which is what `gtlabel consolidate --resize` makes of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gtlabel.errors import ObjectArchivedError, ObjectNotFoundError, StorageDeniedError
from gtlabel.images.checks import Facts, UnsoundPictureError, examine
from gtlabel.images.parallel import in_parallel
from gtlabel.storage import read_range, stat
from gtlabel.training.data import TrainingData
from gtlabel.training.findings import Finding
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

Shape = tuple[int, int]

_WORKERS = 16


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture, and the line that names it."""

    image: S3Uri
    line: int
    manifest: S3Uri

    @property
    def place(self) -> str:
        """The line and the picture, to begin a sentence with."""
        return f"{self.manifest}, line {self.line}: {self.image}"


def look_at(
    s3: S3Client, pictures: Sequence[Picture], data: TrainingData, shape: Shape | None, resize: int | None
) -> list[Finding]:
    """Look at some pictures: whether they are there, can be read, and are seen alike everywhere.

    Args:
        s3: the client.
        pictures: those to look at.
        data: what they are of.
        shape: height and width in pixels that the network takes; None if pictures of any shape do.
        resize: the pixels that the shorter side of a picture is brought to.
    """
    seen: list[tuple[Picture, Facts]] = []
    unusable: list[Finding] = []
    for picture, found in in_parallel(lambda picture: _facts(s3, picture), pictures, _WORKERS):
        if isinstance(found, Finding):
            unusable.append(found)
        else:
            seen.append((picture, found))
    findings = list(_summed_up(unusable, len(pictures)))
    return findings if shape is None else findings + list(_sizes(seen, data, shape, resize))


def _summed_up(unusable: Sequence[Finding], looked_at: int) -> Iterator[Finding]:
    """The first finding of each check, and how many there are."""
    for check in dict.fromkeys(finding.check for finding in unusable):
        alike = [finding for finding in unusable if finding.check == check]
        first = alike[0]
        many = f" ({len(alike)} of {looked_at} pictures looked at cannot be used)"
        yield replace(first, sentence=first.sentence + many) if len(alike) > 1 else first


def _facts(s3: S3Client, picture: Picture) -> Facts | Finding:
    image = picture.image
    try:
        return examine(stat(s3, image).size, lambda start, length: read_range(s3, image, start, length))
    except ObjectNotFoundError:
        reason = "is not there"
    except ObjectArchivedError:
        reason = "is archived, and cannot be read before it is restored"
    except UnsoundPictureError as problem:
        reason = str(problem)
    except StorageDeniedError as error:
        return Finding("pictures", "warning", f"the pictures could not be looked at: {error}")
    return Finding("picture", "error", f"{picture.place} {reason}", "consolidate again without it")


def _sizes(
    seen: Sequence[tuple[Picture, Facts]], data: TrainingData, shape: Shape, resize: int | None
) -> Iterator[Finding]:
    height, width = shape
    spelled = str(height) if height == width else f"{height}x{width}"
    fix = f"run gtlabel consolidate ... --into {data.uri} --resize {spelled}"
    small = [each for each in seen if each[1].height < height or each[1].width < width]
    if small and resize is None:
        picture, facts = small[0]
        yield Finding(
            "size",
            "error",
            f"{picture.place} is {facts.width}x{facts.height}, smaller than the {width}x{height} of the "
            "network, and nothing enlarges it",
            f"set resize={max(shape)}, or {fix}",
        )
        return
    cut = [each for each in seen if not _seen_alike(each[1], shape, resize)]
    if cut:
        picture, facts = cut[0]
        yield Finding(
            "crop",
            "warning",
            f"{len(cut)} of {len(seen)} pictures looked at are not {width}x{height}, {picture.image} for one "
            f"({facts.width}x{facts.height}): training cuts the middle out of them, and prediction squeezes "
            "the whole, so the model does worse than its validation says",
            fix,
        )


def _seen_alike(facts: Facts, shape: Shape, resize: int | None) -> bool:
    """Whether the middle that training cuts out is the whole that prediction squeezes."""
    if resize is None:
        return (facts.height, facts.width) == shape
    return facts.height * shape[1] == facts.width * shape[0] and resize == min(shape)
