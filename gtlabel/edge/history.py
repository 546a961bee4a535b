"""What was deployed, revision by revision: whose version, and how devices took it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gtlabel.edge.component import printable
from gtlabel.edge.ours import our_components
from gtlabel.edge.plan import current
from gtlabel.edge.revisions import Revision, executions, revisions
from gtlabel.edge.targets import Target

if TYPE_CHECKING:
    from types_boto3_greengrassv2 import GreengrassV2Client


@dataclass(frozen=True, slots=True)
class Past:
    """A revision as far as one component goes.

    Attributes:
        target: `thing/NAME` or `thinggroup/NAME`.
        version: the component's version; empty where the revision does not have it.
        settings: what the revision sets of the component's configuration.
        devices: how many devices ended how with it; of a large group at most ten are asked, and a device
            forgets in time.
        others: the other components.
    """

    target: str
    revision: str
    created: datetime
    component: str
    version: str
    settings: dict[str, Any]
    status: str
    devices: dict[str, int]
    deployment: str
    others: dict[str, str]


def history(
    greengrass: GreengrassV2Client, target: Target, arn: str, component: str, limit: int
) -> list[Past]:
    """The newest revisions of a target, the newest first."""
    told = executions(greengrass, target.things)
    found: list[Past] = []
    for revision in revisions(greengrass, arn):
        if len(found) == limit:
            break
        said = Counter(
            item["coreDeviceExecutionStatus"] for item in told.get(revision.deployment, {}).values()
        )
        found.append(_past(revision, component, {str(status): count for status, count in said.items()}))
    return found


def latest(greengrass: GreengrassV2Client, component: str | None = None) -> list[Past]:
    """What each target is asked to run now: what gtlabel published, or one component if it is named."""
    names = {component} if component else our_components(greengrass)
    pages = greengrass.get_paginator("list_deployments").paginate(historyFilter="LATEST_ONLY")
    targets = sorted({item["targetArn"] for page in pages for item in page.get("deployments", [])})
    found = []
    for arn in targets:
        revision, _ = current(greengrass, arn)
        if revision is not None:
            found += [_past(revision, name, {}) for name in sorted(names & set(revision.components))]
    return found


def _past(revision: Revision, component: str, devices: dict[str, int]) -> Past:
    return Past(
        target=revision.target.split(":", 5)[5],
        revision=revision.number,
        created=revision.created,
        component=component,
        version=revision.version_of(component) or "",
        settings=printable(revision.merge_of(component)),
        status=revision.status,
        devices=devices,
        deployment=revision.deployment,
        others={
            name: spec["componentVersion"]
            for name, spec in sorted(revision.components.items())
            if name != component
        },
    )
