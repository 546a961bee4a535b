"""From an artifact to ONNX and to 8 bits: how fast, how exact, and how right on real photographs.

Run: OMP_NUM_THREADS=1 python tests/benchmarks/conversion.py [--runs 5] [--quick] [--data DIR]

Example: GTLABEL_TORCH_PYTHON=/opt/gt-torch/bin/python OMP_NUM_THREADS=1 python tests/benchmarks/conversion.py

1. *Conversion*: a `model.tar.gz` of the built-in's ResNet-50 at 224 x 224 becomes an ONNX file, in a process
   of its own: the seconds from the archive to the file, and the largest resident set of the process. It works
   on one core, so that the bar is one of CPU seconds; others may be at work here.
2. *Parity*: converted networks against what MXNet 1.9.1 answered (tests/recorded).
3. *Speed*: CPU milliseconds of a ResNet-18 at 224 x 224 with one thread, a picture at a time. Peers in the
   same run: onnxruntime's session without ours around it; its quantization as it comes; the same after its
   own preparation, for each channel. What is off are the probabilities, from the network in 32 bits.
4. *Accuracy*: networks that the trainers learn here from photographs of five materials (held_out.py divides
   them). 8 bits are chosen by 40 validation pictures; both figures are of 150 that nobody looked at before.
   The embedded trainer's network, which is not even tried otherwise, is rounded to show why. With torch only
   where GTLABEL_TORCH_PYTHON says where it is.

--quick does the smallest of 1 to 3 only, and passes over the bars of speed. Exits with 1 if a conversion
takes over 3 CPU seconds, an answer is off by more than 1e-5, 8 bits are not twice as fast where the processor
has instructions for them (VNNI), or ours are slower than 1.1 times the best peer's.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import numpy as np
from golden_mxnet import CASES, CLASSES, RECORDED, Case, pictures, weights
from numpy.typing import NDArray

from gtlabel.networks.artifact import Artifact, read_artifact, write_artifact
from gtlabel.networks.onnx import to_onnx
from gtlabel.networks.quantize import choose_int8, quantize, unsuited
from gtlabel.networks.resnet import resnet
from gtlabel.networks.runtime import Network, load_onnxruntime, load_quantization

Floats = NDArray[np.float32]

MOST_SECONDS, MOST_OFF, LEAST_FASTER, MOST_SLOWER = 3.0, 1e-5, 2.0, 1.1
NAMES = "abcd"
DATA = Path(__file__).parents[3] / "shared" / "data" / "trash-images"
TRAINED = RECORDED.with_name("mxnet-trained")
PHOTOS = Path(__file__).parents[2] / "samples" / "trash" / "images"


def built_in(case: Case) -> Artifact:
    """A network of the built-in with the weights that MXNet answered with."""
    facts = json.loads(gzip.decompress((RECORDED / "facts.json.gz").read_bytes()))[case.name]
    design = resnet(case.layers, CLASSES, case.shape, multi_label=case.multi_label)
    return Artifact(design.symbol, dict(weights(design.shapes, facts["classifier"])), (1, *case.shape))


# --- 1


def convert(archive: str, target: str) -> None:
    """What one conversion costs, in this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    Path(target).write_bytes(to_onnx(read_artifact(Path(archive)), NAMES))
    seconds = [time.process_time() - cpu, time.perf_counter() - wall]
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
    print(json.dumps([*seconds, peak]))


def conversion(case: Case, runs: int, scratch: Path) -> int:
    archive = scratch / "model.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for path in write_artifact(scratch / "model", built_in(case)):
            tar.add(path, path.name)
    found = []
    for _ in range(runs):
        command = [sys.executable, __file__, "--convert", str(archive), str(scratch / "model.onnx")]
        found.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    cpu, wall, peak = (statistics.median(each[place] for each in found) for place in range(3))
    sizes = [(scratch / name).stat().st_size / 1e6 for name in ("model.tar.gz", "model.onnx")]
    print(f"{'conversion':<34}{'CPU s':>8}{'wall s':>8}{'peak MB':>9}{'tar.gz MB':>11}{'onnx MB':>9}")
    print(f"{case.name:<34}{cpu:>8.2f}{wall:>8.2f}{peak:>9.0f}{sizes[0]:>11.1f}{sizes[1]:>9.1f}")
    print(f"{'at most':<34}{MOST_SECONDS:>8.2f}\n")
    return int(cpu > MOST_SECONDS)


# --- 2


def recorded(quick: bool) -> Iterator[tuple[str, Artifact, Floats, Floats]]:
    folder = RECORDED.with_name("mxnet-resnet20")
    reference = np.load(folder / "ref.npz")
    yield "resnet20, trained by MXNet", read_artifact(folder), reference["x"], reference["y"]
    for name in ("embedded-one", "embedded-several", "torch-several"):
        reference = np.load(TRAINED / name / "mxnet.npz")
        artifact = read_artifact(TRAINED / name / "model.tar.gz")
        yield f"{name}, trained by ours", artifact, reference["x"].astype(np.float32), reference["y"]
    facts = json.loads(gzip.decompress((RECORDED / "facts.json.gz").read_bytes()))
    for case in CASES[:1] if quick else CASES:
        # MXNet's CPU computes nothing in 16 bits.
        if not case.half:
            answers = np.array(facts[case.name]["answers"], np.float32)
            yield case.name, built_in(case), pictures(case.shape), answers


def parity(quick: bool) -> int:
    missed = 0
    print(f"{'parity with MXNet 1.9.1':<34}{'pictures':>10}{'largest difference':>20}")
    for name, artifact, batch, answers in recorded(quick):
        ours = Network(to_onnx(artifact, NAMES[: answers.shape[1]])).probabilities(batch)
        off = float(np.abs(ours - answers).max())
        missed += off > MOST_OFF
        print(f"{name:<34}{len(batch):>10}{off:>20.1e}")
    print(f"{'at most':<34}{'':>10}{MOST_OFF:>20.1e}\n")
    return missed


# --- 3


def plain(model: bytes, inputs: Sequence[Floats], folder: Path, *, prepared: bool) -> bytes:
    """onnxruntime's quantization without ours: as it comes, or after its own preparation."""
    quantization = load_quantization()
    source, target = folder / "plain.onnx", folder / "plain.int8.onnx"
    source.write_bytes(model)

    class Inputs(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self._left = iter(inputs)

        def get_next(self) -> dict[str, Floats] | None:
            picture = next(self._left, None)
            return None if picture is None else {"data": picture[None]}

    if prepared:
        quantization.quant_pre_process(str(source), str(source), skip_symbolic_shape=True)
    quantization.quantize_static(str(source), str(target), Inputs(), per_channel=prepared)
    return target.read_bytes()


def bare(model: bytes) -> Callable[[Floats], Floats]:
    runtime = load_onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {"data": batch})[0]


def has_vnni() -> bool:
    """Whether this processor multiplies bytes in one go."""
    flags = Path("/proc/cpuinfo").read_text()
    return any(name in flags for name in ("avx512_vnni", "avx_vnni", "asimddp"))


def speed(case: Case, runs: int, scratch: Path) -> int:
    import logging

    # What it advises is what is compared here.
    logging.disable(logging.WARNING)
    model = to_onnx(built_in(case), NAMES)
    load = Network(model).load
    inputs = [load(path.read_bytes()) for path in sorted(PHOTOS.glob("*.jpg"))[:24]]
    ours = quantize(model, inputs)
    files = {
        "fp32, onnxruntime alone": model,
        "fp32, ours": model,
        "int8, its defaults": plain(model, inputs, scratch, prepared=False),
        "int8, prepared, per channel": plain(model, inputs, scratch, prepared=True),
        "int8, ours": ours,
    }
    answer = {
        name: Network(file).probabilities if name.endswith("ours") else bare(file)
        for name, file in files.items()
    }
    spent: dict[str, list[float]] = {name: [] for name in files}
    times = len(inputs)
    for _ in range(runs):
        for name, ask in answer.items():
            start = time.process_time()
            for number in range(times):
                ask(inputs[number % len(inputs)][None])
            spent[name].append((time.process_time() - start) / times * 1000)
    expected = answer["fp32, ours"](np.stack(inputs))
    print(f"{'speed, ' + case.name + ', one thread':<34}{'CPU ms':>8}{'faster':>8}{'MB':>8}{'mean off':>10}")
    base = spent["fp32, onnxruntime alone"]
    faster = {
        name: statistics.median(b / o for b, o in zip(base, each, strict=True))
        for name, each in spent.items()
    }
    for name, each in spent.items():
        off = np.abs(answer[name](np.stack(inputs)) - expected).mean()
        size = len(files[name]) / 1e6
        print(f"{name:<34}{statistics.median(each):>8.2f}{faster[name]:>7.2f}x{size:>8.1f}{off:>10.4f}")
    bar = LEAST_FASTER if has_vnni() else 0.0
    print(f"{'int8, ours, at least':<34}{'':>8}{bar:>7.2f}x\n")
    best = max(faster["int8, its defaults"], faster["int8, prepared, per channel"])
    return int(faster["int8, ours"] < bar) + int(best / faster["int8, ours"] > MOST_SLOWER)


# --- 4


def accuracy(data: Path, scratch: Path) -> None:
    import held_out

    torch = os.environ.get("GTLABEL_TORCH_PYTHON")
    divided = held_out.Pictures(data, "materials").divide(90, 1)
    asked: dict[str, tuple[str, str, dict[str, str]]] = {
        "embedded, 64 x 64": (sys.executable, "embedded", {"image_shape": "3,64,64"})
    }
    if torch:
        small = {**held_out.TORCH, "epochs": "40"}
        large = {"num_layers": "18", "image_shape": "3,64,64", "epochs": "20", "lr_scheduler_step": "12,17"}
        asked["torch, ResNet-20, 28 x 28"] = (torch, "torchtrainer", small)
        asked["torch, ResNet-18, 64 x 64"] = (torch, "torchtrainer", {**small, **large})
    print(f"{'accuracy, 150 photographs':<34}{'fp32':>8}{'int8':>8}{'alike':>8}{'CPU ms':>14}  decision")
    for number, (name, (python, module, told)) in enumerate(asked.items()):
        base = scratch / f"job{number}"
        held_out.program([python, "-m", f"gtlabel.training.{module}"], divided, 5, told, base)
        model = to_onnx(read_artifact(base / "model"), held_out.MATERIALS)
        network = Network(model)
        validation = [network.load(each.data) for each in divided.validation]
        choice = choose_int8(model, validation, [each.label for each in divided.validation])
        rounded = Network(choice.network or quantize(model, validation))
        batch = np.stack([network.load(each.data) for each in divided.held_out])
        truth = np.array([each.label for each in divided.held_out])
        said = [each.probabilities(batch).argmax(axis=1) for each in (network, rounded)]
        right = [float((each == truth).mean()) for each in said]
        spent = [one_by_one(each, batch) for each in (network, rounded)]
        print(
            f"{name:<34}{right[0]:>8.1%}{right[1]:>8.1%}{(said[0] == said[1]).mean():>8.1%}"
            f"{spent[0]:>7.2f}{spent[1]:>7.2f}  {choice.decision}"
        )
        assert not (unsuited(model) and choice.kept)


def one_by_one(network: Network, batch: Floats) -> float:
    """CPU milliseconds for a picture, the median of five rounds."""
    rounds: list[Any] = []
    for _ in range(5):
        start = time.process_time()
        for place in range(40):
            network.probabilities(batch[place : place + 1])
        rounds.append((time.process_time() - start) / 40 * 1000)
    return float(statistics.median(rounds))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--convert", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.convert:
        convert(*given.convert)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        converted, fast = (CASES[0], CASES[0]) if given.quick else (CASES[8], CASES[7])
        slow = conversion(converted, given.runs, scratch)
        missed = parity(given.quick)
        slow += speed(fast, given.runs, scratch)
        if given.quick:
            return int(missed > 0)
        accuracy(given.data, scratch)
    return int(missed + slow > 0)


if __name__ == "__main__":
    sys.exit(main())
