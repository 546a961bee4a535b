"""The program of a bundle: classify pictures on a device that has only Python and three packages.

It is copied into the bundle as it is, beside `preprocess.py`, and imports nothing of gtlabel.

Exit codes: 0 done, 1 a picture could not be read, 2 wrong arguments, 3 the bundle is damaged,
4 the self-test failed, 5 a package is missing.
"""

import os

# onnxruntime reports to its maker by default; this is its full opt-out, and it is read at import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import argparse
import hashlib
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Pixels = npt.NDArray[np.float32]

UNREADABLE, DAMAGED, SELF_TEST, MISSING_PACKAGE = 1, 3, 4, 5
PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
NEEDED = ("manifest.json", "model.onnx", "labels.txt", "preprocess.py", "run.py")


class RunError(Exception):
    """An end that was foreseen: one sentence and an exit code."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


class Classifier:
    """The model of a bundle, opened only after every file of the bundle proved intact."""

    def __init__(self, folder: Path) -> None:
        verify(folder)
        self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self.labels: list[str] = self.manifest["labels"]
        self.digest: str = self.manifest["model"]["sha256"]
        self.channels, self.height, self.width = self.manifest["input"]["shape"][1:]
        self._load_image, self._session = _open(folder)

    def probabilities(self, picture: bytes) -> list[float]:
        """One number per label, in the order of the labels."""
        pixels = self._load_image(picture, self.height, self.width, self.channels)
        outputs = self._session.run(None, {self.manifest["input"]["name"]: pixels[None]})
        return [float(value) for value in outputs[0].reshape(-1)]


def verify(folder: Path) -> None:
    """Compare every file with `SHA256SUMS`.

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
        try:
            actual = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError:
            raise RunError(f"the bundle lacks {name}; copy it to the device again", DAMAGED) from None
        if actual != digest:
            raise RunError(f"{name} is not what the bundle was built with; copy it again", DAMAGED)
    for name in NEEDED:
        if name not in listed:
            raise RunError(f"SHA256SUMS does not list {name}; build the bundle again", DAMAGED)


def _open(folder: Path) -> tuple[Callable[[bytes, int, int, int], "Pixels"], Any]:
    """The picture reader and the inference session; imported here, after the files were verified."""
    try:
        import onnxruntime

        if TYPE_CHECKING:
            from gtlabel.networks.preprocess import load_image
        else:
            from preprocess import load_image
    except ImportError as error:
        raise RunError(
            f"{error}; install what the bundle needs with: python3 -m pip install -r requirements.txt",
            MISSING_PACKAGE,
        ) from error
    options = onnxruntime.SessionOptions()
    # A device has other things to do; two threads keep up with a camera.
    options.intra_op_num_threads = min(2, os.cpu_count() or 1)
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        (folder / "model.onnx").read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    return load_image, session


def self_test(classifier: Classifier, folder: Path) -> None:
    """Classify the pictures in the bundle and compare with what was computed when it was built.

    Raises:
        RunError: if a label differs, or a probability by more than the manifest's tolerance.
    """
    tolerance = classifier.manifest["self_test"]["tolerance"]
    cases = classifier.manifest["self_test"]["cases"]
    for case in cases:
        got = classifier.probabilities((folder / case["image"]).read_bytes())
        worst = max(abs(a - b) for a, b in zip(got, case["probabilities"], strict=True))
        if worst > tolerance:
            raise RunError(
                f"self-test: {case['image']} is off by {worst:.4f} where {tolerance} is allowed; "
                "this device computes something else than the one that built the bundle",
                SELF_TEST,
            )
    _say(json.dumps({"selftest": "passed", "images": len(cases)}))


def classify(classifier: Classifier, image: Path, options: argparse.Namespace) -> bool:
    """Print one line about one picture; say whether it could be read."""
    try:
        values = classifier.probabilities(image.read_bytes())
    except (OSError, ValueError) as error:
        _say(f"{image}: {error}", sys.stderr)
        return False
    ranked = sorted(zip(classifier.labels, values, strict=True), key=lambda pair: -pair[1])
    label, confidence = ranked[0]
    line = {
        "label": label if confidence >= options.threshold else None,
        "confidence": round(confidence, 6),
        "top": [{"label": name, "confidence": round(value, 6)} for name, value in ranked[: options.top]],
        "model": classifier.digest,
        "thing": options.thing,
        "image": str(image),
        "ts": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    _say(json.dumps(line))
    return True


def pictures(folder: Path) -> list[Path]:
    """The pictures of a folder and the folders in it, by name."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURES and p.is_file())


def watch(folder: Path, poll: float, stop: threading.Event) -> Iterator[Path]:
    """Yield each picture once, when its size and time have stood still between two looks.

    A picture that is written again is yielded again.
    """
    seen: dict[Path, tuple[int, int]] = {}
    done: dict[Path, tuple[int, int]] = {}
    while not stop.is_set():
        for image in pictures(folder):
            try:
                status = image.stat()
            except FileNotFoundError:
                continue
            signature = (status.st_size, status.st_mtime_ns)
            if seen.get(image) == signature and done.get(image) != signature:
                done[image] = signature
                yield image
            seen[image] = signature
        stop.wait(poll)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description="Classify pictures with the model in this bundle.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--selftest", action="store_true", help="check the model on the bundled pictures")
    source.add_argument("--image", nargs="+", type=Path, metavar="FILE", help="classify these pictures")
    source.add_argument("--folder", type=Path, metavar="DIR", help="classify the pictures of a folder")
    parser.add_argument(
        "--watch",
        nargs="?",
        choices=("yes", "no"),
        const="yes",
        default="no",
        help="with --folder: stay, and classify what is added",
    )
    parser.add_argument("--threshold", type=_share, metavar="P", help="no label below this confidence")
    parser.add_argument("--top", type=_positive, default=3, metavar="K", help="how many labels to list")
    parser.add_argument("--thing", default=os.environ.get("AWS_IOT_THING_NAME"), help="the device's name")
    parser.add_argument("--poll", type=float, default=0.5, metavar="SECONDS", help="between two looks")
    return parser.parse_args(argv)


def _say(line: str, stream: TextIO | None = None) -> None:
    (stream or sys.stdout).write(line + "\n")
    (stream or sys.stdout).flush()


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _positive(text: str) -> int:
    # Configuration on a device may turn 3 into 3.0.
    value = float(text)
    if value < 1 or value != int(value):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(value)


def _run(options: argparse.Namespace, stop: threading.Event) -> int:
    here = Path(__file__).resolve().parent
    classifier = Classifier(here)
    if options.threshold is None:
        options.threshold = float(classifier.manifest["threshold"])
    if options.selftest:
        self_test(classifier, here)
        return 0
    if options.image:
        images: Iterator[Path] = iter(options.image)
    elif options.watch == "yes":
        options.folder.mkdir(parents=True, exist_ok=True)
        images = watch(options.folder, options.poll, stop)
    elif options.folder.is_dir():
        images = iter(pictures(options.folder))
    else:
        raise RunError(f"there is no folder {options.folder}", UNREADABLE)
    all_readable = True
    for image in images:
        if stop.is_set():
            break
        all_readable &= classify(classifier, image, options)
    # Who watches has seen every complaint; an old broken picture is no reason to restart the program.
    return 0 if all_readable or options.watch == "yes" else UNREADABLE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; SIGTERM and Ctrl-C end it after the picture at hand."""
    options = arguments(argv)
    stop = threading.Event()

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    try:
        return _run(options, stop)
    except RunError as error:
        _say(f"run.py: {error}", sys.stderr)
        return error.code
    except BrokenPipeError:
        # The reader went away; without this, closing stdout would complain once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
