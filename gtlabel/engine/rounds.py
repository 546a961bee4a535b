"""The rounds of automated labeling: what was decided in each, in the database before anything is written.

A round decides what a machine labels, whom people are asked about next, or what an audit says; all of it is
one transaction, so that a crash leaves either the whole round or none of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from gtlabel.engine import output
from gtlabel.engine.jobs import Job, Status, from_micros, to_micros
from gtlabel.engine.schema import jobs, results, rounds, tasks
from gtlabel.engine.store import Store

#: The state of an image that a machine labeled and that nobody is asked about.
BY_MACHINE = "machine"
#: Machine labels came from no batch of answers.
_NO_BATCH = 0


@dataclass(frozen=True, slots=True)
class Round:
    """What was decided at one moment, between two iterations of a job.

    Attributes:
        number: from one.
        iteration: how many times images had been sent out before.
        created: when it was decided.
        told: how many images had a label of people's.
        asked: the images that people were asked about next.
        audited: those of them that a machine had labeled.
        labeled: the images that a machine labeled now: number, class index and confidence.
        decided: the images that it may label in the end, unless people do, in the same way.
        withdrawn: whether all machine labels that nobody looked at were taken back.
        facts: what is told about the decision, as JSON knows it; `anew` where nothing that was decided
            before counts any more.
    """

    number: int
    iteration: int
    created: datetime
    told: int
    asked: tuple[int, ...] = ()
    audited: tuple[int, ...] = ()
    labeled: tuple[tuple[int, int, float], ...] = ()
    decided: tuple[tuple[int, int, float], ...] = ()
    withdrawn: bool = False
    facts: dict[str, Any] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """What is told of it, apart from which images it is about."""
        return {
            "round": self.number,
            "iteration": self.iteration,
            "moment": self.created.isoformat(),
            "people_had_labeled": self.told,
            "people_asked": len(self.asked) - len(self.audited),
            "audited": len(self.audited),
            "machine_labeled": len(self.labeled),
            "withdrawn": self.withdrawn,
            **self.facts,
        }

    def to_json(self) -> str:
        """As one JSON text, for the database."""
        names = ("told", "asked", "audited", "labeled", "decided", "withdrawn", "facts")
        return output.compact({name: getattr(self, name) for name in names})


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the images of a job are, as automated labeling sees them.

    Attributes:
        labels: what people said of each image, by number: the class index.
        waiting: the images that nobody was asked about and no machine labeled.
        failed: the images that people could not label.
    """

    labels: dict[int, int]
    waiting: tuple[int, ...]
    failed: tuple[int, ...]


class Rounds:
    """Reads and writes the rounds of jobs; only the process that leads writes.

    Args:
        store: the engine's database.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def current(self, job: Job) -> list[Round]:
        """The rounds of a job that count, in their order: since it began anew, if it did."""
        played = self.of(job)
        anew = [place for place, each in enumerate(played) if "anew" in each.facts]
        return played[anew[-1] :] if anew else played

    def of(self, job: Job) -> list[Round]:
        """The rounds of a job, in their order."""
        query = select(rounds).where(rounds.c.job == job.number).order_by(rounds.c.number)
        with self._store.read() as connection:
            return [
                _round_of(row.number, row.iteration, row.created, row.body)
                for row in connection.execute(query)
            ]

    def told(self, job: Job) -> tuple[list[dict[str, Any]], dict[str, int]]:
        """The summaries of a job's rounds, in their order, and how many of its images are in which state."""
        played = select(rounds.c.summary).where(rounds.c.job == job.number).order_by(rounds.c.number)
        states = select(tasks.c.state, func.count()).where(tasks.c.job == job.number)
        with self._store.read() as connection:
            summaries = [json.loads(text) for text in connection.execute(played).scalars()]
            return summaries, dict(connection.execute(states.group_by(tasks.c.state)).all())

    def images(self, job: Job) -> list[tuple[int, str]]:
        """Number and address of each image that the job is to label, in the order of asking."""
        query = select(tasks.c.object, tasks.c.source_ref).where(
            tasks.c.job == job.number, tasks.c.state != "passed"
        )
        with self._store.read() as connection:
            rows = connection.execute(query.order_by(tasks.c.rank, tasks.c.object)).all()
        return [(row.object, row.source_ref) for row in rows]

    def standing(self, job: Job) -> Standing:
        """Where the images of a job are now."""
        query = (
            select(tasks.c.object, tasks.c.state, results.c.label)
            .outerjoin(results, (results.c.job == tasks.c.job) & (results.c.object == tasks.c.object))
            .where(tasks.c.job == job.number, tasks.c.state.in_(("waiting", "labeled", "failed")))
            .order_by(tasks.c.object)
        )
        with self._store.read() as connection:
            rows = connection.execute(query).all()
        return Standing(
            {row.object: int(row.label) for row in rows if row.state == "labeled" and row.label},
            tuple(row.object for row in rows if row.state == "waiting"),
            tuple(row.object for row in rows if row.state == "failed"),
        )

    def lines(self, job: Job, numbers: Sequence[int]) -> dict[int, str]:
        """The lines of the manifest that some images came with."""
        wanted = set(numbers)
        query = select(tasks.c.object, tasks.c.line).where(tasks.c.job == job.number)
        with self._store.read() as connection:
            found = connection.execution_options(yield_per=1000).execute(query)
            return {row.object: row.line for row in found if row.object in wanted}

    def record(self, job: Job, decided: Round) -> None:
        """Keep a round and all that follows from it; nothing happens if it was kept before."""
        metadata = machine_metadata(job, decided)

        def keep(connection: Connection) -> None:
            mine = select(rounds.c.number).where(
                rounds.c.job == job.number, rounds.c.number == decided.number
            )
            here = select(jobs.c.status, jobs.c.iteration).where(jobs.c.id == job.number)
            if connection.execute(mine).first() is not None:
                return
            # Somebody stopped it, or another process has led on meanwhile.
            if tuple(connection.execute(here).one()) != (Status.IN_PROGRESS, decided.iteration):
                return
            row = {
                "number": decided.number,
                "iteration": decided.iteration,
                "created": to_micros(decided.created),
                "summary": output.compact(decided.summary()),
                "body": decided.to_json(),
            }
            connection.execute(insert(rounds).values(job=job.number, **row))
            if decided.labeled:
                _label(connection, job, decided, metadata)
            if decided.withdrawn:
                withdraw(connection, job.number)
            if decided.asked:
                _move(connection, job, decided.asked, "chosen", job.iteration + 1)
                iteration = update(jobs).where(jobs.c.id == job.number)
                connection.execute(iteration.values(iteration=job.iteration + 1))

        self._store.lead(keep)

    def give_back(self, job: Job) -> None:
        """Leave machine labels to images whose audit came to nothing: nobody answered, or the job stopped."""
        by_machine = select(results.c.object).where(
            results.c.job == job.number, results.c.batch == _NO_BATCH, results.c.label != ""
        )
        left = update(tasks).where(
            tasks.c.job == job.number,
            tasks.c.state.in_(("waiting", "failed")),
            tasks.c.object.in_(by_machine),
        )
        self._store.lead(lambda connection: connection.execute(left.values(state=BY_MACHINE)))


def machine_metadata(job: Job, decided: Round) -> dict[int, tuple[int, dict[str, Any]]]:
    """Label and metadata of each image that a machine labeled in a round, by number.

    The keys and their order are those of labels that people gave (contract/ground-truth.md 5.2).
    """
    if not decided.labeled:
        return {}
    from gtlabel.engine.consensus import Label

    made = {}
    for place, (number, index, confidence) in enumerate(decided.labeled):
        moment = decided.created + timedelta(microseconds=place)
        label, metadata = output.label_of(job, [Label(index, confidence)], moment)
        made[number] = (label, {**metadata, "human-annotated": "no"})
    return made


def _label(
    connection: Connection, job: Job, decided: Round, metadata: dict[int, tuple[int, dict[str, Any]]]
) -> None:
    numbers = [number for number, *_ in decided.labeled]
    # An image that failed for people may have left why.
    gone = delete(results).where(results.c.job == job.number, results.c.object == bindparam("of_object"))
    connection.execute(gone, [{"of_object": number} for number in numbers])
    connection.execute(
        insert(results),
        [
            {
                "job": job.number,
                "object": number,
                "batch": _NO_BATCH,
                "label": output.compact(label),
                "metadata": output.compact(about),
            }
            for number, (label, about) in metadata.items()
        ],
    )
    _move(connection, job, numbers, BY_MACHINE)


def withdraw(connection: Connection, job: int) -> None:
    """Take back all machine labels of a job that nobody is asked about; people label these images."""
    here = (tasks.c.job == job, tasks.c.state == BY_MACHINE)
    mine = select(tasks.c.object).where(*here)
    connection.execute(delete(results).where(results.c.job == job, results.c.object.in_(mine)))
    connection.execute(update(tasks).where(*here).values(state="waiting"))


def start_anew(connection: Connection, job: Job, now: int) -> None:
    """Have a machine forget what it learned of answers that count no more, and all labels it gave by that.

    What was risked of the promise so far stays spent. Nothing happens in a job without rounds.
    """
    played = select(rounds.c.number, rounds.c.summary).where(rounds.c.job == job.number)
    rows = connection.execute(played.order_by(rounds.c.number)).all()
    if not rows:
        return
    by_machine = (results.c.job == job.number, results.c.batch == _NO_BATCH, results.c.label != "")
    connection.execute(delete(results).where(*by_machine))
    withdraw(connection, job.number)
    facts = {
        "anew": True,
        "spent": max(json.loads(row.summary).get("spent", 0.0) for row in rows),
        "why": "a worker's answers were withdrawn, so a machine begins to learn anew",
    }
    begun = Round(rows[-1].number + 1, job.iteration, from_micros(now), 0, facts=facts)
    row = {
        "number": begun.number,
        "iteration": begun.iteration,
        "created": now,
        "summary": output.compact(begun.summary()),
        "body": begun.to_json(),
    }
    connection.execute(insert(rounds).values(job=job.number, **row))


def _move(
    connection: Connection, job: Job, numbers: Iterable[int], state: str, iteration: int | None = None
) -> None:
    change = update(tasks).where(tasks.c.job == job.number, tasks.c.object == bindparam("of_object"))
    values = (
        {"state": state} if iteration is None else {"state": state, "iteration": iteration, "batch": None}
    )
    connection.execute(change.values(**values), [{"of_object": number} for number in numbers])


def _round_of(number: int, iteration: int, created: int, body: str) -> Round:
    said = json.loads(body)
    return Round(
        number,
        iteration,
        from_micros(created),
        said["told"],
        tuple(said["asked"]),
        tuple(said["audited"]),
        tuple((each[0], each[1], each[2]) for each in said["labeled"]),
        tuple((each[0], each[1], each[2]) for each in said["decided"]),
        said["withdrawn"],
        said["facts"],
    )
