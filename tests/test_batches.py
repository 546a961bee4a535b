"""What trainers make of a channel: which pictures, in which order, and how each is varied."""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gtlabel.errors import TrainingError
from gtlabel.networks.preprocess import load_image
from gtlabel.recordio import encode
from gtlabel.training.augmentation import Kind, augment, shift_color
from gtlabel.training.batches import Batch, Look, Pictures, fit_in_memory
from gtlabel.training.channelreading import ChannelReader
from gtlabel.training.hyperparameters import Hyperparameters

KINDS: tuple[Kind, ...] = ("crop", "crop_color", "crop_color_transform")
SHAPE = (3, 8, 8)


def png(shade: int, width: int = 8, height: int = 8) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (shade, shade, shade)).save(stream, "PNG")
    return stream.getvalue()


def told(samples: int = 10, batch: int = 4, several: bool = False) -> Hyperparameters:
    return Hyperparameters(
        num_classes=3,
        num_training_samples=samples,
        num_layers=20,
        image_shape=SHAPE,
        mini_batch_size=batch,
        multi_label=several,
    )


def write(base: Path, labels: Sequence[str], epochs: int = 1, content_type: str | None = None) -> Path:
    """A train channel whose pictures are as gray as their number says."""
    data = base / "input" / "data"
    data.mkdir(parents=True)
    if content_type is not None:
        config = base / "input" / "config"
        config.mkdir()
        settings = {"train": {"ContentType": content_type}}
        (config / "inputdataconfig.json").write_text(json.dumps(settings))
    for epoch in range(epochs):
        with (data / f"train_{epoch}").open("wb") as stream:
            for number, label in enumerate(labels):
                stream.write(encode(png(number)) + encode(label.encode()))
    return base


def pictures(base: Path, *, keep: bool, samples: int = 10) -> Pictures:
    reader = ChannelReader(base, "train", told(samples))
    return Pictures(reader, Look(SHAPE), 3, keep=keep, sample=4, expected=samples)


def shades(batches: Sequence[Batch]) -> list[int]:
    return [int(picture[0, 0, 0]) for batch in batches for picture in batch.pictures]


# --- order


def test_kept_pictures_come_in_another_order_each_epoch_and_the_same_for_the_same_seed(
    tmp_path: Path,
) -> None:
    channel = pictures(write(tmp_path, ["0"] * 8), keep=True, samples=8)
    first, second, again = (
        shades(list(channel.batches(4, np.random.default_rng(seed)))) for seed in (1, 2, 1)
    )
    assert sorted(first) == sorted(second) == list(range(8))
    assert first == again != second


def test_what_does_not_fit_into_memory_is_read_anew_each_epoch_in_the_order_of_the_channel(
    tmp_path: Path,
) -> None:
    channel = pictures(write(tmp_path, ["0"] * 8, epochs=2), keep=False, samples=8)
    for epoch in range(2):
        assert shades(list(channel.batches(4, np.random.default_rng(epoch)))) == list(range(8))
    assert channel.count == 8


def test_the_last_batch_is_filled_up_from_the_first(tmp_path: Path) -> None:
    channel = pictures(write(tmp_path, ["0"] * 10, epochs=2), keep=False)
    batches = list(channel.batches(4, np.random.default_rng(0)))
    assert [len(batch.pictures) for batch in batches] == [4, 4, 4]
    assert shades(batches)[8:] == [8, 9, 0, 1]
    assert [len(batch.pictures) for batch in channel.plain(4)] == [4, 4, 2]


@pytest.mark.parametrize("keep", [True, False])
def test_a_sample_comes_from_everywhere_in_the_channel(tmp_path: Path, keep: bool) -> None:
    channel = pictures(write(tmp_path, ["0"] * 12), keep=keep, samples=12)
    list(channel.batches(4, np.random.default_rng(0)))
    assert sorted(shades(list(channel.sampled(4)))) == [0, 3, 6, 9]


def test_counting_the_classes_first_does_not_cost_the_sample(tmp_path: Path) -> None:
    channel = pictures(write(tmp_path, ["0"] * 12, epochs=3), keep=False, samples=12)
    assert channel.positives().tolist() == [12, 0, 0]
    for _ in range(2):
        list(channel.batches(4, np.random.default_rng(0)))
        assert sorted(shades(list(channel.sampled(4)))) == [0, 3, 6, 9]


def test_pictures_are_kept_while_they_fit() -> None:
    look = Look((3, 224, 224))
    assert fit_in_memory(1000, look, memory=200_000_000)
    assert not fit_in_memory(2000, look, memory=200_000_000)
    assert fit_in_memory(10, look)


# --- labels


def test_one_class_becomes_a_row_with_a_one(tmp_path: Path) -> None:
    channel = pictures(write(tmp_path, ["0", "2", '"1"', " 2 "]), keep=False, samples=4)
    (batch,) = channel.plain(4)
    assert batch.truth.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("form", "labels"),
    [
        ("application/x-recordio; label-format=class-id", ["[0, 2]", "[]", '"[1]"', "[2, 2]"]),
        ("application/x-recordio", ["[1, 0, 1]", "[0, 0, 0]", '"[0, 1, 0]"', "[0, 0, 1]"]),
    ],
)
def test_several_classes_are_read_in_both_forms_that_the_built_in_knows(
    tmp_path: Path, form: str, labels: list[str]
) -> None:
    write(tmp_path, labels, content_type=form)
    found = [example.classes for example in ChannelReader(tmp_path, "train", told(several=True)).epoch(0)]
    assert found == [(0, 2), (), (1,), (2,)]


@pytest.mark.parametrize(
    ("several", "form", "label", "sentence"),
    [
        (False, "", "3", "the label '3' is not a whole number from 0 to 2"),
        (False, "", "true", "the label 'true' is not a whole number from 0 to 2"),
        (False, "", "[1]", "is not a whole number from 0 to 2"),
        (True, "", "[0, 2]", "is not a list of zeros and ones: one for each of the 3 classes"),
        (True, "x; label-format=class-id", "[0, 3]", "a list of numbers: each a whole number from 0 to 2"),
        (True, "x; label-format=class-id", "2", "is not a list of numbers"),
        (True, "", "[" * 5000, "is not a list of zeros and ones"),
    ],
)
def test_a_label_that_is_none_is_named_with_its_record(
    tmp_path: Path, several: bool, form: str, label: str, sentence: str
) -> None:
    good = ("[0]" if form else "[0, 0, 1]") if several else "1"
    write(tmp_path, [good, label, good, good], content_type=form)
    with pytest.raises(TrainingError, match=r"record 3 of epoch 0 of the train channel") as error:
        list(ChannelReader(tmp_path, "train", told(several=several)).epoch(0))
    assert sentence in str(error.value)


def test_a_channel_that_the_job_does_not_have_is_missed_at_once(tmp_path: Path) -> None:
    write(tmp_path, ["0"] * 4, content_type="application/x-recordio")
    with pytest.raises(TrainingError, match="there is no validation channel"):
        next(ChannelReader(tmp_path, "validation", told()).epoch(0))


def test_a_channel_in_file_mode_is_told_apart_from_one_that_is_late(tmp_path: Path) -> None:
    (tmp_path / "input" / "data" / "train").mkdir(parents=True)
    with pytest.raises(
        TrainingError, match=r"the train channel at .*train is a folder of files; use Pipe mode"
    ):
        next(ChannelReader(tmp_path, "train", told()).epoch(0))


def test_a_channel_that_nobody_feeds_is_not_waited_for_without_end(tmp_path: Path) -> None:
    reader = ChannelReader(write(tmp_path, [], epochs=0), "train", told(), patience=0.05)
    with pytest.raises(TrainingError, match=r"nothing appeared at .*train_0 within 0\.05 s"):
        next(reader.epoch(0))
    os.mkfifo(tmp_path / "input" / "data" / "train_0")
    with pytest.raises(TrainingError, match=r"nothing came out of .*train_0 for 0\.05 s"):
        next(reader.epoch(0))


def test_fewer_pictures_than_a_mini_batch_are_refused_in_the_built_ins_words(tmp_path: Path) -> None:
    write(tmp_path, ["0"] * 3)
    with pytest.raises(TrainingError, match=r"must be bigger or equal to the mini_batch_size\. .* has 3"):
        list(ChannelReader(tmp_path, "train", told()).epoch(0))


# --- looks


def test_without_resize_training_sees_what_prediction_sees() -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (30, 50, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    look = Look(SHAPE)
    shown = look.show(look.decode(stream.getvalue()), random).transpose(2, 0, 1)
    assert (shown == load_image(stream.getvalue(), 8, 8)).all()


@pytest.mark.parametrize("size", [(40, 20), (20, 40), (8, 8)])
def test_with_resize_the_shorter_side_counts_and_proportions_are_kept(size: tuple[int, int]) -> None:
    rows, columns, channels = Look((1, 8, 8), resize=10, kind="crop").decode(png(9, *size)).shape
    assert min(rows, columns) == 10
    assert columns / rows == pytest.approx(size[0] / size[1])
    assert channels == 1


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from([None, *KINDS]),
    rows=st.integers(8, 20),
    columns=st.integers(8, 20),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 1000),
)
def test_every_look_has_the_networks_size(
    kind: Kind | None, rows: int, columns: int, channels: int, seed: int
) -> None:
    picture = np.full((rows, columns, channels), 99, dtype=np.uint8)
    shown = augment(picture, 8, 7, kind, np.random.default_rng(seed))
    assert shown.shape == (8, 7, channels)
    assert shown.dtype == np.uint8


def test_a_crop_is_a_window_of_the_picture_and_half_of_them_are_mirrored() -> None:
    picture = np.arange(100, dtype=np.uint8).reshape(10, 10, 1)
    random = np.random.default_rng(0)
    seen: Counter[tuple[int, int]] = Counter()
    for _ in range(400):
        window = augment(picture, 8, 8, "crop", random)[..., 0].astype(int)
        step = int(window[0, 1] - window[0, 0])
        assert (np.diff(window, axis=1) == step).all()
        assert (np.diff(window, axis=0) == 10).all()
        seen[int(window.min()), step] += 1
    assert {corner for corner, _ in seen} == {row * 10 + column for row in range(3) for column in range(3)}
    assert 150 < sum(count for (_, step), count in seen.items() if step < 0) < 250


def test_colors_go_round_the_circle_of_hues() -> None:
    red = np.array([[[200, 30, 30]]], dtype=np.uint8)
    assert shift_color(red, 60, 0, 0).tolist() == [[[30, 200, 30]]]
    assert shift_color(red, -60, 0, 0).tolist() == [[[30, 30, 200]]]
    assert shift_color(red, 0, 255, 0).tolist() == [[[255, 255, 255]]]
    assert shift_color(red, 0, 0, -255).tolist() == [[[115, 115, 115]]]


def test_no_shift_changes_no_color_and_gray_gets_none() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    assert np.abs(shift_color(pixels, 0, 0, 0).astype(int) - pixels).max() <= 1
    gray = np.repeat(pixels[..., :1], 3, axis=2)
    assert np.ptp(shift_color(gray, 20, 0, 200), axis=2).max() == 0


def test_a_turned_picture_stays_within_ten_degrees_and_shows_gray_outside() -> None:
    picture = np.zeros((64, 64, 3), dtype=np.uint8)
    picture[:, 32:] = 255
    random = np.random.default_rng(1)
    for _ in range(50):
        window = augment(picture, 64, 64, "crop_color_transform", random)
        # However it was turned: one side is still darker than the other.
        halves = window[8:56, 8:24].mean(), window[8:56, 40:56].mean()
        assert abs(halves[0] - halves[1]) > 60
