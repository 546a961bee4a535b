"""What a device runs that belongs to several targets: all that they want, each component in one version.

Pure decisions. A nucleus keeps for each of its targets, itself and its thing groups, what the last good
deployment put there: https://docs.aws.amazon.com/greengrass/v2/developerguide/manage-deployments.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Components = Mapping[str, Mapping[str, Any]]  # what a deployment says of each component, by its name


@dataclass(frozen=True, slots=True)
class Part:
    """What one target wants on a device.

    Attributes:
        target: such as `thing/camera` or `thinggroup/shelves`.
    """

    target: str
    components: Components


class VersionConflict(Exception):  # noqa: N818 - it is the outcome of a deployment
    """Two targets want different versions of one component on one device."""

    def __init__(self, component: str, one: tuple[str, str], other: tuple[str, str]) -> None:
        super().__init__(
            f"{one[0]} wants {component} {one[1]} and {other[0]} wants {component} {other[1]}, but a device "
            "runs one version of a component; deploy the same version to both, or take it out of one"
        )
        self.component = component


def latest_of(parts: Sequence[Part]) -> dict[str, Mapping[str, Any]]:
    """All components of parts that were put on a device, by name; the later part counts."""
    return {name: spec for part in parts for name, spec in part.components.items()}


def union_of(parts: Sequence[Part]) -> dict[str, Mapping[str, Any]]:
    """All components that a device is to run, by name.

    Args:
        parts: the oldest first; where two say something of one component, the later one's settings count.

    Raises:
        VersionConflict: if two of them want different versions of a component.
    """
    found: dict[str, Mapping[str, Any]] = {}
    source: dict[str, str] = {}
    for part in parts:
        for name, spec in part.components.items():
            if name in found and found[name]["componentVersion"] != spec["componentVersion"]:
                before = source[name], found[name]["componentVersion"]
                raise VersionConflict(name, (part.target, spec["componentVersion"]), before)
            found[name], source[name] = spec, part.target
    return found
