"""What a running bundle costs beside its model: time, memory, the wait for the first answer.

Run: OMP_NUM_THREADS=1 python tests/benchmarks/edge.py [--pictures 24] [--runs 5]

Example: python tests/benchmarks/edge.py --pictures 12 --runs 3 --side 64

The network is the built-in's ResNet-18 at 224x224 with weights drawn at random, in 32 and in 8 bits. The
program of the bundle runs as it does on a device, as a process of its own on one core; it classifies the
photographs of samples/trash as a camera would send them, and tells them on stdout, and to an MQTT
broker where mosquitto is installed. The peer, in the same run, on the same core and the same files, is the
least there can be: Pillow opens, decodes and squeezes a picture, onnxruntime runs the same network, one line
is printed.

The model's own time is what the peer spends inside onnxruntime. Overhead is all else that a picture costs, in
CPU seconds, start-up not counted: the same program over few pictures is taken off. Memory is the largest
resident set. Start is the time from the command to its first answer, on all cores, which others may be using.
The camera sends 30 pictures per second on stdin, and stale ones are passed over.

Figures are medians of `--runs`. Exits with 1 if the overhead in 32 bits is above 15 % of the model's time,
memory above 250 MB, the first answer later than 2 s, or 8 bits less than twice as fast on a CPU with VNNI.
Networks below 224x224 are held against no bar.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

MOST_OVERHEAD, MOST_MEGABYTES, MOST_SECONDS, INT8_TIMES = 0.15, 250.0, 2.0, 2.0
PHOTOS = Path(__file__).parents[2] / "samples" / "trash" / "images"
CLASSES = ("Compost", "Landfill", "Recycle")
KEPT = "unsure frames kept"
FEW = 2
CORE = min(os.sched_getaffinity(0))

BARE = """
import os, sys, time
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np
import onnxruntime
from PIL import Image
model, side, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(open(model, "rb").read(), options, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
own = 0.0
for file in sorted(os.listdir(folder)):
    with Image.open(os.path.join(folder, file)) as image:
        small = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    pixels = np.asarray(small, np.float32).transpose(2, 0, 1)[None]
    begin = time.process_time()
    values = session.run(None, {name: pixels})[0][0]
    own += time.process_time() - begin
    print(values.argmax(), values.max(), flush=True)
print(own, file=sys.stderr)
"""


def lay_out(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """So many pictures of a camera."""
    from PIL import Image

    folder.mkdir()
    files = sorted(PHOTOS.glob("*.jpg"))
    for number in range(count):
        with Image.open(files[number % len(files)]) as photo:
            photo.resize(size).save(folder / f"{number:05d}.jpg", quality=90)
    return folder


def bundle(folder: Path, side: int, photos: Path, models: Sequence[str]) -> Path:
    """A bundle of the networks, unpacked as a device has it."""
    from gtlabel.edge.archive import extract
    from gtlabel.edge.bundle import build_bundle
    from gtlabel.networks.artifact import Artifact
    from gtlabel.networks.onnx import to_onnx
    from gtlabel.networks.preprocess import load_image
    from gtlabel.networks.resnet import initial_weights, resnet

    design = resnet(18, len(CLASSES), (3, side, side))
    weights = initial_weights(design.shapes, seed=7)
    network = to_onnx(Artifact(design.symbol, weights, (1, 3, side, side)), CLASSES)
    files = [path.read_bytes() for path in sorted(photos.iterdir())[:8]]
    eight = None
    if "int8" in models:
        from gtlabel.networks.quantize import quantize

        eight = quantize(network, [load_image(data, side, side) for data in files])
    archive = folder / "bundle.zip"
    build_bundle(network, CLASSES, archive, self_test={"one.jpg": files[0]}, int8=eight)
    extract(archive, folder / "bundle")
    return folder / "bundle"


def on_one_core() -> None:
    os.sched_setaffinity(0, {CORE})


def cpu_seconds(command: Sequence[object]) -> tuple[float, str]:
    """What a program took on one core, and what it said on stderr."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.DEVNULL,
            stderr=errors,
            preexec_fn=on_one_core,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        said = errors.read().decode()
    if process.returncode:
        raise SystemExit(said)
    return usage.ru_utime + usage.ru_stime, said


class Bench:
    """The programs that are compared, over the same pictures."""

    def __init__(
        self, folder: Path, side: int, pictures: int, models: Sequence[str], size: tuple[int, int]
    ) -> None:
        self.few = lay_out(folder / "few", FEW, size)
        self.many = lay_out(folder / "many", FEW + pictures, size)
        self.pictures = pictures
        self.side = side
        self.bundle = bundle(folder, side, self.many, models)
        self.run = [sys.executable, self.bundle / "run.py", "--threshold", "0"]

    def ours(self, model: str, *more: object) -> float:
        """CPU seconds that the program takes for a picture."""
        few, many = (
            cpu_seconds([*self.run, "--model", model, "--folder", folder, *more])[0]
            for folder in (self.few, self.many)
        )
        return (many - few) / self.pictures

    def bare(self, model: str) -> tuple[float, float]:
        """CPU seconds that the peer takes for a picture, and those of them inside onnxruntime."""
        file = self.bundle / ("model.onnx" if model == "fp32" else "model.int8.onnx")
        few, many = (
            cpu_seconds([sys.executable, "-c", BARE, file, self.side, folder])
            for folder in (self.few, self.many)
        )
        own = (float(many[1].split()[-1]) - float(few[1].split()[-1])) / self.pictures
        return (many[0] - few[0]) / self.pictures, own

    def start(self, model: str) -> tuple[float, float]:
        """Seconds to the first answer, and the largest resident set in MB after all pictures."""
        begin = time.perf_counter()
        command = [*self.run, "--model", model, "--folder", self.many, "--watch", "yes"]
        with subprocess.Popen(
            [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            first = time.perf_counter() - begin
            for _ in range(FEW + self.pictures - 1):
                process.stdout.readline()
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            process.terminate()
        return first, next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024

    def camera(self, model: str) -> float:
        """Answers per second about a camera of 30 pictures per second."""
        frames = [path.read_bytes() for path in sorted(self.many.iterdir())]
        command = [*self.run, "--model", model, "--camera", "-"]
        with subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            done = threading.Event()
            filming = threading.Thread(target=film, args=(process.stdin, frames, done))
            filming.start()
            process.stdout.readline()
            begin, times = time.perf_counter(), []
            for _ in range(self.pictures):
                process.stdout.readline()
                times.append(time.perf_counter())
            done.set()
            filming.join()
            process.terminate()
        return len(times) / (times[-1] - begin)


def film(stream: IO[bytes], frames: Sequence[bytes], done: threading.Event) -> None:
    for frame in itertools.cycle(frames):
        stream.write(frame)
        stream.flush()
        if done.wait(1 / 30):
            return


@contextlib.contextmanager
def broker() -> Iterator[str | None]:
    """The address of a broker, where there is one to be started."""
    if not (shutil.which("mosquitto") or Path("/usr/sbin/mosquitto").exists()):
        yield None
        return
    sys.path.append(str(Path(__file__).parents[1]))
    from broker_parts import mosquitto

    with tempfile.TemporaryDirectory() as folder, mosquitto(Path(folder)) as running:
        yield running.url


def has_vnni() -> bool:
    """Whether the CPU multiplies bytes four at a time, which is what makes 8 bits fast on x86-64."""
    return "vnni" in Path("/proc/cpuinfo").read_text()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--side", type=int, default=224, help="of the network's input, in pixels")
    parser.add_argument("--frame", default="640x480", help="the camera's pictures, WIDTHxHEIGHT")
    parser.add_argument("--models", default="fp32,int8", help="which of the bundle's networks to measure")
    parser.add_argument("--start-only", action="store_true", help="measure nothing but the start")
    arguments = parser.parse_args()
    models = arguments.models.split(",")
    width, height = map(int, arguments.frame.split("x"))
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch), arguments.side, arguments.pictures, models, (width, height))
        fast = arguments.start_only or costs(bench, models, arguments.runs, Path(scratch) / "unsure")
        light = starts(bench, models, arguments.runs, camera=not arguments.start_only)
    print(
        f"\nbars: overhead at most {MOST_OVERHEAD:.0%} in 32 bits, first answer within {MOST_SECONDS:g} s, "
        f"at most {MOST_MEGABYTES:g} MB, 8 bits {INT8_TIMES:g} times as fast with VNNI"
    )
    return 0 if (fast and light) or arguments.side < 224 else 1


def costs(bench: Bench, models: Sequence[str], runs: int, unsure: Path) -> bool:
    """What a picture costs in each way; whether the bars are met."""
    met = True
    own: dict[str, float] = {}
    with broker() as url:
        ways: dict[str, list[object]] = {"stdout": []}
        if url:
            ways["stdout and MQTT"] = ["--mqtt", url]
        ways[KEPT] = ["--unsure", unsure, "--unsure-below", 1, "--unsure-budget", 10]
        print(f"one picture, ms of CPU{'':<4}{'own':>8}{'bare':>8}{'bundle':>8}{'overhead':>10}")
        for model in models:
            rounds = [
                (bench.bare(model), [bench.ours(model, *more) for more in ways.values()]) for _ in range(runs)
            ]
            own[model] = statistics.median(bare[1] for bare, _ in rounds)
            bare = statistics.median(bare[0] for bare, _ in rounds)
            for place, way in enumerate(ways):
                ours = statistics.median(times[place] for _, times in rounds)
                overhead = statistics.median((times[place] - bare[1]) / bare[1] for bare, times in rounds)
                figures = "".join(f"{1000 * each:>8.1f}" for each in (own[model], bare, ours))
                print(f"{model}, {way:<20}{figures}{overhead:>10.1%}")
                # Who keeps frames pays for that besides; and in 8 bits the same pictures are decoded.
                met &= model != "fp32" or way == KEPT or overhead <= MOST_OVERHEAD
    if len(own) == 2:
        ratio = own["fp32"] / own["int8"]
        print(f"8 bits are {ratio:.1f} times as fast, {'with' if has_vnni() else 'without'} VNNI")
        met &= not has_vnni() or ratio >= INT8_TIMES
    print()
    return met


def starts(bench: Bench, models: Sequence[str], runs: int, *, camera: bool) -> bool:
    """How long programs take to answer, and how much memory; whether the bars are met."""
    met = True
    print(f"{'a program':<12}{'first answer s':>16}{'peak MB':>9}{'answers/s of a camera':>23}")
    for model in models:
        found = [bench.start(model) for _ in range(runs)]
        first, peak = (statistics.median(each[place] for each in found) for place in range(2))
        rate = f"{bench.camera(model):.1f}" if camera else "-"
        print(f"{model:<12}{first:>16.2f}{peak:>9.0f}{rate:>23}")
        met &= first <= MOST_SECONDS and peak <= MOST_MEGABYTES
    return met


if __name__ == "__main__":
    sys.exit(main())
