"""How a judgement of a network is told in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gtlabel.cli.output import put, put_fields, put_table

if TYPE_CHECKING:
    from gtlabel.datasets.truth import Truth
    from gtlabel.networks.evaluation import ClassScore, Evaluation
    from gtlabel.networks.measures import Interval, Threshold
    from gtlabel.networks.multilabel import MultiLabelEvaluation
    from gtlabel.training.evaluate import Judgement
    from gtlabel.training.model import Model

# A matrix of more columns does not fit in a terminal.
_WIDEST_MATRIX = 8
_CONFUSED = 12
_MISTAKES = 5


def put_judgement(model: Model, truth: Truth, judgement: Judgement) -> None:
    """Print all figures, and the surest mistakes."""
    from gtlabel.networks.multilabel import MultiLabelEvaluation

    evaluation = judgement.evaluation
    fields: dict[str, Any] = {
        "model": model.address,
        "pictures": f"{len(evaluation.images):,} of {truth.name}",
    }
    if judgement.broken_images:
        fields["left out"] = f"{judgement.broken_images:,} that cannot be used"
    if isinstance(evaluation, MultiLabelEvaluation):
        _put_many(evaluation, fields)
    else:
        _put_single(evaluation, fields)


def _put_single(evaluation: Evaluation, fields: dict[str, Any]) -> None:
    name, share = evaluation.majority
    fields["accuracy"] = with_interval(evaluation.accuracy, evaluation.interval)
    fields["balanced"] = with_interval(evaluation.balanced_accuracy, evaluation.balanced_interval)
    fields["baseline"] = f"{share:.1%} for always saying {name}"
    for k, among in evaluation.top_k.items():
        fields[f"top {k}"] = f"{among:.1%}"
    fields["log loss"] = f"{evaluation.log_loss:.3f}"
    fields["brier"] = f"{evaluation.brier:.3f} of 2"
    fields["calibration"] = _calibration(evaluation)
    put_fields(fields)
    put("")
    put_table(
        ("class", "images", "precision", "recall", "F1"),
        [_row(each) for each in evaluation.per_class],
        right=("images",),
    )
    put("")
    _put_confusion(evaluation)
    put("")
    put_table(
        ("threshold", "answered", "right of those", "95% interval", ""),
        [
            *((f"{step.threshold:.2f}", *_step(step), "") for step in evaluation.thresholds),
            *(
                (f"{step.threshold:.3f}", *_step(step), f"the most answers of which {target:.0%} are right")
                for target, step in evaluation.targets.items()
                if step is not None
            ),
        ],
        right=("threshold", "answered", "right of those"),
    )
    _put_mistakes(
        [
            (image.truth, evaluation.predicted(image), f"{max(image.probabilities):.1%}", image.name)
            for image in evaluation.mistakes[:_MISTAKES]
        ]
    )


def _put_many(evaluation: MultiLabelEvaluation, fields: dict[str, Any]) -> None:
    names, share = evaluation.majority
    fields["exact match"] = with_interval(evaluation.exact_match, evaluation.interval)
    fields["baseline"] = f"{share:.1%} for always saying {', '.join(names) or 'nothing'}"
    fields["mean average precision"] = share_of(evaluation.mean_average_precision)
    fields["micro F1"] = with_interval(evaluation.micro_f1, evaluation.micro_f1_interval)
    fields["macro F1"] = share_of(evaluation.macro_f1)
    fields["log loss"] = f"{evaluation.log_loss:.3f}"
    fields["brier"] = f"{evaluation.brier:.3f} of 1"
    fields["calibration"] = _calibration(evaluation)
    put_fields(fields)
    put("")
    areas = evaluation.average_precisions
    put_table(
        ("class", "images", "average precision", "precision", "recall", "F1"),
        [
            (name, images, share_of(area), *rest)
            for (name, images, *rest), area in zip(map(_row, evaluation.per_class), areas, strict=True)
        ],
        right=("images", "average precision"),
    )
    _put_mistakes(
        [
            (
                ", ".join(image.truth) or "-",
                ", ".join(evaluation.predicted(image)) or "-",
                f"{max(image.probabilities):.1%}",
                image.name,
            )
            for image in evaluation.mistakes[:_MISTAKES]
        ]
    )


def share_of(share: float | None) -> str:
    """A share for people; a dash where there is none."""
    return "-" if share is None else f"{share:.1%}"


def with_interval(share: float | None, interval: Interval | None) -> str:
    """A share and its 95 % interval."""
    if share is None or interval is None:
        return share_of(share)
    return f"{share:.1%} ({interval[0]:.1%} to {interval[1]:.1%})"


def _calibration(evaluation: Evaluation | MultiLabelEvaluation) -> str:
    mass, width = evaluation.calibration_errors
    bins = len(evaluation.equal_mass)
    return (
        f"expected error {mass:.1%} in {bins} bin{'s' if bins != 1 else ''} of equal mass, "
        f"{width:.1%} in {len(evaluation.equal_width)} of equal width"
    )


def _row(each: ClassScore) -> tuple[Any, ...]:
    return (
        each.name,
        f"{each.images:,}",
        with_interval(each.precision, each.precision_interval),
        with_interval(each.recall, each.recall_interval),
        with_interval(each.f1, each.f1_interval),
    )


def _put_confusion(evaluation: Evaluation) -> None:
    classes = evaluation.classes
    if len(classes) > _WIDEST_MATRIX:
        put_table(("is", "taken for", "images"), evaluation.confused[:_CONFUSED], right=("images",))
        return
    put_table(
        ("is \\ taken for", *classes),
        [(name, *row) for name, row in zip(classes, evaluation.confusion, strict=True)],
        right=classes,
    )


def _step(step: Threshold) -> tuple[str, ...]:
    interval = step.interval
    return (
        f"{step.coverage:.1%}",
        "-" if step.accuracy is None else f"{step.right:,} ({step.accuracy:.1%})",
        f"{interval[0]:.1%} to {interval[1]:.1%}" if interval else "-",
    )


def _put_mistakes(rows: list[tuple[str, ...]]) -> None:
    if rows:
        put("")
        put_table(("is", "taken for", "surest", "surest mistakes"), rows, right=("surest",))
