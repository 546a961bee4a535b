"""Looking again at the labels of an earlier job: the page that workers see, and what they said.

AWS has verification and adjustment built in for boxes and masks, and for classes not. Here they are custom
tasks: `PassThrough` hands each manifest line to the page, and all answers to the output manifest, where
nobody has made one label of them yet (contract/ground-truth.md 2.4 and 5.2).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

from gtlabel.errors import ManifestError, TemplateError
from gtlabel.labeling.tasks import TASKS, Task
from gtlabel.manifests.records import ManifestRecord
from gtlabel.templates import fill_template

CORRECT = "correct"
INCORRECT = "incorrect"
_ELSE = f"{INCORRECT}: "

Outcome = Literal["confirmed", "changed", "rejected", "disputed"]


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one worker said about the label of an image.

    Attributes:
        label: the class it should have, in the worker's eyes; None if none of the classes fits.
        comment: what the worker wrote beside it.
    """

    worker: str
    label: str | None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Audit:
    """The second look at one image.

    Attributes:
        before: the class that the earlier job gave it.
        opinions: what each worker said.
    """

    before: str
    opinions: tuple[Opinion, ...]

    @property
    def label(self) -> str | None:
        """The class that most workers named; the earlier one where it is among those named most."""
        return self.before if self.before in self._named_most else self._named_most[0]

    @property
    def agreement(self) -> float:
        """The share of workers who named that class."""
        return sum(opinion.label == self.label for opinion in self.opinions) / len(self.opinions)

    @property
    def outcome(self) -> Outcome:
        """What became of the earlier label: disputed where as many workers wanted something else."""
        if len(self._named_most) > 1:
            return "disputed"
        if self.label is None:
            return "rejected"
        return "confirmed" if self.label == self.before else "changed"

    @property
    def _named_most(self) -> list[str | None]:
        counts = Counter(opinion.label for opinion in self.opinions)
        most = max(counts.values())
        return [label for label, count in counts.items() if count == most]


def audit_page(task: Task, attribute: str, classes: Sequence[str]) -> str:
    """The worker page for a second look at the labels under `attribute` (single-label ones).

    Raises:
        TemplateError: if the task is none of verification and adjustment.
    """
    page = TASKS[task].template
    if page is None or not TASKS[task].audits:
        raise TemplateError(
            f"a {task} task does not look at earlier labels; {Task.VERIFICATION} and {Task.ADJUSTMENT} do"
        )
    choices = list(classes)
    verdicts = [CORRECT, *(f"{_ELSE}{name}" for name in choices), INCORRECT]
    values = {"attribute": attribute, "classes": _in_attribute(choices), "verdicts": _in_attribute(verdicts)}
    return fill_template(page, values)


def read_audit(record: ManifestRecord, attribute: str, audited: str) -> Audit | None:
    """What the job that writes `attribute` found out about a record's `audited` label.

    Returns:
        None for a record that nobody looked at again.

    Raises:
        MissingLabelError: if the record never had an earlier label.
        ManifestError: if the answers are not those of our pages.
    """
    if record.state(attribute) != "labeled":
        return None
    before = record.label(audited).class_name
    value = record.to_json()[attribute]
    answers = value.get("annotationsFromAllWorkers") if isinstance(value, Mapping) else None
    if not before or not isinstance(answers, list) or not answers:
        raise ManifestError(
            f"{record.source_ref}: {attribute!r} holds no answers about the class under {audited!r}"
        )
    return Audit(before, tuple(_opinion(record, answer, before) for answer in answers))


def _opinion(record: ManifestRecord, answer: Any, before: str) -> Opinion:
    try:
        content = json.loads(answer["annotationData"]["content"])
        verification, adjustment = TASKS[Task.VERIFICATION].answer_key, TASKS[Task.ADJUSTMENT].answer_key
        given = content.get(verification) or content[adjustment]
        said, comment, worker = given["label"], given.get("workerComment", ""), answer["workerId"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ManifestError(
            f"{record.source_ref}: an answer is not one of the shipped pages: {answer!r:.200}"
        ) from error
    if verification not in content:
        return Opinion(worker, said, comment)
    if said == CORRECT:
        return Opinion(worker, before, comment)
    return Opinion(worker, said.removeprefix(_ELSE) if said.startswith(_ELSE) else None, comment)


def _in_attribute(choices: Sequence[str]) -> str:
    """A list as it stands in an attribute of a Liquid page, whatever the names hold."""
    text = escape(json.dumps(choices, ensure_ascii=False), quote=True)
    # Braces would be Liquid's; the browser reads these as braces again.
    return text.replace("{", "&#123;").replace("}", "&#125;")
