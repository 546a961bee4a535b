"""A dataset as training wants to know it: its channels, its classes, and where both come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gtlabel.uris import S3Uri


@dataclass(frozen=True, slots=True)
class ChannelData:
    """A channel: its manifest, how many lines that is said to have, and the digest of its bytes.

    Attributes:
        sha256: in hexadecimal; empty where nobody knows it.
    """

    manifest: S3Uri
    images: int
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What there is to train with.

    Attributes:
        uri: the prefix of the dataset.
        attribute: the label attribute of its manifests.
        classes: the names; the position of a name is its label.
        channels: `train`, `validation`, and whatever else there is.
        digest: what the whole of it is known by, in hexadecimal.
        jobs: the labeling jobs that its labels come from.
        folders: whether the pictures lie below `uri`, in class folders.
    """

    uri: S3Uri
    attribute: str
    classes: tuple[str, ...]
    channels: Mapping[str, ChannelData]
    digest: str = ""
    jobs: tuple[str, ...] = ()
    folders: bool = True

    @property
    def train(self) -> ChannelData:
        """What is learned from."""
        return self.channels["train"]

    @property
    def validation(self) -> ChannelData:
        """What the best epoch is chosen with."""
        return self.channels["validation"]
