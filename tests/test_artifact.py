"""What training leaves: read whatever MXNet wrote it, written as the built-in does."""

from __future__ import annotations

import io
import struct
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gtlabel.errors import ArtifactError
from gtlabel.networks.artifact import Artifact, decode_params, encode_params, read_artifact, write_artifact

RECORDED = Path(__file__).parent / "recorded" / "mxnet-resnet20"
WEIGHTS = "image-classification-0002.params"


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


def test_only_the_weights_of_the_last_epoch_are_held_in_memory(tmp_path: Path) -> None:
    files = recorded_files()
    weights = encode_params({"arg:w": np.zeros(1 << 19, np.float32)})
    for epoch in (*range(3, 10), 12, 11, 10):
        files[f"image-classification-{epoch:04d}.params"] = weights
    path = archive(tmp_path / "model.tar.gz", files)
    tracemalloc.start()
    artifact = read_artifact(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert artifact.epoch == 12
    assert "11 epochs; taken: image-classification-0012.params" in artifact.warnings[0]
    assert most < 4 * len(weights)


@pytest.mark.parametrize(
    ("names", "size", "sentence"),
    [
        ([f"{number}.log" for number in range(33)], 1 << 30, "unpacks to more than 32 GiB; pack it again"),
        (["one-0001.params", "two-0001.params"], 1 << 30, "'two-0001.params' .* more than 1 GiB; that is no"),
    ],
)
def test_an_archive_that_would_fill_the_memory_or_the_day_is_refused(
    names: list[str], size: int, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.tar"
    with path.open("wb") as stream:
        for name in names:
            member = tarfile.TarInfo(name)
            # The first of two is small; the rest are holes in the file.
            member.size = 512 if name.startswith("one") else size
            stream.write(member.tobuf())
            stream.seek(member.size, io.SEEK_CUR)
        stream.truncate()
    with pytest.raises(ArtifactError, match=sentence):
        read_artifact(path)


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
    with pytest.raises(ArtifactError, match="there is no model artifact"):
        read_artifact(tmp_path / "nothing.tar.gz")
