"""One of many simulated people: takes tasks, looks at them, and says what it sees or gives them back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from gtlabel.emulator.habits import Habits
from gtlabel.emulator.opinions import Minds, Truth, truth_of
from gtlabel.emulator.shifts import Shift
from gtlabel.emulator.summary import WorkerSummary
from gtlabel.emulator.workerclient import Patience, WorkerClient
from gtlabel.errors import EmulatorError

_RUNNING = ("Initializing", "InProgress", "Stopping")
_SINGLE, _MULTI = "crowd-image-classifier", "crowd-image-classifier-multi-select"
# Unless it is asked for, tasks are forgotten only where their time limit is this short, for it is waited for.
_FORGOTTEN = 0.05
_SHORT_SECONDS = 5.0
_USUAL_PACE = 4.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.25

# The name of a job, and what the API says of a task of it.
Task = tuple[str, dict[str, Any]]


class Crowd:
    """What the workers share."""

    def __init__(
        self,
        url: str,
        jobs: Sequence[str],
        names: Sequence[str],
        truth: Truth,
        minds: Minds,
        habits: Habits,
        on_progress: Callable[[int], None] | None,
        on_notice: Callable[[str], None],
    ) -> None:
        self.url = url
        self.jobs = jobs
        self.truth = truth
        self.minds = minds
        self.habits = habits
        self.over = threading.Event()
        self.patience = Patience(habits.patience, self.over, on_notice)
        self.began = time.monotonic()
        self.start = datetime.now(UTC)
        self.summaries = [
            WorkerSummary(name, minds.character(number).value) for number, name in enumerate(names)
        ]
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._answers = 0

    def now(self) -> datetime:
        """The time of people who wait."""
        passed = (time.monotonic() - self.began) * (self.habits.speedup or 1)
        return self.start + timedelta(seconds=passed)

    def decliners(self, image: str, wanted: int) -> frozenset[int]:
        """Who may decline an image, so few that enough remain for it to be labeled."""
        workers = len(self.summaries)
        most = max(0, min(workers - wanted, wanted - 1))
        fate = Random(f"{self.minds.seed}/{image}/decliners")  # noqa: S311 - people, not secrets
        return frozenset(fate.sample(range(workers), most))

    def check(self, job: str, task: Mapping[str, Any]) -> None:
        """Look whether the job can be answered by these people."""
        if len(self.summaries) < task["workers_per_object"]:
            raise EmulatorError(
                f"the job {job!r} wants {task['workers_per_object']} different workers for each image; "
                f"{len(self.summaries)} can never finish it"
            )
        if task.get("kind", _SINGLE) not in (_SINGLE, _MULTI):
            raise EmulatorError(
                f"the job {job!r} has a page of its own, which simulated people cannot read; "
                "answer it through the workers' API"
            )

    def answered(self) -> None:
        """Somebody gave an answer."""
        with self._lock:
            self._answers += 1
            if self._on_progress:
                self._on_progress(self._answers)


class Person:
    """One of the workers."""

    def __init__(self, crowd: Crowd, number: int, name: str, token: str | None) -> None:
        self._crowd = crowd
        self._number = number
        self._name = name
        self._habits = crowd.habits
        self._client = WorkerClient(crowd.url, crowd.patience, token)
        self._done = crowd.summaries[number]
        self._character = crowd.minds.character(number)
        self._shift = Shift(
            seed=crowd.minds.seed,
            worker=name,
            now=crowd.start,
            pace=self._habits.pace or _USUAL_PACE,
            fatigue=self._habits.fatigue,
            hours=self._habits.hours,
        )
        self._jobs = list(crowd.jobs)
        self._seen: set[tuple[str, int]] = set()
        # What is in their hands: the task being done, and those that answers which got lost had brought.
        self._held: str | None = None
        self._found: list[Task] = []

    def work(self) -> None:
        """Be that worker until all jobs are over."""
        pause, task = _FIRST_PAUSE, None
        try:
            while self._jobs and not self._crowd.over.is_set():
                if self._client.unsure:
                    self._look_around(task)
                if task is None:
                    self._rest()
                    task = self._find()
                if task is not None:
                    task = self._do(*task)
                    pause = _FIRST_PAUSE
                elif self._jobs:
                    self._crowd.over.wait(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
        except BaseException:
            self._crowd.over.set()
            raise
        finally:
            leases = [self._held, *(task["lease"] for _, task in self._found)]
            with suppress(EmulatorError):
                for lease in filter(None, leases):
                    self._client.ask("release", {"lease": lease})
            self._client.close()

    def _rest(self) -> None:
        """Take the break that is due, or go home and come back."""
        shift, crowd = self._shift, self._crowd
        if self._habits.waits:
            shift.rest(max(0.0, (crowd.now() - shift.now).total_seconds()))
        seconds = shift.pause()
        if seconds:
            if self._habits.waits:
                crowd.over.wait(seconds / (self._habits.speedup or 1))
            shift.rest(seconds)

    def _look_around(self, doing: Task | None) -> None:
        """See what the worker holds without knowing: what came with an answer that got lost.

        Also what an earlier run left that was killed.
        """
        self._client.unsure = False
        told = self._client.ask("held", {"worker": self._name}) or {"tasks": []}
        known = doing[1]["lease"] if doing else None
        self._found = [
            (task["job"], task)
            for task in told["tasks"]
            if task["job"] in self._jobs and task["lease"] != known and not task["stopped"]
        ]

    def _find(self) -> Task | None:
        """Ask for a task, of the first job that has one; forget jobs that are over."""
        while self._found:
            job, task = self._found.pop()
            if self._take(job, task):
                return job, task
        for job in tuple(self._jobs):
            if self._crowd.over.is_set():
                return None
            told = self._client.ask("lease", {"job": job, "worker": self._name})
            if told is not None and self._take(job, told):
                return job, told
        return None

    def _take(self, job: str, told: dict[str, Any]) -> bool:
        """Look at what was offered; say whether it is a task."""
        self._held = told["lease"]
        self._crowd.check(job, told)
        if self._held is None and told["job_status"] not in _RUNNING:
            self._jobs.remove(job)
        return self._held is not None

    def _do(self, job: str, task: dict[str, Any]) -> Task | None:
        """Do something about a task; return the next one if it came with the thanks for this one."""
        crowd, habits, image = self._crowd, self._habits, task["source_ref"]
        several = task["kind"] == _MULTI
        right = truth_of(crowd.truth, image, task["classes"], several=several)
        lease = {"lease": task["lease"]}
        first = (job, task["object"]) not in self._seen
        self._seen.add((job, task["object"]))
        mood = self._dice(image, "mood").random()
        if mood < habits.declines and self._number in crowd.decliners(image, task["workers_per_object"]):
            self._give_back("decline", lease)
            return None
        if first and mood > 1 - habits.releases:
            self._give_back("release", lease)
            return None
        if first and mood > 1 - habits.releases - self._abandons(task):
            self._held = None
            self._done.forgotten += 1
            return None

        seconds = self._shift.decision(image)
        if not self._look(task, seconds):
            return None
        said = self._opinion(task, right)
        self._shift.work(seconds)
        choice = {"labels": said} if several else {"label": said}
        body: dict[str, Any] = {**lease, "answer": {task["kind"]: choice}}
        if habits.waits:
            body["active_seconds"] = round(seconds, 3)
        if not self._shift.pause():
            body["next"] = True
        told = self._client.ask("submit", body)
        self._held = None
        if told is None:
            self._done.late += 1
            return None
        self._done.answers += 1
        self._done.right += set(said) == set(right) if several else said == right
        crowd.answered()
        following = told.get("next")
        if following is None or following["lease"] is None:
            return None
        self._held = following["lease"]
        return job, following

    def _opinion(self, task: dict[str, Any], right: str | list[str]) -> str | list[str]:
        minds, about = self._crowd.minds, (self._name, self._character, task["source_ref"], task["classes"])
        if isinstance(right, str):
            return minds.opinion(*about, right, self._shift.tiredness)
        return minds.opinions(*about, right, self._shift.tiredness)

    def _abandons(self, task: dict[str, Any]) -> float:
        """How often the worker forgets such a task."""
        if self._habits.abandons is not None:
            return self._habits.abandons
        limit = datetime.fromisoformat(task["expires"]) - datetime.fromisoformat(task["accepted"])
        return _FORGOTTEN if limit.total_seconds() <= _SHORT_SECONDS else 0.0

    def _give_back(self, action: str, lease: dict[str, Any]) -> None:
        told = self._client.ask(action, lease)
        self._held = None
        if told is None:
            self._done.late += 1
        elif action == "decline":
            self._done.declined += 1
        else:
            self._done.released += 1

    def _look(self, task: dict[str, Any], seconds: float) -> bool:
        """Look at an image, as a page does that keeps its task; False when work is over."""
        if not self._habits.waits:
            return True
        limit = datetime.fromisoformat(task["expires"]) - datetime.fromisoformat(task["accepted"])
        left, beat = seconds / (self._habits.speedup or 1), max(limit.total_seconds() / 3, 0.1)
        while left > beat:
            if self._crowd.over.wait(beat):
                return False
            left -= beat
            self._client.ask("heartbeat", {"lease": task["lease"]})
        return not self._crowd.over.wait(left)

    def _dice(self, *about: str) -> Random:
        seed = str(self._crowd.minds.seed)
        return Random("/".join((seed, self._name, *about)))  # noqa: S311 - people, not secrets
