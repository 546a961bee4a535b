"""What is installed on a device, and how a deployment changes it: to the end, or back.

The classic nucleus brings back what ran before when a deployment asks for it (ROLLBACK) and fails; nucleus
lite leaves the device on the broken version (`contract/deployment.md` section 3.2, rule 5). The words for
how it ended are those of an IoT job execution's `detailed-deployment-status`, section 3.1.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gtlabel.edge.recipes import portability_problems
from gtlabel.emulator.dependencies import Unresolved, hard_needs_of, in_order
from gtlabel.emulator.disk import in_words
from gtlabel.emulator.lifecycle import Component, Nucleus
from gtlabel.emulator.packages import NetworkAway, fetch_artifacts
from gtlabel.emulator.recipes import choose_manifest, update_configuration
from gtlabel.errors import EdgeError, GtlabelError, RecipeError

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_log = logging.getLogger(__name__)

SUCCESSFUL = "SUCCESSFUL"
NO_STATE_CHANGE = "FAILED_NO_STATE_CHANGE"
NOT_REQUESTED = "FAILED_ROLLBACK_NOT_REQUESTED"
ROLLED_BACK = "FAILED_ROLLBACK_COMPLETE"
UNABLE = "FAILED_UNABLE_TO_ROLLBACK"

# How a deployment may fail; everything else is a mistake of ours, and ends the device.
_FAILURES = (GtlabelError, OSError)


class Interrupted(Exception):  # noqa: N818 - it is no failure
    """The device goes down in the middle of a deployment, which is taken up again when it is back."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a deployment ended on the device.

    Attributes:
        detailed: what became of the device; see the module.
    """

    status: str
    reason: str
    detailed: str


class Installation:
    """The components of a device.

    Args:
        nucleus: what runs their scripts.
        s3: where artifacts come from.
        settle: seconds that a program must live to count as running.
        poll: seconds between two looks at what runs.
        patience: seconds that the network may be away while artifacts are fetched.
    """

    def __init__(
        self, nucleus: Nucleus, s3: S3Client, *, settle: float, poll: float, patience: float
    ) -> None:
        self._nucleus = nucleus
        self._s3 = s3
        self._settle = settle
        self._poll = min(poll, 0.1)
        self._patience = patience
        self.components: dict[str, Component] = {}

    def recover(self) -> None:
        """Run again what ran before the device went down, and sweep up what it had begun."""
        self.components = {row["name"]: Component(**row) for row in self._nucleus.disk.load()}
        self._sweep()
        for component in self.components.values():
            try:
                self._nucleus.run(component)
            except _FAILURES as error:
                component.state, component.details = "BROKEN", in_words(error)

    def apply(self, wanted: Mapping[str, Mapping[str, Any]], *, rollback: bool) -> Ended:
        """Bring the device to what a deployment wants; nothing is stopped before all is fetched.

        Args:
            wanted: version, recipe, configuration update and `runWith` of each component, by name.
            rollback: whether the deployment asks to bring back what was there if it fails.

        Raises:
            Interrupted: if the device goes down meanwhile.
        """
        try:
            coming = [self._prepared(name, spec) for name, spec in wanted.items()]
        except _FAILURES as error:
            self._unless_interrupted(error)
            self._sweep()
            return Ended("FAILED", in_words(error), NO_STATE_CHANGE)
        before = dict(self.components)
        try:
            self._switch({component.name: component for component in coming})
            self._nucleus.disk.save([item.row for item in self.components.values()])
        except _FAILURES as error:
            self._unless_interrupted(error)
            reason = in_words(error)
            _log.error("the deployment failed: %s", reason)
            if rollback and self._nucleus.classic:
                return self._bring_back(before, reason)
            self._keep_broken()
            return Ended("FAILED", reason, NOT_REQUESTED)
        self._sweep()
        return Ended("SUCCEEDED", "", SUCCESSFUL)

    def look(self) -> None:
        """See how the programs are, and start again what has crashed."""
        for component in self.components.values():
            self._nucleus.look(component)

    def idle(self) -> bool:
        """Whether nothing runs or will be started again."""
        return all(
            component.program is None or component.state in ("FINISHED", "BROKEN")
            for component in self.components.values()
        )

    def states(self) -> dict[str, str]:
        """What each component is doing, by name."""
        return {component.name: component.state for component in self.components.values()}

    def close(self) -> None:
        """Stop everything, all at once: it takes as long as the component that takes longest."""
        components = list(self.components.values())
        with ThreadPoolExecutor(len(components) or 1) as threads:
            ends = [threads.submit(self._nucleus.end, component) for component in components]
        for end in ends:
            end.result()

    def _prepared(self, name: str, spec: Mapping[str, Any]) -> Component:
        """A component of a deployment with its artifacts on disk."""
        version, recipe = spec["version"], spec["recipe"]
        if recipe is None:
            raise RecipeError(f"the component {name} {version} does not exist any more")
        problems = [] if self._nucleus.classic else portability_problems(recipe)
        manifest = choose_manifest(recipe, self._nucleus.platform)
        if problems:
            raise RecipeError(f"{name} {version}: " + "; ".join(problems))
        update = spec.get("configurationUpdate") or {}
        before = self.components.get(name)
        overlay = update_configuration(
            before.overlay if before else {}, update.get("reset", []), json.loads(update.get("merge", "{}"))
        )
        component = Component(name, version, recipe, overlay, dict(spec.get("runWith") or {}))
        self._fetch(component, manifest.get("Artifacts", []))
        self._nucleus.check(component)
        return component

    def _fetch(self, component: Component, artifacts: list[dict[str, Any]]) -> None:
        """Fetch what a component needs, again and again for a while when the network is away."""
        packages = self._nucleus.disk.packages
        deadline = time.monotonic() + self._patience
        while True:
            try:
                fetch_artifacts(self._s3, artifacts, packages, component.name, component.version)
                return
            except NetworkAway as away:
                self.look()
                if self._nucleus.stop.wait(self._poll) or time.monotonic() >= deadline:
                    raise EdgeError(f"{away}; the device tried for {self._patience:g} s") from away

    def _switch(self, wanted: Mapping[str, Component]) -> None:
        """Stop what is not wanted, start what is, and wait until it is believed."""
        for name in self._last_needed():
            if name not in wanted:
                self._nucleus.remove(self.components[name])
                del self.components[name]
        started: dict[str, Component] = {}
        for component in wanted.values():
            before = self.components.get(component.name)
            same = before is not None and component.same_as(before) and before.state != "BROKEN"
            if before is not None and same:
                # What runs is started again with what it needs; what is done is done.
                if before.state == "FINISHED" or started.keys().isdisjoint(hard_needs_of(before.recipe)):
                    continue
                component = before
            if before is not None:
                self._nucleus.end(before)
            self.components[component.name] = component
            try:
                if not same:
                    self._nucleus.install(component)
                self._nucleus.run(component)
            except _FAILURES as error:
                component.state, component.details = "BROKEN", in_words(error)
                raise
            started[component.name] = component
        self._wait_until_settled(list(started.values()))

    def _last_needed(self) -> list[str]:
        """The components, who needs another before that one."""
        try:
            return in_order({name: item.recipe for name, item in self.components.items()})[::-1]
        except Unresolved:
            # A deployment that failed left parts of two; each of them had an order.
            return list(self.components)[::-1]

    def _wait_until_settled(self, started: list[Component]) -> None:
        """Wait until each program has ended well, or lived long enough to be believed."""
        while True:
            self.look()
            for component in started:
                if component.state == "BROKEN":
                    raise EdgeError(f"{component.name} {component.version} is BROKEN: {component.details}")
            if all(item.program is None or item.program.settled(self._settle) for item in started):
                return
            if self._nucleus.stop.wait(self._poll):
                raise EdgeError("the deployment was interrupted: the device goes down")

    def _bring_back(self, before: Mapping[str, Component], reason: str) -> Ended:
        """Have again what was there before a deployment, installed as a nucleus installs it."""
        back = {
            name: item if self.components.get(name) is item else item.fresh() for name, item in before.items()
        }
        try:
            self._switch(back)
        except _FAILURES as error:
            self._unless_interrupted(error)
            self._keep_broken()
            return Ended("FAILED", f"{reason}; bringing back what ran before: {in_words(error)}", UNABLE)
        self._sweep()
        return Ended("FAILED", reason, ROLLED_BACK)

    def _keep_broken(self) -> None:
        """Note what is left of a deployment that failed, if there is room for a note."""
        try:
            self._nucleus.disk.save([item.row for item in self.components.values()])
        except OSError as error:
            _log.error("the device comes back as it was before this deployment: %s", in_words(error))
            return
        self._sweep()

    def _sweep(self) -> None:
        self._nucleus.disk.sweep({(item.name, item.version) for item in self.components.values()})

    def _unless_interrupted(self, error: Exception) -> None:
        if self._nucleus.stop.is_set():
            raise Interrupted(str(error)) from error
