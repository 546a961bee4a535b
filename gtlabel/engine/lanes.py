"""Which images go to whom: to people at random, to people for what a machine learns of it, or to a machine.

One decision at a time, as a value: what is known of a job goes in, and the next round comes out. Nothing here
touches S3 or the database, and chance comes from the job's seed alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from gtlabel.engine.jobs import Job
from gtlabel.engine.looks import Looks
from gtlabel.engine.rounds import Round, Standing
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gtlabel.learning.decisions import Decision
    from gtlabel.learning.policies import Automation

# As many try the task out as in every other job (contract/ground-truth.md 5.1).
_PROBES = 10
# Learning anew after every few answers tells little more; after too many, people have labeled too much.
_FIRST = 50
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
        initial_model: the ARN of an earlier job's model, which is told and has no say: a classifier of few
            labels is learned anew in a second, and labels that no random sample had would break the promise.
    """

    target: float = 0.95
    risk: float = 0.05
    seed: int = 0
    network: S3Uri | None = None
    initial_model: str = ""

    @classmethod
    def of(cls, job: Job) -> Settings | None:
        """A job's settings; None if people alone label it."""
        said = job.spec.automation
        if said is None:
            return None
        network = said.get("network")
        return cls(**{**said, "network": S3Uri(network) if network else None})


@dataclass(frozen=True)
class Play:
    """One decision: what is known, and what follows from it.

    Images that people could not label leave the game, and with them the question what a right label would be:
    what is promised is promised of those that people can label.

    Attributes:
        job: the job.
        settings: its settings.
        looks: what its pictures look like.
        before: the rounds that were played and count.
        standing: where its images are.
        room: how many images may go out now.
    """

    job: Job
    settings: Settings
    looks: Looks
    before: Sequence[Round]
    standing: Standing
    room: int

    def next(self, now: datetime) -> Round | None:
        """The next round; None if there is nothing more to do."""
        labeled = next((each for each in self.before if each.labeled), None)
        if labeled is None:
            return self._ask_or_label(now)
        if labeled.facts["audit_size"] and not any("audit" in each.facts for each in self.before):
            return self._judge(labeled, now)
        return self._ask(now, self.standing.waiting)

    def _ask_or_label(self, now: datetime) -> Round | None:
        if not self._numbers:
            return self._ask(now, self.standing.waiting)
        spent = self.before[-1].facts.get("spent", 0.0) if self.before else 0.0
        policy = self._policy(self.standing.labels, self._decided(), spent)
        decision = policy.decide()
        facts = _plain(
            {
                "why": decision.why,
                "threshold": decision.threshold,
                "promise": decision.promise and _plain(asdict(decision.promise)),
                "promised": len(decision.objects),
                "spent": policy.spent,
            }
        )
        asked = self._named(policy.ask(min(self.room, self._batch()))) if self.room > 0 else ()
        if len(decision.objects) and not asked:
            return self._label(policy, decision, facts, now)
        # What pictures show that cannot be decoded here only people may say.
        return self._ask(now, asked or self.standing.waiting, facts, self._kept(decision))

    def _label(
        self, policy: Automation, decision: Decision, facts: Mapping[str, Any], now: datetime
    ) -> Round:
        chosen = {
            number: (index, min(round(sure, 2), _SUREST)) for number, index, sure in self._kept(decision)
        }
        size = min(max(len(chosen) // _AUDIT_SHARE, _LEAST_AUDIT), _MOST_AUDIT, max(self.room, 0))
        audited = self._named(policy.audit(decision, size))
        rest = [number for number in self.standing.waiting if number not in chosen]
        return self._round(
            now,
            asked=(*audited, *rest[: max(self.room - len(audited), 0)]),
            audited=audited,
            labeled=tuple((number, *chosen[number]) for number in sorted(chosen)),
            facts={
                **facts,
                "audit_size": len(audited),
                "baseline": self._baseline(len(chosen)),
            },
        )

    def _judge(self, labeled: Round, now: datetime) -> Round:
        """What people said of the machine labels that they were shown."""
        import numpy as np

        told = [number for number in labeled.audited if number in self.standing.labels]
        promise = labeled.facts["promise"]
        decision = self._decision(labeled.labeled, labeled.facts["threshold"], promise, labeled.facts["why"])
        labels = np.array([self.standing.labels[number] for number in told], np.intp)
        audit = self._policy({}).audited(decision, self._placed(told), labels)
        return self._round(now, withdrawn=not audit.holds, facts={"audit": _plain(asdict(audit))})

    def _ask(
        self,
        now: datetime,
        wanted: Sequence[int],
        facts: Mapping[str, Any] | None = None,
        decided: tuple[tuple[int, int, float], ...] = (),
    ) -> Round | None:
        asked = tuple(wanted[: max(self.room, 0)])
        return self._round(now, asked=asked, facts=dict(facts or {}), decided=decided) if asked else None

    def _baseline(self, promised: int) -> dict[str, int]:
        """What a machine could label if people had only been asked about the images chosen at random."""
        drawn = list(takewhile(self.standing.labels.__contains__, self._lane))
        found = self._policy({number: self.standing.labels[number] for number in drawn}).decide()
        return {"people": len(drawn), "promised": len(found.objects), "instead_of": promised}

    def _decided(self) -> Decision | None:
        """What the policy decided in the last round, as far as it is still open."""
        if not self.before or not self.before[-1].decided:
            return None
        last = self.before[-1]
        return self._decision(
            [each for each in last.decided if each[0] not in self.standing.labels],
            last.facts["threshold"],
            last.facts["promise"],
            last.facts["why"],
        )

    def _decision(
        self,
        labels: Iterable[tuple[int, int, float]],
        threshold: float | None,
        promise: Mapping[str, Any] | None,
        why: str,
    ) -> Decision:
        """A decision as the policy knows it, without images that have left the game."""
        import numpy as np

        from gtlabel.learning.decisions import Decision, Promise

        found = sorted((self._places[each[0]], *each[1:]) for each in labels if each[0] in self._places)
        return Decision(
            np.array([place for place, *_ in found], np.intp),
            np.array([index for _, index, _ in found], np.intp),
            np.array([sure for *_, sure in found], np.float64),
            threshold,
            Promise(**promise) if promise else None,
            why,
        )

    def _kept(self, decision: Decision) -> tuple[tuple[int, int, float], ...]:
        """A decision as a round keeps it."""
        return tuple(
            zip(
                self._named(decision.objects),
                decision.labels.tolist(),
                decision.confidence.tolist(),
                strict=True,
            )
        )

    @cached_property
    def _lane(self) -> tuple[int, ...]:
        """The images that take part, in the order in which the random lane asks about them.

        It stays the same when images leave the game, so that its beginning stays a sample of those that are
        left: a new order of them all would have been drawn with knowledge of some labels.
        """
        import numpy as np

        random = np.random.default_rng([self.settings.seed, len(self.looks.numbers)])
        failed = set(self.standing.failed)
        order = random.permutation(self.looks.numbers).tolist()
        return tuple(number for number in order if number not in failed)

    @cached_property
    def _numbers(self) -> tuple[int, ...]:
        """The images that take part, by the places at which the policy has them."""
        import numpy as np

        from gtlabel.learning.policies import Automation

        if not self._lane:
            return ()
        # Who knows nothing asks at random; so this is the policy's own lane, which ours is laid upon.
        blank = Automation(np.zeros((len(self._lane), 1)), len(self.job.classes), seed=self.settings.seed)
        numbers = np.empty(len(self._lane), np.int64)
        numbers[blank.ask(len(self._lane))] = self._lane
        return tuple(numbers.tolist())

    @cached_property
    def _places(self) -> dict[int, int]:
        return {number: place for place, number in enumerate(self._numbers)}

    def _policy(
        self, told: Mapping[int, int], decided: Decision | None = None, spent: float = 0.0
    ) -> Automation:
        """A policy that knows what people said of some images, what it decided, and what that cost."""
        import numpy as np

        from gtlabel.learning.policies import Automation

        rows = np.searchsorted(self.looks.numbers, self._numbers)
        policy = Automation(
            self.looks.features[rows],
            len(self.job.classes),
            views=self.looks.views.tolist(),
            target=self.settings.target,
            alpha=self.settings.risk,
            seed=self.settings.seed,
            spent=spent,
            standing=decided,
        )
        known = [number for number in told if number in self._places]
        policy.learn(self._placed(known), np.array([told[number] for number in known], np.intp))
        return policy

    def _named(self, places: Iterable[int]) -> tuple[int, ...]:
        return tuple(self._numbers[place] for place in places)

    def _placed(self, numbers: Iterable[int]) -> NDArray[np.intp]:
        import numpy as np

        return np.array([self._places[number] for number in numbers], np.intp)

    def _batch(self) -> int:
        if not self.before:
            return _PROBES
        missing = _FIRST - len(self.standing.labels)
        return missing if missing > 0 else max(_LEAST_BATCH, len(self._numbers) // _BATCHES)

    def _round(self, now: datetime, **decided: Any) -> Round:
        return Round(
            number=self.before[-1].number + 1 if self.before else 1,
            iteration=self.job.iteration,
            created=now,
            told=len(self.standing.labels),
            **decided,
        )


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts as JSON knows them, which has neither numpy's numbers nor numbers that are none."""
    bare = {name: value.item() if hasattr(value, "item") else value for name, value in facts.items()}
    return {name: None if value != value else value for name, value in bare.items()}
