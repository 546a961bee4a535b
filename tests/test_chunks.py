"""Lines of files that are packed, cut off, or have no ends."""

from __future__ import annotations

import gzip
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtlabel.aws import Aws
from gtlabel.errors import ManifestError, ManifestLineError
from gtlabel.manifests.chunks import LINE_BYTES, read_chunks
from gtlabel.manifests.lines import read_records
from gtlabel.storage import read_file_lines, read_lines, write
from gtlabel.uris import S3Uri

LINE = b'{"source-ref":"s3://photos/1.jpg"}'


def pieces(body: bytes, size: int) -> Iterator[bytes]:
    yield from (body[start : start + size] for start in range(0, len(body), size))


@given(
    lines=st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"").rstrip(b"\r"))),
    end=st.sampled_from([b"\n", b"\r\n"]),
    size=st.integers(1, 40),
    members=st.integers(0, 3),
)
def test_lines_do_not_depend_on_how_they_arrive(
    lines: list[bytes], end: bytes, size: int, members: int
) -> None:
    # Two bytes that happen to be gzip's would be taken for it; a manifest begins with a brace.
    lines = [b"{", *lines]
    body = b"".join(line + end for line in lines)
    if members:
        share = len(body) // members + 1
        body = b"".join(gzip.compress(part) for part in pieces(body, share))
    assert list(read_chunks(pieces(body, size), "m")) == lines


def test_the_last_line_may_go_without_its_end() -> None:
    assert list(read_chunks([b"a\nb\r"], "m")) == [b"a", b"b"]
    assert list(read_chunks([b"a\nb"], "m")) == [b"a", b"b"]
    assert list(read_chunks([], "m")) == []


def test_a_carriage_return_alone_ends_no_line() -> None:
    assert list(read_chunks([b'{"a":\r1}\n'], "m")) == [b'{"a":\r1}']


def test_a_packed_file_may_be_filled_up_with_zeros() -> None:
    assert list(read_chunks([gzip.compress(b"a\n"), b"\0" * 700], "m")) == [b"a"]


@pytest.mark.parametrize("cut", [-1, -4, -8, 14])
def test_a_packed_file_whose_end_is_missing_is_no_shorter_manifest(cut: int) -> None:
    with pytest.raises(ManifestError, match=r"m\.gz is a gzip file whose end is missing; fetch it again"):
        list(read_chunks([gzip.compress(LINE)[:cut]], "m.gz"))


@pytest.mark.parametrize("tail", [b"more", gzip.compress(b"b", mtime=0)[:-8] + b"\0\0\0\0\1\0\0\0"])
def test_a_packed_file_that_is_damaged_is_named(tail: bytes) -> None:
    with pytest.raises(ManifestError, match=r"m\.gz begins as a gzip file and is damaged further on"):
        list(read_chunks([gzip.compress(LINE + b"\n"), tail], "m.gz"))


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ManifestLineError, match=f"big, line 3: it does not end within {LINE_BYTES:,}"):
            list(
                read_chunks((b"a\nb\n" if number == 0 else b"x" * 65_536 for number in range(10_000)), "big")
            )
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_small_file_that_unpacks_to_a_gigabyte_is_refused_likewise() -> None:
    bomb = zlib.compressobj(9, wbits=31)
    body = b"".join([bomb.compress(b"x" * 1_000_000) for _ in range(60)]) + bomb.flush()
    assert len(body) < 100_000
    tracemalloc.start()
    try:
        with pytest.raises(ManifestLineError, match="bomb, line 1: it does not end"):
            list(read_chunks([body], "bomb"))
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [1_000, 65_536])
@pytest.mark.parametrize("letter", ["x", "\U0001f5d1"])
def test_reading_goes_on_behind_a_line_that_is_too_long(size: int, letter: str) -> None:
    body = LINE + b"\n" + letter.encode() * 700_000 + b"\n" + LINE + b"\n"
    bad: list[tuple[int, int, str]] = []
    records = read_records(
        read_chunks(pieces(body, size), "m", cut=True),
        "m",
        on_bad=lambda number, line, reason: bad.append((number, len(line), reason)),
    )
    assert len(list(records)) == 2
    assert bad[0][:2] == (2, LINE_BYTES)
    assert "Ground Truth reads at most 100,000 a line" in bad[0][2]
    assert len(bad) == 1


def test_a_packed_manifest_is_read_from_a_bucket_and_from_a_folder(gtlabel_aws: Aws, tmp_path: Path) -> None:
    gtlabel_aws.s3.create_bucket(Bucket="photos")
    body = gzip.compress((LINE + b"\n") * 3) + gzip.compress(LINE)
    # Its name does not say that it is packed.
    uri, path = S3Uri("s3://photos/in.manifest"), tmp_path / "in.manifest"
    write(gtlabel_aws.s3, uri, body)
    path.write_bytes(body)
    for lines in (read_lines(gtlabel_aws.s3, uri), read_file_lines(path)):
        assert [record.source_ref.name for record in read_records(lines, "in")] == ["1.jpg"] * 4


def test_no_more_is_read_than_is_asked_for() -> None:
    taken = 0

    def chunks() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(1_000):
            taken += 1
            yield LINE + b"\n"

    assert len(list(islice(read_chunks(chunks(), "m"), 5))) == 5
    assert taken < 8


def test_reading_is_measured_beside_its_peers() -> None:
    program = Path(__file__).parent / "benchmarks" / "reading.py"
    run = subprocess.run(
        [sys.executable, program, "--lines", "2000", "--runs", "1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "| gtlabel, label read along |" in run.stdout
    assert "peak memory of reading and filtering: " in run.stdout
