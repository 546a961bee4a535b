"""What the owner of jobs wants to see of one: how far it is, what people say, and where they disagree."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from sqlalchemy import Row, func, select

from gtlabel.engine.counted import counts
from gtlabel.engine.jobs import Job, Kind, from_micros
from gtlabel.engine.register import job_of
from gtlabel.engine.schema import answers, jobs, results, tasks, withdrawals
from gtlabel.engine.store import Store

# The latest answers that agreement, pace and disputes are told from; a job may have a million.
_RECENT = 3000
_DISPUTED = 24
# How much of an answer is shown: a drawing may have a million letters.
_LONGEST_VOTE = 300


@dataclass(frozen=True, slots=True)
class Pace:
    """How somebody answers.

    Attributes:
        answers: how many they gave in the whole job.
        seconds: the median of what they took for one lately.
        agreement: how often, among images that others answered too, most of the others said the same; None
            where there are none.
        last: when they answered last.
        withdrawn: whether their answers count no more; nothing above but `answers` and `last` tells of them.
    """

    worker: str
    answers: int
    seconds: float
    agreement: float | None
    last: datetime
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class Disputed:
    """An image that people do not agree about, and how many said what."""

    object: int
    source_ref: str
    votes: dict[str, int]


@dataclass(frozen=True, slots=True)
class View:
    """One job, as its owner looks at it.

    Attributes:
        states: how many images are in which state of the engine.
        classes: how many images got which class; of several per image, all count.
        agreement: the share of pairs of answers about one image that say the same, among the latest;
            None without such a pair.
        people: who answered, the busiest first.
        disputed: images that were not agreed about, the latest first.
    """

    job: Job
    states: dict[str, int]
    classes: dict[str, int]
    agreement: float | None
    people: list[Pace]
    disputed: list[Disputed]


class Overview:
    """Reads for the owner's pages; nothing here changes anything.

    Args:
        store: the engine's database.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def jobs(self) -> list[tuple[Job, dict[str, int]]]:
        """All jobs, the latest first, with how many of their images are in which state."""
        count = select(tasks.c.job, tasks.c.state, func.count()).group_by(tasks.c.job, tasks.c.state)
        states: dict[int, dict[str, int]] = defaultdict(dict)
        with self._store.read() as connection:
            for number, state, images in connection.execute(count):
                states[number][state] = images
            rows = connection.execute(select(jobs).order_by(jobs.c.id.desc())).all()
        return [(job_of(row), states.get(row.id, {})) for row in rows]

    def view(self, job: Job) -> View:
        """One job in full."""
        here = tasks.c.job == job.number
        recent = (
            select(answers, tasks.c.source_ref)
            .join(tasks, (tasks.c.job == answers.c.job) & (tasks.c.object == answers.c.object))
            .where(answers.c.job == job.number, counts(answers))
            .order_by(answers.c.id.desc())
            .limit(_RECENT)
        )
        by_worker = select(answers.c.worker, func.count(), func.max(answers.c.submitted)).where(
            answers.c.job == job.number
        )
        labels = select(results.c.label, func.count()).where(results.c.job == job.number)
        with self._store.read() as connection:
            counted = select(tasks.c.state, func.count()).where(here).group_by(tasks.c.state)
            states: dict[str, int] = dict(connection.execute(counted).all())
            totals = connection.execute(by_worker.group_by(answers.c.worker)).all()
            made = connection.execute(labels.group_by(results.c.label)).all()
            said = connection.execute(recent).all()
            gone = select(withdrawals.c.worker).where(withdrawals.c.job == job.number)
            withdrawn = frozenset(connection.execute(gone).scalars())
        opinions = _opinions(said)
        return View(
            job,
            states,
            _classes(job, made),
            agreement(opinions.values()),
            _people(totals, said, opinions, withdrawn),
            _disputed(said, opinions),
        )

    def sources(self, job: Job, numbers: Sequence[int]) -> dict[int, str]:
        """The addresses of some pictures of a job, by their numbers."""
        mine = (tasks.c.job == job.number, tasks.c.object.in_(numbers))
        with self._store.read() as connection:
            return dict(connection.execute(select(tasks.c.object, tasks.c.source_ref).where(*mine)).all())


def opinion(content: str) -> str:
    """What an answer says, as one text that can be compared; comments beside it do not count."""
    answer = json.loads(content)
    for kind in (Kind.SINGLE, Kind.MULTI):
        given = answer.get(kind.value)
        # The page of a custom job may put anything there.
        if isinstance(given, dict):
            if "label" in given:
                return str(given["label"])
            if isinstance(given.get("labels"), list):
                return ", ".join(sorted(map(str, given["labels"]))) or "none"
    return json.dumps(answer, sort_keys=True, ensure_ascii=False)


def agreement(opinions: Iterable[Sequence[tuple[str, str]]]) -> float | None:
    """The share of pairs of answers about one image that say the same (observed agreement).

    https://en.wikipedia.org/wiki/Fleiss%27_kappa calls it the extent to which raters agree.
    """
    same = pairs = 0
    for said in opinions:
        count = len(said)
        pairs += count * (count - 1) // 2
        same += sum(n * (n - 1) // 2 for n in Counter(what for _, what in said).values())
    return same / pairs if pairs else None


def _opinions(said: Sequence[Row[Any]]) -> dict[int, list[tuple[str, str]]]:
    found: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for row in said:
        found[row.object].append((row.worker, opinion(row.content)))
    return found


def _classes(job: Job, made: Iterable[Any]) -> dict[str, int]:
    count: Counter[str] = Counter(dict.fromkeys(job.classes, 0))
    if job.spec.kind is Kind.CUSTOM:
        return {}
    for label, images in made:
        value = json.loads(label)
        for index in value if isinstance(value, list) else [value]:
            if isinstance(index, int) and 0 <= index < len(job.classes):
                count[job.classes[index]] += images
    return dict(count)


def _people(
    totals: Iterable[Any],
    said: Sequence[Row[Any]],
    opinions: dict[int, list[tuple[str, str]]],
    withdrawn: frozenset[str],
) -> list[Pace]:
    seconds: dict[str, list[float]] = defaultdict(list)
    for row in said:
        seconds[row.worker].append(row.active_seconds)
    votes: dict[str, list[bool]] = defaultdict(list)
    for about in opinions.values():
        for worker, what in about:
            others = Counter(other for who, other in about if who != worker)
            if others:
                votes[worker].append(others[what] == max(others.values()))
    people = [
        Pace(
            worker,
            count,
            round(median(seconds[worker]), 1) if seconds[worker] else 0.0,
            sum(votes[worker]) / len(votes[worker]) if votes[worker] else None,
            from_micros(last),
            worker in withdrawn,
        )
        for worker, count, last in totals
    ]
    return sorted(people, key=lambda pace: (-pace.answers, pace.worker))


def _disputed(said: Sequence[Row[Any]], opinions: dict[int, list[tuple[str, str]]]) -> list[Disputed]:
    found: dict[int, Disputed] = {}
    for row in said:
        said_of_it = [what for _, what in opinions[row.object]]
        if len(set(said_of_it)) > 1 and row.object not in found:
            votes = Counter(what[:_LONGEST_VOTE] for what in said_of_it)
            found[row.object] = Disputed(row.object, row.source_ref, dict(votes.most_common()))
            if len(found) == _DISPUTED:
                break
    return list(found.values())
