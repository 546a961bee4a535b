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
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from gtlabel import storage
from gtlabel.engine import automationfiles, looks
from gtlabel.engine.jobs import Job, JobKey
from gtlabel.engine.rounds import Round, Rounds, Standing
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from gtlabel.engine.store import Store
    from gtlabel.learning.policies import Automation, Decision

# As many try the task out as in every other job (contract/ground-truth.md 5.1).
_PROBES = 10
# Learning anew after every few answers tells little more; after too many, people have labeled too much.
_LEAST_BATCH = 20
_BATCHES = 20
# How many machine labels people look at: a tenth of them, but so many at least and at most.
_AUDIT_SHARE = 10
_LEAST_AUDIT, _MOST_AUDIT = 10, 100
# Two decimals are written, and no machine is certain.
_SUREST = 0.99


@dataclass(frozen=True, slots=True)
class Settings:
    """What a job says about its automated labeling.

    Attributes:
        target: the share of machine labels that must be right.
        risk: the probability, at most, that it is not.
        seed: of everything that is chosen at random.
        network: an ONNX file to look at pictures with; None for what needs no file.
    """

    target: float = 0.95
    risk: float = 0.05
    seed: int = 0
    network: S3Uri | None = None

    @classmethod
    def of(cls, job: Job) -> Settings | None:
        """A job's settings; None if people alone label it."""
        said = job.spec.automation
        if said is None:
            return None
        network = said.get("network")
        return cls(**{**said, "network": S3Uri(network) if network else None})


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
        before, standing = self.rounds.of(job), self.rounds.standing(job)
        if room <= 0 and not standing.labels:
            return None
        play = _Play(job, settings, desk.looks, before, standing, room)
        return play.next(self._clock())

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
        report = automationfiles.report(job, played, self.rounds.standing(job).labels)
        storage.write(s3, automationfiles.report_of(job), report, "application/json")


@dataclass(frozen=True, slots=True)
class _Play:
    """One decision: what was known, and what follows from it."""

    job: Job
    settings: Settings
    looks: looks.Looks
    before: list[Round]
    standing: Standing
    room: int

    def next(self, now: datetime) -> Round | None:
        labeled = next((each for each in self.before if each.labeled), None)
        if labeled is None:
            return self._ask_or_label(now)
        if labeled.facts["audit_size"] and not any("audit" in each.facts for each in self.before):
            return self._judge(labeled, now)
        return self._ask_the_rest(now)

    def _ask_or_label(self, now: datetime) -> Round | None:
        policy = self._policy(self._told())
        decision = policy.decide()
        facts = _plain(
            {"why": decision.why, "threshold": decision.threshold, "promised": len(decision.objects)}
        )
        waiting = len(self.standing.waiting)
        if len(decision.objects) and (self.room <= 0 or not self._is_worth_waiting(len(decision.objects))):
            return self._label(policy, decision, facts, now)
        if not waiting or self.room <= 0:
            return None
        count = min(self.room, self._batch())
        asked = [int(self.looks.numbers[place]) for place in policy.ask(count)]
        # Nobody else can say what pictures show that cannot be decoded here; people may.
        asked = asked or list(self.standing.waiting[: self.room])
        return self._round(now, asked=tuple(asked), facts=facts)

    def _label(
        self, policy: Automation, decision: Decision, facts: Mapping[str, Any], now: datetime
    ) -> Round:
        chosen = {
            int(self.looks.numbers[place]): (int(index), min(round(float(sure), 2), _SUREST))
            for place, index, sure in zip(decision.objects, decision.labels, decision.confidence, strict=True)
            if int(index) < len(self.job.classes)
        }
        size = min(
            max(len(chosen) // _AUDIT_SHARE, _LEAST_AUDIT), _MOST_AUDIT, len(chosen), max(self.room, 0)
        )
        audited = [
            number
            for place in policy.audit(decision, size)
            if (number := int(self.looks.numbers[place])) in chosen
        ]
        rest = [number for number in self.standing.waiting if number not in chosen]
        asked = (*audited, *rest[: max(self.room - len(audited), 0)])
        return self._round(
            now,
            asked=asked,
            audited=tuple(audited),
            labeled=tuple((number, *chosen[number]) for number in sorted(chosen)),
            facts={
                **facts,
                "promise": _plain(asdict(decision.promise)) if decision.promise else None,
                "audit_size": len(audited),
                "baseline": self._baseline(len(chosen)),
            },
        )

    def _judge(self, labeled: Round, now: datetime) -> Round:
        """What people said of the machine labels that they were shown."""
        import numpy as np

        from gtlabel.learning.policies import Decision, Promise

        machine = {number: (index, sure) for number, index, sure in labeled.labeled}
        place_of = {int(number): place for place, number in enumerate(self.looks.numbers)}
        numbers = sorted(machine)
        told = [number for number in labeled.audited if number in self.standing.labels]
        promise = labeled.facts["promise"]
        decision = Decision(
            np.array([place_of[number] for number in numbers], np.intp),
            np.array([machine[number][0] for number in numbers], np.intp),
            np.array([machine[number][1] for number in numbers]),
            labeled.facts["threshold"],
            Promise(**promise) if promise else None,
            labeled.facts["why"],
        )
        audit = self._policy({}).audited(
            decision,
            np.array([place_of[number] for number in told], np.intp),
            np.array([self.standing.labels[number] for number in told], np.intp),
        )
        return self._round(now, withdrawn=not audit.holds, facts={"audit": _plain(asdict(audit))})

    def _ask_the_rest(self, now: datetime) -> Round | None:
        asked = self.standing.waiting[: max(self.room, 0)]
        return self._round(now, asked=asked) if asked else None

    def _policy(self, told: Mapping[int, int]) -> Automation:
        """A policy that knows what people said of some images."""
        import numpy as np

        from gtlabel.learning.policies import Automation

        lost = len(self.job.classes)
        policy = Automation(
            self.looks.features,
            lost + (lost in told.values()),
            target=self.settings.target,
            alpha=self.settings.risk,
            seed=self.settings.seed,
        )
        places = [place for place, number in enumerate(self.looks.numbers.tolist()) if number in told]
        labels = [told[int(self.looks.numbers[place])] for place in places]
        policy.learn(np.array(places, np.intp), np.array(labels, np.intp))
        return policy

    def _told(self) -> dict[int, int]:
        """What people said of each image that they are done with.

        What nobody could label is no label of a machine's either: a class of its own, which it is wrong about
        wherever it names another. So the promise holds with these images among the sample.
        """
        return {**dict.fromkeys(self.standing.failed, len(self.job.classes)), **self.standing.labels}

    def _baseline(self, promised: int) -> dict[str, int]:
        """What a machine could have labeled if people had only been asked about images chosen at random."""
        told, numbers = self._told(), self.looks.numbers.tolist()
        # Who knows nothing asks at random, so these are all images in the order of the random lane.
        lane = (numbers[place] for place in self._policy({}).ask(len(numbers)))
        drawn = list(takewhile(told.__contains__, lane))
        found = self._policy({number: told[number] for number in drawn}).decide()
        return {"people": len(drawn), "promised": len(found.objects), "instead_of": promised}

    def _is_worth_waiting(self, promised: int) -> bool:
        """Whether people should label another batch before a machine labels what it may.

        What people label in all is what is not promised; so wait while the promise still grows, unless what
        is left could not grow it.
        """
        waiting = len(self.standing.waiting)
        if promised >= waiting - self._batch():
            return False
        last = self.before[-1].facts.get("promised", 0) if self.before else 0
        return bool(promised > last)

    def _batch(self) -> int:
        if not self.before:
            return _PROBES
        return max(_LEAST_BATCH, len(self.looks.numbers) // _BATCHES)

    def _round(self, now: datetime, **decided: Any) -> Round:
        return Round(
            number=len(self.before) + 1,
            iteration=self.job.iteration,
            created=now,
            told=len(self.standing.labels),
            **decided,
        )


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts as JSON knows them, which has neither numpy's numbers nor numbers that are none."""
    bare = {name: value.item() if hasattr(value, "item") else value for name, value in facts.items()}
    return {name: None if value != value else value for name, value in bare.items()}
