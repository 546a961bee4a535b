"""`gtlabel predict`: let a network say what is in pictures."""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Annotated

import typer

from gtlabel.cli.options import EndpointUrl, Output, Profile, Region, connect
from gtlabel.cli.output import Format, put, say, visible

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.training.model import Model
    from gtlabel.training.predict import Prediction

UNREADABLE = 1
NO_LABEL = "-"
MODEL = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A training job, or the path or s3:// address of a model.tar.gz or an .onnx."
    ),
]
CLASSES = Annotated[
    str | None,
    typer.Option(
        "--classes",
        help="The names of the network's outputs in order, separated by commas, or their file. "
        "(default: what the model or its dataset says)",
    ),
]


def predict(
    model: MODEL,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...",
            help="Files, folders, patterns such as '**/*.jpg', s3:// addresses and prefixes, "
            "or - for names on stdin.",
        ),
    ],
    top_k: Annotated[int, typer.Option("--top-k", min=1, help="How many classes to tell of each.")] = 1,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            min=0,
            max=1,
            help="The confidence below which no label is given. (default: 0; 0.5 for a multi-label model)",
        ),
    ] = None,
    classes: CLASSES = None,
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Pictures that the network gets at once.")
    ] = 32,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Print what a network says of each picture, one line each, as soon as it is known.

    A picture that cannot be read is told on stderr, and the others go on; the command ends with 1 then.
    `--output json` prints JSON Lines.

    Example: gtlabel predict model.tar.gz photos/ 's3://my-bucket/new/*.jpg' --top-k 3 --output json
    """
    from gtlabel.training.model import open_model, read_classes

    @cache
    def aws() -> Aws:
        return connect(profile, region, endpoint_url)[1]

    opened = open_model(model, aws, classes=read_classes(classes) if classes else None)
    for warning in opened.warnings:
        say(warning)
    # What it needs is there once a model is open.
    from gtlabel.training.predict import pictures
    from gtlabel.training.predict import predict as predicted

    asked = failed = 0
    by_name = images == ["-"]
    named = pictures(_read_names() if by_name else images, lambda: aws().s3, listed=not by_name)
    for prediction in predicted(
        opened, named, s3=lambda: aws().s3, top_k=top_k, threshold=threshold, batch=batch
    ):
        asked += 1
        if prediction.problem:
            failed += 1
            say(f"{prediction.image}: {prediction.problem}")
        _put(prediction, opened, output)
    if failed:
        say(f"gtlabel: {failed:,} of {asked:,} pictures could not be read")
        raise typer.Exit(UNREADABLE)


def _put(prediction: Prediction, model: Model, output: Format) -> None:
    if output is Format.JSON:
        line = prediction.to_json(multi_label=model.network.multi_label)
        put(json.dumps(line, ensure_ascii=False, separators=(",", ":")))
        return
    if prediction.problem:
        return
    width = max(map(len, model.classes))
    if model.network.multi_label:
        said = ", ".join(prediction.labels) or NO_LABEL
    else:
        said = f"{next(iter(prediction.labels), NO_LABEL):<{width}}"
    guesses = "  ".join(f"{guess.confidence:6.1%} {guess.label:<{width}}" for guess in prediction.top)
    if model.network.multi_label or not prediction.labels or len(prediction.top) > 1:
        put(visible(f"{said}  {guesses}  {prediction.image}"))
    else:
        put(visible(f"{said}  {prediction.top[0].confidence:6.1%}  {prediction.image}"))


def _read_names() -> Iterator[str | None]:
    """The lines of stdin; None whenever the next one is not there yet, so that nobody waits for it."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def collect() -> None:
        for line in sys.stdin:
            lines.put(line)
        lines.put("")

    threading.Thread(target=collect, daemon=True, name="names").start()
    while True:
        try:
            line = lines.get_nowait()
        except queue.Empty:
            yield None
            line = lines.get()
        if not line:
            return
        if name := line.rstrip("\r\n"):
            yield name
