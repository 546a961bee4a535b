"""Let a network classify pictures whose class is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gtlabel.errors import EvaluationError
from gtlabel.networks.evaluation import Evaluation, ScoredImage, Scores
from gtlabel.networks.multilabel import THRESHOLD, ManyScores, MultiLabelEvaluation
from gtlabel.training.answering import DECODERS, FETCHERS, Answer, answers

if TYPE_CHECKING:
    from gtlabel.networks.runtime import Network

# What is named of pictures that cannot be used; all are counted.
_BROKEN_NAMED = 1_000


class Known(Protocol):
    """A picture whose classes are known, as `gtlabel.datasets.truth` finds them."""

    @property
    def name(self) -> str:
        """Its address or path."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """What it is."""
        ...

    @property
    def read(self) -> Callable[[], bytes]:
        """Fetches its file."""
        ...


@dataclass(frozen=True, slots=True)
class Broken:
    """A picture that could not be used, and why."""

    name: str
    problem: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of the pictures.

    Attributes:
        evaluation: of those that could be used.
        broken: those that could not, the first thousand of them.
        broken_images: how many those are.
    """

    evaluation: Evaluation | MultiLabelEvaluation
    broken: tuple[Broken, ...]
    broken_images: int

    def to_json(self, *, images: bool = True) -> dict[str, Any]:
        """Everything as plain JSON values; `images` as `Evaluation.to_json` has it."""
        return {
            **self.evaluation.to_json(images=images),
            "broken_images": self.broken_images,
            "broken": [{"name": each.name, "problem": each.problem} for each in self.broken],
        }


def judge(
    network: Network,
    classes: Sequence[str],
    images: Iterable[Known],
    *,
    far: bool = True,
    strict: bool = False,
    threshold: float | None = None,
    bins: int | None = None,
    on_answer: Callable[[str, tuple[str, ...], Sequence[float]], object] | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> Judgement:
    """Let a network classify pictures and compare, a few of them in memory at a time.

    Args:
        network: the classifier.
        classes: the names of its outputs, in order.
        images: the pictures; their classes are compared by name.
        far: whether they are fetched from S3, many at once.
        strict: whether a picture that cannot be used is an error; otherwise it is left out and counted.
        threshold: of a multi-label network: from which probability on a class is answered; 0.5 by default.
        bins: how many bins the calibration has at most; see `Evaluation`.
        on_answer: called with the name, the classes and the probabilities of each picture.
        on_progress: called with the number of pictures done.

    Raises:
        EvaluationError: if there is no picture that can be used, or one of a class that the network does not
            know, or of several classes where the network gives one.
    """
    scores = Scores(classes)
    many = ManyScores(classes)
    broken: list[Broken] = []
    broken_images = 0
    known = frozenset(classes)

    def checked() -> Iterator[Known]:
        for image in images:
            # Before it is fetched: a wrong class list shows at the first picture.
            _check(image, known, classes, several=network.multi_label)
            yield image

    found: Iterator[Answer[Known]] = answers(
        network, checked(), lambda image: image.read(), workers=FETCHERS if far else DECODERS
    )
    for done, answer in enumerate(found, start=1):
        image = answer.item
        if answer.probabilities is None:
            if strict:
                raise EvaluationError(f"{image.name} cannot be used for evaluation: {answer.problem}")
            broken_images += 1
            if len(broken) < _BROKEN_NAMED:
                broken.append(Broken(image.name, answer.problem))
        else:
            row = answer.probabilities.tolist()
            if network.multi_label:
                many.add(image.name, image.classes, row)
            else:
                scores.add(image.name, image.classes[0], row)
            if on_answer:
                on_answer(image.name, image.classes, row)
        if on_progress:
            on_progress(done)
    if not scores and not many:
        if broken:
            raise EvaluationError(
                f"none of {broken_images:,} pictures can be used; {broken[0].name}: {broken[0].problem}"
            )
        raise EvaluationError("there is no picture to evaluate with: no line has a label")
    evaluation: Evaluation | MultiLabelEvaluation
    if network.multi_label:
        least = THRESHOLD if threshold is None else threshold
        evaluation = MultiLabelEvaluation(tuple(classes), many, least, bins)
    else:
        evaluation = Evaluation(tuple(classes), scores, bins)
    return Judgement(evaluation, tuple(broken), broken_images)


def evaluate(
    network: Network, images: Mapping[str, bytes], labels: Mapping[str, str], classes: Sequence[str]
) -> Evaluation:
    """Let a network that gives one class classify a few pictures that are in memory already, and compare.

    Args:
        network: the classifier.
        images: the picture files by name.
        labels: the class of each picture, by the same names.
        classes: their names in the order of the network's outputs.

    Raises:
        EvaluationError: if a picture cannot be read or has no label among the classes.
    """
    for name in images:
        if name not in labels:
            raise EvaluationError(f"{name} has no label to compare with")
    scored = []
    for answer in answers(network, images, images.__getitem__):
        name = answer.item
        if answer.probabilities is None:
            raise EvaluationError(f"{name} cannot be used for evaluation: {answer.problem}")
        scored.append(ScoredImage(name, labels[name], answer.probabilities.tolist(), images[name]))
    return Evaluation(classes, scored)


def _check(image: Known, known: frozenset[str], classes: Sequence[str], *, several: bool) -> None:
    for name in image.classes:
        if name not in known:
            alike = next((each for each in classes if _folded(each) == _folded(name)), None)
            hint = f"; it calls one {alike!r}" if alike else ""
            raise EvaluationError(
                f"{image.name} is of the class {name!r}, which the network does not know; "
                f"it knows {', '.join(classes)}{hint}"
            )
    if not several and len(image.classes) != 1:
        said = ", ".join(image.classes) or "no class"
        raise EvaluationError(
            f"{image.name} is labeled with {said}, and the network gives every picture one class; "
            "evaluate it with labels of a single-label job"
        )


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()
