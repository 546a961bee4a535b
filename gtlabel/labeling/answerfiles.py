"""Where a job's answers lie: in S3 below its output, or in a folder that was downloaded from there.

A folder may be the job's own, the one above it with several jobs, or one that holds no more than
`worker-response/`; the layout below is that of contract/ground-truth.md §5.1. Answers that no job of Ground
Truth got lie in a table, which is read as the only file of a job.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gtlabel.errors import LabelingJobError
from gtlabel.labeling.answertables import is_table
from gtlabel.labeling.groups import describe_labeling
from gtlabel.labeling.jobs import ENDED, LabelingJob
from gtlabel.storage import list_objects, read, read_file_lines, read_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from gtlabel.aws import Aws

_RESPONSE = re.compile(r"(?:annotations/)?worker-response/iteration-\d+/\d+/[^/]+\.json$")
_REQUEST = re.compile(r"annotations/consolidated-annotation/consolidation-request/iteration-\d+/[^/]+\.json$")
_MANIFEST = re.compile(r"(?:manifests/(?:output|intermediate/\d+)/)?[^/]*output[^/]*\.manifest[^/]*$")
# What gtlabel's own engine leaves beside the answers: see gtlabel.engine.withdrawal.
_WITHDRAWN = re.compile(r"gtlabel/withdrawn\.json$")
_CLASSES = re.compile(r"annotation-tool/data\.json$")
_INSIDE = re.compile(r"/(?:annotations|worker-response)(?:/.*)?$", re.DOTALL)


@dataclass(slots=True)
class AnswerFolder:
    """The files of one job that its answers can be read from.

    Attributes:
        name: the job, or what its folder is called.
        place: the S3 address or path of its folder.
        fetch: reads one of the files.
        stream: reads one of them line by line.
        responses: files with all answers about one picture.
        requests: files with a batch of pictures, as they were given to be consolidated.
        manifests: augmented manifests, the final one before those on the way.
        classes: the file with the class list; None where it is not known.
        withdrawn: the file with the workers whose answers count no more; None where all count.
        attribute: under which key the job writes its label; None where it is not known.
        table: the table with the answers, in the place of all others; None where there is none.
        gold: the true class of pictures, as far as the table has them and was read.
        going_on: whether it is known that more answers may come.
    """

    name: str
    place: str
    fetch: Callable[[str], bytes]
    stream: Callable[[str], Iterator[bytes]]
    responses: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    manifests: list[str] = field(default_factory=list)
    classes: str | None = None
    withdrawn: str | None = None
    attribute: str | None = None
    table: str | None = None
    gold: dict[str, str] = field(default_factory=dict)
    going_on: bool = False


def find_folders(aws: Callable[[], Aws], places: Sequence[str | LabelingJob]) -> list[AnswerFolder]:
    """The jobs that lie at some places, in the order given, each with at least one file of answers.

    Args:
        aws: gives the account; not called when all places are folders on this machine.
        places: names of jobs or of groups of jobs, S3 prefixes, folders, tables (.csv, .tsv), or jobs that
            were looked up.

    Raises:
        JobNotFoundError: if a name is none of a job.
        LabelingJobError: if there are no answers at a place.
    """
    found: list[AnswerFolder] = []
    for place in places:
        if isinstance(place, LabelingJob):
            found.append(_of_job(aws(), place))
        elif not place:
            # It would be this folder, and is rather a variable that somebody forgot to set.
            raise LabelingJobError("an empty text names no job, no folder and no table of answers")
        elif is_table(place):
            found.append(_of_table(aws, place))
        elif place.startswith("s3://"):
            found.extend(_in_s3(aws(), S3Uri(place)))
        elif "/" in place or Path(place).is_dir():
            found.extend(_on_disk(Path(place)))
        else:
            clients = aws()
            group = describe_labeling(clients.sagemaker, clients.s3, place)
            found.extend(_of_job(clients, job) for job in group.jobs)
    return found


def _of_job(aws: Aws, job: LabelingJob) -> AnswerFolder:
    folder = _in_s3(aws, job.output / job.name)[0]
    folder.name, folder.attribute, folder.classes = job.name, job.attribute, job.classes
    folder.going_on = job.status not in ENDED
    if job.output_manifest is not None:
        folder.manifests = [job.output_manifest]
    return folder


def _of_table(aws: Callable[[], Aws], place: str) -> AnswerFolder:
    name = place.rpartition("/")[2]
    if place.startswith("s3://"):
        s3 = aws().s3
        return AnswerFolder(
            name,
            place,
            lambda table: read(s3, S3Uri(table)),
            lambda table: read_lines(s3, S3Uri(table)),
            table=place,
        )
    if not Path(place).is_file():
        raise LabelingJobError(f"there is no table {place}")
    return AnswerFolder(
        name,
        place,
        lambda table: Path(table).read_bytes(),
        lambda table: read_file_lines(Path(table)),
        table=place,
    )


def _in_s3(aws: Aws, place: S3Uri) -> list[AnswerFolder]:
    place = S3Uri(_INSIDE.sub("", place)) / ""
    return _folders(
        place,
        (stored.uri for stored in list_objects(aws.s3, place)),
        lambda name: read(aws.s3, S3Uri(name)),
        lambda name: read_lines(aws.s3, S3Uri(name)),
    )


def _on_disk(place: Path) -> list[AnswerFolder]:
    if place.is_file():
        raise LabelingJobError(
            f"{place} is one file; give the folder of its job, with annotations/ in it, or a table of "
            "answers that is named .csv"
        )
    if not place.is_dir():
        raise LabelingJobError(
            f"there is no folder {place}; give a job's name, its address in S3, the folder that "
            "`aws s3 cp --recursive` made of it, or a table of answers that is named .csv"
        )
    root = _INSIDE.sub("", place.resolve().as_posix())
    files = sorted(path.as_posix() for path in Path(root).rglob("*") if path.is_file())
    return _folders(
        f"{root}/", files, lambda name: Path(name).read_bytes(), lambda name: read_file_lines(Path(name))
    )


def _folders(
    place: str, names: Iterable[str], fetch: Callable[[str], bytes], stream: Callable[[str], Iterator[bytes]]
) -> list[AnswerFolder]:
    """One for each job below a place, in the order of their names."""
    found: dict[str, AnswerFolder] = {}

    def of(root: str) -> AnswerFolder:
        return found.setdefault(root, AnswerFolder(root.rstrip("/").rpartition("/")[2], root, fetch, stream))

    for name in names:
        if match := _RESPONSE.search(name):
            of(name[: match.start()]).responses.append(name)
        elif match := _REQUEST.search(name):
            of(name[: match.start()]).requests.append(name)
        elif match := _WITHDRAWN.search(name):
            of(name[: match.start()]).withdrawn = name
        elif match := _CLASSES.search(name):
            of(name[: match.start()]).classes = name
        elif match := _MANIFEST.search(name):
            of(name[: match.start()]).manifests.append(name)
    kept = [folder for folder in found.values() if folder.responses or folder.requests]
    if not kept:
        raise LabelingJobError(_nothing(place))
    for folder in kept:
        # Of those on the way the last one says most.
        folder.manifests.sort(key=lambda name: ("/intermediate/" not in name, len(name), name), reverse=True)
    return kept


def _nothing(place: str) -> str:
    return (
        f"there are no answers of workers below {place}; a job writes them to annotations/worker-response/ "
        "once a picture has all of its own"
    )
