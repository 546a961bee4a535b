"""The foreman moves jobs on: reads manifests, sends images out, makes labels of answers, writes the tree.

Every step is decided in the database, then written to S3, then recorded. A crash between any two of them is
repaired by the next turn, which writes the same bytes to the same keys.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from gtlabel import storage
from gtlabel.engine import output
from gtlabel.engine.adaptive import Adaptive, check_budget, saving
from gtlabel.engine.automation import Autolabeler
from gtlabel.engine.board import Board
from gtlabel.engine.consolidation import BATCH, Consolidator, Pending
from gtlabel.engine.counted import withdrawn
from gtlabel.engine.custom import function_arn, pre_event, read_task_input, unhandled
from gtlabel.engine.entries import Chosen, Prepared, Pulse, Tally
from gtlabel.engine.functions import Functions
from gtlabel.engine.gold import Gold
from gtlabel.engine.intake import check_template, read_classes, read_tasks
from gtlabel.engine.jobs import Job, JobKey, Kind, Status
from gtlabel.engine.ledger import Ledger
from gtlabel.engine.pages import Pages
from gtlabel.engine.patience import Patience, passes
from gtlabel.engine.settlement import Settlement
from gtlabel.errors import EngineError, FunctionError, GoldError, GtlabelError
from gtlabel.manifests.gold import read_gold
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_log = logging.getLogger(__name__)

# The first iteration tries the task out on a few images (contract/ground-truth.md 5.1).
_PROBES = 10
# A batch that does not fill up is consolidated after a while all the same.
_PATIENCE = timedelta(seconds=60)
# A streaming job that nobody sends anything is stopped (contract 8).
_IDLE = timedelta(days=10)
# So long a job with a manifest lives (contract 3.1).
_LIFE = timedelta(days=30)
_REASON_CHARACTERS = 1024


@dataclass(slots=True)
class _Desk:
    """What is in hand for one job; all of it can be found in the database again."""

    patience: Patience = field(default_factory=Patience)
    pending: Pending | None = None
    # What functions were asked to prepare, by image.
    calls: dict[int, Future[Any]] = field(default_factory=dict)
    # What the manifest said when it was last written, and when that was.
    shown: Tally | None = None
    written: datetime | None = None


class Foreman:
    """Does what is due for every job of a board.

    Args:
        board: the board.
        s3_of: gives the S3 client a job reads and writes with; several threads use it.
        on_end: told of each job that has ended; it must be quick, because other jobs wait meanwhile.
        prepare: makes what a streaming job gets its objects from, before it can be sent any; the job fails
            with the GtlabelError that this raises. It may be called again for the same job.
        identify: tells who a worker of a job is; None for a worker that nobody knows.
        functions: the functions of custom workflows.
        timer: seconds that only ever grow, for pauses.
        inspect: looks at the worker page that a job begins with, which is the one that workers will get; the
            job fails with the GtlabelError that this raises.
    """

    def __init__(
        self,
        board: Board,
        s3_of: Callable[[JobKey], S3Client],
        on_end: Callable[[Job], None] | None = None,
        prepare: Callable[[Job], None] = lambda _job: None,
        identify: Callable[[Job, str], output.Identity | None] = lambda _job, _worker: None,
        functions: Functions | None = None,
        timer: Callable[[], float] = time.monotonic,
        inspect: Callable[[Job, str], None] = lambda _job, _page: None,
    ) -> None:
        self._board = board
        self._s3_of = s3_of
        self._prepare = prepare
        self._on_end = on_end
        self._functions = functions or Functions()
        self._timer = timer
        self._inspect = inspect
        self._pages = Pages(board.store)
        self._ledger = Ledger(board.store, board.clock)
        self._gold = Gold(board.store)
        settlement = Settlement(board.store)
        self._consolidator = Consolidator(
            self._ledger, settlement, self._gold, s3_of, identify, self._functions, board.news.set
        )
        self._adaptive = Adaptive(board.store, settlement, self._gold, board.clock)
        self._autolabeler = Autolabeler(board.store, board.clock, s3_of, board.news.set)
        self._desks: dict[int, _Desk] = {}

    def turn(self) -> bool:
        """Do everything that is due now; say whether there was anything.

        Call it from one thread at a time, again and again, and after a crash as if nothing had happened. A
        job in trouble that passes, such as an S3 that is throttled, is tried again after a pause that grows
        to a minute; what does not pass fails it. The other jobs go on in either case.

        Of several processes on one database, only the one that leads does anything.
        """
        if not self._board.store.leading():
            # Whatever is in hand here may be done by the other by the time that this one leads again.
            self.forget()
            return False
        busy = self._board.expire()
        for job in self._ledger.unfinished():
            busy = self._advance(job) or busy
        return busy

    def forget(self) -> None:
        """Look everything up again at the next turn: somebody else changed or emptied the database."""
        self._desks.clear()
        self._autolabeler.forget()

    def close(self) -> None:
        """Let go of threads; a turn afterwards is an error."""
        self._autolabeler.close()
        self._consolidator.close()

    def _advance(self, job: Job) -> bool:
        desk = self._desks.setdefault(job.number, _Desk())
        if self._timer() < desk.patience.until:
            return False
        try:
            busy = self._move(job, desk)
        except Exception as error:  # noqa: BLE001 - the jobs of others must go on whatever is wrong with one
            return self._trouble(job, desk, error)
        desk.patience.regain()
        return busy

    def _trouble(self, job: Job, desk: _Desk, error: Exception) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        foreseen = isinstance(error, (GtlabelError, BotoCoreError, ClientError))
        if foreseen and not passes(error):
            # A bad manifest, or a bucket that is gone: the job's fault, not the foreman's.
            self._fail(job, f"ClientError: {error}")
            return True
        pause = desk.patience.lose(self._timer())
        _log.warning(
            "the labeling job %s cannot be moved on now and is tried again in %g seconds: %s",
            job.key.name,
            pause,
            error,
            exc_info=None if foreseen else error,
        )
        return False

    def _move(self, job: Job, desk: _Desk) -> bool:
        if job.status is Status.INITIALIZING:
            return self._begin(job)
        if desk.pending is None:
            desk.pending = self._consolidator.open(job)
        busy = self._consolidator.advance(job, desk.pending)
        if job.status is Status.STOPPING:
            return self._wind_up(job, desk.pending) or busy
        if job.spec.streaming:
            return self._flow(job, desk, desk.pending) or busy
        return self._progress(job, desk, desk.pending) or busy

    def _begin(self, job: Job) -> bool:
        s3, spec = self._s3_of(job.key), job.spec
        classes: tuple[str, ...] = ()
        if spec.class_list is not None:
            classes = read_classes(storage.read(s3, spec.class_list), spec.class_list, spec.kind)
        if spec.template is not None:
            body = storage.read(s3, spec.template)
            check_template(body, spec.template, spec.kind)
            page = body.decode(errors="replace")
            self._inspect(job, page)
            self._pages.keep(job, page)
        if spec.manifest is not None:
            lines = storage.read_lines(s3, spec.manifest)
            rows = read_tasks(lines, spec.manifest, spec.key.name, spec.attribute, spec.kind)
            self._ledger.replace_tasks(job, rows)
            check_budget(job, self._ledger.tally(job).waiting)
        if spec.gold is not None:
            told, several = storage.read_lines(s3, spec.gold), spec.kind is Kind.MULTI
            known = read_gold(told, str(spec.gold), classes, spec.attribute, several=several)
            if not self._gold.keep(job, known):
                raise GoldError(f"{spec.gold} tells the class of no image of this job")
        if spec.streaming:
            self._prepare(job)
        self._ledger.begin(job, classes)
        self._board.news.set()
        return True

    def _progress(self, job: Job, desk: _Desk, pending: Pending) -> bool:
        pulse = self._ledger.pulse(job)
        busy = False
        while pulse.answered and self._is_batch_due(pulse):
            pulse, busy = self._consolidate(job, pending), True
        if self._board.clock() - job.created >= _LIFE:
            return self._board.stop(job.key)
        if pulse.chosen:
            return self._send(job, desk) or busy
        if pulse.open or pulse.answered or pending.batches:
            return busy
        tally = self._ledger.tally(job)
        if job.spec.automation is not None:
            return self._automate(job, desk, tally) or busy
        count = min(tally.waiting, _PROBES if job.iteration == 0 else tally.waiting, _room(job, tally))
        if count > 0:
            if job.iteration:
                self._show(job, desk, tally, output.Tree(job.spec.root).intermediate_manifest)
            self._ledger.choose(job, count)
            self._send(self._board.job(job.key), desk)
            return True
        if job.spec.redundancy is not None and self._adaptive.ask(job):
            return True
        self._complete(job, tally)
        return True

    def _automate(self, job: Job, desk: _Desk, tally: Tally) -> bool:
        """Have a machine label what it may, and send out what it wants to know."""
        chosen = self._autolabeler.advance(job, _room(job, tally))
        if chosen is None:
            return False
        tally = self._ledger.tally(job)
        if not chosen:
            self._complete(job, tally)
            return True
        self._show(job, desk, tally, output.Tree(job.spec.root).intermediate_manifest)
        self._send(self._board.job(job.key), desk)
        return True

    def _complete(self, job: Job, tally: Tally) -> None:
        without = self._close_books(job)
        self._finish(job, Status.STOPPED if tally.waiting else Status.COMPLETED, without=without)

    def _close_books(self, job: Job) -> frozenset[str]:
        """Make the labels that stay, tell how they came about, and write them; return who had no say."""
        gone = withdrawn(self._board.store, job)
        if gone:
            ids = sorted(output.worker_id(job.key, worker) for worker in gone)
            body = output.compact({"workers": ids}).encode()
            self._consolidator.write(job, [(output.Tree(job.spec.root).withdrawn, body)])
        expected_error = self._consolidator.settle(job)
        saved = saving(self._board.store, job, expected_error)
        if saved is not None:
            body = json.dumps(saved.to_json(), indent=2).encode() + b"\n"
            self._consolidator.write(job, [(output.Tree(job.spec.root).redundancy, body)])
        self._autolabeler.close_books(job)
        self._write_manifests(job)
        return gone

    def _flow(self, job: Job, desk: _Desk, pending: Pending) -> bool:
        """Move a streaming job on: each image goes out as soon as there is room, and is labeled by itself."""
        pulse = self._ledger.pulse(job)
        busy = False
        while pulse.answered:
            pulse, busy = self._consolidate(job, pending), True
        if pulse.chosen:
            return self._send(job, desk) or busy
        room = job.spec.max_concurrent - pulse.open
        if pulse.waiting and room > 0:
            self._ledger.choose(job, room)
            self._send(self._board.job(job.key), desk)
            return True
        if not pending.batches and self._may_show(desk, idle=not pulse.open):
            tally = self._ledger.tally(job)
            if tally.total and tally != desk.shown:
                self._show(job, desk, tally, output.Tree(job.spec.root).output_manifest, idle=not pulse.open)
        if not pulse.open and not pending.batches and self._board.clock() - job.modified >= _IDLE:
            return self._board.stop(job.key)
        return busy

    def _wind_up(self, job: Job, pending: Pending) -> bool:
        """Make labels of the answers that are in when a job is stopped, and write what there is."""
        if not job.begun:
            self._ledger.replace_tasks(job, ())
            self._finish(job, Status.STOPPED)
            return True
        while self._ledger.pulse(job).answered:
            self._consolidate(job, pending)
        if pending.batches:
            return False
        without = self._close_books(job)
        expired = not job.spec.streaming and self._board.clock() - job.created >= _LIFE
        # The service does not say how an expired job ends; so, its results are used like any stopped job's.
        reason = f"The labeling job was not finished within {_LIFE.days} days; chain another to it."
        self._finish(job, Status.STOPPED, reason if expired else "", without)
        return True

    def _fail(self, job: Job, reason: str) -> None:
        if job.status is Status.INITIALIZING:
            self._ledger.replace_tasks(job, ())
        else:
            self._rescue(job)
        self._finish(job, Status.FAILED, reason[:_REASON_CHARACTERS])

    def _rescue(self, job: Job) -> None:
        """Leave the labels that a failing job has where the next job can begin with them."""
        try:
            self._write_manifest(job, output.Tree(job.spec.root).intermediate_manifest)
        except Exception as error:  # noqa: BLE001 - the job fails in any case, mostly for this very reason
            _log.warning("the labels of %s could not be written: %s", job.key.name, error)

    def _finish(
        self, job: Job, status: Status, reason: str = "", without: frozenset[str] | None = None
    ) -> None:
        ended = self._ledger.finish(job, status, reason, without)
        self._desks.pop(job.number, None)
        if ended and self._on_end is not None:
            self._on_end(self._board.job(job.key))

    def _is_batch_due(self, pulse: Pulse) -> bool:
        if pulse.answered >= BATCH or not pulse.open:
            return True
        return pulse.oldest is not None and self._board.clock() - pulse.oldest >= _PATIENCE

    def _consolidate(self, job: Job, pending: Pending) -> Pulse:
        self._consolidator.form(job, pending)
        self._consolidator.advance(job, pending)
        return self._ledger.pulse(job)

    def _send(self, job: Job, desk: _Desk) -> bool:
        """Offer the chosen images to workers, as soon as the job's function has seen them all."""
        chosen = self._ledger.chosen(job)
        if job.spec.pre is not None and not self._are_prepared(job, desk, chosen, job.spec.pre):
            return False
        chosen = chosen if job.spec.pre is None else self._ledger.chosen(job)
        if chosen:
            body = b"".join(output.sent_line(each.object, each.line) + b"\n" for each in chosen)
            self._consolidator.write(job, [(output.Tree(job.spec.root).sent(job.iteration), body)])
        self._ledger.send(job)
        return True

    def _are_prepared(self, job: Job, desk: _Desk, chosen: list[Chosen], name: str) -> bool:
        calls = desk.calls
        for each in chosen:
            if each.input is None and each.object not in calls:
                calls[each.object] = self._functions.call(
                    name, function_arn(job.key, name), pre_event(job, each.line)
                )
                calls[each.object].add_done_callback(lambda _: self._board.news.set())
        done = [each.object for each in chosen if each.object in calls and calls[each.object].done()]
        self._ledger.prepare(job, [_prepared(job, name, number, calls[number]) for number in done])
        if any(each.input is None and each.object not in done for each in chosen):
            return False
        last = next((error for call in calls.values() if (error := call.exception())), None)
        calls.clear()
        if isinstance(last, FunctionError) and not job.spec.streaming and self._ledger.is_lost(job):
            # As on AWS, where the function of a whole iteration is the job's own failure.
            raise EngineError(unhandled(job, name, last))
        return True

    def _may_show(self, desk: _Desk, *, idle: bool) -> bool:
        """Whether the manifest may be written anew: the less often the longer it is."""
        if desk.written is None or desk.shown is None or idle:
            return True
        return self._board.clock() - desk.written >= timedelta(milliseconds=desk.shown.total)

    def _show(self, job: Job, desk: _Desk, tally: Tally, target: S3Uri, *, idle: bool = False) -> None:
        if self._may_show(desk, idle=idle):
            self._write_manifest(job, target)
            desk.shown, desk.written = tally, self._board.clock()

    def _write_manifests(self, job: Job) -> None:
        tree = output.Tree(job.spec.root)
        self._write_manifest(job, tree.intermediate_manifest)
        self._write_manifest(job, tree.output_manifest)

    def _write_manifest(self, job: Job, target: S3Uri) -> None:
        lines: Iterator[bytes] = (
            output.manifest_line(job.spec.attribute, line) for line in self._ledger.lines(job)
        )
        storage.write_lines(self._s3_of(job.key), target, lines)


def _prepared(job: Job, name: str, number: int, call: Future[Any]) -> Prepared:
    """What becomes of an image by its function; what the function did not manage fails it alone."""
    try:
        made = read_task_input(name, call.result())
    except FunctionError as error:
        return Prepared(number, failure=output.failure(f"ClientError: {unhandled(job, name, error)}"))
    return Prepared(number, made.input if made.asked else None)


def _room(job: Job, tally: Tally) -> int:
    """How many images may go out now: by the limit of concurrent ones, and by the stopping conditions."""
    room = job.spec.max_concurrent
    if job.spec.max_labeled is not None:
        room = min(room, job.spec.max_labeled - tally.labeled)
    if job.spec.max_percentage is not None:
        share = -(-tally.total * job.spec.max_percentage // 100)
        room = min(room, share - tally.labeled - tally.machine - tally.passed)
    return room
