"""What gtlabel costs before it has done anything for you: the demo, `--help`, the base install.

Run: python tests/benchmarks/footprint.py [--runs 5] [--install]

The peers: `aws help`-less start of the AWS CLI (`aws --version`) and a bare interpreter, in the same run.
Times are medians of `--runs`; CPU seconds count the process and its children.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = Path(sys.executable).parent
CHECKOUT = Path(__file__).resolve().parents[2]


def cpu_seconds(command: list[str]) -> float:
    """CPU seconds of a command and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def tree_memory(pid: int) -> int:
    """Bytes that a process and its descendants hold right now, shared pages counted once (PSS)."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        own = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) * 1024
        below = [int(child) for child in children.read_text().split()]
    except (OSError, StopIteration):  # it ended between two looks
        return 0
    return own + sum(tree_memory(child) for child in below)


def demo() -> tuple[float, float, dict[str, object]]:
    """Wall seconds and peak bytes of one `gtlabel demo`, and what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = subprocess.Popen(
            [str(BIN / "gtlabel"), "demo", "--output", "json", "--into", f"{folder}/demo"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, tree_memory(process.pid))
            time.sleep(0.1)
        assert process.stdout is not None
        printed = process.stdout.read()
        if process.returncode:
            raise SystemExit(f"gtlabel demo ended with {process.returncode}")
        return time.perf_counter() - start, peak, json.loads(printed)


def base_install_megabytes() -> float:
    """Megabytes that the base install adds to an empty virtual environment."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", f"{folder}/venv"], check=True)
        before = folder_bytes(Path(folder))
        subprocess.run(
            [sys.executable, "-m", "pip", "--python", f"{folder}/venv", "install", "-q", str(CHECKOUT)],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        return (folder_bytes(Path(folder)) - before) / 1e6


def folder_bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_symlink())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--install", action="store_true", help="measure the base install too (network)")
    arguments = parser.parse_args()
    os.environ.pop("AWS_ENDPOINT_URL", None)

    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "gtlabel --help": [str(BIN / "gtlabel"), "--help"],
        "gtlabel label --help": [str(BIN / "gtlabel"), "label", "--help"],
    }
    if shutil.which("aws", path=str(BIN)):
        commands["aws --version (peer)"] = [str(BIN / "aws"), "--version"]
    print(f"{'command':<28}{'CPU s, median':>14}{'limit':>8}")
    for name, command in commands.items():
        median = statistics.median(cpu_seconds(command) for _ in range(arguments.runs))
        limit = "0.35" if name == "gtlabel --help" else ""
        print(f"{name:<28}{median:>14.3f}{limit:>8}", flush=True)

    print(f"\n{'gtlabel demo':<28}{'wall s':>14}{'peak MB':>10}{'accuracy':>10}{'baseline':>10}")
    for number in range(min(arguments.runs, 3)):
        seconds, peak, printed = demo()
        figures = (
            f"{seconds:>14.1f}{peak / 1e6:>10.0f}{printed['accuracy']:>10.3f}{printed['baseline']:>10.3f}"
        )
        print(f"{f'run {number + 1}':<28}{figures}", flush=True)
    print(f"{'limit':<28}{90:>14}{1500:>10}")

    if arguments.install:
        print(f"\n{'base install':<28}{base_install_megabytes():>11.1f} MB{'90 MB':>10}")


if __name__ == "__main__":
    main()
