"""What a labeling job reads: the input manifest, the class list and the worker template."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gtlabel.errors import ClassListError, ManifestError
from gtlabel.manifests.classes import ClassList, check_classes
from gtlabel.manifests.lines import write_image, write_record
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
    s3: S3Client,
    images: Iterable[S3Uri | ManifestRecord],
    classes: Sequence[str],
    template: str,
    into: S3Uri,
) -> LabelingInputs:
    """Write the three files under a prefix, the manifest last.

    The manifest is sent while its lines are made, so memory does not grow with the number of images.

    Args:
        s3: the client.
        images: addresses, or records with what has been said about the images so far.
        classes: what an image can be.
        template: the worker template's text.
        into: the prefix.

    Raises:
        ClassListError: if the classes cannot be labeled with; nothing was written then.
        ManifestError: at more images than one job may have, or a line longer than 100,000 characters; no
            manifest was written then.
    """
    names = check_classes(classes)
    class_list, page, manifest = into / "classes.json", into / "template.liquid", into / "input.manifest"
    write(s3, class_list, names.to_json(), "application/json")
    write(s3, page, template.encode(), "text/html; charset=utf-8")
    count = write_lines(s3, manifest, manifest_lines(images))
    return LabelingInputs(manifest, class_list, page, count)


def manifest_lines(images: Iterable[S3Uri | ManifestRecord]) -> Iterator[bytes]:
    """Yield the lines of an input manifest without their ends.

    Raises:
        ManifestError: at more images than one job may have, or a line that is too long.
    """
    for number, image in enumerate(images, start=1):
        if number > MAX_IMAGES:
            raise ManifestError(
                f"there are more than {MAX_IMAGES:,} images, the most one labeling job may have; "
                "label them prefix by prefix"
            )
        yield write_image(image) if isinstance(image, S3Uri) else write_record(image)


def read_classes(file: Path) -> ClassList:
    """Read the classes of a job or a project from a file.

    Args:
        file: a label category file as Ground Truth reads it, or a text with one class a line.

    Raises:
        ClassListError: if it is neither, or its classes cannot be labeled with.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ClassListError(f"{file} is not UTF-8: byte {error.start + 1}") from error
    if text.startswith(("{", "[")):
        return ClassList.from_json(text.encode(), str(file))
    return check_classes((line.strip() for line in text.splitlines() if line.strip()), str(file))
