"""What a training job of the built-in algorithm leaves: `model.tar.gz`, and the three files in it.

    image-classification-symbol.json     the graph
    image-classification-NNNN.params     the weights after epoch NNNN
    model-shapes.json                    the input's shape, mini batch first

Names and contents are those of contract/training.md §3.1, the weights' bytes those of §7.3.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import re
import struct
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gtlabel.errors import ArtifactError

PREFIX = "image-classification"

Shape = tuple[int, int, int]

_SHAPES = "model-shapes.json"
# ResNet-200 in double precision has half a gigabyte; more than that is no classifier of ours.
_LARGEST = 1 << 30
# A hundred epochs of the largest networks, and some minutes of unpacking.
_MOST_UNPACKED = 32 << 30
_MOST_MEMBERS = 1000
_EPOCHS_TOLD = 5
_WEIGHTS = re.compile(r"(?P<prefix>.+)-(?P<epoch>\d{4,9})\.params")
_MOST_DIMENSIONS = 32

_FILE_MAGIC = 0x112
_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_BFLOAT16 = 12
_DTYPES: dict[int, DTypeLike] = {
    0: "<f4", 1: "<f8", 2: "<f2", 3: "u1", 4: "<i4", 5: "i1", 6: "<i8", 7: "?", 8: "<i2", 9: "<u2",
    10: "<u4", 11: "<u8", _BFLOAT16: "<u2",
}  # fmt: skip


@dataclass(frozen=True)
class Artifact:
    """A trained network.

    Attributes:
        symbol: the graph, as MXNet's JSON has it.
        params: the weights by their full names, such as `arg:conv0_weight` and `aux:bn0_moving_mean`.
        shape: mini batch, channels, height and width of the input.
        epoch: how many epochs the weights have seen.
        warnings: sentences about what was odd but could be read; they do not say where the artifact lies.
        digests: the SHA-256 of the graph's file and of the weights' one, as `symbol-sha256` and
            `params-sha256`; empty where the network comes from no file.
    """

    symbol: dict[str, Any]
    params: dict[str, NDArray[Any]]
    shape: tuple[int, int, int, int]
    epoch: int = 1
    warnings: tuple[str, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)


def read_artifact(path: Path, *, image_shape: Shape | None = None) -> Artifact:
    """Read a `model.tar.gz`, or a folder with what was in one. Nothing is unpacked to disk.

    Of several weight files the one of the last epoch is taken, with a warning.

    Args:
        path: the archive or the folder.
        image_shape: channels, height and width of the pictures, where there is no `model-shapes.json`: AWS's
            own trash sorter packed only the graph and the weights again for its camera.

    Raises:
        ArtifactError: if a file is missing, damaged, or not where it belongs.
    """
    source = str(path)
    if not path.exists():
        raise ArtifactError(f"there is no model artifact {source}")
    files = _Folder(path) if path.is_dir() else _Archive(path)
    names = files.names()
    symbol_name = _symbol(names, source)
    prefix = symbol_name.removesuffix("-symbol.json")
    weights = _weights(names, prefix, source)
    epoch = max(weights)
    symbol, params = files.read(symbol_name), files.read(weights[epoch])
    if image_shape is not None and _SHAPES not in names:
        shape = (1, *image_shape)
    elif _SHAPES in names:
        shape = _input_shape(files.read(_SHAPES), f"{_SHAPES} in {source}")
    else:
        raise ArtifactError(
            f"{source} has no {_SHAPES}, so nothing says how large its pictures are; give --image-shape, "
            "such as 3,224,224"
        )
    return Artifact(
        symbol=_json_object(symbol, f"{symbol_name} in {source}"),
        params=decode_params(params, f"{weights[epoch]} in {source}"),
        shape=shape,
        epoch=epoch,
        warnings=_of_several(weights) if len(weights) > 1 else (),
        digests={
            "symbol-sha256": hashlib.sha256(symbol).hexdigest(),
            "params-sha256": hashlib.sha256(params).hexdigest(),
        },
    )


def write_artifact(directory: Path, artifact: Artifact) -> list[Path]:
    """Write the three files into a folder, the weights first: a folder with a symbol is complete."""
    contents = {
        f"{PREFIX}-{artifact.epoch:04d}.params": encode_params(artifact.params),
        _SHAPES: json.dumps([{"shape": list(artifact.shape), "name": "data"}]).encode(),
        f"{PREFIX}-symbol.json": json.dumps(artifact.symbol, indent=2).encode(),
    }
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, data in contents.items():
        path = directory / name
        partial = directory / f".{name}.partial"
        try:
            with partial.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        written.append(path)
    return written


def encode_params(params: Mapping[str, NDArray[Any]]) -> bytes:
    """Arrays as a `.params` file of the version that MXNet 1.3 to 1.9 write."""
    head = struct.Struct("<QQQ")
    numbers = {np.dtype(dtype): number for number, dtype in _DTYPES.items() if number != _BFLOAT16}
    pieces = [head.pack(_FILE_MAGIC, 0, len(params))]
    for name, array in params.items():
        plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        if plain.dtype not in numbers or not plain.size:
            raise ArtifactError(f"{name} cannot be written: {plain.dtype} of shape {plain.shape}")
        pieces.append(struct.pack(f"<Iii{array.ndim}q", _V2, 0, array.ndim, *array.shape))
        pieces.append(struct.pack("<iii", 1, 0, numbers[plain.dtype]))
        pieces.append(plain.tobytes())
    pieces.append(struct.pack("<Q", len(params)))
    for name in params:
        text = name.encode()
        pieces += [struct.pack("<Q", len(text)), text]
    return b"".join(pieces)


def decode_params(data: bytes, source: str = "the weights") -> dict[str, NDArray[Any]]:
    """The arrays of a `.params` file of any version.

    Raises:
        ArtifactError: if the file is cut off, has something behind its end, or holds sparse arrays.
    """
    reader = _Reader(data, source)
    magic, _reserved, count = reader.take("<QQQ")
    if magic != _FILE_MAGIC:
        raise ArtifactError(f"{source} is not an MXNet weights file: it starts with {data[:8].hex()}")
    arrays = [reader.array() for _ in range(count)]
    (names,) = reader.take("<Q")
    if names != count:
        raise ArtifactError(f"{source} has {count} arrays but {names} names")
    params = {reader.name(): array for array in arrays}
    if reader.at != len(data):
        raise ArtifactError(f"{source} has {len(data) - reader.at} bytes behind its end")
    if len(params) != count:
        raise ArtifactError(f"{source} uses one name for two arrays")
    return params


class _Reader:
    """Walks through the bytes of a `.params` file and never past their end."""

    def __init__(self, data: bytes, source: str) -> None:
        self._data = data
        self._source = source
        self.at = 0

    def take(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack(layout, self._bytes(struct.calcsize(layout)))

    def name(self) -> str:
        (size,) = self.take("<Q")
        try:
            return bytes(self._bytes(size)).decode()
        except UnicodeDecodeError as error:
            raise ArtifactError(f"{self._source} names an array with bytes that are no text") from error

    def array(self) -> NDArray[Any]:
        shape = self._shape()
        if shape is None:
            return np.empty(0, dtype=np.float32)
        _device, _device_id, number = self.take("<iii")
        if number not in _DTYPES:
            raise ArtifactError(f"{self._source} holds numbers of the unknown kind {number}")
        dtype = np.dtype(_DTYPES[number])
        size = dtype.itemsize
        for dimension in shape:
            if dimension < 0:
                raise ArtifactError(f"{self._source} holds an array of the impossible shape {shape}")
            size *= dimension
        array = np.frombuffer(self._bytes(size), dtype=dtype).reshape(shape)
        if number == _BFLOAT16:
            array = (array.astype("<u4") << 16).view("<f4")
        return array

    def _shape(self) -> tuple[int, ...] | None:
        """The next array's dimensions; None for an array that was never filled, which ends here."""
        (version,) = self.take("<I")
        if version in (_V2, _V3):
            (storage,) = self.take("<i")
            if storage != 0:
                raise ArtifactError(f"{self._source} holds a sparse array; only dense ones are read")
            (dimensions,) = self.take("<i")
        elif version == _V1:
            (dimensions,) = self.take("<I")
        else:
            dimensions = version
        if dimensions > _MOST_DIMENSIONS:
            raise ArtifactError(f"{self._source} is damaged: an array of {dimensions} dimensions")
        if dimensions < 0 or (dimensions == 0 and version != _V3):
            return None
        wide = version in (_V1, _V2, _V3)
        return self.take(f"<{dimensions}{'q' if wide else 'I'}")

    def _bytes(self, size: int) -> memoryview:
        end = self.at + size
        if end > len(self._data):
            missing = end - len(self._data)
            raise ArtifactError(f"{self._source} is cut off: {missing} bytes are missing; fetch it again")
        view = memoryview(self._data)[self.at : end]
        self.at = end
        return view


class _Folder:
    """The files of a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        return sorted(entry.name for entry in self._path.iterdir() if entry.is_file())

    def read(self, name: str) -> bytes:
        try:
            return (self._path / name).read_bytes()
        except OSError as error:
            raise ArtifactError(f"{self._path / name} cannot be read: {error.strerror}") from error


class _Archive:
    """The files of an archive that somebody else packed: only plain files at its top count.

    A training may leave the weights of each epoch, gigabytes together; held are the last.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[str, bytes] = {}
        self._last: dict[str, tuple[int, str]] = {}
        self._load()

    def names(self) -> list[str]:
        return sorted(self._files)

    def read(self, name: str) -> bytes:
        """The bytes of a file; those of weights only for the last epoch."""
        try:
            return self._files[name]
        except KeyError:
            raise ArtifactError(f"{self._path} has no {name}") from None

    def _load(self) -> None:
        unpacked = 0
        try:
            with tarfile.open(self._path, "r:*") as archive:
                for count, member in enumerate(archive):
                    if count >= _MOST_MEMBERS:
                        raise ArtifactError(f"{self._path} holds more than {_MOST_MEMBERS} files")
                    if member.isdir() and member.name in (".", "./"):
                        continue
                    name = self._checked(member)
                    unpacked += member.size
                    if unpacked > _MOST_UNPACKED:
                        raise ArtifactError(
                            f"{self._path} unpacks to more than {_MOST_UNPACKED >> 30} GiB; "
                            "pack it again with the weights of its last epoch only"
                        )
                    if self._wanted(name):
                        self._check_room(member)
                        stream = archive.extractfile(member)
                        self._files[name] = stream.read() if stream else b""
        except tarfile.ReadError as error:
            # It tells what each of the kinds of archive that it tried said, a line for each.
            reason = "it is no tar archive" if "\n" in str(error) else str(error)
            raise ArtifactError(f"{self._path} is not a readable model.tar.gz: {reason}") from error
        except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ArtifactError(f"{self._path} is not a readable model.tar.gz: {reason}") from error

    def _wanted(self, name: str) -> bool:
        """Whether to hold a file; weights of an earlier epoch that were held are dropped for it."""
        match = _WEIGHTS.fullmatch(name)
        if match is None:
            return name == _SHAPES or name.endswith("-symbol.json")
        self._files.setdefault(name, b"")
        this = (int(match["epoch"]), name)
        last = self._last.setdefault(match["prefix"], this)
        if this < last:
            return False
        self._files[last[1]] = b""
        self._last[match["prefix"]] = this
        return True

    def _check_room(self, member: tarfile.TarInfo) -> None:
        if sum(map(len, self._files.values())) + member.size > _LARGEST:
            raise ArtifactError(
                f"{self._path} holds {member.name!r} and other files of more than "
                f"{_LARGEST >> 30} GiB; that is no model"
            )

    def _checked(self, member: tarfile.TarInfo) -> str:
        name = member.name.removeprefix("./")
        if not member.isreg():
            raise ArtifactError(f"{self._path} holds {member.name!r}, which is not a plain file")
        if "/" in name or "\\" in name or name in ("", "..", "."):
            raise ArtifactError(f"{self._path} holds {member.name!r}; a model's files lie at the top")
        if member.size > _LARGEST:
            raise ArtifactError(
                f"{self._path} holds {member.name!r} of {member.size} bytes; that is no model"
            )
        return name


def _symbol(names: list[str], source: str) -> str:
    symbols = [name for name in names if name.endswith("-symbol.json")]
    if not symbols:
        raise ArtifactError(f"{source} has no -symbol.json; it is not from image-classification training")
    if len(symbols) > 1:
        raise ArtifactError(f"{source} holds {len(symbols)} networks: {', '.join(symbols)}; keep one")
    return symbols[0]


def _weights(names: list[str], prefix: str, source: str) -> dict[int, str]:
    matches = [match for name in names if (match := _WEIGHTS.fullmatch(name))]
    weights = {int(match["epoch"]): match[0] for match in matches if match["prefix"] == prefix}
    if not weights:
        raise ArtifactError(f"{source} has no {prefix}-NNNN.params; the training left no weights")
    return weights


def _of_several(weights: Mapping[int, str]) -> tuple[str]:
    """What a person should know where one of several files of weights was taken."""
    *others, last = sorted(weights)
    left = ", ".join(map(str, others[:_EPOCHS_TOLD]))
    more = f" and {len(others) - _EPOCHS_TOLD} more" if len(others) > _EPOCHS_TOLD else ""
    taken = f"taken: {weights[last]}, left: those of {left}{more}"
    return (f"the artifact holds the weights of {len(weights)} epochs; {taken}",)


def _json_object(data: bytes, source: str) -> dict[str, Any]:
    value = _json(data, source)
    if not isinstance(value, dict):
        raise ArtifactError(f"{source} is not a JSON object")
    return value


def _input_shape(data: bytes, source: str) -> tuple[int, int, int, int]:
    match _json(data, source):
        case [{"name": "data", "shape": [int(n), (1 | 3) as channels, int(height), int(width)]}]:
            if min(n, height, width) > 0:
                return n, channels, height, width
    raise ArtifactError(
        f"{source} does not give one input named data of shape [batch, 3 or 1, height, width]"
    )


def _json(data: bytes, source: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{source} is not JSON: {error}") from error
