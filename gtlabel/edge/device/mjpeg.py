"""Pictures out of Motion JPEG: JPEG files one after another, with anything or nothing between them.

There is no standard for it beyond that. A file or FIFO has the bare pictures; over HTTP each has a part of a
`multipart/x-mixed-replace` answer, whose boundaries and headers are passed over here like any other bytes.
Pictures are followed marker by marker (ITU-T T.81, annex B), since a thumbnail in one has an end of its own.
"""

from __future__ import annotations

import re

# No camera's picture is larger; without an end a broken one would grow until the memory is full.
_MOST_BYTES = 32 << 20
_BEGIN = b"\xff\xd8\xff"
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
# Markers without a length: TEM, and where decoders may begin anew.
_ALONE = {0x01, *range(0xD0, 0xD8)}
# In the coded data 0xFF is followed by 0 where it is data, and by D0 to D7 where decoders may begin anew.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


class Splitter:
    """Takes bytes as they come and gives pictures as they are complete.

    Attributes:
        broken: pictures that began and did not end.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._buffer = bytearray()
        # Up to where the picture at the start of the buffer was followed; 0 looks for the start of one.
        self._at = 0
        self._coded = False
        self.broken = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes; return the pictures that end in them."""
        self._buffer += data
        pictures = []
        while self._begin():
            end, whole = self._follow()
            if end is None:
                if len(self._buffer) <= self._most_bytes:
                    break
                end = len(_BEGIN)
            if whole:
                pictures.append(bytes(self._buffer[:end]))
            else:
                self.broken += 1
            del self._buffer[:end]
            self._at = 0
        return pictures

    def _begin(self) -> bool:
        """Put the start of a picture at the start of the buffer, if there is one in it."""
        if self._at == 0:
            start = self._buffer.find(_BEGIN)
            if start < 0:
                del self._buffer[: -len(_BEGIN) + 1]
                return False
            del self._buffer[:start]
            self._at, self._coded = 2, False
        return True

    def _follow(self) -> tuple[int | None, bool]:
        """Where the picture ends, and whether it is whole; None while the bytes do not reach so far."""
        buffer = self._buffer
        while True:
            if self._coded:
                found = _MARKER.search(buffer, self._at)
                if found is None:
                    self._at = max(self._at, len(buffer) - 1)
                    return None, False
                self._at, self._coded = found.start(), False
            if len(buffer) < self._at + 2:
                return None, False
            mark, kind = buffer[self._at : self._at + 2]
            if mark != 0xFF or kind == 0:
                # What follows may be the next picture, if this one lost its middle.
                return len(_BEGIN), False
            if kind == _EOI:
                return self._at + 2, True
            if kind == _SOI:
                return self._at, False
            if kind == 0xFF or kind in _ALONE:
                self._at += 1 if kind == 0xFF else 2
                continue
            if len(buffer) < self._at + 4:
                return None, False
            self._at += 2 + max(2, int.from_bytes(buffer[self._at + 2 : self._at + 4], "big"))
            self._coded = kind == _SOS
