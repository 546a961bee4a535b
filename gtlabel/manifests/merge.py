"""Many words about one picture become one: which label holds when jobs disagree."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

_JOB_PREFIX = "labeling-job/"

# How to settle on one label where jobs disagree; `decide` says what each means.
Policy = Literal["newest", "human", "confidence", "adjustment", "votes", "refuse"]
POLICIES: tuple[Policy, ...] = get_args(Policy)

# A line has an end, and a camera that was covered took ten thousand pictures of the same bytes.
_NAMED = 50

# The jobs that looked again at what another job had labeled: the later one and the one it adjusts.
Adjustments = Collection[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Label:
    """The class that one job gave one picture.

    Attributes:
        image: the address of the picture that people looked at.
        class_name: the class, by the name it has in the dataset.
        job: the job's bare name; None where the line does not say.
        confidence: what the job says; comparable within the job only, 0.0 where one worker answered.
        by_human: whether people gave it.
        created: when; None where the line does not say.
        named: what the job called the class.
    """

    image: str
    class_name: str
    job: str | None = None
    confidence: float | None = None
    by_human: bool = True
    created: datetime | None = None
    named: str | None = None

    def to_json(self, home: str | None = None) -> dict[str, Any]:
        """What a lineage says about it, in AWS's words.

        Args:
            home: the picture of the line; another one's address is told.
        """
        facts: dict[str, Any] = {} if home in (None, self.image) else {"source-ref": self.image}
        facts["class-name"] = self.class_name
        if self.named is not None and self.named != self.class_name:
            facts["renamed-from"] = self.named
        if self.job:
            facts["job-name"] = f"{_JOB_PREFIX}{self.job}"
        if self.confidence is not None:
            facts["confidence"] = self.confidence
        facts["human-annotated"] = "yes" if self.by_human else "no"
        if self.created is not None:
            facts["creation-date"] = self.created.isoformat(timespec="microseconds")
        return facts


@dataclass(frozen=True, slots=True)
class Decision:
    """How the labels of one picture became one.

    Attributes:
        kept: the label that holds.
        agreed: others that said the same, the newest first.
        dropped: those that said something else, the newest first.
        policy: what decided; `newest` where the policy that was asked for had nothing to go by.
        votes: the answers behind the decision by class, where it was voted.
        home: the picture, where labels of others count too.
        also: the addresses of those others: they hold the same bytes.
    """

    kept: Label
    agreed: tuple[Label, ...] = ()
    dropped: tuple[Label, ...] = ()
    policy: Policy = "newest"
    votes: Mapping[str, int] | None = None
    home: str | None = None
    also: tuple[str, ...] = ()

    def lineage(self) -> dict[str, Any] | None:
        """What the channel line tells about it; None where there was nothing to decide or to rename."""
        renamed = self.kept.named is not None and self.kept.named != self.kept.class_name
        if not (self.agreed or self.dropped or self.also or renamed):
            return None
        told: dict[str, Any] = {"policy": self.policy, "kept": self.kept.to_json(self.home)}
        if self.votes:
            told["votes"] = dict(self.votes)
        for name, labels in (("agreed", self.agreed), ("dropped", self.dropped)):
            if labels:
                told[name] = [label.to_json(self.home) for label in labels[:_NAMED]]
            if len(labels) > _NAMED:
                told[f"{name}-in-all"] = len(labels)
        if self.also:
            told["same-bytes"] = list(self.also[:_NAMED])
        if len(self.also) > _NAMED:
            told["same-bytes-in-all"] = len(self.also)
        return told


def decide(
    labels: Sequence[Label],
    policy: Policy = "newest",
    *,
    adjustments: Adjustments = (),
    votes: Mapping[str, int] | None = None,
) -> Decision:
    """Settle on one label of a picture; the order of the labels never matters.

    - `newest`: the latest date. A label without a date is older than any with one. Among equally new
      ones people win over machines, then the higher confidence, then the name of the class, and of the
      job, that comes later in the alphabet.
    - `human`: the newest that people gave; the newest of all where none did.
    - `confidence`: the highest confidence, then the newest. None, and the 0.0 that a single worker's
      label carries (contract/ground-truth.md §5.4), come last. AWS advises against comparing jobs by it.
    - `adjustment`: labels give way to those of a job that looked at them again; the newest of the rest.
    - `votes`: the class with most answers of all jobs together. Of classes with equally many the one
      whose label is newest holds, then the first in the alphabet. Without answers, the newest.
    - `refuse`: the newest, but the caller refuses to go on where something was dropped.

    Args:
        labels: those of one picture, at least one.
        policy: by what to decide.
        adjustments: which job looked again at which other one's labels.
        votes: the answers of all workers about this picture, by class.
    """
    ranked = sorted(labels, key=newness, reverse=True)
    kept, by = ranked[0], policy
    if policy == "human":
        kept = next((label for label in ranked if label.by_human), kept)
    elif policy == "confidence":
        # The first of equals is the newest.
        kept = max(ranked, key=lambda label: label.confidence or 0.0)
    elif policy == "adjustment":
        given = {label.job for label in ranked}
        outdated = {old for new, old in adjustments if new in given and new != old}
        kept = next((label for label in ranked if label.job not in outdated), kept)
    elif policy == "votes":
        if votes:
            kept = _elected(ranked, votes)
        else:
            by = "newest"
    others = [label for label in ranked if label is not kept]
    return Decision(
        kept,
        tuple(label for label in others if label.class_name == kept.class_name),
        tuple(label for label in others if label.class_name != kept.class_name),
        by,
        votes if policy == "votes" else None,
    )


def newness(label: Label) -> tuple[datetime, bool, float, str, str, str]:
    """What to sort labels of one picture by, so that the newest comes last."""
    confidence = -1.0 if label.confidence is None else label.confidence
    names = label.class_name, label.job or "", label.named or ""
    return label.created or datetime.min, label.by_human, confidence, *names


def _elected(ranked: Sequence[Label], votes: Mapping[str, int]) -> Label:
    most = max(votes.values())
    tied = [name for name in votes if votes[name] == most]
    for label in ranked:
        if label.class_name in tied:
            return label
    # Together the answers can favor a class that no job by itself settled on.
    share = round(most / sum(votes.values()), 2)
    return Label(ranked[0].image, min(tied), None, share, by_human=True, created=ranked[0].created)
