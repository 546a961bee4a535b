"""RecordIO: the frames that pictures and labels travel in through a channel.

The bytes are those of contract/training.md §4.4, all little-endian:

    u32 magic, u32 (flag << 29 | length), payload, zero bytes up to a multiple of four

A payload may hold the magic number itself. MXNet's writer then splits the record there and its reader
puts the magic back between the parts, but AWS's readers join the parts without it, and four bytes are
lost. An unsplit record is read alike by both, so that is all we write; we read both kinds.

Payloads are not copied where that can be helped: `pieces` leaves them as they are for a gathering write,
`decode` and `read_views` hand out views of the bytes that are there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from gtlabel.errors import RecordIOError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MAGIC = bytes.fromhex("0a23d7ce")
LONGEST = (1 << 29) - 1

_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
_HEADER = struct.Struct("<4sI")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
# As much as a pipe holds at most for an ordinary user of Linux.
_CHUNK = 1 << 20

_Payload = TypeVar("_Payload", bound=Sized)
_Fill = Callable[[memoryview], int]


def encode(payload: bytes) -> bytes:
    """Frame one record, never split.

    Raises:
        RecordIOError: if the payload is too long for the 29 bits of its length.
    """
    return b"".join(pieces((payload,)))


def encode_all(payloads: Iterable[bytes | memoryview]) -> bytes:
    """Frame many records, one after the other.

    Raises:
        RecordIOError: at the first payload that is too long.
    """
    return b"".join(pieces(payloads))


def pieces(payloads: Iterable[_Payload]) -> list[bytes | _Payload]:
    """The frames of records in pieces, to be joined or written in one go (`os.writev`): two for a record.

    The payloads are among them as they are; all that is asked of them is how long they are.

    Raises:
        RecordIOError: at the first payload that is too long.
    """
    found: list[bytes | _Payload] = []
    add, pack, padding = found.append, _HEADER.pack, _PADDING
    rest = b""
    for payload in payloads:
        size = len(payload)
        if size > LONGEST:
            raise RecordIOError(
                len(found) // 2, f"{size} bytes do not fit into one record; the limit is {LONGEST}"
            )
        add(rest + pack(MAGIC, size))
        add(payload)
        rest = padding[size & 3]
    if rest:
        add(rest)
    return found


def decode(buffer: ReadableBuffer) -> Iterator[memoryview]:
    """Yield the payloads in a buffer, such as bytes or a mapped file, as views of it.

    Only a record in parts is copied, to put it together. A mapped file cannot be closed before its views
    are gone.

    Raises:
        RecordIOError: at the first record that is not one, or that the buffer ends in.
    """
    view = memoryview(buffer).cast("B").toreadonly()
    return _records(view, len(view), 0, lambda _: 0)


def read_views(stream: BinaryIO, chunk: int = _CHUNK) -> Iterator[memoryview]:
    """Yield the payloads of a stream until it ends, as views of the chunks that it was read in.

    The stream may be a pipe: whatever is there is handed out at once. A view stays good for as long as it is
    held, and keeps its whole chunk in memory; who keeps many wants `read_records`.

    Args:
        stream: what to read; it may be read further than the records that were taken.
        chunk: how many bytes are read at once at most, and held; a longer record takes as much as it needs.

    Raises:
        RecordIOError: at the first record that is not one, or that the stream ends in.
    """
    return _records(memoryview(bytearray(chunk)), 0, chunk, _filling(stream))


def read_records(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the payloads of a stream until it ends, each as bytes of its own; see `read_views`.

    Raises:
        RecordIOError: at the first record that is not one, or that the stream ends in.
    """
    return map(bytes, read_views(stream))


def _records(room: memoryview, end: int, chunk: int, fill: _Fill) -> Iterator[memoryview]:
    """Yield the payloads of the first `end` bytes of a room, and of all that fills it and more after them."""
    views = room.toreadonly()
    start = number = 0
    parts: list[bytes] = []
    unpack, header = _HEADER.unpack_from, _HEADER.size
    while True:
        wanted = header
        while end - start >= header:
            magic, word = unpack(room, start)
            if magic != MAGIC or word > LONGEST or parts:
                _check(magic, word >> 29, number, inside=bool(parts))
            size = word & LONGEST
            wanted = header + size + (-size & 3)
            if end - start < wanted:
                break
            begin = start + header
            start += wanted
            wanted = header
            if word <= LONGEST:
                yield views[begin : begin + size]
            else:
                parts.append(bytes(views[begin : begin + size]))
                if word >> 29 != _LAST:
                    continue
                yield memoryview(MAGIC.join(parts))
                parts.clear()
            number += 1
        if len(room) - start < wanted:
            rest = room[start:end]
            # A new room, because somebody may still hold views of this one.
            room = memoryview(bytearray(max(chunk, wanted)))
            views = room.toreadonly()
            room[: len(rest)] = rest
            start, end = 0, len(rest)
        got = fill(room[end:])
        if not got:
            break
        end += got
    if end > start or parts:
        raise RecordIOError(number, f"the stream ends {wanted - (end - start)} bytes before it is complete")


def _check(magic: bytes, flag: int, number: int, *, inside: bool) -> None:
    """Refuse a header that cannot stand where it stands."""
    if magic != MAGIC:
        raise RecordIOError(number, f"it does not start with the magic number but with {magic.hex()}")
    if flag > _LAST:
        raise RecordIOError(number, f"its flag is {flag}, which no writer uses")
    if inside and flag not in (_MIDDLE, _LAST):
        raise RecordIOError(number, f"a part of it is missing (flag {flag} where 2 or 3 belongs)")
    if not inside and flag not in (_WHOLE, _FIRST):
        raise RecordIOError(number, f"it starts with a continuation (flag {flag})")


def _filling(stream: BinaryIO) -> _Fill:
    """The way to read what is there into a room, and how much that was; 0 at the end."""
    into: Any = getattr(stream, "readinto1", None) or getattr(stream, "readinto", None)
    if into is not None:
        return lambda room: into(room) or 0

    def copy(room: memoryview) -> int:
        data = stream.read(len(room))
        room[: len(data)] = data
        return len(data)

    return copy
