"""The device API: how the emulator's devices come to their deployments and say how they went.

It stands for the MQTT jobs and the data plane of Greengrass (`contract/deployment.md` section 5c), in
three questions: `register`, `next` and `report`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gtlabel.emulator.api import Context
from gtlabel.emulator.deployments import CORE, DEPLOYMENT, ENDED, EXECUTION, now
from gtlabel.emulator.device import read_results, run_device
from gtlabel.emulator.deviceprocess import device_process
from gtlabel.emulator.greengrass import KIND
from gtlabel.emulator.shelf import Shelf

__all__ = ["device_process", "handle", "read_results", "run_device"]

PREFIX = "/gtlabel/device/"
STATES = ("NEW", "INSTALLED", "STARTING", "RUNNING", "STOPPING", "ERRORED", "BROKEN", "FINISHED")
_STATUSES = ("QUEUED", "IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED")
_PLATFORM = ("os", "architecture", "runtime")


class _Refused(Exception):  # noqa: N818 - it is an answer
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def handle(shelf: Shelf, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Answer one request below `/gtlabel/device/`.

    Every request names its `thing`, and may name a `region` and an `account`.

    - `register` {platform: {os, architecture, runtime}, version}: the device is there. It is a target of
      deployments from now on.
    - `next` {}: the deployment that waits for it, with each component's recipe, or null.
    - `report` {deployment, status, reason, errors, components: [{name, version, state, details}]}: how the
      deployment goes (all optional), and what the components are doing.

    The last two answer `registered: false`, and do nothing, when the device is not known, for instance
    because the emulator was reset.

    Returns:
        The HTTP status and the answer; an error has a `message`.
    """
    thing = body.get("thing")
    if not isinstance(thing, str) or not thing:
        return 400, {"message": "the request does not name its thing"}
    context = Context(
        account=str(body.get("account") or Context().account), region=str(body.get("region") or "us-east-1")
    )
    answers: dict[str, Callable[[Shelf, Context, str, Mapping[str, Any]], dict[str, Any]]]
    answers = {"register": _register, "next": _next, "report": _report}
    answer = answers.get(path.removeprefix(PREFIX).strip("/"))
    if answer is None:
        return 404, {"message": f"the device API has no {path!r}; it has {', '.join(answers)}"}
    try:
        return 200, answer(shelf, context, thing, body)
    except _Refused as refused:
        return refused.status, {"message": str(refused)}


def _register(shelf: Shelf, context: Context, thing: str, body: Mapping[str, Any]) -> dict[str, Any]:
    platform = body.get("platform")
    if not isinstance(platform, Mapping) or not all(isinstance(platform.get(key), str) for key in _PLATFORM):
        raise _Refused(400, f"platform must tell {', '.join(_PLATFORM)}")
    core = shelf.get(context, CORE, thing) or {"thing": thing, "components": []}
    core.update(
        platform={key: platform[key] for key in _PLATFORM},
        version=str(body.get("version") or "0"),
        modified=now().isoformat(),
    )
    shelf.put(context, CORE, thing, core)
    return {"thing": thing}


def _next(shelf: Shelf, context: Context, thing: str, _body: Mapping[str, Any]) -> dict[str, Any]:
    if shelf.get(context, CORE, thing) is None:
        return {"registered": False, "deployment": None}
    for execution in shelf.all(context, EXECUTION):
        if execution["thing"] != thing or execution["status"] in ENDED:
            continue
        deployment = shelf.get(context, DEPLOYMENT, execution["deployment"])
        if deployment is not None:
            components = deployment["request"].get("components", {})
            resolved = {name: _resolved(shelf, context, name, spec) for name, spec in components.items()}
            return {"registered": True, "deployment": {"id": deployment["id"], "components": resolved}}
    return {"registered": True, "deployment": None}


def _resolved(shelf: Shelf, context: Context, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """A component of a deployment with its recipe; the recipe is null when the version was deleted."""
    component = shelf.get(context, KIND, f"{name}:{spec['componentVersion']}")
    return {
        "version": spec["componentVersion"],
        "recipe": component["recipe"] if component else None,
        "configurationUpdate": spec.get("configurationUpdate", {}),
    }


def _report(shelf: Shelf, context: Context, thing: str, body: Mapping[str, Any]) -> dict[str, Any]:
    with shelf.transaction():
        core = shelf.get(context, CORE, thing)
        if core is None:
            return {"registered": False}
        time = now().isoformat()
        if body.get("deployment"):
            _progress(shelf, context, thing, body, time)
        if "components" in body:
            before = {(item["name"], item["version"]): item for item in core["components"]}
            core["components"] = [_state(item, before, time) for item in body["components"]]
        core["modified"] = time
        shelf.put(context, CORE, thing, core)
    return {"registered": True}


def _progress(shelf: Shelf, context: Context, thing: str, body: Mapping[str, Any], time: str) -> None:
    """Take down how a deployment goes on a device. An end is final; later words about it are dropped."""
    name = f"{thing}/{body['deployment']}"
    execution = shelf.get(context, EXECUTION, name)
    deployment = shelf.get(context, DEPLOYMENT, body["deployment"])
    status = body.get("status")
    if execution is None or deployment is None:
        raise _Refused(404, f"the device {thing} has no deployment {body['deployment']}")
    if status not in _STATUSES:
        raise _Refused(400, f"{status!r} is no status of a deployment; it is one of {', '.join(_STATUSES)}")
    if execution["status"] in ENDED:
        return
    execution.update(
        status=status,
        modified=time,
        reason=str(body.get("reason") or ""),
        errors=[str(error)[:255] for error in body.get("errors", [])],
        errorTypes=[str(kind)[:255] for kind in body.get("errorTypes", [])],
    )
    shelf.put(context, EXECUTION, name, execution)
    if status in ENDED and deployment["status"] == "ACTIVE":
        deployment["status"] = "COMPLETED" if status == "SUCCEEDED" else "FAILED"
        shelf.put(context, DEPLOYMENT, deployment["id"], deployment)


def _state(
    item: Mapping[str, Any], before: Mapping[tuple[str, str], Mapping[str, Any]], time: str
) -> dict[str, Any]:
    state = item.get("state")
    if state not in STATES:
        raise _Refused(400, f"{state!r} is no lifecycle state; it is one of {', '.join(STATES)}")
    name, version = str(item.get("name")), str(item.get("version"))
    earlier = before.get((name, version))
    changed = earlier["changed"] if earlier and earlier["state"] == state else time
    details = str(item.get("details") or "")[:1000]
    return {"name": name, "version": version, "state": state, "details": details, "changed": changed}
