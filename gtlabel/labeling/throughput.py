"""Who answered how much, how fast, and who that was: from the worker responses that jobs leave in S3.

AWS names workers by ids that say nothing; for private teams each answer also holds the `sub` of the person
in the user pool, or at the provider, that they signed in with (contract/ground-truth.md 5.3).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING, Any

from gtlabel.errors import LabelingJobError
from gtlabel.labeling.members import Member, find_member
from gtlabel.storage import list_objects, read
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_cognito_idp import CognitoIdentityProviderClient
    from types_boto3_s3 import S3Client

_READERS = 16
_CHUNK = 512


@dataclass(frozen=True, slots=True)
class Response:
    """One answer of one worker.

    Attributes:
        sub: what their provider names the person by; empty in jobs of before 2020 and of public teams.
        issuer: the provider; of Cognito, an address that ends in the id of the pool.
        seconds: how long they looked, pauses left out; None where AWS did not write it.
    """

    job: str
    object: str
    worker: str
    sub: str
    issuer: str
    submitted: datetime
    seconds: float | None


@dataclass(frozen=True, slots=True)
class WorkerActivity:
    """What one worker did in some jobs.

    Attributes:
        worker: AWS's id of the worker.
        person: who that is: an e-mail address, else a user name; empty when nobody knows.
        answers: how many answers they gave.
        per_hour: answers for an hour of looking at images, pauses left out; None when no time is known.
        median_seconds: half of the answers took less.
    """

    worker: str
    sub: str
    issuer: str
    person: str
    answers: int
    jobs: tuple[str, ...]
    per_hour: float | None
    median_seconds: float | None
    first: datetime
    last: datetime

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {**asdict(self), "first": self.first.isoformat(), "last": self.last.isoformat()}


def read_responses(s3: S3Client, output: S3Uri, job: str) -> Iterator[Response]:
    """Yield every answer that a job has written so far.

    An image's answers are written together once it has all of them, so the latest may be missing.

    Args:
        s3: the client.
        output: the job's S3OutputPath.
        job: the job's name.

    Raises:
        LabelingJobError: at a file that holds no answers.
    """
    folder = output / job / "annotations/worker-response/"
    files = (found.uri for found in list_objects(s3, folder) if found.uri.endswith(".json"))
    with ThreadPoolExecutor(_READERS, thread_name_prefix="responses") as pool:
        while chunk := list(islice(files, _CHUNK)):
            for uri, body in zip(chunk, pool.map(lambda uri: read(s3, uri), chunk), strict=True):
                yield from _responses(job, uri, body)


def activity(
    responses: Iterable[Response], person_of: Callable[[str, str], str] = lambda _sub, _issuer: ""
) -> list[WorkerActivity]:
    """Sum up answers by worker, the busiest first.

    Args:
        responses: the answers, of one job or of many.
        person_of: who is behind a `sub` of an issuer; empty when nobody knows.
    """
    by_worker: dict[str, list[Response]] = {}
    for response in responses:
        by_worker.setdefault(response.worker, []).append(response)
    found = [_sum(given, person_of) for given in by_worker.values()]
    return sorted(found, key=lambda worker: (-worker.answers, worker.worker))


def people(cognito: CognitoIdentityProviderClient) -> Callable[[str, str], str]:
    """A way to tell who is behind the `sub` of a worker; asks the user pool once for each person.

    People of other providers, and those that were deleted from the pool, stay unknown.
    """
    known: dict[tuple[str, str], str] = {}

    def person_of(sub: str, issuer: str) -> str:
        host, _, pool = issuer.rpartition("/")
        if not sub or "cognito-idp." not in host:
            return ""
        if (sub, pool) not in known:
            known[sub, pool] = _name(_member(cognito, pool, sub))
        return known[sub, pool]

    return person_of


def _member(cognito: CognitoIdentityProviderClient, pool: str, sub: str) -> Member | None:
    try:
        return find_member(cognito, pool, sub)
    except cognito.exceptions.ResourceNotFoundException:
        # The pool of another account, or one that is gone.
        return None


def _name(member: Member | None) -> str:
    return "" if member is None else member.email or member.username


def _sum(given: list[Response], person_of: Callable[[str, str], str]) -> WorkerActivity:
    last = max(given, key=lambda response: response.submitted)
    seconds = [response.seconds for response in given if response.seconds is not None]
    looked = sum(seconds)
    return WorkerActivity(
        worker=last.worker,
        sub=last.sub,
        issuer=last.issuer,
        person=person_of(last.sub, last.issuer),
        answers=len(given),
        jobs=tuple(sorted({response.job for response in given})),
        per_hour=round(3600 * len(seconds) / looked, 1) if looked else None,
        median_seconds=round(median(seconds), 3) if seconds else None,
        first=min(response.submitted for response in given),
        last=last.submitted,
    )


def _responses(job: str, uri: S3Uri, body: bytes) -> Iterator[Response]:
    try:
        answers = json.loads(body)["answers"]
        for answer in answers:
            identity: Mapping[str, str] = answer.get("workerMetadata", {}).get("identityData", {})
            submitted = datetime.fromisoformat(answer["submissionTime"])
            yield Response(
                job=job,
                object=uri.folder.key.rstrip("/").rpartition("/")[2],
                worker=answer["workerId"],
                sub=identity.get("sub", ""),
                issuer=identity.get("issuer", ""),
                submitted=submitted,
                seconds=_seconds(answer, submitted),
            )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LabelingJobError(f"{uri} holds no answers of workers: {error}") from error


def _seconds(answer: Mapping[str, Any], submitted: datetime) -> float | None:
    if "timeSpentInSeconds" in answer:
        return float(answer["timeSpentInSeconds"])
    if "acceptanceTime" in answer:
        return (submitted - datetime.fromisoformat(answer["acceptanceTime"])).total_seconds()
    return None
