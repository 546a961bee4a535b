"""Sending a bundle to devices: S3, a component version, and a deployment that leaves other people's alone.

What each call means and what it replaces: `contract/deployment.md` section 3.1.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypedDict

from gtlabel.edge.bundle import Bundle
from gtlabel.edge.component import checked_configuration
from gtlabel.edge.follow import Progress, follow, look, not_good
from gtlabel.edge.ours import our_components
from gtlabel.edge.overlap import check_alone, check_versions, classifiers_beside, overlapping
from gtlabel.edge.plan import (
    DeploymentPlan,
    create_deployment,
    plan_deployment,
    start_deployment,
    still_current,
    with_configuration,
)
from gtlabel.edge.publish import Clock, Draft, Published, Sleep, find_version, publish_draft
from gtlabel.edge.rollout import Rollout
from gtlabel.edge.targets import Target, find_target, target_arn
from gtlabel.edge.undo import undo
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_greengrassv2 import GreengrassV2Client
    from types_boto3_iot import IoTClient
    from types_boto3_s3 import S3Client

__all__ = [
    "Deployed",
    "DeploymentPlan",
    "ModelPlan",
    "Published",
    "Target",
    "Wishes",
    "create_deployment",
    "deploy_model",
    "find_target",
    "plan_deployment",
    "plan_model",
    "wait_for_device",
]


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment that every device brought to a good end.

    Attributes:
        states: what the component was last seen doing, by device.
        unchanged: whether the target was asked for exactly this before, so that nothing was deployed anew.
    """

    deployment: str
    component: Published
    target: Target
    states: dict[str, str]
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """What deploying a bundle would make and change.

    Attributes:
        draft: the component version.
        deployment: the next deployment of the target.
    """

    target: Target
    draft: Draft
    deployment: DeploymentPlan


class Wishes(TypedDict, total=False):
    """How a deployment can be asked for besides its target and its configuration.

    Attributes:
        version: the component's version; by default the one that holds this already, or the next.
        keep_settings: whether what the deployment before set goes on where it is not set anew.
        beside: whether another classifier of gtlabel may stay on the same devices.
        rollout: how fast it reaches a group, and when it stops.
        roll_back: whether the last good version is deployed again when a device fails; it is by default.
        on_progress: called after each look with how far every device is.
        on_undo: called with the deployment that brings the last good version back.
        on_overtaken: called with what is deployed once more, on top of somebody's deployment that it replaced
            unseen.
    """

    version: str | None
    keep_settings: bool
    beside: bool
    rollout: Rollout | None
    roll_back: bool
    on_progress: Callable[[Sequence[Progress]], None]
    on_undo: Callable[[DeploymentPlan], None]
    on_overtaken: Callable[[DeploymentPlan], None]


@dataclass(slots=True)
class _Reporter:
    """What the caller hears, and what it asked for."""

    timeout: float
    sleep: Sleep
    clock: Clock
    on_progress: Callable[[Sequence[Progress]], None] | None = None
    on_undo: Callable[[DeploymentPlan], None] | None = None
    rollout: Rollout = field(default_factory=Rollout)
    roll_back: bool = True


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
    wishes: Wishes | None = None,
) -> Deployed:
    """Put a bundle on a device, or on every device of a thing group, and wait until it runs there.

    Uploading the same bundle again costs nothing: its component version is found and used again. So is a
    deployment that asks for the same and is under way, for instance after Ctrl-C.

    Args:
        greengrass: Greengrass V2.
        s3: where the artifact goes.
        iot: knows things that have not reported yet, and thing groups.
        bundle: what to deploy.
        to: a thing, or `thinggroup/NAME`, or the ARN of either.
        folder: the artifact lies below it, as `<name>/<version>/<digest>/bundle.zip`.
        name: the component's name.
        configuration: what differs from the recipe's defaults on these devices.
        timeout: seconds to wait for the devices.
        sleep: waits between two looks.
        clock: seconds, for the time-out.
        on_plan: called with what the deployment would change; when it raises, nothing is uploaded.
        wishes: what else is asked for.

    Raises:
        DeviceNotFoundError: if there is no such device or group.
        RecipeError: if the configuration is none that the program takes.
        ComponentVersionTakenError: if the version holds something else.
        DeploymentChangedError: if somebody else deployed there between the plan and now.
        DeploymentEndedError: if a device did not bring it to a good end in time.
    """
    wishes = wishes or {}
    found = plan_model(
        greengrass, iot, bundle, to=to, folder=folder, name=name, configuration=configuration, wishes=wishes
    )
    target, plan = found.target, found.deployment
    if on_plan is not None:
        on_plan(plan)
    component = publish_draft(greengrass, s3, bundle, found.draft, sleep=sleep, clock=clock)
    if not plan.target:
        plan = replace(plan, target=target.arn_beside(component.arn))
    reporter = _Reporter(
        timeout,
        sleep,
        clock,
        wishes.get("on_progress"),
        wishes.get("on_undo"),
        wishes.get("rollout") or Rollout(),
        wishes.get("roll_back", True),
    )
    still_current(greengrass, plan)
    under_way = _under_way(greengrass, target, plan)
    if under_way is None:
        deployment, plan = start_deployment(greengrass, plan, wishes.get("on_overtaken"))
    else:
        deployment = under_way
    devices = follow(
        greengrass,
        target.things,
        deployment,
        component.name,
        component.version,
        timeout=timeout,
        sleep=sleep,
        clock=clock,
        on_progress=reporter.on_progress,
        enough=lambda bad: reporter.rollout.too_many(bad, len(target.things)),
    )
    _judge(greengrass, target, plan, deployment, devices, reporter)
    states = {device.thing: device.state for device in devices}
    return Deployed(deployment, component, target, states, unchanged=under_way is not None)


def plan_model(
    greengrass: GreengrassV2Client,
    iot: IoTClient,
    bundle: Bundle,
    *,
    to: str,
    folder: S3Uri,
    name: str,
    configuration: Mapping[str, Any] | None = None,
    wishes: Wishes | None = None,
) -> ModelPlan:
    """What `deploy_model` would make and change, with the same arguments; only reads.

    Raises:
        DeviceNotFoundError: if there is no such device or group.
        RecipeError: if the configuration is none that the program takes.
        ForeignComponentError: if somebody else published the component.
        ComponentVersionTakenError: if the version holds something else.
        DeploymentConflictError: if a device would have to run two versions of it.
        SecondClassifierError: if another classifier of gtlabel is there, and nobody wished for both.
    """
    wishes = wishes or {}
    target = find_target(greengrass, iot, to)
    draft = find_version(greengrass, bundle, folder=folder, name=name, version=wishes.get("version"))
    plan = plan_deployment(
        greengrass,
        target_arn(greengrass, target),
        draft,
        configuration or {},
        keep_settings=wishes.get("keep_settings", False),
        check=lambda values: checked_configuration(draft.recipe, values, bundle.manifest.models),
        rollout=wishes.get("rollout"),
        devices=len(target.things),
    )
    others = overlapping(greengrass, iot, target)
    check_versions(target, name, draft.version, others)
    beside = classifiers_beside(target, name, plan.base, others, our_components(greengrass))
    known = any(name in revision.components for revision in (*others, *([plan.base] if plan.base else [])))
    if not known and not wishes.get("beside", False):
        check_alone(target, name, beside)
    plan = replace(plan, beside=beside)
    return ModelPlan(target, draft, with_configuration(greengrass, plan, draft.recipe))


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

    Returns:
        `RUNNING`, or `FINISHED` when the program came to its end.

    Raises:
        DeploymentEndedError: if the device failed, broke the component, or was not done in time.
    """
    (device,) = follow(
        greengrass,
        [thing],
        deployment,
        component.name,
        component.version,
        timeout=timeout,
        sleep=sleep,
        clock=clock,
    )
    if not device.good:
        raise not_good(deployment, [device], timeout)
    return device.state


def _judge(
    greengrass: GreengrassV2Client,
    target: Target,
    plan: DeploymentPlan,
    deployment: str,
    devices: Sequence[Progress],
    reporter: _Reporter,
) -> None:
    """Raise for a deployment that not all devices brought to a good end, after undoing what failed."""
    bad = [device for device in devices if device.bad]
    if not bad:
        if not all(device.good for device in devices):
            raise not_good(deployment, devices, reporter.timeout, target.resource)
        return
    undone = ""
    if reporter.roll_back and reporter.rollout.too_many(len(bad), len(devices)):
        name, _, version = plan.changed
        assert version is not None
        undone = undo(
            greengrass,
            target,
            plan.target,
            name,
            deployment,
            # Devices that failed know best what went well on them.
            sorted(target.things, key=lambda thing: thing not in {device.thing for device in bad}),
            timeout=reporter.timeout,
            sleep=reporter.sleep,
            clock=reporter.clock,
            on_plan=reporter.on_undo,
            on_progress=reporter.on_progress,
        )
    raise not_good(deployment, devices, reporter.timeout, target.resource, undone)


def _under_way(greengrass: GreengrassV2Client, target: Target, plan: DeploymentPlan) -> str | None:
    """The deployment that asks for the same already, unless a device failed with it."""
    if not plan.unchanged:
        return None
    name, _, version = plan.changed
    for thing in target.things:
        if look(greengrass, thing, plan.newest, name, version).bad:
            return None
    return plan.newest
