"""What could be bought: ways to label, tried out on simulated answers before anybody is paid.

Each way says how many people look at a picture, how their answers become a label, whether more are asked only
where it is doubtful, and whether a machine labels what it may. All ways are tried on the same draws of a
population (gtlabel.crowd.population), so that they can be compared with each other. What they cost is told by
gtlabel.labeling.offers. (gtlabel.labeling.plan is another plan: of what a labeling job will do.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gtlabel.errors import SettingsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gtlabel.crowd.population import Drawn, Population
    from gtlabel.crowd.votes import Votes

# More pictures than this tell hardly more of a crowd, and take longer.
MOST_DRAWN = 500
# Of the draws, the middle nine in ten.
_LOW, _HIGH = 0.05, 0.95
# So many people look at each picture before it is known where more are needed.
_FIRST = 2
# A machine learns the more, and can promise the more, the more pictures there are.
MOST_BY_MACHINE = 2000
_ROUNDS_OF_MACHINE = 5
# What seeds are drawn for besides people's answers.
_PICTURES, _MORE = 1, 2


@dataclass(frozen=True, slots=True)
class Way:
    """One way to label.

    Attributes:
        votes: how many people look at each picture; at the most, where it is adaptive.
        method: how their answers become a label, as `gtlabel.crowd.methods` names it.
        adaptive: whether two people look at first, and more where they leave doubt.
        budget: how many answers there are for each picture on average, at the most; None for as many as it
            takes. Only where it is adaptive.
        automated: whether a machine labels what it may at the promised precision.
    """

    votes: int
    method: str = "auto"
    adaptive: bool = False
    budget: float | None = None
    automated: bool = False

    @property
    def by_aws(self) -> bool:
        """Whether Ground Truth can ask people in this way; what their answers mean can be settled later."""
        return not self.adaptive and not self.automated

    def __str__(self) -> str:
        machine = ", and a machine" if self.automated else ""
        if self.votes == 1:
            return f"1 person{machine}"
        who = f"{_FIRST} to {self.votes} people" if self.adaptive else f"{self.votes} people"
        mean = "" if self.budget is None else f", {self.budget:g} on average"
        return f"{who}{mean}, {self.method}{machine}"


@dataclass(frozen=True, slots=True)
class Span:
    """A mean over the draws, with the interval in which nine of ten draws lie."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Tries:
    """How ways are tried out.

    Attributes:
        runs: how many draws, each of other people and other pictures.
        seed: of the draws.
        error: the share of wrong labels at which adaptive ways stop.
        model_accuracy: how often a machine that has learned from all pictures is right.
        precision: the share of a machine's labels that must be those people would give.
    """

    runs: int = 20
    seed: int = 0
    error: float = 0.02
    model_accuracy: float = 0.85
    precision: float = 0.95


@dataclass(frozen=True, slots=True)
class _Machine:
    """How far apart classes look to it, and how often it must be right."""

    classes: int
    apart: float
    precision: float


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one way.

    Attributes:
        way: the way.
        accuracy: the share of the labels that are right.
        answers: how many answers there are for each picture, of all pictures.
        by_machine: the share of the pictures that the machine labels.
    """

    way: Way
    accuracy: Span
    answers: Span
    by_machine: Span


def ways(
    votes: Sequence[int], methods: Sequence[str], *, adaptive: bool = True, automated: bool = True
) -> list[Way]:
    """The ways that are worth comparing.

    Methods are compared where all pictures get as many answers; what buys less is tried with `auto` where it
    is among the methods, else with the last of them. One answer is a label by any method.

    Args:
        votes: how many people look at each picture.
        methods: how their answers become labels.
        adaptive: whether people may be asked more where they leave doubt.
        automated: whether a machine may label, too.
    """
    best = "auto" if "auto" in methods else methods[-1]
    counts, most = sorted(set(votes)), max(votes)
    found = [
        Way(count, method)
        for count in counts
        for method in ([best] if count == 1 else dict.fromkeys(methods))
    ]
    sparing = [Way(count, best, adaptive=True) for count in counts if count > _FIRST]
    sparing += [Way(most, best, adaptive=True, budget=count) for count in counts if _FIRST < count < most]
    if automated:
        # A machine learns from labels that stay, so a job asks adaptively or has a machine, and not both.
        found += [replace(way, automated=True) for way in found if way.method == best]
    return found + sparing if adaptive else found


def try_out(
    population: Population,
    images: int,
    tried: Sequence[Way],
    tries: Tries | None = None,
    on_progress: Callable[[int, int], object] = lambda _done, _total: None,
) -> list[Trial]:
    """Try ways out on draws of a population.

    Args:
        population: who is asked, about what.
        images: how many pictures there are; of many, `MOST_DRAWN` are drawn, and `MOST_BY_MACHINE` shown to
            the machine. Its mistakes are taken to have nothing to do with those of people.
        tried: the ways.
        tries: how they are tried; None for the usual.
        on_progress: told how many draws are done, of how many.

    Raises:
        SettingsError: if the people are too few.
        LearningError: if the model is no better than chance.
    """
    import numpy as np

    tries = tries or Tries()
    most = max(way.votes for way in tried)
    if population.people < most:
        raise SettingsError(
            f"{population.people} {'people are' if population.people != 1 else 'person is'} too few for "
            f"{most} answers by different ones; give more --people, or fewer --votes"
        )
    classes = len(population.prior)
    machine = None
    if any(way.automated for way in tried):
        from gtlabel.learning.clouds import distance

        machine = _Machine(classes, distance(classes, tries.model_accuracy, tries.seed), tries.precision)
    found: list[list[tuple[float, float, float]]] = [[] for _ in tried]
    for run in range(tries.runs):
        drawn = population.draw(min(images, MOST_DRAWN), most, np.random.default_rng([tries.seed, run]))
        by_people: dict[Way, tuple[NDArray[np.intp], NDArray[np.intp]]] = {}
        for way, outcomes in zip(tried, found, strict=True):
            alone = replace(way, automated=False)
            if alone not in by_people:
                by_people[alone] = _people(alone, drawn, classes, tries.error)
            labels, asked = by_people[alone]
            if way.automated and machine is not None:
                outcomes.append(_with_machine(drawn.truth, labels, asked, machine, images, tries.seed + run))
            else:
                outcomes.append((float((labels == drawn.truth).mean()), float(asked.mean()), 0.0))
        on_progress(run + 1, tries.runs)
    return [
        Trial(way, *(_span(np.array(column)) for column in zip(*outcomes, strict=True)))
        for way, outcomes in zip(tried, found, strict=True)
    ]


def _people(way: Way, drawn: Drawn, classes: int, error: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The labels that people's answers make, and how many answers each picture has."""
    return _adaptive(way, drawn, classes, error) if way.adaptive else _fixed(way, drawn, classes)


def _with_machine(
    truth: NDArray[np.intp],
    labels: NDArray[np.intp],
    asked: NDArray[np.intp],
    machine: _Machine,
    images: int,
    seed: int,
) -> tuple[float, float, float]:
    """The share of right labels, answers for each picture, and the machine's share of the pictures."""
    import numpy as np

    without = float((labels == truth).mean()), float(asked.mean()), 0.0
    if images > len(truth):
        # How much a machine may label depends on how many pictures there are, so those drawn stand for more.
        like = np.random.default_rng([seed, _MORE]).integers(len(truth), size=min(images, MOST_BY_MACHINE))
        truth, labels, asked = truth[like], labels[like], asked[like]
    found = _by_machine(truth, labels, machine, seed)
    by_people = found < 0
    if by_people.all():
        return without
    right = np.where(by_people, labels, found) == truth
    return float(right.mean()), float((asked * by_people).mean()), float(1 - by_people.mean())


def _fixed(way: Way, drawn: Drawn, classes: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    import numpy as np

    from gtlabel.crowd.methods import aggregate

    objects = len(drawn.truth)
    found = aggregate(drawn.votes(way.votes), objects, classes, way.method)
    return found.labels, np.full(objects, way.votes)


def _adaptive(
    way: Way, drawn: Drawn, classes: int, error: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """As a job does it: rounds of questions, the next when the answers to the one before are there."""
    import numpy as np

    from gtlabel.crowd.methods import aggregate
    from gtlabel.crowd.redundancy import Redundancy

    objects = len(drawn.truth)
    budget = None if way.budget is None else round(way.budget * objects)
    policy = Redundancy(first=min(_FIRST, way.votes), most=way.votes, error=error, budget=budget)
    asked = np.full(objects, policy.first)
    while True:
        votes = _so_far(drawn, asked)
        found = aggregate(votes, objects, classes, way.method)
        ask = policy.ask(votes, found.posterior)
        if ask.done:
            return found.labels, asked
        asked = asked + ask.more


def _so_far(drawn: Drawn, asked: NDArray[np.intp]) -> Votes:
    import numpy as np

    from gtlabel.crowd.votes import Votes

    objects, places = np.nonzero(np.arange(drawn.classes.shape[1]) < asked[:, None])
    return Votes(objects, drawn.workers[objects, places], drawn.classes[objects, places])


def _by_machine(
    truth: NDArray[np.intp], labels: NDArray[np.intp], machine: _Machine, seed: int
) -> NDArray[np.intp]:
    """The machine's label of each picture, -1 where people label it."""
    import numpy as np

    from gtlabel.learning.clouds import Means, clouds
    from gtlabel.learning.policies import Automation

    objects = len(labels)
    pictures = clouds(truth, machine.classes, machine.apart, np.random.default_rng([seed, _PICTURES]))
    automation = Automation(
        pictures,
        machine.classes,
        target=machine.precision,
        seed=seed,
        learner=Means(pictures, machine.classes),
    )
    batch = max(50, -(-objects // _ROUNDS_OF_MACHINE))
    while len(chosen := automation.ask(batch)):
        automation.learn(chosen, labels[chosen])
    decision = automation.decide()
    found = np.full(objects, -1)
    found[decision.objects] = decision.labels
    return found


def _span(values: NDArray[np.float64]) -> Span:
    import numpy as np

    low, high = np.quantile(values, [_LOW, _HIGH])
    return Span(float(values.mean()), float(low), float(high))
