"""`gtlabel evaluate`: judge a network by pictures whose class is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gtlabel.cli.options import EndpointUrl, Output, Profile, Region, connect
from gtlabel.cli.output import Format, progress, put_json, say
from gtlabel.cli.predict import CLASSES, MODEL

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.datasets.truth import Truth
    from gtlabel.training.evaluate import Judgement
    from gtlabel.training.model import Model

_BROKEN_TOLD = 10


def evaluate(
    model: MODEL,
    dataset: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATASET]",
            help="A dataset, an augmented manifest, or class folders, in S3 or on disk. "
            "(default: what the training job read)",
        ),
    ] = None,
    channel: Annotated[
        Literal["train", "validation", "test"], typer.Option("--channel", help="Which channel of a dataset.")
    ] = "validation",
    attribute: Annotated[
        str | None,
        typer.Option("--attribute", help="The attribute with the labels, where a manifest has several."),
    ] = None,
    classes: CLASSES = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold", min=0, max=1, help="Of a multi-label model: what counts as yes. (default: 0.5)"
        ),
    ] = None,
    bins: Annotated[
        int | None,
        typer.Option(
            "--bins", min=2, help="Bins of the calibration curve. (default: 10, or 10 answers in each)"
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="End at a picture that cannot be read; else it is left out.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option("--report", dir_okay=False, help="An HTML page to write, with the worst mistakes."),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            "--predictions", dir_okay=False, help="A file for every picture's answer, as JSON Lines."
        ),
    ] = None,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Judge a model by pictures whose class is known: accuracy, calibration, thresholds, worst mistakes.

    Shares come with their 95% intervals. Classes are compared by name.

    Example: gtlabel evaluate trash-bins --channel test --report evaluation.html
    """
    from gtlabel.cli.judgements import put_judgement
    from gtlabel.journey import known_pictures
    from gtlabel.training.model import open_model, read_classes

    @cache
    def aws() -> Aws:
        return connect(profile, region, endpoint_url)[1]

    opened = open_model(model, aws, classes=read_classes(classes) if classes else None)
    for warning in opened.warnings:
        say(warning)
    # What it needs is there once a model is open.
    from gtlabel.training.evaluate import judge

    truth = known_pictures(opened, dataset, aws, channel=channel, attribute=attribute)
    with progress("classifying") as show, _written(predictions, opened.classes) as note:
        judgement = judge(
            opened.network,
            opened.classes,
            truth.images,
            far=truth.far,
            strict=strict,
            threshold=threshold,
            bins=bins,
            on_answer=note,
            on_progress=lambda done: show(done, truth.total),
        )
    _tell_broken(judgement, truth)
    if report is not None:
        say(f"report: {_write_report(report, opened, truth, judgement, aws)}")
    if output is Format.JSON:
        told = {"model": opened.address, "pictures": truth.name, "unlabeled": truth.unlabeled}
        put_json({**told, **judgement.to_json(images=False)})
        return
    put_judgement(opened, truth, judgement)


@contextmanager
def _written(
    path: Path | None, classes: Sequence[str]
) -> Iterator[Callable[[str, tuple[str, ...], Sequence[float]], None] | None]:
    """Write answers to a file as they come; the file appears when it is whole."""
    if path is None:
        yield None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:

            def note(name: str, truth: tuple[str, ...], probabilities: Sequence[float]) -> None:
                shares = {each: round(value, 6) for each, value in zip(classes, probabilities, strict=True)}
                line = {"image": name, "truth": list(truth), "probabilities": shares}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")

            yield note
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _tell_broken(judgement: Judgement, truth: Truth) -> None:
    for each in judgement.broken[:_BROKEN_TOLD]:
        say(f"left out: {each.name}: {each.problem}")
    if judgement.broken_images > _BROKEN_TOLD:
        say(f"left out: {judgement.broken_images - _BROKEN_TOLD:,} more pictures that cannot be used")
    if truth.unlabeled:
        say(f"{truth.unlabeled:,} lines of {truth.name} have no label")


def _write_report(
    path: Path, model: Model, truth: Truth, judgement: Judgement, aws: Callable[[], Aws]
) -> Path:
    from gtlabel.pages.evaluation import EvaluationPage, write_evaluation
    from gtlabel.storage import read
    from gtlabel.uris import S3Uri

    def picture(name: str) -> bytes:
        return read(aws().s3, S3Uri(name)) if name.startswith("s3://") else Path(name).read_bytes()

    page = EvaluationPage(
        title=model.name,
        model=model.address,
        pictures=truth.name,
        evaluation=judgement.evaluation,
        broken=[(each.name, each.problem) for each in judgement.broken],
        broken_images=judgement.broken_images,
        unlabeled=truth.unlabeled,
    )
    return write_evaluation(page, path, picture)
