"""What a check of a training job says, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from gtlabel.errors import TrainingDataError

Level = Literal["warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        check: the check's name.
        level: `error` for what the job would fail for, or learn nonsense from; `warning` for the rest.
        sentence: what was found, where, and what follows from it.
        fix: what to do about it.
    """

    check: str
    level: Level
    sentence: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.sentence}; {self.fix}" if self.fix else self.sentence


def refuse_errors(findings: Iterable[Finding]) -> tuple[str, ...]:
    """The warnings among them, as sentences.

    Raises:
        TrainingDataError: if there are errors, with a sentence for each.
    """
    listed = list(findings)
    errors = [str(finding) for finding in listed if finding.level == "error"]
    if errors:
        raise TrainingDataError(errors)
    return tuple(str(finding) for finding in listed)
