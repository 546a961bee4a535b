"""As many answers for an image as it needs: few for all, more where people leave it in doubt.

Each image gets its first answers as in any job. When all are in, the labels that they give say how often they
are likely to be wrong (`gtlabel.crowd.redundancy`), and more people are asked about those for which that
helps most; and so on, until the labels are as good as was asked for, the budget is spent, or no image in
doubt can get another answer. What a round asked for is written down with the places it opened, so that a
process that takes over neither repeats nor forgets one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, insert, select

from gtlabel.engine import labels
from gtlabel.engine.counted import counts
from gtlabel.engine.gold import Gold
from gtlabel.engine.jobs import Job, Kind, Status, to_micros
from gtlabel.engine.places import ask_more
from gtlabel.engine.register import hold_job
from gtlabel.engine.schema import answers, asks, tasks
from gtlabel.engine.settlement import Settlement
from gtlabel.engine.store import Store
from gtlabel.errors import RedundancyError

if TYPE_CHECKING:
    from gtlabel.crowd.redundancy import Ask, Redundancy

# People were done with these, one way or the other.
_DONE_WITH = ("answered", "labeled", "failed")


@dataclass(frozen=True, slots=True)
class Saving:
    """What asking where it helps came to so far.

    Attributes:
        policy: what the job's tag says, in full.
        most: as many answers an image gets at most; without the policy each would get so many.
        images: how many images were sent to people and not let pass.
        answers: how many answers count.
        fixed: how many there would be at `most` for each image.
        expected_error: the share of labels that are likely to be wrong, as of the last look; None before it.
        error_range: between which shares the wrong labels were where truth was known and so much expected;
            None where that was never measured: for other methods than `auto`, for several classes, and for
            labels of one answer.
        rounds: how many images were asked about again in each round, and the error expected before it.
    """

    policy: str
    most: int
    images: int
    answers: int
    fixed: int
    expected_error: float | None
    error_range: tuple[float, float] | None
    rounds: tuple[tuple[int, float], ...]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, for the file beside the job's manifest and for the owner's page."""
        return {
            "policy": self.policy,
            "most": self.most,
            "images": self.images,
            "answers": self.answers,
            "fixed": self.fixed,
            "saved": self.fixed - self.answers,
            "share": round(self.answers / self.fixed, 4) if self.fixed else None,
            "expected_error": None if self.expected_error is None else round(self.expected_error, 4),
            "error_range": None
            if self.error_range is None
            else [round(each, 4) for each in self.error_range],
            "rounds": [
                {"images": images, "expected_error": round(error, 4)} for images, error in self.rounds
            ],
        }


class Adaptive:
    """Looks for images that need another answer, and asks for it.

    Args:
        store: the engine's database.
        settlement: what is read of whole jobs.
        gold: what is known of their images.
        clock: what time it is.
    """

    def __init__(
        self, store: Store, settlement: Settlement, gold: Gold, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._settlement = settlement
        self._gold = gold
        self._clock = clock

    def ask(self, job: Job) -> bool:
        """Ask more people about images in doubt; say whether anybody is asked about any now.

        Call it when all images that were sent out are labeled.
        """
        policy = policy_of(job)
        heard = self._settlement.heard(job, lambda content: labels.chosen(job, content))
        if policy is None or not heard:
            return False
        numbers, found = list(heard), self._look(job, policy, heard)
        wanted = {
            number: len(heard[number]) + int(more)
            for number, more in zip(numbers, found.more, strict=True)
            if more
        }
        return bool(wanted) and self._store.lead(
            lambda connection: self._open(connection, job, wanted, found)
        )

    def _look(self, job: Job, policy: Redundancy, heard: dict[int, labels.Said]) -> Ask:
        import numpy as np

        made = labels.verdict(job, heard, self._gold.of(job))
        query = select(tasks.c.object, tasks.c.need, tasks.c.declines).where(tasks.c.job == job.number)
        closed = {}
        with self._store.read() as connection:
            for number, need, declines in connection.execute(query.where(tasks.c.state == "labeled")):
                given = len(heard[number])
                # Nobody else came in time, or enough said no: asking again would go on for ever.
                closed[number] = (need or policy.most) > given or declines >= policy.most
        # One that is labeled no more lost an answer meanwhile, and is with people again.
        limit = [len(said) if closed.get(number, True) else policy.most for number, said in heard.items()]
        most = np.array(limit, dtype=np.intp)
        return policy.ask(made.votes, made.posterior, error=made.error, limit=most)

    def _open(self, connection: Connection, job: Job, wanted: dict[int, int], found: Ask) -> bool:
        now = to_micros(self._clock())
        # Somebody may have stopped it meanwhile.
        if hold_job(connection, job.number).status is not Status.IN_PROGRESS:
            return False
        raised = [number for number, need in wanted.items() if ask_more(connection, job, number, need, now)]
        if raised:
            last = select(func.max(asks.c.number)).where(asks.c.job == job.number)
            row = {
                "job": job.number,
                "number": (connection.execute(last).scalar() or 0) + 1,
                "moment": now,
                "images": len(raised),
                "expected_error": found.expected_error,
            }
            connection.execute(insert(asks).values(row))
            return True
        # All were asked about already, if this runs again: see `Store.write_soon`.
        out = select(tasks.c.object).where(tasks.c.job == job.number, tasks.c.state == "open")
        return connection.execute(out.limit(1)).first() is not None


def policy_of(job: Job) -> Redundancy | None:
    """How a job asks for answers; None where each image gets the same number."""
    if job.spec.redundancy is None:
        return None
    from gtlabel.crowd.redundancy import Redundancy

    return Redundancy.parse(job.spec.redundancy, job.spec.workers_per_object)


def first_answers(job: Job) -> int:
    """How many people are asked about an image to begin with."""
    policy = policy_of(job)
    return job.spec.workers_per_object if policy is None else policy.first


def check_budget(job: Job, images: int) -> None:
    """Refuse a job whose budget does not even buy the first answers about each of its images.

    Raises:
        RedundancyError: if so.
    """
    policy = policy_of(job)
    if policy is not None and policy.budget is not None and policy.budget < policy.first * images:
        raise RedundancyError(
            f"budget={policy.budget} does not buy first={policy.first} answers about each of {images:,} "
            f"images; give at least {policy.first * images}, or send fewer"
        )


def saving(store: Store, job: Job, expected_error: float | None = None) -> Saving | None:
    """What a job has saved so far; None for one that asks as many about each image.

    Args:
        store: the engine's database.
        job: the job.
        expected_error: of the labels as they are now; by default of the last round that asked.
    """
    policy = policy_of(job)
    if policy is None:
        return None
    mine = tasks.c.job == job.number
    with store.read() as connection:
        sent = select(func.count()).where(mine, tasks.c.state.in_((*_DONE_WITH, "open", "chosen")))
        given = select(func.count()).where(answers.c.job == job.number, counts(answers))
        images = connection.execute(sent).scalar_one()
        count = connection.execute(given).scalar_one()
        query = select(asks.c.images, asks.c.expected_error).where(asks.c.job == job.number)
        rounds = tuple((row[0], row[1]) for row in connection.execute(query.order_by(asks.c.number)))
    if expected_error is None and rounds:
        expected_error = rounds[-1][1]
    most = policy.most
    likely = None
    measured = job.spec.consensus == "auto" and job.spec.kind is Kind.SINGLE and policy.first > 1
    if expected_error is not None and measured:
        from gtlabel.crowd.redundancy import error_range

        likely = error_range(expected_error)
    return Saving(str(policy), most, images, count, images * most, expected_error, likely, rounds)
