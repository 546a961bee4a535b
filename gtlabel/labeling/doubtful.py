"""Another round for those pictures of ended jobs whose labels another answer may still change.

Ground Truth asks for the same number of answers about every picture of a job. Two jobs in a row do better:
the second asks only about what the answers of the first leave in doubt (gtlabel.crowd.redundancy), with the
same page, team and classes; `gtlabel quality reconsolidate` then makes labels of both jobs' answers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from gtlabel.crowd.redundancy import Ask, Redundancy, error_range
from gtlabel.crowd.votes import Votes
from gtlabel.errors import LabelingJobError
from gtlabel.labeling.groups import describe_labeling
from gtlabel.labeling.inputs import MAX_IMAGES
from gtlabel.labeling.outcome import records
from gtlabel.labeling.reconsolidation import reconsolidate, settle
from gtlabel.labeling.successors import SuccessorPlan, ended, planned, request_behind
from gtlabel.manifests.records import ManifestRecord
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gtlabel.aws import Aws
    from gtlabel.labeling.answered import Answered


@dataclass(frozen=True, slots=True)
class Doubts:
    """Which pictures should be asked about again.

    Attributes:
        images: their addresses, in the order of the jobs' answers.
        answers: how many further answers each of them should get.
        pictures: how many pictures were answered in all.
        given: how many answers there are.
        expected_error: the share of the labels that are expected to be wrong now; where a picture may have
            several classes, of the decisions whether it has one of them.
        error_range: between which shares the wrong labels were where truth was known and so much expected;
            None where that was never measured: for other methods than `auto`, for several classes, and for
            fewer than two answers to a picture.
        error: the share that is wanted.
        why: `going on` where there are pictures; else why there are none: the `error` is small enough, the
            `budget` does not suffice, or no picture has room for so many answers that could do good, `most`.
    """

    images: tuple[str, ...]
    answers: int
    pictures: int
    given: int
    expected_error: float
    error_range: tuple[float, float] | None
    error: float
    why: str

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {
            "images": list(self.images),
            "answers_each": self.answers,
            "pictures": self.pictures,
            "answers_given": self.given,
            "expected_error": round(self.expected_error, 4),
            "error_range": None
            if self.error_range is None
            else [round(each, 4) for each in self.error_range],
            "error": self.error,
            "why": self.why,
        }


def find_doubts(
    answered: Answered,
    *,
    error: float = 0.02,
    answers: int = 2,
    most: int = 9,
    budget: int | None = None,
    method: str = "auto",
) -> Doubts:
    """Say which pictures need so many answers more, for no more labels to be wrong than that.

    Args:
        answered: the answers so far, of all rounds.
        error: the share of wrong labels to come down to.
        answers: how many each picture that is asked about again gets.
        most: no picture gets more than this in all rounds together.
        budget: how many further answers there may be in all; None for as many as it takes.
        method: how answers become probabilities, as `gtlabel.crowd.methods` names it.

    Raises:
        ConsensusError: if there is no method of that name.
        RedundancyError: if the numbers contradict each other.
    """
    votes, posterior, questions = _questions(answered, method)
    given = len(answered.objects)
    # The policy counts the answers to every question, of which each answer to a picture brings one or more.
    policy = Redundancy(
        first=1, most=most, error=error, budget=None if budget is None else questions * (given + budget)
    )
    ask: Ask = policy.at_once(votes, posterior, answers)
    asked = np.flatnonzero(ask.more.reshape(-1, questions).any(axis=1))
    measured = method == "auto" and not answered.several and given >= 2 * len(np.unique(answered.objects))
    likely = error_range(ask.expected_error) if measured else None
    return Doubts(
        images=tuple(answered.sources[number] for number in asked),
        answers=answers,
        pictures=len(answered.sources),
        given=given,
        expected_error=ask.expected_error,
        error_range=likely,
        error=error,
        why=ask.why,
    )


def plan_more(
    aws: Aws,
    name: str,
    doubts: Doubts,
    *,
    to: str | None = None,
    max_images_per_job: int = MAX_IMAGES,
    **changes: Any,
) -> SuccessorPlan:
    """Plan a job that asks again about the pictures in doubt, like the job that asked about them first.

    Args:
        aws: the clients.
        name: the earlier job, or group of them; it has ended.
        doubts: the pictures.
        to: the new name; by default the old one and `-more`.
        max_images_per_job: more become several jobs.
        changes: fields of a `LabelingJobRequest` that are to be otherwise.

    Raises:
        As `plan_again`.
    """
    return plan_again(
        aws,
        name,
        doubts.images,
        to=to or f"{name}-more",
        max_images_per_job=max_images_per_job,
        workers_per_image=doubts.answers,
        **changes,
    )


def plan_again(
    aws: Aws,
    name: str,
    images: Collection[str],
    *,
    to: str,
    max_images_per_job: int = MAX_IMAGES,
    **changes: Any,
) -> SuccessorPlan:
    """Plan a job about some pictures, with the page, team and classes of an earlier one.

    The new labels go under an attribute of their own, so that the earlier ones are not in its way. Pictures
    that the earlier job does not have are asked about, too: they come last.

    Args:
        aws: the clients.
        name: the earlier job, or group of them; it has ended.
        images: the addresses of the pictures.
        to: the new name.
        max_images_per_job: more become several jobs.
        changes: fields of a `LabelingJobRequest` that are to be otherwise.

    Raises:
        JobNotFoundError: if there is no such job.
        JobNameTakenError: if the new name belongs to something else.
        LabelingJobError: if the earlier job has not ended, or a picture is not in S3.
        RequestError: if the service would refuse the new job.
    """
    elsewhere = next((image for image in images if not image.startswith("s3://")), None)
    if elsewhere is not None:
        raise LabelingJobError(f"{elsewhere} is not in S3, where people could be shown it; upload it first")
    group = ended(describe_labeling(aws.sagemaker, aws.s3, name))
    request = request_behind(aws, group, to, {"attribute": to, **changes})
    wanted = sorted(set(images))

    def select() -> Iterator[ManifestRecord]:
        left = set(wanted)
        for job in group.jobs:
            for record in records(aws.s3, job):
                if record.source_ref in left:
                    left.remove(record.source_ref)
                    yield record.without(request.label_attribute, f"{request.label_attribute}-metadata")
        for image in wanted:
            if image in left:
                yield ManifestRecord.of(S3Uri(image))

    return planned(
        aws,
        f"again {sha256(chr(10).join(wanted).encode()).hexdigest()}",
        group,
        request,
        select=select,
        nothing=f"no picture of {name!r} is to be asked about again",
        max_images_per_job=max_images_per_job,
    )


def _questions(answered: Answered, method: str) -> tuple[Votes, NDArray[np.float64], int]:
    """The answers and what they say, with a row for each question, and how many questions a picture is."""
    if not answered.several:
        return answered.votes, reconsolidate(answered, method).probabilities, 1
    count = len(answered.classes)
    asked = [answered.question(index) for index in range(count)]
    found = [settle(answered, votes, 2, method).posterior for votes in asked]
    votes = Votes(
        np.concatenate([each.objects * count + index for index, each in enumerate(asked)]),
        np.concatenate([each.workers for each in asked]),
        np.concatenate([each.classes for each in asked]),
    )
    return votes, np.stack(found, axis=1).reshape(-1, 2), count
