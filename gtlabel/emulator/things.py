"""What IoT knows of an account: its things, its thing groups, and who is in which.

IoT is moto's. It is asked without a request, for every device asks several times a second for work.
"""

from __future__ import annotations

from typing import Any, Protocol

from gtlabel.emulator.api import Context


class Things(Protocol):
    """Things and thing groups of an account."""

    def has_thing(self, context: Context, thing: str) -> bool:
        """Whether there is a thing of that name."""

    def has_group(self, context: Context, group: str) -> bool:
        """Whether there is a thing group of that name."""

    def members(self, context: Context, group: str) -> list[str]:
        """The things in a group and in the groups below it; none if there is no such group."""

    def groups_of(self, context: Context, thing: str) -> list[str]:
        """The groups that a thing is in, and the groups above those."""


class IotThings:
    """The things that moto's IoT has."""

    def has_thing(self, context: Context, thing: str) -> bool:
        """Whether there is a thing of that name."""
        return context.arn("iot", f"thing/{thing}") in _iot(context).things

    def has_group(self, context: Context, group: str) -> bool:
        """Whether there is a thing group of that name."""
        return context.arn("iot", f"thinggroup/{group}") in _iot(context).thing_groups

    def members(self, context: Context, group: str) -> list[str]:
        """The things in a group and in the groups below it; none if there is no such group."""
        inside = (found for found in _groups(context) if group in _up_from(found))
        return list(dict.fromkeys(thing.thing_name for found in inside for thing in found.things.values()))

    def groups_of(self, context: Context, thing: str) -> list[str]:
        """The groups that a thing is in, and the groups above those."""
        arn = context.arn("iot", f"thing/{thing}")
        inside = (found for found in _groups(context) if arn in found.things)
        return list(dict.fromkeys(name for found in inside for name in _up_from(found)))


def _iot(context: Context) -> Any:
    from gtlabel.emulator.moto import backend

    return backend("iot", context.account, context.region)


def _groups(context: Context) -> list[Any]:
    return list(_iot(context).thing_groups.values())


def _up_from(group: Any) -> list[str]:
    """The names of a group and of those above it."""
    above = group.metadata.get("rootToParentThingGroups", [])
    return [group.thing_group_name, *(parent["groupName"] for parent in above)]
