"""The components of a device, and the scripts of their lifecycle as a nucleus runs them.

Steps, times and variables after `contract/deployment.md` section 3.2.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gtlabel.emulator.disk import Disk
from gtlabel.emulator.lastwill import LastWill
from gtlabel.emulator.printed import begin
from gtlabel.emulator.process import Child, Launch, Program, end_escaped, run_to_end, weighs
from gtlabel.emulator.recipes import (
    Step,
    as_floats,
    choose_manifest,
    fill,
    merged,
    skipped,
    step_of,
    steps_of,
)
from gtlabel.emulator.runwith import read_run_with
from gtlabel.errors import GtlabelError

if TYPE_CHECKING:
    from gtlabel.emulator.ipc import Ipc

_log = logging.getLogger(__name__)

CLASSIC, LITE = "aws_nucleus_classic", "aws_nucleus_lite"
_STEPS = ("bootstrap", "install", "run", "startup", "shutdown", "recover")
# What a step may take when the recipe does not say, in seconds.
_TIMES = {"shutdown": 15.0, "recover": 60.0}
_TIME = 120.0
# Classic forgets a failure that was an hour ago: aws-greengrass-nucleus, pull request 228.
_FORGIVES = 3600.0
# What a script may see of our environment; credentials are not among it.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "USER")

Configuration = dict[str, Any]


@dataclass(slots=True)
class Component:
    """A component as it is on the device.

    Attributes:
        overlay: what deployments changed of its configuration.
        run_with: what the last deployment said about who runs it.
        started: what its `startup` left running.
    """

    name: str
    version: str
    recipe: dict[str, Any]
    overlay: Configuration
    run_with: dict[str, Any] = field(default_factory=dict)
    state: str = "NEW"
    details: str = ""
    program: Program | None = None
    started: Child | None = None

    @property
    def configuration(self) -> Configuration:
        """The recipe's defaults under what deployments changed; every number is a float, as on a core."""
        part = self.recipe.get("ComponentConfiguration") or {}
        found: Configuration = as_floats(merged(part.get("DefaultConfiguration") or {}, self.overlay))
        return found

    @property
    def row(self) -> dict[str, Any]:
        """What of it survives on disk."""
        kept = ("name", "version", "recipe", "overlay", "run_with")
        return {key: getattr(self, key) for key in kept}

    def same_as(self, other: Component) -> bool:
        """Whether going from one to the other changes nothing on the device."""
        mine, others = (
            (item.version, item.configuration, item.recipe, item.run_with) for item in (self, other)
        )
        return mine == others

    def fresh(self) -> Component:
        """The same, before it was ever started."""
        return Component(**self.row)


@dataclass(frozen=True, slots=True)
class Nucleus:
    """What runs the scripts of a device's components.

    Args:
        disk: the device's disk.
        thing: its name.
        region: the region its components are told.
        platform: what manifests are chosen by: os, architecture, runtime.
        stop: set when the device goes down.
        will: what ends the programs of a device that was killed.
        ipc: what components talk to it by.
    """

    disk: Disk
    thing: str
    region: str
    platform: Mapping[str, str]
    stop: threading.Event
    will: LastWill | None = None
    ipc: Ipc | None = None

    @property
    def classic(self) -> bool:
        """Whether it is the classic nucleus."""
        return self.platform["runtime"] == CLASSIC

    def install(self, component: Component) -> None:
        """Run what must be done once per deployment of a component.

        Raises:
            EdgeError: if a script fails or takes too long.
            RecipeError: if a script uses what is not there.
        """
        folder = self.disk.work(component.name)
        folder.mkdir(parents=True, exist_ok=True)
        begin(folder)
        for step in ("bootstrap", "install"):
            if child := self._to_end(component, step):
                child.clear()
        component.state = "INSTALLED"

    def run(self, component: Component) -> None:
        """Start a component; one without a `run` is done, or stands when its `startup` went well.

        Raises:
            EdgeError: if its `startup` fails or takes too long.
            RecipeError: if a script uses what is not there.
        """
        # It may have been removed while the device was off.
        self.disk.work(component.name).mkdir(parents=True, exist_ok=True)
        launch = self._launch(component, "run")
        if launch is not None:
            component.program = Program(
                launch[0],
                recover=lambda: self._recover(component),
                forgives=_FORGIVES if self.classic else None,
            )
            component.state = "RUNNING"
        else:
            component.started = self._to_end(component, "startup")
            component.state = "RUNNING" if component.started else "FINISHED"

    def end(self, component: Component) -> None:
        """End all that a component runs, on Linux also what has left its process group.

        What has left it and outlives a device that is killed is ended by nobody: the will knows groups alone.
        """
        shutdown = self._shutdown_of(component)
        if shutdown is not None:
            try:
                child = Child(shutdown[0])
                if child.wait(shutdown[1]) is None:
                    child.end(2.0)
                child.clear()
            except OSError as error:
                _log.warning("the shutdown of %s cannot be run: %s", component.name, error)
        if component.program is not None:
            component.program.stop()
            component.state = component.program.state
        if component.started is not None:
            component.started.end()
            component.started = None
            component.state = "FINISHED"
        mark = self.ipc.mark_of(component.name) if self.ipc else None
        if mark is not None:
            end_escaped(mark)

    def remove(self, component: Component) -> None:
        """End all that a component runs, and know it no more."""
        self.end(component)
        if self.ipc is not None:
            self.ipc.forget(component.name)

    def look(self, component: Component) -> None:
        """See how a component's program is, and what it says of itself."""
        program = component.program
        if program is None:
            return
        program.look()
        if program.state == "RUNNING" and self.ipc and self.ipc.state_of(component.name) == "ERRORED":
            program.fail("it reported ERRORED")
        component.state, component.details = program.state, program.details

    def check(self, component: Component) -> None:
        """Refuse a component whose scripts this device could not run, before anything is stopped for it.

        Raises:
            EdgeError: if this machine cannot run it as the deployment says.
            RecipeError: if a script uses what is not there.
        """
        read_run_with(component.run_with, weighs=weighs())
        for step in _STEPS:
            self._filled(component, step)

    def _to_end(self, component: Component, step: str) -> Child | None:
        launch = self._launch(component, step)
        if launch is None:
            return None
        what = f"{step} of {component.name} {component.version}"
        return run_to_end(what, *launch, self.stop)

    def _let_in(self, component: Component, other_user: bool) -> dict[str, str]:
        """What a component's environment gets for talking to the nucleus."""
        if self.ipc is None:
            return {}
        if other_user:
            # The token lets a component in, whoever runs it.
            self.ipc.socket.chmod(0o666)
        return self.ipc.environ_for(component.name, component.configuration)

    def _recover(self, component: Component) -> None:
        if self.ipc is not None:
            self.ipc.environ_for(component.name, component.configuration)
        if self.classic and (child := self._to_end(component, "recover")):
            child.clear()

    def _shutdown_of(self, component: Component) -> tuple[Launch, float] | None:
        """The `shutdown` of a component that runs; lite has no such step and ends programs by the signal."""
        runs = component.program is not None or component.started is not None
        if not (runs and self.classic and component.state == "RUNNING"):
            return None
        try:
            return self._launch(component, "shutdown")
        except (GtlabelError, OSError) as error:
            # It was fine when the component was deployed; what runs must end all the same.
            _log.warning("%s is ended without its shutdown: %s", component.name, error)
            return None

    def _launch(self, component: Component, step: str) -> tuple[Launch, float] | None:
        """A step as it is run, and its time-out in seconds."""
        found = self._filled(component, step)
        if found is None:
            return None
        folder = self.disk.work(component.name)
        run_with = read_run_with(component.run_with, weighs=weighs())
        environ = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        environ.update(PATH=_path(), AWS_IOT_THING_NAME=self.thing, AWS_REGION=self.region)
        if run_with.user:
            environ.update(HOME=run_with.user.home, USER=run_with.user.name)
            os.chown(folder, run_with.user.uid, run_with.user.gid)
        environ.update(self._let_in(component, run_with.user is not None))
        environ.update(found.environ)
        launch = Launch(found.script, folder, environ, run_with.user, run_with.memory, self.will)
        return launch, found.timeout if found.timeout is not None else _TIMES.get(step, _TIME)

    def _filled(self, component: Component, step: str) -> Step | None:
        """A step with its variables filled in; None if there is none to run."""
        manifest = choose_manifest(component.recipe, self.platform)
        found = step_of(steps_of(manifest, component.recipe), step)
        if found is None or skipped(found.skip_if, _path()):
            return None
        place = f"{component.name}/{component.version}"
        variables = {
            "artifacts:path": str(self.disk.packages / "artifacts" / place),
            "artifacts:decompressedPath": str(self.disk.packages / "artifacts-unarchived" / place),
            "work:path": str(self.disk.work(component.name)),
            "kernel:rootPath": str(self.disk.root),
            "iot:thingName": self.thing,
        }
        configuration = component.configuration
        environ = {key: fill(str(value), variables, configuration) for key, value in found.environ.items()}
        return replace(found, script=fill(found.script, variables, configuration), environ=environ)


def _path() -> str:
    # A component asks for `python3`: on this device it is the one that has what a bundle needs.
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
