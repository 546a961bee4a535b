"""An emulated device in a process of its own: started, waited for, and ended with whoever started it."""

from __future__ import annotations

import argparse
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from gtlabel.errors import EdgeError, GtlabelError

if TYPE_CHECKING:
    from gtlabel.emulator.child import Address

_READY_SECONDS = 90.0
# A device gives its programs 15 seconds to end.
_END_SECONDS = 20.0
_PID_FILE = "device.pid"


@contextmanager
def device_process(
    address: Address, thing: str, root: Path, *, patience: float = 60
) -> Iterator[Callable[..., None]]:
    """Run a device that takes one deployment; it has registered when this is entered.

    It also ends when this process is killed.

    Args:
        address: the emulator.
        thing: the device's name.
        root: its disk.
        patience: seconds that the emulator may be away.

    Yields:
        A function that waits, at most `timeout` seconds, until the deployment's programs have ended.

    Raises:
        EdgeError: if it does not come up, or does not end well in time.
    """
    command = [sys.executable, "-m", __name__, thing, str(root), "--once", "--until-stdin-closes"]
    command += ["--patience", str(patience)]
    with tempfile.TemporaryFile() as log:
        said_ready, ready = os.pipe()
        try:
            process = subprocess.Popen(
                command,
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


def detach(environ: Mapping[str, str], thing: str, root: Path, *, once: bool) -> int:
    """Start a device that outlives this process, and return its process id when it has registered.

    Its words go to `device.log` in its root, its process id to `device.pid`.

    Args:
        environ: what points it to the emulator.
        thing: its name.
        root: its disk.
        once: whether it ends when one deployment's programs have ended.

    Raises:
        EdgeError: if it does not come up.
    """
    root.mkdir(parents=True, exist_ok=True)
    log = root / "device.log"
    command = [sys.executable, "-m", __name__, thing, str(root), *(["--once"] if once else [])]
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
                f"the device {thing} did not come up; it said: {log.read_text('utf-8', 'replace')}"
            )
    finally:
        os.close(said_ready)
    (root / _PID_FILE).write_text(f"{process.pid}\n", encoding="utf-8")
    return process.pid


def wait_until_gone(root: Path, timeout: float) -> None:
    """Wait until the device that was detached with this root has ended.

    Raises:
        EdgeError: if none was, or it has not ended in time.
    """
    try:
        pid = int((root / _PID_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EdgeError(f"no device was detached with the root {root}") from None
    deadline = time.monotonic() + timeout
    with suppress(ProcessLookupError):
        while True:
            os.kill(pid, 0)
            if time.monotonic() >= deadline:
                raise EdgeError(f"the device of {root} (process {pid}) was not done after {timeout:g} s")
            time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_SECONDS)
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
    parser.add_argument("--once", action="store_true", help="end when one deployment has ended")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end with whoever started it")
    parser.add_argument("--patience", type=float, default=60, help="seconds without an answer to bear")
    options = parser.parse_args(argv)
    from gtlabel.aws import Aws
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
        sys.stdout.write(f"{options.thing}\n")
        sys.stdout.flush()

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    if options.until_stdin_closes:
        threading.Thread(target=wait_for_end, daemon=True).start()
    aws = Aws(endpoint_url=environ.get("AWS_ENDPOINT_URL"))
    try:
        run_device(
            aws,
            options.thing,
            options.root,
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
