"""How fast people answer: as they did in earlier jobs, or as is assumed where nobody has worked yet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import quantiles
from typing import TYPE_CHECKING

from gtlabel.errors import SettingsError
from gtlabel.labeling.jobs import describe_labeling_job
from gtlabel.labeling.throughput import Response, activity, read_responses

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sagemaker import SageMakerClient

# So many answers of a job tell the pace of a team well enough.
_ANSWERS = 3_000


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
        if not 0 < low <= high < math.inf:
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
    answers = (
        answer for job in described for answer in islice(read_responses(s3, job.output, job.name), _ANSWERS)
    )
    return pace_of(answers, f"measured in {', '.join(jobs)}")


def pace_of(answers: Iterable[Response], source: str) -> Pace:
    """The pace in answers of workers: what the middle half of the people do, of few people all of them.

    Args:
        answers: what they answered.
        source: where that is from, as the end of a sentence.

    Raises:
        SettingsError: if no answer tells how long it took.
    """
    timed = [answer for answer in answers if answer.seconds]
    rates = sorted(worker.per_hour for worker in activity(timed) if worker.per_hour)
    if not rates:
        raise SettingsError(f"no answer tells how long it took ({source}); give --answers-per-hour instead")
    said = f"{source}, answers: {len(timed):,}, people: {len(rates)}"
    if len(rates) < 4:
        return Pace((rates[0], rates[-1]), said)
    quarters = quantiles(rates, n=4, method="inclusive")
    return Pace((quarters[0], quarters[2]), said)
