"""The device API: how the emulator's devices come to their deployments and say how they went.

It stands for the MQTT jobs and the data plane of Greengrass (`contract/deployment.md` section 5c), in
three questions: `register`, `next` and `report`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gtlabel.emulator.api import Context
from gtlabel.emulator.components import KIND, catalog_of
from gtlabel.emulator.dependencies import Unresolved, resolve
from gtlabel.emulator.device import read_results, run_device
from gtlabel.emulator.deviceprocess import device_process
from gtlabel.emulator.devicewords import PLATFORM, origin_problem, platform_problem, report_problem
from gtlabel.emulator.fleet import CORE, DEPLOYMENT, ENDED, TAKEN, Clock, Fleet, now
from gtlabel.emulator.jobdocument import policies_of
from gtlabel.emulator.shelf import Shelf
from gtlabel.emulator.things import IotThings, Things
from gtlabel.emulator.union import Part, VersionConflict, latest_of, union_of

__all__ = ["device_process", "handle", "read_results", "run_device"]

PREFIX = "/gtlabel/device/"
# The id of what is no deployment: taking away what came from a thing group.
_LEFT = "left/"


class _Refused(Exception):  # noqa: N818 - it is an answer
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def handle(
    shelf: Shelf,
    path: str,
    body: Mapping[str, Any],
    *,
    clock: Clock = now,
    things: Things | None = None,
) -> tuple[int, dict[str, Any]]:
    """Answer one request below `/gtlabel/device/`.

    Every request names its `thing`, and may name a `region` and an `account`.

    - `register` {platform: {os, architecture, runtime}, version}: the device is there. It is a target of
      deployments from now on, if IoT did not know it before.
    - `next` {}: the `deployment` that waits for it, or null. It has an `id`, a `name`, its `target`, its
      `policies` (`failureHandlingPolicy`, `componentUpdatePolicy`, `configurationValidationPolicy`), and all
      `components` that the device is to run from then on, those of its other targets too: each with its
      `version`, `recipe`, `configurationUpdate`, `runWith` and whether it is a `root`. Whatever else the
      device runs goes. When it has left a thing group, a deployment whose id begins with `left/` takes away
      what came from there.
    - `report` {deployment, status, detailed, reason, errors, errorTypes, components: [{name, version, state,
      details}]}: how the deployment goes (all optional), and what the components are doing. `detailed` is the
      nucleus's own word for an end, such as `FAILED_ROLLBACK_COMPLETE`.

    The last two answer `registered: false`, and do nothing, when the device is not known, for instance
    because the emulator was reset.

    Args:
        shelf: where all is kept.
        path: what is asked.
        body: the request.
        clock: tells the time.
        things: knows things and thing groups; by default IoT's.

    Returns:
        The HTTP status and the answer; an error has a `message`. It is 400 for what is no such request, for
        a device takes 500 for an emulator that will be back, and asks again.
    """
    if problem := origin_problem(body):
        return 400, {"message": problem}
    usual = Context()
    context = Context(body.get("account") or usual.account, body.get("region") or usual.region)
    device = _Device(Fleet(shelf, clock, things or IotThings()), context, body["thing"])
    answers: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]]
    answers = {"register": device.register, "next": device.next, "report": device.report}
    answer = answers.get(path.removeprefix(PREFIX).strip("/"))
    if answer is None:
        return 404, {"message": f"the device API has no {path!r}; it has {', '.join(answers)}"}
    try:
        return 200, answer(body)
    except _Refused as refused:
        return refused.status, {"message": str(refused)}


@dataclass(frozen=True, slots=True)
class _Device:
    """One device, and what it asks."""

    fleet: Fleet
    context: Context
    thing: str

    def register(self, body: Mapping[str, Any]) -> dict[str, Any]:
        if problem := platform_problem(body):
            raise _Refused(400, problem)
        platform = body["platform"]
        with self.fleet.shelf.transaction():
            core = self._core() or {"thing": self.thing, "components": []}
            core.update(
                platform={key: platform[key] for key in PLATFORM},
                version=body.get("version") or "0",
                modified=self.fleet.clock().isoformat(),
            )
            self._keep(core)
        return {"thing": self.thing}

    def next(self, _body: Mapping[str, Any]) -> dict[str, Any]:
        core = self._core()
        if core is None:
            return {"registered": False, "deployment": None}
        return {"registered": True, "deployment": self._waiting() or self._left()}

    def report(self, body: Mapping[str, Any]) -> dict[str, Any]:
        if problem := report_problem(body):
            raise _Refused(400, problem)
        with self.fleet.shelf.transaction():
            core = self._core()
            if core is None:
                return {"registered": False}
            deployment = body.get("deployment")
            if isinstance(deployment, str) and deployment.startswith(_LEFT):
                if body.get("status") in ENDED:
                    taken = self._taken()
                    taken.pop(self._group(deployment.removeprefix(_LEFT)), None)
                    self._keep_taken(taken)
            elif deployment:
                self._progress(body)
            time = self.fleet.clock().isoformat()
            if "components" in body:
                before = {(item["name"], item["version"]): item for item in core["components"]}
                core["components"] = [_state(item, before, time) for item in body["components"]]
            core["modified"] = time
            self._keep(core)
        return {"registered": True}

    def _waiting(self) -> dict[str, Any] | None:
        """The oldest deployment that the device has not ended; one that cannot be on it has failed."""
        for execution in self.fleet.of_thing(self.context, self.thing):
            if execution["status"] in ENDED:
                continue
            deployment = self.fleet.shelf.get(self.context, DEPLOYMENT, execution["deployment"])
            if deployment is None:
                continue
            target = deployment["request"]["targetArn"]
            mine = Part(_short(target), deployment["request"].get("components", {}))
            try:
                components = self._complete(union_of([*self._others(target), mine]))
            except (VersionConflict, Unresolved) as conflict:
                self._refuse(execution, conflict)
                continue
            return {
                "id": deployment["id"],
                "name": deployment["name"],
                "target": target,
                "policies": policies_of(deployment),
                "components": components,
            }
        return None

    def _left(self) -> dict[str, Any] | None:
        """What is left to run when the device has left a thing group."""
        targets = self.fleet.targets_of(self.context, self.thing)
        gone = next((target for target in self._taken() if target not in targets), None)
        if gone is None:
            return None
        rest = latest_of(self._others(gone))
        try:
            components = self._complete(rest)
        except Unresolved:
            # What was there before stays, whatever became of its versions since.
            components = self._shown(rest, {name: rest[name]["componentVersion"] for name in rest})
        return {
            "id": f"{_LEFT}{_short(gone).partition('/')[2]}",
            "name": f"{self.thing} has left {_short(gone)}",
            "target": gone,
            "policies": policies_of({"request": {}}),
            "components": components,
        }

    def _others(self, target: str) -> list[Part]:
        """What the device's other targets have put there, the oldest first."""
        targets = self.fleet.targets_of(self.context, self.thing)
        taken = sorted(self._taken().items(), key=lambda item: item[1]["time"])
        return [
            Part(_short(other), record["components"])
            for other, record in taken
            if other in targets and other != target
        ]

    def _complete(self, components: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Components and all that they need, what is needed first.

        Raises:
            Unresolved: if they cannot be on one device.
        """
        catalog = catalog_of(self.fleet.shelf, self.context, self.fleet.clock())
        versions = {name: spec["componentVersion"] for name, spec in components.items()}
        return self._shown(components, resolve(versions, catalog))

    def _shown(
        self, components: Mapping[str, Mapping[str, Any]], versions: Mapping[str, str]
    ) -> dict[str, Any]:
        """Components with their recipes; the recipe is null when the version was deleted."""
        answer = {}
        for name, version in versions.items():
            spec = components.get(name, {})
            found = self.fleet.shelf.get(self.context, KIND, f"{name}:{version}")
            answer[name] = {
                "version": version,
                "recipe": found["recipe"] if found else None,
                "configurationUpdate": spec.get("configurationUpdate", {}),
                "runWith": spec.get("runWith", {}),
                "root": name in components,
            }
        return answer

    def _refuse(self, execution: Mapping[str, Any], conflict: Exception) -> None:
        with self.fleet.shelf.transaction():
            # Somebody may have canceled it since it was looked at.
            found = self.fleet.execution(self.context, self.thing, execution["deployment"])
            if found is None or found["status"] in ENDED:
                return
            self.fleet.end(
                self.context,
                found,
                "FAILED",
                reason=str(conflict),
                detailed="FAILED_NO_STATE_CHANGE",
                errors=["DEPLOYMENT_FAILURE", "NO_AVAILABLE_COMPONENT_VERSION"],
                errorTypes=["REQUEST_ERROR"],
            )

    def _progress(self, body: Mapping[str, Any]) -> None:
        """Take down how a deployment goes. An end is final; later words about it are dropped."""
        execution = self.fleet.execution(self.context, self.thing, body["deployment"])
        deployment = self.fleet.shelf.get(self.context, DEPLOYMENT, body["deployment"])
        status, detailed = body["status"], body.get("detailed")
        if execution is None:
            raise _Refused(404, f"the device {self.thing} has no deployment {body['deployment']}")
        if execution["status"] in ENDED:
            return
        # It may have been deleted while the device was at it.
        if status in ENDED and deployment is not None:
            self._took(deployment, succeeded=status == "SUCCEEDED")
        self.fleet.end(
            self.context,
            execution,
            status,
            reason=body.get("reason") or "",
            detailed=detailed or ("SUCCESSFUL" if status == "SUCCEEDED" else None),
            errors=[error[:255] for error in body.get("errors", [])],
            errorTypes=[kind[:255] for kind in body.get("errorTypes", [])],
        )
        # Others may not have to hear of a deployment any more that fails.
        self.fleet.turn(self.context)

    def _took(self, deployment: Mapping[str, Any], *, succeeded: bool) -> None:
        """Remember what a target's last good deployment put on the device."""
        target = deployment["request"]["targetArn"]
        taken = self._taken()
        record = {
            "time": self.fleet.clock().isoformat(),
            "deployment": deployment["id"],
            "components": deployment["request"].get("components", {}) if succeeded else {},
        }
        # What failed may have left something on the device, which goes when it leaves the group.
        if succeeded or target not in taken:
            taken[target] = record
            self._keep_taken(taken)

    def _core(self) -> dict[str, Any] | None:
        return self.fleet.shelf.get(self.context, CORE, self.thing)

    def _taken(self) -> dict[str, Any]:
        return self.fleet.shelf.get(self.context, TAKEN, self.thing) or {}

    def _keep_taken(self, taken: dict[str, Any]) -> None:
        self.fleet.shelf.put(self.context, TAKEN, self.thing, taken)

    def _keep(self, core: dict[str, Any]) -> None:
        self.fleet.shelf.put(self.context, CORE, self.thing, core)

    def _group(self, name: str) -> str:
        return self.context.arn("iot", f"thinggroup/{name}")


def _short(target: str) -> str:
    return target.split(":", 5)[5]


def _state(
    item: Mapping[str, Any], before: Mapping[tuple[str, str], Mapping[str, Any]], time: str
) -> dict[str, Any]:
    name, version, state = item["name"], item["version"], item["state"]
    earlier = before.get((name, version))
    changed = earlier["changed"] if earlier and earlier["state"] == state else time
    details = (item.get("details") or "")[:1000]
    return {"name": name, "version": version, "state": state, "details": details, "changed": changed}
