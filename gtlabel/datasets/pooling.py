"""The answers of all workers of all jobs about a picture, counted together."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gtlabel.datasets.gather import JobOutput
from gtlabel.manifests.lines import read_records
from gtlabel.manifests.vocabulary import Vocabulary
from gtlabel.storage import list_objects, read, read_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


def pooled_votes(
    s3: S3Client, outputs: Sequence[JobOutput | S3Uri], images: Collection[str], vocabulary: Vocabulary
) -> Mapping[str, Mapping[str, int]]:
    """How many workers gave each class to each of these pictures, in all jobs together.

    A worker who saw a picture in several jobs, or was asked again, counts once, with the newest answer.
    Jobs whose answers are not beside their manifest any more have no say.

    Args:
        s3: the client.
        outputs: the jobs.
        images: the pictures to count for; the answers about others are not read.
        vocabulary: what classes are called; answers with a removed class do not count.
    """
    newest: dict[tuple[str, str], tuple[str, str]] = {}
    for given in outputs:
        manifest = given.manifest if isinstance(given, JobOutput) else given
        for image, document in _responses(s3, manifest, images):
            for worker, moment, said in _answers(document):
                if moment >= newest.get((image, worker), ("", ""))[0]:
                    newest[image, worker] = (moment, said)
    votes: dict[str, Counter[str]] = {}
    for (image, _), (_, said) in sorted(newest.items()):
        name = vocabulary.name(said)
        if name is not None:
            votes.setdefault(image, Counter())[name] += 1
    return votes


def _responses(s3: S3Client, manifest: S3Uri, images: Collection[str]) -> Iterator[tuple[str, Any]]:
    """The answers to each of the pictures, oldest iteration first."""
    root = manifest.rpartition("/manifests/")[0]
    if not root:
        return
    # The object id is the number of the line, from 0 (tests/recorded/ground-truth-job/README.md).
    records = enumerate(read_records(read_lines(s3, manifest), manifest, on_bad=_ignored))
    wanted = {
        str(number): str(record.source_ref) for number, record in records if record.source_ref in images
    }
    folder = S3Uri(f"{root}/annotations/worker-response/")
    for item in list_objects(s3, folder):
        number = item.uri.folder.rstrip("/").rpartition("/")[2]
        if number in wanted:
            yield wanted[number], json.loads(read(s3, item.uri))


def _ignored(*_: object) -> None:
    """The line was reported when the labels were read."""


def _answers(document: Any) -> Iterator[tuple[str, str, str]]:
    """Worker, time and class of each answer of a worker-response file (contract/ground-truth.md §5.3)."""
    for answer in document.get("answers", ()):
        for element in answer.get("answerContent", {}).values():
            said = element.get("label") if isinstance(element, dict) else None
            if isinstance(said, str):
                yield str(answer.get("workerId", "")), str(answer.get("submissionTime", "")), said
