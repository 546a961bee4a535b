"""How it stands with what was deployed: the component, the deployment, and every device behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from gtlabel.edge.component import printable
from gtlabel.edge.follow import RUNS, UNSEEN, installed_version, reason_of
from gtlabel.edge.ours import our_components
from gtlabel.edge.plan import component_arn, current
from gtlabel.edge.publish import state_of
from gtlabel.edge.revisions import BAD_ENDS, GOOD_ENDS, Revision, effective
from gtlabel.edge.targets import Target, members, target_arn
from gtlabel.errors import EdgeError

if TYPE_CHECKING:
    from types_boto3_greengrassv2 import GreengrassV2Client
    from types_boto3_iot import IoTClient

# A nucleus says how it is once a day if nothing else happens (contract/deployment.md 3.1); an hour on top.
STALE = timedelta(hours=25)


class Verdict(IntEnum):
    """How it stands, and the exit code that says so."""

    GOOD = 0
    FAILED = 1
    IN_PROGRESS = 2
    STALE = 3

    @property
    def word(self) -> str:
        """As people read it."""
        return self.name.lower().replace("_", " ")


# The worst first.
_ORDER = (Verdict.FAILED, Verdict.IN_PROGRESS, Verdict.STALE, Verdict.GOOD)


@dataclass(frozen=True, slots=True)
class CoreStatus:
    """One device.

    Attributes:
        runtime: which nucleus; empty when it never reported.
        health: as it said itself; empty when it never did.
        reported: when it last said anything.
        execution: how the deployment stands on it; `unseen` when it has not heard of it.
        reason: why it failed, or what the component complains of.
        errors: the nucleus's own words for that.
        version: the version of the component that it has; empty for none.
        state: what the component is doing.
        verdict: what all that amounts to.
    """

    thing: str
    runtime: str
    health: str
    reported: datetime | None
    execution: str
    reason: str
    errors: tuple[str, ...]
    version: str
    state: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class DeploymentStatus:
    """A component on a target.

    Attributes:
        target: the ARN of the target.
        component_state: of the version, in the cloud; empty when it is gone there.
        component_reason: why it is in that state.
        settings: what the deployment sets of the component's configuration.
        verdict: the worst of all devices.
    """

    target: str
    component: str
    version: str
    component_state: str
    component_reason: str
    deployment: str
    revision: str
    status: str
    created: datetime
    settings: dict[str, Any]
    cores: tuple[CoreStatus, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of the component and all devices."""
        if self.component_state not in ("DEPLOYABLE", "DEPRECATED"):
            return Verdict.FAILED
        return worst(core.verdict for core in self.cores)


def worst(verdicts: Iterator[Verdict] | Sequence[Verdict]) -> Verdict:
    """The worst of several; good when there is none."""
    found = set(verdicts)
    return next((verdict for verdict in _ORDER if verdict in found), Verdict.GOOD)


def our_component(greengrass: GreengrassV2Client, revision: Revision | None, target: Target) -> str:
    """The one component of gtlabel in a deployment.

    Raises:
        EdgeError: if there is none, or there are several.
    """
    there = sorted(set(revision.components) & our_components(greengrass)) if revision else []
    if len(there) == 1:
        return there[0]
    if there:
        raise EdgeError(
            f"{target.resource} has several components of gtlabel, {', '.join(there)}; name one with --name"
        )
    raise EdgeError(
        f"nothing of gtlabel is deployed to {target.resource}; name a component that was there with --name, "
        "or see gtlabel deploy list"
    )


def read_status(
    greengrass: GreengrassV2Client,
    iot: IoTClient,
    target: Target | None = None,
    *,
    component: str | None = None,
    now: datetime,
    stale: timedelta = STALE,
) -> list[DeploymentStatus]:
    """How it stands with what gtlabel deployed.

    Args:
        greengrass: Greengrass V2.
        iot: knows who is in a group.
        target: of this target only; a device also has what its groups were given. By default of all.
        component: this component only, whoever made it; by default those of gtlabel.
        now: the time, to tell how old a report is.
        stale: how old the last report of a device may be.
    """
    names = {component} if component else our_components(greengrass)
    found = []
    for arn in _targets(greengrass, target):
        revision, _ = current(greengrass, arn)
        if revision is None:
            continue
        things: tuple[str, ...]
        if target is not None and not target.is_group:
            things = target.things
        elif ":thinggroup/" in arn:
            things = members(iot, arn.rpartition("/")[2])
        else:
            things = (arn.rpartition("/")[2],)
        found += [
            _status(greengrass, revision, name, things, now, stale)
            for name in sorted(names & set(revision.components))
        ]
    return found


def _targets(greengrass: GreengrassV2Client, target: Target | None) -> list[str]:
    """The ARNs whose deployments tell something about a target, or about all."""
    if target is not None:
        own = target_arn(greengrass, target)
        arns = [own] if own else []
        if not target.is_group:
            arns += sorted({item["targetArn"] for item in effective(greengrass, target.things[0])} - {own})
        return arns
    pages = greengrass.get_paginator("list_deployments").paginate(historyFilter="LATEST_ONLY")
    return sorted({item["targetArn"] for page in pages for item in page.get("deployments", [])})


def _status(
    greengrass: GreengrassV2Client,
    revision: Revision,
    name: str,
    things: Sequence[str],
    now: datetime,
    stale: timedelta,
) -> DeploymentStatus:
    version = revision.version_of(name) or ""
    try:
        state, reason = state_of(greengrass, component_arn(revision.target, name, version))
    except greengrass.exceptions.ResourceNotFoundException:
        state, reason = "", "the version was deleted, so devices cannot fetch it any more"
    return DeploymentStatus(
        target=revision.target,
        component=name,
        version=version,
        component_state=state,
        component_reason=reason,
        deployment=revision.deployment,
        revision=revision.number,
        status=revision.status,
        created=revision.created,
        settings=printable(revision.merge_of(name)),
        cores=tuple(
            _core(greengrass, thing, revision.deployment, name, version, now, stale) for thing in things
        ),
    )


def _core(
    greengrass: GreengrassV2Client,
    thing: str,
    deployment: str,
    name: str,
    version: str,
    now: datetime,
    stale: timedelta,
) -> CoreStatus:
    try:
        core: dict[str, Any] = dict(greengrass.get_core_device(coreDeviceThingName=thing))
    except greengrass.exceptions.ResourceNotFoundException:
        waiting = "it never reported; start its nucleus"
        return CoreStatus(thing, "", "", None, UNSEEN, waiting, (), "", "", Verdict.IN_PROGRESS)
    execution = next(
        (item for item in effective(greengrass, thing) if item["deploymentId"] == deployment), None
    )
    status = str(execution["coreDeviceExecutionStatus"]) if execution else UNSEEN
    installed, state, details = installed_version(greengrass, thing, name, version)
    reported = core.get("lastStatusUpdateTimestamp")
    bad = status in BAD_ENDS or (installed == version and state == "BROKEN")
    reason = reason_of(execution) if execution and status in BAD_ENDS else details if bad else ""
    errors = execution.get("statusDetails", {}).get("errorStack", []) if execution and bad else []
    if bad:
        verdict = Verdict.FAILED
    elif status not in GOOD_ENDS or installed != version or state not in RUNS:
        verdict = Verdict.IN_PROGRESS
    else:
        verdict = Verdict.GOOD if reported and now - reported <= stale else Verdict.STALE
    return CoreStatus(
        thing,
        str(core.get("runtime", "")),
        str(core.get("status", "")),
        reported,
        status,
        reason,
        tuple(errors),
        installed,
        state,
        verdict,
    )
