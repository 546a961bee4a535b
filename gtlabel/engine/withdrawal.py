"""Taking a worker's answers out of a job: they stay on record, being paid work, and count no more.

Whatever was made of them is made again of the answers of others: images that lack answers now get new places,
and those that were labeled get a new label once these are filled. What a machine learned, it learns anew.
"""

from __future__ import annotations

from sqlalchemy import Connection, Select, delete, exists, insert, select, update

from gtlabel.engine import drafts
from gtlabel.engine.counted import counts, is_withdrawn
from gtlabel.engine.jobs import Job, Status
from gtlabel.engine.places import DONE_WITH, finish_drafts, lock_task, settle
from gtlabel.engine.rounds import start_anew
from gtlabel.engine.schema import answers, leases, results, tasks, withdrawals
from gtlabel.errors import LeaseError

_SECOND = 1_000_000


def withdraw_worker(connection: Connection, job: Job, worker: str, now: int) -> list[int]:
    """Let nothing count that a worker said; return the images that lost an answer.

    The worker gets no more images of the job and cannot be taken back. Doing it twice changes nothing more.

    Args:
        connection: within a transaction that holds the job alone.
        job: the job.
        worker: as the board knows them.
        now: what time it is.

    Raises:
        LeaseError: if the job takes no answers any more, so that nobody could take their places; or if the
            worker never had an image of it.
    """
    if job.status is not Status.IN_PROGRESS:
        raise LeaseError(
            f"the job {job.key.name!r} is {job.status}, and nobody would take the places; make its labels "
            f"anew without this worker: gtlabel quality reconsolidate {job.key.name} --without WORKER"
        )
    mine = (leases.c.job == job.number, leases.c.worker == worker)
    if connection.execute(select(leases.c.id).where(*mine).limit(1)).first() is None:
        raise LeaseError(f"{worker!r} never had an image of the job {job.key.name!r}")
    if is_withdrawn(connection, job.number, worker):
        return []
    held = [row for row in drafts.of_job(connection, job.number) if row.worker == worker]
    finish_drafts(connection, held, now)
    connection.execute(insert(withdrawals).values(job=job.number, worker=worker, moment=now))
    done = (*mine, leases.c.state == "done")
    numbers = sorted(connection.execute(select(leases.c.object).where(*done)).scalars())
    # They keep their seats: nobody sees an image twice.
    connection.execute(update(leases).where(*done).values(state="withdrawn"))
    in_hands = sorted(
        connection.execute(select(leases.c.object).where(*mine, leases.c.state == "leased")).scalars()
    )
    back = update(leases).where(*mine, leases.c.state == "leased")
    connection.execute(back.values(state="expired", seat=None, ended=now, paused=None))
    lost = select(leases.c.object).where(*mine, leases.c.state == "withdrawn")
    _reopen(connection, job, lost, now)
    for number in sorted({*numbers, *in_hands}):
        settle(connection, job, lock_task(connection, job.number, number), now)
    if job.spec.automation is not None:
        start_anew(connection, job, now)
    return numbers


def _reopen(connection: Connection, job: Job, numbers: Select[tuple[int]], now: int) -> None:
    """Offer images again that workers were done with; labels that nobody stands behind go."""
    here = (tasks.c.job == job.number, tasks.c.object.in_(numbers))
    again = {
        "state": "open",
        "answered": None,
        "batch": None,
        "deadline": now + job.spec.availability_seconds * _SECOND,
    }
    connection.execute(update(tasks).where(*here, tasks.c.state.in_(DONE_WITH)).values(again))
    left = exists().where(
        answers.c.job == results.c.job, answers.c.object == results.c.object, counts(answers)
    )
    mine = (results.c.job == job.number, results.c.object.in_(numbers))
    connection.execute(delete(results).where(*mine, results.c.label != "", ~left))
