"""What any component recipe must obey, and what a nucleus makes of it.

Recipe format 2020-01-25, https://docs.aws.amazon.com/greengrass/v2/developerguide/component-recipe-reference.html;
what the two nuclei make of it: `contract/deployment.md` sections 3.2 and 3.4.
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
_STEPS = {"bootstrap", "install", "run", "startup", "shutdown", "recover"}
_STEP = {"Script", "RequiresPrivilege", "Skipif", "Timeout", "Setenv"}
# What nucleus lite does not have; classic takes all of it.
_CLASSIC_ONLY = {"shutdown", "recover"}


def check_recipe(recipe: object) -> list[str]:
    """Everything in a recipe that Greengrass or one of its nuclei would refuse, one sentence each."""
    return format_problems(recipe) or portability_problems(recipe)


def format_problems(recipe: object) -> list[str]:
    """What the cloud refuses, and what it lets through although it can never work."""
    if not isinstance(recipe, Mapping):
        return ["the recipe is not an object"]
    return list(_format_problems(recipe))


def portability_problems(recipe: object) -> list[str]:
    """What the classic nucleus takes and nucleus lite does not, in a recipe of the right format."""
    if not isinstance(recipe, Mapping):
        return ["the recipe is not an object"]
    return list(_portability_problems(recipe))


def artifact_uri(artifact: Mapping[str, Any]) -> str:
    """An artifact's address, under either of the spellings that the cloud takes."""
    return str(artifact.get("Uri") or artifact.get("URI") or "")


def _format_problems(recipe: Mapping[str, Any]) -> Iterator[str]:
    if recipe.get("RecipeFormatVersion") != FORMAT_VERSION:
        yield f"RecipeFormatVersion must be {FORMAT_VERSION}, not {recipe.get('RecipeFormatVersion')!r}"
    name, version = recipe.get("ComponentName"), recipe.get("ComponentVersion")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        yield f"ComponentName must be 1 to 128 letters, digits, '.', '_' or '-', not {name!r}"
    if not isinstance(version, str) or not VERSION.fullmatch(version) or len(version) > 64:
        yield f"ComponentVersion must be three numbers like 1.0.0, none above 999999, not {version!r}"
    yield from _unknown(recipe, _TOP_LEVEL, "the recipe")
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
        yield from _lifecycle_problems(manifest.get("Lifecycle", {}), f"{where}.Lifecycle")
        yield from _artifact_problems(manifest.get("Artifacts", []), f"{where}.Artifacts")


def _lifecycle_problems(lifecycle: object, where: str) -> Iterator[str]:
    if not isinstance(lifecycle, Mapping):
        yield f"{where} is not an object"
        return
    steps = {key for key in lifecycle if key.lower() in _STEPS}
    for key in sorted(set(lifecycle) - steps - {"Setenv"}):
        yield f"{where}.{key} is no lifecycle step; the steps are {', '.join(sorted(_STEPS))}"
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
        names.add(name)
        if artifact.get("Unarchive", "NONE") not in ("NONE", "ZIP"):
            yield f"{here}.Unarchive must be NONE or ZIP, not {artifact['Unarchive']!r}"
        for right, who in _mapping(artifact.get("Permission")).items():
            if right not in ("Read", "Execute") or who not in ("NONE", "OWNER", "ALL"):
                yield f"{here}.Permission.{right} must be Read or Execute with NONE, OWNER or ALL"


def _portability_problems(recipe: Mapping[str, Any]) -> Iterator[str]:
    lifecycles = [("Lifecycle", _mapping(recipe.get("Lifecycle")))]
    for index, manifest in enumerate(recipe.get("Manifests", [])):
        where = f"Manifests[{index}]"
        platform = _mapping(manifest.get("Platform"))
        if "runtime" not in platform:
            yield f'{where}.Platform needs "runtime": "*"; nucleus lite finds no manifest without it'
        for key, value in platform.items():
            if isinstance(value, str) and len(value) > 1 and value.startswith("/") and value.endswith("/"):
                yield f"{where}.Platform.{key} is a regular expression, which nucleus lite does not know"
        for number, artifact in enumerate(manifest.get("Artifacts", [])):
            if "Uri" not in artifact:
                yield f"{where}.Artifacts[{number}] must spell Uri so; nucleus lite does not take URI"
        lifecycles.append((f"{where}.Lifecycle", _mapping(manifest.get("Lifecycle"))))
    for where, lifecycle in lifecycles:
        for key, step in lifecycle.items():
            if key.lower() in _STEPS and key != key.lower():
                yield f"{where}.{key} must be spelled {key.lower()} for nucleus lite"
            if key.lower() in _CLASSIC_ONLY:
                yield f"{where}.{key} is unknown to nucleus lite; the program must end on SIGTERM by itself"
            if isinstance(step, Mapping) and "Skipif" in step:
                yield f"{where}.{key}.Skipif is unknown to nucleus lite"


def _unknown(part: Mapping[str, Any], known: set[str], where: str) -> Iterator[str]:
    for key in sorted(set(part) - known):
        yield f"{key} is unknown in {where}; known are {', '.join(sorted(known - {'URI'}))}"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _numbers(version: str) -> tuple[int, int, int]:
    major, minor, patch = re.split(r"[-+]", version)[0].split(".")
    return int(major), int(minor), int(patch)
