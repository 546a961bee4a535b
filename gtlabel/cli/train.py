"""`gtlabel train`: start training jobs, and find, follow and stop them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gtlabel.cli import trainings
from gtlabel.cli import trainoptions as asking
from gtlabel.cli.options import (
    START,
    DryRun,
    EndpointUrl,
    OrStart,
    Output,
    Profile,
    Region,
    connect,
    taken_apart,
)
from gtlabel.cli.output import Format, put, put_json, say

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.training.terms import TrainingRequest


class _OrJob(OrStart):
    """A group in which an address or an option begins a job to start."""

    def starts(self, word: str) -> bool:
        """Whether a word is an address or an option; a misspelled command is neither."""
        return word.startswith("-") or "/" in word


app = typer.Typer(
    cls=_OrJob,
    no_args_is_help=True,
    help="Start a training job on a dataset; find, follow and stop training jobs.",
)
app.command("show")(trainings.show)
app.command("list")(trainings.list_jobs)
app.command("logs")(trainings.logs)
app.command("stop")(trainings.stop)
app.command("failures")(trainings.failures)


@app.command(START, hidden=True)
def start(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="The s3:// prefix that consolidate wrote to.")
    ],
    role: Annotated[
        str | None, typer.Option("--role", help="The role the job reads and writes with, by name or ARN.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The job's name (default: the dataset and the time).")
    ] = None,
    settings: asking.Settings = None,
    model: asking.Model = None,
    seed: asking.Seed = None,
    into: asking.Into = None,
    instance_type: asking.InstanceType = "ml.g4dn.xlarge",
    instance_count: asking.InstanceCount = None,
    volume: asking.Volume = None,
    max_runtime: asking.MaxRuntime = None,
    spot: asking.Spot = False,
    max_wait: asking.MaxWait = None,
    checkpoints: asking.Checkpoints = None,
    keep_alive: asking.KeepAlive = None,
    kms_key: asking.KmsKey = None,
    volume_kms_key: asking.VolumeKey = None,
    subnets: asking.Subnets = None,
    security_groups: asking.SecurityGroups = None,
    isolated: asking.Isolated = False,
    encrypt_traffic: asking.EncryptTraffic = False,
    tags: asking.Tags = None,
    backend: asking.Backend = asking.BackendName.BUILTIN,
    image: asking.Image = None,
    input_mode: asking.InputMode = None,
    source: asking.Source = None,
    program: asking.Program = None,
    pretrained: asking.Pretrained = None,
    environment: asking.Environment = None,
    wait: asking.Wait = False,
    timeout: asking.WaitTimeout = None,
    poll: asking.WaitPoll = 5.0,
    hourly_price: asking.WaitPrice = None,
    dry_run: DryRun = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Start a training job on a dataset and print its name.

    Without --set, a pretrained ResNet-18 is fine-tuned on pictures of
    224x224 for ten epochs.

    With --wait it exits with 3 if the job failed, 4 if it was stopped,
    5 if the time was up. To see no more, press Ctrl-C: the job goes on, and
    `gtlabel train stop NAME` ends it.

    Example: gtlabel train s3://my-bucket/dataset/ --set epochs=20 --spot --wait
    """
    from gtlabel.datasets.channels import read_dataset
    from gtlabel.journey import plan_training
    from gtlabel.training.jobs import create_training_job
    from gtlabel.uris import S3Uri

    hyperparameters = taken_apart(settings)
    options = asking.asked(
        model=model,
        shuffle_seed=seed,
        output=into,
        instance_count=instance_count,
        volume_gb=volume,
        max_runtime=max_runtime,
        spot=spot,
        max_wait=max_wait,
        checkpoints=checkpoints,
        keep_alive=keep_alive,
        output_key=kms_key,
        volume_key=volume_kms_key,
        subnets=subnets,
        security_groups=security_groups,
        isolated=isolated,
        encrypt_traffic=encrypt_traffic,
        tags=tags,
        image=image,
        input_mode=input_mode,
        source=source,
        program=program,
        pretrained=pretrained,
        environment=environment,
    )
    project, aws = connect(profile, region, endpoint_url)
    request = plan_training(
        aws,
        read_dataset(aws.s3, S3Uri(dataset)),
        role=role or project.training_role or project.need("role", "--role"),
        name=name,
        hyperparameters=hyperparameters,
        instance_type=instance_type,
        backend=backend.value,
        **options,
    )
    for warning in request.warnings:
        say(f"note: {warning}")
    if dry_run:
        _put_plan(aws, request, hourly_price)
        return
    arn = create_training_job(aws.sagemaker, request)
    if wait:
        # Whatever happens from here on, the job runs, and only its name stops it.
        say(f"started {request.name}")
        _follow(aws, request.name, hourly_price, timeout, poll, output)
        return
    put_json({"name": request.name, "arn": arn}) if output is Format.JSON else put(request.name)
    say(f"follow it: gtlabel train logs {request.name} --follow")


def _put_plan(aws: Aws, request: TrainingRequest, given: str | None) -> None:
    """Print what would be sent; say what it would cost, and that the name is free."""
    from gtlabel.errors import TrainingJobNameTakenError, TrainingJobNotFoundError
    from gtlabel.training.cost import ceiling, hourly_price, in_words
    from gtlabel.training.jobs import describe_training_job

    try:
        describe_training_job(aws.sagemaker, request.name)
    except TrainingJobNotFoundError:
        pass
    else:
        raise TrainingJobNameTakenError(request.name)
    price = hourly_price(request.instance_type, aws.region, given)
    most = ceiling(
        price,
        instance_count=request.instance_count,
        max_runtime=request.max_runtime,
        keep_alive=request.keep_alive or 0,
    )
    say(price.source if most is None else f"it would cost at most {in_words(most)}: {price.source}")
    put_json(request.to_boto())


def _follow(
    aws: Aws, name: str, given: str | None, timeout: float | None, poll: float, output: Format
) -> None:
    """Follow a job that was just started, and print what became of it."""
    from gtlabel.cli.following import Watch
    from gtlabel.errors import TrainingEndedError

    watch = Watch(aws, name, hourly_price=given)
    try:
        watch.follow(timeout=timeout, poll=poll)
    except TrainingEndedError as end:
        if output is Format.JSON:
            watch.put(output)
        elif not end.timed_out:
            say(f"cost: {watch.cost}")
        raise
    watch.put(output)
