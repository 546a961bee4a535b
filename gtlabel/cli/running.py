"""Which emulator a command means, and the clients that talk to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gtlabel.aws import Aws

State = Annotated[
    Path | None,
    typer.Option("--state", file_okay=False, help="The folder in which everything survives a restart."),
]
Port = Annotated[
    int | None, typer.Option("--port", min=1, max=65535, help="The port of the emulator that is meant.")
]


def aws_at(url: str) -> Aws:
    """The clients of the account of the emulator at an address."""
    from gtlabel.aws import Aws
    from gtlabel.emulator.api import Context
    from gtlabel.emulator.environment import session

    return Aws(session(Context().region), url)
