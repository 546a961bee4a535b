"""The model of a bundle: checked, opened, and asked about pictures.

What `manifest.json` says is written down in `gtlabel/edge/manifest.py`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gtlabel.edge.device.ending import DAMAGED, MISSING_PACKAGE, SELF_TEST, WRONG_ARGUMENTS, RunError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Pixels = npt.NDArray[np.float32]

NEEDED = ("manifest.json", "model.onnx", "labels.txt", "run.py", "gtlabel/networks/preprocess.py")


class Classifier:
    """The model of a bundle, opened only after every file of the bundle proved intact.

    Attributes:
        manifest: what the bundle says of itself.
        labels: the classes in the order of the probabilities.
        several: whether a picture may have several labels, each with a probability for itself.
        precision: `fp32` or `int8`.
        digest: of the model's file.
    """

    def __init__(self, folder: Path, which: Literal["auto", "fp32", "int8"] = "auto") -> None:
        verify(folder)
        self._folder = folder
        self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self.labels: list[str] = self.manifest["labels"]
        self.several: bool = self.manifest["multi_label"]
        models = self.manifest["models"]
        self.precision: str = self.manifest["model"] if which == "auto" else which
        if self.precision not in models:
            raise RunError(
                f"this bundle has no {which} model, only {' and '.join(models)}; leave --model out",
                WRONG_ARGUMENTS,
            )
        self.digest: str = models[self.precision]["sha256"]
        self._input: str = self.manifest["input"]["name"]
        self._channels, self._height, self._width = self.manifest["input"]["shape"][1:]
        self._load_image, self._session = _open(folder / models[self.precision]["file"])

    def probabilities(self, picture: bytes) -> list[float]:
        """One number per label, in the order of the labels.

        Raises:
            ValueError: if the bytes are not a whole picture, or the model makes no numbers of it.
        """
        pixels = self._load_image(picture, self._height, self._width, self._channels)
        outputs = self._session.run(None, {self._input: pixels[None]})
        values = [float(value) for value in outputs[0].reshape(-1)]
        if not all(map(math.isfinite, values)):
            raise ValueError("the model's answer is not a number")
        return values

    def prove(self) -> int:
        """Classify the pictures in the bundle and compare with what was computed when it was built.

        Returns:
            How many pictures there are.

        Raises:
            RunError: if a probability differs by more than the manifest's tolerance.
        """
        test = self.manifest["self_test"]
        tolerance = test["tolerance"][self.precision]
        for case in test["cases"]:
            got = self.probabilities((self._folder / case["image"]).read_bytes())
            expected = case["probabilities"][self.precision]
            worst = max(abs(a - b) for a, b in zip(got, expected, strict=True))
            # Written so that a number that is none fails, too.
            if not worst <= tolerance:
                raise RunError(
                    f"self-test of {self.precision}: {case['image']} is off by {worst:.4f} where {tolerance} "
                    "is allowed; this device computes something else than the one that built the bundle",
                    SELF_TEST,
                )
        return len(test["cases"])


def verify(folder: Path, *, wheels: bool = False) -> None:
    """Compare every file with `SHA256SUMS`.

    Args:
        folder: the unpacked bundle.
        wheels: whether those of the packages are looked at, too. Only who installs them needs that: they are
            too large for every start, and an installed bundle has none.

    Raises:
        RunError: if a file is missing, changed, or not listed although the program needs it.
    """
    try:
        lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(
            f"{folder} is not a bundle: its SHA256SUMS cannot be read ({error})", DAMAGED
        ) from None
    listed = set()
    for line in lines:
        digest, _, name = line.partition("  ")
        listed.add(name)
        if name.startswith("wheels/") and not wheels:
            continue
        try:
            # Not read as a whole: for a moment the model would take its memory twice.
            with (folder / name).open("rb") as file:
                actual = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            raise RunError(f"the bundle lacks {name}; copy it to the device again", DAMAGED) from None
        if actual != digest:
            raise RunError(f"{name} is not what the bundle was built with; copy it again", DAMAGED)
    for name in NEEDED:
        if name not in listed:
            raise RunError(f"SHA256SUMS does not list {name}; build the bundle again", DAMAGED)


def self_test(folder: Path) -> dict[str, Any]:
    """Have every model of the bundle prove itself, since each of them may be chosen later.

    Returns:
        A line for programs: `{"selftest": "passed", "images": 2, "models": ["fp32", "int8"]}`.

    Raises:
        RunError: if a model computes something else than it did when the bundle was built.
    """
    classifier = Classifier(folder)
    models = list(classifier.manifest["models"])
    # First the one that runs unless told otherwise; never two at once, for the sake of memory.
    for which in sorted(models, key=lambda which: which != classifier.precision):
        if which != classifier.precision:
            classifier = Classifier(folder, which)
        images = classifier.prove()
    return {"selftest": "passed", "images": images, "models": models}


def _open(model: Path) -> tuple[Callable[[bytes, int, int, int], Pixels], Any]:
    """The picture reader and the inference session; imported here, after the files were verified."""
    # The launcher says so too; whoever comes another way must not be told on either.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime

        from gtlabel.networks.preprocess import load_image
    except ImportError as error:
        raise RunError(
            f"{error}; install what the bundle needs with: python3 -m pip install -r requirements.txt",
            MISSING_PACKAGE,
        ) from error
    options = onnxruntime.SessionOptions()
    # A device has other things to do; two threads keep up with a camera, and should not burn a core while
    # they wait for its next picture.
    options.intra_op_num_threads = min(2, _cores())
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    # onnxruntime's errors share no base class but this one.
    except Exception as error:
        raise RunError(
            f"onnxruntime {onnxruntime.__version__} cannot run {model.name} ({error}); "
            "install the one that requirements.txt names",
            MISSING_PACKAGE,
        ) from error
    return load_image, session


def _cores() -> int:
    # Not every system tells which of its cores this program may use.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
