"""Which channel an image belongs to."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Literal

from gtlabel.uris import S3Uri

Channel = Literal["train", "validation"]
CHANNELS: tuple[Channel, ...] = ("train", "validation")


def channel_of(image: S3Uri, validation: float) -> Channel:
    """The channel an image belongs to by itself, the same one every time.

    It depends on the image's address alone, so that images added later never
    move older ones from validation into training.
    """
    return "validation" if _position(image) < validation else "train"


def split(images: Iterable[tuple[S3Uri, str]], validation: float) -> dict[S3Uri, Channel]:
    """Give every image a channel, such that small classes have images in both.

    Every image goes where `channel_of` puts it, class by class, with two corrections that only small
    classes ever need. A class of two or more images with none in validation lends it the image whose
    position is lowest; a class with all its images in validation gives the highest one to training.

    The price, said plainly: `channel_of` alone never moves an image, however the data grows. A lent
    image is on loan until a newcomer of its class belongs there by itself (or has a still lower
    position); then it returns to its own channel. At a share of 0.2 a class of 10 images needs a loan
    with a chance of 11 %, of 40 images 0.01 %. The share is met on average and not exactly: a cut by
    rank would meet it, and would move the images next to the cut with every addition.

    Args:
        images: addresses with the name of their class, in any order.
        validation: the share that validation should get, between 0 and 1.
    """
    classes: dict[str, list[S3Uri]] = {}
    for image, class_name in images:
        classes.setdefault(class_name, []).append(image)
    channels: dict[S3Uri, Channel] = {}
    for members in classes.values():
        own = {image: channel_of(image, validation) for image in members}
        present = set(own.values())
        if "train" not in present:
            own[max(members, key=_rank)] = "train"
        elif "validation" not in present and len(own) > 1:
            own[min(members, key=_rank)] = "validation"
        channels.update(own)
    return channels


def _position(image: S3Uri) -> float:
    return int.from_bytes(sha256(image.encode()).digest()[:8]) / 2**64


def _rank(image: S3Uri) -> tuple[float, str]:
    return _position(image), image
