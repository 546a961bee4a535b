"""RecordIO frames: what is written is read back, and nothing else is taken for a record."""

from __future__ import annotations

import io
import mmap
import os
import struct
import threading
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gtlabel.errors import RecordIOError
from gtlabel.recordio import MAGIC, decode, encode, encode_all, pieces, read_records, read_views

payloads = st.lists(
    st.lists(st.one_of(st.binary(max_size=9), st.just(MAGIC)), max_size=5).map(b"".join), max_size=8
)


class Trickle(io.RawIOBase):
    """A pipe that hands over a byte at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        byte = self._data.read(min(1, len(buffer)))
        buffer[: len(byte)] = byte
        return len(byte)


def split_like_mxnet(payload: bytes) -> bytes:
    """The record as dmlc's writer frames it: cut at each aligned magic number, which is left out."""
    cuts = [at for at in range(0, len(payload) // 4 * 4, 4) if payload[at : at + 4] == MAGIC]
    starts, ends = [0, *(cut + 4 for cut in cuts)], [*cuts, len(payload)]
    parts = [payload[start:end] for start, end in zip(starts, ends, strict=True)]
    flags = [0] if not cuts else [1, *[2] * (len(cuts) - 1), 3]
    return b"".join(
        MAGIC + struct.pack("<I", flag << 29 | len(part)) + part + b"\0" * (-len(part) % 4)
        for flag, part in zip(flags, parts, strict=True)
    )


def test_the_contracts_vectors_are_written_byte_for_byte() -> None:
    assert encode(b"1").hex() == "0a23d7ce0100000031000000"
    assert encode(b"").hex() == "0a23d7ce00000000"


def test_the_contracts_split_record_gets_its_magic_number_back() -> None:
    wire = bytes.fromhex("0a23d7ce04000020616263640a23d7ce0300006078797a00")
    assert wire == split_like_mxnet(b"abcd" + MAGIC + b"xyz")
    assert list(read_records(io.BytesIO(wire))) == [b"abcd" + MAGIC + b"xyz"]


@given(payloads)
@example([MAGIC, MAGIC * 3, b""])
def test_what_was_written_is_read_back_whole_or_split(records: list[bytes]) -> None:
    assert list(read_records(io.BytesIO(b"".join(map(encode, records))))) == records
    assert list(read_records(io.BytesIO(b"".join(map(split_like_mxnet, records))))) == records


@given(payloads)
def test_a_pipe_that_trickles_is_read_like_a_file(records: list[bytes]) -> None:
    assert list(read_records(Trickle(b"".join(map(encode, records))))) == records  # type: ignore[arg-type]


@given(payloads)
@example([MAGIC, MAGIC * 3, b""])
def test_many_records_are_framed_as_one_by_one_and_read_in_place(records: list[bytes]) -> None:
    whole = b"".join(map(encode, records))
    assert encode_all(records) == encode_all(map(memoryview, records)) == whole
    assert list(decode(whole)) == records
    assert list(decode(bytearray(b"".join(map(split_like_mxnet, records))))) == records


@given(payloads, st.integers(1, 64))
def test_whatever_is_read_at_once_the_records_are_the_same(records: list[bytes], chunk: int) -> None:
    for wire in (encode_all(records), b"".join(map(split_like_mxnet, records))):
        # All held, so that a chunk which was used again would show.
        assert list(read_views(io.BytesIO(wire), chunk)) == records
        assert list(read_views(Trickle(wire), chunk)) == records  # type: ignore[arg-type]


def test_payloads_are_not_copied_on_the_way_in_or_out(tmp_path: Path) -> None:
    picture = bytes(range(256)) * 50
    assert any(piece is picture for piece in pieces([picture, b"1"]))
    file = tmp_path / "records"
    file.write_bytes(encode_all([picture, b"1"]))
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        views = list(decode(mapped))
        assert views == [picture, b"1"]
        assert all(view.obj is mapped and view.readonly for view in views)
        del views


class OnlyReads:
    """A stream such as the body of an answer: it has `read` and nothing else."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def read(self, size: int) -> bytes:
        return self._content.read(min(size, 7))


@given(payloads)
def test_a_stream_need_only_be_readable(records: list[bytes]) -> None:
    assert list(read_records(OnlyReads(encode_all(records)))) == records  # type: ignore[arg-type]


@given(payloads.filter(bool), st.data())
def test_a_stream_that_was_cut_off_is_an_error_or_ends_between_records(
    records: list[bytes], data: st.DataObject
) -> None:
    wire = [encode(record) for record in records]
    whole = b"".join(wire)
    cut = data.draw(st.integers(0, len(whole) - 1))
    boundaries = {sum(map(len, wire[:n])) for n in range(len(wire))}
    if cut in boundaries:
        assert list(read_records(io.BytesIO(whole[:cut]))) == records[: sorted(boundaries).index(cut)]
    else:
        for read in (lambda: read_records(io.BytesIO(whole[:cut])), lambda: decode(whole[:cut])):
            with pytest.raises(RecordIOError, match=r"record \d+ .* the stream ends \d+ bytes before"):
                list(read())


@given(st.binary(min_size=1, max_size=40))
def test_noise_is_refused_where_it_begins(noise: bytes) -> None:
    with pytest.raises(RecordIOError, match="record 0"):
        list(read_records(io.BytesIO(b"\x00" + noise)))
    with pytest.raises(RecordIOError, match="record 1"):
        list(read_records(io.BytesIO(encode(noise) + b"\x00" + noise)))


@pytest.mark.parametrize(
    ("wire", "sentence"),
    [
        (b"\xff\xd8\xff\xe0JFIF", "record 1 .* magic number but with ffd8ffe0"),
        (MAGIC + struct.pack("<I", 3 << 29), "record 1 .* starts with a continuation"),
        (MAGIC + struct.pack("<I", 5 << 29), "record 1 .* flag is 5"),
        (MAGIC + struct.pack("<I", 1 << 29) + encode(b"x"), "record 1 .* a part of it is missing"),
    ],
)
def test_an_error_names_the_record(wire: bytes, sentence: str) -> None:
    with pytest.raises(RecordIOError, match=sentence):
        list(read_records(io.BytesIO(encode(b"good") + wire)))


def test_a_payload_that_its_length_field_cannot_hold_is_refused() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 1 << 29

    with pytest.raises(RecordIOError, match="do not fit into one record"):
        encode(Huge())


def test_records_come_through_a_real_fifo(tmp_path: Path) -> None:
    fifo = tmp_path / "train_0"
    os.mkfifo(fifo)
    records = [bytes([n]) * n * 1000 for n in range(100)]
    writer = threading.Thread(target=lambda: fifo.write_bytes(b"".join(map(encode, records))))
    writer.start()
    with fifo.open("rb") as stream:
        assert list(read_records(stream)) == records
    writer.join()
