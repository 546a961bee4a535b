"""The road to two cameras, gone as the script has it; what it prints is what its transcript shows.

Another transcript is made by: python tests/test_edge_road.py > samples/edge/transcript.txt
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from broker_parts import mosquitto
from readme_parts import without_numbers

ROAD = Path(__file__).parent.parent / "samples" / "edge"
CHECKOUT = f"{ROAD.parents[1]}{os.sep}"

pytestmark = pytest.mark.slow

# How a deployment goes is seen as often as one looks, and in which state is a matter of moments.
_PASSING = re.compile(r"(kitchen|garage): |that failed; going back: |gtlabel: the deployment ")
_SAME = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\d+ (s|min|h) ago"), "AGO"),
    (re.compile(r"\b(Compost|Landfill|Recycle)(?= +\d+%)"), "BIN"),
    # Given up by the cloud or replaced by the next: whichever comes first.
    (re.compile(r"\b(CANCELED|INACTIVE)(?= +2 FAILED)"), "OVER"),
    (re.compile(r"mqtt://[^ ]+"), "BROKER"),
)


def lasting(printed: str) -> list[str]:
    """The lines from the first deployment on that are the same every time, in words that are, too."""
    found = []
    for line in printed.partition("$ : Deploy, and see what runs.\n")[2].splitlines():
        if not _PASSING.match(line):
            for pattern, name in _SAME:
                line = pattern.sub(name, line)
            found.append(without_numbers(line))
    return found


def go(folder: Path) -> str:
    """Go the road; return what it printed, without the names of folders."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "GTLABEL_"))}
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
    (folder / "broker").mkdir()
    with mosquitto(folder / "broker") as broker:
        run = subprocess.run(
            ["sh", str(ROAD / "road.sh"), str(folder / "road")],
            env={**environ, "BROKER": broker.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=280,
        )
    assert run.returncode == 0, run.stdout
    printed = run.stdout.replace(CHECKOUT, "").replace(f"{folder / 'road'}{os.sep}", "")
    return "".join(f"{line.rstrip()}\n" for line in printed.splitlines())


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the script printed."""
    return go(tmp_path_factory.mktemp("on-the-road"))


def test_the_road_is_as_its_transcript_shows_it(printed: str) -> None:
    assert lasting(printed) == lasting((ROAD / "transcript.txt").read_text(encoding="utf-8"))


def test_each_nucleus_deals_with_a_bad_version_in_its_own_way_and_both_end_well(printed: str) -> None:
    bad, _, after = printed.partition("python=python3.99 --version 1.1.0")[2].partition("\nexit code 3\n")
    reason = "install of deeplens-bins 1.1.0 ended with exit code 127: "
    assert f"FAILED on kitchen: FAILED_ROLLBACK_NOT_REQUESTED: {reason}" in bad
    assert f"FAILED on garage, as on 2 of 2 devices: FAILED_ROLLBACK_COMPLETE: {reason}" in bad
    assert "; rolled back to 1.0.0 (deployment " in bad
    status = after.partition("gtlabel deploy list")[0]
    assert re.findall(
        r"^(\w+) +good +(\w+) +HEALTHY .* SUCCEEDED +1\.0\.0 +RUNNING", status, re.MULTILINE
    ) == [
        ("garage", "classic"),
        ("kitchen", "lite"),
    ]


def test_the_cameras_speak_before_the_bad_version_and_after_it(printed: str) -> None:
    said = re.findall(r"^(?:Compost|Landfill|Recycle) +\d+%  (\w+)$", printed, re.MULTILINE)
    assert said == ["kitchen", "garage"] * 2


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        sys.stdout.write("".join(go(Path(scratch)).partition("$ : A dataset")[1:]))
