"""The built-in's networks, drawn by us, against what real MXNet made of them."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_mxnet import CASES, CLASSES, RECORDED, RULES, STEPS, Case, pictures, truth, weights
from programs import need

from gtlabel.errors import ArtifactError
from gtlabel.networks import interpreter
from gtlabel.networks.artifact import Artifact, read_artifact, write_artifact
from gtlabel.networks.onnx import to_onnx
from gtlabel.networks.resnet import Design, initial_weights, resnet
from gtlabel.networks.runtime import Network
from gtlabel.training.starting import stored

# The ones whose answers are computed here; the others differ from them in numbers only.
ANSWERED = [case for case in CASES if not case.half and (case.shape[1] <= 28 or case.shape[1:] == (64, 48))]
NAMES = "abcd"


def facts(case: Case) -> dict[str, Any]:
    return json.loads(gzip.decompress((RECORDED / "facts.json.gz").read_bytes()))[case.name]  # type: ignore[no-any-return]


def symbol(case: Case) -> dict[str, Any]:
    data = gzip.decompress((RECORDED / f"{case.name}-symbol.json.gz").read_bytes())
    return json.loads(data)  # type: ignore[no-any-return]


def drawn(case: Case) -> Design:
    return resnet(case.layers, CLASSES, case.shape, multi_label=case.multi_label, half=case.half)


def filled(case: Case) -> Artifact:
    """Our network with the weights that MXNet answered with."""
    design = drawn(case)
    params = weights(design.shapes, facts(case).get("classifier", 1.0))
    return stored(Artifact(design.symbol, dict(params), (1, *case.shape)))


def named(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", CASES, ids=named)
def test_our_graphs_are_mxnets_node_for_node(case: Case) -> None:
    ours, theirs = drawn(case).symbol, symbol(case)
    for one, other in zip(ours["nodes"], theirs["nodes"], strict=True):
        assert one == other
    assert ours["heads"] == theirs["heads"]
    assert ours["arg_nodes"] == theirs["arg_nodes"]


@pytest.mark.parametrize("case", CASES, ids=named)
def test_our_weights_have_the_names_and_shapes_that_mxnet_infers(case: Case) -> None:
    assert {name: list(shape) for name, shape in drawn(case).shapes.items()} == facts(case)["shapes"]


@pytest.mark.parametrize("case", CASES[:4], ids=named)
def test_weights_are_stored_in_the_precision_that_mxnet_keeps_them_in(case: Case) -> None:
    halves = {name for name, array in filled(case).params.items() if array.dtype == np.float16}
    assert halves == set(facts(case)["half"])


@pytest.mark.parametrize("case", ANSWERED, ids=named)
def test_a_network_of_ours_converted_answers_as_mxnet_did(case: Case) -> None:
    network = Network(to_onnx(filled(case), NAMES))
    answers = network.probabilities(pictures(case.shape))
    np.testing.assert_allclose(answers, facts(case)["answers"], rtol=0, atol=1e-5)
    assert network.multi_label == case.multi_label
    assert network.channels == case.shape[0]


def test_a_network_with_casts_and_weights_of_16_bits_converts_as_the_same_without(tmp_path: Path) -> None:
    half = next(case for case in CASES if case.half)
    whole = Case(half.layers, half.shape)
    params = filled(half).params
    write_artifact(tmp_path, Artifact(drawn(half).symbol, params, (1, *half.shape)))
    exact = {name: array.astype(np.float32) for name, array in params.items()}
    batch = pictures(half.shape)
    converted = Network(to_onnx(read_artifact(tmp_path), NAMES)).probabilities(batch)
    expected = Network(to_onnx(Artifact(drawn(whole).symbol, exact, (1, *half.shape)), NAMES)).probabilities(
        batch
    )
    assert converted.tobytes() == expected.tobytes()
    assert (tmp_path / "image-classification-0001.params").stat().st_size < 600_000


@pytest.mark.parametrize(("layers", "height"), [(18, 28), (20, 32), (50, 28), (19, 224)])
def test_a_depth_without_a_network_is_refused_with_those_that_have_one(layers: int, height: int) -> None:
    with pytest.raises(ArtifactError, match=rf"no ResNet of {layers} layers .*take one of \d+, "):
        resnet(layers, 3, (3, height, height))


def test_weights_to_begin_with_are_as_wide_as_their_inputs_ask_for() -> None:
    weights = initial_weights(drawn(CASES[0]).shapes, seed=3)
    last = weights["arg:stage3_unit3_conv2_weight"]
    assert last.std() == pytest.approx(np.sqrt(2 / (64 * 9)), rel=0.02)
    assert abs(last.mean()) < 0.001
    assert (weights["arg:bn1_gamma"] == 1).all()
    assert (weights["aux:bn1_moving_var"] == 1).all()
    assert not weights["arg:fc_bias"].any()


def test_a_seed_draws_the_same_weights_whatever_else_there_is() -> None:
    small, large = drawn(CASES[0]).shapes, resnet(32, 7, (3, 28, 28)).shapes
    name = "arg:stage1_unit1_conv1_weight"
    same, other = initial_weights(small, 1)[name], initial_weights(large, 1)[name]
    assert same.tobytes() == other.tobytes()
    assert initial_weights(small, 2)[name].tobytes() != same.tobytes()


# --- torch

ASK_TORCH = """
import json
import sys
import numpy as np
from pathlib import Path
from gtlabel.networks.artifact import read_artifact
from gtlabel.training.hyperparameters import Hyperparameters
from gtlabel.training.torchdoor import load_torch
from gtlabel.training.torchlearning import Learner
from gtlabel.training.torchnetwork import TorchNetwork
torch = load_torch(1)
for folder in map(Path, sys.argv[1:]):
    artifact = read_artifact(folder)
    asked = json.loads((folder / "asked.json").read_text())
    network = TorchNetwork(torch, artifact.symbol, artifact.params)
    batch = torch.from_numpy(np.load(folder / "x.npy"))
    np.save(folder / "y.npy", network.probabilities(batch).numpy())
    for rule, told in asked["rules"].items():
        network.load(artifact.params)
        learner = Learner(torch, network, Hyperparameters(**told))
        learner.begin_epoch(0)
        said = [learner.learn(batch, torch.tensor(asked["truth"]))[0] for _ in range(asked["steps"])]
        np.save(folder / f"{rule}.npy", torch.stack(said).numpy())
"""


def ask_torch(folders: Sequence[Path]) -> None:
    """Let torch answer the pictures in `x.npy` of each folder into `y.npy`, with the artifact there."""
    python = os.environ.get("GTLABEL_TORCH_PYTHON", "")
    need(
        python,
        "trains and runs ResNets with torch; install it aside: python -m venv torch && torch/bin/pip install "
        "-e '.[train-torch,edge]' && export GTLABEL_TORCH_PYTHON=$PWD/torch/bin/python",
    )
    subprocess.run(
        [python, "-c", ASK_TORCH, *map(str, folders)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=120,
    )


# --- what trainers left

TRAINED = RECORDED.with_name("mxnet-trained")


@pytest.mark.parametrize("name", ["embedded-one", "embedded-several", "torch-several"])
def test_what_a_trainer_left_answers_after_conversion_as_in_mxnet(name: str) -> None:
    network = Network(to_onnx(read_artifact(TRAINED / name / "model.tar.gz"), NAMES[:3]))
    mxnet = np.load(TRAINED / name / "mxnet.npz")
    answers = network.probabilities(mxnet["x"].astype(np.float32))
    np.testing.assert_allclose(answers, mxnet["y"], rtol=0, atol=1e-5)
    assert network.multi_label == name.endswith("several")


@pytest.mark.parametrize("name", ["embedded-one", "embedded-several"])
def test_numpy_runs_what_the_embedded_trainer_left_as_mxnet_does(name: str) -> None:
    artifact = read_artifact(TRAINED / name / "model.tar.gz")
    mxnet = np.load(TRAINED / name / "mxnet.npz")
    answers = interpreter.run(artifact.symbol, artifact.params, mxnet["x"].astype(np.float32))
    np.testing.assert_allclose(answers, mxnet["y"], rtol=0, atol=1e-5)


LEARNING = (CASES[0], CASES[2])


@pytest.fixture(scope="module")
def torch_said(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What torch says of the pictures, and while it learns them, in a folder for each network."""
    root = tmp_path_factory.mktemp("torch")
    cases = [case for case in CASES if case in ANSWERED or case.half]
    for case in cases:
        folder = root / case.name
        write_artifact(folder, filled(case))
        np.save(folder / "x.npy", pictures(case.shape))
        told = {
            "num_classes": CLASSES,
            "num_training_samples": 99,
            "num_layers": case.layers,
            "image_shape": case.shape,
        }
        rows = np.eye(CLASSES)[truth(case).astype(int)] if truth(case).ndim == 1 else truth(case)
        rules = {rule: {**told, "optimizer": rule, **settings} for rule, (settings, _) in RULES.items()}
        asked = {"truth": rows.tolist(), "steps": STEPS, "rules": rules if case in LEARNING else {}}
        (folder / "asked.json").write_text(json.dumps(asked))
    trained = root / "trained"
    write_artifact(trained, read_artifact(TRAINED / "torch-several" / "model.tar.gz"))
    np.save(trained / "x.npy", np.load(TRAINED / "torch-several" / "mxnet.npz")["x"].astype(np.float32))
    (trained / "asked.json").write_text('{"rules": {}}')
    ask_torch([*(root / case.name for case in cases), trained])
    return root


def test_torch_reads_what_it_left_as_mxnet_does(torch_said: Path) -> None:
    mxnet = np.load(TRAINED / "torch-several" / "mxnet.npz")
    np.testing.assert_allclose(np.load(torch_said / "trained" / "y.npy"), mxnet["y"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", ANSWERED, ids=named)
def test_torch_runs_the_graphs_as_mxnet_does(case: Case, torch_said: Path) -> None:
    answers = np.load(torch_said / case.name / "y.npy")
    np.testing.assert_allclose(answers, facts(case)["answers"], rtol=0, atol=1e-5)


def test_torch_runs_weights_of_16_bits_as_their_conversion_runs(torch_said: Path) -> None:
    half = next(case for case in CASES if case.half)
    converted = Network(to_onnx(filled(half), NAMES)).probabilities(pictures(half.shape))
    np.testing.assert_allclose(np.load(torch_said / half.name / "y.npy"), converted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("case", LEARNING, ids=named)
def test_torch_learns_step_by_step_what_mxnet_learned(case: Case, rule: str, torch_said: Path) -> None:
    scores = np.load(torch_said / case.name / f"{rule}.npy").astype(np.float64)
    powers = np.exp(scores)
    said = powers / (1 + powers) if case.multi_label else powers / powers.sum(axis=2, keepdims=True)
    learned = np.array(facts(case)["learned"][rule])
    # It did learn; and each step multiplies what rounding left of the one before.
    assert np.abs(learned[-1] - learned[0]).max() > 0.2
    for step, tolerance in enumerate((1e-5, 1e-4, 2e-3, 1e-2)):
        np.testing.assert_allclose(said[step], learned[step], rtol=0, atol=tolerance)
