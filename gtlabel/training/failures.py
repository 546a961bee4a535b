"""What training jobs were seen to fail with, what it means, and what keeps it from happening here.

The messages are those that people reported of the built-in image classification and its relatives
(contract/training.md §1.8, with the same numbers). Most come after a GPU was rented, and name the cause in
words of the container's inside. They stand in `templates/training-failures.toml`.

`explain` finds the one that a FailureReason, an error of AWS or a line of a log speaks of; `table` is all of
them, to be printed.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gtlabel.templates import read_template


@dataclass(frozen=True, slots=True)
class Failure:
    """One way to fail.

    Attributes:
        number: its place in the contract's table.
        message: how it was reported, shortened.
        pattern: finds the message in a longer text.
        cause: what is wrong, as a sentence without its end.
        remedy: what to do about it, as a sentence without its end.
        prevented: what of gtlabel keeps it from happening; empty where only AWS can know.
        source: where it was reported.
    """

    number: int
    message: str
    pattern: re.Pattern[str]
    cause: str
    remedy: str
    prevented: str
    source: str

    @property
    def sentence(self) -> str:
        """Cause and remedy for a person."""
        return f"{self.cause}; {self.remedy}"

    def to_json(self) -> dict[str, Any]:
        """The row of a table, as plain JSON values."""
        return {
            "number": self.number,
            "message": self.message,
            "cause": self.cause,
            "remedy": self.remedy,
            "prevented": self.prevented,
            "source": self.source,
        }


def explain(text: str) -> Failure | None:
    """The failure that a text speaks of: a FailureReason, an error of AWS, or lines of a log.

    Where it speaks of several, the first of the table counts: what caused the others stands before them.
    None where it speaks of none, which says nothing about the job.
    """
    return next((failure for failure in failures() if failure.pattern.search(text)), None)


def table() -> list[dict[str, Any]]:
    """All failures as rows: number, message, cause, remedy, prevented, source."""
    return [failure.to_json() for failure in failures()]


@lru_cache
def failures() -> tuple[Failure, ...]:
    """All that are known, in the order of their numbers."""
    rows = tomllib.loads(read_template("training-failures.toml"))["failure"]
    return tuple(Failure(**{**row, "pattern": _compiled(row["pattern"])}) for row in rows)


def _compiled(pattern: str) -> re.Pattern[str]:
    # Logs break lines and reports were typed off, so any white space stands for any other.
    spaced = pattern.replace(" ?", r"\s*").replace(" ", r"\s+")
    return re.compile(spaced, re.IGNORECASE)
