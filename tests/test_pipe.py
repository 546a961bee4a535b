"""What a training program finds in its FIFOs."""

from __future__ import annotations

import io
import json
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError
from botocore.response import StreamingBody
from hypothesis import given, settings
from hypothesis import strategies as st

from gtlabel.emulator.pipe import Feeder, PipeChannel
from gtlabel.recordio import MAGIC, read_records
from gtlabel.uris import S3Uri

MANIFEST = S3Uri("s3://trash/train.manifest")


class Bucket:
    """As much of S3 as a feeder asks for, and a note of what was asked."""

    def __init__(self, objects: dict[str, bytes], delay: float = 0.0) -> None:
        self.objects = objects
        self.delay = delay
        self.asked: list[str] = []

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803, ARG002 - as boto3
        self.asked.append(Key)
        time.sleep(self.delay)
        if Key not in self.objects:
            raise ClientError({"Error": {"Code": "NoSuchKey", "Message": "no such key"}}, "GetObject")
        content = self.objects[Key]
        return {"Body": StreamingBody(io.BytesIO(content), len(content))}


def bucket(lines: list[dict[str, Any]], **objects: bytes) -> Bucket:
    manifest = "".join(json.dumps(line) + "\n" for line in lines)
    return Bucket({"train.manifest": manifest.encode(), **objects})


def pictures(count: int) -> Bucket:
    """A bucket of pictures, each with the number of its line as its content and label."""
    lines = [{"source-ref": f"s3://trash/{n}", "label": n} for n in range(count)]
    return bucket(lines, **{str(n): str(n).encode() for n in range(count)})


@contextmanager
def feeding(
    s3: Bucket, attributes: tuple[str, ...] = ("source-ref", "label"), **options: Any
) -> Iterator[tuple[Feeder, Path]]:
    with TemporaryDirectory() as name:
        directory = Path(name)
        channel = PipeChannel("train", MANIFEST, attributes, **options)
        feeder = Feeder(cast("Any", s3), channel, directory, directory / "copy")
        feeder.start()
        try:
            yield feeder, directory
        finally:
            feeder.close()
        assert list(directory.iterdir()) == []
        assert not [t.name for t in threading.enumerate() if t.name.startswith(("feed", "fetch"))]


def wait_until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)


def reading(directory: Path) -> io.FileIO:
    """The first epoch, read without taking more than was asked for."""
    return (directory / "train_0").open("rb", buffering=0)


def epoch(directory: Path, number: int) -> list[bytes]:
    fifo = directory / f"train_{number}"
    wait_until(fifo.exists)
    with fifo.open("rb") as stream:
        return list(read_records(stream))


def test_an_epoch_is_a_picture_and_its_label_in_turn() -> None:
    s3 = bucket(
        [
            {"source-ref": "s3://trash/a", "label": 1, "label-metadata": {"confidence": 0.9}},
            {"label": 0, "source-ref": "s3://trash/b"},
        ],
        a=b"\xff\xd8first",
        b=b"\xff\xd8second",
    )
    with feeding(s3) as (_, directory):
        assert epoch(directory, 0) == [b"\xff\xd8first", b"1", b"\xff\xd8second", b"0"]


def test_epochs_follow_without_end_and_the_next_one_is_always_there() -> None:
    with feeding(pictures(3)) as (_, directory):
        assert {"train_0", "train_1"} <= {path.name for path in directory.iterdir()}
        for number in range(5):
            wait_until((directory / f"train_{number}").exists)
            with (directory / f"train_{number}").open("rb") as stream:
                wait_until((directory / f"train_{number + 1}").exists)
                assert len(list(read_records(stream))) == 6
            wait_until(lambda gone=directory / f"train_{number}": not gone.exists())  # type: ignore[misc]


@settings(max_examples=30, deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    )
)
def test_a_value_arrives_as_its_json_text_and_a_string_without_quotes(value: Any) -> None:
    with feeding(bucket([{"label": value}]), ("label",)) as (_, directory):
        (record,) = epoch(directory, 0)
    assert record.decode() == value if isinstance(value, str) else json.loads(record) == value


def test_a_picture_that_holds_the_magic_number_stays_in_one_piece() -> None:
    picture = b"abcd" + MAGIC + b"xyz"
    with feeding(bucket([{"source-ref": "s3://trash/a"}], a=picture), ("source-ref",)) as (_, directory):
        assert (directory / "train_0").read_bytes() == MAGIC + b"\x0b\0\0\0" + picture + b"\0"


def test_without_a_wrapper_values_follow_each_other_bare() -> None:
    s3 = bucket([{"label": 1}, {"label": "a"}, {"label": [2]}])
    with feeding(s3, ("label",), wrapper="None") as (_, directory):
        assert (directory / "train_0").read_bytes() == b"1a[2]"


def test_a_seed_settles_the_order_of_every_epoch() -> None:
    def orders(seed: int) -> list[list[bytes]]:
        with feeding(pictures(20), ("label",), seed=seed) as (_, directory):
            return [epoch(directory, number) for number in range(3)]

    first = orders(7)
    assert first == orders(7)
    assert first != orders(8)
    assert len({tuple(order) for order in first}) == 3
    assert all(sorted(order) == sorted(first[0]) for order in first)


def test_a_reader_that_closes_early_finds_the_next_epoch_whole() -> None:
    with feeding(pictures(2000), ("label",), wrapper="None") as (feeder, directory):
        with reading(directory) as stream:
            assert stream.read(1) == b"0"
        assert (directory / "train_1").read_bytes() == b"".join(str(n).encode() for n in range(2000))
        assert feeder.error is None


def test_a_reader_may_open_without_waiting_and_select() -> None:
    # As ml-io does, which the built-in algorithms are read by.
    with feeding(pictures(3), ("label",)) as (_, directory):
        pipe = os.open(directory / "train_0", os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(pipe, "rb", buffering=0) as stream:
            content = b""
            while select.select([stream], [], [], 5)[0]:
                piece = stream.read(1000)
                if not piece:
                    break
                content += piece
        assert list(read_records(io.BytesIO(content))) == [b"0", b"1", b"2"]


def test_closing_does_not_wait_for_a_reader_that_reads_no_more() -> None:
    with feeding(pictures(20_000), ("label",)) as (feeder, directory), reading(directory) as stream:
        stream.read(1)
        time.sleep(0.05)  # the pipe fills up
        before = time.monotonic()
        feeder.close()
        assert time.monotonic() - before < 1
        assert feeder.error is None


def test_what_comes_before_a_fault_is_fed_and_the_end_is_held_back() -> None:
    s3 = pictures(3)
    del s3.objects["2"]
    with feeding(s3) as (feeder, directory), reading(directory) as stream:
        records = read_records(cast("Any", stream))
        assert [next(records) for _ in range(4)] == [b"0", b"0", b"1", b"1"]
        wait_until(lambda: feeder.error is not None)
        # Neither data nor the end: half an epoch must not look like a whole one.
        assert select.select([stream], [], [], 0.1)[0] == []
        assert feeder.error == f"{MANIFEST}, line 3: there is nothing at s3://trash/2"


def test_a_manifest_that_cannot_be_read_is_an_error_before_any_epoch() -> None:
    with feeding(Bucket({})) as (feeder, _):
        wait_until(lambda: feeder.error is not None)
        assert feeder.error == f"there is nothing at {MANIFEST}"


def test_line_numbers_count_empty_lines() -> None:
    with feeding(Bucket({"train.manifest": b'{"label": 1}\n\n\nnonsense\n'}), ("label",)) as (
        feeder,
        directory,
    ):
        with (directory / "train_0").open("rb"):
            wait_until(lambda: feeder.error is not None)
        assert (feeder.error or "").startswith(f"{MANIFEST}, line 4: it is not JSON")


def test_pictures_are_fetched_ahead_but_not_all_at_once() -> None:
    s3 = pictures(100)
    s3.objects |= dict.fromkeys(map(str, range(100)), bytes(4 << 20))
    with feeding(s3, ("source-ref",)) as (_, directory), reading(directory) as stream:
        next(read_records(cast("Any", stream)))
        wait_until(lambda: len(s3.asked) > 5)
        time.sleep(0.05)
        # 64 MB wait in memory, two pictures may be in the pipe and on the way there, and one was read.
        assert len(s3.asked) <= 1 + 16 + 2 + 1


def test_fetching_ahead_hides_the_time_that_each_picture_takes() -> None:
    s3 = pictures(80)
    s3.delay = 0.01
    with feeding(s3) as (_, directory):
        before = time.monotonic()
        assert len(epoch(directory, 0)) == 160
        assert time.monotonic() - before < 80 * s3.delay / 2


@pytest.mark.parametrize("name", ["train", "train_0"])
def test_closing_one_channel_leaves_the_fifos_of_its_namesakes(tmp_path: Path, name: str) -> None:
    other = Feeder(
        cast("Any", pictures(1)), PipeChannel(f"{name}_more", MANIFEST, ("label",)), tmp_path, tmp_path / "a"
    )
    feeder = Feeder(
        cast("Any", pictures(1)), PipeChannel(name, MANIFEST, ("label",)), tmp_path, tmp_path / "b"
    )
    feeder.close()
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}_more_0", f"{name}_more_1"}
    other.close()
    assert list(tmp_path.iterdir()) == []
