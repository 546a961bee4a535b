"""Going back: an earlier version deployed again, or ours taken off.

A nucleus may or may not bring back what ran before a bad deployment; lite does not. A new deployment that
names the earlier version works on both, and leaves in the cloud what is on the device
(`contract/deployment.md` section 7). Component versions are never deleted: deployments refer to them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gtlabel.edge.follow import Progress, follow
from gtlabel.edge.plan import DeploymentPlan, plan_removal, plan_return, start_deployment, still_current
from gtlabel.edge.publish import Clock, Sleep
from gtlabel.edge.revisions import Witnessed, best, executions, last_good, revisions, witnessed
from gtlabel.edge.targets import Target
from gtlabel.errors import EdgeError, RevisionNotFoundError

if TYPE_CHECKING:
    from types_boto3_greengrassv2 import GreengrassV2Client


def find_revision(
    greengrass: GreengrassV2Client,
    target: Target,
    arn: str,
    component: str,
    version: str | None = None,
) -> Witnessed:
    """The revision of a target to go back to, and what devices say of it.

    Args:
        greengrass: Greengrass V2.
        target: the target, whose devices are asked how revisions went.
        arn: its ARN.
        component: the component that goes back.
        version: the best revision with this version, ranked as `gtlabel.edge.revisions.last_good` does, but
            if there is no other, one that failed; by default the last one before the current that went well.

    Raises:
        RevisionNotFoundError: if there is none.
    """
    had = list(revisions(greengrass, arn))
    chosen = None
    if version is not None:
        told = executions(greengrass, target.things)
        chosen = best(
            witnessed(each, told.get(each.deployment, {}))
            for each in had
            if each.version_of(component) == version
        )
    elif newest := next((each.deployment for each in had if each.status != "CANCELED"), ""):
        chosen = last_good(greengrass, arn, component, target.things, before=newest)
    if chosen is None:
        known = dict.fromkeys(found for each in had if (found := each.version_of(component)))
        raise RevisionNotFoundError(component, target.resource, version, list(known))
    return chosen


def carry_out(
    greengrass: GreengrassV2Client,
    target: Target,
    plan: DeploymentPlan,
    *,
    timeout: float = 600,
    sleep: Sleep = time.sleep,
    clock: Clock = time.monotonic,
    on_progress: Callable[[Sequence[Progress]], None] | None = None,
    on_overtaken: Callable[[DeploymentPlan], None] | None = None,
) -> tuple[str, list[Progress]]:
    """Deploy a plan that goes back or removes, and follow it; return its id and how far each device came.

    What `on_overtaken` is called with, `gtlabel.edge.plan.start_deployment` tells.

    Raises:
        DeploymentChangedError: if somebody else deployed there since it was planned.
    """
    still_current(greengrass, plan)
    deployment, plan = start_deployment(greengrass, plan, on_overtaken)
    name, _, version = plan.changed
    devices = follow(
        greengrass,
        target.things,
        deployment,
        name,
        version,
        timeout=timeout,
        sleep=sleep,
        clock=clock,
        on_progress=on_progress,
    )
    return deployment, devices


def undo(
    greengrass: GreengrassV2Client,
    target: Target,
    arn: str,
    component: str,
    deployment: str,
    witnesses: Sequence[str],
    *,
    timeout: float,
    sleep: Sleep,
    clock: Clock,
    on_plan: Callable[[DeploymentPlan], None] | None = None,
    on_progress: Callable[[Sequence[Progress]], None] | None = None,
) -> str:
    """Undo a deployment that failed: the last good revision again, or without the component.

    Args:
        greengrass: Greengrass V2.
        target: the target.
        arn: its ARN.
        component: the component whose version failed.
        deployment: the id of the deployment that failed.
        witnesses: devices to ask how earlier revisions went, those that matter most first.
        timeout: seconds to wait for the devices.
        sleep: waits between two looks.
        clock: seconds, for the time-out.
        on_plan: called with the deployment that undoes it.
        on_progress: called after each look.

    Returns:
        What was done and how that went, as the end of a sentence.
    """
    good = last_good(greengrass, arn, component, witnesses, before=deployment)
    if good is None:
        plan = plan_removal(greengrass, arn, component)
        # A group that the device is in may have it run there all the same.
        what = (
            f"no deployment to {target.resource} had {component} run well before, so it was taken out again"
        )
    else:
        plan = plan_return(greengrass, arn, component, good.revision)
        what = f"rolled back to {good.revision.version_of(component)}"
    if plan.newest != deployment:
        return "nothing was rolled back, since somebody deployed there in the meantime"
    if on_plan is not None:
        on_plan(plan)
    try:
        made, devices = carry_out(
            greengrass, target, plan, timeout=timeout, sleep=sleep, clock=clock, on_progress=on_progress
        )
    except EdgeError as error:
        return f"and could not be rolled back: {error}"
    bad = [device for device in devices if device.bad]
    if bad:
        return f"{what} (deployment {made}), which failed on {bad[0].thing} as well: {bad[0].reason}"
    waiting = [device.thing for device in devices if not device.ended]
    if waiting:
        return f"{what} (deployment {made}), which still waits for {', '.join(waiting)}"
    return f"{what} (deployment {made})"
