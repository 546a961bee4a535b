"""What becomes of the tasks of workers who may not work on their job any more."""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import select

from gtlabel.engine.board import Board
from gtlabel.engine.register import job_by_number
from gtlabel.engine.schema import leases
from gtlabel.errors import LeaseError


def call_back(board: Board) -> int:
    """Give the tasks of workers whom the board would not admit any more to the others; answers stay.

    Looking costs one read of the open leases. It also finds whoever was given a task in the second before
    everybody knew that they had left, so it wants to be called every second or so.

    Returns:
        How many tasks went back.
    """
    query = select(leases.c.id, leases.c.job, leases.c.worker).where(leases.c.state == "leased")
    with board.store.read() as connection:
        held = connection.execute(query).all()
        jobs = {number: job_by_number(connection, number) for number in {row.job for row in held}}
    gone = [row.id for row in held if board.admits(jobs[row.job], row.worker) is not None]
    for lease in gone:
        # Answered, or given back, since we looked.
        with suppress(LeaseError):
            board.release(lease)
    return len(gone)
