"""What other targets have the same devices run: a device runs what it and each of its groups is given.

The nucleus resolves all of it at once, and fails a deployment that wants two versions of one component
(`contract/deployment.md` section 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gtlabel.edge.plan import current
from gtlabel.edge.revisions import Revision, effective
from gtlabel.edge.targets import Target, members
from gtlabel.errors import DeploymentConflictError, SecondClassifierError

if TYPE_CHECKING:
    from types_boto3_greengrassv2 import GreengrassV2Client
    from types_boto3_iot import IoTClient


def overlapping(greengrass: GreengrassV2Client, iot: IoTClient, target: Target) -> list[Revision]:
    """The current deployments of other targets that reach the same devices.

    Of a thing these are its groups', as far as it has heard of them; of a group, those of its devices alone.

    Args:
        greengrass: Greengrass V2.
        iot: knows who is in a group.
        target: the target.
    """
    if target.is_group:
        arns = {
            item["targetArn"]
            for page in greengrass.get_paginator("list_deployments").paginate(historyFilter="LATEST_ONLY")
            for item in page.get("deployments", [])
            if _resource(item["targetArn"]).removeprefix("thing/") in target.things
        }
    else:
        (thing,) = target.things
        heard = {item["targetArn"] for item in effective(greengrass, thing)}
        arns = {arn for arn in heard if _is_in(iot, thing, _resource(arn))}
    found = (current(greengrass, arn)[0] for arn in sorted(arns))
    return [revision for revision in found if revision is not None]


def check_versions(target: Target, name: str, version: str, others: Sequence[Revision]) -> None:
    """Make sure that no device would have to run two versions of a component.

    Raises:
        DeploymentConflictError: if one would.
    """
    for revision in others:
        there = revision.version_of(name)
        if there not in (None, version):
            raise DeploymentConflictError(
                name, version, target.resource, str(there), _resource(revision.target)
            )


def classifiers_beside(
    target: Target, name: str, base: Revision | None, others: Sequence[Revision], ours: set[str]
) -> dict[str, str]:
    """The other components of gtlabel that stay on the same devices, and the target that each is of."""
    found: dict[str, str] = {}
    for revision in (*others, *([base] if base else [])):
        where = target.resource if revision is base else _resource(revision.target)
        found.update(dict.fromkeys(sorted(ours & revision.components.keys() - {name}), where))
    return found


def check_alone(target: Target, name: str, beside: Mapping[str, str]) -> None:
    """Make sure that no other classifier of gtlabel is on the same devices.

    Raises:
        SecondClassifierError: if there is one.
    """
    if beside:
        other, where = min(beside.items())
        raise SecondClassifierError(name, target.resource, other, where)


def _is_in(iot: IoTClient, thing: str, resource: str) -> bool:
    """Whether a device that heard of a deployment to a group is still in it."""
    from botocore.exceptions import ClientError

    kind, _, name = resource.partition("/")
    if kind != "thinggroup":
        return False
    try:
        return thing in members(iot, name)
    except iot.exceptions.ResourceNotFoundException:
        # The group is gone, and what it had deployed with it.
        return False
    except ClientError as error:
        if not error.response["Error"]["Code"].startswith("AccessDenied"):
            raise
        # Whose policy names another group does not see into this one; what the device has heard counts then.
        return True


def _resource(arn: str) -> str:
    return arn.split(":", 5)[5]
