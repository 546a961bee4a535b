"""The answers of one job as arrays, for whoever judges people rather than pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from gtlabel.engine.counted import counts
from gtlabel.engine.gold import Gold
from gtlabel.engine.jobs import Job, Kind
from gtlabel.engine.leasing import check_answer
from gtlabel.engine.schema import answers
from gtlabel.engine.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gtlabel.crowd.votes import Votes

# The latest answers tell how people work now; a job may have a million.
MOST = 50_000


@dataclass(frozen=True, slots=True)
class Voices:
    """What people said in one job, the latest answers where there are very many.

    Attributes:
        votes: the answers. Where a picture may have several classes, each class of it is an object of its
            own, the classes of a picture side by side, and the answers are 0 for no and 1 for yes.
        several: whether that is so.
        pictures: the numbers that the job's pictures have in it, `(pictures,)`.
        objects: how many objects the votes have.
        classes: the names of the votes' classes.
        workers: who the votes' workers are.
        seconds: how long each answer took, `(votes,)`.
        moments: when each was given, in seconds since 1970 UTC, `(votes,)`.
        gold: the class of each object, -1 where it is not known, `(objects,)`; None where no picture is.
        answers: how many answers that are; of several classes each, fewer than votes.
        cut: whether older answers were left out.
    """

    votes: Votes
    several: bool
    pictures: NDArray[np.intp]
    objects: int
    classes: tuple[str, ...]
    workers: tuple[str, ...]
    seconds: NDArray[np.float64]
    moments: NDArray[np.float64]
    gold: NDArray[np.intp] | None
    answers: int
    cut: bool

    def questions(self) -> Iterator[Votes]:
        """The answers about each class by itself; about all together where a picture has one class."""
        from gtlabel.crowd.votes import Votes

        step = self.objects // len(self.pictures) if len(self.pictures) else 1
        for first in range(step):
            here = self.votes.objects % step == first
            yield Votes(self.votes.objects[here] // step, self.votes.workers[here], self.votes.classes[here])


def voices(store: Store, job: Job) -> Voices | None:
    """The answers of a job that count; None for custom jobs, whose answers are their own.

    Args:
        store: the engine's database.
        job: the job, whose classes are known.
    """
    if job.spec.kind is Kind.CUSTOM:
        return None
    import numpy as np

    from gtlabel.crowd.votes import Votes

    query = (
        select(
            answers.c.object,
            answers.c.worker,
            answers.c.content,
            answers.c.active_seconds,
            answers.c.submitted,
        )
        .where(answers.c.job == job.number, counts(answers))
        .order_by(answers.c.id.desc())
        .limit(MOST + 1)
    )
    with store.read() as connection:
        rows = connection.execute(query).all()
    cut, rows = len(rows) > MOST, rows[:MOST]
    known: dict[str, frozenset[int]] = {}
    for row in rows:
        if row.content not in known:
            known[row.content] = check_answer(job, json.loads(row.content))
    workers = sorted({row.worker for row in rows})
    numbers = {worker: number for number, worker in enumerate(workers)}
    shown, objects = np.unique(np.array([row.object for row in rows], dtype=np.intp), return_inverse=True)
    by = np.array([numbers[row.worker] for row in rows], dtype=np.intp)
    seconds = np.array([row.active_seconds for row in rows], dtype=np.float64)
    moments = np.array([row.submitted / 1e6 for row in rows], dtype=np.float64)
    pictures, classes = int(objects.max()) + 1 if len(rows) else 0, len(job.classes)
    known_classes = Gold(store).of(job)
    gold = None
    if known_classes:
        gold = np.full((len(shown), classes), -1, dtype=np.intp)
        for place, number in enumerate(shown.tolist()):
            if number in known_classes:
                gold[place] = 0
                gold[place, sorted(known_classes[number])] = 1
    if job.spec.kind is Kind.SINGLE:
        truth = None if gold is None else np.where(gold[:, 0] < 0, -1, gold.argmax(axis=1))
        said = np.array([min(known[row.content]) for row in rows], dtype=np.intp)
        votes, names = Votes(objects.astype(np.intp), by, said), job.classes
        return Voices(
            votes, False, shown, pictures, names, tuple(workers), seconds, moments, truth, len(rows), cut
        )
    yes = np.zeros((len(rows), classes), dtype=np.intp)
    for place, row in enumerate(rows):
        yes[place, sorted(known[row.content])] = 1
    each = (objects[:, None] * classes + np.arange(classes)).reshape(-1).astype(np.intp)
    votes = Votes(each, np.repeat(by, classes), yes.reshape(-1))
    times = np.repeat(seconds, classes), np.repeat(moments, classes)
    truth = None if gold is None else gold.reshape(-1)
    asked, yes_no = pictures * classes, ("no", "yes")
    return Voices(votes, True, shown, asked, yes_no, tuple(workers), *times, truth, len(rows), cut)
