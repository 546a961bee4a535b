"""What a labeling job is to the engine: values that the board, the foreman and their callers hand around."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from gtlabel.uris import S3Uri

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Kind(StrEnum):
    """What workers are asked; the value is the element of the worker page that carries the answer.

    A custom page asks what it likes; its answers are handed through as they are.
    """

    SINGLE = "crowd-image-classifier"
    MULTI = "crowd-image-classifier-multi-select"
    CUSTOM = "custom"


class Status(StrEnum):
    """Where a job stands, in Ground Truth's words (contract/ground-truth.md 3.1)."""

    INITIALIZING = "Initializing"
    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPING = "Stopping"
    STOPPED = "Stopped"

    @property
    def ended(self) -> bool:
        """Whether nothing will happen any more."""
        return self in (Status.COMPLETED, Status.FAILED, Status.STOPPED)


class Receipt(StrEnum):
    """What became of an answer; whatever it is, the answer is on disk."""

    #: It counts.
    TAKEN = "taken"
    #: The same answer was there before, under the same lease.
    KNOWN = "known"
    #: It came when nobody waited for it any more; it counts if a place gets free.
    SURPLUS = "surplus"


@dataclass(frozen=True, slots=True)
class JobKey:
    """The name of a job, and the account and region it is unique in, whatever the case of its letters."""

    account: str
    region: str
    name: str


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a job was asked to do; it never changes.

    Attributes:
        attribute: the key its labels get in the output manifest.
        manifest: the input manifest; a streaming job may go without.
        class_list: the label category configuration, `{"labels": [{"label": ...}, ...]}`; a custom job may
            go without.
        output: the folder below which the job writes a folder of its own name.
        workers_per_object: how many different workers look at each image.
        task_seconds: how long a worker may take for one image.
        availability_seconds: how long an image is offered before it counts as failed.
        max_concurrent: how many images are out at once.
        max_labeled: stop when so many images are labeled by people.
        max_percentage: stop when this share of the input has a label.
        template: the worker page; when it is given, it must exist and hold the element of this kind.
        request: what the caller wants to find again; the engine only keeps it.
        streaming: whether objects are added while the job runs, which ends when it is stopped.
        announced: whether each label is to be told somebody: see `gtlabel.engine.stream`.
        team: the ARN of the work team that is asked; empty for anyone.
        pre: the name of the function that turns a record into what the worker page gets, if there is one.
        post: the name of the function that turns the answers into labels, if there is one.
        consensus: how answers become labels: `auto`, another method over the whole job that
            `gtlabel.crowd.methods` has, or `aws` for each batch by itself.
        redundancy: how many answers an image gets to begin with, and when there are enough, as
            `gtlabel.crowd.redundancy` reads it; None where each gets `workers_per_object`.
        gold: a manifest with the classes of some of its images, which it is to be measured by; see
            `gtlabel.engine.gold`.
        automation: what `gtlabel.engine.automation.Settings` has, where a machine labels what it may; None
            where people label everything.
    """

    key: JobKey
    attribute: str
    manifest: S3Uri | None
    class_list: S3Uri | None
    output: S3Uri
    kind: Kind = Kind.SINGLE
    workers_per_object: int = 3
    task_seconds: int = 300
    availability_seconds: int = 2_592_000
    max_concurrent: int = 1000
    max_labeled: int | None = None
    max_percentage: int | None = None
    template: S3Uri | None = None
    request: Mapping[str, Any] = field(default_factory=dict)
    streaming: bool = False
    announced: bool = False
    team: str = ""
    pre: str | None = None
    post: str | None = None
    consensus: str = "auto"
    redundancy: str | None = None
    gold: S3Uri | None = None
    automation: Mapping[str, Any] | None = None

    @property
    def root(self) -> S3Uri:
        """The folder everything this job writes lies in."""
        return self.output / self.key.name

    def to_json(self) -> str:
        """As one JSON text, for the database."""
        values = {name: getattr(self, name) for name in self.__slots__ if name != "key"}
        return json.dumps({**values, "request": dict(self.request)})

    @classmethod
    def from_json(cls, key: JobKey, text: str) -> JobSpec:
        """What `to_json` wrote."""
        # A job that began when there was no other way goes on as it began.
        values = {"consensus": "aws", **json.loads(text)}
        for name in ("manifest", "class_list", "output", "template", "gold"):
            values[name] = S3Uri(values[name]) if values.get(name) is not None else None
        return cls(key=key, **{**values, "kind": Kind(values["kind"])})


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands.

    Attributes:
        number: what the database calls it.
        reason: why it failed; empty otherwise.
        classes: the classes in the order of the class list; empty until that was read, or without one.
        iteration: how many times images were sent out.
    """

    number: int
    spec: JobSpec
    status: Status
    reason: str
    created: datetime
    modified: datetime
    classes: tuple[str, ...]
    iteration: int

    @property
    def key(self) -> JobKey:
        """The job's name, account and region."""
        return self.spec.key

    @property
    def begun(self) -> bool:
        """Whether what it reads was read, so that it has something to write when it is stopped."""
        return bool(self.classes) or self.iteration > 0


@dataclass(frozen=True, slots=True)
class Counters:
    """How many images of a job are where.

    An image counts as labeled once the answers for it are in. Images that came with a label under the job's
    attribute are none of the job's business and count nowhere.
    """

    human_labeled: int = 0
    failed: int = 0
    unlabeled: int = 0
    machine_labeled: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """One image in one worker's hands.

    Attributes:
        lease: what to submit the answer under.
        object: the zero-based line number of the image in the manifest.
        line: the whole record, as the manifest has it.
        accepted: when the worker got it.
        expires: when it goes back to the others.
        workers_per_object: how many different workers look at the image, this one included.
        input: what the job's function made of the record for the worker page, as JSON; None without one.
            `gtlabel.engine.custom.task_input` says what the page gets in either case.
    """

    lease: str
    job: JobKey
    object: int
    source_ref: str
    line: str
    kind: Kind
    classes: tuple[str, ...]
    accepted: datetime
    expires: datetime
    workers_per_object: int
    input: str | None = None
    paused: bool = False


def to_micros(moment: datetime) -> int:
    """Whole microseconds since 1970, as the database keeps times."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    """The moment `to_micros` was given."""
    return _EPOCH + timedelta(microseconds=micros)
