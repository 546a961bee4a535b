"""A manifest with new labels made of old answers, as the job would have written it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import numpy as np

from gtlabel.errors import LabelingJobError
from gtlabel.labeling.answerfiles import AnswerFolder
from gtlabel.labeling.reconsolidation import Reconsolidation
from gtlabel.manifests.labels import MULTI, SINGLE
from gtlabel.manifests.lines import read_records
from gtlabel.manifests.records import ManifestRecord


def relabeled(
    made: Reconsolidation, moment: datetime, attribute: str | None = None
) -> Iterator[ManifestRecord]:
    """Yield the lines of the jobs' manifests, in their order, with the new labels.

    A picture of several manifests has the line of the first. Pictures that nobody answered, such as those
    that a machine labeled or that failed, keep what they have; under a new attribute they get a copy of it.

    Args:
        made: the new labels.
        moment: when they were made, UTC.
        attribute: the key to write them under; None for that of the (first) job, whose labels they replace.

    Raises:
        LabelingJobError: if the jobs left no manifest, or a class has no number in the job's list.
        ManifestLineError: if a manifest cannot be read.
    """
    answered = made.answered
    folders = [folder for folder in answered.folders if folder.manifests]
    first = folders[0].attribute if folders else None
    wanted = attribute or first
    if not folders:
        raise LabelingJobError(
            f"{answered.folders[0].place} has no manifest with labels, so new ones cannot be written beside "
            "its pictures; download manifests/ along with annotations/, or write a table, named .csv"
        )
    if wanted is None:
        raise LabelingJobError(
            f"{folders[0].name} has written no label yet, so nothing tells under which key to write new "
            "ones; name it with --as"
        )
    _check_numbers(made)
    place_of = {source: number for number, source in enumerate(answered.sources)}
    written: set[str] = set()
    for folder in folders:
        here: set[str] = set()
        manifest = folder.manifests[0]
        for record in read_records(folder.stream(manifest), manifest):
            address = record.address
            if address in written:
                continue
            here.add(address)
            place = place_of.get(address)
            if place is None:
                yield _kept(record, folder, wanted)
            else:
                yield _labeled(record, made, place, folder, wanted, moment)
        written |= here


def _labeled(
    record: ManifestRecord,
    made: Reconsolidation,
    picture: int,
    folder: AnswerFolder,
    attribute: str,
    moment: datetime,
) -> ManifestRecord:
    """The record with its new label, or without any where no answer is left."""
    answered = made.answered
    key = f"{attribute}-metadata"
    classes = made.written(picture)
    if not classes:
        return record.without(attribute, key)
    numbers = {index: answered.indices[index] for index in classes}
    named = {str(number): answered.classes[index] for index, number in numbers.items()}
    sure = {str(number): made.confidence(picture, index) for index, number in numbers.items()}
    common: dict[str, Any] = {
        "human-annotated": "yes",
        "creation-date": moment.replace(tzinfo=None).isoformat(timespec="microseconds"),
    }
    # Keys in the order in which AWS writes them (contract/ground-truth.md §5.2).
    job = _job_name(record, folder)
    if answered.several:
        value: Any = list(numbers.values())
        metadata = {"job-name": job, "class-map": named, **common, "confidence-map": sure, "type": MULTI}
    else:
        (index,) = classes
        value = numbers[index]
        metadata = {
            "confidence": made.confidence(picture, index),
            "job-name": job,
            "class-name": answered.classes[index],
            **common,
            "type": SINGLE,
        }
    # What a failed attempt left must not stand beside a label.
    return record.without(key).having({attribute: value, key: metadata})


def _kept(record: ManifestRecord, folder: AnswerFolder, attribute: str) -> ManifestRecord:
    """The record of a picture without answers."""
    own = folder.attribute
    if own is None or own == attribute or record.state(own) != "labeled":
        return record
    key = f"{own}-metadata"
    return record.having({attribute: record.get(own), f"{attribute}-metadata": record.get(key)})


def _job_name(record: ManifestRecord, folder: AnswerFolder) -> str:
    """Whose class list the number means, as the job itself wrote it."""
    own = folder.attribute
    if own is not None and record.state(own) == "labeled":
        name = record.label(own).job_name
        if name is not None:
            return name
    return f"labeling-job/{folder.name.lower()}"


def _check_numbers(made: Reconsolidation) -> None:
    answered = made.answered
    columns = made.counts > 0 if answered.several else made.chosen
    for index in np.flatnonzero(columns.any(axis=0)):
        if answered.indices[int(index)] is None:
            raise LabelingJobError(
                f"{answered.folders[0].name} gave no picture the class {answered.classes[int(index)]!r}, so "
                "nothing tells its number; name the job's class list with --classes FILE"
            )
