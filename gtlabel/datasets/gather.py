"""What the output manifests of labeling jobs say, by class name, in one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gtlabel.datasets.channels import Source
from gtlabel.errors import DatasetError, GtlabelError, ManifestError
from gtlabel.manifests.choose import Choice
from gtlabel.manifests.classes import ClassIds, ClassList, check_classes
from gtlabel.manifests.lines import read_records
from gtlabel.manifests.merge import Label
from gtlabel.manifests.provenance import MARK, provenance
from gtlabel.manifests.records import LabelMetadata, ManifestRecord, State
from gtlabel.manifests.table import LabelTable, Saying
from gtlabel.manifests.vocabulary import Vocabulary
from gtlabel.storage import read, read_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# Called with the number of a line that cannot be used, its bytes, and why.
OnBad = Callable[[int, bytes, str], object]

_REMOVED = -1
_NOT_SAID = LabelMetadata()


@dataclass(frozen=True, slots=True)
class JobOutput:
    """What a labeling job left, finished or stopped.

    Attributes:
        manifest: its output manifest.
        attribute: the label attribute; when not given, the only one that its lines have.
        classes: its class list, or the address of its label category file; without it the class names
            are taken from the lines.
        name: the job's name; lines that an earlier job of a chain wrote name another.
    """

    manifest: S3Uri
    attribute: str | None = None
    classes: Sequence[str] | S3Uri | None = None
    name: str | None = None


@dataclass(slots=True)
class Gathered:
    """What the manifests of all jobs say.

    Attributes:
        table: the labels that were chosen, under the names of the vocabulary.
        lists: the class lists of the jobs, under the names of the vocabulary.
        sources: what became of the lines of each manifest.
        accounts: the same as parts of a sentence, for when there is no label at all.
        adjustments: which job looked again at which other one's labels, as far as lines show it.
    """

    table: LabelTable = field(default_factory=LabelTable)
    lists: list[Sequence[str]] = field(default_factory=list)
    sources: tuple[Source, ...] = ()
    accounts: list[str] = field(default_factory=list)
    adjustments: set[tuple[str, str]] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Part:
    """What some lines of a manifest say, read without knowing the others.

    Attributes:
        table: the labels that were chosen.
        meanings: which job means which class by which index, as these lines tell, in their order.
        states: what became of the lines.
        reasons: how often each failure reason was given.
        others: the attributes of lines without this job's label.
        adjustments: which job looked again at which other one's labels.
    """

    table: LabelTable
    meanings: tuple[tuple[str | None, int, str], ...]
    states: Counter[str]
    reasons: Counter[str]
    others: set[str]
    adjustments: set[tuple[str, str]]


# What reads the parts of a job's manifest elsewhere, in the order of the lines. None for a part, or instead
# of all, says that the manifest has to be read here, line by line.
Parts = Callable[[JobOutput, Vocabulary, Choice, bool], Iterable[Part | None] | None]


def gather(
    s3: S3Client,
    outputs: Sequence[JobOutput | S3Uri],
    *,
    vocabulary: Vocabulary,
    choice: Choice,
    chains: bool = False,
    on_bad: OnBad | None = None,
    parts: Parts | None = None,
) -> Gathered:
    """Read manifests one after the other, holding one line and the table.

    Args:
        s3: the client.
        outputs: the jobs; what is given twice is read once.
        vocabulary: what classes are called.
        choice: which labels count.
        chains: whether to find out which job looked again at which other one's labels.
        on_bad: takes the lines that cannot be used, in place of an error.
        parts: reads manifests in parts; what comes of it is the same.

    Raises:
        ManifestLineError: at the first line that is not a record, unless there is `on_bad`.
        ManifestError: at the first label that cannot be used, unless there is `on_bad`.
        ClassListError: if a job contradicts itself.
    """
    gathered = Gathered()
    ids = ClassIds()
    for position, given in enumerate(outputs):
        if given in outputs[:position]:
            continue
        output = given if isinstance(given, JobOutput) else JobOutput(given)
        if output.attribute is None:
            output = replace(output, attribute=_only_attribute(s3, output.manifest, on_bad))
        if output.classes is not None:
            classes = _class_list(s3, output)
            output = replace(output, classes=tuple(classes))
            ids.declare(_job_key(output, None), classes)
            gathered.lists.append(vocabulary.names(classes))
        reader = _Reader(output, gathered, ids, vocabulary, choice, chains)
        read = _agreeing(parts(output, vocabulary, choice, chains), output, ids) if parts else None
        if read is None:
            reader.read(_Numbered(read_lines(s3, output.manifest, cut=on_bad is not None)), on_bad)
        for part in read or ():
            reader.take_over(part)
        gathered.sources += (reader.source(),)
        gathered.accounts.append(reader.account())
    return gathered


def read_part(
    lines: Iterable[bytes], output: JobOutput, vocabulary: Vocabulary, choice: Choice, chains: bool
) -> Part | None:
    """What some lines of a manifest say.

    Args:
        lines: some that follow each other.
        output: the job, with its attribute, and its class list if that is to be known.
        vocabulary: what classes are called.
        choice: which labels count.
        chains: whether to find out which job looked again at which other one's labels.

    Returns:
        None if a line cannot be used, or not without those before it: where it stands, and whether it may
        be passed over, is known to those who read all of them.
    """
    gathered, ids = Gathered(), ClassIds()
    reader = _Reader(output, gathered, ids, vocabulary, choice, chains)
    try:
        if output.classes is not None:
            ids.declare(_job_key(output, None), tuple(output.classes))
        reader.read(_Numbered(lines), None)
    except GtlabelError:
        return None
    return reader.part()


def _agreeing(parts: Iterable[Part | None] | None, output: JobOutput, ids: ClassIds) -> list[Part] | None:
    """The parts, if all could be read and no class means something else in another."""
    if parts is None:
        return None
    read: list[Part] = []
    trial = deepcopy(ids)
    for part in parts:
        if part is None:
            return None
        try:
            for job, index, named in part.meanings:
                trial.meet(_job_key(output, job), index, named)
        except GtlabelError:
            return None
        read.append(part)
    return read


class _Numbered:
    """Lines with the number of the one that was read last, and its bytes."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = lines
        self.number = 0
        self.last = b""

    def __iter__(self) -> Iterator[bytes]:
        for line in self._lines:
            self.number += 1
            self.last = line
            yield line


class _Reader:
    """Reads the labels of one job into the table."""

    def __init__(
        self,
        output: JobOutput,
        gathered: Gathered,
        ids: ClassIds,
        vocabulary: Vocabulary,
        choice: Choice,
        chains: bool,
    ) -> None:
        self._output = output
        self._attribute = output.attribute or ""
        self._gathered = gathered
        self._ids = ids
        self._vocabulary = vocabulary
        self._choice = choice if choice.filters else None
        self._add = gathered.table.add
        self._chains = chains
        self._states: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._others: set[str] = set()
        # What labels say is looked up a million times and found out once.
        self._known: dict[tuple[object, ...], int] = {}
        # Which job means which class by which index, in the order of the lines.
        self._meanings: dict[tuple[str | None, int, str], None] = {}

    def read(self, lines: _Numbered, on_bad: OnBad | None) -> None:
        attribute, states, tell = self._attribute, self._states, self._gathered.table.tell
        manifest, take, add, sayings = self._output.manifest, self._take, self._add, self._known
        plain = not self._chains and self._choice is None
        labeled = 0
        taker = self._counted(on_bad) if on_bad else None
        for record in read_records(lines, manifest, attribute=attribute, on_bad=taker):
            # Terms hold whatever becomes of the label.
            if record.mentions(MARK) and (origin := provenance(record)):
                tell(record.address, origin)
            told = record.single_label(attribute)
            if told:
                # Most lines of most jobs: what `take` would do with them, without a call for each.
                index, metadata = told
                said = (
                    index,
                    metadata.class_name,
                    metadata.job_name,
                    metadata.confidence,
                    metadata.human_annotated,
                )
                known = sayings.get(said, _REMOVED)
                if plain and known != _REMOVED:
                    add(record.address, known, metadata.creation_date)
                    labeled += 1
                    continue
            state: State = "labeled" if told else record.state(attribute)
            try:
                if told:
                    take(record, *told)
                elif state == "labeled":
                    take(record, record.class_index(attribute), self._metadata(record))
                elif state == "failed":
                    self._reasons[record.label(attribute).failure_reason or "no reason given"] += 1
                else:
                    self._others.update(record.attributes)
                states[state] += 1
            except ManifestError as error:
                if taker is None:
                    raise ManifestError(f"{manifest}, line {lines.number}: {error}") from error
                taker(lines.number, lines.last.rstrip(b"\r\n"), str(error))
        states["labeled"] += labeled

    def _metadata(self, record: ManifestRecord) -> LabelMetadata:
        try:
            return record.label(self._attribute)
        except LookupError:
            # A manifest made by hand may hold the bare index.
            return _NOT_SAID

    def _take(self, record: ManifestRecord, index: int, metadata: LabelMetadata) -> None:
        said = (
            index,
            metadata.class_name,
            metadata.job_name,
            metadata.confidence,
            metadata.human_annotated,
        )
        known = self._known.get(said)
        if known is None:
            known = self._known[said] = self._find_out(record, index, metadata)
        if self._chains:
            self._follow(record, metadata.job or self._name)
        if known == _REMOVED:
            self._states["removed"] += 1
        elif self._choice and not self._choice.admits(self._label(record, metadata, known)):
            self._states["left out"] += 1
        else:
            self._add(record.address, known, metadata.creation_date)

    def _find_out(self, record: ManifestRecord, index: int, metadata: LabelMetadata) -> int:
        """The number by which the table knows what a label says, or that its class is removed."""
        job = metadata.job
        key = _job_key(self._output, job)
        named = metadata.class_name or self._ids.name(key, index)
        if named is None:
            raise ManifestError(
                f"{record.source_ref} is of class {index}, and neither its line nor a class list says "
                "what that means; give the job's class list too"
            )
        self._ids.meet(key, index, named)
        self._meanings.setdefault((job, index, named))
        wanted = self._vocabulary.name(named)
        if wanted is None:
            return _REMOVED
        saying = Saying(wanted, named, job or self._name, metadata.confidence, metadata.by_human)
        return self._gathered.table.saying_id(saying)

    def _follow(self, record: ManifestRecord, job: str | None) -> None:
        """Note whose labels stood on the line when the job began: those it looked at again."""
        if job is None:
            return
        for attribute in record.attributes:
            if attribute == self._attribute:
                return
            earlier = record.label(attribute).job
            if earlier and earlier != job:
                self._gathered.adjustments.add((job, earlier))

    def _label(self, record: ManifestRecord, metadata: LabelMetadata, saying: int) -> Label:
        said = self._gathered.table.sayings[saying]
        return Label(
            record.address,
            said.class_name,
            said.job,
            said.confidence,
            said.by_human,
            metadata.creation_date,
        )

    @property
    def _name(self) -> str | None:
        return self._output.name.lower() if self._output.name else None

    def _counted(self, on_bad: OnBad) -> OnBad:
        def take(number: int, line: bytes, reason: str) -> None:
            self._states["bad"] += 1
            on_bad(number, line, reason)

        return take

    def part(self) -> Part:
        """What was read, for another reader to take over."""
        return Part(
            self._gathered.table,
            tuple(self._meanings),
            self._states,
            self._reasons,
            self._others,
            self._gathered.adjustments,
        )

    def take_over(self, part: Part) -> None:
        """Take what another reader read of the same manifest."""
        for job, index, named in part.meanings:
            self._ids.meet(_job_key(self._output, job), index, named)
        self._gathered.table.extend(part.table)
        self._gathered.adjustments.update(part.adjustments)
        self._states.update(part.states)
        self._reasons.update(part.reasons)
        self._others.update(part.others)

    def source(self) -> Source:
        return Source(
            manifest=self._output.manifest,
            attribute=self._attribute,
            labeled=self._states["labeled"],
            failed=self._states["failed"],
            unlabeled=self._states["unlabeled"],
            left_out=self._states["left out"],
            removed=self._states["removed"],
            bad=self._states["bad"],
            reasons=dict(sorted(self._reasons.items())),
        )

    def account(self) -> str:
        """Why there may be no labels, as a part of a sentence."""
        states, manifest = self._states, self._output.manifest
        if states["labeled"]:
            away = (
                f"{states['left out']} do not meet the conditions, {states['removed']} are of removed classes"
            )
            return f"of {states['labeled']} labels of {manifest} {away}"
        told = (
            f"{manifest} has no {self._attribute!r} label "
            f"({states['failed']} failed, {states['unlabeled']} not labeled)"
        )
        others = ", ".join(repr(name) for name in sorted(self._others))
        return f"{told}; its lines have {others}" if others else told


def _job_key(output: JobOutput, job: str | None) -> str:
    # AWS compares job names without regard to case and writes them in lower case.
    return (job or output.name or str(output.manifest)).lower()


def _class_list(s3: S3Client, output: JobOutput) -> ClassList:
    if isinstance(output.classes, str):
        uri = S3Uri(output.classes)
        return ClassList.from_json(read(s3, uri), uri)
    return check_classes(output.classes or (), f"the class list of {output.name or output.manifest}")


def _only_attribute(s3: S3Client, manifest: S3Uri, on_bad: OnBad | None) -> str:
    """The attribute of the first line that has any.

    Raises:
        DatasetError: if that line has several, or no line has one.
    """
    # The line is read once more with all the others, and set aside then.
    passed_over = (lambda *_: None) if on_bad else None
    for record in read_records(
        read_lines(s3, manifest, cut=on_bad is not None), manifest, on_bad=passed_over
    ):
        attributes = list(record.attributes)
        if len(attributes) > 1:
            raise DatasetError(
                f"{manifest} holds the labels of several jobs ({', '.join(attributes)}); say which to use"
            )
        if attributes:
            return attributes[0]
    raise DatasetError(f"no line of {manifest} has a label; has the job labeled anything yet?")
