"""The options of `gtlabel train`, by what they are about, and what they ask `plan_training` for."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtlabel.cli.options import taken_apart

if TYPE_CHECKING:
    from gtlabel.training.plan import TrainingOptions

_MACHINES, _MONEY, _SAFETY, _BACKEND, _LOOKING = (
    "Machines",
    "Spot machines and warm pools",
    "Keys, network and tags",
    "Other back ends",
    "Following",
)


class BackendName(StrEnum):
    """What trains."""

    BUILTIN = "builtin"
    TENSORFLOW = "tensorflow"
    CONTAINER = "container"


class Mode(StrEnum):
    """How a container gets its data."""

    PIPE = "Pipe"
    FAST_FILE = "FastFile"
    FILE = "File"


InstanceType = Annotated[
    str, typer.Option("--instance-type", help="The machine to rent.", rich_help_panel=_MACHINES)
]
InstanceCount = Annotated[
    int | None,
    typer.Option("--instance-count", min=1, help="How many of them. (default: 1)", rich_help_panel=_MACHINES),
]
Volume = Annotated[
    int | None,
    typer.Option(
        "--volume", min=1, metavar="GB", help="The disk of each. (default: 50)", rich_help_panel=_MACHINES
    ),
]
MaxRuntime = Annotated[
    int | None,
    typer.Option(
        "--max-runtime",
        min=1,
        metavar="SECONDS",
        help="When AWS stops the job. (default: 3600)",
        rich_help_panel=_MACHINES,
    ),
]
Spot = Annotated[
    bool,
    typer.Option(
        "--spot",
        help="Rent spare machines, which cost about a third and can be taken away at any time.",
        rich_help_panel=_MONEY,
    ),
]
MaxWait = Annotated[
    int | None,
    typer.Option(
        "--max-wait",
        min=1,
        metavar="SECONDS",
        help="With --spot: when AWS stops the job, waiting included. (default: twice --max-runtime)",
        rich_help_panel=_MONEY,
    ),
]
Checkpoints = Annotated[
    str | None,
    typer.Option(
        "--checkpoints",
        metavar="S3-PREFIX",
        help="Where checkpoints are kept, to go on from. (default with --spot: beside the artifact)",
        rich_help_panel=_MONEY,
    ),
]
KeepAlive = Annotated[
    int | None,
    typer.Option(
        "--keep-alive",
        min=0,
        metavar="SECONDS",
        help="Keep the machines this long for the next job alike, and pay for them.",
        rich_help_panel=_MONEY,
    ),
]
KmsKey = Annotated[
    str | None,
    typer.Option("--kms-key", help="The KMS key that encrypts the artifact.", rich_help_panel=_SAFETY),
]
VolumeKey = Annotated[
    str | None,
    typer.Option("--volume-kms-key", help="The KMS key that encrypts the disks.", rich_help_panel=_SAFETY),
]
Subnets = Annotated[
    list[str] | None,
    typer.Option("--subnet", help="A subnet to put the job into (repeatable).", rich_help_panel=_SAFETY),
]
SecurityGroups = Annotated[
    list[str] | None,
    typer.Option("--security-group", help="What it may talk to there (repeatable).", rich_help_panel=_SAFETY),
]
Isolated = Annotated[
    bool,
    typer.Option("--isolated", help="Keep the container off every network.", rich_help_panel=_SAFETY),
]
EncryptTraffic = Annotated[
    bool,
    typer.Option(
        "--encrypt-traffic", help="Have machines talk to each other encrypted.", rich_help_panel=_SAFETY
    ),
]
Tags = Annotated[
    list[str] | None,
    typer.Option(
        "--tag",
        metavar="KEY=VALUE",
        help="A tag of the job (repeatable), beside those that say what it was trained on.",
        rich_help_panel=_SAFETY,
    ),
]
Backend = Annotated[BackendName, typer.Option("--backend", help="What trains.", rich_help_panel=_BACKEND)]
Image = Annotated[
    str | None,
    typer.Option("--image", help="The container, where it is not the built-in's.", rich_help_panel=_BACKEND),
]
InputMode = Annotated[
    Mode | None,
    typer.Option(
        "--input-mode", help="How a container gets its data. (default: Pipe)", rich_help_panel=_BACKEND
    ),
]
Source = Annotated[
    str | None,
    typer.Option(
        "--source",
        metavar="S3-ADDRESS",
        help="A script for AWS's own containers, packed as sourcedir.tar.gz.",
        rich_help_panel=_BACKEND,
    ),
]
Program = Annotated[
    str | None, typer.Option("--program", help="The script's file in it.", rich_help_panel=_BACKEND)
]
Pretrained = Annotated[
    str | None,
    typer.Option(
        "--pretrained",
        metavar="S3-ADDRESS",
        help="Of tensorflow: the network to begin with.",
        rich_help_panel=_BACKEND,
    ),
]
Environment = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        metavar="NAME=VALUE",
        help="A variable of the container (repeatable).",
        rich_help_panel=_BACKEND,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="JOB-OR-ARTIFACT",
        help="Go on from the model of an earlier job, by its name, or from a model.tar.gz in S3.",
    ),
]
Into = Annotated[
    str | None,
    typer.Option(
        "--into",
        metavar="S3-PREFIX",
        help="Where NAME/output/model.tar.gz is left. (default: models/ of the dataset)",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", help="Orders the pictures of every epoch. (default: 1)"),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A hyperparameter, such as epochs=20 (repeatable)."),
]
Wait = Annotated[
    bool, typer.Option("--wait", help="Follow the job until it has ended.", rich_help_panel=_LOOKING)
]
WaitPoll = Annotated[
    float,
    typer.Option("--poll", min=0.01, help="Seconds between two looks.", rich_help_panel=_LOOKING),
]
WaitTimeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        help="Stop following after this many seconds; the job goes on.",
        rich_help_panel=_LOOKING,
    ),
]
WaitPrice = Annotated[
    str | None,
    typer.Option(
        "--hourly-price",
        metavar="DOLLARS",
        help="What an hour of one machine costs, where that is not in the shipped table.",
        rich_help_panel=_LOOKING,
    ),
]


def asked(**given: Any) -> TrainingOptions:
    """What was asked for, by the names of `plan_training`; what was not is left out."""
    values: Any = {
        name: value
        for name, value in given.items()
        if value is not None and value != [] and value is not False
    }
    for name in ("tags", "environment"):
        if name in values:
            values[name] = taken_apart(values[name], f"--{'tag' if name == 'tags' else 'env'}")
    for name in ("subnets", "security_groups"):
        if name in values:
            values[name] = tuple(values[name])
    if "input_mode" in values:
        values["input_mode"] = values["input_mode"].value
    options: TrainingOptions = values
    return options
