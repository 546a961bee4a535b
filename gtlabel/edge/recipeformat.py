"""The format of component recipes: what the cloud refuses, or takes although it can never work.

Recipe format 2020-01-25, https://docs.aws.amazon.com/greengrass/v2/developerguide/component-recipe-reference.html.
The rules are our own; those of the public schema are among them (`contract/deployment.md` section 3.4).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from gtlabel.errors import UriError
from gtlabel.uris import S3Uri

FORMAT_VERSION = "2020-01-25"
# Names become folders on the device, so one of dots alone is none.
_NAME = re.compile(r"(?!\.+$)[a-zA-Z0-9_.-]{1,128}")
_NUMBER = r"(?:0|[1-9][0-9]{0,5})"
VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?")
_TOP_LEVEL = {
    "RecipeFormatVersion", "ComponentName", "ComponentVersion", "ComponentDescription", "ComponentPublisher",
    "ComponentType", "ComponentSource", "ComponentConfiguration", "ComponentDependencies", "Manifests",
    "Lifecycle",
}  # fmt: skip
_MANIFEST = {"Name", "Platform", "Lifecycle", "Selections", "Artifacts"}
_ARTIFACT = {"Uri", "Unarchive", "Permission", "Digest", "Algorithm"}
STEPS = {"bootstrap", "install", "run", "startup", "shutdown", "recover"}
_TYPES = (
    "aws.greengrass.generic",
    "aws.greengrass.lambda",
    "aws.greengrass.nucleus",
    "aws.greengrass.plugin",
)
# Ranges as npm has them: comparators, carets, tildes, wildcards, and alternatives.
_COMPARATOR = r"(?:[\^~]|[<>]=?|=)?\s*(?:\*|\d+(?:\.(?:\d+|\*|x)){0,2}(?:[-+][0-9A-Za-z.-]+)?)"
_RANGE = re.compile(rf"\s*{_COMPARATOR}(?:\s*(?:\s|,|-|\|\|)\s*{_COMPARATOR})*\s*")
_STEP = {"Script", "RequiresPrivilege", "Skipif", "Timeout", "Setenv"}


def format_problems(recipe: object) -> list[str]:
    """What the cloud refuses, and what it lets through although it can never work, one sentence each."""
    if not isinstance(recipe, Mapping):
        return ["the recipe is not an object"]
    return list(_format_problems(recipe))


def artifact_uri(artifact: Mapping[str, Any]) -> str:
    """An artifact's address, under either of the spellings that the cloud takes."""
    return str(artifact.get("Uri") or artifact.get("URI") or "")


def is_section(value: object) -> bool:
    """Whether a part of a lifecycle holds steps for some platforms, under a word that manifests select."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(key, str) and (key.lower() in STEPS or key == "Setenv") for key in value)
    )


def as_mapping(value: object) -> Mapping[str, Any]:
    """A part of a recipe that should be an object; an empty one where it is not."""
    return value if isinstance(value, Mapping) else {}


def _format_problems(recipe: Mapping[str, Any]) -> Iterator[str]:
    if recipe.get("RecipeFormatVersion") != FORMAT_VERSION:
        yield f"RecipeFormatVersion must be {FORMAT_VERSION}, not {recipe.get('RecipeFormatVersion')!r}"
    name, version = recipe.get("ComponentName"), recipe.get("ComponentVersion")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        yield f"ComponentName must be 1 to 128 letters, digits, '.', '_' or '-', not {name!r}"
    if not isinstance(version, str) or not VERSION.fullmatch(version) or len(version) > 64:
        yield f"ComponentVersion must be three numbers like 1.0.0, none above 999999, not {version!r}"
    yield from _unknown(recipe, _TOP_LEVEL, "the recipe")
    for key in ("ComponentDescription", "ComponentPublisher", "ComponentType", "ComponentSource"):
        if not isinstance(recipe.get(key, ""), str):
            yield f"{key} must be a text, not {recipe[key]!r}"
    if str(recipe.get("ComponentType", _TYPES[0])).lower() not in _TYPES:
        yield f"ComponentType must be one of {', '.join(_TYPES)}, not {recipe['ComponentType']!r}"
    yield from _dependency_problems(recipe.get("ComponentDependencies", {}), name)
    configuration = recipe.get("ComponentConfiguration", {})
    if not isinstance(configuration, Mapping) or set(configuration) - {"DefaultConfiguration"}:
        yield "ComponentConfiguration must hold DefaultConfiguration and nothing else"
    elif not isinstance(configuration.get("DefaultConfiguration", {}), Mapping):
        yield "ComponentConfiguration.DefaultConfiguration is not an object"
    if "Lifecycle" in recipe:
        yield from _lifecycle_problems(recipe["Lifecycle"], "Lifecycle")
    manifests = recipe.get("Manifests")
    if not isinstance(manifests, list) or not manifests:
        yield "Manifests must be a list of at least one manifest"
        return
    for index, manifest in enumerate(manifests):
        where = f"Manifests[{index}]"
        if not isinstance(manifest, Mapping):
            yield f"{where} is not an object"
            continue
        yield from _unknown(manifest, _MANIFEST, where)
        if not isinstance(manifest.get("Platform", {}), Mapping):
            yield f"{where}.Platform is not an object"
        selections = manifest.get("Selections", [])
        if not isinstance(selections, list) or not all(isinstance(each, str) for each in selections):
            yield f"{where}.Selections must be a list of texts"
        yield from _lifecycle_problems(manifest.get("Lifecycle", {}), f"{where}.Lifecycle")
        yield from _artifact_problems(manifest.get("Artifacts", []), f"{where}.Artifacts")


def _dependency_problems(dependencies: object, own: object) -> Iterator[str]:
    if not isinstance(dependencies, Mapping):
        yield "ComponentDependencies is not an object of components by name"
        return
    for name, wanted in dependencies.items():
        where = f"ComponentDependencies.{name}"
        if not _NAME.fullmatch(name):
            yield f"{where} is no name of a component"
        if name == own:
            yield f"{where} is the component itself"
        if not isinstance(wanted, Mapping):
            yield f"{where} is not an object"
            continue
        yield from _unknown(wanted, {"VersionRequirement", "DependencyType"}, where)
        versions = wanted.get("VersionRequirement")
        if not isinstance(versions, str) or not _RANGE.fullmatch(versions):
            yield f"{where}.VersionRequirement must be a range such as ^1.1.0, not {versions!r}"
        if str(wanted.get("DependencyType", "HARD")).upper() not in ("HARD", "SOFT"):
            yield f"{where}.DependencyType must be HARD or SOFT, not {wanted['DependencyType']!r}"


def _lifecycle_problems(lifecycle: object, where: str) -> Iterator[str]:
    if not isinstance(lifecycle, Mapping):
        yield f"{where} is not an object"
        return
    steps = {key for key in lifecycle if key.lower() in STEPS}
    for key in sorted(set(lifecycle) - steps - {"Setenv"}):
        if is_section(lifecycle[key]):
            yield from _lifecycle_problems(lifecycle[key], f"{where}.{key}")
        else:
            yield f"{where}.{key} is no lifecycle step; the steps are {', '.join(sorted(STEPS))}"
    if {"run", "startup"} <= {key.lower() for key in steps}:
        yield f"{where} has both run and startup; a component has one of them"
    yield from _environment_problems(lifecycle, where)
    for key in sorted(steps):
        step = lifecycle[key]
        if isinstance(step, Mapping):
            yield from _unknown(step, _STEP, f"{where}.{key}")
            yield from _environment_problems(step, f"{where}.{key}")
            if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", str(step.get("Timeout", "0"))):
                yield f"{where}.{key}.Timeout must be a number of seconds, not {step['Timeout']!r}"
            if str(step.get("RequiresPrivilege", "false")).lower() not in ("true", "false"):
                privilege = step["RequiresPrivilege"]
                yield f"{where}.{key}.RequiresPrivilege must be true or false, not {privilege!r}"
            if not re.match(r"(onpath|exists)\s+\S", str(step.get("Skipif", "onpath x"))):
                condition = step["Skipif"]
                yield f"{where}.{key}.Skipif must be `onpath PROGRAM` or `exists FILE`, not {condition!r}"
            step = step.get("Script")
        if not isinstance(step, str) or not step:
            yield f"{where}.{key} needs a script, as a text or under Script"


def _environment_problems(part: Mapping[str, Any], where: str) -> Iterator[str]:
    environment = part.get("Setenv", {})
    if not isinstance(environment, Mapping) or not all(
        isinstance(value, str | int | float) for value in environment.values()
    ):
        yield f"{where}.Setenv must hold texts by the names of variables"


def _artifact_problems(artifacts: object, where: str) -> Iterator[str]:
    if not isinstance(artifacts, list):
        yield f"{where} is not a list"
        return
    names = set()
    for index, artifact in enumerate(artifacts):
        here = f"{where}[{index}]"
        if not isinstance(artifact, Mapping):
            yield f"{here} is not an object"
            continue
        yield from _unknown(artifact, _ARTIFACT | {"URI"}, here)
        uri = artifact_uri(artifact)
        try:
            name = S3Uri(uri).name
        except UriError:
            yield f"{here} needs the address of an object, s3://bucket/key, as its Uri, not {uri!r}"
            continue
        if name in ("", ".", ".."):
            yield f"{here} names a folder, {uri}; an artifact is one object"
        elif name in names:
            yield f"{here} has the file name {name!r} of another artifact"
        elif artifact.get("Unarchive") == "ZIP" and name.removesuffix(".zip") in ("", ".", ".."):
            yield f"{here} would be unpacked to no folder of its own, {uri}; give it a name before .zip"
        names.add(name)
        if artifact.get("Unarchive", "NONE") not in ("NONE", "ZIP"):
            yield f"{here}.Unarchive must be NONE or ZIP, not {artifact['Unarchive']!r}"
        for right, who in as_mapping(artifact.get("Permission")).items():
            if right not in ("Read", "Execute") or who not in ("NONE", "OWNER", "ALL"):
                yield f"{here}.Permission.{right} must be Read or Execute with NONE, OWNER or ALL"


def _unknown(part: Mapping[str, Any], known: set[str], where: str) -> Iterator[str]:
    for key in sorted(set(part) - known):
        yield f"{key} is unknown in {where}; known are {', '.join(sorted(known - {'URI'}))}"
