"""Pictures whose class is known, mixed blindly among those of a job.

They are lines of the job like any other, and nobody who looks at them can tell. What is known of them says
how good each worker is, and is taken as given when the answers of all are made into labels; so their own
labels in the output are what is known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import delete, insert, select

from gtlabel.engine.jobs import Job, Kind
from gtlabel.engine.schema import gold as known
from gtlabel.engine.schema import tasks
from gtlabel.engine.store import Store
from gtlabel.errors import GoldError, ManifestError, MissingLabelError
from gtlabel.manifests.lines import read_records
from gtlabel.manifests.records import ManifestRecord
from gtlabel.uris import S3Uri

_CHUNK = 500


def read_gold(
    lines: Iterable[bytes], manifest: S3Uri, job: Job, classes: tuple[str, ...]
) -> dict[str, frozenset[int]]:
    """The classes of pictures by their addresses, as indices of the job's classes.

    A line tells them in one of two ways: as a labeling job writes its label, under the job's own attribute
    where there are several; or as plain text, `"class": "Compost"`.

    Args:
        lines: of the manifest.
        manifest: what to call it in an error.
        job: whose pictures they are.
        classes: its classes.

    Raises:
        GoldError: if a line tells no class, or one that the job does not have.
        ManifestLineError: at a line that is no record of an image.
    """
    index = {name: place for place, name in enumerate(classes)}
    found: dict[str, frozenset[int]] = {}
    for record in read_records(lines, str(manifest)):
        names = list(_names(record, job.spec.attribute, manifest))
        for name in names:
            if name not in index:
                raise GoldError(
                    f"{manifest} says that {record.address} is {name!r}, which is no class of this job; its "
                    f"classes are {', '.join(classes)}"
                )
        if job.spec.kind is Kind.SINGLE and len(names) != 1:
            raise GoldError(f"{manifest} gives {record.address} {len(names)} classes; this job asks for one")
        found[record.address] = frozenset(index[name] for name in names)
    return found


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
        # Known once already, if an interrupted start is repeated.
        self._store.lead(
            lambda connection: connection.execute(delete(known).where(known.c.job == job.number))
        )
        for first in range(0, len(rows), _CHUNK):
            self._insert(rows[first : first + _CHUNK])
        return len(rows)

    def _insert(self, rows: list[dict[str, Any]]) -> None:
        self._store.lead(lambda connection: connection.execute(insert(known), rows))

    def of(self, job: Job) -> dict[int, frozenset[int]]:
        """The classes of the known pictures of a job, by their numbers."""
        if job.spec.gold is None:
            return {}
        query = select(known.c.object, known.c.classes).where(known.c.job == job.number)
        with self._store.read() as connection:
            return {number: frozenset(json.loads(text)) for number, text in connection.execute(query)}


def _names(record: ManifestRecord, attribute: str, manifest: S3Uri) -> Iterator[str]:
    plain = record.get("class")
    if isinstance(plain, str):
        yield plain
        return
    there = [each for each in record.attributes if record.state(each) == "labeled"]
    chosen = attribute if attribute in there else there[0] if len(there) == 1 else None
    if chosen is None:
        what = f"has labels under {', '.join(there)}" if there else "has no label"
        raise GoldError(
            f'{record.address} in {manifest} {what}; give it one under {attribute!r}, or "class" with the '
            "name of its class"
        )
    try:
        label = record.label(chosen)
    except (MissingLabelError, ManifestError) as error:
        raise GoldError(f"{manifest}: {error}") from error
    names = [label.class_name] if label.class_name is not None else list((label.class_map or {}).values())
    if not names and record.get(chosen) != []:
        raise GoldError(f"{record.address} in {manifest} has a label without the name of its class")
    yield from names
