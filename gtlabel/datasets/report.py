"""The report: one HTML page that shows the labels, the channels and how well the model does.

The page needs no network and no server. It carries its numbers as JSON in the element `gtlabel-data`,
so that everything it claims can be computed again from them.
"""

from __future__ import annotations

import io
import json
import math
import os
import tempfile
from base64 import b64encode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gtlabel.datasets.channels import Dataset, Example, read_channel
from gtlabel.errors import MissingExtraError, ObjectNotFoundError
from gtlabel.manifests.split import CHANNELS
from gtlabel.networks.evaluation import Evaluation
from gtlabel.storage import read

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_THUMBNAIL_PIXELS = 192
_MISTAKES_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Picture:
    """A labeled image of the grid.

    Attributes:
        name: the file name.
        class_name: its label.
        channel: the channel it belongs to.
        confidence: as the job gave it; 0.0 and None say nothing about doubt.
        data: the image file; None if it could not be had.
    """

    name: str
    class_name: str
    channel: str
    confidence: float | None
    data: bytes | None

    @property
    def thumbnail(self) -> str | None:
        """A small JPEG as a data URI; None if the file cannot be shown."""
        return _thumbnail(self.data)

    @property
    def certainty(self) -> str:
        """The confidence for people. One worker's label always has 0.0, which is no doubt."""
        if self.confidence is None:
            return "unknown"
        return f"{self.confidence:.2f}" if self.confidence else "one answer"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the journey and how long it took."""

    name: str
    seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What the page shows; parts that are not there are left out."""

    title: str
    dataset: Dataset
    pictures: Sequence[Picture] = ()
    evaluation: Evaluation | None = None
    steps: Sequence[Step] = ()


def doubtful_pictures(
    s3: S3Client, dataset: Dataset, *, per_class: int = 24, workers: int = 16
) -> tuple[Picture, ...]:
    """Fetch the images of each class whose labels are least certain, the most doubtful first."""
    kept: dict[str, list[Example]] = {item.name: [] for item in dataset.classes}
    for channel in CHANNELS:
        for example in read_channel(s3, dataset, channel):
            members = kept[example.class_name]
            members.append(example)
            # Trimmed now and then, so that a class of a million images takes no more room than a small one.
            if len(members) > 8 * per_class:
                members[:] = nsmallest(per_class, members, key=_certainty)
    chosen = [example for members in kept.values() for example in nsmallest(per_class, members, _certainty)]
    with ThreadPoolExecutor(workers, thread_name_prefix="pictures") as pool:
        return tuple(pool.map(lambda example: _picture(s3, example), chosen))


def render(report: Report) -> str:
    """The page.

    Raises:
        MissingExtraError: if jinja2 or Pillow is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtraError("the report", "train") from error
    environment = Environment(
        loader=PackageLoader("gtlabel.datasets", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=_percent, duration=_duration, thumbnail=_thumbnail)
    dataset = report.dataset
    return environment.get_template("report.html").render(
        report=report,
        dataset=dataset,
        evaluation=report.evaluation,
        groups=[
            (item, [picture for picture in report.pictures if picture.class_name == item.name])
            for item in dataset.classes
        ],
        largest=max(item.train + item.validation for item in dataset.classes),
        longest=max((step.seconds for step in report.steps), default=0.0),
        left_out=sum(source.failed + source.unlabeled for source in dataset.sources),
        mistakes_shown=_MISTAKES_SHOWN,
        numbers=_embedded(numbers(report)),
    )


def write_report(report: Report, path: Path) -> Path:
    """Write the page to a file, whole or not at all."""
    page = render(report)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(page)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
    return path


def numbers(report: Report) -> dict[str, Any]:
    """The numbers of the page as JSON, with what is needed to compute them again."""
    dataset, evaluation = report.dataset, report.evaluation
    result: dict[str, Any] = {
        "title": report.title,
        "dataset": dataset.model_dump(mode="json"),
        "steps": [{"name": step.name, "seconds": round(step.seconds, 3)} for step in report.steps],
        "pictures": [
            {
                "name": picture.name,
                "class": picture.class_name,
                "channel": picture.channel,
                "confidence": picture.confidence,
            }
            for picture in report.pictures
        ],
    }
    if evaluation:
        result["evaluation"] = evaluation.to_json()
    return result


def _certainty(example: Example) -> tuple[float, str]:
    # 0.0 means that one worker answered (contract/ground-truth.md §5.4), which says nothing of doubt.
    return example.label.confidence or math.inf, example.original


def _picture(s3: S3Client, example: Example) -> Picture:
    data: bytes | None
    try:
        data = read(s3, example.image)
    except ObjectNotFoundError:
        data = None
    return Picture(example.original.name, example.class_name, example.channel, example.label.confidence, data)


def _thumbnail(data: bytes | None) -> str | None:
    if data is None:
        return None
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise MissingExtraError("the report", "train") from error
    small = io.BytesIO()
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.draft("RGB", (2 * _THUMBNAIL_PIXELS, 2 * _THUMBNAIL_PIXELS))
            upright = ImageOps.exif_transpose(image).convert("RGB")
            upright.thumbnail((_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS))
            upright.save(small, "JPEG", quality=80)
    # What Pillow raises for broken files of one kind or another; the page then says so.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return "data:image/jpeg;base64," + b64encode(small.getvalue()).decode()


def _percent(share: float | None, digits: int = 1) -> str:
    return "\u2013" if share is None else f"{100 * share:.{digits}f}%"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def _embedded(value: object) -> str:
    """JSON that can stand inside a script element whatever its texts hold."""
    text = json.dumps(value, ensure_ascii=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
