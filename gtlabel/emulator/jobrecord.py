"""A training job as the control plane remembers it: one document on the shelf, and its steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gtlabel.emulator.api import Context
from gtlabel.emulator.shelf import Shelf
from gtlabel.training.failurefile import LONGEST

KIND = "training-job"
RUNNING = frozenset({"InProgress", "Stopping"})
_WAITING = ("Starting", "Interrupted")  # steps without a machine


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended.

    Attributes:
        status: `Completed`, `Failed` or `Stopped`.
        secondary: the same, or `MaxRuntimeExceeded`, or `MaxWaitTimeExceeded`.
        message: what the last transition says.
        reason: why it failed.
    """

    status: str
    secondary: str
    message: str
    reason: str = ""

    @classmethod
    def failed(cls, reason: str) -> Outcome:
        """A job that failed, for a reason cut to what the service shows."""
        return cls("Failed", "Failed", "Training job failed", reason[:LONGEST])

    @classmethod
    def failed_with(cls, reason: str, code: int) -> Outcome:
        """A job that failed because its program did; the exit code is shown however long the reason is."""
        tail = f", exit code: {code}"
        return cls.failed(reason[: LONGEST - len(tail)] + tail)


COMPLETED = Outcome("Completed", "Completed", "Training job completed")
STOPPED = Outcome("Stopped", "Stopped", "Training job stopped")
OUT_OF_TIME = Outcome("Stopped", "MaxRuntimeExceeded", "Training job runtime exceeded MaxRuntimeInSeconds")
OUT_OF_WAIT = Outcome(
    "Stopped", "MaxWaitTimeExceeded", "Training job wait time and runtime exceeded MaxWaitTimeInSeconds"
)
# No end: another machine goes on where this one was taken away.
INTERRUPTED = Outcome(
    "InProgress",
    "Interrupted",
    "Training job was interrupted because the managed spot training instances were taken away",
)


class JobRecord:
    """One job's document. Each change is on disk when it returns.

    The document holds the request as `request`, `tags`, `arn`, `artifact`, and what happened: `status`,
    `secondary`, `reason`, `created`, `started`, `ended`, `modified` (ISO times or None), `transitions`
    and `metrics`. `reuse` says which later job took over its machine (`job`, `time`).
    """

    def __init__(self, shelf: Shelf, context: Context, name: str, clock: Callable[[], datetime]) -> None:
        self.name = name
        self._shelf = shelf
        self._context = context
        self._clock = clock

    @property
    def arn(self) -> str:
        """The job's ARN."""
        return self._context.arn("sagemaker", f"training-job/{self.name}")

    def create(self, request: Mapping[str, Any], artifact: str) -> bool:
        """Write down a new job; say no when there is one of that name."""
        now = self._now()
        tags = {tag["Key"]: tag["Value"] for tag in request.get("Tags", ())}
        document = {
            "request": {name: value for name, value in request.items() if name != "Tags"},
            "tags": tags,
            "arn": self.arn,
            "artifact": artifact,
            "status": "InProgress",
            "secondary": "Starting",
            "reason": "",
            "created": now,
            "started": None,
            "ended": None,
            "modified": now,
            "transitions": [_transition("Starting", now, "Preparing the instances for training")],
            "metrics": [],
        }
        return self._shelf.add(self._context, KIND, self.name, document)

    def read(self) -> dict[str, Any] | None:
        """The document; None when there is no such job."""
        return self._shelf.get(self._context, KIND, self.name)

    def enter(self, secondary: str, message: str) -> None:
        """Note that the job came to its next step; one that is being stopped has only its upload left."""
        with self._change() as document:
            if document is not None and (document["status"] != "Stopping" or secondary == "Uploading"):
                now = self._now()
                if secondary not in _WAITING:
                    document["started"] = document["started"] or now
                _enter(document, secondary, now, message)

    def stop(self) -> str | None:
        """Note that the job was asked to stop, if it runs; return the status it had, None without a job."""
        with self._change() as document:
            if document is None:
                return None
            before: str = document["status"]
            if before == "InProgress":
                document["status"] = "Stopping"
                _enter(document, "Stopping", self._now(), "Stopping the training job")
            return before

    def hand_over(self, successor: str) -> None:
        """Note which job took over the machine of this one."""
        with self._change() as document:
            if document is not None:
                document["reuse"] = {"job": successor, "time": self._now()}

    def measure(self, metrics: Mapping[str, tuple[float, datetime]]) -> None:
        """Note the last value of each metric."""
        with self._change() as document:
            if document is not None:
                document["metrics"] = [
                    {"name": name, "value": value, "time": time.isoformat()}
                    for name, (value, time) in metrics.items()
                ]

    def end(self, outcome: Outcome) -> None:
        """Note how the job ended. One that completed while it was being stopped counts as stopped."""
        with self._change() as document:
            if document is None:
                return
            if document["status"] == "Stopping" and outcome is COMPLETED:
                outcome = STOPPED
            now = self._now()
            _enter(document, outcome.secondary, now, outcome.message)
            document["transitions"][-1]["end"] = now
            document.update(status=outcome.status, reason=outcome.reason, ended=now)

    @contextmanager
    def _change(self) -> Iterator[dict[str, Any] | None]:
        with self._shelf.transaction():
            document = self.read()
            yield document
            if document is not None:
                document["modified"] = self._now()
                self._shelf.put(self._context, KIND, self.name, document)

    def _now(self) -> str:
        return self._clock().astimezone(UTC).isoformat()


def training_seconds(document: Mapping[str, Any]) -> int | None:
    """The whole seconds from a job's start to its end, at least one; None when it has not had both."""
    if document["started"] is None or document["ended"] is None:
        return None
    return max(1, math.ceil(_seconds(document["started"], document["ended"])))


def billable_seconds(document: Mapping[str, Any]) -> int | None:
    """The whole seconds that a job had a machine, at least one; None when it has not begun and ended.

    They are those of its training time but the ones in which a spot machine was waited for. What AWS takes
    off for a spot machine's price is not known here.
    """
    if document["started"] is None or document["ended"] is None:
        return None
    waited = sum(
        _seconds(step["start"], step["end"])
        for step in document["transitions"]
        if step["status"] in _WAITING and step["end"] and step["start"] >= document["started"]
    )
    return max(1, math.ceil(_seconds(document["started"], document["ended"]) - waited))


def _seconds(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def _enter(document: dict[str, Any], secondary: str, now: str, message: str) -> None:
    document["transitions"][-1]["end"] = now
    document["transitions"].append(_transition(secondary, now, message))
    document["secondary"] = secondary


def _transition(status: str, start: str, message: str) -> dict[str, Any]:
    return {"status": status, "start": start, "end": None, "message": message}
