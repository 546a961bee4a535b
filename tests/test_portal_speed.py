"""Small runs of the programs that measure the portal; what they say in full is for a quiet machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from programs import need

BENCHMARKS = Path(__file__).parent / "benchmarks"


def program(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A run of a program."""
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / name), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
    )


def test_workers_answer_and_see_pages_and_pictures_at_their_own_pace_without_an_error() -> None:
    done = program("portal_load.py", "--workers", "6", "--seconds", "2", "--warm-up", "1", "--limit", "2000")

    assert done.returncode == 0, done.stdout + done.stderr
    rows = {line.split()[1]: line.split() for line in done.stdout.splitlines() if line.startswith("       6")}
    # Workers, what they asked for, how often a second, four latencies, errors.
    assert [rows[kind][-1] for kind in ("answer", "heartbeat", "page", "picture")] == ["0"] * 4


def test_the_next_picture_is_painted_soon_after_a_key() -> None:
    need(shutil.which("chromium"), "people work in a browser; get it with: apt-get install chromium")

    # The bar of 20 ms is for a quiet machine.
    done = program("latency.py", "--decisions", "3", "--size", "113000", "--only", "fast", "--limit", "2000")

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].split()[0] == "fast"
