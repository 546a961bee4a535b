"""Pictures whose class is known, mixed blindly among those of a job.

They are lines of the job like any other, and nobody who looks at them can tell. What is known of them says
how good each worker is, and is taken as given when the answers of all are made into labels; so their own
labels in the output are what is known. The way of AWS, which decides batch by batch, learns nothing of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlalchemy import Connection, delete, insert, select

from gtlabel.engine.jobs import Job
from gtlabel.engine.schema import gold as known
from gtlabel.engine.schema import tasks
from gtlabel.engine.store import Store


class Gold:
    """What is known of the pictures of jobs.

    Args:
        store: the engine's database.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def keep(self, job: Job, classes_of: Mapping[str, frozenset[int]]) -> int:
        """Write down which pictures of a job are known; return how many of its lines show one."""
        query = select(tasks.c.object, tasks.c.source_ref).where(tasks.c.job == job.number)
        with self._store.read() as connection:
            rows = [
                {"job": job.number, "object": number, "classes": json.dumps(sorted(classes_of[source]))}
                for number, source in connection.execute(query)
                if source in classes_of
            ]

        def write(connection: Connection) -> None:
            # Known once already, if an interrupted start is repeated.
            connection.execute(delete(known).where(known.c.job == job.number))
            if rows:
                connection.execute(insert(known), rows)

        self._store.lead(write)
        return len(rows)

    def of(self, job: Job) -> dict[int, frozenset[int]]:
        """The classes of the known pictures of a job, by their numbers."""
        if job.spec.gold is None:
            return {}
        query = select(known.c.object, known.c.classes).where(known.c.job == job.number)
        with self._store.read() as connection:
            return {number: frozenset(json.loads(text)) for number, text in connection.execute(query)}
