"""Which channel a picture belongs to: decided by its group alone, and never again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

from gtlabel.errors import DatasetError

Channel = Literal["train", "validation", "test"]
CHANNELS: tuple[Channel, ...] = ("train", "validation", "test")

# What rounding may leave over when three shares are added.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Shares:
    """How much of the pictures each channel should get; together they are 1.

    Attributes:
        train: left out, what the others leave.
        validation: for choosing between models while training.
        test: for judging the model at the end; most do without.

    Raises:
        DatasetError: if a share is impossible.
    """

    train: float = -1.0
    validation: float = 0.2
    test: float = 0.0

    def __post_init__(self) -> None:
        if self.train == -1.0:
            object.__setattr__(self, "train", 1 - self.validation - self.test)
        if not 0 < self.validation < 1:
            raise DatasetError(
                f"the share for validation must lie between 0 and 1, and {self.validation} does not"
            )
        if not 0 <= self.test < 1:
            raise DatasetError(f"the share for test must lie between 0 and 1, and {self.test} does not")
        if not _ROUNDING < self.train < 1:
            raise DatasetError(
                f"the shares leave {self.train:g} to train with; make validation or test smaller"
            )
        if abs(self.train + self.validation + self.test - 1) > _ROUNDING:
            raise DatasetError(
                f"the shares are {self.train:g}, {self.validation:g} and {self.test:g}; "
                "together they have to be 1"
            )

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels that get anything."""
        return CHANNELS if self.test else CHANNELS[:2]


def channel_of(group: str, shares: Shares) -> Channel:
    """The channel a group belongs to by itself, the same one every time.

    It depends on the group's name alone, so that pictures added later never move older ones. Validation
    is taken from the lower end of the hash and test from the upper one: a share that grows keeps what
    it has.
    """
    position = int.from_bytes(sha256(group.encode()).digest()[:8]) / 2**64
    if position < shares.validation:
        return "validation"
    return "test" if shares.test and position >= 1 - shares.test else "train"


def channel_codes(groups: Iterable[str], shares: Shares) -> bytearray:
    """The channels of many groups as positions in `CHANNELS`: what `channel_of` says, in half the time."""
    # Digests are compared as bytes: a digest that begins with a bound is longer than it, hence not below it.
    low, high = _bound(shares.validation), _bound(1 - shares.test)
    digests = (sha256(group.encode()).digest() for group in groups)
    if not shares.test:
        return bytearray(digest < low for digest in digests)
    return bytearray((digest < low) or 2 * (digest >= high) for digest in digests)


def _bound(share: float) -> bytes:
    """The first eight bytes of the lowest digest that does not lie below a share."""
    low, high = 0, 2**64 - 1
    while low < high:
        middle = (low + high) // 2
        if middle / 2**64 < share:
            low = middle + 1
        else:
            high = middle
    return low.to_bytes(8)


def position_of(group: str) -> float:
    """Where the hash of a group lies between 0 and 1."""
    return int.from_bytes(sha256(group.encode()).digest()[:8]) / 2**64


def loans(
    groups: Iterable[str], shares: Shares, earlier: Mapping[str, Channel] | None = None
) -> dict[str, Channel]:
    """The groups that stand in a channel which would be empty without them.

    A training job needs a picture in every channel, and a few dozen may by chance have none for
    validation. Then the group goes there whose hash lies nearest. It has to stay there when the data
    grows, so the certificate of the dataset remembers it, and the next run hands it in as `earlier`.

    Args:
        groups: all groups by name, in any order.
        shares: of the channels.
        earlier: the loans of an earlier run; they stay as they are.

    Returns:
        The channels of the groups that are not where `channel_of` puts them; mostly none.

    Raises:
        DatasetError: if there are fewer groups than channels.
    """
    lent = dict(earlier or {})
    ranked = sorted(set(groups), key=lambda group: (position_of(group), group))
    homes: dict[str, Channel] = {group: lent.get(group) or channel_of(group, shares) for group in ranked}
    members = Counter(homes.values())
    for channel in shares.channels:
        if members[channel]:
            continue
        order = ranked if channel == "validation" else ranked[::-1]
        group = next((group for group in order if members[homes[group]] > 1), None)
        if group is None:
            raise DatasetError(
                f"{len(ranked)} groups of pictures are too few for the channels "
                f"{', '.join(shares.channels)}; label more, or group them less"
            )
        members[homes[group]] -= 1
        members[channel] += 1
        homes[group] = lent[group] = channel
    return lent


@dataclass(frozen=True, slots=True)
class KeyPattern:
    r"""Groups by a pattern in the key: pictures that have the same text there stay together.

    Attributes:
        pattern: a regular expression, searched for in the key. With groups in it, what those match is
            the name, such as camera and session in `(cam\d+)/(\d{4}-\d\d-\d\d)/`; without, the
            whole match. A picture it does not match is a group by itself.

    Raises:
        DatasetError: if it is not a regular expression.
    """

    pattern: str
    _compiled: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "_compiled", re.compile(self.pattern))
        except re.error as error:
            raise DatasetError(f"{self.pattern!r} is not a regular expression: {error}") from error

    def __call__(self, image: str) -> str:
        """The group of a picture."""
        match = self._compiled.search(image.removeprefix("s3://").partition("/")[2])
        if match is None:
            return image
        return "/".join(part or "" for part in match.groups()) if match.groups() else match[0]
