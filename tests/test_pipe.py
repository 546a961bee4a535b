"""What a training program finds in its FIFOs."""

from __future__ import annotations

import io
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError
from botocore.response import StreamingBody
from hypothesis import given, settings
from hypothesis import strategies as st

from gtlabel.emulator.manifest import Manifest
from gtlabel.emulator.pictures import Copies, Folder
from gtlabel.emulator.pipe import Feeder, PipeChannel
from gtlabel.errors import StorageError
from gtlabel.recordio import MAGIC, read_records
from gtlabel.uris import S3Uri

MANIFEST = S3Uri("s3://trash/train.manifest")


class Bucket:
    """As much of S3 as a feeder asks for, and a note of what was asked."""

    def __init__(self, objects: dict[str, bytes], delay: float = 0.0) -> None:
        self.objects = objects
        self.delay = delay
        self.meta = SimpleNamespace(config=SimpleNamespace(max_pool_connections=16))
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
        limit = options.pop("limit", None)
        channel = PipeChannel("train", MANIFEST, attributes, **options)
        feeder = Feeder(cast("Any", s3), channel, directory, directory / "copy", limit=limit)
        feeder.start()
        try:
            yield feeder, directory
        finally:
            feeder.close()
        assert list(directory.iterdir()) == []
        assert not [t.name for t in threading.enumerate() if t.name.startswith(("feed", "fetch"))]


def wait_until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)


def reading(directory: Path, number: int = 0) -> io.FileIO:
    """An epoch, read without taking more than was asked for."""
    return (directory / f"train_{number}").open("rb", buffering=0)


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
        assert time.monotonic() - before < 30
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
    # Slow enough that what a busy machine takes for everything else does not count.
    s3.delay = 0.1
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


@contextmanager
def feeding_files(folder: Path, *references: str, root: str = "") -> Iterator[tuple[Feeder, Path]]:
    """A feeder of files, whose manifest calls them what it likes."""
    manifest = folder / "train.manifest"
    lines = [json.dumps({"source-ref": each, "label": n}) for n, each in enumerate(references)]
    manifest.write_text("\n".join(lines))
    (folder / "fifos").mkdir()
    channel = PipeChannel("train", str(manifest), ("source-ref", "label"))
    source = Manifest(Folder(folder, Copies(folder, root)), channel, folder / "copy")
    feeder = Feeder(None, channel, folder / "fifos", folder / "copy", source=source)
    feeder.start()
    try:
        yield feeder, folder / "fifos"
    finally:
        feeder.close()


def open_files() -> set[str]:
    return {path.readlink().name for path in Path("/proc/self/fd").iterdir() if path.exists()}


def test_files_of_this_machine_are_found_however_a_manifest_calls_them(tmp_path: Path) -> None:
    (tmp_path / "classes" / "Glass").mkdir(parents=True)
    (tmp_path / "classes" / "Glass" / "1.jpg").write_bytes(b"one")
    (tmp_path / "a b.jpg").write_bytes(b"")
    large = bytes(range(256)) * 8000
    (tmp_path / "large.jpg").write_bytes(large)
    references = (
        "s3://bucket/deep/dataset/classes/Glass/1.jpg",
        "classes/Glass/1.jpg",
        (tmp_path / "a b.jpg").as_uri(),
        str(tmp_path / "large.jpg"),
        "s3://other/classes/Glass/1.jpg",
    )
    with feeding_files(tmp_path, *references) as (_, directory):
        pictures = epoch(directory, 0)[::2]
    assert pictures == [b"one", b"one", b"", large, b"one"]


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("s3://bucket/2.jpg", "line 2: s3://bucket/2.jpg has no copy below "),
        ("s3://bucket/../../etc/passwd", "has no copy below "),
        ("2.jpg", "line 2: there is nothing at "),
        (".", "cannot be read: Is a directory"),
        ("s3:/2.jpg", "line 2: there is nothing at "),
    ],
)
def test_a_file_that_is_not_there_is_named_with_its_line(
    tmp_path: Path, reference: str, sentence: str
) -> None:
    (tmp_path / "1.jpg").write_bytes(b"one")
    with feeding_files(tmp_path, "1.jpg", reference, "1.jpg", "1.jpg") as (feeder, directory):
        with reading(directory) as stream:
            assert next(read_records(cast("Any", stream))) == b"one"
            wait_until(lambda: feeder.error is not None)
        assert sentence in (feeder.error or "")
    assert not {"1.jpg"} & open_files()


def test_files_are_closed_when_their_reader_turns_away(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}.jpg").write_bytes(bytes(200_000))
    with feeding_files(tmp_path, *(f"{number}.jpg" for number in range(30))) as (feeder, directory):
        with reading(directory) as stream:
            assert stream.read(100)
        wait_until(lambda: len(feeder.epochs) == 1 and feeder.epochs[0].ended is not None)
        wait_until(lambda: not [name for name in open_files() if name.endswith(".jpg")])
        assert epoch(directory, 1)[::2] == [bytes(200_000)] * 30
    assert not [name for name in open_files() if name.endswith(".jpg")]


def test_a_file_that_becomes_shorter_on_the_way_is_no_whole_epoch(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(bytes(4 << 20))
    with feeding_files(tmp_path, "1.jpg") as (feeder, directory), reading(directory) as stream:
        assert stream.read(1)
        os.truncate(tmp_path / "1.jpg", 100)
        count = 0
        while feeder.error is None or select.select([stream], [], [], 0.05)[0]:
            if select.select([stream], [], [], 0.05)[0]:
                count += len(stream.read(1 << 20) or b"")
        assert feeder.error == f"{tmp_path / '1.jpg'} became shorter while it was read"
        assert count < 4 << 20


def test_a_copy_of_a_dataset_is_asked_for_its_own_files_only(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"one")
    (tmp_path / "classes").mkdir()
    (tmp_path / "classes" / "1.jpg").write_bytes(b"two")
    root = "s3://bucket/dataset/"
    with feeding_files(tmp_path, f"{root}1.jpg", f"{root}classes/1.jpg", root=root) as (_, directory):
        assert epoch(directory, 0)[::2] == [b"one", b"two"]
    copies = Copies(tmp_path, root)
    with pytest.raises(StorageError, match="has no copy"):
        copies.find(S3Uri(f"{root}elsewhere/1.jpg"))


def test_it_is_known_how_much_of_each_epoch_was_read(tmp_path: Path) -> None:
    with feeding(pictures(50)) as (feeder, directory):
        epoch(directory, 0)
        wait_until((directory / "train_1").exists)
        with reading(directory, 1) as stream:
            # A picture and its label are two frames of 12 bytes; 5 of them, and a part of the sixth.
            left = 5 * 24 + 7
            while left:
                left -= len(stream.read(left) or b"")
        epoch(directory, 2)
        wait_until((directory / "train_3").exists)
    first, second, third = feeder.epochs
    assert [(each.number, each.images, each.bytes, each.early) for each in feeder.epochs] == [
        (0, 50, 50 * 24, False),
        (1, 5, 5 * 24 + 7, True),
        (2, 50, 50 * 24, False),
    ]
    assert first.first is not None
    assert first.opened <= first.first <= (first.ended or 0) <= second.opened <= third.opened


def test_after_as_many_epochs_as_were_asked_for_there_is_nothing(tmp_path: Path) -> None:
    with feeding(pictures(3), limit=2) as (feeder, directory):
        epoch(directory, 0)
        epoch(directory, 1)
        assert not feeder.exhausted.is_set()
        wait_until((directory / "train_2").exists)
        with reading(directory, 2) as stream:
            wait_until(feeder.exhausted.is_set)
            # Neither data nor the end, as if the pictures took their time.
            assert select.select([stream], [], [], 0.05)[0] == []
        assert len(feeder.epochs) == 2


@pytest.mark.parametrize(
    ("program", "sizes"),
    [("recordio.py", ("--megabytes", "2")), ("pipes.py", ("--pictures", "40", "--objects", "20"))],
)
def test_what_is_measured_against_its_peers_runs(program: str, sizes: tuple[str, ...]) -> None:
    path = Path(__file__).parent / "benchmarks" / program
    run = subprocess.run(
        [sys.executable, str(path), "--runs", "1", *sizes], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert "bar" in run.stdout
