"""What could be bought: ways to label, tried out on simulated answers before anybody is paid.

Each way says how many people look at a picture, how their answers become a label, whether more are asked only
where it is doubtful, and whether a machine labels what it may. All ways are tried on the same draws of a
population (gtlabel.crowd.population), so that they can be compared with each other.
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
MOST_DRAWN = 600
# Of the draws, the middle nine in ten.
_LOW, _HIGH = 0.05, 0.95
# So many people look at each picture before it is known where more are needed.
_FIRST = 2
# Dimensions of the pictures as a simulated machine sees them.
_DIMENSIONS = 16
_SEPARATION_SAMPLE = 4000
_ROUNDS_OF_MACHINE = 8


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
        if not self.adaptive:
            who = f"{self.votes} {'person' if self.votes == 1 else 'people'}"
        else:
            who = f"{min(_FIRST, self.votes)} to {self.votes} people"
        mean = "" if self.budget is None else f", {self.budget:g} on average"
        machine = ", and a machine" if self.automated else ""
        return f"{who}{mean}, {self.method}{machine}"


@dataclass(frozen=True, slots=True)
class Span:
    """A mean over the draws, with the interval in which nine of ten draws lie."""

    mean: float
    low: float
    high: float


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
    if adaptive:
        found += sparing
    if automated:
        found += [replace(way, automated=True) for way in found if way.method == best]
    return found


def try_out(
    population: Population,
    images: int,
    tried: Sequence[Way],
    *,
    runs: int = 20,
    seed: int = 0,
    error: float = 0.02,
    model_accuracy: float = 0.85,
    precision: float = 0.95,
    on_progress: Callable[[int, int], object] = lambda _done, _total: None,
) -> list[Trial]:
    """Try ways out on draws of a population.

    Args:
        population: who is asked, about what.
        images: how many pictures there are; of many, some hundreds are drawn.
        tried: the ways.
        runs: how many draws, each of other people and other pictures.
        seed: of the first draw.
        error: the share of wrong labels at which adaptive ways stop.
        model_accuracy: how often a machine that has learned from all pictures is right.
        precision: the share of a machine's labels that must be right.
        on_progress: told how many draws are done, of how many.

    Raises:
        SettingsError: if the people are too few, or the model is no better than chance.
    """
    import numpy as np

    most = max(way.votes for way in tried)
    if population.people < most:
        raise SettingsError(
            f"{population.people} people are too few for {most} answers by different ones;"
            " give more --people, or fewer --votes"
        )
    classes = len(population.prior)
    separation = _separation(classes, model_accuracy, seed) if any(way.automated for way in tried) else 0.0
    found: list[list[tuple[float, float, float]]] = [[] for _ in tried]
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        drawn = population.draw(min(images, MOST_DRAWN), most, rng)
        pictures = _pictures(drawn.truth, classes, separation, rng)
        for way, outcomes in zip(tried, found, strict=True):
            outcomes.append(_outcome(way, drawn, pictures, classes, error, precision, run))
        on_progress(run + 1, runs)
    return [
        Trial(way, *(_span(np.array(column)) for column in zip(*outcomes, strict=True)))
        for way, outcomes in zip(tried, found, strict=True)
    ]


def _outcome(
    way: Way,
    drawn: Drawn,
    pictures: NDArray[np.float64],
    classes: int,
    error: float,
    precision: float,
    seed: int,
) -> tuple[float, float, float]:
    """The share of right labels, answers for each picture, and the machine's share of the pictures."""
    import numpy as np

    objects = len(drawn.truth)
    labels, asked = _adaptive(way, drawn, classes, error) if way.adaptive else _fixed(way, drawn, classes)
    if not way.automated:
        return float((labels == drawn.truth).mean()), float(asked.mean()), 0.0
    machine = _by_machine(pictures, labels, classes, precision, seed)
    by_machine = machine >= 0
    final = np.where(by_machine, machine, labels)
    return (
        float((final == drawn.truth).mean()),
        float(asked[~by_machine].sum() / objects),
        float(by_machine.mean()),
    )


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
    pictures: NDArray[np.float64], labels: NDArray[np.intp], classes: int, precision: float, seed: int
) -> NDArray[np.intp]:
    """The machine's label of each picture, -1 where people label it."""
    import numpy as np

    from gtlabel.learning.policies import Automation

    objects = len(labels)
    automation = Automation(pictures, classes, target=precision, seed=seed)
    machine = np.full(objects, -1)
    asked = np.zeros(objects, dtype=np.bool_)
    batch = max(50, -(-objects // _ROUNDS_OF_MACHINE))
    while not asked.all():
        chosen = automation.ask(batch)
        if not len(chosen):
            break
        automation.learn(chosen, labels[chosen])
        asked[chosen] = True
        decision = automation.decide()
        if len(decision.objects):
            machine[decision.objects] = decision.labels
            break
    return machine


def _pictures(
    truth: NDArray[np.intp], classes: int, separation: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Pictures as a machine may see them: classes are clouds around points as far from each other."""
    import numpy as np

    points = np.zeros((classes, max(_DIMENSIONS, classes)))
    points[np.arange(classes), np.arange(classes)] = separation
    cloud: NDArray[np.float64] = points[truth] + rng.standard_normal((len(truth), points.shape[1]))
    return cloud


def _separation(classes: int, accuracy: float, seed: int) -> float:
    """How far from each other clouds lie whose best possible classifier is so often right."""
    import numpy as np

    if not 1 / classes < accuracy < 1:
        raise SettingsError(
            f"a model that is right in {accuracy:.0%} of all cases is no better than chance, or never wrong;"
            f" among {classes} classes, give --model-accuracy above {1 / classes:.2f} and below 1"
        )
    noise = np.random.default_rng(seed).standard_normal((_SEPARATION_SAMPLE, classes))
    low, high = 0.0, 20.0
    for _ in range(30):
        middle = (low + high) / 2
        right = (noise[:, 0] + middle > noise[:, 1:].max(axis=1)).mean()
        low, high = (middle, high) if right < accuracy else (low, middle)
    return high


def _span(values: NDArray[np.float64]) -> Span:
    import numpy as np

    low, high = np.quantile(values, [_LOW, _HIGH])
    return Span(float(values.mean()), float(low), float(high))
