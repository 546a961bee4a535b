"""The files that automated labeling leaves: names and bytes; nothing here touches S3 or the database."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gtlabel.engine import output
from gtlabel.engine.entries import Line
from gtlabel.engine.jobs import Job
from gtlabel.engine.rounds import BY_MACHINE, Round, machine_metadata
from gtlabel.uris import S3Uri


def looks_of(job: Job) -> S3Uri:
    """What the pictures look like, in numbers."""
    return job.spec.root / "gtlabel/features.npz"


def report_of(job: Job) -> S3Uri:
    """What is told of the automated labeling of a job."""
    return job.spec.root / "gtlabel/automation.json"


def annotator_output(job: Job, played: Round) -> S3Uri:
    """The labels that a machine gave in a round.

    The folder has a number, that of the iteration whose answers it learned from, and one folder below, which
    is all that programs that read it rely on (contract/ground-truth.md 5.1).
    """
    stamp = played.created.strftime("%Y-%m-%d-%H-%M-%S")
    return job.spec.root / f"activelearning/{played.iteration}/{stamp}/auto_annotator_output.txt"


def annotator_lines(job: Job, played: Round, lines: Mapping[int, str]) -> bytes:
    """One line for each: the number of the image, a space, and its line of the output manifest."""
    made = []
    for number, (label, metadata) in machine_metadata(job, played).items():
        line = Line(number, lines[number], BY_MACHINE, output.compact(label), output.compact(metadata))
        made.append(b"%d %s\n" % (number, output.manifest_line(job.spec.attribute, line)))
    return b"".join(made)


def report(job: Job, played: Sequence[Round], labels: Mapping[int, int]) -> bytes:
    """The report of a job, as JSON."""
    return json.dumps(facts_of(job, played, labels), ensure_ascii=False, indent=2).encode() + b"\n"


def facts_of(job: Job, played: Sequence[Round], labels: Mapping[int, int]) -> dict[str, Any]:
    """What is to be told of automated labeling: settings, promise, audit, and every round.

    Args:
        job: the job.
        played: its rounds so far.
        labels: what people said, by the number of the image.
    """
    labeled = next((each for each in played if each.labeled), None)
    audit = next((each.facts["audit"] for each in played if "audit" in each.facts), None)
    withdrawn = any(each.withdrawn for each in played)
    machine = {number for number, *_ in labeled.labeled} if labeled else set()
    standing = set() if withdrawn else machine - set(labels)
    return {
        "settings": dict(job.spec.automation or {}),
        "people_labeled": len(labels),
        "machine_labeled": len(standing),
        "promise": labeled.facts["promise"] if labeled else None,
        "baseline": labeled.facts["baseline"] if labeled else None,
        "audit": audit,
        "withdrawn": withdrawn,
        "why": _why(played, labeled, withdrawn=withdrawn),
        "rounds": [
            {
                "round": each.number,
                "iteration": each.iteration,
                "moment": each.created.isoformat(),
                "people_had_labeled": each.told,
                "people_asked": len(each.asked) - len(each.audited),
                "audited": len(each.audited),
                "machine_labeled": len(each.labeled),
                **each.facts,
            }
            for each in played
        ],
    }


def _why(played: Sequence[Round], labeled: Round | None, *, withdrawn: bool) -> str:
    """One sentence about where it stands."""
    if withdrawn:
        return "the audit refuted the promise, so the machine's labels were taken back and people label all"
    if labeled is not None:
        return str(labeled.facts["why"])
    said = [each.facts["why"] for each in played if "why" in each.facts]
    return str(said[-1]) if said else "nothing was decided yet"
