"""Which objects people are asked about next, and which ones a machine may label instead.

`Automation` is the policy that gtlabel uses: it is told labels as they arrive, and says what may be labeled
by a machine so that a stated share of it is right, except with a stated risk.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gtlabel.learning.classifier import out_of_fold
from gtlabel.learning.threshold import most_wrong

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_FOLDS = 5
_LEAST = 50
_STEPS = 12


@dataclass(frozen=True, slots=True)
class Promise:
    """What is stated about the objects that a machine labels.

    Attributes:
        precision: at least this share of them has the label that people would give it.
        risk: the probability that this is wrong, at most.
        sample: how many randomly chosen objects of that kind people had labeled.
        wrong: how many of those the machine had wrong.
    """

    precision: float
    risk: float
    sample: int
    wrong: int


@dataclass(frozen=True, slots=True)
class Decision:
    """Which objects a machine may label.

    Attributes:
        objects: they, in ascending order; empty where nothing can be promised.
        labels: the class of each.
        confidence: how likely each label is right, as the machine sees it.
        threshold: the least confidence among them; None where there are none.
        promise: what holds for them; None where there are none.
        why: one sentence for people.
    """

    objects: Indices
    labels: Indices
    confidence: Floats
    threshold: float | None
    promise: Promise | None
    why: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What people found when they looked at machine labels at random.

    Attributes:
        sample: how many they looked at.
        wrong: how many of those were wrong.
        precision: the share that was right; nan where none was looked at.
        at_least: the precision of all machine labels, except with the risk of the promise.
        holds: False where the promise is refuted at that risk.
        why: one sentence for people.
    """

    sample: int
    wrong: int
    precision: float
    at_least: float
    holds: bool
    why: str


class Automation:
    """Asks people about few objects and has a machine label others, at a precision that is promised.

    Args:
        features: of all objects, shape (n, d).
        classes: how many there are.
        target: the share of the machine's labels that must be right.
        alpha: the risk that it is not.
        seed: of every choice made at random.
    """

    def __init__(
        self,
        features: NDArray[np.floating],
        classes: int,
        *,
        target: float = 0.95,
        alpha: float = 0.05,
        seed: int = 0,
    ) -> None:
        self._features = np.asarray(features)
        self._classes = classes
        self._target = target
        self._alpha = alpha
        count = len(self._features)
        random = np.random.default_rng(seed)
        # A uniform sample at any time is a beginning of this order, whatever else was asked for.
        self._lane = random.permutation(count)
        self._folds = np.empty(count, dtype=np.intp)
        self._folds[self._lane] = np.arange(count) % _FOLDS
        self._known = np.full(count, -1, dtype=np.intp)
        self._audit_order = random.permutation(count)

    def ask(self, n: int) -> Indices:
        """The objects that people should label next: at random first, then half of them informative ones.

        Asking again without having learned gives the same objects.

        Args:
            n: how many at most; fewer where fewer are left.
        """
        open_ = self._lane[self._known[self._lane] < 0]
        done = int((self._known >= 0).sum())
        if done < _LEAST:
            return open_[:n]
        random = open_[: (n + 1) // 2]
        chosen = np.isin(np.arange(len(self._known)), random)
        rest = np.flatnonzero((self._known < 0) & ~chosen)
        ordered = np.sort(self._scores()[rest], axis=1)
        margin = ordered[:, -1] - ordered[:, -2]
        informative = rest[np.argsort(margin, kind="stable")][: n - len(random)]
        return np.concatenate([random, informative])

    def learn(self, objects: Indices, labels: Indices) -> None:
        """Take the labels that people gave; those of an object known before are replaced."""
        self._known[np.asarray(objects, dtype=np.intp)] = labels

    def decide(self) -> Decision:
        """What a machine may label now; changes nothing."""
        known = self._known >= 0
        unknown_in_lane = np.flatnonzero(~known[self._lane])
        drawn = len(self._lane) if not len(unknown_in_lane) else int(unknown_in_lane[0])
        if drawn < _LEAST or known.all():
            return _nothing(f"not enough: {drawn} objects chosen at random have a label, {_LEAST} are needed")
        scores = self._scores()
        labels = scores.argmax(axis=1)
        confidence = scores.max(axis=1)
        sampled = np.zeros(len(known), dtype=bool)
        sampled[self._lane[:drawn]] = True
        order = np.argsort(-confidence, kind="stable")
        wrong = known & (labels != self._known)
        ends = np.unique(np.geomspace(_LEAST, len(order), _STEPS).astype(int))
        best: tuple[int, Promise] | None = None
        for end in ends:
            inside = order[:end]
            sample = int(sampled[inside].sum())
            seen = int((wrong & sampled)[inside].sum())
            rest = end - sample
            open_ = int((~known)[inside].sum())
            bound = most_wrong(sample, seen, rest, self._alpha / len(ends))
            hidden = bound - int((wrong & ~sampled)[inside].sum())
            if open_ and hidden <= (1 - self._target) * open_:
                best = (end, Promise(self._target, self._alpha, sample, seen))
        if best is None:
            return _nothing(f"not enough: no threshold can promise {self._target:.0%} yet")
        end, promise = best
        chosen = np.sort(order[:end][~known[order[:end]]])
        return Decision(
            chosen,
            labels[chosen],
            confidence[chosen],
            float(confidence[chosen].min()),
            promise,
            f"{len(chosen)} objects: of {promise.sample} like them that people labeled, chosen at random, "
            f"{promise.wrong} were wrong",
        )

    def audit(self, decision: Decision, n: int) -> Indices:
        """The machine-labeled objects that people should look at to check the promise, chosen at random.

        More of them begin with the same ones.

        Args:
            decision: what was labeled.
            n: how many at most.
        """
        return self._audit_order[np.isin(self._audit_order, decision.objects)][:n]

    def audited(self, decision: Decision, objects: Indices, labels: Indices) -> Audit:
        """What the answers about audited objects say of the promise.

        Args:
            decision: what was labeled.
            objects: those of `audit` that people have labeled.
            labels: what people said.
        """
        machine = dict(zip(decision.objects.tolist(), decision.labels.tolist(), strict=True))
        sample = len(objects)
        wrong = sum(machine[o] != told for o, told in zip(np.asarray(objects).tolist(), labels, strict=True))
        total = len(decision.objects)
        at_least = 1 - (wrong + most_wrong(sample, wrong, total - sample, self._alpha)) / max(total, 1)
        share = 1 - wrong / sample if sample else float("nan")
        return Audit(sample, wrong, share, at_least, True, f"{wrong} of {sample} audited labels were wrong")

    def _scores(self) -> Floats:
        objects = np.flatnonzero(self._known >= 0)
        return out_of_fold(self._features, objects, self._known[objects], self._classes, self._folds)


def _nothing(why: str) -> Decision:
    empty = np.empty(0, dtype=np.intp)
    return Decision(empty, empty, np.empty(0), None, None, why)
