"""What labeling jobs left in S3, read for what is still to be done: failures, gaps, doubts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from gtlabel.errors import LabelingJobError
from gtlabel.manifests.answers import choice, read_request, read_response, response_place
from gtlabel.manifests.lines import read_records
from gtlabel.manifests.records import LabelMetadata, ManifestRecord
from gtlabel.storage import list_objects, read, read_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from gtlabel.labeling.jobs import LabelingJob

# How many small files of answers are fetched at once.
_READERS = 16


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that a job gave up on, and why."""

    image: S3Uri
    reason: str


def failures(s3: S3Client, job: LabelingJob) -> Iterator[Failure]:
    """Yield the images of an ended job that failed, in the order of its manifest."""
    for record in records(s3, job):
        if record.state(job.attribute) == "failed":
            reason = record.label(job.attribute).failure_reason
            yield Failure(record.source_ref, reason or "the job does not say why")


def unlabeled(s3: S3Client, jobs: Sequence[LabelingJob]) -> Iterator[ManifestRecord]:
    """Yield the records of the images that jobs have not labeled, ready to be labeled by another.

    What a failed attempt wrote about them is taken out, so that the next job finds them untouched
    (contract/ground-truth.md section 9).
    """
    for job in jobs:
        for record in records(s3, job):
            if record.state(job.attribute) != "labeled":
                yield record.without(f"{job.attribute}-metadata", job.attribute)


def doubtful(
    s3: S3Client, jobs: Sequence[LabelingJob], *, below: float | None, disputed: bool
) -> Iterator[ManifestRecord]:
    """Yield the records of the labeled images that another look may do good.

    Args:
        s3: the client.
        jobs: jobs that have ended.
        below: those whose confidence, or that of one of their classes, is less.
        disputed: those about which the workers did not all say the same.
    """
    for job in jobs:
        at_odds = disputed_images(s3, job) if disputed else frozenset[int]()
        for number, record in enumerate(records(s3, job)):
            if record.state(job.attribute) != "labeled":
                continue
            if number in at_odds or (below is not None and _confidence(record.label(job.attribute)) < below):
                yield record


def disputed_images(s3: S3Client, job: LabelingJob) -> frozenset[int]:
    """The numbers of the images, counted from 0 along the output manifest, whose workers disagree.

    The answers are read from the batches that were consolidated, 50 images in a file, or where a job
    left none of those from the worker responses, one file for each image.

    Raises:
        LabelingJobError: if the job left neither, as one does that nobody answered.
        AnswerFileError: if a file cannot be read.
    """
    folder = job.output / job.name / "annotations"
    seen = 0
    found: set[int] = set()
    for uri, document in _fetched(s3, folder / "consolidated-annotation/consolidation-request/"):
        for item in read_request(document, uri):
            seen += 1
            if len({_choice(each.content) for each in item.annotations}) > 1:
                found.add(item.number)
    if seen:
        return frozenset(found)
    for uri, document in _fetched(s3, folder / "worker-response/"):
        place = response_place(uri)
        if place is None:
            continue
        seen += 1
        if len({_choice(answer.answer_content) for answer in read_response(document, uri)}) > 1:
            found.add(place[1])
    if not seen:
        raise LabelingJobError(f"the labeling job {job.name!r} left no answers under {folder}/")
    return frozenset(found)


def records(s3: S3Client, job: LabelingJob) -> Iterator[ManifestRecord]:
    """Yield the records of the last manifest that a job wrote, or of the one it was given."""
    manifest = last_manifest(s3, job)
    return read_records(read_lines(s3, manifest), manifest)


def last_manifest(s3: S3Client, job: LabelingJob) -> S3Uri:
    """The output manifest; of a job that broke off what it wrote on the way, or else its input.

    Raises:
        LabelingJobError: if there is none of them, as with a streaming job that nothing was sent to.
    """
    if job.output_manifest is not None:
        return job.output_manifest
    written = list_objects(s3, job.output / job.name / "manifests/")
    found = [stored.uri for stored in written if stored.uri.name == "output.manifest"]
    # The final one before those on the way, and of those the last.
    found.sort(key=lambda uri: ("/manifests/output/" in uri, len(uri), uri))
    if found:
        return found[-1]
    if job.manifest is None:
        raise LabelingJobError(f"the labeling job {job.name!r} has no manifest, neither input nor output")
    return job.manifest


def _confidence(label: LabelMetadata) -> float:
    """The confidence of a label, of several classes that of the least certain."""
    if label.confidence_map:
        return min(label.confidence_map.values())
    return 1.0 if label.confidence is None else label.confidence


def _choice(content: Mapping[str, Any] | None) -> tuple[str, ...] | str:
    """What a worker said, in a form that can be compared, whatever the page asks."""
    chosen = None if content is None else choice(content)
    return chosen or json.dumps(content, sort_keys=True)


def _fetched(s3: S3Client, folder: S3Uri) -> Iterator[tuple[S3Uri, bytes]]:
    """Yield the files below a folder, several fetched at once, a thousand at most held."""

    def fetch(uri: S3Uri) -> tuple[S3Uri, bytes]:
        return uri, read(s3, uri)

    with ThreadPoolExecutor(_READERS) as pool:
        for addresses in _in_batches((stored.uri for stored in list_objects(s3, folder)), 1_000):
            yield from pool.map(fetch, addresses)


def _in_batches(items: Iterator[S3Uri], size: int) -> Iterator[list[S3Uri]]:
    while batch := list(islice(items, size)):
        yield batch
