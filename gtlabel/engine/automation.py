"""Automated labeling: people label some images, and a machine the others, as far as that can be promised.

Between two iterations of a job stands a round. It takes what people said so far, asks the policy of
`gtlabel.learning` what a machine may label now, and whom people are asked about next. Looking at the pictures
and learning from them takes long, so that it happens in a thread of its own; what came of it is decided in
the database (`gtlabel.engine.rounds`) before any file is written.

Three lanes of images go to people: some at random, which the promise rests on; some that a machine would
learn most from; and, once a machine has labeled, a random audit of its labels, blindly among the rest. An
audit that refutes the promise takes all machine labels back, and people label these images too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gtlabel import storage
from gtlabel.engine import automationfiles, looks
from gtlabel.engine.jobs import Job, JobKey
from gtlabel.engine.lanes import Play, Settings
from gtlabel.engine.rounds import Round, Rounds

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from gtlabel.engine.store import Store


def told(store: Store, job: Job) -> dict[str, Any] | None:
    """What is to be told of the automated labeling of a job now, as in its file `gtlabel/automation.json`.

    None where people label everything. `gtlabel.engine.automationfiles.facts_of` says what it holds.
    """
    if job.spec.automation is None:
        return None
    return automationfiles.facts_of(job, *Rounds(store).told(job))


@dataclass(slots=True)
class _Desk:
    """What is in hand for one job; all of it can be found again."""

    looks: looks.Looks | None = None
    thinking: Future[Round | None] | None = None
    # The rounds whose files are written.
    written: set[int] = field(default_factory=set)


class Autolabeler:
    """Plays the rounds of automated jobs.

    Args:
        store: the engine's database.
        clock: what time it is.
        s3_of: gives the S3 client a job reads and writes with; several threads use it.
        wake: called when something has been thought out.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        s3_of: Callable[[JobKey], S3Client],
        wake: Callable[[], None],
    ) -> None:
        self.rounds = Rounds(store)
        self._clock = clock
        self._s3_of = s3_of
        self._wake = wake
        self._desks: dict[int, _Desk] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._ending = threading.Event()

    def advance(self, job: Job, room: int) -> bool | None:
        """Play the next round of a job of which nothing is with people.

        Args:
            job: the job.
            room: how many images may go out now.

        Returns:
            True if images were chosen to go out, False if there is nothing more to do, None while a thread
            is still looking or learning.

        Raises:
            GtlabelError: if the pictures cannot be looked at.
        """
        desk = self._desks.setdefault(job.number, _Desk())
        if desk.thinking is None:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, "automation")
            desk.thinking = self._pool.submit(self._think, job, desk, room)
            desk.thinking.add_done_callback(lambda _: self._wake())
        if not desk.thinking.done():
            return None
        thought, desk.thinking = desk.thinking, None
        decided = thought.result()
        if decided is None:
            return False
        self.rounds.record(job, decided)
        self._write(job, desk)
        if decided.asked:
            return True
        # What was decided may leave more to decide: an audit's outcome, and then whom to ask.
        return self.advance(job, room)

    def close_books(self, job: Job) -> None:
        """Write what is to be told of an automated job that is about to end; doing it again does no harm."""
        if job.spec.automation is None:
            return
        self.rounds.give_back(job)
        self._write(job, self._desks.pop(job.number, _Desk()))

    def forget(self) -> None:
        """Look everything up again: somebody else changed or emptied the database."""
        self._desks.clear()

    def close(self) -> None:
        """Let go of the thread, which leaves off what it does."""
        self._ending.set()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _think(self, job: Job, desk: _Desk, room: int) -> Round | None:
        """The next round; None if there is nothing more to do."""
        settings = Settings.of(job)
        assert settings is not None
        self.rounds.give_back(job)
        if desk.looks is None:
            desk.looks = self._look(job, settings)
        before, standing = self.rounds.current(job), self.rounds.standing(job)
        if room <= 0 and not standing.labels:
            return None
        return Play(job, settings, desk.looks, before, standing, room).next(self._clock())

    def _look(self, job: Job, settings: Settings) -> looks.Looks:
        s3, place = self._s3_of(job.key), automationfiles.looks_of(job)
        images = self.rounds.images(job)
        found = looks.kept(s3, place, images)
        if found is None:
            found = looks.look(s3, images, settings.network, self._ending.is_set)
            looks.keep(s3, place, found)
        return found

    def _write(self, job: Job, desk: _Desk) -> None:
        """Write the files of all rounds that have none yet; the same bytes again after a crash."""
        played = self.rounds.of(job)
        s3 = self._s3_of(job.key)
        for each in played:
            if each.labeled and each.number not in desk.written:
                lines = self.rounds.lines(job, [number for number, *_ in each.labeled])
                storage.write(
                    s3,
                    automationfiles.annotator_output(job, each),
                    automationfiles.annotator_lines(job, each, lines),
                    "text/plain",
                )
            desk.written.add(each.number)
        report = automationfiles.report(job, *self.rounds.told(job))
        storage.write(s3, automationfiles.report_of(job), report, "application/json")
