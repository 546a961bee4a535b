"""Making a bundle a component version: the artifact in S3, the recipe in Greengrass."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gtlabel.edge.bundle import Bundle
from gtlabel.edge.component import component_recipe, known_content, next_version
from gtlabel.errors import BundleError, ComponentVersionTakenError, EdgeError
from gtlabel.storage import read
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_greengrassv2 import GreengrassV2Client
    from types_boto3_s3 import S3Client

Sleep = Callable[[float], None]
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Published:
    """A component version that can be deployed."""

    arn: str
    name: str
    version: str
    artifact: S3Uri


def publish(
    greengrass: GreengrassV2Client,
    s3: S3Client,
    bundle: Bundle,
    *,
    folder: S3Uri,
    name: str,
    sleep: Sleep = time.sleep,
    clock: Clock = time.monotonic,
) -> Published:
    """Make a bundle a component version, or find the version that it already is."""
    versions = list(_versions(greengrass, name))
    # The content does not depend on the version, so any will do to compute it.
    sample = component_recipe(bundle, folder / bundle.path.name, name=name, version="1.0.0")
    content = known_content(sample)
    for version, arn in versions:
        recipe = _recipe(greengrass, arn)
        if known_content(recipe) == content and _state(greengrass, arn)[0] != "FAILED":
            wait_deployable(greengrass, arn, sleep=sleep, clock=clock)
            return Published(arn, name, version, S3Uri(recipe["Manifests"][0]["Artifacts"][0]["Uri"]))
    version = next_version([version for version, _ in versions])
    artifact = upload_bundle(s3, bundle, folder / name / version)
    recipe = component_recipe(bundle, artifact, name=name, version=version)
    arn = create_component_version(greengrass, recipe)
    wait_deployable(greengrass, arn, sleep=sleep, clock=clock)
    return Published(arn, name, version, artifact)


def upload_bundle(s3: S3Client, bundle: Bundle, folder: S3Uri) -> S3Uri:
    """Put a bundle into a folder; what lies there is never overwritten.

    Devices compare the artifact with the digest that Greengrass took when the component was created, so
    a changed object breaks every deployment that refers to it.

    Raises:
        BundleError: if something else lies at that address.
    """
    from botocore.exceptions import ClientError

    artifact = folder / bundle.path.name
    try:
        with bundle.path.open("rb") as body:
            s3.put_object(
                Bucket=artifact.bucket,
                Key=artifact.key,
                Body=body,
                ContentType="application/zip",
                IfNoneMatch="*",
            )
    except ClientError as error:
        if error.response["Error"]["Code"] != "PreconditionFailed":
            raise EdgeError(f"{artifact} cannot be written: {error}") from error
        if hashlib.sha256(read(s3, artifact)).hexdigest() != bundle.sha256:
            raise BundleError(
                f"{artifact} holds something else, and components are never overwritten; use another folder"
            ) from None
    return artifact


def create_component_version(greengrass: GreengrassV2Client, recipe: Mapping[str, Any]) -> str:
    """Register a recipe and return the ARN of the version; the same recipe again is no error.

    Raises:
        ComponentVersionTakenError: if the version exists with other content.
    """
    try:
        response = greengrass.create_component_version(inlineRecipe=json.dumps(recipe).encode())
    except greengrass.exceptions.ConflictException:
        name, version = recipe["ComponentName"], recipe["ComponentVersion"]
        arn = dict(_versions(greengrass, name)).get(version)
        content = known_content(recipe)
        if arn is None or content is None or known_content(_recipe(greengrass, arn)) != content:
            raise ComponentVersionTakenError(name, version) from None
        return arn
    return response["arn"]


def wait_deployable(
    greengrass: GreengrassV2Client,
    arn: str,
    *,
    timeout: float = 120,
    sleep: Sleep = time.sleep,
    clock: Clock = time.monotonic,
) -> None:
    """Wait until Greengrass has taken a component version in.

    Raises:
        EdgeError: if it refuses it, or is not done in time.
    """
    deadline = clock() + timeout
    while True:
        state, reason = _state(greengrass, arn)
        if state == "DEPLOYABLE":
            return
        if state not in ("REQUESTED", "INITIATED"):
            raise EdgeError(f"Greengrass made the component version {arn} {state}: {reason}")
        if clock() >= deadline:
            raise EdgeError(f"the component version {arn} was still {state} after {timeout:g} s; try again")
        sleep(0.2)


def _versions(greengrass: GreengrassV2Client, name: str) -> Iterator[tuple[str, str]]:
    """The versions of one of our components with their ARNs, in the order that Greengrass gives."""
    # The ARN holds the account, which only a listing tells without another service and permission.
    for page in greengrass.get_paginator("list_components").paginate(scope="PRIVATE"):
        for component in page.get("components", []):
            if component["componentName"] == name:
                pages = greengrass.get_paginator("list_component_versions").paginate(arn=component["arn"])
                for versions in pages:
                    for item in versions.get("componentVersions", []):
                        yield item["componentVersion"], item["arn"]
                return


def _recipe(greengrass: GreengrassV2Client, arn: str) -> dict[str, Any]:
    response = greengrass.get_component(arn=arn, recipeOutputFormat="JSON")
    recipe: dict[str, Any] = json.loads(response["recipe"])
    return recipe


def _state(greengrass: GreengrassV2Client, arn: str) -> tuple[str, str]:
    """A component version's state, and the reason if it has one."""
    status = greengrass.describe_component(arn=arn)["status"]
    errors = "; ".join(f"{key}: {value}" for key, value in status.get("errors", {}).items())
    reason = ". ".join(part for part in (status.get("message", ""), errors) if part)
    return status.get("componentState", "REQUESTED"), reason
