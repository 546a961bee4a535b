"""Sending a bundle to devices: S3, a component version, and a deployment that leaves other people's alone.

What each call means and what it replaces: `contract/deployment.md` section 3.1.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gtlabel.edge.bundle import Bundle
from gtlabel.edge.component import component_recipe, known_content, next_version
from gtlabel.errors import (
    BundleError,
    ComponentVersionTakenError,
    DeploymentEndedError,
    DeviceNotFoundError,
    EdgeError,
)
from gtlabel.storage import read
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_greengrassv2 import GreengrassV2Client
    from types_boto3_greengrassv2.type_defs import EffectiveDeploymentTypeDef
    from types_boto3_iot import IoTClient
    from types_boto3_s3 import S3Client

Sleep = Callable[[float], None]
Clock = Callable[[], float]

_BAD_ENDS = ("FAILED", "TIMED_OUT", "CANCELED", "REJECTED")
_GOOD_ENDS = ("SUCCEEDED", "COMPLETED")


@dataclass(frozen=True, slots=True)
class Published:
    """A component version that can be deployed."""

    arn: str
    name: str
    version: str
    artifact: S3Uri


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


def publish(
    greengrass: GreengrassV2Client,
    s3: S3Client,
    bundle: Bundle,
    *,
    folder: S3Uri,
    name: str,
    sleep: Sleep = time.sleep,
    clock: Clock = time.monotonic,
) -> Published:
    """Make a bundle a component version, or find the version that it already is."""
    versions = list(_versions(greengrass, name))
    # The content does not depend on the version, so any will do to compute it.
    sample = component_recipe(bundle, folder / bundle.path.name, name=name, version="1.0.0")
    content = known_content(sample)
    for version, arn in versions:
        recipe = _recipe(greengrass, arn)
        if known_content(recipe) == content and _state(greengrass, arn)[0] != "FAILED":
            wait_deployable(greengrass, arn, sleep=sleep, clock=clock)
            return Published(arn, name, version, S3Uri(recipe["Manifests"][0]["Artifacts"][0]["Uri"]))
    version = next_version([version for version, _ in versions])
    artifact = upload_bundle(s3, bundle, folder / name / version)
    recipe = component_recipe(bundle, artifact, name=name, version=version)
    arn = create_component_version(greengrass, recipe)
    wait_deployable(greengrass, arn, sleep=sleep, clock=clock)
    return Published(arn, name, version, artifact)


def upload_bundle(s3: S3Client, bundle: Bundle, folder: S3Uri) -> S3Uri:
    """Put a bundle into a folder; what lies there is never overwritten.

    Devices compare the artifact with the digest that Greengrass took when the component was created, so
    a changed object breaks every deployment that refers to it.

    Raises:
        BundleError: if something else lies at that address.
    """
    from botocore.exceptions import ClientError

    artifact = folder / bundle.path.name
    try:
        with bundle.path.open("rb") as body:
            s3.put_object(
                Bucket=artifact.bucket,
                Key=artifact.key,
                Body=body,
                ContentType="application/zip",
                IfNoneMatch="*",
            )
    except ClientError as error:
        if error.response["Error"]["Code"] != "PreconditionFailed":
            raise EdgeError(f"{artifact} cannot be written: {error}") from error
        if hashlib.sha256(read(s3, artifact)).hexdigest() != bundle.sha256:
            raise BundleError(
                f"{artifact} holds something else, and components are never overwritten; use another folder"
            ) from None
    return artifact


def create_component_version(greengrass: GreengrassV2Client, recipe: Mapping[str, Any]) -> str:
    """Register a recipe and return the ARN of the version; the same recipe again is no error.

    Raises:
        ComponentVersionTakenError: if the version exists with other content.
    """
    try:
        response = greengrass.create_component_version(inlineRecipe=json.dumps(recipe).encode())
    except greengrass.exceptions.ConflictException:
        name, version = recipe["ComponentName"], recipe["ComponentVersion"]
        arn = dict(_versions(greengrass, name)).get(version)
        content = known_content(recipe)
        if arn is None or content is None or known_content(_recipe(greengrass, arn)) != content:
            raise ComponentVersionTakenError(name, version) from None
        return arn
    return response["arn"]


def wait_deployable(
    greengrass: GreengrassV2Client,
    arn: str,
    *,
    timeout: float = 120,
    sleep: Sleep = time.sleep,
    clock: Clock = time.monotonic,
) -> None:
    """Wait until Greengrass has taken a component version in.

    Raises:
        EdgeError: if it refuses it, or is not done in time.
    """
    deadline = clock() + timeout
    while True:
        state, reason = _state(greengrass, arn)
        if state == "DEPLOYABLE":
            return
        if state not in ("REQUESTED", "INITIATED"):
            raise EdgeError(f"Greengrass made the component version {arn} {state}: {reason}")
        if clock() >= deadline:
            raise EdgeError(f"the component version {arn} was still {state} after {timeout:g} s; try again")
        sleep(0.2)


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


def _versions(greengrass: GreengrassV2Client, name: str) -> Iterator[tuple[str, str]]:
    """The versions of one of our components with their ARNs, in the order that Greengrass gives."""
    # The ARN holds the account, which only a listing tells without another service and permission.
    for page in greengrass.get_paginator("list_components").paginate(scope="PRIVATE"):
        for component in page.get("components", []):
            if component["componentName"] == name:
                pages = greengrass.get_paginator("list_component_versions").paginate(arn=component["arn"])
                for versions in pages:
                    for item in versions.get("componentVersions", []):
                        yield item["componentVersion"], item["arn"]
                return


def _recipe(greengrass: GreengrassV2Client, arn: str) -> dict[str, Any]:
    response = greengrass.get_component(arn=arn, recipeOutputFormat="JSON")
    recipe: dict[str, Any] = json.loads(response["recipe"])
    return recipe


def _state(greengrass: GreengrassV2Client, arn: str) -> tuple[str, str]:
    """A component version's state, and the reason if it has one."""
    status = greengrass.describe_component(arn=arn)["status"]
    errors = "; ".join(f"{key}: {value}" for key, value in status.get("errors", {}).items())
    reason = ". ".join(part for part in (status.get("message", ""), errors) if part)
    return status.get("componentState", "REQUESTED"), reason


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
