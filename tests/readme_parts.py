"""The README taken apart, for the tests that hold it to what it shows."""

from __future__ import annotations

import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)\n```", text, re.DOTALL)


def without_numbers(text: str) -> str:
    """A text in which every number, and the room it takes, is the same."""
    return re.sub(r"\s+", " ", re.sub(r"[\d.,]*\d%?", "N", text)).strip()
