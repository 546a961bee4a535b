"""The lines of an augmented manifest as what a channel consists of, epoch after epoch.

Line by line and attribute by attribute, in the order of the channel: the object behind an attribute that ends
in `-ref`, the text of any other (contract/training.md §4.3).
"""

from __future__ import annotations

import json
from array import array
from collections import deque
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gtlabel.emulator.pictures import OpenFile, Pending, Pictures
from gtlabel.emulator.shuffle import order
from gtlabel.errors import GtlabelError, ManifestError, ManifestLineError

if TYPE_CHECKING:
    from gtlabel.emulator.pipe import PipeChannel

# What may be in memory before the program has read it: pictures of 12 megapixels have a few megabytes.
_AHEAD = 64 << 20
_FEW = 4

_Begun = list[bytes | Pending]


class Manifest:
    """An augmented manifest: fetched once and kept on disk, while in memory are its lines' offsets.

    Args:
        pictures: finds it and the objects that it names; this closes them.
        channel: says which attributes are fed, and in which order.
        copy: the file that the manifest is kept in.
    """

    def __init__(self, pictures: Pictures, channel: PipeChannel, copy: Path) -> None:
        self._pictures = pictures
        self._channel = channel
        self._copy = copy
        self._offsets = array("Q")
        self._numbers = array("Q")
        # The values of a line stay as they are spelled: what arrives is the manifest's own text.
        self._decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

    def __len__(self) -> int:
        """How many lines there are; known once it was entered."""
        return len(self._offsets)

    def __enter__(self) -> Manifest:
        """Fetch it.

        Raises:
            GtlabelError: if it cannot be read, or is empty.
        """
        try:
            self._fetch()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._pictures.close()
        self._copy.unlink(missing_ok=True)

    def _fetch(self) -> None:
        manifest = self._channel.manifest
        position = 0
        with self._copy.open("wb") as copy:
            for number, line in enumerate(self._pictures.lines(manifest), start=1):
                if line.strip():
                    self._offsets.append(position)
                    self._numbers.append(number)
                    position += copy.write(line + b"\n")
        if not self._offsets:
            raise ManifestError(f"{manifest} has no line, and a channel without images cannot be trained on")

    def values(self, epoch: int) -> Generator[bytes | OpenFile | None]:
        """Yield what an epoch consists of, while the objects of the lines ahead are being fetched.

        None stands where the next one takes a while; a file that is open is the taker's to close.

        Raises:
            ManifestLineError: when its turn comes, not before: what precedes it has been yielded.
        """
        ahead: deque[tuple[int, _Begun | ManifestLineError]] = deque()
        lines = self._lines(epoch)
        # Few at first, because nobody knows yet how large they are.
        width, largest = _FEW, 1
        try:
            while True:
                for number, line in lines:
                    ahead.append((number, self._begin(number, line)))
                    if len(ahead) >= width:
                        break
                if not ahead:
                    return
                number, begun = ahead.popleft()
                if isinstance(begun, ManifestLineError):
                    raise begun
                for value in begun:
                    if not isinstance(value, bytes) and not value.done():
                        yield None
                        break
                values = self._results(number, begun)
                yield from values
                largest = max(largest, sum(map(len, values)))
                width = max(1, min(2 * width, self._pictures.widest, _AHEAD // largest))
        finally:
            lines.close()
            for _, begun in ahead:
                if not isinstance(begun, ManifestLineError):
                    _drop(begun)

    def _lines(self, epoch: int) -> Generator[tuple[int, bytes]]:
        with self._copy.open("rb") as copy:
            if self._channel.seed is None:
                yield from zip(self._numbers, copy, strict=True)
                return
            for position in order(len(self._offsets), self._channel.seed, epoch):
                copy.seek(self._offsets[position])
                yield self._numbers[position], copy.readline()

    def _begin(self, number: int, line: bytes) -> _Begun | ManifestLineError:
        """The values of a line, those that are objects on their way; an error waits for its turn."""
        begun: _Begun = []
        try:
            record = self._decode(line)
            for attribute in self._channel.attributes:
                if attribute not in record:
                    known = ", ".join(record) or "none"
                    raise self._error(number, f"it has no attribute {attribute!r}; those it has: {known}")
                begun.append(self._value(number, attribute, record[attribute]))
        except (msgspec.MsgspecError, GtlabelError) as error:
            _drop(begun)
            if isinstance(error, ManifestLineError):
                return error
            return self._error(number, str(error) if isinstance(error, GtlabelError) else _why(line))
        return begun

    def _value(self, number: int, attribute: str, raw: msgspec.Raw) -> bytes | Pending:
        text = bytes(raw)
        if attribute.endswith("-ref"):
            if not text.startswith(b'"'):
                raise self._error(number, f"its {attribute!r} is not an S3 address but {text.decode()}")
            return self._pictures.begin(msgspec.json.decode(text, type=str))
        return msgspec.json.decode(text, type=str).encode() if text.startswith(b'"') else text

    def _results(self, number: int, begun: _Begun) -> list[bytes | OpenFile]:
        values: list[bytes | OpenFile] = []
        try:
            for value in begun:
                if isinstance(value, bytes) or (isinstance(value, OpenFile) and value.pours):
                    values.append(value)
                else:
                    values.append(value.result())
        except GtlabelError as error:
            _drop(begun[len(values) + 1 :])
            raise self._error(number, str(error)) from error
        return values

    def _error(self, number: int, reason: str) -> ManifestLineError:
        return ManifestLineError(self._channel.manifest, number, reason)


def _drop(begun: _Begun) -> None:
    for value in begun:
        if not isinstance(value, bytes):
            value.cancel()


def _why(line: bytes) -> str:
    """Why a line is no record."""
    try:
        record = json.loads(line)
    except ValueError as error:
        return f"it is not JSON ({error})"
    if isinstance(record, dict):
        return "it is not JSON as AWS reads it"
    return f"it is not a JSON object but {type(record).__name__}"
