"""A device on this machine: it takes deployments as a Greengrass nucleus does, and really runs them.

It registers, asks for its deployment, fetches and checks the artifacts, runs the scripts of each component
in child processes and reports. Which versions its components' dependencies take is decided before, by who
answers the device: a deployment names everything that it is to run, what is needed first.
"""

from __future__ import annotations

import logging
import platform
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gtlabel.emulator.deviceapi import DeviceApi, http_api
from gtlabel.emulator.devicething import join_groups
from gtlabel.emulator.devicewords import check_thing
from gtlabel.emulator.disk import Disk
from gtlabel.emulator.installation import Ended, Installation, Interrupted
from gtlabel.emulator.lastwill import LastWill
from gtlabel.emulator.lifecycle import CLASSIC, LITE, Nucleus
from gtlabel.emulator.printed import read_results
from gtlabel.errors import EdgeError, EmulatorNotReadyError

if TYPE_CHECKING:
    from gtlabel.aws import Aws

__all__ = ["RUNTIMES", "Outcome", "read_results", "run_device"]

_log = logging.getLogger(__name__)

# The nuclei whose ways are followed, and the version that the device says it is.
RUNTIMES = {"lite": (LITE, "2.6.0"), "classic": (CLASSIC, "2.17.0")}
# A core says how it is when something changes, and once a day (contract/deployment.md 3.1).
_REPORT_EVERY = 86400.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a deployment ended on the device.

    Attributes:
        status: `SUCCEEDED` or `FAILED`.
        reason: why it failed.
        states: what each component was doing, by name.
        detailed: what became of the device, such as `FAILED_ROLLBACK_COMPLETE`.
    """

    deployment: str
    status: str
    reason: str
    states: dict[str, str]
    detailed: str


def run_device(
    aws: Aws,
    thing: str,
    root: Path,
    *,
    runtime: str = "lite",
    groups: Sequence[str] = (),
    broker: str | None = None,
    once: bool = False,
    poll: float = 0.2,
    settle: float = 1.0,
    patience: float = 60.0,
    api: DeviceApi | None = None,
    stop: threading.Event | None = None,
    on_ready: Callable[[], None] | None = None,
) -> Outcome | None:
    """Be a Greengrass core device until `stop` is set; what it started ends with it.

    Args:
        aws: where the emulator is, and the S3 that artifacts come from.
        thing: the device's name.
        root: its disk. A device that starts again with the same root runs again what it ran before.
        runtime: the nucleus whose ways it follows, `lite` or `classic`.
        groups: the thing groups it joins; they are made unless they are there.
        broker: the MQTT broker that plays AWS IoT Core, such as `mqtt://127.0.0.1:1883`; without one what
            components publish there goes nowhere.
        once: return when a deployment has ended and the programs it started have, too.
        poll: seconds between two questions for work.
        settle: seconds that a program must live to count as running.
        patience: seconds that the emulator may be away when the device begins, and when it runs `once`;
            otherwise it runs on without, as a camera does without its network.
        api: the device API; by default the one at the emulator's address.
        stop: ends the device.
        on_ready: called when the device has registered and can be deployed to.

    Returns:
        How the last deployment ended, if there was one.

    Raises:
        EmulatorNotReadyError: if the emulator stays away for longer than that.
        EdgeError: if the name is none, another device runs on that disk, the disk goes away, or there is no
            such runtime or broker.
    """
    # Nobody but a running device pays for asyncio.
    from gtlabel.emulator.ipc import serve
    from gtlabel.emulator.uplink import Uplink

    check_thing(thing)
    if runtime not in RUNTIMES:
        raise EdgeError(f"there is no nucleus {runtime!r}; it is one of {', '.join(RUNTIMES)}")
    stop = stop or threading.Event()
    api = api or http_api(aws)
    with ExitStack() as stack:
        disk = stack.enter_context(Disk(root))
        will = LastWill(disk.lock)
        stack.callback(will.close)
        name, version = RUNTIMES[runtime]
        uplink = stack.enter_context(closing(Uplink(broker, thing))) if broker else None
        ipc = stack.enter_context(serve(disk.root / "ipc.socket", thing, uplink))
        nucleus = Nucleus(disk, thing, aws.region, _platform(name), stop, will, ipc)
        installation = Installation(nucleus, aws.s3, settle=settle, poll=poll, patience=patience)
        device = _Device(api, nucleus, installation, version, poll, patience)
        stack.callback(installation.close)
        outcome = None
        try:
            device.register()
            if groups:
                join_groups(aws.iot, thing, groups)
            if on_ready:
                on_ready()
            installation.recover()
            while not stop.is_set():
                disk.check()
                outcome = device.turn(patient=not once) or outcome
                if once and outcome is not None and device.done():
                    break
                stop.wait(poll)
        except EmulatorNotReadyError:
            # Who stops both need not stop the device first.
            if not stop.is_set():
                raise
        except Interrupted as interrupted:
            _log.info("%s", interrupted)
        return outcome


class _Device:
    """What a device says to the emulator, and when."""

    def __init__(
        self,
        api: DeviceApi,
        nucleus: Nucleus,
        installation: Installation,
        version: str,
        poll: float,
        patience: float,
    ) -> None:
        self._api = api
        self._nucleus = nucleus
        self._installation = installation
        self._version = version
        self._poll = poll
        self._patience = patience
        self._reported: list[dict[str, Any]] | None = None
        self._reported_at = 0.0
        # What is to be said as soon as somebody listens.
        self._unsaid: deque[dict[str, Any]] = deque()
        self._away_since: float | None = None

    def register(self) -> None:
        """Tell the emulator that the device is there; wait for it for a while."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                self._register()
                return
            except EmulatorNotReadyError:
                if self._nucleus.stop.wait(self._poll) or time.monotonic() >= deadline:
                    raise

    def turn(self, *, patient: bool) -> Outcome | None:
        """Take the deployment that waits, if one does, and look after what runs.

        Args:
            patient: whether the emulator may be away for ever.
        """
        self._installation.look()
        outcome = None
        try:
            self._say()
            deployment = self._ask("next")["deployment"]
            if self._away_since is not None:
                _log.warning("the emulator is there again")
            self._away_since = None
            if deployment:
                outcome = self._take(deployment)
                self._say()
        except EmulatorNotReadyError as error:
            if self._away_since is None:
                self._away_since = time.monotonic()
                _log.warning("%s; the device runs on without it", error)
            if not patient and time.monotonic() - self._away_since >= self._patience:
                raise
        return outcome

    def done(self) -> bool:
        """Whether nothing runs any more, and the emulator knows it."""
        return self._installation.idle() and not self._unsaid and self._reported == self._components()

    def _take(self, deployment: Mapping[str, Any]) -> Outcome:
        identifier = deployment["id"]
        self._unsaid.append({"deployment": identifier, "status": "IN_PROGRESS"})
        # The deployment is known; whether anybody listens meanwhile does not matter.
        with suppress(EmulatorNotReadyError):
            self._say()
        ended = self._carry_out(deployment)
        # An answer to somebody who is away must not be lost: they would have it carried out again.
        self._unsaid.append(
            {
                "deployment": identifier,
                "status": ended.status,
                "reason": ended.reason,
                "detailed": ended.detailed,
                "errors": ["DEPLOYMENT_FAILURE"] if ended.reason else [],
            }
        )
        return Outcome(identifier, ended.status, ended.reason, self._installation.states(), ended.detailed)

    def _carry_out(self, deployment: Mapping[str, Any]) -> Ended:
        policies = deployment.get("policies") or {}
        rollback = policies.get("failureHandlingPolicy", "ROLLBACK") == "ROLLBACK"
        return self._installation.apply(deployment["components"], rollback=rollback)

    def _say(self) -> None:
        """Report how deployments went, and what the components do if that has changed."""
        while self._unsaid:
            self._report(**self._unsaid[0])
            self._unsaid.popleft()
        if self._components() != self._reported or time.monotonic() - self._reported_at > _REPORT_EVERY:
            self._report()

    def _report(self, **progress: Any) -> None:
        components = self._components()
        try:
            self._ask("report", components=components, **progress)
        except EdgeError as error:
            # It does not know the deployment any more: somebody deleted it meanwhile.
            if not progress:
                raise
            _log.warning("%s", error)
            return
        self._reported, self._reported_at = components, time.monotonic()

    def _components(self) -> list[dict[str, Any]]:
        return [
            {"name": item.name, "version": item.version, "state": item.state, "details": item.details}
            for item in self._installation.components.values()
        ]

    def _ask(self, path: str, **body: Any) -> dict[str, Any]:
        nucleus = self._nucleus
        answer = self._api(path, {"thing": nucleus.thing, "region": nucleus.region, **body})
        if not answer.get("registered", True):
            # The emulator was reset, or restarted without a state.
            self._register()
            self._reported = None
        return answer

    def _register(self) -> None:
        nucleus = self._nucleus
        self._api(
            "register",
            {
                "thing": nucleus.thing,
                "region": nucleus.region,
                "platform": dict(nucleus.platform),
                "version": self._version,
            },
        )


def _platform(runtime: str) -> dict[str, str]:
    machine = platform.machine()
    return {
        "os": platform.system().lower(),
        "architecture": {"x86_64": "amd64", "arm64": "aarch64"}.get(machine, machine),
        "runtime": runtime,
    }
