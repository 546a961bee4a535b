"""What a labeling job reads: the input manifest, the class list and the worker template."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gtlabel.errors import ManifestError
from gtlabel.manifests.classes import check_classes
from gtlabel.manifests.lines import write_record
from gtlabel.manifests.records import ManifestRecord
from gtlabel.storage import write, write_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

MAX_IMAGES = 100_000


@dataclass(frozen=True, slots=True)
class LabelingInputs:
    """Where the three files of a job lie, and how many images its manifest names."""

    manifest: S3Uri
    classes: S3Uri
    template: S3Uri
    images: int


def write_inputs(
    s3: S3Client, images: Iterable[S3Uri], classes: Sequence[str], template: str, into: S3Uri
) -> LabelingInputs:
    """Write the three files under a prefix, the manifest last.

    Raises:
        ClassListError: if the classes cannot be labeled with; nothing was written then.
        ManifestError: at more images than one job may have; no manifest was written then.
    """
    names = check_classes(classes)
    class_list, page, manifest = into / "classes.json", into / "template.liquid", into / "input.manifest"
    write(s3, class_list, names.to_json(), "application/json")
    write(s3, page, template.encode(), "text/html; charset=utf-8")
    count = write_lines(s3, manifest, _lines(images))
    return LabelingInputs(manifest, class_list, page, count)


def _lines(images: Iterable[S3Uri]) -> Iterator[bytes]:
    for number, image in enumerate(images, start=1):
        if number > MAX_IMAGES:
            raise ManifestError(
                f"there are more than {MAX_IMAGES:,} images, the most one labeling job may have; "
                "label them prefix by prefix"
            )
        yield write_record(ManifestRecord(source_ref=image))
