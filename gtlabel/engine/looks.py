"""What the pictures of a job look like, in numbers: read once, and kept beside the job's other files."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zipfile import BadZipFile

from gtlabel import storage
from gtlabel.errors import ArtifactError, EngineError, ObjectNotFoundError, UriError
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from types_boto3_s3 import S3Client

    from gtlabel.networks.runtime import Network

# The directions in which pictures differ are found from so many; each takes 8 KB meanwhile.
_SAMPLE = 4000
# So many pictures of a job are on their way at once.
_READERS = 8
_CHUNK = 512
# What a network says of a picture is one view, which needs more directions than each of ours.
_OF_NETWORK = 96


@dataclass(frozen=True, slots=True)
class Looks:
    """What the pictures of a job look like.

    Attributes:
        numbers: of the pictures that can be looked at, in ascending order, of shape (pictures,).
        features: theirs, of shape (pictures, directions).
        views: how many directions describe the same thing, from the left.
        unreadable: the numbers of those that are not there or cannot be decoded.
    """

    numbers: NDArray[np.int64]
    features: NDArray[np.float32]
    views: NDArray[np.int64]
    unreadable: NDArray[np.int64]


def keep(s3: S3Client, place: S3Uri, looks: Looks) -> None:
    """Write what a job's pictures look like, so that a program that goes on need not look again."""
    import numpy as np

    body = io.BytesIO()
    np.savez(body, **{name: getattr(looks, name) for name in Looks.__slots__})
    storage.write(s3, place, body.getvalue())


def kept(s3: S3Client, place: S3Uri, images: Sequence[tuple[int, str]]) -> Looks | None:
    """What `keep` wrote; None if there is nothing, or not of just these images."""
    import numpy as np

    try:
        body = storage.read(s3, place)
    except ObjectNotFoundError:
        return None
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as file:
            looks = Looks(**{name: file[name] for name in Looks.__slots__})
        seen = sorted([*looks.numbers.tolist(), *looks.unreadable.tolist()])
        described = (len(looks.numbers), int(looks.views.sum()))
    # Half a file, or somebody else's: looking again costs time and nothing more.
    except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile):
        return None
    whole = seen == sorted(number for number, _ in images) and looks.features.shape == described
    return looks if whole else None


def look(
    s3: S3Client,
    images: Sequence[tuple[int, str]],
    network: S3Uri | None = None,
    ending: Callable[[], bool] = lambda: False,
) -> Looks:
    """Look at all pictures of a job.

    Args:
        s3: what reads them.
        images: number and address of each, in a random order that stays the same: the first few thousand
            tell how all of them are compared.
        network: an ONNX file to look with, instead of what needs none.
        ending: whether the program ends, and nobody waits for this any more.

    Raises:
        EngineError: if no picture can be looked at, or the file is not a network that runs here.
        CancelledError: if the program ends.
        MissingExtraError: if a part that this needs is not installed.
        StorageError: if S3 cannot be read for now.
    """
    try:
        import numpy as np

        from gtlabel.images.features import Directions
        from gtlabel.images.parallel import in_parallel
    except ImportError as error:
        from gtlabel.errors import MissingExtraError

        raise MissingExtraError("automated labeling", "quality") from error
    eye = _network(s3, network)

    def see(image: tuple[int, str]) -> NDArray[np.float32] | None:
        if ending():
            raise CancelledError
        return _row(s3, image[1], eye)

    seen: list[int] = []
    unseen: list[int] = []
    rows: list[NDArray[np.float32]] = []
    found: list[NDArray[np.float32]] = []
    directions: Directions | None = None
    for place, ((number, _), row) in enumerate(in_parallel(see, images, _READERS), start=1):
        if row is None:
            unseen.append(number)
        else:
            seen.append(number)
            rows.append(row)
        full = len(rows) >= (_SAMPLE if directions is None else _CHUNK)
        if rows and (full or place == len(images)):
            block = np.stack(rows)
            directions = directions or (
                Directions.of(block) if eye is None else Directions.of(block, block.shape[1:], _OF_NETWORK)
            )
            found.append(directions.apply(block))
            rows = []
    if directions is None:
        raise EngineError(
            f"none of the {len(images)} images can be looked at for automated labeling; the first is "
            f"{images[0][1] if images else 'missing'}. Leave automated labeling out, or mend the images"
        )
    order = np.argsort(seen)
    return Looks(
        np.array(seen, np.int64)[order],
        np.concatenate(found)[order],
        np.array(directions.views, np.int64),
        np.array(sorted(unseen), np.int64),
    )


def _network(s3: S3Client, place: S3Uri | None) -> Network | None:
    if place is None:
        return None
    from gtlabel.networks.runtime import Network

    try:
        return Network(storage.read(s3, place))
    except ArtifactError as error:
        raise EngineError(f"automated labeling cannot look at pictures with {place}: {error}") from error


def _row(s3: S3Client, address: str, network: Network | None) -> NDArray[np.float32] | None:
    from gtlabel.images.features import picture_features
    from gtlabel.networks.preprocess import UnreadablePictureError

    try:
        row: NDArray[np.float32] = picture_features([storage.read(s3, S3Uri(address))], network)[0]
    # People see as little of such a picture, and it is theirs to say so.
    except (UnreadablePictureError, ObjectNotFoundError, UriError):
        return None
    return row
