"""Making a bundle a component version: the artifact in S3, the recipe in Greengrass."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gtlabel.edge.bundle import Bundle
from gtlabel.edge.component import artifact_uri, component_recipe, known_content, newest_first, next_version
from gtlabel.edge.ours import check_ours, components, recipe_of
from gtlabel.errors import BundleError, ComponentVersionFailedError, ComponentVersionTakenError, EdgeError
from gtlabel.storage import read
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_greengrassv2 import GreengrassV2Client
    from types_boto3_s3 import S3Client

# Each costs a call. Content that is older than these gets a new version, which costs no more than room.
_COMPARED = 20

Sleep = Callable[[float], None]
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Published:
    """A component version that can be deployed."""

    arn: str
    name: str
    version: str
    artifact: S3Uri


@dataclass(frozen=True, slots=True)
class Draft:
    """A component version that is there, or would be made; nothing was uploaded for it.

    Attributes:
        arn: empty when it must be made first.
        recipe: the recipe that it has, or would have.
        artifact: where its bundle lies, or would lie.
    """

    name: str
    version: str
    arn: str
    recipe: dict[str, Any]
    artifact: S3Uri

    @property
    def is_new(self) -> bool:
        """Whether the version must be made first."""
        return not self.arn


def publish(
    greengrass: GreengrassV2Client,
    s3: S3Client,
    bundle: Bundle,
    *,
    folder: S3Uri,
    name: str,
    version: str | None = None,
    sleep: Sleep = time.sleep,
    clock: Clock = time.monotonic,
) -> Published:
    """Make a bundle a component version, or find the version that it already is."""
    draft = find_version(greengrass, bundle, folder=folder, name=name, version=version)
    return publish_draft(greengrass, s3, bundle, draft, sleep=sleep, clock=clock)


def find_version(
    greengrass: GreengrassV2Client,
    bundle: Bundle,
    *,
    folder: S3Uri,
    name: str,
    version: str | None = None,
) -> Draft:
    """The component version that a bundle is, or would become; nothing is changed.

    Args:
        greengrass: Greengrass V2.
        bundle: the bundle.
        folder: artifacts lie below it, as `<name>/<version>/<digest>/`.
        name: the component's name.
        version: its version; by default the one of the newest that holds this already, or the next that is
            free.

    Raises:
        ForeignComponentError: if somebody else published the component.
        ComponentVersionTakenError: if that version holds something else.
        ComponentVersionFailedError: if Greengrass refused that version after it was made.
        RecipeError: if a name or version is none that Greengrass takes.
    """
    # The highest version that meets what others demand is what devices take, so ours would replace theirs.
    listed = check_ours(greengrass, name)
    known = dict(_versions(greengrass, listed["arn"])) if listed else {}
    # The content does not depend on the version, so any will do to compute it.
    sample = component_recipe(bundle, folder / bundle.path.name, name=name, version=version or "1.0.0")
    content = known_content(sample)
    candidates = newest_first(known)[:_COMPARED] if version is None else [version] if version in known else []
    for number in candidates:
        arn = known[number]
        recipe = recipe_of(greengrass, arn)
        if known_content(recipe) == content:
            state, reason = state_of(greengrass, arn)
            if state != "FAILED":
                artifact = S3Uri(artifact_uri(recipe["Manifests"][0]["Artifacts"][0]))
                return Draft(name, number, arn, recipe, artifact)
            if version is not None:
                raise ComponentVersionFailedError(name, number, reason)
        elif version is not None:
            raise ComponentVersionTakenError(name, number)
    number = version or next_version(list(known))
    # The digest, since an interrupted run may have left another bundle under a version that was never made.
    artifact = folder / name / number / bundle.sha256[:12] / bundle.path.name
    recipe = component_recipe(bundle, artifact, name=name, version=number)
    return Draft(name, number, "", recipe, artifact)


def publish_draft(
    greengrass: GreengrassV2Client,
    s3: S3Client,
    bundle: Bundle,
    draft: Draft,
    *,
    sleep: Sleep = time.sleep,
    clock: Clock = time.monotonic,
) -> Published:
    """Upload a bundle, make its component version unless that is there, and wait until it can be deployed.

    Raises:
        BundleError: if something else lies where the bundle belongs.
        ComponentVersionTakenError: if somebody else took the version in the meantime.
        EdgeError: if Greengrass refuses the version, or is not done with it in time.
    """
    arn = draft.arn
    if draft.is_new:
        upload_bundle(s3, bundle, draft.artifact.folder)
        arn = create_component_version(greengrass, draft.recipe)
    wait_deployable(greengrass, arn, sleep=sleep, clock=clock)
    return Published(arn, draft.name, draft.version, draft.artifact)


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
        if _digest(s3, artifact) != bundle.sha256:
            raise BundleError(
                f"{artifact} holds something else, and components are never overwritten; use another folder"
            ) from None
    return artifact


def create_component_version(greengrass: GreengrassV2Client, recipe: Mapping[str, Any]) -> str:
    """Register a recipe and return the ARN of the version; the same recipe again is no error.

    Raises:
        ComponentVersionTakenError: if the version exists with other content.
    """
    source = json.dumps(recipe).encode()
    # A retry of a request whose answer got lost is the same request to Greengrass.
    token = hashlib.sha256(source).hexdigest()
    try:
        response = greengrass.create_component_version(inlineRecipe=source, clientToken=token)
    except greengrass.exceptions.ConflictException:
        name, version = recipe["ComponentName"], recipe["ComponentVersion"]
        listed = next((each for each in components(greengrass) if each["componentName"] == name), None)
        arn = dict(_versions(greengrass, listed["arn"])).get(version) if listed else None
        content = known_content(recipe)
        if arn is None or content is None or known_content(recipe_of(greengrass, arn)) != content:
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
        state, reason = state_of(greengrass, arn)
        if state == "DEPLOYABLE":
            return
        if state not in ("REQUESTED", "INITIATED"):
            raise EdgeError(f"Greengrass made the component version {arn} {state}: {reason}")
        if clock() >= deadline:
            raise EdgeError(f"the component version {arn} was still {state} after {timeout:g} s; try again")
        sleep(0.2)


def _versions(greengrass: GreengrassV2Client, arn: str) -> Iterator[tuple[str, str]]:
    """The versions of a component with their ARNs, in the order that Greengrass gives."""
    for page in greengrass.get_paginator("list_component_versions").paginate(arn=arn):
        for item in page.get("componentVersions", []):
            yield item["componentVersion"], item["arn"]


def state_of(greengrass: GreengrassV2Client, arn: str) -> tuple[str, str]:
    """A component version's state, and the reason if it has one."""
    status = greengrass.describe_component(arn=arn)["status"]
    errors = "; ".join(f"{key}: {value}" for key, value in status.get("errors", {}).items())
    reason = ". ".join(part for part in (status.get("message", ""), errors) if part)
    return status.get("componentState", "REQUESTED"), reason


def _digest(s3: S3Client, artifact: S3Uri) -> str:
    return hashlib.sha256(read(s3, artifact)).hexdigest()
