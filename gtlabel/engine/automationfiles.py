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

_NOT_USED = "the model {} was not used: everything was learned anew from what people said in this job"


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


def report(job: Job, summaries: Sequence[Mapping[str, Any]], states: Mapping[str, int]) -> bytes:
    """The report of a job, as JSON."""
    return json.dumps(facts_of(job, summaries, states), ensure_ascii=False, indent=2).encode() + b"\n"


def facts_of(job: Job, summaries: Sequence[Mapping[str, Any]], states: Mapping[str, int]) -> dict[str, Any]:
    """What is to be told of automated labeling.

    Args:
        job: the job.
        summaries: those of its rounds so far.
        states: how many of its images are in which state.

    Returns:
        `settings` (target, risk, seed), `notes`, sentences about what is odd about them, `people_labeled` and
        `machine_labeled`; `promise` (precision, risk, sample, wrong), `baseline` (people, promised,
        instead_of) and `audit` (sample, wrong, precision, at_least, holds, why), each None until there is
        one; `withdrawn`, whether the audit took the machine's labels back; `why`, one sentence; and `rounds`,
        all summaries, also those from before a machine began to learn anew.
    """
    settings = dict(job.spec.automation or {})
    anew = [place for place, each in enumerate(summaries) if "anew" in each]
    current = summaries[anew[-1] :] if anew else summaries
    labeled = next((each for each in current if each["machine_labeled"]), None)
    withdrawn = any(each["withdrawn"] for each in current)
    return {
        "settings": settings,
        "notes": [_NOT_USED.format(settings["initial_model"])] if "initial_model" in settings else [],
        "people_labeled": states.get("labeled", 0),
        "machine_labeled": states.get(BY_MACHINE, 0),
        "promise": labeled["promise"] if labeled else None,
        "baseline": labeled["baseline"] if labeled else None,
        "audit": next((each["audit"] for each in current if "audit" in each), None),
        "withdrawn": withdrawn,
        "why": _why(current, labeled, withdrawn=withdrawn),
        "rounds": list(summaries),
    }


def _why(
    summaries: Sequence[Mapping[str, Any]], labeled: Mapping[str, Any] | None, *, withdrawn: bool
) -> str:
    """One sentence about where it stands."""
    if withdrawn:
        return "the audit refuted the promise, so the machine's labels were taken back and people label all"
    if labeled is not None:
        return str(labeled["why"])
    said = [each["why"] for each in summaries if "why" in each]
    return str(said[-1]) if said else "nothing was decided yet"
