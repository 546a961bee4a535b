"""How a deployment goes on each device behind its target.

The status of the deployment itself is not asked: one to a group never ends, since new members get it too, so
every device is judged by what it said (`contract/deployment.md` section 3.1).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from gtlabel.edge.publish import Clock, Sleep
from gtlabel.edge.revisions import BAD_ENDS, GOOD_ENDS, effective
from gtlabel.errors import DeploymentEndedError

if TYPE_CHECKING:
    from types_boto3_greengrassv2 import GreengrassV2Client
    from types_boto3_greengrassv2.type_defs import EffectiveDeploymentTypeDef

RUNS = ("RUNNING", "FINISHED")
# Known before the first answer, and what a device that never reported stays.
UNSEEN = "unseen"
# So many devices are told apart in a sentence.
_NAMED = 3
# So many are asked at each look between the first and the last, each with up to two calls: Greengrass answers
# an account only so often in a second, so that a larger group is looked at in turn.
_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a device is with a deployment.

    Attributes:
        status: of the deployment on it, as Greengrass has it; `unseen` when it has not heard of it.
        version: the version of the component it reports; empty for none.
        state: what the component is doing, as it last reported; empty when it is not there.
        reason: why it failed, or what the component complains of.
        reported: when it had last said anything, for one that has not begun; None when it never did.
        good: whether it ended well.
        bad: whether it ended badly.
    """

    thing: str
    status: str = UNSEEN
    version: str = ""
    state: str = ""
    reason: str = ""
    reported: datetime | None = None
    good: bool = False
    bad: bool = False

    @property
    def ended(self) -> bool:
        """Whether nothing more is waited for."""
        return self.good or self.bad


def look(
    greengrass: GreengrassV2Client,
    thing: str,
    deployment: str,
    component: str,
    version: str | None,
    before: Progress | None = None,
) -> Progress:
    """How far a device is.

    Args:
        greengrass: Greengrass V2.
        thing: the device.
        deployment: the id of the deployment.
        component: the component that was deployed or removed.
        version: its version; None when it was removed.
        before: how far it was at the look before; while it waits, when it last reported is not asked again.
    """
    execution = next(
        (item for item in effective(greengrass, thing) if item["deploymentId"] == deployment), None
    )
    status = execution["coreDeviceExecutionStatus"] if execution else UNSEEN
    found = Progress(thing, str(status))
    if execution and status in BAD_ENDS:
        return replace(found, bad=True, reason=reason_of(execution))
    if status not in (*GOOD_ENDS, "IN_PROGRESS"):
        if before is not None and before.status == status:
            return before
        return replace(found, reported=_reported(greengrass, thing))
    installed, state, details = installed_version(greengrass, thing, component, version)
    found = replace(found, version=installed, state=state, reason=details)
    if status not in GOOD_ENDS:
        return found
    if version is None:
        # What is still there then, another deployment to the device asks for.
        return replace(found, good=True)
    if installed != version:
        return found
    if state == "BROKEN":
        more = f": {details}" if details not in ("", state) else ""
        return replace(found, bad=True, reason=f"{component} is BROKEN{more}")
    return replace(found, good=state in RUNS)


def follow(
    greengrass: GreengrassV2Client,
    things: Sequence[str],
    deployment: str,
    component: str,
    version: str | None,
    *,
    timeout: float = 600,
    sleep: Sleep = time.sleep,
    clock: Clock = time.monotonic,
    on_progress: Callable[[Sequence[Progress]], None] | None = None,
    enough: Callable[[int], bool] = lambda _bad: False,
) -> list[Progress]:
    """Follow a deployment until every device has ended, or the time is up.

    The first look and the last are at all devices; of more than twenty that have not ended, the looks between
    are at twenty in turn.

    Args:
        greengrass: Greengrass V2.
        things: the devices.
        deployment: its id.
        component: the component that was deployed or removed.
        version: its version; None when it was removed.
        timeout: seconds to wait.
        sleep: waits between two looks.
        clock: seconds, for the time-out.
        on_progress: called after each look with how far every device is.
        enough: asked with the number of devices that ended badly; when it says so, nobody else is waited for.

    Returns:
        How far each device is, in the order of `things`.
    """
    found: dict[str, Progress] = {}
    # Those that have not ended, and whose turn is next comes first.
    going = list(dict.fromkeys(things))
    deadline = clock() + timeout
    while True:
        last = clock() >= deadline
        now = going if last or not found else going[:_AT_ONCE]
        for thing in now:
            found[thing] = look(greengrass, thing, deployment, component, version, found.get(thing))
        going = [thing for thing in (*going[len(now) :], *now) if not found[thing].ended]
        if on_progress is not None:
            on_progress(list(found.values()))
        bad = sum(progress.bad for progress in found.values())
        if enough(bad) or not going or last:
            return list(found.values())
        sleep(0.2)


def reason_of(execution: EffectiveDeploymentTypeDef) -> str:
    """Why a device did not bring a deployment to a good end, in its own words."""
    stack = execution.get("statusDetails", {}).get("errorStack", [])
    return execution.get("reason") or ", ".join(stack) or "the device gave no reason"


def installed_version(
    greengrass: GreengrassV2Client, thing: str, component: str, wanted: str | None = None
) -> tuple[str, str, str]:
    """The version of a component on a device, what it is doing, and its details; empty for none.

    Of several versions, which a device has while it goes from one to the other, it is the wanted one.
    """
    found = ("", "", "")
    pages = greengrass.get_paginator("list_installed_components").paginate(coreDeviceThingName=thing)
    try:
        for page in pages:
            for item in page.get("installedComponents", []):
                if item["componentName"] == component and found[0] != wanted:
                    details = item.get("lifecycleStateDetails") or ""
                    found = (item["componentVersion"], str(item["lifecycleState"]), details)
    except greengrass.exceptions.ResourceNotFoundException:
        return ("", "", "")
    return found


def _reported(greengrass: GreengrassV2Client, thing: str) -> datetime | None:
    try:
        return greengrass.get_core_device(coreDeviceThingName=thing)["lastStatusUpdateTimestamp"]
    except greengrass.exceptions.ResourceNotFoundException:
        return None


def not_good(
    deployment: str, devices: Sequence[Progress], timeout: float, target: str = "", undone: str = ""
) -> DeploymentEndedError:
    """The error about devices that did not bring a deployment to a good end, in one sentence.

    Args:
        deployment: its id.
        devices: how far each came; not all of them are good.
        timeout: how many seconds were waited.
        target: `thing/NAME` or `thinggroup/NAME`, where to look again.
        undone: what was done about it.
    """
    bad = [device for device in devices if device.bad]
    if bad:
        first, others = bad[0], bad[1:]
        reason = first.reason + "".join(
            f"; {each.status} on {each.thing}: {each.reason}" for each in others[: _NAMED - 1]
        )
        if len(bad) > _NAMED:
            reason += f"; and on {len(bad) - _NAMED} more"
        several = "" if len(devices) == 1 else f", as on {len(bad)} of {len(devices)} devices"
        return DeploymentEndedError(
            deployment, f"{first.thing}{several}", first.status, reason, devices=devices, undone=undone
        )
    missing = [device for device in devices if not device.ended]
    named = ", ".join(device.thing for device in missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    doubt = "is the device on" if len(missing) == 1 else "are the devices on"
    later = f"gtlabel deploy status{f' --to {target}' if target else ''}"
    return DeploymentEndedError(
        deployment,
        named + more,
        missing[0].status,
        f"not done after {timeout:.0f} s; {doubt}? Nothing is lost, the deployment waits for what is off, "
        f"and later this tells how it went: {later}",
        timed_out=True,
        devices=devices,
    )
