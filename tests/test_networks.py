"""Trained artifacts: read, written, converted and run."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from gtlabel.errors import ArtifactError, ConversionError
from gtlabel.networks.artifact import (
    Artifact,
    decode_params,
    encode_params,
    read_artifact,
    write_artifact,
)
from gtlabel.networks.onnx import to_onnx
from gtlabel.networks.preprocess import UnreadablePictureError, load_image
from gtlabel.networks.runtime import Network
from gtlabel.networks.symbol import SymbolWriter

RECORDED = Path(__file__).parent / "recorded" / "mxnet-resnet20"
WEIGHTS = "image-classification-0002.params"
Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def resnet() -> Artifact:
    return read_artifact(RECORDED)


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def recorded_files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in RECORDED.iterdir() if path.suffix != ".npz"}


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


def test_bytes_that_are_not_a_whole_picture_are_refused() -> None:
    whole = jpeg(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    for broken in (b"", b"not a picture", whole[: len(whole) // 2]):
        with pytest.raises(UnreadablePictureError, match="not a readable picture"):
            load_image(broken, 8, 8)


# --- weights files


def test_weights_that_mxnet_wrote_are_written_back_byte_for_byte(resnet: Artifact) -> None:
    assert encode_params(resnet.params) == (RECORDED / WEIGHTS).read_bytes()


arrays = st.dictionaries(
    st.text(min_size=1, max_size=8).map("arg:{}".format),
    st.builds(
        lambda shape, dtype, seed: np.random.default_rng(seed).integers(0, 2, shape).astype(dtype),
        st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple),
        st.sampled_from(["f4", "f8", "f2", "u1", "i4", "i1", "i8", "?", "i2", "u2", "u4", "u8", ">f4"]),
        st.integers(0, 99),
    ),
    max_size=4,
)


@given(arrays)
def test_written_weights_are_read_back(params: dict[str, NDArray[Any]]) -> None:
    read = decode_params(encode_params(params))
    assert list(read) == list(params)
    for name, array in params.items():
        np.testing.assert_array_equal(read[name], array)


@given(arrays, st.data())
def test_weights_that_were_cut_off_or_go_on_are_refused(
    params: dict[str, NDArray[Any]], data: st.DataObject
) -> None:
    whole = encode_params(params)
    with pytest.raises(ArtifactError, match="cut off"):
        decode_params(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(ArtifactError, match="1 bytes behind its end"):
        decode_params(whole + b"\0")


@settings(max_examples=200)
@given(st.binary(max_size=120), st.booleans())
def test_noise_is_refused_with_a_sentence(noise: bytes, with_head: bool) -> None:
    head = struct.pack("<QQQ", 0x112, 0, 1) if with_head else b"\1"
    with pytest.raises(ArtifactError, match="the weights"):
        decode_params(head + noise)


@pytest.mark.parametrize(
    ("shape", "values"),
    [
        pytest.param(struct.pack("<Iqq", 2, 1, 2), b"", id="V1"),
        pytest.param(b"", struct.pack("<II", 1, 2), id="oldest"),
        pytest.param(struct.pack("<iiqq", 0, 2, 1, 2), b"", id="V3"),
    ],
)
def test_weights_of_other_mxnet_versions_are_read(
    shape: bytes, values: bytes, request: pytest.FixtureRequest
) -> None:
    version = {"V1": 0xF993FAC8, "oldest": 2, "V3": 0xF993FACA}[request.node.callspec.id]
    array = struct.pack("<I", version) + shape + values + struct.pack("<iiiff", 2, 1, 0, 1.5, -2.0)
    name = b"arg:w"
    data = struct.pack("<QQQ", 0x112, 0, 1) + array + struct.pack("<QQ", 1, len(name)) + name
    np.testing.assert_array_equal(decode_params(data)["arg:w"], [[1.5, -2.0]])


def test_brain_floats_are_widened() -> None:
    array = struct.pack("<IiiqiiiH", 0xF993FAC9, 0, 1, 1, 1, 0, 12, 0x3FC0)
    data = struct.pack("<QQQ", 0x112, 0, 1) + array + struct.pack("<QQ", 1, 5) + b"arg:w"
    assert decode_params(data)["arg:w"].tolist() == [1.5]


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (struct.pack("<Iii", 0xF993FAC9, 1, 1), "sparse"),
        (struct.pack("<Iiiqiii", 0xF993FAC9, 0, 1, 1, 1, 0, 99), "unknown kind 99"),
        (struct.pack("<Iii", 0xF993FAC9, 0, 1000), "1000 dimensions"),
        (struct.pack("<Iiiqiii", 0xF993FAC9, 0, 1, -5, 1, 0, 0), "impossible shape"),
        (struct.pack("<Iiiqiii", 0xF993FAC9, 0, 1, 2**60, 1, 0, 0), "cut off"),
    ],
)
def test_odd_arrays_are_refused_by_what_is_odd(array: bytes, sentence: str) -> None:
    with pytest.raises(ArtifactError, match=sentence):
        decode_params(struct.pack("<QQQ", 0x112, 0, 1) + array)


# --- artifacts


def test_a_written_artifact_is_read_back(resnet: Artifact, tmp_path: Path) -> None:
    names = [path.name for path in write_artifact(tmp_path, resnet)]
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir()) == sorted(recorded_files())
    again = read_artifact(archive(tmp_path / "model.tar.gz", {n: (tmp_path / n).read_bytes() for n in names}))
    assert (again.symbol, again.shape, again.epoch) == (resnet.symbol, (16, 3, 28, 28), 2)
    assert encode_params(again.params) == encode_params(resnet.params)
    assert again.warnings == ()


def test_of_several_epochs_the_last_is_taken_with_a_warning(tmp_path: Path) -> None:
    files = recorded_files() | {"image-classification-0010.params": recorded_files()[WEIGHTS]}
    artifact = read_artifact(archive(tmp_path / "model.tar.gz", files))
    assert artifact.epoch == 10
    assert "2 epochs; taken: image-classification-0010.params" in artifact.warnings[0]


def test_an_archive_packed_with_dots_is_read(tmp_path: Path) -> None:
    files = {f"./{name}": data for name, data in recorded_files().items()}
    assert read_artifact(archive(tmp_path / "model.tar.gz", files)).epoch == 2


@pytest.mark.parametrize("name", ["../evil.params", "/etc/evil", "sub/evil.params", "a\\b", "./../x"])
def test_an_archive_with_a_file_that_does_not_lie_at_the_top_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="files lie at the top"):
        read_artifact(archive(tmp_path / "model.tar.gz", recorded_files() | {name: b""}))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_an_archive_with_anything_but_files_is_refused(kind: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("model-shapes.json")
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(ArtifactError, match="is not a plain file"):
        read_artifact(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({WEIGHTS: None}, "has no image-classification-NNNN.params"),
        ({"image-classification-symbol.json": None}, "has no -symbol.json"),
        ({"model-shapes.json": None}, "has no model-shapes.json"),
        ({"other-symbol.json": b"{}"}, "holds 2 networks"),
        ({"image-classification-symbol.json": b"{"}, "symbol.json in .* is not JSON"),
        ({"image-classification-symbol.json": b"[]"}, "is not a JSON object"),
        ({"model-shapes.json": b'[{"shape": [1, 4, 8, 8], "name": "data"}]'}, "does not give one input"),
        ({WEIGHTS: b"PK\3\4" * 9}, "is not an MXNet weights file"),
    ],
)
def test_an_archive_that_lacks_something_says_what(
    change: dict[str, bytes | None], sentence: str, tmp_path: Path
) -> None:
    files = {name: data for name, data in (recorded_files() | change).items() if data is not None}
    with pytest.raises(ArtifactError, match=sentence):
        read_artifact(archive(tmp_path / "model.tar.gz", files))


def test_what_is_not_an_archive_or_only_half_of_one_is_refused(tmp_path: Path) -> None:
    whole = archive(tmp_path / "model.tar.gz", recorded_files()).read_bytes()
    for number, data in enumerate((b"", b"hello", whole[: len(whole) // 2], whole[:-4000])):
        path = tmp_path / f"{number}.tar.gz"
        path.write_bytes(data)
        with pytest.raises(ArtifactError, match="not a readable model"):
            read_artifact(path)
    with pytest.raises(ArtifactError, match="No such file"):
        read_artifact(tmp_path / "nothing.tar.gz")


# --- conversion


def test_a_converted_network_answers_as_mxnet_did(resnet: Artifact) -> None:
    reference = np.load(RECORDED / "ref.npz")
    network = Network(to_onnx(resnet, ["Compost", "Landfill", "Recycle"], {"job": "digits"}))
    np.testing.assert_allclose(network.probabilities(reference["x"]), reference["y"], atol=1e-5)
    assert (network.height, network.width) == (28, 28)
    assert network.classes == ("Compost", "Landfill", "Recycle")
    assert network.metadata["job"] == "digits"


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


def test_telemetry_is_off_before_the_runtime_is_loaded(resnet: Artifact, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(to_onnx(resnet, "abc"))
    program = f"""
import os, sys, pathlib
from gtlabel.networks.runtime import Network
assert "onnxruntime" not in sys.modules
Network(pathlib.Path({str(model)!r}))
print(os.environ["ORT_DISABLE_TELEMETRY"], "onnxruntime" in sys.modules)
"""
    environ = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True)
    assert done.stdout == "1 True\n", done.stderr
