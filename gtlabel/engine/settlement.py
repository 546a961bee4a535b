"""What settling the labels of a whole job reads and writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import Row, bindparam, select, update

from gtlabel.engine.counted import counts, withdrawn
from gtlabel.engine.entries import Recorded
from gtlabel.engine.jobs import Job
from gtlabel.engine.schema import answers, results, tasks
from gtlabel.engine.store import Store

_CHUNK = 5000
_IMAGES = 200

# Who said what about images, by their numbers; the classes by their indices.
Heard = dict[int, tuple[tuple[str, frozenset[int]], ...]]

_SAID = select(answers.c.object, answers.c.worker, answers.c.content).join(
    tasks, (tasks.c.job == answers.c.job) & (tasks.c.object == answers.c.object)
)


class Settlement:
    """The answers and labels of whole jobs; there is one per database, as of the ledger.

    Args:
        store: the engine's database.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def heard(self, job: Job, understand: Callable[[str], frozenset[int]]) -> Heard:
        """Who said what about each image that has a label made of answers, in the order they said it.

        Args:
            job: the job.
            understand: tells which classes an answer, as JSON, names. Few different answers are given, so it
                is asked about each once.
        """
        query = _SAID.where(
            answers.c.job == job.number, tasks.c.state == "labeled", counts(answers)
        ).order_by(answers.c.object, answers.c.submitted, answers.c.id)
        with self._store.read() as connection:
            return _heard(connection.execution_options(yield_per=_CHUNK).execute(query), understand)

    def lately(self, job: Job, batch: int, most: int, understand: Callable[[str], frozenset[int]]) -> Heard:
        """The same of the images in the batches up to one, as far back as there are so many answers."""
        # Before the limit: a join would read all answers of the job.
        images = (
            select(tasks.c.object)
            .where(tasks.c.job == job.number, tasks.c.batch <= batch)
            .order_by(tasks.c.batch.desc(), tasks.c.answered.desc(), tasks.c.object.desc())
            .limit(most)
        )
        with self._store.read() as connection:
            latest = list(connection.execute(images).scalars())
            found: Heard = {}
            for first in range(0, len(latest), _IMAGES):
                some = answers.c.object.in_(latest[first : first + _IMAGES])
                query = select(answers).where(answers.c.job == job.number, some, counts(answers))
                order = query.order_by(answers.c.object, answers.c.submitted, answers.c.id)
                found.update(_heard(connection.execute(order), understand))
                if sum(map(len, found.values())) >= most:
                    break
        return found

    def without(self, job: Job) -> frozenset[str]:
        """Whose answers in a job count no more."""
        return withdrawn(self._store, job)

    def recorded(self, job: Job) -> Iterator[list[Recorded]]:
        """The labels of a job, a page in memory at a time."""
        query = (
            select(results.c.object, results.c.label, results.c.metadata)
            .where(results.c.job == job.number, results.c.label != "")
            .order_by(results.c.object)
            .limit(_CHUNK)
        )
        last = -1
        while True:
            with self._store.read() as connection:
                page = [Recorded(*row) for row in connection.execute(query.where(results.c.object > last))]
            if not page:
                return
            yield page
            last = page[-1].object

    def settle(self, job: Job, labels: Sequence[Recorded]) -> None:
        """Keep the labels that images have in the end."""
        if not labels:
            return
        change = (
            update(results)
            .where(results.c.job == job.number, results.c.object == bindparam("of_object"))
            .values(label=bindparam("to_label"), metadata=bindparam("to_metadata"))
        )
        rows = [
            {"of_object": each.object, "to_label": each.label, "to_metadata": each.metadata}
            for each in labels
        ]
        self._store.lead(lambda connection: connection.execute(change, rows))


def _heard(rows: Iterable[Row[Any]], understand: Callable[[str], frozenset[int]]) -> Heard:
    known: dict[str, frozenset[int]] = {}
    found: Heard = {}
    for number, said in groupby(rows, key=lambda row: row.object):
        heard = []
        for row in said:
            what = known.get(row.content)
            if what is None:
                what = known[row.content] = understand(row.content)
            heard.append((row.worker, what))
        found[number] = tuple(heard)
    return found
