"""What is wrong with a manifest, line by line, found before it costs anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gtlabel.manifests.lines import read_records


class Severity(StrEnum):
    """How bad it is: an error stops a job or falsifies a dataset, a warning may, a note does neither."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        manifest: the manifest, as the caller calls it.
        line: its number, from 1; None where it is about the whole.
        field: the key it is about; None where it is about the whole line.
        severity: how bad it is.
        rule: a name to refer to it by.
        sentence: what is wrong, and where there is one the next step.
    """

    manifest: str
    line: int | None
    field: str | None
    severity: Severity
    rule: str
    sentence: str

    def __str__(self) -> str:
        """As `grep` and compilers write it: `FILE:LINE: SEVERITY: SENTENCE [RULE]`."""
        where = self.manifest if self.line is None else f"{self.manifest}:{self.line}"
        return f"{where}: {self.severity}: {self.sentence} [{self.rule}]"


def lint(
    lines: Iterable[bytes],
    manifest: str,
    *,
    attribute: str | None = None,
    classes: Sequence[str] | None = None,
) -> Iterator[Finding]:
    """Yield what is wrong with a manifest, holding one line at a time.

    Args:
        lines: an open file, or the lines of an S3 object.
        manifest: what to call it.
        attribute: the attribute whose labels are looked at; by default all that jobs wrote.
        classes: the class list of that attribute's job, against which integers are checked.
    """
    bad: list[Finding] = []

    def keep(number: int, line: bytes, reason: str) -> None:
        bad.append(Finding(manifest, number, None, Severity.ERROR, "record", reason))

    for _ in read_records(lines, manifest, on_bad=keep):
        yield from bad
        bad.clear()
    yield from bad
