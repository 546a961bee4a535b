"""An emulated device in a process of its own: started, waited for, and ended with whoever started it."""

from __future__ import annotations

import argparse
import logging
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from gtlabel.emulator.devicewords import check_thing
from gtlabel.emulator.lastwill import LONGEST_END
from gtlabel.errors import EdgeError, GtlabelError

if TYPE_CHECKING:
    from gtlabel.emulator.child import Address

_READY_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class DeviceOptions:
    """What a device in a process of its own is told beside its name and its disk.

    Attributes:
        runtime: the nucleus whose ways it follows, `lite` or `classic`.
        groups: the thing groups it joins.
        broker: the MQTT broker that plays AWS IoT Core.
        once: whether it ends when one deployment's programs have ended.
        patience: seconds that the emulator may be away.
    """

    runtime: str = "lite"
    groups: Sequence[str] = ()
    broker: str | None = None
    once: bool = False
    patience: float = 60.0

    def arguments(self) -> list[str]:
        """The same as arguments of this module."""
        broker = ["--broker", self.broker] if self.broker else []
        once = ["--once"] if self.once else []
        groups = [f"--group={group}" for group in self.groups]
        return ["--runtime", self.runtime, "--patience", str(self.patience), *groups, *broker, *once]


@contextmanager
def device_process(
    address: Address,
    thing: str,
    root: Path,
    *,
    patience: float = 60,
    options: DeviceOptions | None = None,
) -> Iterator[Callable[..., None]]:
    """Run a device that takes one deployment; it has registered when this is entered.

    It also ends when this process is killed.

    Args:
        address: the emulator.
        thing: the device's name.
        root: its disk.
        patience: seconds that the emulator may be away.
        options: what else it is told; a device that is not told `once` ends when this is left.

    Yields:
        A function that waits, at most `timeout` seconds, until the deployment's programs have ended.

    Raises:
        EdgeError: if it does not come up, or does not end well in time.
    """
    options = options or DeviceOptions(once=True, patience=patience)
    command = [sys.executable, "-m", __name__, thing, str(root), "--until-stdin-closes"]
    with tempfile.TemporaryFile() as log:
        said_ready, ready = os.pipe()
        try:
            process = subprocess.Popen(
                [*command, *options.arguments()],
                env={**os.environ, **address.environ},
                stdin=subprocess.PIPE,
                stdout=ready,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(ready)

        def said() -> str:
            log.seek(0)
            return log.read().decode("utf-8", "replace").strip() or "nothing"

        def ended(timeout: float = 60) -> None:
            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired:
                raise EdgeError(f"the device {thing} was not done after {timeout:g} s") from None
            if code:
                raise EdgeError(f"the device {thing} ended with exit code {code}; it said: {said()}")

        try:
            # A device prints its name when it has registered; its pipe closes when it ends instead.
            readable, _, _ = select.select([said_ready], [], [], _READY_SECONDS)
            if not readable or not os.read(said_ready, 64):
                raise EdgeError(f"the device {thing} did not come up; it said: {said()}")
            yield ended
        finally:
            _end(process)
            os.close(said_ready)


def detach(environ: Mapping[str, str], thing: str, root: Path, options: DeviceOptions) -> int:
    """Start a device that outlives this process, and return its process id when it has registered.

    Its words go to `device.log` in its root. It ends with `gtlabel.emulator.detached.stop`.

    Args:
        environ: what points it to the emulator.
        thing: its name.
        root: its disk.
        options: what else it is told.

    Raises:
        EdgeError: if it does not come up, or cannot have that name.
    """
    check_thing(thing)
    root.mkdir(parents=True, exist_ok=True)
    log = root / "device.log"
    command = [sys.executable, "-m", __name__, thing, str(root), "--announce", *options.arguments()]
    said_ready, ready = os.pipe()
    try:
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                command,
                env={**os.environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=ready,
                stderr=stderr,
                start_new_session=True,
            )
        os.close(ready)
        readable, _, _ = select.select([said_ready], [], [], _READY_SECONDS)
        if not readable or not os.read(said_ready, 64):
            _end(process)
            raise EdgeError(
                f"the device {thing} did not come up; it said: {log.read_text('utf-8', 'replace').strip()}"
            )
    finally:
        os.close(said_ready)
    return process.pid


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(LONGEST_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin:
        process.stdin.close()


def main(argv: list[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """`python -m gtlabel.emulator.deviceprocess THING ROOT`, at the emulator of `AWS_ENDPOINT_URL`."""
    parser = argparse.ArgumentParser(description="A Greengrass core device on this machine.")
    parser.add_argument("thing", help="its name")
    parser.add_argument("root", type=Path, help="its disk")
    parser.add_argument("--runtime", choices=("lite", "classic"), default="lite", help="its nucleus")
    parser.add_argument("--group", action="append", default=[], help="a thing group that it joins")
    parser.add_argument("--broker", help="the MQTT broker that plays AWS IoT Core")
    parser.add_argument("--once", action="store_true", help="end when one deployment has ended")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end with whoever started it")
    parser.add_argument("--announce", action="store_true", help="be found by who ends the emulator")
    parser.add_argument("--patience", type=float, default=60, help="seconds without an answer to bear")
    options = parser.parse_args(argv)
    from gtlabel.aws import Aws
    from gtlabel.emulator.detached import announced
    from gtlabel.emulator.device import run_device

    stop = threading.Event()

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    def wait_for_end() -> None:
        # Our starter never writes; the pipe closes when it ends, however it ends.
        while os.read(sys.stdin.fileno(), 64):
            continue
        stop.set()

    def tell() -> None:
        # Who started it may have gone.
        with suppress(BrokenPipeError):
            os.write(sys.stdout.fileno(), f"{options.thing}\n".encode())

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    if options.until_stdin_closes:
        threading.Thread(target=wait_for_end, daemon=True).start()
    aws = Aws(endpoint_url=environ.get("AWS_ENDPOINT_URL"))
    try:
        with announced(environ.get("AWS_ENDPOINT_URL", ""), options.root if options.announce else None):
            run_device(
                aws,
                options.thing,
                options.root,
                runtime=options.runtime,
                groups=options.group,
                broker=options.broker,
                once=options.once,
                patience=options.patience,
                stop=stop,
                on_ready=tell,
            )
    except GtlabelError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
