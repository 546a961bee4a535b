"""Whether a label and what its job says about it belong together, for each type of job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from gtlabel.manifests.metadata import LabelMetadata, short
from gtlabel.manifests.records import ManifestRecord

SINGLE = "groundtruth/image-classification"
MULTI = "groundtruth/image-classification-multilabel"
VERIFICATION = "groundtruth/label-verification"
# As AWS writes it, and as its manual does (contract/ground-truth.md §5.2).
CUSTOM = ("groundtruth/custom", "groundTruth/custom")


class Problem(NamedTuple):
    """One thing that does not fit: `error`, `warning` or `note`, a name, the key, and a sentence."""

    severity: str
    rule: str
    field: str
    sentence: str


def label_problems(record: ManifestRecord, attribute: str, metadata: LabelMetadata) -> Iterator[Problem]:
    """Yield what does not fit in the label that one job gave one image.

    Args:
        record: a record that has the label.
        attribute: the attribute that the job writes.
        metadata: what the job says.
    """
    value = record.get(attribute)
    field = f"{attribute}-metadata"
    kind = metadata.type
    if kind is None:
        yield Problem("note", "type", field, f"{field!r} does not say the 'type' of the job")
    elif kind not in (SINGLE, MULTI, VERIFICATION, *CUSTOM):
        yield Problem("warning", "type", field, f"{kind!r} is no type of image classification")
    if kind == MULTI or (kind is None and isinstance(value, list)):
        yield from _multi(value, attribute, metadata)
    elif kind == SINGLE or (kind is None and not isinstance(value, dict)):
        yield from _single(value, attribute, metadata)
    elif kind == VERIFICATION and metadata.class_name is None:
        yield Problem(
            "warning", "class-name", field, f"{field!r} has no 'class-name', so nobody knows the verdict"
        )
    if metadata.human_annotated not in ("yes", "no"):
        told = f'\'human-annotated\' is {short(metadata.human_annotated)}; a label has "yes" or "no"'
        yield Problem("warning", "human-annotated", field, told)
    if metadata.creation_date is None:
        told = f"{field!r} has no 'creation-date', so another job's label counts as newer"
        yield Problem("warning", "creation-date", field, told)
    if metadata.job_name is None:
        yield Problem("note", "job-name", field, f"{field!r} does not say the 'job-name'")


def _single(value: Any, attribute: str, metadata: LabelMetadata) -> Iterator[Problem]:
    field = f"{attribute}-metadata"
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        yield Problem("note", "index", attribute, f"{attribute!r} is the text {value!r}; AWS writes a number")
    elif not isinstance(value, int) or isinstance(value, bool) or value < 0:
        told = f"{attribute!r} is {short(value)}, not the index of one class"
        yield Problem("error", "index", attribute, told)
    if metadata.class_name is None:
        told = f"{field!r} has no 'class-name'; without a class list nobody knows what {short(value)} means"
        yield Problem("warning", "class-name", field, told)
    if metadata.confidence is None:
        yield Problem("note", "confidence", field, f"{field!r} has no 'confidence'")


def _multi(value: Any, attribute: str, metadata: LabelMetadata) -> Iterator[Problem]:
    field = f"{attribute}-metadata"
    if not isinstance(value, list) or not all(type(index) is int and index >= 0 for index in value):
        told = f"{attribute!r} is {short(value)}, not a list of the indices of classes"
        yield Problem("error", "index", attribute, told)
        return
    chosen = {str(index) for index in value}
    if len(chosen) < len(value):
        told = f"{attribute!r} is {short(value)}, with a class twice"
        yield Problem("warning", "index", attribute, told)
    for name, found in (("class-map", metadata.class_map), ("confidence-map", metadata.confidence_map)):
        missing = sorted(chosen - (found or {}).keys())
        if missing:
            severity = "warning" if name == "class-map" else "note"
            told = f"'{name}' of {field!r} lacks {', '.join(missing)}"
            yield Problem(severity, name, field, told)
        extra = sorted((found or {}).keys() - chosen)
        if extra:
            told = f"'{name}' of {field!r} has {', '.join(extra)}, which the image was not given"
            yield Problem("warning", name, field, told)
    for index, confidence in (metadata.confidence_map or {}).items():
        if not 0 <= confidence <= 1:
            told = f"the confidence of class {index} is {confidence}, not from 0 to 1"
            yield Problem("error", "confidence", field, told)
