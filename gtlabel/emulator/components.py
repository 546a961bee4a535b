"""Component versions: recipes that were checked, and artifacts whose digests were taken.

`contract/deployment.md` sections 3.1, 3.2 and 5a.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from gtlabel.edge.component import artifact_uri, format_problems
from gtlabel.emulator.api import ApiError, Context
from gtlabel.emulator.dependencies import Catalog, dependency_problems, pick
from gtlabel.emulator.deployments import paged
from gtlabel.emulator.fleet import Clock, time_of
from gtlabel.emulator.recipes import choose_manifest, parse_recipe, write_recipe
from gtlabel.emulator.shelf import Shelf
from gtlabel.emulator.versions import Version, satisfies
from gtlabel.errors import RecipeError
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

KIND = "component"
_UNSETTLED = ("REQUESTED", "INITIATED")


class _Tokens:
    """The client tokens of requests that are being worked on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy: set[tuple[Context, str]] = set()

    @contextmanager
    def held(self, context: Context, token: str | None) -> Iterator[None]:
        """Hold a token while its request is worked on.

        Raises:
            ApiError: if somebody else holds it.
        """
        if token is None:
            yield
            return
        with self._lock:
            if (context, token) in self._busy:
                raise ApiError(
                    "RequestAlreadyInProgressException",
                    "an earlier request with this clientToken is still worked on; repeat it in a moment",
                )
            self._busy.add((context, token))
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard((context, token))


@dataclass(frozen=True, slots=True)
class Components:
    """The operations on component versions.

    Args:
        shelf: where they are kept.
        s3_of: the S3 that artifacts are looked up in.
        clock: tells the time.
        settle: how long a new version is not `DEPLOYABLE` yet.
    """

    shelf: Shelf
    s3_of: Callable[[Context], S3Client]
    clock: Clock
    settle: timedelta
    tokens: _Tokens = field(default_factory=_Tokens)

    def create(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """CreateComponentVersion."""
        if "lambdaFunction" in params or "inlineRecipe" not in params:
            raise _invalid("inlineRecipe", "give an inlineRecipe; the emulator has no Lambda components")
        try:
            recipe = parse_recipe(params["inlineRecipe"])
        except RecipeError as error:
            raise ApiError("ValidationException", str(error), reason="CANNOT_PARSE") from error
        problems = format_problems(recipe) or list(dependency_problems(recipe))
        if problems:
            raise _invalid("inlineRecipe", "; ".join(problems))
        name, version = recipe["ComponentName"], recipe["ComponentVersion"]
        document = {
            "arn": context.arn("greengrass", f"components:{name}:versions:{version}"),
            "name": name,
            "version": version,
            "created": self.clock().isoformat(),
            "ready": (self.clock() + self.settle).isoformat(),
            "token": params.get("clientToken"),
            "source": params["inlineRecipe"].decode(),
            "tags": params.get("tags", {}),
            "recipe": recipe,
        }
        with self.tokens.held(context, document["token"]):
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
            **_summary(document, status_of(document, self.clock())),
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
            for document in sorted(self.shelf.all(context, KIND), key=_version):
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
            for item in sorted(found, key=_version, reverse=True)
        ]
        return paged(rows, params, "componentVersions")

    def delete(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """DeleteComponent; deployments that name the version fail on devices that do not have it yet."""
        document = self._document(context, params["arn"])
        state = status_of(document, self.clock())["componentState"]
        if state in _UNSETTLED:
            raise _conflict(document, f"is {state}; it can be deleted when it is DEPLOYABLE or FAILED")
        self.shelf.delete(context, KIND, _key(document["name"], document["version"]))
        return {}

    def resolve(self, context: Context, params: dict[str, Any]) -> dict[str, Any]:
        """ResolveComponentCandidates: the version of each candidate that a platform can run.

        A candidate's own version is taken if it meets all requirements, and otherwise the highest that does.
        """
        attributes = params.get("platform", {}).get("attributes", {})
        catalog = catalog_of(self.shelf, context, self.clock())

        def fitting(name: str) -> dict[str, Any]:
            return {
                version: recipe for version, recipe in catalog(name).items() if _runs_on(recipe, attributes)
            }

        rows = []
        for candidate in params.get("componentCandidates", []):
            name, asked = candidate["componentName"], candidate.get("versionRequirements", {})
            version = _best(name, candidate.get("componentVersion"), asked, fitting)
            if version is None:
                wishes = ", ".join(f"{who} needs {wish}" for who, wish in sorted(asked.items())) or "any"
                raise missing(f"{name} ({wishes}) for the platform {attributes}")
            rows.append(
                {
                    "arn": context.arn("greengrass", f"components:{name}:versions:{version}"),
                    "componentName": name,
                    "componentVersion": version,
                    "recipe": write_recipe(fitting(name)[version], "JSON"),
                }
            )
        return {"resolvedComponentVersions": rows}

    def deployable(self, context: Context, name: str, version: str) -> None:
        """Refuse a component that cannot be deployed.

        Raises:
            ApiError: if there is no such version, or it is not `DEPLOYABLE`.
        """
        document = self.shelf.get(context, KIND, _key(name, version))
        if document is None:
            raise missing(context.arn("greengrass", f"components:{name}:versions:{version}"))
        state = status_of(document, self.clock())["componentState"]
        if state != "DEPLOYABLE":
            raise _invalid(
                "components",
                f"{name} {version} is {state}, and only a DEPLOYABLE version is deployed; "
                "DescribeComponent tells more",
            )

    def _document(self, context: Context, arn: str) -> dict[str, Any]:
        match = re.fullmatch(r"arn:[^:]*:greengrass:[^:]*:[^:]*:components:([^:]+):versions:([^:]+)", arn)
        document = self.shelf.get(context, KIND, _key(*match.groups())) if match else None
        if document is None or document["arn"] != arn:
            raise missing(arn)
        return document

    def _again(self, taken: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
        """A retry of the same request gets the same answer; anything else a conflict."""
        same = ("token", "source")
        if document["token"] and all(taken.get(key) == document[key] for key in same):
            return _summary(taken, {"componentState": "REQUESTED"})
        raise _conflict(document, "already exists, and a version never changes; take a higher one")


def status_of(document: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The status of a component version: `REQUESTED`, `INITIATED` from half its time on, then its end."""
    created, ready = time_of(document["created"]), time_of(document.get("ready", document["created"]))
    if now < ready:
        return {"componentState": "REQUESTED" if now < created + (ready - created) / 2 else "INITIATED"}
    if document["errors"]:
        message = "the artifacts of the component cannot be read"
        return {"componentState": "FAILED", "message": message, "errors": document["errors"]}
    return {"componentState": "DEPLOYABLE"}


def catalog_of(shelf: Shelf, context: Context, now: datetime) -> Catalog:
    """All component versions of an account that can be deployed now, with their recipes."""
    found: dict[str, dict[str, Any]] = {}
    for document in shelf.all(context, KIND):
        if status_of(document, now)["componentState"] == "DEPLOYABLE":
            found.setdefault(document["name"], {})[document["version"]] = document["recipe"]
    return lambda name: found.get(name, {})


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


def _version(document: Mapping[str, Any]) -> Version:
    return Version.of(document["version"])


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


def _best(name: str, version: str | None, asked: Mapping[str, str], catalog: Catalog) -> str | None:
    try:
        if (
            version is not None
            and version in catalog(name)
            and all(satisfies(version, wish) for wish in asked.values())
        ):
            return version
        return pick(name, asked, catalog)
    except RecipeError as error:
        raise _invalid("componentCandidates", f"{name}: {error}") from error


def _runs_on(recipe: Mapping[str, Any], platform: Mapping[str, str]) -> bool:
    try:
        choose_manifest(recipe, platform)
    except RecipeError:
        return False
    return True


def _conflict(document: Mapping[str, Any], why: str) -> ApiError:
    return ApiError(
        "ConflictException",
        f"version {document['version']} of the component {document['name']} {why}",
        409,
        resourceId=document["arn"],
        resourceType="component",
    )


def missing(arn: str) -> ApiError:
    """The error about a resource that is not there."""
    public = ":components:aws." in arn or ":aws:components:" in arn
    hint = "; the emulator has none of AWS's own components" if public else ""
    return ApiError(
        "ResourceNotFoundException",
        f"the resource {arn} does not exist{hint}",
        404,
        resourceId=arn,
        resourceType="component",
    )


def _invalid(field: str, message: str) -> ApiError:
    fields = [{"name": field, "message": message}]
    return ApiError("ValidationException", message, reason="FIELD_VALIDATION_FAILED", fields=fields)
