"""The recorded job of AWS labeled anew, as samples/quality has it.

Another transcript is made by: python tests/test_quality_sample.py > samples/quality/transcript.txt
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from answers_parts import BIRDS

SAMPLE = Path(__file__).parent.parent / "samples" / "quality"


def again(folder: Path) -> str:
    """What the script prints; what differs from one machine to the next is left out."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # There is no account, whatever the machine knows of one: the pictures are not ours to read.
    here = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    here |= dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)
    run = subprocess.run(
        ["sh", str(SAMPLE / "again.sh"), str(folder)],
        env={**here, "AWS_EC2_METADATA_DISABLED": "true", "PATH": programs},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    text = run.stdout.replace(f"{folder.resolve()}/", "")
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def lasting(text: str) -> list[str]:
    """The lines without figures and single pictures, which better methods change."""
    plain = (" ".join(line.split()) for line in text.splitlines())
    kept = (line for line in plain if line and not re.match(r"[0-9a-f]{16}\.jpg|image was is now", line))
    return [re.sub(r"-?\d[\d.,:T-]*%?", "#", line) for line in kept]


def told(text: str, method: str) -> list[tuple[str, ...]]:
    """Of a method: how many labels are other than before, and which, were and are what."""
    (part,) = re.findall(
        rf"\+ gtlabel quality reconsolidate birds --method {method}\n(.*?)\n\+ ", text, re.DOTALL
    )
    (count,) = re.findall(r"^other labels +(\d+) of 12$", part, re.MULTILINE)
    changed, _, _ = part.partition("least sure")
    return [(count,), *re.findall(r"^([0-9a-f]{16})\.jpg +(\w+) +(\w+) ", changed, re.MULTILINE)]


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    return again(tmp_path_factory.mktemp("again"))


def test_the_recorded_job_is_labeled_anew_as_the_transcript_shows_it(printed: str) -> None:
    transcript = (SAMPLE / "transcript.txt").read_text(encoding="utf-8")
    assert lasting(printed) == lasting(transcript)
    for text in (printed, transcript):
        # Its published method gives the labels of AWS; more daring ones find others in these twelve pictures.
        assert told(text, "aws") == [("0",)]
        assert told(text, "dawid-skene") == [
            ("3",),
            ("0273f487d52c16d2", "Canary", "Sparrow"),
            ("02e3b32ea4e8edc1", "Swan", "Goose"),
            ("7499c964889f60ad", "Goose", "Sparrow"),
        ]
        assert told(text, "glad") == [("1",), ("98da3285b4311352", "Parrot", "Canary")]


def test_the_readme_names_what_the_transcript_has(printed: str) -> None:
    commands = re.findall(r"^\+ (gtlabel .*)$", printed, re.MULTILINE)
    readme = (SAMPLE / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| `(gtlabel [^`]*)`", readme, re.MULTILINE)
    assert shown
    assert set(shown) <= set(commands)


def test_the_sample_is_byte_for_byte_what_aws_wrote() -> None:
    files = [file.relative_to(SAMPLE / "birds") for file in (SAMPLE / "birds").rglob("*.*") if file.is_file()]
    assert len(files) == 14
    for file in files:
        assert (SAMPLE / "birds" / file).read_bytes() == (BIRDS / file).read_bytes()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        sys.stdout.write(again(Path(made)))
