"""What was deployed to a target, revision by revision, and how devices took it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types_boto3_greengrassv2 import GreengrassV2Client
    from types_boto3_greengrassv2.type_defs import DeploymentTypeDef, EffectiveDeploymentTypeDef

BAD_ENDS = ("FAILED", "TIMED_OUT", "CANCELED", "REJECTED")
GOOD_ENDS = ("SUCCEEDED", "COMPLETED")
# A device on which a deployment was canceled has not tried it.
_FAILURES = ("FAILED", "TIMED_OUT", "REJECTED")
# Of a deployment, besides its components; what the next one takes over.
_SETTINGS = ("deploymentName", "deploymentPolicies", "iotJobConfiguration", "parentTargetArn", "tags")
# What devices say about a revision is asked of so many; each costs a call.
_WITNESSES = 10


@dataclass(frozen=True, slots=True)
class Revision:
    """One deployment of a target.

    Attributes:
        deployment: its id.
        number: its revision, as Greengrass counts them.
        status: of the deployment as a whole; one to a group stays `ACTIVE` until the next.
        components: everything it has the target run, by name.
        settings: its name, policies, job settings and tags.
    """

    deployment: str
    number: str
    status: str
    created: datetime
    target: str
    components: dict[str, dict[str, Any]]
    settings: dict[str, Any]

    def version_of(self, component: str) -> str | None:
        """The version of a component that it names, if it does."""
        spec = self.components.get(component)
        return spec["componentVersion"] if spec else None

    def merge_of(self, component: str) -> dict[str, Any]:
        """What it sets of a component's configuration."""
        return merge_in(self.components.get(component, {}))


def merge_in(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What a component of a deployment has set of its configuration."""
    text = (spec.get("configurationUpdate") or {}).get("merge")
    value = json.loads(text) if text else {}
    return value if isinstance(value, dict) else {}


def revisions(greengrass: GreengrassV2Client, target: str) -> Iterator[Revision]:
    """The revisions of a target, the newest first; each is read when it is asked for.

    Args:
        greengrass: Greengrass V2.
        target: its ARN.
    """
    for item in deployments_of(greengrass, target):
        yield read_revision(greengrass, item["deploymentId"])


def deployments_of(greengrass: GreengrassV2Client, target: str) -> list[DeploymentTypeDef]:
    """The deployments of a target as they are listed, the newest first, whatever became of them."""
    pages = greengrass.get_paginator("list_deployments").paginate(targetArn=target, historyFilter="ALL")
    found = [item for page in pages for item in page.get("deployments", [])]
    return sorted(
        found,
        key=lambda item: (
            item.get("isLatestForTarget", False),
            item["creationTimestamp"],
            int(item.get("revisionId", "0") or 0),
        ),
        reverse=True,
    )


def read_revision(greengrass: GreengrassV2Client, deployment: str) -> Revision:
    """One deployment with all that it names."""
    found: Mapping[str, Any] = greengrass.get_deployment(deploymentId=deployment)
    return Revision(
        deployment=found["deploymentId"],
        number=found.get("revisionId", ""),
        status=found["deploymentStatus"],
        created=found["creationTimestamp"],
        target=found["targetArn"],
        components=dict(found.get("components", {})),
        settings={key: found[key] for key in _SETTINGS if found.get(key)},
    )


def executions(
    greengrass: GreengrassV2Client, things: Sequence[str]
) -> dict[str, dict[str, EffectiveDeploymentTypeDef]]:
    """How deployments went on devices, at most ten of them: by deployment, then by thing.

    A device that never reported says nothing.
    """
    found: dict[str, dict[str, EffectiveDeploymentTypeDef]] = {}
    for thing in things[:_WITNESSES]:
        for item in effective(greengrass, thing):
            found.setdefault(item["deploymentId"], {})[thing] = item
    return found


def effective(greengrass: GreengrassV2Client, thing: str) -> Iterator[EffectiveDeploymentTypeDef]:
    """The deployments that reached a device; none when it never reported."""
    pages = greengrass.get_paginator("list_effective_deployments").paginate(coreDeviceThingName=thing)
    try:
        for page in pages:
            yield from page.get("effectiveDeployments", [])
    except greengrass.exceptions.ResourceNotFoundException:
        return


@dataclass(frozen=True, slots=True)
class Witnessed:
    """A revision, and what devices say of it.

    Attributes:
        revision: the revision.
        good: how many of those asked brought it to a good end.
        bad: how many failed it, or ran out of time.
    """

    revision: Revision
    good: int
    bad: int

    @property
    def went_well(self) -> bool:
        """Whether it came to a good end, and nobody is known to have failed it."""
        # A job is completed when every device has ended, however it did.
        return not self.bad and not self.canceled and (self.good > 0 or self.revision.status == "COMPLETED")

    @property
    def canceled(self) -> bool:
        """Whether it was called back before it came to its end."""
        return self.revision.status == "CANCELED"

    @property
    def worth(self) -> tuple[int, float]:
        """The higher, the rather it is gone back to; below (1, 0) only by somebody who names its version."""
        if self.canceled:
            return 0, self.good
        if self.went_well:
            return 3, 0
        if self.good:
            return 1, self.good / (self.good + self.bad)
        return (0, 0) if self.bad or self.revision.status == "FAILED" else (2, 0)

    def __str__(self) -> str:
        asked = self.good + self.bad
        if self.canceled:
            return "which was canceled"
        if self.went_well:
            return f"which went well on {_devices(self.good)}" if self.good else "which was completed"
        if self.bad and not self.good:
            return f"which failed on {_devices(self.bad)}"
        if asked:
            return f"which went well on {self.good} of {_devices(asked)}"
        return "which failed" if self.revision.status == "FAILED" else "of which no device tells how it went"


def best(candidates: Iterable[Witnessed]) -> Witnessed | None:
    """The newest revision that went well, of some that come the newest first; else the one worth most.

    Those after the first that went well are not read.
    """
    found: Witnessed | None = None
    for each in candidates:
        if each.went_well:
            return each
        if found is None or each.worth > found.worth:
            found = each
    return found


def witnessed(revision: Revision, told: Mapping[str, EffectiveDeploymentTypeDef]) -> Witnessed:
    """A revision with what devices say of it; see `executions`."""
    said = [item["coreDeviceExecutionStatus"] for item in told.values()]
    return Witnessed(
        revision,
        good=sum(each in GOOD_ENDS for each in said),
        bad=sum(each in _FAILURES for each in said),
    )


def last_good(
    greengrass: GreengrassV2Client, target: str, component: str, things: Sequence[str], *, before: str
) -> Witnessed | None:
    """The newest revision before a deployment that went well with the component, and failed nowhere.

    Without such a word, because the devices' memory of it is gone, it is the newest one that nobody is
    known to have failed; where there is none either, the one that the largest share brought to a good end.

    Args:
        greengrass: Greengrass V2.
        target: its ARN.
        component: which component must be in it.
        things: the devices to ask.
        before: the id of the deployment that is to be undone.
    """
    told = executions(greengrass, things)
    listed = [item["deploymentId"] for item in deployments_of(greengrass, target)]
    older = listed[listed.index(before) + 1 :] if before in listed else listed
    undone = read_revision(greengrass, before).components.get(component) if before in listed else None

    def candidates() -> Iterator[Witnessed]:
        for deployment in older:
            revision = read_revision(greengrass, deployment)
            # The same again is what did not work.
            if component in revision.components and revision.components[component] != undone:
                yield witnessed(revision, told.get(deployment, {}))

    found = best(candidates())
    return found if found is not None and found.worth[0] > 0 else None


def _devices(count: int) -> str:
    return "1 device" if count == 1 else f"{count} devices"
