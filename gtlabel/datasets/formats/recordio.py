"""Pictures and their labels in one file, as im2rec packs them: for File mode, and for MXNet's own readers.

A record is a header, MXNet's `IRHeader`, and the bytes of the picture as they are:

    u32 flag (0: one label), f32 label, u64 id, u64 id2 (0), all little-endian

https://github.com/apache/mxnet/blob/1.9.1/python/mxnet/recordio.py. The index beside it has a line
`id TAB position` for each record, so that readers can shuffle.

Records here are framed by MXNet's rule and not by AWS's (contract/training.md §4.4), because MXNet reads
these files: where the magic number stands in a picture at a multiple of four, the record is split there.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator

from gtlabel.datasets.channels import Example
from gtlabel.datasets.formats.target import Target, Written, channels_of, pictures_of
from gtlabel.errors import RecordIOError
from gtlabel.manifests.classes import ClassList
from gtlabel.recordio import LONGEST, MAGIC

HEADER = struct.Struct("<IfQQ")
_FRAME = struct.Struct("<4sI")
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
_LINES = 4096


def write(examples: Iterable[Example], classes: ClassList, target: Target) -> list[Written]:
    """Write `<channel>.rec` and `<channel>.idx` for each channel.

    Raises:
        RecordIOError: if a picture is too long for a record.
    """
    written: list[Written] = []
    for channel, members in channels_of(examples):
        positions = array("Q")
        records = _records(members, classes, target, positions)
        written.append(target.write(f"{channel}.rec", records, "application/x-recordio"))
        written.append(target.write(f"{channel}.idx", _index(positions), "text/tab-separated-values"))
    return written


def pack(label: float, number: int, picture: bytes) -> bytes:
    """One record, framed.

    Raises:
        RecordIOError: if the picture is too long for a record.
    """
    size = HEADER.size + len(picture)
    if size > LONGEST:
        raise RecordIOError(number, f"{size} bytes do not fit into one record; the limit is {LONGEST}")
    return b"".join(_framed(HEADER.pack(0, label, number, 0) + picture))


def _records(
    examples: Iterable[Example], classes: ClassList, target: Target, positions: array[int]
) -> Iterator[bytes]:
    labels = {name: position for position, name in enumerate(classes)}
    position = 0
    for number, (example, picture) in enumerate(pictures_of(examples, target)):
        record = pack(labels[example.class_name], number, picture)
        positions.append(position)
        position += len(record)
        yield record


def _framed(payload: bytes) -> Iterator[bytes]:
    parts = _parts(payload)
    for place, part in enumerate(parts):
        if len(parts) == 1:
            flag = _WHOLE
        elif place == 0:
            flag = _FIRST
        else:
            flag = _LAST if place == len(parts) - 1 else _MIDDLE
        yield _FRAME.pack(MAGIC, flag << 29 | len(part))
        yield part
        yield bytes(-len(part) % 4)


def _parts(payload: bytes) -> list[bytes]:
    parts = []
    start = 0
    found = payload.find(MAGIC)
    while found >= 0:
        if found % 4 == 0:
            parts.append(payload[start:found])
            start = found + 4
            found = payload.find(MAGIC, start)
        else:
            found = payload.find(MAGIC, found + 1)
    parts.append(payload[start:])
    return parts


def _index(positions: array[int]) -> Iterator[bytes]:
    for start in range(0, len(positions), _LINES):
        some = positions[start : start + _LINES]
        yield "".join(f"{number}\t{position}\n" for number, position in enumerate(some, start)).encode()
