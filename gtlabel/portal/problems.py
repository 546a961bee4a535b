"""What is wrong with a worker template, in words that a program and a person understand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with a template, or hardly ever meant.

    Attributes:
        code: what kind of problem it is: see `gtlabel.portal.lint`.
        line: the line of the template, counted from 1; None where no line is to blame.
        sentence: what it is, without its place.
    """

    severity: Severity
    code: str
    line: int | None
    sentence: str

    def __str__(self) -> str:
        return self.sentence if self.line is None else f"line {self.line}: {self.sentence}"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A template with a task's data in it; empty when there are problems that are errors."""

    content: str
    errors: list[Problem]
