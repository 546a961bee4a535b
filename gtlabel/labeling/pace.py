"""How fast people answer: as they did in earlier jobs, or as is assumed where nobody has worked yet."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from statistics import quantiles
from typing import TYPE_CHECKING, Any

from gtlabel.errors import SettingsError
from gtlabel.labeling.jobs import describe_labeling_job
from gtlabel.storage import list_objects, read
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sagemaker import SageMakerClient

# One file holds all answers about an image; so many tell the pace of a team well enough.
_FILES = 300
_BRIEFEST_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Pace:
    """How many answers one person gives in an hour of work.

    Attributes:
        answers_per_hour: the least and the most that can be counted on.
        source: where that is from, as the end of a sentence.
    """

    answers_per_hour: tuple[float, float]
    source: str

    def __post_init__(self) -> None:
        low, high = self.answers_per_hour
        if not 0 < low <= high:
            raise SettingsError(f"{low:g} to {high:g} answers an hour is no pace; give a number above 0")

    @classmethod
    def given(cls, answers_per_hour: float) -> Pace:
        """The pace that somebody states."""
        return cls((answers_per_hour, answers_per_hour), "as given")


# Ground Truth's page takes a choice and a click on Submit for each image. Measured rates of easy pictures on
# faster pages reach 70 a minute (contract/worker-ui.md 5), so that the upper end is not out of reach.
ASSUMED = Pace(
    (360, 1200), "assumed, 3 to 10 seconds each; name a job of that team with --like to measure it"
)


def read_pace(sagemaker: SageMakerClient, s3: S3Client, jobs: Sequence[str]) -> Pace:
    """The pace of the people who worked on earlier jobs, from the answers kept in S3.

    Raises:
        JobNotFoundError: if there is no such job.
        SettingsError: if no answer of them tells how long it took.
    """
    described = [describe_labeling_job(sagemaker, name) for name in jobs]
    answers = (answer for job in described for answer in _answers(s3, job.output / job.name))
    return pace_of(answers, f"measured in {', '.join(jobs)}")


def pace_of(answers: Iterable[Mapping[str, Any]], source: str) -> Pace:
    """The pace in worker responses: what the middle half of the people do, of few people all of them.

    Args:
        answers: the members of `answers` in files of worker responses.
        source: where they are from, as the end of a sentence.

    Raises:
        SettingsError: if no answer tells how long it took.
    """
    seconds: dict[str, list[float]] = defaultdict(list)
    for answer in answers:
        taken = _seconds(answer)
        if taken is not None:
            seconds[str(answer.get("workerId"))].append(max(taken, _BRIEFEST_SECONDS))
    rates = sorted(3600 * len(each) / sum(each) for each in seconds.values())
    if not rates:
        raise SettingsError(f"no answer tells how long it took ({source}); give --answers-per-hour instead")
    count = sum(len(each) for each in seconds.values())
    people = f"{len(rates)} people" if len(rates) > 1 else "one person"
    said = f"{source}, {count:,} answers of {people}"
    if len(rates) < 4:
        return Pace((rates[0], rates[-1]), said)
    quarters = quantiles(rates, n=4, method="inclusive")
    return Pace((quarters[0], quarters[2]), said)


def _answers(s3: S3Client, job: S3Uri) -> Iterator[Mapping[str, Any]]:
    """The answers about the first images of a job."""
    files = list_objects(s3, job / "annotations/worker-response/")
    for stored in islice(files, _FILES):
        yield from json.loads(read(s3, stored.uri)).get("answers", ())


def _seconds(answer: Mapping[str, Any]) -> float | None:
    """How long the worker looked; since 2020 the service says it, and before only when it ended."""
    spent = answer.get("timeSpentInSeconds")
    if spent is not None:
        return float(spent)
    begun, ended = answer.get("acceptanceTime"), answer.get("submissionTime")
    if begun is None or ended is None:
        return None
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(begun)).total_seconds()
