"""From the output manifests of labeling jobs to class folders and channels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gtlabel.datasets.channels import (
    LABEL_ATTRIBUTE,
    ClassFolder,
    Dataset,
    Disagreement,
    Source,
    channel_lines,
    describe_channel,
    publish,
    withdraw,
)
from gtlabel.datasets.copying import Progress, copy_missing, present_copies
from gtlabel.datasets.folders import find, folder_of, place
from gtlabel.errors import DatasetError, ManifestError
from gtlabel.manifests.classes import ClassIds, ClassList, check_classes, reconcile
from gtlabel.manifests.lines import read_records
from gtlabel.manifests.merge import Label, merge
from gtlabel.manifests.records import LabelMetadata, ManifestRecord
from gtlabel.manifests.split import Shares, channel_of, loans
from gtlabel.storage import read, read_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# What still leaves room in a key of 1,024 bytes for a class and a file name.
_MAX_INTO_BYTES = 600


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


def consolidate(
    s3: S3Client,
    outputs: Sequence[JobOutput | S3Uri],
    into: S3Uri,
    *,
    validation: float = 0.2,
    rename: Mapping[str, str] | None = None,
    workers: int = 16,
    on_progress: Progress | None = None,
) -> Dataset:
    """Make one dataset of what labeling jobs left, with one integer label that means the same everywhere.

    Images are copied inside S3. Running it again continues where an interrupted run ended, copies
    nothing twice and ends in the same bytes. Images without a label are counted and left out.

    Args:
        s3: the client; copies use it from several threads.
        outputs: the jobs; their order is the order of the classes.
        into: where the dataset goes.
        validation: the share of images for validation; see `gtlabel.manifests.split.split`.
        rename: other names for classes, to join what jobs spelled differently.
        workers: how many copies run at once.
        on_progress: called with images done and in all, from one thread at a time.

    Raises:
        DatasetError: if there is nothing to train with, or `into` holds something else.
        ClassListError: if the jobs' classes contradict each other.
        ManifestLineError: at the first line that is not a record.
    """
    if not outputs:
        raise DatasetError("no job is given; name at least one labeling job")
    shares = Shares(validation=validation)
    if len(into.key.encode()) > _MAX_INTO_BYTES:
        raise DatasetError(f"{into} is too long an address to put class folders below it")
    into = S3Uri(into.rstrip("/") + "/")
    gathered = _gather(s3, outputs, rename or {})
    if not gathered.labels:
        raise DatasetError("there is no labeled image: " + "; ".join(gathered.accounts))
    merged = merge(gathered.labels)
    classes = reconcile(gathered.lists, {label.class_name for label in merged.labels})
    objects = find(s3, (label.image for label in merged.labels))
    labels = [label for label in merged.labels if label.image in objects]
    missing = tuple(label.image for label in merged.labels if label.image not in objects)
    _refuse_what_cannot_train(labels, missing)

    placements = place(((objects[label.image], label.class_name) for label in labels), into)
    copies = {image: placement.target for image, placement in placements.items()}
    lent = loans((label.image for label in labels), shares)
    channels = {label.image: lent.get(label.image) or channel_of(label.image, shares) for label in labels}
    members = {name: [label for label in labels if channels[label.image] == name] for name in shares.channels}
    counts = {name: Counter(label.class_name for label in members[name]) for name in shares.channels}
    dataset = Dataset(
        uri=into,
        attribute=LABEL_ATTRIBUTE,
        classes=tuple(
            ClassFolder(
                name=name,
                folder=into / "classes" / f"{folder_of(name)}/",
                train=counts["train"][name],
                validation=counts["validation"][name],
            )
            for name in classes
        ),
        channels={
            name: describe_channel(into / f"{name}.manifest", channel_lines(members[name], copies, classes))
            for name in shares.channels
        },
        sources=gathered.sources,
        validation=validation,
        repeated=merged.repeated,
        disagreements=tuple(
            Disagreement(
                image=conflict.kept.image,
                kept=conflict.kept.class_name,
                dropped=tuple(label.class_name for label in conflict.dropped),
            )
            for conflict in merged.conflicts
        ),
        missing=missing,
    )
    present = present_copies(s3, into, placements.values())
    withdraw(s3, dataset)
    copy_missing(s3, list(placements.values()), present, workers, on_progress)
    publish(s3, dataset, {name: channel_lines(members[name], copies, classes) for name in shares.channels})
    return dataset


@dataclass(slots=True)
class _Gathered:
    """What the manifests of all jobs say."""

    labels: list[Label] = field(default_factory=list)
    lists: list[Sequence[str]] = field(default_factory=list)
    sources: tuple[Source, ...] = ()
    accounts: list[str] = field(default_factory=list)


def _gather(s3: S3Client, outputs: Sequence[JobOutput | S3Uri], rename: Mapping[str, str]) -> _Gathered:
    gathered = _Gathered()
    ids = ClassIds()
    for position, given in enumerate(outputs):
        if given in outputs[:position]:
            continue
        output = given if isinstance(given, JobOutput) else JobOutput(given)
        if output.attribute is None:
            output = replace(output, attribute=_only_attribute(s3, output.manifest))
        if output.classes is not None:
            classes = _class_list(s3, output)
            ids.declare(_job_key(output, None), classes)
            gathered.lists.append([rename.get(name, name) for name in classes])
        tally = _Tally()
        for label in _labels(s3, output, ids, tally):
            name = rename.get(label.class_name, label.class_name)
            gathered.labels.append(replace(label, class_name=name))
        gathered.sources += (tally.source(output),)
        gathered.accounts.append(tally.account(output))
    return gathered


@dataclass(slots=True)
class _Tally:
    """What became of the images of one job."""

    states: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    others: set[str] = field(default_factory=set)

    def account(self, output: JobOutput) -> str:
        """Why there may be no labels, as a part of a sentence."""
        failed, unlabeled = self.states["failed"], self.states["unlabeled"]
        told = (
            f"{output.manifest} has no {output.attribute!r} label ({failed} failed, {unlabeled} not labeled)"
        )
        others = ", ".join(repr(name) for name in sorted(self.others))
        return f"{told}; its lines have {others}" if others else told

    def source(self, output: JobOutput) -> Source:
        return Source(
            manifest=output.manifest,
            attribute=output.attribute or "",
            labeled=self.states["labeled"],
            failed=self.states["failed"],
            unlabeled=self.states["unlabeled"],
            reasons=dict(sorted(self.reasons.items())),
        )


def _labels(s3: S3Client, output: JobOutput, ids: ClassIds, tally: _Tally) -> Iterator[Label]:
    attribute = output.attribute or ""
    for record in read_records(read_lines(s3, output.manifest), output.manifest):
        state = record.state(attribute)
        tally.states[state] += 1
        try:
            if state == "labeled":
                yield _label(record, attribute, output, ids)
            elif state == "failed":
                tally.reasons[record.label(attribute).failure_reason or "no reason given"] += 1
            else:
                tally.others.update(record.attributes)
        except ManifestError as error:
            raise ManifestError(f"{output.manifest}: {error}") from error


def _label(record: ManifestRecord, attribute: str, output: JobOutput, ids: ClassIds) -> Label:
    # A manifest made by hand may hold the bare index.
    bare = attribute not in record.attributes
    metadata = LabelMetadata() if bare else record.label(attribute)
    index = record.class_index(attribute)
    job = _job_key(output, metadata.job)
    name = metadata.class_name or ids.name(job, index)
    if name is None:
        raise ManifestError(
            f"{record.source_ref} is of class {index}, and neither its line nor a class list says "
            "what that means; give the job's class list too"
        )
    ids.meet(job, index, name)
    return Label(
        record.source_ref,
        name,
        job=metadata.job or (output.name.lower() if output.name else None),
        confidence=metadata.confidence,
        by_human=metadata.by_human,
        created=metadata.creation_date,
    )


def _job_key(output: JobOutput, job: str | None) -> str:
    # AWS compares job names without regard to case and writes them in lower case.
    return (job or output.name or str(output.manifest)).lower()


def _class_list(s3: S3Client, output: JobOutput) -> ClassList:
    if isinstance(output.classes, str):
        uri = S3Uri(output.classes)
        return ClassList.from_json(read(s3, uri), uri)
    return check_classes(output.classes or (), f"the class list of {output.name or output.manifest}")


def _only_attribute(s3: S3Client, manifest: S3Uri) -> str:
    """The attribute of the first line that has any.

    Raises:
        DatasetError: if that line has several, or no line has one.
    """
    for record in read_records(read_lines(s3, manifest), manifest):
        attributes = list(record.attributes)
        if len(attributes) > 1:
            raise DatasetError(
                f"{manifest} holds the labels of several jobs ({', '.join(attributes)}); say which to use"
            )
        if attributes:
            return attributes[0]
    raise DatasetError(f"no line of {manifest} has a label; has the job labeled anything yet?")


def _refuse_what_cannot_train(labels: Sequence[Label], missing: Sequence[S3Uri]) -> None:
    if not labels:
        raise DatasetError(
            f"none of the {len(missing)} labeled images is in S3 any more; the first was {missing[0]}"
        )
    sizes = Counter(label.class_name for label in labels)
    if len(sizes) < 2:
        raise DatasetError(
            f"all {len(labels)} labeled images are {labels[0].class_name!r}; "
            "a classifier needs images of at least two classes"
        )
    if max(sizes.values()) < 2:
        raise DatasetError(
            "no class has two labeled images, so none would be left to validate with; label more"
        )
