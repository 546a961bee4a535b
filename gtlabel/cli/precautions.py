"""A look at what a labeling job leans on, before it is started."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gtlabel.cli.output import say

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.labeling.preflight import Subject


def look_before(aws: Aws, subject: Subject, *, force: bool) -> None:
    """Say what was found, and stop at an error; forced, say that too and go on.

    What these credentials could not look at is passed over here; `gtlabel doctor` tells of it.

    Raises:
        PreflightError: if the job would fail, with what would put it right.
    """
    from gtlabel.labeling.preflight import check, refuse

    findings = [
        replace(finding, sentence=f"{finding.sentence}; to fix it: {finding.fix}") if finding.fix else finding
        for finding in check(aws, subject)
        if finding.checked
    ]
    for finding in findings:
        if finding.level == "warning" or (finding.level == "error" and force):
            say(f"{finding.level}: {finding.sentence}")
    if not force:
        refuse(findings)
