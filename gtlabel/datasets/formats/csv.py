"""A table for each channel (RFC 4180, UTF-8, lines ended by a line feed).

Texts are as they are. Who opens such a table with a program that takes `=...` for a formula should know that
names of classes and of pictures are people's.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import islice

from gtlabel.datasets.channels import Example
from gtlabel.datasets.formats.target import Target, Written, channels_of, licence_of, source_of
from gtlabel.manifests.classes import ClassList

COLUMNS = (
    "image",
    "label",
    "class-name",
    "original",
    "confidence",
    "human-annotated",
    "job-name",
    "creation-date",
    "license",
    "source",
)
_ROWS = 512


def write(examples: Iterable[Example], classes: ClassList, target: Target) -> list[Written]:
    """Write `<channel>.csv` for each channel."""
    return [
        target.write(f"{channel}.csv", table(members, classes), "text/csv; charset=utf-8")
        for channel, members in channels_of(examples)
    ]


def table(examples: Iterable[Example], classes: ClassList) -> Iterator[bytes]:
    """The table of these examples, some rows at a time."""
    labels = {name: position for position, name in enumerate(classes)}
    page = io.StringIO()
    writer = csv.writer(page, lineterminator="\n")
    writer.writerow(COLUMNS)
    rest = iter(examples)
    while True:
        some = list(islice(rest, _ROWS))
        writer.writerows(_row(example, labels[example.class_name]) for example in some)
        yield page.getvalue().encode()
        if not some:
            return
        page.seek(0)
        page.truncate()


def _row(example: Example, label: int) -> tuple[object, ...]:
    said = example.label
    return (
        example.image,
        label,
        example.class_name,
        example.original,
        "" if said.confidence is None else said.confidence,
        "yes" if said.by_human else "no",
        said.job or "",
        said.creation_date.isoformat(timespec="microseconds") if said.creation_date else "",
        licence_of(example),
        source_of(example),
    )
