"""Submitting answers that can be taken back for a while, as fast pages offer it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gtlabel.engine import drafts, leasing
from gtlabel.engine.board import Board
from gtlabel.engine.jobs import from_micros, to_micros
from gtlabel.engine.places import finish_drafts, lock_task
from gtlabel.engine.register import hold_job
from gtlabel.errors import LeaseError


class Holding:
    """Takes answers as drafts, and their changes.

    Args:
        board: where the tasks are. Its `expire` makes answers of drafts whose time is up.
    """

    def __init__(self, board: Board) -> None:
        self._board = board

    def submit_soon(
        self,
        lease: str,
        answer: Mapping[str, Any],
        active_seconds: float | None = None,
        *,
        worker: str | None = None,
    ) -> Future[datetime]:
        """Store an answer that can be changed until the moment returned, or until ten newer ones came.

        Submitting again under the same lease changes it, and gives it its time anew.

        Raises:
            AnswerError: if the answer names no class of the job; the task stays with the worker.
            LeaseError: if the task is not in the worker's hands, or the answer is final.
        """
        return self._store(lease, answer, active_seconds, worker, ("leased", "held"))

    def revise_soon(
        self,
        lease: str,
        answer: Mapping[str, Any],
        active_seconds: float | None = None,
        *,
        worker: str | None = None,
    ) -> Future[datetime]:
        """Change an answer that can still be changed.

        Raises:
            AnswerError: if the answer names no class of the job; the former one stays.
            LeaseError: if the answer is final.
        """
        return self._store(lease, answer, active_seconds, worker, ("held",))

    def _store(
        self,
        lease: str,
        answer: Mapping[str, Any],
        active_seconds: float | None,
        worker: str | None,
        states: tuple[str, ...],
    ) -> Future[datetime]:
        now = to_micros(self._board.clock())
        content = leasing.to_text(answer)

        def store(connection: Connection) -> datetime:
            held = leasing.find_lease(connection, lease, worker)
            if held.state not in states:
                raise LeaseError("this answer can no longer be changed")
            job = hold_job(connection, held.job)
            leasing.must_be_running(job)
            leasing.check_answer(job, answer)
            lock_task(connection, held.job, held.object)
            row = {
                "lease": lease,
                "job": held.job,
                "object": held.object,
                "worker": held.worker,
                "content": content,
                "accepted": held.accepted,
                "submitted": now,
                "active_seconds": leasing.active(active_seconds, (now - held.accepted) / leasing.SECOND),
            }
            until = now + drafts.HOLD_MICROSECONDS
            drafts.keep(connection, row, until)
            if finish_drafts(connection, drafts.older(connection, held.worker), now):
                self._board.news.set()
            return from_micros(until)

        return self._board.store.write_soon(store, lease=lease)
