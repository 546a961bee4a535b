"""Greengrass V2's control plane: all its operations by name, and tags.

Shapes from botocore's model; semantics from `contract/deployment.md` sections 3.1 and 5a.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gtlabel.emulator.account import Bookkeeping
from gtlabel.emulator.api import Context, Operations
from gtlabel.emulator.components import KIND, Components, missing
from gtlabel.emulator.cores import Cores
from gtlabel.emulator.deployments import Deployments
from gtlabel.emulator.fleet import CORE, DEPLOYMENT, Clock, Fleet, now
from gtlabel.emulator.shelf import Shelf
from gtlabel.emulator.things import IotThings, Things

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# Long enough that a caller who does not wait for DEPLOYABLE fails here as it would at AWS.
_SETTLE = timedelta(seconds=0.2)


def operations(
    shelf: Shelf,
    s3_of: Callable[[Context], S3Client],
    *,
    clock: Clock = now,
    settle: timedelta = _SETTLE,
    things: Things | None = None,
) -> Operations:
    """The operations of the service `greengrassv2`.

    All but GetComponentVersionArtifact, which AWS has for public and Lambda components alone.

    Args:
        shelf: where components, deployments and devices are kept.
        s3_of: the S3 that artifacts are looked up in.
        clock: tells the time.
        settle: how long a new component version stays `REQUESTED`.
        things: knows things and thing groups; by default IoT's.
    """
    fleet = Fleet(shelf, clock, things or IotThings())
    components = Components(shelf, s3_of, clock, settle)
    deployments = Deployments(fleet, components.deployable)
    cores = Cores(fleet)
    tags = Tags(shelf)
    return {
        "CreateComponentVersion": components.create,
        "DescribeComponent": components.describe,
        "GetComponent": components.get,
        "ListComponents": components.list_components,
        "ListComponentVersions": components.list_versions,
        "DeleteComponent": components.delete,
        "ResolveComponentCandidates": components.resolve,
        "CreateDeployment": deployments.create,
        "GetDeployment": deployments.get,
        "ListDeployments": deployments.list_deployments,
        "CancelDeployment": deployments.cancel,
        "DeleteDeployment": deployments.delete,
        "ListEffectiveDeployments": cores.list_effective,
        "ListCoreDevices": cores.list_cores,
        "GetCoreDevice": cores.get_core,
        "DeleteCoreDevice": cores.delete_core,
        "ListInstalledComponents": cores.list_installed,
        **Bookkeeping(fleet).operations(),
        "TagResource": tags.add,
        "UntagResource": tags.remove,
        "ListTagsForResource": tags.list_tags,
    }


@dataclass(frozen=True, slots=True)
class Tags:
    """Tags of components, deployments and core devices."""

    shelf: Shelf

    def add(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """TagResource."""
        with self.shelf.transaction():
            kind, name, document = self._tagged(context, params["resourceArn"])
            document["tags"] = {**document.get("tags", {}), **params["tags"]}
            self.shelf.put(context, kind, name, document)
        return {}

    def remove(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """UntagResource."""
        with self.shelf.transaction():
            kind, name, document = self._tagged(context, params["resourceArn"])
            tags = document.get("tags", {})
            document["tags"] = {key: tags[key] for key in tags if key not in params["tagKeys"]}
            self.shelf.put(context, kind, name, document)
        return {}

    def list_tags(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """ListTagsForResource."""
        return {"tags": self._tagged(context, params["resourceArn"])[2].get("tags", {})}

    def _tagged(self, context: Context, arn: str) -> tuple[str, str, dict[str, Any]]:
        resource = arn.split(":", 5)[-1]
        kind, _, rest = resource.partition(":")
        kind = {"components": KIND, "deployments": DEPLOYMENT, "coreDevices": CORE}.get(kind, kind)
        name = rest.replace(":versions:", ":") if kind == KIND else rest
        # Another account and another region have their own.
        here = arn == context.arn("greengrass", resource)
        document = self.shelf.get(context, kind, name) if here else None
        if document is None:
            raise missing(arn)
        return kind, name, document
