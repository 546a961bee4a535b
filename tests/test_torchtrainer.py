"""The trainer with torch, run as the platform runs it: what it honors, leaves, and says when it fails."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from programs import need

from gtlabel.networks.artifact import Artifact, read_artifact, write_artifact
from gtlabel.networks.onnx import to_onnx
from gtlabel.networks.preprocess import load_image
from gtlabel.networks.resnet import initial_weights, resnet
from gtlabel.networks.runtime import Network
from gtlabel.recordio import encode

TORCH_JOBS = Path(__file__).with_name("torch_jobs.py")
COLORS = ((200, 40, 40), (40, 200, 40), (40, 40, 200))
NAMES = ("red", "green", "blue")
BY_ID = {"ContentType": "application/x-recordio; label-format=class-id"}


def torch_python() -> str:
    python = os.environ.get("GTLABEL_TORCH_PYTHON", "")
    need(
        python,
        "trains ResNets with torch; install it aside: python -m venv torch && torch/bin/pip install "
        "-e '.[train-torch,edge]' && export GTLABEL_TORCH_PYTHON=$PWD/torch/bin/python",
    )
    return python


def png(colors: Sequence[Sequence[int]], seed: int) -> bytes:
    """A noisy picture of vertical stripes."""
    pixels = np.random.default_rng(seed).normal(0, 25, (30, 40, 3))
    width = 40 // len(colors)
    for place, color in enumerate(colors):
        pixels[:, place * width : (place + 1) * width] += color
    stream = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def painted(count: int, seed: int) -> list[tuple[bytes, str]]:
    """Pictures that show their class by their color."""
    return [(png([COLORS[n % 3]], seed + n), str(n % 3)) for n in range(count)]


def striped(count: int, seed: int) -> list[tuple[bytes, str]]:
    """Pictures of one to three colors, and the list of them; every eighth is black and has none."""
    examples = []
    for number in range(count):
        present = [color for color in range(3) if number % 8 >> color & 1]
        colors = [COLORS[color] for color in present] or [(0, 0, 0)]
        examples.append((png(colors, seed + number), json.dumps(present)))
    return examples


def wire(examples: Iterable[tuple[bytes, str]]) -> bytes:
    return b"".join(bytes(encode(part)) for picture, label in examples for part in (picture, label.encode()))


@dataclass(frozen=True)
class Job:
    """One training job's folder, before and after it ran."""

    base: Path

    @property
    def log(self) -> str:
        return re.sub(r"(?m)^\[[^]]*\] ", "", (self.base / "log.txt").read_text())

    @property
    def code(self) -> int:
        return int((self.base / "code.txt").read_text())

    @property
    def failure(self) -> str:
        assert self.code == 1, self.log
        assert list((self.base / "model").iterdir()) == []
        return (self.base / "output" / "failure").read_text()

    @property
    def models(self) -> list[str]:
        assert self.code == 0, self.log
        return sorted(path.name for path in (self.base / "model").iterdir())

    def accuracies(self, channel: str = "Validation") -> list[float]:
        return [float(found) for found in re.findall(rf"{channel}-accuracy=([\d.]+)", self.log)]


def job(
    base: Path,
    train: Sequence[tuple[bytes, str]],
    validation: Sequence[tuple[bytes, str]],
    *arguments: str,
    epochs_sent: int = 1,
    content: dict[str, str] | None = None,
    **hyperparameters: Any,
) -> Job:
    """Lay out what SageMaker calls /opt/ml."""
    config, data = base / "input" / "config", base / "input" / "data"
    for folder in (config, data, base / "model"):
        folder.mkdir(parents=True)
    values = {
        "num_classes": 3,
        "num_training_samples": len(train),
        "num_layers": 20,
        "image_shape": "3,28,28",
        "mini_batch_size": 8,
        "learning_rate": 0.05,
        "epochs": 2,
    } | hyperparameters
    (config / "hyperparameters.json").write_text(json.dumps({k: str(v) for k, v in values.items()}))
    if content is not None:
        (config / "inputdataconfig.json").write_text(json.dumps({"train": content, "validation": content}))
    for epoch in range(epochs_sent):
        (data / f"train_{epoch}").write_bytes(wire(train))
        (data / f"validation_{epoch}").write_bytes(wire(validation))
    (base / "arguments.json").write_text(json.dumps(["--threads", "1", *arguments]))
    return Job(base)


def run(jobs: Iterable[Job]) -> None:
    subprocess.run(
        [torch_python(), str(TORCH_JOBS), *(str(one.base) for one in jobs)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=180,
    )


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    """All jobs of this module, which ran one after the other."""
    root = tmp_path_factory.mktemp("jobs")
    train, validation = painted(26, 0), painted(12, 500)

    def short(name: str, *arguments: str, **values: Any) -> Job:
        return job(root / name, train, validation, *arguments, **values)

    made = {
        "plain": short(
            "plain", epochs=4, augmentation_type="crop", top_k=2, lr_scheduler_step="2,3", resize=32
        ),
        "multi": job(
            root / "multi",
            striped(24, 0),
            striped(16, 500),
            "--memory",
            "0",
            epochs_sent=5,
            content=BY_ID,
            epochs=4,
            multi_label=1,
            use_weighted_loss=1,
            precision_dtype="float16",
            optimizer="adam",
            learning_rate=0.01,
            augmentation_type="crop_color_transform",
        ),
        "continued": short("continued", epochs=1, learning_rate=0.001, optimizer="nag"),
        "other-classes": short("other-classes", num_classes=4),
        "other-depth": short("other-depth", num_layers=32),
        "transferred": job(
            root / "transferred",
            train,
            validation,
            "--pretrained",
            str(Path(__file__).parent / "recorded" / "mxnet-resnet20"),
            num_layers=18,
            image_shape="3,224,224",
            use_pretrained_model=1,
        ),
        "no-weights": short("no-weights", num_layers=18, image_shape="3,224,224", use_pretrained_model=1),
        "halted": short("halted", epochs=1, optimizer="rmsprop", learning_rate=0.001),
        "resumed": short("resumed", epochs=2, optimizer="rmsprop", learning_rate=0.001),
        "straight": short("straight", epochs=2, optimizer="rmsprop", learning_rate=0.001),
        "reseeded": short("reseeded", "--seed", "7", epochs=1, optimizer="rmsprop", learning_rate=0.001),
        "stranger": short("stranger", optimizer="sgd"),
        "miscounted": short("miscounted", epochs=1, num_training_samples=50),
        "patient": short(
            "patient",
            epochs=9,
            learning_rate=0,
            early_stopping="True",
            early_stopping_min_epochs=2,
            early_stopping_patience=2,
        ),
        "periodic": short("periodic", epochs=3, checkpoint_frequency=2),
        "hopeless": short("hopeless"),
        "wild": job(root / "wild", [*train[:9], (train[9][0], "3")], validation),
        "broken": job(root / "broken", [*train[:9], (b"GIF89a not one", "0")], validation),
    }
    # Whatever comes later finds what the earlier left.
    for name in ("continued", "other-classes", "other-depth"):
        (made[name].base / "input" / "data" / "model").symlink_to(made["plain"].base / "model")
    design = resnet(20, 3, (3, 28, 28))
    weights = initial_weights(design.shapes, 0) | {"arg:fc_bias": np.full(3, np.nan, dtype=np.float32)}
    lost = Artifact(design.symbol, dict(weights), (8, 3, 28, 28))
    write_artifact(made["hopeless"].base / "input" / "data" / "model", lost)
    checkpoints = root / "checkpoints"
    checkpoints.mkdir()
    for name in ("halted", "resumed", "stranger"):
        (made[name].base / "checkpoints").symlink_to(checkpoints)
    run(made.values())
    return made


# --- what it learns and leaves


def test_it_learns_and_leaves_the_built_ins_three_files(jobs: dict[str, Job]) -> None:
    files = jobs["plain"].models
    assert len(files) == 3
    assert re.fullmatch(r"image-classification-000[1-4]\.params", files[0])
    assert files[1:] == ["image-classification-symbol.json", "model-shapes.json"]
    shapes = json.loads((jobs["plain"].base / "model" / "model-shapes.json").read_text())
    assert shapes == [{"shape": [8, 3, 28, 28], "name": "data"}]
    assert max(jobs["plain"].accuracies()) > 0.6


def test_the_stored_epoch_is_the_best_and_answers_on_a_device_as_was_logged(jobs: dict[str, Job]) -> None:
    plain = jobs["plain"]
    accuracies = plain.accuracies()
    artifact = read_artifact(plain.base / "model")
    assert artifact.epoch == 1 + accuracies.index(max(accuracies))
    network = Network(to_onnx(artifact, NAMES))
    examples = painted(12, 500)
    batch = np.stack([load_image(picture, 28, 28) for picture, _ in examples])
    right = network.probabilities(batch).argmax(axis=1) == [int(label) for _, label in examples]
    assert right.mean() == pytest.approx(max(accuracies), abs=1e-6)


def test_it_prints_the_built_ins_lines(jobs: dict[str, Job]) -> None:
    log = jobs["plain"].log
    for line in (
        r"Epoch\[0\] Train-accuracy=\d\.\d{6}",
        r"Epoch\[0\] Train-top_k_accuracy_2=\d\.\d{6}",
        r"Epoch\[0\] Time cost=\d+\.\d{3}",
        r"Epoch\[0\] Validation-accuracy=\d\.\d{6}",
        r"Storing the best model with validation accuracy: \d\.\d{6}",
        r'Saved checkpoint to ".*/model/image-classification-0001\.params"',
        r"Epoch\[2\] Change learning rate to 5\.00000e-03",
        r"Epoch\[3\] Change learning rate to 5\.00000e-04",
    ):
        assert re.search(f"(?m)^{line}$", log), line
    assert len(jobs["plain"].accuracies("Train")) == len(jobs["plain"].accuracies()) == 4


def test_several_labels_are_learned_from_pipes_that_are_read_anew_each_epoch(jobs: dict[str, Job]) -> None:
    multi = jobs["multi"]
    assert multi.models[1:] == ["image-classification-symbol.json", "model-shapes.json"]
    assert max(multi.accuracies()) > 0.6
    network = Network(to_onnx(read_artifact(multi.base / "model"), NAMES))
    assert network.multi_label
    examples = striped(16, 500)
    answers = network.probabilities(np.stack([load_image(picture, 28, 28) for picture, _ in examples]))
    truth = np.array([[color in json.loads(label) for color in range(3)] for _, label in examples])
    assert ((answers >= 0.5) == truth).mean() == pytest.approx(max(multi.accuracies()), abs=0.03)


def test_sixteen_bits_are_stored_as_such_and_said_to_be_computed_in_more(jobs: dict[str, Job]) -> None:
    assert "computed in 32 bits on this machine, stored in 16" in jobs["multi"].log
    params = read_artifact(jobs["multi"].base / "model").params
    assert params["arg:conv0_weight"].dtype == np.float16
    assert params["arg:bn1_gamma"].dtype == np.float32


def test_another_seed_gives_another_network(jobs: dict[str, Job]) -> None:
    first, other = (
        read_artifact(jobs[name].base / "model").params["arg:conv0_weight"]
        for name in ("straight", "reseeded")
    )
    assert np.abs(first - other).max() > 0.1


# --- where it begins and ends


def test_an_earlier_artifact_is_continued_from_where_it_was(jobs: dict[str, Job]) -> None:
    continued = jobs["continued"]
    assert "from the artifact in the model channel" in continued.log
    assert continued.accuracies("Train")[0] >= max(jobs["plain"].accuracies()) - 0.15
    before, after = (
        read_artifact(jobs[name].base / "model").params["arg:conv0_weight"] for name in ("plain", "continued")
    )
    assert 0 < np.abs(after - before).max() < 0.05


def test_an_earlier_artifact_of_other_classes_or_depth_is_refused(jobs: dict[str, Job]) -> None:
    assert "the model channel is not a ResNet of 32 layers; set num_layers as" in jobs["other-depth"].failure
    assert "tells 3 classes apart and num_classes is 4" in jobs["other-classes"].failure


def test_a_pretrained_model_must_be_given_and_must_fit(jobs: dict[str, Job]) -> None:
    assert (
        "this trainer has none: train in the cloud, set use_pretrained_model=0" in jobs["no-weights"].failure
    )
    assert "is not a ResNet of 18 layers for pictures of 3,224,224" in jobs["transferred"].failure


def test_an_interrupted_training_goes_on_to_the_same_network(jobs: dict[str, Job]) -> None:
    assert "Going on after epoch 1" in jobs["resumed"].log
    assert len(jobs["resumed"].accuracies()) == 1
    resumed, straight = (read_artifact(jobs[name].base / "model") for name in ("resumed", "straight"))
    assert resumed.epoch == straight.epoch
    for name, array in straight.params.items():
        assert resumed.params[name].tobytes() == array.tobytes(), name


def test_checkpoints_of_other_settings_are_not_taken(jobs: dict[str, Job]) -> None:
    assert "the checkpoints are of a training with another optimizer" in jobs["stranger"].failure


def test_training_stops_early_when_nothing_gets_better(jobs: dict[str, Job]) -> None:
    assert len(jobs["patient"].accuracies()) == 3
    assert "Early stopping after epoch 2" in jobs["patient"].log
    assert jobs["patient"].models[0] == "image-classification-0001.params"


def test_every_so_many_epochs_and_the_last_are_kept_if_asked_for(jobs: dict[str, Job]) -> None:
    assert jobs["periodic"].models[:2] == [
        "image-classification-0002.params",
        "image-classification-0003.params",
    ]


def test_sigterm_leaves_the_model_so_far(tmp_path: Path) -> None:
    stopped = job(tmp_path, painted(26, 0), painted(12, 500), epochs=5000)
    process = subprocess.Popen(
        [torch_python(), "-m", "gtlabel.training.torchtrainer", "--threads", "1", "train"],
        env={**os.environ, "SAGEMAKER_BASE_DIR": str(stopped.base), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    with process:
        next(line for line in process.stdout if "Epoch[0] Validation-accuracy" in line)
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
    assert process.returncode == 128 + signal.SIGTERM, rest
    assert "as was asked for; the model so far is saved" in rest
    assert not (stopped.base / "output" / "failure").exists()
    assert read_artifact(stopped.base / "model").epoch >= 1
    assert list((stopped.base / "model").glob(".*")) == []


# --- what it cannot do


def test_a_wrong_number_of_samples_is_told_as_the_built_in_does(jobs: dict[str, Job]) -> None:
    line = "Expected number of batches: 7, did not match the number of batches processed: 4"
    assert line in jobs["miscounted"].log
    assert "did not match" not in jobs["plain"].log


def test_a_bad_record_is_named_with_its_channel(jobs: dict[str, Job]) -> None:
    assert jobs["wild"].failure == (
        "ClientError: record 19 of epoch 0 of the train channel: "
        "the label '3' is not a whole number from 0 to 2"
    )
    assert jobs["broken"].failure.startswith(
        "ClientError: record 18 of epoch 0 of the train channel: these 14 bytes"
    )


def test_a_network_that_can_learn_nothing_any_more_ends_the_job(jobs: dict[str, Job]) -> None:
    sentence = (
        "the loss is nan in epoch 0, so nothing can be learned any more; set a learning_rate below 0.05"
    )
    assert sentence in jobs["hopeless"].failure


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed here")
def test_without_torch_the_job_says_what_to_install(tmp_path: Path) -> None:
    bare = job(tmp_path, painted(26, 0), painted(12, 500))
    process = subprocess.run(
        [sys.executable, "-m", "gtlabel.training.torchtrainer", "train"],
        env={**os.environ, "SAGEMAKER_BASE_DIR": str(bare.base)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 1
    failure = (bare.base / "output" / "failure").read_text()
    assert failure.endswith("pip install 'gtlabel[train-torch]'")
