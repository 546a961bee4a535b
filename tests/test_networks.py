"""Pictures become inputs, artifacts become ONNX, and ONNX becomes answers."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from gtlabel.errors import ArtifactError, ConversionError
from gtlabel.networks.artifact import Artifact, read_artifact
from gtlabel.networks.onnx import to_onnx
from gtlabel.networks.preprocess import UnreadablePictureError, load_image
from gtlabel.networks.runtime import Network
from gtlabel.networks.symbol import SymbolWriter

RECORDED = Path(__file__).parent / "recorded" / "mxnet-resnet20"
Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def resnet() -> Artifact:
    return read_artifact(RECORDED)


def jpeg(pixels: NDArray[np.uint8], **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95, subsampling=0, **options)
    return stream.getvalue()


# --- pictures


def test_a_picture_becomes_raw_rgb_with_channels_first() -> None:
    red = np.zeros((10, 20, 3), dtype=np.uint8)
    red[..., 0] = 255
    data = load_image(jpeg(red), 4, 6)
    assert data.shape == (3, 4, 6)
    assert data.dtype == np.float32
    assert data[0].min() > 250
    assert data[1:].max() < 5


def test_the_whole_picture_is_squeezed_and_nothing_cropped() -> None:
    wide = np.zeros((8, 64, 3), dtype=np.uint8)
    wide[:, 32:] = 255
    data = load_image(jpeg(wide), 8, 8)
    assert data[:, :, :3].max() < 20
    assert data[:, :, 5:].min() > 235


def test_a_picture_is_turned_as_its_exif_says() -> None:
    left_bright = np.zeros((16, 16, 3), dtype=np.uint8)
    left_bright[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: what is left becomes the top
    data = load_image(jpeg(left_bright, exif=exif), 16, 16)
    assert data[:, :7].mean() > 240
    assert data[:, 9:].mean() < 15


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_color_mode_becomes_rgb(mode: str) -> None:
    stream = io.BytesIO()
    Image.new(mode, (9, 7)).save(stream, "TIFF")
    assert load_image(stream.getvalue(), 5, 5).shape == (3, 5, 5)


def test_sixteen_bits_of_gray_are_scaled_and_not_cut_off() -> None:
    stream = io.BytesIO()
    Image.fromarray(np.full((8, 8), 0x4000, dtype=np.uint16)).save(stream, "PNG")
    assert load_image(stream.getvalue(), 4, 4).max() == 0x40


def test_bytes_that_are_not_a_whole_picture_are_refused() -> None:
    whole = jpeg(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    for broken in (b"", b"not a picture", whole[: len(whole) // 2]):
        with pytest.raises(UnreadablePictureError, match="not a readable picture"):
            load_image(broken, 8, 8)


# --- conversion


def test_a_converted_network_answers_as_mxnet_did(resnet: Artifact) -> None:
    reference = np.load(RECORDED / "ref.npz")
    network = Network(to_onnx(resnet, ["Compost", "Landfill", "Recycle"], {"job": "digits"}))
    np.testing.assert_allclose(network.probabilities(reference["x"]), reference["y"], atol=1e-5)
    assert (network.height, network.width) == (28, 28)
    assert network.classes == ("Compost", "Landfill", "Recycle")
    assert network.metadata["job"] == "digits"


def test_the_file_tells_what_it_was_made_from(resnet: Artifact) -> None:
    told = Network(to_onnx(resnet, "abc", {"training-job": "digits", "classes": "no"})).metadata
    preprocessing = json.loads(told.pop("preprocessing"))
    assert preprocessing["color"] == "RGB"
    assert preprocessing["range"] == [0, 255]
    digests = {
        part: hashlib.sha256(next(RECORDED.glob(f"*{ending}")).read_bytes()).hexdigest()
        for part, ending in (("symbol-sha256", "-symbol.json"), ("params-sha256", ".params"))
    }
    assert told == {
        "classes": '["a", "b", "c"]',
        "epoch": "2",
        "gtlabel": version("gtlabel"),
        "training-job": "digits",
        **digests,
    }


def test_what_was_odd_about_an_artifact_stands_in_the_file(resnet: Artifact) -> None:
    odd = replace(resnet, warnings=("it holds “two” epochs",))
    assert Network(to_onnx(odd, "abc")).warnings == ("it holds “two” epochs",)
    assert Network(to_onnx(resnet, "abc")).warnings == ()


def test_weights_that_nothing_computes_with_are_left_out(resnet: Artifact) -> None:
    graph = onnx.load_from_string(to_onnx(resnet, "abc")).graph
    used = {name for node in graph.node for name in node.input}
    assert {tensor.name for tensor in graph.initializer} <= used


def test_a_fixed_gamma_counts_as_one_whatever_the_file_says(resnet: Artifact) -> None:
    gamma = np.full_like(resnet.params["arg:bn_data_gamma"], 3.0)
    changed = Artifact(resnet.symbol, resnet.params | {"arg:bn_data_gamma": gamma}, resnet.shape)
    reference = np.load(RECORDED / "ref.npz")
    answer = Network(to_onnx(changed, "abc")).probabilities(reference["x"])
    np.testing.assert_allclose(answer, reference["y"], atol=1e-5)


def test_the_same_artifact_gives_the_same_bytes(resnet: Artifact) -> None:
    assert to_onnx(resnet, "abc", {"b": "1", "a": "2"}) == to_onnx(resnet, "abc", {"a": "2", "b": "1"})


def test_a_batch_of_any_size_gives_a_row_per_picture(resnet: Artifact) -> None:
    network = Network(to_onnx(resnet, "abc"))
    batch = np.random.default_rng(0).uniform(0, 255, (70, 3, 28, 28)).astype(np.float32)
    rows = network.probabilities(batch)
    assert rows.shape == (70, 3)
    np.testing.assert_allclose(rows[69:], network.probabilities(batch[69:]), atol=1e-6)
    assert network.probabilities(batch[:0]).shape == (0, 3)


def test_the_number_of_class_names_must_be_the_networks(resnet: Artifact) -> None:
    with pytest.raises(ConversionError, match="tells 3 classes apart, but 2 names"):
        to_onnx(resnet, ["a", "b"])


def network_of(
    build: Callable[[SymbolWriter, int], int],
    params: dict[str, Floats],
    size: tuple[int, int] = (6, 6),
) -> Artifact:
    """A graph that ends in a fully connected layer of two classes over what `build` adds."""
    writer = SymbolWriter()
    body = build(writer, writer.variable("data"))
    flat = writer.operator("Flatten", "flatten", [body])
    fc = writer.operator("FullyConnected", "fc", [flat], ["weight", "bias"], num_hidden=2)
    head = writer.operator("SoftmaxOutput", "softmax", [fc], ["label"])
    return Artifact(writer.finish(head), {f"arg:{k}": v for k, v in params.items()}, (1, 3, *size))


def run(artifact: Artifact, batch: Floats) -> Floats:
    return Network(to_onnx(artifact, ["no", "yes"])).probabilities(batch)


def softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: Floats = powers / powers.sum(axis=1, keepdims=True)
    return result


def pooled_like_mxnet(
    x: Floats, kind: str, full: bool, count_pad: bool, kernel: int, stride: int, pad: int
) -> Floats:
    """Pooling as mshadow's loops do it: the window is cut to the padded picture, then to the picture."""
    n, c, height, width = x.shape
    rounded = np.ceil if full else np.floor
    rows, columns = (1 + int(rounded((side + 2 * pad - kernel) / stride)) for side in (height, width))
    out = np.zeros((n, c, rows, columns), dtype=np.float32)
    for i in range(rows):
        for j in range(columns):
            top, left = i * stride - pad, j * stride - pad
            bottom, right = min(top + kernel, height + pad), min(left + kernel, width + pad)
            area = (bottom - top) * (right - left)
            top, left, bottom, right = max(top, 0), max(left, 0), min(bottom, height), min(right, width)
            if not count_pad:
                area = (bottom - top) * (right - left)
            window = x[:, :, top:bottom, left:right]
            out[:, :, i, j] = window.max((2, 3)) if kind == "max" else window.sum((2, 3)) / area
    return out


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["max", "avg"]),
    full=st.booleans(),
    count_pad=st.booleans(),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 4),
    pad=st.integers(0, 2),
    height=st.integers(4, 9),
    width=st.integers(4, 9),
)
def test_pooling_agrees_with_mxnets_definition_or_is_refused(
    kind: str, full: bool, count_pad: bool, kernel: int, stride: int, pad: int, height: int, width: int
) -> None:
    pad, stride = min(pad, kernel - 1), min(stride, kernel)
    # A window that begins beyond the picture is no pooling that anyone trains with.
    assume(all(-((kernel - 2 * pad - side) // stride) * stride - pad < side for side in (height, width)))
    x = np.random.default_rng(1).normal(size=(2, 3, height, width)).astype(np.float32)
    expected = pooled_like_mxnet(x, kind, full, count_pad, kernel, stride, pad)
    weight = np.random.default_rng(2).normal(size=(2, expected[0].size)).astype(np.float32)
    artifact = network_of(
        lambda writer, data: writer.operator(
            "Pooling", "pool", [data], pool_type=kind, kernel=(kernel, kernel), stride=(stride, stride),
            pad=(pad, pad), pooling_convention="full" if full else "valid", count_include_pad=count_pad,
        ),
        {"fc_weight": weight, "fc_bias": np.zeros(2, np.float32)},
        (height, width),
    )  # fmt: skip
    if full and kind == "avg":
        with pytest.raises(ConversionError, match=r"'pool'.*'full'"):
            to_onnx(artifact, ["no", "yes"])
        return
    np.testing.assert_allclose(run(artifact, x), softmax(expected.reshape(2, -1) @ weight.T), atol=1e-5)


def test_layers_that_do_nothing_at_inference_are_dropped() -> None:
    x = np.random.default_rng(0).normal(size=(3, 3, 2, 2)).astype(np.float32)
    weight = np.random.default_rng(1).normal(size=(2, 12)).astype(np.float32)

    def build(writer: SymbolWriter, data: int) -> int:
        copy = writer.operator("_copy", "id", [data])
        half = writer.operator("Cast", "half", [copy], dtype="float16")
        return writer.operator("Dropout", "dropout", [half], p=0.5)

    artifact = network_of(build, {"fc_weight": weight, "fc_bias": np.zeros(2, np.float32)}, (2, 2))
    np.testing.assert_allclose(run(artifact, x), softmax(x.reshape(3, -1) @ weight.T), atol=1e-6)


def test_a_multi_label_network_gives_independent_probabilities() -> None:
    writer = SymbolWriter()
    fc = writer.operator("FullyConnected", "fc", [writer.variable("data")], ["weight", "bias"], num_hidden=2)
    head = writer.operator("LogisticRegressionOutput", "logistic", [fc], ["label"])
    params: dict[str, Any] = {
        "arg:fc_weight": np.zeros((2, 12), np.float16),
        "arg:fc_bias": np.array([0, 100], np.float16),
    }
    answer = run(Artifact(writer.finish(head), params, (1, 3, 2, 2)), np.ones((1, 3, 2, 2), np.float32))
    np.testing.assert_allclose(answer, [[0.5, 1.0]])


@pytest.mark.parametrize(
    ("operator", "attributes", "sentence"),
    [
        ("Deconvolution", {}, r"Deconvolution \(node 'odd'\) is not one we convert"),
        ("Pooling", {"pool_type": "sum", "kernel": (2, 2)}, "Pooling 'odd' is of the unknown kind 'sum'"),
        ("Activation", {"act_type": "gelu"}, "Activation 'odd' is of the unknown kind 'gelu'"),
        ("Cast", {"dtype": "int32"}, "Cast 'odd' is to 'int32'"),
        ("Convolution", {"kernel": "(3,)"}, r"Convolution 'odd' has an unusable kernel: '\(3,\)'"),
        ("Convolution", {"kernel": (2, 2), "no_bias": True}, "no weights at place 1"),
        ("elemwise_add", {}, "has only 1 inputs"),
    ],
)
def test_an_operator_that_cannot_be_converted_is_named(
    operator: str, attributes: dict[str, Any], sentence: str
) -> None:
    artifact = network_of(lambda writer, data: writer.operator(operator, "odd", [data], **attributes), {})
    with pytest.raises(ArtifactError, match=sentence):
        to_onnx(artifact, ["no", "yes"])


def test_weights_that_are_missing_or_do_not_fit_are_named(resnet: Artifact) -> None:
    fewer = {name: array for name, array in resnet.params.items() if name != "arg:fc_weight"}
    with pytest.raises(ConversionError, match="'fc' needs fc_weight"):
        to_onnx(Artifact(resnet.symbol, fewer, resnet.shape), "abc")
    crooked = resnet.params | {"arg:fc_weight": np.zeros((3, 5), np.float32)}
    with pytest.raises(ConversionError, match="do not fit the graph"):
        to_onnx(Artifact(resnet.symbol, crooked, resnet.shape), "abc")


@pytest.mark.parametrize("key", ["attr", "param"])
def test_symbols_of_older_years_are_read(key: str, resnet: Artifact) -> None:
    text = json.dumps(resnet.symbol).replace('"attrs"', f'"{key}"').replace("(3, 3)", "(3L, 3L)")
    reference = np.load(RECORDED / "ref.npz")
    old = Artifact(json.loads(text), resnet.params, resnet.shape)
    np.testing.assert_allclose(
        Network(to_onnx(old, "abc")).probabilities(reference["x"]), reference["y"], atol=1e-5
    )


@pytest.mark.parametrize(
    ("symbol", "sentence"),
    [
        ({}, "not an MXNet graph"),
        ({"nodes": [], "heads": []}, "0 outputs"),
        ({"nodes": [], "heads": [[4, 0, 0]]}, "output is node 4 of 0"),
        (
            {"nodes": [{"op": "Flatten", "name": "f", "inputs": [[0, 0, 0]]}], "heads": [[0, 0, 0]]},
            "takes its input from a node after it",
        ),
        (
            {"nodes": [{"op": "null", "name": "data", "inputs": []}], "heads": [[0, 0, 0]]},
            "one of its inputs",
        ),
    ],
)
def test_a_graph_that_is_none_is_refused(symbol: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ArtifactError, match=sentence):
        to_onnx(Artifact(symbol, {}, (1, 3, 8, 8)), "ab")


# --- running


def test_bytes_that_are_not_a_network_are_refused() -> None:
    with pytest.raises(ArtifactError, match="not an ONNX network"):
        Network(b"hello")


@pytest.mark.parametrize("classes", ["Compost,Landfill", '{"0": "Compost"}', "[1, 2, 3]"])
def test_a_network_of_others_that_lists_its_classes_in_another_way_is_refused(
    classes: str, resnet: Artifact
) -> None:
    model = onnx.load_from_string(to_onnx(resnet, "abc"))
    onnx.helper.set_model_props(model, {"classes": classes})
    with pytest.raises(ArtifactError, match="property 'classes' is not a list of texts in JSON"):
        Network(model.SerializeToString())
