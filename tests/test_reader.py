"""What a training program of one's own is given to read in every mode, and what it is told when it cannot."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gtlabel.emulator.manifest import Manifest
from gtlabel.emulator.pictures import Copies, Folder
from gtlabel.emulator.pipe import Feeder, PipeChannel
from gtlabel.errors import ChannelError, TrainingError
from gtlabel.recordio import MAGIC, encode_all
from gtlabel.training import reader


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a container has as /opt/ml, found by the variable that AWS's toolkits know."""
    base = tmp_path / "ml"
    for folder in ("input/config", "input/data"):
        (base / folder).mkdir(parents=True)
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(base))
    for name in ("NUM_CLASSES", "CLASS_NAMES", "LABEL_ATTRIBUTE", "IMAGES"):
        monkeypatch.delenv(f"GTLABEL_{name}", raising=False)
    return base


def tell(base: Path, name: str, document: object) -> None:
    (base / "input" / "config" / f"{name}.json").write_text(json.dumps(document))


def have_channels(base: Path, **modes: str) -> None:
    tell(base, "inputdataconfig", {name: {"TrainingInputMode": mode} for name, mode in modes.items()})


@pytest.fixture
def fed(base: Path, tmp_path: Path) -> Iterator[Path]:
    """A train channel in Pipe mode with eight pictures, in another order in each epoch."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    lines = []
    for number in range(8):
        (folder / f"{number}.jpg").write_bytes(bytes([number]) * 1000 + MAGIC)
        lines.append(json.dumps({"source-ref": f"{number}.jpg", "label": number % 3}))
    (folder / "train.manifest").write_text("\n".join(lines))
    have_channels(base, train="Pipe")
    channel = PipeChannel("train", str(folder / "train.manifest"), ("source-ref", "label"), seed=3)
    source = Manifest(Folder(folder, Copies(folder)), channel, tmp_path / "copy")
    feeder = Feeder(None, channel, base / "input" / "data", tmp_path / "copy", source=source)
    feeder.start()
    yield base
    feeder.close()


def write_fifo(base: Path, content: bytes, epoch: int = 0) -> threading.Thread:
    """A platform that writes just this."""
    have_channels(base, train="Pipe")
    path = base / "input" / "data" / f"train_{epoch}"
    os.mkfifo(path)

    def write() -> None:
        with path.open("wb") as stream:
            path.unlink()
            stream.write(content)

    thread = threading.Thread(target=write)
    thread.start()
    return thread


def read(name: str = "train", **options: Any) -> list[tuple[bytes, reader.Label]]:
    return list(reader.read_channel(name, **options))


def test_each_epoch_has_every_picture_with_its_label_in_an_order_of_its_own(fed: Path) -> None:
    epochs = [list(reader.read_channel("train", epoch)) for epoch in range(3)]
    for epoch in epochs:
        assert sorted(picture[0] for picture, _ in epoch) == list(range(8))
        assert all(label == picture[0] % 3 and picture.endswith(MAGIC) for picture, label in epoch)
    assert epochs[0] != epochs[1] != epochs[2]


def test_who_stops_early_finds_the_next_epoch_whole(fed: Path) -> None:
    for _ in reader.read_channel("train", 0):
        break
    assert len(read(epoch=1)) == 8


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (b"2", 2),
        (b'"2"', 2),
        (b"[0, 2]", (0, 2)),
        (b'"[1]"', (1,)),
        (b"[]", ()),
        (b"Glass", "Glass"),
        (b'"Glass"', "Glass"),
    ],
)
def test_a_label_is_a_number_or_all_numbers_or_a_name(base: Path, text: bytes, label: reader.Label) -> None:
    writer = write_fifo(base, encode_all([b"picture", text]))
    assert read() == [(b"picture", label)]
    writer.join()


def test_other_attributes_come_as_they_are(base: Path) -> None:
    writer = write_fifo(base, encode_all([b"a", b"1", b'{"x": 1}', b"b", b"2", b"null"]))
    assert list(reader.read_values("train", attributes=3)) == [
        (b"a", b"1", b'{"x": 1}'),
        (b"b", b"2", b"null"),
    ]
    writer.join()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not one record came; compare its AttributeNames"),
        (encode_all([b"a", b"1", b"b"]), "it ends after 1 of 2 values of line 1"),
        (b"\xff\xd8\xff\xe0JFIF", "magic number.*; its RecordWrapperType must be RecordIO"),
        (encode_all([b"a", b"1"])[:-3], "the stream ends 3 bytes before"),
        (encode_all([b"a", b"1", b"b", b"null"]), "the label of picture 1 is no class but 'null'"),
        (encode_all([b"a", b'{"b": 1}']), "the label of picture 0 is no class"),
        (encode_all([b"a", b"true"]), "the label of picture 0 is no class"),
        (encode_all([b"a", b""]), "the label of picture 0 is no class but ''"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_sentence(base: Path, content: bytes, sentence: str) -> None:
    writer = write_fifo(base, content)
    with pytest.raises(ChannelError, match=rf"^the channel 'train' cannot be used: .*{sentence}"):
        read()
    writer.join()


def test_a_fifo_that_comes_late_and_a_writer_that_comes_later_are_waited_for(base: Path) -> None:
    have_channels(base, train="Pipe")
    path = base / "input" / "data" / "train_1"

    def platform() -> None:
        time.sleep(0.05)
        os.mkfifo(path)
        time.sleep(0.05)
        with path.open("wb", buffering=0) as stream:
            time.sleep(0.05)
            stream.write(encode_all([b"a", b"1"]))
            time.sleep(0.05)
            stream.write(encode_all([b"b", b"2"]))
            path.unlink()

    thread = threading.Thread(target=platform)
    thread.start()
    assert read(epoch=1) == [(b"a", 1), (b"b", 2)]
    thread.join()


def test_nobody_waits_for_ever(base: Path) -> None:
    have_channels(base, train="Pipe", validation="Pipe")
    with pytest.raises(ChannelError, match="nothing appeared at .*train_0 within 0.05 s"):
        read(patience=0.05)
    os.mkfifo(base / "input" / "data" / "train_0")
    with pytest.raises(ChannelError, match="nothing came out of .*train_0 for 0.05 s"):
        read(patience=0.05)
    (base / "input" / "data" / "validation_0").write_bytes(b"")
    with pytest.raises(ChannelError, match="is no FIFO, and the job says"):
        read("validation")


def test_a_channel_that_the_job_does_not_have_is_an_error_that_lists_them(base: Path) -> None:
    have_channels(base, train="Pipe", validation="File")
    assert reader.channels() == {"train": "Pipe", "validation": "File"}
    with pytest.raises(ChannelError, match="no such channel; those it has: train, validation"):
        read("trian")


def test_a_program_that_is_no_training_job_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="is this a training job"):
        read(base=tmp_path)
    assert dict(reader.hyperparameters(tmp_path)) == {}


def class_folders(base: Path) -> None:
    have_channels(base, train="File", validation="FastFile")
    for name in ("train/Glass/1.jpg", "train/Glass/sub/2.jpg", "train/Paper/3.jpg", "validation/Paper/4.jpg"):
        path = base / "input" / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.stem.encode())


def test_class_folders_are_labels_in_the_order_of_their_names(base: Path) -> None:
    class_folders(base)
    assert read() == [(b"1", 0), (b"2", 0), (b"3", 1)]
    # That validation lacks a class does not make its first folder the first class.
    assert read("validation") == [(b"4", 1)]
    assert reader.class_names() == ("Glass", "Paper")
    orders = {tuple(read(epoch=epoch, shuffle=7)) for epoch in range(8)}
    assert len(orders) > 1
    assert all(sorted(order) == sorted(read()) for order in orders)
    assert read(epoch=5, shuffle=7) == read(epoch=5, shuffle=7)


def manifest_channel(base: Path, *lines: dict[str, Any]) -> None:
    have_channels(base, train="File", images="FastFile")
    for name in ("Glass/1.jpg", "Paper/2.jpg"):
        path = base / "input" / "data" / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.stem.encode())
    (base / "input" / "data" / "train").mkdir()
    text = "\n".join(map(json.dumps, lines))
    (base / "input" / "data" / "train" / "train.manifest").write_text(text)


def line(name: str, label: object, **more: object) -> dict[str, Any]:
    return {"source-ref": f"s3://bucket/dataset/classes/{name}", "bin": label, "bin-metadata": {}, **more}


@pytest.mark.parametrize("prefix", ["s3://bucket/dataset/classes/", "s3://bucket/dataset/classes", ""])
def test_a_manifest_beside_a_channel_of_pictures_is_read_like_a_pipe(
    base: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    if prefix:
        monkeypatch.setenv("GTLABEL_IMAGES", prefix)
    named = {"bin-metadata": {"class-name": "Glass"}}
    several = {"bin-metadata": {"class-map": {"1": "Paper", "3": "Tin"}}}
    manifest_channel(base, line("Glass/1.jpg", 0, **named), line("Paper/2.jpg", [1, 3], **several))
    assert read() == [(b"1", 0), (b"2", (1, 3))]
    assert reader.class_names() == ("Glass", "Paper", "2", "Tin")
    monkeypatch.setenv("GTLABEL_NUM_CLASSES", "5")
    assert reader.class_names() == ("Glass", "Paper", "2", "Tin", "4")


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (
            [line("Glass/3.jpg", 0)],
            "train.manifest, line 1: s3://bucket/dataset/classes/Glass/3.jpg is not in",
        ),
        ([line("../../../input/config/inputdataconfig.json", 0)], "is not in the channel images"),
        ([line("Glass/1.jpg", None)], "line 1: 'bin' is no class but None"),
        ([{"source-ref": "s3://b/Glass/1.jpg"}], "line 1: it lacks a label, or has several"),
        ([line("Glass/1.jpg", 0, box=1, **{"box-metadata": {}})], "or has several"),
        ([{"bin": 1, "bin-metadata": {}}], "line 1: it lacks source-ref"),
        ([], "there is not one picture in"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(base: Path, lines: list[dict[str, Any]], sentence: str) -> None:
    manifest_channel(base, *lines)
    with pytest.raises(ChannelError, match=sentence):
        read()


def test_the_attribute_may_be_named_where_a_line_has_several(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GTLABEL_LABEL_ATTRIBUTE", "box")
    manifest_channel(base, line("Glass/1.jpg", 0, box=1, **{"box-metadata": {}}))
    assert read() == [(b"1", 1)]


def test_a_channel_of_neither_kind_is_told_so(base: Path) -> None:
    have_channels(base, train="File")
    with pytest.raises(ChannelError, match="cannot be read: No such file"):
        read()
    (base / "input" / "data" / "train").mkdir()
    with pytest.raises(ChannelError, match="neither class folders nor a manifest"):
        read()
    for name in ("a.manifest", "b.jsonl"):
        (base / "input" / "data" / "train" / name).write_text("{}")
    with pytest.raises(
        ChannelError, match=r"several manifests, and nobody knows which counts: a.manifest, b"
    ):
        read()
    with pytest.raises(ChannelError, match="it has files and no records"):
        list(reader.read_values("train"))


def test_hyperparameters_have_the_types_that_a_program_wants(base: Path) -> None:
    values = {
        "epochs": "3",
        "rate": "1e-2",
        "optimizer": '"sgd"',
        "flip": "True",
        "layers": "[1, 2]",
        "mini": '"8"',
    }
    tell(base, "hyperparameters", values)
    settings = reader.hyperparameters()
    assert settings.integer("epochs", 10) == 3
    assert settings.integer("mini", 1) == 8
    assert settings.integer("patience", 10) == 10
    assert settings.number("rate", 0.1) == 0.01
    assert settings.text("optimizer", "adam") == settings["optimizer"] == "sgd"
    assert settings.flag("flip")
    assert not settings.flag("crop")
    assert json.loads(settings["layers"]) == [1, 2]
    assert set(settings) == set(values)


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (
            lambda settings: settings.integer("rate", 1),
            "the hyperparameter rate is '0.5', and should be a whole",
        ),
        (
            lambda settings: settings.number("name", 1),
            "the hyperparameter name is 'x', and should be a number",
        ),
        (lambda settings: settings.number("nan", 1), "should be a number"),
        (lambda settings: settings.flag("name"), "should be true or false"),
    ],
)
def test_a_hyperparameter_of_another_type_is_told_so(base: Path, ask: Any, sentence: str) -> None:
    tell(base, "hyperparameters", {"rate": "0.5", "name": "x", "nan": "nan"})
    with pytest.raises(TrainingError, match=sentence):
        ask(reader.hyperparameters())


def test_the_number_of_classes_is_told_by_the_job_where_the_channel_cannot(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_channels(base, train="Pipe")
    with pytest.raises(TrainingError, match="nothing says how many classes there are"):
        reader.class_names()
    tell(base, "hyperparameters", {"num_classes": "2"})
    assert reader.class_names() == ("0", "1")
    monkeypatch.setenv("GTLABEL_NUM_CLASSES", "3")
    assert reader.class_names() == ("0", "1", "2")
    monkeypatch.setenv("GTLABEL_CLASS_NAMES", '["Glass", "Papier mâché"]')
    assert reader.class_names() == ("Glass", "Papier mâché")


def test_what_a_program_leaves_lies_where_the_platform_looks(base: Path) -> None:
    assert reader.model_directory() == base / "model"
    assert reader.output_directory() == base / "output" / "data"
    assert reader.model_directory().is_dir()
    failure = base / "output" / "failure"
    for reason, text in (
        (ValueError("no pictures"), "ValueError: no pictures"),
        (ChannelError("train", "it is empty"), "the channel 'train' cannot be used: it is empty"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        ("ü" * 2000, "ü" * 1024),
    ):
        reader.report_failure(reason)
        assert failure.read_text(encoding="utf-8") == text


def test_a_program_learns_that_it_is_to_end() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        stop = reader.stop_requested()
        assert not stop.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(60)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_reader_needs_nothing_that_the_base_install_lacks_and_loads_little() -> None:
    statement = (
        "import sys, gtlabel.training.reader as reader; "
        "print(*sorted({name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)))"
    )
    run = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, check=True)
    loaded = {name for name in run.stdout.split() if not name.startswith("_")}
    assert loaded <= {"gtlabel", "sitecustomize", "usercustomize"}
