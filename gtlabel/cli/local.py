"""`gtlabel local`: AWS on this machine, started, found and stopped, with its workers and its devices."""

from __future__ import annotations

import shlex
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtlabel.cli.answer import answer
from gtlabel.cli.options import LONGEST_FUNCTION, FunctionNames, FunctionSeconds, Output
from gtlabel.cli.output import Format, put, put_json, say
from gtlabel.cli.pipe import pipe
from gtlabel.cli.running import Port, State, aws_at

if TYPE_CHECKING:
    from gtlabel.emulator.portal import Portal

app = typer.Typer(no_args_is_help=True, help="Run AWS on this machine: the same calls, another address.")


@app.command()
def up(
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 5000,
    host: Annotated[
        str, typer.Option(help="The address to listen on; nobody is asked who they are.")
    ] = "127.0.0.1",
    state: State = None,
    bucket: Annotated[
        list[str] | None, typer.Option("--bucket", help="Create this bucket unless it is there.")
    ] = None,
    vendor_team: Annotated[
        list[str] | None, typer.Option("--vendor-team", help="Subscribe to a vendor's team of this name.")
    ] = None,
    portal_port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port of the portal, where people label; 0: a free one.")
    ] = 0,
    no_portal: Annotated[bool, typer.Option("--no-portal", help="Have no portal.")] = False,
    function: FunctionNames = None,
    function_seconds: FunctionSeconds = LONGEST_FUNCTION,
    trainer: Annotated[
        list[str] | None,
        typer.Option(
            "--trainer",
            metavar="REPOSITORY=COMMAND",
            help="What is run, with the argument train, for training images of this repository.",
            rich_help_panel="Training",
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Leave it running and return.")] = False,
    until_stdin_closes: Annotated[bool, typer.Option("--until-stdin-closes", hidden=True)] = False,
) -> None:
    """Start the emulator and print its address.

    It ends at Ctrl-C; without --state everything in it is gone then. People label in its portal, at an
    address of its own, once they are invited: see `gtlabel local invite`.

    Example: gtlabel local up --state ~/trash --detach
    """
    from gtlabel.emulator.trainers import read_trainers, written

    trainers = read_trainers(trainer or ())
    if detach:
        from gtlabel.emulator.child import detach as start

        def furnish(url: str) -> None:
            _make_buckets(url, bucket)
            _subscribe(url, vendor_team)

        given = [f"--function={each}" for each in function or ()]
        given += written(trainers)
        given += ["--no-portal"] if no_portal else [f"--portal-port={portal_port}"]
        given += [f"--function-seconds={function_seconds}"]
        address = start(state, port, host, given, furnish=furnish)
        put(address.url)
        say('use it with: eval "$(gtlabel local env)"; stop it with: gtlabel local down')
        if not no_portal:
            _tell_way_in(_invite(address.url, "owner", "owner"))
        return
    import logging
    import os
    import sys
    from contextlib import suppress

    from gtlabel.emulator.server import serve
    from gtlabel.engine.functions import Functions, read_functions
    from gtlabel.engine.roster import Role
    from gtlabel.errors import WorkerDeactivatedError

    functions = Functions(read_functions(function or ()), seconds=function_seconds)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if until_stdin_closes:
        _end_with_stdin()

    def ready(url: str) -> None:
        _make_buckets(url, bucket)
        _subscribe(url, vendor_team)
        put(url)
        # Whoever reads the address may read no further, and moto prints now and then.
        sys.stdout.flush()
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        if sys.stderr.isatty():
            say('use it with: eval "$(gtlabel local env)"; stop it with Ctrl-C')

    def portal_ready(portal: Portal) -> None:
        # What lets somebody in belongs into no log, and whatever is no terminal may be one.
        with suppress(WorkerDeactivatedError):
            if sys.stderr.isatty():
                _tell_way_in({"portal": portal.url, "link": portal.invite("owner", Role.OWNER)})
                return
        say(f"people label at {portal.url}; let them in with: gtlabel local invite NAME")

    serve(
        host,
        port,
        state,
        functions=functions,
        trainers=trainers,
        on_ready=ready,
        portal_port=None if no_portal else portal_port,
        on_portal=portal_ready,
    )


@app.command()
def down(state: State = None, port: Port = None) -> None:
    """Stop a running emulator, and the devices that were left running with it.

    Example: gtlabel local down
    """
    from gtlabel.emulator.child import stop
    from gtlabel.emulator.detached import stop_devices
    from gtlabel.emulator.state import find

    emulator = find(port=port, state=state)
    for root in stop_devices(emulator.url):
        say(f"the device of {root} has stopped")
    stop(emulator)
    say(f"the emulator at {emulator.url} has stopped")


@app.command()
def invite(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What they are called, there and in answers.")],
    role: Annotated[
        str, typer.Option("--role", help="worker answers; owner sees all jobs and people, too.")
    ] = "worker",
    state: State = None,
    port: Port = None,
    output: Output = Format.TEXT,
) -> None:
    """Print a link that lets somebody into the portal once, within three days; their earlier links are void.

    Example: gtlabel local invite ana
    """
    from gtlabel.emulator.state import find

    found = _invite(find(port=port, state=state).url, name, role)
    if output is Format.JSON:
        put_json({"name": name, "link": found["link"]})
        return
    say(f"this lets {name} into the portal, once, within three days; it is not shown again")
    put(found["link"])


@app.command()
def env(state: State = None, port: Port = None, output: Output = Format.TEXT) -> None:
    """Print what makes any program use the running emulator in place of AWS.

    Example: eval "$(gtlabel local env)"
    """
    from gtlabel.emulator.api import Context
    from gtlabel.emulator.environment import environ
    from gtlabel.emulator.state import find

    variables = environ(find(port=port, state=state).url, Context())
    if output is Format.JSON:
        put_json(variables)
        return
    for name, value in variables.items():
        put(f"export {name}={shlex.quote(value)}")


app.command()(answer)
app.command(no_args_is_help=True)(pipe)


class Nucleus(StrEnum):
    """The Greengrass nuclei that a device may behave as."""

    LITE = "lite"
    CLASSIC = "classic"


Root = Annotated[
    Path | None, typer.Option(file_okay=False, help="The disk of the device.", show_default="NAME.device")
]


@app.command()
def device(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the device, a thing of IoT.")],
    runtime: Annotated[
        Nucleus, typer.Option(help="The nucleus it behaves as; only classic rolls back by itself.")
    ] = Nucleus.LITE,
    group: Annotated[
        list[str] | None, typer.Option("--group", help="Join this thing group; make it unless it is there.")
    ] = None,
    broker: Annotated[
        str | None,
        typer.Option(metavar="URL", help="What plays AWS IoT Core's broker, such as mqtt://127.0.0.1:1883."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Return when a deployment has ended.")] = False,
    root: Root = None,
    detach: Annotated[bool, typer.Option("--detach", help="Leave it running and return.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End the one that was left running.")] = False,
    state: State = None,
    port: Port = None,
) -> None:
    """Be a Greengrass core device that carries out what is deployed to it.

    It ends at Ctrl-C and runs again what it ran when it is started again.

    Example: gtlabel local device kitchen-camera --group cameras --detach
    """
    import signal
    import threading

    from gtlabel.emulator.state import find
    from gtlabel.errors import DeploymentEndedError

    disk = root or Path(f"{name}.device")
    if stop:
        from gtlabel.emulator.detached import stop as end

        end(disk)
        say(f"the device {name} has stopped; it runs on from {disk} when it is started again")
        return
    emulator = find(port=port, state=state)
    if detach:
        from gtlabel.emulator.api import Context
        from gtlabel.emulator.deviceprocess import DeviceOptions
        from gtlabel.emulator.deviceprocess import detach as start
        from gtlabel.emulator.environment import environ

        options = DeviceOptions(runtime.value, group or (), broker, once)
        pid = start(environ(emulator.url, Context()), name, disk, options)
        where = f"--root {shlex.quote(str(disk))}"
        say(f"the device {name} runs as process {pid}; what its programs print: gtlabel local logs {where}")
        if once:
            say(f"their answers, when it has ended: gtlabel local results {where}")
        else:
            say(f"stop it with: gtlabel local device {shlex.quote(name)} {where} --stop")
        return
    from gtlabel.emulator.devices import run_device

    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: ending.set())
    outcome = run_device(
        aws_at(emulator.url),
        name,
        disk,
        runtime=runtime.value,
        groups=group or (),
        broker=broker,
        once=once,
        stop=ending,
        on_ready=lambda: say(f"the device {name} waits for deployments; it stops at Ctrl-C"),
    )
    if outcome is None:
        return
    put_json(
        {
            "device": name,
            "status": outcome.status,
            "detailed": outcome.detailed,
            "reason": outcome.reason,
            "states": outcome.states,
        }
    )
    if outcome.status != "SUCCEEDED":
        raise DeploymentEndedError(outcome.deployment, name, outcome.status, outcome.reason)


@app.command()
def results(
    root: Annotated[Path, typer.Option(exists=True, file_okay=False, help="The disk of the device.")],
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait for the device to end.")] = 60,
) -> None:
    """Print what the programs of a detached device have answered, as JSON Lines, when it has ended.

    Example: gtlabel local results --root kitchen-camera.device
    """
    import json

    from gtlabel.emulator.detached import wait_until_gone
    from gtlabel.emulator.printed import read_results

    wait_until_gone(root, timeout)
    for component in sorted((root / "work").glob("*")):
        for result in read_results(root, component.name):
            put(json.dumps(result))


@app.command()
def logs(
    root: Annotated[Path, typer.Option(exists=True, file_okay=False, help="The disk of the device.")],
    component: Annotated[str | None, typer.Option("--component", help="Only what this one printed.")] = None,
    earlier: Annotated[
        bool, typer.Option("--earlier", help="What was printed before the last deployment.")
    ] = False,
    output: Output = Format.TEXT,
) -> None:
    """Print what the programs of a device have printed, whether it runs or not: first stdout, then stderr.

    Of a program that prints for long only the last thousands of lines are there.

    Example: gtlabel local logs --root kitchen-camera.device --component deeplens-classifier
    """
    from gtlabel.emulator.printed import read_logs
    from gtlabel.errors import EdgeError

    found = False
    for name, stream, lines in read_logs(root, component, earlier=earlier):
        found = True
        for line in lines:
            if output is Format.JSON:
                put_json({"component": name, "stream": stream, "line": line})
            else:
                put(f"{name} {stream} | {line}")
    if component is not None and not found:
        raise EdgeError(f"the device of {root} has no logs of a component {component!r}")


def _make_buckets(url: str, names: list[str] | None) -> None:
    if not names:
        return
    # Nobody who names no bucket waits for this.
    from gtlabel.labeling.preflight import let_browsers_in

    s3 = aws_at(url).s3
    there = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    for name in names:
        if name not in there:
            s3.create_bucket(Bucket=name)
            let_browsers_in(s3, name)


def _subscribe(url: str, names: list[str] | None) -> None:
    from gtlabel.emulator.actors import Served, Workers

    for name in names or ():
        say(f"vendor team: {Workers(lambda: Served(url)).subscribe(name)}")


def _invite(url: str, name: str, role: str) -> dict[str, str]:
    from gtlabel.emulator.actors import Served
    from gtlabel.errors import WorkerError

    status, answer = Served(url).ask("invite", {"name": name, "role": role})
    if status != HTTPStatus.OK:
        raise WorkerError(str(answer.get("error")))
    return {key: str(value) for key, value in answer.items()}


def _tell_way_in(found: dict[str, str]) -> None:
    say(f"people label in a browser at {found['portal']}; let them in with: gtlabel local invite NAME")
    say(f"open this to come in as the owner; it works once, within three days: {found['link']}")


def _end_with_stdin() -> None:
    """Ask this process to end when whoever holds the other end of its input is gone."""
    import os
    import signal
    import threading

    def watch() -> None:
        # Not sys.stdin, whose lock this thread would still hold when the interpreter ends.
        while os.read(0, 1 << 16):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="stdin", daemon=True).start()
