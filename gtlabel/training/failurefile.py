"""The file in which a training program says why it fails: `output/failure`, contract/training.md §4.2."""

from __future__ import annotations

from pathlib import Path

# Of what a program wrote, as many characters become the job's FailureReason.
LONGEST = 1024


def write_failure(base: Path, reason: str) -> None:
    """Write down why a program fails.

    Args:
        base: what SageMaker calls `/opt/ml`.
        reason: its beginning counts.
    """
    output = base / "output"
    output.mkdir(parents=True, exist_ok=True)
    (output / "failure").write_text(reason[:LONGEST], encoding="utf-8")


def read_failure(base: Path) -> str:
    """What a program wrote down about its failure; empty when it wrote nothing.

    Args:
        base: what SageMaker calls `/opt/ml`.
    """
    file = base / "output" / "failure"
    if not file.is_file():
        return ""
    with file.open("rb") as stream:
        # A character has four bytes at most.
        return stream.read(4 * LONGEST).decode(errors="replace")[:LONGEST].strip()
