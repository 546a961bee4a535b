"""The S3 tree that Ground Truth leaves: the names and the bytes of every file.

Shapes, key order and time formats are those of recorded jobs (contract/ground-truth.md 5); nothing here
touches S3 or the database.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import UUID

from gtlabel.engine.entries import Answer, Answered, Line
from gtlabel.engine.jobs import Job, JobKey, Kind
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from gtlabel.engine.consensus import Label

# Per-object failure, verbatim with its two spaces after stops (contract 11.1, text 1).
EXPIRED = (
    "ClientError: Annotation tasks expired.  Probable Reasons are "
    "1) TaskAvailabilityLifetimeInSeconds parameter is too small.  "
    "2) Reward is too low for workers to work on the task.  "
    "3) If you use a custom html template, your template may be broken.  "
    "4) Data (image/video/text) sent for annotation is broken or too big, preventing completion.  "
    "5) All workers declined the tasks."
)

_TYPES = {
    Kind.SINGLE: "groundtruth/image-classification",
    Kind.MULTI: "groundtruth/image-classification-multilabel",
}
# A string as it is, or white space between tokens.
_STRING_OR_SPACE = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t\r\n]+')
_decode = json.JSONDecoder().raw_decode


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a worker is to the provider that they signed in with."""

    sub: str
    issuer: str
    provider: str = "Cognito"


@dataclass(frozen=True, slots=True)
class Tree:
    """The addresses of a job's files, below `<S3OutputPath>/<job name>`."""

    root: S3Uri

    @property
    def output_manifest(self) -> S3Uri:
        """The augmented manifest: what the job is for."""
        return self.root / "manifests/output/output.manifest"

    @property
    def intermediate_manifest(self) -> S3Uri:
        """The same while the job runs, with what there is so far."""
        return self.root / "manifests/intermediate/1/output.manifest"

    @property
    def redundancy(self) -> S3Uri:
        """How many answers were asked for, and saved; Ground Truth knows no such thing."""
        return self.root / "gtlabel/redundancy.json"

    @property
    def withdrawn(self) -> S3Uri:
        """Whose answers count no more, though they stay among the worker responses."""
        return self.root / "gtlabel/withdrawn.json"

    def sent(self, iteration: int) -> S3Uri:
        """The images that an iteration sends to workers."""
        return self.root / f"annotations/intermediate/{iteration}/annotations.json"

    def worker_response(self, iteration: int, number: int, moment: datetime) -> S3Uri:
        """All answers about one image."""
        folder = f"annotations/worker-response/iteration-{iteration}/{number}"
        return self.root / f"{folder}/{_stamp(moment)}.json"

    def consolidation_request(self, iteration: int, moment: datetime) -> S3Uri:
        """The answers of a batch, as a consolidation Lambda would get them."""
        return self._consolidation("request", iteration, moment)

    def consolidation_response(self, iteration: int, moment: datetime) -> S3Uri:
        """The labels of a batch, as it would return them."""
        return self._consolidation("response", iteration, moment)

    def _consolidation(self, part: str, iteration: int, moment: datetime) -> S3Uri:
        folder = f"annotations/consolidated-annotation/consolidation-{part}/iteration-{iteration}"
        return self.root / f"{folder}/{_stamp(moment)}.json"


def manifest_line(attribute: str, line: Line) -> bytes:
    """One line of an output manifest.

    An image without a label keeps its line as it came. Where a label joins, the line is written without
    spaces, but keys, their order, and the spelling of every number and string stay as they came; keys that
    a failed job before left under the same names go.
    """
    # Whoever is asked again about an image has not taken its label away.
    if line.label:
        joined = [f'"{attribute}":{line.label}', f'"{attribute}-metadata":{line.metadata}']
    elif line.state == "failed":
        joined = [f'"{attribute}-metadata":{line.metadata or failure(EXPIRED)}']
    else:
        return line.line.encode()
    own = (attribute, f"{attribute}-metadata")
    kept = [text for name, text in members(line.line) if name not in own]
    return ("{" + ",".join([*kept, *joined]) + "}").encode()


def failure(reason: str) -> str:
    """The metadata of an image that failed, as JSON (contract 5.2)."""
    return compact({"retry-count": 1, "failure-reason": reason, "human-annotated": "true"})


def members(line: str) -> Iterator[tuple[str, str]]:
    """The members of a JSON object: name, and the whole member's text without white space between tokens."""
    text = _STRING_OR_SPACE.sub(lambda match: match[1] or "", line)
    position = 1
    while text[position] != "}":
        name, colon = _decode(text, position)
        _, end = _decode(text, colon + 1)
        yield name, text[position:end]
        position = end + (text[end] == ",")


def label_of(job: Job, labels: Sequence[Label], moment: datetime) -> tuple[Any, dict[str, Any]]:
    """The value and the metadata that an image's labels become, keys in the recorded order."""
    about = {
        "job-name": f"labeling-job/{job.key.name.lower()}",
        "human-annotated": "yes",
        "creation-date": moment.strftime("%Y-%m-%dT%H:%M:%S.%f"),
        "type": _TYPES[job.spec.kind],
    }
    if job.spec.kind is Kind.SINGLE:
        (label,) = labels
        return label.index, {
            "confidence": label.confidence,
            "job-name": about["job-name"],
            "class-name": job.classes[label.index],
            "human-annotated": about["human-annotated"],
            "creation-date": about["creation-date"],
            "type": about["type"],
        }
    return [label.index for label in labels], {
        "job-name": about["job-name"],
        "class-map": {str(label.index): job.classes[label.index] for label in labels},
        "human-annotated": about["human-annotated"],
        "creation-date": about["creation-date"],
        "confidence-map": {str(label.index): label.confidence for label in labels},
        "type": about["type"],
    }


def all_answers(key: JobKey, image: Answered) -> dict[str, Any]:
    """The value of an image of a custom job without a function: every answer, with nothing made of them.

    The shape is that of AWS's own sample function and of manifests that people published.
    """
    return {"annotationsFromAllWorkers": _annotations(key, image)}


def custom_metadata(job: Job, moment: datetime) -> dict[str, Any]:
    """The metadata of an image of a custom job, as the service writes it where the function gives none."""
    return {
        "type": "groundtruth/custom",
        "job-name": f"labeling-job/{job.key.name.lower()}",
        "human-annotated": "yes",
        "creation-date": moment.strftime("%Y-%m-%dT%H:%M:%S+0000"),
    }


def sent_line(number: int, line: str) -> bytes:
    """One line of the file that lists what an iteration sends out."""
    return compact({"datasetObjectId": str(number), "manifestLine": line}).encode()


def worker_response(
    key: JobKey, image: Answered, identify: Callable[[str], Identity | None] = lambda _worker: None
) -> bytes:
    """The file of all answers about one image, in the shape in use since 2020 (contract 5.3).

    Args:
        key: the job.
        image: the image and its answers.
        identify: tells who a worker is; whom it does not know gets an identity that is made up.
    """
    answers = [_answer(key, answer, identify(answer.worker)) for answer in image.answers]
    return compact({"answers": answers}).encode()


def consolidation_request(key: JobKey, images: Sequence[Answered]) -> bytes:
    """The payload file of a batch (contract 6.3)."""
    return compact(
        [
            {
                "datasetObjectId": str(image.object),
                "dataObject": _data_object(image),
                "annotations": _annotations(key, image),
            }
            for image in images
        ]
    ).encode()


def consolidation_response(attribute: str, labels: Sequence[tuple[int, Any, dict[str, Any]]]) -> bytes:
    """What consolidating a batch gave: number, label and metadata of each image."""
    return compact(
        [
            {
                "datasetObjectId": str(number),
                "consolidatedAnnotation": {"content": {attribute: label, f"{attribute}-metadata": metadata}},
            }
            for number, label, metadata in labels
        ]
    ).encode()


def returned(value: Any) -> bytes:
    """What a job's own function returned for a batch, in place of the service's response."""
    text = compact(value)
    return text.encode() if is_text(text) else json.dumps(value, separators=(",", ":")).encode()


def worker_id(key: JobKey, worker: str) -> str:
    """What AWS would call this worker of a private team; the same in every job of the account."""
    return f"private.{key.region}.{_digest(key, worker).hex()[:16]}"


def compact(value: Any) -> str:
    """JSON as Ground Truth writes it: without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def is_text(text: str) -> bool:
    """Whether it can be written as UTF-8; JSON escapes can spell halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _data_object(image: Answered) -> dict[str, str]:
    return {"s3Uri": image.source_ref} if image.source_ref else {"content": json.loads(image.line)["source"]}


def _annotations(key: JobKey, image: Answered) -> list[dict[str, Any]]:
    return [
        {"workerId": worker_id(key, answer.worker), "annotationData": {"content": answer.content}}
        for answer in image.answers
    ]


def _answer(key: JobKey, answer: Answer, identity: Identity | None) -> dict[str, Any]:
    if identity is None:
        issuer = f"https://cognito-idp.{key.region}.amazonaws.com/{key.region}_gtlabel01"
        identity = Identity(str(UUID(bytes=_digest(key, answer.worker)[16:], version=4)), issuer)
    return {
        "acceptanceTime": _milliseconds(answer.accepted),
        "answerContent": json.loads(answer.content),
        "submissionTime": _milliseconds(answer.submitted),
        "timeSpentInSeconds": answer.active_seconds,
        "workerId": worker_id(key, answer.worker),
        "workerMetadata": {
            "identityData": {
                "identityProviderType": identity.provider,
                "issuer": identity.issuer,
                "sub": identity.sub,
            }
        },
    }


def _digest(key: JobKey, worker: str) -> bytes:
    return sha256(f"{key.account}/{key.region}/{worker}".encode()).digest()


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d_%H:%M:%S")


def _milliseconds(moment: datetime) -> str:
    return f"{moment.strftime('%Y-%m-%dT%H:%M:%S')}.{moment.microsecond // 1000:03d}Z"
