"""What `gtlabel predict` costs beside a bare loop of Pillow and onnxruntime, and whether memory stays flat.

Run: OMP_NUM_THREADS=1 python tests/benchmarks/predicting.py [--pictures 1000] [--runs 5]

The peer, in the same run and over the same files, does what nobody can do without: open, decode and squeeze
each picture with Pillow, and give batches of 32 to onnxruntime with as many threads. Ours keeps the order,
names every picture, takes broken ones as they come and writes JSON Lines. The network is the built-in's
ResNet-18 at 64x64 with weights drawn at random; the pictures are photographs of samples/trash in turn.

CPU seconds are those of the loop alone, medians of `--runs`; memory is the largest resident set of a process
that classifies so many, and four times as many. Exits with 1 if CPU is above 1.15 times the peer's, or memory
grows by more than 8 MB.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

import numpy as np

MOST_CPU, MOST_GROWTH = 1.15, 8.0
BATCH = 32
PHOTOS = Path(__file__).parents[2] / "samples" / "trash" / "images"
CLASSES = ("Compost", "Landfill", "Recycle")


def network(path: Path, layers: int, side: int) -> None:
    """Write one of the built-in's networks as ONNX."""
    from gtlabel.networks.artifact import Artifact
    from gtlabel.networks.onnx import to_onnx
    from gtlabel.networks.resnet import initial_weights, resnet

    design = resnet(layers, len(CLASSES), (3, side, side))
    weights = initial_weights(design.shapes, seed=7)
    path.write_bytes(to_onnx(Artifact(design.symbol, weights, (BATCH, 3, side, side)), CLASSES))


def pictures(folder: Path, count: int) -> None:
    """Lay out so many photographs."""
    files = sorted(PHOTOS.glob("*.jpg"))
    for number in range(count):
        (folder / f"{number:06d}.jpg").symlink_to(files[number % len(files)])


def ours(model: Path, folder: Path, count: int, sink: io.TextIOBase) -> None:
    from gtlabel.training.model import open_model
    from gtlabel.training.predict import pictures, predict

    opened = open_model(str(model), nobody)
    names = [str(path) for path in sorted(folder.iterdir())[:count]]
    found = predict(opened, pictures(names, nobody), s3=nobody)
    sink.writelines(json.dumps(prediction.to_json()) + "\n" for prediction in found)


def bare(model: Path, folder: Path, count: int, sink: io.TextIOBase) -> None:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime as runtime
    from PIL import Image

    from gtlabel.training.answering import DECODERS

    options = runtime.SessionOptions()
    options.intra_op_num_threads = DECODERS
    session = runtime.InferenceSession(model.read_bytes(), options, providers=["CPUExecutionProvider"])
    side = session.get_inputs()[0].shape[3]
    paths = sorted(folder.iterdir())[:count]
    for first in range(0, count, BATCH):
        batch = np.empty((len(paths[first : first + BATCH]), 3, side, side), np.float32)
        for place, path in enumerate(paths[first : first + BATCH]):
            with Image.open(path) as image:
                small = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
            batch[place] = np.asarray(small).transpose(2, 0, 1)
        best = session.run(None, {"data": batch})[0].argmax(axis=1)
        sink.writelines(f"{row}\n" for row in best)


def nobody() -> NoReturn:
    raise AssertionError("everything is on disk")


def child(kind: str, model: Path, folder: Path, count: int) -> None:
    """Do it once to have everything loaded, then measure."""
    work = {"ours": ours, "bare": bare}[kind]
    with Path(os.devnull).open("w") as sink:
        work(model, folder, min(count, 2 * BATCH), sink)
        cpu, wall = time.process_time(), time.perf_counter()
        work(model, folder, count, sink)
    print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall, largest_megabytes()]))


def largest_megabytes() -> float:
    """The largest resident set of this program; `ru_maxrss` begins with that of the one that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def measured(kind: str, model: Path, folder: Path, count: int) -> tuple[float, float, float]:
    command = [sys.executable, __file__, "--child", kind, str(model), str(folder), str(count)]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    cpu, wall, peak = json.loads(run.stdout)
    return cpu, wall, peak


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--layers", type=int, default=18, help="of the network")
    parser.add_argument("--side", type=int, default=64, help="of its pictures, in pixels")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        kind, model, folder, count = arguments.child
        child(kind, Path(model), Path(folder), int(count))
        return 0
    many = arguments.pictures
    with tempfile.TemporaryDirectory() as scratch:
        model, folder = Path(scratch) / "network.onnx", Path(scratch) / "photos"
        folder.mkdir()
        network(model, arguments.layers, arguments.side)
        pictures(folder, 4 * many)
        runs: dict[str, list[tuple[float, float, float]]] = {"ours": [], "bare": []}
        for _ in range(arguments.runs):
            for kind, found in runs.items():
                found.append(measured(kind, model, folder, many))
        print(f"{many:,} pictures{'':<12}{'CPU s':>8}{'wall s':>8}{'peak MB':>9}")
        for kind, found in runs.items():
            cpu, wall, peak = (statistics.median(each[place] for each in found) for place in range(3))
            print(f"{kind:<26}{cpu:>8.2f}{wall:>8.2f}{peak:>9.0f}")
        ratio = statistics.median(a[0] / b[0] for a, b in zip(runs["ours"], runs["bare"], strict=True))
        print(f"{'ours / bare, CPU':<26}{ratio:>8.2f}   at most {MOST_CPU}")
        peak = statistics.median(each[2] for each in runs["ours"])
        growth = measured("ours", model, folder, 4 * many)[2] - peak
        print(f"{'memory, four times as many':<26}{growth:>+8.1f} MB at most {MOST_GROWTH:+.1f}")
    return 0 if ratio <= MOST_CPU and growth <= MOST_GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())
