"""What a deployment is for: one device, or all of a thing group."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gtlabel.errors import DeviceNotFoundError, EdgeError

if TYPE_CHECKING:
    from types_boto3_greengrassv2 import GreengrassV2Client
    from types_boto3_iot import IoTClient


@dataclass(frozen=True, slots=True)
class Target:
    """What a deployment is for: `thing/NAME` or `thinggroup/NAME`, and the devices behind it by name.

    Attributes:
        arn: its ARN; empty where only Greengrass knows the device, which does not tell it.
    """

    resource: str
    things: tuple[str, ...]
    arn: str = field(default="", compare=False)

    @property
    def is_group(self) -> bool:
        """Whether it is a thing group, whose deployments reach devices that join later, too."""
        return self.resource.startswith("thinggroup/")

    def arn_beside(self, other: str) -> str:
        """Its ARN, in the account and region that another ARN names."""
        _, partition, _, region, account, _ = other.split(":", 5)
        return self.arn or f"arn:{partition}:iot:{region}:{account}:{self.resource}"


def find_target(
    greengrass: GreengrassV2Client, iot: IoTClient, target: str, *, may_be_empty: bool = False
) -> Target:
    """What is meant by a thing, by `thinggroup/NAME`, or by the ARN of either.

    A thing counts when IoT knows it and it may still come up, or when it has reported as a core device.

    Args:
        greengrass: Greengrass V2.
        iot: knows things and groups.
        target: how the user calls it.
        may_be_empty: whether a group without devices is a target.

    Raises:
        DeviceNotFoundError: if neither service knows it.
        EdgeError: if a group is empty and must not be.
    """
    plain = target.split(":", 5)[5] if target.count(":") >= 5 else target
    kind, _, name = plain.rpartition("/")
    if kind not in ("", "thing", "thinggroup") or not name:
        raise DeviceNotFoundError(target)
    if kind == "thinggroup":
        try:
            arn = iot.describe_thing_group(thingGroupName=name)["thingGroupArn"]
        except iot.exceptions.ResourceNotFoundException:
            raise DeviceNotFoundError(target) from None
        things = members(iot, name)
        if not things and not may_be_empty:
            raise EdgeError(f"the thing group {name!r} is empty; add devices to it first")
        return Target(f"thinggroup/{name}", things, arn)
    try:
        arn = iot.describe_thing(thingName=name)["thingArn"]
    except iot.exceptions.ResourceNotFoundException:
        try:
            greengrass.get_core_device(coreDeviceThingName=name)
        except greengrass.exceptions.ResourceNotFoundException:
            raise DeviceNotFoundError(target) from None
        arn = target if plain != target else ""
    return Target(f"thing/{name}", (name,), arn)


def members(iot: IoTClient, group: str) -> tuple[str, ...]:
    """The things of a group, by name."""
    pages = iot.get_paginator("list_things_in_thing_group").paginate(thingGroupName=group)
    return tuple(sorted(thing for page in pages for thing in page["things"]))


def target_arn(greengrass: GreengrassV2Client, target: Target) -> str:
    """The ARN of a target, if need be as its deployments name it; empty where nothing tells it."""
    if target.arn:
        return target.arn
    for page in greengrass.get_paginator("list_deployments").paginate(historyFilter="LATEST_ONLY"):
        for item in page.get("deployments", []):
            if item["targetArn"].split(":", 5)[5] == target.resource:
                return item["targetArn"]
    return ""
