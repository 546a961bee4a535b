"""The bundle: one ZIP with a model and all that a device needs to classify pictures with it.

Contents after `contract/deployment.md` section 7:

    manifest.json                     where the model comes from and how it is used (`gtlabel.edge.manifest`)
    model.onnx, model.int8.onnx       the network, and the same with 8 bits where it is good enough
    labels.txt                        the classes in the order of the answers
    run.py, install.py, gtlabel/...   the program, under the names that its modules have here
    requirements.txt, wheels/         the packages with their digests, and for some platforms themselves
    selftest/                         pictures that a device proves itself on
    gtlabel-NAME.service, README      for the person who copies it
    SHA256SUMS                        the digests of all that

Everything else that gtlabel deploys is a wrapper around this file.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from gtlabel.edge.archive import entries, opened, write_archive
from gtlabel.edge.guide import readme, service_name, unit
from gtlabel.edge.manifest import (
    SCHEMA,
    TOLERANCE,
    TOLERANCE_INT8,
    Accuracy,
    BundleManifest,
    ModelFile,
    ModelInput,
    Precision,
    Runtime,
    SelfTest,
    SelfTestCase,
)
from gtlabel.edge.presets import PRESETS, Preset, unit_settings
from gtlabel.edge.requirements import GREENGRASS, INSTALLER, MQTT, RUN, read_lock
from gtlabel.edge.settings import check_settings
from gtlabel.edge.wheels import fetch_wheels
from gtlabel.errors import BundleError

# What becomes a folder on a device, a unit of systemd and the name of a component.
_NAME = re.compile(r"(?!\.+$)[a-zA-Z0-9_.-]{1,100}")
_FILES: dict[Precision, str] = {"fp32": "model.onnx", "int8": "model.int8.onnx"}
_TOLERANCES: dict[Precision, float] = {"fp32": TOLERANCE, "int8": TOLERANCE_INT8}


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk.

    Attributes:
        path: the ZIP.
        sha256: the digest of the ZIP; the same contents always give the same one.
        manifest: what it says of itself.
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
    name: str = "classifier",
    int8: bytes | None = None,
    use: Precision = "fp32",
    accuracy: Accuracy | None = None,
    lineage: Mapping[str, Any] | None = None,
    threshold: float = 0.5,
    preset: Preset = PRESETS["bundle"],
    settings: Mapping[str, str] | None = None,
    wheels: Sequence[str] = (),
    greengrass: bool = False,
) -> Bundle:
    """Write a bundle; nothing appears at `path` before it is complete.

    Args:
        model: the network as ONNX.
        classes: the classes by index.
        path: where the ZIP goes; its folder is made.
        self_test: pictures by file name. The networks classify them here, and every device must come to the
            same numbers before it starts.
        name: what folders and units on a device are called.
        int8: the same network with 8 bits.
        use: which of the two a device uses unless told otherwise.
        accuracy: how good they are.
        lineage: where the model comes from (training job, dataset, labeling jobs).
        threshold: the confidence below which a device gives no label unless told otherwise.
        preset: the kind of device.
        settings: what the unit tells the program, beside or instead of what the preset says.
        wheels: the platforms whose packages come along, such as `linux-x86_64:3.11`.
        greengrass: whether what speaks to a Greengrass nucleus is among the packages.

    Raises:
        BundleError: if there is no self-test picture, the network and the classes do not fit, the program
            would not take its settings, or wheels cannot be fetched.
    """
    if not _NAME.fullmatch(name):
        raise BundleError(f"{name!r} cannot be a bundle's name; use letters, digits, hyphens and dots")
    if not self_test:
        raise BundleError("a bundle needs at least one picture for its self-test; give it held-out pictures")
    lock = read_lock(preset.lock)
    groups = (RUN, GREENGRASS) if greengrass else (RUN,)
    platforms = lock.chosen(",".join(wheels)) if wheels else ()
    networks: dict[Precision, bytes] = {"fp32": model}
    if int8 is not None:
        networks["int8"] = int8
    if use not in networks:
        raise BundleError("there is no network of 8 bits to use")
    told = unit_settings(preset, settings or {})
    check_settings(told, networks)
    pictures = {_picture_name(each): data for each, data in sorted(self_test.items())}
    input_, multi_label, cases = _tested(networks, classes, pictures)
    manifest = BundleManifest(
        name=name,
        gtlabel=version("gtlabel"),
        target=preset.name,
        models={
            kind: ModelFile(file=_FILES[kind], sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
            for kind, data in networks.items()
        },
        model=use,
        input=input_,
        labels=tuple(classes),
        multi_label=multi_label,
        threshold=threshold,
        runtime=Runtime(
            version=lock.versions["onnxruntime"],
            built_with=version("onnxruntime"),
            requirements=lock.name,
            # The settings of a component may name a broker at any time.
            needed=tuple(each for each in lock.groups[RUN] if each != MQTT or greengrass or told.get("mqtt")),
            wheels=platforms,
        ),
        accuracy=accuracy or Accuracy(),
        lineage=dict(sorted((lineage or {}).items())),
        self_test=SelfTest(
            tolerance={kind: _TOLERANCES[kind] for kind in networks},
            cases=tuple(cases),
        ),
    )
    written = json.dumps(manifest.model_dump(mode="json", by_alias=True), indent=2, ensure_ascii=False)
    contents: dict[str, bytes | Path] = {
        "README": readme(manifest, preset, told).encode(),
        service_name(name): unit(manifest, preset, told).encode(),
        "labels.txt": "".join(f"{each}\n" for each in classes).encode(),
        "manifest.json": f"{written}\n".encode(),
        "requirements.txt": lock.requirements(*groups).encode(),
        **{_FILES[kind]: data for kind, data in networks.items()},
        **_program(),
        **pictures,
    }
    with tempfile.TemporaryDirectory(prefix="gtlabel-") as folder:
        if platforms:
            fetched = fetch_wheels(lock, platforms, (*groups, INSTALLER), Path(folder))
            contents |= {f"wheels/{wheel.name}": wheel for wheel in fetched}
        sums = "".join(f"{_digest(contents[each])}  {each}\n" for each in sorted(contents))
        write_archive(path, {**contents, "SHA256SUMS": sums.encode()})
    return Bundle(path, _digest(path), manifest)


def read_bundle(path: Path) -> Bundle:
    """Open a bundle and check that it holds what it promises.

    Raises:
        BundleError: if it is no ZIP, a name in it leads outside, or a file differs from `SHA256SUMS`.
    """
    with opened(path) as archive:
        names = {entry.filename for entry in entries(archive, path)}
        if not {"SHA256SUMS", "manifest.json"} <= names:
            raise BundleError(f"{path} is not a bundle: it lacks SHA256SUMS or manifest.json")
        listed = set()
        for line in archive.read("SHA256SUMS").decode("utf-8", "replace").splitlines():
            digest, _, name = line.partition("  ")
            listed.add(name)
            if name not in names:
                raise BundleError(f"{path} lacks {name}, which its SHA256SUMS lists")
            with archive.open(name) as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:  # type: ignore[arg-type]
                    raise BundleError(
                        f"{name} in {path} is not what its SHA256SUMS says; build the bundle again"
                    )
        for name in sorted(names - listed - {"SHA256SUMS"}):
            raise BundleError(f"{path} holds {name}, which its SHA256SUMS does not list")
        manifest = _manifest(archive.read("manifest.json"), path)
    return Bundle(path, _digest(path), manifest)


def _manifest(data: bytes, path: Path) -> BundleManifest:
    try:
        schema = json.loads(data).get("schema")
    except (ValueError, AttributeError) as error:
        raise BundleError(f"manifest.json in {path} is not a JSON object: {error}") from error
    if schema != SCHEMA:
        newer = isinstance(schema, int) and schema > SCHEMA
        raise BundleError(
            f"{path} has schema {schema}, and this gtlabel knows {SCHEMA}; "
            + ("use a newer gtlabel" if newer else "build the bundle again")
        )
    try:
        return BundleManifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"manifest.json in {path}, {field}: {first['msg']}") from error


def _program() -> dict[str, bytes]:
    """The code that runs on the device, under its own module names, and its two launchers."""
    device = {
        f"gtlabel/edge/device/{file.name}": file.read_bytes()
        for file in sorted((files("gtlabel.edge") / "device").iterdir(), key=lambda file: file.name)
        if file.name.endswith(".py")
    }
    return {
        "run.py": device.pop("gtlabel/edge/device/launcher.py"),
        "install.py": device.pop("gtlabel/edge/device/installer.py"),
        "gtlabel/__init__.py": b"",
        "gtlabel/edge/__init__.py": b"",
        "gtlabel/networks/__init__.py": b"",
        "gtlabel/networks/preprocess.py": (files("gtlabel.networks") / "preprocess.py").read_bytes(),
        **device,
    }


def _tested(
    networks: Mapping[Precision, bytes], classes: Sequence[str], pictures: Mapping[str, bytes]
) -> tuple[ModelInput, bool, list[SelfTestCase]]:
    """The networks' input, whether a picture may have several labels, and what is said about each picture."""
    from gtlabel.networks.onnx import INPUT
    from gtlabel.networks.runtime import Network

    ready = {kind: Network(data) for kind, data in networks.items()}
    network = ready["fp32"]
    cases = []
    for name, data in pictures.items():
        try:
            pixels = network.load(data)[None]
        except ValueError as error:
            raise BundleError(f"the self-test picture {name} cannot be read: {error}") from error
        values: dict[Precision, tuple[float, ...]] = {
            kind: tuple(round(float(value), 6) for value in each.probabilities(pixels)[0])
            for kind, each in ready.items()
        }
        for row in values.values():
            if len(row) != len(classes):
                raise BundleError(
                    f"the network tells {len(row)} classes apart and {len(classes)} are named; "
                    "use the classes.json of the dataset it was trained on"
                )
        best = max(range(len(classes)), key=values["fp32"].__getitem__)
        cases.append(SelfTestCase(image=name, label=classes[best], probabilities=values))
    input_ = ModelInput(
        name=INPUT,
        shape=(1, network.channels, network.height, network.width),
        color="RGB" if network.channels == 3 else "gray",
    )
    return input_, network.multi_label, cases


def _picture_name(name: str) -> str:
    plain = PurePosixPath(name).name
    if not plain or plain != name:
        raise BundleError(f"a self-test picture needs a plain file name, not {name!r}")
    return f"selftest/{plain}"


def _digest(content: bytes | Path) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
