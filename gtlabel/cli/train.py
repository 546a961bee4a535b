"""`gtlabel train`: start a training job on a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gtlabel.cli.options import DryRun, EndpointUrl, Output, Profile, Region, connect, taken_apart
from gtlabel.cli.output import Format, put, put_fields, put_json, say

if TYPE_CHECKING:
    from gtlabel.training.jobs import TrainingJob


def train(
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
    timeout: Annotated[
        float | None, typer.Option("--timeout", help="With --wait: give up after this many seconds.")
    ] = None,
    poll: Annotated[float, typer.Option("--poll", help="With --wait: seconds between two looks.")] = 5.0,
    dry_run: DryRun = False,
    output: Output = Format.TEXT,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Start a pipe-mode training job on a dataset and print its name.

    Without --set, a pretrained ResNet-18 is fine-tuned on pictures of 224x224 for ten epochs.
    Exits with 3 if the job failed, 4 if it was stopped, 5 if the time was up.

    Example: gtlabel train s3://my-bucket/dataset/ --set epochs=20 --wait
    """
    from gtlabel.datasets.channels import read_dataset
    from gtlabel.journey import plan_training
    from gtlabel.training.jobs import create_training_job, wait_for_training_job
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
    if dry_run:
        put_json(request.to_boto())
        return
    arn = create_training_job(aws.sagemaker, request)
    if not wait:
        put_json({"name": request.name, "arn": arn}) if output is Format.JSON else put(request.name)
        return
    last = ""

    def tell(job: TrainingJob) -> None:
        nonlocal last
        if job.secondary_status != last:
            last = job.secondary_status
            say(f"{job.name}: {last}")

    job = wait_for_training_job(aws.sagemaker, request.name, timeout=timeout, poll=poll, on_change=tell)
    if output is Format.JSON:
        put_json(job.to_json())
        return
    put_fields({"name": job.name, "status": job.status, "artifact": job.artifact, **job.metrics})
