"""Frames of AWS's event-stream encoding: headers and a payload between two checksums.

The encoding: https://smithy.io/2.0/aws/amazon-eventstream.html. What Greengrass says in it:
`gtlabel.emulator.ipc`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from zlib import crc32

from gtlabel.errors import EdgeError

HeaderValue = bool | int | str | bytes

# Sizes in bytes, from the encoding's own text.
MOST_PAYLOAD = 24 * 1024 * 1024
MOST_HEADERS = 128 * 1024
_MOST_VALUE = 2**15 - 1
_MOST_NAME = 255
_PRELUDE = struct.Struct(">III")
_CHECKSUM = struct.Struct(">I")
_AROUND = _PRELUDE.size + _CHECKSUM.size
# Values of one size, by the number of their type: byte, short, integer, long, timestamp.
_NUMBERS = {2: ">b", 3: ">h", 4: ">i", 5: ">q", 8: ">q"}
_TRUE, _FALSE, _INTEGER, _BYTES, _TEXT, _UUID = 0, 1, 4, 6, 7, 9


class FrameError(EdgeError, ValueError):
    """Bytes that are no frame, or values that fit into none."""


class Source(Protocol):
    """Where frames come from, such as an `asyncio.StreamReader`."""

    async def readexactly(self, n: int, /) -> bytes:
        """So many bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Frame:
    """One message.

    Attributes:
        headers: values by name; whole numbers of 32 bits, texts, bytes and truth values can be sent.
        payload: at most 24 MiB.
    """

    headers: Mapping[str, HeaderValue] = field(default_factory=dict)
    payload: bytes = b""


def encode(frame: Frame) -> bytes:
    """A frame as it goes over the wire.

    Raises:
        FrameError: if a header or the payload is larger than the encoding has room for.
    """
    headers = b"".join(_encode_header(name, value) for name, value in frame.headers.items())
    if len(headers) > MOST_HEADERS or len(frame.payload) > MOST_PAYLOAD:
        raise FrameError(
            f"a frame holds at most {MOST_HEADERS} bytes of headers and {MOST_PAYLOAD} of payload, "
            f"not {len(headers)} and {len(frame.payload)}"
        )
    lengths = struct.pack(">II", _AROUND + len(headers) + len(frame.payload), len(headers))
    message = b"".join((lengths, _CHECKSUM.pack(crc32(lengths)), headers, frame.payload))
    return message + _CHECKSUM.pack(crc32(message))


def decode(message: bytes) -> Frame:
    """The frame that some bytes are, all of them.

    Raises:
        FrameError: if they are none: too short or long, a checksum that is wrong, headers that are broken.
    """
    if len(message) < _AROUND:
        raise FrameError(f"{len(message)} bytes are no frame, which has at least {_AROUND}")
    total, headers = _lengths(message[: _PRELUDE.size])
    if total != len(message):
        raise FrameError(f"a frame of {total} bytes came with {len(message)}")
    return _body(message, headers)


async def read_frame(source: Source) -> Frame:
    """The next frame of a connection.

    Raises:
        FrameError: if what comes is none; nothing after it can be read.
        asyncio.IncompleteReadError: when the connection ends.
    """
    prelude = await source.readexactly(_PRELUDE.size)
    total, headers = _lengths(prelude)
    return _body(prelude + await source.readexactly(total - _PRELUDE.size), headers)


def _lengths(prelude: bytes) -> tuple[int, int]:
    """How long the whole frame and its headers are; nothing larger than allowed is waited for."""
    total, headers, checksum = _PRELUDE.unpack(prelude)
    if crc32(prelude[:8]) != checksum:
        raise FrameError("the checksum of a frame's lengths is wrong")
    payload = total - headers - _AROUND
    if payload < 0 or headers > MOST_HEADERS or payload > MOST_PAYLOAD:
        raise FrameError(f"a frame of {total} bytes cannot have {headers} bytes of headers")
    return total, headers


def _body(message: bytes, headers: int) -> Frame:
    (checksum,) = _CHECKSUM.unpack(message[-_CHECKSUM.size :])
    if crc32(memoryview(message)[: -_CHECKSUM.size]) != checksum:
        raise FrameError("the checksum of a frame is wrong")
    end = _PRELUDE.size + headers
    return Frame(_decode_headers(message[_PRELUDE.size : end]), message[end : -_CHECKSUM.size])


def _encode_header(name: str, value: HeaderValue) -> bytes:
    label = name.encode()
    if not 1 <= len(label) <= _MOST_NAME:
        raise FrameError(f"a header's name has 1 to {_MOST_NAME} bytes, not {len(label)}")
    start = bytes((len(label),)) + label
    if isinstance(value, bool):
        return start + bytes((_TRUE if value else _FALSE,))
    if isinstance(value, int):
        if not -(2**31) <= value < 2**31:
            raise FrameError(f"the header {name} is a number of 32 bits, not {value}")
        return start + struct.pack(">Bi", _INTEGER, value)
    kind, raw = (_TEXT, value.encode()) if isinstance(value, str) else (_BYTES, value)
    if len(raw) > _MOST_VALUE:
        raise FrameError(f"the header {name} has {len(raw)} bytes; at most {_MOST_VALUE} fit")
    return start + struct.pack(">BH", kind, len(raw)) + raw


def _decode_headers(block: bytes) -> dict[str, HeaderValue]:
    found: dict[str, HeaderValue] = {}
    at = 0

    def take(count: int) -> bytes:
        nonlocal at
        if at + count > len(block):
            raise FrameError("a frame's headers end in the middle of one")
        at += count
        return block[at - count : at]

    try:
        while at < len(block):
            name = take(take(1)[0]).decode()
            if not name or name in found:
                raise FrameError(f"a frame has the header {name!r} twice" if name else "a header has no name")
            found[name] = _value(take(1)[0], take)
    except UnicodeDecodeError as error:
        raise FrameError(f"a header of a frame is not UTF-8: {error}") from None
    return found


def _value(kind: int, take: Callable[[int], bytes]) -> HeaderValue:
    if kind in (_TRUE, _FALSE):
        return kind == _TRUE
    if kind in _NUMBERS:
        form = struct.Struct(_NUMBERS[kind])
        number: int = form.unpack(take(form.size))[0]
        return number
    if kind == _UUID:
        return take(16)
    if kind not in (_BYTES, _TEXT):
        raise FrameError(f"a frame has a header of type {kind}, which does not exist")
    raw = take(int.from_bytes(take(2)))
    return raw.decode() if kind == _TEXT else raw
