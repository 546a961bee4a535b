"""Folders of answers as jobs leave them, written by tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

BIRDS = Path(__file__).parent / "recorded" / "ground-truth-job"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)

# Who said what of one picture; several classes where the page lets people choose several.
Said = Sequence[tuple[str, "str | Sequence[str]"]]


def answer(worker: str, said: str | Sequence[str], second: float = 0) -> dict[str, Any]:
    """One answer as today's service writes it."""
    element = {"label": said} if isinstance(said, str) else {"labels": list(said)}
    moment = (NOON + timedelta(seconds=second)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "workerId": worker,
        "answerContent": {"crowd-image-classifier": element},
        "submissionTime": moment,
        "timeSpentInSeconds": 4.5,
    }


def response(root: Path, number: int, answers: Sequence[Mapping[str, Any]], iteration: int = 1) -> Path:
    """Write the answers about one picture."""
    folder = root / f"annotations/worker-response/iteration-{iteration}/{number}"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"2026-11-22_12-00-{len(list(folder.iterdir())):02}.json"
    file.write_text(json.dumps({"answers": list(answers)}))
    return file


def job(
    root: Path,
    said: Mapping[int, Said],
    labels: Sequence[str | None] = (),
    classes: Sequence[str] = (),
    attribute: str = "bin",
) -> Path:
    """Write what a job leaves: answers by the number of their picture, and a manifest of labels.

    Args:
        root: the job's folder.
        said: the answers.
        labels: what the job settled on, line by line; None where it failed.
        classes: its class list.
        attribute: the key of the labels.
    """
    for number, answers in said.items():
        given = [answer(worker, what, number * 10 + n) for n, (worker, what) in enumerate(answers)]
        response(root, number, given)
    lines = []
    for number, name in enumerate(labels):
        line: dict[str, Any] = {"source-ref": f"s3://trash/{number}.jpg"}
        meta: dict[str, Any] = {"job-name": f"labeling-job/{root.name.lower()}", "human-annotated": "yes"}
        if name is None:
            meta |= {"failure-reason": "nobody came", "human-annotated": "true"}
        else:
            line[attribute] = classes.index(name)
            kind = "groundtruth/image-classification"
            meta |= {"confidence": 0.95, "class-name": name, "type": kind}
            meta["creation-date"] = "2026-11-22T12:30:00.000000"
        lines.append(json.dumps({**line, f"{attribute}-metadata": meta}))
    if lines:
        folder = root / "manifests/output"
        folder.mkdir(parents=True)
        (folder / "output.manifest").write_text("\n".join(lines) + "\n")
    return root
