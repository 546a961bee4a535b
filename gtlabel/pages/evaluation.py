"""The page of an evaluation: how good a network is, what a threshold costs, and its surest mistakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gtlabel.errors import StorageError
from gtlabel.networks.evaluation import Evaluation, ScoredImage
from gtlabel.networks.multilabel import MultiLabelEvaluation, ScoredLabels
from gtlabel.pages import charts
from gtlabel.pages.page import embedded, percent, policy, rendered, style, write_whole

MISTAKES_SHOWN = 24
_BROKEN_SHOWN = 50
# Of more pictures than that the page tells only the figures and the mistakes: it is to be mailed.
_MOST_TOLD = 5_000


@dataclass(frozen=True, slots=True)
class EvaluationPage:
    """What the page shows.

    Attributes:
        title: what the network is called.
        model: where it lies.
        pictures: where the pictures are listed.
        evaluation: what came out.
        broken: pictures that could not be used, with the reason; the first of them.
        broken_images: how many those are.
        unlabeled: how many lines had no label.
    """

    title: str
    model: str
    pictures: str
    evaluation: Evaluation | MultiLabelEvaluation
    broken: Sequence[tuple[str, str]] = ()
    broken_images: int = 0
    unlabeled: int = 0


def render_evaluation(page: EvaluationPage, picture: Callable[[str], bytes] | None = None) -> str:
    """The page.

    Args:
        page: what it shows.
        picture: fetches the file of a picture by its name, for the surest mistakes; what it cannot fetch is
            said to be missing.

    Raises:
        MissingExtraError: if jinja2 or Pillow is not installed.
    """
    evaluation = page.evaluation
    several = isinstance(evaluation, MultiLabelEvaluation)
    sheet = style()
    numbers = evaluation.to_json(images=len(evaluation.images) <= _MOST_TOLD)
    values = {
        "page": page,
        "evaluation": evaluation,
        "several": several,
        "charts": charts,
        "mistakes": [_with_picture(image, picture) for image in evaluation.mistakes[:MISTAKES_SHOWN]],
        "broken_shown": _BROKEN_SHOWN,
        "described": described(evaluation),
        "numbers": embedded({"model": page.model, "pictures": page.pictures, **numbers}),
        "style": sheet,
        "policy": policy(sheet),
    }
    return rendered("evaluation.html", values)


def write_evaluation(page: EvaluationPage, path: Path, picture: Callable[[str], bytes] | None = None) -> Path:
    """Write the page to a file, whole or not at all.

    Raises:
        MissingExtraError: if jinja2 or Pillow is not installed.
    """
    return write_whole(path, [render_evaluation(page, picture)])


def described(
    evaluation: Evaluation | MultiLabelEvaluation,
) -> Callable[[ScoredImage | ScoredLabels], tuple[str, str, str]]:
    """What a picture is, what it was taken for, and how sure the network was of that, or how far off."""

    def describe(image: ScoredImage | ScoredLabels) -> tuple[str, str, str]:
        if isinstance(image, ScoredLabels):
            assert isinstance(evaluation, MultiLabelEvaluation)
            said = ", ".join(evaluation.predicted(image))
            error = max(
                abs((name in image.truth) - share)
                for name, share in zip(evaluation.classes, image.probabilities, strict=True)
            )
            return ", ".join(image.truth) or "nothing", said or "nothing", f"off by {percent(error, 0)}"
        assert isinstance(evaluation, Evaluation)
        return image.truth, evaluation.predicted(image), percent(max(image.probabilities), 0)

    return describe


def _with_picture(
    image: ScoredImage | ScoredLabels, picture: Callable[[str], bytes] | None
) -> ScoredImage | ScoredLabels:
    if picture is None or image.data is not None:
        return image
    try:
        return replace(image, data=picture(image.name))
    except (OSError, StorageError):
        return image
