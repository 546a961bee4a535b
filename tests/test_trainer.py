"""The trainer that needs no GPU, run as the platform runs it, and the judging of what it learned."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gtlabel.errors import TrainingError
from gtlabel.networks import interpreter
from gtlabel.networks.artifact import read_artifact
from gtlabel.networks.evaluation import Evaluation, ScoredImage
from gtlabel.networks.onnx import to_onnx
from gtlabel.networks.preprocess import load_image
from gtlabel.networks.runtime import Network
from gtlabel.recordio import encode
from gtlabel.training.embedded import train
from gtlabel.training.evaluate import evaluate
from gtlabel.training.kernel import Regression

SAMPLES = Path(__file__).parents[1] / "samples" / "trash"
CLASSES = ("Compost", "Landfill", "Recycle")
COLORS = ((200, 30, 30), (30, 200, 30), (30, 30, 200))

Records = Iterable[bytes]


def truth(file: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (SAMPLES / file).read_text().splitlines()]


def wire(records: Records) -> bytes:
    return b"".join(map(encode, records))


def labeled(rows: Sequence[Mapping[str, str]]) -> list[bytes]:
    records = []
    for row in rows:
        records += [(SAMPLES / row["image"]).read_bytes(), str(CLASSES.index(row["class"])).encode()]
    return records


def painted(count: int, seed: int = 0, classes: int = 3) -> list[bytes]:
    """Small pictures that show their class by their color."""
    random = np.random.default_rng(seed)
    records = []
    for number in range(count):
        pixels = np.clip(random.normal(COLORS[number % classes], 25, (24, 32, 3)), 0, 255).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        records += [stream.getvalue(), str(number % classes).encode()]
    return records


def prepare(base: Path, train: Records, validation: Records, **hyperparameters: str) -> Path:
    """Lay out what SageMaker calls /opt/ml, with plain files as channels."""
    config, data = base / "input" / "config", base / "input" / "data"
    config.mkdir(parents=True)
    data.mkdir()
    (base / "model").mkdir()
    values = {
        "num_classes": "3",
        "num_training_samples": "24",
        "image_shape": "3,32,32",
        "mini_batch_size": "6",
        **hyperparameters,
    }
    (config / "hyperparameters.json").write_text(json.dumps(values))
    (data / "train_0").write_bytes(wire(train))
    (data / "validation_0").write_bytes(wire(validation))
    return base


def program(base: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gtlabel.training.embedded", "train"],
        env={**os.environ, "SAGEMAKER_BASE_DIR": str(base), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The samples' model, trained once, and what the program printed."""
    rows = truth("truth.jsonl")
    base = prepare(
        tmp_path_factory.mktemp("ml"),
        labeled(rows[:94]),
        labeled(rows[94:]),
        num_training_samples="94",
        image_shape="3,64,64",
        mini_batch_size="16",
        learning_rate="0.01",
    )
    process = program(base)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return base, output


# --- what it learns


def test_the_model_recognizes_most_pictures_it_never_saw(trained: tuple[Path, str]) -> None:
    artifact = read_artifact(trained[0] / "model")
    rows = truth("held-out.jsonl")
    result = evaluate(
        Network(to_onnx(artifact, CLASSES)),
        {row["image"]: (SAMPLES / row["image"]).read_bytes() for row in rows},
        {row["image"]: row["class"] for row in rows},
        CLASSES,
    )
    assert result.majority[1] == pytest.approx(1 / 3)
    assert result.accuracy > 0.6


def test_the_converted_model_gives_the_trainers_own_probabilities(trained: tuple[Path, str]) -> None:
    artifact = read_artifact(trained[0] / "model")
    assert artifact.shape == (16, 3, 64, 64)
    batch = np.stack(
        [load_image((SAMPLES / row["image"]).read_bytes(), 64, 64) for row in truth("held-out.jsonl")]
    )
    own = interpreter.run(artifact.symbol, artifact.params, batch)
    converted = Network(to_onnx(artifact, CLASSES)).probabilities(batch)
    np.testing.assert_allclose(converted, own, atol=1e-4)


def test_the_log_has_the_built_ins_lines(trained: tuple[Path, str]) -> None:
    base, output = trained
    share = r"[01]\.\d{6}"
    for line in (
        rf"Epoch\[0\] Train-accuracy={share}",
        r"Epoch\[0\] Time cost=\d+\.\d+",
        rf"Epoch\[0\] Validation-accuracy={share}",
        rf"Storing the best model with validation accuracy: {share}",
        re.escape(f'Saved checkpoint to "{base}/model/image-classification-') + r'000[123]\.params"',
    ):
        assert re.search(line + "$", output, re.MULTILINE), line


def test_the_log_says_which_hyperparameters_count(trained: tuple[Path, str]) -> None:
    honored, ignored = re.findall(r"(?:Honored|Ignored) hyperparameters.*: (\{.*\})", trained[1])
    assert "image_shape" in honored
    assert "mini_batch_size" in honored
    assert "learning_rate" in ignored


def test_every_stage_is_an_epoch_with_accuracies_of_its_own(trained: tuple[Path, str]) -> None:
    for kind in ("Train", "Validation", "Cross-validation"):
        epochs = re.findall(rf"Epoch\[(\d)\] {kind}[-:]\s?accuracy=[01]\.\d+", trained[1])
        assert epochs[:3] == ["0", "1", "2"]


def test_the_last_figures_are_those_of_the_model_that_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    rows = truth("truth.jsonl")
    told = {"num_training_samples": "18", "image_shape": "3,48,48"}
    train(prepare(tmp_path, labeled(rows[:18]), labeled(rows[94:106]), **told))
    (kept,) = re.findall(r"image-classification-0*(\d+)\.params", caplog.text)
    assert kept != "3", "with these pictures the last stage is not the best one"
    for kind in ("Train", "Validation"):
        shown = re.findall(rf"Epoch\[(\d)\] {kind}-accuracy=([\d.]+)", caplog.text)
        assert shown[-1] == shown[int(kept) - 1]


def test_only_the_built_ins_three_files_are_left(trained: tuple[Path, str]) -> None:
    symbol, *rest = sorted(path.name for path in (trained[0] / "model").iterdir())
    saved = re.findall(r'Saved checkpoint to ".*/(.*\.params)"', trained[1])
    assert [symbol, *rest] == [*saved, "image-classification-symbol.json", "model-shapes.json"]


def test_no_held_out_picture_is_among_those_to_label() -> None:
    label, held_out = truth("truth.jsonl"), truth("held-out.jsonl")
    assert len({row["original"] for row in label + held_out}) == len(label + held_out)
    files = {(SAMPLES / row["image"]).read_bytes() for row in label + held_out}
    assert len(files) == len(label + held_out)


def test_each_picture_is_judged_as_if_it_had_not_been_learned_from() -> None:
    random = np.random.default_rng(3)
    features = random.uniform(0, 1, (20, 6)).astype(np.float32)
    truth = np.eye(3)[random.integers(0, 3, 20)]
    weights = random.uniform(0.5, 1.5, 20)
    whole = Regression(features, truth, weights)
    prior, points = whole.prior, whole.landmarks
    for solution in whole.solutions():
        likeness = np.exp(-solution.width * ((points[:, None] - points) ** 2).sum(axis=2))
        for left_out in (0, 13):
            rest = np.arange(20) != left_out
            # The textbook's equations for the other nineteen.
            equations = np.diag(np.sqrt(weights[rest])) @ likeness[np.ix_(rest, rest)]
            equations = equations @ np.diag(np.sqrt(weights[rest])) + solution.penalty * np.eye(19)
            found = np.linalg.solve(equations, np.sqrt(weights[rest])[:, None] * (truth[rest] - prior))
            expected = prior + (likeness[left_out, rest] * np.sqrt(weights[rest])) @ found
            np.testing.assert_allclose(solution.left_out[left_out], expected, atol=2e-3)


def test_varied_copies_are_left_out_together_with_their_picture() -> None:
    random = np.random.default_rng(5)
    own = random.uniform(0, 1, (12, 5)).astype(np.float32)
    # Copies that are the picture itself: whoever left out one of them only would know the answer.
    truth = np.eye(2)[random.integers(0, 2, 12)]
    alone = Regression(own, truth, np.ones(12))
    copied = Regression(np.repeat(own, 3, axis=0), truth, np.ones(12), copies=2)
    for one, other in zip(alone.solutions(), copied.solutions(), strict=True):
        np.testing.assert_allclose(one.left_out, other.left_out, atol=5e-3)


# --- how it is run


def test_channels_come_through_fifos(tmp_path: Path) -> None:
    base = prepare(tmp_path, [], [])
    for name, records in (("train_0", painted(24)), ("validation_0", painted(9, seed=1))):
        fifo = base / "input" / "data" / name
        fifo.unlink()
        os.mkfifo(fifo)
        threading.Thread(target=fifo.write_bytes, args=(wire(records),), daemon=True).start()
    train(base)
    assert read_artifact(base / "model").shape == (6, 3, 32, 32)


@pytest.mark.parametrize("shape", ["3,8,8", "3,40,70", "3,150,224"])
def test_any_size_is_learned_and_converted(
    shape: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    layers = "20" if shape == "3,8,8" else "18"
    told = {"image_shape": shape, "num_layers": layers, "num_training_samples": "12"}
    train(prepare(tmp_path, painted(12), painted(6, seed=1), **told))
    assert "Validation-accuracy=1.000000" in caplog.text
    artifact = read_artifact(tmp_path / "model")
    network = Network(to_onnx(artifact, CLASSES))
    assert (network.height, network.width) == tuple(map(int, shape.split(",")[1:]))
    batch = np.stack([load_image(picture, network.height, network.width) for picture in painted(9, 2)[::2]])
    own = interpreter.run(artifact.symbol, artifact.params, batch)
    np.testing.assert_allclose(network.probabilities(batch), own, atol=1e-4)


@pytest.mark.parametrize("present", [1, 2])
def test_a_class_without_a_picture_is_never_the_answer(present: int, tmp_path: Path) -> None:
    train(prepare(tmp_path, painted(24, classes=present), painted(6, classes=present)))
    artifact = read_artifact(tmp_path / "model")
    batch = np.stack([load_image(picture, 32, 32) for picture in painted(9)[::2]])
    answers = interpreter.run(artifact.symbol, artifact.params, batch)
    assert answers.shape == (9, 3)
    assert set(answers.argmax(axis=1)) <= set(range(present))


def test_the_same_pictures_give_the_same_bytes(tmp_path: Path) -> None:
    models = []
    for name in ("once", "again"):
        base = prepare(tmp_path / name, painted(24), painted(6))
        train(base)
        models.append({path.name: path.read_bytes() for path in (base / "model").iterdir()})
    assert models[0] == models[1]


def test_a_wrong_number_of_samples_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(prepare(tmp_path, painted(24), painted(6), num_training_samples="30"))
    assert "Expected number of samples: 30, did not match the number of samples processed: 24" in caplog.text


def test_a_job_that_is_stopped_leaves_no_half_model_and_no_failure(tmp_path: Path) -> None:
    base = prepare(tmp_path, [], [])
    (base / "input" / "data" / "train_0").unlink()
    os.mkfifo(base / "input" / "data" / "train_0")
    process = program(base)
    assert process.stdout
    for line in process.stdout:
        if "Honored" in line:
            break
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    assert list((base / "model").iterdir()) == []
    assert not (base / "output" / "failure").exists()


def test_a_failure_is_one_sentence_in_the_failure_file(tmp_path: Path) -> None:
    base = prepare(tmp_path, painted(3), painted(3))
    process = program(base)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    sentence = (base / "output" / "failure").read_text()
    assert sentence.startswith("ClientError: The number of input images must be bigger or equal to the")
    assert "Traceback" not in output
    assert list((base / "model").iterdir()) == []


good = painted(24)


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        (
            [*good[:5], b"3"],
            "record 5 of epoch 0 of the train channel: the label '3' is not a whole number from 0 to 2",
        ),
        ([*good[:3], b"-1"], "record 3 of epoch 0 of the train channel: the label '-1'"),
        ([*good[:3], b"Compost"], "record 3 of epoch 0 of the train channel: the label 'Compost'"),
        (
            [*good[:4], good[4][:200], b"1"],
            "record 4 of epoch 0 of the train channel: .* not a readable picture",
        ),
        ([*good[:4], b"hello", b"1"], "record 4 of epoch 0 of the train channel: .* not a readable picture"),
        (good[:-1], "the last picture of the train channel has no label after it"),
        (good[:8], "bigger or equal to the mini_batch_size. The train channel has 4, mini_batch_size is 6"),
        ([], "Got empty batch from pipe.*train channel"),
    ],
)
def test_a_channel_that_cannot_be_learned_from_says_where(
    records: list[bytes], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=sentence):
        train(prepare(tmp_path, records, painted(6)))


def test_pictures_without_a_record_around_them_are_refused_as_the_built_in_does(tmp_path: Path) -> None:
    base = prepare(tmp_path, [], painted(6))
    (base / "input" / "data" / "train_0").write_bytes(b"".join(good))
    with pytest.raises(TrainingError, match=r"Unable to parse record.*magic number"):
        train(base)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"num_clases": "3"}, "'num_clases' is not a hyperparameter of image classification"),
        ({"num_classes": "one"}, "The value 'one' is not valid for the 'num_classes' hyperparameter"),
        ({"learning_rate": "2"}, "The value '2' is not valid for the 'learning_rate' hyperparameter"),
        ({"num_layers": "19"}, "num_layers 19 does not fit"),
        ({"image_shape": "1,64,64"}, "is not 3 colors"),
        ({"image_shape": "3,4,4", "num_layers": "20"}, "at least 8 pixels"),
    ],
)
def test_a_hyperparameter_that_the_built_in_refuses_is_refused(
    change: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=sentence):
        train(prepare(tmp_path, good, painted(6), **change))


def test_a_missing_hyperparameter_is_named(tmp_path: Path) -> None:
    base = prepare(tmp_path, good, painted(6))
    (base / "input" / "config" / "hyperparameters.json").write_text('{"num_classes": "3"}')
    with pytest.raises(TrainingError, match="specified for 'num_training_samples' which are required"):
        train(base)


def test_every_hyperparameter_of_the_built_in_is_accepted(tmp_path: Path) -> None:
    every = {
        "num_layers": "18", "use_pretrained_model": "0", "resize": "40", "epochs": "3",
        "learning_rate": "0.1", "lr_scheduler_factor": "0.1", "lr_scheduler_step": "1,2",
        "optimizer": "adam", "beta_1": "0.9",
        "beta_2": "0.999", "eps": "1e-8", "augmentation_type": "crop_color_transform",
        "multi_label": "0", "use_weighted_loss": "0", "top_k": "2", "precision_dtype": "float32",
        "checkpoint_frequency": "2", "early_stopping": "True", "early_stopping_min_epochs": "2",
        "early_stopping_patience": "5", "early_stopping_tolerance": "0.0", "kv_store": "dist_sync",
    }  # fmt: skip
    train(prepare(tmp_path, good, painted(6), **every))
    assert read_artifact(tmp_path / "model").shape == (6, 3, 32, 32)


# --- how it is judged


def judged(
    labels: Sequence[str], predicted: Sequence[str], classes: Sequence[str] = ("a", "b")
) -> Evaluation:
    images = [
        ScoredImage(f"{number}.jpg", label, [float(name == guess) for name in classes])
        for number, (label, guess) in enumerate(zip(labels, predicted, strict=True))
    ]
    return Evaluation(classes, images)


def test_the_figures_of_a_small_example_are_those_by_hand() -> None:
    result = judged(list("aaaaabbbbb"), list("aaaabbbbba"))
    assert result.accuracy == 0.8
    assert result.majority == ("a", 0.5)
    assert result.confusion == [[4, 1], [1, 4]]
    # Wilson's interval for 8 of 10, as tables give it.
    assert result.interval == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_a_class_nobody_answered_has_no_precision() -> None:
    first, second = judged(list("aab"), list("aaa")).per_class
    assert first.precision == pytest.approx(2 / 3)
    assert first.recall == 1.0
    assert (second.precision, second.recall) == (None, 0.0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=30))
def test_the_figures_can_be_recomputed_from_the_json(pairs: list[tuple[str, str]]) -> None:
    result = judged([label for label, _ in pairs], [guess for _, guess in pairs], "abc")
    value: dict[str, Any] = json.loads(json.dumps(result.to_json()))
    correct = sum(image["truth"] == image["predicted"] for image in value["images"])
    assert (
        value["accuracy"]
        == correct / len(pairs)
        == sum(value["confusion"][i][i] for i in range(3)) / len(pairs)
    )
    assert sum(map(sum, value["confusion"])) == value["total"] == len(pairs)
    assert value["interval"][0] <= value["accuracy"] <= value["interval"][1]
    for image in value["images"]:
        assert value["classes"][int(np.argmax(image["probabilities"]))] == image["predicted"]
