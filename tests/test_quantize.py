"""Networks of 8 bits: what they are, when they are kept, and the command that makes them."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from PIL import Image
from test_torchtrainer import striped

from gtlabel.datasets.places import Place
from gtlabel.datasets.truth import open_truth
from gtlabel.errors import ArtifactError, QuantizationError
from gtlabel.networks.artifact import Artifact, read_artifact
from gtlabel.networks.folding import folded
from gtlabel.networks.onnx import to_onnx
from gtlabel.networks.quantize import Choice, choose_int8, quantize, unsuited
from gtlabel.networks.runtime import Network
from gtlabel.networks.symbol import SymbolWriter
from gtlabel.training.model import open_model
from gtlabel.training.precision import choose_precision

RECORDED = Path(__file__).parent / "recorded"
RESNET = RECORDED / "mxnet-resnet20"
SEVERAL = RECORDED / "mxnet-trained" / "torch-several" / "model.tar.gz"
EMBEDDED = RECORDED / "mxnet-trained" / "embedded-one" / "model.tar.gz"
WEIGHTS = "image-classification-0002.params"
Floats = NDArray[np.float32]


def nobody() -> NoReturn:
    raise AssertionError("everything is on disk")


def noise(count: int, side: int = 28, seed: int = 0) -> list[Floats]:
    drawn = np.random.default_rng(seed).integers(0, 256, (count, 3, side, side))
    return list(drawn.astype(np.float32))


@pytest.fixture(scope="module")
def resnet() -> bytes:
    return to_onnx(read_artifact(RESNET), ["Compost", "Landfill", "Recycle"], {"training-job": "digits"})


@pytest.fixture(scope="module")
def eight(resnet: bytes) -> bytes:
    return quantize(resnet, noise(16))


@pytest.fixture(scope="module")
def several() -> bytes:
    return to_onnx(read_artifact(SEVERAL), "abc")


@pytest.fixture(scope="module")
def seen(several: bytes) -> tuple[list[Floats], list[Sequence[int]]]:
    """Pictures as the network of several classes takes them, and what can be seen in each."""
    load = Network(several).load
    examples = striped(40, 900)
    return [load(picture) for picture, _ in examples], [json.loads(label) for _, label in examples]


def color_network(nearness: float) -> bytes:
    """Tells red from green by a channel that is `nearness` as large as the one beside it."""
    writer = SymbolWriter()
    conv = writer.operator(
        "Convolution", "conv", [writer.variable("data")], ["weight"],
        kernel=(1, 1), num_filter=2, no_bias=True,
    )  # fmt: skip
    pool = writer.operator("Pooling", "pool", [conv], pool_type="avg", global_pool=True, kernel=(1, 1))
    fc = writer.operator("FullyConnected", "fc", [pool], ["weight", "bias"], num_hidden=2)
    head = writer.operator("SoftmaxOutput", "softmax", [fc], ["label"])
    weight = np.array([[1, 1, 1], [nearness, -nearness, 0]], np.float32)[:, :, None, None]
    params: dict[str, NDArray[Any]] = {
        "arg:conv_weight": weight,
        "arg:fc_weight": np.array([[0, 1], [0, -1]], np.float32) / nearness,
        "arg:fc_bias": np.zeros(2, np.float32),
    }
    return to_onnx(Artifact(writer.finish(head), params, (1, 3, 8, 8)), ["red", "green"])


def colored() -> tuple[list[Floats], list[int]]:
    pictures, labels = [], []
    for number, picture in enumerate(noise(20, side=8)):
        picture[1 - number % 2] *= 0.5
        pictures.append(picture)
        labels.append(number % 2)
    return pictures, labels


# --- the file


def test_a_network_of_eight_bits_answers_nearly_as_before_in_a_third_of_the_size(
    resnet: bytes, eight: bytes
) -> None:
    pictures = np.stack(noise(64, seed=1))
    before, after = (Network(model).probabilities(pictures) for model in (resnet, eight))
    assert np.abs(before - after).mean() < 0.01
    assert (before.argmax(axis=1) == after.argmax(axis=1)).mean() > 0.9
    assert len(eight) < len(resnet) / 3


def test_it_tells_what_the_one_before_told_and_what_it_is(resnet: bytes, eight: bytes) -> None:
    before, after = Network(resnet).metadata, Network(eight).metadata
    added = {"precision", "quantized-from", "calibrated-on"}
    assert {name: value for name, value in after.items() if name not in added} == before
    assert after["precision"] == "int8"
    assert after["calibrated-on"] == "16"
    assert Network(eight).classes == ("Compost", "Landfill", "Recycle")


def test_it_needs_nothing_newer_than_the_network_before(eight: bytes) -> None:
    model = onnx.load_from_string(eight)
    assert model.ir_version == 8
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 17)]
    onnx.checker.check_model(model, full_check=True)


def test_weights_use_seven_bits_so_that_no_processor_cuts_a_sum_off(eight: bytes) -> None:
    graph = onnx.load_from_string(eight).graph
    tensors = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    weights = [array for array in tensors.values() if array.dtype == np.int8 and array.ndim == 4]
    assert len(weights) >= 21
    # Two products of an unsigned byte and a weight have to fit into 16 bits.
    assert max(2 * 255 * int(np.abs(array.astype(int)).max()) for array in weights) < 1 << 15
    # The largest of a channel uses the whole scale, so that each channel has one of its own.
    assert all(
        (np.abs(array.astype(int)).reshape(len(array), -1).max(axis=1) >= 63).all() for array in weights
    )


def test_the_last_layer_stays_in_thirty_two_bits(resnet: bytes, eight: bytes) -> None:
    def classifier(model: bytes) -> bytes:
        graph = onnx.load_from_string(model).graph
        gemm = next(node for node in graph.node if node.op_type == "Gemm")
        return next(bytes(each.raw_data) for each in graph.initializer if each.name == gemm.input[1])

    assert classifier(eight) == classifier(resnet)


def test_the_same_pictures_give_the_same_bytes(resnet: bytes, eight: bytes) -> None:
    assert quantize(resnet, noise(16)) == eight


def test_quantizing_says_nothing_and_leaves_logging_alone(
    resnet: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    handlers = list(logging.getLogger().handlers)
    quantize(resnet, noise(1))
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger().handlers == handlers


@pytest.mark.parametrize("source", [RESNET, SEVERAL], ids=["one", "several"])
def test_a_network_without_batch_normalizations_computes_the_same(source: Path) -> None:
    model = onnx.load_from_string(to_onnx(read_artifact(source), "abc"))
    data = model.SerializeToString()
    without = folded(model)
    norms = [node.name for node in without.graph.node if node.op_type == "BatchNormalization"]
    assert norms == ["bn_data"]
    assert model.SerializeToString() == data
    pictures = np.stack(noise(8))
    before, after = (Network(each).probabilities(pictures) for each in (data, without.SerializeToString()))
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-5)


def test_a_convolution_that_somebody_else_reads_keeps_its_weights() -> None:
    writer = SymbolWriter()
    conv = writer.operator(
        "Convolution", "conv", [writer.variable("data")], ["weight"],
        kernel=(1, 1), num_filter=3, no_bias=True,
    )  # fmt: skip
    norm = writer.operator(
        "BatchNorm", "bn", [conv], ["gamma", "beta", "moving_mean", "moving_var"], fix_gamma=False
    )
    both = writer.operator("elemwise_add", "sum", [conv, norm])
    fc = writer.operator("FullyConnected", "fc", [both], ["weight", "bias"], num_hidden=2)
    head = writer.operator("SoftmaxOutput", "softmax", [fc], ["label"])
    random = np.random.default_rng(3)
    shapes = {"arg:conv_weight": (3, 3, 1, 1), "arg:fc_weight": (2, 12), "arg:fc_bias": (2,)}
    params: dict[str, NDArray[Any]] = {n: random.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    for name in ("arg:bn_gamma", "arg:bn_beta", "aux:bn_moving_mean", "aux:bn_moving_var"):
        params[name] = random.uniform(0.5, 2, 3).astype(np.float32)
    model = to_onnx(Artifact(writer.finish(head), params, (1, 3, 2, 2)), ["no", "yes"])
    without = folded(onnx.load_from_string(model))
    assert [node.op_type for node in without.graph.node][:2] == ["Conv", "Conv"]
    pictures = np.stack(noise(4, side=2)) / np.float32(100)
    before, after = (Network(each).probabilities(pictures) for each in (model, without.SerializeToString()))
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-5)


# --- the choice


def test_eight_bits_are_kept_where_no_picture_is_lost(
    several: bytes, seen: tuple[list[Floats], list[Sequence[int]]]
) -> None:
    choice = choose_int8(several, *seen, calibrate=16)
    assert choice.kept
    assert choice.network is not None
    assert (choice.pictures, choice.calibrated) == (40, 16)
    assert choice.fp32 == choice.int8 == choice.same == 1.0
    assert (choice.fp32_bytes, choice.int8_bytes) == (len(several), len(choice.network))
    assert choice.decision == "int8 is used: int8 has 40 of 40 pictures right, fp32 40"
    assert choice.to_json()["drop"] == 0.0
    json.dumps(choice.to_json())


def test_eight_bits_are_not_kept_where_they_lose_more_than_they_may() -> None:
    blind = color_network(1e-5)
    choice = choose_int8(blind, *colored(), most_drop=0.25)
    assert (choice.kept, choice.network) == (False, None)
    assert (choice.fp32, choice.int8, choice.drop) == (1.0, 0.5, 0.5)
    told = "int8 has 10 of 20 pictures right, fp32 20, and at most 25.0% may be lost, which is 5"
    assert choice.decision == f"fp32 is used: {told}"
    strict = choose_int8(blind, *colored(), most_drop=0.01)
    assert strict.decision.endswith("at most 1.0% may be lost, which is none")


def test_how_much_may_be_lost_can_be_said() -> None:
    # The file of so small a network would be larger in 8 bits, which is another reason.
    choice = choose_int8(color_network(1e-5), *colored(), most_drop=0.5)
    assert "fp32 is used: int8 would be no smaller" in choice.decision
    assert choice.drop == 0.5


def test_a_network_that_rounding_ruins_is_not_even_tried() -> None:
    embedded = to_onnx(read_artifact(EMBEDDED), "abc")
    recorded = np.load(EMBEDDED.with_name("mxnet.npz"))
    pictures = list(recorded["x"].astype(np.float32))
    choice = choose_int8(embedded, pictures, [int(row.argmax()) for row in recorded["y"]])
    assert (choice.kept, choice.int8, choice.calibrated) == (False, None, 0)
    assert choice.fp32 == 1.0
    assert choice.decision.startswith("fp32 is used: its operators Exp, Sqrt magnify what rounding")
    # With reason: it is possible, and its answers are others.
    rounded = Network(quantize(embedded, pictures)).probabilities(np.stack(pictures))
    assert np.abs(rounded - recorded["y"]).max() > 0.1


def test_a_network_without_convolutions_is_not_tried() -> None:
    writer = SymbolWriter()
    fc = writer.operator(
        "FullyConnected", "fc", [writer.variable("data")], ["weight"], num_hidden=2, no_bias=1
    )
    head = writer.operator("SoftmaxOutput", "softmax", [fc], ["label"])
    params: dict[str, NDArray[Any]] = {"arg:fc_weight": np.ones((2, 12), np.float32)}
    model = to_onnx(Artifact(writer.finish(head), params, (1, 3, 2, 2)), ["no", "yes"])
    assert unsuited(model) == "it has no convolutions, which is what 8 bits speed up"


@pytest.mark.parametrize(
    ("pictures", "labels", "sentence"),
    [
        ([], [], "there are 0 pictures and 0 labels"),
        (noise(2), [0], "there are 2 pictures and 1 labels"),
        (noise(1), [3], "picture 0 is of the class 3, and the network knows 0 to 2"),
        (noise(1, side=8), [0], r"picture 0 has the shape \(3, 8, 8\), and the network takes \(3, 28, 28\)"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(
    resnet: bytes, pictures: list[Floats], labels: list[int], sentence: str
) -> None:
    with pytest.raises(QuantizationError, match=sentence):
        choose_int8(resnet, pictures, labels)


def test_what_cannot_be_quantized_is_refused(resnet: bytes, eight: bytes) -> None:
    for model, pictures, sentence in (
        (b"hello", noise(1), "not an ONNX network"),
        (eight, noise(1), "computes in 8 bits already"),
        (resnet, [], "takes pictures to see which values occur"),
    ):
        with pytest.raises(QuantizationError, match=sentence):
            quantize(model, pictures)


# --- a model and class folders


def save(picture: Floats, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(picture.astype(np.uint8).transpose(1, 2, 0)).save(path)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in class folders, a broken one among them."""
    root = tmp_path_factory.mktemp("photos")
    for number, picture in enumerate(noise(24)):
        save(picture, root / "abc"[number % 3] / f"{number}.png")
    (root / "a" / "broken.png").write_bytes(b"not a picture")
    return root


def chosen(model: Path, folders: Path, classes: Sequence[str] = "abc", **options: Any) -> Choice:
    opened = open_model(str(model), nobody, classes=classes)
    truth = open_truth(Place.of(str(folders), nobody), names=opened.classes)
    return choose_precision(opened, truth.images, **options)


def test_pictures_in_folders_decide_and_broken_ones_do_not(folders: Path) -> None:
    choice = chosen(RESNET, folders, most_drop=1.0)
    assert (choice.pictures, choice.calibrated, choice.kept) == (24, 24, True)


def test_of_many_pictures_as_many_of_each_folder_are_taken(tmp_path: Path) -> None:
    for number, (picture, label) in enumerate(zip(*colored(), strict=True)):
        save(picture, tmp_path / ("red", "green")[label] / f"{number}.png")
    model = tmp_path / "colors.onnx"
    model.write_bytes(color_network(1e-5))
    choice = chosen(model, tmp_path, classes=(), most=8)
    assert choice.pictures == 5
    # Rounded, it calls all pictures the same: the folder that comes first has 3 of the 5.
    assert choice.fp32 == 1.0
    assert choice.int8 in (0.4, 0.6)


def test_pictures_of_a_class_that_the_network_does_not_know_are_refused(folders: Path) -> None:
    with pytest.raises(QuantizationError, match=r"c/\d+\.png is 'c', and .* knows a, b, x only"):
        chosen(RESNET, folders, classes="abx")


# --- the command


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def convert(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gtlabel", "convert", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_command_converts_what_a_camera_was_given_and_tells_of_other_epochs(
    folders: Path, tmp_path: Path
) -> None:
    files = {path.name: path.read_bytes() for path in RESNET.iterdir() if path.suffix != ".npz"}
    weights = files.pop(WEIGHTS)
    # AWS's trash sorter packed no shapes; a training with checkpoints leaves the weights of several epochs.
    del files["model-shapes.json"]
    for epoch in (0, 7, 3):
        files[f"image-classification-{epoch:04d}.params"] = weights
    model, one, other = (
        archive(tmp_path / "m.tar.gz", files),
        tmp_path / "m.onnx",
        tmp_path / "new" / "m8.onnx",
    )
    run = convert(
        model, one, "--classes", "a,b,c", "--image-shape", "3,28,28", "--output", "json",
        "--int8", other, "--pictures", folders, "--most-drop", 0.5,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    taken = "taken: image-classification-0007.params, left: those of 0, 3"
    assert run.stderr == f"the artifact holds the weights of 3 epochs; {taken}\n"
    told = json.loads(run.stdout)
    assert told["properties"] == Network(one).metadata
    assert told["input"] == [3, 28, 28]
    assert told["int8"]["pictures"] == 24
    assert told["int8"]["kept"] is True
    assert Network(other).classes == ("a", "b", "c")
    assert Network(other).warnings == Network(one).warnings != ()


@pytest.mark.parametrize(
    ("change", "options", "sentence"),
    [
        pytest.param(b"no archive", {}, "is not a readable model.tar.gz: it is no tar archive", id="no tar"),
        pytest.param({"../x": b""}, {}, "holds '../x'; a model's files lie at the top", id="outside"),
        pytest.param({WEIGHTS: None}, {}, "has no image-classification-NNNN.params", id="no weights"),
        pytest.param({WEIGHTS: b"cut"}, {}, "bytes are missing; fetch it again", id="cut off"),
        pytest.param(
            {"model-shapes.json": None}, {}, "give --image-shape, such as 3,224,224", id="no shapes"
        ),
        pytest.param({}, {"classes": "ab"}, "3 classes apart, but 2 names were given: a, b", id="classes"),
        pytest.param({}, {"classes": None}, "give --classes NAME,NAME", id="nameless"),
    ],
)
def test_an_artifact_that_cannot_be_used_is_refused_in_one_sentence(
    change: dict[str, bytes | None] | bytes, options: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.tar.gz"
    if isinstance(change, bytes):
        path.write_bytes(change)
    else:
        files = {each.name: each.read_bytes() for each in RESNET.iterdir() if each.suffix != ".npz"}
        archive(path, {name: data for name, data in (files | change).items() if data is not None})
    with pytest.raises(ArtifactError) as refused:
        open_model(str(path), nobody, **{"classes": "abc", **options})
    told = str(refused.value)
    assert sentence in told
    assert "\n" not in told
    assert str(path) in told or "classes" in options


def test_the_benchmark_finds_the_parity_that_it_asks_for() -> None:
    program = Path(__file__).parent / "benchmarks" / "conversion.py"
    run = subprocess.run(
        [sys.executable, str(program), "--quick", "--runs", "1"], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "parity with MXNet 1.9.1" in run.stdout
    assert "int8, ours" in run.stdout
