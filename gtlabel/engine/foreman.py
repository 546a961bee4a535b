"""The foreman moves jobs on: reads manifests, sends images out, makes labels of answers, writes the tree.

Every step is decided in the database, then written to S3, then recorded. A crash between any two of them is
repaired by the next turn, which writes the same bytes to the same keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from gtlabel import storage
from gtlabel.engine import consensus, output
from gtlabel.engine.board import Board, check_answer
from gtlabel.engine.intake import check_template, read_classes, read_tasks
from gtlabel.engine.jobs import Job, JobKey, Kind, Status
from gtlabel.engine.ledger import Answered, Batch, Ledger, Tally
from gtlabel.errors import GtlabelError
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# The first iteration tries the task out on a few images (contract/ground-truth.md 5.1).
_PROBES = 10
# No batch of the recorded job was larger (contract 5.4).
_BATCH = 50
# A batch that does not fill up is consolidated after a while all the same.
_PATIENCE = timedelta(seconds=60)
# A streaming job that nobody sends anything is stopped (contract 8).
_IDLE = timedelta(days=10)
_REASON_CHARACTERS = 1024


class Foreman:
    """Does what is due for every job of a board.

    Args:
        board: the board.
        s3_of: gives the S3 client a job reads and writes with.
        on_end: told of each job that has ended; it must be quick, because other jobs wait meanwhile.
        prepare: makes what a streaming job gets its objects from, before it can be sent any; the job fails
            with the GtlabelError that this raises. It may be called again for the same job.
        identify: tells who a worker of a job is; None for a worker that nobody knows.
    """

    def __init__(
        self,
        board: Board,
        s3_of: Callable[[JobKey], S3Client],
        on_end: Callable[[Job], None] | None = None,
        prepare: Callable[[Job], None] = lambda _job: None,
        identify: Callable[[Job, str], output.Identity | None] = lambda _job, _worker: None,
    ) -> None:
        self._board = board
        self._s3_of = s3_of
        self._prepare = prepare
        self._identify = identify
        self._shown: dict[int, tuple[Tally, datetime]] = {}
        self._on_end = on_end
        self._ledger = Ledger(board.store, board.clock)

    def turn(self) -> bool:
        """Do everything that is due now; say whether there was anything.

        Call it from one thread at a time, again and again, and after a crash as if nothing had happened.
        """
        busy = self._board.expire()
        for job in self._ledger.unfinished():
            busy = self._advance(job) or busy
        return busy

    def _advance(self, job: Job) -> bool:
        try:
            if job.status is Status.INITIALIZING:
                return self._begin(job)
            if job.status is Status.STOPPING:
                return self._wind_up(job)
            return self._flow(job) if job.spec.streaming else self._progress(job)
        except GtlabelError as error:
            # A bad manifest, or a bucket that is gone: the job's fault, not the foreman's.
            if job.status is Status.INITIALIZING:
                self._ledger.replace_tasks(job, ())
            self._finish(job, Status.FAILED, f"ClientError: {error}"[:_REASON_CHARACTERS])
            return True

    def _begin(self, job: Job) -> bool:
        s3, spec = self._s3_of(job.key), job.spec
        classes: tuple[str, ...] = ()
        if spec.class_list is not None:
            classes = read_classes(storage.read(s3, spec.class_list), spec.class_list, spec.kind)
        if spec.template is not None:
            check_template(storage.read(s3, spec.template), spec.template, spec.kind)
        if spec.manifest is not None:
            lines = storage.read_lines(s3, spec.manifest)
            self._ledger.replace_tasks(job, read_tasks(lines, spec.manifest, spec.key.name, spec.attribute))
        if spec.streaming:
            self._prepare(job)
        self._ledger.begin(job, classes)
        self._board.news.set()
        return True

    def _progress(self, job: Job) -> bool:
        busy = self._finish_batches(job)
        tally = self._ledger.tally(job)
        while tally.answered and self._is_batch_due(tally):
            self._consolidate(job, self._ledger.form_batch(job, _BATCH))
            tally, busy = self._ledger.tally(job), True
        if tally.chosen:
            self._send(job)
            return True
        if tally.open or tally.answered:
            return busy
        count = min(tally.waiting, _PROBES if job.iteration == 0 else tally.waiting, _room(job, tally))
        if count > 0:
            if job.iteration:
                self._write_manifest(job, output.Tree(job.spec.root).intermediate_manifest)
            self._ledger.choose(job, count)
            self._send(self._board.job(job.key))
            return True
        self._write_manifests(job)
        self._finish(job, Status.STOPPED if tally.waiting else Status.COMPLETED)
        return True

    def _flow(self, job: Job) -> bool:
        """Move a streaming job on: each image goes out as soon as there is room, and is labeled by itself."""
        busy = self._finish_batches(job)
        tally = self._ledger.tally(job)
        while tally.answered:
            self._consolidate(job, self._ledger.form_batch(job, _BATCH))
            tally, busy = self._ledger.tally(job), True
        if tally.chosen:
            self._send(job)
            return True
        count = min(tally.waiting, job.spec.max_concurrent - tally.open)
        if count > 0:
            self._ledger.choose(job, count)
            self._send(self._board.job(job.key))
            return True
        self._show(job, tally)
        if not tally.open and self._board.clock() - job.modified >= _IDLE:
            return self._board.stop(job.key)
        return busy

    def _show(self, job: Job, tally: Tally) -> None:
        """Write a streaming job's manifest anew, the less often the longer it is."""
        now = self._board.clock()
        shown, written = self._shown.get(job.number, (None, None))
        pause = timedelta(milliseconds=tally.total)
        if not tally.total or shown == tally or (written and tally.open and now - written < pause):
            return
        self._write_manifest(job, output.Tree(job.spec.root).output_manifest)
        self._shown[job.number] = tally, now

    def _wind_up(self, job: Job) -> bool:
        """Make labels of the answers that are in when a job is stopped, and write what there is."""
        if job.begun:
            self._finish_batches(job)
            while self._ledger.tally(job).answered:
                self._consolidate(job, self._ledger.form_batch(job, _BATCH))
            self._write_manifests(job)
        else:
            self._ledger.replace_tasks(job, ())
        self._finish(job, Status.STOPPED)
        return True

    def _finish(self, job: Job, status: Status, reason: str = "") -> None:
        if self._ledger.finish(job, status, reason) and self._on_end is not None:
            self._on_end(self._board.job(job.key))

    def _is_batch_due(self, tally: Tally) -> bool:
        if tally.answered >= _BATCH or not tally.open:
            return True
        return tally.oldest is not None and self._board.clock() - tally.oldest >= _PATIENCE

    def _send(self, job: Job) -> None:
        chosen = self._ledger.chosen(job)
        if chosen:
            body = b"".join(output.sent_line(number, line) + b"\n" for number, line in chosen)
            self._write(job, output.Tree(job.spec.root).sent(job.iteration), body)
        self._ledger.send(job)

    def _finish_batches(self, job: Job) -> bool:
        interrupted = self._ledger.unfinished_batches(job)
        for batch in interrupted:
            self._consolidate(job, batch)
        return bool(interrupted)

    def _consolidate(self, job: Job, batch: Batch) -> None:
        images = self._ledger.contents(job, batch)
        tree = output.Tree(job.spec.root)
        for image in images:
            target = tree.worker_response(batch.iteration, image.object, image.answered)
            said = output.worker_response(job.key, image, lambda worker: self._identify(job, worker))
            self._write(job, target, said)
        request = output.consolidation_request(job.key, images)
        self._write(job, tree.consolidation_request(batch.iteration, batch.stamp), request)

        labels = []
        if job.spec.streaming:
            made = [label for image in images for label in _labels(job, [image])]
        else:
            made = _labels(job, images)
        for place, (image, found) in enumerate(zip(images, made, strict=True)):
            moment = batch.created + timedelta(microseconds=place)
            custom = job.spec.kind is Kind.CUSTOM
            label = output.all_answers(job, image, moment) if custom else output.label_of(job, found, moment)
            labels.append((image.object, *label))
        response = output.consolidation_response(job.spec.attribute, labels)
        self._write(job, tree.consolidation_response(batch.iteration, batch.stamp), response)
        self._ledger.record(
            job,
            batch,
            [(number, output.compact(label), output.compact(data)) for number, label, data in labels],
        )

    def _write_manifests(self, job: Job) -> None:
        tree = output.Tree(job.spec.root)
        self._write_manifest(job, tree.intermediate_manifest)
        self._write_manifest(job, tree.output_manifest)

    def _write_manifest(self, job: Job, target: S3Uri) -> None:
        lines: Iterator[bytes] = (
            output.manifest_line(job.spec.attribute, line) for line in self._ledger.lines(job)
        )
        storage.write_lines(self._s3_of(job.key), target, lines)

    def _write(self, job: Job, target: S3Uri, body: bytes) -> None:
        storage.write(self._s3_of(job.key), target, body, "application/json")


def _labels(job: Job, images: list[Answered]) -> list[list[consensus.Label]]:
    if job.spec.kind is Kind.CUSTOM:
        return [[] for _ in images]
    chosen = [
        [(answer.worker, check_answer(job, json.loads(answer.content))) for answer in image.answers]
        for image in images
    ]
    alone = job.spec.workers_per_object == 1
    if job.spec.kind is Kind.MULTI:
        return consensus.multi(chosen, alone=alone)
    votes = consensus.Votes.of(
        [
            (place, worker, index)
            for place, said in enumerate(chosen)
            for worker, indices in said
            for index in indices
        ]
    )
    labels = consensus.single(votes, len(images), len(job.classes), alone=alone)
    return [[label] for label in labels]


def _room(job: Job, tally: Tally) -> int:
    """How many images may go out now: by the limit of concurrent ones, and by the stopping conditions."""
    room = job.spec.max_concurrent
    if job.spec.max_labeled is not None:
        room = min(room, job.spec.max_labeled - tally.labeled)
    if job.spec.max_percentage is not None:
        share = -(-tally.total * job.spec.max_percentage // 100)
        room = min(room, share - tally.labeled - tally.passed)
    return room
