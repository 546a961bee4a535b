"""What a camera is unsure of comes back, is labeled, and makes its next model better."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from loop_parts import Loop

from gtlabel.aws import Aws
from gtlabel.emulator.actors import Workers
from gtlabel.emulator.child import Address

BENCHMARKS = Path(__file__).parent / "benchmarks"


@pytest.mark.slow
def test_the_loop_closes(
    gtlabel_aws: Aws, gtlabel_server: Address, gtlabel_workers: Workers, tmp_path: Path
) -> None:
    loop = Loop(gtlabel_aws, gtlabel_server, gtlabel_workers, tmp_path, clear=60, side=32)
    loop.label_day()
    first = loop.train("first", "day")
    loop.see(first, "later", unsure="unsure", unsureBelow="0.95", unsureBudget="40")
    # What it keeps is counted by the day, and one may begin meanwhile.
    plan = loop.collect(most=40)
    assert {frame.said.thing for frame in plan.chosen} == {"kitchen"}
    assert {frame.said.model for frame in plan.chosen} == {sha256(first.onnx).hexdigest()}
    assert len(plan.chosen) > 20
    loop.label("unsure", loop.unsure)
    second = loop.train("second", "day", "unsure")
    said = loop.see(second, "held-out")
    before, after = loop.scores(first), loop.scores(second)
    # The camera says what the model says.
    assert loop.right(said) == after.evening
    assert after.evening >= before.evening + 0.1
    assert after.day >= before.day - 0.1


def test_the_benchmark_of_a_running_bundle_measures() -> None:
    words = ["--pictures", "1", "--runs", "1", "--side", "32", "--models", "fp32", "--quick"]
    run = subprocess.run(
        [sys.executable, str(BENCHMARKS / "edge.py"), *words], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[0].split()[-2:] == ["s", "MB"]
    assert run.stdout.splitlines()[1].startswith("fp32, stdout ")
