"""What is wrong with a manifest, line by line, found before it costs anything.

Every kind of line that Ground Truth writes is known: inputs, single- and multi-label outputs, failed objects,
chained jobs with several attributes, labels of machines, verifications, streaming objects
(contract/ground-truth.md §4.1, §5.2, §8, §9).
"""

from __future__ import annotations

import heapq
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gtlabel.errors import ClassListError, ManifestError
from gtlabel.manifests.classes import ClassIds
from gtlabel.manifests.labels import label_problems
from gtlabel.manifests.lines import read_records
from gtlabel.manifests.metadata import LabelMetadata
from gtlabel.manifests.records import SOURCE_REF, ManifestRecord
from gtlabel.manifests.splice import Member, take_apart
from gtlabel.manifests.vocabulary import suggestions

# https://docs.aws.amazon.com/sagemaker/latest/dg/input-data-limits.html, contract/ground-truth.md §4.1, §10
MAX_VALUE_CHARACTERS = 20_000
MAX_IMAGES = 100_000
EXTENSIONS = (".jpg", ".jpeg", ".png")
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
MAX_KEY_BYTES = 1024

# What Ground Truth itself writes into the lines of a streaming job (contract/ground-truth.md §8).
_STREAMING = {"$label-attribute-name-object-id", "$sequencer"}
# More names are no classes; what is known of each is kept.
_CLASSES_KEPT = 5_000
# Who gives a manifest twice wants to hear it, and not a million times.
_REPETITIONS_TOLD = 1_000


class Severity(StrEnum):
    """How bad it is: an error stops a job or falsifies a dataset, a warning may, a note does neither."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        manifest: the manifest, as the caller calls it.
        line: its number, from 1; None where it is about the whole.
        field: the key it is about; None where it is about the whole line.
        severity: how bad it is.
        rule: a name to refer to it by.
        sentence: what is wrong, and where there is one the next step.
    """

    manifest: str
    line: int | None
    field: str | None
    severity: Severity
    rule: str
    sentence: str

    def __str__(self) -> str:
        """As `grep` and compilers write it: `FILE:LINE: SEVERITY: SENTENCE [RULE]`."""
        where = self.manifest if self.line is None else f"{self.manifest}:{self.line}"
        return f"{where}: {self.severity}: {self.sentence} [{self.rule}]"


def lint(
    lines: Iterable[bytes],
    manifest: str,
    *,
    attribute: str | None = None,
    classes: Sequence[str] | None = None,
) -> Iterator[Finding]:
    """Yield what is wrong with a manifest, in the order of its lines, then what is wrong with the whole.

    One line is in memory at a time, and 12 bytes of each that was read, to find images that come twice.

    Args:
        lines: an open file, or the lines of an S3 object.
        manifest: what to call it.
        attribute: the attribute whose labels are looked at; by default all that jobs wrote.
        classes: the class list of that attribute's job, against which integers are checked.
    """
    inspector = _Inspector(manifest, attribute, classes)
    for record in read_records(inspector.counted(lines), manifest, on_bad=inspector.refuse):
        inspector.look(record)
        yield from inspector.found()
    yield from inspector.found()
    inspector.conclude()
    yield from inspector.found()


class _Inspector:
    """What was found on the line at hand, and what has to be remembered of those before it."""

    def __init__(self, manifest: str, attribute: str | None, classes: Sequence[str] | None) -> None:
        self._manifest = manifest
        self._attribute = attribute
        self._number = 0
        self._records = 0
        self._labels = 0
        self._findings: list[Finding] = []
        self._images = _Repetitions()
        self._classes = classes
        self._ids = ClassIds()
        self._names: Counter[str] = Counter()

    def counted(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        # The reader takes one line for each record, so the number is that of the record at hand.
        for self._number, line in enumerate(lines, start=1):
            yield line

    def found(self) -> Iterator[Finding]:
        findings, self._findings = self._findings, []
        return iter(findings)

    def refuse(self, number: int, _: bytes, reason: str) -> None:
        self._number = number
        self._add(Severity.ERROR, "record", None, reason)

    def look(self, record: ManifestRecord) -> None:
        self._records += 1
        members = take_apart(record.line)
        self._images.meet(record.source_ref, self._number)
        self._look_at_keys(members)
        self._look_at_address(record)
        attributes = [self._attribute] if self._attribute else list(record.attributes)
        for attribute in attributes:
            self._look_at_label(record, attribute)

    def conclude(self) -> None:
        self._number = 0
        if not self._records:
            self._add(Severity.ERROR, "empty", None, "it has no record; is it the right file?")
        elif self._attribute and not self._labels:
            self._add(Severity.ERROR, "no-label", self._attribute, f"no line has a {self._attribute!r} label")
        if self._records > MAX_IMAGES:
            self._add(
                Severity.WARNING,
                "too-many",
                None,
                f"it has {self._records:,} records; one job takes {MAX_IMAGES:,}, and gtlabel label makes "
                "several jobs of more",
            )
        for suggestion in suggestions(self._names):
            self._add(Severity.WARNING, "spelling", None, str(suggestion).replace("\n", ", "))
        repeated = 0
        for number, first in self._images.found(_REPETITIONS_TOLD):
            repeated += 1
            self._number = number
            self._add(
                Severity.WARNING,
                "repeated-image",
                SOURCE_REF,
                f"it is the same image as on line {first}; Ground Truth labels, and charges for, both",
            )
        self._number = 0
        if repeated == _REPETITIONS_TOLD:
            told = f"only the first {repeated:,} lines that repeat an image are told"
            self._add(Severity.NOTE, "repeated-image", SOURCE_REF, told)

    def _add(self, severity: Severity, rule: str, field: str | None, sentence: str) -> None:
        line = self._number or None
        self._findings.append(Finding(self._manifest, line, field, severity, rule, sentence))

    def _look_at_keys(self, members: Sequence[Member]) -> None:
        seen: set[str] = set()
        for key, text in members:
            if key in seen:
                told = f"{key!r} stands in it more than once; the last one holds, for most readers"
                self._add(Severity.ERROR, "repeated-key", key, told)
            seen.add(key)
            if key.startswith("$") and key not in _STREAMING:
                told = f"{key!r} begins with a dollar sign, which Ground Truth keeps for itself"
                self._add(Severity.ERROR, "dollar", key, told)
            if len(text) > MAX_VALUE_CHARACTERS:
                told = (
                    f"{key!r} has {len(text):,} characters; "
                    f"Ground Truth takes at most {MAX_VALUE_CHARACTERS:,} a key"
                )
                self._add(Severity.ERROR, "long-value", key, told)
        if "source" in seen:
            told = "it has 'source' beside 'source-ref'; a record is a text or an image"
            self._add(Severity.WARNING, "text-and-image", "source", told)

    def _look_at_address(self, record: ManifestRecord) -> None:
        key = record.source_ref.key
        if len(key.encode()) > MAX_KEY_BYTES:
            told = f"the image's key has {len(key.encode()):,} bytes; S3 takes at most {MAX_KEY_BYTES:,}"
            self._add(Severity.ERROR, "long-key", SOURCE_REF, told)
        if key.endswith("/"):
            self._add(Severity.ERROR, "folder", SOURCE_REF, f"{record.source_ref} is a folder, not an image")
        elif not key.lower().endswith(EXTENSIONS):
            told = f"{record.source_ref.name!r} is none of {', '.join(EXTENSIONS)}; workers will see nothing"
            self._add(Severity.WARNING, "extension", SOURCE_REF, told)
        if not all(character.isprintable() for character in key):
            told = "the key of the image holds a character that cannot be seen; many tools stumble over it"
            self._add(Severity.NOTE, "unseen", SOURCE_REF, told)

    def _look_at_label(self, record: ManifestRecord, attribute: str) -> None:
        state = record.state(attribute)
        field = f"{attribute}-metadata"
        if state == "unlabeled":
            return
        if field not in record:
            told = f"{attribute!r} has no {field!r} beside it, so nothing says what it means"
            self._add(Severity.WARNING, "bare-label", attribute, told)
            self._labels += 1
            return
        try:
            metadata = record.label(attribute)
        except ManifestError as error:
            # The address stands at the beginning of every such sentence; here the line is known.
            told = str(error).removeprefix(f"{record.source_ref}: ")
            self._add(Severity.ERROR, "metadata", field, told)
            return
        if state == "failed":
            reason = metadata.failure_reason
            told = (
                f"it failed: {reason}" if reason else f"{field!r} says neither a label nor why there is none"
            )
            self._add(Severity.WARNING, "failed", field, told)
            return
        self._labels += 1
        for problem in label_problems(record, attribute, metadata):
            self._add(Severity(problem.severity), problem.rule, problem.field, problem.sentence)
        self._look_at_class(record, attribute, metadata)

    def _look_at_class(self, record: ManifestRecord, attribute: str, metadata: LabelMetadata) -> None:
        value = record.get(attribute)
        named = dict(metadata.class_map or {})
        if metadata.class_name is not None and isinstance(value, int | str) and str(value).isdecimal():
            named = {str(value): metadata.class_name}
        job = f"{metadata.job or 'of no name'} ({attribute})"
        for index, name in named.items():
            if not (index.isascii() and index.isdecimal()):
                continue
            if len(self._names) < _CLASSES_KEPT or name in self._names:
                self._names[name] += 1
                try:
                    self._ids.meet(job, int(index), name)
                except ClassListError as error:
                    self._add(Severity.ERROR, "class-id", attribute, str(error))
            if self._classes is not None:
                self._look_in_list(attribute, int(index), name, self._classes)

    def _look_in_list(self, attribute: str, index: int, name: str, classes: Sequence[str]) -> None:
        if index >= len(classes):
            told = f"class {index} ({name!r}) is not in the class list, which ends with {len(classes) - 1}"
            self._add(Severity.ERROR, "class-list", attribute, told)
        elif classes[index] != name:
            told = f"class {index} is {name!r} here and {classes[index]!r} in the class list"
            self._add(Severity.ERROR, "class-list", attribute, told)


class _Repetitions:
    """Which texts were met before, at 12 bytes a text: 8 of its hash, 4 of its place.

    That two texts of a million share a hash of 64 bits happens once in 37 million manifests.
    """

    _PARTS = 64

    def __init__(self) -> None:
        self._hashes = [array("q") for _ in range(self._PARTS)]
        self._places = [array("I") for _ in range(self._PARTS)]

    def meet(self, text: str, place: int) -> None:
        mark = hash(text)
        part = mark % self._PARTS
        self._hashes[part].append(mark)
        self._places[part].append(place)

    def found(self, most: int) -> list[tuple[int, int]]:
        """The first places of what came again, each with the place where it came first, in order."""
        return heapq.nsmallest(most, self._repeated())

    def _repeated(self) -> Iterator[tuple[int, int]]:
        # One part at a time, so that only that part is spread out in memory.
        for hashes, places in zip(self._hashes, self._places, strict=True):
            first: dict[int, int] = {}
            for mark, place in zip(hashes, places, strict=True):
                if first.setdefault(mark, place) != place:
                    yield place, first[mark]
