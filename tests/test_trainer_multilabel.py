"""What the trainer without GPU makes of several labels, rare classes, varied copies, its own confidence."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gtlabel.errors import TrainingError
from gtlabel.networks import interpreter
from gtlabel.networks.artifact import read_artifact
from gtlabel.networks.onnx import to_onnx
from gtlabel.networks.preprocess import load_image
from gtlabel.networks.runtime import Network
from gtlabel.recordio import encode
from gtlabel.training.calibration import ManyClasses, OneClass, errors
from gtlabel.training.embedded import train
from gtlabel.training.words import learn_words

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "samples" / "trash"
COLORS = np.array([[210, 40, 40], [40, 210, 40], [40, 40, 210]])
CLASS_IDS = "application/x-recordio; label-format=class-id"

Example = tuple[bytes, object]


def picture(present: Sequence[int], seed: int, noise: float = 25) -> bytes:
    """Vertical stripes, one for each class; black without any."""
    colors = COLORS[list(present)] if len(present) else np.zeros((1, 3))
    pixels = colors[np.arange(32) * len(colors) // 32] + np.random.default_rng(seed).normal(
        0, noise, (24, 32, 3)
    )
    stream = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def sets(count: int) -> list[tuple[int, ...]]:
    """Which classes each of so many pictures has: every combination in turn, none of them too."""
    return [tuple(k for k in range(3) if number % 8 >> k & 1) for number in range(count)]


def by_id(present: Iterable[int]) -> object:
    return list(present)


def as_text(present: Iterable[int]) -> object:
    return json.dumps(list(present))


def multi_hot(present: Iterable[int]) -> object:
    mine = set(present)
    return [int(k in mine) for k in range(3)]


def several(count: int, seed: int, spelled: object = by_id) -> list[Example]:
    assert callable(spelled)
    return [(picture(present, seed + n), spelled(present)) for n, present in enumerate(sets(count))]


def prepare(
    base: Path,
    examples: Sequence[Example],
    validation: Sequence[Example],
    content: str = "application/x-recordio",
    channels: Sequence[str] = ("train", "validation"),
    **told: str,
) -> Path:
    config, data = base / "input" / "config", base / "input" / "data"
    for folder in (config, data, base / "model"):
        folder.mkdir(parents=True)
    values = {
        "num_classes": "3",
        "num_training_samples": str(len(examples)),
        "image_shape": "3,32,32",
        "mini_batch_size": "4",
        **told,
    }
    (config / "hyperparameters.json").write_text(json.dumps(values))
    described = {name: {"ContentType": content, "TrainingInputMode": "Pipe"} for name in channels}
    (config / "inputdataconfig.json").write_text(json.dumps(described))
    for name, some in (("train", examples), ("validation", validation)):
        records = [part for data_, label in some for part in (data_, json.dumps(label).encode())]
        (data / f"{name}_0").write_bytes(b"".join(map(bytes, map(encode, records))))
    return base


def answers(base: Path, pictures: Sequence[bytes]) -> np.ndarray:
    """What the converted model says, which is what the trainer's own interpreter says."""
    artifact = read_artifact(base / "model")
    batch = np.stack([load_image(each, 32, 32) for each in pictures])
    found = Network(to_onnx(artifact, ["red", "green", "blue"])).probabilities(batch)
    own = interpreter.run(artifact.symbol, artifact.params, batch)
    np.testing.assert_allclose(found, own, atol=1e-4)
    return found


# --- several labels


@pytest.mark.parametrize(
    ("spelled", "content"),
    [(by_id, CLASS_IDS), (as_text, CLASS_IDS), (multi_hot, "application/x-recordio")],
)
def test_several_labels_for_a_picture_are_learned_however_they_are_written(
    spelled: object, content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    train(prepare(tmp_path, several(32, 0, spelled), several(8, 500, spelled), content, multi_label="1"))
    symbol = read_artifact(tmp_path / "model").symbol
    assert symbol["nodes"][symbol["heads"][0][0]]["op"] == "LogisticRegressionOutput"
    unseen = sets(24)
    found = answers(tmp_path, [picture(present, 900 + n) for n, present in enumerate(unseen)])
    truth = np.array([multi_hot(present) for present in unseen])
    assert ((found >= 0.5) == truth).mean() > 0.9
    # All classes and none are answers, too.
    assert found[7].min() > 0.5 > found[0].max()
    validation = float(re.findall(r"Validation-accuracy=([\d.]+)", caplog.text)[-1])
    assert validation > 0.9


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        ([0, 3], r"record 1 of epoch 0 of the train channel: the label '\[0, 3\]' is not a list of numbers"),
        (1, "record 1 of epoch 0 of the train channel: the label '1' is not a list of numbers"),
    ],
)
def test_a_label_that_is_no_list_of_classes_is_refused(label: object, sentence: str, tmp_path: Path) -> None:
    examples = [(picture((0,), 0), label), *several(8, 1)]
    with pytest.raises(TrainingError, match=sentence):
        train(prepare(tmp_path, examples, several(8, 100), CLASS_IDS, multi_label="1"))


def test_a_weighted_loss_finds_more_of_a_rare_class(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    scores = np.concatenate([random.normal(0.05, 0.1, 190), random.normal(0.2, 0.1, 10)])[:, None]
    truth = (np.arange(200) >= 190).astype(float)[:, None]
    found = {}
    for weighted in (False, True):
        calibrator = ManyClasses(weighted=weighted)
        likely = calibrator.probabilities(scores, calibrator.fit(scores, truth))
        found[weighted] = (likely[190:] >= 0.5).mean()
    assert found[True] > found[False] + 0.3
    # The same hyperparameter reaches the trainer.
    base = prepare(
        tmp_path, several(32, 0), several(8, 90), CLASS_IDS, multi_label="1", use_weighted_loss="1"
    )
    train(base)
    assert answers(base, [picture((1,), 5)])[0].argmax() == 1


# --- how sure it is


@given(st.integers(0, 10_000), st.integers(2, 5))
@settings(max_examples=15)
def test_calibration_does_not_change_the_answer_and_is_never_less_likely_than_a_factor_of_one(
    seed: int, classes: int
) -> None:
    random = np.random.default_rng(seed)
    truth = np.eye(classes)[random.integers(0, classes, 60)]
    scores = 0.5 * truth + random.normal(0, 0.3, truth.shape)
    calibrator = OneClass()
    fitted = calibrator.fit(scores, truth)
    likely = calibrator.probabilities(scores, fitted)
    assert (likely.argmax(axis=1) == scores.argmax(axis=1)).all()
    np.testing.assert_allclose(likely.sum(axis=1), 1)
    by_hand = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    assert fitted.likelihood >= (by_hand * truth).sum(axis=1).mean() - 1e-9
    np.testing.assert_allclose(fitted.likelihoods, np.log((likely * truth).sum(axis=1)))


def test_scores_that_are_too_timid_are_made_to_hold_what_they_say() -> None:
    random = np.random.default_rng(1)
    truth = np.eye(3)[random.integers(0, 3, 600)]
    # Shares that are hardly apart, and right nearly always.
    scores = 1 / 3 + 0.1 * truth + random.normal(0, 0.02, truth.shape)
    before, after = errors(OneClass(), scores, truth)
    assert before > 0.4
    assert after < 0.1


def test_the_log_tells_the_calibration_error_without_and_with_calibration(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    examples = [(picture((n % 3,), n, noise=90), n % 3) for n in range(24)]
    train(prepare(tmp_path, examples, examples[:6], top_k="2"))
    told = re.search(r"expected calibration error ([\d.]+) before, ([\d.]+) after, factors", caplog.text)
    assert told
    assert all(0 <= float(value) <= 1 for value in told.groups())
    assert re.search(r"Epoch\[0\] Validation-top_k_accuracy_2=[01]\.\d{6}", caplog.text)


# --- what it chooses


def test_augmentation_is_tried_where_it_is_asked_for_and_the_log_says_what_came_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    # Each class at one end of the picture only: mirrored copies are what shows the other.
    examples = [(picture((n % 3,), n, noise=60), n % 3) for n in range(24)]
    train(prepare(tmp_path, examples, examples[:6], augmentation_type="crop_color"))
    assert "'augmentation_type': 'crop_color'" in re.findall(r"Honored hyperparameters.*", caplog.text)[0]
    tried = re.findall(
        r"Epoch\[\d\] Augmentation: likelihood (-?[\d.]+) without, (-?[\d.]+) with", caplog.text
    )
    kept = re.findall(r"Epoch\[\d\] Cross-validation.*", caplog.text)
    assert len(tried) == len(kept) > 0
    for (without, with_copies), line in zip(tried, kept, strict=True):
        assert ("varied copies" in line) == (float(with_copies) > float(without))


def test_a_rare_class_is_still_an_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    labels = [0] * 20 + [1] * 20 + [2] * 3
    examples = [(picture((label,), n, noise=60), label) for n, label in enumerate(labels)]
    train(prepare(tmp_path, examples, examples[::9]))
    assert re.search(r"Cross-validation: .*(pictures|classes) weigh alike", caplog.text)
    assert (
        answers(tmp_path, [picture((2,), 800 + n, 60) for n in range(8)]).argmax(axis=1) == 2
    ).mean() > 0.7


def test_another_seed_learns_other_words_and_the_same_things(tmp_path: Path) -> None:
    examples = [(picture((n % 3,), n), n % 3) for n in range(18)]
    models = []
    for seed in (0, 1):
        base = prepare(tmp_path / str(seed), examples, examples[:6])
        train(base, seed)
        models.append(read_artifact(base / "model"))
        assert answers(base, [examples[4][0]])[0].argmax() == 1
    words = [model.params.get("arg:color_near0_weight") for model in models]
    assert words[0] is not None
    assert words[1] is None or not np.array_equal(words[0], words[1])


def test_an_earlier_model_is_not_silently_left_out(tmp_path: Path) -> None:
    examples = [(picture((n % 3,), n), n % 3) for n in range(6)]
    with pytest.raises(TrainingError, match="always begins anew and cannot go on from the model channel"):
        train(prepare(tmp_path, examples, examples, channels=("train", "validation", "model")))


def test_there_are_no_more_words_than_different_places() -> None:
    places = np.repeat(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), 20, axis=0)
    words, sharpness = learn_words(places, 50, np.random.default_rng(0))
    assert sorted(map(tuple, words.tolist())) == [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0)]
    assert sharpness == pytest.approx(1.0)


def test_the_benchmark_of_held_out_pictures_measures_the_trainer(tmp_path: Path) -> None:
    folders = {"Compost": "cardboard", "Landfill": "trash", "Recycle": "glass"}
    for line in (SAMPLES / "truth.jsonl").read_text().splitlines():
        row = json.loads(line)
        folder = tmp_path / "data" / folders[row["class"]]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(SAMPLES / row["image"], folder)
    command = [sys.executable, "tests/benchmarks/held_out.py", "--trainer", "embedded", "--task", "bins"]
    results = tmp_path / "results.jsonl"
    options = ["--sizes", "6", "--seeds", "1", "--data", str(tmp_path / "data"), "--results", str(results)]
    first = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert first.returncode == 0, first.stdout + first.stderr
    (run,) = map(json.loads, results.read_text().splitlines())
    assert (run["trainer"], run["size"], run["seed"]) == ("embedded", 6, 0)
    assert f"| bins | 6 | embedded | {run['accuracy']:.1%} |" in first.stdout
    assert 0 < run["cpu"] < 30
    assert run["plain_error"] is not None
