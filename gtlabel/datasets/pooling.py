"""The answers of all workers of all jobs about a picture, counted together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from gtlabel.datasets.gather import JobOutput
from gtlabel.images.parallel import in_parallel
from gtlabel.manifests.answers import Answer, read_response, response_place
from gtlabel.manifests.lines import read_records
from gtlabel.manifests.vocabulary import Vocabulary
from gtlabel.storage import list_objects, read, read_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_WORKERS = 16


def pooled_votes(
    s3: S3Client,
    outputs: Sequence[JobOutput | S3Uri],
    images: Collection[str],
    vocabulary: Vocabulary,
    same: Mapping[str, str],
) -> Mapping[str, Mapping[str, int]]:
    """How many workers gave each class to each of these pictures, in all jobs together.

    A worker who saw a picture in several jobs, or was asked again, counts once, with the newest answer.
    Jobs whose answers are not beside their manifest any more have no say.

    Args:
        s3: the client; answers are read from several threads.
        outputs: the jobs.
        images: the pictures to count for; the answers about others are not read.
        vocabulary: what classes are called; answers with a removed class do not count.
        same: pictures whose answers count for another one, and for which.

    Raises:
        AnswerFileError: if a file of answers cannot be read.
    """
    newest: dict[tuple[str, str], tuple[datetime, str]] = {}
    for given in outputs:
        manifest = given.manifest if isinstance(given, JobOutput) else given
        for image, answers in _responses(s3, manifest, images, same):
            for answer in answers:
                chosen, key = answer.choice, (image, answer.worker_id)
                if chosen is not None and len(chosen) == 1:
                    # Of answers of one moment the class decides, not the order of the files.
                    given_now = (answer.submission_time, chosen[0])
                    newest[key] = max(newest.get(key, given_now), given_now)
    votes: dict[str, Counter[str]] = {}
    for (image, _), (_, said) in sorted(newest.items()):
        name = vocabulary.name(said)
        if name is not None:
            votes.setdefault(image, Counter())[name] += 1
    return votes


def _responses(
    s3: S3Client, manifest: S3Uri, images: Collection[str], same: Mapping[str, str]
) -> Iterator[tuple[str, tuple[Answer, ...]]]:
    """The answers to each of the pictures."""
    root = manifest.rpartition("/manifests/")[0]
    if not root:
        return
    # An object's number is that of its line, bad ones counted too.
    lines = enumerate(read_lines(s3, manifest))
    wanted = {
        number: image
        for number, line in lines
        for record in read_records([line], manifest, on_bad=_told_before)
        if (image := same.get(record.address, record.address)) in images
    }
    files: list[tuple[S3Uri, str]] = []
    for item in list_objects(s3, S3Uri(f"{root}/annotations/worker-response/")):
        place = response_place(item.uri)
        if place is not None and place[1] in wanted:
            files.append((item.uri, wanted[place[1]]))

    def answers(file: tuple[S3Uri, str]) -> tuple[Answer, ...]:
        return read_response(read(s3, file[0]), file[0])

    for (_, image), said in in_parallel(answers, files, _WORKERS):
        yield image, said


def _told_before(*_: object) -> None:
    """The line was set aside when the labels were read."""
