"""Sending a bundle to devices: S3, a component version, and a deployment that leaves other people's alone.

What each call means and what it replaces: `contract/deployment.md` section 3.1.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gtlabel.edge.bundle import Bundle
from gtlabel.edge.publish import Clock, Published, Sleep, publish
from gtlabel.errors import (
    DeploymentEndedError,
    DeviceNotFoundError,
    EdgeError,
)
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_greengrassv2 import GreengrassV2Client
    from types_boto3_greengrassv2.type_defs import EffectiveDeploymentTypeDef
    from types_boto3_iot import IoTClient
    from types_boto3_s3 import S3Client

_BAD_ENDS = ("FAILED", "TIMED_OUT", "CANCELED", "REJECTED")
_GOOD_ENDS = ("SUCCEEDED", "COMPLETED")


@dataclass(frozen=True, slots=True)
class Target:
    """What a deployment is for: `thing/NAME` or `thinggroup/NAME`, and the devices behind it by name."""

    resource: str
    things: tuple[str, ...]

    def arn(self, component: Published) -> str:
        """Its ARN, in the account and region of a component."""
        _, partition, _, region, account, _ = component.arn.split(":", 5)
        return f"arn:{partition}:iot:{region}:{account}:{self.resource}"


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """The next deployment of a target, and what it changes.

    Attributes:
        components: everything the target will run; what is not in here is uninstalled.
        kept: components that stay as they are, with their versions.
        changed: the component that is deployed, with the version it had, or None if it is new there.
        settings: name, policies, job settings and tags of the deployment before, which go on.
    """

    target: str
    components: dict[str, dict[str, Any]]
    kept: dict[str, str]
    changed: tuple[str, str | None, str]
    settings: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        name, before, after = self.changed
        change = f"{name} {before} -> {after}" if before else f"{name} {after} is new"
        kept = ", ".join(f"{other} {version}" for other, version in sorted(self.kept.items()))
        return f"{change}; {kept} stays" if kept else change


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment that every device brought to a good end.

    Attributes:
        states: what the component was last seen doing, by device.
    """

    deployment: str
    component: Published
    target: Target
    states: dict[str, str]


def deploy_model(
    greengrass: GreengrassV2Client,
    s3: S3Client,
    iot: IoTClient,
    bundle: Bundle,
    *,
    to: str,
    folder: S3Uri,
    name: str,
    configuration: Mapping[str, Any] | None = None,
    timeout: float = 600,
    sleep: Sleep = time.sleep,
    clock: Clock = time.monotonic,
    on_plan: Callable[[DeploymentPlan], None] | None = None,
) -> Deployed:
    """Put a bundle on a device, or on every device of a thing group, and wait until it runs there.

    Uploading the same bundle again costs nothing: its component version is found and used again.

    Args:
        greengrass: Greengrass V2.
        s3: where the artifact goes.
        iot: knows things that have not reported yet, and thing groups.
        bundle: what to deploy.
        to: a thing, or `thinggroup/NAME`, or the ARN of either.
        folder: the artifact lies below it, as `<name>/<version>/bundle.zip`.
        name: the component's name.
        configuration: what differs from the recipe's defaults on these devices.
        timeout: seconds to wait for the devices.
        sleep: waits between two looks.
        clock: seconds, for the time-out.
        on_plan: called with what the deployment would change; when it raises, nothing is deployed.

    Raises:
        DeviceNotFoundError: if there is no such device or group.
        ComponentVersionTakenError: if someone else took the version in the meantime.
        DeploymentEndedError: if a device did not bring it to a good end in time.
    """
    target = find_target(greengrass, iot, to)
    component = publish(greengrass, s3, bundle, folder=folder, name=name, sleep=sleep, clock=clock)
    plan = plan_deployment(greengrass, target.arn(component), component, configuration or {})
    if on_plan is not None:
        on_plan(plan)
    deployment = create_deployment(greengrass, plan)
    deadline = clock() + timeout
    states = {
        thing: wait_for_device(
            greengrass, thing, deployment, component, timeout=deadline - clock(), sleep=sleep, clock=clock
        )
        for thing in target.things
    }
    return Deployed(deployment, component, target, states)


def find_target(greengrass: GreengrassV2Client, iot: IoTClient, target: str) -> Target:
    """What is meant by a thing, by `thinggroup/NAME`, or by the ARN of either.

    A thing counts when it has reported as a core device, or when IoT knows it and it may still come up.

    Raises:
        DeviceNotFoundError: if neither service knows it.
        EdgeError: if a group is empty.
    """
    plain = target.split(":", 5)[5] if target.count(":") >= 5 else target
    kind, _, name = plain.rpartition("/")
    if kind == "thinggroup":
        pages = iot.get_paginator("list_things_in_thing_group").paginate(thingGroupName=name)
        try:
            things = tuple(thing for page in pages for thing in page["things"])
        except iot.exceptions.ResourceNotFoundException:
            raise DeviceNotFoundError(target) from None
        if not things:
            raise EdgeError(f"the thing group {name!r} is empty; add devices to it first")
        return Target(f"thinggroup/{name}", things)
    try:
        greengrass.get_core_device(coreDeviceThingName=name)
    except greengrass.exceptions.ResourceNotFoundException:
        try:
            iot.describe_thing(thingName=name)
        except iot.exceptions.ResourceNotFoundException:
            raise DeviceNotFoundError(target) from None
    return Target(f"thing/{name}", (name,))


def plan_deployment(
    greengrass: GreengrassV2Client, target: str, component: Published, configuration: Mapping[str, Any]
) -> DeploymentPlan:
    """The deployment a target has now, with one component put in or exchanged.

    A deployment replaces everything on its target, so what others put there is carried along. Our own
    configuration starts afresh each time: values merged earlier would otherwise outlive the version that
    they were meant for.
    """
    current = _current_deployment(greengrass, target)
    components: dict[str, Any] = dict(current.get("components", {}))
    before = components.pop(component.name, None)
    kept = {name: spec["componentVersion"] for name, spec in components.items()}
    ours: dict[str, Any] = {
        "componentVersion": component.version,
        "configurationUpdate": {"reset": [""], "merge": json.dumps(dict(configuration), sort_keys=True)},
    }
    if before and before.get("runWith"):
        ours["runWith"] = before["runWith"]
    wanted = ("deploymentName", "deploymentPolicies", "iotJobConfiguration", "parentTargetArn", "tags")
    return DeploymentPlan(
        target=target,
        components={**components, component.name: ours},
        kept=kept,
        changed=(component.name, before["componentVersion"] if before else None, component.version),
        settings={key: current[key] for key in wanted if current.get(key)},
    )


def create_deployment(greengrass: GreengrassV2Client, plan: DeploymentPlan, token: str | None = None) -> str:
    """Start a planned deployment and return its id. Devices that are connected begin at once.

    Args:
        greengrass: Greengrass V2.
        plan: what to deploy.
        token: the same token gives the same deployment; by default every call is a new one.
    """
    request: dict[str, Any] = {"targetArn": plan.target, "components": plan.components, **plan.settings}
    if token:
        request["clientToken"] = token
    return greengrass.create_deployment(**request)["deploymentId"]


def wait_for_device(
    greengrass: GreengrassV2Client,
    thing: str,
    deployment: str,
    component: Published,
    *,
    timeout: float = 600,
    sleep: Sleep = time.sleep,
    clock: Clock = time.monotonic,
) -> str:
    """Wait until a device says that it runs the component, and return what the component is doing.

    The status of the deployment is not asked: one to a group never ends, since new members get it too.

    Returns:
        `RUNNING`, or `FINISHED` when the program came to its end.

    Raises:
        DeploymentEndedError: if the device failed, broke the component, or was not done in time.
    """
    deadline = clock() + timeout
    while True:
        execution = _execution(greengrass, thing, deployment)
        status = execution["coreDeviceExecutionStatus"] if execution else "unseen"
        if execution and status in _BAD_ENDS:
            raise DeploymentEndedError(deployment, thing, status, _reason(execution))
        if status in _GOOD_ENDS:
            state, details = _installed(greengrass, thing, component)
            if state in ("RUNNING", "FINISHED"):
                return state
            if state == "BROKEN":
                raise DeploymentEndedError(
                    deployment, thing, status, f"{component.name} is BROKEN: {details}"
                )
        if clock() >= deadline:
            raise DeploymentEndedError(
                deployment,
                thing,
                status,
                f"not done after {timeout:.0f} s; is the device on?",
                timed_out=True,
            )
        sleep(0.2)


def _current_deployment(greengrass: GreengrassV2Client, target: str) -> Mapping[str, Any]:
    """The newest deployment of a target that was not canceled; empty when there is none."""
    pages = greengrass.get_paginator("list_deployments").paginate(targetArn=target, historyFilter="ALL")
    found = [
        item
        for page in pages
        for item in page.get("deployments", [])
        if item["deploymentStatus"] != "CANCELED"
    ]
    if not found:
        return {}
    newest = max(found, key=lambda item: (item.get("isLatestForTarget", False), item["creationTimestamp"]))
    return dict(greengrass.get_deployment(deploymentId=newest["deploymentId"]))


def _execution(
    greengrass: GreengrassV2Client, thing: str, deployment: str
) -> EffectiveDeploymentTypeDef | None:
    pages = greengrass.get_paginator("list_effective_deployments").paginate(coreDeviceThingName=thing)
    try:
        for page in pages:
            for item in page.get("effectiveDeployments", []):
                if item["deploymentId"] == deployment:
                    return item
    except greengrass.exceptions.ResourceNotFoundException:
        return None  # the device has never reported
    return None


def _reason(execution: EffectiveDeploymentTypeDef) -> str:
    stack = execution.get("statusDetails", {}).get("errorStack", [])
    return execution.get("reason") or ", ".join(stack) or "the device gave no reason"


def _installed(greengrass: GreengrassV2Client, thing: str, component: Published) -> tuple[str, str]:
    """What our version is doing on a device, and its details; empty when it is not there."""
    pages = greengrass.get_paginator("list_installed_components").paginate(coreDeviceThingName=thing)
    for page in pages:
        for item in page.get("installedComponents", []):
            if (item["componentName"], item["componentVersion"]) == (component.name, component.version):
                return item["lifecycleState"], item.get("lifecycleStateDetails", "")
    return "", ""
