"""A device on this machine: it takes deployments as nucleus lite does, and really runs them.

It registers, asks for its deployment, fetches and checks the artifacts, runs the scripts of each component
in child processes and reports. The tree below its root is a nucleus's own: `packages/` and `work/`.
A bad deployment is not rolled back, as lite does not (`contract/deployment.md` section 3.2, rule 5).
Dependencies of components are not resolved: a deployment names every component it wants.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gtlabel.edge.component import portability_problems
from gtlabel.emulator.deviceapi import DeviceApi, http_api
from gtlabel.emulator.packages import fetch_artifacts
from gtlabel.emulator.process import STDERR, STDOUT, Program, run_to_end
from gtlabel.emulator.recipes import choose_manifest, fill, merged, step_of, steps_of, update_configuration
from gtlabel.errors import EdgeError, EmulatorNotReadyError, GtlabelError, RecipeError

if TYPE_CHECKING:
    from gtlabel.aws import Aws

_log = logging.getLogger(__name__)

_RUNTIME = "aws_nucleus_lite"
_VERSION = "2.6.0"
_STEP_TIMEOUT = 120.0
# What a script may see of our environment; credentials are not among it.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "USER")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a deployment ended on the device.

    Attributes:
        status: `SUCCEEDED` or `FAILED`.
        reason: why it failed.
        states: what each component was doing, by name.
    """

    deployment: str
    status: str
    reason: str
    states: dict[str, str]


def run_device(
    aws: Aws,
    thing: str,
    root: Path,
    *,
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
        once: return when a deployment has ended and the programs it started have, too.
        poll: seconds between two questions for work.
        settle: seconds that a program must live to count as running.
        patience: seconds that the emulator may be away, for instance while it is restarted.
        api: the device API; by default the one at the emulator's address.
        stop: ends the device.
        on_ready: called when the device has registered and can be deployed to.

    Returns:
        How the last deployment ended, if there was one.

    Raises:
        EmulatorNotReadyError: if the emulator stays away for longer than that.
    """
    stop = stop or threading.Event()
    device = _Device(aws, thing, root, api or http_api(aws), poll, settle, patience, stop)
    outcome = None
    try:
        device.register()
        if on_ready:
            on_ready()
        device.recover()
        while not stop.is_set():
            outcome = device.turn() or outcome
            if once and outcome is not None and device.idle():
                break
            stop.wait(poll)
    except EmulatorNotReadyError:
        # Who stops both need not stop the device first.
        if not stop.is_set():
            raise
    finally:
        device.close()
    return outcome


def read_results(root: Path, component: str) -> list[dict[str, Any]]:
    """What a component on the device printed as lines of JSON since it was deployed."""
    file = root / "work" / component / STDOUT
    if not file.exists():
        return []
    results = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        # The program prints what it likes, and its last line may not be complete yet.
        with suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                results.append(value)
    return results


@dataclass(slots=True)
class _Component:
    """A component as it is on the device."""

    name: str
    version: str
    recipe: dict[str, Any]
    overlay: dict[str, Any]
    state: str = "NEW"
    details: str = ""
    program: Program | None = None

    @property
    def configuration(self) -> dict[str, Any]:
        part = self.recipe.get("ComponentConfiguration") or {}
        return merged(part.get("DefaultConfiguration") or {}, self.overlay)

    def same_as(self, other: _Component) -> bool:
        return (self.version, self.configuration) == (other.version, other.configuration)

    def look(self) -> None:
        if self.program is not None:
            self.program.look()
            self.state, self.details = self.program.state, self.program.details

    def stop(self) -> None:
        if self.program is not None:
            self.program.stop()
            self.state = self.program.state


class _Device:
    def __init__(
        self,
        aws: Aws,
        thing: str,
        root: Path,
        api: DeviceApi,
        poll: float,
        settle: float,
        patience: float,
        stop: threading.Event,
    ) -> None:
        self._aws = aws
        self._thing = thing
        self._root = root.resolve()
        self._api = api
        self._poll = poll
        self._settle = settle
        self._patience = patience
        self._stop = stop
        self._components: dict[str, _Component] = {}
        self._reported: list[dict[str, Any]] | None = None
        self._platform = {
            "os": platform.system().lower(),
            "architecture": {"x86_64": "amd64", "arm64": "aarch64"}.get(
                platform.machine(), platform.machine()
            ),
            "runtime": _RUNTIME,
        }

    def register(self) -> None:
        """Tell the emulator that the device is there."""
        self._call("register", platform=self._platform, version=_VERSION)

    def recover(self) -> None:
        """Run again what ran before the device went down."""
        try:
            saved = json.loads((self._root / "device.json").read_bytes())
        except FileNotFoundError:
            return
        for row in saved["components"]:
            component = _Component(**row)
            self._components[component.name] = component
            try:
                self._run(component)
            except (GtlabelError, OSError) as error:
                component.state, component.details = "BROKEN", str(error)

    def turn(self) -> Outcome | None:
        """Take the deployment that waits, if one does, and look after what runs."""
        deployment = self._call("next")["deployment"]
        outcome = self._take(deployment) if deployment else None
        self._look()
        self._report()
        return outcome

    def idle(self) -> bool:
        """Whether nothing runs or will be started again."""
        return all(
            component.program is None or component.state in ("FINISHED", "BROKEN")
            for component in self._components.values()
        )

    def close(self) -> None:
        """Stop everything."""
        for component in self._components.values():
            component.stop()

    def _take(self, deployment: Mapping[str, Any]) -> Outcome:
        self._report(deployment=deployment["id"], status="IN_PROGRESS")
        status, reason = "SUCCEEDED", ""
        try:
            self._apply(deployment["components"])
        except (GtlabelError, OSError) as error:
            status, reason = "FAILED", str(error)
            _log.error("the deployment %s failed: %s", deployment["id"], reason)
        self._save()
        if self._stop.is_set() and status == "FAILED":
            # The deployment did nothing wrong; it is taken up again when the device comes back.
            return Outcome(deployment["id"], status, reason, self._states())
        failed = ["DEPLOYMENT_FAILURE"] if reason else []
        self._report(deployment=deployment["id"], status=status, reason=reason, errors=failed)
        return Outcome(deployment["id"], status, reason, self._states())

    def _apply(self, wanted: Mapping[str, Mapping[str, Any]]) -> None:
        """Bring the device to what a deployment wants; nothing is stopped before all is fetched."""
        coming = [self._prepared(name, spec) for name, spec in wanted.items()]
        for name in set(self._components) - set(wanted):
            self._components.pop(name).stop()
        started = []
        for component in coming:
            before = self._components.get(component.name)
            if before is not None:
                if component.same_as(before) and before.state != "BROKEN":
                    continue
                before.stop()
            self._components[component.name] = component
            try:
                self._install(component)
                self._run(component)
            except (GtlabelError, OSError) as error:
                component.state, component.details = "BROKEN", str(error)
                raise
            started.append(component)
        self._wait_until_settled(started)

    def _prepared(self, name: str, spec: Mapping[str, Any]) -> _Component:
        """A component of a deployment with its artifacts on disk."""
        version, recipe = spec["version"], spec["recipe"]
        if recipe is None:
            raise RecipeError(f"the component {name} {version} does not exist any more")
        problems = portability_problems(recipe)
        manifest = choose_manifest(recipe, self._platform)
        if problems:
            raise RecipeError(f"{name} {version}: " + "; ".join(problems))
        update = spec["configurationUpdate"]
        before = self._components.get(name)
        overlay = update_configuration(
            before.overlay if before else {}, update.get("reset", []), json.loads(update.get("merge", "{}"))
        )
        fetch_artifacts(self._aws.s3, manifest.get("Artifacts", []), self._root / "packages", name, version)
        return _Component(name, version, recipe, overlay)

    def _install(self, component: _Component) -> None:
        folder = self._work(component)
        for log in (STDOUT, STDERR):
            (folder / log).unlink(missing_ok=True)
        for step in ("bootstrap", "install"):
            self._run_step(component, step)
        component.state = "INSTALLED"

    def _run(self, component: _Component) -> None:
        """Start the component; one without a `run` is done, or stands when its `startup` went well."""
        filled = self._filled(component, "run")
        if filled is not None:
            script, _, environ = filled
            component.program = Program(script, self._work(component), environ)
            component.state = "RUNNING"
        else:
            component.state = "RUNNING" if self._run_step(component, "startup") else "FINISHED"

    def _run_step(self, component: _Component, step: str) -> bool:
        filled = self._filled(component, step)
        if filled is None:
            return False
        script, timeout, environ = filled
        what = f"{step} of {component.name} {component.version}"
        seconds = _STEP_TIMEOUT if timeout is None else timeout
        run_to_end(what, script, self._work(component), environ, seconds, self._stop)
        return True

    def _filled(self, component: _Component, step: str) -> tuple[str, float | None, dict[str, str]] | None:
        """A step's script with its variables filled in, its time-out and its whole environment."""
        manifest = choose_manifest(component.recipe, self._platform)
        found = step_of(steps_of(manifest, component.recipe), step)
        if found is None:
            return None
        script, timeout, setenv = found
        place = f"{component.name}/{component.version}"
        packages = self._root / "packages"
        variables = {
            "artifacts:path": str(packages / "artifacts" / place),
            "artifacts:decompressedPath": str(packages / "artifacts-unarchived" / place),
            "work:path": str(self._work(component)),
            "kernel:rootPath": str(self._root),
            "iot:thingName": self._thing,
        }
        configuration = component.configuration
        environ = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        # A component asks for `python3`: on this device it is the one that has what a bundle needs.
        own = str(Path(sys.executable).parent)
        environ["PATH"] = os.pathsep.join([own, environ.get("PATH", os.defpath)])
        environ.update(AWS_IOT_THING_NAME=self._thing, AWS_REGION=self._aws.region)
        environ.update({key: fill(str(value), variables, configuration) for key, value in setenv.items()})
        return fill(script, variables, configuration), timeout, environ

    def _wait_until_settled(self, started: list[_Component]) -> None:
        """Wait until each program has ended well, or lived long enough to be believed."""
        while True:
            self._look()
            for component in started:
                if component.state == "BROKEN":
                    raise EdgeError(f"{component.name} {component.version} is BROKEN: {component.details}")
            if all(item.program is None or item.program.settled(self._settle) for item in started):
                return
            if self._stop.wait(min(self._poll, 0.1)):
                raise EdgeError("the deployment was interrupted: the device goes down")

    def _work(self, component: _Component) -> Path:
        folder = self._root / "work" / component.name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _look(self) -> None:
        for component in self._components.values():
            component.look()

    def _states(self) -> dict[str, str]:
        return {component.name: component.state for component in self._components.values()}

    def _report(self, **progress: Any) -> None:
        """Report how a deployment goes, or what the components do if that has changed."""
        components = [
            {"name": item.name, "version": item.version, "state": item.state, "details": item.details}
            for item in self._components.values()
        ]
        if progress or components != self._reported:
            self._call("report", components=components, **progress)
            self._reported = components

    def _call(self, path: str, **body: Any) -> dict[str, Any]:
        """Ask the emulator, again and again for a while when it is not there."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                answer = self._api(path, {"thing": self._thing, "region": self._aws.region, **body})
                if not answer.get("registered", True):
                    # The emulator was reset, or restarted without a state.
                    self._reported = None
                    self.register()
                return answer
            except EmulatorNotReadyError:
                if self._stop.wait(self._poll) or time.monotonic() >= deadline:
                    raise

    def _save(self) -> None:
        rows = [
            {"name": item.name, "version": item.version, "recipe": item.recipe, "overlay": item.overlay}
            for item in self._components.values()
        ]
        self._root.mkdir(parents=True, exist_ok=True)
        temporary = self._root / "device.json.new"
        temporary.write_text(json.dumps({"components": rows}), encoding="utf-8")
        temporary.replace(self._root / "device.json")
