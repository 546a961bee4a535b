"""Simulated people, who label over the same HTTP API as a worker page.

What a worker says about an image depends on the seed, the worker and the image alone, not on who was faster.
Like people they decline a few images, give some back and come to them later, and, where tasks time out
within moments, forget one now and then.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

from gtlabel.errors import EmulatorError, EmulatorNotReadyError, ManifestError, ManifestLineError

# The class of each image, by its address or by a path that the address ends in.
Truth = Mapping[str, str]

_DECLINED = 0.05
_RELEASED = 0.03
_FORGOTTEN = 0.05
# How far workers differ from the mean, at most.
_SPREAD = 0.15
# Only time limits this short are waited for.
_SHORT_SECONDS = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.25
_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Summary:
    """What the workers did.

    Attributes:
        answers: answers that were taken.
        declined: tasks given back for good.
        released: tasks given back for now.
        forgotten: tasks left lying until their time was up.
        late: tasks that were gone when the worker came back with them.
    """

    answers: int = 0
    declined: int = 0
    released: int = 0
    forgotten: int = 0
    late: int = 0


def answer(
    url: str,
    job: str,
    workers: int,
    accuracy: float,
    truth: Truth,
    seed: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> Summary:
    """Answer until the job is over, and say what was done.

    Args:
        url: the address of the emulator.
        job: the job's name.
        workers: how many people there are.
        accuracy: how often the average one is right, from 0 to 1; each is a little better or worse.
        truth: the class of every image of the job.
        seed: decides who the workers are.
        on_progress: called with the number of answers so far, by one thread at a time.

    Raises:
        EmulatorError: if the job does not exist, wants more workers than there are, or shows an image
            that `truth` does not know.
        EmulatorNotReadyError: if nothing answers at `url`.
    """
    if workers < 1:
        raise EmulatorError(f"{workers} workers cannot answer; at least one is needed")
    if not 0 <= accuracy <= 1:
        raise EmulatorError(f"an accuracy of {accuracy} cannot be; give a share from 0 to 1")
    crowd = _Crowd(url, job, workers, accuracy, truth, seed, on_progress)
    with ThreadPoolExecutor(workers, thread_name_prefix="worker") as pool:
        try:
            running = [pool.submit(crowd.work, number) for number in range(workers)]
            for each in running:
                each.result()
        finally:
            crowd.over.set()
    return Summary(**crowd.count)


def read_truth(path: Path) -> dict[str, str]:
    """Read the classes of images: JSON Lines with `class`, and with `source-ref` or `image` to say of which.

    Raises:
        ManifestError: if the file cannot be read, or is empty.
        ManifestLineError: at the first line that is not of that form, or contradicts an earlier one.
    """
    truth: dict[str, str] = {}
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ManifestLineError(str(path), number, f"it is not JSON: {error}") from error
        values = record if isinstance(record, dict) else {}
        image, name = values.get("source-ref", values.get("image")), values.get("class")
        if not isinstance(image, str) or not isinstance(name, str):
            raise ManifestLineError(str(path), number, 'it needs "source-ref" and "class", both texts')
        if truth.setdefault(image, name) != name:
            raise ManifestLineError(str(path), number, f"{image} was {truth[image]!r} before and is {name!r}")
    if not truth:
        raise ManifestError(f"{path} holds no line with the class of an image")
    return truth


class _Crowd:
    """What the workers share."""

    def __init__(
        self,
        url: str,
        job: str,
        workers: int,
        accuracy: float,
        truth: Truth,
        seed: int,
        on_progress: Callable[[int], None] | None,
    ) -> None:
        self._url = url
        self._job = job
        self._workers = workers
        self._accuracy = accuracy
        self._truth = truth
        self._seed = seed
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self.over = threading.Event()
        self.count = dict.fromkeys(("answers", "declined", "released", "forgotten", "late"), 0)

    def work(self, number: int) -> None:
        """Be one of the workers until the job is over."""
        worker, pause = f"worker-{number + 1}", _FIRST_PAUSE
        seen: set[int] = set()
        api = _Api(self._url)
        try:
            while not self.over.is_set():
                task = api.lease(self._job, worker)
                self._check_enough(task)
                self._check_kind(task)
                if task["lease"] is not None:
                    self._do(api, worker, number, task, first=task["object"] not in seen)
                    seen.add(task["object"])
                    pause = _FIRST_PAUSE
                elif task["job_status"] in ("Initializing", "InProgress"):
                    self.over.wait(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
                else:
                    return
        except BaseException:
            self.over.set()
            raise
        finally:
            api.close()

    def _do(self, api: _Api, worker: str, number: int, task: dict[str, Any], *, first: bool) -> None:
        image, classes = task["source_ref"], task["classes"]
        right = self._class_of(image, classes)
        mood = Random(f"{self._seed}/{worker}/{image}/mood").random()  # noqa: S311 - people, not secrets
        lease = {"lease": task["lease"]}
        if number in self._may_decline(image, task["workers_per_object"]) and mood < _DECLINED:
            self._add("declined" if api.accepts("decline", lease) else "late")
            return
        if first and mood > 1 - _RELEASED:
            self._add("released" if api.accepts("release", lease) else "late")
            return
        short = datetime.fromisoformat(task["expires"]) - datetime.fromisoformat(task["accepted"])
        if first and mood > 1 - _RELEASED - _FORGOTTEN and short.total_seconds() <= _SHORT_SECONDS:
            self._add("forgotten")
            return
        said = _opinion(self._seed, worker, self._accuracy, image, classes, right)
        choice = {"label": said} if task["kind"] == "crowd-image-classifier" else {"labels": [said]}
        said_so = api.accepts("submit", {**lease, "answer": {task["kind"]: choice}})
        self._add("answers" if said_so else "late")

    def _class_of(self, image: str, classes: Sequence[str]) -> str:
        """The truth about an image, which may name it by the end of its address."""
        parts = image.removeprefix("s3://").split("/")
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        right = next((self._truth[name] for name in (image, *ends) if name in self._truth), None)
        if right is None:
            raise EmulatorError(f"the truth says nothing about {image}; add a line for it")
        if right not in classes:
            raise EmulatorError(
                f"the truth calls {image} {right!r}; the classes of the job are {', '.join(classes)}"
            )
        return right

    def _may_decline(self, image: str, wanted: int) -> frozenset[int]:
        """Who may decline an image, so few that enough remain for it to be labeled."""
        most = max(0, min(self._workers - wanted, wanted - 1))
        fate = Random(f"{self._seed}/{image}/decliners")  # noqa: S311 - people, not secrets
        return frozenset(fate.sample(range(self._workers), most))

    def _check_enough(self, task: dict[str, Any]) -> None:
        if self._workers < task["workers_per_object"]:
            raise EmulatorError(
                f"the job {self._job!r} wants {task['workers_per_object']} different workers for each image; "
                f"{self._workers} can never finish it"
            )

    def _check_kind(self, task: dict[str, Any]) -> None:
        if task.get("kind") == "custom":
            raise EmulatorError(
                f"the job {self._job!r} has a page of its own, which simulated people cannot read; "
                "answer it through the workers' API"
            )

    def _add(self, what: str) -> None:
        with self._lock:
            self.count[what] += 1
            if what == "answers" and self._on_progress:
                self._on_progress(self.count[what])


def _opinion(seed: int, worker: str, accuracy: float, image: str, classes: Sequence[str], right: str) -> str:
    """What a worker thinks an image is."""
    nature = Random(f"{seed}/{worker}")  # noqa: S311 - people, not secrets
    margin = min(_SPREAD, accuracy, 1 - accuracy)
    skill = accuracy + nature.uniform(-margin, margin)
    mind = Random(f"{seed}/{worker}/{image}")  # noqa: S311 - people, not secrets
    others = [name for name in classes if name != right]
    if mind.random() < skill:
        return right
    # Some classes are taken for each other more often than others, by everybody.
    likeness = [Random(f"{seed}/{right}/{name}").random() ** 2 + 0.05 for name in others]  # noqa: S311
    return mind.choices(others, likeness)[0]


class _Api:
    """The workers' API over one connection that is kept open."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._url = url
        self._base = parts.path.rstrip("/")
        self._connection = HTTPConnection(parts.hostname or "", parts.port or 80, timeout=_TIMEOUT_SECONDS)

    def lease(self, job: str, worker: str) -> dict[str, Any]:
        """Ask for a task.

        Raises:
            EmulatorError: with the emulator's sentence.
            EmulatorNotReadyError: if nothing answers.
        """
        return self._call("lease", {"job": job, "worker": worker})[1]

    def accepts(self, action: str, body: dict[str, Any]) -> bool:
        """Give a task back or answer it; False when it is not in the worker's hands any more.

        That happens to people, too: a time limit passes, or the job is stopped.

        Raises:
            EmulatorError: with the emulator's sentence, if it is about anything else.
            EmulatorNotReadyError: if nothing answers.
        """
        return self._call(action, body, 409)[0] == 200

    def _call(self, action: str, body: dict[str, Any], *expected: int) -> tuple[int, dict[str, Any]]:
        status, answered = self._send(f"{self._base}/gtlabel/worker/{action}", json.dumps(body).encode())
        if status not in (200, *expected):
            raise EmulatorError(str(answered.get("error", f"{action} was answered with status {status}")))
        return status, answered

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _send(self, path: str, content: bytes) -> tuple[int, dict[str, Any]]:
        try:
            try:
                return self._exchange(path, content)
            except (OSError, HTTPException):
                # A server may hang up between two requests; each request here may be sent twice.
                self._connection.close()
                return self._exchange(path, content)
        except (OSError, HTTPException) as error:
            raise EmulatorNotReadyError(
                f"no emulator answers at {self._url} ({error}); start one with `gtlabel local up`"
            ) from error
        except ValueError as error:
            raise EmulatorNotReadyError(f"what answers at {self._url} is no emulator of gtlabel") from error

    def _exchange(self, path: str, content: bytes) -> tuple[int, dict[str, Any]]:
        self._connection.request("POST", path, content, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        body: dict[str, Any] = json.loads(response.read())
        return response.status, body
