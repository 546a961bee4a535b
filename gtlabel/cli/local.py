"""`gtlabel local`: AWS on this machine, started, found and stopped, with its workers and its devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtlabel.cli.options import JobName, Output
from gtlabel.cli.output import Format, progress, put, put_json, say

if TYPE_CHECKING:
    from gtlabel.aws import Aws
    from gtlabel.emulator.state import Running

app = typer.Typer(no_args_is_help=True, help="Run AWS on this machine: the same calls, another address.")

State = Annotated[
    Path | None,
    typer.Option("--state", file_okay=False, help="The folder in which everything survives a restart."),
]
Port = Annotated[
    int | None, typer.Option("--port", min=1, max=65535, help="The port of the emulator that is meant.")
]


@app.command()
def up(
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 5000,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    state: State = None,
    detach: Annotated[bool, typer.Option("--detach", help="Leave it running and return.")] = False,
    until_stdin_closes: Annotated[bool, typer.Option("--until-stdin-closes", hidden=True)] = False,
) -> None:
    """Start the emulator and print its address.

    It ends at Ctrl-C; without --state everything in it is gone then.

    Example: gtlabel local up --state ~/trash --detach
    """
    if detach:
        from gtlabel.emulator.child import detach as start

        address = start(state, port, host)
        put(address.url)
        say('use it with: eval "$(gtlabel local env)"; stop it with: gtlabel local down')
        return
    import logging
    import os
    import sys

    from gtlabel.emulator.server import serve

    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if until_stdin_closes:
        _end_with_stdin()

    def ready(url: str) -> None:
        put(url)
        # Whoever reads the address may read no further, and moto prints now and then.
        sys.stdout.flush()
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        if sys.stderr.isatty():
            say('use it with: eval "$(gtlabel local env)"; stop it with Ctrl-C')

    serve(host, port, state, on_ready=ready)


@app.command()
def down(state: State = None, port: Port = None) -> None:
    """Stop a running emulator.

    Example: gtlabel local down
    """
    from gtlabel.emulator.child import stop
    from gtlabel.emulator.state import find

    emulator = find(port=port, state=state)
    stop(emulator)
    say(f"the emulator at {emulator.url} has stopped")


@app.command()
def env(state: State = None, port: Port = None, output: Output = Format.TEXT) -> None:
    """Print what makes any program use the running emulator in place of AWS.

    Example: eval "$(gtlabel local env)"
    """
    import shlex

    from gtlabel.emulator.api import Context
    from gtlabel.emulator.environment import environ
    from gtlabel.emulator.state import find

    variables = environ(find(port=port, state=state).url, Context())
    if output is Format.JSON:
        put_json(variables)
        return
    for name, value in variables.items():
        put(f"export {name}={shlex.quote(value)}")


@app.command()
def answer(
    job: JobName,
    truth: Annotated[
        Path,
        typer.Option(exists=True, dir_okay=False, help="What is right: JSON Lines of source-ref and class."),
    ],
    workers: Annotated[int, typer.Option(min=1, help="How many people answer.")] = 5,
    accuracy: Annotated[float, typer.Option(min=0, max=1, help="How often they are right.")] = 0.85,
    seed: Annotated[int, typer.Option(help="The same seed gives the same answers.")] = 7,
    state: State = None,
    port: Port = None,
) -> None:
    """Let simulated people answer a labeling job.

    Example: gtlabel local answer trash-bins --workers 5 --accuracy 0.85 --truth truth.jsonl --seed 7
    """
    from dataclasses import asdict

    from gtlabel.emulator import simulate
    from gtlabel.emulator.state import find

    emulator = find(port=port, state=state)
    with progress(f"answering {job}") as show:
        summary = simulate.answer(
            emulator.url,
            job,
            workers,
            accuracy,
            simulate.read_truth(truth),
            seed,
            on_progress=lambda answers: show(answers, 0),
        )
    put_json(asdict(summary))


@app.command()
def device(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the device, a thing of IoT.")],
    once: Annotated[bool, typer.Option("--once", help="Return when a deployment has ended.")] = False,
    root: Annotated[Path | None, typer.Option(file_okay=False, help="The disk of the device.")] = None,
    state: State = None,
    port: Port = None,
) -> None:
    """Be a Greengrass core device that carries out what is deployed to it.

    Example: gtlabel local device kitchen-camera --once
    """
    import signal
    import threading

    from gtlabel.emulator.devices import run_device
    from gtlabel.emulator.state import find
    from gtlabel.errors import DeploymentEndedError

    aws = _aws(find(port=port, state=state))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    outcome = run_device(aws, name, root or Path(f"{name}.device"), once=once, stop=stop)
    if outcome is None:
        return
    put_json({"device": name, "status": outcome.status, "reason": outcome.reason, "states": outcome.states})
    if outcome.status != "SUCCEEDED":
        raise DeploymentEndedError(outcome.deployment, name, outcome.status, outcome.reason)


def _aws(emulator: Running) -> Aws:
    import boto3

    from gtlabel.aws import Aws
    from gtlabel.emulator.api import Context
    from gtlabel.emulator.environment import ACCESS_KEY, SECRET_KEY

    session = boto3.Session(ACCESS_KEY, SECRET_KEY, region_name=Context().region)
    return Aws(session, emulator.url)


def _end_with_stdin() -> None:
    """Ask this process to end when whoever holds the other end of its input is gone."""
    import os
    import signal
    import sys
    import threading

    def watch() -> None:
        while sys.stdin.buffer.read(1 << 16):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="stdin", daemon=True).start()
