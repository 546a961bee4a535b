"""Datasets made by hand, to be looked at: in a folder, or copied into a bucket as they are."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from PIL import Image

from gtlabel.datasets.places import Place
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

BUCKET = "trash-photos"
BINS = ("Compost", "Landfill", "Recycle")
HOME = S3Uri(f"s3://{BUCKET}/dataset/")
TRASH = Path(__file__).parent.parent / "samples" / "trash" / "images"


@dataclass(frozen=True)
class Row:
    """One image of a dataset; a picture of its own unless it is given one, none if that is empty."""

    name: str
    class_name: str
    channel: str = "train"
    confidence: float | None = 0.95
    job: str = "bins"
    human: bool = True
    dropped: tuple[str, ...] = ()
    data: bytes | None = None


def photos(count: int, side: int = 64) -> list[bytes]:
    """Real photographs, made small."""
    small = []
    for path in sorted(TRASH.glob("*.jpg"))[:count]:
        body = io.BytesIO()
        with Image.open(path) as image:
            image.thumbnail((side, side))
            image.save(body, "JPEG")
        small.append(body.getvalue())
    assert len(small) == count
    return small


def original(name: str) -> S3Uri:
    return HOME.at(f"images/{name}")


def line(row: Row, classes: Sequence[str] = BINS) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "job-name": f"labeling-job/{row.job}",
        "class-name": row.class_name,
        "human-annotated": "yes" if row.human else "no",
        "creation-date": "2026-11-22T10:11:12.345678",
        "type": "groundtruth/image-classification",
    }
    if row.confidence is not None:
        metadata = {"confidence": row.confidence, **metadata}
    return {
        "source-ref": HOME / f"classes/{classes.index(row.class_name)}/{row.name}",
        "label": classes.index(row.class_name),
        "label-metadata": metadata,
        "original-ref": original(row.name),
    }


def make_dataset(folder: Path, rows: Sequence[Row], classes: Sequence[str] = BINS) -> Place:
    """A dataset in a folder, as `aws s3 sync` leaves one; its addresses are those of the bucket."""
    own = iter(photos(sum(row.data is None for row in rows)))
    channels = {
        channel: [row for row in rows if row.channel == channel] for channel in ("train", "validation")
    }
    for row in rows:
        data = next(own) if row.data is None else row.data
        path = folder / "classes" / str(classes.index(row.class_name)) / row.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if data:
            path.write_bytes(data)
    for channel, members in channels.items():
        lines = (json.dumps(line(row, classes), ensure_ascii=False) + "\n" for row in members)
        (folder / f"{channel}.manifest").write_text("".join(lines), encoding="utf-8")
    document = {
        "format": "gtlabel-dataset/1",
        "complete": True,
        "uri": HOME,
        "attribute": "label",
        "classes": [
            {
                "name": name,
                "folder": HOME / f"classes/{index}/",
                **{c: sum(row.class_name == name for row in members) for c, members in channels.items()},
            }
            for index, name in enumerate(classes)
        ],
        "channels": {
            channel: {"manifest": HOME / f"{channel}.manifest", "images": len(members), "sha256": ""}
            for channel, members in channels.items()
        },
        "sources": [
            {
                "manifest": f"s3://{BUCKET}/jobs/bins/manifests/output/output.manifest",
                "attribute": "bin",
                "labeled": len(rows),
                "failed": 0,
                "unlabeled": 0,
            }
        ],
        "validation": 0.2,
        "disagreements": [
            {"image": original(row.name), "kept": row.class_name, "dropped": row.dropped}
            for row in rows
            if row.dropped
        ],
    }
    (folder / "dataset.json").write_text(json.dumps(document), encoding="utf-8")
    return Place(folder, _nobody)


def upload(s3: S3Client, folder: Path) -> S3Uri:
    """The dataset of a folder, in a new bucket at the address its files name."""
    s3.create_bucket(Bucket=BUCKET)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            key = HOME.key + path.relative_to(folder).as_posix()
            s3.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
    return HOME


def _nobody() -> NoReturn:
    raise AssertionError("a folder was looked at, and S3 was asked")
