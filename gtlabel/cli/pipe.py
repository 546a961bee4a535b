"""`gtlabel local pipe`: a training program of one's own, tried as SageMaker would run it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtlabel.cli.options import EndpointUrl, Output, Profile, Region, connect, taken_apart
from gtlabel.cli.output import Format, echo, put, put_json, put_table, say

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from gtlabel.emulator.trialreport import TrialReport

_HOW = """\
Everything after -- is the program, as you would start it here:

  gtlabel local pipe pictures/ -- python train.py
  gtlabel local pipe s3://my-bucket/dataset/ --set epochs=3 -- python train.py
  gtlabel local pipe dataset/ --mode fastfile --timeout 60 -- ./my-trainer train

It finds its input below SAGEMAKER_BASE_DIR, where a container has /opt/ml: input/data/train_0 and so on are
FIFOs of RecordIO, a picture and its label in turn. In Python that is:

  from gtlabel.training import reader

  for picture, label in reader.read_channel("train", epoch):
      ...

and what it writes into reader.model_directory() is the model."""


class InputMode(StrEnum):
    """How a program gets its channels."""

    PIPE = "pipe"
    FILE = "file"
    FASTFILE = "fastfile"


_MODES = {InputMode.PIPE: "Pipe", InputMode.FILE: "File", InputMode.FASTFILE: "FastFile"}


def pipe(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="s3://bucket/dataset/, or here: a copy of one, class folders, or a manifest.",
        ),
    ],
    command: Annotated[
        list[str] | None, typer.Argument(metavar="-- COMMAND", help="The program and its words.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A hyperparameter.")
    ] = None,
    mode: Annotated[
        InputMode, typer.Option("--mode", case_sensitive=False, help="How it gets its channels.")
    ] = InputMode.PIPE,
    script: Annotated[
        bool,
        typer.Option("--script", help="Give it the hyperparameters as options, too, as AWS's images do."),
    ] = False,
    model_dir: Annotated[
        Path | None,
        typer.Option(
            "--model-dir",
            file_okay=False,
            help="Leave the model in this folder, new or empty. (default: model.tar.gz)",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", metavar="NAME=REGEX", help="What to read from its lines, as MetricDefinitions."
        ),
    ] = None,
    epochs_limit: Annotated[
        int | None, typer.Option("--epochs-limit", min=1, help="End it after so many epochs.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0.01, help="End it after so many seconds.")
    ] = None,
    grace: Annotated[
        float, typer.Option("--grace", min=0, help="Seconds it has to end by itself after SIGTERM.")
    ] = 120.0,
    link: Annotated[
        Path | None,
        typer.Option("--link", help="Have this lead to its base directory meanwhile, such as /opt/ml."),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", help="The order of train, another one for each epoch.", rich_help_panel="Data"
        ),
    ] = 1,
    in_order: Annotated[
        bool, typer.Option("--in-order", help="Do not shuffle train.", rich_help_panel="Data")
    ] = False,
    validation: Annotated[
        str | None,
        typer.Option(
            "--validation",
            metavar="SHARE|PATH",
            help="The share of the images for validation, where nothing divides them, or where those are. "
            "(default: 0.2)",
            rich_help_panel="Data",
        ),
    ] = None,
    attribute: Annotated[
        str | None,
        typer.Option("--attribute", help="The label attribute of a manifest.", rich_help_panel="Data"),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            "--pictures",
            exists=True,
            file_okay=False,
            help="The folder with what a manifest names.",
            rich_help_panel="Data",
        ),
    ] = None,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Try a training program here under SageMaker's conditions, and tell how it read and what it left.

    It gets the folders, the hyperparameters and a FIFO for each channel and epoch, as in Pipe mode.
    The model of one that completes replaces model.tar.gz; of one that was stopped it is left beside
    that, and one that fails leaves none.

    Ctrl-C sends it SIGTERM, and a second one ends it. Exits with 3 if it failed, 4 if it was
    stopped, 5 if the time was up.

    Example: gtlabel local pipe pictures/ --set epochs=3 -- python train.py
    """
    if not command:
        put(_HOW)
        raise typer.Exit(2)
    import signal

    from gtlabel.emulator.trial import Stop, TrialOptions, try_program
    from gtlabel.emulator.trialdata import Wishes, open_data
    from gtlabel.errors import TrialEndedError

    options = TrialOptions(
        mode=_MODES[mode],  # type: ignore[arg-type]
        hyperparameters=taken_apart(settings),
        script=script,
        seed=None if in_order else seed,
        epochs=epochs_limit,
        timeout=timeout,
        grace=grace,
        metrics=_metrics(metric),
        link=link,
        model=model_dir,
    )

    def s3() -> S3Client:
        return connect(profile, region, endpoint_url)[1].s3

    wishes = Wishes(attribute, pictures, _share_or_path(validation))
    stop = Stop()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.ask())
    report = try_program(
        lambda scratch: open_data(dataset, wishes, scratch, s3),
        command,
        options,
        stop=stop,
        on_output=lambda piece: echo(piece, to_stderr=output is Format.JSON),
        on_notice=lambda sentence: say(f"gtlabel: {sentence}"),
    )
    put_json(report.to_json()) if output is Format.JSON else _show(report)
    for warning in report.warnings():
        say(f"warning: {warning}")
    if report.status != "Completed":
        raise TrialEndedError(
            " ".join(command), report.status, report.reason, timed_out=report.ended[0] == "out of time"
        )


def _show(report: TrialReport) -> None:
    put("")
    if report.piped:
        columns = ("channel", "images", "epochs", "read", "MB", "MB/s", "first picture after", "pipe full")
        rows = [
            (
                channel.name,
                channel.images,
                channel.whole,
                channel.read,
                f"{channel.bytes / 1e6:.1f}",
                f"{channel.rate:.0f}",
                f"{channel.waited:.2f} s",
                f"{channel.full:.2f} s",
            )
            for channel in report.channels
        ]
        put_table(columns, rows, right=columns[1:])
    if report.metrics:
        put("metrics  " + ", ".join(f"{name} {value:g}" for name, value in report.metrics.items()))
    if report.model is not None:
        put(f"model    {report.model}: {report.files} files, {report.bytes / 1e6:.1f} MB")
    put(f"{report.status} after {report.seconds:.1f} s, exit code {report.code}")


def _metrics(options: list[str] | None) -> dict[str, str]:
    import re

    metrics = taken_apart(options)
    for name, pattern in metrics.items():
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise typer.BadParameter(f"{name}: {error}", param_hint="--metric") from None
        if groups < 1:
            raise typer.BadParameter(
                f"{name}: put the value between parentheses, as in 'accuracy: ([0-9.]+)'",
                param_hint="--metric",
            )
    return metrics


def _share_or_path(text: str | None) -> float | Path | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        path = Path(text)
    if not path.exists():
        raise typer.BadParameter(f"{text!r} is neither a share nor there", param_hint="--validation")
    return path
