"""Pictures brought to the shape of the network on their way into the class folders.

The built-in algorithm cuts the middle out of a picture when it trains, and squeezes the whole of it when it
predicts; pictures that have the shape already are the same to both (contract/training.md §1.7). So a picture
is turned upright, made RGB and squeezed as a whole, by the very same steps as `gtlabel.networks.preprocess`.

A JPEG stays a JPEG (quality 95, color at full size), a PNG a PNG, so that names stay right. The same picture
gives the same bytes as long as Pillow and its codecs are the same.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gtlabel.datasets.copying import SHAPE, SOURCE_ETAG, WORKERS, Progress, as_listed
from gtlabel.datasets.flow import Flow, at_once, connections
from gtlabel.datasets.folders import Placement
from gtlabel.errors import DatasetError, MissingExtraError
from gtlabel.storage import StoredObject, explained
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

Shape = tuple[int, int]

_QUALITY = 95
_LARGEST_SIDE = 4096


def parse_shape(text: str) -> Shape:
    """Height and width in pixels from `224` (both) or `HEIGHTxWIDTH`.

    Raises:
        DatasetError: if it says nothing of the kind.
    """
    match = re.fullmatch(r"(\d{1,4})(?:x(\d{1,4}))?", text.strip())
    height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not (0 < height <= _LARGEST_SIDE and 0 < width <= _LARGEST_SIDE):
        raise DatasetError(
            f"{text!r} is no shape of a picture; write 224, or HEIGHTxWIDTH such as 224x320, "
            f"up to {_LARGEST_SIDE}"
        )
    return height, width


def resized(data: bytes, shape: Shape) -> tuple[bytes, str]:
    """The picture in that shape, and its content type.

    Args:
        data: a picture file, JPEG or PNG or whatever else Pillow reads.
        shape: height and width in pixels.

    Raises:
        MissingExtraError: without Pillow.
        UnreadablePictureError: if the bytes are not a picture, or not all of it.
    """
    try:
        import numpy as np
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("bringing pictures to a shape", "train") from error
    from gtlabel.networks.preprocess import load_image

    pixels = load_image(data, *shape).transpose(1, 2, 0).astype(np.uint8)
    picture = Image.fromarray(pixels)
    file = io.BytesIO()
    if data.startswith(b"\xff\xd8"):
        picture.save(file, "JPEG", quality=_QUALITY, subsampling=0)
        return file.getvalue(), "image/jpeg"
    picture.save(file, "PNG")
    return file.getvalue(), "image/png"


def resize_missing(
    s3: S3Client,
    placements: Sequence[Placement],
    present: Mapping[S3Uri, StoredObject],
    shape: Shape,
    workers: int = WORKERS,
    on_progress: Progress | None = None,
) -> int:
    """Bring to the shape what is not there yet of it; return how many that were. As `copy_missing` does.

    Every picture passes through this machine. What is there is told by the ETag of its source and the
    shape, which it bears in its metadata, one small request each.

    Raises:
        DatasetError: naming the first picture that cannot be read.
        PictureChangedError: if a picture was changed or deleted after it was listed.
    """
    workers = min(workers, connections(s3))
    spelled = f"{shape[0]}x{shape[1]}"
    done = made = 0

    def bring(item: Placement) -> bool:
        mark = {SOURCE_ETAG: item.source.etag, SHAPE: spelled}
        if item.target in present and mark.items() <= _metadata(s3, flow, item.target).items():
            return False
        with as_listed(item.source.uri):
            data = _fetch(s3, flow, item.source)
        body, content_type = _shaped(data, shape, item.source.uri)
        target = item.target
        with explained("s3:PutObject", target):
            flow.run(
                lambda: s3.put_object(
                    Bucket=target.bucket, Key=target.key, Body=body, ContentType=content_type, Metadata=mark
                )
            )
        return True

    if on_progress:
        on_progress(done, len(placements))
    with Flow(workers) as flow:
        for was_made in at_once(bring, placements, workers):
            done += 1
            made += was_made
            if on_progress:
                on_progress(done, len(placements))
    return made


def _shaped(data: bytes, shape: Shape, uri: S3Uri) -> tuple[bytes, str]:
    # Not caught by its class: where numpy and Pillow are missing, its module cannot be imported.
    try:
        return resized(data, shape)
    except ValueError as error:
        raise DatasetError(f"{uri}: {error}; remove it from the manifest, or upload it again") from error


def _metadata(s3: S3Client, flow: Flow, uri: S3Uri) -> Mapping[str, str]:
    with explained("s3:GetObject", uri):
        return flow.run(lambda: s3.head_object(Bucket=uri.bucket, Key=uri.key))["Metadata"]


def _fetch(s3: S3Client, flow: Flow, source: StoredObject) -> bytes:
    uri = source.uri

    def get() -> bytes:
        answer: Any = s3.get_object(Bucket=uri.bucket, Key=uri.key, IfMatch=f'"{source.etag}"')
        body: bytes = answer["Body"].read()
        return body

    with explained("s3:GetObject", uri):
        return flow.run(get)
