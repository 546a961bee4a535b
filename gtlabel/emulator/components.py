"""Component versions: recipes that were checked, and artifacts whose digests were taken.

`contract/deployment.md` sections 3.1, 3.2 and 5a.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gtlabel.edge.component import artifact_uri, format_problems
from gtlabel.emulator.api import ApiError, Context
from gtlabel.emulator.deployments import paged
from gtlabel.emulator.fleet import Clock, time_of
from gtlabel.emulator.recipes import parse_recipe, write_recipe
from gtlabel.emulator.shelf import Shelf
from gtlabel.errors import RecipeError
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

KIND = "component"


@dataclass(frozen=True, slots=True)
class Components:
    """Component versions: recipes that were checked and artifacts whose digests were taken."""

    shelf: Shelf
    s3_of: Callable[[Context], S3Client]
    clock: Clock
    settle: timedelta

    def create(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """CreateComponentVersion."""
        if "lambdaFunction" in params or "inlineRecipe" not in params:
            raise _invalid("inlineRecipe", "give an inlineRecipe; the emulator has no Lambda components")
        try:
            recipe = parse_recipe(params["inlineRecipe"])
        except RecipeError as error:
            raise ApiError("ValidationException", str(error), reason="CANNOT_PARSE") from error
        problems = format_problems(recipe)
        if problems:
            raise _invalid("inlineRecipe", "; ".join(problems))
        name, version = recipe["ComponentName"], recipe["ComponentVersion"]
        document = {
            "arn": context.arn("greengrass", f"components:{name}:versions:{version}"),
            "name": name,
            "version": version,
            "created": self.clock().isoformat(),
            "token": params.get("clientToken"),
            "source": params["inlineRecipe"].decode(),
            "tags": params.get("tags", {}),
            "recipe": recipe,
        }
        if taken := self.shelf.get(context, KIND, _key(name, version)):
            return self._again(taken, document)
        document["errors"] = _record_digests(self.s3_of(context), recipe)
        if not self.shelf.add(context, KIND, _key(name, version), document):
            return self._again(self.shelf.get(context, KIND, _key(name, version)) or {}, document)
        return _summary(document, {"componentState": "REQUESTED"})

    def describe(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """DescribeComponent."""
        document = self._document(context, params["arn"])
        recipe = document["recipe"]
        return {
            **_summary(document, self._status(document)),
            **_description(recipe),
            "platforms": _platforms(recipe),
            "tags": document["tags"],
        }

    def get(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """GetComponent; artifacts carry the digests that were taken at creation."""
        document = self._document(context, params["arn"])
        form = params.get("recipeOutputFormat", "JSON")
        recipe = write_recipe(document["recipe"], form)
        return {"recipeOutputFormat": form, "recipe": recipe, "tags": document["tags"]}

    def list_components(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """ListComponents; there are no public ones here."""
        newest: dict[str, dict[str, Any]] = {}
        if params.get("scope", "PRIVATE") == "PRIVATE":
            for document in sorted(self.shelf.all(context, KIND), key=_order):
                newest[document["name"]] = document
        rows = [
            {
                "arn": context.arn("greengrass", f"components:{name}"),
                "componentName": name,
                "latestVersion": {
                    "arn": document["arn"],
                    "componentVersion": document["version"],
                    "creationTimestamp": time_of(document["created"]),
                    **_description(document["recipe"]),
                    "platforms": _platforms(document["recipe"]),
                },
            }
            for name, document in sorted(newest.items())
        ]
        return paged(rows, params, "components")

    def list_versions(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """ListComponentVersions, the highest first."""
        name = params["arn"].rpartition(":components:")[2]
        found = [document for document in self.shelf.all(context, KIND) if document["name"] == name]
        if not found:
            raise missing(params["arn"])
        rows = [
            {"componentName": name, "componentVersion": item["version"], "arn": item["arn"]}
            for item in sorted(found, key=_order, reverse=True)
        ]
        return paged(rows, params, "componentVersions")

    def delete(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """DeleteComponent; deployments that name the version fail from now on."""
        document = self._document(context, params["arn"])
        self.shelf.delete(context, KIND, _key(document["name"], document["version"]))
        return {}

    def deployable(self, context: Context, name: str, version: str) -> None:
        """Refuse a component that cannot be deployed.

        Raises:
            ApiError: if there is no such version, or it is not `DEPLOYABLE`.
        """
        document = self.shelf.get(context, KIND, _key(name, version))
        if document is None:
            raise missing(context.arn("greengrass", f"components:{name}:versions:{version}"))
        state = self._status(document)["componentState"]
        if state != "DEPLOYABLE":
            raise _invalid(
                "components", f"{name} {version} is {state}, and only DEPLOYABLE ones are deployed"
            )

    def _document(self, context: Context, arn: str) -> dict[str, Any]:
        match = re.fullmatch(r"arn:[^:]*:greengrass:[^:]*:[^:]*:components:([^:]+):versions:([^:]+)", arn)
        document = self.shelf.get(context, KIND, _key(*match.groups())) if match else None
        if document is None or document["arn"] != arn:
            raise missing(arn)
        return document

    def _status(self, document: Mapping[str, Any]) -> dict[str, Any]:
        if self.clock() < time_of(document["created"]) + self.settle:
            return {"componentState": "REQUESTED"}
        if document["errors"]:
            message = "the artifacts of the component cannot be read"
            return {"componentState": "FAILED", "message": message, "errors": document["errors"]}
        return {"componentState": "DEPLOYABLE"}

    def _again(self, taken: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
        """A retry of the same request gets the same answer; anything else a conflict."""
        same = ("token", "source")
        if document["token"] and all(taken.get(key) == document[key] for key in same):
            return _summary(taken, {"componentState": "REQUESTED"})
        raise ApiError(
            "ConflictException",
            f"version {document['version']} of the component {document['name']} already exists",
            409,
            resourceId=document["arn"],
            resourceType="component",
        )


def _record_digests(s3: S3Client, recipe: Mapping[str, Any]) -> dict[str, str]:
    """Write each artifact's digest into the recipe; return a reason for each that cannot be read."""
    from botocore.exceptions import ClientError

    digests: dict[str, str] = {}
    errors: dict[str, str] = {}
    for artifact in (part for manifest in recipe["Manifests"] for part in manifest.get("Artifacts", [])):
        uri = S3Uri(artifact_uri(artifact))
        if uri not in digests and uri not in errors:
            try:
                body = s3.get_object(Bucket=uri.bucket, Key=uri.key)["Body"]
            except ClientError as error:
                errors[uri] = f"the artifact cannot be read: {error.response['Error'].get('Message', error)}"
            else:
                digests[uri] = digest_of(body.iter_chunks(1 << 20))
        if uri in digests:
            artifact.update(Digest=digests[uri], Algorithm="SHA-256")
    return errors


def digest_of(blocks: Iterable[bytes]) -> str:
    """SHA-256 in base 64, as Greengrass writes it into recipes."""
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return base64.b64encode(digest.digest()).decode()


def _key(name: str, version: str) -> str:
    return f"{name}:{version}"


def _order(document: Mapping[str, Any]) -> tuple[list[int], bool, str]:
    """Versions by precedence: numbers first, a pre-release before its release (https://semver.org)."""
    numbers, _, rest = document["version"].partition("+")[0].partition("-")
    return [int(number) for number in numbers.split(".")], not rest, rest


def _summary(document: Mapping[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    return {
        "arn": document["arn"],
        "componentName": document["name"],
        "componentVersion": document["version"],
        "creationTimestamp": time_of(document["created"]),
        "status": status,
    }


def _description(recipe: Mapping[str, Any]) -> dict[str, str]:
    parts = {"publisher": recipe.get("ComponentPublisher"), "description": recipe.get("ComponentDescription")}
    return {key: value for key, value in parts.items() if value}


def _platforms(recipe: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": str(manifest.get("Name") or f"platform-{number}"),
            "attributes": {key: str(value) for key, value in (manifest.get("Platform") or {}).items()},
        }
        for number, manifest in enumerate(recipe["Manifests"])
    ]


def missing(arn: str) -> ApiError:
    """The error about a resource that is not there."""
    return ApiError(
        "ResourceNotFoundException",
        f"the resource {arn} does not exist; the emulator has no public components",
        404,
        resourceId=arn,
        resourceType="component",
    )


def _invalid(field: str, message: str) -> ApiError:
    fields = [{"name": field, "message": message}]
    return ApiError("ValidationException", message, reason="FIELD_VALIDATION_FAILED", fields=fields)
