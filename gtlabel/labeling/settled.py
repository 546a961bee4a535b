"""What a job settled on, line by line of its output manifest, next to the numbers that its answers go by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gtlabel.errors import LabelingJobError
from gtlabel.manifests.labels import MULTI, SINGLE
from gtlabel.manifests.lines import read_records
from gtlabel.manifests.records import ManifestRecord

if TYPE_CHECKING:
    from gtlabel.labeling.answerfiles import AnswerFolder

# So many labeled lines tell which attributes a manifest has.
_ENOUGH = 50
# From where on a class of a picture with several counts as given.
LIKELY = 0.5


@dataclass(frozen=True, slots=True)
class Settled:
    """One picture.

    Attributes:
        source: its address.
        names: the classes it was given; empty where it failed or was not reached. Of several the likely ones:
            AWS writes all that a single worker named, with what is thought of each (contract/ground-truth.md
            §5.2).
        indices: what the job writes for each of them.
        confidence: how sure the job was, of several classes of the decision, yes or no, that is the least
            sure; 0.0 where nothing is known of a single worker's; None where it does not say.
        moment: the second in which its batch was consolidated, as text.
        several: whether it may have several classes.
    """

    source: str
    names: tuple[str, ...] = ()
    indices: tuple[tuple[str, int], ...] = ()
    confidence: float | None = None
    moment: str | None = None
    several: bool = False


def read_settled(
    lines: Iterable[bytes],
    manifest: str,
    folder: AnswerFolder,
    numbers: Sequence[int],
    attribute: str | None,
) -> tuple[str | None, dict[int, Settled], list[str]]:
    """The lines of the pictures that were answered, by their numbers.

    An excerpt, with as many lines as pictures were answered and fewer than their numbers count, is taken
    for those pictures' lines in their order, and a note says so.

    Args:
        lines: the manifest's.
        manifest: what to call it in an error.
        folder: the job.
        numbers: of the pictures that were answered, in rising order.
        attribute: the key of the label that a user asked for; None for the job's own.

    Returns:
        The attribute, None if no line has a label; the pictures; notes.

    Raises:
        ManifestLineError: at a line that is no record.
        LabelingJobError: if the attribute asked for is in no line, or the lines are those of another job.
    """
    records = list(read_records(lines, manifest))
    found = attribute or folder.attribute or _attribute_of(records, folder.name)
    if attribute is not None and records and not any(attribute in each.attributes for each in records):
        others = sorted({name for record in records[:_ENOUGH] for name in record.attributes})
        which = f"it has {', '.join(others)}" if others else "it has no labels at all"
        raise LabelingJobError(f"{manifest} has no attribute {attribute!r}; {which}")
    by_number = dict(enumerate(records))
    notes = []
    if numbers and numbers[-1] >= len(records):
        if len(records) != len(numbers):
            raise LabelingJobError(
                f"{manifest} has {len(records):,} lines, and answers are about object {numbers[-1]}; "
                "it is not the output manifest of the job these answers were given to"
            )
        by_number = dict(zip(numbers, records, strict=True))
        notes.append(
            f"{manifest} is an excerpt: its {len(records):,} lines are taken for the "
            f"{len(numbers):,} pictures with answers, in their order"
        )
    wanted = set(numbers)
    settled = {number: _settled(record, found) for number, record in by_number.items() if number in wanted}
    return found, settled, notes


def _attribute_of(records: Sequence[ManifestRecord], job: str) -> str | None:
    """The attribute that the job wrote: by the name of the job, else the last that is a class."""
    last, seen = None, 0
    for record in records:
        labeled = [name for name in record.attributes if record.state(name) == "labeled"]
        for name in labeled:
            metadata = record.label(name)
            if metadata.job is not None and metadata.job.lower() == job.lower():
                return name
            if metadata.type in (SINGLE, MULTI) or metadata.class_name or metadata.class_map:
                last = name
        seen += bool(labeled)
        if seen >= _ENOUGH:
            break
    return last


def _settled(record: ManifestRecord, attribute: str | None) -> Settled:
    if attribute is None or record.state(attribute) != "labeled":
        return Settled(record.address)
    metadata = record.label(attribute)
    moment = metadata.creation_date.isoformat(timespec="seconds") if metadata.creation_date else None
    value = record.get(attribute)
    if isinstance(value, list):
        names = metadata.class_map or {}
        pairs = tuple((names[str(index)], index) for index in value if str(index) in names)
        stated = metadata.confidence_map or {}
        known = any(stated.values())
        likely = tuple(name for name, index in pairs if not known or stated.get(str(index), 1.0) >= LIKELY)
        sure = min((max(each, 1 - each) if known else each for each in stated.values()), default=None)
        return Settled(record.address, likely, pairs, sure, moment, several=True)
    if metadata.class_name is None:
        return Settled(record.address, moment=moment)
    pair = (metadata.class_name, record.class_index(attribute))
    return Settled(record.address, (metadata.class_name,), (pair,), metadata.confidence, moment)
