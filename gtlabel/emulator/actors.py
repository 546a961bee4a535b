"""People who answer a job in a test: one after the other, in the same order at every run.

They speak the workers' API, over HTTP or in process. Unlike those of `gtlabel.emulator.simulate` they decline
and forget nothing, so that a test can say beforehand what comes out.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from gtlabel.emulator.clock import moment_of
from gtlabel.errors import EmulatorError

if TYPE_CHECKING:
    from gtlabel.emulator.emulator import Emulator

# What one image is: a class, the classes of an image that has several, or the whole answer of a custom page.
Said = str | Sequence[str] | Mapping[str, Any]
# By the address of each image, or the end of it; or a function of the task that a worker got.
Truth = Mapping[str, Said] | Callable[[Mapping[str, Any]], Said]

_SINGLE, _MULTI = "crowd-image-classifier", "crowd-image-classifier-multi-select"
_RUNNING = ("Initializing", "InProgress", "Stopping")
_PAUSE_SECONDS = 0.02


class Account(ABC):
    """The account that a test uses, in process or behind a port."""

    @abstractmethod
    def ask(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Send a request to one of the emulator's own addresses, below `/gtlabel/`."""

    @abstractmethod
    def rest(self) -> None:
        """Let time pass in which jobs can move on."""


class Served(Account):
    """An account behind a port.

    Args:
        url: where the emulator answers.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Send a request to one of the emulator's own addresses, below `/gtlabel/`."""
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{self._url}/gtlabel/{path}", json.dumps(body).encode(), method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def rest(self) -> None:
        """Let time pass in which jobs can move on."""
        time.sleep(_PAUSE_SECONDS)


class InProcess(Account):
    """An account in the process of the test.

    Args:
        emulator: what is behind it.
    """

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def ask(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Send a request to one of the emulator's own addresses, below `/gtlabel/`."""
        from gtlabel.emulator import doors

        return doors.answer(self._emulator, path, body)

    def rest(self) -> None:
        """Let time pass in which jobs can move on."""
        self._emulator.turn()
        time.sleep(_PAUSE_SECONDS / 10)


class Workers:
    """People who answer labeling jobs; the fixture `gtlabel_workers`.

    Args:
        account: gives the account of the test.
    """

    def __init__(self, account: Callable[[], Account]) -> None:
        self._account = account

    def answer(
        self,
        job: str,
        truth: Truth,
        *,
        workers: int = 3,
        accuracy: float = 1.0,
        seed: int = 7,
        answers: int | None = None,
        region: str = "us-east-1",
        timeout: float = 30.0,
    ) -> int:
        """Answer a job until it is over, and return how many answers were given.

        What a worker says of an image depends on the seed, the worker and the image alone.

        Args:
            job: the job's name.
            truth: what each image is, by its address or the end of that; or a function that says it
                of a task (`source_ref`, `classes`, `kind`, `input`, `worker`). It is a class for one label,
                a list of classes for several, the whole answer for a page of one's own.
            workers: how many people there are; they are called `worker-1`, `worker-2` and so on.
            accuracy: how often they are right, from 0 to 1. Of several labels each is right so often.
            seed: decides who errs where.
            answers: leave after so many answers, though the job is not over.
            region: where the job is.
            timeout: seconds to wait when nobody gets a task.

        Raises:
            EmulatorError: if the job does not exist, has nothing to do for these workers, or does not take
                an answer.
        """
        if workers < 1 or not 0 <= accuracy <= 1:
            raise EmulatorError(
                "a job is answered by at least one worker, who is right from 0 to 1 of the time"
            )
        given, until = 0, time.monotonic() + timeout
        while True:
            found = False
            for name in (f"worker-{number + 1}" for number in range(workers)):
                if given == answers:
                    return given
                task = self._ask("lease", {"job": job, "worker": name, "region": region})
                if task["lease"] is None:
                    if task["job_status"] not in _RUNNING:
                        return given
                    continue
                said = _answer(task["kind"], _opinion({**task, "worker": name}, truth, accuracy, seed))
                self._ask("submit", {"lease": task["lease"], "answer": said})
                found, given = True, given + 1
            if found:
                until = time.monotonic() + timeout
            elif time.monotonic() > until:
                raise EmulatorError(
                    f"after {given} answers the job {job!r} is {task['job_status']} and has no task for "
                    f"{workers} workers; it wants {task['workers_per_object']} different ones for each image"
                )
            else:
                self._account().rest()

    def subscribe(self, name: str, *, region: str = "us-east-1", **texts: str) -> str:
        """Subscribe the account to the team of a vendor, and return its ARN.

        Args:
            name: the team's name.
            region: where it is.
            texts: `title`, `seller` and `description`, as the marketplace would show them.

        Raises:
            EmulatorError: if there can be no team like that.
        """
        status, answer = self._account().ask("vendor-team", {"name": name, "region": region, **texts})
        if status != 200:
            raise EmulatorError(str(answer.get("error")))
        return str(answer["arn"])

    def _ask(self, action: str, body: dict[str, Any]) -> dict[str, Any]:
        status, answer = self._account().ask(f"worker/{action}", body)
        if status != 200:
            raise EmulatorError(str(answer.get("error", f"{action} was answered with status {status}")))
        return answer


class Hands:
    """Hands on the clock of a test's account; the fixture `gtlabel_clock`.

    Labeling jobs, teams and training records go by this clock. What boto3 signs and moto dates does not.

    Args:
        account: gives the account of the test.
    """

    def __init__(self, account: Callable[[], Account]) -> None:
        self._account = account

    def now(self) -> datetime:
        """The time in the account."""
        return self._ask({})

    def freeze(self, at: datetime | str | None = None) -> datetime:
        """Stand still, from now on or at some other moment, and return which.

        Raises:
            EmulatorError: if the moment is none, or of no time zone.
        """
        return self._ask({"freeze": None if at is None else moment_of(at).isoformat()})

    def advance(
        self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
    ) -> datetime:
        """Move forward, do what is due then, and return the time that it is then.

        Raises:
            EmulatorError: if that is backward.
        """
        by = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        return self._ask({"advance": by.total_seconds()})

    def reset(self) -> datetime:
        """Go with the machine's time again; each test begins like this."""
        return self._ask({"reset": True})

    def _ask(self, body: dict[str, Any]) -> datetime:
        status, answer = self._account().ask("clock", body)
        if status != 200:
            raise EmulatorError(str(answer.get("error")))
        return datetime.fromisoformat(answer["now"])


def _answer(kind: str, said: Said) -> dict[str, Any]:
    """What a worker page of that kind would send."""
    if kind == _SINGLE and isinstance(said, str):
        return {_SINGLE: {"label": said}}
    if kind == _MULTI and not isinstance(said, Mapping):
        return {_MULTI: {"labels": [said] if isinstance(said, str) else list(said)}}
    if isinstance(said, Mapping):
        return dict(said)
    raise EmulatorError(f"{said!r} is no answer to a task of the kind {kind}")


def _opinion(task: Mapping[str, Any], truth: Truth, accuracy: float, seed: int) -> Said:
    right = truth(task) if callable(truth) else _look_up(truth, task["source_ref"])
    if accuracy == 1:
        return right
    mind = Random(f"{seed}/{task['worker']}/{task['source_ref']}")  # noqa: S311 - people, not secrets
    if isinstance(right, Mapping):
        raise EmulatorError("how to be wrong on a page of one's own only the truth, as a function, can say")
    if isinstance(right, str) and task["kind"] == _SINGLE:
        wrong = [name for name in task["classes"] if name != right]
        return right if mind.random() < accuracy else mind.choice(wrong)
    chosen = {right} if isinstance(right, str) else set(right)
    return [name for name in task["classes"] if (name in chosen) == (mind.random() < accuracy)]


def _look_up(truth: Mapping[str, Said], image: str) -> Said:
    """The truth about an image, which may be named by the end of its address."""
    parts = image.removeprefix("s3://").split("/")
    ends = ("/".join(parts[start:]) for start in range(len(parts)))
    for name in (image, *ends):
        if name in truth:
            return truth[name]
    raise EmulatorError(f"the truth says nothing about {image}")
