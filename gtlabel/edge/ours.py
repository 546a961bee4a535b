"""Whose a component is: gtlabel changes what it published itself, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gtlabel.edge.component import PUBLISHER, known_content
from gtlabel.errors import ForeignComponentError

if TYPE_CHECKING:
    from types_boto3_greengrassv2 import GreengrassV2Client
    from types_boto3_greengrassv2.type_defs import ComponentTypeDef

# AWS's own components are public, so no listing of an account's has them.
_RESERVED = "aws."


def our_components(greengrass: GreengrassV2Client) -> set[str]:
    """The names of the components that gtlabel published in this account."""
    return {
        component["componentName"]
        for component in components(greengrass)
        if component.get("latestVersion", {}).get("publisher") == PUBLISHER
    }


def components(greengrass: GreengrassV2Client) -> Iterator[ComponentTypeDef]:
    """The components of this account as they are listed, each with its newest version."""
    for page in greengrass.get_paginator("list_components").paginate(scope="PRIVATE"):
        yield from page.get("components", [])


def check_ours(
    greengrass: GreengrassV2Client, name: str, deployed: Iterable[Mapping[str, Any]] | None = None
) -> ComponentTypeDef | None:
    """Make sure that a component is gtlabel's, and return it as it is listed; None when it is not there.

    The newest version decides: it has gtlabel for its publisher and carries the digest of its content.

    Args:
        greengrass: Greengrass V2.
        name: the component's name.
        deployed: what deployments say of it, which decides where all its versions were deleted; by default
            a component that is not there is nobody's, and may become gtlabel's.

    Raises:
        ForeignComponentError: if it is somebody else's.
    """
    if name.startswith(_RESERVED):
        raise ForeignComponentError(name, "AWS")
    found = next((each for each in components(greengrass) if each["componentName"] == name), None)
    if found is None:
        if deployed is not None and not any(_as_we_deploy(spec) for spec in deployed):
            raise ForeignComponentError(name)
        return None
    newest = found.get("latestVersion", {})
    publisher = newest.get("publisher") or ""
    if publisher != PUBLISHER:
        raise ForeignComponentError(name, publisher)
    if "arn" in newest and known_content(recipe_of(greengrass, newest["arn"])) is None:
        raise ForeignComponentError(name)
    return found


def recipe_of(greengrass: GreengrassV2Client, arn: str) -> dict[str, Any]:
    """The recipe of a component version."""
    response = greengrass.get_component(arn=arn, recipeOutputFormat="JSON")
    recipe: dict[str, Any] = json.loads(response["recipe"])
    return recipe


def _as_we_deploy(spec: Mapping[str, Any]) -> bool:
    """Whether a deployment names a component as `gtlabel.edge.plan.spec_of` does, which few others do."""
    update = spec.get("configurationUpdate") or {}
    return update.get("reset") == [""] and "merge" in update
