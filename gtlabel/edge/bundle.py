"""The bundle: one ZIP with a model and all that a device needs to classify pictures with it.

Contents after `contract/deployment.md` section 7. Everything else that gtlabel deploys is a wrapper
around this file.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gtlabel.errors import BundleError

SCHEMA = 1
# What a probability may differ by between two machines: other instructions sum in another order.
TOLERANCE = 0.01
# A bundle is a network of some 50 MB and a few pictures; what unpacks to more is not one.
_MAX_UNPACKED = 2 << 30
_REQUIREMENTS = "numpy>=1.26,<3\nonnxruntime>=1.20,<2\npillow>=11,<13\n"
_README = """\
A gtlabel bundle
================

A picture classifier for: {labels}

Needs Python 3.11 or newer:

    python3 -m pip install -r requirements.txt
    python3 run.py --selftest
    python3 run.py --image PICTURE [PICTURE ...]
    python3 run.py --folder PICTURES --watch

Each answer is one line of JSON on stdout. `manifest.json` says where the model comes from and how a
picture becomes its input; run.py compares every file with SHA256SUMS before it loads the model.
"""


class _Part(BaseModel):
    """A part of the manifest; keys of a later schema are carried along."""

    model_config = ConfigDict(frozen=True, extra="allow")


class ModelFile(_Part):
    """The network: its file and what identifies it."""

    file: str = "model.onnx"
    sha256: str
    bytes: int


class ModelInput(_Part):
    """How a picture becomes the network's input; `preprocess.py` does exactly this."""

    name: str
    shape: tuple[Literal[1], Literal[1, 3], int, int]
    color: str = "RGB"
    values: str = "float32, 0..255"
    resize: str = "the whole picture squeezed to height x width, bilinear, EXIF orientation applied"


class SelfTestCase(_Part):
    """One bundled picture and what the network said about it when the bundle was built."""

    image: str
    label: str
    probabilities: tuple[float, ...]


class SelfTest(_Part):
    """The pictures a device proves itself on."""

    tolerance: float = TOLERANCE
    cases: tuple[SelfTestCase, ...]


class BundleManifest(_Part):
    """What `manifest.json` in a bundle says."""

    schema_: int = Field(alias="schema", default=SCHEMA)
    gtlabel: str
    model: ModelFile
    input: ModelInput
    labels: tuple[str, ...]
    runtime: dict[str, str]
    threshold: float
    accuracy: dict[str, float]
    lineage: dict[str, Any]
    self_test: SelfTest


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk.

    Attributes:
        path: the ZIP.
        sha256: the digest of the ZIP; the same contents always give the same one.
    """

    path: Path
    sha256: str
    manifest: BundleManifest


def build_bundle(
    model: bytes,
    classes: Sequence[str],
    path: Path,
    *,
    self_test: Mapping[str, bytes],
    lineage: Mapping[str, Any] | None = None,
    accuracy: Mapping[str, float] | None = None,
    threshold: float = 0.5,
) -> Bundle:
    """Write a bundle; nothing appears at `path` before it is complete.

    Args:
        model: the network as ONNX.
        classes: the classes by index.
        path: where the ZIP goes; its folder is made.
        self_test: pictures by file name. The network classifies them here, and every device must come
            to the same numbers before it starts.
        lineage: where the model comes from (training job, dataset, labeling jobs).
        accuracy: shares of held-out pictures labeled right, such as `{"fp32": 0.91, "baseline": 0.4}`.
        threshold: the confidence below which a device gives no label unless told otherwise.

    Raises:
        BundleError: if there is no self-test picture, or the network and the classes do not fit.
    """
    contents = _contents(model, classes, self_test, lineage or {}, accuracy or {}, threshold)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            _write_zip(file, contents)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return read_bundle(path)


def read_bundle(path: Path) -> Bundle:
    """Open a bundle and check that it holds what it promises.

    Raises:
        BundleError: if it is no ZIP, a name in it leads outside, or a file differs from `SHA256SUMS`.
    """
    with _opened(path) as archive:
        names = {entry.filename for entry in _entries(archive, path)}
        if not {"SHA256SUMS", "manifest.json"} <= names:
            raise BundleError(f"{path} is not a bundle: it lacks SHA256SUMS or manifest.json")
        listed = set()
        for line in archive.read("SHA256SUMS").decode("utf-8", "replace").splitlines():
            digest, _, name = line.partition("  ")
            listed.add(name)
            if name not in names:
                raise BundleError(f"{path} lacks {name}, which its SHA256SUMS lists")
            if hashlib.sha256(archive.read(name)).hexdigest() != digest:
                raise BundleError(f"{name} in {path} is not what its SHA256SUMS says; build the bundle again")
        for name in sorted(names - listed - {"SHA256SUMS"}):
            raise BundleError(f"{path} holds {name}, which its SHA256SUMS does not list")
        try:
            manifest = BundleManifest.model_validate_json(archive.read("manifest.json"))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise BundleError(f"manifest.json in {path}, {field}: {first['msg']}") from error
    if manifest.schema_ > SCHEMA:
        raise BundleError(
            f"{path} has schema {manifest.schema_}, and this gtlabel knows {SCHEMA}; use a newer gtlabel"
        )
    return Bundle(path, _digest(path), manifest)


def extract(path: Path, folder: Path, *, max_bytes: int = _MAX_UNPACKED) -> None:
    """Unpack a ZIP into a folder that is not there yet; it appears whole or not at all.

    Raises:
        BundleError: if it is no ZIP, a name in it leads outside the folder, or it unpacks to more than
            `max_bytes`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        _opened(path) as archive,
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary,
    ):
        inside = Path(temporary) / "unpacked"
        inside.mkdir()
        left = max_bytes
        for entry in _entries(archive, path):
            target = inside / entry.filename
            if entry.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as source, target.open("wb") as sink:
                # The size that the archive states is a claim; what comes out is counted.
                while block := source.read(1 << 20):
                    left -= len(block)
                    if left < 0:
                        raise BundleError(f"{path} unpacks to more than {max_bytes} bytes")
                    sink.write(block)
            if entry.external_attr >> 16 & stat.S_IXUSR:
                target.chmod(0o755)
        inside.replace(folder)


def _contents(
    model: bytes,
    classes: Sequence[str],
    self_test: Mapping[str, bytes],
    lineage: Mapping[str, Any],
    accuracy: Mapping[str, float],
    threshold: float,
) -> dict[str, bytes]:
    """Every file of the bundle by its name."""
    if not self_test:
        raise BundleError("a bundle needs at least one picture for its self-test; give it held-out pictures")
    pictures = {_picture_name(name): data for name, data in sorted(self_test.items())}
    input_, cases, runtime = _tested(model, classes, pictures)
    manifest = BundleManifest(
        gtlabel=version("gtlabel"),
        model=ModelFile(sha256=hashlib.sha256(model).hexdigest(), bytes=len(model)),
        input=input_,
        labels=tuple(classes),
        runtime=runtime,
        threshold=threshold,
        accuracy=dict(sorted(accuracy.items())),
        lineage=dict(sorted(lineage.items())),
        self_test=SelfTest(cases=tuple(cases)),
    )
    written = json.dumps(manifest.model_dump(mode="json", by_alias=True), indent=2, ensure_ascii=False)
    contents = {
        "README": _README.format(labels=", ".join(classes)).encode(),
        "labels.txt": "".join(f"{name}\n" for name in classes).encode(),
        "manifest.json": f"{written}\n".encode(),
        "model.onnx": model,
        "requirements.txt": _REQUIREMENTS.encode(),
        **_program(),
        **pictures,
    }
    sums = "".join(f"{hashlib.sha256(contents[name]).hexdigest()}  {name}\n" for name in sorted(contents))
    return {**contents, "SHA256SUMS": sums.encode()}


def _program() -> dict[str, bytes]:
    """The code that runs on the device, under its own module names, and its launcher."""
    device = {
        f"gtlabel/edge/device/{file.name}": file.read_bytes()
        for file in sorted((files("gtlabel.edge") / "device").iterdir(), key=lambda file: file.name)
        if file.name.endswith(".py")
    }
    return {
        "run.py": device.pop("gtlabel/edge/device/launcher.py"),
        "gtlabel/__init__.py": b"",
        "gtlabel/edge/__init__.py": b"",
        "gtlabel/networks/__init__.py": b"",
        "gtlabel/networks/preprocess.py": (files("gtlabel.networks") / "preprocess.py").read_bytes(),
        **device,
    }


def _tested(
    model: bytes, classes: Sequence[str], pictures: Mapping[str, bytes]
) -> tuple[ModelInput, list[SelfTestCase], dict[str, str]]:
    """The network's input, what it says about each picture, and the runtime that computed it."""
    from gtlabel.networks.onnx import INPUT
    from gtlabel.networks.runtime import Network

    network = Network(model)
    cases = []
    for name, data in pictures.items():
        try:
            pixels = network.load(data)
        except ValueError as error:
            raise BundleError(f"the self-test picture {name} cannot be read: {error}") from error
        values = [round(float(value), 6) for value in network.probabilities(pixels[None])[0]]
        if len(values) != len(classes):
            raise BundleError(
                f"the network tells {len(values)} classes apart and {len(classes)} are named; "
                "use the classes.json of the dataset it was trained on"
            )
        label = classes[max(range(len(values)), key=values.__getitem__)]
        cases.append(SelfTestCase(image=name, label=label, probabilities=tuple(values)))
    input_ = ModelInput(
        name=INPUT,
        shape=(1, network.channels, network.height, network.width),
        color="RGB" if network.channels == 3 else "gray",
    )
    return input_, cases, {"name": "onnxruntime", "version": version("onnxruntime")}


def _picture_name(name: str) -> str:
    plain = PurePosixPath(name).name
    if not plain or plain != name:
        raise BundleError(f"a self-test picture needs a plain file name, not {name!r}")
    return f"selftest/{plain}"


def _write_zip(file: IO[bytes], contents: Mapping[str, bytes]) -> None:
    """Write the files so that the bytes depend on nothing but names and contents."""
    # Stored, not deflated: compressors differ between machines, and weights hardly shrink.
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, contents[name])


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileNotFoundError:
        raise BundleError(f"there is no file {path}") from None
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError) as error:
        raise BundleError(f"{path} is not a whole ZIP file: {error}") from error


def _entries(archive: zipfile.ZipFile, path: Path) -> Iterator[zipfile.ZipInfo]:
    """The entries, each with a name that stays inside the folder it is unpacked to."""
    for entry in archive.infolist():
        name = PurePosixPath(entry.filename)
        windows = "\\" in entry.filename or ":" in entry.filename
        if name.is_absolute() or ".." in name.parts or windows or not name.parts:
            raise BundleError(f"{path} holds {entry.filename!r}, which would be written outside its folder")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise BundleError(f"{path} holds the link {entry.filename!r}; an archive may hold only files")
        yield entry


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
