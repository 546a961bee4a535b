"""What a second look at labels leads to: its results image by image, and the labels corrected by them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gtlabel.errors import LabelingJobError, ManifestError
from gtlabel.labeling.audits import Audit, read_audit
from gtlabel.labeling.jobs import LabelingJob
from gtlabel.labeling.outcome import records
from gtlabel.manifests.classes import ClassList
from gtlabel.manifests.lines import write_record
from gtlabel.manifests.records import ManifestRecord
from gtlabel.storage import read, write_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True)
class Audited:
    """One image of a job that looked at labels again.

    Attributes:
        record: its line.
        attribute: where the job wrote what people said.
        audited: where the label stands that they looked at.
        audit: what they said; None where nobody did.
    """

    record: ManifestRecord
    attribute: str
    audited: str
    audit: Audit | None

    def to_json(self) -> dict[str, Any]:
        """What became of the image, as plain JSON values."""
        values: dict[str, Any] = {"image": str(self.record.source_ref), "outcome": "unseen"}
        if self.audit is None:
            return values
        comments = [opinion.comment for opinion in self.audit.opinions if opinion.comment]
        return {
            **values,
            "outcome": self.audit.outcome,
            "before": self.audit.before,
            "label": self.audit.label,
            "agreement": round(self.audit.agreement, 2),
            "comments": comments,
        }


def read_audits(s3: S3Client, job: LabelingJob, audited: str | None = None) -> Iterator[Audited]:
    """Yield what a verification or adjustment job found out, image by image.

    Args:
        s3: the client.
        job: the job, which has ended.
        audited: the attribute whose labels were looked at; by default the only other one with a class.

    Raises:
        LabelingJobError: if several attributes could be meant, or none.
        ManifestError: if the answers are not those of our pages.
    """
    for record in records(s3, job):
        name = audited or _audited(record, job)
        yield Audited(record, job.attribute, name, read_audit(record, job.attribute, name))


def corrected(image: Audited, classes: ClassList) -> ManifestRecord:
    """The record as the earlier job would have written it, had it known.

    What was confirmed stays as it is, and so does what nobody looked at. What was rejected or is disputed
    loses its label, so that it can be labeled again. What people said is left out.

    Args:
        image: the image.
        classes: the class list of the earlier job; the label is a position in it.

    Raises:
        ManifestError: if the label is none of the classes.
    """
    record = image.record
    said = record.get(f"{image.attribute}-metadata", {})
    cleared = record.without(image.attribute, f"{image.attribute}-metadata")
    audit = image.audit
    if audit is None or audit.outcome == "confirmed":
        return cleared
    earlier = record.get(f"{image.audited}-metadata", {})
    cleared = cleared.without(image.audited, f"{image.audited}-metadata")
    if audit.outcome != "changed" or audit.label is None:
        return cleared
    if audit.label not in classes.names:
        raise ManifestError(
            f"{record.source_ref}: {audit.label!r} is none of the classes {', '.join(classes)}"
        )
    metadata = {
        **(earlier if isinstance(earlier, Mapping) else {}),
        # Of workers who agree, as far as they do; not the confidence of an algorithm.
        "confidence": round(audit.agreement, 2),
        "job-name": said.get("job-name"),
        "class-name": audit.label,
        "human-annotated": "yes",
        "creation-date": said.get("creation-date"),
        "type": "groundtruth/image-classification",
        "adjustment-status": "adjusted",
    }
    return cleared.having(
        {image.audited: classes.names.index(audit.label), f"{image.audited}-metadata": metadata}
    )


def write_corrected(s3: S3Client, images: Iterable[Audited], class_list: S3Uri, into: S3Uri) -> int:
    """Write the corrected labels as a manifest that `gtlabel consolidate` and any job can read.

    Args:
        s3: the client.
        images: what `read_audits` yields.
        class_list: the class list of the job whose labels were looked at.
        into: where the manifest goes.

    Returns:
        The number of lines.

    Raises:
        ClassListError: if the class list is none.
        ManifestError: if a label is none of the classes.
    """
    classes = ClassList.from_json(read(s3, class_list), class_list)
    return write_lines(s3, into, (write_record(corrected(image, classes)) for image in images))


def _audited(record: ManifestRecord, job: LabelingJob) -> str:
    names = [
        name
        for name in record.attributes
        if name != job.attribute and record.state(name) == "labeled" and record.label(name).class_name
    ]
    if len(names) != 1:
        which = f"one of {', '.join(names)}" if names else "the attribute whose labels were looked at"
        raise LabelingJobError(
            f"the labeling job {job.name!r} could be about {len(names)} labels of {record.source_ref}; "
            f"name {which} with --audited"
        )
    return names[0]
