"""`gtlabel train`: start training jobs, and find, follow and stop them."""

from __future__ import annotations

from copy import copy
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gtlabel.cli import trainings
from gtlabel.cli.options import DryRun, EndpointUrl, Output, Profile, Region, connect, taken_apart
from gtlabel.cli.output import Format, put, put_json, say
from gtlabel.cli.trainings import HourlyPrice, Poll, Timeout

_START = "start"


class _OrStart(TyperGroup):
    """A group in which a word that is no command's is the dataset of a job to start."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command's name before the arguments where it was left out."""
        if args and args[0] != "--help" and args[0] not in self.commands:
            args = [_START, *args]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show what starting a job takes, and the other commands below it."""
        start, shown = self.commands[_START], copy(self)
        shown.params, shown.help = start.params, start.help
        shown.subcommand_metavar = "| COMMAND [ARGS]..."
        TyperGroup.format_help(shown, ctx, formatter)


app = typer.Typer(
    cls=_OrStart,
    no_args_is_help=True,
    help="Start a training job on a dataset; find, follow and stop training jobs.",
)
app.command("show")(trainings.show)
app.command("list")(trainings.list_jobs)
app.command("logs")(trainings.logs)
app.command("stop")(trainings.stop)
app.command("failures")(trainings.failures)


@app.command(_START, hidden=True)
def start(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="The s3:// prefix that consolidate wrote to.")
    ],
    role: Annotated[
        str | None, typer.Option("--role", help="The role the job reads and writes with, by name or ARN.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The job's name. [default: the dataset and the time]")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A hyperparameter of the built-in algorithm."),
    ] = None,
    instance_type: Annotated[
        str, typer.Option("--instance-type", help="The machine to rent.")
    ] = "ml.g4dn.xlarge",
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job until it has ended.")] = False,
    timeout: Timeout = None,
    poll: Poll = 5.0,
    hourly_price: HourlyPrice = None,
    dry_run: DryRun = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Start a training job on a dataset and print its name.

    Without --set, a pretrained ResNet-18 is fine-tuned on pictures of 224x224 for ten epochs.
    With --wait it exits with 3 if the job failed, 4 if it was stopped, 5 if the time was up. To see no more,
    press Ctrl-C: the job goes on, and `gtlabel train stop NAME` ends it.

    Example: gtlabel train s3://my-bucket/dataset/ --set epochs=20 --wait
    """
    from gtlabel.cli.following import Watch
    from gtlabel.datasets.channels import read_dataset
    from gtlabel.errors import TrainingEndedError
    from gtlabel.journey import plan_training
    from gtlabel.training.cost import ceiling, in_words
    from gtlabel.training.cost import hourly_price as price_of
    from gtlabel.training.jobs import create_training_job
    from gtlabel.uris import S3Uri

    hyperparameters = taken_apart(settings)
    project, aws = connect(profile, region, endpoint_url)
    request = plan_training(
        aws,
        read_dataset(aws.s3, S3Uri(dataset)),
        role=role or project.training_role or project.need("role", "--role"),
        name=name,
        hyperparameters=hyperparameters,
        instance_type=instance_type,
    )
    for warning in request.warnings:
        say(f"note: {warning}")
    if dry_run:
        price = price_of(request.instance_type, aws.region, hourly_price)
        most = ceiling(
            price,
            instance_count=request.instance_count,
            max_runtime=request.max_runtime,
            keep_alive=request.keep_alive or 0,
        )
        say(price.source if most is None else f"costs at most {in_words(most)}: {price.source}")
        put_json(request.to_boto())
        return
    arn = create_training_job(aws.sagemaker, request)
    if not wait:
        put_json({"name": request.name, "arn": arn}) if output is Format.JSON else put(request.name)
        say(f"follow it: gtlabel train logs {request.name} --follow")
        return
    watch = Watch(aws, request.name, hourly_price=hourly_price)
    try:
        watch.follow(timeout=timeout, poll=poll)
    except TrainingEndedError:
        if output is Format.JSON:
            watch.put(output)
        raise
    watch.put(output)
