"""The frames that devices kept, read where they lie: in a folder, on a card, or under a prefix in S3.

What a device writes is described in `gtlabel.edge.device.frames`. Wherever below a source a folder of a day
lies, it is found: the source may be the device's whole disk.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gtlabel.edge.device.frames import SCHEMA, doubt
from gtlabel.edge.device.looks import Look
from gtlabel.errors import FramesNotFoundError
from gtlabel.images.parallel import in_parallel
from gtlabel.manifests.records import first_problem
from gtlabel.storage import list_objects, read
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

Place = Path | S3Uri

_SIDECAR = re.compile(r"\d{4}-\d\d-\d\d/[0-9a-f]{20}\.json")
_WORKERS = 16


class Sidecar(BaseModel):
    """What a device wrote beside a frame; keys of a later schema are carried along."""

    model_config = ConfigDict(frozen=True, extra="allow")

    schema_: int = Field(alias="schema", le=SCHEMA)
    image: str = Field(pattern=r"^[0-9a-f]{20}\.(jpg|png)$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    labels: tuple[str, ...] = ()
    values: tuple[Annotated[float, Field(ge=0, le=1)], ...]
    label: str | None = None
    confidence: float | None = None
    model: str | None = None
    thing: str | None = None
    ts: str | None = None
    several: bool = False
    look: str


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that a device kept.

    Attributes:
        said: what the device wrote about it.
        picture: where it lies.
        look: what it looks like.
    """

    said: Sidecar
    picture: Place
    look: Look

    @property
    def sidecar(self) -> Place:
        """Where the device's words about it lie."""
        if isinstance(self.picture, S3Uri):
            return self.picture.at(f"{self.picture.key.rpartition('.')[0]}.json")
        return self.picture.with_suffix(".json")

    @property
    def margin(self) -> float:
        """How unsure the model was, from 0 to 1: how small the lead of the first class was."""
        return doubt(self.said.values, several=self.said.several)

    @property
    def entropy(self) -> float:
        """How unsure the model was, from 0 to 1: the entropy of its answer by the most there can be."""
        if self.said.several:
            return max((_entropy((value, 1 - value)) for value in self.said.values), default=0.0)
        return _entropy(self.said.values)


@dataclass(frozen=True, slots=True)
class Unusable:
    """A frame that was left out, and why: `{place} {reason}` is a sentence."""

    place: str
    reason: str


def read_frames(source: Place, s3: S3Client) -> Iterator[Frame | Unusable]:
    """Yield the frames that lie below a source, in the order of their days and names.

    Only what the devices wrote about the pictures is read, no picture.

    Args:
        source: a folder, or a prefix in S3.
        s3: the client; not asked for a folder.

    Raises:
        FramesNotFoundError: if there is no such folder.
        BucketNotFoundError: if the bucket does not exist.
    """
    if isinstance(source, Path) and not source.is_dir():
        raise FramesNotFoundError(f"there is no folder {source}; name the device's disk, or a copy of it")
    for place, text in _sidecars(source, s3):
        yield _frame(place, text)


def read_picture(picture: Place, s3: S3Client) -> bytes:
    """The bytes of a frame.

    Raises:
        OSError: if a file cannot be read.
        ObjectNotFoundError: if there is no such object.
    """
    if isinstance(picture, S3Uri):
        return read(s3, picture)
    return picture.read_bytes()


def _sidecars(source: Place, s3: S3Client) -> Iterator[tuple[Place, bytes | str]]:
    """The address and the bytes of each sidecar, or why it cannot be read."""
    if isinstance(source, S3Uri):
        keys = (stored.uri for stored in list_objects(s3, source) if _is_sidecar(stored.uri.key))
        yield from in_parallel(lambda uri: read(s3, uri), keys, _WORKERS)
        return
    for file in sorted(source.rglob("*.json"), key=lambda path: path.parts[-2:]):
        if _is_sidecar(file.as_posix()):
            try:
                yield file, file.read_bytes()
            except OSError as error:
                yield file, f"cannot be read: {error.strerror or error}"


def _is_sidecar(address: str) -> bool:
    return _SIDECAR.fullmatch("/".join(address.rsplit("/", 2)[-2:])) is not None


def _frame(place: Place, text: bytes | str) -> Frame | Unusable:
    if isinstance(text, str):
        return Unusable(str(place), text)
    try:
        said = Sidecar.model_validate_json(text)
        look = Look.read(said.look)
    except ValidationError as error:
        return Unusable(str(place), f"is not what a device writes beside a frame: {first_problem(error)}")
    except ValueError as error:
        return Unusable(str(place), f"is not what a device writes beside a frame: {error}")
    picture = place.folder / said.image if isinstance(place, S3Uri) else place.with_name(said.image)
    return Frame(said, picture, look)


def _entropy(values: tuple[float, ...]) -> float:
    if len(values) < 2:
        return 0.0
    return -sum(value * math.log(value) for value in values if value > 0) / math.log(len(values))
