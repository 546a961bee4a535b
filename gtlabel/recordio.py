"""RecordIO: the frames that pictures and labels travel in through a channel.

The bytes are those of contract/training.md §4.4, all little-endian:

    u32 magic, u32 (flag << 29 | length), payload, zero bytes up to a multiple of four

A payload may hold the magic number itself. MXNet's writer then splits the record there and its reader
puts the magic back between the parts, but AWS's readers join the parts without it, and four bytes are
lost. An unsplit record is read alike by both, so that is all we write; we read both kinds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from gtlabel.errors import RecordIOError

MAGIC = bytes.fromhex("0a23d7ce")
LONGEST = (1 << 29) - 1

_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
_HEADER = struct.Struct("<4sI")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


def encode(payload: bytes) -> bytes:
    """Frame one record, never split.

    Raises:
        RecordIOError: if the payload is too long for the 29 bits of its length.
    """
    size = len(payload)
    if size > LONGEST:
        raise RecordIOError(0, f"{size} bytes do not fit into one record; the limit is {LONGEST}")
    return _HEADER.pack(MAGIC, size) + payload + _PADDING[size % 4]


def read_records(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the payloads of a stream until it ends, one in memory at a time.

    The stream may be a pipe: short reads are continued. Records in parts, as MXNet writes them, are
    joined with the magic number between the parts.

    Raises:
        RecordIOError: at the first record that is not one, or that the stream ends in.
    """
    number = 0
    while header := _take(stream, _HEADER.size, number, may_end=True):
        flag, payload = _part(stream, header, number)
        if flag == _WHOLE:
            yield payload
        elif flag == _FIRST:
            yield MAGIC.join([payload, *_rest(stream, number)])
        else:
            raise RecordIOError(number, f"it starts with a continuation (flag {flag})")
        number += 1


def _rest(stream: BinaryIO, number: int) -> Iterator[bytes]:
    flag = _MIDDLE
    while flag != _LAST:
        flag, payload = _part(stream, _take(stream, _HEADER.size, number), number)
        if flag not in (_MIDDLE, _LAST):
            raise RecordIOError(number, f"a part of it is missing (flag {flag} where 2 or 3 belongs)")
        yield payload


def _part(stream: BinaryIO, header: bytes, number: int) -> tuple[int, bytes]:
    magic, word = _HEADER.unpack(header)
    if magic != MAGIC:
        raise RecordIOError(number, f"it does not start with the magic number but with {magic.hex()}")
    flag, size = word >> 29, word & LONGEST
    if flag > _LAST:
        raise RecordIOError(number, f"its flag is {flag}, which no writer uses")
    body = _take(stream, size + len(_PADDING[size % 4]), number)
    return flag, body[:size]


def _take(stream: BinaryIO, size: int, number: int, *, may_end: bool = False) -> bytes:
    data = stream.read(size) or b""
    if len(data) == size or (may_end and not data):
        return data
    pieces = [data]
    missing = size - len(data)
    while missing and (data := stream.read(missing)):
        pieces.append(data)
        missing -= len(data)
    if missing:
        raise RecordIOError(number, f"the stream ends {missing} bytes before it is complete")
    return b"".join(pieces)
