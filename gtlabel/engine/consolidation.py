"""From the answers of a batch to its labels and files.

A batch is decided in the database before anything is written, and recorded after everything is: whatever
breaks off in between is done again, with the same files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from gtlabel import storage
from gtlabel.engine import labels, output
from gtlabel.engine.custom import Consolidated, function_arn, post_event, read_consolidated, unhandled
from gtlabel.engine.entries import Answered, Batch, Recorded
from gtlabel.engine.functions import Functions
from gtlabel.engine.gold import Gold
from gtlabel.engine.jobs import Job, JobKey, Kind
from gtlabel.engine.ledger import Ledger
from gtlabel.engine.settlement import Settlement
from gtlabel.engine.standing import LATEST, Standing, fitted_at
from gtlabel.errors import EngineError, FunctionError
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from gtlabel.engine.consensus import Label

# No batch of the recorded job was larger (contract/ground-truth.md 5.4).
BATCH = 50
# Files of one batch that are on their way at once.
_WRITERS = 8


@dataclass(slots=True)
class Pending:
    """The batches of one job that were formed and not recorded, and what functions were asked about them.

    Attributes:
        standing: the last fit; None while nothing was asked of it.
        fitted: the number of the last batch in it.
        without: the workers whose answers did not count in it.
    """

    batches: list[Batch]
    calls: dict[int, Future[Any]] = field(default_factory=dict)
    standing: Standing | None = None
    fitted: int = 0
    without: frozenset[str] = frozenset()


class Consolidator:
    """Makes labels of batches.

    Args:
        ledger: where batches are formed and recorded.
        settlement: what is read and written of whole jobs.
        gold: what is known of the images of jobs.
        s3_of: gives the S3 client a job writes with.
        identify: tells who a worker of a job is.
        functions: what custom workflows consolidate with.
        wake: called when a function has returned.
    """

    def __init__(
        self,
        ledger: Ledger,
        settlement: Settlement,
        gold: Gold,
        s3_of: Callable[[JobKey], S3Client],
        identify: Callable[[Job, str], output.Identity | None],
        functions: Functions,
        wake: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._settlement = settlement
        self._gold = gold
        self._s3_of = s3_of
        self._identify = identify
        self._functions = functions
        self._wake = wake
        self._pool = ThreadPoolExecutor(_WRITERS, "foreman")

    def open(self, job: Job) -> Pending:
        """What an interrupted process left of a job."""
        return Pending(self._ledger.unfinished_batches(job))

    def form(self, job: Job, pending: Pending) -> None:
        """Put the images that wait longest into a batch."""
        pending.batches.append(self._ledger.form_batch(job, BATCH))

    def advance(self, job: Job, pending: Pending) -> bool:
        """Do what can be done for every batch; say whether one was recorded."""
        busy = False
        for batch in list(pending.batches):
            if self._done(job, batch, pending):
                pending.batches.remove(batch)
                pending.calls.pop(batch.number, None)
                busy = True
        return busy

    def settle(self, job: Job) -> float | None:
        """Label every image again by all answers of the job, and keep what changed.

        It gives the same however often it is done; done after a crash, it goes on where that came. The files
        of batches stay: they tell what was thought then, and the manifest tells what it came to. Labels made
        as AWS makes them stay as they are.

        Returns:
            The share of the labels that is likely to be wrong, by all answers; None where nobody asked.
        """
        stay = job.spec.consensus == labels.AWS
        unasked = stay and job.spec.redundancy is None
        if unasked or job.spec.kind is Kind.CUSTOM or job.spec.streaming:
            return None
        heard = self._settlement.heard(job, lambda content: labels.chosen(job, content))
        if not heard:
            return None
        verdict = labels.verdict(job, heard, self._gold.of(job))
        made = verdict.labels
        for recorded in () if stay else self._settlement.recorded(job):
            settled = [_settled(job, each, made[each.object]) for each in recorded if each.object in made]
            self._settlement.settle(job, sorted({*settled} - {*recorded}, key=lambda each: each.object))
        return float(verdict.error.mean())

    def write(self, job: Job, files: Sequence[tuple[S3Uri, bytes]]) -> None:
        """Write files, several at once; all were tried when the first failure is raised."""
        s3 = self._s3_of(job.key)
        writing = [
            self._pool.submit(storage.write, s3, target, body, "application/json") for target, body in files
        ]
        wait(writing)
        for each in writing:
            each.result()

    def close(self) -> None:
        """Let go of the threads, once they have written what they hold."""
        self._pool.shutdown()

    def _done(self, job: Job, batch: Batch, pending: Pending) -> bool:
        calls = pending.calls
        call = calls.get(batch.number)
        if call is not None and not call.done():
            return False
        images = self._ledger.contents(job, batch)
        if not images:
            # More people were asked about each of them meanwhile.
            self._record(job, batch, [], [])
            return True
        target = output.Tree(job.spec.root).consolidation_response(batch.iteration, batch.stamp)
        if job.spec.post is None:
            made = self._labels(job, batch, images, pending)
            response = output.consolidation_response(job.spec.attribute, made)
            self.write(job, [*self._answers(job, batch, images), (target, response)])
            self._record(job, batch, made, [])
            return True
        if call is None:
            self.write(job, self._answers(job, batch, images))
            calls[batch.number] = self._call(job, batch, job.spec.post)
            return False
        returned, found = _returned(job, job.spec.post, call, images)
        self.write(job, [(target, output.returned(returned))])
        self._record(
            job,
            batch,
            [
                (
                    number,
                    each.label,
                    dict(each.metadata or output.custom_metadata(job, _moment(batch.created, place))),
                )
                for place, (number, each) in enumerate(found.items())
                if not each.reason
            ],
            [(number, f"ClientError: {each.reason}.") for number, each in found.items() if each.reason],
        )
        return True

    def _labels(
        self, job: Job, batch: Batch, images: Sequence[Answered], pending: Pending
    ) -> list[tuple[int, Any, dict[str, Any]]]:
        """Number, label and metadata of each image."""
        moments = [_moment(batch.created, place) for place in range(len(images))]
        if job.spec.kind is Kind.CUSTOM:
            return [
                (image.object, output.all_answers(job.key, image), output.custom_metadata(job, moment))
                for image, moment in zip(images, moments, strict=True)
            ]
        if job.spec.consensus == labels.AWS:
            made = labels.of_batch(job, images)
        else:
            made = self._standing(job, batch, pending).labels(_said(job, images))
        return [
            (image.object, *output.label_of(job, found, moment))
            for image, found, moment in zip(images, made, moments, strict=True)
        ]

    def _standing(self, job: Job, batch: Batch, pending: Pending) -> Standing:
        """The fit that labels a batch."""
        made_of = fitted_at(batch.number), self._settlement.without(job)
        if pending.standing is None or (pending.fitted, pending.without) != made_of:
            pending.fitted, pending.without = made_of
            heard = self._settlement.lately(
                job, pending.fitted, LATEST, lambda said: labels.chosen(job, said)
            )
            pending.standing = Standing(job, heard, self._gold.of(job))
        return pending.standing

    def _answers(self, job: Job, batch: Batch, images: Sequence[Answered]) -> list[tuple[S3Uri, bytes]]:
        tree = output.Tree(job.spec.root)
        request = output.consolidation_request(job.key, images)
        return [
            *(
                (
                    tree.worker_response(batch.iteration, image.object, image.answered),
                    output.worker_response(job.key, image, lambda worker: self._identify(job, worker)),
                )
                for image in images
            ),
            (tree.consolidation_request(batch.iteration, batch.stamp), request),
        ]

    def _call(self, job: Job, batch: Batch, name: str) -> Future[Any]:
        payload = output.Tree(job.spec.root).consolidation_request(batch.iteration, batch.stamp)
        call = self._functions.call(name, function_arn(job.key, name), post_event(job, payload))
        call.add_done_callback(lambda _: self._wake())
        return call

    def _record(
        self,
        job: Job,
        batch: Batch,
        made: Sequence[tuple[int, Any, dict[str, Any]]],
        failed: Sequence[tuple[int, str]],
    ) -> None:
        self._ledger.record(
            job,
            batch,
            [(number, output.compact(label), output.compact(data)) for number, label, data in made],
            [(number, output.failure(reason)) for number, reason in failed],
        )


def _returned(
    job: Job, name: str, call: Future[Any], images: Sequence[Answered]
) -> tuple[Any, dict[int, Consolidated]]:
    """What a job's function returned for a batch, whole and by image.

    Raises:
        EngineError: if it returned nothing, or nothing that could be understood. The answers are paid for,
            so the job fails and its images do not: they can be consolidated once the function is mended.
    """
    try:
        value = call.result()
        return value, read_consolidated(job, name, value, [image.object for image in images])
    except FunctionError as error:
        raise EngineError(unhandled(job, name, error)) from error


def _said(job: Job, images: Sequence[Answered]) -> list[tuple[int, labels.Said]]:
    return [(image.object, labels.said(job, image.answers)) for image in images]


def _settled(job: Job, before: Recorded, found: list[Label]) -> Recorded:
    """What an image's label becomes; it stays as old as it was."""
    made = datetime.fromisoformat(json.loads(before.metadata)["creation-date"])
    label, metadata = output.label_of(job, found, made)
    return Recorded(before.object, output.compact(label), output.compact(metadata))


def _moment(created: datetime, place: int) -> datetime:
    return created + timedelta(microseconds=place)
