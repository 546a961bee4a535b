"""The frames that a device is least sure of, kept for people to label.

Nothing is kept unless the owner of the device names a folder. In it lies one folder per day (UTC), and in
that each picture with its sidecar, `2026-11-23/<name>.jpg` and `2026-11-23/<name>.json`, the name being made
of the picture's bytes. `gtlabel edge collect` brings them back to S3.

A day's budget is not first come, first served: when it is spent, a frame that the model was surer of gives
way to one that it is less sure of. What looks like a frame that was kept is passed over, so that a camera
that looks at one thing all day keeps it once. A disk that is full stops none of the classifying.

Runs on the device: standard library, numpy and Pillow.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import sys
from bisect import insort
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from gtlabel.edge.device.looks import Look

SCHEMA = 1
# Of the line that the sinks get, this and no more: a broker's address or a password has no business here.
_COPIED = ("label", "confidence", "model", "thing", "ts")
_OURS = re.compile(r"[0-9a-f]{20}\.(jpg|png|json)")
_PARTIAL = ".part"
# So many looks back a frame is compared; a comparison costs a fraction of a microsecond.
_MOST_LOOKS = 4096


def doubt(values: Sequence[float], *, several: bool = False) -> float:
    """How unsure a model is of a picture, from 0 (sure) to 1.

    One class out of several: 1 less the lead of the first class over the second. Where a picture may show
    several classes, each is a question of its own, and the one nearest to a half counts.

    Args:
        values: a probability for each class.
        several: whether a picture may show several classes at once.
    """
    if several:
        return max((1 - abs(2 * value - 1) for value in values), default=0.0)
    if len(values) < 2:
        return 0.0
    second, first = sorted(values)[-2:]
    return 1 - (first - second)


def confidence(values: Sequence[float], *, several: bool = False) -> float:
    """The first class's probability, or, where a picture may show several, that of the least sure answer."""
    if several:
        return min((max(value, 1 - value) for value in values), default=1.0)
    return max(values, default=1.0)


@dataclass(frozen=True, slots=True, order=True)
class _Kept:
    """A frame in the folder; those that the model was surest of come first."""

    doubt: float
    day: str
    name: str
    size: int


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _utc_now() -> datetime:
    return datetime.now(UTC)


class UnsureFrames:
    """Keeps the frames of a camera that its model is least sure of.

    Args:
        folder: where they are kept; made when the first is.
        below: a frame whose confidence reaches this is of no interest.
        per_day: how many to keep of one day (UTC).
        max_bytes: how much all days together may take.
        several: whether a picture may show several classes at once.
        labels: the model's classes in the order of its values, for the sidecars.
        now: tells the time.
        say: told once when the folder cannot be written to, and once when it can again.
    """

    def __init__(
        self,
        folder: Path,
        *,
        below: float = 0.6,
        per_day: int = 50,
        max_bytes: int = 256 << 20,
        several: bool = False,
        labels: Sequence[str] = (),
        now: Callable[[], datetime] = _utc_now,
        say: Callable[[str], None] = _tell,
    ) -> None:
        self._folder = folder
        self._below = below
        self._per_day = per_day
        self._max_bytes = max_bytes
        self._several = several
        self._labels = list(labels)
        self._now = now
        self._say = say
        self._troubled = False
        self._kept: list[_Kept] = []
        self._bytes = 0
        # What gave way to a frame that is less sure stays known: it would only come and go.
        self._looks: OrderedDict[str, Look] = OrderedDict()
        try:
            self._survey()
        except OSError as error:
            self._complain(error)

    def consider(self, picture: bytes, values: Sequence[float], line: Mapping[str, Any]) -> bool:
        """Keep a frame if it is worth its place; say whether it was kept.

        A folder that cannot be written to raises nothing: it is told, and tried again with the next frame.

        Args:
            picture: the file that was classified.
            values: what the model said of it, a probability for each class.
            line: what the sinks are told of it.
        """
        values = [round(float(value), 6) for value in values]
        if confidence(values, several=self._several) >= self._below:
            return False
        how = doubt(values, several=self._several)
        day = self._now().astimezone(UTC).date().isoformat()
        # Before the picture is opened: with a spent budget this is where most frames end.
        if self._giving_way(how, day, len(picture)) is None:
            return False
        look = Look.of(picture)
        if look is None or any(look.resembles(other) for other in reversed(self._looks.values())):
            return False
        try:
            kept = self._store(picture, values, line, look, how, day)
        except OSError as error:
            self._complain(error)
            return False
        if kept and self._troubled:
            self._say(f"unsure frames are kept in {self._folder} again")
            self._troubled = False
        return kept

    def _giving_way(self, how: float, day: str, size: int) -> list[_Kept] | None:
        """The frames that a new one would replace; None if it is not worth it."""
        of_day = [kept for kept in self._kept if kept.day == day]
        leaving = of_day[: max(0, len(of_day) + 1 - self._per_day)]
        too_much = self._bytes + size - self._max_bytes - sum(kept.size for kept in leaving)
        for kept in self._kept:
            if too_much <= 0:
                break
            if kept not in leaving:
                leaving.append(kept)
                too_much -= kept.size
        worth_it = too_much <= 0 and self._per_day > 0 and all(kept.doubt < how for kept in leaving)
        return leaving if worth_it else None

    def _store(
        self,
        picture: bytes,
        values: list[float],
        line: Mapping[str, Any],
        look: Look,
        how: float,
        day: str,
    ) -> bool:
        picture, ending = _as_kept(picture)
        digest = hashlib.sha256(picture).hexdigest()
        name = digest[:20]
        sidecar = {
            "schema": SCHEMA,
            "image": f"{name}.{ending}",
            "sha256": digest,
            "labels": self._labels,
            "values": values,
            **{key: line.get(key) for key in _COPIED},
            "several": self._several,
            "look": str(look),
        }
        written = json.dumps(sidecar, ensure_ascii=False).encode() + b"\n"
        size = len(picture) + len(written)
        leaving = self._giving_way(how, day, size)
        if leaving is None:
            return False
        folder = self._folder / day
        folder.mkdir(parents=True, exist_ok=True)
        # The sidecar last: a picture counts from when it is there.
        try:
            _write(folder / f"{name}.{ending}", picture)
            _write(folder / f"{name}.json", written)
        except OSError:
            _remove(folder, name)
            raise
        self._add(_Kept(how, day, name, size), look)
        for kept in leaving:
            self._kept.remove(kept)
            self._bytes -= kept.size
            _remove(self._folder / kept.day, kept.name)
        return True

    def _survey(self) -> None:
        """Learn what earlier runs kept, and clear away what one of them did not finish."""
        for file in sorted(self._folder.glob("*-*-*/*")):
            if file.name.endswith(_PARTIAL):
                file.unlink(missing_ok=True)
                continue
            if not _OURS.fullmatch(file.name):
                continue
            sidecar = file.with_suffix(".json")
            if not sidecar.exists():
                file.unlink(missing_ok=True)
            elif file != sidecar:
                self._take_up(file, sidecar)

    def _take_up(self, picture: Path, sidecar: Path) -> None:
        try:
            said = json.loads(sidecar.read_bytes())
            how = doubt([float(value) for value in said["values"]], several=bool(said["several"]))
            look = Look.read(said["look"])
        except (ValueError, TypeError, KeyError) as error:
            self._say(f"{sidecar} is damaged ({error}); its picture is left where it is and not counted")
            return
        size = picture.stat().st_size + sidecar.stat().st_size
        self._add(_Kept(how, picture.parent.name, picture.stem, size), look)

    def _add(self, kept: _Kept, look: Look) -> None:
        insort(self._kept, kept)
        self._bytes += kept.size
        self._looks[kept.name] = look
        while len(self._looks) > _MOST_LOOKS:
            self._looks.popitem(last=False)

    def _complain(self, error: OSError) -> None:
        if not self._troubled:
            self._say(f"unsure frames cannot be kept in {self._folder}: {error.strerror or error}")
        self._troubled = True


def _as_kept(picture: bytes) -> tuple[bytes, str]:
    """The file as it is kept: JPEG and PNG untouched, anything else, which workers could not see, as JPEG."""
    if picture.startswith(b"\xff\xd8\xff"):
        return picture, "jpg"
    if picture.startswith(b"\x89PNG\r\n\x1a\n"):
        return picture, "png"
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(picture)) as opened:
        opened.convert("RGB").save(buffer, "JPEG", quality=95)
    return buffer.getvalue(), "jpg"


def _write(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, also after the power was cut."""
    partial = path.with_name(path.name + _PARTIAL)
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        # What was written of it takes room that others on a full disk could use.
        partial.unlink(missing_ok=True)
        raise


def _remove(folder: Path, name: str) -> None:
    for ending in ("json", "jpg", "png"):
        (folder / f"{name}.{ending}").unlink(missing_ok=True)
